"""TKS: all time steps learn from those that classify the image correctly, without a teacher."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors.checks import check_flag, check_positive
from ..functional.bounds import bounded_logits
from ..functional.maps import at_least_float32
from ..functional.time import sum_correct_steps
from .base import DistillationLoss

__all__ = ["TKSLoss"]


class TKSLoss(DistillationLoss):
    r"""Temporal knowledge sharing, IEEE TAI 2024 (arXiv 2304.06540).

    :math:`\frac{1}{T} \sum_t \tau^2 \, \mathrm{CE}(\sigma(z^* / \tau), \sigma(z_S(t)))`, mean over the batch, where
    :math:`z^*` is the sum of :math:`z_S(t)` over the steps that classify the image correctly; where none does it is
    zero, a uniform target. The student's side is not divided by :math:`\tau`. No teacher is needed.

    Args:
        temperature: :math:`\tau > 0`, of the target alone.
        detach_target: take :math:`z^*` without gradient; the authors' code does not. With it an image's gradient grows
            with its logits where the target is undecided; without it, it is at most :math:`2 \tau^2`.

    Raises:
        TypeError: ``temperature`` is no number, or ``detach_target`` no bool.
        ValueError: ``temperature`` is not positive.

    Example:
        >>> import torch
        >>> TKSLoss(temperature=2.0)(torch.zeros(2, 1, 2), torch.tensor([0]))  # 4 log 2
        tensor(2.7726)
    """

    takes: ClassVar[tuple[str, ...]] = ("student_per_step_logits", "labels")

    def __init__(self, temperature: float = 3.0, *, detach_target: bool = False) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.detach_target = check_flag("detach_target", detach_target)

    def forward(self, steps: Tensor, labels: Tensor) -> Tensor:
        """The loss.

        Args:
            steps: the student's logits of every time step, ``[T, N, K]``.
            labels: class indices ``[N]``, or soft labels ``[N, K]``, of which the largest entry counts.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike shapes.
        """
        steps = at_least_float32(steps)
        total, _ = sum_correct_steps(steps, labels)
        target = torch.softmax((total.detach() if self.detach_target else total) / self.temperature, dim=1)
        return -(self.temperature**2) * (target * F.log_softmax(bounded_logits(steps), dim=2)).sum(dim=2).mean()
