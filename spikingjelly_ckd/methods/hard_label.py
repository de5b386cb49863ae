"""Hard-label distillation: the teacher's first choice as the label."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..functional.weighted import hard_label_error
from .base import DistillationLoss

__all__ = ["HardLabelLoss"]


class HardLabelLoss(DistillationLoss):
    """Hard distillation, DeiT (Touvron et al., ICML 2021, arXiv 2012.12877), on the student's one classifier.

    Cross-entropy of the student's mean logits with the class that the teacher gives the image, mean over the batch. It
    has no temperature. DeiT takes it at a distillation token with a classifier of its own.

    Example:
        >>> import torch
        >>> HardLabelLoss()(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]))
        tensor(0.6931)
    """

    takes: ClassVar[tuple[str, ...]] = ("student_logits", "teacher_logits")

    def __init__(self) -> None:  # without it the signature is nn.Module's
        super().__init__()

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            student: logits, ``[N, K]``.
            teacher: logits, ``[N, K]``.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike shapes.
        """
        return hard_label_error(student, teacher).mean()
