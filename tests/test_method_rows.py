"""A row with any method: from the command line to record and student."""

import json
import random

import pytest
import tiny_nets
from method_runs import make_ground, row, teacher_of

from spikingjelly_ckd import published
from spikingjelly_ckd.recipes.method_parts import needs_teacher
from spikingjelly_ckd.recipes.methods import read_method
from spikingjelly_ckd.recipes.records.schema import Record
from spikingjelly_ckd.recipes.report.table import tabulate

pytestmark = pytest.mark.tools

SAMPLE = sorted(random.Random(7).sample(sorted(published.METHODS), 4))
"""Tried in every run of the tests; the others with ``-m families``."""


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return make_ground(tmp_path_factory.mktemp("ground"))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SAMPLE else pytest.mark.families) for name in published.METHODS]
)
def test_every_method_trains_a_row(ground, tmp_path, name):
    record = row(ground, tmp_path, "--method", name, "--smoke", *teacher_of(ground))
    method = read_method(name)
    assert record["method"] == name
    assert ("teacher" in record) == needs_teacher(method)
    terms = {key.removeprefix("train_") for key in record["history"][0] if key.startswith("train_")}
    assert set(method.losses) <= terms
    assert not needs_teacher(method) or record["preflight"]["ok"]
    assert (tmp_path / "student.safetensors").is_file()
    assert Record.read(tmp_path / "record.json").to_json() == json.loads((tmp_path / "record.json").read_text())


def test_a_method_has_its_own_losses_task_and_student_in_record_and_table(ground, tmp_path):
    line = ("--method", "enof:weight=0.5", "--epochs", "1", *teacher_of(ground))
    record = row(ground, tmp_path / "enof", *line)
    assert record["recipe"]["parts"]["enof"].endswith("weight 0.5")
    assert record["student"]["arguments"]["last_activation"] == "relu"
    assert record["sources"]["last_activation"] == "needed by enof:weight=0.5"
    assert "beta" not in record["recipe"]
    spikes = row(ground, tmp_path / "plain", "--method", "plain", "--epochs", "1")
    control = row(ground, tmp_path / "relu", "--method", "plain", "--epochs", "1", "--last-activation", "relu")
    unpaired, paired = (tabulate([record, one]).splitlines()[-1] for one in (spikes, control))
    assert "no plain runs" in unpaired, "plain training of a student with spikes at the end is no control"
    assert "no plain runs" not in paired
    with pytest.raises(ValueError, match="had other settings.*method enof:weight=0.5 -> enof:weight=0.25"):
        row(ground, tmp_path / "enof", "--method", "enof:weight=0.25", *line[2:], "--resume", "latest")


def test_methods_without_a_teacher_train_none(ground, tmp_path):
    record = row(ground, tmp_path, "--method", "tks", "--smoke")
    assert "teacher" not in record
    assert not (tmp_path / "teacher").exists()


def test_a_teacher_cache_serves_methods_that_take_logits_and_class_maps(ground, tmp_path):
    line = ("--teacher-cache", "1", "--epochs", "1", *teacher_of(ground))
    record = row(ground, tmp_path / "kd", "--method", "kd", *line)
    assert record["teacher_cache"]["views"] == 1
    with pytest.raises(ValueError, match="--teacher-cache cannot serve --method bkdsnn: 'feature'"):
        row(ground, tmp_path / "bkdsnn", "--method", "bkdsnn", *line)
    with pytest.raises(ValueError, match=r"--teacher-cache does nothing where no teacher is asked \(--method tet\)"):
        row(ground, tmp_path / "tet", "--method", "tet", *line)


@pytest.mark.parametrize(
    ("method", "student", "words"),
    [
        ("enof", tiny_nets.student, "last_activation relu \\(needed by enof\\) is a keyword that .*tiny_nets:student"),
        ("tet", tiny_nets.averaging_student, "method tet needs logits of every time step, .* lacks it: a loss needs"),
        ("catkd", tiny_nets.averaging_student, "method catkd needs average pooling and one linear layer at the end"),
    ],
)
def test_what_the_student_lacks_is_said_before_a_teacher_is_trained(ground, tmp_path, method, student, words):
    with pytest.raises(ValueError, match=words):
        row(ground, tmp_path, "--method", method, student=student)
    assert not (tmp_path / "teacher").exists()


def test_what_the_task_loss_needs_is_not_put_down_to_the_method(ground, tmp_path):
    words = "task_loss tet needs logits of every time step, and the student .* lacks it"
    with pytest.raises(ValueError, match=words):
        row(ground, tmp_path, "--method", "kd", "--task-loss", "tet", student=tiny_nets.averaging_student)
