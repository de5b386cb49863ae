"""Names of runs on figures: shown as they are, in one line, not too long; dollar signs in them make no formula."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...untrusted import shown_text

__all__ = ["add_legend", "legend_name", "name_ticks", "short_name"]

LONGEST = 30


def short_name(text: object, most: int = LONGEST) -> str:
    """A name in one line.

    Args:
        text: as a run says it.
        most: characters that are shown.

    Example:
        >>> short_name("kd:weight=0.5", 8)
        'kd:we...'
    """
    return shown_text(text, most)


def legend_name(text: object) -> str:
    """A name that matplotlib shows in a legend: it leaves out those that begin with an underscore.

    Example:
        >>> legend_name("_mine")
        ' _mine'
    """
    name = short_name(text)
    return f" {name}" if name.startswith("_") else name


def add_legend(axes: Any, **where: Any) -> None:
    """A legend of what has a label.

    Args:
        axes: of matplotlib.
        **where: as for ``Axes.legend``.
    """
    for text in axes.legend(**where).get_texts():
        text.set_parse_math(False)


def name_ticks(axis: Any, places: Iterable[int], names: Sequence[str]) -> None:
    """Names at places of an axis.

    Args:
        axis: such as ``axes.xaxis``.
        places: of the ticks.
        names: one for each place.
    """
    axis.set_ticks(list(places), labels=names)
    for text in axis.get_ticklabels():
        text.set_parse_math(False)
