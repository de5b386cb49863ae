"""Methods on how the images of a batch lie to each other in a layer.

They were published for networks without time, but for the alignment of CKA: that RKD and SP see the mean of a spiking
student's layer over time is ours.
"""

from __future__ import annotations

from typing import Any

from ..methods import CKALoss, RKDLoss, SPLoss
from ..step.arguments import Weight
from ..step.method import Method

__all__ = ["cka", "rkd", "sp"]


def rkd(weight: Weight = 1.0, **settings: Any) -> Method:
    """RKD: 25 of the distances and 50 of the angles beside the task, as mdistiller has it for CIFAR-100.

    Args:
        weight: of both.
        **settings: of :class:`~spikingjelly_ckd.RKDLoss`.

    Example:
        >>> rkd().losses["rkd"]
        (RKDLoss(distance_weight=25.0, angle_weight=50.0), 1.0)
    """
    return Method({"rkd": (RKDLoss(**settings), weight)}, source="mdistiller's RKD, CIFAR-100")


def sp(weight: Weight = 3000.0) -> Method:
    """SP: weight 3000 beside the task, at the last stage, as mdistiller has it for CIFAR-100.

    Args:
        weight: of SP.

    Example:
        >>> sp().losses["sp"]
        (SPLoss(), 3000.0)
    """
    return Method({"sp": (SPLoss(), weight)}, source="mdistiller's SP, CIFAR-100")


def cka(weight: Weight = 0.5) -> Method:
    """CKA: weight 0.5 beside the task, which Transfer-for-DVS gives to its domain loss.

    There it aligns a spiking network's layers on events with its own on static images, and the cross-entropy of every
    step stands beside it. That an ANN teaches, the task loss, and the place of the layer are ours, so no published
    figure belongs to this method.

    Args:
        weight: of CKA.

    Example:
        >>> cka().losses["cka"]
        (CKALoss(), 0.5)
    """
    source = "the domain loss of Brain-Cog-Lab/Transfer-for-DVS; an ANN as the teacher is ours"
    return Method({"cka": (CKALoss(), weight)}, source=source)
