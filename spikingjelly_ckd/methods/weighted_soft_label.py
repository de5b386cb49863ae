"""Weighted soft labels: distillation on the logits that trusts the teacher by its own error."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..errors.checks import check_positive
from ..functional.logits import weighted_soft_label_error
from .base import DistillationLoss

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

    takes: ClassVar[tuple[str, ...]] = ("student_logits", "teacher_logits", "labels")

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """The loss.

        Args:
            student: logits, ``[N, K]``.
            teacher: logits, ``[N, K]``, not detached here: pass them detached.
            labels: class indices ``[N]``, or soft labels ``[N, K]``.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike shapes.
        """
        return self.temperature**2 * weighted_soft_label_error(student, teacher, labels, self.temperature).mean()
