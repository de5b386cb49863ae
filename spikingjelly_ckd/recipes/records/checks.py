"""What the entries of a ``record.json`` may be: records of others come as text that anybody can write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..untrusted import FLAG, HASH, MAPPING, TEXT, Kind, check_kinds, list_of, mapping_of, number, optional, whole
from .history import is_over, summary

__all__ = ["check_record"]

MOST = 10**12
PERCENT = number(0, 100)
PART = Kind("'val' or 'test'", lambda value: value in ("val", "test"))
EPOCHS = whole(1, 10**7)
TOLERANCE = 1e-6
"""Percent, by which a sum may differ from that of the history."""
KINDS: dict[str, dict[str, Kind]] = {
    "": {
        "row": TEXT,
        "paper_accuracy": optional(PERCENT),
        "method": TEXT,
        "seed": whole(0, 2**64),
        "data": MAPPING,
        "recipe": MAPPING,
        "sources": mapping_of(TEXT),
        "options": MAPPING,
        "smoke": FLAG,
        "environment": MAPPING,
        "student": optional(MAPPING),
        "teacher": optional(MAPPING),
        "network": optional(MAPPING),
        "init": optional(MAPPING),
        "acceleration": optional(MAPPING),
        "chosen": optional(MAPPING),
        "preflight": optional(MAPPING),
        "resumed_after_epochs": list_of(whole(0, MOST)),
        "teacher_cache": optional(MAPPING),
        "neurons": optional(TEXT),
        "processes": optional(whole(1, MOST)),
        "finished": FLAG,
        "accuracy": optional(MAPPING),
        "test": optional(MAPPING),
        "accuracy_by_step": optional(list_of(PERCENT)),
        "seconds": optional(number(0)),
        "history": list_of(mapping_of(optional(number()))),
        "energy": optional(MAPPING),
    },
    "data": {
        "name": TEXT,
        "split": TEXT,
        "split_hash": HASH,
        "complete": FLAG,
        "classes": optional(whole(1, MOST)),
        "val_images": optional(whole(1, MOST)),
        "content": optional(HASH),
    },
    "student": {"build": TEXT, "arguments": MAPPING, "parameters": whole(0, MOST), "sha256": optional(HASH)},
    "teacher": {"source": TEXT, "sha256": optional(HASH), "accuracy": optional(PERCENT)},
    "accuracy": {
        "last": PERCENT,
        "mean_last_5": PERCENT,
        "best": PERCENT,
        "best_epoch": EPOCHS,
        "epochs": EPOCHS,
        "part": PART,
    },
    "test": {"last": PERCENT, "best": optional(PERCENT)},
    "recipe": {"epochs": EPOCHS, "early_stop": whole(0, MOST)},
    "energy": {"student": MAPPING},
    "energy.student": {"compute_mj": number(0, MOST), "firing_rate": optional(number(0, MOST))},
}
"""Part of a record -> what its entries may be."""


def check_record(content: Mapping[str, Any]) -> None:
    """Raise where an entry is of another kind than a record has there, or two contradict each other.

    Raises:
        ValueError: the message names the entry.
    """
    for name, kinds in KINDS.items():
        part: Any = content
        for key in filter(None, name.split(".")):
            part = (part or {}).get(key)
        if part is not None:
            check_kinds(part, kinds, f"the record{'' if not name else f', {name}'}")
    energy = content.get("energy") or {}
    if energy and not {"compute_mj", "firing_rate"} <= set(energy.get("student", {})):
        raise ValueError("the record: energy must say compute_mj and firing_rate of the student")
    _check_history(content)


def _check_history(content: Mapping[str, Any]) -> None:
    """Raise where ``finished`` and ``accuracy`` are not those of the history; older data without one is taken as is."""
    accuracy, finished = content.get("accuracy"), content.get("finished", False)
    recipe = content.get("recipe", {})
    epochs, early_stop = recipe.get("epochs"), recipe.get("early_stop", 0)
    if "history" not in content:
        least = 1 if early_stop else epochs
        if finished and (accuracy is None or (epochs is not None and accuracy.get("epochs", least) < least)):
            raise ValueError(f"the record says that it is finished, and not all of its {epochs} epochs were trained")
        return
    rows = content["history"]
    held_out = content.get("data", {}).get("val_images")
    part = (accuracy or {}).get("part", "test" if held_out is None else "val")
    if (part == "val") != (held_out is not None):
        raise ValueError(f"the record says that its accuracies are of part {part!r}, and val_images={held_out}")
    reached = [row.get(f"{part}_acc1") for row in rows]
    if not all(map(PERCENT.fits, reached)):
        raise ValueError(f"the record: {part}_acc1 must be a number from 0 to 100 in each row of the history")
    if finished != is_over(reached, epochs or 1, early_stop):
        raise ValueError(f"the record says finished={finished}, and its history has {len(rows)} of {epochs} epochs")
    if (accuracy is None) != (not rows):
        raise ValueError(f"the record has {len(rows)} epochs in its history, and accuracy={accuracy}")
    for name, value in (summary(reached) if rows else {}).items():
        said = (accuracy or {}).get(name, value)
        if abs(said - value) > TOLERANCE:
            raise ValueError(f"the record says {name}={said:g}, and its history says {value:g}")
