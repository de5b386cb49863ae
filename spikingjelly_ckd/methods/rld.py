"""RLD: the teacher's confidence for the label's class, and its ranking of what is below the label."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..errors.checks import check_non_negative, check_positive
from ..functional.weighted import refined_kl
from .base import DistillationLoss

__all__ = ["RLDLoss"]


class RLDLoss(DistillationLoss):
    r"""Refined logit distillation, Sun et al., ICCV 2025 (arXiv 2408.07703): DKD for teachers that are sometimes wrong.

    :math:`\alpha \, \tau_c^2 \, \mathrm{KL}((p_m, 1 - p_m) \,\|\, (q_y, 1 - q_y)) + \beta \, \tau^2 \,
    \mathrm{KL}(\hat p_T \,\|\, \hat p_S)`, mean over the batch. The first part makes the student as sure of the label
    :math:`y` as the teacher is of its own first choice :math:`m`, whichever that is, at :math:`\tau_c`. The second
    compares the softmax over the classes whose teacher logit is below that of the label: classes that the teacher
    prefers to the label are left out.

    Args:
        temperature: :math:`\tau > 0`, of the ranking.
        alpha: :math:`\alpha \ge 0`, weight of the confidence.
        beta: :math:`\beta \ge 0`, weight of the ranking.
        confidence_temperature: :math:`\tau_c > 0`.

    Raises:
        TypeError: a number was expected.
        ValueError: a value is out of range.

    Example:
        >>> import torch
        >>> student, teacher = torch.zeros(1, 3), torch.tensor([[3.0, 2.0, 0.0]])
        >>> RLDLoss()(student, teacher, torch.tensor([1]))  # the teacher is wrong: its confidence alone counts
        tensor(0.2882)
    """

    takes: ClassVar[tuple[str, ...]] = ("student_logits", "teacher_logits", "labels")

    def __init__(
        self,
        temperature: float = 4.0,
        alpha: float = 1.0,
        beta: float = 8.0,
        confidence_temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.alpha = check_non_negative("alpha", alpha)
        self.beta = check_non_negative("beta", beta)
        self.confidence_temperature = check_positive("confidence_temperature", confidence_temperature)

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """The loss.

        Args:
            student: logits, ``[N, K]``, ``K >= 2``.
            teacher: logits, ``[N, K]``, not detached here: pass them detached.
            labels: class indices ``[N]``, or soft labels ``[N, K]``, of which the largest entry counts.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike shapes, or fewer than two classes.
        """
        confidence, ranking = refined_kl(student, teacher, labels, self.temperature, self.confidence_temperature)
        confidence, ranking = self.confidence_temperature**2 * confidence, self.temperature**2 * ranking
        return (self.alpha * confidence + self.beta * ranking).mean()
