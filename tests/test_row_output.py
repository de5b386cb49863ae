"""What a row, its teacher and a comparison say, line by line: nothing of Lightning's that helps nobody."""

import logging
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_data import write_image_folder

from spikingjelly_ckd.recipes import progress
from spikingjelly_ckd.recipes.quiet import LOGGERS, without_chatter
from spikingjelly_ckd.recipes.training.progress import ProgressBar, ProgressLines, progress_callback

pytestmark = pytest.mark.tools

SCRIPT = Path(__file__).parents[1] / "examples" / "cifar10_r20.py"
NUMBER = re.compile(r"\d+(\.\d+)?(e-?\d+)?")
PREFLIGHT = re.compile(r"\[(  ok|info|warn)\] [a-z ]+: ")


def in_words(text):
    """Lines without their numbers; those of the preflight have a test of their own."""
    return [NUMBER.sub("#", line) for line in text.splitlines() if not PREFLIGHT.match(line)]


@pytest.mark.slow
def test_the_whole_output_of_a_smoke_run(tmp_path):
    write_image_folder(tmp_path / "tree", classes=10, per_class_train=2, per_class_test=1)
    flags = ("--data-path", "tree", "--smoke", "--device", "cpu", "-j", "1", "--amp", "32-true", "--output-dir", "out")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    line = [sys.executable, str(SCRIPT), *flags]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = "resnet#, # epochs, lr #, split folders, seed #, a smoke run"
    assert in_words(done.stderr) == [
        "Teacher: none was given (--teacher), so one is trained first, in out/teacher",
        f"Teacher: {made}",
        "Teacher: epoch # of #, train loss #, test accuracy # % (smoke run, which says nothing)",
        "Teacher: out/teacher/teacher.safetensors has # % on # batches of the test set (its file says # % on the test "
        f"set); made so: {made}",
        *(line for line in in_words(done.stderr) if line.startswith("Neurons: SpikingJelly ")),
        "Preflight",
        "Student: epoch # of #, train loss #, test accuracy # % (smoke run, which says nothing)",
    ]
    assert in_words(done.stdout) == [
        "cifar#_r#, ckd, seed #, split folders: test accuracy last # %, mean of the last # epochs # % (smoke run: two "
        "steps of every stage, so no figure says anything)",
        "energy of the student: # mJ an image (compute), firing rate # %",
        "energy of the ann_twin: # mJ an image (compute)",
        "energy of the teacher: # mJ an image (compute)",
        "record: out/record.json; student: out/student.safetensors",
    ]


@pytest.fixture
def said(caplog):
    """What the loggers of Lightning let through."""
    for name in LOGGERS:
        logging.getLogger(name).addHandler(caplog.handler)
    yield lambda: [record.getMessage() for record in caplog.records]
    for name in LOGGERS:
        logging.getLogger(name).removeHandler(caplog.handler)


def test_chatter_is_left_out_inside_the_block_alone(said):
    logger = logging.getLogger(LOGGERS[0])
    logger.setLevel(logging.INFO)
    chatter = ["GPU available: False, used: False", "💡 Tip: this", "`Trainer.fit` stopped: `max_epochs=1` reached."]
    chatter.append(
        "The following callbacks returned in `LightningModule.configure_callbacks` will override existing callbacks "
        "passed to Trainer: DistillationCallback"
    )

    @without_chatter()
    def train():
        for line in chatter:
            logger.info(line)
        logger.info("Teacher: our own line about a GPU available: yes")
        logger.warning("GPU available: True, used: False")
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        train()
    logger.info(chatter[0])
    ours, warning, after = dict.fromkeys(said())
    assert ours.startswith("Teacher: ")
    assert "used" in warning
    assert after == chatter[0]


