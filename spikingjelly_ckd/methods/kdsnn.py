"""KDSNN: the student's pooled features as the teacher's."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..errors.shapes import check_shapes
from ..functional.features import feature_error
from ..functional.maps import at_least_float32, time_mean
from .projected import ProjectedLoss
from .projectors import align

__all__ = ["KDSNNLoss"]


class KDSNNLoss(ProjectedLoss):
    r"""Feature-based KDSNN (Xu et al., CVPR 2023), **as BKDSNN's authors re-implemented it** for their comparison.

    :math:`\|\mathrm{align}(f_S) - f_T\|^2 / N`, with :math:`f` the mean of the last layer over the positions, the
    student's also over time, and a 1x1 convolution where the channels differ, which trains with the student. KDSNN's
    own formula, weights and layers are not known from the sources at hand. Its response-based form is
    :class:`~spikingjelly_ckd.KDLoss`.

    Args:
        student_channels: None reads them off the example.
        teacher_channels: likewise.

    Raises:
        TypeError: a number of channels is no integer.
        ValueError: one is below 1, or comes without the other.

    Example:
        >>> import torch
        >>> KDSNNLoss(3, 3)(torch.zeros(2, 1, 3, 4, 4), torch.ones(1, 3, 8, 8))
        tensor(3.)
    """

    def __init__(self, student_channels: int | None = None, teacher_channels: int | None = None) -> None:
        super().__init__(student_channels, teacher_channels)

    def make(self, student: Sequence[int], teacher: Sequence[int]) -> nn.Module:
        """The convolution, from the channels."""
        return align(student[0], teacher[0])

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            student: layer ``[T, N, C, h, w]``.
            teacher: layer ``[N, C', h', w']``, not detached here: pass it detached.

        Returns:
            Scalar.

        Raises:
            RuntimeError: the convolution was not built.
            ValueError: other axes.
        """
        check_shapes(student=(student, "T N C h w"), teacher=(teacher, "N C' h' w'"))
        pooled = time_mean(student).mean(dim=(2, 3), keepdim=True)
        return feature_error(self.built()(pooled), at_least_float32(teacher).mean(dim=(2, 3), keepdim=True))
