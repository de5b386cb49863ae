"""Whole runs on a tiny CIFAR-10: training, killing, resuming, exporting, on one process and on two."""

import functools
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest
import tiny_nets
import torch
from safetensors.torch import load_file
from spikingjelly.activation_based import functional
from tiny_data import write_cifar, write_event_folder, write_image_folder
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from spikingjelly_ckd.errors.arguments import ArgumentValueError
from spikingjelly_ckd.errors.checks import check_positive
from spikingjelly_ckd.recipes.build import check_student
from spikingjelly_ckd.recipes.command_line import FLAGS, brief_errors, parse
from spikingjelly_ckd.recipes.data import DataOptions, cifar10
from spikingjelly_ckd.recipes.export import load_network, save_network
from spikingjelly_ckd.recipes.records import read_record
from spikingjelly_ckd.recipes.records.schema import Record
from spikingjelly_ckd.recipes.row import run_row
from spikingjelly_ckd.recipes.training import StepSeeds

pytestmark = [pytest.mark.slow, pytest.mark.tools]

HERE = Path(__file__).parent
SCRIPT = HERE.parent / "examples" / "cifar10_r20.py"
COMMON = ("--device", "cpu", "--amp", "32-true", "--no-progress", "--energy-images", "4", "-j", "0", "--allow-partial")


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """A tiny CIFAR-10 and a teacher for it."""
    folder = tmp_path_factory.mktemp("ground")
    write_cifar(folder / "data", "10", per_class_train=20, per_class_test=4)
    torch.manual_seed(0)
    network = tiny_nets.teacher(10)
    data = cifar10(folder / "data", DataOptions(allow_partial=True))
    images, labels = map(torch.stack, zip(*[(x, torch.tensor(y)) for x, y in data.train], strict=True))
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    for _ in range(25):
        optimizer.zero_grad()
        cross_entropy(network(images), labels).backward()
        optimizer.step()
    about = {"mean": data.mean, "std": data.std, "size": 32, "classes": data.classes}
    save_network(folder / "teacher.safetensors", network, tiny_nets.teacher, {"num_classes": 10}, **about)
    return folder


