"""Rows on a tiny CIFAR-10 in this process."""

import dataclasses
import runpy
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import tiny_nets
import torch
from tiny_data import write_cifar
from torch.nn.functional import cross_entropy

from spikingjelly_ckd.recipes.data import DataOptions, cifar10
from spikingjelly_ckd.recipes.export import save_network
from spikingjelly_ckd.recipes.row import run_row
from spikingjelly_ckd.recipes.training import StepSeeds

SCRIPT = Path(__file__).parents[1] / "examples" / "cifar10_r20.py"
COMMON = ("--device", "cpu", "--amp", "32-true", "--no-progress", "-j", "0", "--allow-partial")
QUICK = ("--size", "16", "-T", "2", "--crop-padding", "0", "--auto-augment", "", "--energy-images", "0", "-b", "4")


def make_ground(folder, *, per_class_train=1):
    """Images, and a teacher that knows them."""
    write_cifar(folder / "data", "10", per_class_train=per_class_train, per_class_test=1)
    torch.manual_seed(0)
    network, data = tiny_nets.teacher(10), cifar10(folder / "data", DataOptions(size=16, allow_partial=True))
    images, labels = map(torch.stack, zip(*[(x, torch.tensor(y)) for x, y in data.train], strict=True))
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    for _ in range(25):
        optimizer.zero_grad()
        cross_entropy(network(images), labels).backward()
        optimizer.step()
    save_network(folder / "teacher.safetensors", network, tiny_nets.teacher, {"num_classes": 10})
    return folder


def row(ground, out, *flags, student=tiny_nets.optional_student):
    """The record of a run of a row with a small student."""
    recipe = dataclasses.replace(runpy.run_path(str(SCRIPT))["RECIPE"], student=student, teacher=tiny_nets.teacher)
    place = ("--data-path", ground / "data", "--output-dir", out, "--any-teacher")
    return run_row(recipe, [str(part) for part in (*place, *COMMON, *QUICK, *flags)])


def teacher_of(ground):
    return "--teacher", ground / "teacher.safetensors"


@contextmanager
def stopping_after(epochs):
    """Stop runs with an ArithmeticError after so many epochs."""
    step = StepSeeds.on_train_batch_start

    def stop(seeds, trainer, *rest):
        if trainer.current_epoch == epochs:
            raise ArithmeticError("stop")
        step(seeds, trainer, *rest)

    with patch.object(StepSeeds, "on_train_batch_start", stop):
        yield
