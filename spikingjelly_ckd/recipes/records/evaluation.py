"""What a student reaches at every number of time steps, and with early exit, as plain figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["EarlyExit", "StepEvaluation", "StepFigures"]


@dataclass(frozen=True)
class StepFigures:
    """A student that stops after ``time_steps`` steps.

    Attributes:
        time_steps: ``t``, from 1.
        accuracy: percent, by the mean of the logits up to this step.
        firing_rate: over these steps and all neurons, from 0 to 1; None where it could not be measured.
        energy_mj: compute of one image in mJ, see :mod:`~spikingjelly_ckd.recipes.report.energy`; None likewise.

    Example:
        >>> StepFigures(time_steps=2, accuracy=93.5, firing_rate=0.12, energy_mj=0.021).accuracy
        93.5
    """

    time_steps: int
    accuracy: float
    firing_rate: float | None
    energy_mj: float | None


@dataclass(frozen=True)
class EarlyExit:
    """A student that stops at the first step at which it is confident enough, each image by itself.

    Attributes:
        threshold: of the largest softmax of the mean logits so far; an image that never reaches it stops after ``T``.
        mean_steps: after how many steps images stop, on average.
        accuracy: percent.
        energy_mj: compute of one image in mJ, as the mean over the steps at which images stop; None where the energy
            of a step could not be measured.
        shares: of the images that stop after 1, 2, ... ``T`` steps; they sum to 1.

    Example:
        >>> early = EarlyExit(threshold=0.9, mean_steps=1.75, accuracy=93.1, energy_mj=0.018, shares=(0.5, 0.25, 0.25))
        >>> sum(steps * share for steps, share in enumerate(early.shares, 1))  # the mean number of steps
        1.75
    """

    threshold: float
    mean_steps: float
    accuracy: float
    energy_mj: float | None
    shares: tuple[float, ...]


@dataclass(frozen=True)
class StepEvaluation:
    """Accuracy, firing rate and energy at every number of steps, and with early exit; ``print`` shows the tables.

    Attributes:
        images: how many were evaluated.
        energy_images: how many firing rate and energy are the mean over.
        steps: one for each number of steps, from 1 to ``T``.
        exits: one for each threshold.
        notes: what could not be measured, or does not mean what it says, and why.

    Example:
        >>> steps = StepFigures(1, 90.0, 0.11, 0.012), StepFigures(2, 93.5, 0.12, 0.021)
        >>> print(StepEvaluation(images=1000, energy_images=64, steps=steps, exits=()))
        | time steps | accuracy, % | firing rate, % | energy, mJ |
        | ---: | ---: | ---: | ---: |
        | 1 | 90.00 | 11.0 | 0.012 |
        | 2 | 93.50 | 12.0 | 0.021 |
    """

    images: int
    energy_images: int
    steps: tuple[StepFigures, ...]
    exits: tuple[EarlyExit, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        fixed = [
            (str(x.time_steps), f"{x.accuracy:.2f}", _percent(x.firing_rate), _number(x.energy_mj)) for x in self.steps
        ]
        early = [
            (f"{x.threshold:g}", f"{x.mean_steps:.2f}", f"{x.accuracy:.2f}", _number(x.energy_mj)) for x in self.exits
        ]
        tables = [_table(("time steps", "accuracy, %", "firing rate, %", "energy, mJ"), fixed)]
        if early:
            tables.append(_table(("exit at confidence", "mean steps", "accuracy, %", "energy, mJ"), early))
        return "\n\n".join([*tables, *self.notes])

    def to_json(self) -> dict[str, Any]:
        """The same as plain numbers, strings, lists and dicts."""
        return asdict(self)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---:"] * len(heads), *rows))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
