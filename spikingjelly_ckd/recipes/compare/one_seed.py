"""One seed of a comparison, in a process of its own."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any, Literal

import torch

from ..command_line import on_command_line
from ..training.resume import LATEST
from .lockstep import StoppedError, saved_arms
from .plan import Plan

__all__ = ["Event", "Tell", "in_process", "run_seed", "train_seed"]

SAY_EVERY = 0.5
"""Seconds between two words to the parent."""
Event = tuple[Literal["at", "done", "stopped", "failed", "killed"], Any]
"""What a process says of itself: a share of its training, or how it ended and why."""
Tell = Callable[[float, bool], None]
"""Called with the share of a training that is done and whether a whole epoch is saved; may raise ``StoppedError``."""


def run_seed(plan: Plan, seed: int, pipe: connection.Connection, end: float | None, place: int) -> None:
    """Train the arms of a seed that have no record, and write their records.

    Args:
        plan: of the comparison.
        seed: which.
        pipe: as for :func:`in_process`.
        end: likewise.
        place: likewise.
    """
    in_process(partial(train_seed, plan, seed), pipe, end, place)


def in_process(train: Callable[[Tell], None], pipe: connection.Connection, end: float | None, place: int) -> None:
    """Train in a process that was started for it, and say how it ended.

    Args:
        train: what to do.
        pipe: for words to the parent; this process ends with it.
        end: of the budget, as ``time.monotonic`` says it; None for no limit.
        place: among the processes that run side by side, from 0: which device.

    Raises:
        SystemExit: with status 130, after Ctrl-C.
    """
    _end_with_parent()
    _choose_device(place)
    torch.set_num_threads(1)
    last = [0.0]

    def tell(share: float, whole_epoch: bool) -> None:
        if whole_epoch or time.monotonic() - last[0] > SAY_EVERY:
            pipe.send(("at", share))
            last[0] = time.monotonic()
        if whole_epoch and share < 1 and end is not None and time.monotonic() > end:
            raise StoppedError

    word: Event
    try:
        train(tell)
        word = ("done", None)
    except StoppedError:
        word = ("stopped", None)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        own = Path(traceback.extract_tb(error.__traceback__)[-1].filename).is_relative_to(Path(__file__).parents[2])
        if not own:
            traceback.print_exc()
        text = f"{error}" if own else f"{type(error).__name__}: {error}"
        word = ("failed", on_command_line(text, "the same command"))
    pipe.send(word)


def train_seed(plan: Plan, seed: int, tell: Tell = lambda share, whole_epoch: None) -> None:
    """As :func:`run_seed`, in this process.

    An arm has the same bits alone and beside others, so those that were begun together go on together, and those that
    were asked for later are trained afterwards.

    Args:
        plan: of the comparison.
        seed: which.
        tell: see :data:`Tell`.

    Raises:
        ValueError: the checkpoint is of other settings, or an arm cannot begin.
    """
    data, folder = plan.load_data(), plan.checkpoints(seed)
    saved = saved_arms(folder)
    missing = plan.without_record(seed)
    groups = [[arm for arm in missing if (arm.name in saved) == begun] for begun in (True, False)]
    groups = [group for group in groups if group]
    for index, group in enumerate(groups):
        if not {arm.name for arm in group} & set(saved):
            _delete(folder)
        _train_group(replace(plan, arms=tuple(group)), seed, data, tell, (index, len(groups)))
        _delete(folder)


def _train_group(plan: Plan, seed: int, data: Any, tell: Tell, place: tuple[int, int]) -> None:
    """Arms that train side by side, and their records."""
    found = plan.begin(seed, data)
    for name, why in found.unfit.items():
        raise ValueError(f"{name} cannot begin: {why}")
    epochs, steps = plan.recipe.epochs, plan.run.most_steps or found.batches.steps
    index, groups = place

    def told(epoch: int, step: int) -> None:
        tell((index + (epoch + step / steps) / epochs) / groups, step == 0 and epoch > 0)

    found.train(plan.checkpoints(seed) / LATEST, plan.settings(seed), told)
    accuracies = found.accuracies("test")
    for state in found.states.values():
        if plan.keep_students and state.failed is None:
            state.student.save_student(plan.student_path(state.arm, seed), state.arm.recipe, data, state.init)
        plan.record(found, state, data, accuracies).write(plan.record_path(state.arm, seed))


def _delete(folder: Path) -> None:
    for path in folder.glob("*.ckpt"):
        path.unlink()


def _end_with_parent() -> None:
    """Leave nothing running where the parent was killed: it would write beside whoever goes on."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _choose_device(place: int) -> None:
    """Before CUDA is used in this process, leave it one of the devices."""
    if not torch.cuda.is_available():
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(number) for number in range(torch.cuda.device_count())] if visible is None else visible.split(",")
    if names:
        os.environ["CUDA_VISIBLE_DEVICES"] = names[place % len(names)]
