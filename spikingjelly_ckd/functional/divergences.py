"""Divergences and noise shared by the methods, as pure tensor functions.

Student first, teacher second, as PyTorch writes ``(input, target)``. Gradients flow to the student; a target is used
as it is given, so pass a detached one. ``T`` time steps, ``N`` images, ``K`` classes, ``h w`` positions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .maps import at_least_float32

__all__ = [
    "attention_distance",
    "blur",
    "check_steps",
    "class_indices",
    "correct_steps",
    "feature_error",
    "gaussian_like",
    "map_divergence",
    "probability_kl",
    "soft_kl",
    "step_kl",
]

SCALINGS = ("softmax", "none", "zscore", "l2")


def soft_kl(student: Tensor, teacher: Tensor, temperature: float, *, squared: bool = True) -> Tensor:
    r"""Kullback-Leibler divergence of softened distributions, one value a row.

    :math:`\tau^2 \, \mathrm{KL}(\sigma(z_T / \tau) \,\|\, \sigma(z_S / \tau))`, Hinton et al., arXiv 1503.02531.

    Args:
        student: logits, shape ``[N, K]``.
        teacher: logits, shape ``[N, K]``.
        temperature: :math:`\tau > 0`.
        squared: multiply by :math:`\tau^2`, which keeps the gradient's size independent of the temperature.

    Returns:
        Shape ``[N]``; ``.mean()`` is PyTorch's ``reduction="batchmean"``.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> import torch
        >>> soft_kl(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]), 2.0)
        tensor([0.4438])
    """
    _check_same_shape(student, teacher)
    log_student = F.log_softmax(at_least_float32(student) / temperature, dim=-1)
    log_teacher = F.log_softmax(at_least_float32(teacher) / temperature, dim=-1)
    divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(dim=-1)
    return divergence * temperature**2 if squared else divergence


def step_kl(steps: Tensor, target: Tensor, temperature: float, *, squared: bool = True) -> Tensor:
    r"""Kullback-Leibler divergence of every time step from a target.

    :math:`\tau^2 \, \mathrm{KL}(\sigma(z / \tau) \,\|\, \sigma(z_S(t) / \tau))` for each step :math:`t` and image.

    Args:
        steps: the student's logits of every time step, shape ``[T, N, K]``.
        target: logits, shape ``[N, K]``, the same at every step; or ``[T, N, K]``, one for each.
        temperature: :math:`\tau > 0`.
        squared: multiply by :math:`\tau^2`.

    Returns:
        Shape ``[T, N]``; ``.mean()`` is the mean over time of PyTorch's ``reduction="batchmean"``.

    Raises:
        ValueError: ``steps`` is not ``[T, N, K]``, or ``target`` does not fit it.

    Example:
        >>> import torch
        >>> step_kl(torch.zeros(2, 1, 2), torch.tensor([[2.0, 0.0]]), 2.0)
        tensor([[0.4438],
                [0.4438]])
    """
    check_steps(steps)
    if target.shape not in (steps.shape, steps.shape[1:]):
        raise ValueError(
            f"the target must be [N, K] or [T, N, K] for the student's [T, N, K] = {tuple(steps.shape)}, got "
            f"{tuple(target.shape)}"
        )
    return soft_kl(steps, target.expand_as(steps), temperature, squared=squared)


def class_indices(labels: Tensor, logits: Tensor) -> Tensor:
    """One class an image: the labels as they are, or the largest entry of soft labels.

    Args:
        labels: class indices ``[N]``, or soft labels ``[N, K]``.
        logits: what they belong to, ``[..., N, K]``.

    Returns:
        Integers, shape ``[N]``.

    Raises:
        ValueError: the labels do not fit the logits.

    Example:
        >>> import torch
        >>> class_indices(torch.tensor([[0.3, 0.7]]), torch.zeros(4, 1, 2))
        tensor([1])
    """
    if labels.shape not in (logits.shape[-2:-1], logits.shape[-2:]):
        raise ValueError(
            f"labels must be [N] or soft [N, K] for logits {tuple(logits.shape)}, got {tuple(labels.shape)}"
        )
    return labels.argmax(dim=1) if labels.ndim == 2 else labels.long()


def correct_steps(steps: Tensor, labels: Tensor) -> Tensor:
    """Which time steps classify which images correctly.

    Args:
        steps: the student's logits of every time step, shape ``[T, N, K]``.
        labels: class indices ``[N]``, or soft labels ``[N, K]``, of which the largest entry counts.

    Returns:
        Boolean, shape ``[T, N]``.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> import torch
        >>> correct_steps(torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]]), torch.tensor([1]))
        tensor([[ True],
                [False]])
    """
    check_steps(steps)
    return steps.argmax(dim=2) == class_indices(labels, steps)


def check_steps(steps: Tensor) -> Tensor:
    """``steps`` if they are logits of every time step.

    Raises:
        ValueError: not 3-dimensional.

    Example:
        >>> import torch
        >>> tuple(check_steps(torch.zeros(4, 2, 10)).shape)
        (4, 2, 10)
    """
    if steps.ndim != 3:
        raise ValueError(
            f"the student's logits must be [T, N, K], one for every time step, got {tuple(steps.shape)}; logits of one "
            "step [N, K] are steps[None]"
        )
    return steps


def probability_kl(student: Tensor, teacher: Tensor) -> Tensor:
    r""":math:`\mathrm{KL}(P_T \,\|\, P_S)` of two probability vectors a row.

    Args:
        student: probabilities, all above zero, shape ``[N, K]``.
        teacher: probabilities, shape ``[N, K]``; zeros are allowed and contribute nothing.

    Returns:
        Shape ``[N]``.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> import torch
        >>> probability_kl(torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]]))
        tensor([0.6931])
    """
    _check_same_shape(student, teacher)
    return (torch.xlogy(teacher, teacher) - teacher * student.log()).sum(dim=-1)


def map_divergence(
    student: Tensor, teacher: Tensor, *, temperature: float = 2.0, scaling: str = "softmax", squared: bool = True
) -> Tensor:
    r"""How far two maps of one size are apart, one value an image.

    With ``scaling="softmax"``, :math:`\mathcal{T}^2 \, \mathrm{KL}(P_{te} \,\|\, P_{st})` where each :math:`P` is the
    softmax of ``map / temperature`` over the positions: SAMD of CKDSNN (arXiv 2511.06902). The paper's ablation names
    three other scalings and not their distance; **the distances here are ours**: ``"none"``, mean squared difference
    of the maps as they are; ``"zscore"``, mean squared difference of maps with mean 0 and standard deviation 1, which
    is ``2 (1 - correlation)``; ``"l2"``, summed squared difference of maps of unit length, ``2 (1 - cosine)``.

    Args:
        student: shape ``[N, h, w]``.
        teacher: same shape.
        temperature: :math:`\mathcal{T} > 0`; used by the softmax alone.
        scaling: one of ``"softmax"``, ``"none"``, ``"zscore"``, ``"l2"``.
        squared: multiply the divergence by :math:`\mathcal{T}^2`; softmax alone.

    Returns:
        Shape ``[N]``.

    Raises:
        ValueError: unlike shapes, not 3-dimensional, or unknown ``scaling``.

    Example:
        >>> import torch
        >>> maps = torch.tensor([[[0.0, 1.0]]])
        >>> map_divergence(maps, maps), map_divergence(maps, 1 - maps)
        (tensor([0.]), tensor([0.4898]))
    """
    _check_same_shape(student, teacher)
    if student.ndim != 3:
        raise ValueError(f"maps must have shape [N, h, w], got {tuple(student.shape)}")
    flat_student, flat_teacher = student.flatten(1), teacher.flatten(1)
    if scaling == "softmax":
        return soft_kl(flat_student, flat_teacher, temperature, squared=squared)
    if scaling == "none":
        return (flat_student - flat_teacher).square().mean(dim=1)
    if scaling == "zscore":
        return (_zscore(flat_student) - _zscore(flat_teacher)).square().mean(dim=1)
    if scaling == "l2":
        return (F.normalize(flat_student, dim=1) - F.normalize(flat_teacher, dim=1)).square().sum(dim=1)
    raise ValueError(f"scaling must be one of {SCALINGS}, got {scaling!r}")


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
    if student.ndim != 4 or teacher.ndim != 4 or student.shape[0] != teacher.shape[0]:
        raise ValueError(
            f"features must be [N, C, h, w] with one N, got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    maps = [
        F.normalize(F.adaptive_avg_pool2d(at_least_float32(x), size).abs().pow(power).mean(1).flatten(1), dim=1)
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

    Example:
        >>> import torch
        >>> blur(torch.ones(1, 2, 1, 1), 0.0).flatten()
        tensor([1., 1.])
    """
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
    _check_same_shape(student, teacher)
    return (at_least_float32(student) - at_least_float32(teacher)).square().flatten(1).sum(1).mean()


