"""Strong2Weak and Weak2Strong: the most and the least confident time step, one learning from the other."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..functional.checks import check_choice, check_positive
from ..functional.divergences import check_steps, soft_kl
from ..functional.maps import at_least_float32
from .base import DistillationLoss, Signals

__all__ = ["StrongWeakLoss"]


class StrongWeakLoss(DistillationLoss):
    r"""Self-distillation between time steps, NeurIPS 2025 (arXiv 2510.07924).

    :math:`\tau^2 \, \mathrm{KL}(\sigma(z_S(t_s) / \tau) \,\|\, \sigma(z_S(t_w) / \tau))`, mean over the batch.
    The confidence of a step is the batch mean of its largest softmax probability; :math:`t_s` is the most and
    :math:`t_w` the least confident step. With ``direction="weak_to_strong"`` they change places. No teacher is asked.

    Args:
        direction: ``"strong_to_weak"`` or ``"weak_to_strong"``; the first is the target, the last learns.
        temperature: :math:`\tau > 0`.
        squared_temperature: multiply by :math:`\tau^2`.
        detach_target: take the target without gradient.

    Raises:
        TypeError: ``temperature`` is no number.
        ValueError: ``temperature`` is not positive, or ``direction`` is unknown.

    Example:
        >>> import torch
        >>> steps = torch.tensor([[[2.0, 0.0]], [[0.0, 0.0]]])
        >>> StrongWeakLoss()(steps)
        tensor(0.4438)
    """

    needs: ClassVar[tuple[str, ...]] = ("per_step_logits",)

    def __init__(
        self,
        direction: str = "strong_to_weak",
        temperature: float = 2.0,
        *,
        squared_temperature: bool = True,
        detach_target: bool = True,
    ) -> None:
        super().__init__()
        self.direction = check_choice("direction", direction, ("strong_to_weak", "weak_to_strong"))
        self.temperature = check_positive("temperature", temperature)
        self.squared_temperature = squared_temperature
        self.detach_target = detach_target

    def select(self, signals: Signals) -> tuple[Tensor | None]:
        """The student's logits of every time step."""
        return (signals.student_per_step_logits,)

    def forward(self, steps: Tensor) -> Tensor:
        """The loss.

        Args:
            steps: the student's logits of every time step, ``[T, N, K]``, ``T >= 2``.

        Returns:
            Scalar.

        Raises:
            ValueError: not three axes, or one time step.
        """
        if len(check_steps(steps)) < 2:
            raise ValueError(
                "StrongWeakLoss compares two time steps, got T=1: train with time_steps=2 or more, or leave it out"
            )
        steps = at_least_float32(steps)
        confidence = steps.detach().softmax(dim=2).amax(dim=2).mean(dim=1)
        # index_select: indexing with a scalar tensor would wait for the device.
        strong = steps.index_select(0, confidence.argmax(dim=0, keepdim=True)).squeeze(0)
        weak = steps.index_select(0, confidence.argmin(dim=0, keepdim=True)).squeeze(0)
        target, learner = (strong, weak) if self.direction == "strong_to_weak" else (weak, strong)
        if self.detach_target:
            target = target.detach()
        return soft_kl(learner, target, self.temperature, squared=self.squared_temperature).mean()

    def extra_repr(self) -> str:
        """The settings, for ``print``."""
        return (
            f"direction={self.direction}, temperature={self.temperature}, "
            f"squared_temperature={self.squared_temperature}, detach_target={self.detach_target}"
        )
