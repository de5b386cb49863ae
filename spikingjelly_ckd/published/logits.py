"""Methods on the logits, averaged over time.

All of them were published for networks without time, but for the weighted soft labels of BKDSNN: that they see the mean
of a spiking student's logits over time is ours.
"""

from __future__ import annotations

from typing import Any

from ..methods import (
    AKLLoss,
    DISTLoss,
    DKDLoss,
    HardLabelLoss,
    KDLoss,
    LSKDLoss,
    NKDLoss,
    RLDLoss,
    SDDLoss,
    WeightedSoftLabelLoss,
    WTTMLoss,
)
from ..step.arguments import Weight
from ..step.method import Method, StudentNeeds
from ..step.schedule import warm_up

__all__ = [
    "MDISTILLER_WARM_UP",
    "akl",
    "dist",
    "dkd",
    "hard_label",
    "kd",
    "lskd",
    "nkd",
    "rld",
    "sdd",
    "ttm",
    "weighted_soft_label",
    "wttm",
]

MDISTILLER_WARM_UP = 20 / 240
"""Share of the training over which mdistiller raises the weights of DKD and ReviewKD on CIFAR-100: 20 of 240 epochs."""


def kd(weight: Weight = 0.9, task_weight: float = 0.1, **settings: Any) -> Method:
    """KD: 0.9 and 0.1 of the task at temperature 4, as mdistiller has it for CIFAR-100.

    On ImageNet it has 0.5, 0.5 and temperature 1: ``kd(0.5, 0.5, temperature=1.0)``. Hinton et al. name no weights that
    would fit both.

    Args:
        weight: of KD.
        task_weight: of the cross-entropy.
        **settings: of :class:`~spikingjelly_ckd.KDLoss`.

    Example:
        >>> method = kd()
        >>> method.losses["kd"], method.task_weight
        ((KDLoss(temperature=4.0), 0.9), 0.1)
    """
    return Method({"kd": (KDLoss(**settings), weight)}, task_weight=task_weight, source="mdistiller's KD, CIFAR-100")


def dkd(weight: Weight = 1.0, warm_up_share: float = MDISTILLER_WARM_UP, **settings: Any) -> Method:
    """DKD: weight 1 beside the task, raised from 0 over 20 of 240 epochs, as mdistiller has it for CIFAR-100.

    For small pairs of networks it has ``beta=2.0`` or ``6.0``, and on ImageNet ``beta=0.5``, ``temperature=1.0`` and a
    warm-up of one epoch. Good values for spiking students are unknown. mdistiller raises the weight once an epoch; here
    it is as often as ``Distiller.progress`` is called.

    Args:
        weight: of DKD after the warm-up.
        warm_up_share: of the training.
        **settings: of :class:`~spikingjelly_ckd.DKDLoss`.

    Example:
        >>> dkd().schedule["dkd"](10 / 240)
        0.5
    """
    schedule = {"dkd": warm_up(warm_up_share)}
    return Method({"dkd": (DKDLoss(**settings), weight)}, schedule=schedule, source="mdistiller's DKD, CIFAR-100")


def dist(weight: Weight = 1.0, **settings: Any) -> Method:
    """DIST: weight 1 beside the task, as the authors' classification code has it by default.

    The weights of the published runs are unknown. At 6f7a70a that code multiplies both parts by the squared temperature
    (``squared_temperature=True``), which is 1 here.

    Args:
        weight: of DIST.
        **settings: of :class:`~spikingjelly_ckd.DISTLoss`.

    Example:
        >>> dist().losses["dist"]
        (DISTLoss(temperature=1.0, beta=1.0, gamma=1.0), 1.0)
    """
    return Method({"dist": (DISTLoss(**settings), weight)}, source="hunto/image_classification_sota at 2bc4832")


def lskd(weight: Weight = 9.0, task_weight: float = 0.1, **settings: Any) -> Method:
    """LS-KD: 9 and 0.1 of the task at temperature 2, as in the authors' code.

    Args:
        weight: of LS-KD.
        task_weight: of the cross-entropy.
        **settings: of :class:`~spikingjelly_ckd.LSKDLoss`.

    Example:
        >>> method = lskd()
        >>> method.losses["lskd"][1], method.task_weight
        (9.0, 0.1)
    """
    source = "sunshangquan/logit-standardization-KD"
    return Method({"lskd": (LSKDLoss(**settings), weight)}, task_weight=task_weight, source=source)


def weighted_soft_label(weight: Weight = 1.0, **settings: Any) -> Method:
    """Weighted soft labels alone: weight 1 beside the task, as in BKDSNN's code, where :func:`bkdsnn` adds features.

    The code of Zhou et al. (ICLR 2021) was not read.

    Args:
        weight: of the weighted soft labels.
        **settings: of :class:`~spikingjelly_ckd.WeightedSoftLabelLoss`.

    Example:
        >>> weighted_soft_label().losses["logits"]
        (WeightedSoftLabelLoss(temperature=2.0), 1.0)
    """
    return Method({"logits": (WeightedSoftLabelLoss(**settings), weight)}, source="the logit part of BKDSNN's code")