def gaussian_like(
    logits: Tensor, *, sd: float | str = "std", detach: bool = True, generator: torch.Generator | None = None
) -> Tensor:
    r"""Gaussian noise whose mean and spread are each row's own: :math:`\epsilon \sim N(\mu(z), s(z)^2)`.

    The mean is the row's mean; behind a softmax it has no effect, since a softmax does not see a shift.

    Args:
        logits: shape ``[N, K]``.
        sd: ``"std"``, the row's unbiased standard deviation; ``"variance"``, its square used as the standard
            deviation (the authors' code); or a fixed number.
        detach: take the statistics without gradient.
        generator: random source on the logits' device; PyTorch's own by default.

    Returns:
        Noise, shape ``[N, K]``.

    Raises:
        ValueError: fewer than two classes, where a row has no spread.

    Example:
        >>> import torch
        >>> gaussian_like(torch.full((1, 4), 3.0))  # a row without spread: its mean
        tensor([[3., 3., 3., 3.]])
    """
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"logits must have shape [N, K] with K >= 2, got {tuple(logits.shape)}")
    source = logits.detach() if detach else logits
    mean = source.mean(dim=1, keepdim=True)
    unit = torch.empty_like(logits).normal_(generator=generator)
    if not isinstance(sd, str):
        return mean + sd * unit
    if sd not in ("std", "variance"):
        raise ValueError(f"sd must be 'std', 'variance' or a number, got {sd!r}")
    variance = source.var(dim=1, keepdim=True)
    return mean + (variance.clamp_min(torch.finfo(variance.dtype).tiny).sqrt() if sd == "std" else variance) * unit


def _zscore(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(dim=1, keepdim=True)
    return centred / (rows.std(dim=1, keepdim=True, unbiased=False) + 1e-6)


def _check_same_shape(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ValueError(
            f"student and teacher must have one shape, got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
