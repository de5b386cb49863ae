"""What a run writes: whole or not at all, by one process at a time, and taken up only by whom it belongs to."""

import errno
import functools
import json
import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_nets
import torch
from safetensors.torch import load_file
from tiny_data import write_cifar, write_image_folder

from spikingjelly_ckd.recipes import files, teacher_identity
from spikingjelly_ckd.recipes import row as row_module
from spikingjelly_ckd.recipes.command_line import brief_errors
from spikingjelly_ckd.recipes.export import file_hash, load_network, save_network
from spikingjelly_ckd.recipes.files import is_first_process, locked, set_aside, whole_file
from spikingjelly_ckd.recipes.options import output_folder
from spikingjelly_ckd.recipes.records import read_record
from spikingjelly_ckd.recipes.row import run_row, run_teacher
from spikingjelly_ckd.recipes.training import StepSeeds
from spikingjelly_ckd.recipes.training.fit import _plugins
from spikingjelly_ckd.recipes.training.resume import (
    SETTINGS,
    WholeCheckpoints,
    find_checkpoint,
    read_checkpoint,
    read_settings,
)
from spikingjelly_ckd.recipes.training.stopping import StopTogether

pytestmark = pytest.mark.tools

HERE = Path(__file__).parent
SCRIPT = HERE.parent / "examples" / "cifar10_r20.py"
MACHINE = ("--device", "cpu", "--amp", "32-true", "--no-progress", "--energy-images", 0, "-j", 0, "--no-preflight")
SHORT = ("-b", 10, "--epochs", 2, "--teacher-epochs", 2, "--warmup-epochs", 0, "--allow-partial", "--any-teacher")


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# --- one file --------------------------------------------------------------------------------------------------------


def write(path, content):
    with whole_file(path) as file:
        file.write(content)


@pytest.mark.parametrize("fails", ["fsync", "replace", "chmod"])
def test_a_full_disk_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, fails):
    path = tmp_path / "a.txt"
    write(path, b"before")
    monkeypatch.setattr(os, fails, full)
    words = r"a\.txt cannot be written: No space left on device\. What was there before .*, then try again$"
    with pytest.raises(OSError, match=words):
        write(path, b"after")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.txt", b"before")]


def test_a_full_disk_is_told_with_what_goes_on_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full)
    for to_go_on in ("the same command", "--resume latest"):
        words = f"written: .*; see to the disk and the folder, then go on with {to_go_on}$"
        with pytest.raises(SystemExit, match=words), brief_errors(to_go_on=to_go_on):
            write(tmp_path / "a.txt", b"")


def test_a_folder_that_is_gone_is_named(tmp_path):
    with pytest.raises(OSError, match=r"its folder .*gone is gone"):
        write(tmp_path / "gone" / "a.txt", b"")


def test_an_error_in_the_block_is_not_a_full_disk(tmp_path):
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "a.txt"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_what_is_set_aside_is_kept_each_time(tmp_path, capsys):
    for content in ("one", "two", "three"):
        (tmp_path / "a").write_text(content)
        set_aside(tmp_path / "a", "a is damaged")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "a.damaged": "one",
        "a.damaged2": "two",
        "a.damaged3": "three",
    }
    assert "a is damaged; it was set aside as a.damaged2\n" in capsys.readouterr().err


def test_only_the_first_of_several_processes_locks_and_speaks(tmp_path, monkeypatch, capsys):
    for name in files.RANKS:
        monkeypatch.delenv(name, raising=False)
    assert is_first_process()
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not is_first_process()
    files.say("hello")
    with locked(tmp_path), locked(tmp_path):
        assert not list(tmp_path.iterdir())
    assert not capsys.readouterr().err


# --- one folder ------------------------------------------------------------------------------------------------------


