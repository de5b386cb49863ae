"""Compare: arms side by side are arms alone, and a comparison goes on wherever it was stopped."""

import html
import json
import multiprocessing
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_nets
import torch
from method_runs import make_ground
from test_later_changes import Checkpointed, make_teacher
from tiny_data import write_image_folder
from torch import nn

from spikingjelly_ckd import CKDDistiller, preflight
from spikingjelly_ckd.published import Method
from spikingjelly_ckd.recipes import row
from spikingjelly_ckd.recipes.compare import (
    command,
    costs,
    idle,
    lockstep,
    one_seed,
    rehearsal,
    teacher_budget,
    workers,
)
from spikingjelly_ckd.recipes.compare.arms import read_arms
from spikingjelly_ckd.recipes.compare.batches import InMemory, Loaded, batches_of, cropped
from spikingjelly_ckd.recipes.compare.flags import (
    ELSEWHERE,
    NOT_SERVED,
    OWN,
    PROGRAM,
    RECIPE,
    UNSERVED,
    VALIDATION,
    _seconds,
    parser_of_comparisons,
    read_flags,
)
from spikingjelly_ckd.recipes.compare.lockstep import StoppedError
from spikingjelly_ckd.recipes.compare.plan import Plan
from spikingjelly_ckd.recipes.comparison.records import read_records
from spikingjelly_ckd.recipes.data import DataOptions, image_folder
from spikingjelly_ckd.recipes.data.base import TransformedSubset, drawn_rows
from spikingjelly_ckd.recipes.deploy.exported import read_exported
from spikingjelly_ckd.recipes.export import save_network
from spikingjelly_ckd.recipes.methods import folder_name
from spikingjelly_ckd.recipes.rerun import main as rerun_main
from spikingjelly_ckd.recipes.teachers import obtain_teacher
from spikingjelly_ckd.step.method import StudentNeeds

pytestmark = pytest.mark.tools

TESTS = Path(__file__).parent
CLOCK = ("seconds", "step_ms", "teacher_ms", "environment", "command")


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return make_ground(tmp_path_factory.mktemp("ground"), per_class_train=4)


def flags(ground, out, *more, student="tiny_nets:optional_student"):
    place = ("--data", "cifar10", "--data-path", ground / "data", "--allow-partial", "--output-dir", out)
    nets = ("--student", student, "--teacher", ground / "teacher.safetensors", "--any-teacher")
    nets += ("--teacher-build", "tiny_nets:teacher")
    quick = ("--size", "16", "-T", "2", "-b", "8", "--epochs", "2", "--val-images", "10", "--device", "cpu")
    return [str(part) for part in (*place, *nets, *quick, "--lr", "0.05", "--crop-padding", "2", "--flip", *more)]


def untaught(line):
    """The same without a teacher, so that one is trained first."""
    places = [line.index(flag) for flag in ("--teacher", "--teacher-build")]
    return [part for place, part in enumerate(line) if not {place, place - 1} & {*places}]


@pytest.fixture
def compare(ground, tmp_path, monkeypatch):
    """Run a comparison, its seeds in this process; the records by arm and seed, without what the clock says."""

    def run(*more, out=tmp_path / "out", stop=None, **options):
        def inline(plan, seeds, **_):
            for seed in seeds:
                if plan.without_record(seed):
                    one_seed.train_seed(plan, seed, *([] if stop is None else [stop]))
            return workers.Outcome(done=list(seeds))

        monkeypatch.setattr(command, "run_seeds", inline)
        assert command.compare(flags(ground, out, *more, **options)) == 0
        return results(out)

    return run


def results(out):
    """Name of the arm and seed -> everything in its record that no clock and no machine decides."""
    found = {}
    for record in read_records(out):
        content = {name: value for name, value in record.to_json().items() if name not in CLOCK}
        content["history"] = [{k: v for k, v in row.items() if k not in CLOCK} for row in record.history]
        found[record.arm, record.seed] = content
    return found


def stop_after(epochs, of=2):
    def stop(share, whole_epoch):
        if whole_epoch and share >= epochs / of:
            raise StoppedError

    return stop


def test_an_arm_is_the_same_alone_and_beside_others(compare, tmp_path):
    together = compare("--methods", "ckd", "kd", "at", "enof", "bkdsnn", "--seeds", "0")
    alone = compare("--methods", "ckd", "--seeds", "0", out=tmp_path / "alone")
    assert set(alone) == {("ckd", 0), ("plain", 0), ("plain x3", 0)}
    assert all(together[key] == alone[key] for key in alone)
    losses = {key: content["history"][-1]["loss"] for key, content in together.items()}
    assert len(set(losses.values())) == len(losses)  # no two arms are the same run
    assert together["enof", 0]["control"] == "plain, ReLU read-out"
    assert {content["data"]["split_hash"] for content in together.values()} == {together["kd", 0]["data"]["split_hash"]}


def test_arms_of_a_seed_begin_with_the_same_weights_and_seeds_differ(ground, tmp_path):
    recipe, run, arms = given(ground, tmp_path, "--methods", "ckd", "enof")
    plan = Plan(recipe, run, tuple(arms), tmp_path, str(ground / "teacher.safetensors"))
    data = plan.load_data()
    first, second = (plan.begin(seed, data) for seed in (0, 1))
    weights = [[*state.distiller.student.parameters()] for state in first.states.values()]
    assert len(weights) == 5
    assert all(torch.equal(one, other) for each in weights for one, other in zip(weights[0], each, strict=True))
    other = next(second.states["ckd"].distiller.student.parameters())
    assert not torch.equal(weights[0][0], other)


def given(ground, out, *more):
    recipe, run, options = read_flags(flags(ground, out, *more))
    return recipe, run, read_arms(recipe, options.methods)[0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("--student-layer", "layer1", "--beta", "3", "--methods", "kd"), "--beta and --student-layer: no method of"),
        (("--student-layer", "layer1", "--beta", "3", "--methods", "kd", "fitnets"), "--beta: no method of"),
        (("--student-layer", "layer1", "--beta", "3", "--methods", "kd", "ckd"), None),
        (("--beta", "3", "--methods", "plain"), None),
    ],
)
def test_flags_that_no_arm_uses_are_refused_but_where_the_folder_was_begun_with_them(ground, tmp_path, line, said):
    recipe, run, arms = given(ground, tmp_path, *line)
    idle.check_idle(recipe, run, arms, recipe.to_json())
    with nullcontext() if said is None else pytest.raises(ValueError, match=f"^{said}.* uses it; leave it out$"):
        idle.check_idle(recipe, run, arms, {})
    with nullcontext() if said is None else pytest.raises(ValueError, match="leave it out"):
        idle.check_idle(recipe, run, arms, recipe.to_json() | {"beta": 2.0})


