"""The arguments of a method that is given as a text: read, and written anew with others."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from .methods import OWN_WEIGHT, function_of, is_loss_without_weight, read_method, split_text, value_of

__all__ = ["numbers_of", "with_arguments", "with_defaults"]


def numbers_of(text: str) -> dict[str, float]:
    """The arguments of a method that are numbers, with the values that the text gives them, or their defaults.

    Args:
        text: as for :func:`read_method`.

    Returns:
        Name -> value. Where the function hands settings on to a loss that has a temperature, that is among them, and
        so may be a temperature that the function does not take: of another loss.

    Raises:
        TypeError: as :func:`read_method`.
        ValueError: likewise.

    Example:
        >>> numbers_of("kd:weight=0.5")
        {'weight': 0.5, 'task_weight': 0.1, 'temperature': 4.0}
        >>> numbers_of("spikingjelly_ckd:KDLoss")
        {'temperature': 4.0, 'weight': 1.0}
    """
    name, given = split_text(text)
    make = function_of(text, name)
    parameters = inspect.signature(make).parameters.values()
    values = {parameter.name: parameter.default for parameter in parameters}
    if is_loss_without_weight(make):
        values["weight"] = OWN_WEIGHT
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        loss, _ = next(iter(read_method(text).losses.values()), (None, None))
        values["temperature"] = getattr(loss, "temperature", None)
    values |= given
    return {key: float(value) for key, value in values.items() if type(value) in (int, float)}


def with_arguments(text: str, values: Mapping[str, Any]) -> str:
    """The text of a method with other arguments.

    Args:
        text: as for :func:`read_method`.
        values: name -> value, in place of what the text says of that argument.

    Example:
        >>> with_arguments("kd:weight=auto,temperature=4.0", {"temperature": 2.0, "task_weight": 0.5})
        'kd:weight=auto,temperature=2.0,task_weight=0.5'
        >>> with_arguments("plain", {})
        'plain'
    """
    name, given = split_text(text)
    merged = {**given, **values}
    written = [f"{key}={value if value_of(str(value)) == value else repr(value)}" for key, value in merged.items()]
    return f"{name}:{','.join(written)}" if written else name


def with_defaults(text: str) -> str:
    """The text of a method with all of its numbers, in one order: equal for texts that mean the same.

    Args:
        text: as for :func:`read_method`.

    Example:
        >>> with_defaults("kd"), with_defaults("kd:temperature=4,weight=0.90") == with_defaults("kd")
        ('kd:task_weight=0.1,temperature=4.0,weight=0.9', True)
    """
    name, given = split_text(text)
    return with_arguments(name, dict(sorted((given | numbers_of(text)).items())))
