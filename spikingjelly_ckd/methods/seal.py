"""SeAl-KD: each step's wrong choice is taken out of the teacher's logits, and the steps are matched to each other."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..errors.checks import check_non_negative, check_positive
from ..errors.shapes import check_shapes
from ..functional.maps import at_least_float32
from ..functional.time import check_steps, mean_of_other_steps, replace_errors, step_kl
from .base import DistillationLoss

__all__ = ["SeAlKDLoss"]


class SeAlKDLoss(DistillationLoss):
    r"""SeAl-KD, arXiv 2605.14252 (2026): error-aware logits and soft temporal alignment.

    :math:`\alpha \, L_{ELA} + \beta \, L_{STA}`, mean over the batch.

    :math:`L_{ELA} = \frac{1}{T} \sum_t \tau^2 \, \mathrm{KL}(\sigma(\hat z_T(t) / \tau) \,\|\,
    \sigma(\hat z_S(t) / \tau))`. Where step :math:`t` chooses a wrong class :math:`w`, the student's logit of :math:`w`
    is replaced by that of the label :math:`y`, and the teacher's logits of both by the smaller of the two: the wrong
    class gets no gradient and the label's gets it twice. Where it is right, nothing is replaced.

    :math:`L_{STA} = \frac{1}{T} \sum_i \tau^2 \, \mathrm{KL}(\sigma(\bar z_i / \tau) \,\|\, \sigma(z_S(i) / \tau))`,
    :math:`\bar z_i = \sum_{j \ne i} w_{ij} z_S(j)`, detached, with :math:`w_{ij}` the softmax over :math:`j \ne i` of
    :math:`c_j \cos(z_S(i), z_S(j))` and the confidence :math:`c_j = 1 - H(\sigma(z_S(j))) / \log K`. It is zero for one
    time step. The authors add the cross-entropy of every step: ``task_loss=``:class:`~spikingjelly_ckd.TETLoss`.

    Args:
        alpha: :math:`\alpha \ge 0`.
        beta: :math:`\beta \ge 0`.
        temperature: :math:`\tau > 0`.

    Raises:
        TypeError: a number was expected.
        ValueError: a value is out of range.

    Example:
        >>> import torch
        >>> steps, teacher = torch.zeros(2, 1, 2), torch.tensor([[2.0, 0.0]])
        >>> SeAlKDLoss(alpha=1.0, temperature=2.0)(steps, teacher, torch.tensor([0]))  # right and equal: KD
        tensor(0.4438)
    """

    takes: ClassVar[tuple[str, ...]] = ("student_per_step_logits", "teacher_logits", "labels")

    def __init__(self, alpha: float = 0.6, beta: float = 0.15, temperature: float = 3.0) -> None:
        super().__init__()
        self.alpha = check_non_negative("alpha", alpha)
        self.beta = check_non_negative("beta", beta)
        self.temperature = check_positive("temperature", temperature)

    def forward(self, steps: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """The loss.

        Args:
            steps: the student's logits of every time step, ``[T, N, K]``, ``K >= 2``.
            teacher: logits, ``[N, K]``, not detached here: pass them detached.
            labels: class indices ``[N]``, or soft labels ``[N, K]``, of which the largest entry counts.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike shapes, or fewer than two classes.
        """
        check_steps(steps)
        check_shapes(steps=(steps, "T N K>=2"), teacher=(teacher, "N K"))
        steps, teacher = at_least_float32(steps), at_least_float32(teacher)
        aligned = step_kl(*replace_errors(steps, teacher, labels), self.temperature).mean()
        if len(steps) == 1:
            return self.alpha * aligned
        together = step_kl(steps, mean_of_other_steps(steps.detach()), self.temperature).mean()
        return self.alpha * aligned + self.beta * together
