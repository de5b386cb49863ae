"""Files of others: JSON with bounds, a schema of what it says, and text that can be shown as it is.

What a file says is compared with a mapping of :class:`Kind`, and every failure is a ``ValueError`` of one line.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

__all__ = [
    "FLAG",
    "HASH",
    "MAPPING",
    "NOTHING",
    "PLAIN",
    "TEXT",
    "Kind",
    "check_kinds",
    "either",
    "json_text",
    "list_of",
    "mapping_of",
    "markdown_cell",
    "number",
    "optional",
    "read_json",
    "shown_text",
    "whole",
]

MOST_BYTES = 16 * 2**20
DEEPEST = 32
LONGEST = 200
"""Characters of one value that are shown."""
LONGEST_TEXT = 10_000
MOST_ITEMS = 1_000_000
HEX = re.compile("[0-9a-f]{8,64}")
HIDDEN = re.compile(
    "[^\\S ]|[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""What moves the cursor, ends a line, turns the direction of writing or is not seen, and half characters."""
OF_MARKDOWN = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "\\|", "`": "'", "\\": "\\\\"})


def read_json(path: Path) -> Any:
    """What a JSON file says; NaN and numbers that no float holds are None.

    Args:
        path: of the file.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no JSON in UTF-8, too large or too deep.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path} is larger than {MOST_BYTES // 2**20} MiB, so it is no file of this package")
    try:
        found = json.loads(content.decode("utf8"), parse_constant=lambda _: None, parse_float=_finite)
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply") from error
    except ValueError as error:  # also of text that is no UTF-8, and of a whole number of thousands of digits
        cut_off = isinstance(error, json.JSONDecodeError) and _ends_early(error)
        raise ValueError(f"{path} is {'cut off' if cut_off else 'no JSON'}: {shown_text(error)}") from error
    if _depth(found) > DEEPEST:
        raise ValueError(f"{path} is nested too deeply: more than {DEEPEST} levels")
    return found


def _ends_early(error: json.JSONDecodeError) -> bool:
    """Whether a text is JSON up to its end, at which more of it was due."""
    at_the_end = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string")
    return at_the_end and error.doc.lstrip()[:1] in ("{", "[")


def json_text(content: Mapping[str, Any]) -> str:
    """Plain data as JSON that every reader takes: NaN and infinities are null, numbers of NumPy and PyTorch numbers.

    Args:
        content: plain data; what is something else, such as a path, becomes a text.

    Raises:
        ValueError: it holds itself.

    Example:
        >>> json_text({"loss": float("nan"), "best": np.float32(0.5)}).split()
        ['{', '"loss":', 'null,', '"best":', '0.5', '}']
    """
    text = json.dumps(content, default=_plain)
    return json.dumps(json.loads(text, parse_constant=lambda _: None), indent=1, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.generic | np.ndarray | Tensor) else str(value)


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _depth(content: Any) -> int:
    depth, level = 0, [content]
    while level:
        depth += 1
        level = [
            item
            for outer in level
            if isinstance(outer, list | dict)
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return depth


@dataclass(frozen=True)
class Kind:
    """What a value may be.

    Attributes:
        words: for the message, such as ``"a text"``.
        fits: whether a value, as JSON gives it, is of this kind.
    """

    words: str
    fits: Callable[[Any], bool]


HASH = Kind("a hash, 8 to 64 hexadecimal digits", lambda value: isinstance(value, str) and bool(HEX.fullmatch(value)))
TEXT = Kind("a text", lambda value: isinstance(value, str) and len(value) <= LONGEST_TEXT)
NOTHING = Kind("null", lambda value: value is None)
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
MAPPING = Kind("an object", lambda value: isinstance(value, dict) and all(isinstance(key, str) for key in value))


PLAIN = Kind("a text in one line without hidden characters", lambda value: TEXT.fits(value) and _is_plain(value))


def number(low: float = -sys.float_info.max, high: float = sys.float_info.max) -> Kind:
    """A finite number from ``low`` to ``high``."""

    def fits(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high

    return Kind(f"a number from {low:g} to {high:g}", fits)


def whole(low: int, high: int) -> Kind:
    """An integer from ``low`` to ``high``."""

    def fits(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return Kind(f"an integer from {low} to {high}", fits)


def optional(kind: Kind) -> Kind:
    """A kind, or null."""
    return either(kind, NOTHING)


def either(*kinds: Kind) -> Kind:
    """One of several kinds."""
    return Kind(", or ".join(kind.words for kind in kinds), lambda value: any(kind.fits(value) for kind in kinds))


def list_of(kind: Kind) -> Kind:
    """A list of values of one kind."""

    def fits(value: Any) -> bool:
        return isinstance(value, list) and len(value) <= MOST_ITEMS and all(map(kind.fits, value))

    return Kind(f"a list, each item {kind.words}", fits)


def mapping_of(kind: Kind) -> Kind:
    """An object whose values are of one kind."""
    return Kind(
        f"an object, each value {kind.words}", lambda value: MAPPING.fits(value) and all(map(kind.fits, value.values()))
    )


def check_kinds(content: Mapping[str, Any], kinds: Mapping[str, Kind], where: str) -> None:
    """Check each value of ``content`` for which there is a kind.

    Args:
        content: what was read.
        kinds: name -> kind.
        where: what messages begin with, such as the file.

    Raises:
        ValueError: a value is of another kind; the message names it.

    Example:
        >>> check_kinds({"size": -3}, {"size": whole(1, 4096)}, "teacher.json")
        Traceback (most recent call last):
        ValueError: teacher.json: size must be an integer from 1 to 4096, got -3
    """
    for name, kind in kinds.items():
        if name in content and not kind.fits(content[name]):
            raise ValueError(f"{where}: {name} must be {kind.words}, got {shown_text(_brief(content[name]))}")


def _is_plain(value: str) -> bool:
    return HIDDEN.search(value) is None


def _brief(value: Any) -> str:
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}: {repr(value)[:LONGEST]}"
    try:
        return repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a very large number"


def shown_text(value: object, most: int = LONGEST) -> str:
    r"""A value as text for a terminal: in one line, without what moves the cursor or hides, and not too long.

    Example:
        >>> shown_text("a" + chr(27) + "[2Jb" + chr(10) + "c")
        'a\\x1b[2Jb\\nc'
    """
    text = HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), str(value))
    return text if len(text) <= most else f"{text[: most - 3]}..."


def markdown_cell(value: object, most: int = LONGEST) -> str:
    r"""A value as text for a cell of a Markdown table, in which it is neither markup nor HTML.

    Example:
        >>> markdown_cell("<b>a|b</b>")
        '&lt;b&gt;a\\|b&lt;/b&gt;'
    """
    return shown_text(value, most).translate(OF_MARKDOWN).replace("](", "]\\(")  # no link; brackets alone stay
