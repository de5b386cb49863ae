"""What a student begins with: weights of its teacher or of a file, thresholds to them; and cheaper steps."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..acceleration import USUAL, accelerate
from ..distiller import Distiller
from ..errors.arguments import ArgumentValueError
from .data import Data
from .data.loading import ReproducibleDataModule
from .export import read_weights
from .options import Run, weights_file
from .progress import tracked
from .recipe import FROM_TEACHER, SCALED, Recipe
from .teacher_input import Teacher
from .thresholds import balance_thresholds, set_thresholds, some_batches
from .training.figures import among_largest, evaluated_with

__all__ = [
    "accuracy_of",
    "check_start",
    "initial_weights",
    "make_steps_cheaper",
    "scaled",
    "start_from",
    "start_student",
]


def start_student(
    student: nn.Module,
    distiller: Distiller,
    recipe: Recipe,
    run: Run,
    data: Data,
    teacher: Teacher | None,
    *,
    begun: Mapping[str, Any] | None = None,
) -> dict[str, Any] | None:
    """Give the student the weights that ``recipe.init`` names, and say what fitted and how good it is by now.

    Args:
        student: with its first weights.
        distiller: that holds it.
        recipe: whose ``init``; None for the first weights.
        run: its flags.
        data: to measure the student on: the validation part, or the test set where there is none.
        teacher: for its weights.
        begun: what this returned where the run began, if it is resumed; the student has the same thresholds then, and
            the rest is in the checkpoint.

    Returns:
        For the record: what :func:`start_from` returns, with ``source`` and ``accuracy``, percent before the first
        step, and for ``"scaled"`` also ``quantile`` and ``thresholds``, see
        :class:`~spikingjelly_ckd.recipes.thresholds.Balance`; None without ``recipe.init``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no tensor fits, a file that cannot be read, or no neuron that ``"scaled"`` could change.
    """
    if recipe.init is None:
        return None
    if begun is not None:
        set_thresholds(student, begun.get("thresholds") or {})
        return dict(begun)
    source, weights = initial_weights(recipe.init, teacher)
    fitted = start_from(student, weights)
    if recipe.init == SCALED:
        distiller.to(run.torch_device)
        loader = ReproducibleDataModule(data, batch_size=recipe.batch_size, seed=run.seed).train_dataloader()
        fitted |= scaled(student, distiller, some_batches(loader, run.torch_device))
    with evaluated_with(distiller, recipe.eval_time_steps):
        accuracy = accuracy_of(
            distiller,
            data,
            batch_size=recipe.batch_size,
            workers=run.workers,
            limit=run.most_steps,
            device=run.torch_device,
        )
    rank_zero_info(
        f"Student: {fitted['fitted']} of {fitted['tensors']} tensors are those of {source}, "
        f"{100 * fitted['share']:.1f} % of the parameters; {accuracy:.2f} % before the first step"
    )
    return {"source": source, **fitted, "accuracy": accuracy}


def scaled(student: nn.Module, distiller: Distiller, batches: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """Thresholds to the student's weights, see :func:`~spikingjelly_ckd.recipes.thresholds.balance_thresholds`.

    Args:
        student: changed in place.
        distiller: that holds it.
        batches: images and labels of the training part, where the student is.

    Returns:
        For the record: ``quantile`` and ``thresholds``.

    Raises:
        ValueError: no neuron has a number as its threshold.
    """
    found = balance_thresholds(student, distiller.predict, batches)
    return {"quantile": found.quantile, "thresholds": found.thresholds}


def check_start(student: nn.Module, recipe: Recipe) -> None:
    """Raise where the file that ``recipe.init`` names cannot be used; the teacher's weights are not there yet.

    Args:
        student: left as it is.
        recipe: whose ``init``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no tensor fits, or a file that cannot be read.
    """
    if recipe.init is not None and recipe.init not in FROM_TEACHER:
        _fitting(student, initial_weights(recipe.init, None)[1])


def initial_weights(init: str, teacher: Teacher | None) -> tuple[str, Mapping[str, Tensor]]:
    """What ``init`` names: where the weights are from, and name -> tensor.

    Args:
        init: ``"teacher"``, ``"scaled"`` or a path.
        teacher: for the first two.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that cannot be read.
    """
    if init in FROM_TEACHER and teacher is not None:
        return teacher.source, teacher.network.state_dict()
    path = weights_file(init)
    assert path is not None
    return init, read_weights(path)


def make_steps_cheaper(
    distiller: Distiller, recipe: Recipe, run: Run, data: Data, before: Mapping[str, Any] | None
) -> dict[str, Any]:
    """:func:`~spikingjelly_ckd.accelerate` on the first batch of the training, and say what it did.

    Args:
        distiller: changed in place, and moved to the run's device.
        recipe: batch size and precision.
        run: seed and device. With a teacher cache the teacher stays as it is, since what is cached is its own.
        data: whose training part.
        before: what this returned where the run began, if it is resumed; the same switches are on then, untimed.

    Returns:
        For the record, see :meth:`~spikingjelly_ckd.acceleration.Acceleration.to_dict`.
    """
    loader = ReproducibleDataModule(data, batch_size=recipe.batch_size, seed=run.seed).train_dataloader()
    images, labels = (tensor.to(run.torch_device) for tensor in next(iter(loader)))
    distiller.to(run.torch_device)
    if before is None:
        idle = {"bfloat16": recipe.amp != "32-true", "teacher": run.teacher_cache is not None}
        options: dict[str, Any] = {"switches": [name for name in USUAL if not idle.get(name)]}
    else:
        options = {"switches": before["on"], "rounds": 0, "tolerance": sys.float_info.max}
    with torch.autocast(run.torch_device.type, torch.bfloat16, enabled=recipe.amp == "bf16-mixed"):
        found = accelerate(distiller, images, labels, **options)
    rank_zero_info(f"Acceleration: {found}")
    return found.to_dict() if before is None else dict(before)


@torch.no_grad()
def start_from(student: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Copy those tensors into a student whose name and shape are one of its own.

    Args:
        student: changed in place.
        weights: name -> tensor, such as the ``state_dict`` of its ANN twin.

    Returns:
        ``fitted``, how many of the student's parameters and buffers, of ``tensors``; ``share``, of the numbers in its
        parameters; ``missing`` and ``other_shape``, names of the student that kept their first values; ``unused``,
        names of the weights.

    Raises:
        ValueError: none fits.

    Example:
        >>> from spikingjelly_ckd.recipes.models import resnet20, spiking_resnet20
        >>> found = start_from(spiking_resnet20(10), resnet20(100).state_dict())
        >>> found["fitted"], found["tensors"], found["other_shape"]
        (126, 128, ['fc.weight', 'fc.bias'])
    """
    own, same = student.state_dict(keep_vars=True), _fitting(student, weights)
    for name in same:
        own[name].copy_(weights[name])
    parameters = dict(student.named_parameters())
    numbers = sum(parameter.numel() for parameter in parameters.values())
    return {
        "fitted": len(same),
        "tensors": len(own),
        "share": sum(parameters[name].numel() for name in same if name in parameters) / max(1, numbers),
        "missing": [name for name in own if name not in weights],
        "other_shape": [name for name in own if name in weights and name not in same],
        "unused": [name for name in weights if name not in own],
    }


