"""OFA: heads on the student's stages, each of which learns the teacher's logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Size, Tensor, nn

from ..errors.arguments import ArgumentValueError
from ..errors.checks import check_count, check_positive
from ..functional.maps import time_mean
from ..functional.projected import enhanced_target_error
from .base import DistillationLoss, LayerChoice
from .projectors import StageHead

__all__ = ["OFALoss"]


class OFALoss(DistillationLoss):
    r"""One-for-all distillation, OFA-KD (Hao et al., NeurIPS 2023, arXiv 2310.19444), for students of any family.

    :math:`\sum_i -\sum_k ((p_k + 1_{k=y})^\gamma - 1_{k=y}) \log q^{(i)}_k`, mean over the batch, with the teacher's
    probabilities :math:`p` and those of every exit of the student :math:`q^{(i)}`: a head on each of its stages, and
    its own logits. The stages are averaged over time. A head halves the map once for each deeper stage (depthwise
    separable convolutions), averages it and has one linear layer; heads train with the student. Nothing of the
    teacher's layers is compared, so its family does not matter.

    Args:
        power: :math:`\gamma \ge 1`; at 1 the target is the teacher's distribution, above it the label counts more.
        temperature: :math:`\tau > 0` of both distributions; there is no factor :math:`\tau^2`.
        num_classes: :math:`K`; None reads it off the example.

    Raises:
        TypeError: a number was expected.
        ValueError: a value is out of range.

    Example:
        >>> import torch
        >>> loss = OFALoss(num_classes=10)
        >>> loss.build([(2, 4, 6, 8, 8), (2, 4, 8, 4, 4)], [(4, 16, 4, 4)])
        >>> layers = [torch.rand(2, 4, 6, 8, 8), torch.rand(2, 4, 8, 4, 4)]
        >>> loss(layers, torch.rand(4, 10), torch.rand(4, 10), torch.arange(4)).shape
        torch.Size([4])
    """

    takes: ClassVar[tuple[str, ...]] = ("student_features", "student_logits", "teacher_logits", "labels")
    needs = ("labels", "logits", "features")
    layer_choice: ClassVar[LayerChoice] = "stages"

    def __init__(self, power: float = 1.0, temperature: float = 1.0, num_classes: int | None = None) -> None:
        super().__init__()
        self.power = check_positive("power", power)
        if power < 1:
            raise ArgumentValueError("power", f"must be at least 1, got {power}: below, a target may be negative")
        self.temperature = check_positive("temperature", temperature)
        self.num_classes = num_classes if num_classes is None else check_count("num_classes", num_classes, least=2)
        self.heads: nn.ModuleList | None = None

    @property
    def needs_build(self) -> bool:
        """Whether the heads wait for the layers' shapes."""
        return self.heads is None

    def build(
        self, student_shapes: Sequence[Size | tuple[int, ...]], teacher_shapes: Sequence[Size | tuple[int, ...]]
    ) -> None:
        """Create the heads, unless they are there.

        Args:
            student_shapes: of each layer, ``[T, N, C, h, w]``, shallow to deep.
            teacher_shapes: of each layer, ``[N, C, h, w]``; the channels of the last are the least width of a head.

        Raises:
            RuntimeError: the number of classes is not known.
        """
        if self.heads is not None:
            return
        if self.num_classes is None:
            raise RuntimeError("the number of classes is not known: pass num_classes=, or example= to the distiller")
        width = max(student_shapes[-1][2], teacher_shapes[-1][1])
        last = len(student_shapes) - 1
        self.heads = nn.ModuleList(
            StageHead(shape[2], width, self.num_classes, halvings=last - stage)
            for stage, shape in enumerate(student_shapes)
        )

    def forward(self, layers: Sequence[Tensor], student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """The loss.

        Args:
            layers: of the student, ``[T, N, C, h, w]``, shallow to deep.
            student: logits, ``[N, K]``.
            teacher: logits, ``[N, K]``, not detached here: pass them detached.
            labels: class indices ``[N]``, or soft labels ``[N, K]``, of which the largest entry counts.

        Returns:
            One value for each image, ``[N]``.

        Raises:
            RuntimeError: the heads were not built.
            ValueError: unlike shapes, or another number of layers than the heads were built for.
        """
        if self.heads is None:
            raise RuntimeError("the heads were not built: pass example= to the distiller")
        if len(layers) != len(self.heads):
            raise ValueError(f"the heads were built for {len(self.heads)} layers of the student, got {len(layers)}")
        exits = [head(time_mean(layer)) for head, layer in zip(self.heads, layers, strict=True)]
        settings = teacher, labels, self.power, self.temperature
        return torch.stack([enhanced_target_error(logits, *settings) for logits in (*exits, student)]).sum(0)
