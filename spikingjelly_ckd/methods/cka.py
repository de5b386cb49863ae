"""CKA: the student's layer at every time step, aligned with the teacher's up to rotation and scale."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..errors.shapes import check_shapes
from ..functional.relations import linear_cka
from .base import DistillationLoss

__all__ = ["CKALoss"]


class CKALoss(DistillationLoss):
    r"""Linear centred kernel alignment as a loss: the domain loss of Transfer-for-DVS (AAAI 2024, arXiv 2303.13077).

    :math:`\frac{1}{T} \sum_t (1 - \mathrm{CKA}(F_S(t), F_T))`, of all channels and positions. The source compares one
    spiking network's layers on static images and on events, step by step; an ANN's layer in place of the former is
    ours, and so is that every step counts alike, where the source learns a weight for each. Channels and sizes need not
    be equal.

    A step at which the student's layer is the same for every image, such as silent, counts 1 and has no gradient.

    Example:
        >>> import torch
        >>> spikes = torch.eye(3).view(1, 3, 3, 1, 1)  # three images, each with a channel of its own
        >>> silent = torch.zeros_like(spikes)
        >>> CKALoss()(torch.cat([spikes, silent]), 5 * torch.eye(3).view(3, 3, 1, 1))
        tensor(0.5000)
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
        return 1 - torch.stack([linear_cka(step, teacher) for step in student]).mean()
