"""Whether a student can be trained and has what a method needs, before a teacher is trained for it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from ..distiller import Distiller
from ..errors.arguments import ArgumentValueError
from ..methods import CATKDLoss, TETLoss
from ..methods.base import HEAD_MISFIT
from ..networks.guards import preserve_state
from .data import Data
from .names import shown
from .options import Run
from .recipe import Recipe

__all__ = ["check_needs"]


def check_needs(student: nn.Module, recipe: Recipe, data: Data, run: Run) -> None:
    """Raise unless the student can be trained, and has the per-step logits or linear head that the method needs.

    The student is left as it was. The last activation and the time steps are looked at by the recipe itself.

    Raises:
        ValueError: it cannot, or has not; the message says what is missing.
    """
    if not any(parameter.requires_grad for parameter in student.parameters()):
        raise ArgumentValueError(
            "student",
            f"{shown(recipe.student)} is frozen as a whole: no parameter requires a gradient, so nothing of it would "
            "be trained; let the function that builds it leave requires_grad on",
        )
    needs = recipe.read_method().student
    if not (needs.per_step_logits or needs.linear_head):
        return
    images = torch.stack([data.test[0][0]] * 2).to(run.torch_device)
    try:
        with preserve_state(student):
            if needs.per_step_logits:
                Distiller(None, student, {}, task_loss=TETLoss(), example=images, **recipe.step_options())
            if needs.linear_head:
                _find_head(student, images, recipe, data)
    except (RuntimeError, ValueError) as error:  # a head of other channels cannot be multiplied with
        of_task = needs != replace(recipe, task_loss=None).read_method().student
        argument, who = ("task_loss", recipe.task_loss) if of_task else ("method", recipe.method)
        raise ArgumentValueError(
            argument, f"{who} needs {needs}, and the student {shown(recipe.student)} lacks it: {error}"
        ) from error


def _find_head(student: nn.Module, images: torch.Tensor, recipe: Recipe, data: Data) -> None:
    """Compare the student with a small ANN of random weights, of which nothing is asked."""
    other = nn.Sequential(
        nn.Conv2d(data.in_channels, 4, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, data.num_classes),
    )
    distiller = Distiller(
        other.to(images.device),
        student,
        {"cat": (CATKDLoss(size=1), 1.0)},
        layers={"cat": (recipe.student_layer, None)},
        **recipe.step_options(),
    )
    labels = torch.zeros(len(images), dtype=torch.long, device=images.device)
    misfit = HEAD_MISFIT.format(role="student")
    with torch.no_grad():
        found = distiller.eval().observe(images, labels).terms["cat"].violations
    if found[misfit]:
        raise ValueError(misfit)
