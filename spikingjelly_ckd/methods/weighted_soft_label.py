"""Weighted soft labels: distillation on the logits that trusts the teacher by its own error."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ..functional.checks import check_positive
from ..functional.maps import at_least_float32
from .base import DistillationLoss, Signals

__all__ = ["WeightedSoftLabelLoss"]


class WeightedSoftLabelLoss(DistillationLoss):
    r"""Weighted soft labels, the logit part of BKDSNN; after Zhou et al., ICLR 2021, arXiv 2102.00650.

    :math:`\tau^2 \, \mathrm{mean}_i \, \omega_i \, \mathrm{CE}(\sigma(z_T / \tau), \sigma(z_S / \tau))`, a
    cross-entropy of soft labels, not a divergence, where :math:`\omega_i = 1 - \exp(-\mathrm{CE}_S / \mathrm{CE}_T)` of
    the image's own cross-entropies with its label, detached: an image that the student gets right where the teacher
    does not counts little.

    Args:
        temperature: :math:`\tau > 0`.

    Raises:
        TypeError: ``temperature`` is no number.
        ValueError: ``temperature`` is not positive.

    Example:
        >>> import torch
        >>> student, teacher = torch.zeros(1, 2), torch.tensor([[2.0, 0.0]])
        >>> WeightedSoftLabelLoss()(student, teacher, torch.tensor([0]))
        tensor(2.7608)
    """

    needs: ClassVar[tuple[str, ...]] = ("logits", "labels")

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)

    def select(self, signals: Signals) -> tuple[Tensor, Tensor, Tensor]:
        """The logits of both networks, and the labels."""
        return signals.student_logits, signals.teacher_logits, signals.labels

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """The loss.

        Args:
            student: logits, ``[N, K]``.
            teacher: logits, ``[N, K]``, used as they are given: pass them detached.
            labels: class indices ``[N]``, or soft labels ``[N, K]``.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike shapes.
        """
        if student.shape != teacher.shape:
            raise ValueError(
                f"student and teacher must have one shape, got {tuple(student.shape)} and {tuple(teacher.shape)}"
            )
        student, teacher = at_least_float32(student), at_least_float32(teacher)
        own = F.cross_entropy(student.detach(), labels, reduction="none")
        weight = 1 - torch.exp(-own / (F.cross_entropy(teacher, labels, reduction="none") + 1e-7))
        soft_labels = torch.softmax(teacher / self.temperature, dim=1)
        distance = F.cross_entropy(student / self.temperature, soft_labels, reduction="none")
        return self.temperature**2 * (weight * distance).mean()

    def extra_repr(self) -> str:
        """The settings, for ``print``."""
        return f"temperature={self.temperature}"
