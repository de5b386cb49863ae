"""Errors of the student's layers behind a projector, a small network that is trained with the student.

The student comes first and the teacher second. Gradients flow to the student; a target is not detached here, so pass
a detached one. ``N`` images, ``C`` channels, ``K`` classes, ``h w`` positions; ``S`` layers of the student and ``L`` of
the teacher.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors.shapes import check_shapes
from .bounds import bounded_logits
from .logits import class_indices
from .maps import at_least_float32

__all__ = ["attended_error", "channel_statistics_error", "enhanced_target_error", "normalized_feature_error"]


def normalized_feature_error(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Smooth L1 distance to the teacher's vector with mean 0 and variance 1: VkD (Miles et al., CVPR 2024).

    :math:`\mathrm{mean}\, \mathrm{huber}(f_S - \mathrm{norm}(f_T))` over all entries, with PyTorch's layer
    normalisation without scale and shift.

    Args:
        student: projected vectors, ``[N, C]``.
        teacher: vectors, ``[N, C]``.

    Returns:
        Scalar, fp32 or wider.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> import torch
        >>> normalized_feature_error(torch.tensor([[-1.0, 3.0]]), torch.tensor([[3.0, 7.0]]))  # the target is -1, 1
        tensor(0.7500)
    """
    check_shapes(student=(student, "N C"), teacher=(teacher, "N C"))
    target = at_least_float32(teacher)
    return F.smooth_l1_loss(at_least_float32(student), F.layer_norm(target, target.shape[1:]))


def channel_statistics_error(student: Tensor, teacher: Tensor, mean_weight: float = 4.0, eps: float = 1e-5) -> Tensor:
    r"""Squared Wasserstein distance of each channel taken as a Gaussian: WKD-F (Lv et al., NeurIPS 2024).

    :math:`\frac{1}{N} \sum (r \, (\mu_S - \mu_T)^2 + (\sigma_S - \sigma_T)^2)` over all images and channels, where
    :math:`\mu` is the mean of a channel over the positions and :math:`\sigma` the root of its unbiased variance plus
    ``eps``. A map of one position has no variance.

    Args:
        student: projected features, ``[N, C, h, w]``.
        teacher: features, ``[N, C, h', w']``, of any size of map.
        mean_weight: :math:`r`; 1 is the distance itself.
        eps: positive; the gradient of :math:`\sigma` is at most one over its root.

    Returns:
        Scalar, fp32 or wider.

    Raises:
        ValueError: unlike numbers of images or channels.

    Example:
        >>> import torch
        >>> channel_statistics_error(torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 8, 8))
        tensor(8.)
    """
    check_shapes(student=(student, "N C h w"), teacher=(teacher, "N C h' w'"))
    (mean, spread), (target_mean, target_spread) = (_statistics(features, eps) for features in (student, teacher))
    errors = mean_weight * (mean - target_mean).square() + (spread - target_spread).square()
    return errors.sum(1).mean()


def enhanced_target_error(
    student: Tensor, teacher: Tensor, labels: Tensor, power: float = 1.0, temperature: float = 1.0
) -> Tensor:
    r"""Cross-entropy with the teacher's probabilities, that of the label raised: OFA (Hao et al., NeurIPS 2023).

    :math:`-\sum_k ((p_k + 1_{k=y})^\gamma - 1_{k=y}) \log q_k` with :math:`p = \sigma(z_T / \tau)` and
    :math:`q = \sigma(z_S / \tau)`. At :math:`\gamma = 1` the target is :math:`p` itself; above, the label counts more
    and every other class less. There is no factor :math:`\tau^2`.

    Args:
        student: logits, ``[N, K]``.
        teacher: logits, ``[N, K]``.
        labels: class indices ``[N]``, or soft labels ``[N, K]``, of which the largest entry counts.
        power: :math:`\gamma \ge 1`.
        temperature: :math:`\tau > 0`.

    Returns:
        Shape ``[N]``, fp32 or wider.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> import torch
        >>> enhanced_target_error(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]))
        tensor([0.6931])
        >>> enhanced_target_error(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]), power=2.0)
        tensor([1.0397])
    """
    check_shapes(student=(student, "N K"), teacher=(teacher, "N K"), labels=(labels, "N | N K"))
    log_student = torch.log_softmax(bounded_logits(student) / temperature, dim=1)
    right = F.one_hot(class_indices(labels, student), student.shape[1]).to(log_student.dtype)
    target = (torch.softmax(bounded_logits(teacher) / temperature, dim=1) + right) ** power - right
    return -(target * log_student).sum(1)


def attended_error(queries: Tensor, keys: Tensor, errors: Tensor) -> Tensor:
    r"""Errors of all pairs of layers, weighted by how well they match: SASTC (AAAI 2025, arXiv 2501.08049).

    :math:`\frac{1}{T N S} \sum_{t n s l} a_{tnsl} e_{tnsl}` with :math:`a = \mathrm{softmax}_l(q_{tns} \cdot k_{nl})`.

    Args:
        queries: of the student's layers at each time step, ``[T, N, S, D]``.
        keys: of the teacher's layers, ``[N, L, D]``.
        errors: of each pair, ``[T, N, S, L]``.

    Returns:
        Scalar, fp32 or wider.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> import torch
        >>> attended_error(torch.zeros(1, 1, 1, 4), torch.zeros(1, 2, 4), torch.tensor([2.0, 4.0]).view(1, 1, 1, 2))
        tensor(3.)
    """
    check_shapes(queries=(queries, "T N S D"), keys=(keys, "N L D"), errors=(errors, "T N S L"))
    with torch.autocast(queries.device.type, enabled=False):
        scores = at_least_float32(queries) @ at_least_float32(keys).mT
    return (scores.softmax(-1) * at_least_float32(errors)).sum(-1).mean()


def _statistics(features: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Mean and spread of each channel, ``[N, C]``."""
    positions = at_least_float32(features).flatten(2)
    mean = positions.mean(2)
    variance = (positions - mean.unsqueeze(2)).square().sum(2) / max(positions.shape[2] - 1, 1)
    return mean, (variance + eps).sqrt()
