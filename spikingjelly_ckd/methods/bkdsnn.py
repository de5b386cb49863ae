"""BKDSNN: the teacher's features generated from blurred ones of the student."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors.checks import check_flag, check_share
from ..errors.shapes import check_shapes
from ..functional.features import feature_error
from ..functional.maps import at_least_float32, time_mean
from .projected import ProjectedLoss
from .projectors import BlurredGenerator

__all__ = ["BKDSNNLoss"]


class BKDSNNLoss(ProjectedLoss):
    r"""Blurred knowledge distillation, the feature part of BKDSNN (Xu et al., ECCV 2024, arXiv 2407.09083).

    :math:`\|G(M \odot \mathrm{align}(F_S)) - F_T\|^2 / N`, summed over all entries of an image: MGD's formula on the
    student's last features averaged over time, where the mask stands for the blur. A mask is drawn at every step, in
    ``eval`` too. With ``pooled`` both sides are averaged over the positions behind :math:`G`, as the authors do for
    transformer teachers, whose positions are not the student's.

    Args:
        blur_ratio: probability that a channel is set to zero, from 0 to below 1; the others are not scaled up.
        pooled: compare means over the positions.
        student_channels: None reads them off the example.
        teacher_channels: likewise.
        generator: random source of the mask, on the networks' device; PyTorch's own by default.

    Raises:
        TypeError: ``blur_ratio`` is no number, ``pooled`` no bool, or a number of channels no integer.
        ValueError: a value is out of range, or one number of channels comes without the other.

    Example:
        >>> import torch
        >>> loss = BKDSNNLoss(pooled=True, student_channels=4, teacher_channels=6)
        >>> loss(torch.zeros(2, 1, 4, 8, 8), torch.zeros(1, 6, 14, 14)).shape
        torch.Size([])
    """

    def __init__(
        self,
        blur_ratio: float = 0.15,
        *,
        pooled: bool = False,
        student_channels: int | None = None,
        teacher_channels: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(student_channels, teacher_channels, generator=generator)
        self.blur_ratio = check_share("blur_ratio", blur_ratio)
        self.pooled = check_flag("pooled", pooled)

    def make(self, student: Sequence[int], teacher: Sequence[int]) -> BlurredGenerator:
        """The convolutions, from the channels."""
        return BlurredGenerator(student[0], teacher[0])

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            student: layer ``[T, N, C, h, w]``.
            teacher: layer ``[N, C', h, w]``, of any size with ``pooled``; not detached here: pass it detached.

        Returns:
            Scalar.

        Raises:
            RuntimeError: the convolutions were not built.
            ValueError: unlike sizes of the maps, or other axes.
        """
        generator = self.built()
        if self.pooled:
            check_shapes(student=(student, "T N C h w"), teacher=(teacher, "N C' h' w'"))
            generated = generator(time_mean(student), self.blur_ratio, self.generator)
            return feature_error(generated.mean(dim=(2, 3)), at_least_float32(teacher).mean(dim=(2, 3)))
        hint = (
            "for maps of other sizes pass pooled=True (published.bkdsnn has it too), or record other layers (layers=)"
        )
        check_shapes(hint, student=(student, "T N C h w"), teacher=(teacher, "N C' h w"))
        return feature_error(generator(time_mean(student), self.blur_ratio, self.generator), teacher)
