"""TTM and WTTM: a power of the teacher's probabilities as the target, and no temperature for the student."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..errors.checks import check_flag, check_positive
from ..functional.weighted import transformed_teacher_kl
from .base import DistillationLoss

__all__ = ["WTTMLoss"]


class WTTMLoss(DistillationLoss):
    r"""(Weighted) transformed teacher matching, Zheng and Yang, ICLR 2024 (arXiv 2402.11148).

    :math:`u \, \mathrm{KL}(\tilde p_T \,\|\, \sigma(z_S))`, mean over the batch, with
    :math:`\tilde p_T = p_T^l / \sum_k p_{T,k}^l`. :math:`u = \sum_k p_{T,k}^l` with ``weighted`` (WTTM): images of
    which the teacher is less sure count more; else 1 (TTM). The student's logits are not divided by anything.

    Args:
        exponent: :math:`l > 0`; it softens where it is below 1.
        weighted: WTTM; else TTM.

    Raises:
        TypeError: a value of the wrong kind.
        ValueError: ``exponent`` is not positive.

    Example:
        >>> import torch
        >>> student, teacher = torch.zeros(1, 2), torch.tensor([[2.0, 0.0]])
        >>> WTTMLoss(0.5)(student, teacher), WTTMLoss(0.5, weighted=False)(student, teacher)
        (tensor(0.1424), tensor(0.1109))
    """

    takes: ClassVar[tuple[str, ...]] = ("student_logits", "teacher_logits")

    def __init__(self, exponent: float = 0.2, *, weighted: bool = True) -> None:
        super().__init__()
        self.exponent = check_positive("exponent", exponent)
        self.weighted = check_flag("weighted", weighted)

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
        return transformed_teacher_kl(student, teacher, self.exponent, weighted=self.weighted).mean()
