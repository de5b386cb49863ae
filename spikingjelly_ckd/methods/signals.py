"""Signals of a step that a loss can take, and the needs that tell the distiller which of them to compute."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["HEAD_MISFIT", "NEEDS", "NEEDS_OF", "LinearHead", "Signals", "TeacherOutput"]

NEEDS = {
    "labels": "the labels",
    "logits": "the logits of both networks, [N, K]",
    "per_step_logits": "the student's logits of every time step, [T, N, K]",
    "features": "recorded layers, student [T, N, C, h, w] and teacher [N, C, h, w]",
    "student_features": "recorded layers of the student alone, [T, N, C, h, w]",
    "gradients": "of the teacher's class score at its recorded layers, [N, C, h, w]",
    "student_gradients": "of the student's score for the same class at its recorded layers, [T, N, C, h, w]",
    "student_head": "the student's last linear layer",
    "teacher_head": "the teacher's last linear layer",
}
"""What a loss may name in ``needs``; the distiller computes that and nothing else."""

NEEDS_OF: dict[str, tuple[str, ...]] = {
    "labels": ("labels",),
    "student_logits": (),
    "teacher_logits": ("logits",),
    "student_per_step_logits": ("per_step_logits",),
    "student_features": ("student_features",),
    "teacher_features": ("features",),
    "teacher_gradients": ("features", "gradients"),
    "student_gradients": ("features", "student_gradients"),
    "student_head": ("student_head",),
    "teacher_head": ("teacher_head",),
}
"""Field of :class:`Signals` that a loss may name in ``takes`` -> the needs that follow. The student's mean logits are
always there; ``"features"`` stands for ``"student_features"`` too."""

SILENT_STUDENT = (
    "the student's recorded layer gives a constant map for every image (it does not fire, or fires everywhere alike); "
    "check its threshold and input scale, or pass student_layer="
)
HEAD_MISFIT = (
    "the {role}'s logits are not its last linear layer applied to the mean of the recorded layer over the positions (a "
    "class token, a second linear layer or dropout between?), so its weights say nothing about those positions; pass "
    "the last layer with positions ({role}_layer=), or another method"
)
"""Violation of a loss that applies a network's head to its recorded layer."""


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
        """One map for each class, ``[N, K, h, w]``, of ``features [N, C, h, w]``, without the bias.

        Raises:
            ValueError: the channels do not fit.
        """
        self._check_channels(features)
        return LinearHead(self.weight, None)(features.movedim(1, -1)).movedim(-1, 1)

    def explains(self, features: Tensor, logits: Tensor) -> Tensor:
        """Whether ``logits [N, K]`` are this head applied to the spatial mean of ``features [N, C, h, w]``.

        Boolean scalar on the device; half precision is allowed for.

        Raises:
            ValueError: the channels do not fit.
        """
        self._check_channels(features)
        error = (self(features.detach().flatten(2).mean(2)) - logits.detach()).abs().max()
        return error <= 0.05 * logits.detach().abs().max() + 1e-3

    def _check_channels(self, features: Tensor) -> None:
        if features.shape[1] != self.weight.shape[1]:
            raise ValueError(
                f"the recorded layer has {features.shape[1]} channels and the last linear layer takes "
                f"{self.weight.shape[1]}; record the layer in front of it"
            )


@dataclass(frozen=True)
class TeacherOutput:
    """The teacher's outputs on one batch, in the form that can be cached: no features, no gradients.

    ``Distiller.run_teacher(images, labels)`` returns it, and ``distiller(images, labels, teacher_output)`` takes it in
    place of a teacher's forward.

    Attributes:
        logits: ``[N, K]``, detached.
        class_maps: name of each loss that compares a class map -> ``[N, h, w]``, detached, as computed: neither
            size-matched nor normalised.

    Example:
        >>> import torch
        >>> from spikingjelly_ckd import CKDDistiller
        >>> from spikingjelly_ckd.recipes.models import resnet8, spiking_resnet8
        >>> _ = torch.manual_seed(0)
        >>> distiller = CKDDistiller(resnet8(10), spiking_resnet8(10), time_steps=2)
        >>> images, labels = torch.rand(2, 3, 16, 16), torch.tensor([3, 7])
        >>> kept = distiller.run_teacher(images, labels)  # write it to a file, and the teacher need not run again
        >>> [tuple(each.shape) for each in kept.class_maps.values()], tuple(kept.logits.shape)
        ([(2, 4, 4)], (2, 10))
        >>> out = distiller(images, labels, kept)
    """

    logits: Tensor
    class_maps: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Signals:
    """The signals of one step for one loss.

    Everything of the student carries its graph; everything of the teacher is detached. Logits are fp32 or wider.

    Attributes:
        labels: class indices ``[N]``, or soft labels ``[N, K]``.
        student_logits: mean over time, ``[N, K]``.
        teacher_logits: ``[N, K]``, or None where no loss needs them.
        student_per_step_logits: ``[T, N, K]``, or None where no loss needs them.
        student_features: one ``[T, N, C, h, w]`` for each of the loss's layers.
        teacher_features: one ``[N, C, h, w]`` for each of the loss's layers.
        teacher_gradients: of each image's class score, shaped as ``teacher_features``; empty where no loss needs them.
        class_map: of the teacher, ``[N, h, w]``, where it comes from a :class:`TeacherOutput`; features and gradients
            of the teacher are then empty.
        student_gradients: of the student's score for the same class, shaped as ``student_features``, with a graph of
            their own; empty where no loss needs them.
        student_head: last linear layer, trainable; None where no loss needs it.
        teacher_head: last linear layer, frozen; None where no loss needs it.

    Example:
        >>> import torch
        >>> from spikingjelly_ckd.methods import KDLoss
        >>> logits = torch.zeros(1, 2), torch.tensor([[2.0, 0.0]])
        >>> signals = Signals(torch.tensor([0]), student_logits=logits[0], teacher_logits=logits[1])
        >>> loss = KDLoss(temperature=2.0)  # takes the logits of both, and nothing of any layer
        >>> loss.compute(*loss.select(signals)).value
        tensor(0.4438)
    """

    labels: Tensor
    student_logits: Tensor
    teacher_logits: Tensor | None = None
    student_per_step_logits: Tensor | None = None
    student_features: tuple[Tensor, ...] = ()
    teacher_features: tuple[Tensor, ...] = ()
    teacher_gradients: tuple[Tensor, ...] = ()
    class_map: Tensor | None = None
    student_gradients: tuple[Tensor, ...] = ()
    student_head: LinearHead | None = None
    teacher_head: LinearHead | None = None

    @property
    def student_step_logits(self) -> Tensor | None:
        """The old name of ``student_per_step_logits``; it warns."""
        warnings.warn("Signals.student_step_logits is now student_per_step_logits", DeprecationWarning, stacklevel=2)
        return self.student_per_step_logits
