"""The distiller that a recipe describes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..distiller import Distiller
from .data import Data
from .method_parts import needs_teacher, with_layers
from .recipe import Recipe
from .teacher_input import Teacher

__all__ = ["make_distiller"]


def make_distiller(
    recipe: Recipe, data: Data, teacher: Teacher | None, student: nn.Module, example: Tensor | None = None
) -> Distiller:
    """The distiller of a recipe.

    Args:
        recipe: whose method, weights and temperatures.
        data: which decides between images and event frames.
        teacher: None for methods without one.
        student: the spiking network.
        example: images on which layers are chosen now; None chooses them at the first step, unless a loss has
            parameters that depend on them.

    Raises:
        ValueError: the method needs a teacher.

    Example:
        >>> from dataclasses import replace
        >>> from spikingjelly_ckd.recipes.compare.flags import RECIPE  # any recipe, such as one of your own
        >>> from spikingjelly_ckd.recipes.data import DataOptions
        >>> from spikingjelly_ckd.recipes.data.digits import digits
        >>> from spikingjelly_ckd.recipes.models import resnet8, spiking_resnet8
        >>> data = digits("", DataOptions(size=16, time_steps=2))
        >>> teacher = Teacher(resnet8(10, 2), "mine", sha256=None, mean=None, std=None, size=None)
        >>> recipe = replace(RECIPE, size=16, time_steps=2, method="kd:weight=0.5")
        >>> distiller = make_distiller(recipe, data, teacher, spiking_resnet8(10, 2))
        >>> list(distiller.losses), distiller.time_steps, distiller.batch_first
        (['kd'], 2, True)
    """
    method = recipe.read_method()
    losses = [loss for loss, _ in method.losses.values()]
    if example is None and any(loss.needs_build for loss in losses):
        example = torch.stack([data.test[0][0]] * 2).to(next(student.parameters()).device)
    if example is not None and any(loss.built_for_batch for loss in losses):
        example = example[torch.arange(recipe.batch_size) % len(example)]
    options: dict[str, Any] = {"example": example}
    if not needs_teacher(method):
        teacher = None
    elif teacher is None:
        raise ValueError(f"method {recipe.method!r} needs a teacher")
    else:
        options["teacher_input"] = teacher.input_for(data)
    return Distiller.from_method(
        method,
        None if teacher is None else teacher.network,
        student,
        layers=with_layers(method, recipe.student_layer, recipe.teacher_layer),
        **recipe.step_options(),
        **options,
    )
