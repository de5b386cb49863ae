"""A method as a row sees it: its need of a teacher, its layers and its task loss, and its parts in words."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from torch.nn import functional as F

from ..errors.arguments import ArgumentValueError
from ..methods import TETLoss
from ..step.arguments import TEACHER_NEEDS
from ..step.method import Method

__all__ = ["TaskLoss", "describe", "needs_teacher", "of_one_layer", "with_layers", "with_task_loss"]

TaskLoss = Literal["ce", "tet"]
"""Cross-entropy of the logits averaged over time, or averaged over the time steps."""
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""Where in memory something lies, as Python shows what has no text of its own: another in each process."""


def needs_teacher(method: Method) -> bool:
    """Whether a loss of the method compares with a teacher.

    Example:
        >>> from spikingjelly_ckd import published
        >>> needs_teacher(published.kd()), needs_teacher(published.tet())
        (True, False)
    """
    return any(TEACHER_NEEDS & set(loss.needs) for loss, _ in method.losses.values())


def of_one_layer(method: Method) -> list[str]:
    """Names of the losses that compare one layer of each network, which may be given.

    Example:
        >>> from spikingjelly_ckd import published
        >>> of_one_layer(published.ckd()), of_one_layer(published.kd()), of_one_layer(published.at())
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
        >>> from spikingjelly_ckd import published
        >>> with_layers(published.bkdsnn(), "layer2", None)
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
        >>> from spikingjelly_ckd import published
        >>> with_task_loss(published.kd(), "tet", 0.1).task_loss
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
        >>> from spikingjelly_ckd import published
        >>> describe(published.dkd())["dkd"]
        'DKDLoss(temperature=4.0, alpha=1.0, beta=8.0), weight 1.0, times 0 to 1, linear, 0 % to 8.33 % of the training'
        >>> describe(published.tdkd())["task"]
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
