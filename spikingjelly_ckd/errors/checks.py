"""Checks of arguments that constructors share, so that their errors have one wording."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TypeVar

from .arguments import ArgumentTypeError, ArgumentValueError
from .near import hint

__all__ = [
    "check_both",
    "check_callable",
    "check_choice",
    "check_count",
    "check_flag",
    "check_non_negative",
    "check_positive",
    "check_share",
]

_Choice = TypeVar("_Choice", bound=str)
_Function = TypeVar("_Function")


def check_positive(name: str, value: float) -> float:
    """``value`` if it is a finite number above zero.

    Raises:
        TypeError: it is no number.
        ValueError: it is not above zero, or not finite.

    Example:
        >>> check_positive("temperature", 2.0)
        2.0
    """
    _check_number(name, value)
    if not (math.isfinite(value) and value > 0):
        raise ArgumentValueError(name, f"must be above 0 and finite, got {value}")
    return value


def check_non_negative(name: str, value: float) -> float:
    """``value`` if it is a finite number of at least zero.

    Raises:
        TypeError: it is no number.
        ValueError: it is negative, or not finite.

    Example:
        >>> check_non_negative("weight", 0)
        0
    """
    _check_number(name, value)
    if not (math.isfinite(value) and value >= 0):
        raise ArgumentValueError(name, f"must be at least 0 and finite, got {value}")
    return value


def check_count(name: str, value: int, *, least: int = 1) -> int:
    """``value`` if it is an integer of at least ``least``.

    Raises:
        TypeError: it is no integer.
        ValueError: it is below ``least``.

    Example:
        >>> check_count("student_channels", 64)
        64
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentTypeError(name, f"must be an integer, got {type(value).__name__} {value!r}")
    if value < least:
        raise ArgumentValueError(name, f"must be at least {least}, got {value}")
    return value


def check_flag(name: str, value: bool) -> bool:
    """``value`` if it is True or False.

    Raises:
        TypeError: it is something else, such as the text ``"no"``.

    Example:
        >>> check_flag("compile", False)
        False
    """
    if not isinstance(value, bool):
        raise ArgumentTypeError(name, f"must be True or False, got {type(value).__name__} {value!r}")
    return value


def check_share(name: str, value: float) -> float:
    """``value`` if it lies from 0 to below 1.

    Raises:
        TypeError: it is no number.
        ValueError: it is out of range.

    Example:
        >>> check_share("mask_ratio", 0.15)
        0.15
    """
    _check_number(name, value)
    if not 0 <= value < 1:
        raise ArgumentValueError(name, f"must lie in [0, 1), got {value}")
    return value


def check_both(first_name: str, first: object, second_name: str, second: object) -> None:
    """Raise if one of two arguments that belong together is None and the other is not.

    Raises:
        ValueError: one of them alone is None.

    Example:
        >>> check_both("student_channels", None, "teacher_channels", None)
    """
    if (first is None) != (second is None):
        raise ValueError(f"pass {first_name} and {second_name} together, or neither")


def check_callable(name: str, value: _Function) -> _Function:
    """``value`` if it is None or can be called; a class is not meant, but an object of it.

    Raises:
        TypeError: it is a class, or cannot be called.

    Example:
        >>> check_callable("task_loss", len)([1, 2])
        2
        >>> check_callable("task_loss", int)
        Traceback (most recent call last):
            ...
        spikingjelly_ckd.errors.arguments.ArgumentTypeError: task_loss must be a function or a module, got the class \
int: pass an object of it, int(...)
    """
    if isinstance(value, type):
        kind = value.__name__
        raise ArgumentTypeError(
            name, f"must be a function or a module, got the class {kind}: pass an object of it, {kind}(...)"
        )
    if value is not None and not callable(value):
        raise ArgumentTypeError(name, f"must be a function or a module, got {type(value).__name__} {value!r}")
    return value


def check_choice(name: str, value: _Choice, choices: Collection[str]) -> _Choice:
    """``value`` if it is one of ``choices``.

    Raises:
        ValueError: it is not.

    Example:
        >>> check_choice("mode", "logits", ("logits", "probabilities"))
        'logits'
        >>> check_choice("mode", "logit", ("logits", "probabilities"))
        Traceback (most recent call last):
            ...
        spikingjelly_ckd.errors.arguments.ArgumentValueError: mode must be one of ['logits', 'probabilities'], got \
'logit'; did you mean 'logits'?
    """
    if value not in choices:
        raise ArgumentValueError(name, f"must be one of {sorted(choices)}, got {value!r}{hint(str(value), choices)}")
    return value


def _check_number(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArgumentTypeError(name, f"must be a number, got {type(value).__name__} {value!r}")