def test_a_folder_is_held_by_one_and_the_other_is_told_by_whom(tmp_path):
    (tmp_path / "a.txt.x.part").write_text("of a killed process")
    with locked(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["run.lock"]
        words = rf"is in use by process {os.getpid()} on \S+ since \d{{4}}-.*: wait"
        with pytest.raises(RuntimeError, match=words), locked(tmp_path):
            pass
    assert not list(tmp_path.iterdir())
    with locked(tmp_path):
        pass


HOLD = """
import time
from pathlib import Path
from spikingjelly_ckd.recipes.files import locked
with locked(Path({!r})):
    print("held", flush=True)
    time.sleep({})
"""


def hold(folder, seconds):
    line = [sys.executable, "-c", HOLD.format(str(folder), seconds)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_killed_process_holds_nothing(tmp_path):
    process = hold(tmp_path, 600)
    with pytest.raises(RuntimeError, match=f"in use by process {process.pid} on"), locked(tmp_path):
        pass
    process.kill()
    process.wait()
    assert (tmp_path / "run.lock").exists()
    with locked(tmp_path):
        assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()


def test_who_waits_gets_the_folder_when_it_is_free(tmp_path, capsys):
    process = hold(tmp_path, 1)
    with locked(tmp_path, wait="the teacher"):
        assert process.wait(timeout=10) == 0
    assert f"is in use by process {process.pid} on" in (said := capsys.readouterr().err)
    assert said.count("waiting for the teacher") == 1


def test_a_loading_process_does_not_hold_the_folder_of_its_parent(tmp_path):
    context = multiprocessing.get_context("fork")
    with locked(tmp_path):
        child = context.Process(target=time.sleep, args=(600,))
        child.start()
    try:
        with locked(tmp_path):
            pass
    finally:
        child.kill()
        child.join()


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, capsys):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(files.fcntl, "flock", unsupported)
    with locked(tmp_path):
        pass
    assert "on a file system without locks: see to it that one run at a time writes there" in capsys.readouterr().err


# --- checkpoints -----------------------------------------------------------------------------------------------------


def checkpoint(value):
    return {"state_dict": {"weight": torch.full((1000,), float(value))}, "epoch": value, SETTINGS: {"seed": 0}}


def save(path, value):
    WholeCheckpoints().save_checkpoint(checkpoint(value), path)


def values(folder):
    return {path.name: read_checkpoint(path)["epoch"] for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("links", [True, False])
def test_the_checkpoint_before_the_last_is_kept(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", full)
    for value in range(3):
        save(tmp_path / "latest.ckpt", value)
        save(tmp_path / "best.ckpt", value)
    assert values(tmp_path) == {"best.ckpt": 2, "latest.ckpt": 2, "previous.ckpt": 1}
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"latest\.ckpt cannot be written: No space left"):
        save(tmp_path / "latest.ckpt", 3)
    assert values(tmp_path) == {"best.ckpt": 2, "latest.ckpt": 2, "previous.ckpt": 1}


def flip(path, where=0.5):
    content = bytearray(path.read_bytes())
    content[int(len(content) * where)] ^= 1
    path.write_bytes(content)


def test_a_flipped_byte_is_found_and_the_one_before_is_taken(tmp_path, capsys):
    for value in range(2):
        save(tmp_path / "latest.ckpt", value)
    flip(tmp_path / "latest.ckpt")
    assert torch.load(tmp_path / "latest.ckpt")["epoch"] == 1, "PyTorch does not see it"
    words = r"latest\.ckpt cannot be read \(cut off or damaged: the checksum of .*beside it: previous\.ckpt"
    with pytest.raises(ValueError, match=words):
        read_checkpoint(tmp_path / "latest.ckpt")
    assert find_checkpoint("latest", tmp_path) == tmp_path / "previous.ckpt"
    said = capsys.readouterr().err
    assert "it was set aside as latest.ckpt.damaged" in said
    assert "Going on from" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest.ckpt.damaged", "previous.ckpt"]
    flip(tmp_path / "previous.ckpt")
    with pytest.raises(ValueError, match=r"previous\.ckpt cannot be read .*there is no other: begin anew"):
        find_checkpoint("latest", tmp_path)
    assert (tmp_path / "previous.ckpt").exists(), "nothing else to go on from, so it stays where it is looked for"


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_a_foreign_file_is_no_checkpoint(tmp_path, content):
    (tmp_path / "latest.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"latest\.ckpt cannot be read \(cut off or damaged: .*begin anew"):
        find_checkpoint("latest", tmp_path)


def test_every_flipped_byte_is_found_or_changes_nothing(tmp_path):
    save(tmp_path / "whole.ckpt", 7)
    content = (tmp_path / "whole.ckpt").read_bytes()
    expected = read_checkpoint(tmp_path / "whole.ckpt")
    damaged = tmp_path / "damaged.ckpt"
    found = 0
    for place in range(0, len(content), 41):
        damaged.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        try:
            saved = read_checkpoint(damaged)
        except ValueError:
            found += 1
        else:
            assert torch.equal(saved["state_dict"]["weight"], expected["state_dict"]["weight"])
            assert (saved["epoch"], saved[SETTINGS]) == (7, {"seed": 0})
    assert found > 0.7 * len(content) / 41


# --- weights and their description -----------------------------------------------------------------------------------


def test_weights_of_another_json_are_refused(tmp_path):
    path = save_network(tmp_path / "a.safetensors", tiny_nets.teacher(3), tiny_nets.teacher, {"num_classes": 3})
    assert json.loads(path.with_suffix(".json").read_text())["sha256"] == file_hash(path)
    load_network(path, tiny_nets.teacher)
    flip(path, 0.9)
    with pytest.raises(ValueError, match=r"a\.safetensors is not the file that a\.json was written for .*sha256"):
        load_network(path, tiny_nets.teacher)


# --- rows ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ground")
    write_cifar(folder / "data", "10", per_class_train=2, per_class_test=1)
    return folder


@functools.cache
def recipe():
    return replace(runpy.run_path(str(SCRIPT))["RECIPE"], teacher=tiny_nets.teacher, student=tiny_nets.student)


def line(ground, out, *flags):
    return [str(part) for part in ("--data-path", ground / "data", "--output-dir", out, *MACHINE, *SHORT, *flags)]


def row(ground, out, *flags):
    return run_row(recipe(), line(ground, out, *flags))


def same_end(one, other):
    first, second = load_file(one / "student.safetensors"), load_file(other / "student.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in {*first, *second})
    histories = [read_record(folder / "record.json")["history"] for folder in (one, other)]
    first, second = ([{**row, "seconds": 0} for row in history] for history in histories)
    assert first == second


@pytest.fixture(scope="module")
def whole(ground, tmp_path_factory):
    """A run that was never stopped."""
    out = tmp_path_factory.mktemp("whole")
    row(ground, out)
    return out


@pytest.mark.slow
def test_a_teacher_is_taken_up_by_whom_it_was_made_for(ground, whole, tmp_path, capfd):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    first = file_hash(tmp_path / "teacher" / "teacher.safetensors")
    capfd.readouterr()
    again = row(ground, tmp_path, "--overwrite", "--seed", 1, "--beta", 0.5)
    assert again["teacher"]["sha256"] == first, "another seed and another method share it"
    assert again["teacher"]["made"]["seed"] == 0
    assert again["teacher"]["made"]["recipe"]["epochs"] == 2
    words = "trained by an earlier run: teacher, 2 epochs, lr 0.05, split official, seed 0; its file says"
    assert words in capfd.readouterr().err
    other = row(ground, tmp_path, "--overwrite", "--teacher-epochs", 1)
    said = capfd.readouterr()
    assert "was made otherwise (epochs 2, not 1); it is left as it is" in said.err
    assert other["teacher"]["made"]["recipe"]["epochs"] == 1
    assert other["teacher"]["sha256"] != first
    assert file_hash(tmp_path / "teacher" / "teacher.safetensors") == first
    (beside,) = tmp_path.glob("teacher-*")
    written = (beside / "teacher.safetensors").stat().st_mtime_ns
    again = row(ground, tmp_path, "--overwrite", "--teacher-epochs", 1)
    assert again["teacher"]["sha256"] == other["teacher"]["sha256"]
    assert (beside / "teacher.safetensors").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("-b", 5), "batch_size 10, not 5"),
        (("--teacher-lr", 0.03), "lr 0.05, not 0.03"),
        (("--smoke",), "smoke False, not True"),
        (("--size", 16), "size 32, not 16"),
    ],
)
@pytest.mark.slow
def test_whatever_a_teacher_depends_on_makes_another(ground, whole, tmp_path, monkeypatch, capsys, flags, words):
    """What is beside it is asked for; nothing is trained here."""
    shutil.copytree(whole / "teacher", tmp_path / "teacher")
    asked = []

    def train(recipe, run, data, folder, **_):
        asked.append(folder)
        raise ArithmeticError

    monkeypatch.setattr("spikingjelly_ckd.recipes.teachers.train_teacher", train)
    with pytest.raises(ArithmeticError):
        row(ground, tmp_path, *flags)
    assert words in capsys.readouterr().err
    assert asked == [next(tmp_path.glob("teacher-*"))]


def test_a_smoke_run_of_the_teachers_script_lies_where_smoke_runs_lie(ground, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = [str(x) for x in ("--data-path", ground / "data", *MACHINE, "--allow-partial", "--smoke")]
    path = run_teacher(recipe(), flags, None, False)
    assert path == Path("runs/cifar10_r20/smoke/teacher/teacher.safetensors")
    about = json.loads(path.with_suffix(".json").read_text())
    assert about["made"]["smoke"]
    assert about["made"]["recipe"]["epochs"] == 1


@pytest.mark.slow
def test_a_teacher_of_an_earlier_version_is_known_by_its_record(whole, tmp_path):
    shutil.copytree(whole / "teacher", tmp_path / "teacher")
    about = json.loads((whole / "teacher" / "teacher.json").read_text())
    (tmp_path / "teacher" / "making.json").unlink()
    made = about.pop("made")
    (tmp_path / "teacher" / "teacher.json").write_text(json.dumps(about))
    assert teacher_identity.claims(tmp_path / "teacher") == [made]
    (tmp_path / "teacher" / "record.json").unlink()
    (unknown,) = teacher_identity.claims(tmp_path / "teacher")
    assert "epochs unknown, not 2" in teacher_identity.differences(unknown, made)


@pytest.mark.parametrize("lost", ["teacher.json", "teacher.safetensors", "flipped", "torn json", "torn claim"])
@pytest.mark.slow
def test_a_teacher_that_is_not_whole_is_made_again(ground, whole, tmp_path, lost):
    shutil.copytree(whole / "teacher", tmp_path / "teacher")
    weights, about = (tmp_path / "teacher" / f"teacher.{end}" for end in ("safetensors", "json"))
    if lost == "flipped":
        flip(weights, 0.9)
    elif lost.startswith("torn"):
        torn = about if lost == "torn json" else tmp_path / "teacher" / "making.json"
        torn.write_text(torn.read_text()[:50])
    else:
        (tmp_path / "teacher" / lost).unlink()
    row(ground, tmp_path)
    assert file_hash(weights) == file_hash(whole / "teacher" / "teacher.safetensors"), "from its checkpoint"
    same_end(whole, tmp_path)
    assert len(list(tmp_path.glob("teacher/*.damaged"))) == (lost not in ("teacher.json",))


@pytest.mark.slow
def test_a_second_run_in_the_folder_is_refused_and_changes_nothing(ground, tmp_path, monkeypatch):
    with locked(tmp_path):
        with pytest.raises(RuntimeError, match=f"is in use by process {os.getpid()} on .* pass another --output-dir"):
            row(ground, tmp_path, "--overwrite")
        with pytest.raises(SystemExit, match="is in use by process"):
            run_teacher(recipe(), line(ground, tmp_path), None, False)
        assert [path.name for path in tmp_path.iterdir()] == ["run.lock"]


def stops_in(epoch, of_teacher):
    def step(seeds, trainer, module, batch, batch_idx):
        if (type(module).__name__ == "ClassifierModule") == of_teacher and trainer.current_epoch == epoch:
            raise KeyboardInterrupt
        original(seeds, trainer, module, batch, batch_idx)

    original = StepSeeds.on_train_batch_start
    return step


@pytest.mark.slow
def test_a_student_of_another_code_is_not_resumed(ground, whole, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path / "out")
    (name,) = (
        name for name in read_settings(tmp_path / "out") if name.startswith("what the student's function builds")
    )
    monkeypatch.setattr(row_module, "code_of", lambda *_: {name: "00000000"})
    with pytest.raises(ValueError, match=r"had other settings.*what the student's function builds \(.*-> 00000000"):
        row(ground, tmp_path / "out", "--resume", "latest")


@pytest.mark.parametrize(("epoch", "of_teacher"), [(0, True), (1, True), (0, False), (1, False)])
@pytest.mark.slow
def test_stopped_anywhere_and_resumed_is_as_if_never_stopped(ground, whole, tmp_path, epoch, of_teacher):
    interrupt = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StepSeeds, "on_train_batch_start", stops_in(epoch, of_teacher))
        with pytest.raises(SystemExit) as stopped:
            row(ground, tmp_path)
    signal.signal(signal.SIGINT, interrupt)
    assert stopped.value.code
    with pytest.raises(ValueError, match="had other settings, so it cannot be resumed: lr 0.1 -> 0.05"):
        row(ground, tmp_path, "--resume", "latest", "--lr", 0.05)
    row(ground, tmp_path, "--resume", "latest")
    same_end(whole, tmp_path)
    first, second = (file_hash(out / "teacher" / "teacher.safetensors") for out in (whole, tmp_path))
    assert first == second


@pytest.mark.slow
def test_a_teacher_alone_goes_on_as_if_never_stopped(ground, tmp_path):
    interrupt = signal.getsignal(signal.SIGINT)
    flags = ("--epochs", 2, "--val-images", 10)
    run_teacher(recipe(), line(ground, tmp_path / "whole", *flags), None, False)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StepSeeds, "on_train_batch_start", stops_in(1, True))
        with pytest.raises(SystemExit):
            run_teacher(recipe(), line(ground, tmp_path / "stopped", *flags), None, False)
    signal.signal(signal.SIGINT, interrupt)
    for other in (("--lr", 0.07), ("--seed", 1)):
        with pytest.raises(SystemExit, match="had other settings"):
            run_teacher(recipe(), line(ground, tmp_path / "stopped", *flags, "--resume", "latest", *other), None, False)
    run_teacher(recipe(), line(ground, tmp_path / "stopped", *flags, "--resume", "latest"), None, False)
    first, second = (file_hash(tmp_path / name / "teacher.safetensors") for name in ("whole", "stopped"))
    assert first == second


@pytest.mark.slow
def test_the_checkpoint_before_the_last_leads_to_the_same_end(ground, whole, tmp_path, capfd):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    flip(tmp_path / "latest.ckpt")
    (tmp_path / "record.json").write_text('{"format": 2, "row"')
    record = row(ground, tmp_path, "--resume", "latest")
    assert record["resumed_after_epochs"] == [1]
    same_end(whole, tmp_path)
    said = capfd.readouterr().err
    assert "latest.ckpt.damaged" in said
    assert "record.json is cut off" in said
    assert (tmp_path / "record.json.damaged").exists()


@pytest.mark.slow
def test_a_job_that_slurm_starts_again_goes_on(ground, whole, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    record = row(ground, tmp_path)
    assert record["resumed_after_epochs"] == [2]
    same_end(whole, tmp_path)


@pytest.mark.parametrize("slurm", [True, False])
def test_lightning_does_not_requeue_from_the_middle_of_an_epoch(monkeypatch, slurm):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    if slurm:
        monkeypatch.setenv("SLURM_NTASKS", "1")
        monkeypatch.setenv("SLURM_JOB_NAME", "train")
    writer, *environments = _plugins()
    assert isinstance(writer, WholeCheckpoints)
    assert [environment.auto_requeue for environment in environments] == ([False] if slurm else [])


@pytest.mark.parametrize("calls", [4, 9, 14, 19, 24])
@pytest.mark.slow
def test_a_disk_that_is_full_for_a_while(ground, whole, tmp_path, calls):
    """The n-th file cannot be written: one line, nothing half written, and then the same end."""
    real, done = os.fsync, []

    def fsync(number):
        done.append(number)
        return full() if len(done) >= calls else real(number)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with (
            pytest.raises(SystemExit, match=r"error: \S+ cannot be written: No space left on device\. "),
            brief_errors(),
        ):
            row(ground, tmp_path)
    assert not list(tmp_path.rglob("*.part"))
    begun = (tmp_path / "settings.json").exists()
    row(ground, tmp_path, *(("--resume", "latest") if begun else ()))
    same_end(whole, tmp_path)


@pytest.mark.slow
def test_a_folder_that_goes_away_ends_the_run_in_a_line(ground, tmp_path):
    out = tmp_path / "out"

    def step(seeds, trainer, module, batch, batch_idx):
        original(seeds, trainer, module, batch, batch_idx)
        if type(module).__name__ == "DistillationModule" and trainer.current_epoch == 1 and out.exists():
            out.rename(tmp_path / "moved")

    original = StepSeeds.on_train_batch_start
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StepSeeds, "on_train_batch_start", step)
        with (
            pytest.raises(SystemExit, match=r"error: .*(out is gone|No such file.*/out/).*--resume latest$"),
            brief_errors(),
        ):
            row(ground, out)
    assert not out.exists()
    row(ground, tmp_path / "moved", "--resume", "latest")
    assert read_record(tmp_path / "moved" / "record.json")["finished"]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.slow
def test_data_that_go_away_are_named_in_a_line(tmp_path, workers):
    write_image_folder(tmp_path / "data", classes=10, per_class_train=2, per_class_test=1)

    def step(seeds, trainer, module, batch, batch_idx):
        shutil.rmtree(tmp_path / "data" / "train" / "class003", ignore_errors=True)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StepSeeds, "on_train_batch_start", step)
        with pytest.raises(SystemExit, match=r"error: .*class003.*\d\.png") as stopped, brief_errors():
            row(tmp_path, tmp_path / "out", "--method", "plain", "-j", workers, "-b", 4, "--epochs", 4)
    assert "Traceback" not in str(stopped.value)
    assert len(str(stopped.value).splitlines()) == 1