def ttm(weight: Weight = 45.0, exponent: float = 0.1) -> Method:
    """TTM: weight 45 beside the task at the exponent 0.1, the README's example, VGG-13 to VGG-8 on CIFAR-100.

    Both values differ from pair to pair in the authors' scripts, which were not read.

    Args:
        weight: of TTM.
        exponent: of :class:`~spikingjelly_ckd.WTTMLoss`.

    Example:
        >>> ttm().losses["ttm"]
        (WTTMLoss(exponent=0.1, weighted=False), 45.0)
    """
    loss = WTTMLoss(exponent, weighted=False)
    return Method({"ttm": (loss, weight)}, source="README of zkxufo/TTM, VGG-13 to VGG-8 on CIFAR-100")


def wttm(weight: Weight = 4.0, exponent: float = 0.2) -> Method:
    """WTTM: weight 4 beside the task at the exponent 0.2; without CRD, which the README's example has too: ours.

    The README of the authors' code has WTTM with these values beside CRD with weight 0.8, for VGG-13 to VGG-8 on
    CIFAR-100. Their values for WTTM alone, and those for ImageNet, were not read.

    Args:
        weight: of WTTM.
        exponent: of :class:`~spikingjelly_ckd.WTTMLoss`.

    Example:
        >>> wttm().losses["wttm"]
        (WTTMLoss(exponent=0.2, weighted=True), 4.0)
    """
    source = "README of zkxufo/TTM, VGG-13 to VGG-8 on CIFAR-100; without its CRD: ours"
    return Method({"wttm": (WTTMLoss(exponent), weight)}, source=source)


def rld(weight: Weight = 1.0, warm_up_share: float = MDISTILLER_WARM_UP, **settings: Any) -> Method:
    """RLD: weight 1 beside the task, raised from 0 over 20 of 240 epochs, as the authors' code has it for CIFAR-100.

    It raises the weight once an epoch; here it is as often as ``Distiller.progress`` is called.

    Args:
        weight: of RLD after the warm-up.
        warm_up_share: of the training.
        **settings: of :class:`~spikingjelly_ckd.RLDLoss`.

    Example:
        >>> rld().schedule["rld"](10 / 240)
        0.5
    """
    schedule = {"rld": warm_up(warm_up_share)}
    return Method({"rld": (RLDLoss(**settings), weight)}, schedule=schedule, source="zju-SWJ/RLD at 95224f3, CIFAR-100")


def nkd(weight: Weight = 1.0, **settings: Any) -> Method:
    """NKD: weight 1 beside the task at ``gamma=1.5`` and temperature 1, as the authors' code has it for ImageNet.

    For CIFAR-100, ResNet-34 to ResNet-18, it has ``nkd(temperature=3.0, gamma=3.5)``.

    Args:
        weight: of NKD.
        **settings: of :class:`~spikingjelly_ckd.NKDLoss`.

    Example:
        >>> nkd().losses["nkd"]
        (NKDLoss(temperature=1.0, gamma=1.5), 1.0)
    """
    return Method({"nkd": (NKDLoss(**settings), weight)}, source="yzd-v/cls_KD, ResNet-34 to ResNet-18 on ImageNet")


def akl(weight: Weight = 1.0, **settings: Any) -> Method:
    """AKL: its loss at the settings of its authors' code, which distils language models; the weights are ours.

    Weight 1 beside the task's 1 is ours. The threshold, temperature and weights of HTA-KL, its form for spiking
    networks, are unknown.

    Args:
        weight: of AKL.
        **settings: of :class:`~spikingjelly_ckd.AKLLoss`.

    Example:
        >>> akl().losses["akl"]
        (AKLLoss(head_mass=0.5, temperature=1.0), 1.0)
    """
    return Method({"akl": (AKLLoss(**settings), weight)}, source="wutaiqiang/LLM_KD_AKL; the weights are ours")


def hard_label(weight: Weight = 0.5, task_weight: float = 0.5) -> Method:
    """Hard-label distillation: one half each for the label and the teacher's first choice, as in DeiT's paper.

    DeiT compares the two at classifiers of their own; that both are at the student's one classifier is ours.

    Args:
        weight: of the teacher's choice.
        task_weight: of the cross-entropy.

    Example:
        >>> method = hard_label()
        >>> method.losses["hard"], method.task_weight
        ((HardLabelLoss(), 0.5), 0.5)
    """
    source = "DeiT, ICML 2021, arXiv 2012.12877; on one classifier: ours"
    return Method({"hard": (HardLabelLoss(), weight)}, task_weight=task_weight, source=source)


def sdd(weight: Weight = 1.0, warm_up_share: float = MDISTILLER_WARM_UP, **settings: Any) -> Method:
    """SDD with DKD: weight 1 beside the task, raised from 0 over 20 of 240 epochs, the authors' for CIFAR-100.

    For ResNet-56 to ResNet-20 they have ``beta=2.0``. With ``criterion="kd"`` they have 0.9 and 0.1 of the task, and no
    warm-up. They raise the weight once an epoch; here it is as often as ``Distiller.progress`` is called.

    Args:
        weight: of SDD after the warm-up.
        warm_up_share: of the training.
        **settings: of :class:`~spikingjelly_ckd.SDDLoss`.

    Example:
        >>> sdd().schedule["sdd"](10 / 240)
        0.5
    """
    return Method(
        {"sdd": (SDDLoss(**settings), weight)},
        schedule={"sdd": warm_up(warm_up_share)},
        student=StudentNeeds(linear_head=True),
        source="shicaiwei123/SDD-CVPR2024 at 3209486, its SDD-DKD on CIFAR-100",
    )
