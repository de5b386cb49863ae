"""The seeds of a comparison over processes: progress, a budget of time, and processes that are killed."""

from __future__ import annotations

import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any, Protocol

from ...errors.arguments import ArgumentValueError
from ..files import say
from ..progress import SAY_EVERY, time_words
from ..training.stopping import TERMINATED
from .arms import Arm
from .one_seed import Event, run_seed

__all__ = ["Outcome", "Work", "run_seeds"]

RETRIES = 1
"""How often a process that was killed is started again."""


class Work(Protocol):
    """What the processes share, such as :class:`~spikingjelly_ckd.recipes.compare.plan.Plan`; a seed is one part."""

    @property
    def arms(self) -> tuple[Arm, ...]:
        """All arms."""

    def without_record(self, seed: int) -> tuple[Arm, ...]:
        """The arms of a part that have not ended."""

    def checkpoints(self, seed: int) -> Path:
        """Folder of the checkpoints of a part."""


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
    place: int
    process: Any
    pipe: connection.Connection
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

    def last_word(self) -> Event | None:
        """What it ended with; None while it runs."""
        try:
            while self.pipe.poll():
                kind, value = self.pipe.recv()
                if kind != "at":
                    self.process.join()
                    return kind, value
                self.see(value)
        except (EOFError, OSError):
            self.process.join()
            return "killed", self.process.exitcode
        return None


def run_seeds(
    plan: Work,
    seeds: Sequence[int],
    *,
    jobs: int,
    budget: float | None,
    expected: float,
    spent: float = 0.0,
    target: Callable[..., None] = run_seed,
    part: str = "seed",
    fewer: str = "--methods or --epochs",
    quiet: bool = False,
) -> Outcome:
    """Run what has no record yet.

    Args:
        plan: what a seed is.
        seeds: which.
        jobs: processes side by side, of one thread each.
        budget: seconds. A seed that will not end in them is not begun, and one that was begun stops after the epoch in
            which they end. None for no limit.
        expected: seconds of a whole seed.
        spent: seconds of the budget that are over.
        target: what a process runs, with the arguments of :func:`~spikingjelly_ckd.recipes.compare.one_seed.run_seed`.
        part: what a seed is called, where it is none.
        fewer: flags that make one shorter.
        quiet: print no lines about progress.

    Returns:
        :class:`Outcome`.

    Raises:
        SystemExit: after SIGTERM; the processes are stopped, and the same command goes on.
        ValueError: the budget does not hold one seed.
    """
    outcome = Outcome(done=[seed for seed in seeds if not plan.without_record(seed)])
    missing = [seed for seed in seeds if seed not in outcome.done]
    begun = {seed for seed in missing if any(plan.checkpoints(seed).glob("*.ckpt"))}
    if budget is not None and missing and not begun and expected > budget - spent:
        before = f", and what comes before it took {time_words(spent)}" if spent >= 1 else ""
        raise ArgumentValueError(
            "budget",
            f"of {time_words(budget)} does not hold one {part} of {len(plan.arms)} arms, which takes about "
            f"{time_words(expected)}{before}: pass fewer {fewer}, or a larger budget",
        )
    waiting = deque((seed, 0) for seed in sorted(missing, key=lambda seed: seed not in begun))
    end = None if budget is None else time.monotonic() + budget - spent
    said, last, workers = time.monotonic(), "", list[_Worker]()
    with _stopped_by_sigterm(workers):
        while waiting or workers:
            while waiting and len(workers) < jobs:
                seed, tries = waiting.popleft()
                if end is not None and seed not in begun and time.monotonic() + expected > end:
                    outcome.left_out.append(seed)
                    continue
                begun.add(seed)
                workers.append(_start(plan, seed, tries, end, next(_free(workers)), target))
            connection.wait([worker.pipe for worker in workers], timeout=1.0)
            for worker in list(workers):
                word = worker.last_word()
                if word is not None:
                    workers.remove(worker)
                    _settle(worker, word, outcome, waiting, part)
            if time.monotonic() - said > SAY_EVERY and workers and not quiet:
                text, said = _progress(workers, len(waiting), outcome, len(seeds), jobs, part), time.monotonic()
                if text != last:
                    say(text)
                last = text
    return outcome


@contextmanager
def _stopped_by_sigterm(workers: list[_Worker]) -> Iterator[None]:
    """End the processes with this one."""

    def stop(*_: Any) -> None:
        say("Stopped by SIGTERM. The same command goes on from the last whole epochs")
        sys.exit(TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join()


def _free(workers: Sequence[_Worker]) -> Iterator[int]:
    """Places that no process has, so that several devices are shared evenly."""
    taken = {worker.place for worker in workers}
    return (place for place in range(len(workers) + 1) if place not in taken)


def _start(plan: Work, seed: int, tries: int, end: float | None, place: int, target: Callable[..., None]) -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(plan, seed, theirs, end, place))
    process.start()
    theirs.close()
    return _Worker(seed, place, process, ours, tries)


def _settle(
    worker: _Worker, word: Event, outcome: Outcome, waiting: deque[tuple[int, int]], part: str = "seed"
) -> None:
    kind, value = word
    if kind == "done":
        outcome.done.append(worker.seed)
    elif kind == "stopped":
        outcome.left_out.append(worker.seed)
    elif kind == "killed" and worker.tries < RETRIES:
        say(f"The process of {part} {worker.seed} was killed ({value}); it goes on from its last whole epoch")
        waiting.appendleft((worker.seed, worker.tries + 1))
    else:
        why = f"its process was killed {RETRIES + 1} times ({value})" if kind == "killed" else str(value)
        outcome.failed[worker.seed] = why
        say(f"{part.capitalize()} {worker.seed} failed: {why}")


def _progress(
    workers: Sequence[_Worker], waiting: int, outcome: Outcome, seeds: int, jobs: int, part: str = "seed"
) -> str:
    parts = [
        f"{part} {worker.seed} {'begins' if worker.first is None else f'{100 * worker.done:.0f} %'}"
        for worker in workers
    ]
    text = f"{len(outcome.done)} of {seeds} {part}s done; {', '.join(parts)}"
    left = [worker.left() for worker in workers]
    known = [one for one in left if one is not None]
    if len(known) < len(workers):
        return text
    whole = max(one / max(1e-9, 1 - worker.done) for one, worker in zip(known, workers, strict=True))
    return f"{text}; about {time_words(max(known) + -(-waiting // jobs) * whole)} left"
