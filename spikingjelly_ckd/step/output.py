"""One step: the observation of each network, the terms of the losses, and the output for the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from ..methods.base import DistillationLoss, Term
from ..methods.signals import SILENT_STUDENT, LinearHead, Signals, TeacherOutput
from .arguments import WHOLE_TEACHER
from .batch import Batch
from .validate import (
    INVALID_LOGITS,
    all_finite,
    check_classes,
    check_labels,
    check_scalar,
    in_range,
    input_violations,
    label_sum_violations,
    logit_violations,
    raise_first,
)

__all__ = ["Observation", "Step", "StepOutput", "TeacherSeen"]

ALL_IGNORED = (
    "every label of the batch is {label}, the ignore_index of the task loss, whose mean over no image is NaN: put "
    "labelled images into every batch, or pass a task loss with reduction='sum'"
)
NO_LABEL = (
    "an image has the label {label}, which the task loss ignores, and the loss {name!r} reads labels: where no loss "
    "uses a teacher's logits, there is no first choice of it to stand in; leave such images or this loss out"
)
INVALID_LOSS = "the loss {name!r} is not finite (NaN or inf)"

LayerTensors = Mapping[str, tuple[Tensor, ...]]
"""Name of a loss -> one tensor for each of its layers."""


@dataclass(frozen=True)
class Observation:
    """One forward of one network, as the losses see it.

    Attributes:
        logits: ``[N, K]``, fp32 or wider, averaged over time; None where the forward ended before them.
        per_step_logits: ``[T, N, K]`` of a student, where a loss needs them.
        features: ``[T, N, C, h, w]`` of a student, with their graph; ``[N, C, h, w]`` of a teacher, detached.
        gradients: of the class score at the features, shaped as these.
        class_maps: of a teacher, ``[N, h, w]``, where they were computed before.
        points: name of a loss -> the outputs of its layers as they stand in the graph, one for each call.
        every_point: the outputs of all recorded layers.
        head: the last linear layer, where a loss applies it.
        violations: message -> boolean scalar on the device, true where per-step logits read inside the network are not
            those of its output.

    Example:
        >>> import torch
        >>> from spikingjelly_ckd import CKDDistiller
        >>> from spikingjelly_ckd.recipes.models import resnet8, spiking_resnet8
        >>> distiller = CKDDistiller(resnet8(10), spiking_resnet8(10), time_steps=2)
        >>> step = distiller.observe(torch.rand(3, 3, 16, 16), torch.tensor([3, 7, 1]))
        >>> [tuple(features.shape) for features in step.student.features["samd"]]
        [(2, 3, 64, 4, 4)]
        >>> step.student.logits.requires_grad, step.teacher.logits.requires_grad
        (True, False)
    """

    logits: Tensor | None = None
    per_step_logits: Tensor | None = None
    features: LayerTensors = field(default_factory=dict)
    gradients: LayerTensors = field(default_factory=dict)
    class_maps: Mapping[str, Tensor] = field(default_factory=dict)
    points: LayerTensors = field(default_factory=dict)
    every_point: tuple[Tensor, ...] = ()
    head: LinearHead | None = None
    violations: Mapping[str, Tensor] = field(default_factory=dict)

    def tensors(self) -> Iterator[Tensor]:
        """The tensors that the losses will read."""
        yield from () if self.logits is None else (self.logits,)
        for layers in (*self.features.values(), *self.gradients.values()):
            yield from layers


TeacherSeen = TeacherOutput | Observation
"""Either of these can be passed to a step, which then does not run the teacher."""


@dataclass(frozen=True)
class Step:
    """Both networks on one batch, and the value of every loss; nothing is checked or weighted yet.

    Attributes:
        batch: the input of both networks.
        labels: as the losses see them: class indices in range ``[N]``, or soft labels ``[N, K]``. An image that the
            task loss ignores gets the teacher's top-1 class as its label.
        task_labels: as the task loss sees them, with its ``ignore_index``.
        student: with its graph.
        teacher: detached; empty where no loss uses a teacher.
        ignored: label that the task loss ignores; None where it has none.
        terms: ``"task"`` and one for each loss.

    Example:
        >>> import torch
        >>> from spikingjelly_ckd import Distiller
        >>> from spikingjelly_ckd.methods import KDLoss
        >>> from spikingjelly_ckd.recipes.models import resnet8, spiking_resnet8
        >>> distiller = Distiller(resnet8(10), spiking_resnet8(10), {"kd": (KDLoss(), 0.9)}, time_steps=2)
        >>> step = distiller.observe(torch.rand(3, 3, 16, 16), torch.tensor([3, 7, 1]))
        >>> sorted(step.terms), tuple(step.logits.shape), step.labels.tolist()
        (['kd', 'task'], (3, 10), [3, 7, 1])
        >>> [message for message, violated in step.violations().items() if violated]
        []
    """

    batch: Batch
    labels: Tensor
    task_labels: Tensor
    student: Observation
    teacher: Observation
    ignored: int | None = None
    terms: Mapping[str, Term] = field(default_factory=dict)

    @classmethod
    def of(cls, batch: Batch, student: Observation, teacher: Observation, ignored: int | None, *, clamp: bool) -> Step:
        """A step of both observations, without terms.

        Args:
            batch: what the networks took.
            student: of this batch.
            teacher: likewise.
            ignored: label that the task loss ignores, its ``ignore_index``; None where it has none.
            clamp: put other labels that are out of range into it; they are reported elsewhere.

        Raises:
            TypeError: a batch without labels.
            ValueError: unlike numbers of classes, or labels of another shape.
        """
        logits = cast(Tensor, student.logits)
        check_classes(logits, teacher.logits)
        labels = check_labels(batch.labels, logits.shape, clamp=False)
        instead = None if teacher.logits is None else teacher.logits.argmax(1)
        return cls(
            batch,
            in_range(labels, logits.shape[1], ignored, instead, clamp=clamp),
            in_range(labels, logits.shape[1], ignored, labels, clamp=clamp),
            student,
            teacher,
            ignored,
        )

    @property
    def logits(self) -> Tensor:
        """The student's, averaged over time, ``[N, K]``, with their graph."""
        return cast(Tensor, self.student.logits)

    def signals(self, name: str) -> Signals:
        """What the loss called ``name`` may take.

        Args:
            name: of the loss.
        """
        student, teacher = self.student, self.teacher
        return Signals(
            self.labels,
            self.logits,
            teacher.logits,
            student.per_step_logits,
            student_features=student.features.get(name, ()),
            teacher_features=teacher.features.get(name, ()),
            teacher_gradients=teacher.gradients.get(name, ()),
            class_map=teacher.class_maps.get(name),
            student_gradients=student.gradients.get(name, ()),
            student_head=student.head,
            teacher_head=teacher.head,
        )

    def with_terms(self, task_loss: Callable[..., Tensor] | None, losses: Mapping[str, DistillationLoss]) -> Step:
        """The step with what the task loss (None: cross-entropy on the mean logits) and every loss compute.

        Args:
            task_loss: a loss, a function of logits and labels, or None.
            losses: name -> loss.
        """
        signals = replace(self.signals("task"), labels=self.task_labels)
        if task_loss is None:
            value = F.cross_entropy(signals.student_logits, signals.labels)
            task = Term(value, violations=label_sum_violations(signals.labels))
        elif isinstance(task_loss, DistillationLoss):
            task = task_loss.compute(*task_loss.select(signals))
        else:
            task = Term(task_loss(signals.student_logits, signals.labels))
        terms = {name: loss.compute(*loss.select(self.signals(name))) for name, loss in losses.items()}
        for name, term in {"task": task, **terms}.items():
            check_scalar(f"the task loss {task_loss!r}" if name == "task" else f"the loss {name!r}", term.value)
        return replace(self, terms={"task": task, **terms} | self._without_label(terms, losses))

    def _without_label(self, terms: Mapping[str, Term], losses: Mapping[str, DistillationLoss]) -> dict[str, Term]:
        """The terms of losses that would learn class 0 of images without a label, each with a violation."""
        stands_in = any(WHOLE_TEACHER & set(loss.needs) for loss in losses.values())
        if self.ignored is None or stands_in or self.task_labels.ndim != 1:
            return {}
        found = (self.task_labels == self.ignored).any()
        said = {name: {NO_LABEL.format(label=self.ignored, name=name): found} for name in terms}
        return {
            name: replace(term, violations={**term.violations, **said[name]})
            for name, term in terms.items()
            if "labels" in losses[name].needs
        }

    def points(self, name: str) -> tuple[Tensor, ...]:
        """Where the gradients of the loss called ``name`` and of the task are compared, in the student's graph.

        Args:
            name: of the loss.
        """
        return self.student.points.get(name) or self.student.every_point or (self.logits,)

    def skipped(self) -> Tensor:
        """How many images the losses left out, summed over the losses; integer-valued scalar on the device."""
        counts = (term.skipped for term in self.terms.values() if term.skipped is not None)
        return sum(counts, self.logits.new_zeros(())).detach()

    def input_violations(self) -> dict[str, Tensor]:
        """Message -> boolean scalar on the device, true where the batch must not be trained on."""
        return input_violations(self.batch.images, self.batch.labels, self.logits.shape[1], self.ignored)

    def network_violations(self) -> dict[str, Tensor]:
        """Message -> boolean scalar on the device, true where the batch or what a network made of it is invalid."""
        found = self.input_violations() | logit_violations("student", self.logits)
        return found if self.teacher.logits is None else found | logit_violations("teacher", self.teacher.logits)

    def violations(self) -> dict[str, Tensor]:
        """Message -> boolean scalar on the device, true where this step must not be trained on."""
        found = {**self.network_violations(), **self.student.violations}
        if self.ignored is not None:
            nothing_left = (self.task_labels == self.ignored).all()
            found[ALL_IGNORED.format(label=self.ignored)] = nothing_left & ~all_finite(self.terms["task"].value)
        for name, term in self.terms.items():
            found |= term.violations
            found[INVALID_LOSS.format(name=name)] = ~all_finite(term.value)
        return found

    def signs_of_divergence(self) -> set[str]:
        """Those messages of :meth:`violations` that show a diverged training and not an invalid batch."""
        return {
            INVALID_LOGITS.format(role="student"),
            SILENT_STUDENT,
            *(INVALID_LOSS.format(name=name) for name in self.terms),
        }

    def judge(self, *, together: bool) -> int:
        """Raise the first violation, or return how many images the losses left out.

        Args:
            together: raise in every process of ``torch.distributed`` where one of them has a violation.

        Raises:
            InvalidStepError: a violation, here or, where ``together``, on any rank.
        """
        several = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
        return raise_first(
            self.violations(),
            self.skipped(),
            together=together and several and torch.is_grad_enabled(),
            diverged=self.signs_of_divergence(),
        )

    def output(self, loss: Tensor, weights: dict[str, float | Tensor], skipped: int | Tensor) -> StepOutput:
        """The step for the caller, with the weighted sum of its terms.

        Args:
            loss: the weighted sum of the terms.
            weights: name -> weight that the term had.
            skipped: how many images the losses left out.
        """
        values = {name: term.value for name, term in self.terms.items()}
        with_maps = {name: term.maps for name, term in self.terms.items() if term.maps}
        maps = {
            side if len(with_maps) == 1 else f"{name}/{side}": value
            for name, sides in with_maps.items()
            for side, value in sides.items()
        }
        logits = self.logits if torch.is_grad_enabled() else self.logits.detach()
        return StepOutput(loss, logits, {k: v.detach() for k, v in values.items()}, weights, maps, skipped, values)


