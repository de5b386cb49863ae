"""Test accuracy of each arm beside the energy of one image."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

from torch import Tensor

from .....errors.arguments import ArgumentValueError
from .....errors.installed import needs_packages
from ....comparison.controls import CONTROL
from ....comparison.table import arms_of
from ..names import BESIDE, add_legend, distinct_names, legend_name
from ..style import GREY, MOST_SERIES, PALE, WIDTHS, Width, check_width, new_figure, series_style, styled
from .runs import Runs, accuracy_of, as_records

with needs_packages("spikingjelly_ckd.recipes.report.plots"):
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.markers import CARETDOWN

__all__ = ["plot_accuracy_and_energy"]

LINE = 0.135
"""Inches of a name beside the figure."""
LEAST_SPAN = 0.02
"""Of the largest energy: what the axis of energies spans at least."""
CARET = 9.0
"""Points from one caret at the edge to the next."""
FAR = 3.0
"""So many times the range of the arms above it makes a gap in the accuracy hide them."""
LARGEST = 1e12
"""Larger numbers come from nowhere, and no axis holds them."""


@styled
def plot_accuracy_and_energy(records: Runs, *, width: Width = "page") -> Figure:
    """Test accuracy of each arm beside the energy of one image: mean and range over the seeds.

    A few arms that are very far below the others are carets at the lower edge, with their accuracy behind their name.

    Args:
        records: of one comparison, with ``test_accuracy`` and ``energy_mj``, others are left out; or name of each arm
            -> ``[seeds, 2]``: the accuracy in percent and the energy of one image in millijoules of each run.
        width: ``"page"`` of a paper, or one ``"column"`` of it, which a phone shows whole too.

    Returns:
        Figure with millijoules and percent.

    Raises:
        TypeError: an arm's values are no numbers.
        ValueError: no record has both, values that are no accuracies and energies, or another width.

    Example:
        >>> plot_accuracy_and_energy({"plain": [[57.5, 0.018]], "kd": [[60.0, 0.02]]}).axes[0].get_xlabel()
        'energy of one image, mJ'
    """
    records = as_records(records, "2", _accuracy_and_energy, CONTROL)
    points = {
        arm: known
        for arm, rows in arms_of(records).items()
        if (
            known := [
                (x, y)
                for row in rows
                if (x := _drawn(row.energy_mj)) is not None and (y := row.test_accuracy) is not None
            ]
        )
    }
    if not points:
        raise ValueError("no record has both a test accuracy and an energy, so there is nothing to draw")
    order = sorted(points, key=lambda arm: -fmean(y for _, y in points[arm]))
    together = len(points) <= MOST_SERIES
    means = {arm: fmean(y for _, y in known) for arm, known in points.items()}
    below = _far_below(means)
    said = ["mean; bars: lowest to highest seed"] if any(len(known) > 1 for known in points.values()) else []
    title = "\n".join([*said, *(["caret at the edge: below the axis"] if below else [])]) or None
    names = dict(zip(order, distinct_names(order), strict=True))
    names |= {arm: f"{names[arm]}, {means[arm]:.1f} %" for arm in below}
    is_wide, lines = check_width(width) == "page", LINE * len(points)
    figure = new_figure(WIDTHS[width], max(3.4, 0.0 if together else 0.7 + lines) if is_wide else 3.0 + lines)
    axes = figure.add_subplot()
    axes.margins(0.12)
    marks, drawn = {}, dict[str, Any]()
    looks = dict(zip(points, map(series_style, range(len(points))), strict=True))
    for arm in order:
        xs, ys = [x for x, _ in points[arm]], [y for _, y in points[arm]]
        looks[arm] = looks[arm] if together else {"color": GREY, "marker": "o", "markersize": 3}
        looks[arm] |= {"linestyle": "none", "label": legend_name(names[arm])}
        x, y = fmean(xs), means[arm]
        marks[arm] = (x, y)
        if arm not in below:
            drawn[arm] = axes.errorbar([x], [y], xerr=_range(xs, x), yerr=_range(ys, y), elinewidth=0.8, **looks[arm])
    axes.set_ylim(axes.get_ylim())  # as the others need it
    (low, high), step = axes.get_ylim(), CARET / (72 * figure.get_figheight())
    for height, arm in enumerate(arm for arm in order if arm in below):  # none over another
        marks[arm] = (marks[arm][0], low + height * step * (high - low))
        (drawn[arm],) = axes.plot(
            *([value] for value in marks[arm]), **looks[arm] | {"marker": CARETDOWN, "markersize": 7}
        )
    _widen(axes, [x for known in points.values() for x, _ in known])
    axes.grid(color=PALE)
    if not is_wide:
        axes.locator_params(axis="x", nbins=4)
    axes.set_xlabel("energy of one image, mJ")
    axes.set_ylabel("test accuracy, %")
    if together:
        add_legend(axes, **BESIDE[width], title=title, handles=[drawn[arm] for arm in order])
    else:
        place = "outside right upper" if is_wide else "outside lower left"
        _number(figure, axes, [marks[arm] for arm in order], [names[arm] for arm in order], title, place)
    return figure


def _far_below(means: Mapping[str, float]) -> set[str]:
    """Arms, a quarter of them at most, below a gap beside which nothing could be told of the others.

    Example:
        >>> _far_below({"kd": 62.0, "ckd": 61.0, "plain": 59.0, "at": 10.0})
        {'at'}
        >>> _far_below({"kd": 62.0, "ckd": 61.0, "at": 10.0})
        set()
    """
    order = sorted(means, key=means.__getitem__, reverse=True)
    gaps = [means[arm] - means[after] for arm, after in pairwise(order)]
    if not gaps:
        return set()
    widest = gaps.index(max(gaps))
    spread = means[order[0]] - means[order[widest]]
    few = len(order) - widest - 1 <= len(order) // 4
    return set(order[widest + 1 :]) if few and 0 < FAR * spread < gaps[widest] else set()


def _widen(axes: Any, energies: Sequence[float]) -> None:
    """Let an axis of energies span :data:`LEAST_SPAN` of the largest, so that rounding is not drawn as a difference."""
    axes.ticklabel_format(axis="x", useOffset=False)
    low, high = axes.get_xlim()
    lacking = LEAST_SPAN * max(energies) - (high - low)
    if lacking > 0:
        axes.set_xlim(low - lacking / 2, high + lacking / 2)


def _accuracy_and_energy(run: Tensor) -> dict[str, Any]:
    if len(run) != 2 or float(run[1]) < 0:
        raise ArgumentValueError(
            "records", f"must have an accuracy in percent and an energy in mJ for each seed, got {run.tolist()}"
        )
    return {"test_accuracy": accuracy_of(run[0]), "energy_mj": float(run[1])}


def _number(
    figure: Figure,
    axes: Any,
    marks: Sequence[tuple[float, float]],
    names: Sequence[str],
    title: str | None,
    place: str,
) -> None:
    """Numbers beside marks, none over another, and their names at a place of the figure."""
    numbered = [f"{number}  {name}" for number, name in enumerate(names, 1)]
    nothing = [Line2D([], [], linestyle="none")] * len(names)
    where: dict[str, Any] = {"loc": place, "handlelength": 0, "handletextpad": 0, "alignment": "left"}
    legend = figure.legend(nothing, numbered, **where, title=title, fontsize=6, title_fontsize=6)
    for text in legend.get_texts():
        text.set_parse_math(False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # said when the figure is drawn
        figure.draw_without_rendering()  # the legend gets its room, and the marks their places
    taken: list[tuple[float, float]] = [tuple(axes.transData.transform(mark)) for mark in marks]
    point = figure.dpi / 72
    for number, mark in enumerate(marks, 1):
        x, y = axes.transData.transform(mark)
        shifts = [
            (away * math.cos(turn * math.pi / 6), away * math.sin(turn * math.pi / 6))
            for away in range(10, 44, 4)
            for turn in (1, 11, 5, 7, 0, 6, 3, 9, 2, 4, 8, 10)
        ]
        dx, dy = next(
            (
                (dx, dy)
                for dx, dy in shifts
                if all(abs(x + dx * point - u) > 8 * point or abs(y + dy * point - v) > 6.5 * point for u, v in taken)
            ),
            shifts[0],
        )
        taken.append((x + dx * point, y + dy * point))
        line = {"arrowprops": {"arrowstyle": "-", "linewidth": 0.3, "color": GREY, "shrinkA": 0, "shrinkB": 1}}
        axes.annotate(
            str(number), mark, (dx, dy), textcoords="offset points", fontsize=6, ha="center", va="center", **line
        )


def _range(values: Sequence[float], mean: float) -> list[list[float]]:
    """From a mean down to the lowest value and up to the highest; rounding makes neither negative."""
    return [[max(0.0, mean - min(values))], [max(0.0, max(values) - mean)]]


def _drawn(value: float | None) -> float | None:
    """A number that an axis holds, or None."""
    return value if value is not None and math.isfinite(value) and abs(value) <= LARGEST else None