def environment():
    return {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1"}


def command(ground, output, *flags, student="student"):
    teacher = ("--teacher", ground / "teacher.safetensors", "--teacher-build", "tiny_nets:teacher")
    own = ("--data-path", ground / "data", "--output-dir", output, "--student", f"tiny_nets:{student}")
    return [str(part) for part in (sys.executable, SCRIPT, *own, *teacher, *COMMON, *flags)]


def run(ground, output, *flags, student="student"):
    """In this process, which spares the seconds of its imports."""
    run_row(runpy.run_path(str(SCRIPT))["RECIPE"], command(ground, output, *flags, student=student)[2:])


def run_alone(*arguments, **options):
    done = subprocess.run(command(*arguments, **options), env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture
def ends(monkeypatch, capfd):
    """What a command line says that ends in a message: the script runs in this process, as the interpreter runs it."""

    def run_to_its_end(line):
        monkeypatch.setattr(sys, "argv", [str(word) for word in line[1:]])
        with pytest.raises(SystemExit) as stopped:  # with what was said, and no traceback
            runpy.run_path(str(SCRIPT), run_name="__main__")
        assert stopped.value.code not in (None, 0)
        said = f"{stopped.value}\n{capfd.readouterr().err}"
        assert "Traceback" not in said
        return said

    return run_to_its_end


EVERYTHING = (
    *("-b", "16", "--epochs", "3", "-T", "2", "--mixup", "0.2", "--ema", "0.9", "--clip", "1.0", "--accumulate", "2"),
    *("--warmup-epochs", "1", "-j", "1"),
)


@pytest.fixture(scope="module")
def uninterrupted(ground, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole")
    run_alone(ground, output, *EVERYTHING)
    return output


def rows(output):
    path = output / "history.csv"
    return len(path.read_text().splitlines()) - 1 if path.exists() else 0


def start(ground, output, *flags):
    """A run in the background, its epochs slow enough to be caught in the middle."""
    line = command(ground, output, *EVERYTHING, *flags, student="slow_student")
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a test run in the background ignores it
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(line, env=environment(), start_new_session=True, preexec_fn=heard, **pipes)


def wait_until(process, ready, limit=120):
    end = time.monotonic() + limit
    while not ready():
        assert process.poll() is None, process.stderr.read()[-3000:]
        assert time.monotonic() < end
        time.sleep(0.02)


def assert_same_end(one, other):
    first, second = load_file(one / "student.safetensors"), load_file(other / "student.safetensors")
    assert set(first) == set(second)
    assert all(torch.equal(first[name], second[name]) for name in first)
    strip = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in read_record(p / "record.json")["history"]]
        for p in (one, other)
    ]
    assert strip[0] == strip[1]


@pytest.mark.parametrize("epochs_done", [0, 1, 2])
def test_killed_in_the_middle_of_an_epoch_and_resumed_is_as_if_never_killed(
    ground, uninterrupted, tmp_path, epochs_done
):
    process = start(ground, tmp_path)
    wait_until(process, lambda: (tmp_path / "latest.ckpt").exists() and rows(tmp_path) == epochs_done)
    time.sleep(0.4)  # an epoch takes 1.2 s
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert rows(tmp_path) == epochs_done
    assert not (tmp_path / "student.safetensors").exists()
    run(ground, tmp_path, *EVERYTHING, "--resume", "latest", student="slow_student")
    assert_same_end(uninterrupted, tmp_path)


def test_interrupted_by_the_keyboard_leaves_a_checkpoint_to_go_on_from(ground, uninterrupted, tmp_path):
    process = start(ground, tmp_path)
    wait_until(process, lambda: rows(tmp_path) == 1)
    time.sleep(0.4)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert "Stopped. Go on from the end of the last epoch with --resume latest" in said
    assert not (tmp_path / "student.safetensors").exists()
    run(ground, tmp_path, *EVERYTHING, "--resume", str(tmp_path / "latest.ckpt"), student="slow_student")
    assert_same_end(uninterrupted, tmp_path)


def test_a_run_stopped_while_its_teacher_was_trained_goes_on_there(ground, tmp_path, monkeypatch):
    own = ("--data-path", ground / "data", "--output-dir", tmp_path, "--student", "tiny_nets:student", "--any-teacher")
    line = [str(x) for x in (*own, *COMMON, "--teacher-epochs", 2, "--epochs", 1, "-b", 100)]
    recipe = replace(runpy.run_path(str(SCRIPT))["RECIPE"], teacher=tiny_nets.teacher)

    def stops(seeds, trainer, *_):
        if trainer.current_epoch == 1:
            raise ArithmeticError("stop")

    with monkeypatch.context() as patched:
        patched.setattr(StepSeeds, "on_train_batch_start", stops)
        with pytest.raises(ArithmeticError):
            run_row(recipe, line)
    first = read_record(tmp_path / "teacher" / "record.json")["history"]
    record = run_row(recipe, [*line, "--resume", "latest"])
    assert record["finished"]
    of_teacher = read_record(tmp_path / "teacher" / "record.json")
    assert [row["epoch"] for row in of_teacher["history"]] == [1, 2]
    assert of_teacher["history"][0] == first[0]
    assert of_teacher["resumed_after_epochs"] == [1]
    assert of_teacher["network"] == {"build": "tiny_nets:teacher", "num_classes": 10, "in_channels": 3}
    assert not {"student", "teacher"} & set(of_teacher)


def test_resuming_a_finished_run_changes_nothing(ground, uninterrupted, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(uninterrupted, again)
    run(ground, again, *EVERYTHING, "--resume", "latest")
    assert_same_end(uninterrupted, again)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(ground, uninterrupted, tmp_path):
    again, other = tmp_path / "again", tmp_path / "other"
    run(ground, again, *EVERYTHING, "-j", "0")  # workers make no difference
    assert_same_end(uninterrupted, again)
    run(ground, other, *EVERYTHING, "-j", "0", "--seed", "1")
    losses = [read_record(p / "record.json")["history"][0]["train_loss"] for p in (again, other)]
    assert losses[0] != losses[1]


def test_a_record_says_what_ran(uninterrupted):
    record = read_record(uninterrupted / "record.json")
    assert record == Record.read(uninterrupted / "record.json").to_json(), "the schema says all that is there"
    assert set(record) == {item.name for item in fields(Record)} - {"path", "network", "test", "init", "acceleration"}
    json.dumps(record["chosen"])
    assert record["chosen"] is not None
    assert (record["processes"], record["teacher_cache"]) == (1, None)
    assert "LIFNode" in record["neurons"]
    assert record["options"]["workers"] == 1
    assert not {"seed", "print_config"} & set(record["options"])
    assert record["finished"]
    assert not record["smoke"]
    assert record["accuracy"]["epochs"] == 3
    assert {"last", "mean_last_5", "best", "best_epoch"} <= set(record["accuracy"])
    assert record["data"]["split"] == "official"
    assert record["data"]["complete"] is False
    assert len(record["data"]["split_hash"]) == 64
    assert len(record["teacher"]["sha256"]) == 64
    assert {"torch", "spikingjelly", "lightning"} <= set(record["environment"]["versions"])
    assert record["sources"]["mixup"] == "command line"
    assert record["sources"]["beta"] == "paper"
    assert record["recipe"]["time_steps"] == 2
    energy = record["energy"]
    assert 0 <= energy["student"]["firing_rate"] < 1
    assert energy["ann_twin"]["macs"] == pytest.approx(energy["teacher"]["macs"])
    assert record["preflight"]["ok"]


def test_the_student_alone_predicts_as_it_did_in_training(ground, uninterrupted):
    network, about = load_network(uninterrupted / "student.safetensors", tiny_nets.student)
    data = cifar10(ground / "data", DataOptions(allow_partial=True))
    assert tuple(about["classes"]) == data.classes
    images, labels = map(torch.stack, zip(*[(x, torch.tensor(y)) for x, y in data.test], strict=True))
    with torch.no_grad():
        logits = network(images.expand(about["time_steps"], *images.shape)).mean(0)
    functional.reset_net(network)
    accuracy = 100 * (logits.argmax(1) == labels).float().mean().item()
    assert accuracy == pytest.approx(read_record(uninterrupted / "record.json")["accuracy"]["last"], abs=1e-4)


def test_plain_training_needs_no_teacher_and_ends_where_ckd_of_weight_0_does(ground, tmp_path):
    flags = ("-b", "20", "--epochs", "1", "--noise-weight", "0")
    run(ground, tmp_path / "plain", *flags, "--method", "plain")
    run(ground, tmp_path / "ckd", *flags, "--beta", "0", "--gamma", "0")
    plain, ckd = (load_file(tmp_path / name / "student.safetensors") for name in ("plain", "ckd"))
    assert all(torch.equal(plain[name], ckd[name]) for name in plain)
    assert "teacher" not in read_record(tmp_path / "plain" / "record.json")


def test_two_processes_with_half_the_batch_end_where_one_does(ground, tmp_path):
    """No BatchNorm, no noise: the sum over the batch is all that differs, by rounding."""
    flags = ("--epochs", "2", "--noise-weight", "0", "--lr", "0.5", "--no-flip", "--erase", "0", "--auto-augment=")
    run(ground, tmp_path / "one", "-b", "20", *flags, student="student_without_norm")
    two = ("-b", "10", "--devices", "2", "--strategy", "ddp")
    run_alone(ground, tmp_path / "two", *two, *flags, student="student_without_norm")
    one, other = (load_file(tmp_path / name / "student.safetensors") for name in ("one", "two"))
    torch.manual_seed(0)
    moved = max((one[n] - p).abs().max().item() for n, p in tiny_nets.student_without_norm(10).state_dict().items())
    assert moved > 1e-2
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-4, atol=1e-5, msg=name)
    histories = [read_record(tmp_path / name / "record.json")["history"] for name in ("one", "two")]
    for row, twin in zip(*histories, strict=True):
        assert row["test_acc1"] == pytest.approx(twin["test_acc1"])  # each test image counted once
        assert row["train_loss"] == pytest.approx(twin["train_loss"], rel=1e-4)


def test_a_network_and_a_set_of_ones_own(tmp_path, ends):
    write_image_folder(tmp_path / "mine", classes=3, per_class_train=12, per_class_test=4, size=40)
    out = tmp_path / "out"
    own = ("--data-path", tmp_path / "mine", "--num-classes", 3, "--student", "tiny_nets:student", "--size", 16)
    own = (*own, "--crop-padding", 2, "--auto-augment=", "-b", 6, "--epochs", 1, "--teacher-epochs", 1)
    line = [str(x) for x in (sys.executable, SCRIPT, *own, *COMMON, "--any-teacher", "--output-dir", out)]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "none was given (--teacher), so one is trained first" in done.stderr + done.stdout
    record = read_record(out / "record.json")
    assert record["data"]["name"] == "folder"
    assert record["data"]["classes"] == 3
    assert (out / "teacher" / "teacher.safetensors").exists()
    assert "holds a run already" in ends(line)
    line += ["--train-images", "18", "--overwrite"]
    again = subprocess.run(line, env=environment(), capture_output=True, text=True)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "was made otherwise (split folders[18+12], not" not in again.stderr
    assert "was made otherwise (split folders, not folders[18+12], split_hash" in again.stderr
    assert len(list(out.glob("teacher-*/teacher.safetensors"))) == 1, "another is trained beside it"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--data-path", "nowhere"), "nowhere"),
        (("--resume", "latest"), "there is no checkpoint"),
        (("--teacher", "absent.pth"), "there is no file"),
        (("--student", "tiny_nets:absent"), "has no function 'absent'"),
        (("--student", "absent_module:build"), "there is no module 'absent_module'"),
        (("--student", "tiny_nets:frozen_student"), "--student tiny_nets:frozen_student is frozen as a whole"),
        (("--num-classes", "7"), "7"),
        (("-b", "1000"), "do not fill one batch"),
        (("-b", "5", "--mixup", "0.2"), "pass an even batch size"),
        (("--warmup-epochs", "400"), "must be below epochs"),
        (("--lr", "-1"), "lr"),
        (("-T", "0"), "--time-steps must be at least 1"),
        (("--amp", "half"), "invalid choice"),
    ],
)
def test_bad_input_is_refused_before_anything_is_trained(ground, tmp_path, flags, message, ends):
    assert message in ends(command(ground, tmp_path, *flags))
    assert rows(tmp_path) == 0


