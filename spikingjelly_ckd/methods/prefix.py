"""Prefix distillation: the student's mean logits after few time steps learn from those after more."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

from torch import Tensor

from ..errors.checks import check_choice, check_count, check_flag, check_positive
from ..errors.shapes import check_shapes
from ..functional.divergences import soft_kl
from ..functional.time import check_steps, prefix_means
from .base import DistillationLoss

__all__ = ["PrefixKDLoss"]

PrefixTarget = Literal["whole", "next"]


class PrefixKDLoss(DistillationLoss):
    r"""Self-distillation over time: the temporal half of TSSD (arXiv 2406.07862), and TPD of MEOM (ICLR 2026).

    With :math:`\bar z_t = \frac{1}{t} \sum_{s \le t} z_S(s)`, what the student says after :math:`t` of :math:`T` steps:
    :math:`\tau^2 \, \mathrm{KL}(\sigma(\bar z_{t'} / \tau) \,\|\, \sigma(\bar z_t / \tau))`, mean over the pairs
    :math:`(t, t')` and the batch. No teacher is needed. The pairs are:

    - ``target="whole"`` with ``prefix``: one, (``prefix``, :math:`T`). TSSD: the network is trained with more time
      steps than it will be used with, and these ``prefix`` steps learn from all of them.
    - ``target="whole"``: :math:`(t, T)` for every :math:`t < T`; ours, for a network that may be stopped at any step.
    - ``target="next"``: :math:`(t, t + 1)` for every :math:`t < T`. TPD, which has a cross-entropy in place of the
      divergence: with a detached target the gradient is the same.

    Temperature, its square and which side is detached are not known from the sources at hand; **they are ours**.

    Args:
        target: ``"whole"`` or ``"next"``.
        prefix: how many time steps learn, at least 1; None is every number below :math:`T`. Only with ``"whole"``.
        temperature: :math:`\tau > 0`.
        detach_target: take the longer prefix without gradient.

    Raises:
        TypeError: a value of the wrong kind.
        ValueError: a value is out of range or unknown, or ``prefix`` with ``target="next"``.

    Example:
        >>> import torch
        >>> steps = torch.tensor([[[0.0, 0.0]], [[4.0, 0.0]]])
        >>> PrefixKDLoss(prefix=1)(steps)  # the first learns from the mean of both, 2 and 0
        tensor(0.4438)
    """

    takes: ClassVar[tuple[str, ...]] = ("student_per_step_logits",)

    def __init__(
        self,
        target: PrefixTarget = "whole",
        prefix: int | None = None,
        temperature: float = 2.0,
        *,
        detach_target: bool = True,
    ) -> None:
        super().__init__()
        check_choice("target", target, get_args(PrefixTarget))
        self.target = target
        self.prefix = None if prefix is None else check_count("prefix", prefix)
        if target == "next" and prefix is not None:
            raise ValueError(f"prefix is for target='whole': with 'next' every prefix learns, got prefix={prefix}")
        self.temperature = check_positive("temperature", temperature)
        self.detach_target = check_flag("detach_target", detach_target)

    def forward(self, steps: Tensor) -> Tensor:
        """The loss.

        Args:
            steps: the student's logits of every time step, ``[T, N, K]``, ``T`` above ``prefix``, or at least 2.

        Returns:
            Scalar.

        Raises:
            ValueError: not three axes, or too few time steps.
        """
        least = 2 if self.prefix is None else self.prefix + 1
        hint = f"a prefix learns from more time steps: train with time_steps={least} or more, or leave PrefixKDLoss out"
        check_shapes(hint, steps=(check_steps(steps), f"T>={least} N K"))
        means = prefix_means(steps)
        learners = means[:-1] if self.prefix is None else means[self.prefix - 1 : self.prefix]
        longer = means[1:] if self.target == "next" else means[-1:].expand_as(learners)
        return soft_kl(learners, longer.detach() if self.detach_target else longer, self.temperature).mean()
