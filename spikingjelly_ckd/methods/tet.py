"""TET: the cross-entropy of every time step."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..errors.checks import check_non_negative
from ..functional.maps import at_least_float32
from ..functional.time import step_cross_entropy
from .base import DistillationLoss

__all__ = ["TETLoss"]


class TETLoss(DistillationLoss):
    r"""Temporal efficient training, Deng et al., ICLR 2022 (arXiv 2202.11946).

    :math:`(1 - \lambda) \, \frac{1}{T} \sum_t \mathrm{CE}(z_S(t), y) + \lambda \, \mathrm{mean}((z_S - m)^2)`, mean
    over the batch; the second term is a mean over steps, images and classes. No teacher: it is meant as
    ``Distiller(task_loss=TETLoss())``.

    Args:
        lamb: :math:`\lambda`, 0 to 1, weight of the squared distance from a constant.
        means: :math:`m \ge 0`, that constant.
        label_smoothing: 0 to 1, as in :func:`torch.nn.functional.cross_entropy`.

    Raises:
        TypeError: a number was expected.
        ValueError: a value is out of range.

    Example:
        >>> import torch
        >>> steps = torch.tensor([[[0.0, 0.0]], [[2.0, 0.0]]])
        >>> TETLoss()(steps, torch.tensor([0]))
        tensor(0.4100)
    """

    takes: ClassVar[tuple[str, ...]] = ("student_per_step_logits", "labels")

    def __init__(self, lamb: float = 0.0, means: float = 1.0, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.lamb = _check_fraction("lamb", lamb)
        self.means = check_non_negative("means", means)
        self.label_smoothing = _check_fraction("label_smoothing", label_smoothing)

    def forward(self, steps: Tensor, labels: Tensor) -> Tensor:
        """The loss.

        Args:
            steps: the student's logits of every time step, ``[T, N, K]``.
            labels: class indices ``[N]``, or soft labels ``[N, K]``, used as they are.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike shapes.
        """
        steps = at_least_float32(steps)
        entropy = step_cross_entropy(steps, labels, label_smoothing=self.label_smoothing)
        if self.lamb == 0:
            return entropy
        return (1 - self.lamb) * entropy + self.lamb * torch.square(steps - self.means).mean()


def _check_fraction(name: str, value: float) -> float:
    """``value`` if it is from 0 to 1, both included."""
    if check_non_negative(name, value) > 1:
        raise ValueError(f"{name} must lie in 0..1, got {value}")
    return value
