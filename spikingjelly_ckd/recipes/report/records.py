"""What a run leaves behind: one JSON file that says what ran, on what, and what came out.

The record of a row is a :class:`~spikingjelly_ckd.recipes.report.schema.Record`; benchmarks have keys of their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import whole_file
from .environment import environment

__all__ = ["FORMAT", "environment", "read_record", "summary", "write_record"]

FORMAT = 2
READABLE = (1, 2)
"""Records of rows in format 1 had no ``chosen``, no ``pretrained`` among the options, and left out what was not known
yet, where format 2 has null. Benchmarks write the same in both."""
LAST = 5


def summary(accuracies: Sequence[float]) -> dict[str, Any]:
    """Best epoch beside the last and the mean of the last five; never the best alone.

    The best epoch is chosen on the test set itself, as papers in the field do, and is therefore too high.

    Args:
        accuracies: on the test set after each epoch, percent.

    Returns:
        ``last``, ``mean_last_5`` (of fewer, where there are fewer), ``best``, ``best_epoch`` (from 1), ``epochs``.

    Raises:
        ValueError: no epoch.

    Example:
        >>> summary([50.0, 70.0, 60.0])
        {'last': 60.0, 'mean_last_5': 60.0, 'best': 70.0, 'best_epoch': 2, 'epochs': 3}
    """
    if not accuracies:
        raise ValueError("no epoch was finished, so there is nothing to sum up")
    last = list(accuracies[-LAST:])
    best = max(accuracies)
    return {
        "last": accuracies[-1],
        "mean_last_5": sum(last) / len(last),
        "best": best,
        "best_epoch": list(accuracies).index(best) + 1,
        "epochs": len(accuracies),
    }


def write_record(path: str | Path, record: Mapping[str, Any]) -> Path:
    """Write a record, whole or not at all.

    Args:
        path: of the JSON file.
        record: plain data; paths become strings.

    Returns:
        The path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": FORMAT, **record}, indent=1, default=str) + "\n"
    with whole_file(path) as file:
        file.write(text.encode())
    return path


def read_record(path: str | Path) -> dict[str, Any]:
    """Read a record as plain data: of a row, or of a benchmark.

    Raises:
        ValueError: the file is no record of this package.
    """
    try:
        record = json.loads(Path(path).read_text("utf8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(record, dict) or record.get("format") not in READABLE:
        raise ValueError(f"{path} is no run record (format {' or '.join(map(str, READABLE))}) of spikingjelly-ckd")
    return record
