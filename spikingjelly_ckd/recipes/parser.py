"""A command line that names the flag which was meant."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable
from typing import NoReturn

__all__ = ["Parser", "near"]

FLAG = re.compile(r"--[a-z][\w-]*")
UNKNOWN = "unrecognized arguments: "
"""How argparse begins what it says of flags that there are not."""


class Parser(argparse.ArgumentParser):
    """As its base, and the error for a flag that there is not names those that are near it.

    Example:
        >>> parser = Parser("train")
        >>> _ = parser.add_argument("--output-dir")
        >>> parser.parse_args(["--output-dir", "runs"]).output_dir
        'runs'
    """

    def error(self, message: str) -> NoReturn:
        """As that of the base, with the flags that are near an unknown one."""
        flags = FLAG.findall(self.format_help())
        words = message.partition(UNKNOWN)[2].split()
        meant = {word: near(word.partition("=")[0], flags) for word in words if word.startswith("--")}
        hints = [f"; for {word}, {hint}" for word, hint in meant.items() if hint]
        super().error(f"{message}{''.join(hints)}")


def near(name: str, known: Iterable[str]) -> str:
    """A question that names what is spelled almost alike; nothing where there is none.

    Example:
        >>> near("cifra10", ["cifar10", "digits"])
        "did you mean 'cifar10'?"
        >>> near("cifra10", ["digits"])
        ''
    """
    found = difflib.get_close_matches(name, sorted(set(known)))
    return f"did you mean {' or '.join(map(repr, found))}?" if found else ""
