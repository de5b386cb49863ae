"""One wording for the checks that constructors share."""

from __future__ import annotations

import math
from collections.abc import Collection

__all__ = ["check_choice", "check_non_negative", "check_positive"]


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
        raise ValueError(f"{name} must be above 0 and finite, got {value}")
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
        raise ValueError(f"{name} must be at least 0 and finite, got {value}")
    return value


def check_choice(name: str, value: str, choices: Collection[str]) -> str:
    """``value`` if it is one of ``choices``.

    Raises:
        ValueError: it is not.

    Example:
        >>> check_choice("mode", "logits", ("logits", "probabilities"))
        'logits'
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {sorted(choices)}, got {value!r}")
    return value


def _check_number(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {type(value).__name__} {value!r}")
