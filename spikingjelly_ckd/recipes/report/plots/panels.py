"""A sheet of equal panels in rows and columns, drawn on one pair of axes, with colour bars below it.

One pair of axes for all panels costs a tenth of one for each, so that a sheet can be drawn after every epoch.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ....errors.installed import needs_packages
from .style import COLORS, WIDTHS, add_scale, new_figure

with needs_packages("spikingjelly_ckd.recipes.report.plots"):
    from matplotlib.collections import PatchCollection
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle
    from matplotlib.textpath import TextPath

__all__ = ["Column", "Panel", "Scale", "coloured", "draw_sheet"]

_GAP = 0.08
_LARGEST, _LEAST = 1.15, 0.95
_LEFT, _LINE, _BARS = 0.28, 0.135, 0.52
_SMALL = 6.5
_WIDEST = 1.2
"""Of a character, as a share of the size of the font."""


@dataclass(frozen=True)
class Panel:
    """One picture of a sheet.

    Attributes:
        pixels: ``[H, W, 3]`` in [0, 1]; None where there is nothing to show, which ``note`` has to explain.
        caption: lines below it.
        right: whether the first line of the caption is a right answer; None where that is not known.
        circles: positions ``(x, y)``, in [0, 1] from the upper left corner, that get a circle.
        crosses: likewise, that get a cross.
        note: text in place of pixels.
    """

    pixels: Tensor | None
    caption: tuple[str, ...] = ()
    right: bool | None = None
    circles: tuple[tuple[float, float], ...] = ()
    crosses: tuple[tuple[float, float], ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Column:
    """One column of a sheet.

    Attributes:
        title: its heading.
        panels: from top to bottom.
        about: smaller lines below the heading.
    """

    title: str
    panels: Sequence[Panel]
    about: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Scale:
    """One colour bar.

    Attributes:
        colours: its colour map.
        low: value of the first colour.
        high: value of the last one.
        label: what is shown, with its unit.
    """

    colours: Any
    low: float
    high: float
    label: str


def coloured(values: Tensor, scale: Scale) -> Tensor:
    """Values as colours.

    Args:
        values: any shape.
        scale: which colours.

    Returns:
        Shape ``[..., 3]``, in [0, 1].

    Example:
        >>> from spikingjelly_ckd.recipes.report.plots.style import EVIDENCE
        >>> coloured(torch.tensor([0.0]), Scale(EVIDENCE, 0.0, 1.0, "map"))
        tensor([[1., 1., 1.]])
    """
    shares = (values.detach().float().cpu() - scale.low) / (scale.high - scale.low)
    return torch.from_numpy(scale.colours(shares.numpy())[..., :3]).float()


def enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps ``[N, h, w]`` with every cell drawn as a rectangle of equal pixels, ``[N, H, W]``."""
    return F.interpolate(maps.unsqueeze(1), size, mode="nearest-exact").squeeze(1)