@pytest.mark.parametrize(
    ("more", "trained", "said"),
    [
        (
            ("--teacher-epochs", "3"),
            False,
            "--teacher-epochs: not used with --teacher .*, which is not trained here",
        ),
        (("--teacher-lr", "3"), False, "--teacher-lr: not used with --teacher "),
        (
            ("--teacher-build", "tiny_nets:teacher"),
            True,
            "--teacher-build does nothing without --teacher PATH: .*resnet20",
        ),
    ],
)
def test_flags_that_this_teacher_does_not_use_are_refused_before_anything_is_loaded(
    ground, tmp_path, monkeypatch, more, trained, said
):
    monkeypatch.setattr(Plan, "load_data", None)
    line = flags(ground, tmp_path / "out", "--methods", "kd")
    with pytest.raises(SystemExit, match=f"error: {said}"):
        command.main([*(untaught(line) if trained else line), *more])
    recipe, run, _ = read_flags([*line, *more])
    idle.check_idle(recipe, run, [], recipe.to_json())  # a folder that was begun with them


def test_plain_x3_is_plain_with_three_times_the_loss(compare):
    found = compare("--methods", "plain", "--seeds", "0", "--optimizer", "sgd", "--wd", "0", "--epochs", "1")
    assert set(found) == {("plain", 0), ("plain x3", 0)}
    one, three = (found[name, 0] for name in ("plain", "plain x3"))
    assert three["method"]["factor"] == 3 * one["method"]["factor"] == 3
    assert one["test_accuracy"] is not None
    assert one["history"][0]["loss"] != three["history"][0]["loss"]  # they part after the first step


def test_a_seed_that_was_stopped_goes_on_as_if_it_had_not(compare, tmp_path):
    whole = compare("--methods", "ckd", "mgd", "--seeds", "3")
    out = tmp_path / "stopped"
    with pytest.raises(StoppedError):
        compare("--methods", "ckd", "mgd", "--seeds", "3", out=out, stop=stop_after(1))
    assert [path.name for path in (out / "checkpoints" / "seed3").iterdir()] == ["latest.ckpt"]
    assert compare("--methods", "ckd", "mgd", "--seeds", "3", out=out) == whole
    assert not list((out / "checkpoints").glob("**/*.ckpt"))


def test_an_arm_that_is_asked_for_later_is_trained_alone(compare, tmp_path):
    first = compare("--methods", "ckd", "--seeds", "0")
    out = tmp_path / "out"
    before = {path.name: path.stat().st_mtime_ns for path in (out / "records").iterdir()}
    both = compare("--methods", "ckd", "kd", "--seeds", "0")
    assert {key: both[key] for key in first} == first
    assert set(both) - set(first) == {("kd", 0)}
    after = {path.name: path.stat().st_mtime_ns for path in (out / "records").iterdir()}
    assert before.items() <= after.items()


def test_arms_of_a_checkpoint_go_on_before_others_begin(compare, tmp_path):
    whole = compare("--methods", "ckd", "kd", "--seeds", "0", out=tmp_path / "whole")
    with pytest.raises(StoppedError):
        compare("--methods", "ckd", "--seeds", "0", stop=stop_after(1))
    assert compare("--methods", "ckd", "kd", "--seeds", "0") == whole


@pytest.mark.parametrize(
    ("student", "more"),
    [
        ("optional_student", ("enof",)),
        ("optional_student", ("kd", "--memopt", "memory", "--init", "scaled")),
        ("single_step", ("kd", "--student-steps", "loop")),
    ],
)
def test_the_students_of_a_comparison_are_kept_as_those_of_rows(compare, ground, tmp_path, capsys, student, more):
    if "--memopt" in more:
        pytest.importorskip("spikingjelly.activation_based.memopt")
    found = compare("--methods", *more, "--seeds", "0", "--keep-students", student=f"tiny_nets:{student}")
    folder = tmp_path / "out" / "students"
    command = f"python -m spikingjelly_ckd evaluate STUDENT FOLDER --build tiny_nets:{student} runs one"
    assert f"students: {folder}; {command}" in "".join(capsys.readouterr())
    recipe, run, _ = given(ground, tmp_path, "--methods", "kd")
    parts = torch.utils.data.DataLoader(row.load_data(recipe, run).test, 64)
    for (arm, seed), record in found.items():
        exported = read_exported(folder / f"{folder_name(arm)}_seed{seed}.safetensors", getattr(tiny_nets, student))
        right = [exported.logits(images).mean.argmax(1) == labels for images, labels in parts]
        assert 100 * float(torch.cat(right).float().mean()) == pytest.approx(record["test_accuracy"])


def test_students_are_kept_of_the_runs_to_come_alone(compare, ground, tmp_path, capsys):
    compare("--methods", "plain", "--seeds", "0")
    assert "Students are not kept: --keep-students writes those of" in "".join(capsys.readouterr())
    compare("--methods", "plain", "--seeds", "0", "1", "--keep-students")
    assert "2 runs have none, since they ended before --keep-students" in "".join(capsys.readouterr())
    assert {path.stem for path in (tmp_path / "out" / "students").iterdir()} == {"plain_seed1", "plain-x3_seed1"}
    with pytest.raises(ValueError, match="keep_students does not go with --crop"):
        read_flags(flags(ground, tmp_path, "--methods", "plain", "--keep-students", "--crop", "12"))


def test_an_error_about_the_students_names_the_flag():
    with pytest.raises(SystemExit, match="error: --keep-students does not go with --crop"):
        command.main(["--data", "digits", "--methods", "plain", "--keep-students", "--crop", "12"])


@pytest.mark.parametrize("init", ["teacher", "scaled"])
def test_arms_with_and_without_the_weights_of_the_teacher(compare, tmp_path, init):
    taught = ("ckd", f"ckd@init={init},lr=0.02")
    found = compare("--methods", *taught, "--seeds", "0", "--epochs", "3")
    control = f"plain@init={init},lr=0.02"
    assert set(found) == {(name, 0) for name in ("plain", "plain x3", control, *taught)}
    begun, own = found[taught[1], 0], found["ckd", 0]
    assert (begun["control"], found[control, 0]["control"], own["control"]) == (control, "plain", "plain")
    assert begun["init"] == found[control, 0]["init"]  # measured before either has learned anything
    assert begun["init"]["fitted"] == begun["init"]["tensors"]
    assert own["init"] is None
    assert begun["method"]["own"] == {"init": init, "lr": 0.02}
    assert "own" not in own["method"]
    assert found[control, 0]["teacher"] == begun["teacher"] != found["plain", 0]["teacher"]
    assert begun["history"][0]["loss"] != own["history"][0]["loss"]
    table = (tmp_path / "out" / "table.md").read_text()
    assert f"begins with {begun['init']['fitted']} of" in table
    assert f"{begun['init']['accuracy']:.2f} % before the first step" in table
    assert ("thresholds" in begun["init"]) == (init == "scaled")
    asked = ("--methods", f"ckd@init={init}", "--seeds", "0")
    whole = compare(*asked, out=tmp_path / "whole")
    with pytest.raises(StoppedError):
        compare(*asked, out=tmp_path / "stopped", stop=stop_after(1))
    assert compare(*asked, out=tmp_path / "stopped") == whole


