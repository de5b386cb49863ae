"""The schedule of the learning rate, how many answers are right, and with how many time steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ...distiller import Distiller

__all__ = ["StepAccuracy", "among_largest", "cosine_with_warmup", "evaluated_with", "topk_accuracy"]


def cosine_with_warmup(epochs: int, steps_per_epoch: int, warmup_epochs: int = 0) -> Callable[[int], float]:
    """Factor of the learning rate at each optimiser step.

    Cosine from 1 to 0, constant within an epoch as ``CosineAnnealingLR(T_max=epochs)`` stepped once an epoch (the
    authors' schedule); before it a linear warm-up in every step.

    Args:
        epochs: of the whole run.
        steps_per_epoch: optimiser steps.
        warmup_epochs: of linear warm-up, below ``epochs``.

    Returns:
        Step (from 0) -> factor in [0, 1].

    Raises:
        ValueError: no epoch is left after the warm-up.

    Example:
        >>> factor = cosine_with_warmup(epochs=3, steps_per_epoch=2, warmup_epochs=1)
        >>> [round(factor(step), 2) for step in range(6)]
        [0.5, 1.0, 1.0, 1.0, 0.5, 0.5]
    """
    if not 0 <= warmup_epochs < epochs:
        raise ValueError(f"warmup_epochs must lie in 0..{epochs - 1} for {epochs} epochs, got {warmup_epochs}")

    def factor(step: int) -> float:
        epoch = step // steps_per_epoch
        if epoch < warmup_epochs:
            return (step + 1) / (warmup_epochs * steps_per_epoch)
        return 0.5 * (1 + math.cos(math.pi * (epoch - warmup_epochs) / (epochs - warmup_epochs)))

    return factor


def topk_accuracy(logits: Tensor, labels: Tensor, top: int = 1) -> Tensor:
    """Top-k accuracy: the share of images whose label is among the ``top`` largest logits (of all, if there are fewer).

    Args:
        logits: ``[N, K]``.
        labels: class indices ``[N]``, or soft labels ``[N, K]``, of which the largest counts.
        top: how many.

    Returns:
        Scalar in [0, 1].

    Example:
        >>> import torch
        >>> topk_accuracy(torch.eye(3), torch.tensor([0, 1, 1]))
        tensor(0.6667)
    """
    return among_largest(logits, labels, top).float().mean()


@contextmanager
def evaluated_with(distiller: Distiller, time_steps: int | None) -> Iterator[None]:
    """Repeat images over another number of time steps inside the block.

    Args:
        distiller: whose student is evaluated.
        time_steps: ``T``; None for the distiller's own.
    """
    own = distiller.time_steps
    distiller.time_steps = time_steps or own
    try:
        yield
    finally:
        distiller.time_steps = own


def among_largest(logits: Tensor, labels: Tensor, top: int) -> Tensor:
    """Whether each image's label is among the ``top`` largest logits.

    Args:
        logits: ``[N, K]``.
        labels: as for :func:`topk_accuracy`.
        top: how many.

    Returns:
        Booleans ``[N]``.

    Example:
        >>> import torch
        >>> among_largest(torch.eye(3), torch.tensor([0, 1, 1]), 1)
        tensor([ True,  True, False])
    """
    hard = labels.argmax(1) if labels.ndim == 2 else labels
    best = logits.topk(min(top, logits.shape[1]), dim=1).indices
    return (best == hard.unsqueeze(1)).any(1)


class StepAccuracy:
    """How many images are right by the mean of the logits up to each time step, over the batches of an evaluation.

    Example:
        >>> import torch
        >>> found = StepAccuracy()
        >>> found.add(torch.tensor([[[0.0, 1.0]], [[3.0, 0.0]]]), torch.tensor([0]))
        >>> found.percent()
        [0.0, 100.0]
    """

    def __init__(self) -> None:
        self._right: Tensor | None = None
        self._images = 0

    def add(self, steps: Tensor, labels: Tensor) -> None:
        """One batch.

        Args:
            steps: ``[T, N, K]``.
            labels: as for :func:`topk_accuracy`.
        """
        right = torch.stack([among_largest(logits, labels, 1).sum() for logits in steps.cumsum(0)])
        self._right = right if self._right is None else self._right + right
        self._images += len(labels)

    def percent(self, strategy: Any = None) -> list[float] | None:
        """Percent for each number of steps; None where no batch had the logits of every step.

        Args:
            strategy: Lightning's, to sum over its processes; None for one process.
        """
        if self._right is None:
            return None
        total = torch.cat([self._right, self._right.new_tensor([self._images])])
        if strategy is not None:
            total = strategy.reduce(total, reduce_op="sum")
        *right, images = total.tolist()
        return [100 * number / images for number in right]
