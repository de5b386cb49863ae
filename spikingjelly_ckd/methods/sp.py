"""SP: similarities between the images of a batch, as the teacher has them."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..errors.shapes import check_shapes
from ..functional.maps import time_mean
from ..functional.relations import similarity_error
from .base import DistillationLoss

__all__ = ["SPLoss"]


class SPLoss(DistillationLoss):
    r"""Similarity-preserving knowledge distillation, Tung and Mori, ICCV 2019 (arXiv 1907.09682).

    :math:`\|\tilde G_S - \tilde G_T\|_F^2 / N^2`, where :math:`G` is the matrix of inner products of the images' layers
    with all channels and positions, and :math:`\tilde G` has each row divided by its Euclidean length. The student's
    layer is averaged over time. Channels and sizes need not be equal.

    Example:
        >>> import torch
        >>> spikes = torch.eye(2).view(1, 2, 2, 1, 1)  # two images, each with a channel of its own
        >>> SPLoss()(spikes, torch.ones(2, 5, 4, 4))  # to the teacher they are alike
        tensor(0.2929)
    """

    takes: ClassVar[tuple[str, ...]] = ("student_features", "teacher_features")

    def __init__(self) -> None:
        super().__init__()

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
        return similarity_error(time_mean(student), teacher)
