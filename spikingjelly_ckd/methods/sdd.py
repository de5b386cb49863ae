"""SDD: the logits of the whole image and of its regions, each distilled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

from torch import Tensor

from ..errors.checks import check_choice, check_count, check_non_negative, check_positive
from ..errors.shapes import check_shapes
from ..functional.divergences import soft_kl
from ..functional.features import regions
from ..functional.logits import class_indices, decoupled_kl
from ..functional.maps import time_mean
from ..functional.weighted import disagreement_weights
from .base import HEAD_MISFIT, DistillationLoss, Term
from .signals import Signals

__all__ = ["SDDLoss"]

Criterion = Literal["dkd", "kd"]


class SDDLoss(DistillationLoss):
    r"""Scale-decoupled distillation, Wei et al., CVPR 2024 (arXiv 2403.13512).

    The last layer of each network, the student's averaged over time, is pooled to the cells of several grids, and the
    network's own classifier makes logits of each cell: 1 + 4 + 16 sets with the default ``scales``. Teacher and student
    are compared in each by DKD, or by KD, and :math:`w_{nm}` times the divergence is averaged over images and cells.
    The weight is ``disagreement`` where the teacher is right about a cell and wrong about the image, or the reverse,
    and 1 elsewhere. Both networks have to end in average pooling and one linear layer.

    Args:
        criterion: ``"dkd"``, or ``"kd"``.
        temperature: :math:`\tau > 0`; the divergences are multiplied by :math:`\tau^2`.
        alpha: weight of the label's class in DKD.
        beta: weight of the other classes in DKD.
        scales: cells a side of each grid, from 1, the whole image, upwards; neither map may be smaller than the last.
        disagreement: weight of a cell about which the teacher is right or wrong where it is not about the image.

    Raises:
        TypeError: a value of the wrong kind.
        ValueError: a value is out of range or unknown, or ``scales`` does not rise from 1.

    Example:
        >>> import torch
        >>> student, teacher = torch.zeros(1, 1, 3), torch.tensor([[[0.0, 2.0, 0.0]]])
        >>> SDDLoss(temperature=2.0)(student, teacher, torch.tensor([1]))  # the whole image alone: DKD
        tensor(0.4931)
    """

    takes: ClassVar[tuple[str, ...]] = (
        *("student_features", "teacher_features", "student_head", "teacher_head"),
        *("student_logits", "teacher_logits", "labels"),
    )

    def __init__(
        self,
        criterion: Criterion = "dkd",
        temperature: float = 4.0,
        alpha: float = 1.0,
        beta: float = 8.0,
        *,
        scales: Sequence[int] = (1, 2, 4),
        disagreement: float = 2.0,
    ) -> None:
        super().__init__()
        check_choice("criterion", criterion, get_args(Criterion))
        self.criterion = criterion
        self.temperature = check_positive("temperature", temperature)
        self.alpha = check_non_negative("alpha", alpha)
        self.beta = check_non_negative("beta", beta)
        self.scales = tuple(check_count("scales", scale) for scale in scales)
        if self.scales[:1] != (1,) or list(self.scales) != sorted(set(self.scales)):
            raise ValueError(f"scales must rise from 1, such as (1, 2, 4), got {self.scales}")
        self.disagreement = check_non_negative("disagreement", disagreement)

    def select(self, signals: Signals) -> tuple[Tensor, ...]:
        """The logits of every region of both networks, the labels, and whether the heads make the networks' logits.

        Raises:
            ValueError: not one layer on each side, or a map that is smaller than the finest grid.
        """
        student, teacher, student_head, teacher_head, student_logits, teacher_logits, labels = super().select(signals)
        student = time_mean(student)
        return (
            student_head(regions(student, self.scales)),
            teacher_head(regions(teacher, self.scales)),
            labels,
            student_head.explains(student, student_logits),
            teacher_head.explains(teacher, teacher_logits),
        )

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """The loss.

        Args:
            student: logits of each region, ``[N, M, K]``, the whole image first.
            teacher: logits, ``[N, M, K]``, not detached here: pass them detached.
            labels: class indices ``[N]``, or soft labels ``[N, K]``, of which the largest entry counts.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike shapes, or fewer than two classes.
        """
        check_shapes(student=(student, "N M K>=2"), teacher=(teacher, "N M K"))
        weights = disagreement_weights(teacher, labels, self.disagreement).flatten()
        classes = class_indices(labels, student[:, 0]).repeat_interleave(student.shape[1])
        pair = student.flatten(0, 1), teacher.flatten(0, 1)
        if self.criterion == "kd":
            return (weights * soft_kl(*pair, self.temperature)).mean()
        target, others = decoupled_kl(*pair, classes, self.temperature)
        return self.temperature**2 * (weights * (self.alpha * target + self.beta * others)).mean()

    def compute(
        self, student: Tensor, teacher: Tensor, labels: Tensor, student_fits: Tensor, teacher_fits: Tensor
    ) -> Term:
        """The loss, and a violation where a head is not what makes the logits of the recorded layer."""
        violations = {
            HEAD_MISFIT.format(role="student"): ~student_fits,
            HEAD_MISFIT.format(role="teacher"): ~teacher_fits,
        }
        return self.term(self(student, teacher, labels), violations=violations)

    def extra_repr(self) -> str:
        """The settings, for ``print``."""
        return f"{super().extra_repr()}, scales={self.scales}"