def test_all_arms_begin_with_the_weights_of_a_file(compare, ground, tmp_path):
    file = tmp_path / "weights.pt"
    torch.save(tiny_nets.teacher(10).state_dict(), file)
    asked = ("--methods", "plain", "--seeds", "0", "--epochs", "1", "--init", str(file))
    found = compare(*asked)
    assert {content["init"]["source"] for content in found.values()} == {str(file)}
    assert found["plain", 0]["teacher"] is None
    assert (tmp_path / "out" / "table.md").read_text().splitlines()[0].endswith(f"the weights of {file}.")
    torch.save(tiny_nets.teacher(10).state_dict(), file)
    with pytest.raises(ValueError, match=r"weights of .* of sha256"):
        compare(*asked, "--seeds", "0", "1")
    torch.save({"a.weight": torch.ones(1)}, file)
    for text, words in ((f"kd@init={file}", "no tensor whose name"), ("kd@init=absent.pt", "there is none")):
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            compare("--methods", text, "--seeds", "0", out=tmp_path / "other")


def test_gradient_checkpoints_change_no_arm(compare, tmp_path):
    pytest.importorskip("spikingjelly.activation_based.memopt")
    asked = ("--methods", "ckd", "--seeds", "0", "--epochs", "1")
    whole = compare(*asked, out=tmp_path / "without")
    found = compare(*asked, "--memopt", "memory")
    assert {content["asked"].pop("memopt") for content in found.values()} == {"memory"}
    assert {content["asked"].pop("memopt") for content in whole.values()} == {None}
    assert found == whole


def test_what_stands_behind_an_arm_is_looked_at():
    for text, words in (
        ("kd@size=3", "behind @ may stand, once each, init, lr, warmup_epochs"),
        ("kd@lr=-1", "'kd@lr=-1': lr must be above 0"),
        ("kd@warmup_epochs=2.5", "warmup_epochs must be a whole number, got '2.5'"),
        ("kd@lr=1,lr=2", "once each"),
        ("kd@lr=much", "lr must be a number, got 'much'"),
    ):
        with pytest.raises(ValueError, match=words):
            read_arms(RECIPE, [text])
    arms, _ = read_arms(RECIPE, ["enof@lr=0.03", "mgd@lr=0.03", "all@init=teacher"])
    controls = {arm.name: arm.control for arm in arms}
    assert controls["enof@lr=0.03"] == "plain, ReLU read-out@lr=0.03"
    assert controls["mgd@lr=0.03"] == "plain@lr=0.03"
    assert controls["enof@init=teacher"] == controls["plain, ReLU read-out@init=teacher"]
    assert set(command.published.METHODS) <= {name.removesuffix("@init=teacher") for name in controls}


def breaks():
    """A method whose loss is NaN from the fourth step on."""
    steps = []

    def task(logits, labels):
        steps.append(1)
        value = nn.functional.cross_entropy(logits, labels)
        return value * torch.nan if len(steps) > 5 else value

    return Method({}, task_loss=task)


def test_an_arm_that_fails_is_taken_out_and_the_others_go_on(compare, tmp_path):
    found = compare("--methods", "ckd", "test_compare:breaks", "--seeds", "0")
    alone = compare("--methods", "ckd", "--seeds", "0", out=tmp_path / "alone")
    broken = found.pop(("test_compare:breaks", 0))
    assert found == alone
    assert "is not finite" in broken["failed"]
    assert broken["failed"].startswith("epoch ")
    assert broken["test_accuracy"] is broken["val_accuracy"] is None
    assert "failed" in (tmp_path / "out" / "table.md").read_text()
    page = html.unescape((tmp_path / "out" / "report.html").read_text("utf8"))
    assert f"test_compare:breaks, seed 0: {broken['failed']}" in page


def two_steps():
    return Method({}, student=StudentNeeds(per_step_logits=True, time_steps=3))


def test_what_does_not_fit_is_found_before_training(compare, tmp_path, monkeypatch):
    monkeypatch.setattr(one_seed, "train_seed", None)  # nothing is trained
    averaging = {"student": "tiny_nets:averaging_student"}
    for methods, words in (
        (["tdkd"], "tdkd needs logits of every time step"),
        (["enof"], "last_activation"),
        (["test_compare:two_steps"], "time_steps must be at least 3"),
        (["nothing"], "no method is called 'nothing'"),
        (["kd:sharpness=2"], "sharpness"),
    ):
        with pytest.raises(ValueError, match=words):
            compare("--methods", *methods, "--seeds", "0", **averaging)


def test_a_validation_part_that_no_flag_asked_for_is_called_so(ground, tmp_path):
    words = "the tenth of the training images .* where no --val-images is given must .*, and these 4 have none of"
    with pytest.raises(SystemExit, match=f"{words} .*; pass --val-images 10$"):
        command.main(flags(ground, tmp_path, "--methods", "kd", "--val-images", str(VALIDATION)))
    with pytest.raises(SystemExit, match="error: --val-images must give an image of each class .*; pass --val-images"):
        command.main(flags(ground, tmp_path, "--methods", "kd", "--val-images", "5"))


@pytest.mark.parametrize("teacher", ["given", "trained"])
def test_a_student_with_neurons_of_its_own_is_told_of_the_flag_in_a_short_line(ground, tmp_path, teacher):
    line = flags(ground, tmp_path, "--methods", "ckd", student="public_nets:own_neurons")
    line = untaught(line) if teacher == "trained" else line
    with pytest.raises(SystemExit, match="nothing tells which of its layers spike; pass --student-layer path") as told:
        command.main(line)
    assert len(str(told.value)) < 400


def test_of_all_methods_those_that_do_not_fit_are_listed(compare, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "spikingjelly_ckd.published.METHODS",
        {name: getattr(command.published, name) for name in ("plain", "kd", "tdkd", "enof")},
    )
    found = compare("--methods", "all", "--seeds", "0", "--smoke", student="tiny_nets:averaging_student")
    assert set(found) == {("plain", 0), ("plain x3", 0), ("kd", 0)}
    table = (tmp_path / "out" / "table.md").read_text()
    assert "Does not fit: tdkd: " in table
    assert "Does not fit: enof: " in table
    rehearsal = tmp_path / "out" / "rehearsal.json"
    monkeypatch.setattr("spikingjelly_ckd.recipes.compare.rehearsal.fitting", None)  # it is not rehearsed again
    compare("--methods", "all", "--seeds", "0", "--smoke", student="tiny_nets:averaging_student")
    assert (tmp_path / "out" / "table.md").read_text() == table
    assert json.loads(rehearsal.read_text())["arms"]["kd"] is None


