"""A training that ends where the validation part gets no better."""

import method_runs
import pytest
from method_runs import SCRIPT, row, stopping_after
from safetensors.torch import load_file

from spikingjelly_ckd.recipes.records.schema import Record
from spikingjelly_ckd.recipes.row import run_teacher

pytestmark = pytest.mark.tools

CLOCK = ("seconds", "environment", "resumed_after_epochs", "options", "energy")


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return method_runs.make_ground(tmp_path_factory.mktemp("ground"), per_class_train=8)


LINE = ("--method", "plain", "--val-images", "20", "--epochs", "6", "-b", "20", "--early-stop", "2")
STILL = ("--lr", "1e-30", "--wd", "0")


def same(record):
    rows = [{name: value for name, value in one.items() if name != "seconds"} for one in record["history"]]
    return {name: value for name, value in record.items() if name not in CLOCK} | {"history": rows}


def test_a_row_stops_where_it_gets_no_better(ground, tmp_path, capsys):
    record = row(ground, tmp_path, *LINE, *STILL)
    best = record["accuracy"]["best_epoch"]
    assert len(record["history"]) == best + 2 < 6
    assert record["finished"]
    assert record["recipe"]["early_stop"] == 2
    assert f"stopped early after {best + 2} epochs" in capsys.readouterr().out
    assert Record.read(tmp_path / "record.json").finished
    again = row(ground, tmp_path, *LINE, *STILL, "--resume", "latest")
    assert same(again) == same(record)
    with pytest.raises(ValueError, match="early_stop 2 -> 3"):
        row(ground, tmp_path, *LINE, *STILL, "--early-stop", "3", "--resume", "latest")


def test_a_row_that_was_stopped_in_between_counts_on(ground, tmp_path):
    whole = row(ground, tmp_path / "whole", *LINE, *STILL)
    with pytest.raises(ArithmeticError), stopping_after(2):
        row(ground, tmp_path / "stopped", *LINE, *STILL)
    record = row(ground, tmp_path / "stopped", *LINE, *STILL, "--resume", "latest")
    assert same(record) == same(whole)
    assert record["resumed_after_epochs"] == [2]
    one, other = (load_file(tmp_path / name / "student.safetensors") for name in ("whole", "stopped"))
    assert all((one[name] == other[name]).all() for name in one)


def test_it_needs_a_validation_part_and_a_student(ground, tmp_path):
    with pytest.raises(ValueError, match="early_stop looks at a validation part"):
        row(ground, tmp_path, "--method", "plain", "--early-stop", "2", "--epochs", "3")
    recipe = method_runs.runpy.run_path(str(SCRIPT))["RECIPE"]
    with pytest.raises(ValueError, match="early_stop is for students"):
        run_teacher(recipe, ["--data-path", str(ground / "data"), "--early-stop", "1"], None, False)