def test_a_teacher_no_better_than_chance_is_refused(ground, tmp_path, ends):
    torch.manual_seed(0)
    untrained = tmp_path / "untrained.safetensors"
    save_network(untrained, tiny_nets.teacher(10), tiny_nets.teacher, {"num_classes": 10})
    assert "hardly more than guessing" in ends(command(ground, tmp_path, "--teacher", untrained))


def refused(error, words, ground, output, *flags, student="student"):
    """The command line in this process, which is faster: the message without its traceback."""
    line = command(ground, output, *flags, student=student)[2:]
    with pytest.raises(error, match=words):
        run_row(runpy.run_path(str(SCRIPT))["RECIPE"], line)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--lr", "0.05", "-b", "8"), "batch_size 16 -> 8, lr 0.1 -> 0.05; pass the settings it had, or begin anew"),
        (("--epochs", "2"), "epochs 3 -> 2; the schedule of the learning rate was made for 3 epochs"),
        (("--epochs", "5"), "epochs 3 -> 5; the schedule of the learning rate was made for 3 epochs"),
        (("--train-images", "100"), r"data set cifar10 official \(\w{8}\) -> cifar10 official\[100\+40\] \(\w{8}\)"),
        (("--devices", "2"), "processes 1 -> 2"),
        (("--seed", "1"), "seed 0 -> 1"),
        (("--student", "tiny_nets:student_without_norm"), "what the student's function builds"),
    ],
)
def test_a_run_is_not_resumed_with_other_settings(ground, uninterrupted, flags, words):
    before = (uninterrupted / "record.json").read_bytes()
    refused(ValueError, words, ground, uninterrupted, *EVERYTHING, "--resume", "latest", *flags)
    assert (uninterrupted / "record.json").read_bytes() == before


