"""A method as a text on a command line: of the catalogue, with other arguments, or of the user's own."""

from __future__ import annotations

import ast
import hashlib
import inspect
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from .. import published
from ..errors.arguments import ArgumentTypeError, ArgumentValueError
from ..errors.near import hint
from ..methods.base import DistillationLoss
from ..step.method import Method
from .names import in_code_of_user, resolve_name

__all__ = [
    "folder_name",
    "is_own",
    "read_method",
    "resolve_here",
]

OWN_WEIGHT = 1.0
"""Of a loss that no method weights."""
LONGEST_NAME = 80
KEY = r"\s*[A-Za-z_]\w*\s*="
"""Name of an argument and the sign behind it."""
USUAL_NAME = re.compile(
    r"[\w.]+(?:,? [\w.-]+)*(?::[\w.]+)?(?:[:@]\w+=[\w.+-]+(?:,\w+=[\w.+-]+)*)*(?: \(\w+\))?", flags=re.ASCII
)
"""Texts that a file name tells apart though it has a hyphen for each sign that no file system takes."""


def read_method(text: str) -> Method:
    """The method that a text names.

    Values are Python's literals (numbers, ``True``, ``None``, quoted texts, lists); anything else is a text as it
    stands, such as ``auto``.

    Args:
        text: ``NAME`` of :data:`spikingjelly_ckd.published.METHODS`, or ``module:function`` for a function that returns
            a :class:`~spikingjelly_ckd.published.Method`, or one :class:`~spikingjelly_ckd.DistillationLoss`, which
            then has weight 1 beside the cross-entropy. Either may be followed by ``:key=value,...``, the arguments of
            the function; the class of a loss takes ``weight`` beside its own.

    Raises:
        RuntimeError: the code of a function of the user's raised.
        TypeError: the function returned something else.
        ValueError: no such method or function, or arguments that it does not take.

    Example:
        >>> read_method("kd").losses
        {'kd': (KDLoss(temperature=4.0), 0.9)}
        >>> read_method("kd:weight=auto,temperature=2.0").losses
        {'kd': (KDLoss(temperature=2.0), 'auto')}
        >>> read_method("spikingjelly_ckd:KDLoss:temperature=2.0").losses
        {'KDLoss': (KDLoss(temperature=2.0), 1.0)}
        >>> read_method("spikingjelly_ckd:KDLoss:weight=0.5").losses
        {'KDLoss': (KDLoss(temperature=4.0), 0.5)}
    """
    name, arguments = split_text(text)
    make = function_of(text, name)
    weight = arguments.pop("weight", OWN_WEIGHT) if is_loss_without_weight(make) else OWN_WEIGHT
    known = _arguments(make)
    for key in sorted(arguments):
        if known is not None and key not in known:
            taken = ", ".join(known) or "nothing"
            raise ArgumentValueError("method", f"{text!r}: {name} takes {taken}, and not {key}{hint(key, known)}")
    with in_code_of_user(make):
        try:
            made = make(**arguments)
        except (TypeError, ValueError) as error:
            raise ArgumentValueError("method", f"{text!r}: {error}") from error
    if isinstance(made, DistillationLoss):
        shown = f"{weight:g}" if isinstance(weight, int | float) else weight
        source = f"{name}, with weight {shown} beside the cross-entropy"
        try:
            return Method({type(made).__name__: (made, weight)}, source=source)
        except (TypeError, ValueError) as error:
            raise ArgumentValueError("method", f"{text!r}: {error}") from error
    if not isinstance(made, Method):
        raise ArgumentTypeError(
            "method",
            f"{text!r}: the function must return a spikingjelly_ckd.published.Method or one DistillationLoss, got "
            f"{type(made).__name__}",
        )
    return made


def _arguments(make: Callable[..., Any]) -> dict[str, None] | None:
    """Names of what a function takes, also of what it hands on to its losses; None where that cannot be known."""
    parameters = inspect.signature(make).parameters.values()
    known = {item.name: None for item in parameters if item.kind is not item.VAR_KEYWORD}
    if len(known) == len(parameters):
        return known
    if make not in published.METHODS.values():
        return None
    for loss, _ in make().losses.values():
        inner = inspect.signature(type(loss)).parameters.values()
        known |= {item.name: None for item in inner if item.kind is not item.VAR_KEYWORD}
    return known


def is_loss_without_weight(make: Callable[..., Any]) -> bool:
    """Whether it is a class of losses, which are weighted from outside."""
    own = isinstance(make, type) and issubclass(make, DistillationLoss)
    return own and "weight" not in inspect.signature(make).parameters


def split_text(text: str) -> tuple[str, dict[str, Any]]:
    """``"kd:weight=0.5,temperature=1.0"`` -> ``("kd", {"weight": 0.5, "temperature": 1.0})``.

    Raises:
        ValueError: an argument is there twice.
    """
    name, *rest = re.split(rf":(?={KEY})", text, maxsplit=1)
    arguments: dict[str, Any] = {}
    for item in re.split(rf",(?={KEY})", rest[0]) if rest else ():
        key, _, value = item.partition("=")
        if key.strip() in arguments:
            raise ArgumentValueError("method", f"{text!r}: {key.strip()} is there twice")
        arguments[key.strip()] = value_of(value.strip())
    return name, arguments


def value_of(text: str) -> Any:
    """The number or the like that a text is, or else the text."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def is_own(text: str) -> bool:
    """Whether a text names a function of the user's, which may return something else another day.

    Example:
        >>> is_own("kd:weight=0.5"), is_own("mine:build"), is_own("spikingjelly_ckd:KDLoss")
        (False, True, False)
    """
    name, _ = split_text(text)
    return ":" in name and name.partition(":")[0].partition(".")[0] != __name__.partition(".")[0]


def function_of(text: str, name: str) -> Callable[..., Any]:
    """The function that ``text`` names as ``name``: of the catalogue, or ``module:name``.

    Raises:
        ValueError: there is none.
    """
    catalogued, colon, _ = name.partition(":")
    if colon and catalogued in published.METHODS:
        raise ArgumentValueError("method", f"must be {catalogued}:key=value,key=value, got {text!r}")
    try:
        return resolve_here(name) if colon else published.by_name(name)
    except (ImportError, ValueError) as error:
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


def folder_name(text: str) -> str:
    """The text of a method as a name that any file system takes; two texts have two names.

    Digits of its hash stand behind a text of which characters are lost, such as those of another script.

    Example:
        >>> folder_name("ckd"), folder_name("kd:weight=0.5,temperature=1.0"), folder_name("mine:build")
        ('ckd', 'kd-weight=0.5-temperature=1.0', 'mine-build')
        >>> folder_name("kd@init=a/b"), folder_name("kd@init=a-b")
        ('kd-init=a-b-0feddbbe', 'kd-init=a-b')
    """
    name = re.sub(r"[^\w.=+-]+", "-", text, flags=re.ASCII).strip("-.")
    if len(name) <= LONGEST_NAME and USUAL_NAME.fullmatch(text):
        return name
    return f"{name[:LONGEST_NAME]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("-")
