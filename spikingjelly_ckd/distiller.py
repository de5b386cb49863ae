"""The distiller: both networks, one step, and nothing about any method."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .functional.checks import check_flag, check_non_negative
from .functional.maps import at_least_float32
from .methods.base import DistillationLoss, LinearHead, Signals, TeacherOutput, Term
from .networks import compat
from .networks.guards import outside_inference, preserve_state, reset_states
from .networks.reading import Layer, arrange, resolve
from .networks.recording import Recording, converts_input, record
from .networks.search import find_head, find_layer, find_stages
from .step import arguments
from .step.arguments import Weight
from .step.auto_weight import AutoWeight
from .step.batch import Batch, Logits, read_batch, read_logits
from .step.streams import SideStream
from .step.time_steps import PerStepReadout, check_step_modes, find_per_step_logits

__all__ = ["Distiller", "StepOutput"]

Sides = tuple[tuple[Layer, ...], tuple[Layer, ...]]
Shapes = dict[Layer, torch.Size]
Evidence = dict[tuple[str, str], list[Tensor]]
"""Target class and path -> gradients, one for each call of the layer."""


@dataclass
class StepOutput:
    """What one step gives.

    Attributes:
        loss: weighted sum of all terms, scalar; call ``loss.backward()``.
        logits: the student's, averaged over time, ``[N, K]``, with their graph.
        terms: ``"task"`` and one entry for each loss: unweighted, detached scalars.
        weights: of each term as used in this step.
        maps: ``{"teacher", "student"}``, ``[N, h, w]`` each, detached, size-matched and normalised, before the
            softmax; empty without a map loss, and ``"name/teacher"``, ``"name/student"`` with several.
        skipped: images that a loss left out since their teacher map is constant, summed over the losses; a number, or
            with ``check=False`` a scalar tensor that was not waited for.
        values: the terms with their graphs, for gradients of one term alone.
    """

    loss: Tensor
    logits: Tensor
    terms: dict[str, Tensor]
    weights: dict[str, float | Tensor]
    maps: dict[str, Tensor]
    skipped: int | Tensor
    values: dict[str, Tensor] = field(repr=False)


class Distiller(nn.Module):
    """A frozen ANN teacher, a spiking student, and any set of weighted losses, as one module.

    ``distiller(images, labels)`` runs one step and returns a :class:`StepOutput`; the caller owns ``backward`` and the
    optimiser. ``parameters()`` and ``state_dict()`` hold the student, the losses' own parameters and measured weights,
    never the teacher; ``.to()`` moves both networks (a teacher from :func:`~spikingjelly_ckd.prepare_teacher` keeps its
    types), and ``copy.deepcopy`` shares the teacher. Wrap the distiller, not the student, in
    ``DistributedDataParallel`` or ``torch.compile``.

    Args:
        teacher: any classifier. It is frozen and put into ``eval`` here, in place, and has to stay so. None where no
            loss looks at a teacher: plain training on the same data path. It runs only where a loss needs it.
        student: any SpikingJelly network. Its state is reset at both ends of every step.
        losses: name -> (loss, weight). The weight is a number of at least 0, or ``"auto"`` (see
            :class:`~spikingjelly_ckd.step.auto_weight.AutoWeight`).
        layers: name -> (student layers, teacher layers) for losses that compare layers; each a path, a
            :class:`~spikingjelly_ckd.Layer`, or several. Where a loss has no entry, or None stands in place of
            a side, the layer is found (:func:`~spikingjelly_ckd.find_layer`), or for losses that compare stages those
            whose maps are nearest in size to the side that was given.
        task_loss: None is cross-entropy on the mean logits; a callable ``(logits [N, K], labels) -> scalar``; or a
            :class:`~spikingjelly_ckd.DistillationLoss` that picks what it needs (such as per-step logits).
        task_weight: of the task loss.
        time_steps: None hands the batch on unchanged (event frames, or a network that repeats by itself); ``T``
            repeats images ``[N, C, H, W]`` over time without copying, and must equal the time axis of event frames.
        student_steps: ``"multi"``, ``"loop"`` (a single-step network, called ``T`` times) or ``"internal"`` (the
            network takes images and keeps time itself). OTTT and SNASNet are known and need no word.
        batch_first: event frames come as ``[N, T, C, H, W]``.
        teacher_input: None is the images, or the mean of the event frames over time; a callable gets the images, or
            the frames with time first, and returns what the teacher takes (resize, renormalise, 2 -> 3 channels).
        example: one batch (images, or images with labels); layers are then found, and parameters that depend on them
            built, here instead of at the first step. State, modes, buffers and random numbers stay as they are.
        check: read the step's value checks (finite outputs, label range, constant maps), once a step.
        teacher_stream: on a GPU, run the teacher on a stream of its own, beside the student's forward. It takes memory,
            and saves time only where one network leaves the GPU idle. Not measured on a GPU.

    Raises:
        TypeError: a wrong kind of argument, or a network in ``nn.DataParallel``.
        ValueError: a wrong value, name or shape.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from spikingjelly.activation_based import layer, neuron
        >>> from spikingjelly_ckd.methods import KDLoss
        >>> teacher = nn.Sequential(
        ...     nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
        >>> student = nn.Sequential(
        ...     layer.Conv2d(3, 4, 3, step_mode="m"), neuron.LIFNode(step_mode="m"),
        ...     layer.AdaptiveAvgPool2d(1, step_mode="m"), layer.Flatten(step_mode="m"),
        ...     layer.Linear(4, 10, step_mode="m"))
        >>> distiller = Distiller(teacher, student, {"kd": (KDLoss(), 0.9)}, task_weight=0.1, time_steps=4)
        >>> out = distiller(torch.rand(2, 3, 8, 8), torch.tensor([3, 7]))
        >>> out.loss.backward()
        >>> sorted(out.terms), tuple(out.logits.shape)
        (['kd', 'task'], (2, 10))
    """

    def __init__(
        self,
        teacher: nn.Module | None,
        student: nn.Module,
        losses: Mapping[str, tuple[DistillationLoss, Weight]],
        *,
        layers: Mapping[str, tuple[Any, Any]] | None = None,
        task_loss: Callable[..., Tensor] | None = None,
        task_weight: float = 1.0,
        time_steps: int | None = None,
        student_steps: str = "multi",
        batch_first: bool = False,
        teacher_input: Callable[[Tensor], Tensor] | None = None,
        example: Any = None,
        check: bool = True,
        teacher_stream: bool = False,
        schedule: Mapping[str, Callable[[float], float]] | None = None,
    ) -> None:
        super().__init__()
        self.schedule = dict(schedule or {})
        self._factors = dict.fromkeys(self.schedule, 1.0)
        arguments.check_networks(teacher, student)
        # in a tuple, so that it is no submodule
        self._frozen_teacher = () if teacher is None else (teacher.requires_grad_(False).eval(),)
        self.student = student
        self.task_loss = task_loss
        self.task_weight = check_non_negative("task_weight", task_weight)
        self.time_steps = arguments.read_time_steps(time_steps)
        self.student_steps = arguments.read_student_steps(student, student_steps)
        self.batch_first = check_flag("batch_first", batch_first)
        self.teacher_input = teacher_input
        self.check = check_flag("check", check)
        self.teacher_stream = check_flag("teacher_stream", teacher_stream)
        self._reporting = False  # preflight reports what a step would raise
        modules, self.weights = arguments.read_losses(losses, self.task_weight)
        self.losses = nn.ModuleDict(modules)
        self.auto = nn.ModuleDict({name: AutoWeight() for name in modules if name not in self.weights})
        self._needs = arguments.read_needs(modules, task_loss, with_teacher=teacher is not None)
        self._given = arguments.read_layers(modules, layers or {}, teacher, student)
        self._layers: dict[str, Sides] | None = None
        self._resolved: dict[Any, Layer] = {}
        self._heads: dict[str, str] = {}
        self._step_point: PerStepReadout | None = None
        self._teacher_ran_once = False  # to its end, and each recorded layer was called once
        compat.invalidate_reset_cache(student)
        if example is not None:
            images, labels = example if isinstance(example, tuple | list) else (example, None)
            self._build(self._read(images, labels))
        arguments.check_built(modules)

    @property
    def teacher(self) -> nn.Module:
        """The frozen teacher; it is no submodule, so it is in no ``parameters()`` and no ``state_dict()``.

        Raises:
            RuntimeError: this distiller was made without one.
        """
        if not self._frozen_teacher:
            raise RuntimeError("this distiller has no teacher: it was made with teacher=None")
        return self._frozen_teacher[0]

    @property
    def uses_teacher(self) -> bool:
        """Whether any loss looks at the teacher; otherwise it does not run."""
        return bool(self._needs & arguments.TEACHER_NEEDS)

    @property
    def layers(self) -> dict[str, Sides]:
        """Name of each loss that compares layers -> (student layers, teacher layers), as last read.

        Raises:
            RuntimeError: before they were chosen: pass ``example=``, or run a step.
        """
        if self._layers is None:
            raise RuntimeError("layers are chosen at the first step; pass example= to choose them at construction")
        return {
            name: (
                tuple(self._resolved.get(("student", layer), layer) for layer in student_layers),
                tuple(self._resolved.get(("teacher", layer), layer) for layer in teacher_layers),
            )
            for name, (student_layers, teacher_layers) in self._layers.items()
        }

    def forward(self, images: Tensor, labels: Tensor, teacher_output: TeacherOutput | None = None) -> StepOutput:
        """One step of distillation.

        Args:
            images: ``[N, C, H, W]``, or event frames ``[T, N, C, H, W]`` (``[N, T, ...]`` with ``batch_first``).
            labels: class indices ``[N]``, or soft labels ``[N, K]``.
            teacher_output: what the teacher said of these images before, see :meth:`run_teacher`; it does not run then.

        Returns:
            A :class:`StepOutput`. No parameter and no ``.grad`` was touched.

        Raises:
            TypeError: a wrong kind of input or output.
            ValueError: wrong shapes, labels out of range, values that are not finite, constant maps, a neuron in
                single-step mode that takes time steps for images, or a loss that needs more of the teacher than
                ``teacher_output`` holds.
            RuntimeError: a teacher in train mode, a layer that did not run or was changed in place.
        """
        batch = self._read(images, labels)
        self._choose_layers(batch)
        with reset_states(self.student):  # reset at both ends; whatever raises inside leaves no trace in its buffers
            beside = SideStream(batch.images.device if self.teacher_stream else None)
            with self._recorded_student() as seen:
                student = self._run_student(batch, seen)
            if teacher_output is None:
                with beside:
                    teacher = self._run_teacher(batch, student.mean.shape[1])
                beside.hand_over(teacher.tensors())
            else:
                teacher = self._given_teacher(student, teacher_output)
            signals = self._signals(batch, student, teacher, seen)
            terms = {"task": self._task(signals["task"])}
            for name, loss in self._each_loss().items():
                terms[name] = loss.compute(*loss.select(signals[name]))
            skipped = self._verify(batch, student, teacher.logits, terms)
            weights = self._weigh(terms, student, seen)
            total = torch.stack([weights[name] * term.value for name, term in terms.items()]).sum()
        return _output(total, student.mean, terms, weights, skipped)

    def run_teacher(self, images: Tensor, labels: Tensor) -> TeacherOutput:
        """The teacher alone: what the losses take of it, to be kept and handed to :meth:`forward` later.

        Args:
            images: as for :meth:`forward`.
            labels: as for :meth:`forward`; they matter where a class map is of the label's class.

        Returns:
            A :class:`~spikingjelly_ckd.TeacherOutput`, detached, on the images' device: ``logits [N, K]``, and
            ``class_maps``, name of each loss that compares one -> ``[N, h, w]``.

        Raises:
            TypeError: as for :meth:`forward`.
            ValueError: as for :meth:`forward`; or a loss takes more of the teacher than logits and a class map.
            RuntimeError: as for :meth:`forward`.
        """
        if not self.uses_teacher:
            raise ValueError("no loss looks at the teacher, so there is nothing to ask it")
        arguments.check_replayable(self._each_loss())
        batch = self._read(images, labels)
        self._choose_layers(batch)
        teacher = self._run_teacher(batch, None)
        labels = arguments.check_labels(batch.labels, teacher.logits.shape, clamp=False)
        if self.check:
            classes = teacher.logits.shape[1]
            violations = arguments.input_violations(batch.images, labels, classes)
            _raise_first(violations | arguments.logit_violations("teacher", teacher.logits))
        common = Signals(labels, teacher.logits, teacher.logits, teacher_head=teacher.head)
        views = {name: replace(common, **fields) for name, fields in teacher.fields.items()}
        maps = {name: self._each_loss()[name].class_map(view).detach() for name, view in views.items()}
        return TeacherOutput(teacher.logits, maps)

    def predict(self, images: Tensor) -> Tensor:
        """The student alone: logits averaged over time, ``[N, K]``; its state is reset at both ends.

        Mode and gradients are the caller's: use ``eval()`` and ``torch.no_grad()`` to evaluate.

        Args:
            images: as for :meth:`forward`.

        Raises:
            TypeError: a wrong kind of input or output.
            ValueError: wrong shapes.
        """
        batch = self._read(images, None)
        with reset_states(self.student):
            return self._read_student(batch).mean

    def progress(self, progress: float) -> None:
        """Set the factors of the scheduled weights."""
        self._factors = {name: factor(progress) for name, factor in self.schedule.items()}

    @classmethod
    def from_method(cls, method: Any, teacher: nn.Module | None, student: nn.Module, **options: Any) -> Distiller:
        """A distiller with a published method."""
        given = {"task_loss": copy.deepcopy(method.task_loss), "task_weight": method.task_weight}
        given |= {"schedule": method.schedule, "layers": method.layers}
        return cls(teacher, student, copy.deepcopy(dict(method.losses)), **{**given, **options})

    # --- the networks ------------------------------------------------------------------------------------------------

    def _read(self, images: Tensor, labels: Tensor | None) -> Batch:
        return read_batch(images, labels, time_steps=self.time_steps, batch_first=self.batch_first)

    def _read_student(self, batch: Batch) -> Logits:
        output = self._call_student(self.student, self._student_frames(batch))
        return read_logits(output, role="student", size=batch.size, steps=batch.steps)

    def _recorded_student(self) -> AbstractContextManager[Recording]:
        point = [] if self._step_point is None else [self._step_point.path]
        return record(self.student, [*self._paths("student"), *point], as_leaf=self._explained_paths())

    def _run_student(self, batch: Batch, seen: Recording) -> Logits:
        """Logits, with those of every step read where the network hides them, if a loss needs them."""
        with _graph(torch.is_grad_enabled() or "student_gradients" in self._needs):
            logits = self._read_student(batch)
            if "per_step_logits" not in self._needs or logits.steps is not None:
                return logits
            if self._step_point is None:  # one step
                return Logits(logits.mean, logits.mean.unsqueeze(0))
            steps = self._step_point.read(self.student, seen.calls(self._step_point.path), batch.size)
            return Logits(logits.mean, steps)

    def _student_frames(self, batch: Batch) -> Tensor:
        return batch.images if self.student_steps == "internal" else batch.over_time()

    def _call_student(self, student: nn.Module, frames: Tensor) -> Any:
        if self.student_steps == "loop" and frames.ndim != 5:
            raise ValueError("student_steps='loop' calls the student once a time step: pass time_steps=")
        with arguments.add_note_on_error(
            f"raised by the student on input {tuple(frames.shape)} with time_steps={self.time_steps}, "
            f"student_steps={self.student_steps!r}. A network in multi-step mode takes [T, N, C, H, W]: pass "
            "time_steps= for images, and call functional.set_step_mode(student, 'm') on the whole network"
        ):
            if self.student_steps != "loop":
                return student(frames)
            return torch.stack([read_logits(student(x), role="student", size=x.shape[0]).mean for x in frames])

    def _call_teacher(self, teacher: nn.Module, images: Tensor) -> Any:
        with arguments.add_note_on_error(
            f"raised by the teacher on input {tuple(images.shape)}; teacher_input= can resize or renormalise it"
        ):
            return teacher(images)

    def _run_teacher(self, batch: Batch, classes: int | None) -> _Teacher:
        """The teacher's side of a step. Where no loss asks for its logits, they are ``[0, K]``."""
        logits = batch.images.new_empty(0, classes or 0)
        if not self.uses_teacher:
            return _Teacher(logits)
        arguments.check_frozen(self.teacher)
        images = self._teacher_images(batch)
        images = images.clone() if images.is_inference() else images
        points = self._evidence_paths()
        features_alone = classes is not None and not self._needs & (arguments.TEACHER_NEEDS - {"features"})
        scores: dict[str, Tensor] = {}
        stop = features_alone and self._teacher_ran_once  # nothing behind the recorded layers is asked for
        with record(self.teacher, self._paths("teacher"), as_leaf=points, stop=stop) as seen, _graph(bool(points)):
            output = read_logits(self._call_teacher(self.teacher, images), role="teacher", size=batch.size).mean
            if classes is not None and output.shape[1] != classes:
                raise ValueError(f"the teacher has {output.shape[1]} classes and the student {classes}")
            arguments.check_labels(batch.labels, output.shape, clamp=False)
            if not features_alone:
                logits = output
            scores = {
                target: logits.gather(1, _target_class(target, logits, batch.labels)).sum()
                for target in {loss.target_class for loss in self._each_loss().values() if "gradients" in loss.needs}
            }
        self._teacher_ran_once = all(len(seen.calls(path)) == 1 for path in seen)
        gradients = _gradients("teacher", scores, seen, points)
        fields: dict[str, dict[str, Any]] = {}
        for name, (_, layers) in (self._layers or {}).items():
            loss = self._each_loss()[name]
            explained = layers if "gradients" in loss.needs else ()
            fields[name] = {
                "teacher_features": tuple(
                    self._arrange("teacher", x, seen.calls(x.path), batch).detach() for x in layers
                ),
                "teacher_gradients": tuple(
                    self._arrange("teacher", x, gradients[loss.target_class, x.path], batch) for x in explained
                ),
            }
        return _Teacher(logits.detach(), fields, self._head("teacher", logits.shape[1]))

    def _given_teacher(self, student: Logits, known: TeacherOutput) -> _Teacher:
        """The teacher's side of a step, from what it said before."""
        arguments.check_replayable(self._each_loss())
        names = self._layers or {}
        arguments.check_teacher_output(known, set(names), student.mean)
        fields = {name: {"class_map": at_least_float32(known.class_maps[name].detach())} for name in names}
        return _Teacher(at_least_float32(known.logits.detach()), fields)

    def _teacher_images(self, batch: Batch) -> Tensor:
        if self.teacher_input is None:
            return (batch.images.mean(0) if batch.is_event else batch.images).detach()
        images = self.teacher_input(batch.images)
        if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[0] != batch.size:
            got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"teacher_input must return [N, C, H, W] with N={batch.size}, got {got}")
        return images.detach()

    # --- what the losses see -----------------------------------------------------------------------------------------

    def _each_loss(self) -> dict[str, DistillationLoss]:
        return {name: cast(DistillationLoss, loss) for name, loss in self.losses.items()}

    def _paths(self, role: str) -> list[str]:
        side = ("student", "teacher").index(role)
        return [layer.path for sides in (self._layers or {}).values() for layer in sides[side]]

    def _evidence_paths(self) -> list[str]:
        """Teacher layers at which a class score is differentiated."""
        return [
            layer.path
            for name, (_, teacher_layers) in (self._layers or {}).items()
            for layer in teacher_layers
            if "gradients" in self._each_loss()[name].needs
        ]

    def _student_evidence(self, batch: Batch, student: Logits, teacher: Tensor, seen: Recording) -> Evidence:
        """Gradients of the student's class scores at its recorded layers, by target class and path."""
        paths = self._explained_paths()
        if not paths:
            return {}
        losses = self._each_loss().values()
        targets = {loss.target_class for loss in losses if "student_gradients" in loss.needs}
        picked = {target: _target_class(target, teacher, batch.labels) for target in targets}
        with _graph(True):
            scores = {target: student.mean.gather(1, index.clone()).sum() for target, index in picked.items()}
        return _gradients("student", scores, seen, paths, create_graph=torch.is_grad_enabled())

    def _explained_paths(self) -> list[str]:
        """Student layers at which its own class score is differentiated; in eval a neuron may hand on no graph."""
        explaining = [name for name, loss in self._each_loss().items() if "student_gradients" in loss.needs]
        return [layer.path for name in explaining for layer in (self._layers or {})[name][0]]

    def _signals(self, batch: Batch, student: Logits, teacher: _Teacher, seen: Recording) -> dict[str, Signals]:
        """One view of the step for each loss: the logits and labels of all, the layers of its own."""
        common = Signals(
            arguments.check_labels(batch.labels, student.mean.shape, clamp=self.check),
            student.mean,
            teacher.logits,
            student.steps,
            student_head=self._head("student", student.mean.shape[1]),
            teacher_head=teacher.head,
        )
        gradients = self._student_evidence(batch, student, teacher.logits, seen)
        views = {"task": common}
        for name, loss in self._each_loss().items():
            layers = (self._layers or {}).get(name, ((), ()))[0]
            explained = layers if "student_gradients" in loss.needs else ()
            views[name] = replace(
                common,
                student_features=tuple(self._arrange("student", x, seen.calls(x.path), batch) for x in layers),
                student_gradients=tuple(
                    self._arrange("student", x, gradients[loss.target_class, x.path], batch) for x in explained
                ),
                **teacher.fields.get(name, {}),
            )
        return views

    def _head(self, role: str, classes: int) -> LinearHead | None:
        if f"{role}_head" not in self._needs:
            return None
        network = self.student if role == "student" else self.teacher
        if role not in self._heads:
            self._heads[role] = find_head(network, classes, role=role)
        return LinearHead.at(network, self._heads[role])

    def _arrange(self, role: str, layer: Layer, calls: Sequence[Tensor], batch: Batch) -> Tensor:
        """``[T, N, C, h, w]`` of the student, ``[N, C, h, w]`` of the teacher; a shape is worked out once."""
        steps = batch.steps if role == "student" else None
        key = (role, layer, len(calls), calls[0].shape, steps, batch.size, batch.image_size)
        if key not in self._resolved:
            network, images = (self.student, batch.images) if role == "student" else (self.teacher, batch.images)
            if role == "teacher":
                images = self._teacher_images(batch)
            size = (images.shape[-2], images.shape[-1])
            self._resolved[key] = self._resolved[role, layer] = resolve(
                layer, network, calls, role=role, steps=steps, batch=batch.size, image_size=size
            )
        return arrange(calls, self._resolved[key], role=role, steps=steps, batch=batch.size)

    def _task(self, view: Signals) -> Term:
        if self.task_loss is None:
            return Term(F.cross_entropy(view.student_logits, view.labels))
        if isinstance(self.task_loss, DistillationLoss):
            return self.task_loss.compute(*self.task_loss.select(view))
        return Term(self.task_loss(view.student_logits, view.labels))

    def _weigh(self, terms: Mapping[str, Term], student: Logits, seen: Recording) -> dict[str, float | Tensor]:
        """The weight of every term; ``"auto"`` weights that are still being measured take this batch in."""
        weights: dict[str, float | Tensor] = {"task": self.task_weight, **self.weights}
        for name, module in self.auto.items():
            auto = cast(AutoWeight, module)
            if auto.measuring and self.training and torch.is_grad_enabled():
                own = (self._layers or {}).get(name, ((), ()))[0]
                points = [tensor for path in [layer.path for layer in own] or seen for tensor in seen.calls(path)]
                auto.observe(self.task_weight * terms["task"].value, terms[name].value, points or [student.mean])
            weights[name] = auto.weight.clone()
        return {
            name: weight * self._factors[name] if name in self._factors else weight for name, weight in weights.items()
        }

    def _verify(self, batch: Batch, student: Logits, teacher: Tensor, terms: Mapping[str, Term]) -> int | Tensor:
        """Read every value check of the step in one go; raise the first that fails."""
        skipped = sum((term.skipped for term in terms.values() if term.skipped is not None), student.mean.new_zeros(()))
        if not self.check or self._reporting:
            return skipped.detach()
        violations = arguments.input_violations(batch.images, batch.labels, student.mean.shape[1])
        violations |= arguments.logit_violations("student", student.mean) | arguments.logit_violations(
            "teacher", teacher
        )
        if self._step_point is not None:
            violations |= self._step_point.violations(student)
        for name, term in terms.items():
            violations |= term.violations
            violations[f"the loss {name!r} is not finite (NaN or inf)"] = ~term.value.detach().isfinite().all()
        return _raise_first(violations, skipped)

    # --- set-up ------------------------------------------------------------------------------------------------------

    def _choose_layers(self, batch: Batch) -> None:
        """Find the layers that were not given, once."""
        if self._layers is None:
            self._search(batch)

    @compat.untraced
    def _search(self, batch: Batch) -> None:
        """For all losses, so that no network is searched twice."""
        if not batch.images.isfinite().all():
            raise ValueError("images hold NaN or inf, so no layer can be chosen on them")
        if self.student_steps == "multi" and batch.steps is not None:
            check_step_modes(self.student, self._student_frames(batch), batch.steps, batch.size, run=self._call_student)
        found: dict[tuple[str, bool], tuple[Layer, ...]] = {}

        def find(role: str, stages: bool) -> tuple[Layer, ...]:
            """The grid is left open, since it follows the input's size."""
            if (role, stages) not in found:
                network = self.student if role == "student" else self.teacher
                images = self._student_frames(batch) if role == "student" else self._teacher_images(batch)
                run = self._call_student if role == "student" else self._call_teacher
                every = (
                    find_stages(network, images, role=role, run=run)
                    if stages
                    else (find_layer(network, images, role=role, run=run),)
                )
                found[role, stages] = tuple(replace(layer, grid=None) for layer in every)
            return found[role, stages]

        chosen: dict[str, Sides] = {}
        for name, (student_layers, teacher_layers) in self._given.items():
            choice = self._each_loss()[name].layer_choice
            sides = (
                find("student", choice != "last") if student_layers is None else student_layers,
                find("teacher", choice != "last") if teacher_layers is None else teacher_layers,
            )
            if choice != "last" and student_layers is teacher_layers is None:
                sides = _deepest(choice, *sides)
            elif choice != "last" and None in (student_layers, teacher_layers):
                sides = self._nearest(name, sides, 0 if student_layers is None else 1, batch)
            chosen[name] = sides
        if "per_step_logits" in self._needs and batch.steps != 1:
            frames = self._student_frames(batch)
            self._step_point = find_per_step_logits(self.student, frames, batch.size, run=self._call_student)
        self._layers = chosen

    def _build(self, batch: Batch) -> None:
        """Choose layers on an example, and let losses create the parameters that depend on their shapes."""
        self._choose_layers(batch)
        losses = self._each_loss()
        waiting = {name: sides for name, sides in (self._layers or {}).items() if losses[name].needs_build}
        if waiting:
            student, teacher = zip(*waiting.values(), strict=True)
            student_shapes, teacher_shapes = self._shapes(sum(student, ()), sum(teacher, ()), batch)
            for name, (student_layers, teacher_layers) in waiting.items():
                losses[name].build(
                    [student_shapes[x] for x in student_layers], [teacher_shapes[x] for x in teacher_layers]
                )
        self.losses.to(batch.images.device)

    def _nearest(self, name: str, sides: Sides, searched: int, batch: Batch) -> Sides:
        """Of the side that was searched, for each layer given on the other the stage whose map is nearest in size."""
        shapes = self._shapes(*sides, batch)
        sizes = [[of[layer][-2:].numel() for layer in side] for of, side in zip(shapes, sides, strict=True)]
        apart = [[abs(math.log(one / size)) for one in sizes[searched]] for size in sizes[1 - searched]]
        stages = tuple(sides[searched][each.index(min(each))] for each in apart)
        if len(set(stages)) < len(stages):
            role = ("student", "teacher")[searched]
            raise ValueError(
                f"layers[{name!r}] names {len(stages)} layers of one side, and two of them are nearest in size to one "
                f"stage of the {role}; its stages are {[stage.path for stage in sides[searched]]}: name the layers of "
                "both sides"
            )
        return (stages, sides[1]) if searched == 0 else (sides[0], stages)

    def _shapes(self, student: tuple[Layer, ...], teacher: tuple[Layer, ...], batch: Batch) -> tuple[Shapes, Shapes]:
        """What losses get of these layers for such a batch; the networks are left as they were found."""
        with preserve_state(self.student, self.teacher), torch.no_grad():
            self.student.eval()
            with record(self.student, {layer.path for layer in student}) as student_seen:
                self._read_student(batch)
            with record(self.teacher, {layer.path for layer in teacher}) as teacher_seen:
                self._call_teacher(self.teacher, self._teacher_images(batch))
        return (
            {x: self._arrange("student", x, student_seen.calls(x.path), batch).shape for x in student},
            {x: self._arrange("teacher", x, teacher_seen.calls(x.path), batch).shape for x in teacher},
        )

    # --- being a module ----------------------------------------------------------------------------------------------

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Distiller:
        for teacher in self._frozen_teacher:
            prepared = [module for module in teacher.modules() if converts_input(module)]
            own = {id(tensor) for module in prepared for tensor in (*module.parameters(), *module.buffers())}
            teacher._apply(lambda x, own=own: _moved(x, fn(x)) if id(x) in own else fn(x))  # type: ignore[no-untyped-call]
        return cast(Distiller, super()._apply(fn, recurse))  # type: ignore[no-untyped-call]

    def __deepcopy__(self, memo: dict[int, Any]) -> Distiller:
        memo.update((id(teacher), teacher) for teacher in self._frozen_teacher)
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        state = self.__getstate__()  # type: ignore[no-untyped-call]  # without what was compiled: that runs this one
        twin.__dict__.update(copy.deepcopy(state, memo))
        return twin

    def _replicate_for_data_parallel(self) -> Distiller:
        raise TypeError(arguments.NO_DATA_PARALLEL)


