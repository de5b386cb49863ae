"""Schedules of weights: what a weight is multiplied by, as a function of the progress of the training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..errors.checks import check_choice, check_non_negative, check_share

__all__ = ["Ramp", "Schedule", "decay", "warm_up"]

Schedule = Callable[[float], float]
"""Progress of the training, from 0 (start) to 1 (end), -> the factor that a weight is multiplied by; at least 0."""


@dataclass(frozen=True)
class Ramp:
    """A factor that goes from one value to another over a part of the training, and is constant before and after it.

    It can be pickled, and its ``repr`` is how it is made. :func:`warm_up` and :func:`decay` make the usual ones.

    Args:
        first: factor up to ``start``; at least 0.
        last: factor from ``end`` on; at least 0.
        start: progress at which the factor begins to change, from 0 to below 1.
        end: progress at which it has changed, above ``start`` and at most 1.
        shape: ``"linear"``, or ``"cosine"``: half a period of a cosine, flat at both ends.

    Raises:
        TypeError: a value that is no number.
        ValueError: a value that is out of its range, or an unknown shape.

    Example:
        >>> ramp = Ramp(1.0, 0.5, start=0.5)
        >>> [ramp(progress) for progress in (0.0, 0.5, 0.75, 1.0)]
        [1.0, 1.0, 0.75, 0.5]
        >>> print(ramp)
        1 to 0.5, linear, 50 % to 100 % of the training
    """

    first: float
    last: float
    start: float = 0.0
    end: float = 1.0
    shape: Literal["linear", "cosine"] = "linear"

    def __post_init__(self) -> None:
        check_non_negative("first", self.first)
        check_non_negative("last", self.last)
        check_share("start", self.start)
        if not self.start < check_non_negative("end", self.end) <= 1:
            raise ValueError(f"end must lie above start={self.start} and be at most 1, got {self.end}")
        check_choice("shape", self.shape, ("linear", "cosine"))

    def __call__(self, progress: float) -> float:
        """The factor at ``progress``, from 0 (start of the training) to 1 (its end)."""
        done = min(max((progress - self.start) / (self.end - self.start), 0.0), 1.0)
        if self.shape == "cosine":
            done = (1.0 - math.cos(math.pi * done)) / 2
        return (1.0 - done) * self.first + done * self.last

    def __str__(self) -> str:
        """In words, for tables."""
        when = f"{100 * self.start:.3g} % to {100 * self.end:.3g} % of the training"
        return f"{self.first:g} to {self.last:g}, {self.shape}, {when}"


def warm_up(share: float) -> Ramp:
    """A weight that rises in a straight line from 0 to its full value over the first part of the training.

    Args:
        share: of the training that the rise takes, above 0 and at most 1: epochs of warm-up / all epochs.

    Raises:
        TypeError: ``share`` is no number.
        ValueError: ``share`` is not above 0, or above 1.

    Example:
        >>> rise = warm_up(20 / 240)
        >>> [round(rise(epoch / 240), 2) for epoch in (0, 5, 20, 240)]
        [0.0, 0.25, 1.0, 1.0]
    """
    if not 0 < check_non_negative("share", share) <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}; without a warm-up pass no schedule")
    return Ramp(0.0, 1.0, end=share)


def decay(start: float = 0.0, last: float = 0.0, shape: Literal["linear", "cosine"] = "linear") -> Ramp:
    """A weight that falls from its full value to a part of it, by default to 0, at the end of the training.

    Args:
        start: progress at which it begins to fall, from 0 to below 1.
        last: what it is multiplied by at the end, from 0 to 1.
        shape: ``"linear"`` or ``"cosine"``, see :class:`Ramp`.

    Raises:
        TypeError: a value that is no number.
        ValueError: a value that is out of its range, or an unknown shape.

    Example:
        >>> fall = decay(start=150 / 240, shape="cosine")
        >>> [round(fall(epoch / 240), 2) for epoch in (0, 150, 195, 240)]
        [1.0, 1.0, 0.5, 0.0]
    """
    if check_non_negative("last", last) > 1:
        raise ValueError(f"last must be at most 1, got {last}")
    return Ramp(1.0, last, start=start, shape=shape)
