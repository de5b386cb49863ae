"""Accuracy after each epoch of the training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from torch import Tensor

from .....errors.installed import needs_packages
from ....comparison.controls import CONTROL
from ....comparison.records import ArmRecord
from ....comparison.table import arms_of
from ..names import BESIDE, add_legend, distinct_names, legend_name, wrapped
from ..style import COLORS, GREY, PALE, WIDTHS, Width, check_width, new_figure, series_style, styled, whole_numbers
from .runs import Runs, accuracy_of, as_records

with needs_packages("spikingjelly_ckd.recipes.report.plots"):
    from matplotlib.figure import Figure

__all__ = ["plot_training"]

MOST_PANELS = 48
MOST_TOGETHER = 5
"""Arms in one field; more of them get one each."""
MOST_POINTS = 2000


@styled
def plot_training(records: Runs, *, part: str = "validation", control: str = CONTROL, width: Width = "page") -> Figure:
    """Accuracy after each epoch: the mean over the seeds, in a band from the lowest to the highest.

    Up to five arms share a field. Of more, each has a field of its own, with its control in grey behind it.

    Args:
        records: of one comparison, with ``val_accuracy`` in their history; or name of each arm -> its accuracies in
            percent, ``[seeds, epochs]``.
        part: of the data that the accuracy is of, for the name of the axis.
        control: arm that is drawn behind the others, where there are no records, which say theirs.
        width: ``"page"`` of a paper, or one ``"column"`` of it, which a phone shows whole too.

    Returns:
        Figure with epochs and percent.

    Raises:
        TypeError: an arm's values are no numbers.
        ValueError: no history has an accuracy, values that are no accuracies, or another width.

    Example:
        >>> figure = plot_training({"plain": [[20.0, 40.0, 55.0], [25.0, 41.0, 53.0]]})
        >>> figure.axes[0].get_ylabel()
        'validation accuracy, %'
    """
    records = as_records(records, "epochs", _history, control)
    curves = {arm: curve for arm, rows in arms_of(records).items() if (curve := _curve(rows))}
    if not curves:
        raise ValueError("no record has an accuracy after an epoch, so there is no curve to draw")
    controls = {arm: rows[0].control for arm, rows in arms_of(records).items()}
    several = any(len({row.seed for row in rows}) > 1 for rows in arms_of(records).values())
    band = "band: lowest to highest seed" if several else ""
    check_width(width)
    if len(curves) <= MOST_TOGETHER:
        return _curves_together(curves, part, band, width)
    return _curves_apart(curves, controls, part, band, width)


def _history(accuracies: Tensor) -> dict[str, Any]:
    return {"history": [{"val_accuracy": accuracy_of(value)} for value in accuracies]}


_Curve = tuple[list[int], list[float], list[float], list[float]]
"""Epochs, and the lowest, mean and highest accuracy after each."""


def _curves_together(curves: Mapping[str, _Curve], part: str, band: str, width: Width) -> Figure:
    figure = new_figure(WIDTHS[width], 3.4)
    axes = figure.add_subplot()
    for index, (name, curve) in enumerate(zip(distinct_names(curves), curves.values(), strict=True)):
        _draw_curve(axes, curve, series_style(index), label=legend_name(name))
    add_legend(axes, **BESIDE[width], title=f"mean; {band}" if band else None)
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"{part} accuracy, %")
    axes.grid(color=PALE)
    whole_numbers(axes.xaxis)
    return figure


def _curves_apart(
    curves: Mapping[str, _Curve], controls: Mapping[str, str], part: str, band: str, width: Width
) -> Figure:
    shown = [arm for arm in curves if controls[arm] != arm][:MOST_PANELS] or list(curves)[:MOST_PANELS]
    columns, between = (4, "; ") if width == "page" else (2, "\n")
    lines = math.ceil(len(shown) / columns)
    names = [wrapped(name, 22, 3) for name in distinct_names(shown, 48)]
    figure = new_figure(WIDTHS[width], 0.6 + (1.55 if any("\n" in name for name in names) else 1.45) * lines)
    fields = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes, arm, name in zip(fields.flat, shown, names, strict=False):
        if controls[arm] in curves:
            _draw_curve(axes, curves[controls[arm]], {"color": GREY, "linestyle": "--"})
        _draw_curve(axes, curves[arm], {"color": COLORS["blue"]})
        axes.set_title(name, fontsize=7).set_parse_math(False)
        axes.grid(color=PALE)
    for axes in list(fields.flat)[len(shown) :]:
        axes.set_visible(False)
    whole_numbers(fields[0, 0].xaxis)
    figure.supxlabel(between.join(filter(None, ("epoch", "dashed grey: the arm's control", band))), fontsize=8)
    figure.supylabel(f"{part} accuracy, %", fontsize=8)
    return figure


def _draw_curve(axes: Any, curve: _Curve, style: Mapping[str, Any], label: str = "") -> None:
    epochs, low, mean, high = curve
    axes.fill_between(epochs, low, high, color=style["color"], alpha=0.18, linewidth=0)
    axes.plot(epochs, mean, label=label, markevery=max(1, len(epochs) // 8), **style)


def _curve(rows: Iterable[ArmRecord]) -> _Curve | None:
    """Of one arm over its seeds; epochs without an accuracy are left out, and of very many some."""
    reached: dict[int, list[float]] = {}
    for record in rows:
        for epoch, row in enumerate(record.history, 1):
            value = row.get("val_accuracy")
            if value is not None and math.isfinite(value):
                reached.setdefault(epoch, []).append(value)
    epochs = sorted(reached)
    epochs = epochs[:: max(1, len(epochs) // MOST_POINTS)]
    if not epochs:
        return None
    values = [reached[epoch] for epoch in epochs]
    return epochs, list(map(min, values)), list(map(fmean, values)), list(map(max, values))
