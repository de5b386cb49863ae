"""SeAl-KD: each step's wrong choice is taken out of the teacher's word, and the steps are drawn together."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ..functional.checks import check_non_negative, check_positive
from ..functional.divergences import check_steps, class_indices, step_kl
from ..functional.maps import at_least_float32
from .base import DistillationLoss, Signals

__all__ = ["SeAlKDLoss"]


class SeAlKDLoss(DistillationLoss):
    r"""SeAl-KD, arXiv 2605.14252 (2026): error-aware logits and soft temporal alignment.

    :math:`\alpha \, L_{ELA} + \beta \, L_{STA}`, mean over the batch.

    :math:`L_{ELA} = \frac{1}{T} \sum_t \tau^2 \, \mathrm{KL}(\sigma(\hat z_T(t) / \tau) \,\|\,
    \sigma(\hat z_S(t) / \tau))`. Where step :math:`t` chooses a wrong class :math:`w`, the student's logit of :math:`w`
    is replaced by that of the label :math:`y`, and the teacher's logits of both by the smaller of the two: the wrong
    class gets no gradient and the label's gets it twice. Where it is right, nothing is replaced.

    :math:`L_{STA} = \frac{1}{T} \sum_i \tau^2 \, \mathrm{KL}(\sigma(\bar z_i / \tau) \,\|\, \sigma(z_S(i) / \tau))`,
    :math:`\bar z_i = \sum_{j \ne i} w_{ij} z_S(j)`, detached, with :math:`w_{ij}` the softmax over :math:`j \ne i` of
    :math:`c_j \cos(z_S(i), z_S(j))` and the confidence :math:`c_j = 1 - H(\sigma(z_S(j))) / \log K`. It is zero for one
    time step. The authors add the cross-entropy of every step: ``task_loss=``:class:`~spikingjelly_ckd.TETLoss`.

    Args:
        alpha: :math:`\alpha \ge 0`.
        beta: :math:`\beta \ge 0`.
        temperature: :math:`\tau > 0`.

    Raises:
        TypeError: a number was expected.
        ValueError: a value is out of range.

    Example:
        >>> import torch
        >>> steps, teacher = torch.zeros(2, 1, 2), torch.tensor([[2.0, 0.0]])
        >>> SeAlKDLoss(alpha=1.0, temperature=2.0)(steps, teacher, torch.tensor([0]))  # right and equal: KD
        tensor(0.4438)
    """

    needs: ClassVar[tuple[str, ...]] = ("logits", "per_step_logits", "labels")

    def __init__(self, alpha: float = 0.6, beta: float = 0.15, temperature: float = 3.0) -> None:
        super().__init__()
        self.alpha = check_non_negative("alpha", alpha)
        self.beta = check_non_negative("beta", beta)
        self.temperature = check_positive("temperature", temperature)

    def select(self, signals: Signals) -> tuple[Tensor | None, Tensor, Tensor]:
        """The student's logits of every time step, the teacher's logits, and the labels."""
        return signals.student_per_step_logits, signals.teacher_logits, signals.labels

    def forward(self, steps: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """The loss.

        Args:
            steps: the student's logits of every time step, ``[T, N, K]``, ``K >= 2``.
            teacher: logits, ``[N, K]``, used as they are given: pass them detached.
            labels: class indices ``[N]``, or soft labels ``[N, K]``, of which the largest entry counts.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike shapes, or fewer than two classes.
        """
        steps, teacher = at_least_float32(check_steps(steps)), at_least_float32(teacher)
        if teacher.shape != steps.shape[1:] or steps.shape[2] < 2:
            raise ValueError(
                f"steps [T, N, K] and teacher [N, K] must fit each other, with K >= 2, got {tuple(steps.shape)} and "
                f"{tuple(teacher.shape)}"
            )
        aligned = step_kl(*_without_errors(steps, teacher, class_indices(labels, steps)), self.temperature).mean()
        if len(steps) == 1:
            return self.alpha * aligned
        together = step_kl(steps, _other_steps(steps.detach()), self.temperature).mean()
        return self.alpha * aligned + self.beta * together

    def extra_repr(self) -> str:
        """The settings, for ``print``."""
        return f"alpha={self.alpha}, beta={self.beta}, temperature={self.temperature}"


def _without_errors(steps: Tensor, teacher: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides ``[T, N, K]``; where the choice is the label, every replacement puts a value in its own place."""
    chosen = steps.argmax(dim=2, keepdim=True)
    label = labels.view(1, -1, 1).expand_as(chosen)
    teacher = teacher.expand_as(steps)
    lower = torch.minimum(teacher.gather(2, label), teacher.gather(2, chosen))
    return (
        steps.scatter(2, chosen, steps.gather(2, label)),
        teacher.scatter(2, chosen, lower).scatter(2, label, lower),
    )


def _other_steps(steps: Tensor) -> Tensor:
    """For each step the weighted mean of the others, ``[T, N, K]``."""
    log_p = F.log_softmax(steps, dim=2)
    confidence = 1 + (log_p.exp() * log_p).sum(dim=2) / math.log(steps.shape[2])
    unit = F.normalize(steps, dim=2)
    # Not a matrix product: autocast would take it to half precision.
    scores = confidence * (unit.unsqueeze(1) * unit.unsqueeze(0)).sum(dim=3)  # [i, j, N]
    itself = torch.eye(len(steps), dtype=torch.bool, device=steps.device).unsqueeze(2)
    weights = scores.masked_fill(itself, -torch.inf).softmax(dim=1)
    return (weights.unsqueeze(3) * steps).sum(dim=1)
