"""A command line that names the flag, or the word behind it, which was meant."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from ..errors.near import hint, near

__all__ = ["Parser"]

FLAG = re.compile(r"--[a-z][\w-]*")
UNKNOWN = "unrecognized arguments: "
"""How argparse begins what it says of flags that there are not."""
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
        meant = {word: near(word.partition("=")[0], flags) for word in words if word.startswith("--")}
        hints = [f"; for {word}, {question}" for word, question in meant.items() if question]
        choice = CHOICE.search(message)
        if choice is not None:
            hints.append(hint(choice[1], re.findall(r"[\w.+-]+", choice[2])))
        super().error(f"{message}{''.join(hints)}")
