"""Checks of what the networks return: logits, or probabilities, or several outputs, or the same for every image."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..distiller import Distiller
from ..networks.guards import preserve_state, reset_states
from ..networks.outputs import count_heads
from ..step.batch import Batch
from .checks import Look
from .report import Check

__all__ = ["outputs"]

OVER = (
    "the classes",
    "the images of the batch, which take the place of the classes in multi-step mode",
    "the time steps",
)
"""The axes of logits ``[T, N, K]``, the last first."""
SAME = 1e-6
"""Logits that differ by less, beside the largest of them, are the same."""


def outputs(distiller: Distiller, look: Look) -> Iterator[Check]:
    """Whether what the networks return are logits, and not probabilities, over whichever axis; and which of several."""
    teacher, student = _Seen(distiller.teacher), _Seen(distiller.student)
    with torch.no_grad(), preserve_state(distiller.student), reset_states(distiller.student):
        distiller.observers.teacher.logits(teacher, look.batch)
        found = distiller.observers.student.logits(student, look.batch)
    for role, network in (("teacher", teacher), ("student", student)):
        heads = count_heads(network.returned)
        if heads > 1:
            message = f"the {role} returns {heads} tensors of one shape, and the first is taken for its logits"
            yield Check(
                "heads", "warn", f"{message}: let it return the one that is meant", {"role": role, "heads": heads}
            )
        widths = _widths(network.returned)
        if len(set(widths)) > 1:
            message = f"the {role} returns tensors of {widths} numbers an image, and the first is taken for its logits"
            yield Check("heads", "warn", f"{message}: let it return its logits alone", {"role": role, "widths": widths})
    if _alike(found.mean) and not _one_image(look.batch):
        yield Check(
            "student answers",
            "warn",
            f"the student's logits are the same for all {len(found.mean)} images, so none can be told from another. "
            "Unless the head begins with zeros, neurons before it never fire: lower their thresholds, or raise what "
            "they receive (a BatchNorm before them, more time steps, no mean over space before a neuron)",
            {"images": len(found.mean)},
        )
    of_student = found.mean if found.steps is None else found.steps
    for role, logits in (("teacher", look.teacher_logits), ("student", of_student)):
        logits = logits.detach().double()
        for axis, over in zip(range(-1, -logits.ndim - 1, -1), OVER, strict=False):
            kind = None
            if bool(((logits >= 0) & (logits <= 1)).all()) and _sums_to_one(logits, axis):
                kind = f"probabilities over {over}: they lie in [0, 1] and sum to 1, as behind a softmax"
            elif bool((logits <= 0).all()) and _sums_to_one(logits.exp(), axis):
                kind = f"log-probabilities over {over}: their exponentials sum to 1, as behind a log_softmax"
            if kind is not None:
                message = f"the {role} returns {kind}; the losses soften logits themselves, so let it return logits"
                yield Check("logits", "warn", message, {"role": role})
                break


def _alike(logits: Tensor) -> bool:
    """Whether logits ``[N, K]`` are finite and the same for several images."""
    logits = logits.detach().double()
    gap = (logits - logits[:1]).abs().max()
    return len(logits) > 1 and bool(gap <= SAME * logits.abs().max())


def _one_image(batch: Batch) -> bool:
    """Whether a batch holds one image again and again."""
    images = batch.images.transpose(0, 1) if batch.is_event else batch.images
    return bool((images == images[:1]).all())


def _widths(output: Any) -> list[int]:
    """The last axes of what a tuple or list begins with, as long as they are tensors with as many axes as the first."""
    if not isinstance(output, tuple | list) or isinstance(getattr(output, "logits", None), Tensor):
        return []
    alike = itertools.takewhile(lambda one: isinstance(one, Tensor) and one.ndim == output[0].ndim, output)
    return [one.shape[-1] for one in alike]


def _sums_to_one(values: Tensor, axis: int) -> bool:
    """Whether the sums along an axis are 1; False for an axis with a single entry."""
    return values.shape[axis] > 1 and bool(((values.sum(axis) - 1).abs() < 1e-3).all())


class _Seen(nn.Module):
    """A network that keeps the output of its first call."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.returned: Any = None

    def forward(self, *inputs: Any) -> Any:
        output = self.network(*inputs)
        self.returned = output if self.returned is None else self.returned
        return output