def test_every_arm_with_a_teacher_is_looked_at_before_the_training(compare, tmp_path, capsys):
    asked = ("--methods", "kd", "nld", "--seeds", "0", "1", "--epochs", "1")
    found = compare(*asked, student="tiny_nets:two_heads")
    before = capsys.readouterr().err.partition("4 arms, 2 seeds")[0]
    assert before.count("Preflight of all arms with a teacher: heads: the student returns 2 tensors of one shape") == 1
    assert found["plain", 0]["preflight"] is None
    checks = {check["name"]: check for check in found["kd", 1]["preflight"]["checks"]}
    assert checks["state"]["status"] == "ok"
    assert "the student returns 2 tensors of one shape" in checks["heads"]["message"]
    said = (tmp_path / "out/table.md").read_text()
    assert said.count("the student returns 2 tensors of one shape") == 1, "once for all arms"
    page = (tmp_path / "out/report.html").read_text()
    assert "the student returns 2 tensors of one shape" in page.partition("<h3>Preflight</h3>")[0], "under the table"
    without = compare(*asked, "--no-preflight", student="tiny_nets:two_heads", out=tmp_path / "without")
    assert without["kd", 1]["preflight"] is None
    assert without["kd", 1] | {"preflight": found["kd", 1]["preflight"]} == found["kd", 1], "it changes no run"


