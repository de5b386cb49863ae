"""e2KD: the student's own Grad-CAM matched to the teacher's."""

from __future__ import annotations

from torch import Tensor

from ..errors.checks import check_choice
from ..functional.divergences import cosine_map_distance
from ..functional.maps import fold_time, grad_cam, is_constant, match_maps
from .base import TARGET_CLASSES, DistillationLoss, TargetClass, Term
from .signals import Signals

__all__ = ["E2KDLoss"]


class E2KDLoss(DistillationLoss):
    r"""Explanation-enhanced distillation, e2KD (Parchami-Araghi et al., ECCV 2024, arXiv 2402.03119).

    :math:`1 - \cos(M_S, M_T)`, mean over the images, where both maps are Grad-CAMs for the class that the teacher
    chose. The student's is differentiated again in the backward pass, so what lies between the layer and its logits
    has to be twice differentiable, surrogate gradients included. A time step counts as more channels.

    It is the map-to-map baseline of CKDSNN. The method adds it to Hinton's KD on the logits
    (:class:`~spikingjelly_ckd.methods.KDLoss`). An image whose teacher map is constant is left out.

    Args:
        target_class: class that both maps are of: ``"teacher"``, its own first choice, or ``"label"``.

    Raises:
        ValueError: unknown ``target_class``.

    Example:
        >>> import torch
        >>> E2KDLoss()(torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[1.0, 0.0]]]))
        tensor(1.)
    """

    needs: tuple[str, ...] = ("features", "gradients", "student_gradients")

    def __init__(self, target_class: TargetClass = "teacher") -> None:
        super().__init__()
        check_choice("target_class", target_class, TARGET_CLASSES)
        self.target_class = target_class

    def select(self, signals: Signals) -> tuple[Tensor, Tensor]:
        """The Grad-CAMs of both networks.

        Raises:
            ValueError: not exactly one layer of a network was recorded.
        """
        student, gradients = self.take(signals, "student_features"), self.take(signals, "student_gradients")
        return grad_cam(fold_time(student), fold_time(gradients)), self.class_map(signals)

    def class_map(self, signals: Signals) -> Tensor:
        """The teacher's Grad-CAM ``[N, h, w]``, or the cached one."""
        if signals.class_map is not None:
            return signals.class_map
        return grad_cam(self.take(signals, "teacher_features"), self.take(signals, "teacher_gradients"))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            student: class map, ``[N, h, w]``; one that is zero everywhere counts 1 and has no gradient.
            teacher: class map, ``[N, h', w']``, not detached here: pass it detached.

        Returns:
            Scalar.

        Raises:
            ValueError: shapes that do not fit, or maps of a single position.
        """
        return self.compute(student, teacher).value

    def compute(self, student: Tensor, teacher: Tensor) -> Term:
        """The loss with the compared maps and the count of images left out."""
        student, teacher = match_maps(student, teacher)
        blind = is_constant(teacher)
        distance = cosine_map_distance(student, teacher)
        violations = {"every teacher map of the batch is constant; pass teacher_layer=": blind.all()}
        return self.term(
            distance, skipped=blind, maps={"student": student.detach(), "teacher": teacher}, violations=violations
        )
