"""The weight of every term of a step: a number, ``"auto"`` or ``"hold"``, and a schedule over the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import SupportsFloat, cast

from torch import Tensor, nn

from ..errors.arguments import ArgumentValueError
from ..errors.checks import check_non_negative
from .auto_weight import MeasuredWeight
from .output import Step
from .schedule import Schedule

__all__ = ["NOTHING_TRAINED", "weigh"]

NOTHING_TRAINED = (
    "returns logits that depend on no parameter that requires a gradient, so nothing of it would be trained: call "
    "student.requires_grad_(True), and let it run without torch.no_grad() and detach()"
)
"""Of a student in train mode."""


def weigh(
    student: nn.Module,
    step: Step,
    fixed: Mapping[str, float],
    auto: nn.ModuleDict,
    schedule: Mapping[str, Schedule],
    progress: float,
    *,
    measuring: bool,
) -> dict[str, float | Tensor]:
    """The weight of every term of ``step``.

    Args:
        student: of the step; its states are reset before each gradient that is measured.
        step: at whose gradients automatic weights are measured.
        fixed: the weights that are numbers, ``"task"`` among them.
        auto: name -> :class:`~spikingjelly_ckd.step.auto_weight.MeasuredWeight`.
        schedule: factors over the run.
        progress: from 0 (start) to 1 (end).
        measuring: whether automatic weights may be measured, that is, whether this is a step of training.

    Returns:
        One weight for each term; an automatic one is a scalar on the device.

    Raises:
        TypeError: a schedule gives no number.
        ValueError: nothing of the student would be trained by a step of training, or a weight or what a schedule gives
            is negative or not finite.
    """
    if measuring and not step.logits.requires_grad:
        raise ArgumentValueError("student", NOTHING_TRAINED)
    for name, value in fixed.items():
        if not isinstance(value, Tensor):
            check_non_negative(f"weights[{name!r}]", value)
    weights: dict[str, float | Tensor] = dict(fixed)
    for name, module in auto.items():
        weight = cast(MeasuredWeight, module)
        if measuring:
            weight.take(fixed["task"] * step.terms["task"].value, step.terms[name].value, step.points(name), student)
        weights[name] = weight.weight.clone()
    for name, factor in schedule.items():
        weights[name] = weights[name] * _factor(name, factor, progress)
    return weights


def _factor(name: str, factor: Schedule, progress: float) -> float:
    """What a schedule gives at this progress.

    Raises:
        TypeError: no number.
        ValueError: a number that is negative or not finite.
    """
    value: object = factor(progress)
    if not isinstance(value, int | float) and isinstance(value, SupportsFloat):  # such as one of NumPy
        value = float(value)
    return check_non_negative(f"schedule[{name!r}] at progress {progress:g}", cast(float, value))
