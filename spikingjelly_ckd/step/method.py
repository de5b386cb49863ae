"""A published method as a value: its losses, how its source weights them, and what it needs of the student."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from ..errors.checks import check_callable, check_choice, check_count, check_flag, check_non_negative
from ..methods.base import DistillationLoss
from .arguments import Weight, read_losses
from .schedule import Schedule

__all__ = ["Method", "StudentNeeds", "distiller_options"]


@dataclass(frozen=True)
class StudentNeeds:
    """What a method needs of the student, beside being a spiking classifier.

    Args:
        last_activation: activation of the last block: ``"spike"``, or ``"relu"`` for real-valued features in front of
            the classifier.
        per_step_logits: the logits of every time step; those of a network that returns their mean are read inside it.
        linear_head: average pooling and one linear layer at the end, without dropout between.
        time_steps: at least so many.

    Raises:
        TypeError: a value of the wrong kind.
        ValueError: a value that is out of its range.

    Example:
        >>> StudentNeeds(last_activation="relu").builder_options()
        {'last_activation': 'relu'}
        >>> print(StudentNeeds(per_step_logits=True, time_steps=2))
        logits of every time step, T of at least 2
        >>> print(StudentNeeds())
        nothing
    """

    last_activation: Literal["spike", "relu"] = "spike"
    per_step_logits: bool = False
    linear_head: bool = False
    time_steps: int = 1

    def __post_init__(self) -> None:
        check_choice("last_activation", self.last_activation, ("spike", "relu"))
        check_flag("per_step_logits", self.per_step_logits)
        check_flag("linear_head", self.linear_head)
        check_count("time_steps", self.time_steps)

    def builder_options(self) -> dict[str, Any]:
        """Keywords for a function that builds the student; empty where its own defaults will do."""
        return {} if self.last_activation == "spike" else {"last_activation": self.last_activation}

    def __str__(self) -> str:
        """The needs in words."""
        words = {
            "ReLU as the last activation": self.last_activation == "relu",
            "logits of every time step": self.per_step_logits,
            "average pooling and one linear layer at the end": self.linear_head,
            f"T of at least {self.time_steps}": self.time_steps > 1,
        }
        return ", ".join(word for word, needed in words.items() if needed) or "nothing"


@dataclass(frozen=True, eq=False)
class Method:
    """Everything that one source says about how its losses are weighted.

    ``Distiller.from_method(method, teacher, student)`` copies the losses, so one method serves several distillers.
    ``dataclasses.replace`` makes a method with another field. Two methods are never equal, since losses are not.

    Args:
        losses: name -> (loss, weight), as for :class:`~spikingjelly_ckd.Distiller`.
        task_loss: as for :class:`~spikingjelly_ckd.Distiller`; None is cross-entropy on the mean logits.
        task_weight: of the task loss.
        schedule: name of a loss, or ``"task"`` -> function of the progress from 0 to 1, whose value the weight is
            multiplied by, see :func:`~spikingjelly_ckd.warm_up` and :func:`~spikingjelly_ckd.decay`. A name that is
            left out keeps its weight.
        student: what the student has to be.
        layers: name -> (student layers, teacher layers), where the source compares particular ones.
        source: where the weights are from.

    Raises:
        TypeError: a loss without a weight, or a value of the wrong kind.
        ValueError: ``schedule`` or ``layers`` names something that is not there, or a weight is negative or not finite.

    Example:
        >>> from spikingjelly_ckd import KDLoss
        >>> from spikingjelly_ckd.step.schedule import warm_up
        >>> method = Method({"kd": (KDLoss(), 0.9)}, task_weight=0.1, schedule={"kd": warm_up(0.1)}, source="ours")
        >>> method.losses["kd"], method.schedule["kd"](0.05)
        ((KDLoss(temperature=4.0), 0.9), 0.5)
    """

    losses: Mapping[str, tuple[DistillationLoss, Weight]]
    task_loss: DistillationLoss | Callable[[Tensor, Tensor], Tensor] | None = None
    task_weight: float = 1.0
    schedule: Mapping[str, Schedule] = field(default_factory=dict)
    student: StudentNeeds = field(default_factory=StudentNeeds)
    layers: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        check_callable("task_loss", self.task_loss)
        check_non_negative("task_weight", self.task_weight)
        read_losses(self.losses, self.task_weight)
        for argument, names in (("schedule", {*self.losses, "task"}), ("layers", {*self.losses})):
            unknown = getattr(self, argument).keys() - names
            if unknown:
                raise ValueError(f"{argument} names {sorted(unknown)}; this method has {sorted(names)}")


def distiller_options(method: Method) -> dict[str, Any]:
    """The arguments of a distiller that a method says; copies, so that one method serves several distillers.

    Args:
        method: of one publication.

    Raises:
        TypeError: it is something else, such as a function of ``published`` that was not called.

    Example:
        >>> distiller_options(Method({}))["task_weight"]
        1.0
    """
    names = ("losses", "task_loss", "task_weight", "schedule", "layers")
    if not all(hasattr(method, name) for name in names):
        advice = "; call it" if callable(method) and not isinstance(method, nn.Module) else ""
        raise TypeError(f"method must be a Method such as published.kd(), got {type(method).__name__}{advice}")
    return {name: copy.deepcopy(getattr(method, name)) for name in names}
