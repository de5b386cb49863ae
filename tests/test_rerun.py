"""Runs that are repeated from their records, and records that name what they should not."""

import json
import os
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_data import write_cifar

from spikingjelly_ckd.__main__ import main
from spikingjelly_ckd.recipes.records.schema import Record
from spikingjelly_ckd.recipes.rerun import compare
from spikingjelly_ckd.recipes.row import run_row

pytestmark = pytest.mark.tools

HERE = Path(__file__).parent
SCRIPT = HERE.parent / "examples" / "cifar10_r20.py"
FLAGS = (
    *("--device", "cpu", "--amp", "32-true", "--no-progress", "--energy-images", "0", "-j", "0", "--allow-partial"),
    *("--any-teacher", "-b", "10", "--epochs", "2", "--teacher-epochs", "1", "--train-images", "20"),
)


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """A run with seed 1 that learned from the teacher of a run with seed 0, with networks of the package."""
    folder = tmp_path_factory.mktemp("ground")
    write_cifar(folder / "data", "10", per_class_train=4, per_class_test=2)
    before = os.getcwd()
    os.chdir(folder)
    try:
        recipe = runpy.run_path(str(SCRIPT))["RECIPE"]
        for seed in ("0", "1"):
            run_row(recipe, ["--data-path", str(folder / "data"), *FLAGS, "--seed", seed])
    finally:
        os.chdir(before)
    return folder / "runs" / "cifar10_r20" / "ckd-seed1"


@pytest.fixture(scope="module")
def again(ground, tmp_path_factory):
    """The folder of its rerun, and the exit status."""
    folder = tmp_path_factory.mktemp("again") / "run"
    status = main(["rerun", str(ground / "record.json"), "--output-dir", str(folder)])
    return folder, status


def edited(folder, record, **changes):
    """A record with other values; ``recipe__lr`` changes one of a part."""
    content = json.loads((record / "record.json").read_text())
    for name, value in changes.items():
        *parts, last = name.split("__")
        inner = content
        for part in parts:
            inner = inner[int(part)] if part.isdecimal() else inner[part]
        inner[last] = value
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "record.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.slow
def test_a_run_is_repeated_from_its_record_with_its_own_teacher(ground, again):
    folder, status = again
    assert status == 0
    first, second = Record.read(ground / "record.json"), Record.read(folder / "record.json")
    assert first.teacher.made["seed"] == second.teacher.made["seed"] == 0
    assert first.student.sha256 == second.student.sha256, "to the last bit"
    assert first.teacher.sha256 == second.teacher.sha256
    assert first.recipe == second.recipe
    assert first.sources == second.sources
    equal, lines = compare(first, second)
    assert equal
    assert lines == [
        f"rerun: cifar10_r20, ckd, seed 1: equal in every figure of 2 epochs; test accuracy last "
        f"{first.accuracy.last:.2f} %"
    ]


@pytest.mark.slow
def test_a_record_whose_accuracy_was_edited_differs(ground, tmp_path, capsys):
    rows = json.loads((ground / "record.json").read_text())["history"]
    best = 100.0
    path = edited(
        tmp_path / "edited",
        ground,
        **{
            "history__1__test_acc1": best,
            "accuracy__last": best,
            "accuracy__best": best,
            "accuracy__best_epoch": 2,
            "accuracy__mean_last_5": (rows[0]["test_acc1"] + best) / 2,
            "environment__versions__timm": "0.0\x1b[2J",
            "environment__git": "0" * 40,
        },
    )
    capsys.readouterr()
    assert main(["rerun", str(path)]) == 1
    out = capsys.readouterr().out
    said = [line for line in out.splitlines() if line.startswith(("rerun: ", "  "))]
    assert said[0].startswith(
        f"rerun: cifar10_r20, ckd, seed 1: differs from epoch 2 on: test_acc1 {rows[1]['test_acc1']} here, 100.0 rec"
    )
    assert any(line.startswith("  last: ") and "100.00 % recorded" in line for line in said)
    assert any(line.startswith("  timm: ") and line.endswith("0.0\\x1b[2J recorded") for line in said)
    assert any(line.startswith("  git: ") for line in said)
    assert not any("sha256" in line for line in said), "the weights are those of the record"
    assert (tmp_path / "edited-rerun" / "student.safetensors").is_file(), "beside the record's own folder"


@pytest.mark.slow
def test_a_students_function_is_said_by_hand_and_a_smoke_run_stays_one(ground, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(HERE))
    import tiny_nets

    recipe = replace(runpy.run_path(str(SCRIPT))["RECIPE"], student=tiny_nets.student, teacher=tiny_nets.teacher)
    data = ("--data-path", str(ground.parents[2] / "data"))
    run_row(recipe, [*data, *FLAGS, "--smoke", "--output-dir", str(tmp_path / "own")])
    line = ["rerun", str(tmp_path / "own" / "record.json")]
    monkeypatch.delitem(sys.modules, "tiny_nets")
    assert main(line) == 2
    assert "record names tiny_nets:student as student, which is no function of this package" in capsys.readouterr().err
    assert "tiny_nets" not in sys.modules, "a record alone makes nothing be imported"
    assert not (tmp_path / "own-rerun").exists()
    by_hand = ["--student", "tiny_nets:student", "--teacher-build", "tiny_nets:teacher"]
    (tmp_path / "moved").mkdir()
    shutil.copytree(data[1], tmp_path / "moved" / "data")
    assert main([*line, *by_hand, "--data-path", str(tmp_path / "moved" / "data")]) == 0
    second = Record.read(tmp_path / "own-rerun" / "record.json")
    assert second.smoke
    assert second.accuracy.epochs == 1


