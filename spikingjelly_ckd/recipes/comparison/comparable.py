"""Whether records are of one comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..recipe import DEFAULTS
from ..records.files import told_twice
from .records import ArmRecord

__all__ = ["check_comparable", "settings_asked"]


def check_comparable(records: Sequence[ArmRecord]) -> None:
    """Raise unless all records are of the same data and the same settings, but for the student's last activation.

    Raises:
        ValueError: they are not, and the message names what differs; or one run is there twice.
    """
    first, there_already = records[0], dict[tuple[str, int], ArmRecord]()
    for record in records:
        key = record.arm, record.seed
        if (twin := there_already.get(key)) is not None:
            raise ValueError(told_twice(f"{record.arm} seed {record.seed}", twin.path, record.path))
        there_already[key] = record
    asked = settings_asked(first)
    for other in records[1:]:
        if any(other.data[key] != value for key, value in first.data.items() if key in other.data):
            raise ValueError(f"{other.arm} seed {other.seed} is on other data than {first.arm} seed {first.seed}")
        there = settings_asked(other)
        differing = sorted(key for key in asked.keys() | there.keys() if asked.get(key) != there.get(key))
        if differing:
            raise ValueError(
                f"{other.arm} seed {other.seed} and {first.arm} seed {first.seed} differ in {', '.join(differing)}: "
                "they are no comparison"
            )


def settings_asked(record: ArmRecord) -> dict[str, Any]:
    """The settings in which the arms of a comparison agree: all but for the student's last activation.

    One that the version of the record did not know yet is what it is by default.
    """
    return {name: value for name, value in (DEFAULTS | record.asked).items() if name != "build_options"}