@dataclass
class StepOutput:
    """The result of one step.

    Attributes:
        loss: weighted sum of all terms, scalar; call ``loss.backward()``.
        logits: the student's, averaged over time, ``[N, K]``, with their graph.
        terms: ``"task"`` and one entry for each loss: unweighted, detached scalars.
        weights: of each term, as used in this step; an automatic one is a scalar tensor.
        maps: ``{"teacher", "student"}``, ``[N, h, w]`` each, detached, size-matched and normalised, before the
            softmax; empty without a map loss, and ``"name/teacher"``, ``"name/student"`` with several.
        skipped: how many images the losses left out, such as those with a constant teacher map, summed over the losses;
            an integer, or with ``check=False`` a scalar tensor, which is not copied from the device.
        values: the terms with their graphs, for gradients of one term alone.

    Example:
        >>> import torch
        >>> from spikingjelly_ckd import Distiller
        >>> from spikingjelly_ckd.methods import KDLoss
        >>> from spikingjelly_ckd.recipes.models import resnet8, spiking_resnet8
        >>> losses = {"kd": (KDLoss(), 0.9)}
        >>> distiller = Distiller(resnet8(10), spiking_resnet8(10), losses, task_weight=0.1, time_steps=2)
        >>> out = distiller(torch.rand(3, 3, 16, 16), torch.tensor([3, 7, 1]))
        >>> out.loss.backward()
        >>> sorted(out.terms), out.weights["kd"], tuple(out.logits.shape), out.skipped
        (['kd', 'task'], 0.9, (3, 10), 0)
    """

    loss: Tensor
    logits: Tensor
    terms: dict[str, Tensor]
    weights: dict[str, float | Tensor]
    maps: dict[str, Tensor]
    skipped: int | Tensor
    values: dict[str, Tensor] = field(repr=False)
