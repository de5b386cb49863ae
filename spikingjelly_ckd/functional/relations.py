"""Relations between the images of a batch, in the student's features and in the teacher's.

The student comes first and the teacher second. Gradients flow to the student; a target is not detached here, so pass
a detached one. ``N`` images, at least two: one image has no relation. Features ``[N, ...]`` are flattened, and the two
networks need not have as many.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors.shapes import check_shapes
from .bounds import LEAST_LENGTH, is_flat, unit_rows
from .maps import at_least_float32

__all__ = ["angle_error", "distance_error", "linear_cka", "similarity_error"]

_ADVICE = "it relates images to each other: use a larger batch (drop_last=True where the last one is short)"


def distance_error(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Distances between images, each divided by the mean of its network: RKD-D (Park et al., CVPR 2019).

    :math:`\mathrm{mean}_{ij}\, \mathrm{huber}(d_{ij} / \bar d)` of student and teacher, where :math:`d` is the
    Euclidean distance, :math:`\bar d` the mean of those that are not zero, and huber the smooth L1 distance; the zeros
    of the diagonal are counted, as in mdistiller. Where the images are alike but for rounding, distances are not
    divided.

    Args:
        student: features, ``[N, ...]``, ``N >= 2``.
        teacher: features, ``[N, ...]``, of any size.

    Returns:
        Scalar, fp32 or wider.

    Raises:
        ValueError: unlike numbers of images, or a single one.

    Example:
        >>> import torch
        >>> points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
        >>> distance_error(points, 5 * points), distance_error(points, points.flip(0))
        (tensor(0.), tensor(0.1115))
    """
    ours, theirs = (_distances(_differences(rows)) for rows in _rows(student, teacher))
    return F.smooth_l1_loss(ours, theirs)


def angle_error(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Angles of all triplets of images: RKD-A (Park et al., CVPR 2019).

    :math:`\mathrm{mean}_{ijk}\, \mathrm{huber}(\cos \angle jik)` of student and teacher, of the directions from image
    :math:`i` to images :math:`j` and :math:`k`; two images that are alike but for rounding have no
    direction, and a cosine of next to 0. All :math:`N^3` entries count, as in mdistiller.

    Args:
        student: features, ``[N, ...]``, ``N >= 2``.
        teacher: features, ``[N, ...]``, of any size.

    Returns:
        Scalar, fp32 or wider.

    Raises:
        ValueError: unlike numbers of images, or a single one.

    Example:
        >>> import torch
        >>> right = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> flat = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
        >>> angle_error(right, -2 * right), angle_error(right, flat)
        (tensor(0.), tensor(0.0434))
    """
    ours, theirs = (_gram(unit_rows(_differences(rows))) for rows in _rows(student, teacher))
    return F.smooth_l1_loss(ours, theirs)


def similarity_error(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Similarities between images: SP (Tung and Mori, ICCV 2019, arXiv 1907.09682).

    :math:`\|\tilde G_S - \tilde G_T\|_F^2 / N^2`, where :math:`\tilde G` is the matrix of inner products of the images'
    features with each row divided by its Euclidean length. The row of an image that is silent stays zero.

    Args:
        student: features, ``[N, ...]``, ``N >= 2``.
        teacher: features, ``[N, ...]``, of any size.

    Returns:
        Scalar, fp32 or wider.

    Raises:
        ValueError: unlike numbers of images, or a single one.

    Example:
        >>> import torch
        >>> alike, apart = torch.ones(2, 3), torch.eye(2)
        >>> similarity_error(alike, 7 * alike), similarity_error(alike, apart)
        (tensor(0.), tensor(0.2929))
    """
    ours, theirs = (unit_rows(_gram(rows)) for rows in _rows(student, teacher))
    return (ours - theirs).square().mean()


def linear_cka(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Linear centred kernel alignment (Kornblith et al., ICML 2019, arXiv 1905.00414).

    :math:`\langle K_S, K_T \rangle / (\|K_S\| \, \|K_T\|)`, of the matrices of inner products of the features after the
    batch's mean is taken off. 1 says that one set of features is the other turned and scaled. Where the images of one
    network are all alike it is 0 and has no gradient.

    Args:
        student: features, ``[N, ...]``, ``N >= 2``.
        teacher: features, ``[N, ...]``, of any size.

    Returns:
        In [0, 1], scalar, fp32 or wider.

    Raises:
        ValueError: unlike numbers of images, or a single one.

    Example:
        >>> import torch
        >>> points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
        >>> linear_cka(points, 3 * points.flip(1)), linear_cka(points, torch.ones(3, 4))
        (tensor(1.), tensor(0.))
    """
    ours, theirs = (unit_rows(_gram(_centred(rows)).flatten(), LEAST_LENGTH**2) for rows in _rows(student, teacher))
    return (ours * theirs).sum()


def _rows(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """One row for each image, divided by the largest magnitude in the batch, so that no square overflows.

    It is detached and at least 1e-6. Every formula here divides by its features' size later and does not see it.
    """
    check_shapes(_ADVICE, student=(student, "N>=2 ..."))
    check_shapes(_ADVICE, teacher=(teacher, "N>=2 ..."))
    rows = [at_least_float32(features).reshape(len(features), -1) for features in (student, teacher)]
    check_shapes(student=(rows[0], "N D"), teacher=(rows[1], "N D'"))
    ours, theirs = (each / each.detach().abs().amax().clamp_min(LEAST_LENGTH) for each in rows)
    return ours, theirs


def _gram(rows: Tensor) -> Tensor:
    """Inner products of rows ``[..., N, D]``, in their own precision, also under autocast."""
    with torch.autocast(rows.device.type, enabled=False):
        return rows @ rows.mT


def _differences(rows: Tensor) -> Tensor:
    """``[N, N, D]``: at ``[i, j]`` the way from image ``i`` to image ``j``."""
    return rows.unsqueeze(0) - rows.unsqueeze(1)


def _distances(differences: Tensor) -> Tensor:
    """Euclidean lengths, divided by the mean of those that are not zero."""
    lengths = torch.linalg.vector_norm(differences, dim=-1)
    mean = lengths.sum() / (lengths > 0).sum().clamp_min(1)
    return torch.where(mean > LEAST_LENGTH, lengths / mean.clamp_min(LEAST_LENGTH), lengths)


def _centred(rows: Tensor) -> Tensor:
    """Without the mean of the batch; what is alike in all images is zero, and not the rounding of that mean."""
    return torch.where(is_flat(rows, 0), 0.0, rows - rows.mean(0, keepdim=True))
