"""WKD-F: the mean and the spread of each channel, as the teacher's."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..errors.checks import check_non_negative
from ..errors.shapes import check_shapes
from ..functional.maps import time_mean
from ..functional.projected import channel_statistics_error
from .projected import ProjectedLoss
from .projectors import regressor

__all__ = ["WKDFLoss"]


class WKDFLoss(ProjectedLoss):
    r"""The feature half of WKD, Wasserstein distance (Lv et al., NeurIPS 2024, arXiv 2412.08139).

    :math:`\frac{1}{N} \sum (r \, (\mu_S - \mu_T)^2 + (\sigma_S - \sigma_T)^2)` over images and channels: each channel
    of each image is taken as a Gaussian, with its mean :math:`\mu` and standard deviation :math:`\sigma` over the
    positions. The student's layer is averaged over time and goes through a 1x1 convolution, BatchNorm and ReLU, which
    train with it. Sizes of the maps need not be equal.

    Args:
        mean_weight: :math:`r \ge 0`.
        student_channels: None reads them off the example.
        teacher_channels: likewise.

    Raises:
        TypeError: ``mean_weight`` is no number, or a number of channels no integer.
        ValueError: a value is out of range, or one number of channels comes without the other.

    Example:
        >>> import torch
        >>> loss = WKDFLoss(student_channels=4, teacher_channels=6)
        >>> loss(torch.zeros(2, 1, 4, 8, 8), torch.ones(1, 6, 4, 4)).shape
        torch.Size([])
    """

    def __init__(
        self, mean_weight: float = 4.0, student_channels: int | None = None, teacher_channels: int | None = None
    ) -> None:
        super().__init__(student_channels, teacher_channels)
        self.mean_weight = check_non_negative("mean_weight", mean_weight)

    def make(self, student: Sequence[int], teacher: Sequence[int]) -> nn.Module:
        """Convolution, BatchNorm and ReLU, from the channels."""
        return regressor((student[0], 1, 1), (teacher[0], 1, 1))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            student: layer ``[T, N, C, h, w]``.
            teacher: layer ``[N, C', h', w']``, not detached here: pass it detached.

        Returns:
            Scalar.

        Raises:
            RuntimeError: the projector was not built.
            ValueError: other axes.
        """
        check_shapes(student=(student, "T N C h w"), teacher=(teacher, "N C' h' w'"))
        return channel_statistics_error(self.built()(time_mean(student)), teacher, self.mean_weight)
