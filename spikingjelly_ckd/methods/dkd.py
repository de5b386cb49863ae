"""DKD: the label's class and the other classes, distilled apart."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..errors.checks import check_non_negative, check_positive
from ..functional.logits import decoupled_kl
from .base import DistillationLoss

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

    takes: ClassVar[tuple[str, ...]] = ("student_logits", "teacher_logits", "labels")

    def __init__(self, temperature: float = 4.0, alpha: float = 1.0, beta: float = 8.0) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.alpha = check_non_negative("alpha", alpha)
        self.beta = check_non_negative("beta", beta)

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
        target, others = decoupled_kl(student, teacher, labels, self.temperature)
        return self.temperature**2 * (self.alpha * target + self.beta * others).mean()
