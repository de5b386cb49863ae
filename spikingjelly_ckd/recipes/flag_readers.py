"""The text behind a flag as a value, where its type does not say how it is read."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Literal, cast

from ..errors.checks import check_non_negative
from .methods import resolve_here
from .parser import read_count, read_seed, read_whole
from .recipe import Weight

__all__ = ["function_named"]


def function_named(text: str) -> Callable[..., Any]:
    """The function that a flag names, as ``MODULE:FUNCTION``; modules of the working folder are found.

    Raises:
        argparse.ArgumentTypeError: there is none.
    """
    try:
        return resolve_here(text)
    except (ImportError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _name_of_network(text: str) -> str:
    function_named(text)
    return text


def _weight(text: str) -> Weight:
    if text in ("auto", "hold"):
        return cast(Literal["auto", "hold"], text)
    try:
        return check_non_negative("it", float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"it must be a number of at least 0, 'auto' or 'hold', got {text!r}") from None


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"it must be numbers with commas between them, got {text!r}") from None


def _number_or_share(text: str) -> int | float:
    try:
        value = int(text) if text.isdecimal() else float(text)
    except ValueError:
        value = 0
    if not (0 < value < 1 or (isinstance(value, int) and value >= 1)):
        raise argparse.ArgumentTypeError(f"it must be a whole number, or between 0 and 1, got {text!r}")
    return value


def _devices(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        return read_count(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"it must be a whole number of at least 1 or 'auto', got {text!r}") from None


READERS: dict[str, Callable[[str], Any]] = {
    "data": function_named,
    "student": function_named,
    "teacher_build": _name_of_network,
    "teacher_mean": _numbers,
    "teacher_std": _numbers,
    "teacher_size": read_count,
    "teacher_cache": read_count,
    "num_nodes": read_count,
    "val_images": _number_or_share,
    "devices": _devices,
    "beta": _weight,
    "gamma": _weight,
    "seeds": read_seed,
    "seed": read_whole,
    "workers": read_whole,
}
"""Value -> function of the text behind its flag, where its type does not say it."""
MANY: dict[str, dict[str, Any]] = {"seeds": {"nargs": "+"}}
"""Value -> how many texts stand behind its flag, where that is not one."""