def test_a_checkpoint_alone_tells_another_student_by_its_tensors(ground, uninterrupted, tmp_path):
    shutil.copy(uninterrupted / "latest.ckpt", tmp_path / "kept.ckpt")
    flags = ("--resume", str(tmp_path / "kept.ckpt"), "--student", "tiny_nets:student_without_norm")
    refused(ValueError, r"kept.ckpt does not fit .* \(--student\)", ground, tmp_path / "out", *EVERYTHING, *flags)


def test_a_run_is_not_resumed_with_another_teacher_or_other_images(ground, uninterrupted, tmp_path):
    resumed = (*EVERYTHING, "--resume", "latest")
    torch.manual_seed(9)
    other = tmp_path / "other.safetensors"
    save_network(other, tiny_nets.teacher(10), tiny_nets.teacher, {"num_classes": 10})
    words = r"teacher file of sha256 \w{8} -> of sha256 \w{8}"
    refused(ValueError, words, ground, uninterrupted, *resumed, "--teacher", other, "--any-teacher")
    write_cifar(tmp_path / "data", "10", per_class_train=19, per_class_test=4)
    words = r"data set cifar10 official \(\w{8}\) -> cifar10 official \(\w{8}\)"
    refused(ValueError, words, ground, uninterrupted, *resumed, "--data-path", tmp_path / "data")