def draw_sheet(
    columns: Sequence[Column],
    scales: Sequence[Scale],
    *,
    rows: Sequence[str] = (),
    legend: Sequence[str] = (),
    aspect: float = 1,
) -> Figure:
    """Draw a sheet.

    Args:
        columns: from left to right, with as many panels each.
        scales: at least one colour bar.
        rows: a label for each row; none where empty.
        legend: lines below the panels.
        aspect: height of a panel divided by its width.

    Returns:
        The figure, as wide as a page, or wider where its panels would be too small to be read. Texts that are wider
        than their column are set smaller.
    """
    count = len(columns[0].panels)
    lines = max(len(panel.caption) for column in columns for panel in column.panels)
    heading = (1.4 + max(len(column.about) for column in columns)) * _LINE
    left = _LEFT if rows else 0.08
    panel = min(_LARGEST, max(_LEAST, (WIDTHS["page"] - left - 0.08) / (len(columns) * (1 + _GAP))))
    pitch_x, pitch_y = panel * (1 + _GAP), panel * (aspect + _GAP) + lines * _LINE
    width = max(left + len(columns) * pitch_x + 0.08, 1.6 * len(scales))
    below = (len(legend) * _LINE + _GAP if legend else 0.0) + _BARS
    height = heading + count * pitch_y + below
    figure = new_figure(width, height, constrained=False)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    axes.set_axis_off()
    frames, circles, crosses = [], [], []
    for j, column in enumerate(columns):
        x = left + j * pitch_x
        size = _fitting(column.title, 8, "bold", pitch_x)
        axes.text(x + panel / 2, 0.9 * _LINE, column.title, ha="center", va="center", fontsize=size, fontweight="bold")
        for k, line in enumerate(column.about):
            size = _fitting(line, _SMALL, "normal", pitch_x)
            axes.text(x + panel / 2, (2 + k) * _LINE, line, ha="center", va="center", fontsize=size)
        for i, item in enumerate(column.panels):
            y = heading + i * pitch_y
            frames.append(Rectangle((x, y), panel, panel * aspect))
            _draw_panel(axes, item, x, y, panel, panel * aspect, pitch_x)
            circles += [(x + u * panel, y + v * panel * aspect) for u, v in item.circles]
            crosses += [(x + u * panel, y + v * panel * aspect) for u, v in item.crosses]
    axes.set(xlim=(0, width), ylim=(height, 0))  # imshow moves them
    axes.add_collection(PatchCollection(frames, facecolor="none", edgecolor="black", linewidth=0.5))
    _mark(axes, circles, "o")
    _mark(axes, crosses, "x")
    for i, label in enumerate(rows):
        y = heading + i * pitch_y + panel * aspect / 2
        size = _fitting(label, 7, "normal", pitch_y)
        axes.text(left - 0.1, y, label, ha="center", va="center", rotation=90, fontsize=size)
    for i, line in enumerate(legend):
        y = height - below + (0.5 + i) * _LINE
        axes.text(width / 2, y, line, ha="center", va="center", fontsize=_SMALL)
    share = 1 / len(scales)
    for k, scale in enumerate(scales):
        place = ((k + 0.14) * share, 0.36 / height, 0.72 * share, 0.08 / height)
        add_scale(figure, place, scale.colours, scale.low, scale.high, scale.label, horizontal=True)
    return figure


@lru_cache(4096)
def _fitting(text: str, size: float, weight: str, room: float) -> float:
    """The size at which a text is no wider than so many inches, which is its own where it fits."""
    if len(text) * size * _WIDEST / 72 <= room:
        return size
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # said when the figure is drawn
        wide = TextPath((0, 0), text, size=size, prop=FontProperties(weight=weight)).get_extents().width / 72
    return size * min(1.0, 0.88 * room / wide) if wide > 0 else size


def _draw_panel(axes: Any, panel: Panel, x: float, y: float, width: float, height: float, room: float) -> None:
    if panel.pixels is None:
        axes.add_patch(Rectangle((x, y), width, height, facecolor="white", edgecolor="0.7", hatch="////", linewidth=0))
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        axes.text(x + width / 2, y + height / 2, panel.note, ha="center", va="center", fontsize=_SMALL, bbox=box)
    else:
        axes.imshow(panel.pixels.numpy(), extent=(x, x + width, y + height, y), interpolation="nearest")
    for k, line in enumerate(panel.caption):
        answer = k == 0 and panel.right is not None
        color = (COLORS["green"] if panel.right else COLORS["vermillion"]) if answer else "black"
        text = f"{line} {'✓' if panel.right else '✗'}" if answer else line
        weight = "bold" if answer and not panel.right else "normal"
        place = (x + width / 2, y + height + (0.55 + k) * _LINE)
        size = _fitting(text, _SMALL, weight, room)
        axes.text(*place, text, ha="center", va="center", fontsize=size, color=color, fontweight=weight)


def _mark(axes: Any, points: Sequence[tuple[float, float]], marker: str) -> None:
    """Black on white, so that a mark is seen on any colour."""
    if not points:
        return
    x, y = zip(*points, strict=True)
    for color, line in (("white", 2.4), ("black", 1.0)):
        size = 6 if marker == "o" else 4.5
        look: Any = {"marker": marker, "color": color, "markersize": size, "markeredgewidth": line, "fillstyle": "none"}
        axes.add_line(Line2D(x, y, linestyle="none", **look))
