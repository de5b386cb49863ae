"""NKD: the teacher's probability of the label, and its normalised distribution over the other classes."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..errors.checks import check_non_negative, check_positive
from ..functional.weighted import normalized_error
from .base import DistillationLoss

__all__ = ["NKDLoss"]


class NKDLoss(DistillationLoss):
    r"""Normalised knowledge distillation, Yang et al., ICCV 2023 (arXiv 2303.13005).

    :math:`-p_y \log q_y - \gamma \, \tau^2 \sum_{k \ne y} \hat p_k \log \hat q_k`, mean over the batch, with
    :math:`p, q` the teacher's and the student's probabilities at temperature 1 and :math:`\hat p, \hat q` the softmax
    over the classes other than the label's :math:`y`. These are cross-entropies, not divergences: the value has a
    floor.

    Args:
        temperature: :math:`\tau > 0`, of the other classes.
        gamma: :math:`\gamma \ge 0`, weight of the other classes.

    Raises:
        TypeError: a number was expected.
        ValueError: a value is out of range.

    Example:
        >>> import torch
        >>> student, teacher = torch.zeros(1, 3), torch.tensor([[0.0, 2.0, 0.0]])
        >>> NKDLoss()(student, teacher, torch.tensor([1]))
        tensor(1.9043)
    """

    takes: ClassVar[tuple[str, ...]] = ("student_logits", "teacher_logits", "labels")

    def __init__(self, temperature: float = 1.0, gamma: float = 1.5) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.gamma = check_non_negative("gamma", gamma)

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
        label, others = normalized_error(student, teacher, labels, self.temperature)
        return (label + self.gamma * self.temperature**2 * others).mean()