def test_what_a_preflight_draws_does_not_depend_on_the_other_arms(compare, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(lockstep, "preflight", lambda *args: drawn.append(torch.rand(())) or preflight(*args))
    compare("--methods", "nld", "kd", "--seeds", "0", "--epochs", "1")
    compare("--methods", "bkdsnn", "nld", "--seeds", "0", "--epochs", "1", out=tmp_path / "other")
    assert len(drawn) == 4
    assert len({float(number) for number in drawn}) == 1


def test_a_student_that_keeps_states_is_trained_only_without_the_preflight(compare):
    asked = ("--methods", "kd", "--seeds", "0", "--epochs", "1")
    with pytest.raises(ValueError, match="counting_student keeps a state that functional.reset_net does not reset"):
        compare(*asked, student="tiny_nets:counting_student")
    assert compare(*asked, "--no-preflight", student="tiny_nets:counting_student")["kd", 0]["failed"] is None


def test_an_arm_whose_preflight_fails_is_not_trained(compare):
    asked = ("--methods", "kd", "--seeds", "0", "--epochs", "1")
    with pytest.raises(ValueError, match=r"does not fit: its preflight failed: memory: grows .*--no-preflight"):
        compare(*asked, student="tiny_nets:monitored_student")
    assert compare(*asked, "--no-preflight", student="tiny_nets:monitored_student")["kd", 0]["failed"] is None


def test_settings_may_change_until_something_was_trained(ground, compare, tmp_path):
    with pytest.raises(ValueError, match="pass fewer --methods, --epochs"):
        command.compare(flags(ground, tmp_path / "out", "--methods", "kd", "--seeds", "0", "--budget", "0.001s"))
    assert (tmp_path / "out/rehearsal.json").is_file()
    assert compare("--methods", "kd", "--seeds", "0", "--epochs", "1")["kd", 0]["asked"]["epochs"] == 1


def test_other_settings_in_the_same_folder_are_refused(compare):
    compare("--methods", "plain", "--seeds", "0", "--epochs", "1")
    with pytest.raises(ValueError, match="epochs 1 -> 3"):
        compare("--methods", "plain", "--seeds", "0", "--epochs", "3")
    compare("--methods", "plain", "--seeds", "0", "1", "--epochs", "1", "--jobs", "2", "--budget", "2h")


def test_a_refused_teacher_does_not_bar_the_right_one(compare, tmp_path):
    torch.save({"fc.weight": torch.zeros(10, 16)}, tmp_path / "other.pth")
    asked = ("--methods", "kd", "--seeds", "0", "--epochs", "1")
    with pytest.raises(ValueError, match="it was read as tiny_nets:teacher"):
        compare(*asked, "--teacher", str(tmp_path / "other.pth"))
    assert not (tmp_path / "out/settings.json").exists()
    assert ("kd", 0) in compare(*asked)


def test_other_data_and_another_teacher_in_the_same_folder_are_refused(compare, ground, tmp_path):
    compare("--methods", "kd", "--seeds", "0", "--epochs", "1")
    other = make_ground(tmp_path / "other", per_class_train=5)
    with pytest.raises(ValueError, match="data set cifar10"):
        compare("--methods", "kd", "--seeds", "0", "1", "--epochs", "1", "--data-path", str(other / "data"))
    moved = tmp_path / "moved"
    shutil.copytree(ground, moved)
    again = ("--methods", "kd", "--seeds", "0", "--epochs", "1", "--teacher", str(moved / "teacher.safetensors"))
    compare(*again, out=tmp_path / "again")
    torch.manual_seed(9)
    save_network(moved / "teacher.safetensors", tiny_nets.teacher(10), tiny_nets.teacher, {"num_classes": 10})
    with pytest.raises(ValueError, match="teacher file of sha256"):
        compare(*again, "--seeds", "0", "1", out=tmp_path / "again")


@pytest.mark.parametrize("flag", ["--teacher", "--init"])
def test_a_mistyped_file_in_a_folder_that_was_begun_is_named_first(compare, flag):
    asked = ("--methods", "kd", "--seeds", "0", "--epochs", "1")
    compare(*asked)
    with pytest.raises(FileNotFoundError, match=r"there is (no file|none) .*gone\.pth"):
        compare(*asked, flag, "gone.pth")


def test_an_energy_that_cannot_be_counted_costs_no_run(compare, monkeypatch, capsys):
    def refuse(*_, **__):
        raise ValueError("not these")

    monkeypatch.setattr(costs, "measure_student", refuse)
    found = compare("--methods", "plain", "--seeds", "0", "--epochs", "1")
    assert found["plain", 0]["energy_mj"] is found["plain", 0]["mac_share"] is None
    assert found["plain", 0]["test_accuracy"] is not None
    assert "is not counted: not these" in capsys.readouterr().err


def test_a_budget_that_holds_no_seed_is_refused_before_training(ground, tmp_path):
    with pytest.raises(ValueError, match="budget of 0 s does not hold one seed of 2 arms, which takes about"):
        command.compare(flags(ground, tmp_path / "out", "--methods", "plain", "--budget", "0.001s"))
    digits = ["--data", "digits", "--methods", "plain", "--epochs", "900", "--budget", "20s"]
    with pytest.raises(ValueError, match="pass fewer --methods or --epochs, or a larger"):  # whose images are fixed
        command.compare([*digits, "--output-dir", str(tmp_path / "digits"), "--device", "cpu"])


def test_a_teacher_that_cannot_end_within_the_budget_is_not_trained_to_its_end(ground, tmp_path):
    line = untaught(flags(ground, tmp_path / "out", "--methods", "kd", "--teacher-epochs", "500", "--budget", "2s"))
    words = r"error: --budget of 2 s does not hold the training of the teacher: \d+ of 500 epochs .*--teacher-epochs"
    with pytest.raises(SystemExit, match=words):
        command.main(line)
    assert not list(tmp_path.glob("out/**/teacher.safetensors"))
    assert list(tmp_path.glob("out/teacher/*.ckpt"))


def test_a_teacher_that_is_timed_has_the_same_bits(ground, tmp_path):
    recipe, run, _ = read_flags(untaught(flags(ground, tmp_path, "--methods", "kd", "--teacher-epochs", "2")))
    recipe = replace(recipe, method="kd")
    found = []
    for number, watch in enumerate((None, teacher_budget.TeacherInBudget(3600.0, time.monotonic()))):
        of_teacher = replace(run, output_dir=tmp_path / str(number))
        found.append(obtain_teacher(recipe, of_teacher, row.load_data(recipe, run), watch))
    assert watch._since is not None
    assert found[0].sha256 == found[1].sha256


def watched(monkeypatch, budget, of_epoch, *, first=0, epochs=10, steps=100, slow=0.0):
    """The step of a teacher, counted from its beginning, at which a budget is refused, and why; None where it is not.

    Args:
        of_epoch: seconds of a step, by the epoch, from 0.
        first: epoch from which it goes on.
        slow: seconds of the first step more.
    """
    now = [0.0]
    monkeypatch.setattr(teacher_budget, "time", SimpleNamespace(monotonic=lambda: now[0]))
    watch = teacher_budget.TeacherInBudget(budget, 0.0)
    trainer = SimpleNamespace(max_epochs=epochs, num_training_batches=steps, current_epoch=first)
    watch.on_train_start(trainer, None)
    for step in range(first * steps, epochs * steps):
        trainer.current_epoch = step // steps
        try:
            watch.on_train_batch_start(trainer, None, None, step % steps)
        except ValueError as error:
            return step, str(error)
        now[0] += of_epoch(step // steps) + (slow if step == first * steps else 0.0)
    return None


def test_a_budget_that_does_not_hold_the_teacher_is_refused_as_early_as_it_is_sure(monkeypatch):
    def refused(*args, **options):
        return watched(monkeypatch, *args, **options)

    # 1000 steps of 0.1 s take 100 s: within 3 s it is sure that 40 s do not hold them, however slow the first one is
    step, why = refused(40.0, lambda _: 0.1, slow=10.0)
    assert step < 30
    assert "0 of 10 epochs are done, the rest takes about 2 min, and 29 s are left; pass fewer --teacher-epochs" in why
    assert "kept" not in why
    # what may just fit is not refused, also where steps take half the time from the second epoch on
    assert refused(101.0, lambda _: 0.1) is None
    assert refused(56.0, lambda epoch: 0.1 if epoch == 0 else 0.05) is None
    # what turns out not to fit is kept, and has less to do when it goes on
    step, why = refused(72.0, lambda _: 0.1)
    assert (step, why.rpartition("; ")[2]) == (500, "what is trained is kept, and the same command goes on with it")
    assert refused(60.0, lambda _: 0.1, first=5) is None
    # over before the first step
    step, why = refused(-1.0, lambda _: 0.1)
    assert step == 0
    assert "0 of 10 epochs are done, and 0 s are left" in why


def test_a_teacher_that_diverges_is_told_of_its_own_flag(ground, tmp_path):
    line = untaught(flags(ground, tmp_path / "out", "--methods", "kd", "--teacher-lr", "1e12", "--teacher-epochs", "3"))
    with pytest.raises(SystemExit, match=r"in epoch \d, step \d+ of the teacher: pass a lower --teacher-lr$") as told:
        command.main(line)
    assert "--overwrite" not in str(told.value)


def test_the_warnings_of_many_arms_are_few_lines(capsys):
    def look(*texts):
        checks = [{"name": "gradient share", "status": "warn", "message": text} for text in texts]
        return {"checks": [*checks, {"name": "state", "status": "ok", "message": "fine"}]}

    def said(looks, left_out=()):
        arms = tuple(SimpleNamespace(name=name) for name in looks if name not in left_out)
        rehearsal.say_warnings(SimpleNamespace(arms=arms, preflights=looks, folder=Path("out")))
        return capsys.readouterr().err.splitlines()

    assert said({"kd": look("same"), "at": look("same"), "ckd": look("same", "samd dominates", "nld hardly acts")}) == [
        "Preflight of all arms with a teacher: gradient share: same",
        "Preflight of ckd: gradient share: samd dominates; gradient share: nld hardly acts",
    ]
    assert said({"kd": look("one"), "at": look("one"), "ckd": look()}) == ["Preflight of kd, at: gradient share: one"]
    assert said({"kd": look("one"), "at": look("two")}, left_out=["at"]) == ["Preflight of kd: gradient share: one"]
    lines = said({f"arm{number}": look(f"text {number}") for number in range(40)})
    assert len(lines) == rehearsal.MOST_LINES + 1
    assert lines[-1].startswith(f"Preflight of {40 - rehearsal.MOST_LINES} more arms (arm12, arm13, ")
    assert lines[-1].endswith("arm39): the warnings are in out/rehearsal.json")


def test_a_budget_leaves_out_seeds_that_will_not_end_in_it(ground, tmp_path, monkeypatch):
    recipe, run, arms = given(ground, tmp_path, "--methods", "plain")
    plan = Plan(recipe, run, tuple(arms), tmp_path, None)
    plan.checkpoints(1).mkdir(parents=True)
    (plan.checkpoints(1) / "latest.ckpt").touch()  # of a seed that was begun, which has less to do
    started = []

    def start(plan, seed, tries, end, place, target):
        started.append(seed)
        ours, theirs = multiprocessing.Pipe(duplex=False)
        theirs.send(("done", None))
        return workers._Worker(seed, place, SimpleNamespace(join=lambda: None, terminate=lambda: None), ours, tries)

    monkeypatch.setattr(workers, "_start", start)
    outcome = workers.run_seeds(plan, [0, 1, 2], jobs=1, budget=10.0, expected=20.0)
    assert (started, outcome.done, outcome.left_out) == ([1], [1], [0, 2])
    assert workers.run_seeds(plan, [0, 1, 2], jobs=2, budget=30.0, expected=20.0).done == [1, 0, 2]
    outcome = workers.run_seeds(plan, [0, 1, 2], jobs=2, budget=30.0, expected=20.0, spent=15.0)
    assert (outcome.done, outcome.left_out) == ([1], [0, 2])
    with pytest.raises(ValueError, match="of 30 s does not hold one seed .* about 20 s, and what comes before it took"):
        workers.run_seeds(plan, [0, 2], jobs=2, budget=30.0, expected=20.0, spent=15.0)


def test_rerun_sends_a_record_of_a_comparison_back_to_its_command(compare, tmp_path, capsys):
    compare("--methods", "plain", "--seeds", "0", "--epochs", "1")
    file = tmp_path / "out/records/plain_seed0.json"
    for given in (file, file.parent.parent):
        assert rerun_main([str(given)]) == 2
        said = capsys.readouterr().err
        assert f"error: {file.parent}" in said
        assert "_seed0.json is a record of compare, which is repeated by its command in a new folder: " in said
        command_line = json.loads(file.read_text("utf8"))["command"]
        assert said.strip().endswith(
            command_line.replace(f"--output-dir {tmp_path}/out", f"--output-dir {tmp_path}/out-again")
        )


def test_a_record_of_others_is_looked_at(compare, tmp_path):
    compare("--methods", "plain", "--seeds", "0", "--epochs", "1")
    path = tmp_path / "out" / "records" / "plain_seed0.json"
    whole = json.loads(path.read_text())
    for change, words in (
        ({"test_accuracy": 101}, "test_accuracy must be a number from 0 to 100, or null, got 101"),
        ({"seed": "0"}, "seed must be an integer"),
        ({"history": [{"val_accuracy": -1}]}, "val_accuracy must be a number"),
        ({"test_accuracy": None}, "a run that did not fail has a test_accuracy"),
        ({"kind": "row"}, "is no record of a comparison"),
    ):
        path.write_text(json.dumps(whole | change))
        with pytest.raises(ValueError, match=words):
            read_records(tmp_path / "out")
    path.write_text(json.dumps({name: value for name, value in whole.items() if name != "control"}))
    with pytest.raises(ValueError, match="says control, and this one does not"):
        read_records(tmp_path / "out")


def test_a_damaged_record_is_set_aside_and_its_run_done_again(compare, tmp_path, capsys):
    asked = ("--methods", "kd", "--seeds", "0", "--epochs", "1")
    whole = compare(*asked)
    records, old = tmp_path / "out/records", tmp_path / "out/checkpoints/seed0"
    path = records / "kd_seed0.json"
    path.write_bytes(path.read_bytes()[:300])
    for folder in (records, old):  # as a process leaves them that is killed while it writes
        (folder / "latest.ckpt.abc.part").write_text("half")
    capsys.readouterr()
    assert compare(*asked) == whole
    assert "it was set aside as kd_seed0.json.damaged" in capsys.readouterr().err
    assert sorted(found.name for found in records.iterdir()) == [
        "kd_seed0.json", "kd_seed0.json.damaged", "plain-x3_seed0.json", "plain_seed0.json",
    ]  # fmt: skip
    assert not list(old.glob("*"))


def softened():
    return Method({}, task_weight=SOFTENED[0])


SOFTENED = [1.0]


def test_a_method_that_returns_something_else_the_next_day_is_refused(compare):
    asked = ("--methods", "test_compare:softened", "--epochs", "1", "--seeds", "0")
    compare(*asked)
    try:
        SOFTENED[0] = 0.5
        with pytest.raises(ValueError, match="what test_compare:softened returns"):
            compare(*asked, "1")
    finally:
        SOFTENED[0] = 1.0


def changing(num_classes):
    student = tiny_nets.optional_student(num_classes)
    return student if SOFTENED[0] == 1.0 else nn.Sequential(student)


def test_a_student_of_another_code_the_next_day_is_refused(compare, tmp_path):
    asked = ("--methods", "kd", "--epochs", "1", "--seeds", "0")
    compare(*asked, student="test_compare:changing")
    done = sorted((tmp_path / "out/records").iterdir())
    assert compare(*asked, student="test_compare:changing"), "the same command goes on"
    try:
        SOFTENED[0] = 0.5
        with pytest.raises(ValueError, match=r"other settings.*what the student's function builds \(Python .* -> "):
            compare("--methods", "kd", "nld", "--epochs", "1", "--seeds", "0", student="test_compare:changing")
    finally:
        SOFTENED[0] = 1.0
    assert sorted((tmp_path / "out/records").iterdir()) == done


def test_no_arm_is_trained_twice_in_other_words():
    for texts, words in (
        (["kd", "kd@lr=0.1"], "kd@lr=0.1 is kd in other words"),
        (["kd", "kd:weight=0.9"], "kd:weight=0.9 is kd in other words"),
        (["kd:weight=2,temperature=3", "kd:temperature=3.0,weight=2.0"], "in other words"),
        (["plain@lr=0.1"], "plain@lr=0.1 is plain in other words"),
    ):
        with pytest.raises(ValueError, match=words):
            read_arms(RECIPE, texts)
    assert "plain@lr=0.1" not in [arm.name for arm in read_arms(RECIPE, ["all@lr=0.1"])[0]]


def test_the_help_shows_what_a_comparison_serves():
    text = parser_of_comparisons().format_help()
    shown = {flag[2:].replace("-", "_") for flag in re.findall(r"^  (?:-\w.*, )?(--[\w-]+)", text, re.M)}
    assert shown & UNSERVED == set()
    assert shown >= {*OWN, "val_images"}
    assert re.search(r"--val-images .*?without it a tenth", text, re.S)
    assert "Required, except with --data digits" in " ".join(text.split())


def test_what_would_do_nothing_is_refused(compare, tmp_path):
    for more, words in (
        (["--methods", "kd", "plain", "kd", "--seeds", "0"], "methods must name each arm once, got kd 2 times"),
        (["--methods", "kd", "--seeds", "0", "1", "0"], "seeds must name each seed once, got 0 2 times"),
    ):
        with pytest.raises(ValueError, match=words):
            compare(*more)
    with pytest.raises(ValueError, match="data_path does nothing with --data digits"):
        command.compare(["--data", "digits", "--data-path", str(tmp_path), "--methods", "kd"])


def test_the_student_is_looked_at_before_a_teacher_is_trained(ground, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "obtain_teacher", None)
    for student, method, words in (
        ("tiny_nets:averaging_student", "tdkd", "tdkd needs logits of every time step"),
        ("tiny_nets:optional_student", "kd@init=absent.pt", "there is none"),
        ("tiny_nets:single_step", "kd", "is in single-step mode"),
    ):
        asked = flags(ground, tmp_path / "out", "--methods", method, student=student)
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            command.compare(asked)


def test_the_help_has_its_own_defaults(capsys):
    with pytest.raises(SystemExit):
        command.compare(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Loading processes of each seed. (default: 0)" in text
    assert "(default: runs/compare)" in text
    assert "runs/ROW" not in text
    assert "of the row" not in text
    assert "16-mixed is not served" in text


def test_progress_says_that_a_process_begins():
    worker = workers._Worker(seed=3, place=0, process=None, pipe=None, tries=0)
    begins = workers._progress([worker], 0, workers.Outcome(), 2, 1)
    assert begins == "0 of 2 seeds done; seed 3 begins"
    worker.see(0.0)
    assert workers._progress([worker], 0, workers.Outcome(), 2, 1) == "0 of 2 seeds done; seed 3 0 %"


def test_a_crop_larger_than_the_images_is_refused(compare):
    with pytest.raises(ValueError, match="--crop 40 cuts squares"):
        compare("--methods", "plain", "--seeds", "0", "--crop", "40")


def test_the_commands_of_the_documents_are_taken():
    root = TESTS.parent
    pages = (root / "README.md", root / "README_cn.md", root / "docs" / "compare.md")
    lines = [line for page in pages for line in page.read_text("utf8").splitlines() if line.startswith(PROGRAM)]
    assert len(lines) >= 6
    for line in lines:
        given = line.removeprefix(PROGRAM).replace("mynets:build", "tiny_nets:optional_student")
        _, _, options = read_flags(shlex.split(given, comments=True))
        if not options.list:
            read_arms(RECIPE, [text for text in options.methods if not text.startswith("mymethods")])


def test_every_flag_of_its_own_and_every_refused_one_is_described():
    page = (TESTS.parent / "docs" / "compare.md").read_text("utf8")
    for name in (
        *OWN,
        "accumulate",
        "no_preflight",
        "no_progress",
        *ELSEWHERE,
        *NOT_SERVED,
    ):
        assert re.search(rf"`--{name.replace('_', '-')}[ `]", page), name


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--seed", "0"], "--seed is not for a comparison; pass --seeds"),
        (["--energy-images", "0"], "--energy-images is not served by a comparison"),
        (["--mixup", "0"], "--mixup is not served by a comparison"),
        (["--mixup-off-epoch", "3"], "--mixup-off-epoch is not served by a comparison"),
        (["-j", "-3"], "argument -j/--workers: it must be a whole number of at least 0, got '-3'"),
        (["--jobs", "0"], "argument --jobs: it must be a whole number of at least 1, got '0'"),
    ],
)
def test_flags_that_a_comparison_does_not_serve_are_refused_whatever_they_say(capsys, more, words):
    with pytest.raises(SystemExit):
        read_flags(["--data", "digits", "--methods", "kd", *more])
    assert words in capsys.readouterr().err


def test_a_switch_of_the_rows_that_is_off_is_taken():
    recipe, _, _ = read_flags(["--data", "digits", "--methods", "kd", "--no-accelerate", "--accumulate", "1"])
    assert not recipe.accelerate


@pytest.mark.parametrize("quiet", [False, True])
def test_no_progress_prints_no_lines_about_it(ground, tmp_path, monkeypatch, capsys, quiet):
    """The second of two seeds side by side never ends by itself: it does once the line was due."""
    monkeypatch.setattr(workers, "SAY_EVERY", -1.0)
    pipes = {}

    def start(plan, seed, tries, end, place, target):
        ours, pipes[seed] = multiprocessing.Pipe(duplex=False)
        if seed == 1:
            pipes[0].send(("done", None))
        pipes[seed].send(("at", 0.5))
        return workers._Worker(seed, place, SimpleNamespace(join=lambda: None, terminate=lambda: None), ours, tries)

    def settle(worker, word, outcome, waiting, part):
        outcome.done.append(worker.seed)
        if worker.seed == 0:
            pipes[1].send(("at", 0.7))
            threading.Timer(0.1, pipes[1].send, [("done", None)]).start()

    monkeypatch.setattr(workers, "_start", start)
    monkeypatch.setattr(workers, "_settle", settle)
    recipe, run, arms = given(ground, tmp_path, "--methods", "plain")
    plan = Plan(recipe, run, tuple(arms), tmp_path, None)
    assert workers.run_seeds(plan, [0, 1], jobs=2, budget=None, expected=1.0, quiet=quiet).done == [0, 1]
    assert ("1 of 2 seeds done; seed 1" in "".join(capsys.readouterr())) is not quiet


def test_an_argument_that_a_message_names_is_said_as_an_arm():
    why = "teacher must be [N, C', h, w]; for maps of other sizes pass pooled=True, or record other layers (layers=)"
    assert rehearsal._as_arm("bkdsnn@lr=0.1", why) == " (as an arm: bkdsnn:pooled=True)"
    assert rehearsal._as_arm("tdkd", "needs more time steps") == rehearsal._as_arm("mine:build", why) == ""


def test_a_smoke_comparison_concludes_nothing_and_names_what_comes_next(compare, capsys):
    compare("--methods", "kd", "--seeds", "0", "1", "--smoke")
    said = capsys.readouterr()
    assert "Nothing can be said: a smoke run takes two steps of every stage." in said.out
    assert "Students are not kept" in said.out + said.err


def test_methods_with_commas_between_them():
    with pytest.raises(ValueError, match="no method is called 'kd,ckd'; several have spaces between them"):
        read_arms(RECIPE, ["kd,ckd"])


def test_the_share_of_a_gradient_leaves_the_states_reset():
    """Neurons in a checkpoint run again for it, and for the backward behind it."""
    images, labels, found = (
        3 * torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)),
        torch.arange(4),
        [],
    )
    for again in (False, True):
        distiller = CKDDistiller(make_teacher(), Checkpointed(again), time_steps=4, gamma=0.0, student_layer="fire")
        out = distiller(images, labels)
        share = costs.gradient_share(out, distiller.student)
        out.loss.backward()
        found.append((torch.tensor(share), distiller.student.first.weight.grad))
    for plain, other in zip(*found, strict=True):
        torch.testing.assert_close(plain, other)


