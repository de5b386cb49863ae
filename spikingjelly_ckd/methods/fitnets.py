"""FitNets: the student's middle layer, through a regressor, as the teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from ..errors.shapes import check_shapes
from ..functional.maps import at_least_float32, time_mean
from .base import LayerChoice
from .projected import ProjectedLoss
from .projectors import regressor

__all__ = ["FitNetsLoss"]


class FitNetsLoss(ProjectedLoss):
    r"""Hints for thin deep nets, FitNets (Romero et al., ICLR 2015, arXiv 1412.6550).

    :math:`\mathrm{mean}\,(r(F_S) - F_T)^2` over all entries, with :math:`F_S` averaged over time and :math:`r` a
    convolution with BatchNorm and ReLU that brings it to the teacher's shape and trains with the student. Where no
    layers are given, the middle stages are compared. The method's two phases are one here, as in mdistiller.

    Args:
        student_shape: ``(C, h, w)`` of the student's layer; None reads it off the example.
        teacher_shape: of the teacher's.

    Raises:
        TypeError: a shape is not made of integers.
        ValueError: one shape without the other, not three numbers, or no convolution leads from one to the other.

    Example:
        >>> import torch
        >>> loss = FitNetsLoss((4, 8, 8), (6, 4, 4))
        >>> loss(torch.zeros(2, 1, 4, 8, 8), torch.zeros(1, 6, 4, 4)).shape
        torch.Size([])
    """

    layer_choice: ClassVar[LayerChoice] = "middle"

    def __init__(self, student_shape: Sequence[int] | None = None, teacher_shape: Sequence[int] | None = None) -> None:
        for name, shape in (("student_shape", student_shape), ("teacher_shape", teacher_shape)):
            if shape is not None and (isinstance(shape, str) or not isinstance(shape, Sequence)):
                raise TypeError(f"{name} must be (C, h, w), got {type(shape).__name__} {shape!r}")
            if shape is not None and len(shape) != 3:
                raise ValueError(f"{name} must be (C, h, w), got {tuple(shape)}")
        super().__init__(student_shape, teacher_shape, ("student_shape", "teacher_shape"))

    def make(self, student: Sequence[int], teacher: Sequence[int]) -> nn.Module:
        """The regressor."""
        return regressor(student, teacher)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            student: layer ``[T, N, C, h, w]``.
            teacher: layer ``[N, C', h', w']``, not detached here: pass it detached.

        Returns:
            Scalar.

        Raises:
            RuntimeError: the regressor was not built.
            ValueError: the regressor's output has another shape than the teacher's layer, or other axes.
        """
        regressed = at_least_float32(self.built()(time_mean(student)))
        check_shapes(regressed=(regressed, "N C h w"), teacher=(teacher, "N C h w"))
        return F.mse_loss(regressed, at_least_float32(teacher))