@pytest.mark.slow
def test_other_data_or_another_teacher_are_refused_before_the_training(ground, tmp_path, capsys):
    write_cifar(tmp_path / "data", "10", per_class_train=3, per_class_test=2)
    line = ["rerun", str(ground / "record.json"), "--output-dir", str(tmp_path / "out")]
    assert main([*line, "--data-path", str(tmp_path / "data")]) == 2
    assert "holds other samples than the run had: split official[20+20]" in capsys.readouterr().err
    teacher = tmp_path / "teacher.safetensors"
    teacher.write_bytes(b"another")
    assert main([*line, "--teacher", str(teacher)]) == 2
    assert "is not the teacher of the run, whose sha256 is" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("which", ["own", "filled"])
def test_the_folder_is_a_new_one(ground, tmp_path, capsys, which):
    (tmp_path / "filled").mkdir()
    (tmp_path / "filled" / "file").touch()
    folder = ground if which == "own" else tmp_path / "filled"
    before = sorted(folder.iterdir())
    assert main(["rerun", str(ground / "record.json"), "--output-dir", str(folder)]) == 2
    assert "pass another" in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


HOSTILE = {
    "recipe__student": ["os:system", "subprocess:run", "spikingjelly_ckd.recipes.names:importlib", "x", "", 3, None],
    "recipe__data": ["os:system", "spikingjelly_ckd.recipes.data:os", "spikingjelly_ckd.recipes.names:resolve_name"],
    "recipe__teacher": ["torch:load", "<lambda>", ["resnet20"]],
    "recipe__name": ["a\x1b[2Jb", "a\nb", 3],
    "recipe__lr": ["0.1", None, True, -1, 10**400],
    "recipe__time_steps": [10**8, 0, 1.5, "4"],
    "recipe__size": [10**6, -1],
    "recipe__batch_size": [10**9, 0],
    "recipe__amp": ["half", 3, ["32-true"]],
    "recipe__beta": ["most", -1, {}],
    "recipe__auto_augment": ["\u202e", 3, "no-such-policy"],
    "recipe__new_value": [1],
    "recipe__student_layer": [3, ["0"]],
    "options__devices": [10**6, 0, "all", True],
    "options__num_nodes": [10**6],
    "options__workers": ["many", -1],
    "options__teacher": ["timm:hf-hub:someone/model", 3, "no/such/file.pth"],
    "options__teacher_build": ["os:system", 3],
    "options__teacher_cache": [10**9, 0],
    "options__strategy": ["fast", None],
    "options__data_path": [3, "a\x00b", "no/such/folder", None],
    "options__train_images": ["all", -5, 10**6],
    "options__energy_images": [None],
    "options__new_option": [True],
    "seed": [2**63],
    "teacher__made__seed": [-1, "0", 2**70],
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in HOSTILE.items() for value in values])
def test_a_record_that_asks_for_what_it_may_not_is_refused_in_one_line(ground, tmp_path, capsys, name, value):
    path = edited(tmp_path / "run", ground, **{name: value})
    assert main(["rerun", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rerun: error: ")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert len(err) < 1000
    assert not list((tmp_path).glob("run-rerun/*.ckpt"))


@pytest.mark.slow
def test_what_cannot_be_repeated_says_so(ground, tmp_path, capsys):
    teacher = ground.parent / "teacher" / "record.json"
    unfinished = edited(tmp_path, ground, finished=False, accuracy=None, history=[])
    missing = json.loads((ground / "record.json").read_text())
    del missing["recipe"]["lr"]
    (tmp_path / "missing.json").write_text(json.dumps(missing))
    for path, words in {
        tmp_path / "nowhere.json": "there is no file",
        teacher: "is of a teacher; pass the record of a row",
        unfinished: "has no finished epoch, so there is nothing to compare with",
        tmp_path / "missing.json": "the recipe of the record does not say lr, so the run cannot be repeated",
    }.items():
        assert main(["rerun", str(path), "--output-dir", str(tmp_path / "out")]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.slow
def test_a_record_without_a_history_and_one_that_stopped_early_are_compared_too(ground):
    record = Record.read(ground / "record.json")
    bare = replace(record, history=[])
    assert compare(bare, record)[0]
    other = replace(bare, accuracy=replace(record.accuracy, last=record.accuracy.last + 1))
    equal, lines = compare(other, record)
    assert not equal
    assert "differs in its accuracies: last" in lines[0]
    first = record.history[:1]
    half = replace(record, finished=False, history=first, accuracy=replace(record.accuracy, epochs=1))
    assert compare(half, record)[0]
    equal, lines = compare(record, half)
    assert not equal
    assert "differs from epoch 2 on: it was not trained here" in lines[0]
