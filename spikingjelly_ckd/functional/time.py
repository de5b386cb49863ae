"""Functions of the logits of every time step, ``[T, N, K]``.

The student comes first and the teacher second. Gradients flow to the student; a target is not detached here, so pass
a detached one. ``T`` time steps, ``N`` images, ``K`` classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors.shapes import check_shapes
from .bounds import bounded_logits, unit_rows
from .divergences import soft_kl
from .logits import class_indices
from .maps import at_least_float32

__all__ = [
    "check_steps",
    "correct_steps",
    "mean_of_other_steps",
    "most_and_least_confident",
    "prefix_means",
    "replace_errors",
    "right_heads_kl",
    "step_cross_entropy",
    "step_entropy",
    "step_kl",
    "sum_correct_steps",
]


def check_steps(steps: Tensor) -> Tensor:
    """``steps`` if they are logits of every time step, ``[T, N, K]``.

    Raises:
        ValueError: not 3-dimensional.

    Example:
        >>> import torch
        >>> tuple(check_steps(torch.zeros(4, 2, 10)).shape)
        (4, 2, 10)
    """
    check_shapes("logits of one time step, [N, K], are steps[None]", steps=(steps, "T N K"))
    return steps


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
    check_shapes(steps=(steps, "T N K"), target=(target, "N K | T N K"))
    return soft_kl(steps, target.expand_as(steps), temperature, squared=squared)


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


def sum_correct_steps(steps: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits summed over the time steps that classify the image correctly, and how many these are.

    Args:
        steps: the student's logits of every time step, shape ``[T, N, K]``.
        labels: class indices ``[N]``, or soft labels ``[N, K]``, of which the largest entry counts.

    Returns:
        The sum, shape ``[N, K]``, fp32 or wider, zeros where no step is correct; and the count, integers, shape
        ``[N]``.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> import torch
        >>> sum_correct_steps(torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]], [[0.0, 3.0]]]), torch.tensor([1]))
        (tensor([[0., 4.]]), tensor([2]))
    """
    correct = correct_steps(steps, labels)
    return (at_least_float32(steps) * correct.unsqueeze(2)).sum(dim=0), correct.sum(dim=0)


def right_heads_kl(heads: Tensor, labels: Tensor, temperature: float) -> Tensor:
    r"""Divergence of every classifier from the mean of those that are right (NeurIPS 2025, arXiv 2510.06254).

    :math:`\tau^2 \, \mathrm{KL}(\sigma(\bar z / \tau) \,\|\, \sigma(z_h / \tau))` with :math:`\bar z` the mean of the
    logits of the heads that classify the image correctly, detached; averaged over the images for which there is one.

    Args:
        heads: logits of several classifiers on one network, shape ``[H, N, K]``.
        labels: class indices ``[N]``, or soft labels ``[N, K]``, of which the largest entry counts.
        temperature: :math:`\tau > 0`.

    Returns:
        Shape ``[H]``, fp32 or wider; zeros where no head is right about any image.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> import torch
        >>> heads = torch.tensor([[[2.0, 0.0], [0.0, 9.0]], [[0.0, 0.0], [0.0, 9.0]]])
        >>> right_heads_kl(heads, torch.tensor([0, 0]), 2.0)  # the second image is left out
        tensor([0.1118, 0.1212])
    """
    heads = bounded_logits(check_steps(heads))
    total, count = sum_correct_steps(heads.detach(), labels)
    divergence = step_kl(heads, total / count.clamp_min(1).unsqueeze(1), temperature)
    right = count > 0
    return torch.where(right, divergence, 0.0).sum(dim=1) / right.sum().clamp_min(1)


