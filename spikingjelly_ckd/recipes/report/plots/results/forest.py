"""How far each arm is from its control, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from .....errors.arguments import ArgumentValueError
from .....errors.installed import needs_packages
from ....comparison.controls import CONTROL
from ....comparison.records import ArmRecord
from ....comparison.statistics import Difference
from ....comparison.table import arms_of, compare_records, control_of
from ..names import LONGEST, distinct_names, name_ticks, short_name, wrapped
from ..style import COLORS, GREY, PALE, WIDTHS, Width, check_width, new_figure, styled
from .runs import Runs, accuracy_of, as_records

with needs_packages("spikingjelly_ckd.recipes.report.plots"):
    from matplotlib.figure import Figure

__all__ = ["differences", "plot_forest"]

OF_VERDICT = {"above": (COLORS["blue"], "o"), "below": (COLORS["vermillion"], "s"), "not told apart": (GREY, "D")}
FAR = 3.0
"""Half intervals from zero, from which on an arm is drawn as an arrow."""
MOST_ROWS = 60
IN_A_COLUMN = (24, 3)
"""Characters and lines of a name over its mark, which leave the numbers beside it their room."""


@styled
def plot_forest(records: Runs, *, control: str = CONTROL, width: Width = "page") -> Figure:
    """Each arm minus its control with the 95 % interval, all arms at once; the best comes first.

    A filled mark in colour is told apart from zero; a hollow grey one is not. An arm that is very far below the others
    is an arrow at the edge, with its numbers beside it.

    Args:
        records: of one comparison, as :func:`~spikingjelly_ckd.recipes.comparison.records.read_records` returns them;
            or name of each arm -> its test accuracies in percent, ``[seeds]``, where one place is one seed.
        control: arm that is subtracted, where there are no records, which say theirs.
        width: ``"page"`` of a paper, or one ``"column"`` of it, which a phone shows whole too.

    Returns:
        Figure with an axis in percentage points.

    Raises:
        TypeError: an arm's values are no numbers.
        ValueError: no arm shares a seed with its control, values that are no accuracies, or another width.

    Example:
        >>> figure = plot_forest({"plain": [50.0, 51.0], "kd": [53.0, 54.2]})
        >>> figure.axes[0].get_xlabel()
        'test accuracy minus control, percentage points (95 % interval)'
    """
    if isinstance(records, Mapping) and records and control not in records:
        raise ArgumentValueError("control", f"must be one of the arms {list(records)}, got {control!r}")
    found = differences(as_records(records, "", lambda value: {"test_accuracy": accuracy_of(value)}, control))
    if not found:
        raise ValueError("no arm shares a seed with its control, so there is no difference to draw")
    shown = sorted(found.items(), key=lambda item: -item[1][1].mean)[:MOST_ROWS]
    controls = {control for control, _ in found.values()}
    is_wide, has_controls = check_width(width) == "page", len(controls) > 1
    arms = [arm for arm, _ in shown]
    names = distinct_names(arms) if is_wide else [wrapped(name, *IN_A_COLUMN) for name in distinct_names(arms, 48)]
    if has_controls:
        most = LONGEST if is_wide else IN_A_COLUMN[0]
        names = [
            f"{name}\nbeside {short_name(control, most)}" for name, (_, (control, _)) in zip(names, shown, strict=True)
        ]
    heights = [1.0 if is_wide else 1.0 + 0.35 * name.count("\n") for name in names]
    places = [place - heights[0] for place in accumulate(heights)]
    figure = new_figure(WIDTHS[width], 0.9 + (0.29 if is_wide else 0.34) * sum(heights))
    axes = figure.add_subplot()
    edge = _edge([one for _, one in found.values()])
    if is_wide:
        axes.axvline(0, color=COLORS["black"], linewidth=0.8)
        axes.grid(axis="x", color=PALE)
    else:  # no line runs through a text, that of the axis neither
        axes.spines["left"].set_visible(False)
        for place in places:
            axes.plot([0, 0], [place - 0.08, place + 0.25], color=COLORS["black"], linewidth=0.8)
    for place, name, (_, (_, one)) in zip(places, names, shown, strict=True):
        colour, marker = OF_VERDICT[one.verdict]
        fill = colour if one.verdict != "not told apart" else "none"
        half = one.half or 0.0
        if edge is not None and one.mean < edge:
            axes.plot([edge], [place], "<", color=colour, markersize=7)
        else:
            axes.plot([one.mean - half, one.mean + half], [place, place], color=colour, linewidth=1.6)
            axes.plot([one.mean], [place], marker, color=colour, markerfacecolor=fill, markersize=6)
        if is_wide:
            axes.text(1.02, place, f"{one}", transform=axes.get_yaxis_transform(), va="center")
        else:  # the name and the numbers stand over the mark, which has the whole width
            over: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
            axes.annotate(name, (0, place), (0, 6), **over, fontsize=7).set_parse_math(False)
            axes.annotate(f"{one}", (1, place), (0, 6), **over, fontsize=7, ha="right")
    name_ticks(axes.yaxis, places, names if is_wide else [""] * len(shown))
    axes.set_ylim(places[-1] + 0.5, -0.5 if is_wide else -heights[0])
    axes.tick_params(axis="y", length=0)
    beyond = "" if edge is None else "\narrow: beyond the axis"
    between = " " if is_wide else "\n"
    axes.set_xlabel(f"test accuracy minus control,{between}percentage points (95 % interval){beyond}")
    return figure


def _edge(found: Sequence[Difference]) -> float | None:
    """Below which difference an arm is an arrow, so that one ruined arm hides no other; None where all fit."""
    widest = max((one.half for one in found if one.half is not None), default=0.0)
    best = max(one.mean for one in found)
    edge = -max(FAR * widest, best)
    return edge if widest and any(edge <= one.mean for one in found) and any(one.mean < edge for one in found) else None


def differences(records: Sequence[ArmRecord]) -> dict[str, tuple[str, Difference]]:
    """Each arm with the name of its control and its difference to that, where they share a seed.

    Example:
        >>> reached = {"plain": (50.0, 51.0), "kd": (53.0, 54.2)}
        >>> records = [
        ...     ArmRecord(arm=arm, control="plain", seed=seed, test_accuracy=reached[arm][seed])
        ...     for arm in reached for seed in (0, 1)]
        >>> control, difference = differences(records)["kd"]
        >>> control, f"{difference.mean:.2f}", difference.verdict
        ('plain', '3.10', 'above')
    """
    found: dict[str, tuple[str, Difference]] = {}
    own = {arm: control_of(rows[0]) for arm, rows in arms_of(records).items()}
    for control in dict.fromkeys(own.values()):
        compared = compare_records(records, control)
        for arm, difference in ({} if compared is None else compared.differences).items():
            if difference is not None and own[arm] == control:
                found[arm] = (control, difference)
    return found
