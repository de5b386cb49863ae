"""Differences of arms that share their seeds: what was measured, how sure it is, and how many seeds more would tell.

An accuracy is taken as ``arm + seed + residual``. All arms share one residual variance, so that three seeds of ten arms
tell more about it than three seeds of two. Intervals of several arms are wider than that of one (Bonferroni), so that
with 95 % probability all of them hold at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from scipy.stats import t as student_t

__all__ = ["Accuracies", "Comparison", "Difference", "compare_arms", "mean_of_known", "seeds_to_tell"]

Accuracies = Mapping[str, Mapping[int, float]]
"""Name of each arm -> seed -> accuracy, percent."""
CONFIDENCE = 0.95
POWER = 0.8
MOST_SEEDS = 10_000
ROUNDING = 1e-9
"""Percentage points: a smaller deviation is that of equal numbers."""


@dataclass(frozen=True)
class Difference:
    """One arm minus the control, over the seeds that both have.

    Attributes:
        mean: percentage points.
        seeds: how many.
        half: half the width of the 95 % interval, corrected for the number of arms; None where nothing is left to
            estimate it: one seed, or differences that are the same in every seed.
    """

    mean: float
    seeds: int
    half: float | None

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return None if self.half is None else self.mean - self.half

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return None if self.half is None else self.mean + self.half

    @property
    def verdict(self) -> str:
        """``"above"`` or ``"below"`` the control; ``"not told apart"`` where the interval holds zero or is unknown."""
        if self.half is None or abs(self.mean) <= self.half:
            return "not told apart"
        return "above" if self.mean > 0 else "below"

    def __str__(self) -> str:
        """The difference with its interval, in points."""
        if self.half is None:
            return f"{self.mean:+.2f}"
        return f"{self.mean:+.2f} ({self.mean - self.half:+.2f} to {self.mean + self.half:+.2f})"


@dataclass(frozen=True)
class Comparison:
    """All arms against one control.

    Attributes:
        control: its name.
        differences: name of each other arm -> its difference; None where it shares no seed with the control.
        deviation: standard deviation of the residual, percentage points; None where nothing is left to estimate it,
            and where there is none: differences that are the same in every seed say that the test part is too small to
            tell the seeds apart, not that they are certain.
        freedom: degrees of freedom of that.
        seeds_for_a_point: how many paired seeds tell a difference of one point with 80 % probability, all arms at once;
            None without a residual.
    """

    control: str
    differences: dict[str, Difference | None]
    deviation: float | None
    freedom: int
    seeds_for_a_point: int | None


def compare_arms(accuracies: Accuracies, control: str) -> Comparison:
    """Every arm minus the control.

    Args:
        accuracies: of all arms; an arm may lack seeds.
        control: one of them.

    Returns:
        A :class:`Comparison`. With one arm beside the control and all seeds it is the paired t-test.

    Raises:
        ValueError: the control has no accuracy, or an accuracy is not a finite number.

    Example:
        >>> found = compare_arms({"plain": {0: 50.0, 1: 52.0, 2: 51.0}, "ckd": {0: 52.0, 1: 53.0, 2: 54.0}}, "plain")
        >>> print(found.differences["ckd"])
        +2.00 (-0.48 to +4.48)
        >>> found.differences["ckd"].verdict, found.seeds_for_a_point
        ('not told apart', 10)
    """
    cells = [(arm, seed, float(value)) for arm, of_seeds in accuracies.items() for seed, value in of_seeds.items()]
    if not accuracies.get(control):
        raise ValueError(f"the control {control!r} has no accuracy; there are {sorted(accuracies)}")
    if not all(math.isfinite(value) for _, _, value in cells):
        raise ValueError("accuracies must be finite numbers")
    deviation, freedom = _residual(cells)
    others = [arm for arm in accuracies if arm != control]
    differences = {
        arm: _difference(accuracies[arm], accuracies[control], deviation, freedom, arms=len(others)) for arm in others
    }
    needed = seeds_to_tell(1.0, deviation, arms=len(others)) if deviation and others else None
    return Comparison(control, differences, deviation, freedom, needed)


def seeds_to_tell(difference: float, deviation: float, *, arms: int = 1) -> int | None:
    """How many paired seeds tell a difference from zero with 80 % probability.

    Args:
        difference: percentage points, above 0.
        deviation: standard deviation of the residual, percentage points.
        arms: how many are compared with the control at once.

    Returns:
        At least 2; None for more than 10,000.

    Raises:
        ValueError: a value out of its range.

    Example:
        >>> seeds_to_tell(1.0, 0.75), seeds_to_tell(1.0, 0.75, arms=20)
        (11, 18)
    """
    if not (difference > 0 and deviation >= 0 and arms >= 1):
        raise ValueError(f"got difference={difference}, deviation={deviation}, arms={arms}: out of range")
    for seeds in range(2, MOST_SEEDS + 1):
        freedom = arms * (seeds - 1)
        quantiles = _quantile(arms, freedom) + float(student_t.ppf(POWER, freedom))
        if quantiles * deviation * math.sqrt(2 / seeds) <= difference:
            return seeds
    return None


def _residual(cells: list[tuple[str, int, float]]) -> tuple[float | None, int]:
    """Standard deviation of what arms and seeds leave unexplained, with its degrees of freedom."""
    arms, seeds = sorted({arm for arm, _, _ in cells}), sorted({seed for _, seed, _ in cells})
    design = np.zeros((len(cells), len(arms) + len(seeds)))
    for row, (arm, seed, _) in enumerate(cells):
        design[row, arms.index(arm)] = design[row, len(arms) + seeds.index(seed)] = 1
    values = np.array([value for _, _, value in cells])
    effects, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    freedom = len(cells) - int(rank)
    if freedom < 1:
        return None, 0
    deviation = float(np.sqrt(((values - design @ effects) ** 2).sum() / freedom))
    return (deviation if deviation > ROUNDING else None), freedom


def _difference(
    arm: Mapping[int, float], control: Mapping[int, float], deviation: float | None, freedom: int, *, arms: int
) -> Difference | None:
    both = sorted(arm.keys() & control.keys())
    if not both:
        return None
    mean = sum(arm[seed] - control[seed] for seed in both) / len(both)
    if deviation is None:
        return Difference(mean, len(both), None)
    return Difference(mean, len(both), _quantile(arms, freedom) * deviation * math.sqrt(2 / len(both)))


def _quantile(arms: int, freedom: int) -> float:
    """Of Student's t, two-sided, so that ``arms`` intervals hold at once."""
    return float(student_t.ppf(1 - (1 - CONFIDENCE) / (2 * arms), freedom))


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """The mean of those values that are known; None where none is.

    Example:
        >>> mean_of_known([1.0, None, 2.0]), mean_of_known([None])
        (1.5, None)
    """
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
