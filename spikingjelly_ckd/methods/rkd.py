"""RKD: distances and angles between the images of a batch, as the teacher has them."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..errors.checks import check_non_negative
from ..errors.shapes import check_shapes
from ..functional.maps import at_least_float32, time_mean
from ..functional.relations import angle_error, distance_error
from .base import DistillationLoss

__all__ = ["RKDLoss"]


class RKDLoss(DistillationLoss):
    r"""Relational knowledge distillation, Park et al., CVPR 2019 (arXiv 1904.05068).

    The last layer is averaged over the positions, the student's also over time, which gives one vector an image. The
    loss is ``distance_weight`` times the smooth L1 error of the distances between all pairs of images, each divided by
    their mean, and ``angle_weight`` times that of the cosines of all triplets. Channels need not be as many.

    Args:
        distance_weight: at least 0.
        angle_weight: at least 0.

    Raises:
        TypeError: a number was expected.
        ValueError: a weight is negative.

    Example:
        >>> import torch
        >>> spikes = torch.eye(3).view(1, 3, 3, 1, 1)  # three images, each with a channel of its own
        >>> RKDLoss()(spikes, 5 * torch.eye(3).view(3, 3, 1, 1))
        tensor(0.)
    """

    takes: ClassVar[tuple[str, ...]] = ("student_features", "teacher_features")

    def __init__(self, distance_weight: float = 25.0, angle_weight: float = 50.0) -> None:
        super().__init__()
        self.distance_weight = check_non_negative("distance_weight", distance_weight)
        self.angle_weight = check_non_negative("angle_weight", angle_weight)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            student: layer ``[T, N, C, h, w]``, ``N >= 2``.
            teacher: layer ``[N, C', h', w']``, not detached here: pass it detached.

        Returns:
            Scalar.

        Raises:
            ValueError: other axes, unlike numbers of images, or a single one.
        """
        check_shapes(student=(student, "T N C h w"), teacher=(teacher, "N C' h' w'"))
        pooled = time_mean(student).mean(dim=(2, 3)), at_least_float32(teacher).mean(dim=(2, 3))
        return self.distance_weight * distance_error(*pooled) + self.angle_weight * angle_error(*pooled)