def test_a_warning_is_hidden_only_where_it_is_of_lightnings_own_doing():
    known = "`isinstance(treespec, LeafSpec)` is deprecated, use this instead."
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        with without_chatter():
            warnings.warn(known, FutureWarning, stacklevel=1)
            warnings.warn("the loss is not finite", stacklevel=1)
        warnings.warn(known, FutureWarning, stacklevel=1)
    assert [str(one.message)[:12] for one in found] == ["the loss is ", "`isinstance("]


@pytest.fixture
def clock(monkeypatch):
    """The time that progress sees, to be set."""
    now = SimpleNamespace(value=100.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.value)
    return now


def test_progress_says_a_line_every_ten_seconds_with_the_time_that_is_left(clock, capsys):
    for _ in progress.tracked(range(4), "Looking", 4):
        clock.value += 6.0
    assert capsys.readouterr().err == "Looking: 50 %, about 12 s left\n"
    for _ in progress.tracked(range(2), "Looking", 2):
        clock.value += 4.0
    assert capsys.readouterr().err == "", "what is short says nothing"


def trainer(epoch, metrics=(), epochs=4):
    metrics = {name: torch.tensor(value) for name, value in dict(metrics).items()}
    return SimpleNamespace(
        current_epoch=epoch, max_epochs=epochs, num_training_batches=10, num_val_batches=[5], callback_metrics=metrics
    )


@pytest.mark.parametrize(
    ("device", "threads", "load", "said"),
    [("cpu", 2, 9.0, True), ("cpu", 2, 1.5, False), ("cpu", 1, 9.0, False), ("cuda", 2, 9.0, False)],
)
def test_threads_that_would_wait_for_the_work_of_others_are_said(capsys, monkeypatch, device, threads, load, said):
    monkeypatch.setattr(progress.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(progress.os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    monkeypatch.setattr(progress.torch, "get_num_threads", lambda: threads)
    progress.say_busy(device)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == said
    assert all(
        "(9 processes for 2 cores), where 2 threads wait" in line and "OMP_NUM_THREADS=1" in line for line in lines
    )


@pytest.mark.parametrize(
    ("device", "precision", "times", "said"),
    [
        ("cpu", "bf16-mixed", 60.0, True),
        ("cpu", "bf16-mixed", 1.2, False),
        ("cpu", "32-true", 60.0, False),
        ("cuda", "bf16-mixed", 60.0, False),
    ],
)
def test_bfloat16_without_instructions_for_it_is_said_once(capsys, monkeypatch, device, precision, times, said):
    monkeypatch.setattr(progress, "_convolution_seconds", lambda dtype: times if dtype is torch.bfloat16 else 1.0)
    progress._say_once.cache_clear()
    for _ in range(2):
        progress.say_emulated(device, precision)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == said
    assert all("takes many times as long as float32; train with --amp 32-true here" in line for line in lines)


def test_a_training_says_lines_where_there_is_no_terminal(clock, capsys):
    lines, metrics = ProgressLines("Student"), {"train_loss": 1.25, "test_acc1": 40.0}
    lines.on_train_start(trainer(0), None)
    for step in range(10):
        clock.value += 3.0
        lines.on_train_batch_end(trainer(0), None, None, None, step)
    lines.on_train_epoch_end(trainer(0, metrics), None)
    clock.value += 60.0
    lines.on_validation_batch_end(trainer(1), None, None, None, 2)
    lines.on_train_batch_end(trainer(3), None, None, None, 9)
    lines.on_train_epoch_end(trainer(3, metrics), None)
    assert capsys.readouterr().err.splitlines() == [
        "Student: epoch 1 of 4, step 4 of 10; about 2 min left",
        "Student: epoch 1 of 4, step 8 of 10; about 2 min left",
        "Student: epoch 2 of 4, evaluation, batch 3 of 5; about 4 min left",
        "Student: epoch 4 of 4, train loss 1.250, test accuracy 40.00 %",
    ]


def test_a_terminal_gets_a_bar(monkeypatch):
    assert isinstance(progress_callback("Student"), ProgressLines)
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: True, write=print, flush=print))
    assert isinstance(progress_callback("Student"), ProgressBar)
