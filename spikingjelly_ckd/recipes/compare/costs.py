"""What an arm costs: time of a step, firing rate and energy; and how much of the gradient its losses have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...networks.guards import reset_states
from ..counting import measure_student
from ..files import say
from ..models import without_checkpoints
from ..recipe import Recipe

__all__ = ["firing_and_energy", "gradient_share"]


def firing_and_energy(student: nn.Module, images: Tensor, recipe: Recipe) -> dict[str, float | None]:
    """Firing rate and energy of one image; None for a network in which they cannot be counted, which is said.

    Args:
        student: on the CPU; gradient checkpoints are taken out of it.
        images: ``[N, C, H, W]``, or event frames ``[N, T, C, H, W]``.
        recipe: how the student takes its time steps.

    Returns:
        ``firing_rate``, from 0 to 1, ``energy_mj``, and ``mac_share``, from 0 to 1.
    """
    is_event, student = images.ndim == 5, without_checkpoints(student)
    try:
        found = measure_student(
            student, [images.transpose(0, 1) if is_event else images.unsqueeze(0)], recipe, is_event=is_event
        )
    except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        say(f"The energy of {type(student).__name__} is not counted: {str(error).partition(chr(10))[0]}")
        return {"firing_rate": None, "energy_mj": None, "mac_share": None}
    return {"firing_rate": found.firing_rate, "energy_mj": found.compute_mj, "mac_share": found.mac_share}


def gradient_share(out: Any, student: nn.Module) -> float | None:
    """Norm of the gradient of the weighted losses beside that of the weighted task loss, over the student.

    The student's states are reset around each gradient, since a checkpointed part of it runs again for it.
    """
    losses = [out.weights[name] * value for name, value in out.values.items() if name != "task"]
    if not losses:
        return None
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]

    def norm(value: Tensor) -> float:
        if not value.requires_grad:
            return 0.0
        with reset_states(student):
            gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        squares = [gradient.float().square().sum() for gradient in gradients if gradient is not None]
        return float(torch.stack(squares).sum().sqrt()) if squares else 0.0

    task = norm(out.weights["task"] * out.values["task"])
    return norm(torch.stack(losses).sum()) / task if task > 0 else None
