"""Gloo processes of which one refuses a batch: all of them raise, say which one, and none waits."""

import os
import re
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from processes import on_processes
from tiny_data import write_cifar
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

from spikingjelly_ckd import CKDDistiller

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not distributed.is_available(), reason="torch without distributed"),
]

PATIENCE = timedelta(seconds=60)
"""How long a process waits for the others before it fails, so that a test ends."""


def make_distiller() -> CKDDistiller:
    torch.manual_seed(3)
    teacher, student = tiny_teacher(), tiny_student(norm=False)
    teacher[-1].weight.data.abs_()
    nn.init.constant_(student[0].bias, 1.5)
    nn.init.constant_(student[3].bias, 1.2)
    return CKDDistiller(teacher, student, time_steps=2, teacher_layer="4", student_layer="5")


def batch_of(rank: int, step: int):
    """Another batch on each rank; the second is smaller on every other one."""
    generator = torch.Generator().manual_seed(100 * step + rank)
    size = 4 - rank % 2 if step == 1 else 4
    return torch.randn(size, 3, 8, 8, generator=generator), torch.randint(0, 5, (size,), generator=generator)


def spoil(images, labels, kind):
    if kind == "image":
        images[0, 0, 0, 0] = float("nan")
    else:
        labels[-1] = 5


def three_steps(rank, port, processes, kind, bad, said, ends):
    """A sound step, one that rank ``bad`` refuses, and a sound one again."""
    torch.set_num_threads(1)
    place = {"rank": rank, "world_size": processes, "timeout": PATIENCE}
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", **place)
    try:
        distiller = DistributedDataParallel(make_distiller())
        optimizer = torch.optim.SGD(distiller.parameters(), 0.1)
        for step in range(3):
            images, labels = batch_of(rank, step)
            if step == 1 and rank == bad:
                spoil(images, labels, kind)
            try:
                loss = distiller(images, labels).loss
            except ValueError as error:
                said[rank] = (step, str(error))
                continue
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        ends[rank] = distiller.module.student[-1].weight.detach().numpy().tobytes()
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("processes", "bad", "kind", "expected"),
    [
        (2, 0, "label", "labels must lie in"),
        (2, 1, "image", "images hold NaN"),
        (4, 2, "image", "images hold NaN"),
    ],
)
def test_all_processes_raise_what_one_of_them_found_and_go_on_together(processes, bad, kind, expected):
    said, ends = on_processes(three_steps, processes, processes, kind, bad, found=2)
    assert set(said) == set(ends) == set(range(processes))
    assert len(set(said.values())) == 1, "the same message on every rank, in the same step"
    step, message = said[0]
    assert step == 1
    assert f"rank {bad}" in message
    assert expected in message
    assert len(set(ends.values())) == 1, "the step after it was done together"


def evaluate_alone(rank, port, processes, said, ends):
    """Rank 1 has a batch more, and it cannot be used: in evaluation no process waits for another."""
    torch.set_num_threads(1)
    place = {"rank": rank, "world_size": processes, "timeout": PATIENCE}
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", **place)
    try:
        distiller = make_distiller().eval()
        for step in range(1 + rank):
            images, labels = batch_of(rank, step)
            if step == 1:
                spoil(images, labels, "image")
            try:
                with torch.no_grad():
                    ends[rank] = float(distiller(images, labels).loss)
            except ValueError as error:
                said[rank] = str(error)
    finally:
        distributed.destroy_process_group()


def test_an_evaluation_is_judged_by_each_process_alone():
    said, ends = on_processes(evaluate_alone, 2, 2, found=2)
    assert set(said) == {1}
    assert set(ends) == {0, 1}


def fit_with_one_bad_image(rank, port, processes, said, ends):
    """Lightning deals the images out; the last batch is smaller."""
    from lightning.pytorch import Trainer  # here, since every process of every test imports this file

    from spikingjelly_ckd.recipes.training import DistillationModule

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(12, 3, 8, 8, generator=generator), torch.arange(12) % 5
    images[11, 0, 0, 0] = float("nan")
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(max_epochs=1, accelerator="cpu", devices=processes, strategy="ddp", **quiet)
    try:
        trainer.fit(DistillationModule(make_distiller(), preflight=False), DataLoader(TensorDataset(images, labels), 4))
    except ValueError as error:
        said[rank] = str(error)
    ends[rank] = trainer.global_step


def test_a_trainer_of_two_processes_ends_with_one_message():
    pytest.importorskip("lightning")
    said, ends = on_processes(fit_with_one_bad_image, 2, 2, found=2)
    assert set(said) == {0, 1}
    assert said[0] == said[1]
    assert re.match(r"on rank [01]: images hold NaN", said[0])
    assert ends[0] == ends[1]


ONE_RAISES = """
import os, runpy, sys, time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, {here!r})
import tiny_nets
from spikingjelly_ckd.recipes.row import run_row
from spikingjelly_ckd.recipes.training import StepSeeds

BEAT = Path({beat!r})


def first_step(seeds, trainer, *_):
    end = time.monotonic() + 100
    if trainer.global_rank == 0:
        while not BEAT.exists() and time.monotonic() < end:
            time.sleep(0.05)
        raise ArithmeticError("of rank 0 alone")
    while time.monotonic() < end:  # as one that waits in a collective call
        BEAT.write_text(str(time.monotonic()))
        time.sleep(0.05)


StepSeeds.on_train_batch_start = first_step
if __name__ == "__main__":
    run_row(replace(runpy.run_path({script!r})["RECIPE"], student=tiny_nets.student))
"""


def test_a_process_that_fails_alone_does_not_leave_the_others_waiting(tmp_path):
    pytest.importorskip("lightning")
    here = Path(__file__).parent
    write_cifar(tmp_path / "data", "10", per_class_train=4, per_class_test=1)
    beat, script = tmp_path / "beat", tmp_path / "row.py"
    recipe = str(here.parent / "examples" / "cifar10_r20.py")
    script.write_text(ONE_RAISES.format(here=str(here), beat=str(beat), script=recipe))
    places = ("--data-path", str(tmp_path / "data"), "--output-dir", str(tmp_path / "out"))
    flags = ("--method", "plain", "--device", "cpu", "--devices", "2", "--strategy", "ddp", "--amp", "32-true")
    line = [sys.executable, str(script), *places, *flags, "-b", "10", "--epochs", "1", "-j", "0", "--allow-partial"]
    start = time.monotonic()
    with (tmp_path / "said").open("w+") as said:
        done = subprocess.run(line, stdout=said, stderr=said, check=False)  # a pipe would be kept open by the other one
        assert done.returncode != 0
        said.seek(0)
        assert "of rank 0 alone" in said.read()
    assert time.monotonic() - start < 90
    last = beat.read_text()
    time.sleep(1)
    assert beat.read_text() == last, "the other process lives on"
