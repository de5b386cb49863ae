"""Whether records are of one comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any

from ..recipe import Recipe
from .records import ArmRecord

__all__ = ["check_comparable"]


def check_comparable(records: Sequence[ArmRecord]) -> None:
    """Raise unless all records are of the same data and the same settings, but for the student's last activation.

    Raises:
        ValueError: they are not, and the message names what differs; or one run is there twice.
    """
    first, there_already = records[0], set[tuple[str, int]]()
    for record in records:
        if (record.arm, record.seed) in there_already:
            raise ValueError(f"{record.arm} seed {record.seed} is there twice; leave one out")
        there_already.add((record.arm, record.seed))
    asked = _asked(first)
    for other in records[1:]:
        if any(other.data[key] != value for key, value in first.data.items() if key in other.data):
            raise ValueError(f"{other.arm} seed {other.seed} is on other data than {first.arm} seed {first.seed}")
        there = _asked(other)
        differing = sorted(key for key in asked.keys() | there.keys() if asked.get(key) != there.get(key))
        if differing:
            raise ValueError(
                f"{other.arm} seed {other.seed} and {first.arm} seed {first.seed} differ in {', '.join(differing)}: "
                "they are no comparison"
            )


def _asked(record: ArmRecord) -> dict[str, Any]:
    """The settings of a run; one that its version did not know yet is what it is by default."""
    known = {item.name: item.default for item in fields(Recipe) if item.default is not MISSING}
    return {name: value for name, value in (known | record.asked).items() if name != "build_options"}
