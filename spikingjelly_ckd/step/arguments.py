"""Checks of the losses, layers and schedule that are passed to a distiller."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from torch import nn

from ..errors.checks import check_choice, check_non_negative
from ..methods.base import LAYER_CHOICES, NEEDS, DistillationLoss
from ..networks import compat
from ..networks.layer import Layer, as_layer
from ..networks.presets import preset_student_steps
from ..networks.recording import get_layer
from .auto_weight import AutoWeight, MeasuredWeight
from .held_weight import HeldWeight, Hold
from .schedule import Schedule
from .time_steps import StudentSteps

__all__ = [
    "TEACHER_NEEDS",
    "WHOLE_TEACHER",
    "Weight",
    "check_built",
    "read_example",
    "read_layers",
    "read_losses",
    "read_needs",
    "read_schedule",
    "read_side",
]

Weight = float | Literal["auto", "hold"] | Hold
GivenSides = tuple[tuple[Layer, ...] | None, tuple[Layer, ...] | None]


TEACHER_NEEDS = frozenset({"logits", "features", "gradients", "student_gradients", "teacher_head"})
"""Needs that require a teacher."""
WHOLE_TEACHER = TEACHER_NEEDS - {"features"}
"""Needs for which the teacher runs to its logits; for its features alone it ends at the last layer that is compared."""
TASK_NEEDS = frozenset({"labels", "logits", "per_step_logits"})
"""Signals that a task loss sees."""


def read_teacher_steps(teacher: nn.Module | None, needs: Collection[str]) -> StudentSteps | None:
    """How a spiking teacher takes its time steps; None for an ANN.

    Args:
        teacher: the network; None where there is none.
        needs: of all losses and the task loss.

    Raises:
        ValueError: a loss compares layers of a spiking teacher.
    """
    if teacher is None or not compat.has_neurons(teacher):
        return None
    if TEACHER_NEEDS & set(needs) - {"logits"}:
        raise ValueError(
            "the teacher has spiking neurons: it serves losses on its logits (averaged over time), and losses that "
            "compare layers or class maps need an ANN"
        )
    modes = set(compat.neuron_step_modes(teacher).values())
    return preset_student_steps(teacher) or ("loop" if modes == {"s"} else "multi")


def read_losses(
    losses: Mapping[str, tuple[DistillationLoss, Weight]], task_weight: float
) -> tuple[dict[str, DistillationLoss], dict[str, float], dict[str, MeasuredWeight]]:
    """The losses, the weights that are numbers, and the modules that measure the other weights.

    Args:
        losses: name -> (loss, weight).
        task_weight: of the task loss.

    Returns:
        The losses, the weights that are numbers, and the modules that measure the other weights; each by its name.

    Raises:
        TypeError: ``losses`` is no mapping, an entry is no pair, a loss is no :class:`DistillationLoss`, or a weight is
            neither a number nor a word.
        ValueError: a name cannot be used, two names share one loss with parameters, a weight is negative, not finite or
            an unknown word, or a weight is a share of the task's gradient and ``task_weight`` is 0.
    """
    if not isinstance(losses, Mapping):
        raise TypeError(f"losses must be a dict, name -> (loss, weight), got {type(losses).__name__}")
    modules: dict[str, DistillationLoss] = {}
    weights: dict[str, float] = {}
    measured: dict[str, MeasuredWeight] = {}
    for name, entry in losses.items():
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"the name of a loss must be a non-empty string without '.', got {name!r}")
        if name == "task":
            raise ValueError("the name 'task' is the task loss's; give the loss another name")
        if hasattr(nn.ModuleDict(), name):
            raise ValueError(
                f"the name {name!r} is an attribute of nn.ModuleDict, which holds the losses: give the loss another "
                "name"
            )
        if not isinstance(entry, tuple | list) or len(entry) != 2:
            raise TypeError(f"losses[{name!r}] must be (loss, weight), got {entry!r}")
        loss, weight = entry
        if not isinstance(loss, DistillationLoss):
            raise TypeError(f"losses[{name!r}] must be a DistillationLoss, got {type(loss).__name__}")
        twin = next((other for other, known in modules.items() if known is loss), None)
        if twin is not None and (loss.needs_build or next(loss.parameters(), None) is not None):
            raise ValueError(
                f"the losses {twin!r} and {name!r} are one {type(loss).__name__}, and would share its parameters: make "
                "one for each"
            )
        modules[name] = loss
        if weight == "auto":
            measured[name] = AutoWeight()
        elif weight == "hold" or isinstance(weight, Hold):
            hold = weight if isinstance(weight, Hold) else Hold()
            measured[name] = HeldWeight(hold.share_of(loss), hold.every)
        elif isinstance(weight, str):
            raise ValueError(f"the weight of {name!r} must be a number, 'auto' or 'hold', got {weight!r}")
        else:
            weights[name] = check_non_negative(f"the weight of {name!r}", weight)
        if name in measured and task_weight == 0:
            raise ValueError(
                f"the weight of {name!r} is {weight!r}, a share of the task's gradient, and task_weight is 0; pass a "
                "number"
            )
    return modules, weights, measured


def read_needs(
    losses: Mapping[str, DistillationLoss], task_loss: object, *, with_teacher: bool = True
) -> frozenset[str]:
    """The signals that any of the losses needs; the task loss sees logits and labels, and no layers.

    Args:
        losses: name -> loss.
        task_loss: a :class:`DistillationLoss`, or a function that needs nothing more.
        with_teacher: whether there is one.

    Raises:
        ValueError: a loss names an unknown need or ``layer_choice``, needs gradients without features, or needs a
            teacher and there is none.
    """
    needs: set[str] = set()
    every: dict[str, object] = {**losses, "task": task_loss}
    for name, loss in every.items():
        if not isinstance(loss, DistillationLoss):
            continue
        known = TASK_NEEDS if name == "task" else NEEDS.keys()
        unknown = set(loss.needs) - known
        if unknown:
            raise ValueError(f"{type(loss).__name__}.needs names {sorted(unknown)}; {name!r} may need {sorted(known)}")
        of_layers = {"gradients", "student_gradients"} & set(loss.needs)
        if of_layers and "features" not in loss.needs:
            raise ValueError(
                f"{type(loss).__name__}.needs names {min(of_layers)!r} without 'features', whose gradients they are"
            )
        check_choice(f"{type(loss).__name__}.layer_choice", loss.layer_choice, LAYER_CHOICES)
        if not with_teacher and TEACHER_NEEDS & set(loss.needs):
            raise ValueError(
                f"{name!r} ({type(loss).__name__}) compares with a teacher, got teacher=None; pass one, or losses={{}} "
                "for plain training"
            )
        needs |= set(loss.needs)
    return frozenset(needs)


def read_schedule(schedule: Mapping[str, Schedule] | None, losses: Collection[str]) -> dict[str, Schedule]:
    """Factors of weights over the run, by the names of losses and ``"task"``.

    Args:
        schedule: name -> function of the progress, from 0 to 1; None for none.
        losses: their names.

    Raises:
        TypeError: ``schedule`` is no mapping, or a factor is no function.
        ValueError: a name is neither that of a loss nor ``"task"``.
    """
    if schedule is not None and not isinstance(schedule, Mapping):
        raise TypeError(f"schedule must be a dict, name -> function of the progress, got {type(schedule).__name__}")
    known = {*losses, "task"}
    found = dict(schedule or {})
    if set(found) - known:
        raise ValueError(f"schedule names {sorted(set(found) - known)}; the terms are {sorted(known)}")
    for name, factor in found.items():
        if not callable(factor):
            raise TypeError(f"schedule[{name!r}] must be a function of the progress, got {type(factor).__name__}")
    return found


def read_example(example: Any) -> tuple[Any, Any]:
    """Images and labels of an example; None for labels that it does not have.

    Args:
        example: images, or a tuple or list of images and labels.

    Raises:
        ValueError: a tuple or list of another length.
    """
    if not isinstance(example, tuple | list):
        return example, None
    if len(example) != 2:
        raise ValueError(f"example must be images or (images, labels), got {len(example)} items")
    return example[0], example[1]


def read_layers(
    losses: Mapping[str, DistillationLoss],
    layers: Mapping[str, tuple[Any, Any]],
    teacher: nn.Module | None,
    student: nn.Module,
) -> dict[str, GivenSides]:
    """For each loss that compares layers, those that were given on each side, or None where they are to be found.

    Args:
        losses: name -> loss.
        layers: name -> (student layers, teacher layers), as :func:`read_side` takes them.
        teacher: the network; None where there is none.
        student: likewise.

    Raises:
        TypeError: an entry is no pair, or a layer is of a wrong kind.
        ValueError: an entry is for a loss that does not compare these layers, or a layer is not in its network.
    """
    comparing = {name for name, loss in losses.items() if {"features", "student_features"} & set(loss.needs)}
    unknown = set(layers) - comparing
    if unknown:
        raise ValueError(
            f"layers has entries for {sorted(unknown)}; the losses that compare layers are {sorted(comparing)}"
        )
    given: dict[str, GivenSides] = {}
    for name in losses:
        if name in comparing:
            pair = layers.get(name, (None, None))
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise TypeError(f"layers[{name!r}] must be (student layers, teacher layers), got {pair!r}")
            if pair[1] is not None and "features" not in losses[name].needs:
                raise ValueError(
                    f"layers[{name!r}] names layers of the teacher, and {type(losses[name]).__name__} reads the "
                    f"student's alone: pass (student layers, None), got {pair!r}"
                )
            given[name] = (read_side(pair[0], student), read_side(pair[1], teacher))
    return given


def read_side(side: Any, network: nn.Module | None) -> tuple[Layer, ...] | None:
    """Layers given as a path, a module, a :class:`Layer` or several of them; None where they are to be found.

    Args:
        side: of one network.
        network: that has them; None where there is none.

    Raises:
        TypeError: a layer is of a wrong kind.
        ValueError: a layer is not in the network.
    """
    if side is None or network is None:
        return None
    one = str | Layer | nn.Module
    if not isinstance(side, one | tuple | list):
        raise TypeError(
            f"a layer must be a path, a module, a Layer or a list of them, got {type(side).__name__} {side!r}"
        )
    layers = tuple(as_layer(network, item) for item in ([side] if isinstance(side, one) else side))
    for layer in layers:
        get_layer(network, layer.path)
    return layers


def check_built(losses: Mapping[str, DistillationLoss]) -> None:
    """Raise if a loss still waits for shapes to create its parameters.

    Args:
        losses: name -> loss.

    Raises:
        ValueError: a loss waits; the message names it.
    """
    waiting = [name for name, loss in losses.items() if loss.needs_build]
    if waiting:
        raise ValueError(
            f"the losses {waiting} create parameters that depend on the recorded layers: pass example= (one batch), or "
            "give those losses their channels"
        )
