"""Where a line of the page may break: between the words of a command, never inside one; in a name behind its marks."""

from __future__ import annotations

import re

from ...errors.installed import needs_packages

with needs_packages("the report"):
    from markupsafe import Markup

__all__ = ["command", "name", "number", "prose"]

UNBROKEN = Markup('<span class="unbroken">{}</span>')
WORD = re.compile(r"(\S+)")
PART = re.compile(r"(\([^()]*\)|[^()\s](?:[^()]*[^()\s])?)")
"""What stands in parentheses, and what stands before them."""
IN_PROSE = re.compile(r"((?<![\w-])--?[A-Za-z][\w-]{0,28}|\(?\b\d[\d.]{0,9} (?:%|ms|mJ)\)?|\b\w{1,20}, (?:%|mJ))")
"""A flag, and a number or a word with its unit."""
BESIDE = re.compile(r"(?<=\d) (?=%)")
"""Between a number and its unit."""
BEHIND = re.compile(r"(?<=[:,/])(?=\w)")


def command(text: str) -> Markup:
    """A command, of which no word is broken; its text stays the same.

    Args:
        text: of one line.

    Example:
        >>> str(command("run --lr 0.1"))
        '<span class="unbroken">run</span> <span class="unbroken">--lr</span> <span class="unbroken">0.1</span>'
    """
    return _kept(text, WORD)


def number(text: str) -> Markup:
    """A number with its interval: a line breaks before the parenthesis alone.

    Args:
        text: of a cell that begins with a number.

    Example:
        >>> str(number("+0.7 (-2.5 to 4.0)"))
        '<span class="unbroken">+0.7</span> <span class="unbroken">(-2.5 to 4.0)</span>'
    """
    return _kept(text, PART)


def prose(text: str) -> Markup:
    """A sentence, or the head of a column: flags stay whole, and numbers beside their units.

    Args:
        text: of any kind.

    Example:
        >>> str(prose("give --seeds 0 1"))
        'give <span class="unbroken">--seeds</span> 0 1'
    """
    return _kept(text, IN_PROSE)


def name(text: str, shortest: int = 1) -> Markup:
    """The name of an arm, or a path: a line that is too short for it breaks behind a colon, a comma or a slash.

    Args:
        text: of any kind.
        shortest: characters of a word from which on it may break.

    Example:
        >>> str(name("kd:weight=0.5"))
        'kd:<wbr>weight=0.5'
        >>> str(name("kd:weight=0.5 of runs/digits/teacher.safetensors", 20))
        'kd:weight=0.5 of runs/<wbr>digits/<wbr>teacher.safetensors'
    """
    pieces = WORD.split(BESIDE.sub("\N{NO-BREAK SPACE}", text))
    return Markup("").join(
        Markup("<wbr>").join(BEHIND.split(piece)) if len(piece) >= shortest else piece for piece in pieces
    )


def _kept(text: str, part: re.Pattern[str]) -> Markup:
    """The text, in which no line breaks inside what matches."""
    pieces = part.split(text)
    return Markup("").join(UNBROKEN.format(piece) if at % 2 else piece for at, piece in enumerate(pieces))
