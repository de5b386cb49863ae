"""Divergences of probabilities and of maps, as pure tensor functions.

The student comes first and the teacher second, as in PyTorch's ``(input, target)``. Gradients flow to the student; a
target is not detached here, so pass a detached one. ``N`` images, ``K`` classes, ``h w`` positions.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors.checks import check_choice
from ..errors.shapes import check_shapes
from .bounds import LEAST_LENGTH, bounded_logits, is_flat, is_short, smallest_probability, unit_rows
from .maps import at_least_float32

__all__ = ["cosine_map_distance", "log_kl", "map_divergence", "probability_kl", "soft_kl"]

Scaling = Literal["softmax", "none", "zscore", "l2"]
SCALINGS: tuple[Scaling, ...] = get_args(Scaling)


def soft_kl(student: Tensor, teacher: Tensor, temperature: float, *, squared: bool = True) -> Tensor:
    r"""Kullback-Leibler divergence of softened distributions, one value a row.

    :math:`\tau^2 \, \mathrm{KL}(\sigma(z_T / \tau) \,\|\, \sigma(z_S / \tau))`, Hinton et al., arXiv 1503.02531.

    Args:
        student: logits, shape ``[..., K]``, such as ``[N, K]``.
        teacher: logits, same shape.
        temperature: :math:`\tau > 0`.
        squared: multiply by :math:`\tau^2`, which keeps the gradient's size independent of the temperature.

    Returns:
        Shape ``[...]``; for ``[N, K]``, ``.mean()`` is PyTorch's ``reduction="batchmean"``.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> import torch
        >>> soft_kl(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]), 2.0)
        tensor([0.4438])
    """
    check_shapes(student=(student, "... K"), teacher=(teacher, "... K"))
    log_student = F.log_softmax(bounded_logits(student) / temperature, dim=-1)
    log_teacher = F.log_softmax(bounded_logits(teacher) / temperature, dim=-1)
    divergence = log_kl(log_student, log_teacher)
    return divergence * temperature**2 if squared else divergence


def log_kl(student: Tensor, teacher: Tensor) -> Tensor:
    r""":math:`\mathrm{KL}(P_T \,\|\, P_S)` of logarithms of probabilities.

    Args:
        student: :math:`\log P_S`, finite, shape ``[..., K]``.
        teacher: :math:`\log P_T`, finite, same shape.

    Returns:
        Shape ``[...]``.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> import torch
        >>> log_kl(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.75, 0.25]]).log())
        tensor([0.1308])
    """
    check_shapes(student=(student, "... K"), teacher=(teacher, "... K"))
    return (teacher.exp() * (teacher - student)).sum(dim=-1)


def probability_kl(student: Tensor, teacher: Tensor) -> Tensor:
    r""":math:`\mathrm{KL}(P_T \,\|\, P_S)` of two probability vectors a row.

    Args:
        student: probabilities, shape ``[N, K]``; one below 1e-32 (fp32) counts as that, without a gradient.
        teacher: probabilities, shape ``[N, K]``; zeros are allowed and contribute nothing.

    Returns:
        Shape ``[N]``, fp32 or wider.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> import torch
        >>> probability_kl(torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]]))
        tensor([0.6931])
    """
    check_shapes(student=(student, "N K"), teacher=(teacher, "N K"))
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    log_student = student.clamp_min(smallest_probability(student.dtype)).log()
    return (torch.xlogy(teacher, teacher) - teacher * log_student).sum(dim=-1)


def map_divergence(
    student: Tensor,
    teacher: Tensor,
    *,
    temperature: float = 2.0,
    scaling: Scaling = "softmax",
    squared: bool = True,
    least: float = LEAST_LENGTH,
) -> Tensor:
    r"""How far two maps of one size are apart, one value an image.

    With ``scaling="softmax"``, :math:`\mathcal{T}^2 \, \mathrm{KL}(P_{te} \,\|\, P_{st})` where each :math:`P` is the
    softmax of ``map / temperature`` over the positions: SAMD of CKDSNN (arXiv 2511.06902). The paper's ablation names
    three other scalings and not their distance; **the distances here are ours**: ``"none"``, mean squared difference
    of the maps as they are; ``"zscore"``, mean squared difference of maps with mean 0 and standard deviation 1, which
    is ``2 (1 - correlation)``; ``"l2"``, summed squared difference of maps of unit length, ``2 (1 - cosine)``.

    A student map without a direction (zero for ``"l2"``, constant for ``"zscore"``) has distance 1 and no gradient;
    divided by next to nothing, it would outweigh every other image. The gradient of another map has a norm of at most
    ``2 / least`` for ``"l2"`` and ``4 / least`` for ``"zscore"``.

    Args:
        student: shape ``[N, h, w]``.
        teacher: same shape.
        temperature: :math:`\mathcal{T} > 0`; used by the softmax alone.
        scaling: one of ``"softmax"``, ``"none"``, ``"zscore"``, ``"l2"``.
        squared: multiply the divergence by :math:`\mathcal{T}^2`; softmax alone.
        least: length of a student map (for ``"zscore"``, of its differences from the mean) up to which it has none.

    Returns:
        Shape ``[N]``, fp32 or wider.

    Raises:
        ValueError: unlike shapes, not 3-dimensional, or unknown ``scaling``.

    Example:
        >>> import torch
        >>> maps = torch.tensor([[[0.0, 1.0]]])
        >>> map_divergence(maps, maps), map_divergence(maps, 1 - maps)
        (tensor([0.]), tensor([0.4898]))
    """
    check_shapes(student=(student, "N h w"), teacher=(teacher, "N h w"))
    check_choice("scaling", scaling, SCALINGS)
    flat_student, flat_teacher = at_least_float32(student).flatten(1), at_least_float32(teacher).flatten(1)
    if scaling == "softmax":
        return soft_kl(flat_student, flat_teacher, temperature, squared=squared)
    if scaling == "none":
        return (flat_student - flat_teacher).square().mean(dim=1)
    if scaling == "zscore":
        student = _without_gradient(flat_student, is_flat(flat_student, 1, least))
        return (_zscore(student, least) - _zscore(flat_teacher, 0.0)).square().mean(dim=1)
    student = _without_gradient(flat_student, is_short(flat_student, least))
    return (unit_rows(student, least) - unit_rows(flat_teacher, 0.0)).square().sum(dim=1)


def cosine_map_distance(student: Tensor, teacher: Tensor) -> Tensor:
    r""":math:`1 - \cos(M_S, M_T)` of two maps of one size: e2KD (arXiv 2402.03119).

    Args:
        student: shape ``[N, h, w]``; a map that is zero everywhere has distance 1 and no gradient. That of another
            map has a norm of at most one over the map's length.
        teacher: same shape.

    Returns:
        Shape ``[N]``, fp32 or wider.

    Raises:
        ValueError: unlike shapes, or not 3-dimensional.

    Example:
        >>> import torch
        >>> maps = torch.tensor([[[0.0, 1.0]]])
        >>> cosine_map_distance(maps, maps), cosine_map_distance(maps, 1 - maps)
        (tensor([0.]), tensor([1.]))
    """
    check_shapes(student=(student, "N h w"), teacher=(teacher, "N h w"))
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    distance = 1 - F.cosine_similarity(student.flatten(1), teacher.flatten(1), dim=1)
    return torch.where((student == 0).flatten(1).all(1), 1.0, distance)  # the slope there is 1 / 1e-8


def _without_gradient(rows: Tensor, which: Tensor) -> Tensor:
    return torch.where(which, rows.detach(), rows)


def _zscore(rows: Tensor, least: float) -> Tensor:
    centred = rows - rows.mean(dim=1, keepdim=True)
    scaled = centred / (rows.std(dim=1, keepdim=True, unbiased=False) + 1e-6)
    return torch.where(is_flat(rows, 1, least), centred, scaled)
