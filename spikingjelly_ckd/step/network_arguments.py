"""Checks of the two networks that are passed to a distiller, and how the student takes its time steps."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from ..errors.checks import check_choice
from ..networks import compat
from ..networks.presets import preset_student_steps
from .time_steps import StudentSteps

__all__ = ["NO_DATA_PARALLEL", "check_networks", "read_student_steps", "read_time_steps"]

NO_DATA_PARALLEL = (
    "nn.DataParallel shares hooks and neuron states between threads; wrap the distiller in DistributedDataParallel"
)


def check_networks(teacher: nn.Module | None, student: nn.Module) -> None:
    """Raise unless both are modules of their own, outside ``nn.DataParallel``; the teacher may be None.

    Args:
        teacher: the ANN, or a spiking network.
        student: the spiking network.

    Raises:
        TypeError: one of them is no module, or holds ``nn.DataParallel``.
        ValueError: they share a tensor, the teacher was exported by ``torch.export``, or it has spiking neurons and the
            student has none.
    """
    networks = {"student": student} if teacher is None else {"teacher": teacher, "student": student}
    for role, network in networks.items():
        if not isinstance(network, nn.Module):
            advice = "; pass its .network" if isinstance(getattr(network, "network", None), nn.Module) else ""
            raise TypeError(f"{role} must be a torch.nn.Module, got {type(network).__name__}{advice}")
        if any(isinstance(module, nn.DataParallel) for module in network.modules()):
            raise TypeError(f"the {role} is in nn.DataParallel. {NO_DATA_PARALLEL}")
    if teacher is None:
        return
    of_teacher, of_student = _tensors(teacher), _tensors(student)
    for storage in (storage for storage in of_student if storage in of_teacher):
        raise ValueError(
            f"the student's {of_student[storage]!r} and the teacher's {of_teacher[storage]!r} are one tensor, and the "
            "teacher is frozen: copy the values instead (under torch.no_grad(), with copy_), or pass two networks "
            "(teacher first)"
        )
    if isinstance(teacher, GraphModule) and not _can_be_set_to_eval(teacher):
        raise ValueError(
            "the teacher was exported (torch.export), so its mode cannot be set and its layers cannot be recorded; "
            "pass the module that it was exported from"
        )
    if compat.has_neurons(teacher) and not compat.has_neurons(student):
        raise ValueError("the teacher has spiking neurons and the student none: the order is (teacher, student)")


def _tensors(network: nn.Module) -> dict[tuple[torch.device, int], str]:
    """Where parameters and buffers are stored -> their names."""
    named = [*network.named_parameters(), *network.named_buffers()]
    return {_storage(tensor): name for name, tensor in named if _storage(tensor)[1]}


def _storage(tensor: Tensor) -> tuple[torch.device, int]:
    """Device and address of the tensor's memory; the address is 0 where it has none."""
    try:
        return tensor.device, tensor.untyped_storage().data_ptr() if tensor.numel() else 0
    except (NotImplementedError, RuntimeError):  # quantised, wrapped or lazy tensors
        return tensor.device, 0


def _can_be_set_to_eval(network: nn.Module) -> bool:
    try:
        network.eval()
    except NotImplementedError:
        return False
    return True


def read_time_steps(time_steps: int | None) -> int | None:
    """``time_steps`` if it is None or a positive integer.

    Args:
        time_steps: as the user gave it.

    Raises:
        TypeError: it is no integer.
        ValueError: it is below 1.
    """
    if time_steps is None:
        return None
    if isinstance(time_steps, bool) or not isinstance(time_steps, int):
        raise TypeError(f"time_steps must be an integer or None, got {type(time_steps).__name__} {time_steps!r}")
    if time_steps < 1:
        raise ValueError(f"time_steps must be at least 1, got {time_steps}")
    return time_steps


def read_student_steps(student: nn.Module, student_steps: StudentSteps) -> StudentSteps:
    """How the student takes its time steps; networks known by name override the default.

    Args:
        student: the network.
        student_steps: as the user gave it.

    Raises:
        ValueError: ``student_steps`` is an unknown word, or does not fit the step mode of the student's neurons.
    """
    check_choice("student_steps", student_steps, get_args(StudentSteps))
    modes = set(compat.neuron_step_modes(student).values())
    asked = student_steps
    if student_steps == "multi":
        student_steps = preset_student_steps(student) or "multi"
    if asked == "multi" and student_steps == "loop" and "m" in modes:
        raise ValueError(
            f"the student {type(student).__name__} takes one time step in each call, and its neurons are in multi-step "
            "mode: call functional.set_step_mode(student, 's')"
        )
    if student_steps == "multi" and modes == {"s"}:
        raise ValueError(
            f"the student {type(student).__name__} is in single-step mode: call functional.set_step_mode(student, "
            "'m'), or pass student_steps='loop' to call it once a time step, or student_steps='internal' if it "
            "handles its time steps by itself"
        )
    if student_steps == "loop" and "m" in modes:
        raise ValueError(
            "student_steps='loop' calls the student once a time step, but it has neurons in multi-step mode: pass "
            "student_steps='multi', or call functional.set_step_mode(student, 's')"
        )
    return student_steps
