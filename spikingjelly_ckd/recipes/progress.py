"""Lines that say how far something is and how long it will take, where it takes more than ten seconds."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch

from .files import say

__all__ = ["SAY_EVERY", "Pace", "say_busy", "time_words", "tracked"]

T = TypeVar("T")
SAY_EVERY = 10.0
"""Seconds before the first line, and between two."""


def say_busy(device: str) -> None:
    """Say that threads will wait for each other, where others use the cores that a training on the CPU is to share.

    Args:
        device: that is trained on.

    Example:
        >>> say_busy("cuda")  # cores matter on the CPU alone
    """
    cores, threads = os.cpu_count() or 1, torch.get_num_threads()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0  # Windows does not say
    if device == "cpu" and threads > 1 and load > cores:
        say(
            f"Others use this machine ({load:.0f} processes for {cores} cores), where {threads} threads wait for each "
            "other: with OMP_NUM_THREADS=1 before the command it can be several times faster"
        )


def time_words(seconds: float) -> str:
    """A time in words.

    Example:
        >>> time_words(42.4), time_words(600), time_words(9000)
        ('42 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Pace:
    """How fast something goes on.

    Args:
        share: of it that was done before, from 0 to 1.

    Example:
        >>> Pace().left(0.0), Pace().is_due()
        ('', False)
    """

    def __init__(self, share: float = 0.0) -> None:
        self.first = share
        self.start = self.said = time.monotonic()

    def left(self, share: float) -> str:
        """The time to the end in words; empty where nothing was done yet.

        Args:
            share: that is done, from 0 to 1.
        """
        if share <= self.first:
            return ""
        seconds = (time.monotonic() - self.start) * (1 - share) / (share - self.first)
        return f"about {time_words(seconds)} left"

    def is_due(self) -> bool:
        """Whether the last line, or the start, is ten seconds ago; then the time counts from now."""
        now = time.monotonic()
        if now - self.said < SAY_EVERY:
            return False
        self.said = now
        return True


def tracked(items: Iterable[T], what: str, total: int | None) -> Iterator[T]:
    """The items, with a line every ten seconds while they are used.

    Args:
        items: such as batches.
        what: is done with them, as the line begins.
        total: how many there are; None where that is not known, and nothing is said.

    Example:
        >>> list(tracked("ab", "Letters", 2))
        ['a', 'b']
    """
    pace = Pace()
    for done, item in enumerate(items):
        if total and pace.is_due():
            say(f"{what}: {100 * done / total:.0f} %, {pace.left(done / total)}")
        yield item
