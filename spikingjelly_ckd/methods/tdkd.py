"""Temporal-decoupled distillation: every time step learns from the teacher and from the steps together."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

from torch import Tensor

from ..errors.checks import check_choice, check_non_negative, check_positive
from ..functional.maps import at_least_float32
from ..functional.time import step_kl, sum_correct_steps
from .base import DistillationLoss

__all__ = ["TDKDLoss"]

Ensemble = Literal["mean", "correct"]


class TDKDLoss(DistillationLoss):
    r"""Temporal-decoupled logit distillation with self-distillation, ICML 2025 (arXiv 2501.15925).

    :math:`\frac{1}{T} \sum_t \left( \alpha \, \tau^2 \, \mathrm{KL}(\sigma(z_T / \tau) \,\|\, \sigma(z_S(t) / \tau)) +
    \beta \, \tau^2 \, \mathrm{KL}(\sigma(z_E / \tau) \,\|\, \sigma(z_S(t) / \tau)) \right)`, mean over the batch;
    :math:`z_E` is detached. The paper adds the cross-entropy of every step:
    ``task_loss=``:class:`~spikingjelly_ckd.TETLoss`.

    Args:
        alpha: :math:`\alpha \ge 0`, weight of the teacher.
        beta: :math:`\beta \ge 0`, weight of the ensemble.
        temperature: :math:`\tau > 0`.
        ensemble: :math:`z_E` of each image: ``"mean"`` over all steps (the paper), or ``"correct"``, over the steps
            that classify it correctly and zeros, a uniform target, where none does (the authors' code).

    Raises:
        TypeError: a number was expected.
        ValueError: a value is out of range or unknown.

    Example:
        >>> import torch
        >>> steps, teacher = torch.zeros(2, 1, 2), torch.tensor([[2.0, 0.0]])
        >>> TDKDLoss(alpha=1.0, temperature=2.0)(steps, teacher, torch.tensor([0]))  # equal steps: KD
        tensor(0.4438)
    """

    takes: ClassVar[tuple[str, ...]] = ("student_per_step_logits", "teacher_logits", "labels")

    def __init__(
        self, alpha: float = 0.2, beta: float = 0.5, temperature: float = 3.0, ensemble: Ensemble = "mean"
    ) -> None:
        super().__init__()
        self.alpha = check_non_negative("alpha", alpha)
        self.beta = check_non_negative("beta", beta)
        self.temperature = check_positive("temperature", temperature)
        check_choice("ensemble", ensemble, get_args(Ensemble))
        self.ensemble = ensemble

    def forward(self, steps: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """The loss.

        Args:
            steps: the student's logits of every time step, ``[T, N, K]``.
            teacher: logits, ``[N, K]``, not detached here: pass them detached.
            labels: class indices ``[N]``, or soft labels ``[N, K]``, of which the largest entry counts; read by
                ``ensemble="correct"`` alone.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike shapes.
        """
        steps = at_least_float32(steps)
        from_teacher = step_kl(steps, teacher, self.temperature).mean()
        from_ensemble = step_kl(steps, self._ensemble(steps.detach(), labels), self.temperature).mean()
        return self.alpha * from_teacher + self.beta * from_ensemble

    def _ensemble(self, steps: Tensor, labels: Tensor) -> Tensor:
        if self.ensemble == "mean":
            return steps.mean(dim=0)
        total, count = sum_correct_steps(steps, labels)
        return total / count.clamp_min(1).unsqueeze(1)
