"""ReviewKD: the student's layers, fused from deep to shallow, as the teacher's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Size, Tensor

from ..functional.features import hierarchical_context_error
from ..functional.maps import time_mean
from .base import DistillationLoss, LayerChoice
from .projectors import AttentionFusion

__all__ = ["ReviewKDLoss"]


class ReviewKDLoss(DistillationLoss):
    r"""Knowledge review, ReviewKD (Chen et al., CVPR 2021, arXiv 2104.09044).

    The student's layers, averaged over time, are fused from deep to shallow
    (:class:`~spikingjelly_ckd.methods.projectors.AttentionFusion`) and each result is compared with the teacher's
    layer by the hierarchical context loss: the mean squared error at full size, and average-pooled to 4, 2 and 1
    positions a side where the map is larger, with weights 1, 1/2, 1/4, 1/8 divided by their sum; summed over the
    layers. The pooled vector in front of the classifier, which the authors add as a last level, is left out. Layers
    before their activation, which the authors compare, do not exist behind a spiking neuron: name the normalisation
    in front of it (``layers=``).

    Example:
        >>> loss = ReviewKDLoss()
        >>> loss.build([(2, 1, 4, 8, 8)], [(1, 5, 8, 8)])
        >>> loss([torch.zeros(2, 1, 4, 8, 8)], [torch.zeros(1, 5, 8, 8)]).shape
        torch.Size([])
    """

    takes: ClassVar[tuple[str, ...]] = ("student_features", "teacher_features")
    layer_choice: ClassVar[LayerChoice] = "stages"

    def __init__(self) -> None:
        super().__init__()
        self.fusion: AttentionFusion | None = None

    @property
    def needs_build(self) -> bool:
        """Whether the fusion waits for the layers' shapes."""
        return self.fusion is None

    def build(
        self, student_shapes: Sequence[Size | tuple[int, ...]], teacher_shapes: Sequence[Size | tuple[int, ...]]
    ) -> None:
        """Create the fusion, unless it is there.

        Args:
            student_shapes: of each layer, ``[T, N, C, h, w]``, shallow to deep.
            teacher_shapes: of each layer, ``[N, C, h, w]``.

        Raises:
            ValueError: unlike numbers of layers, maps of unlike size, or maps that grow with depth.
        """
        sizes = [tuple(shape[-2:]) for shape in student_shapes], [tuple(shape[-2:]) for shape in teacher_shapes]
        if sizes[0] != sizes[1] or sizes[0] != sorted(sizes[0], key=math.prod, reverse=True):
            raise ValueError(
                f"ReviewKDLoss needs layers of one size on both sides, shallow to deep, got {sizes[0]} and {sizes[1]}; "
                "name them (layers=)"
            )
        if self.fusion is None:
            self.fusion = AttentionFusion(student_shapes, teacher_shapes)

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """The loss.

        Args:
            student: layers ``[T, N, C, h, w]``, shallow to deep.
            teacher: as many layers ``[N, C', h, w]``, not detached here: pass them detached.

        Returns:
            Scalar.

        Raises:
            RuntimeError: the fusion was not built.
            ValueError: unlike shapes, or other numbers of layers than the fusion was built for.
        """
        if self.fusion is None:
            raise RuntimeError("the fusion was not built: pass example= to the distiller")
        if not len(student) == len(teacher) == len(self.fusion.narrow):
            raise ValueError(
                f"the fusion was built for {len(self.fusion.narrow)} layers of each network, got {len(student)} and "
                f"{len(teacher)}"
            )
        fused = self.fusion([time_mean(layer) for layer in student])
        return torch.stack([hierarchical_context_error(a, b) for a, b in zip(fused, teacher, strict=True)]).sum()
