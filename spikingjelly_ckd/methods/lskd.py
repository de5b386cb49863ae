"""LS-KD: logits standardised before they are softened."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..errors.checks import check_positive
from ..errors.shapes import check_shapes
from ..functional.divergences import soft_kl
from ..functional.logits import standardize_logits
from .base import DistillationLoss

__all__ = ["LSKDLoss"]


class LSKDLoss(DistillationLoss):
    r"""Logit standardisation in knowledge distillation, Sun et al., CVPR 2024 (arXiv 2403.01427).

    :math:`\tau^2 \, \mathrm{KL}(\sigma(Z(z_T) / \tau) \,\|\, \sigma(Z(z_S) / \tau))`, mean over the batch, with
    :math:`Z(z) = (z - \mathrm{mean}(z)) / (\mathrm{std}(z) + \epsilon)` over the classes of each image; the standard
    deviation is the unbiased one. Logits that are constant but for rounding are divided by 1. With two classes
    :math:`Z` is 0.71 and -0.71 whatever the logits are, so the loss has no gradient but rounding.

    Args:
        temperature: :math:`\tau > 0`.
        eps: :math:`\epsilon > 0`.

    Raises:
        TypeError: a number was expected.
        ValueError: a value is not positive.

    Example:
        >>> import torch
        >>> loss = LSKDLoss()
        >>> student = torch.tensor([[1.0, 2.0, 4.0]])
        >>> loss(student, 10 * student + 3).abs() < 1e-6  # neither scale nor shift counts
        tensor(True)
    """

    takes: ClassVar[tuple[str, ...]] = ("student_logits", "teacher_logits")

    def __init__(self, temperature: float = 2.0, eps: float = 1e-7) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.eps = check_positive("eps", eps)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            student: logits, ``[N, K]``, ``K >= 2``.
            teacher: logits, ``[N, K]``, not detached here: pass them detached.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike shapes, or fewer than two classes.
        """
        check_shapes(student=(student, "N K>=2"), teacher=(teacher, "N K"))
        student, teacher = standardize_logits(student, self.eps), standardize_logits(teacher, self.eps)
        return soft_kl(student, teacher, self.temperature).mean()
