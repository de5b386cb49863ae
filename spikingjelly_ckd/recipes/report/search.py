"""The records under a folder: of rows, and of comparisons."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from ..comparison.records import KIND, RECORDS, ArmRecord
from ..records.files import read_record
from ..records.schema import Record
from ..untrusted import read_json, shown_text

__all__ = ["Found", "find_records"]

LINE = 2000
"""Characters of a message."""


@dataclass
class Found:
    """Records by what they are of.

    Attributes:
        rows: of rows.
        comparisons: folder -> the records of a comparison in it.
    """

    rows: list[Record] = field(default_factory=list)
    comparisons: dict[Path, list[ArmRecord]] = field(default_factory=dict)


def find_records(path: Path, found: Found) -> None:
    """Add the record in a file, or those under a folder that belong in a table; what is left out is said.

    Args:
        path: of a file or a folder.
        found: so far.

    Raises:
        FileNotFoundError: nothing is there, or no record under the folder.
        ValueError: the file is no record.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    if not path.is_dir():
        _add(path, found)
        return
    files, before = sorted(path.rglob("*.json")), (len(found.rows), len(found.comparisons))
    known = [file for file in files if file.name == "record.json" or file.parent.name == RECORDS or _is_record(file)]
    if not known:
        others = f"; it holds {len(files)} other .json files" if files else ""
        raise FileNotFoundError(
            f"{path}: there is no record.json in this folder or below it, nor another record of a run{others}; a run "
            "writes one"
        )
    for file in known:
        _add_found(file, found)
    if before == (len(found.rows), len(found.comparisons)):
        raise FileNotFoundError(f"{path}: none of the {len(known)} records there belongs in a table")


def _add_found(file: Path, found: Found) -> None:
    """Add a record of a folder, unless it belongs in no table."""
    size = len(found.rows)
    try:
        _add(file, found)
    except (OSError, ValueError) as error:
        print(f"table: left out: {shown_text(error, LINE)}", file=sys.stderr)
        return
    record = found.rows[-1] if len(found.rows) > size else None
    if record is not None and (record.method == "teacher" or record.smoke):
        found.rows.pop()
        if record.smoke:
            print(f"table: left out: {shown_text(file, LINE)} is of a smoke run", file=sys.stderr)


def _add(file: Path, found: Found) -> None:
    if read_record(file).get("kind") == KIND:
        found.comparisons.setdefault(file.parent, []).append(ArmRecord.read(file))
    else:
        found.rows.append(Record.read(file))


def _is_record(file: Path) -> bool:
    """Whether a file of another name is a record of a row or a comparison, or cannot be read, so that it may be one.

    Benchmarks write others, and runs leave JSON files that are no records.
    """
    try:
        content = read_json(file)
    except (OSError, ValueError):
        return True
    return isinstance(content, dict) and (content.get("kind") == KIND or {"row", "recipe", "method"} <= content.keys())
