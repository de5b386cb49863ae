"""What one step exposes to the losses, and what a loss is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Size, Tensor, nn

__all__ = ["NEEDS", "DistillationLoss", "Signals", "Term"]

NEEDS = {
    "labels": "the labels",
    "logits": "the logits of both networks, [N, K]",
    "step_logits": "the student's logits of every time step, [T, N, K]",
    "features": "recorded layers, student [T, N, C, h, w] and teacher [N, C, h, w]",
    "gradients": "of the teacher's class score at its recorded layers, [N, C, h, w]",
}
"""What a loss may name in ``needs``; the distiller computes that and nothing else."""


@dataclass(frozen=True)
class Signals:
    """What one forward of both networks exposes to one loss.

    Everything of the student carries its graph; everything of the teacher is detached. Logits are fp32 or wider.

    Attributes:
        labels: class indices ``[N]``, or soft labels ``[N, K]``.
        student_logits: mean over time, ``[N, K]``.
        teacher_logits: ``[N, K]``; ``[0, K]`` where no loss needs a teacher.
        student_step_logits: ``[T, N, K]``, or None where no loss needs them.
        student_features: one ``[T, N, C, h, w]`` for each of the loss's layers.
        teacher_features: one ``[N, C, h, w]`` for each of the loss's layers.
        teacher_gradients: of each image's class score, shaped as ``teacher_features``; empty where no loss needs them.
    """

    labels: Tensor
    student_logits: Tensor
    teacher_logits: Tensor
    student_step_logits: Tensor | None = None
    student_features: tuple[Tensor, ...] = ()
    teacher_features: tuple[Tensor, ...] = ()
    teacher_gradients: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Term:
    """One loss's part of a step.

    Attributes:
        value: the loss, scalar, unweighted, with its graph.
        maps: ``{"student", "teacher"}``, each ``[N, h, w]``, detached, as they were compared.
        skipped: how many images the loss had to leave out, integer scalar on the device.
        faults: message -> boolean scalar on the device, true where the step must not be trained on. They are read
            together, once a step.
    """

    value: Tensor
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    skipped: Tensor | None = None
    faults: Mapping[str, Tensor] = field(default_factory=dict)


class DistillationLoss(nn.Module):
    """Base of every distillation loss: what it needs, how it picks it, and a ``forward`` on plain tensors.

    A subclass names its ``needs`` (keys of :data:`NEEDS`), returns the arguments of its ``forward`` from ``pick``, and
    computes a scalar in ``forward(student tensor, teacher tensor, ...)``. It never sees a network or a layer path.

    Example:
        >>> import torch
        >>> class LogitMSE(DistillationLoss):
        ...     needs = ("logits",)
        ...     def pick(self, signals):
        ...         return signals.student_logits, signals.teacher_logits
        ...     def forward(self, student, teacher):
        ...         return (student - teacher).square().mean()
        >>> LogitMSE()(torch.zeros(1, 2), torch.ones(1, 2))
        tensor(1.)
    """

    needs: ClassVar[tuple[str, ...]] = ()
    target_class: str = "teacher"
    """Class whose score the gradients are of: ``"teacher"``, its own first choice, or ``"label"``."""

    def pick(self, signals: Signals) -> tuple[Any, ...]:
        """The arguments of ``forward``."""
        raise NotImplementedError(f"{type(self).__name__} must define pick(signals)")

    def measure(self, *picked: Any) -> Term:
        """``forward`` with what else it has to report; the distiller calls this."""
        return Term(self(*picked))

    def build(self, student_shapes: Sequence[Size], teacher_shapes: Sequence[Size]) -> None:
        """Create parameters that depend on the recorded layers' shapes; called once, before the first step.

        Args:
            student_shapes: of each layer, ``[T, N, C, h, w]``.
            teacher_shapes: of each layer, ``[N, C, h, w]``.
        """

    @property
    def needs_build(self) -> bool:
        """Whether :meth:`build` still has parameters to create."""
        return False
