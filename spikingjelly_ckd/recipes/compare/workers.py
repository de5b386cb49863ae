"""The seeds of a comparison over processes: progress, a budget of time, and processes that are killed."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any, Literal

import torch

from ..files import say
from ..training.resume import LATEST
from .lockstep import Stopped
from .plan import Plan

__all__ = ["Outcome", "run_seeds"]

RETRIES = 1
"""How often a process that was killed is started again."""
SAY_EVERY = 10.0
"""Seconds between two lines of progress."""
ESTIMATED_AFTER = 5
"""Steps after which a seed says how long it will take."""
Event = tuple[Literal["at", "done", "failed"], Any]


@dataclass
class Outcome:
    """What became of the seeds.

    Attributes:
        done: seeds that have all records.
        failed: seed -> why it has not.
        left_out: seeds that the budget did not hold; the same command goes on with them.
    """

    done: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    left_out: list[int] = field(default_factory=list)


@dataclass
class _Worker:
    seed: int
    process: Any
    pipe: connection.Connection
    began: float
    tries: int
    done: float = 0.0  # share of the training
    first: tuple[float, float] | None = None  # share and time at the first look

    def left(self) -> float | None:
        """Seconds to its end, or None while that is not known."""
        if self.first is None or self.done <= self.first[0]:
            return None
        rate = (time.monotonic() - self.first[1]) / (self.done - self.first[0])
        return rate * (1 - self.done)

    def see(self, share: float) -> None:
        if self.first is None:
            self.first = (share, time.monotonic())
        self.done = share


def run_seeds(plan: Plan, seeds: Sequence[int], *, jobs: int, budget: float | None) -> Outcome:
    """Run what has no record yet.

    Args:
        plan: what a seed is.
        seeds: which.
        jobs: processes side by side; the cores are divided among them.
        budget: seconds; a seed that will not end in them is not begun, or stopped at the end of an epoch. None for no
            limit.

    Returns:
        :class:`Outcome`.

    Raises:
        ValueError: the budget does not hold one seed.
    """
    missing = plan.missing(seeds)
    outcome = Outcome(done=[seed for seed in seeds if seed not in missing])
    waiting, workers = deque((seed, 0) for seed in missing), list[_Worker]()
    end = None if budget is None else time.monotonic() + budget
    longest = 0.0  # of the seeds that were run here
    said = time.monotonic()
    try:
        while waiting or workers:
            while waiting and len(workers) < jobs:
                seed, tries = waiting.popleft()
                if end is not None and longest and time.monotonic() + longest > end:
                    outcome.left_out.append(seed)
                    continue
                workers.append(_start(plan, seed, tries, end, jobs))
            connection.wait([worker.pipe for worker in workers], timeout=1.0)
            for worker in list(workers):
                result = _look_at(worker)
                if result is None:
                    _check_budget(worker, end, budget, outcome, plan)
                    continue
                workers.remove(worker)
                longest = max(longest, time.monotonic() - worker.began)
                _settle(worker, result, outcome, waiting)
            if time.monotonic() - said > SAY_EVERY and workers:
                say(_progress(workers, waiting, outcome, len(seeds), jobs))
                said = time.monotonic()
    finally:
        for worker in workers:
            worker.process.terminate()
            worker.process.join()
    return outcome


def _start(plan: Plan, seed: int, tries: int, end: float | None, jobs: int) -> _Worker:
    ours, theirs = get_context("spawn").Pipe(duplex=False)
    threads = max(
        1, (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) // jobs
    )
    process = get_context("spawn").Process(target=_run, args=(plan, seed, theirs, end, threads), daemon=False)
    process.start()
    theirs.close()
    return _Worker(seed, process, ours, time.monotonic(), tries)


def _look_at(worker: _Worker) -> Event | None:
    """The last word of a process, or None while it runs."""
    try:
        while worker.pipe.poll():
            kind, value = worker.pipe.recv()
            if kind != "at":
                worker.process.join()
                return kind, value
            worker.see(value)
    except (EOFError, OSError):
        worker.process.join()
        return "failed", None
    return None


def _settle(worker: _Worker, result: Event, outcome: Outcome, waiting: deque[tuple[int, int]]) -> None:
    kind, value = result
    if kind == "done":
        (outcome.done if value == "whole" else outcome.left_out).append(worker.seed)
    elif value is not None:
        outcome.failed[worker.seed] = value
        say(f"seed {worker.seed} failed: {value}")
    elif worker.tries < RETRIES:
        say(f"The process of seed {worker.seed} was killed; it goes on from its last whole epoch")
        waiting.appendleft((worker.seed, worker.tries + 1))
    else:
        outcome.failed[worker.seed] = f"its process was killed twice (exit status {worker.process.exitcode})"
        say(f"seed {worker.seed}: {outcome.failed[worker.seed]}")


def _check_budget(worker: _Worker, end: float | None, budget: float | None, outcome: Outcome, plan: Plan) -> None:
    """Raise where the first seed of all will not end within the budget."""
    left = worker.left()
    if end is None or left is None or outcome.done or outcome.left_out or time.monotonic() + left <= end:
        return
    if worker.done - (worker.first or (0.0, 0.0))[0] >= 0.02 or worker.done > 0.5:
        whole = time.monotonic() - worker.began + left
        raise ValueError(
            f"--budget {_time(budget or 0)} does not hold one seed of {len(plan.arms)} arms, which takes about "
            f"{_time(whole)}: pass fewer --methods, fewer --epochs or --train-images, or a larger budget. What was "
            "trained is kept, and the same command with another budget goes on from there"
        )


def _progress(workers: Sequence[_Worker], waiting: Sequence[Any], outcome: Outcome, seeds: int, jobs: int) -> str:
    parts = [f"seed {worker.seed} {100 * worker.done:.0f} %" for worker in workers]
    left = [worker.left() for worker in workers]
    text = f"{len(outcome.done)} of {seeds} seeds done; {', '.join(parts)}"
    if any(one is None for one in left):
        return text
    each = max((one or 0) / max(1e-9, 1 - worker.done) for one, worker in zip(left, workers, strict=True))
    rounds = -(-len(waiting) // jobs)
    return f"{text}; about {_time(max(one or 0 for one in left) + rounds * each)} left"


def _time(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _run(plan: Plan, seed: int, pipe: connection.Connection, end: float | None, threads: int) -> None:
    """One seed, in a process of its own."""
    torch.set_num_threads(threads)
    try:
        pipe.send(("done", _train(plan, seed, _teller(plan, pipe, end))))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        own = Path(traceback.extract_tb(error.__traceback__)[-1].filename).is_relative_to(Path(__file__).parents[2])
        if not own:
            traceback.print_exc()
        pipe.send(("failed", f"{error}" if own else f"{type(error).__name__}: {error}"))


def _teller(plan: Plan, pipe: connection.Connection, end: float | None) -> Callable[[float], None]:
    last = [0.0]

    def tell(share: float, *, whole_epoch: bool = False) -> None:
        if time.monotonic() - last[0] > 0.5 or whole_epoch:
            pipe.send(("at", share))
            last[0] = time.monotonic()
        if whole_epoch and share < 1 and end is not None and time.monotonic() > end:
            raise Stopped

    return tell


def _train(plan: Plan, seed: int, tell: Callable[..., None]) -> Literal["whole", "stopped"]:
    """Train one seed and write its records."""
    data = plan.load_data()
    found = plan.begin(seed, data)
    checkpoints = plan.folder / "checkpoints" / f"seed{seed}"
    epochs, steps = plan.recipe.epochs, plan.run.most_steps or found.batches.steps

    def told(epoch: int, step: int) -> None:
        tell((epoch + step / steps) / epochs, whole_epoch=step == 0 and epoch > 0)

    try:
        found.train(checkpoints / LATEST, plan.settings(seed), told)
    except Stopped:
        return "stopped"
    accuracies = found.accuracies("test")
    for state in found.states.values():
        plan.record(found, state, data, accuracies).write(plan.record_path(state.arm, seed))
    for path in checkpoints.glob("*.ckpt"):
        path.unlink()
    return "whole"
