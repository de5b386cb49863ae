"""NLD of CKDSNN: the student's logits smoothed by noise before they are compared with the teacher's."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from ..errors.checks import check_choice, check_flag, check_non_negative, check_positive
from ..errors.shapes import check_shapes
from ..functional.bounds import bounded_logits
from ..functional.divergences import probability_kl, soft_kl
from ..functional.logits import Spread, gaussian_like, mix_noise
from ..functional.maps import at_least_float32
from .stochastic import StochasticLoss

__all__ = ["NLDLoss"]

Mode = Literal["logits", "probabilities"]


class NLDLoss(StochasticLoss):
    r"""Noise-smoothed logits distillation, CKDSNN (AAAI 2026, arXiv 2511.06902).

    With :math:`\epsilon \sim N(\mathrm{mean}(z_S), \mathrm{std}(z_S)^2)` drawn anew each step for each image over its
    classes:

    - ``mode="logits"`` (the paper):
      :math:`\tau^2 \, \mathrm{KL}(\sigma(z_T / \tau) \,\|\, \sigma((z_S + \lambda \epsilon) / \tau))`;
    - ``mode="probabilities"`` (the authors' code): the student's side is
      :math:`(1 - \lambda) \sigma(z_S / \tau) + \lambda \sigma(\epsilon / \tau)`.

    The mean of the noise has no effect behind a softmax; its spread has. Value and gradient are finite for all finite
    logits.

    Args:
        temperature: :math:`\tau > 0`.
        noise_weight: :math:`\lambda \ge 0`, always the weight of the noise (the authors' code names ``1 - lambda``).
        noise: ``"adaptive"``, spread from the logits; or a fixed standard deviation.
        mode: ``"logits"`` or ``"probabilities"``.
        generator: random source on the logits' device; PyTorch's own by default.
        spread: of adaptive noise, ``"std"`` (unbiased), or ``"variance"`` used as a standard deviation (the authors'
            code).
        detach_statistics: take mean and spread without gradient.

    Raises:
        TypeError: a number or a bool was expected.
        ValueError: a value is out of range or unknown.

    Example:
        >>> import torch
        >>> loss = NLDLoss(noise_weight=0.0)  # without noise it is KD
        >>> loss(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]))
        tensor(0.4438)
    """

    takes: ClassVar[tuple[str, ...]] = ("student_logits", "teacher_logits")

    def __init__(
        self,
        temperature: float = 2.0,
        noise_weight: float = 0.1,
        noise: Literal["adaptive"] | float = "adaptive",
        mode: Mode = "logits",
        generator: torch.Generator | None = None,
        *,
        spread: Spread = "std",
        detach_statistics: bool = True,
    ) -> None:
        super().__init__(generator)
        self.temperature = check_positive("temperature", temperature)
        self.noise_weight = check_non_negative("noise_weight", noise_weight)
        if isinstance(noise, str):
            check_choice("noise", noise, ("adaptive",))
        else:
            check_non_negative("noise", noise)
        check_choice("mode", mode, get_args(Mode))
        check_choice("spread", spread, get_args(Spread))
        self.noise = noise
        self.mode = mode
        self.spread = spread
        self.detach_statistics = check_flag("detach_statistics", detach_statistics)
        if mode == "probabilities" and noise_weight >= 1:
            raise ValueError(f"noise_weight must be below 1 where probabilities are mixed, got {noise_weight}")

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            student: logits, ``[N, K]``, ``K >= 2``.
            teacher: logits, ``[N, K]``, not detached here: pass them detached.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike shapes, or fewer than two classes.
        """
        check_shapes(student=(student, "N K>=2"), teacher=(teacher, "N K"))
        student, teacher = at_least_float32(student), bounded_logits(teacher)
        noise = gaussian_like(
            student,
            sd=self.spread if isinstance(self.noise, str) else self.noise,
            detach=self.detach_statistics,
            generator=self.generator,
        )
        if self.mode == "logits":
            return soft_kl(bounded_logits(student) + self.noise_weight * noise, teacher, self.temperature).mean()
        mixture = mix_noise(student, noise, self.noise_weight, self.temperature)
        soft_teacher = torch.softmax(teacher / self.temperature, dim=1)
        return probability_kl(mixture, soft_teacher).mean() * self.temperature**2

    def extra_repr(self) -> str:
        """The settings, for ``print``."""
        noise = f"spread={self.spread}" if isinstance(self.noise, str) else f"sd={self.noise}"
        return f"temperature={self.temperature}, noise_weight={self.noise_weight}, {noise}, mode={self.mode}"
