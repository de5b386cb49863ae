"""What one step exposes to the losses, and what a loss is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar, cast, get_args

import torch
from torch import Size, Tensor, nn

__all__ = [
    "HEAD_MISFIT",
    "LAYER_CHOICES",
    "NEEDS",
    "DistillationLoss",
    "LayerChoice",
    "LinearHead",
    "Signals",
    "TeacherOutput",
    "Term",
    "one_layer",
    "one_pair",
]

_Item = TypeVar("_Item", Tensor, Size)

NEEDS = {
    "labels": "the labels",
    "logits": "the logits of both networks, [N, K]",
    "per_step_logits": "the student's logits of every time step, [T, N, K]",
    "features": "recorded layers, student [T, N, C, h, w] and teacher [N, C, h, w]",
    "gradients": "of the teacher's class score at its recorded layers, [N, C, h, w]",
    "student_gradients": "of the student's score for the same class at its recorded layers, [T, N, C, h, w]",
    "student_head": "the student's last linear layer",
    "teacher_head": "the teacher's last linear layer",
}
"""What a loss may name in ``needs``; the distiller computes that and nothing else."""

LayerChoice = Literal["last", "middle", "stages"]
LAYER_CHOICES: tuple[LayerChoice, ...] = get_args(LayerChoice)
"""Layers that are found where none is given: the last that serves; one for each size of map, as many on both sides,
shallow to deep; or the middle one of these."""


HEAD_MISFIT = (
    "the {role}'s logits are not its last linear layer applied to the mean of the recorded layer over the positions (a "
    "class token, a second linear layer or dropout between?), so its weights say nothing about those positions; pass "
    "the last layer with positions ({role}_layer=), or another method"
)
"""Fault of a loss that applies a network's head to its recorded layer."""


@dataclass(frozen=True)
class LinearHead:
    """A network's last linear layer.

    Attributes:
        weight: ``[K, C]``.
        bias: ``[K]``, or None.

    Example:
        >>> LinearHead(torch.eye(2), torch.ones(2))(torch.tensor([[1.0, 2.0]]))
        tensor([[2., 3.]])
    """

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def at(cls, network: nn.Module, path: str) -> LinearHead:
        """The linear layer at ``path`` of ``network``."""
        linear = cast(nn.Linear, network.get_submodule(path))
        return cls(linear.weight, linear.bias)

    def __call__(self, features: Tensor) -> Tensor:
        """Logits ``[..., K]`` of ``features [..., C]``, in fp32 or wider, also under autocast."""
        with torch.autocast(features.device.type, enabled=False):
            dtype = torch.promote_types(features.dtype, torch.float32)
            bias = None if self.bias is None else self.bias.to(dtype)
            return nn.functional.linear(features.to(dtype), self.weight.to(dtype), bias)

    def class_maps(self, features: Tensor) -> Tensor:
        """One map for each class, ``[N, K, h, w]``, of ``features [N, C, h, w]``, without the bias."""
        return LinearHead(self.weight, None)(features.movedim(1, -1)).movedim(-1, 1)

    def explains(self, features: Tensor, logits: Tensor) -> Tensor:
        """Whether ``logits [N, K]`` are this head applied to the spatial mean of ``features [N, C, h, w]``.

        Boolean scalar on the device; half precision is allowed for.

        Raises:
            ValueError: the channels do not fit.
        """
        if features.shape[1] != self.weight.shape[1]:
            raise ValueError(
                f"the recorded layer has {features.shape[1]} channels and the last linear layer takes "
                f"{self.weight.shape[1]}; record the layer in front of it"
            )
        error = (self(features.detach().flatten(2).mean(2)) - logits.detach()).abs().max()
        return error <= 0.05 * logits.detach().abs().max() + 1e-3


