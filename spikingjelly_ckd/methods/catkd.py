"""CAT-KD: the class maps of every class, matched to the teacher's."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..errors.checks import check_count, check_flag
from ..functional.features import class_map_error
from ..functional.maps import at_least_float32
from .base import HEAD_MISFIT, DistillationLoss, Term
from .signals import Signals

__all__ = ["CATKDLoss"]


class CATKDLoss(DistillationLoss):
    r"""Class attention transfer, CAT-KD (Guo et al., CVPR 2023, arXiv 2304.12777).

    A head of average pooling and one linear layer is the same as a 1x1 convolution with the linear layer's weight,
    without its bias, followed by the pooling; the convolution's output is one map a class. Both networks' maps, the
    student's of its features averaged over time, are pooled to ``size x size`` and compared by the mean squared error
    over all entries.

    Args:
        size: of the pooled maps: 2 on CIFAR, 4 on ImageNet in the authors' code.
        normalize: divide each map by its Euclidean norm first; a map of zeros, where the student is silent, stays as
            it is, and its gradient is as if the norm was 1.

    Raises:
        TypeError: ``size`` is no integer, or ``normalize`` no bool.
        ValueError: ``size`` is below 1.

    Example:
        >>> import torch
        >>> CATKDLoss(size=1)(torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 8, 8))
        tensor(1.)
    """

    takes: ClassVar[tuple[str, ...]] = (
        *("student_features", "teacher_features", "student_head", "teacher_head"),
        *("student_logits", "teacher_logits"),
    )

    def __init__(self, size: int = 2, *, normalize: bool = False) -> None:
        super().__init__()
        self.size = check_count("size", size)
        self.normalize = check_flag("normalize", normalize)

    def select(self, signals: Signals) -> tuple[Tensor, ...]:
        """The maps of every class of both networks, and whether their heads make their logits of these layers.

        Raises:
            ValueError: not one layer on each side.
        """
        student, teacher, student_head, teacher_head, student_logits, teacher_logits = super().select(signals)
        student = at_least_float32(student).mean(0)
        return (
            student_head.class_maps(student),
            teacher_head.class_maps(teacher),
            student_head.explains(student, student_logits),
            teacher_head.explains(teacher, teacher_logits),
        )

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            student: class maps, ``[N, K, h, w]``.
            teacher: class maps, ``[N, K, h', w']``, not detached here: pass them detached.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike numbers of images or classes, or maps smaller than ``size``.
        """
        return class_map_error(student, teacher, self.size, normalize=self.normalize)

    def compute(self, student: Tensor, teacher: Tensor, student_fits: Tensor, teacher_fits: Tensor) -> Term:
        """The loss, and a violation where a head is not what makes the logits of the recorded layer."""
        violations = {
            HEAD_MISFIT.format(role="student"): ~student_fits,
            HEAD_MISFIT.format(role="teacher"): ~teacher_fits,
        }
        return self.term(self(student, teacher), violations=violations)
