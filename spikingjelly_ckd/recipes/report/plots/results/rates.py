"""How often each spiking layer fires, of one network or of several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .....errors.arguments import ArgumentValueError
from .....errors.checks import check_non_negative
from .....errors.installed import needs_packages
from ..names import BESIDE, LONGEST, add_legend, distinct_names, legend_name, name_ticks
from ..style import EVIDENCE, MOST_SERIES, PALE, WIDTHS, Width, add_scale, check_width, new_figure, series_style, styled

with needs_packages("spikingjelly_ckd.recipes.report.plots"):
    from matplotlib.figure import Figure

__all__ = ["plot_layer_rates"]

MOST_ROWS = 60
LONGEST_LAYER: dict[Width, int] = {"page": LONGEST, "column": 18}
"""Characters of a layer's name that are shown."""


@styled
def plot_layer_rates(rates: Mapping[str, Mapping[str, float]], *, width: Width = "page") -> Figure:
    """Firing rate of each spiking layer, in the order in which the layers are given.

    Up to seven networks have marks of their own. More of them are the columns of a map.

    Args:
        rates: name of each network -> name of each layer -> share of its neurons and time steps that spike, from 0
            to 1.
        width: ``"page"`` of a paper, or one ``"column"`` of it, which a phone shows whole too.

    Returns:
        Figure with a line for each layer and percent, which is an axis or a scale of colours.

    Raises:
        TypeError: a rate is no number.
        ValueError: no rate, one that is no share from 0 to 1, or another width.

    Example:
        >>> figure = plot_layer_rates({"kd": {"layer1.lif": 0.21, "layer2.lif": 0.12}})
        >>> figure.axes[0].get_xlabel()
        'firing rate, % of neurons and time steps'
    """
    flat = [name for name, of in rates.items() if not isinstance(of, Mapping)]
    if flat:
        raise TypeError(
            f"rates must hold network -> layer -> rate, got {type(rates[flat[0]]).__name__} for {flat[0]!r}"
        )
    known = {
        name: {layer: 100 * _rate(name, layer, rate) for layer, rate in of.items()} for name, of in rates.items() if of
    }
    layers = list(dict.fromkeys(layer for of in known.values() for layer in of))[:MOST_ROWS]
    if not layers:
        raise ValueError("no firing rate was given, so there is nothing to draw")
    names = distinct_names(layers, LONGEST_LAYER[check_width(width)])
    if len(known) > MOST_SERIES:
        return _rates_as_map(dict(list(known.items())[:MOST_ROWS]), layers, names, width)
    above = 0.0 if width == "page" or len(known) == 1 else 0.15 * len(known)
    figure = new_figure(WIDTHS[width], 1.0 + 0.21 * len(layers) + above)
    axes = figure.add_subplot()
    shown = distinct_names(known)
    for index, (name, of) in enumerate(zip(shown, known.values(), strict=True)):
        places = [place for place, layer in enumerate(layers) if layer in of]
        values = [of[layers[place]] for place in places]
        axes.plot(values, places, label=legend_name(name), **series_style(index) | {"linestyle": "none"})
    name_ticks(axes.yaxis, range(len(layers)), names)
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.set_xlim(0, None if any(any(of.values()) for of in known.values()) else 1)
    axes.grid(color=PALE)
    if len(known) > 1:
        add_legend(axes, **BESIDE[width])
    axes.set_xlabel("firing rate, % of neurons and time steps")
    return figure


def _rate(name: str, layer: str, rate: float) -> float:
    try:
        value = float(rate)
    except (RuntimeError, TypeError, ValueError) as error:
        raise TypeError(f"rates[{name!r}][{layer!r}] must be a number, got {type(rate).__name__} {rate!r}") from error
    if check_non_negative(f"rates[{name!r}][{layer!r}]", value) > 1:
        raise ArgumentValueError(f"rates[{name!r}][{layer!r}]", f"must be a share from 0 to 1, got {value:g}")
    return value


def _rates_as_map(
    known: Mapping[str, Mapping[str, float]], layers: Sequence[str], names: Sequence[str], width: Width
) -> Figure:
    """Layers are rows, networks columns; a layer that a network lacks is left grey."""
    table = [[of.get(layer, math.nan) for of in known.values()] for layer in layers]
    most = max(value for of in known.values() for value in of.values()) or 1.0
    figure = new_figure(WIDTHS[width], 2.0 + 0.21 * len(layers))
    axes = figure.add_subplot()
    axes.set_facecolor(PALE)
    axes.imshow(table, cmap=EVIDENCE, vmin=0, vmax=most, aspect="auto")
    add_scale(figure, axes, EVIDENCE, 0.0, most, "firing rate, % of neurons and time steps")
    name_ticks(axes.yaxis, range(len(layers)), names)
    name_ticks(axes.xaxis, range(len(known)), distinct_names(known, 24))
    axes.tick_params(axis="x", rotation=90, labelsize=min(7, 300 / len(known)))
    return figure