def test_two_words_for_times():
    assert [_seconds(text) for text in ("90s", "30m", "2h", "1.5 h")] == [90, 1800, 7200, 5400]


# --- batches ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_image_folder(tmp_path_factory.mktemp("images"), classes=3, per_class_train=8, per_class_test=3)


def loaded(folder, **options):
    options = DataOptions(size=20, val_images=6, **options)
    return image_folder(folder, options), options


def test_decoded_images_are_those_of_the_loaders(folder):
    data, options = loaded(folder)
    for part in ("val", "test"):
        one, other = (torch.cat([x for x, _ in b.part(part)]) for b in (InMemory(data, options, 4), Loaded(data, 4)))
        assert torch.allclose(one, other, atol=1e-5)
    memory = InMemory(data, options, 4)
    assert (memory.steps, memory.count("val"), memory.count("test")) == (4, 6, 9)


def test_images_that_are_measured_are_drawn_from_the_whole_part(folder):
    data, options = loaded(folder)
    rows = drawn_rows(9, 4)
    assert len({data.test[row][1] for row in rows}) == 3, "each class has three images, and their files stand together"
    whole = torch.stack([data.test[row][0] for row in rows])
    for batches in (InMemory(data, options, 4), Loaded(data, 4)):
        assert torch.allclose(batches.some("test", 4), whole, atol=1e-5)
        assert len(batches.some("val", 99)) == batches.count("val")
    middle = InMemory(data, options, 4, crop=16).some("test", 4)
    assert torch.allclose(middle, whole[..., 2:18, 2:18], atol=1e-5)


