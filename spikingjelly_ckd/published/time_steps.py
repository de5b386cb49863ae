"""Methods on the logits of every time step."""

from __future__ import annotations

from typing import Any, Literal

from ..errors.arguments import ArgumentValueError
from ..methods import PrefixKDLoss, SeAlKDLoss, StrongWeakLoss, TDKDLoss, TETLoss, TKSLoss, TSERLoss
from ..step.arguments import Weight
from ..step.method import Method, StudentNeeds
from ..step.schedule import decay, warm_up

__all__ = ["seal", "strong_weak", "tdkd", "tet", "tks", "tpd", "tser", "tssd"]

PER_STEP = StudentNeeds(per_step_logits=True)


def tet(**settings: Any) -> Method:
    """TET: the cross-entropy of every time step, without a teacher; the control for :func:`tdkd` and its relatives.

    The second term is off (``lamb=0.0``), as the methods here use it: ours. Ports of the authors' code give 0.05 on
    CIFAR and 0.001 on ImageNet, or 0.001 throughout.

    Args:
        **settings: of :class:`~spikingjelly_ckd.TETLoss`.

    Example:
        >>> method = tet()
        >>> method.losses, method.task_loss
        ({}, TETLoss(lamb=0.0, means=1.0, label_smoothing=0.0))
    """
    source = "TET, ICLR 2022, arXiv 2202.11946, its cross-entropy alone: ours"
    return Method({}, TETLoss(**settings), student=PER_STEP, source=source)


def tdkd(weight: Weight = 1.0, **settings: Any) -> Method:
    """TDKD: 0.2 for the teacher and 0.5 for the mean of the steps, beside the cross-entropy of every step.

    The two weights are ``alpha`` and ``beta`` of the loss; paper and code agree in them. They differ in the mean: the
    paper's is over all steps, the code's over those that are right (``ensemble="correct"``), and which of them made the
    published numbers is unknown.

    Args:
        weight: of both parts together.
        **settings: of :class:`~spikingjelly_ckd.TDKDLoss`.

    Example:
        >>> tdkd(ensemble="correct").losses["tdkd"]
        (TDKDLoss(alpha=0.2, beta=0.5, temperature=3.0, ensemble=correct), 1.0)
    """
    source = "TDKD, ICML 2025, arXiv 2501.15925; Intelli-Chip-Lab/snn_temporal_decoupling_distillation"
    return Method({"tdkd": (TDKDLoss(**settings), weight)}, TETLoss(), student=PER_STEP, source=source)


def seal(weight: Weight = 1.0, **settings: Any) -> Method:
    """SeAl-KD: 0.6 for the error-aware part and 0.15 for the alignment, beside the cross-entropy of every step.

    The two weights are ``alpha`` and ``beta`` of the loss, from the authors' README.

    Args:
        weight: of both parts together.
        **settings: of :class:`~spikingjelly_ckd.SeAlKDLoss`.

    Example:
        >>> seal().losses["seal"]
        (SeAlKDLoss(alpha=0.6, beta=0.15, temperature=3.0), 1.0)
    """
    source = "README of KaiSUN1/SeAl, arXiv 2605.14252"
    return Method({"seal": (SeAlKDLoss(**settings), weight)}, TETLoss(), student=PER_STEP, source=source)


def tser(weight: Weight = 1.0, **settings: Any) -> Method:
    """TSER: ``1 - alpha`` of the cross-entropy of every step and ``alpha`` of the divergence; the values are ours.

    The official ``alpha``, ``gamma`` and temperature are unknown; 0.5, 0.1 and 4 are ours, arguments of the loss.
    Temperatures from 2 to 6 are said to be stable.

    Args:
        weight: of KL and entropy together.
        **settings: of :class:`~spikingjelly_ckd.TSERLoss`; ``alpha`` also sets the task's weight.

    Raises:
        ValueError: ``alpha`` is above 1, or another value that the loss refuses.

    Example:
        >>> tser(alpha=0.25).task_weight
        0.75
    """
    loss = TSERLoss(**settings)
    if loss.alpha > 1:
        raise ArgumentValueError("alpha", f"must be at most 1, since the task has 1 - alpha, got {loss.alpha}")
    return Method(
        {"tser": (loss, weight)},
        TETLoss(),
        task_weight=1 - loss.alpha,
        student=PER_STEP,
        source="TSER, CVPR 2025, arXiv 2503.03144, from descriptions by others; the values are ours",
    )


