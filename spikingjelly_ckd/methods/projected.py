"""Losses on one pair of layers with a small trained network between them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Size, nn

from ..errors.checks import check_both, check_count
from .base import one_layer
from .stochastic import StochasticLoss

__all__ = ["ProjectedLoss"]


class ProjectedLoss(StochasticLoss):
    """Base of losses whose projector is made from the shapes of the two layers: given, or read off the example.

    A subclass defines :meth:`make`. The projector trains with the student and is not in the exported student.

    Args:
        student: channels of the student's layer, or its ``(C, h, w)``, as :meth:`make` needs; None waits for
            :meth:`build`.
        teacher: of the teacher's.
        names: what the subclass calls the two, for messages.
        generator: random source, for a loss that draws.

    Raises:
        TypeError: a number is no integer.
        ValueError: a number is below 1, or one of the two comes without the other.

    Example:
        >>> class Hint(ProjectedLoss):
        ...     def make(self, student, teacher):
        ...         return nn.Conv2d(student[0], teacher[0], kernel_size=1)
        ...     def forward(self, student, teacher):
        ...         return (self.built()(student.mean(0)) - teacher).square().mean()
        >>> loss = Hint(4, 8)
        >>> loss(torch.rand(2, 1, 4, 3, 3), torch.rand(1, 8, 3, 3)).ndim, tuple(loss.projector.weight.shape)
        (0, (8, 4, 1, 1))
    """

    takes: ClassVar[tuple[str, ...]] = ("student_features", "teacher_features")

    def __init__(
        self,
        student: int | Sequence[int] | None,
        teacher: int | Sequence[int] | None,
        names: tuple[str, str] = ("student_channels", "teacher_channels"),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(generator)
        check_both(names[0], student, names[1], teacher)
        self.projector: nn.Module | None = None
        if student is not None and teacher is not None:
            shapes = [
                [check_count(name, number) for number in (given if isinstance(given, Sequence) else [given])]
                for name, given in zip(names, (student, teacher), strict=True)
            ]
            self.projector = self.make(*shapes)

    def make(self, student: Sequence[int], teacher: Sequence[int]) -> nn.Module:
        """The projector.

        Args:
            student: ``(C, h, w)`` of the student's layer, or ``(C,)`` where channels alone were given.
            teacher: of the teacher's.
        """
        raise NotImplementedError(f"{type(self).__name__} must define make(student, teacher)")

    @property
    def needs_build(self) -> bool:
        """Whether the projector waits for the layers' shapes."""
        return self.projector is None

    def build(self, student_shapes: Sequence[Size], teacher_shapes: Sequence[Size]) -> None:
        """Make the projector, unless it is there.

        Raises:
            ValueError: not exactly one pair of layers.
        """
        if self.projector is None:
            student, teacher = one_layer(student_shapes, self, "student"), one_layer(teacher_shapes, self, "teacher")
            self.projector = self.make(student[2:], teacher[1:])

    def built(self) -> nn.Module:
        """The projector.

        Raises:
            RuntimeError: it was not made yet.
        """
        if self.projector is None:
            raise RuntimeError(
                f"the projector of {type(self).__name__} was not built: pass the layers' sizes, or example= to the "
                "distiller"
            )
        return self.projector

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        old, new = f"{prefix}adaptor.", f"{prefix}projector."  # the projector's name before
        for key in [key for key in state_dict if key.startswith(old)]:
            state_dict[new + key.removeprefix(old)] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def __getattr__(name: str) -> Any:
    if name == "AdaptedLoss":
        warnings.warn("AdaptedLoss is now called ProjectedLoss", DeprecationWarning, stacklevel=2)
        return ProjectedLoss
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
