"""Methods on what a small trained network makes of the student's layers.

All of them but SASTC were published for networks without time: that they see the mean of a spiking student's layers
over time is ours.
"""

from __future__ import annotations

from typing import Any

from ..methods import KDLoss, OFALoss, SASTCLoss, VkDLoss, WKDFLoss
from ..step.arguments import Weight
from ..step.method import Method
from ..step.schedule import decay

__all__ = ["ofa", "sastc", "vkd", "wkdf"]


def vkd(weight: Weight = 1.0, kd_weight: Weight = 1.0, **settings: Any) -> Method:
    """VkD: weight 1 of the features and 1 of KD at temperature 1 beside the task, the defaults of the authors' code.

    There the student is a DeiT with a head of its own for KD, whose task has mixed images and smoothed labels; here KD
    is on the student's logits: ours.

    Args:
        weight: of the features.
        kd_weight: of KD.
        **settings: of :class:`~spikingjelly_ckd.VkDLoss`.

    Example:
        >>> {name: weight for name, (_, weight) in vkd().losses.items()}
        {'features': 1.0, 'kd': 1.0}
    """
    losses = {"features": (VkDLoss(**settings), weight), "kd": (KDLoss(1.0), kd_weight)}
    return Method(losses, source="roymiles/VkD, DeiT on ImageNet")


def wkdf(weight: Weight = 0.08, decay_from: float = 150 / 240, **settings: Any) -> Method:
    """WKD-F: weight 0.08 beside the task, falling to 0 along a cosine from epoch 150 of 240, as for CIFAR-100.

    For other pairs of CIFAR-100 ``mean_weight=8.0``. On ImageNet the weight is 1. The logit half of WKD is not in the
    package.

    Args:
        weight: of WKD-F up to the decay.
        decay_from: share of the training, from 0 to below 1.
        **settings: of :class:`~spikingjelly_ckd.WKDFLoss`.

    Example:
        >>> wkdf().losses["wkdf"][1], round(wkdf().schedule["wkdf"](195 / 240), 2)
        (0.08, 0.5)
    """
    schedule = {"wkdf": decay(decay_from, shape="cosine")}
    source = "JiamingLv/WKD, its feature half, CIFAR-100"
    return Method({"wkdf": (WKDFLoss(**settings), weight)}, schedule=schedule, source=source)


def ofa(weight: Weight = 1.0, **settings: Any) -> Method:
    """OFA: weight 1 of every exit beside the task, the defaults of the authors' code, with the power 1 of CIFAR-100.

    On ImageNet the power is 1.5 for DeiT-T to ResNet18: ``ofa(power=1.5)``. The source compares four stages; here they
    are those that are found or named.

    Args:
        weight: of the heads and of the student's logits.
        **settings: of :class:`~spikingjelly_ckd.OFALoss`.

    Example:
        >>> ofa(power=1.5).losses["ofa"][0].power
        1.5
    """
    return Method({"ofa": (OFALoss(**settings), weight)}, source="Hao840/OFAKD, CIFAR-100")


def sastc(weight: Weight = 800.0, kd_weight: Weight = 1.0) -> Method:
    """SASTC: weight 800 and KD at temperature 4 with 1 beside the task, as in the authors' script for CIFAR-10.

    The default of their program is 100. The script gives each process another batch than its networks are built for, so
    the batch of the published figures is unknown, and so are the settings for ImageNet and for events.

    Args:
        weight: of SASTC.
        kd_weight: of KD.

    Example:
        >>> {name: weight for name, (_, weight) in sastc().losses.items()}
        {'sastc': 800.0, 'kd': 1.0}
    """
    losses = {"sastc": (SASTCLoss(), weight), "kd": (KDLoss(4.0), kd_weight)}
    return Method(losses, source="ieveresthd/SASTC, the script for CIFAR-10")