def _fitting(student: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Names of the student's tensors that the weights have in the same shape; at least one."""
    own = student.state_dict(keep_vars=True)
    same = [name for name in own if name in weights and own[name].shape == weights[name].shape]
    if not same:
        raise ArgumentValueError(
            "init",
            f"has no tensor whose name and shape fit the student, {type(student).__name__}; its begin with "
            f"{', '.join(list(own)[:3])}, and those given with {', '.join(list(weights)[:3])}",
        )
    return same


@torch.no_grad()
def accuracy_of(
    distiller: Distiller, data: Data, *, batch_size: int, workers: int, limit: int | None, device: torch.device
) -> float:
    """Percent of the images of the validation part, or the test set, that the student has right.

    Args:
        distiller: whose student; its mode stays.
        data: whose part.
        batch_size: images at a time.
        workers: loading processes.
        limit: of batches; None for all.
        device: where the student is.
    """
    training, right, images = distiller.training, 0, 0
    distiller.eval()
    loader = DataLoader(data.measured, batch_size, num_workers=workers)
    for batch, labels in tracked(islice(loader, limit), "Student: accuracy before the first step", len(loader)):
        right += int(among_largest(distiller.predict(batch.to(device)).cpu(), labels, 1).sum())
        images += len(labels)
    distiller.train(training)
    return 100 * right / max(1, images)