@dataclass(frozen=True)
class TeacherOutput:
    """What the teacher says of a batch, in the form that can be kept: no features, no gradients.

    ``Distiller.run_teacher(images, labels)`` gives it, and ``distiller(images, labels, teacher_output)`` takes it in
    place of a teacher's forward.

    Attributes:
        logits: ``[N, K]``, detached.
        class_maps: name of each loss that compares a class map -> ``[N, h, w]``, detached, as computed: neither
            size-matched nor normalised.
    """

    logits: Tensor
    class_maps: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Signals:
    """What one forward of both networks exposes to one loss.

    Everything of the student carries its graph; everything of the teacher is detached. Logits are fp32 or wider.

    Attributes:
        labels: class indices ``[N]``, or soft labels ``[N, K]``.
        student_logits: mean over time, ``[N, K]``.
        teacher_logits: ``[N, K]``; ``[0, K]`` where no loss needs them.
        student_per_step_logits: ``[T, N, K]``, or None where no loss needs them.
        student_features: one ``[T, N, C, h, w]`` for each of the loss's layers.
        teacher_features: one ``[N, C, h, w]`` for each of the loss's layers.
        teacher_gradients: of each image's class score, shaped as ``teacher_features``; empty where no loss needs them.
        class_map: of the teacher, ``[N, h, w]``, where it was computed before; features and gradients of the teacher
            are then empty.
        student_gradients: of the student's score for the same class, shaped as ``student_features``, with a graph of
            their own; empty where no loss needs them.
        student_head: last linear layer, trainable; None where no loss needs it.
        teacher_head: last linear layer, frozen; None where no loss needs it.
    """

    labels: Tensor
    student_logits: Tensor
    teacher_logits: Tensor
    student_per_step_logits: Tensor | None = None
    student_features: tuple[Tensor, ...] = ()
    teacher_features: tuple[Tensor, ...] = ()
    teacher_gradients: tuple[Tensor, ...] = ()
    class_map: Tensor | None = None
    student_gradients: tuple[Tensor, ...] = ()
    student_head: LinearHead | None = None
    teacher_head: LinearHead | None = None


def one_pair(signals: Signals, asking: object) -> tuple[Tensor, Tensor]:
    """The one layer of each network, ``[T, N, C, h, w]`` and ``[N, C', h', w']``, that a loss compares.

    Args:
        signals: of the step.
        asking: the loss, for the message.

    Raises:
        ValueError: not exactly one pair of layers was recorded.

    Example:
        >>> zeros = torch.zeros(2, 1, 3, 4, 4)
        >>> signals = Signals(zeros, zeros, zeros, student_features=(zeros,), teacher_features=(zeros[0],))
        >>> [tuple(layer.shape) for layer in one_pair(signals, None)]
        [(2, 1, 3, 4, 4), (1, 3, 4, 4)]
    """
    return one_layer(signals.student_features, asking, "student"), one_layer(
        signals.teacher_features, asking, "teacher"
    )


def one_layer(layers: Sequence[_Item], asking: object, role: str) -> _Item:
    """The one layer, or its shape, of ``layers``, those of one network.

    Raises:
        ValueError: there are none, or several.

    Example:
        >>> one_layer([torch.ones(1)], None, "student")
        tensor([1.])
    """
    if len(layers) != 1:
        raise ValueError(
            f"{type(asking).__name__} compares one student layer with one teacher layer, got {len(layers)} of the "
            f"{role}; add one loss for each pair"
        )
    return layers[0]


@dataclass(frozen=True)
class Term:
    """One loss's part of a step.

    Attributes:
        value: the loss, scalar, unweighted, with its graph.
        maps: ``{"student", "teacher"}``, each ``[N, h, w]``, detached, as they were compared.
        skipped: how many images the loss had to leave out, integer scalar on the device.
        violations: message -> boolean scalar on the device, true where the step must not be trained on. They are read
            together, once a step.
    """

    value: Tensor
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    skipped: Tensor | None = None
    violations: Mapping[str, Tensor] = field(default_factory=dict)


class DistillationLoss(nn.Module):
    """Base of every distillation loss: what it needs, how it picks it, and a ``forward`` on plain tensors.

    A subclass names its ``needs`` (keys of :data:`NEEDS`), returns the arguments of its ``forward`` from ``pick``, and
    computes a scalar in ``forward(student tensor, teacher tensor, ...)``. It never sees a network or a layer path.

    Example:
        >>> import torch
        >>> class LogitMSE(DistillationLoss):
        ...     needs = ("logits",)
        ...     def select(self, signals):
        ...         return signals.student_logits, signals.teacher_logits
        ...     def forward(self, student, teacher):
        ...         return (student - teacher).square().mean()
        >>> LogitMSE()(torch.zeros(1, 2), torch.ones(1, 2))
        tensor(1.)
    """

    needs: ClassVar[tuple[str, ...]] = ()
    layer_choice: ClassVar[LayerChoice] = "last"
    """Layers to find where the user gives none, one of :data:`LAYER_CHOICES`."""
    target_class: str = "teacher"
    """Class whose score the gradients are of: ``"teacher"``, its own first choice, or ``"label"``."""

    def select(self, signals: Signals) -> tuple[Any, ...]:
        """The arguments of ``forward``."""
        raise NotImplementedError(f"{type(self).__name__} must define select(signals)")

    def class_map(self, signals: Signals) -> Tensor:
        """The teacher's class map, ``[N, h, w]``, for a loss to which nothing else of the teacher's layers matters.

        ``pick`` gets its map here too, so that one from ``signals.class_map``, computed before, serves as well.
        """
        raise NotImplementedError(f"{type(self).__name__} compares no class map of the teacher")

    def compute(self, *picked: Any) -> Term:
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
