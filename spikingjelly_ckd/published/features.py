"""Methods on layers: features, and maps made of them.

Those that were published for networks without time see the mean of a spiking student's layers over time, which is ours.
"""

from __future__ import annotations

from typing import Any

from ..methods import (
    ATLoss,
    BKDSNNLoss,
    BranchKDLoss,
    CATKDLoss,
    E2KDLoss,
    EnOFLoss,
    FitNetsLoss,
    KDLoss,
    KDSNNLoss,
    MGDLoss,
    ReviewKDLoss,
    WeightedSoftLabelLoss,
)
from ..step.arguments import Weight
from ..step.method import Method, StudentNeeds
from ..step.schedule import warm_up
from .logits import MDISTILLER_WARM_UP

__all__ = ["at", "bkdsnn", "branch", "catkd", "e2kd", "enof", "fitnets", "kdsnn", "mgd", "reviewkd"]


def enof(weight: Weight = 1.0, **settings: Any) -> Method:
    """EnOF: its loss beside the cross-entropy, and ReLU in place of the student's last neuron.

    No code of its authors was found, and weight, temperature, its square, the direction of the divergence and how time
    is averaged are unknown: weight 1 and all of the loss's defaults are ours.

    Args:
        weight: of EnOF.
        **settings: of :class:`~spikingjelly_ckd.EnOFLoss`.

    Example:
        >>> enof().student.last_activation
        'relu'
    """
    return Method(
        {"enof": (EnOFLoss(**settings), weight)},
        student=StudentNeeds(last_activation="relu"),
        source="EnOF-SNN, NeurIPS 2024, its abstract; weight and temperature are ours",
    )


def e2kd(weight: Weight = 5.0, kd_weight: Weight = 1.0, **settings: Any) -> Method:
    """e2KD: Grad-CAM to Grad-CAM with weight 5, KD at temperature 1 with weight 1, and no task loss.

    One point of the authors' sweep, which has the task at 0, KD at 1 or 0.5 with temperature 1 or 5, and the maps at 1,
    5 or 10. Which of these made the paper's figures is unknown; that it is this one is ours.

    Args:
        weight: of the maps.
        kd_weight: of KD.
        **settings: of :class:`~spikingjelly_ckd.E2KDLoss`.

    Example:
        >>> method = e2kd()
        >>> method.task_weight, {name: weight for name, (_, weight) in method.losses.items()}
        (0.0, {'kd': 1.0, 'maps': 5.0})
    """
    losses = {"kd": (KDLoss(1.0), kd_weight), "maps": (E2KDLoss(**settings), weight)}
    return Method(losses, task_weight=0.0, source="m-parchami/GoodTeachersExplain, one point of its sweep")


def catkd(weight: Weight = 15.0, **settings: Any) -> Method:
    """CAT-KD: weight 15 beside the task, which the authors' code has for ResNet32x4 to ResNet8x4 on CIFAR-100.

    It has 0.7 for ResNet56 to ResNet20 and 0.5 on ImageNet, where ``size=4``; the authors advise to tune it so that the
    weighted loss is 1 to 50 after the first epoch.

    Args:
        weight: of CAT-KD.
        **settings: of :class:`~spikingjelly_ckd.CATKDLoss`.

    Example:
        >>> catkd(0.7).losses["cat"]
        (CATKDLoss(size=2, normalize=False), 0.7)
    """
    return Method(
        {"cat": (CATKDLoss(**settings), weight)},
        student=StudentNeeds(linear_head=True),
        source="GzyAftermath/CAT-KD, ResNet32x4 to 8x4",
    )


def kdsnn(weight: Weight = 7e-5, **settings: Any) -> Method:
    """KDSNN on features: weight 7e-5 beside the task, as BKDSNN's authors re-implemented it for their comparison.

    KDSNN's own formulas, weights and layers are unknown. For its other form, on the responses, take :func:`kd`.

    Args:
        weight: of the features; BKDSNN's code has this value for ImageNet.
        **settings: of :class:`~spikingjelly_ckd.KDSNNLoss`.

    Example:
        >>> kdsnn().losses["kdsnn"][1]
        7e-05
    """
    return Method({"kdsnn": (KDSNNLoss(**settings), weight)}, source="BKDSNN's re-implementation of KDSNN")


