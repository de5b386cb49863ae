"""Functions of the logits of one forward, ``[N, K]``: softened, standardised, smoothed by noise, split by class.

The student comes first and the teacher second. Gradients flow to the student; a target is not detached here, so pass
a detached one. ``N`` images, ``K`` classes.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors.checks import check_choice
from ..errors.shapes import check_shapes
from .bounds import LEAST_LENGTH, bounded_logits, excess, is_flat, smallest_probability
from .divergences import log_kl
from .maps import at_least_float32

__all__ = [
    "class_indices",
    "correlation",
    "decoupled_kl",
    "gaussian_like",
    "mix_noise",
    "split_class",
    "standardize_logits",
    "weighted_soft_label_error",
]

Spread = Literal["std", "variance"]


def class_indices(labels: Tensor, logits: Tensor) -> Tensor:
    """One class an image: the labels as they are, or the largest entry of soft labels.

    Args:
        labels: class indices ``[N]``, or soft labels ``[N, K]``.
        logits: what they belong to, ``[N, K]`` or ``[T, N, K]``.

    Returns:
        Integers, shape ``[N]``.

    Raises:
        ValueError: the labels do not fit the logits.

    Example:
        >>> import torch
        >>> class_indices(torch.tensor([[0.3, 0.7]]), torch.zeros(4, 1, 2))
        tensor([1])
    """
    check_shapes(logits=(logits, "N K | T N K"), labels=(labels, "N | N K"))
    return labels.argmax(dim=1) if labels.ndim == 2 else labels.long()


def decoupled_kl(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    r"""The two parts into which DKD takes Hinton's divergence (Zhao et al., CVPR 2022, arXiv 2203.08679).

    :math:`\mathrm{KL}(b_T \,\|\, b_S)` with :math:`b = (p_y, 1 - p_y)` and :math:`p = \sigma(z / \tau)`, and
    :math:`\mathrm{KL}(\hat p_T \,\|\, \hat p_S)` with :math:`\hat p` the softmax over all classes but the label's.
    Neither has the factor :math:`\tau^2`.

    Args:
        student: logits, shape ``[N, K]``, ``K >= 2``.
        teacher: logits, same shape.
        labels: class indices ``[N]``, or soft labels ``[N, K]``, of which the largest entry counts.
        temperature: :math:`\tau > 0`.

    Returns:
        The divergence of the label's class and that of the other classes, shape ``[N]`` each.

    Raises:
        ValueError: unlike shapes, or fewer than two classes.

    Example:
        >>> import torch
        >>> student, teacher = torch.zeros(1, 3), torch.tensor([[0.0, 2.0, 0.0]])
        >>> decoupled_kl(student, teacher, torch.tensor([1]), 2.0)
        (tensor([0.1233]), tensor([0.]))
    """
    check_shapes(student=(student, "N K>=2"), teacher=(teacher, "N K"))
    classes = class_indices(labels, student)
    binary_student, rest_student = split_class(student, classes, temperature)
    binary_teacher, rest_teacher = split_class(teacher, classes, temperature)
    return log_kl(binary_student, binary_teacher), log_kl(rest_student, rest_teacher)


def split_class(logits: Tensor, classes: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    r"""Softened probabilities taken apart into one class against the rest, and the rest among themselves.

    Args:
        logits: shape ``[N, K]``, ``K >= 2``.
        classes: class index of each image, shape ``[N]``.
        temperature: :math:`\tau > 0`.

    Returns:
        Logarithms: of :math:`(p_y, 1 - p_y)`, shape ``[N, 2]``, and of the softmax over all other classes in their
        order, shape ``[N, K - 1]``; fp32 or wider.

    Raises:
        ValueError: unlike shapes, or fewer than two classes.

    Example:
        >>> import torch
        >>> one, others = split_class(torch.tensor([[1.0, 0.0, 1.0]]), torch.tensor([1]), 1.0)
        >>> one.exp(), others.exp()
        (tensor([[0.1554, 0.8446]]), tensor([[0.5000, 0.5000]]))
    """
    check_shapes(logits=(logits, "N K>=2"), classes=(classes, "N"))
    log_p = F.log_softmax(bounded_logits(logits) / temperature, dim=1)
    one = classes.unsqueeze(1)
    # Indices of the K - 1 others: no mask of -inf, whose product with a zero probability is no number.
    others = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(logits), -1)
    rest = log_p.gather(1, others + (others >= one).long())
    mass = rest.logsumexp(dim=1, keepdim=True)
    return torch.cat([log_p.gather(1, one), mass], dim=1), rest - mass


def weighted_soft_label_error(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    r"""Cross-entropy with the teacher, weighted by its own error and the student's (ICLR 2021, arXiv 2102.00650).

    :math:`\omega \, \mathrm{CE}(\sigma(z_T / \tau), \sigma(z_S / \tau))` with :math:`\omega = 1 -
    \exp(-\mathrm{CE}_S / \mathrm{CE}_T)` of the image's own cross-entropies with its label, detached. No factor
    :math:`\tau^2`.

    Args:
        student: logits, shape ``[N, K]``.
        teacher: logits, same shape.
        labels: class indices ``[N]``, or soft labels ``[N, K]``.
        temperature: :math:`\tau > 0`.

    Returns:
        Shape ``[N]``.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> import torch
        >>> weighted_soft_label_error(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]), torch.tensor([0]), 2.0)
        tensor([0.6902])
    """
    check_shapes(student=(student, "N K"), teacher=(teacher, "N K"), labels=(labels, "N | N K"))
    student, teacher = bounded_logits(student), bounded_logits(teacher)
    labels = labels.to(student.dtype) if labels.ndim == 2 else labels.long()
    own = F.cross_entropy(student.detach(), labels, reduction="none")
    weight = 1 - torch.exp(-own / (F.cross_entropy(teacher, labels, reduction="none") + 1e-7))
    soft_labels = torch.softmax(teacher / temperature, dim=1)
    return weight * F.cross_entropy(student / temperature, soft_labels, reduction="none")


def correlation(student: Tensor, teacher: Tensor, dim: int) -> Tensor:
    r"""Pearson's correlation along one axis, as DIST has it (Huang et al., NeurIPS 2022, arXiv 2205.10536).

    :math:`10^{-8}` is added to the product of the lengths, as in the authors' code. Where the student is constant along
    the axis the correlation is 0, and its gradient is as if both lengths were 1.

    Args:
        student: such as probabilities, shape ``[N, K]``.
        teacher: same shape.
        dim: axis over which the two are correlated.

    Returns:
        Values in [-1, 1], shape without axis ``dim``.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[1.0, 2.0, 4.0]])
        >>> correlation(rows, -3 * rows, dim=1)
        tensor([-1.0000])
    """
    check_shapes(student=(student, "..."), teacher=(teacher, "..."))
    student, teacher = at_least_float32(student), at_least_float32(teacher)
    flat = is_flat(student, dim).squeeze(dim)
    student, teacher = student - student.mean(dim, keepdim=True), teacher - teacher.mean(dim, keepdim=True)
    lengths = torch.linalg.vector_norm(student, dim=dim) * torch.linalg.vector_norm(teacher, dim=dim)
    product = (student * teacher).sum(dim)
    return torch.where(flat, product, product / (lengths + 1e-8))


def standardize_logits(logits: Tensor, eps: float = 1e-7) -> Tensor:
    r""":math:`(z - \mathrm{mean}(z)) / (\mathrm{std}(z) + \epsilon)` of each row: LS-KD (CVPR 2024, arXiv 2403.01427).

    A row that is constant but for rounding is divided by 1, or its gradient would be :math:`1 / \epsilon`.

    Args:
        logits: shape ``[N, K]``, ``K >= 2``.
        eps: :math:`\epsilon > 0`, added to the unbiased standard deviation.

    Returns:
        Shape ``[N, K]``, fp32 or wider.

    Raises:
        ValueError: not 2-dimensional, or fewer than two classes.

    Example:
        >>> import torch
        >>> standardize_logits(torch.tensor([[1.0, 2.0, 3.0]]))
        tensor([[-1.0000,  0.0000,  1.0000]])
    """
    check_shapes(logits=(logits, "N K>=2"))
    logits = at_least_float32(logits)
    times = excess(logits)  # 1 for usual logits; a square of larger ones would overflow
    mean = (logits / times).mean(dim=1, keepdim=True)
    centred = logits / times - mean
    scaled = centred / ((logits / times).std(dim=1, keepdim=True) + eps)
    return torch.where(is_flat(logits / times, 1, LEAST_LENGTH), centred, scaled)


def mix_noise(logits: Tensor, noise: Tensor, noise_weight: float, temperature: float) -> Tensor:
    r"""Probabilities mixed with those of noise: NLD as in the authors' code of CKDSNN (arXiv 2511.06902).

    :math:`(1 - \lambda) \sigma(z / \tau) + \lambda \sigma(\epsilon / \tau)`, at least 1e-32 (fp32), so that its
    logarithm and the slope of that are finite.

    Args:
        logits: :math:`z`, shape ``[N, K]``.
        noise: :math:`\epsilon`, same shape; see :func:`gaussian_like`.
        noise_weight: :math:`\lambda`, 0 to below 1.
        temperature: :math:`\tau > 0`.

    Returns:
        Shape ``[N, K]``, fp32 or wider; every row sums to 1.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> import torch
        >>> mix_noise(torch.zeros(1, 2), torch.tensor([[4.0, 0.0]]), 0.5, 2.0)
        tensor([[0.6904, 0.3096]])
    """
    check_shapes(logits=(logits, "N K"), noise=(noise, "N K"))
    logits, noise = bounded_logits(logits), bounded_logits(noise)
    mixture = (1 - noise_weight) * torch.softmax(logits / temperature, dim=1)
    mixture = mixture + noise_weight * torch.softmax(noise / temperature, dim=1)
    return mixture.clamp_min(smallest_probability(mixture.dtype))


def gaussian_like(
    logits: Tensor, *, sd: float | Spread = "std", detach: bool = True, generator: torch.Generator | None = None
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
        Noise, shape ``[N, K]``, fp32 or wider.

    Raises:
        ValueError: fewer than two classes, where a row has no spread; or ``sd`` is an unknown word.

    Example:
        >>> import torch
        >>> gaussian_like(torch.full((1, 4), 3.0))  # a row without spread: its mean
        tensor([[3., 3., 3., 3.]])
    """
    check_shapes(logits=(logits, "N K>=2"))
    source = logits.detach() if detach else logits
    mean = bounded_logits(source).mean(dim=1, keepdim=True)
    unit = torch.empty_like(mean.expand_as(logits)).normal_(generator=generator)
    if not isinstance(sd, str):
        return mean + sd * unit
    check_choice("sd", sd, get_args(Spread))
    variance = bounded_logits(source).var(dim=1, keepdim=True)
    return mean + (variance.clamp_min(torch.finfo(variance.dtype).tiny).sqrt() if sd == "std" else variance) * unit
