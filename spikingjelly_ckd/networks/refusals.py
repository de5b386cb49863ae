"""Which layers a search did not choose, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["RefusalKind", "Refusals"]

RefusalKind = Literal["tried", "unreadable", "put off"]
"""Tried and unsuitable; with a shape that cannot be read; or put off, to be taken only if no other is suitable."""

_SHOWN = 8


@dataclass(frozen=True)
class _Refusal:
    path: str
    name: str
    why: str
    kind: RefusalKind

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


class Refusals:
    """The layers that one search refused.

    Args:
        order: paths in the order in which they ran last.

    Example:
        >>> refusals = Refusals(["conv", "norm", "head"])
        >>> refusals.add("norm", [(2, 8, 8)], "its shape can be read in two ways", "unreadable")
        >>> refusals.behind("conv")
        ('norm [2, 8, 8]: its shape can be read in two ways',)
    """

    def __init__(self, order: Sequence[str]) -> None:
        self._place = {path: place for place, path in enumerate(order)}
        self._all: list[_Refusal] = []

    def add(self, path: str, shapes: Sequence[tuple[int, ...]], why: str, kind: RefusalKind = "tried") -> None:
        """Note why the layer at ``path``, whose calls returned tensors of ``shapes``, was not chosen.

        Args:
            path: of the layer.
            shapes: of what its calls returned.
            why: in words.
            kind: how far it was looked at.
        """
        shape = f" {list(shapes[0])}" if shapes else ""
        times = f" x{len(shapes)}" if len(shapes) > 1 else ""
        self._all.append(_Refusal(path, f"{path}{shape}{times}", why, kind))

    def behind(self, path: str, chosen: Sequence[str] = ()) -> tuple[str, ...]:
        """What was refused behind ``path`` and in front of the next of the ``chosen`` paths.

        Args:
            path: of the layer that was chosen.
            chosen: paths of others that were chosen too.

        Returns:
            For each reason the last layer that it was given for, and how many more there are; from the last back.
        """
        place = self._place[path]
        end = min((self._place[other] for other in chosen if self._place[other] > place), default=len(self._place))
        last = {one.path: one for one in sorted(self._all, key=lambda one: one.kind != "put off")}
        reasons: dict[str, list[str]] = {}
        for one in sorted(last.values(), key=lambda one: -self._place[one.path]):
            if place < self._place[one.path] < end:
                reasons.setdefault(one.why, []).append(one.name)
        more = {why: f" and {len(names) - 1} more" if len(names) > 1 else "" for why, names in reasons.items()}
        return tuple(f"{names[0]}{more[why]}: {why}" for why, names in reasons.items())

    def __str__(self) -> str:
        refused = [str(one) for kind in ("tried", "unreadable") for one in self._all if one.kind == kind]
        more = len(refused) - _SHOWN
        return "; ".join(refused[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