def bkdsnn(weight: Weight = 2e-3, logits_weight: Weight = 1.0, **settings: Any) -> Method:
    """BKDSNN: blurred features with 2e-3 and weighted soft labels with 1, beside the cross-entropy with 1.

    2e-3 is the authors' weight for CIFAR10-DVS and transformers; for SEW-ResNet on ImageNet it is 7e-5. Which released
    settings made the published numbers is unknown.

    Args:
        weight: of the blurred features.
        logits_weight: of the weighted soft labels.
        **settings: of :class:`~spikingjelly_ckd.BKDSNNLoss`; a transformer teacher wants ``pooled=True``.

    Example:
        >>> {name: weight for name, (_, weight) in bkdsnn().losses.items()}
        {'feature': 0.002, 'logits': 1.0}
    """
    return Method(
        {"feature": (BKDSNNLoss(**settings), weight), "logits": (WeightedSoftLabelLoss(), logits_weight)},
        source="Intelligent-Computing-Research-Group/BKDSNN, CIFAR10-DVS and transformers",
    )


def at(weight: Weight = 1000.0, **settings: Any) -> Method:
    """AT: weight 1000 beside the task, at the ends of the stages without the stem, as mdistiller has it.

    Args:
        weight: of AT.
        **settings: of :class:`~spikingjelly_ckd.ATLoss`.

    Example:
        >>> at().losses["at"]
        (ATLoss(power=2.0), 1000.0)
    """
    return Method({"at": (ATLoss(**settings), weight)}, source="mdistiller's AT")


def fitnets(weight: Weight = 100.0, **settings: Any) -> Method:
    """FitNets: weight 100 beside the task, at the middle stage, both from the first step, as mdistiller has it.

    The paper trains the hint first and the task after it; its own code was not read.

    Args:
        weight: of the hint.
        **settings: of :class:`~spikingjelly_ckd.FitNetsLoss`.

    Example:
        >>> fitnets().losses["hint"][1]
        100.0
    """
    return Method({"hint": (FitNetsLoss(**settings), weight)}, source="mdistiller's FitNets")


def mgd(weight: Weight = 7e-5, **settings: Any) -> Method:
    """MGD: weight 7e-5 beside the task, as the authors' code has it for ImageNet.

    Args:
        weight: of MGD.
        **settings: of :class:`~spikingjelly_ckd.MGDLoss`.

    Example:
        >>> mgd().losses["mgd"][1]
        7e-05
    """
    return Method({"mgd": (MGDLoss(**settings), weight)}, source="yzd-v/MGD, classification on ImageNet")


def reviewkd(weight: Weight = 1.0, warm_up_share: float = MDISTILLER_WARM_UP) -> Method:
    """ReviewKD: weight 1 beside the task, raised from 0 over 20 of 240 epochs, as mdistiller has it for CIFAR-100.

    For ResNet32x4 to ResNet8x4 the weight is 5. mdistiller compares layers in front of the activation and the pooled
    vector too; the layers here are those that are found or named: ours. It raises the weight once an epoch; here it is
    as often as ``Distiller.progress`` is called.

    Args:
        weight: of ReviewKD after the warm-up.
        warm_up_share: of the training.

    Example:
        >>> reviewkd().schedule["review"](10 / 240)
        0.5
    """
    schedule = {"review": warm_up(warm_up_share)}
    return Method({"review": (ReviewKDLoss(), weight)}, schedule=schedule, source="mdistiller's ReviewKD, CIFAR-100")


def branch(weight: Weight = 1.0, **settings: Any) -> Method:
    """Enhanced self-distillation, without a teacher: weight 1 beside the task.

    The weights of its two parts, 1 and 0.3, are ``alpha`` and ``beta`` of the loss; for ImageNet the authors have 0.7
    and 0.3, and 0.7 for the task as well. They divide everything by the number of time steps, and take the gradient
    through firing rates; that neither is done here is ours.

    Args:
        weight: of both parts together.
        **settings: of :class:`~spikingjelly_ckd.BranchKDLoss`.

    Example:
        >>> branch().losses["branch"][1]
        1.0
    """
    source = "Intelli-Chip-Lab/enhanced-self-distillation-framework-for-snn; without rate-based backpropagation: ours"
    return Method({"branch": (BranchKDLoss(**settings), weight)}, source=source)
