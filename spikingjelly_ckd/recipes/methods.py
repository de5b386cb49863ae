"""A method as a text on a command line: of the catalogue, with other arguments, or of the user's own."""

from __future__ import annotations

import ast
import hashlib
import inspect
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from torch.nn import functional as F

from .. import published
from ..errors.arguments import ArgumentTypeError, ArgumentValueError
from ..errors.near import hint
from ..methods import TETLoss
from ..methods.base import DistillationLoss
from ..step.arguments import TEACHER_NEEDS
from ..step.method import Method
from .names import in_code_of_user, resolve_name

__all__ = [
    "TaskLoss",
    "describe",
    "folder_name",
    "is_own",
    "needs_teacher",
    "of_one_layer",
    "read_method",
    "resolve_here",
    "with_layers",
    "with_task_loss",
]

TaskLoss = Literal["ce", "tet"]
"""Cross-entropy of the logits averaged over time, or averaged over the time steps."""
OWN_WEIGHT = 1.0
"""Of a loss that no method weights."""
LONGEST_NAME = 80
KEY = r"\s*[A-Za-z_]\w*\s*="
"""Name of an argument and the sign behind it."""
USUAL_NAME = re.compile(
    r"[\w.]+(?:,? [\w.-]+)*(?::[\w.]+)?(?:[:@]\w+=[\w.+-]+(?:,\w+=[\w.+-]+)*)*(?: \(\w+\))?", flags=re.ASCII
)
"""Texts that a file name tells apart though it has a hyphen for each sign that no file system takes."""
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""Where in memory something lies, as Python shows what has no text of its own: another in each process."""


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


def with_task_loss(method: Method, task_loss: TaskLoss | None = None, label_smoothing: float = 0.0) -> Method:
    """A method with another task loss, or with a smoothed one.

    Args:
        method: whose weight of the task stays.
        task_loss: None for the method's own.
        label_smoothing: from 0 to below 1, as in :func:`torch.nn.functional.cross_entropy`.

    Raises:
        ValueError: a smoothed loss is asked for, and the method has a task loss of its own without smoothing.

    Example:
        >>> with_task_loss(read_method("kd"), "tet", 0.1).task_loss
        TETLoss(lamb=0.0, means=1.0, label_smoothing=0.1)
    """
    task: Any = {"ce": None, "tet": TETLoss()}[task_loss] if task_loss else method.task_loss
    if label_smoothing:
        if task is None:
            task = partial(F.cross_entropy, label_smoothing=label_smoothing)
        elif isinstance(task, TETLoss):
            task = TETLoss(task.lamb, task.means, label_smoothing)
        else:
            raise ArgumentValueError(
                "label_smoothing",
                f"is for cross-entropy and TET, and this method's task loss is {task}",
            )
    if task is method.task_loss:
        return method
    needs = replace(method.student, per_step_logits=True) if task_loss == "tet" else method.student
    return replace(method, task_loss=task, student=needs)


def describe(method: Method) -> dict[str, str]:
    """The parts of a method in words: its losses, the task loss, and what it needs of the student.

    Example:
        >>> describe(read_method("dkd"))["dkd"]
        'DKDLoss(temperature=4.0, alpha=1.0, beta=8.0), weight 1.0, times 0 to 1, linear, 0 % to 8.33 % of the training'
        >>> describe(read_method("tdkd"))["task"]
        'TETLoss(lamb=0.0, means=1.0, label_smoothing=0.0), weight 1.0'
    """
    task = method.task_loss or "cross-entropy of the mean logits"
    if isinstance(task, partial) and task.func is F.cross_entropy:
        task = (
            f"cross-entropy of the mean logits, {', '.join(f'{key}={value}' for key, value in task.keywords.items())}"
        )
    terms = {**method.losses, "task": (task, method.task_weight)}
    words = {}
    for name, (loss, weight) in terms.items():
        factor = f", times {method.schedule[name]}" if name in method.schedule else ""
        words[name] = f"{ADDRESS.sub('', ' '.join(str(loss).split()))}, weight {weight}{factor}"
    layers = {f"{name} layers": f"{pair[0]} and {pair[1]}" for name, pair in method.layers.items()}
    return {**words, **layers, "needs": str(method.student), "source": method.source}


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