@dataclass(frozen=True)
class _Teacher:
    """The teacher's side of a step: logits, and for each loss with layers the fields of ``Signals`` that are its."""

    logits: Tensor
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    head: LinearHead | None = None

    def tensors(self) -> Iterator[Tensor]:
        """What was made in this step."""
        yield self.logits
        for tensors in (value for fields in self.fields.values() for value in fields.values()):
            yield from (tensors,) if isinstance(tensors, Tensor) else tensors


def _raise_first(violations: Mapping[str, Tensor], count: Tensor | None = None) -> int:
    """Read all violations and ``count`` in one go, raise the first that holds, and return the count."""
    flags = [*violations.values(), *(() if count is None else (count,))]
    values = torch.stack([flag.to(torch.int64) for flag in flags]).tolist()
    for message, value in zip(violations, values, strict=False):
        if value:
            raise ValueError(f"{message} (nothing was changed; check=False turns these checks off)")
    return 0 if count is None else int(values[-1])


def _target_class(target: str, logits: Tensor, labels: Tensor | None) -> Tensor:
    """Class index of each image, ``[N, 1]``."""
    if target == "teacher" or labels is None:
        return logits.argmax(1, keepdim=True)
    return labels.argmax(1, keepdim=True) if labels.ndim == 2 else labels.clamp(0, logits.shape[1] - 1).unsqueeze(1)


