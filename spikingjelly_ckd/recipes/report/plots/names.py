"""Names of runs on figures: shown as they are, in one line, not too long; dollar signs in them make no formula."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from ...untrusted import shown_text
from .style import Width

__all__ = ["BESIDE", "LONGEST", "add_legend", "distinct_names", "legend_name", "name_ticks", "short_name", "wrapped"]

LONGEST = 30
"""Characters of a name, where nothing else is said."""
BESIDE: dict[Width, dict[str, Any]] = {
    "page": {"loc": "best"},
    "column": {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2},
}
"""Where a legend stands: inside the axes where there is room, above them in a column."""


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


def distinct_names(texts: Iterable[object], most: int = LONGEST) -> list[str]:
    """Names in one line, in which unlike texts stay unlike: of those that begin alike the middle is left out.

    Args:
        texts: as runs say them.
        most: characters that are shown of each.

    Example:
        >>> distinct_names(["kd:weight=0.5,temperature=2", "kd:weight=0.5,temperature=4", "plain"], 16)
        ['kd:wei...ature=2', 'kd:wei...ature=4', 'plain']
    """
    whole = [shown_text(text, 10 * LONGEST) for text in texts]
    found = [short_name(text, most) for text in whole]
    head = (most - 3) // 2
    tail = most - 3 - head
    alike = _alike(found, whole)
    found = [
        f"{text[:head]}...{text[-tail:]}" if name in alike else name for name, text in zip(found, whole, strict=True)
    ]
    alike = _alike(found, whole)
    numbers = {text: number for number, text in enumerate(dict.fromkeys(whole), 1)}
    return [
        f"{name[: most - 5]} #{numbers[text]}" if name in alike else name
        for name, text in zip(found, whole, strict=True)
    ]


def _alike(names: Sequence[str], whole: Sequence[str]) -> set[str]:
    """Names that stand for more than one text."""
    counts = Counter(name for name, _ in set(zip(names, whole, strict=True)))
    return {name for name, count in counts.items() if count > 1}


def wrapped(name: str, wide: int, lines: int) -> str:
    """A name in up to so many lines, broken behind a space, comma or colon where there is one, else within words.

    Example:
        >>> wrapped("held:falling:weight=10.0,nld=False", 22, 3).splitlines()
        ['held:falling:', 'weight=10.0,nld=False']
    """
    found: list[str] = []
    while len(name) > wide and len(found) < lines - 1:
        cut = max(name.rfind(mark, 0, wide) for mark in " ,:") + 1 or wide
        found.append(name[:cut].rstrip())
        name = name[cut:].lstrip()
    return "\n".join([*found, name])


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
    for text in axes.legend(**{"title_fontsize": 7} | where).get_texts():
        text.set_parse_math(False)


def name_ticks(axis: Any, places: Iterable[float], names: Sequence[str]) -> None:
    """Names at places of an axis.

    Args:
        axis: such as ``axes.xaxis``.
        places: of the ticks.
        names: one for each place.
    """
    axis.set_ticks(list(places), labels=names)
    for text in axis.get_ticklabels():
        text.set_parse_math(False)