def test_a_checkpoint_that_is_cut_off_or_none(ground, uninterrupted, tmp_path):
    whole = (uninterrupted / "latest.ckpt").read_bytes()
    (tmp_path / "latest.ckpt").write_bytes(whole[: len(whole) // 2])
    refused(ValueError, r"latest.ckpt cannot be read \(cut off", ground, tmp_path, *EVERYTHING, "--resume", "latest")
    torch.save({"state_dict": {}}, tmp_path / "latest.ckpt")
    refused(ValueError, "is no checkpoint of a run", ground, tmp_path, *EVERYTHING, "--resume", "latest")


@pytest.mark.parametrize("method", ["plain", "ckd"])
@pytest.mark.parametrize(
    ("student", "error", "words"),
    [
        ("eleven_outputs", ValueError, "tiny_nets:eleven_outputs has 11 outputs and the data 10 classes"),
        ("teacher", ValueError, "tiny_nets:teacher is an ANN: it has no spiking neurons"),
        (
            "single_step",
            ValueError,
            "tiny_nets:single_step is in single-step mode: let its function call functional.set",
        ),
        (
            "other_names",
            TypeError,
            "asks for classes, width: it can take num_classes, in_channels, size, time_steps by",
        ),
    ],
)
def test_students_that_cannot_be_trained(ground, tmp_path, method, student, error, words):
    refused(error, words, ground, tmp_path, "--method", method, student=student)
    assert not list(tmp_path.iterdir()), "nothing was trained"


def test_a_student_is_looked_at_without_a_trace(ground, tmp_path):
    """Weights, statistics and random numbers are those of a network that was never run."""
    recipe, run_ = parse(runpy.run_path(str(SCRIPT))["RECIPE"], ["--data-path", "x", "--device", "cpu"])
    student = tiny_nets.student(10)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    state = torch.get_rng_state()
    data = cifar10(ground / "data", DataOptions(allow_partial=True))
    check_student(student, recipe, data, run_)
    assert torch.equal(torch.get_rng_state(), state)
    assert student.training
    assert all(torch.equal(before[name], tensor) for name, tensor in student.state_dict().items())


@pytest.mark.parametrize(
    ("flags", "error", "words"),
    [
        (("--device", "cuda"), ValueError, "--device cuda: PyTorch finds no CUDA device; pass --device cpu"),
        (("--strategy", "fast"), ValueError, "--strategy must be one of auto, .*ddp.*, got fast"),
        (("--output-dir", "/dev/null/run"), OSError, "--output-dir: nothing can be written to /dev/null/run"),
    ],
)
def test_a_machine_that_lacks_what_is_asked_for(ground, tmp_path, flags, error, words):
    if "cuda" in flags and torch.cuda.is_available():
        pytest.skip("it is there")
    refused(error, words, ground, tmp_path, "--data-path", "nowhere", *flags)


def test_a_split_for_a_tree_is_refused(ground, tmp_path):
    write_image_folder(tmp_path / "tree", classes=10, per_class_train=1, per_class_test=1)
    flags = ("--data-path", tmp_path / "tree", "--split", "foo")
    refused(
        ValueError,
        "split must be None for .*tree, whose folders are the split, got .foo",
        ground,
        tmp_path / "out",
        *flags,
    )


def test_a_split_for_a_tree_of_event_frames_is_refused(tmp_path):
    write_event_folder(tmp_path / "tree", time_steps=10, per_class_train=1, per_class_test=1)
    recipe = runpy.run_path(str(SCRIPT.with_name("cifar10dvs_r20.py")))["RECIPE"]
    line = ["--data-path", str(tmp_path / "tree"), "--output-dir", str(tmp_path / "out"), "--split", "tebn"]
    with pytest.raises(ValueError, match="--split tebn does nothing: .*tree is a tree whose folders are its split"):
        run_row(recipe, line)


@pytest.mark.parametrize("method", ["plain", "ckd"])
def test_a_loss_that_is_not_finite_names_its_step(ground, tmp_path, method, ends):
    flags = ("-b", "40", "--epochs", "2", "--lr", "1e30", "--method", method, "--no-preflight")
    words = r"(NaN or inf|everywhere alike).*\nin epoch 1, step \d: begin anew \(--overwrite\) with a lower .*--lr"
    assert re.search(words, ends(command(ground, tmp_path, *flags)))


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_picture_that_cannot_be_read_is_named(tmp_path, workers, ends):
    write_image_folder(tmp_path / "tree", classes=10, per_class_train=2, per_class_test=1)
    picture = tmp_path / "tree/train/class003/1.png"
    picture.write_bytes(picture.read_bytes()[:200])
    own = ("--data-path", tmp_path / "tree", "--output-dir", tmp_path / "out", "--student", "tiny_nets:student")
    line = (sys.executable, SCRIPT, *own, *COMMON, "--method", "plain", "-b", 20, "-j", workers)
    assert f"error: {picture} cannot be read as an image" in ends(line)


def test_messages_name_the_flags():
    def said(argument, text, **remedy):
        return ArgumentValueError(argument, text, remedy=remedy).render(FLAGS)

    assert said("root", "must be a folder") == "--data-path must be a folder"
    assert said("", "pass {remedy}, or unpack it", download=True) == "pass --download, or unpack it"
    assert said("root", "has 4 classes", num_classes=4) == "--data-path has 4 classes; pass --num-classes 4"
    assert said("roll", "does nothing") == "--roll does nothing"
    assert said("", "pass {remedy}", check=False, teacher_stream=True) == "pass check=False and teacher_stream=True"


def check_with_note(name, value):
    try:
        check_positive(name, value)
    except ValueError as error:
        error.add_note("in epoch 1")
        raise


def test_what_the_package_refuses_ends_in_a_line_with_its_flag():
    with pytest.raises(SystemExit, match=r"error: --lr must be above 0 and finite, got -1$"), brief_errors():
        check_positive("lr", -1)
    with pytest.raises(SystemExit, match=r"error: loss must be above 0 .*\nin epoch 1$"), brief_errors():
        check_with_note("loss", -1)


class Refusing(Dataset):
    """Raises in a loading process: the package, or this file."""

    def __init__(self, ours):
        self.ours = ours

    def __len__(self):
        return 1

    def __getitem__(self, index):
        try:
            raise ZeroDivisionError("first line\nsecond line")
        except ZeroDivisionError as error:
            if not self.ours:
                raise ValueError("of another library") from error
            check_positive("lr", -1)


def test_errors_of_loading_processes_are_told_apart_too():
    with pytest.raises(SystemExit, match=r"error: lr must be above 0 and finite, got -1$"), brief_errors():
        list(DataLoader(Refusing(True), num_workers=1))
    with pytest.raises(ValueError, match="of another library"), brief_errors():
        list(DataLoader(Refusing(False), num_workers=1))


def test_json_of_the_student_is_plain(uninterrupted):
    about = json.loads((uninterrupted / "student.json").read_text())
    assert about["build"] == "tiny_nets:student"
    assert about["arguments"] == {"num_classes": 10, "in_channels": 3}
    assert about["size"] == 32
