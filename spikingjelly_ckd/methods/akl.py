"""AKL: forward and reverse divergence, weighted by whether student and teacher differ in head or tail."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..errors.checks import check_positive, check_share
from ..functional.weighted import adaptive_kl
from .base import DistillationLoss

__all__ = ["AKLLoss"]


class AKLLoss(DistillationLoss):
    r"""Adaptive Kullback-Leibler divergence, Wu et al., COLING 2025 (arXiv 2404.02657); the core of HTA-KL.

    :math:`\frac{g_h}{g_h + g_t} \mathrm{KL}(p \,\|\, q) + \frac{g_t}{g_h + g_t} \mathrm{KL}(q \,\|\, p)`, mean over the
    batch, with :math:`p = \sigma(z_T / \tau)`, :math:`q = \sigma(z_S / \tau)`, and :math:`g_h, g_t` the sums of
    :math:`|p - q|` over the classes that hold the first ``head_mass`` of the teacher's probability and over the rest,
    detached; see :func:`~spikingjelly_ckd.functional.adaptive_kl`. It is published for language models. HTA-KL
    (arXiv 2504.20445) for spiking networks is the same as far as its steps could be read.

    Args:
        head_mass: from 0 to below 1.
        temperature: :math:`\tau > 0`; there is no factor :math:`\tau^2`.

    Raises:
        TypeError: a number was expected.
        ValueError: a value is out of range.

    Example:
        >>> import torch
        >>> AKLLoss()(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]))
        tensor(0.3808)
    """

    takes: ClassVar[tuple[str, ...]] = ("student_logits", "teacher_logits")

    def __init__(self, head_mass: float = 0.5, temperature: float = 1.0) -> None:
        super().__init__()
        self.head_mass = check_share("head_mass", head_mass)
        self.temperature = check_positive("temperature", temperature)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            student: logits, ``[N, K]``.
            teacher: logits, ``[N, K]``, not detached here: pass them detached.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike shapes.
        """
        return adaptive_kl(student, teacher, self.head_mass, self.temperature).mean()
