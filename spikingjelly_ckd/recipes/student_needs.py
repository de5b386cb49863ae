"""Whether a student can be trained and has what a method needs, before a teacher is trained for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..distiller import Distiller
from ..errors.arguments import ArgumentError, ArgumentValueError
from ..methods import CATKDLoss, TETLoss
from ..methods.base import HEAD_MISFIT
from ..networks.guards import preserve_state
from .data import Data
from .data.loading import seeded
from .distillers import make_distiller
from .method_parts import needs_teacher
from .names import shown
from .options import Run
from .recipe import Recipe
from .teacher_input import Teacher
from .teacher_training import first_teacher

__all__ = ["check_needs"]


def check_needs(student: nn.Module, recipe: Recipe, data: Data, run: Run) -> None:
    """Raise unless the student can be trained, and has what the method needs.

    That is the logits of every time step, or a linear head; where the teacher is still to be trained, one step beside
    the untrained one must run, too. The student is left as it was. The last activation and the time steps are looked at
    by the recipe itself.

    Args:
        student: with its first weights.
        recipe: whose method.
        data: an image of its test part is taken.
        run: its device, and whether a teacher is given.

    Raises:
        ValueError: something is missing or does not fit; the message says what.
    """
    if not any(parameter.requires_grad for parameter in student.parameters()):
        raise ArgumentValueError(
            "student",
            f"{shown(recipe.student)} is frozen as a whole: no parameter requires a gradient, so nothing of it would "
            "be trained; let the function that builds it leave requires_grad on",
        )
    method = recipe.read_method()
    needs, trains_teacher = method.student, run.teacher is None and needs_teacher(method)
    if not (needs.per_step_logits or needs.linear_head or trains_teacher):
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
        why, remedy = _why(error)
        text = f"{who} needs {needs}, and the student {shown(recipe.student)} lacks it: {why}"
        raise ArgumentValueError(argument, text, remedy=remedy) from error
    if trains_teacher:
        _learn_from_untrained(student, recipe, data, run)


def _learn_from_untrained(student: nn.Module, recipe: Recipe, data: Data, run: Run) -> None:
    """One step beside the teacher before its training, which shows what does not fit without hours of training.

    Raises:
        ValueError: a loss of the method cannot compare the two.
    """
    device, method = run.torch_device, recipe.read_method()
    count = recipe.batch_size if any(loss.built_for_batch for loss, _ in method.losses.values()) else 2
    images, labels = (torch.stack([part] * count).to(device) for part in map(torch.as_tensor, data.test[0]))
    with seeded(run.seed), preserve_state(student):
        network = first_teacher(recipe, run, data).network.to(device)
        teacher = Teacher(network, "the teacher before its training", None, data.mean, data.std, None)
        try:
            make_distiller(recipe, data, teacher, student, images).train().observe(images, labels)
        except (RuntimeError, ValueError) as error:
            about = f"does not fit the student {shown(recipe.student)} and the teacher {shown(recipe.teacher)}"
            why, remedy = _why(error)
            raise ArgumentValueError("method", f"{recipe.method} {about}: {why}", remedy=remedy) from error


def _why(error: Exception) -> tuple[str, Mapping[str, Any] | None]:
    """The text of an error inside that of another one, and what would help, which a command line shows as its flags."""
    if isinstance(error, ArgumentError):
        return f"{error.argument} {error.text}".lstrip(), error.remedy
    return str(error), None


def _find_head(student: nn.Module, images: torch.Tensor, recipe: Recipe, data: Data) -> None:
    """Compare the student with a small ANN of random weights, of which nothing is asked.

    In training mode: with the first statistics of BatchNorm deep layers never fire, and any layer explains the logits.
    """
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
        found = distiller.train().observe(images, labels).terms["cat"].violations
    if found[misfit]:
        raise ValueError(misfit)
