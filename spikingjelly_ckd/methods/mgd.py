"""MGD: the teacher's features generated from a part of the student's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors.checks import check_share
from ..errors.shapes import check_shapes
from ..functional.features import feature_error
from ..functional.maps import time_mean
from .projected import ProjectedLoss
from .projectors import BlurredGenerator

__all__ = ["MGDLoss"]


class MGDLoss(ProjectedLoss):
    r"""Masked generative distillation, MGD (Yang et al., ECCV 2022, arXiv 2205.01529), in its form for classifiers.

    :math:`\|G(M \odot \mathrm{align}(F_S)) - F_T\|^2 / N`, summed over all entries of an image: :math:`F_S` averaged
    over time, brought to the teacher's channels by a 1x1 convolution where they differ, whole channels masked at
    random, and :math:`G` two 3x3 convolutions with a ReLU between. Convolutions train with the student.

    Args:
        mask_ratio: probability that a channel is masked, from 0 to below 1; the others are not scaled up.
        student_channels: None reads them off the example.
        teacher_channels: likewise.
        generator: random source of the mask, on the networks' device; PyTorch's own by default.

    Raises:
        TypeError: ``mask_ratio`` is no number, or a number of channels no integer.
        ValueError: a value is out of range, or one number of channels comes without the other.

    Example:
        >>> import torch
        >>> loss = MGDLoss(student_channels=4, teacher_channels=6)
        >>> loss(torch.zeros(2, 1, 4, 8, 8), torch.zeros(1, 6, 8, 8)).shape
        torch.Size([])
    """

    def __init__(
        self,
        mask_ratio: float = 0.15,
        student_channels: int | None = None,
        teacher_channels: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(student_channels, teacher_channels, generator=generator)
        self.mask_ratio = check_share("mask_ratio", mask_ratio)

    def make(self, student: Sequence[int], teacher: Sequence[int]) -> BlurredGenerator:
        """The convolutions, from the channels."""
        return BlurredGenerator(student[0], teacher[0])

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            student: layer ``[T, N, C, h, w]``.
            teacher: layer ``[N, C', h, w]``, not detached here: pass it detached.

        Returns:
            Scalar.

        Raises:
            RuntimeError: the convolutions were not built.
            ValueError: unlike sizes of the maps, or other axes.
        """
        hint = "for maps of other sizes record other layers (layers=)"
        check_shapes(hint, student=(student, "T N C h w"), teacher=(teacher, "N C' h w"))
        generated = self.built()(time_mean(student), self.mask_ratio, self.generator)
        return feature_error(generated, teacher)
