"""Pictures of what runs left: differences with intervals, training curves, energy, firing rates, confusions.

Every function returns a matplotlib ``Figure``, which :func:`~spikingjelly_ckd.recipes.report.plots.style.save_figure`
writes. Nothing is said by colour alone. Names are shown as they are: dollar signs in them make no formula.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from ....errors.installed import needs_packages
from ...comparison.records import ArmRecord
from ...comparison.statistics import Difference
from ...comparison.table import arms_of, compare_records, control_of
from .names import add_legend, distinct_names, legend_name, name_ticks, short_name, wrapped
from .style import COLORS, EVIDENCE, WIDTHS, add_scale, new_figure, series_style, styled, whole_numbers

with needs_packages("spikingjelly_ckd.recipes.report.plots"):
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = [
    "differences",
    "plot_accuracy_and_energy",
    "plot_confusion",
    "plot_forest",
    "plot_layer_rates",
    "plot_training",
]

GREY, PALE = "#6b7480", "#d5dae1"
OF_VERDICT = {"above": (COLORS["blue"], "o"), "below": (COLORS["vermillion"], "s"), "not told apart": (GREY, "D")}
WIDTH = WIDTHS["page"]
FAR = 3.0
"""Half intervals from zero, from which on an arm is drawn as an arrow."""
MOST_ROWS = 60
MOST_PANELS = 48
MOST_TOGETHER = 5
"""Arms in one field; more of them get one each."""
MOST_NAMED = 7
"""Arms with a colour, a line and a mark of their own."""
LINE = 0.135
"""Inches of a name beside the figure."""
MOST_POINTS = 2000
LARGEST = 1e12
"""Larger numbers come from nowhere, and no axis holds them."""


@styled
def plot_forest(records: Sequence[ArmRecord]) -> Figure:
    """Each arm minus its control with the 95 % interval, all arms at once; the best comes first.

    A filled mark in colour is told apart from zero; a hollow grey one is not. An arm that is very far below the others
    is an arrow at the edge, with its numbers beside it.

    Args:
        records: of one comparison, as :func:`~spikingjelly_ckd.recipes.comparison.records.read_records` returns them.

    Returns:
        Figure with an axis in percentage points.

    Raises:
        ValueError: no arm shares a seed with its control.

    Example:
        >>> def run(arm, seed, accuracy):
        ...     return ArmRecord(arm=arm, control="plain", seed=seed, test_accuracy=accuracy)
        >>> figure = plot_forest([run("plain", 0, 50.0), run("plain", 1, 51.0), run("kd", 0, 53.0), run("kd", 1, 54.2)])
        >>> figure.axes[0].get_xlabel()
        'test accuracy minus control, percentage points (95 % interval)'
    """
    found = differences(records)
    if not found:
        raise ValueError("no arm shares a seed with its control, so there is no difference to draw")
    shown = sorted(found.items(), key=lambda item: -item[1][1].mean)[:MOST_ROWS]
    figure = new_figure(WIDTH, 0.9 + 0.29 * len(shown))
    axes = figure.add_subplot()
    edge = _edge([one for _, one in found.values()])
    axes.axvline(0, color=COLORS["black"], linewidth=0.8)
    for row, (_, (_, one)) in enumerate(shown):
        colour, marker = OF_VERDICT[one.verdict]
        fill = colour if one.verdict != "not told apart" else "none"
        half = one.half or 0.0
        if edge is not None and one.mean < edge:
            axes.plot([edge], [row], "<", color=colour, markersize=7)
        else:
            axes.plot([one.mean - half, one.mean + half], [row, row], color=colour, linewidth=1.6)
            axes.plot([one.mean], [row], marker, color=colour, markerfacecolor=fill, markersize=6)
        axes.text(1.02, row, f"{one}", transform=axes.get_yaxis_transform(), va="center")
    controls = {control for control, _ in found.values()}
    names = distinct_names([arm for arm, _ in shown])
    if len(controls) > 1:
        names = [f"{name}\nbeside {short_name(control)}" for name, (_, (control, _)) in zip(names, shown, strict=True)]
    name_ticks(axes.yaxis, range(len(shown)), names)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(axis="x", color=PALE)
    axes.tick_params(axis="y", length=0)
    beyond = "" if edge is None else "\narrow: beyond the axis"
    axes.set_xlabel(f"test accuracy minus control, percentage points (95 % interval){beyond}")
    return figure


def _edge(found: Sequence[Difference]) -> float | None:
    """Below which difference an arm is an arrow, so that one ruined arm hides no other; None where all fit."""
    widest = max((one.half for one in found if one.half is not None), default=0.0)
    best = max(one.mean for one in found)
    edge = -max(FAR * widest, best)
    return edge if widest and any(edge <= one.mean for one in found) and any(one.mean < edge for one in found) else None


def differences(records: Sequence[ArmRecord]) -> dict[str, tuple[str, Difference]]:
    """Each arm with the name of its control and its difference to that, where they share a seed."""
    found: dict[str, tuple[str, Difference]] = {}
    own = {arm: control_of(rows[0]) for arm, rows in arms_of(records).items()}
    for control in dict.fromkeys(own.values()):
        compared = compare_records(records, control)
        for arm, difference in ({} if compared is None else compared.differences).items():
            if difference is not None and own[arm] == control:
                found[arm] = (control, difference)
    return found


@styled
def plot_training(records: Sequence[ArmRecord], *, part: str = "validation") -> Figure:
    """Accuracy after each epoch: the mean over the seeds, in a band from the lowest to the highest.

    Up to five arms share a field. Of more, each has a field of its own, with its control in grey behind it.

    Args:
        records: with ``val_accuracy`` in their history; of one comparison.
        part: of the data that the accuracy is of, for the name of the axis.

    Returns:
        Figure with epochs and percent.

    Raises:
        ValueError: no history has an accuracy.

    Example:
        >>> rows = [{"val_accuracy": value} for value in (20.0, 40.0, 55.0)]
        >>> figure = plot_training([ArmRecord(arm="plain", control="plain", seed=0, history=rows)])
        >>> figure.axes[0].get_ylabel()
        'validation accuracy, %'
    """
    curves = {arm: curve for arm, rows in arms_of(records).items() if (curve := _curve(rows))}
    if not curves:
        raise ValueError("no record has an accuracy after an epoch, so there is no curve to draw")
    controls = {arm: rows[0].control for arm, rows in arms_of(records).items()}
    several = any(len({row.seed for row in rows}) > 1 for rows in arms_of(records).values())
    band = "band: lowest to highest seed" if several else ""
    if len(curves) <= MOST_TOGETHER:
        return _curves_together(curves, part, band)
    return _curves_apart(curves, controls, part, band)


_Curve = tuple[list[int], list[float], list[float], list[float]]
"""Epochs, and the lowest, mean and highest accuracy after each."""


def _curves_together(curves: Mapping[str, _Curve], part: str, band: str) -> Figure:
    figure = new_figure(WIDTH, 3.4)
    axes = figure.add_subplot()
    for index, (name, curve) in enumerate(zip(distinct_names(curves), curves.values(), strict=True)):
        _draw_curve(axes, curve, series_style(index), label=legend_name(name))
    add_legend(axes, loc="best", title=f"mean; {band}" if band else None)
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"{part} accuracy, %")
    axes.grid(color=PALE)
    whole_numbers(axes.xaxis)
    return figure


def _curves_apart(curves: Mapping[str, _Curve], controls: Mapping[str, str], part: str, band: str) -> Figure:
    shown = [arm for arm in curves if controls[arm] != arm][:MOST_PANELS] or list(curves)[:MOST_PANELS]
    columns = 4
    lines = math.ceil(len(shown) / columns)
    names = [wrapped(name, 22, 3) for name in distinct_names(shown, 48)]
    figure = new_figure(WIDTH, 0.6 + (1.55 if any("\n" in name for name in names) else 1.45) * lines)
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
    figure.supxlabel("; ".join(filter(None, ("epoch", "dashed grey: the arm's control", band))), fontsize=8)
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


@styled
def plot_accuracy_and_energy(records: Sequence[ArmRecord]) -> Figure:
    """Test accuracy of each arm beside the energy of one image: mean and range over the seeds.

    Args:
        records: with ``test_accuracy`` and ``energy_mj``; others are left out.

    Returns:
        Figure with millijoules and percent.

    Raises:
        ValueError: no record has both.

    Example:
        >>> record = ArmRecord(arm="kd", control="plain", seed=0, test_accuracy=60.0, energy_mj=0.02)
        >>> plot_accuracy_and_energy([record]).axes[0].get_xlabel()
        'energy of one image, mJ'
    """
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
    together = len(points) <= MOST_NAMED
    title = "mean; bars: lowest to highest seed" if any(len(known) > 1 for known in points.values()) else None
    names = dict(zip(order, distinct_names(order), strict=True))
    figure = new_figure(WIDTH, 3.4 if together else max(3.4, 0.7 + LINE * len(points)))
    axes = figure.add_subplot()
    marks = []
    for index, arm in enumerate(points if together else order):
        xs, ys = [x for x, _ in points[arm]], [y for _, y in points[arm]]
        x, y = fmean(xs), fmean(ys)
        spread: dict[str, Any] = {"xerr": _range(xs, x), "yerr": _range(ys, y), "elinewidth": 0.8}
        look = series_style(index) if together else {"color": GREY, "marker": "o", "markersize": 3}
        axes.errorbar([x], [y], **spread, **look | {"linestyle": "none"}, label=legend_name(names[arm]))
        marks.append((x, y))
    axes.margins(0.12)
    axes.grid(color=PALE)
    axes.set_xlabel("energy of one image, mJ")
    axes.set_ylabel("test accuracy, %")
    if together:
        add_legend(axes, loc="best", title=title)
    else:
        _number(figure, axes, marks, [names[arm] for arm in order], title)
    return figure


def _number(
    figure: Figure, axes: Any, marks: Sequence[tuple[float, float]], names: Sequence[str], title: str | None
) -> None:
    """Numbers beside marks, none over another, and their names on the right."""
    numbered = [f"{number}  {name}" for number, name in enumerate(names, 1)]
    nothing = [Line2D([], [], linestyle="none")] * len(names)
    where: dict[str, Any] = {"loc": "outside right upper", "handlelength": 0, "handletextpad": 0, "alignment": "left"}
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


@styled
def plot_layer_rates(rates: Mapping[str, Mapping[str, float]]) -> Figure:
    """Firing rate of each spiking layer, in the order in which the layers are given.

    Up to seven networks have marks of their own. More of them are the columns of a map.

    Args:
        rates: name of each network -> name of each layer -> share of its neurons and time steps that spike, from 0
            to 1.

    Returns:
        Figure with a line for each layer and percent, which is an axis or a scale of colours.

    Raises:
        ValueError: no rate.

    Example:
        >>> figure = plot_layer_rates({"kd": {"layer1.lif": 0.21, "layer2.lif": 0.12}})
        >>> figure.axes[0].get_xlabel()
        'firing rate, % of neurons and time steps'
    """
    known = {name: {layer: 100 * rate for layer, rate in of.items()} for name, of in rates.items() if of}
    layers = list(dict.fromkeys(layer for of in known.values() for layer in of))[:MOST_ROWS]
    if not layers:
        raise ValueError("no firing rate was given, so there is nothing to draw")
    if len(known) > MOST_NAMED:
        return _rates_as_map(dict(list(known.items())[:MOST_ROWS]), layers)
    figure = new_figure(WIDTH, 1.0 + 0.21 * len(layers))
    axes = figure.add_subplot()
    shown = distinct_names(known)
    for index, (name, of) in enumerate(zip(shown, known.values(), strict=True)):
        places = [place for place, layer in enumerate(layers) if layer in of]
        values = [of[layers[place]] for place in places]
        axes.plot(values, places, label=legend_name(name), **series_style(index) | {"linestyle": "none"})
    name_ticks(axes.yaxis, range(len(layers)), distinct_names(layers))
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.set_xlim(0, None if any(any(of.values()) for of in known.values()) else 1)
    axes.grid(color=PALE)
    if len(known) > 1:
        add_legend(axes, loc="best")
    axes.set_xlabel("firing rate, % of neurons and time steps")
    return figure


def _rates_as_map(known: Mapping[str, Mapping[str, float]], layers: Sequence[str]) -> Figure:
    """Layers are rows, networks columns; a layer that a network lacks is left grey."""
    table = [[of.get(layer, math.nan) for of in known.values()] for layer in layers]
    most = max(value for of in known.values() for value in of.values()) or 1.0
    figure = new_figure(WIDTH, 2.0 + 0.21 * len(layers))
    axes = figure.add_subplot()
    axes.set_facecolor(PALE)
    axes.imshow(table, cmap=EVIDENCE, vmin=0, vmax=most, aspect="auto")
    add_scale(figure, axes, EVIDENCE, 0.0, most, "firing rate, % of neurons and time steps")
    name_ticks(axes.yaxis, range(len(layers)), distinct_names(layers))
    name_ticks(axes.xaxis, range(len(known)), distinct_names(known, 24))
    axes.tick_params(axis="x", rotation=90, labelsize=min(7, 300 / len(known)))
    return figure


@styled
def plot_confusion(counts: Tensor, names: Sequence[str] | None = None) -> Figure:
    """Which class is taken for which, in percent of the true class.

    Args:
        counts: ``[K, K]``, images of the true class (row) that were given a class (column); not below 0.
        names: of the K classes; None for their numbers.

    Returns:
        Figure with a scale from 0 to 100 percent; a class without an image is left blank.

    Raises:
        ValueError: ``counts`` is not square, holds a negative or no finite number, or has no image; or another number
            of names.

    Example:
        >>> figure = plot_confusion(torch.tensor([[9, 1], [3, 7]]), ["cat", "dog"])
        >>> figure.axes[0].get_ylabel()
        'true class'
    """
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"counts must be [K, K], got shape {tuple(counts.shape)}")
    table = counts.detach().double().cpu()
    if not table.isfinite().all() or (table < 0).any() or not table.any():
        raise ValueError("counts must be finite, not below 0, and hold an image at least")
    classes = len(table)
    if names is not None and len(names) != classes:
        raise ValueError(f"names must be {classes}, one for each class, got {len(names)}")
    labels = [str(number) for number in range(classes)] if names is None else distinct_names(names, 16)
    share = 100 * table / table.sum(dim=1, keepdim=True)  # NaN, which is drawn blank, for a class without an image
    size = min(WIDTH, 2.6 + 0.42 * classes)
    figure = new_figure(size, 0.85 * size)
    axes = figure.add_subplot()
    axes.imshow(share.numpy(), cmap=EVIDENCE, vmin=0, vmax=100)
    add_scale(figure, axes, EVIDENCE, 0.0, 100.0, "share of the true class, %")
    places = range(0, classes, max(1, math.ceil(classes / 25)))
    for axis in (axes.xaxis, axes.yaxis):
        name_ticks(axis, places, [labels[place] for place in places])
    if names is not None:
        axes.tick_params(axis="x", rotation=90)
    if classes <= 12:
        for row, column in torch.cartesian_prod(torch.arange(classes), torch.arange(classes)).tolist():
            value = float(share[row, column])
            if value >= 0.5:
                colour = "white" if value > 45 else "black"
                axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=7)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    return figure


def _range(values: Sequence[float], mean: float) -> list[list[float]]:
    """From a mean down to the lowest value and up to the highest; rounding makes neither negative."""
    return [[max(0.0, mean - min(values))], [max(0.0, max(values) - mean)]]


def _drawn(value: float | None) -> float | None:
    """A number that an axis holds, or None."""
    return value if value is not None and math.isfinite(value) and abs(value) <= LARGEST else None
