"""The live teacher: its output in fp32, and the check that a cache still holds it."""

from __future__ import annotations

import torch
from torch import Tensor

from ...distiller import Distiller
from ...methods.base import TeacherOutput

__all__ = ["CHANGED", "is_stale", "run_teacher"]

TOLERANCE = 0.02
"""Largest difference by fp16, TF32 and another batch size, as a share of the batch's largest logit or map value."""
CHANGED = (
    "the teacher's output for an image differs from the teacher cache: the teacher was changed after the cache was "
    "opened, an image was replaced, a transform draws from a random source of its own, or a file of the cache was "
    "damaged; delete the folder {} to fill it again, or train without a cache"
)


def run_teacher(distiller: Distiller, images: Tensor, labels: Tensor) -> TeacherOutput:
    """The teacher's output in fp32, also inside ``autocast``.

    Args:
        distiller: whose teacher is run.
        images: as for the distiller; event frames with the batch first.
        labels: class indices ``[N]``.

    Returns:
        Logits ``[N, K]`` and class maps ``[N, h, w]``, detached.
    """
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        return distiller.run_teacher(images, labels)


def is_stale(distiller: Distiller, images: Tensor, labels: Tensor, cached: TeacherOutput, index: int) -> Tensor:
    """Whether the live teacher's output for one image of a batch differs from the cached output.

    Differences of at most 0.02 of the batch's largest logit or map value are taken as rounding. A class map belongs to
    a class, so maps are compared only where the cached and the live logits have the same largest class.

    Args:
        distiller: whose teacher is run, in fp32.
        images: as for the distiller; event frames with the batch first.
        labels: class indices ``[N]``.
        cached: teacher output of the batch.
        index: of the image in the batch.

    Returns:
        Boolean scalar on the device; True also where either output holds NaN.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from spikingjelly_ckd.methods import KDLoss
        >>> teacher, student = (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)) for _ in range(2))
        >>> distiller = Distiller(teacher, student, {"kd": (KDLoss(), 1.0)}, student_steps="internal")
        >>> images, labels = torch.rand(3, 1, 2, 2), torch.zeros(3, dtype=torch.long)
        >>> cached = TeacherOutput(teacher(images).detach())
        >>> is_stale(distiller, images, labels, cached, 1)
        tensor(False)
        >>> is_stale(distiller, images.flip(0), labels, cached, 0)
        tensor(True)
    """
    one = slice(index, index + 1)
    live = run_teacher(distiller, images[one], labels[one])
    logits = cached.logits[one]
    stale = ~((live.logits - logits).abs().max() <= TOLERANCE * cached.logits.abs().max())  # also of NaN
    same_class = (live.logits.argmax(1) == logits.argmax(1)).all()
    for name, maps in cached.class_maps.items():
        differs = ~((live.class_maps[name] - maps[one]).abs().max() <= TOLERANCE * maps.abs().max())
        stale = stale | (differs & same_class)
    return stale
