"""CAT-KD: the class maps of every class, drawn to the teacher's."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from ..functional.maps import at_least_float32
from .base import HEAD_MISFIT, DistillationLoss, Signals, Term, one_pair

__all__ = ["CATKDLoss"]


class CATKDLoss(DistillationLoss):
    r"""Class attention transfer, CAT-KD (Guo et al., CVPR 2023, arXiv 2304.12777).

    A head of average pooling and one linear layer is the same as a 1x1 convolution with the linear layer's weight,
    without its bias, followed by the pooling; the convolution's output is one map a class. Both networks' maps, the
    student's of its features averaged over time, are pooled to ``size x size`` and compared by the mean squared error
    over all entries.

    Args:
        size: of the pooled maps: 2 on CIFAR, 4 on ImageNet in the authors' code.
        normalize: divide each map by its Euclidean norm first.

    Raises:
        TypeError: ``size`` is no integer.
        ValueError: ``size`` is below 1.

    Example:
        >>> import torch
        >>> CATKDLoss(size=1)(torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 8, 8))
        tensor(1.)
    """

    needs: ClassVar[tuple[str, ...]] = ("features", "logits", "student_head", "teacher_head")

    def __init__(self, size: int = 2, *, normalize: bool = False) -> None:
        super().__init__()
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"size must be an integer, got {type(size).__name__} {size!r}")
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self.size = size
        self.normalize = normalize

    def select(self, signals: Signals) -> tuple[Tensor, ...]:
        """The maps of every class of both networks, and whether their heads make their logits of these layers.

        Raises:
            ValueError: not one layer on each side.
        """
        student, teacher = one_pair(signals, self)
        student_head, teacher_head = signals.student_head, signals.teacher_head
        if student_head is None or teacher_head is None:
            raise ValueError("CATKDLoss needs both networks' last linear layers (signals.student_head, .teacher_head)")
        student = at_least_float32(student).mean(0)
        return (
            student_head.class_maps(student),
            teacher_head.class_maps(teacher),
            student_head.explains(student, signals.student_logits),
            teacher_head.explains(teacher, signals.teacher_logits),
        )

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            student: class maps, ``[N, K, h, w]``.
            teacher: class maps, ``[N, K, h', w']``, used as they are given: pass them detached.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike numbers of images or classes, or maps smaller than ``size``.
        """
        if student.ndim != 4 or teacher.ndim != 4 or student.shape[:2] != teacher.shape[:2]:
            raise ValueError(
                f"class maps must be [N, K, h, w] with one N and K, got {tuple(student.shape)} and "
                f"{tuple(teacher.shape)}"
            )
        if min(*student.shape[2:], *teacher.shape[2:]) < self.size:
            raise ValueError(
                f"size is {self.size}, but the maps have {tuple(student.shape[2:])} and {tuple(teacher.shape[2:])} "
                "positions; pass a smaller size"
            )
        return F.mse_loss(self._pooled(student), self._pooled(teacher))

    def compute(self, student: Tensor, teacher: Tensor, student_fits: Tensor, teacher_fits: Tensor) -> Term:
        """The loss, and a fault where a head is not what makes the logits of the recorded layer."""
        violations = {
            HEAD_MISFIT.format(role="student"): ~student_fits,
            HEAD_MISFIT.format(role="teacher"): ~teacher_fits,
        }
        return Term(self(student, teacher), violations=violations)

    def _pooled(self, maps: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(at_least_float32(maps), self.size)
        return F.normalize(pooled.flatten(2), dim=2) if self.normalize else pooled.flatten(2)

    def extra_repr(self) -> str:
        """The settings, for ``print``."""
        return f"size={self.size}, normalize={self.normalize}"
