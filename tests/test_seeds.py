"""A row with several seeds: folders, one teacher, going on, mean and interval."""

import json
import statistics

import pytest
import tiny_nets
from test_recipe import make_recipe
from tiny_data import write_cifar

from spikingjelly_ckd.errors.arguments import ArgumentValueError
from spikingjelly_ckd.recipes import seeds
from spikingjelly_ckd.recipes.command_line import parse
from spikingjelly_ckd.recipes.data import cifar10
from spikingjelly_ckd.recipes.report.table import interval95
from spikingjelly_ckd.recipes.row import distil, run_row

pytestmark = [pytest.mark.slow, pytest.mark.tools]


def recipe(**changes):
    values = {"student": tiny_nets.student, "teacher": tiny_nets.teacher, "data": cifar10, "size": 16, "nda": False}
    return make_recipe(**{**values, "epochs": 1, "teacher_epochs": 1, "batch_size": 10, **changes})


@pytest.fixture
def line(tmp_path):
    write_cifar(tmp_path / "data", "10", per_class_train=2, per_class_test=1)
    flags = ["--data-path", str(tmp_path / "data"), "--allow-partial", "--device", "cpu", "-j", "0", "--any-teacher"]
    flags += ["--energy-images", "0", "--no-preflight", "--logger", "none"]
    return [*flags, "--output-dir", str(tmp_path / "out"), "--seeds", "0", "1"]


def test_seeds_run_one_after_the_other_and_go_on(line, tmp_path, capsys):
    out = tmp_path / "out"

    def stop_at_the_second(recipe, run, like):
        if run.seed == 1:
            raise KeyboardInterrupt
        return distil(recipe, run, like)

    read, run = parse(recipe(), line)
    with pytest.raises(KeyboardInterrupt):
        seeds.distil_seeds(read, run, stop_at_the_second)
    first = (out / "seed0" / "record.json").read_bytes()
    assert not (out / "seed1").exists()

    found = run_row(recipe(), line)
    assert (out / "seed0" / "record.json").read_bytes() == first, "what is done is left as it is"
    accuracies = [run["accuracy"]["last"] for run in found["runs"]]
    assert [run["seed"] for run in found["runs"]] == [0, 1]
    assert found["mean"] == pytest.approx(statistics.mean(accuracies))
    assert found["interval95"] == pytest.approx(interval95(accuracies))
    assert {run["teacher"]["sha256"] for run in found["runs"]} == {found["runs"][0]["teacher"]["sha256"]}
    assert [path.name for path in sorted(out.iterdir())] == ["seed0", "seed1", "teacher"]
    said = capsys.readouterr()
    assert "Seed 0 (1 of 2) is done" in said.err
    assert f"2 seeds, test accuracy after the last epoch: {found['mean']:.2f} ±" in said.out
    assert "seeds" not in json.loads(first)["options"], "a record is of one seed"


def test_seeds_of_other_settings_are_refused(line):
    run_row(recipe(), [*line[:-1]])
    with pytest.raises(ValueError, match="had other settings"):
        run_row(recipe(), [*line, "--lr", "0.5"])
    with pytest.raises(ArgumentValueError, match="names one run; leave it out"):
        run_row(recipe(), [*line, "--resume", "x.ckpt"])


def test_seeds_of_another_code_of_the_student_have_no_common_mean(line, tmp_path):
    run_row(recipe(), [*line[:-1]])
    path = tmp_path / "out/seed0/settings.json"
    settings = json.loads(path.read_text("utf8"))
    (name,) = (name for name in settings if name.startswith("what the student's function builds"))
    path.write_text(json.dumps(settings | {name: "00000000"}))
    with pytest.raises(ValueError, match=r"other settings.*what the student's function builds \(.* 00000000 -> "):
        run_row(recipe(), line)
    assert not (tmp_path / "out/seed1/history.csv").exists(), "it is said before another seed is trained"


def test_a_seed_that_is_named_twice_is_refused(line, tmp_path):
    with pytest.raises(ArgumentValueError, match="seeds must name each seed once, got 3 2 times"):
        run_row(recipe(), [*line, "3", "3"])
    assert not (tmp_path / "out").exists()
