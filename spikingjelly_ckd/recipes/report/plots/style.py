"""One look for every figure: colours, sizes, scales, and files that come out the same each time.

The colours of series are those of Okabe and Ito, which colour-blind readers tell apart; series differ in line and
marker too. Both colour maps go evenly from light to dark, so that a print in grey keeps the order of the values: of
:data:`EVIDENCE` dark is much, of :data:`SIGNED` dark is negative, grey is zero and light is positive.

Figures are made without pyplot: none has to be closed, and none shows up in a notebook twice. A dollar sign in a name
makes no formula, and Chinese names are drawn where the machine has a font for them; one warning says where it has none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import torch
from torch import Tensor

from ....errors.arguments import ArgumentValueError
from ....errors.checks import check_choice
from ....errors.installed import needs_packages

with needs_packages("spikingjelly_ckd.recipes.report.plots"):
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from .fonts import installed_chinese_fonts, undrawn_characters_said_once

__all__ = [
    "COLORS",
    "EVIDENCE",
    "GREY",
    "MOST_SERIES",
    "PALE",
    "SIGNED",
    "WIDTHS",
    "Width",
    "add_scale",
    "check_width",
    "new_figure",
    "rasterize",
    "save_figure",
    "series_style",
    "styled",
    "whole_numbers",
]

Width = Literal["column", "page"]
"""How wide a figure is: one column of a paper, or its page."""
WIDTHS: dict[Width, float] = {"column": 3.4, "page": 7.0}
"""Inches of each :data:`Width`."""
COLORS: dict[str, str] = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "black": "#000000",
}
"""Colours of series by Okabe and Ito (2008), without their yellow, which is lost on white paper."""
GREY = "#6b7480"
"""Of what stands back behind the series: undecided, one of many, or there to compare with."""
PALE = "#d5dae1"
"""Of grids and empty fields."""
MOST_SERIES = 7
"""So many series are told apart by colour, line and marker, see :func:`series_style`."""
EVIDENCE: Any = LinearSegmentedColormap.from_list(
    "evidence", ["#ffffff", "#fddc9f", "#f59b56", "#d24f5f", "#7d2378", "#210c4a"]
)
"""Colour map from 0 (white) to much (dark): maps and spikes."""
SIGNED: Any = LinearSegmentedColormap.from_list("signed", ["#04215c", "#2f6fb5", "#8c8c8c", "#f7c45c", "#fff7c2"])
"""Colour map with a sign: dark blue is negative, grey is zero, light yellow is positive."""

_LINES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LOOK: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8,
    "figure.dpi": 100,
    "font.size": 8,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "savefig.dpi": 200,
    "svg.fonttype": "none",
    "svg.hashsalt": "spikingjelly-ckd",
    "text.parse_math": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}
_METADATA: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
_P = ParamSpec("_P")
_R = TypeVar("_R")


def styled(draw: Callable[_P, _R]) -> Callable[_P, _R]:
    """``draw`` with the look of this package while it runs; the caller's ``rcParams`` are as before afterwards.

    Args:
        draw: a function that makes or changes a figure.

    Example:
        >>> styled(lambda: matplotlib.rcParams["font.size"])()
        8.0
    """

    @wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        fonts = dict.fromkeys([*matplotlib.rcParams["font.family"], *installed_chinese_fonts()])
        with matplotlib.rc_context(_LOOK | {"font.family": list(fonts)}), undrawn_characters_said_once():
            return draw(*args, **kwargs)

    return drawn


def new_figure(width: float, height: float, *, constrained: bool = True) -> Figure:
    """An empty figure that pyplot does not know.

    Args:
        width: inches.
        height: inches.
        constrained: let matplotlib place axes and labels so that nothing overlaps; False where the caller places them.

    Example:
        >>> new_figure(3.4, 2.0).get_size_inches().tolist()
        [3.4, 2.0]
    """
    return Figure(figsize=(width, height), layout="constrained" if constrained else None)


def check_width(width: Width) -> Width:
    """The width, if it is one of :data:`WIDTHS`.

    Raises:
        ValueError: it is another one.

    Example:
        >>> check_width("column")
        'column'
    """
    return check_choice("width", width, tuple(WIDTHS))


def series_style(index: int) -> dict[str, Any]:
    """Colour, line and marker of the ``index``-th series, for ``Axes.plot``; no two of the first seven are alike.

    Args:
        index: from 0.

    Example:
        >>> series_style(1)
        {'color': '#D55E00', 'linestyle': '--', 'marker': 's'}
    """
    colors = list(COLORS.values())
    return {
        "color": colors[index % len(colors)],
        "linestyle": _LINES[index % len(_LINES)],
        "marker": _MARKERS[index % len(_MARKERS)],
    }


def whole_numbers(axis: Any, most: int = 8) -> None:
    """Ticks at integers alone, such as time steps and epochs, also where there is a single one.

    Args:
        axis: such as ``axes.xaxis``.
        most: ticks.

    Example:
        >>> axes = new_figure(2.0, 2.0).add_subplot()
        >>> _ = axes.set_xlim(0.5, 1.5)
        >>> whole_numbers(axes.xaxis)
        >>> [float(tick) for tick in axes.get_xticks() if 0.5 < tick < 1.5]
        [1.0]
    """
    axis.set_major_locator(MaxNLocator(most, integer=True, min_n_ticks=1))


def add_scale(
    figure: Figure, where: Any, colours: Any, low: float, high: float, label: str, *, horizontal: bool = False
) -> Any:
    """A colour bar, so that no colour stands without its value.

    Args:
        figure: to draw on.
        where: axes beside which the bar is placed, or its own place ``(left, bottom, width, height)`` as shares of the
            figure.
        colours: :data:`EVIDENCE` or :data:`SIGNED`.
        low: value of the first colour.
        high: value of the last one.
        label: what is shown, with its unit.
        horizontal: lay it flat.

    Returns:
        Matplotlib's ``Colorbar``.

    Raises:
        ValueError: no label, or ``low`` is not below ``high``.

    Example:
        >>> figure = new_figure(2.0, 2.0)
        >>> bar = add_scale(figure, figure.add_subplot(), EVIDENCE, 0.0, 1.0, "spikes per step")
        >>> bar.ax.get_ylabel()
        'spikes per step'
    """
    if not label:
        raise ArgumentValueError("label", "must say what the colours mean, and the unit, got an empty text")
    if not low < high:
        raise ArgumentValueError("low", f"must be below high, got {low} and {high}")
    values = ScalarMappable(Normalize(low, high), colours)
    place = {"cax": figure.add_axes(where)} if isinstance(where, tuple) else {"ax": where}
    bar = figure.colorbar(values, **place, orientation="horizontal" if horizontal else "vertical")
    bar.locator = MaxNLocator(4, steps=[1, 2, 5, 10]) if horizontal else MaxNLocator(5)
    bar.update_ticks()
    bar.set_label(label, fontsize=7)
    bar.ax.tick_params(labelsize=7, width=0.5, length=2)
    bar.outline.set_linewidth(0.5)
    return bar


@styled
def save_figure(figure: Figure, path: Path | str, *, dpi: int = 200) -> Path:
    """Write a figure; the same figure gives the same bytes with the same version of matplotlib.

    Args:
        figure: to write.
        path: ends with ``.png``, ``.svg`` or ``.pdf``; its folder is made.
        dpi: dots per inch of a PNG.

    Returns:
        ``path``.

    Raises:
        ValueError: another ending.

    Example:
        >>> save_figure(new_figure(1.0, 1.0), "figure.gif")
        Traceback (most recent call last):
            ...
        spikingjelly_ckd.errors.arguments.ArgumentValueError: path must end with .png, .svg or .pdf, got figure.gif
    """
    path = Path(path)
    if path.suffix not in _METADATA:
        raise ArgumentValueError("path", f"must end with .png, .svg or .pdf, got {path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi, metadata=_METADATA[path.suffix])
    return path


@styled
def rasterize(figure: Figure, *, dpi: int = 100) -> Tensor:
    """A figure as an image, for TensorBoard's ``add_image``.

    Args:
        figure: to draw.
        dpi: dots per inch.

    Returns:
        ``[3, H, W]``, uint8.

    Example:
        >>> rasterize(new_figure(1.0, 0.5)).shape
        torch.Size([3, 50, 100])
    """
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = torch.frombuffer(bytearray(canvas.buffer_rgba()), dtype=torch.uint8)
    width, height = canvas.get_width_height()
    return pixels.view(height, width, 4)[..., :3].movedim(-1, 0).contiguous()
