"""Divergences of logits ``[N, K]`` that are weighted by the teacher's distribution.

The student comes first and the teacher second. Gradients flow to the student; the teacher is not detached here, so
pass it detached. ``N`` images, ``K`` classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors.shapes import check_shapes
from .bounds import bounded_logits
from .divergences import log_kl
from .logits import class_indices, split_class

__all__ = [
    "adaptive_kl",
    "disagreement_weights",
    "hard_label_error",
    "normalized_error",
    "refined_kl",
    "transformed_teacher_kl",
]


def transformed_teacher_kl(student: Tensor, teacher: Tensor, exponent: float, *, weighted: bool = True) -> Tensor:
    r"""Divergence from a power of the teacher's probabilities: TTM and WTTM (ICLR 2024, arXiv 2402.11148).

    :math:`u \, \mathrm{KL}(\tilde p_T \,\|\, \sigma(z_S))` with :math:`\tilde p_T = p_T^l / \sum_k p_{T,k}^l`,
    :math:`p_T = \sigma(z_T)` and :math:`u = \sum_k p_{T,k}^l`, which is the larger the less sure the teacher is. The
    student has no temperature: :math:`\tilde p_T` is :math:`\sigma(l \, z_T)`.

    Args:
        student: logits, shape ``[N, K]``.
        teacher: logits, same shape.
        exponent: :math:`l > 0`.
        weighted: multiply by :math:`u` (WTTM); else by 1 (TTM).

    Returns:
        Shape ``[N]``, fp32 or wider.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> import torch
        >>> student, teacher = torch.zeros(1, 2), torch.tensor([[2.0, 0.0]])
        >>> transformed_teacher_kl(student, teacher, 0.5, weighted=False), transformed_teacher_kl(student, teacher, 0.5)
        (tensor([0.1109]), tensor([0.1424]))
    """
    check_shapes(student=(student, "N K"), teacher=(teacher, "N K"))
    power = exponent * F.log_softmax(bounded_logits(teacher), dim=1)
    divergence = log_kl(F.log_softmax(bounded_logits(student), dim=1), F.log_softmax(power, dim=1))
    return power.logsumexp(dim=1).exp() * divergence if weighted else divergence


def refined_kl(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, confidence_temperature: float
) -> tuple[Tensor, Tensor]:
    r"""The two divergences of RLD, for a teacher that may be wrong (Sun et al., ICCV 2025, arXiv 2408.07703).

    The confidence, :math:`\mathrm{KL}((p_m, 1 - p_m) \,\|\, (q_y, 1 - q_y))`: the student is to be as sure of the label
    :math:`y` as the teacher is of its own first choice :math:`m`, at ``confidence_temperature``. And the ranking,
    :math:`\mathrm{KL}(\hat p_T \,\|\, \hat p_S)` of the softmax over the classes whose teacher logit is below the
    label's, at ``temperature``; zero where there are fewer than two of them. Neither has a factor :math:`\tau^2`.

    Args:
        student: logits, shape ``[N, K]``, ``K >= 2``.
        teacher: logits, same shape.
        labels: class indices ``[N]``, or soft labels ``[N, K]``, of which the largest entry counts.
        temperature: of the ranking, above 0.
        confidence_temperature: of the confidence, above 0.

    Returns:
        The divergence of the confidence and that of the ranking, shape ``[N]`` each, fp32 or wider.

    Raises:
        ValueError: unlike shapes, or fewer than two classes.

    Example:
        >>> import torch
        >>> student, teacher = torch.zeros(1, 3), torch.tensor([[3.0, 2.0, 0.0]])
        >>> refined_kl(student, teacher, torch.tensor([1]), 4.0, 1.0)  # one class alone is below the label
        (tensor([0.2882]), tensor([0.]))
    """
    check_shapes(student=(student, "N K>=2"), teacher=(teacher, "N K"))
    classes, student, teacher = class_indices(labels, student), bounded_logits(student), bounded_logits(teacher)
    sure = split_class(student, classes, confidence_temperature)[0]
    confidence = log_kl(sure, split_class(teacher, teacher.argmax(dim=1), confidence_temperature)[0])
    not_below = teacher >= teacher.gather(1, classes.unsqueeze(1))
    ranked = (_log_softmax_without(not_below, z / temperature) for z in (student, teacher))
    return confidence, torch.where((~not_below).sum(dim=1) > 1, log_kl(*ranked), 0.0)


def normalized_error(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    r"""The two cross-entropies of NKD (Yang et al., ICCV 2023, arXiv 2303.13005).

    :math:`-p_y \log q_y` of the label's class at temperature 1, and
    :math:`-\sum_{k \ne y} \hat p_k \log \hat q_k` of the softmax over the other classes at ``temperature``, without the
    factor :math:`\tau^2`.

    Args:
        student: logits, shape ``[N, K]``, ``K >= 2``.
        teacher: logits, same shape.
        labels: class indices ``[N]``, or soft labels ``[N, K]``, of which the largest entry counts.
        temperature: :math:`\tau > 0`, of the other classes.

    Returns:
        The error of the label's class and that of the others, shape ``[N]`` each, fp32 or wider.

    Raises:
        ValueError: unlike shapes, or fewer than two classes.

    Example:
        >>> import torch
        >>> student, teacher = torch.zeros(1, 3), torch.tensor([[0.0, 2.0, 0.0]])
        >>> normalized_error(student, teacher, torch.tensor([1]), 1.0)  # log 2 of two classes that are alike
        (tensor([0.8646]), tensor([0.6931]))
    """
    check_shapes(student=(student, "N K>=2"), teacher=(teacher, "N K"))
    classes = class_indices(labels, student)
    label_student, label_teacher = (split_class(z, classes, 1.0)[0][:, 0] for z in (student, teacher))
    others_student, others_teacher = (split_class(z, classes, temperature)[1] for z in (student, teacher))
    return -label_teacher.exp() * label_student, -(others_teacher.exp() * others_student).sum(dim=1)


def adaptive_kl(student: Tensor, teacher: Tensor, head_mass: float = 0.5, temperature: float = 1.0) -> Tensor:
    r"""Forward and reverse divergence, weighted by where the two differ: AKL (Wu et al., arXiv 2404.02657).

    With :math:`p = \sigma(z_T / \tau)` and :math:`q = \sigma(z_S / \tau)`, the head are the classes, from the teacher's
    most probable one on, up to which the teacher's probabilities sum to at most ``head_mass``, and in any case the
    first; the tail are the others. :math:`\frac{g_h}{g_h + g_t} \mathrm{KL}(p \,\|\, q) +
    \frac{g_t}{g_h + g_t} \mathrm{KL}(q \,\|\, p)` with :math:`g` the sum of :math:`|p - q|` over the head and over the
    tail, detached; where :math:`p = q`, both weights are one half (ours) and the value is 0. There is no factor
    :math:`\tau^2`. The gradient of the second part grows with the teacher's logits.

    Args:
        student: logits, shape ``[N, K]``.
        teacher: logits, same shape.
        head_mass: from 0 to below 1.
        temperature: :math:`\tau > 0`.

    Returns:
        Shape ``[N]``, fp32 or wider.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> import torch
        >>> adaptive_kl(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]))  # two classes differ by as much
        tensor([0.3808])
    """
    check_shapes(student=(student, "N K"), teacher=(teacher, "N K"))
    log_q, log_p = (F.log_softmax(bounded_logits(z) / temperature, dim=1) for z in (student, teacher))
    p, order = log_p.exp().sort(dim=1, descending=True)
    apart = (p - log_q.detach().exp().gather(1, order)).abs()
    tail = p.cumsum(dim=1) > head_mass
    tail[:, 0] = False
    gap, of_tail = apart.sum(dim=1), apart.masked_fill(~tail, 0.0).sum(dim=1)
    share = torch.where(gap > 0, of_tail / gap, 0.5)
    return (1 - share) * log_kl(log_q, log_p) + share * log_kl(log_p, log_q)


def disagreement_weights(teacher: Tensor, labels: Tensor, weight: float = 2.0) -> Tensor:
    """Weights of regions, larger where the teacher is right about the region or the image alone: SDD (CVPR 2024).

    Args:
        teacher: logits of each region, shape ``[N, M, K]``; the first region is the whole image.
        labels: class indices ``[N]``, or soft labels ``[N, K]``, of which the largest entry counts.
        weight: of a region that is right while the whole is wrong, or wrong while the whole is right.

    Returns:
        ``weight`` or 1, shape ``[N, M]``.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[[2.0, 0.0], [2.0, 0.0], [0.0, 1.0]]])
        >>> disagreement_weights(teacher, torch.tensor([0]))
        tensor([[1., 1., 2.]])
    """
    check_shapes(teacher=(teacher, "N M K"))
    right = teacher.argmax(dim=2) == class_indices(labels, teacher[:, 0]).unsqueeze(1)
    return torch.where(right == right[:, :1], 1.0, weight)


def hard_label_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy with the teacher's first choice: DeiT's hard distillation (Touvron et al., arXiv 2012.12877).

    Args:
        student: logits, shape ``[N, K]``.
        teacher: logits, same shape.

    Returns:
        Shape ``[N]``, fp32 or wider.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> import torch
        >>> hard_label_error(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]))
        tensor([0.6931])
    """
    check_shapes(student=(student, "N K"), teacher=(teacher, "N K"))
    return F.cross_entropy(bounded_logits(student), teacher.argmax(dim=1), reduction="none")


def _log_softmax_without(left_out: Tensor, logits: Tensor) -> Tensor:
    """Of the other classes; those left out get a finite number: -inf would make NaN of rows in which all are."""
    return F.log_softmax(logits.masked_fill(left_out, -torch.finfo(logits.dtype).max / 4), dim=1)
