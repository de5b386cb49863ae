"""Hinton's knowledge distillation on the logits averaged over time."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..errors.checks import check_positive
from ..functional.divergences import soft_kl
from .base import DistillationLoss

__all__ = ["KDLoss"]


class KDLoss(DistillationLoss):
    r"""Knowledge distillation, Hinton et al., arXiv 1503.02531.

    :math:`\tau^2 \, \mathrm{KL}(\sigma(z_T / \tau) \,\|\, \sigma(z_S / \tau))`, mean over the batch.

    Args:
        temperature: :math:`\tau > 0`.

    Raises:
        TypeError: ``temperature`` is no number.
        ValueError: ``temperature`` is not positive.

    Example:
        >>> import torch
        >>> KDLoss(temperature=2.0)(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]))
        tensor(0.4438)
    """

    takes: ClassVar[tuple[str, ...]] = ("student_logits", "teacher_logits")

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            student: logits, ``[N, K]``.
            teacher: logits, ``[N, K]``, not detached here: pass them detached.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike shapes.
        """
        return soft_kl(student, teacher, self.temperature).mean()
