"""What a run leaves behind: one JSON file that says what ran, on what, and what came out.

The record of a row is a :class:`~spikingjelly_ckd.recipes.records.schema.Record`; benchmarks have keys of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import whole_file
from ..untrusted import json_text, read_json
from .ran_on import environment

__all__ = ["FORMAT", "environment", "is_over", "read_record", "summary", "write_record"]

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


def is_over(accuracies: Sequence[float], epochs: int, early_stop: int = 0) -> bool:
    """Whether a training has ended.

    Args:
        accuracies: after each epoch so far.
        epochs: of the whole.
        early_stop: epochs without a better one that end it before; 0 for none.

    Example:
        >>> is_over([50.0, 60.0, 60.0], 9), is_over([50.0, 60.0, 60.0], 9, early_stop=1)
        (False, True)
    """
    if not accuracies or len(accuracies) >= epochs:
        return bool(accuracies)
    return 0 < early_stop <= len(accuracies) - int(summary(accuracies)["best_epoch"])


def write_record(path: str | Path, record: Mapping[str, Any]) -> Path:
    """Write a record, whole or not at all.

    Args:
        path: of the JSON file.
        record: plain data; paths become strings, NaN and infinities null, numbers of NumPy and PyTorch numbers.

    Returns:
        The path.

    Raises:
        ValueError: the record holds itself.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(json_text({"format": FORMAT, **record}).encode())
    return path


def read_record(path: str | Path) -> dict[str, Any]:
    """Read a record as plain data: of a row, or of a benchmark. NaN, which no JSON has, is read as None.

    Raises:
        OSError: the file cannot be opened.
        ValueError: the file is no record of this package, too large, or nested too deeply.
    """
    record = read_json(Path(path))
    if not isinstance(record, dict) or record.get("format") not in READABLE:
        raise ValueError(f"{path} is no run record (format {' or '.join(map(str, READABLE))}) of spikingjelly-ckd")
    return record
