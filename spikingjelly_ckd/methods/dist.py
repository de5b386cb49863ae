"""DIST: the relations between classes and between images, by correlation."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..errors.checks import check_flag, check_non_negative, check_positive
from ..errors.shapes import check_shapes
from ..functional.logits import correlation
from ..functional.maps import at_least_float32
from .base import DistillationLoss

__all__ = ["DISTLoss"]


class DISTLoss(DistillationLoss):
    r"""Knowledge distillation from a stronger teacher, Huang et al., NeurIPS 2022 (arXiv 2205.10536).

    :math:`\beta \, (1 - \frac{1}{N} \sum_n \rho(P_S[n, :], P_T[n, :])) + \gamma \, (1 - \frac{1}{K} \sum_k
    \rho(P_S[:, k], P_T[:, k]))` with :math:`P = \sigma(z / \tau)` and Pearson's correlation :math:`\rho`: of each image
    over its classes, and of each class over the images of the batch. Where the student's probabilities are constant it
    counts as 0, see :func:`~spikingjelly_ckd.functional.correlation`.

    Args:
        temperature: :math:`\tau > 0`.
        beta: :math:`\beta \ge 0`, weight of the relation between classes.
        gamma: :math:`\gamma \ge 0`, weight of the relation between images.
        squared_temperature: multiply by :math:`\tau^2`, as a later version of the authors' code does.

    Raises:
        TypeError: a number was expected.
        ValueError: a value is out of range.

    Example:
        >>> import torch
        >>> student = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> DISTLoss()(student, -student)  # every relation the other way round
        tensor(4.)
    """

    takes: ClassVar[tuple[str, ...]] = ("student_logits", "teacher_logits")

    def __init__(
        self, temperature: float = 1.0, beta: float = 1.0, gamma: float = 1.0, *, squared_temperature: bool = False
    ) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.beta = check_non_negative("beta", beta)
        self.gamma = check_non_negative("gamma", gamma)
        self.squared_temperature = check_flag("squared_temperature", squared_temperature)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            student: logits, ``[N, K]``, ``N >= 2`` and ``K >= 2``.
            teacher: logits, ``[N, K]``, not detached here: pass them detached.

        Returns:
            Scalar.

        Raises:
            ValueError: unlike shapes, one image, or one class.
        """
        check_shapes(student=(student, "N K"), teacher=(teacher, "N K"))
        hint = "it relates images, and classes: use a larger batch (drop_last=True where the last one is short)"
        check_shapes(hint, student=(student, "N>=2 K>=2"))
        p_student = torch.softmax(at_least_float32(student) / self.temperature, dim=1)
        p_teacher = torch.softmax(at_least_float32(teacher) / self.temperature, dim=1)
        between_classes = 1 - correlation(p_student, p_teacher, dim=1).mean()
        between_images = 1 - correlation(p_student, p_teacher, dim=0).mean()
        relations = self.beta * between_classes + self.gamma * between_images
        return self.temperature**2 * relations if self.squared_temperature else relations

    def extra_repr(self) -> str:
        """The settings, for ``print``; the squared temperature where it is on, since older records have none."""
        settings = f"temperature={self.temperature}, beta={self.beta}, gamma={self.gamma}"
        return f"{settings}, squared_temperature=True" if self.squared_temperature else settings
