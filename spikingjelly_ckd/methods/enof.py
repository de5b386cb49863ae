"""EnOF: the student's features read by the teacher's classifier."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..errors.checks import check_positive
from ..errors.shapes import check_shapes
from ..functional.divergences import soft_kl
from ..functional.maps import at_least_float32
from .base import HEAD_MISFIT, DistillationLoss, Term
from .signals import Signals

__all__ = ["EnOFLoss"]


class EnOFLoss(DistillationLoss):
    r"""Enhanced output feature distillation, EnOF-SNN (Guo et al., NeurIPS 2024).

    The student's last features :math:`f_S`, averaged over time and positions, go through the teacher's frozen
    classifier :math:`(W_A, b_A)`, and the result is matched to the teacher's logits:
    :math:`\tau^2 \, \mathrm{KL}(\sigma(z_T / \tau) \,\|\, \sigma((W_A f_S + b_A) / \tau))`, mean over the images. The
    gradient reaches the student's layers, not its own classifier. Temperature, its square and the direction are not
    known from the sources at hand; **they are ours**. The other half of EnOF, a ReLU in place of the student's last
    neuron, is a change of the network.

    Both networks need as many channels in front of their classifiers, and a teacher that ends in average pooling and
    one linear layer.

    Args:
        temperature: :math:`\tau > 0`.

    Raises:
        TypeError: ``temperature`` is no number.
        ValueError: ``temperature`` is not positive.

    Example:
        >>> import torch
        >>> EnOFLoss(temperature=2.0)(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]))
        tensor(0.4438)
    """

    takes: ClassVar[tuple[str, ...]] = ("student_features", "teacher_features", "teacher_logits", "teacher_head")

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)

    def select(self, signals: Signals) -> tuple[Tensor, ...]:
        """The teacher's classifier on the student's features, the teacher's logits, and whether that classifier fits.

        Raises:
            ValueError: not one layer on each side, or unlike channels.
        """
        student, teacher, logits, head = super().select(signals)
        fits = head.explains(teacher, logits)
        hint = (
            "EnOFLoss puts the student's features through the teacher's classifier, so both need as many channels there"
        )
        check_shapes(hint, student=(student, "T N C h w"), teacher=(teacher, "N C h' w'"))
        return head(at_least_float32(student).mean(dim=(0, 3, 4))), logits, fits

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            student: its features through the teacher's classifier, ``[N, K]``.
            teacher: logits, ``[N, K]``, not detached here: pass them detached.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike shapes.
        """
        return soft_kl(student, teacher, self.temperature).mean()

    def compute(self, student: Tensor, teacher: Tensor, fits: Tensor) -> Term:
        """The loss, and a violation where the classifier is not what makes the teacher's logits of its features."""
        return self.term(self(student, teacher), violations={HEAD_MISFIT.format(role="teacher"): ~fits})