def test_inputs_that_are_no_pictures_keep_their_values(folder):
    data, options = loaded(folder)
    parts = {
        name: TransformedSubset(part.source, part.rows, lambda picture, own=part.transform: 3.7 * own(picture))
        for name, part in (("train", data.train), ("validation", data.validation), ("test", data.test))
    }
    measured = replace(data, **parts)
    batches = batches_of(measured, options, 4, None)
    assert isinstance(batches, Loaded)
    assert torch.equal(next(batches.part("test"))[0][0], parts["test"][0][0])
    assert isinstance(batches_of(data, options, 4, None), InMemory)
    with pytest.raises(ValueError, match="no pictures of 8 bit: leave out --crop"):
        batches_of(measured, options, 4, 16)


@pytest.mark.parametrize("broken", [4, None], ids=["NaN", "no normalisation"])
def test_inputs_with_nan_or_without_a_normalisation_are_not_taken_for_pictures(folder, broken):
    data, options = loaded(folder)
    seen = iter(range(10**6))

    def spoiled(picture):
        return data.test.transform(picture) * (torch.nan if next(seen) == broken else 1)

    test = TransformedSubset(data.test.source, data.test.rows, spoiled)
    about = {"mean": None, "std": None} if broken is None else {}
    assert isinstance(batches_of(replace(data, test=test, **about), options, 4, None), Loaded)


