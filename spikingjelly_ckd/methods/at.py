"""Attention Transfer: where the layers of both networks are active, depth by depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ..errors.checks import check_positive
from ..functional.features import attention_distance
from ..functional.maps import time_mean
from .base import DistillationLoss, LayerChoice

__all__ = ["ATLoss"]


class ATLoss(DistillationLoss):
    r"""Attention Transfer, Zagoruyko and Komodakis, ICLR 2017, arXiv 1612.03928.

    For each pair of layers :math:`\mathrm{mean}\,(Q_S - Q_T)^2`, summed over the pairs, where :math:`Q` is an image's
    :math:`\mathrm{mean}_c |F_c|^p` over the positions, divided by its Euclidean norm. The student's features are
    averaged over time. The larger layer is average-pooled to the smaller.

    It is the control for SAMD: a map of activity as well, with a norm in place of the softmax and the teacher's
    activity in place of its class map.

    Args:
        power: :math:`p \ge 1`; below 1 the gradient is not finite where nothing fires.

    Raises:
        TypeError: ``power`` is no number.
        ValueError: ``power`` is below 1.

    Example:
        >>> import torch
        >>> spikes = torch.tensor([0.0, 1.0]).view(1, 1, 1, 1, 2)
        >>> ATLoss()([spikes], [torch.tensor([0.0, 3.0]).view(1, 1, 1, 2)])
        tensor(0.)
    """

    takes: ClassVar[tuple[str, ...]] = ("student_features", "teacher_features")
    layer_choice: ClassVar[LayerChoice] = "stages"

    def __init__(self, power: float = 2.0) -> None:
        super().__init__()
        self.power = check_positive("power", power)
        if power < 1:
            raise ValueError(
                f"power must be at least 1, got {power}: below, the gradient is not finite where nothing fires"
            )

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """The loss.

        Args:
            student: layers ``[T, N, C, h, w]``.
            teacher: as many layers ``[N, C', h', w']``, not detached here: pass them detached.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike numbers of layers or images, or other axes.
        """
        if len(student) != len(teacher):
            raise ValueError(f"as many layers are needed on both sides, got {len(student)} and {len(teacher)}")
        pairs = zip(student, teacher, strict=True)
        return torch.stack([attention_distance(time_mean(s), t, self.power) for s, t in pairs]).sum()
