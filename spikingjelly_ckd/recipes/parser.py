"""A command line that names the flag, or the word behind it, which was meant."""

from __future__ import annotations

import argparse
import math
import re
from typing import NoReturn

from ..errors.near import hint, nearest

__all__ = ["Parser", "read_count", "read_number", "read_whole"]

FLAG = re.compile(r"--[a-z][\w-]*")
UNKNOWN = "unrecognized arguments: "
"""How argparse begins what it says of flags that there are not."""
ELSEWHERE = {"--learning-rate": "--lr", "--num-workers": "--workers", "--num-epochs": "--epochs", "--gpus": "--devices"}
"""Flag of other projects -> the one that it is here, where there is one."""
CHOICE = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)")
"""What argparse says of a word that is none of those that a flag takes."""


class Parser(argparse.ArgumentParser):
    """As its base, and the error for a flag or a word that there is not names those that are near it.

    Example:
        >>> parser = Parser("train")
        >>> _ = parser.add_argument("--output-dir")
        >>> parser.parse_args(["--output-dir", "runs"]).output_dir
        'runs'
    """

    def error(self, message: str) -> NoReturn:
        """As that of the base, with the flags or words that are near an unknown one."""
        flags = FLAG.findall(self.format_help())
        words = message.partition(UNKNOWN)[2].split()
        meant = {word: _question(word.partition("=")[0], flags) for word in words if word.startswith("--")}
        hints = [f"; for {word}, {question}" for word, question in meant.items() if question]
        choice = CHOICE.search(message)
        if choice is not None:
            hints.append(hint(choice[1], re.findall(r"[\w.+-]+", choice[2])))
        if message.endswith("expected one argument"):
            hints.append("; one that begins with - is written behind =, as in --flag=-1,2")
        super().error(f"{message}{''.join(hints)}")


def _question(word: str, flags: list[str]) -> str:
    """Which flag may be meant, by its own name or by one that it has elsewhere."""
    known = [*flags, *(other for other, flag in ELSEWHERE.items() if flag in flags)]
    found = dict.fromkeys(ELSEWHERE.get(one, one) for one in nearest(word, known))
    return f"did you mean {' or '.join(map(repr, found))}?" if found else ""


def read_count(text: str) -> int:
    """The number behind a flag that counts something.

    Raises:
        argparse.ArgumentTypeError: it is no whole number of at least 1.

    Example:
        >>> read_count("4")
        4
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"it must be a whole number of at least 1, got {text!r}")
    return int(text)


def read_whole(text: str) -> int:
    """The number behind a flag that may be 0.

    Raises:
        argparse.ArgumentTypeError: it is no whole number of at least 0.

    Example:
        >>> read_whole("0")
        0
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"it must be a whole number of at least 0, got {text!r}")
    return int(text)


def read_seed(text: str) -> int:
    """One of the numbers behind a flag that takes seeds.

    Raises:
        argparse.ArgumentTypeError: it is no whole number of at least 0.

    Example:
        >>> read_seed("3")
        3
    """
    try:
        return read_whole(text)
    except argparse.ArgumentTypeError:
        why = f"seeds are whole numbers of at least 0 with spaces between, got {text!r}"
        raise argparse.ArgumentTypeError(why) from None


def read_number(text: str) -> float:
    """The number behind a flag that may be no whole one.

    Raises:
        argparse.ArgumentTypeError: it is no finite number of at least 0.

    Example:
        >>> read_number("1e-4")
        0.0001
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"it must be a number of at least 0, got {text!r}")
    return number
