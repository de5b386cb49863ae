"""A method as a text on a command line: of the catalogue, with other arguments, or of the user's own."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from .. import published
from ..functional.errors import ArgumentTypeError, ArgumentValueError
from ..methods.base import DistillationLoss
from ..step.arguments import TEACHER_NEEDS
from ..step.method import Method
from .names import resolve_name

__all__ = ["describe", "folder_name", "needs_teacher", "of_one_layer", "read_method", "resolve_here", "with_layers"]

LONGEST_NAME = 80
KEY = r"\s*[A-Za-z_]\w*\s*="
"""Name of an argument and the sign behind it."""


def read_method(text: str) -> Method:
    """The method that a text names.

    Values are Python's literals (numbers, ``True``, ``None``, quoted texts, lists); anything else is a text as it
    stands, such as ``auto``.

    Args:
        text: ``NAME`` of :data:`spikingjelly_ckd.published.METHODS`, or ``module:function`` for a function that returns
            a :class:`~spikingjelly_ckd.published.Method`, or one :class:`~spikingjelly_ckd.DistillationLoss`, which
            then has weight 1 beside the cross-entropy. Either may be followed by ``:key=value,...``, the arguments of
            the function.

    Raises:
        TypeError: the function returned something else.
        ValueError: no such method or function, or arguments that it does not take.

    Example:
        >>> read_method("kd").losses
        {'kd': (KDLoss(temperature=4.0), 0.9)}
        >>> read_method("kd:weight=auto,temperature=2.0").losses
        {'kd': (KDLoss(temperature=2.0), 'auto')}
        >>> read_method("spikingjelly_ckd:KDLoss:temperature=2.0").losses
        {'KDLoss': (KDLoss(temperature=2.0), 1.0)}
    """
    name, arguments = _split(text)
    make = _function(text, name)
    try:
        made = make(**arguments)
    except (TypeError, ValueError) as error:
        raise ArgumentValueError("method", f"{text!r}: {error}") from error
    if isinstance(made, DistillationLoss):
        return Method({type(made).__name__: (made, 1.0)}, source=f"{name}, with weight 1 beside the cross-entropy")
    if not isinstance(made, Method):
        raise ArgumentTypeError(
            "method",
            f"{text!r}: the function must return a spikingjelly_ckd.published.Method or one DistillationLoss, got "
            f"{type(made).__name__}",
        )
    return made


def _split(text: str) -> tuple[str, dict[str, Any]]:
    """``"kd:weight=0.5,temperature=1.0"`` -> ``("kd", {"weight": 0.5, "temperature": 1.0})``."""
    name, *rest = re.split(rf":(?={KEY})", text, maxsplit=1)
    arguments: dict[str, Any] = {}
    for item in re.split(rf",(?={KEY})", rest[0]) if rest else ():
        key, _, value = item.partition("=")
        if key.strip() in arguments:
            raise ArgumentValueError("method", f"{text!r}: {key.strip()} is there twice")
        arguments[key.strip()] = _value(value.strip())
    return name, arguments


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def _function(text: str, name: str) -> Callable[..., Any]:
    catalogued, colon, _ = name.partition(":")
    if colon and catalogued in published.METHODS:
        raise ArgumentValueError("method", f"must be {catalogued}:key=value,key=value, got {text!r}")
    try:
        return resolve_here(name) if colon else published.by_name(name)
    except ValueError as error:
        raise ArgumentValueError("method", f"{text!r}: {error}") from error


def resolve_here(name: str) -> Callable[..., Any]:
    """The function or class called ``module:name``, where the module may also lie in the current folder.

    For what the user wrote on the command line; a name that a file says goes through
    :func:`spikingjelly_ckd.recipes.names.resolve_name`.

    Raises:
        ValueError: as for that function.
    """
    if os.getcwd() not in sys.path:  # a script has its own folder there, and not the user's
        sys.path.insert(0, os.getcwd())
    return resolve_name(name)


def needs_teacher(method: Method) -> bool:
    """Whether a loss of the method compares with a teacher.

    Example:
        >>> needs_teacher(read_method("kd")), needs_teacher(read_method("tet"))
        (True, False)
    """
    return any(TEACHER_NEEDS & set(loss.needs) for loss, _ in method.losses.values())


def of_one_layer(method: Method) -> list[str]:
    """Names of the losses that compare one layer of each network, which may be given.

    Example:
        >>> of_one_layer(read_method("ckd")), of_one_layer(read_method("kd")), of_one_layer(read_method("at"))
        (['samd'], [], [])
    """
    losses = method.losses.items()
    return [name for name, (loss, _) in losses if "features" in loss.needs and loss.layer_choice != "stages"]


def with_layers(method: Method, student: str | None, teacher: str | None) -> dict[str, tuple[Any, Any]]:
    """The layers of a method, with those that the user gave in place of its own.

    Args:
        method: whose losses that compare one layer get them.
        student: path of the student's layer; None leaves that side as it is.
        teacher: path of the teacher's; likewise.

    Example:
        >>> with_layers(read_method("bkdsnn"), "layer2", None)
        {'feature': ('layer2', None)}
    """
    layers = dict(method.layers)
    for name in of_one_layer(method):
        own = layers.get(name, (None, None))
        layers[name] = (student or own[0], teacher or own[1])
    return layers


def describe(method: Method) -> dict[str, str]:
    """The parts of a method in words: its losses, the task loss, and what it needs of the student.

    Example:
        >>> describe(read_method("dkd"))["dkd"]
        'DKDLoss(temperature=4.0, alpha=1.0, beta=8.0), weight 1.0, times 0 to 1, linear, 0 % to 8.33 % of the training'
        >>> describe(read_method("tdkd"))["task"]
        'TETLoss(lamb=0.0, means=1.0, label_smoothing=0.0), weight 1.0'
    """
    terms = {**method.losses, "task": (method.task_loss or "cross-entropy of the mean logits", method.task_weight)}
    words = {}
    for name, (loss, weight) in terms.items():
        factor = f", times {method.schedule[name]}" if name in method.schedule else ""
        words[name] = f"{' '.join(str(loss).split())}, weight {weight}{factor}"
    layers = {f"{name} layers": f"{pair[0]} and {pair[1]}" for name, pair in method.layers.items()}
    return {**words, **layers, "needs": str(method.student), "source": method.source}


def folder_name(text: str) -> str:
    """The text of a method as a name that any file system takes.

    Example:
        >>> folder_name("ckd"), folder_name("kd:weight=0.5,temperature=1.0"), folder_name("mine:build")
        ('ckd', 'kd-weight=0.5-temperature=1.0', 'mine-build')
    """
    name = re.sub(r"[^\w.=+-]+", "-", text, flags=re.ASCII).strip("-.")
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