def tks(weight: float = 0.7, task_weight: float = 0.3, *, static: bool = False, **settings: Any) -> Method:
    """TKS, without a teacher: the weight of the task falls in a straight line from 1 to 0.3, that of TKS rises to 0.7.

    The authors' code has ``1 - epoch / epochs * alpha`` for the task, and the README ``alpha=0.7`` and temperature 3.
    Their flag ``--staticalpha`` holds the weight of the task at ``alpha``, which is 0.7 and here
    ``tks(0.3, 0.7, static=True)``. ``static=True`` alone holds both weights at the values in which the schedule ends,
    0.3 and 0.7: ours, and what our benchmark ran. The authors change the weights once an epoch; here it is as often as
    ``Distiller.progress`` is called.

    Args:
        weight: of TKS at the end of the training.
        task_weight: of the cross-entropy at the end of the training, at most 1.
        static: both weights have these values from the beginning.
        **settings: of :class:`~spikingjelly_ckd.TKSLoss`.

    Example:
        >>> method = tks()
        >>> [factor(0.5) for factor in method.schedule.values()], method.task_weight
        ([0.5, 0.65], 1.0)
    """
    losses = {"tks": (TKSLoss(**settings), weight)}
    if static:
        source = "Brain-Cog-Lab/TKS; both weights held at the end of its schedule: ours"
        return Method(losses, task_weight=task_weight, student=PER_STEP, source=source)
    schedule = {"tks": warm_up(1.0), "task": decay(last=task_weight)}
    return Method(losses, schedule=schedule, student=PER_STEP, source="Brain-Cog-Lab/TKS, code and README")


def strong_weak(
    direction: Literal["strong_to_weak", "weak_to_strong"] = "strong_to_weak", weight: Weight = 1.0, **settings: Any
) -> Method:
    """Strong2Weak or Weak2Strong, without a teacher: weight 1 beside the cross-entropy.

    That the cross-entropy is of the mean logits, the squared temperature and the detached target are ours: the text
    that was read has no formulas.

    Args:
        direction: which of the two time steps teaches.
        weight: of the loss.
        **settings: further arguments of :class:`~spikingjelly_ckd.StrongWeakLoss`.

    Example:
        >>> list(strong_weak("weak_to_strong").losses)
        ['w2s']
    """
    loss = StrongWeakLoss(direction, **settings)
    name = "s2w" if direction == "strong_to_weak" else "w2s"
    needs = StudentNeeds(per_step_logits=True, time_steps=2)
    return Method({name: (loss, weight)}, student=needs, source="NeurIPS 2025, arXiv 2510.07924")


def tssd(prefix: int = 1, weight: Weight = 1.0, **settings: Any) -> Method:
    """The temporal half of TSSD, without a teacher: the first ``prefix`` time steps learn from all of them.

    The network is trained with more time steps than it will be used with: ``prefix`` is the latter. TSSD's weight and
    temperature are unknown, and so is its spatial half's classifier, which is left out: the values are ours.

    Args:
        prefix: time steps with which the network will be used; fewer than it is trained with.
        weight: of the loss.
        **settings: of :class:`~spikingjelly_ckd.PrefixKDLoss`.

    Example:
        >>> tssd(2).student.time_steps  # it is trained with at least
        3
    """
    loss = PrefixKDLoss(prefix=prefix, **settings)
    needs = StudentNeeds(per_step_logits=True, time_steps=prefix + 1)
    source = "the temporal half of TSSD, arXiv 2406.07862; the values are ours"
    return Method({"tssd": (loss, weight)}, student=needs, source=source)


def tpd(weight: Weight = 0.3, **settings: Any) -> Method:
    """TPD of MEOM, without a teacher: weight 0.3 beside the cross-entropy of every step.

    MEOM's other half, which masks a teacher's features, is left out: the law of its mask is unknown. So are the
    temperature and which side is detached: ours.

    Args:
        weight: of TPD.
        **settings: of :class:`~spikingjelly_ckd.PrefixKDLoss`.

    Example:
        >>> tpd().losses["tpd"][1]
        0.3
    """
    loss = PrefixKDLoss("next", **settings)
    needs = StudentNeeds(per_step_logits=True, time_steps=2)
    source = "TPD of MEOM, ICLR 2026, from a public summary; the temperature is ours"
    return Method({"tpd": (loss, weight)}, TETLoss(), student=needs, source=source)