def _moved(tensor: Tensor, converted: Tensor) -> Tensor:
    """``tensor`` on the device of ``converted``, in its own type."""
    return converted if converted.dtype == tensor.dtype else tensor.to(converted.device)


@contextmanager
def _graph(wanted: bool) -> Iterator[None]:
    """Run with or without a graph, whatever mode the caller is in."""
    with outside_inference(), torch.set_grad_enabled(wanted):
        yield


def _deepest(choice: str, student: tuple[Layer, ...], teacher: tuple[Layer, ...]) -> Sides:
    """As many stages on both sides, the deepest; or the middle one of them."""
    count = min(len(student), len(teacher))
    if choice == "stages":
        return student[-count:], teacher[-count:]
    middle = (count - 1) // 2
    return (student[-count:][middle],), (teacher[-count:][middle],)


def _gradients(
    role: str, scores: Mapping[str, Tensor], seen: Recording, paths: Sequence[str], *, create_graph: bool = False
) -> Evidence:
    """Gradients of each score at each recorded layer, one for each of its calls; no ``.grad`` is touched."""
    found: Evidence = {}
    keep = len(scores) > 1 or role == "student"
    for target, score in scores.items():
        calls = {path: seen.calls(path) for path in paths}
        points = [point for path in paths for point in calls[path]]
        if not score.requires_grad:
            raise ValueError(f"the {role}'s logits do not depend on the layers {list(paths)}; pass {role}_layer=")
        gradients = iter(
            torch.autograd.grad(score, points, retain_graph=keep, create_graph=create_graph, allow_unused=True)
        )
        for path in paths:
            found[target, path] = [
                torch.zeros_like(point) if gradient is None else gradient
                for point, gradient in zip(calls[path], gradients, strict=False)
            ]
    return found


def _output(
    loss: Tensor, logits: Tensor, terms: Mapping[str, Term], weights: dict[str, float | Tensor], skipped: int | Tensor
) -> StepOutput:
    values = {name: term.value for name, term in terms.items()}
    with_maps = {name: term.maps for name, term in terms.items() if term.maps}
    maps = {
        side if len(with_maps) == 1 else f"{name}/{side}": value
        for name, sides in with_maps.items()
        for side, value in sides.items()
    }
    logits = logits if torch.is_grad_enabled() else logits.detach()
    return StepOutput(loss, logits, {k: v.detach() for k, v in values.items()}, weights, maps, skipped, values)
