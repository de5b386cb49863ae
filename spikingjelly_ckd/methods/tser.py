"""TSER: every time step learns from the teacher, and its entropy is rewarded."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from ..functional.checks import check_choice, check_non_negative, check_positive
from ..functional.divergences import step_kl
from ..functional.maps import at_least_float32
from .base import DistillationLoss, Signals

__all__ = ["TSERLoss"]


class TSERLoss(DistillationLoss):
    r"""Temporal separation with entropy regularisation, CVPR 2025 (arXiv 2503.03144): its distillation part.

    :math:`\alpha \, \frac{1}{T} \sum_t \tau^2 \, \mathrm{KL}(\sigma(z_T / \tau) \,\|\, \sigma(z_S(t) / \tau)) -
    \gamma \, \frac{1}{T} \sum_t H(\sigma(z_S(t) / \tau))`, mean over the batch. The entropy is subtracted, so a flatter
    step is a smaller loss, and the value may be negative; ``entropy="penalty"`` adds it. The method's other part is the
    cross-entropy of every step with weight :math:`1 - \alpha`: ``task_loss=``:class:`~spikingjelly_ckd.TETLoss`,
    ``task_weight=1 - alpha``.

    Args:
        alpha: :math:`\alpha \ge 0`, weight of the teacher.
        gamma: :math:`\gamma \ge 0`, weight of the entropy.
        temperature: :math:`\tau > 0`.
        entropy: ``"reward"``, or ``"penalty"`` for the other sign.

    Raises:
        TypeError: a number was expected.
        ValueError: a value is out of range or unknown.

    Example:
        >>> import torch
        >>> steps = torch.zeros(2, 1, 2)
        >>> TSERLoss(gamma=1.0)(steps, steps[0]), TSERLoss(gamma=1.0, entropy="penalty")(steps, steps[0])
        (tensor(-0.6931), tensor(0.6931))
    """

    needs: ClassVar[tuple[str, ...]] = ("logits", "per_step_logits")

    def __init__(
        self, alpha: float = 0.5, gamma: float = 0.1, temperature: float = 4.0, entropy: str = "reward"
    ) -> None:
        super().__init__()
        self.alpha = check_non_negative("alpha", alpha)
        self.gamma = check_non_negative("gamma", gamma)
        self.temperature = check_positive("temperature", temperature)
        self.entropy = check_choice("entropy", entropy, ("reward", "penalty"))

    def select(self, signals: Signals) -> tuple[Tensor | None, Tensor]:
        """The student's logits of every time step, and the teacher's logits."""
        return signals.student_per_step_logits, signals.teacher_logits

    def forward(self, steps: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            steps: the student's logits of every time step, ``[T, N, K]``.
            teacher: logits, ``[N, K]``, used as they are given: pass them detached.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike shapes.
        """
        divergence = step_kl(steps, teacher, self.temperature).mean()
        log_p = F.log_softmax(at_least_float32(steps) / self.temperature, dim=2)
        entropy = -(log_p.exp() * log_p).sum(dim=2).mean()
        sign = -1 if self.entropy == "reward" else 1
        return self.alpha * divergence + sign * self.gamma * entropy

    def extra_repr(self) -> str:
        """The settings, for ``print``."""
        return f"alpha={self.alpha}, gamma={self.gamma}, temperature={self.temperature}, entropy={self.entropy}"