def step_cross_entropy(steps: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    r"""Cross-entropy of every time step with the labels: TET (Deng et al., ICLR 2022, arXiv 2202.11946).

    Args:
        steps: the student's logits of every time step, shape ``[T, N, K]``.
        labels: class indices ``[N]``, or soft labels ``[N, K]``, used as they are.
        label_smoothing: 0 to 1, as in :func:`torch.nn.functional.cross_entropy`.

    Returns:
        Mean over steps and images, scalar.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> import torch
        >>> step_cross_entropy(torch.tensor([[[0.0, 0.0]], [[2.0, 0.0]]]), torch.tensor([0]))
        tensor(0.4100)
    """
    check_steps(steps)
    check_shapes(steps=(steps, "T N K"), labels=(labels, "N | N K"))
    steps = bounded_logits(steps)
    target = labels.to(steps.dtype) if labels.ndim == 2 else labels.long()
    repeated = target.expand(len(steps), *target.shape).flatten(0, 1)
    return F.cross_entropy(steps.flatten(0, 1), repeated, label_smoothing=label_smoothing)


def step_entropy(steps: Tensor, temperature: float) -> Tensor:
    r"""Entropy :math:`H(\sigma(z_S(t) / \tau))` of every time step, in nats.

    Args:
        steps: the student's logits of every time step, shape ``[T, N, K]``.
        temperature: :math:`\tau > 0`.

    Returns:
        Shape ``[T, N]``.

    Raises:
        ValueError: not 3-dimensional.

    Example:
        >>> import torch
        >>> step_entropy(torch.zeros(1, 1, 2), 1.0)
        tensor([[0.6931]])
    """
    log_p = F.log_softmax(bounded_logits(check_steps(steps)) / temperature, dim=2)
    return -(log_p.exp() * log_p).sum(dim=2)


def most_and_least_confident(steps: Tensor) -> tuple[Tensor, Tensor]:
    """The logits of the most and of the least confident time step (NeurIPS 2025, arXiv 2510.07924).

    The confidence of a step is the mean over the batch of its largest softmax probability.

    Args:
        steps: the student's logits of every time step, shape ``[T, N, K]``.

    Returns:
        The most and the least confident step, shape ``[N, K]`` each, fp32 or wider.

    Raises:
        ValueError: not 3-dimensional.

    Example:
        >>> import torch
        >>> most_and_least_confident(torch.tensor([[[0.0, 0.0]], [[2.0, 0.0]]]))
        (tensor([[2., 0.]]), tensor([[0., 0.]]))
    """
    steps = at_least_float32(check_steps(steps))
    confidence = steps.detach().softmax(dim=2).amax(dim=2).mean(dim=1)
    # index_select: indexing with a scalar tensor would wait for the device.
    most = steps.index_select(0, confidence.argmax(dim=0, keepdim=True)).squeeze(0)
    least = steps.index_select(0, confidence.argmin(dim=0, keepdim=True)).squeeze(0)
    return most, least


def prefix_means(steps: Tensor) -> Tensor:
    r"""The mean of the logits up to each time step: :math:`\frac{1}{t} \sum_{s \le t} z_S(s)`.

    Args:
        steps: the student's logits of every time step, shape ``[T, N, K]``.

    Returns:
        Shape ``[T, N, K]``, fp32 or wider; the last is the mean over all steps.

    Raises:
        ValueError: not 3-dimensional.

    Example:
        >>> import torch
        >>> prefix_means(torch.tensor([[[4.0]], [[0.0]], [[2.0]]])).flatten()
        tensor([4., 2., 2.])
    """
    steps = bounded_logits(check_steps(steps))
    count = torch.arange(1, len(steps) + 1, device=steps.device, dtype=steps.dtype)
    return steps.cumsum(dim=0) / count.view(-1, 1, 1)


def replace_errors(steps: Tensor, teacher: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits in which each step's wrong choice and the label are made equal: SeAl-KD (arXiv 2605.14252).

    Where step ``t`` chooses a wrong class, the student's logit of it is replaced by that of the label, and the
    teacher's logits of both by the smaller of the two. Where it is right, nothing is replaced.

    Args:
        steps: the student's logits of every time step, shape ``[T, N, K]``.
        teacher: logits, shape ``[N, K]``.
        labels: class indices ``[N]``, or soft labels ``[N, K]``, of which the largest entry counts.

    Returns:
        The student's and the teacher's logits, shape ``[T, N, K]`` each, fp32 or wider.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> import torch
        >>> replace_errors(torch.tensor([[[1.0, 3.0]]]), torch.tensor([[4.0, 2.0]]), torch.tensor([0]))
        (tensor([[[1., 1.]]]), tensor([[[2., 2.]]]))
    """
    check_shapes(steps=(steps, "T N K"), teacher=(teacher, "N K"))
    steps, teacher = at_least_float32(steps), at_least_float32(teacher)
    chosen = steps.argmax(dim=2, keepdim=True)
    label = class_indices(labels, steps).view(1, -1, 1).expand_as(chosen)
    teacher = teacher.expand_as(steps)
    lower = torch.minimum(teacher.gather(2, label), teacher.gather(2, chosen))
    # Where the choice is the label, every replacement puts a value in its own place.
    return (
        steps.scatter(2, chosen, steps.gather(2, label)),
        teacher.scatter(2, chosen, lower).scatter(2, label, lower),
    )


def mean_of_other_steps(steps: Tensor) -> Tensor:
    r"""For each time step the weighted mean of the others: the target of SeAl-KD's alignment (arXiv 2605.14252).

    :math:`\bar z_i = \sum_{j \ne i} w_{ij} z(j)` with :math:`w_{ij}` the softmax over :math:`j \ne i` of
    :math:`c_j \cos(z(i), z(j))` and the confidence :math:`c_j = 1 - H(\sigma(z(j))) / \log K`.

    Args:
        steps: logits of every time step, shape ``[T, N, K]``, ``T >= 2`` and ``K >= 2``.

    Returns:
        Shape ``[T, N, K]``, fp32 or wider.

    Raises:
        ValueError: not 3-dimensional, one time step, or one class.

    Example:
        >>> import torch
        >>> mean_of_other_steps(torch.tensor([[[0.0, 1.0]], [[2.0, 0.0]]]))  # of two, the other one
        tensor([[[2., 0.]],
        <BLANKLINE>
                [[0., 1.]]])
    """
    check_shapes(steps=(steps, "T>=2 N K>=2"))
    steps = bounded_logits(steps)
    log_p = F.log_softmax(steps, dim=2)
    confidence = 1 + (log_p.exp() * log_p).sum(dim=2) / math.log(steps.shape[2])
    unit = unit_rows(steps)
    # Not a matrix product: autocast would take it to half precision.
    scores = confidence * (unit.unsqueeze(1) * unit.unsqueeze(0)).sum(dim=3)  # [i, j, N]
    itself = torch.eye(len(steps), dtype=torch.bool, device=steps.device).unsqueeze(2)
    weights = scores.masked_fill(itself, -torch.inf).softmax(dim=1)
    return (weights.unsqueeze(3) * steps).sum(dim=1)