@pytest.mark.parametrize("there", [False, True])
def test_a_run_that_is_refused_leaves_no_folder_of_its_own(tmp_path, there):
    folder = tmp_path / "runs" / "one"
    if there:
        folder.mkdir(parents=True)
    with pytest.raises(ValueError, match="refused"), output_folder(folder):
        raise ValueError("refused")
    assert folder.exists() == there == (tmp_path / "runs").exists()
    with output_folder(folder):
        (folder / "record.json").write_text("{}")
    assert [path.name for path in folder.iterdir()] == ["record.json"]


# --- signals, each to a process of its own ---------------------------------------------------------------------------


def background(ground, out, *flags):
    own = ("--student", "tiny_nets:slow_student", "--epochs", 3)
    command = [sys.executable, str(HERE / "durable_row.py"), *line(ground, out, *own, *flags)]
    environment = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=heard, **pipes)


def epochs_of(folder):
    """How many epochs the history has, with whose end the checkpoint is written."""
    return len((folder / "history.csv").read_text("utf8").splitlines()) - 1


def wait_for(process, happened):
    """Until something has happened; a process that takes too long is ended, with those that it started."""
    end = time.monotonic() + 300
    while not happened():
        assert process.poll() is None, process.stderr.read()[-3000:]
        if time.monotonic() > end:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"nothing happened: {process.communicate()[1][-3000:]}")
        time.sleep(0.02)


