"""FitNets: the student's middle layer, through a regressor, as the teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Size, Tensor, nn
from torch.nn import functional as F

from ..adaptors import regressor
from ..checks import check_both, check_count
from ..maps import at_least_float32, time_mean
from ..signals import DistillationLoss, Signals, one_pair

__all__ = ["FitNetsLoss"]


class FitNetsLoss(DistillationLoss):
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

    needs: ClassVar[tuple[str, ...]] = ("features",)
    layer_choice: ClassVar[str] = "middle"

    def __init__(self, student_shape: Sequence[int] | None = None, teacher_shape: Sequence[int] | None = None) -> None:
        super().__init__()
        check_both("student_shape", student_shape, "teacher_shape", teacher_shape)
        self.regressor: nn.Module | None = None
        if student_shape is not None and teacher_shape is not None:
            self.regressor = regressor(
                _check_shape("student_shape", student_shape), _check_shape("teacher_shape", teacher_shape)
            )

    @property
    def needs_build(self) -> bool:
        """Whether the regressor waits for the layers' shapes."""
        return self.regressor is None

    def build(self, student_shapes: Sequence[Size], teacher_shapes: Sequence[Size]) -> None:
        """Create the regressor, unless the shapes were given."""
        if self.regressor is None:
            self.regressor = regressor(student_shapes[0][2:], teacher_shapes[0][1:])

    def pick(self, signals: Signals) -> tuple[Tensor, Tensor]:
        """The layers of both networks.

        Raises:
            ValueError: not exactly one pair of layers was recorded.
        """
        return one_pair(signals, self)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            student: layer ``[T, N, C, h, w]``.
            teacher: layer ``[N, C', h', w']``, used as it is given: pass it detached.

        Returns:
            Scalar.

        Raises:
            RuntimeError: the regressor was not built.
            ValueError: the regressor's output has another shape than the teacher's layer, or other axes.
        """
        if self.regressor is None:
            raise RuntimeError("the regressor was not built: pass the shapes, or example= to the distiller")
        guess = at_least_float32(self.regressor(time_mean(student)))
        if guess.shape != teacher.shape:
            raise ValueError(
                f"the regressor gives {tuple(guess.shape)}, the teacher's layer has {tuple(teacher.shape)}"
            )
        return F.mse_loss(guess, at_least_float32(teacher))


def _check_shape(name: str, shape: Sequence[int]) -> list[int]:
    if not isinstance(shape, Sequence) or isinstance(shape, str):
        raise TypeError(f"{name} must be (C, h, w), got {type(shape).__name__}")
    if len(shape) != 3:
        raise ValueError(f"{name} must be (C, h, w), got {tuple(shape)}")
    return [check_count(name, number) for number in shape]
