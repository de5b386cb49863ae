"""Functions of recorded layers: attention, masks, and errors of features and of class maps.

The student comes first and the teacher second. Gradients flow to the student; a target is not detached here, so pass
a detached one. ``N`` images, ``C`` channels, ``K`` classes, ``h w`` positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors.shapes import check_shapes
from .bounds import LEAST_LENGTH, unit_rows
from .maps import at_least_float32

__all__ = [
    "attention_distance",
    "blur",
    "class_map_error",
    "feature_error",
    "hierarchical_context_error",
    "regions",
]

CONTEXT_SIZES = (4, 2, 1)
"""Positions a side to which :func:`hierarchical_context_error` pools."""


def attention_distance(student: Tensor, teacher: Tensor, power: float = 2.0) -> Tensor:
    r"""Distance of two layers' attention maps: Attention Transfer (Zagoruyko and Komodakis, ICLR 2017).

    The larger layer is average-pooled to the smaller one's size; then, for each image, :math:`Q` is
    :math:`\mathrm{mean}_c |F_c|^p` over the positions, divided by its Euclidean norm.

    Args:
        student: features, ``[N, C, h, w]``.
        teacher: features, ``[N, C', h', w']``.
        power: :math:`p`.

    Returns:
        Mean of :math:`(Q_S - Q_T)^2` over images and positions, scalar.

    Raises:
        ValueError: not two layers of as many images.

    Example:
        >>> import torch
        >>> left, right = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(2, 1, 1, 1, 2)
        >>> attention_distance(left, 3 * left), attention_distance(left, right)
        (tensor(0.), tensor(1.))
    """
    check_shapes(student=(student, "N C h w"), teacher=(teacher, "N C' h' w'"))
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    eps = max(LEAST_LENGTH**power, 1e-12)  # activity below 1e-6 has no larger gradient
    maps = [
        F.normalize(
            F.adaptive_avg_pool2d(at_least_float32(x), size).abs().pow(power).mean(1).flatten(1), dim=1, eps=eps
        )
        for x in (student, teacher)
    ]
    return (maps[0] - maps[1]).square().mean()


def blur(features: Tensor, ratio: float, generator: torch.Generator | None = None) -> Tensor:
    """Whole channels of each image set to zero at random; the others keep their size.

    Args:
        features: ``[N, C, h, w]``.
        ratio: probability that a channel is set to zero.
        generator: random source on the features' device; PyTorch's own by default.

    Returns:
        Same shape.

    Raises:
        ValueError: not 4-dimensional.

    Example:
        >>> import torch
        >>> blur(torch.ones(1, 2, 1, 1), 0.0).flatten()
        tensor([1., 1.])
    """
    check_shapes(features=(features, "N C h w"))
    kept = torch.rand(features.shape[:2], device=features.device, generator=generator) >= ratio
    return features * kept[:, :, None, None]


def feature_error(student: Tensor, teacher: Tensor) -> Tensor:
    r""":math:`\|F_S - F_T\|^2 / N`: squared differences summed over all entries of an image, mean over the images.

    Args:
        student: features, ``[N, ...]``.
        teacher: same shape.

    Returns:
        Scalar.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> import torch
        >>> feature_error(torch.zeros(2, 3), torch.ones(2, 3))
        tensor(3.)
    """
    check_shapes(student=(student, "N ..."), teacher=(teacher, "N ..."))
    return (at_least_float32(student) - at_least_float32(teacher)).square().flatten(1).sum(1).mean()


def class_map_error(student: Tensor, teacher: Tensor, size: int, *, normalize: bool = False) -> Tensor:
    """Mean squared error of pooled maps of every class: CAT-KD (Guo et al., CVPR 2023, arXiv 2304.12777).

    Args:
        student: class maps, shape ``[N, K, h, w]``.
        teacher: class maps, shape ``[N, K, h', w']``.
        size: positions a side to which both are average-pooled first.
        normalize: divide each pooled map by its Euclidean norm; one of zeros stays as it is, and its gradient is as if
            the norm was 1.

    Returns:
        Mean over all entries, scalar.

    Raises:
        ValueError: unlike numbers of images or classes, or maps smaller than ``size``.

    Example:
        >>> import torch
        >>> class_map_error(torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 8, 8), 2)
        tensor(1.)
    """
    check_shapes(student=(student, "N K h w"), teacher=(teacher, "N K h' w'"))
    at_least = f"N K h>={size} w>={size}"
    check_shapes("pass a smaller size", student=(student, at_least))
    check_shapes("pass a smaller size", teacher=(teacher, at_least))
    return F.mse_loss(_pooled(student, size, normalize), _pooled(teacher, size, normalize))


def hierarchical_context_error(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Hierarchical context loss of ReviewKD (Chen et al., CVPR 2021, arXiv 2104.09044).

    The mean squared error at full size, and average-pooled to 4, 2 and 1 positions a side where the map is larger,
    with weights 1, 1/2, 1/4, 1/8 divided by their sum.

    Args:
        student: features, shape ``[N, C, h, w]``.
        teacher: same shape.

    Returns:
        Scalar.

    Raises:
        ValueError: unlike shapes, or not 4-dimensional.

    Example:
        >>> import torch
        >>> hierarchical_context_error(torch.zeros(1, 2, 8, 8), torch.ones(1, 2, 8, 8))
        tensor(1.)
    """
    check_shapes(student=(student, "N C h w"), teacher=(teacher, "N C h w"))
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    total, weights, weight = F.mse_loss(student, teacher), 1.0, 1.0
    for size in CONTEXT_SIZES:
        if size >= student.shape[2]:
            continue
        weight /= 2
        pooled = F.adaptive_avg_pool2d(student, size), F.adaptive_avg_pool2d(teacher, size)
        total = total + weight * F.mse_loss(*pooled)
        weights += weight
    return total / weights


def _pooled(maps: Tensor, size: int, normalize: bool) -> Tensor:
    pooled = F.adaptive_avg_pool2d(at_least_float32(maps), size)
    return unit_rows(pooled.flatten(2)) if normalize else pooled.flatten(2)


def regions(features: Tensor, scales: Sequence[int]) -> Tensor:
    """Means of a layer over the cells of several grids: the pyramid of SDD (Wei et al., CVPR 2024, arXiv 2403.13512).

    The layer is average-pooled to the finest grid, and the coarser ones from that, as in the authors' code.

    Args:
        features: ``[N, C, h, w]``, at least as large as the finest grid.
        scales: cells a side of each grid, the finest last, such as ``(1, 2, 4)``.

    Returns:
        ``[N, M, C]``, ``M`` the sum of the squares of the scales, in the order of the scales.

    Raises:
        ValueError: not 4-dimensional, or a map that is smaller than the finest grid.

    Example:
        >>> import torch
        >>> regions(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]), (1, 2)).flatten()
        tensor([3., 1., 2., 3., 6.])
    """
    finest = scales[-1]
    hint = f"the map is smaller than the finest of the grids {tuple(scales)}: pass coarser ones, or a layer in front"
    check_shapes(hint, features=(features, f"N C h>={finest} w>={finest}"))
    fine = F.adaptive_avg_pool2d(at_least_float32(features), finest)
    return torch.cat([F.adaptive_avg_pool2d(fine, scale).flatten(2) for scale in scales], dim=2).mT
