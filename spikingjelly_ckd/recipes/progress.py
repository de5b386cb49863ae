"""Lines that say how far something is and how long it will take, where it takes more than ten seconds."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TypeVar

import torch
from torch.nn import functional as F

from .files import say

__all__ = ["SAY_EVERY", "Pace", "is_bfloat16_fast", "say_busy", "say_emulated", "time_words", "tracked"]

T = TypeVar("T")
SAY_EVERY = 10.0
"""Seconds before the first line, and between two."""
EMULATED = 5
"""Where the processor has no instructions for bfloat16, it is slower than float32 by this factor or more."""


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


def say_emulated(device: str, precision: str) -> None:
    """Say, once, that a training in bfloat16 is to run on a processor that computes it far slower than float32.

    Args:
        device: that is trained on.
        precision: Lightning's word, such as ``"bf16-mixed"``.

    Example:
        >>> say_emulated("cpu", "32-true")  # bfloat16 matters alone
    """
    if device == "cpu" and precision == "bf16-mixed" and not is_bfloat16_fast():
        _say_once(
            f"This processor has no instructions for {precision}, which takes many times as long as float32; train "
            "with --amp 32-true here"
        )


@cache
def _say_once(text: str) -> None:
    say(text)


def is_bfloat16_fast() -> bool:
    """Whether a convolution in bfloat16 on the CPU takes less than :data:`EMULATED` times as long as in float32.

    Example:
        >>> precision = "bf16-mixed" if is_bfloat16_fast() else "32-true"
    """
    return _convolution_seconds(torch.bfloat16) < EMULATED * _convolution_seconds(torch.float32)


@cache
def _convolution_seconds(dtype: torch.dtype) -> float:
    """The shortest of four."""
    images, weights = torch.zeros(4, 16, 16, 16, dtype=dtype), torch.zeros(16, 16, 3, 3, dtype=dtype)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        F.conv2d(images, weights)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


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
