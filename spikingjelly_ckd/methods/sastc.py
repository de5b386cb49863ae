"""SASTC: every stage of the student at every time step learns those of the teacher that match it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Size, Tensor
from torch.nn import functional as F

from ..errors.shapes import check_shapes
from ..functional.maps import at_least_float32
from ..functional.projected import attended_error
from .base import DistillationLoss, LayerChoice
from .projectors import LayerMatching

__all__ = ["SASTCLoss"]


class SASTCLoss(DistillationLoss):
    r"""Self-attentive spatio-temporal calibration, SASTC (AAAI 2025, arXiv 2501.08049).

    :math:`\frac{1}{T N S} \sum_{t n i j} a_{tnij} \, \mathrm{mean}\, (R_{ij}(F_S^i(t)) - F_T^j)^2` over all pairs of
    the student's :math:`S` stages and the teacher's. :math:`R` is a convolution network for each pair; the larger map
    of a pair is pooled to the smaller one's size, the student's by its maximum and the teacher's by its mean. The
    attention :math:`a` is the softmax over :math:`j` of :math:`q_{tni} \cdot k_{nj}`, where query and key are small
    networks of the rows of the matrix of inner products of the images' layers. All of it trains with the student.

    **The batch has to be of one size**: the rows have an entry for each image of it, so the networks are built for as
    many images as the example has. Use ``drop_last=True``, and under ``torch.distributed`` an example as large as the
    batch of one process.

    Example:
        >>> import torch
        >>> loss = SASTCLoss()
        >>> loss.build([(2, 4, 6, 8, 8)], [(4, 5, 8, 8), (4, 7, 4, 4)])
        >>> loss([torch.rand(2, 4, 6, 8, 8)], [torch.rand(4, 5, 8, 8), torch.rand(4, 7, 4, 4)]).shape
        torch.Size([])
    """

    takes: ClassVar[tuple[str, ...]] = ("student_features", "teacher_features")
    built_for_batch: ClassVar[bool] = True
    layer_choice: ClassVar[LayerChoice] = "stages"

    def __init__(self) -> None:
        super().__init__()
        self.matching: LayerMatching | None = None

    @property
    def needs_build(self) -> bool:
        """Whether the networks wait for the layers' shapes."""
        return self.matching is None

    def build(
        self, student_shapes: Sequence[Size | tuple[int, ...]], teacher_shapes: Sequence[Size | tuple[int, ...]]
    ) -> None:
        """Create the networks, unless they are there.

        Args:
            student_shapes: of each layer, ``[T, N, C, h, w]``; every batch has to have ``N`` images.
            teacher_shapes: of each layer, ``[N, C, h, w]``; as many as the student has, or any other number.
        """
        if self.matching is None:
            channels = [shape[2] for shape in student_shapes], [shape[1] for shape in teacher_shapes]
            self.matching = LayerMatching(*channels, images=student_shapes[0][1])

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """The loss.

        Args:
            student: layers ``[T, N, C, h, w]``.
            teacher: layers ``[N, C', h', w']``, not detached here: pass them detached.

        Returns:
            Scalar.

        Raises:
            RuntimeError: the networks were not built.
            ValueError: other numbers of layers or of images than they were built for, or other axes.
        """
        if self.matching is None:
            raise RuntimeError("the networks were not built: pass example= to the distiller")
        self._check(student, teacher, self.matching)
        student, teacher = ([at_least_float32(layer) for layer in layers] for layers in (student, teacher))
        keys = self.matching.keys_of(teacher)
        queries, errors = [], []
        for step in zip(*student, strict=True):
            queries.append(self.matching.queries_of(step))
            errors.append(self._errors(step, teacher, self.matching))
        return attended_error(torch.stack(queries), keys, torch.stack(errors))

    @staticmethod
    def _errors(student: Sequence[Tensor], teacher: Sequence[Tensor], matching: LayerMatching) -> Tensor:
        """Of every pair at one time step, ``[N, S, L]``."""
        rows = []
        for i, ours in enumerate(student):
            for j, theirs in enumerate(teacher):
                size = min(ours.shape[2], theirs.shape[2]), min(ours.shape[3], theirs.shape[3])
                pooled = ours if ours.shape[2:] == size else F.adaptive_max_pool2d(ours, size)
                target = theirs if theirs.shape[2:] == size else F.adaptive_avg_pool2d(theirs, size)
                guess = at_least_float32(matching.regress(i, j, pooled))
                rows.append((guess - target).square().flatten(1).mean(1))
        return torch.stack(rows, dim=1).view(-1, len(student), len(teacher))

    @staticmethod
    def _check(student: Sequence[Tensor], teacher: Sequence[Tensor], matching: LayerMatching) -> None:
        if (len(student), len(teacher)) != matching.layers:
            raise ValueError(
                f"the networks were built for {matching.layers} layers (student, teacher), got {len(student)} and "
                f"{len(teacher)}"
            )
        for layer in student:
            check_shapes(student=(layer, "T N C h w"))
        for layer in teacher:
            check_shapes(student=(student[0], "T N C h w"), teacher=(layer, "N C' h' w'"))
        images = student[0].shape[1]
        if images != matching.images:
            raise ValueError(
                f"SASTCLoss was built for batches of {matching.images} images, since its networks have an input for "
                f"each image, and got {images}: use drop_last=True, and make the distiller with an example= as large "
                "as the batches of one process"
            )
