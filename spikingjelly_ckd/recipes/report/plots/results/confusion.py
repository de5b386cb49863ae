"""Which class a network takes for which."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .....errors.installed import needs_packages
from ..names import distinct_names, name_ticks
from ..style import EVIDENCE, WIDTHS, add_scale, new_figure, styled

with needs_packages("spikingjelly_ckd.recipes.report.plots"):
    from matplotlib.figure import Figure

__all__ = ["plot_confusion"]


@styled
def plot_confusion(counts: Tensor, names: Sequence[str] | None = None) -> Figure:
    """Which class is taken for which, in percent of the true class.

    Args:
        counts: ``[K, K]``, images of the true class (row) that were given a class (column); not below 0.
        names: of the K classes; None for their numbers.

    Returns:
        Figure with a scale from 0 to 100 percent; a class without an image is left blank.

    Raises:
        TypeError: ``counts`` is no tensor of real numbers.
        ValueError: ``counts`` is not square, holds a negative or no finite number, or has no image; or another number
            of names.

    Example:
        >>> figure = plot_confusion(torch.tensor([[9, 1], [3, 7]]), ["cat", "dog"])
        >>> figure.axes[0].get_ylabel()
        'true class'
    """
    if not isinstance(counts, Tensor) or counts.is_complex():
        kind = counts.dtype if isinstance(counts, Tensor) else type(counts).__name__
        raise TypeError(f"counts must be a tensor [K, K] of real numbers, got {kind}")
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
    size = min(WIDTHS["page"], 2.6 + 0.42 * classes)
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