@pytest.mark.parametrize(("workers", "group"), [(0, False), (2, True)])
@pytest.mark.slow
def test_the_word_of_a_batch_queue_ends_a_run_with_143(ground, tmp_path, workers, group):
    process = background(ground, tmp_path, "-j", workers)
    wait_for(process, (tmp_path / "history.csv").exists)
    time.sleep(0.15)
    (os.killpg if group else os.kill)(process.pid, signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 143, said
    assert "Stopped by SIGTERM. Go on from the end of the last epoch with --resume latest" in said
    assert "Traceback" not in said
    assert not read_record(tmp_path / "record.json")["finished"]
    assert read_checkpoint(tmp_path / "latest.ckpt")["epoch"] == epochs_of(tmp_path) - 1
    assert not (tmp_path / "run.lock").exists()


def test_loading_processes_that_end_late_leave_a_stopped_run_its_status():
    def of_torch(number, frame):
        raise RuntimeError("DataLoader worker is killed by signal: Terminated.")

    trainer = SimpleNamespace(
        world_size=1, strategy=SimpleNamespace(launcher=None), local_rank=0, received_sigterm=True
    )
    before = signal.signal(signal.SIGCHLD, of_torch)
    try:
        with pytest.raises(SystemExit) as ended, StopTogether().watch(trainer):
            os.kill(os.getpid(), signal.SIGCHLD)
        os.kill(os.getpid(), signal.SIGCHLD)
        assert ended.value.code == 143
        assert isinstance(ended.value.__cause__, RuntimeError)
    finally:
        signal.signal(signal.SIGCHLD, before)


TWO_PROCESSES = ("--devices", 2, "--strategy", "ddp", "-b", 2)


@pytest.fixture(scope="module")
def whole_of_two(ground, tmp_path_factory):
    """A run of two gloo processes that was never stopped."""
    out = tmp_path_factory.mktemp("two")
    process = background(ground, out, *TWO_PROCESSES)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0, said
    return out


@pytest.mark.parametrize(
    ("number", "to", "status", "words"),
    [
        (signal.SIGTERM, "both", 143, "Stopped by SIGTERM. Go on from the end of the last epoch with --resume latest"),
        (signal.SIGTERM, "the first", 143, "Stopped by SIGTERM. Go on from"),
        (signal.SIGTERM, "the second", 143, "Stopped by SIGTERM. Go on from"),
        (signal.SIGINT, "both", 1, "Stopped. Go on from the end of the last epoch with --resume latest"),
    ],
)
@pytest.mark.slow
def test_two_processes_end_together_and_go_on_to_the_same_bits(
    ground, whole_of_two, tmp_path, number, to, status, words
):
    shutil.copytree(whole_of_two / "teacher", tmp_path / "teacher")
    process = background(ground, tmp_path, *TWO_PROCESSES)
    wait_for(process, (tmp_path / "history.csv").exists)
    time.sleep(0.15)
    if to == "both":
        os.killpg(process.pid, number)
    else:
        os.kill(process.pid if to == "the first" else only_child(process.pid), number)
    said = process.communicate(timeout=300)[1]  # both are gone then: they share the pipe
    assert process.returncode == status, said
    assert said.count(words) == 1
    assert "Traceback" not in said
    assert not read_record(tmp_path / "record.json")["finished"]
    assert read_checkpoint(tmp_path / "latest.ckpt")["epoch"] == epochs_of(tmp_path) - 1
    assert not list(tmp_path.rglob("*.part"))
    assert not (tmp_path / "run.lock").exists()
    process = background(ground, tmp_path, *TWO_PROCESSES, "--resume", "latest")
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0, said
    same_end(whole_of_two, tmp_path)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="children are looked up in /proc")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)])
