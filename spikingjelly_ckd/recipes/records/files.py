"""What a run leaves behind: one JSON file that says what ran, on what, and what came out.

The record of a row is a :class:`~spikingjelly_ckd.recipes.records.schema.Record`; benchmarks have keys of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import whole_file
from ..untrusted import json_text, read_json

__all__ = ["FORMAT", "read_record", "told_twice", "write_record"]

FORMAT = 2
READABLE = (1, 2)
"""Records of rows in format 1 had no ``chosen``, no ``pretrained`` among the options, and left out what was not known
yet, where format 2 has null. Benchmarks write the same in both."""


def write_record(path: str | Path, record: Mapping[str, Any]) -> Path:
    """Write a record, whole or not at all.

    Args:
        path: of the JSON file.
        record: plain data; paths become strings, NaN and infinities null, numbers of NumPy and PyTorch numbers.

    Returns:
        The path.

    Raises:
        ValueError: the record holds itself.

    Example:
        >>> import math, tempfile
        >>> path = write_record(Path(tempfile.mkdtemp(), "record.json"), {"row": "digits", "loss": math.nan})
        >>> read_record(path)
        {'format': 2, 'row': 'digits', 'loss': None}
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

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "record.json")
        >>> path.write_text('{"format": 2, "row": "digits", "accuracy": NaN}')
        47
        >>> read_record(path)
        {'format': 2, 'row': 'digits', 'accuracy': None}
    """
    record = read_json(Path(path))
    if not isinstance(record, dict) or record.get("format") not in READABLE:
        raise ValueError(f"{path} is no run record (format {' or '.join(map(str, READABLE))}) of spikingjelly-ckd")
    return record


def told_twice(run: str, *paths: Path | None) -> str:
    """The message about a run that two records are of, with the files of those that were read from one.

    Args:
        run: what it is, in words.
        *paths: of the records; None where it is in no file.

    Example:
        >>> told_twice("kd seed 0", Path("a.json"), Path("b.json"))
        'a.json and b.json: kd seed 0 is there twice; leave one out'
        >>> told_twice("kd seed 0", None, None)
        'kd seed 0 is there twice; leave one out'
    """
    files = " and ".join(str(path) for path in paths if path is not None)
    return f"{files + ': ' if files else ''}{run} is there twice; leave one out"
