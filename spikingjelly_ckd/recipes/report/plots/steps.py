"""Accuracy and energy of a student over its time steps, with early exit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ....errors.installed import needs_packages
from ...records.evaluation import EarlyExit, StepEvaluation, StepFigures
from .style import WIDTHS, new_figure, series_style, styled, whole_numbers

with needs_packages("spikingjelly_ckd.recipes.report.plots"):
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

__all__ = ["plot_steps"]

ROOM = 0.08
"""Of an axis, free on both sides."""
SIZE = 6
"""Points of a text beside a mark."""
CLOSE = 0.1
"""Share of an axis from which on two texts stand in one row."""
MOST_NAMED = 6
"""Numbers of steps that all have a text."""


@styled
def plot_steps(found: StepEvaluation) -> Figure:
    """Accuracy at every number of time steps and with early exit: against the steps, and against the energy.

    Args:
        found: see :func:`~spikingjelly_ckd.recipes.deploy.steps.evaluate_steps`.

    Returns:
        The figure, as wide as a page; where no energy was measured as wide as a column, without the right half. Beside
        a mark stands its number of steps, or the confidence at which images stop.

    Example:
        >>> from spikingjelly_ckd.recipes.records.evaluation import EarlyExit, StepFigures
        >>> steps = (StepFigures(1, 60.0, 0.1, 0.01), StepFigures(2, 70.0, 0.1, 0.02))
        >>> figure = plot_steps(StepEvaluation(100, 10, steps, (EarlyExit(0.9, 1.4, 69.0, 0.014, (0.6, 0.4)),)))
        >>> [axes.get_xlabel() for axes in figure.axes]
        ['time steps', 'energy of an image (mJ)']
    """
    fixed, early = _of_steps(found.steps), _of_exits(found.exits)
    priced = any(mark.energy_mj is not None for mark in fixed)
    figure = new_figure(WIDTHS["page" if priced else "column"], 2.4)
    axes = figure.subplots(1, 2 if priced else 1, sharey=True, squeeze=False)[0]
    lines = [_draw(axes[0], 0, fixed, [mark.steps for mark in fixed])]
    lines += [_draw(axes[0], 1, early, [mark.steps for mark in early])] if early else []
    axes[0].set(xlabel="time steps", ylabel=f"accuracy (%), {found.images} images")
    whole_numbers(axes[0].xaxis)
    if priced:
        for index, marks in enumerate((fixed, early)):
            known = [mark for mark in marks if mark.energy_mj is not None]
            if known:
                _draw(axes[1], index, known, [mark.energy_mj for mark in known])
        axes[1].set(xlabel="energy of an image (mJ)")
        axes[1].xaxis.set_major_locator(MaxNLocator(5))
    for one in axes:
        one.margins(ROOM, 2 * ROOM)
        one.grid(linewidth=0.3)
        one.set_xlim(left=0)
    figure.legend(
        lines,
        ["fixed number of steps T", "early exit at a confidence"][: len(lines)],
        loc="outside upper center",
        ncols=2,
    )
    return figure


class _Mark(NamedTuple):
    """One mark: where it stands, and what is written beside it."""

    text: str
    steps: float
    accuracy: float
    energy_mj: float | None


def _of_steps(steps: Sequence[StepFigures]) -> list[_Mark]:
    """Of more than :data:`MOST_NAMED` marks the first, the last and those at powers of two have a text."""
    named = {x.time_steps for x in steps if len(steps) <= MOST_NAMED or x.time_steps.bit_count() == 1}
    named.add(steps[-1].time_steps)
    return [
        _Mark(f"T={x.time_steps}" if x.time_steps in named else "", x.time_steps, x.accuracy, x.energy_mj)
        for x in steps
    ]


def _of_exits(exits: Sequence[EarlyExit]) -> list[_Mark]:
    return [_Mark(f"{x.threshold:g}", x.mean_steps, x.accuracy, x.energy_mj) for x in exits]


def _draw(axes: Any, index: int, marks: Sequence[_Mark], at: Sequence[float | None]) -> Any:
    """A line with its texts, of the first series below and to the right of its marks, of the second one opposite.

    Texts of marks that are close to each other stand in rows of their own.
    """
    (line,) = axes.plot(at, [mark.accuracy for mark in marks], **series_style(index))
    (across, up), (x, y) = (("left", "top"), ("right", "bottom"))[index], ((3, -3), (-3, 3))[index]
    how = {"textcoords": "offset points", "ha": across, "va": up, "fontsize": SIZE, "color": line.get_color()}
    close = CLOSE * max((place for place in at if place is not None), default=0.0)
    last, row = -math.inf, 0
    for place, mark in zip(at, marks, strict=True):
        if mark.text and place is not None:
            row = row + 1 if place - last < close else 0
            last = place
            shift = (x, y + math.copysign(1.3 * SIZE * row, y))
            axes.annotate(mark.text, (place, mark.accuracy), shift, **how)
    return line
