"""TSER: every time step learns from the teacher, and its entropy is rewarded."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

from torch import Tensor

from ..errors.checks import check_choice, check_non_negative, check_positive
from ..functional.time import step_entropy, step_kl
from .base import DistillationLoss

__all__ = ["TSERLoss"]

Entropy = Literal["reward", "penalty"]


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

    takes: ClassVar[tuple[str, ...]] = ("student_per_step_logits", "teacher_logits")

    def __init__(
        self, alpha: float = 0.5, gamma: float = 0.1, temperature: float = 4.0, entropy: Entropy = "reward"
    ) -> None:
        super().__init__()
        self.alpha = check_non_negative("alpha", alpha)
        self.gamma = check_non_negative("gamma", gamma)
        self.temperature = check_positive("temperature", temperature)
        check_choice("entropy", entropy, get_args(Entropy))
        self.entropy = entropy

    def forward(self, steps: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            steps: the student's logits of every time step, ``[T, N, K]``.
            teacher: logits, ``[N, K]``, not detached here: pass them detached.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike shapes.
        """
        divergence = step_kl(steps, teacher, self.temperature).mean()
        entropy = step_entropy(steps, self.temperature).mean()
        sign = -1 if self.entropy == "reward" else 1
        return self.alpha * divergence + sign * self.gamma * entropy