@pytest.mark.slow
def test_a_first_process_that_ends_before_the_first_step_leaves_no_other(
    ground, whole_of_two, tmp_path, number, status
):
    shutil.copytree(whole_of_two / "teacher", tmp_path / "teacher")
    process = background(ground, tmp_path, *TWO_PROCESSES)
    wait_for(process, lambda: children(process.pid))
    process.send_signal(number)
    said = process.communicate(timeout=300)[1]  # both are gone then
    assert process.returncode == status, said
    assert "Traceback" not in said


def children(number):
    """The processes of the training that the first one started, and not the programs that it asks for versions."""
    found = map(int, Path(f"/proc/{number}/task/{number}/children").read_text().split())
    return [child for child in found if b"\0LOCAL_RANK=1\0" in environment_of(child)]


def environment_of(number):
    try:
        return b"\0" + Path(f"/proc/{number}/environ").read_bytes()
    except OSError:
        return b""


def only_child(number):
    (child,) = children(number)
    return child


@pytest.mark.slow
def test_three_seeds_at_once_share_one_teacher(ground, tmp_path):
    (tmp_path / "runs").mkdir()
    environment = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    flags = [str(x) for x in ("--data-path", ground / "data", *MACHINE, *SHORT)]
    command = [sys.executable, str(HERE / "durable_row.py"), *flags, "--seed"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    runs = [subprocess.Popen([*command, str(s)], cwd=tmp_path, env=environment, **pipes) for s in range(3)]
    said = [run.communicate(timeout=300)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], said
    teachers = [read_record(path)["teacher"] for path in tmp_path.glob("runs/cifar10_r20/ckd-seed*/record.json")]
    assert len(teachers) == 3
    assert len({(teacher["sha256"], teacher["made"]["seed"]) for teacher in teachers}) == 1
    assert sum("so one is trained first" in text for text in said) == 1
