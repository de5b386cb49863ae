"""Strong2Weak and Weak2Strong: the most and the least confident time step, one learning from the other."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

from torch import Tensor

from ..errors.checks import check_choice, check_flag, check_positive
from ..errors.shapes import check_shapes
from ..functional.divergences import soft_kl
from ..functional.time import check_steps, most_and_least_confident
from .base import DistillationLoss

__all__ = ["StrongWeakLoss"]

Direction = Literal["strong_to_weak", "weak_to_strong"]


class StrongWeakLoss(DistillationLoss):
    r"""Self-distillation between time steps, NeurIPS 2025 (arXiv 2510.07924).

    :math:`\tau^2 \, \mathrm{KL}(\sigma(z_S(t_s) / \tau) \,\|\, \sigma(z_S(t_w) / \tau))`, mean over the batch.
    The confidence of a step is the batch mean of its largest softmax probability; :math:`t_s` is the most and
    :math:`t_w` the least confident step. With ``direction="weak_to_strong"`` they change places. No teacher is needed.

    Args:
        direction: ``"strong_to_weak"`` or ``"weak_to_strong"``; the first is the target, the last learns.
        temperature: :math:`\tau > 0`.
        squared_temperature: multiply by :math:`\tau^2`.
        detach_target: take the target without gradient.

    Raises:
        TypeError: ``temperature`` is no number, or another argument no bool.
        ValueError: ``temperature`` is not positive, or ``direction`` is unknown.

    Example:
        >>> import torch
        >>> steps = torch.tensor([[[2.0, 0.0]], [[0.0, 0.0]]])
        >>> StrongWeakLoss()(steps)
        tensor(0.4438)
    """

    takes: ClassVar[tuple[str, ...]] = ("student_per_step_logits",)

    def __init__(
        self,
        direction: Direction = "strong_to_weak",
        temperature: float = 2.0,
        *,
        squared_temperature: bool = True,
        detach_target: bool = True,
    ) -> None:
        super().__init__()
        check_choice("direction", direction, get_args(Direction))
        self.direction = direction
        self.temperature = check_positive("temperature", temperature)
        self.squared_temperature = check_flag("squared_temperature", squared_temperature)
        self.detach_target = check_flag("detach_target", detach_target)

    def forward(self, steps: Tensor) -> Tensor:
        """The loss.

        Args:
            steps: the student's logits of every time step, ``[T, N, K]``, ``T >= 2``.

        Returns:
            Scalar.

        Raises:
            ValueError: not three axes, or one time step.
        """
        hint = "StrongWeakLoss compares two time steps: train with time_steps=2 or more, or leave it out"
        check_shapes(hint, steps=(check_steps(steps), "T>=2 N K"))
        strong, weak = most_and_least_confident(steps)
        target, learner = (strong, weak) if self.direction == "strong_to_weak" else (weak, strong)
        if self.detach_target:
            target = target.detach()
        return soft_kl(learner, target, self.temperature, squared=self.squared_temperature).mean()
