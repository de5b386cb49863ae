"""Branches: classifiers on the student's inner layers, which learn with it and from each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Size, Tensor, nn

from ..errors.checks import check_count, check_non_negative, check_positive
from ..errors.shapes import check_shapes
from ..functional.maps import at_least_float32, time_mean
from ..functional.time import right_heads_kl, step_cross_entropy
from .base import DistillationLoss, LayerChoice
from .projectors import branch

__all__ = ["BranchKDLoss"]


class BranchKDLoss(DistillationLoss):
    r"""Enhanced self-distillation, NeurIPS 2025 (arXiv 2510.06254), without its rate-based backpropagation.

    A branch of separable convolutions with a classifier stands on each of the student's layers but the deepest, which
    it gets averaged over time: firing rates. :math:`\alpha \sum_b \mathrm{CE}(z_b, y) + \beta \sum_h \tau^2 \,
    \mathrm{KL}(\sigma(\bar z / \tau) \,\|\, \sigma(z_h / \tau))`, the first sum over the branches :math:`b`, the second
    over the heads :math:`h`: the branches and the student itself. :math:`\bar z` is the mean of the logits of those
    heads that are right, detached; images about which none is right are left out of the second part. The student's own
    cross-entropy is the task loss. No teacher is needed.

    The branches train with the student and are not in the exported student. The authors' network passes rates forward a
    second time and takes the gradient through these alone; here it is the usual one, through every time step: ours.

    Args:
        temperature: :math:`\tau > 0`.
        alpha: :math:`\alpha \ge 0`, weight of the branches' cross-entropies.
        beta: :math:`\beta \ge 0`, weight of the self-distillation.
        num_classes: of the student's logits; None reads it off the example.

    Raises:
        TypeError: a number was expected.
        ValueError: a value is out of range.

    Example:
        >>> loss = BranchKDLoss(num_classes=10)
        >>> loss.build([(2, 1, 4, 8, 8), (2, 1, 8, 4, 4)], [])
        >>> layers = [torch.zeros(2, 1, 4, 8, 8), torch.zeros(2, 1, 8, 4, 4)]
        >>> loss.eval()(layers, torch.zeros(1, 10), torch.tensor([3])).shape
        torch.Size([])
    """

    takes: ClassVar[tuple[str, ...]] = ("student_features", "student_logits", "labels")
    layer_choice: ClassVar[LayerChoice] = "stages"

    def __init__(
        self, temperature: float = 3.0, alpha: float = 1.0, beta: float = 0.3, num_classes: int | None = None
    ) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.alpha = check_non_negative("alpha", alpha)
        self.beta = check_non_negative("beta", beta)
        self.num_classes = None if num_classes is None else check_count("num_classes", num_classes)
        self.branches: nn.ModuleList | None = None

    @property
    def needs_build(self) -> bool:
        """Whether the branches wait for the layers' shapes."""
        return self.branches is None

    def build(
        self, student_shapes: Sequence[Size | tuple[int, ...]], teacher_shapes: Sequence[Size | tuple[int, ...]]
    ) -> None:
        """Make the branches, unless they are there.

        Args:
            student_shapes: of each layer, ``[T, N, C, h, w]``, shallow to deep.
            teacher_shapes: not used.

        Raises:
            ValueError: fewer than two layers, or no number of classes.
        """
        widths = [shape[2] for shape in student_shapes]
        if len(widths) < 2:
            raise ValueError(
                f"BranchKDLoss puts branches on all layers but the deepest, so it needs two of the student, got "
                f"{len(widths)}; name them, shallow to deep (layers=)"
            )
        if self.num_classes is None:
            raise ValueError("num_classes must be given where no distiller reads it off an example")
        if self.branches is None:
            self.branches = nn.ModuleList(branch(widths[i:], self.num_classes) for i in range(len(widths) - 1))

    def forward(self, layers: Sequence[Tensor], logits: Tensor, labels: Tensor) -> Tensor:
        """The loss.

        Args:
            layers: of the student, ``[T, N, C, h, w]`` each, shallow to deep; the deepest is not looked at.
            logits: of the student, ``[N, K]``.
            labels: class indices ``[N]``, or soft labels ``[N, K]``: for the cross-entropies as they are, and for what
                is right their largest entry.

        Returns:
            Scalar.

        Raises:
            RuntimeError: the branches were not built.
            ValueError: unlike shapes, or another number of layers than the branches were built for.
        """
        if self.branches is None:
            raise RuntimeError("the branches were not built: pass example= to the distiller")
        if len(layers) != len(self.branches) + 1:
            raise ValueError(f"the branches were built for {len(self.branches) + 1} layers, got {len(layers)}")
        inner = [
            at_least_float32(head(time_mean(layer))) for head, layer in zip(self.branches, layers[:-1], strict=True)
        ]
        check_shapes(logits=(logits, "N K"), branch=(inner[0], "N K"))
        heads = torch.stack([*inner, at_least_float32(logits)])
        entropy = len(inner) * step_cross_entropy(heads[:-1], labels)
        return self.alpha * entropy + self.beta * right_heads_kl(heads, labels, self.temperature).sum()
