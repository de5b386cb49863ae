"""DKD: the label's class and the other classes, distilled apart."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ..functional.checks import check_non_negative, check_positive
from ..functional.divergences import class_indices
from ..functional.maps import at_least_float32
from .base import DistillationLoss, Signals

__all__ = ["DKDLoss"]


class DKDLoss(DistillationLoss):
    r"""Decoupled knowledge distillation, Zhao et al., CVPR 2022 (arXiv 2203.08679).

    :math:`\alpha \, \tau^2 \, \mathrm{KL}(b_T \,\|\, b_S) + \beta \, \tau^2 \, \mathrm{KL}(\hat p_T \,\|\, \hat p_S)`,
    mean over the batch. :math:`b = (p_y, 1 - p_y)` with :math:`p = \sigma(z / \tau)` says whether it is the label's
    class; :math:`\hat p` is the softmax over all other classes. KD is the case :math:`\alpha = 1`,
    :math:`\beta = 1 - p_{T,y}`.

    Args:
        temperature: :math:`\tau > 0`.
        alpha: :math:`\alpha \ge 0`, weight of the label's class.
        beta: :math:`\beta \ge 0`, weight of the other classes.

    Raises:
        TypeError: a number was expected.
        ValueError: a value is out of range.

    Example:
        >>> import torch
        >>> student, teacher = torch.zeros(1, 3), torch.tensor([[0.0, 2.0, 0.0]])
        >>> DKDLoss(temperature=2.0)(student, teacher, torch.tensor([1]))  # the other classes agree already
        tensor(0.4931)
    """

    needs: ClassVar[tuple[str, ...]] = ("logits", "labels")

    def __init__(self, temperature: float = 4.0, alpha: float = 1.0, beta: float = 8.0) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.alpha = check_non_negative("alpha", alpha)
        self.beta = check_non_negative("beta", beta)

    def select(self, signals: Signals) -> tuple[Tensor, Tensor, Tensor]:
        """The logits of both networks, and the labels."""
        return signals.student_logits, signals.teacher_logits, signals.labels

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """The loss.

        Args:
            student: logits, ``[N, K]``, ``K >= 2``.
            teacher: logits, ``[N, K]``, used as they are given: pass them detached.
            labels: class indices ``[N]``, or soft labels ``[N, K]``, of which the largest entry counts.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike shapes, or fewer than two classes.
        """
        if student.shape != teacher.shape or student.ndim != 2 or student.shape[1] < 2:
            raise ValueError(
                f"student and teacher must both be [N, K] with K >= 2, got {tuple(student.shape)} and "
                f"{tuple(teacher.shape)}"
            )
        classes = class_indices(labels, student).unsqueeze(1)
        # Indices of the K - 1 others: no mask of -inf, whose product with a zero probability is no number.
        others = torch.arange(student.shape[1] - 1, device=student.device).expand(len(student), -1)
        others = others + (others >= classes).long()
        binary_student, rest_student = self._split(student, classes, others)
        binary_teacher, rest_teacher = self._split(teacher, classes, others)
        target = _divergence(binary_student, binary_teacher)
        rest = _divergence(rest_student, rest_teacher)
        return self.temperature**2 * (self.alpha * target + self.beta * rest).mean()

    def _split(self, logits: Tensor, classes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of ``b [N, 2]`` and of the distribution over the other classes ``[N, K - 1]``."""
        log_p = F.log_softmax(at_least_float32(logits) / self.temperature, dim=1)
        rest = log_p.gather(1, others)
        mass = rest.logsumexp(dim=1, keepdim=True)
        return torch.cat([log_p.gather(1, classes), mass], dim=1), rest - mass

    def extra_repr(self) -> str:
        """The settings, for ``print``."""
        return f"temperature={self.temperature}, alpha={self.alpha}, beta={self.beta}"


def _divergence(log_student: Tensor, log_teacher: Tensor) -> Tensor:
    return (log_teacher.exp() * (log_teacher - log_student)).sum(dim=1)
