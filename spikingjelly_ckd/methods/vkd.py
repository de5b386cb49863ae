"""VkD: the student's pooled features, turned by an orthogonal projection, as the teacher's normalised ones."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..errors.shapes import check_shapes
from ..functional.maps import at_least_float32, time_mean
from ..functional.projected import normalized_feature_error
from .projected import ProjectedLoss
from .projectors import OrthogonalProjection

__all__ = ["VkDLoss"]


class VkDLoss(ProjectedLoss):
    r"""Orthogonal projections, VkD (Miles et al., CVPR 2024, arXiv 2403.06213).

    :math:`\mathrm{mean}\, \mathrm{huber}(P f_S - \mathrm{norm}(f_T))` over all entries (smooth L1), with :math:`f` the
    mean of the last layer over the positions, the student's also over time; :math:`P` an orthogonal matrix that trains
    with the student, and norm the layer normalisation of each image's vector, without scale and shift. Since :math:`P`
    keeps angles and, to as many channels or more, lengths, what is learned has to be learned by the student.

    Args:
        student_channels: None reads them off the example.
        teacher_channels: likewise.

    Raises:
        TypeError: a number of channels is no integer.
        ValueError: one is below 1, or comes without the other.

    Example:
        >>> import torch
        >>> VkDLoss(3, 5)(torch.zeros(2, 1, 3, 4, 4), torch.zeros(1, 5, 8, 8))
        tensor(0., grad_fn=<SmoothL1LossBackward0>)
    """

    def __init__(self, student_channels: int | None = None, teacher_channels: int | None = None) -> None:
        super().__init__(student_channels, teacher_channels)

    def make(self, student: Sequence[int], teacher: Sequence[int]) -> OrthogonalProjection:
        """The projection, from the channels."""
        return OrthogonalProjection(student[0], teacher[0])

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            student: layer ``[T, N, C, h, w]``.
            teacher: layer ``[N, C', h', w']``, not detached here: pass it detached.

        Returns:
            Scalar.

        Raises:
            RuntimeError: the projection was not built.
            ValueError: other axes, or other channels than it was built for.
        """
        check_shapes(student=(student, "T N C h w"), teacher=(teacher, "N C' h' w'"))
        projected = self.built()(time_mean(student).mean(dim=(2, 3)))
        return normalized_feature_error(projected, at_least_float32(teacher).mean(dim=(2, 3)))
