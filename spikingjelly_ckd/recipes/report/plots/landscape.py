"""The loss around networks, of what :func:`~spikingjelly_ckd.recipes.report.landscape.loss_surface` computed."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from torch import Tensor

from ....errors.arguments import ArgumentValueError
from ....errors.installed import needs_packages
from ....errors.shapes import check_shapes
from ...untrusted import shown_text
from .names import distinct_names
from .style import EVIDENCE, WIDTHS, add_scale, new_figure, series_style, styled

with needs_packages("spikingjelly_ckd.recipes.report.plots"):
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

__all__ = ["plot_landscape"]

_LEVELS = 14
_LONGEST = 40
_FITS, _FITS_LINE, _WIDE = 43, 31, 26
"""Characters of a label that fit beside a surface and beside the line, and of each line of one that does not."""
_FEW = 300.0
"""Ratio of the largest to the smallest value below which an axis has room for ticks at 1, 2 and 5."""


@styled
def plot_landscape(
    surfaces: Mapping[str, Tensor],
    positions: Sequence[float],
    *,
    lines: Mapping[str, Tensor] | None = None,
    line_positions: Sequence[float] = (),
    measure: str = "cross-entropy",
) -> Figure:
    """The loss over a plane around each network, all in one scale, and along a line.

    Args:
        surfaces: name -> ``[P, P]``, first direction first, above 0.
        positions: steps along both directions, ``P`` of them; 0 is the network.
        lines: name -> ``[L]``; None leaves the line out.
        line_positions: steps along the line, ``L`` of them.
        measure: what the loss is, with the data it is of.

    Returns:
        The figure, as wide as a page, or as a column for one network. The scale is logarithmic; a cross is the network
        itself.

    Raises:
        TypeError: something is no tensor.
        ValueError: no surface, sizes that do not fit the positions, or losses that are not finite and above 0.

    Example:
        >>> grid = [-1.0, 0.0, 1.0]
        >>> import torch
        >>> bowl = torch.tensor(grid).square()
        >>> figure = plot_landscape({"student": 1 + bowl + bowl.unsqueeze(1)}, grid)
        >>> figure.axes[-1].get_ylabel()
        'log10 of the cross-entropy'
    """
    if not surfaces:
        raise ArgumentValueError("surfaces", "must hold at least one, name -> [P, P], got none")
    for kind, found, axes, size in (
        ("surfaces", surfaces, "P P", len(positions)),
        ("lines", lines or {}, "L", len(line_positions)),
    ):
        for name, values in found.items():
            check_shapes(**{f"{kind}[{name!r}]": (values, axes)})
            if len(values) != size:
                raise ArgumentValueError(kind, f"of {name!r} has {len(values)} positions, and {size} were given")
            if not (values.isfinite() & (values > 0)).all():
                raise ArgumentValueError(kind, f"of {name!r} must be finite and above 0, for a logarithmic scale")
    heights = {name: values.detach().float().cpu().log10() for name, values in surfaces.items()}
    low = min(values.min().item() for values in heights.values())
    high = max(values.max().item() for values in heights.values())
    if not low < high:
        raise ArgumentValueError("surfaces", "are constant, so there is nothing to see")
    rows = 2 if lines else 1
    names = distinct_names(surfaces, _LONGEST if len(surfaces) == 1 else max(12, 60 // len(surfaces)))
    figure = new_figure(WIDTHS["column" if len(surfaces) == 1 else "page"], 2.3 + 2.0 * (rows - 1))
    above = figure.subfigures(rows, 1, height_ratios=[1.0, 0.85][:rows], squeeze=False)[:, 0]
    axes = above[0].subplots(1, len(surfaces), sharex=True, sharey=True, squeeze=False)[0]
    levels = [low + (high - low) * k / _LEVELS for k in range(_LEVELS + 1)]
    for axis, name, values in zip(axes, names, heights.values(), strict=True):
        axis.contourf(positions, positions, values.numpy(), levels=levels, cmap=EVIDENCE)
        axis.contour(
            positions, positions, values.numpy(), levels=levels, colors="black", linewidths=0.3, linestyles="solid"
        )
        for color, width in (("white", 2.6), ("black", 1.2)):
            axis.plot(0, 0, "x", color=color, markersize=5, markeredgewidth=width)
        axis.set(title=name, xlabel="second direction", aspect="equal")
    axes[0].set_ylabel("first direction")
    label = f"log10 of the {measure}"
    add_scale(above[0], list(axes), EVIDENCE, low, high, textwrap.fill(label, _WIDE) if len(label) > _FITS else label)
    if lines:
        axis = above[1].subplots()
        for k, (name, values) in enumerate(lines.items()):
            axis.plot(
                line_positions,
                values.detach().float().cpu().numpy(),
                **series_style(k),
                label=shown_text(name, _LONGEST),
            )
        text = textwrap.fill(measure, _WIDE) if len(measure) > _FITS_LINE else measure
        axis.set(xlabel="step along the first direction", ylabel=text, yscale="log")
        bottom, top = axis.get_ylim()
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if top < _FEW * bottom else (1.0,)))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.legend()
    return figure