def test_the_batches_of_an_epoch_follow_from_seed_and_epoch(folder):
    data, options = loaded(folder, crop_padding=3, flip=True)
    for batches in (InMemory(data, options, 4), Loaded(data, 4)):
        of = {key: torch.cat([x for x, _ in batches.train(*key)]) for key in ((0, 0), (0, 1), (1, 0))}
        assert torch.equal(of[0, 0], torch.cat([x for x, _ in batches.train(0, 0)]))
        assert not torch.equal(of[0, 0], of[0, 1])
        assert not torch.equal(of[0, 0], of[1, 0])


def test_a_random_crop_is_a_part_of_its_image_and_a_flip_its_mirror(folder):
    data, options = loaded(folder, flip=True)
    memory = InMemory(data, options, 4, crop=16)
    images = memory._parts["train"][0]
    generator = torch.Generator().manual_seed(0)
    cut = memory._augmented(images, generator)
    assert cut.shape == (18, 3, 16, 16)
    for image, part in zip(images, cut, strict=True):
        windows = image.unfold(1, 16, 1).unfold(2, 16, 1).permute(1, 2, 0, 3, 4).reshape(-1, 3, 16, 16)
        assert any(torch.equal(window, way) for window in windows for way in (part, part.flip(-1)))
    middle = next(iter(memory.part("test")))[0]
    whole = next(iter(InMemory(data, options, 4).part("test")))[0]
    assert torch.equal(middle, whole[..., 2:18, 2:18])


def test_networks_and_teacher_see_what_is_cut_out(folder):
    data, _ = loaded(folder)
    seen = cropped(data, 16)
    assert seen.size == 16
    assert {part[0][0].shape[-1] for part in (seen.train, seen.validation, seen.test)} == {16}
    assert torch.equal(seen.test[0][0], data.test[0][0][:, 2:18, 2:18])
    assert cropped(data, None) is data


# --- processes -------------------------------------------------------------------------------------------------------


def wait_for(condition, process, seconds=600):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.1)


def children(pid):
    """Processes that another one started, of which only those that train a seed."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in found if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill_twice(asked, begun):
    """Start a comparison of two processes, kill one of them and then the whole, and run the same command to its end.

    Args:
        asked: its flags.
        begun: whether a checkpoint is there.
    """
    line = [sys.executable, "-m", "spikingjelly_ckd", "compare", *asked]
    environment = os.environ | {"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", "OMP_NUM_THREADS": "1"}

    def begin(**more):
        return subprocess.Popen(line, env=environment | more, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    process = begin()
    wait_for(begun, process)
    worker = children(process.pid)[0]
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: len(children(process.pid)) == 2 and worker not in children(process.pid), process)
    left = children(process.pid)
    process.kill()
    process.communicate()
    end = time.monotonic() + 60
    while any(map(is_alive, left)):
        assert time.monotonic() < end, "a process goes on without its parent"
        time.sleep(0.1)
    process = begin(PAUSE="0")
    _, said = process.communicate(timeout=500)
    assert process.returncode == 0, said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_comparison_that_is_killed_twice_ends_like_one_that_is_not(ground, compare, tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_nets, "PAUSE", 0)  # in this process, which nobody kills
    slow = {"student": "tiny_nets:slow_student"}
    asked = ("--methods", "ckd", "kd", "--seeds", "0", "1", "--jobs", "2", "--epochs", "3")
    whole = compare(*asked, out=tmp_path / "whole", **slow)
    out = tmp_path / "killed"
    checkpoints = [out / "checkpoints" / f"seed{seed}" / "latest.ckpt" for seed in (0, 1)]
    kill_twice(flags(ground, out, *asked, **slow), lambda: any(path.exists() for path in checkpoints))
    assert results(out) == whole


def test_a_seed_fails_where_its_process_is_killed_again():
    outcome, waiting = workers.Outcome(), workers.deque()
    worker = workers._Worker(seed=5, place=0, process=None, pipe=None, tries=0)
    workers._settle(worker, ("killed", -9), outcome, waiting)
    assert list(waiting) == [(5, 1)]
    workers._settle(replace(worker, tries=1), ("killed", -9), outcome, waiting)
    assert outcome.failed == {5: "its process was killed 2 times (-9)"}
