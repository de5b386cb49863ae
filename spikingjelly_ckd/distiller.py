"""The distiller: both networks, one step, and nothing about any method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from .errors.checks import check_callable, check_flag, check_non_negative
from .errors.renamed import renamed_method, renamed_property
from .methods.base import DistillationLoss
from .methods.signals import TeacherOutput
from .networks import compat
from .networks.guards import reset_states
from .networks.outputs import Logits
from .step import arguments, network_arguments, validate
from .step.arguments import Weight
from .step.auto_weight import MeasuredWeight
from .step.batch import Batch
from .step.frozen_teacher import WithFrozenTeacher
from .step.method import Method, distiller_options
from .step.output import Observation, Step, StepOutput, TeacherSeen
from .step.pairing import Pair, Sides
from .step.schedule import Schedule
from .step.streams import SideStream
from .step.time_steps import StudentSteps
from .step.weighing import weigh

__all__ = ["Distiller", "StepOutput"]


class Distiller(WithFrozenTeacher):
    """A frozen ANN teacher, a spiking student, and any set of weighted losses, as one module.

    ``distiller(images, labels)`` runs one step and returns a :class:`StepOutput`; the caller owns ``backward`` and the
    optimiser. ``parameters()`` and ``state_dict()`` hold the student, the losses' own parameters, measured weights
    and what was chosen, never the teacher; ``.to()`` moves both networks (a teacher from
    :func:`~spikingjelly_ckd.prepare_teacher` keeps its types), and ``copy.deepcopy`` shares the teacher. Wrap the
    distiller, not the student, in ``DistributedDataParallel`` or ``torch.compile``.

    Args:
        teacher: any classifier. It is frozen and put into ``eval`` here, in place, and has to stay so. None where no
            loss looks at a teacher: plain training on the same data path. It runs only where a loss needs it.
        student: any SpikingJelly network. Its state is reset at both ends of every step.
        losses: name -> (loss, weight). The weight is a number of at least 0, ``"auto"`` (see
            :class:`~spikingjelly_ckd.step.auto_weight.AutoWeight`), ``"hold"`` or a :class:`~spikingjelly_ckd.Hold`.
        layers: name -> (student layers, teacher layers) for losses that compare layers; each a path, a
            :class:`~spikingjelly_ckd.Layer`, a module of the network, or several. Where a loss has no entry, or None
            stands in place of a side, the layer is found (:func:`~spikingjelly_ckd.find_layer`), or for losses that
            compare stages those whose maps are nearest in size to the side that was given.
        task_loss: None is cross-entropy on the mean logits; a callable ``(logits [N, K], labels) -> scalar``; or a
            :class:`~spikingjelly_ckd.DistillationLoss` that picks what it needs (such as per-step logits).
        task_weight: of the task loss.
        time_steps: None passes the batch on unchanged (event frames, or a network that repeats by itself); ``T``
            repeats images ``[N, C, H, W]`` over time without copying, and must equal the time axis of event frames.
        student_steps: ``"multi"``, ``"loop"`` (a single-step network, called ``T`` times) or ``"internal"`` (the
            network takes images and keeps time itself). OTTT and SNASNet are recognised by class name.
        batch_first: event frames come as ``[N, T, C, H, W]``; None is False, and a batch in which ``T = N`` is refused
            until another has shown which axis is time.
        teacher_input: None is the images, or the mean of the event frames over time; a callable gets the images, or
            the frames with time first, and returns what the teacher takes (resize, renormalise, 2 -> 3 channels).
        example: one batch (images, or images with labels); layers are then found, and parameters that depend on them
            built, here instead of at the first step. State, modes, buffers and random numbers stay as they are.
        check: raise where a value check fails (finite outputs, label range, constant maps); one device read a step.
        teacher_stream: run the teacher on a CUDA stream of its own; it takes memory, and saved no time on an H100.
        schedule: name of a loss, or ``"task"`` -> function of the progress in ``[0, 1]`` that gives a factor of its
            weight, see :mod:`spikingjelly_ckd.step.schedule`; advanced by :meth:`progress`.

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
        student_steps: StudentSteps = "multi",
        batch_first: bool | None = None,
        teacher_input: Callable[[Tensor], Tensor] | None = None,
        example: Any = None,
        check: bool = True,
        teacher_stream: bool = False,
        schedule: Mapping[str, Schedule] | None = None,
    ) -> None:
        network_arguments.check_networks(teacher, student)
        super().__init__(teacher, student)
        self.task_loss = check_callable("task_loss", task_loss)
        self.task_weight = check_non_negative("task_weight", task_weight)
        self.time_steps = network_arguments.read_time_steps(time_steps)
        self.student_steps = network_arguments.read_student_steps(student, student_steps)
        self.batch_first = None if batch_first is None else check_flag("batch_first", batch_first)
        self.teacher_input = check_callable("teacher_input", teacher_input)
        self.check = check_flag("check", check)
        self.teacher_stream = check_flag("teacher_stream", teacher_stream)
        modules, self.weights, measured = arguments.read_losses(losses, self.task_weight)
        self.losses = nn.ModuleDict(modules)
        self.auto = nn.ModuleDict(measured)
        self.schedule = arguments.read_schedule(schedule, modules)
        self._progress = 0.0
        needs = arguments.read_needs(modules, task_loss, with_teacher=teacher is not None)
        self.uses_teacher = bool(needs & arguments.TEACHER_NEEDS)  #: Whether a loss uses the teacher.
        given = arguments.read_layers(modules, layers or {}, teacher, student)
        self.observers = Pair(modules, needs, given, self.student_steps, arguments.read_teacher_steps(teacher, needs))
        compat.invalidate_reset_cache(student)
        if example is not None:
            self._build(self.read(*arguments.read_example(example)))
        arguments.check_built(modules)

    @staticmethod
    def from_method(method: Method, teacher: nn.Module | None, student: nn.Module, **options: Any) -> Distiller:
        """A :class:`Distiller` with the losses, weights, task loss, schedule and layers of one publication.

        Args:
            method: such as ``published.bkdsnn()``; its losses are copied, so it serves several distillers.
            teacher: as for :class:`Distiller`.
            student: as for :class:`Distiller`; ``method.student`` says what it has to have.
            **options: as for :class:`Distiller`, such as ``time_steps`` and ``example``.

        Raises:
            TypeError: ``method`` is no :class:`~spikingjelly_ckd.Method`; for all else see :class:`Distiller`.
        """
        return Distiller(teacher, student, **distiller_options(method) | options)

    @property
    def layers(self) -> dict[str, Sides]:
        """Name of each loss that compares layers -> (student layers, teacher layers), as resolved last.

        Raises:
            RuntimeError: before they were chosen: pass ``example=``, or run a step.
        """
        return self.observers.layers

    def forward(self, images: Tensor, labels: Tensor, teacher_output: TeacherSeen | None = None) -> StepOutput:
        """One step of distillation.

        Args:
            images: ``[N, C, H, W]``, or event frames ``[T, N, C, H, W]`` (``[N, T, ...]`` with ``batch_first``).
            labels: class indices ``[N]``, or soft labels ``[N, K]``.
            teacher_output: cached, see :meth:`run_teacher`, or of a ``SharedTeacher``; the teacher does not run then.

        Returns:
            A :class:`StepOutput`. No parameter and no ``.grad`` was touched.

        Raises:
            TypeError: a wrong kind of input or output.
            ValueError: wrong shapes, labels out of range, values that are not finite, constant maps, a neuron in
                single-step mode that takes time steps for images, or a loss that needs more of the teacher than
                ``teacher_output`` holds; in train mode with gradients on, a student that is frozen as a whole.
            RuntimeError: a teacher in train mode, a layer that did not run or was changed in place.
        """
        with reset_states(self.student), self.observers.precision(self.student):  # buffers are put back where it raises
            step = self._observe(images, labels, teacher_output)
            skipped = step.judge(together=self.training) if self.check else step.skipped()
            weights = self._weigh(step)
            loss = torch.stack([weights[name] * term.value for name, term in step.terms.items()]).sum()
        return step.output(loss, weights, skipped)

    def observe(
        self, images: Tensor, labels: Tensor, teacher_output: TeacherSeen | None = None, *, whole: bool = False
    ) -> Step:
        """Both networks on one batch, and the value of every loss. No check is raised, no weight applied.

        Args:
            images: as for :meth:`forward`.
            labels: as for :meth:`forward`.
            teacher_output: as for :meth:`forward`.
            whole: run the teacher to its end and give its logits, also where no loss asks for them, and clamp labels
                that are out of range.

        Raises:
            TypeError: as for :meth:`forward`.
            ValueError: wrong shapes; values are not looked at.
            RuntimeError: as for :meth:`forward`.
        """
        with reset_states(self.student), self.observers.precision(self.student):
            return self._observe(images, labels, teacher_output, whole=whole)

    def _observe(
        self, images: Tensor, labels: Tensor, teacher_output: TeacherSeen | None, *, whole: bool = False
    ) -> Step:
        batch = self.read(images, labels)
        self.observers.choose(*self._networks(), batch)
        with SideStream(batch.images.device if self.teacher_stream else None) as beside:
            teacher = self._observe_teacher(batch, teacher_output, whole=whole)
        student = self.observers.student.observe(self.student, batch, teacher.logits)
        beside.join(teacher.tensors())
        step = Step.of(batch, student, teacher, self._ignored(), clamp=self.check or whole)
        return step.with_terms(self.task_loss, self._each_loss())

    def run_teacher(self, images: Tensor, labels: Tensor) -> TeacherOutput:
        """Run the teacher alone; its output can be cached and passed to :meth:`forward` later.

        Args:
            images: as for :meth:`forward`.
            labels: as for :meth:`forward`; used by losses with ``target_class="label"``.

        Returns:
            A :class:`~spikingjelly_ckd.TeacherOutput`, detached, on the images' device: ``logits [N, K]``, and
            ``class_maps``, name of each loss that compares one -> ``[N, h, w]``.

        Raises:
            TypeError: as for :meth:`forward`.
            ValueError: as for :meth:`forward`; or a loss takes more of the teacher than logits and a class map.
            RuntimeError: as for :meth:`forward`.
        """
        if not self.uses_teacher:
            raise ValueError("no loss uses the teacher, so there is nothing to run it for")
        validate.check_replayable(self._each_loss())
        batch = self.read(images, labels)
        self.observers.choose(*self._networks(), batch)
        seen = self.observers.teacher.observe(self.teacher, batch, whole=True)
        logits = cast(Tensor, seen.logits)
        step = Step.of(batch, Observation(logits), seen, self._ignored(), clamp=False)  # no student ran
        if self.check:
            validate.raise_first(step.input_violations() | validate.logit_violations("teacher", logits))
        maps = {name: self._each_loss()[name].class_map(step.signals(name)).detach() for name in seen.features}
        return TeacherOutput(logits, maps)

    def predict(self, images: Tensor) -> Tensor:
        """The student alone: logits averaged over time, ``[N, K]``; its state is reset at both ends.

        Mode and gradients are the caller's: use ``eval()`` and ``torch.no_grad()`` to evaluate.

        Args:
            images: as for :meth:`forward`.

        Raises:
            TypeError: a wrong kind of input or output.
            ValueError: wrong shapes.
        """
        return self.logits(images).mean

    def logits(self, images: Tensor) -> Logits:
        """As :meth:`predict`, with the logits of every time step, ``[T, N, K]``, where the student returns them."""
        batch = self.read(images, None)
        self.observers.check_modes(self.student, batch)
        with reset_states(self.student), self.observers.precision(self.student):
            return self.observers.student.logits(self.student, batch)

    def read(self, images: Tensor, labels: Tensor | None) -> Batch:
        """A batch as a step reads it, what both networks take; raises for its kinds and shapes as :meth:`forward`."""
        return self.observers.read(images, labels, self.time_steps, self.batch_first, self.teacher_input)

    def progress(self, share: float) -> None:
        """Set the progress of the training, from 0 (start) to 1 (end), which the schedule of the weights follows.

        Raises:
            ValueError: ``share`` is not in ``[0, 1]``.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"share must lie in [0, 1], got {share}")
        self._progress = float(share)

    def chosen(self) -> dict[str, Any]:
        """Plain data, saved with the state and in records: layers with layouts, read-outs, heads, automatic weights."""
        weights = {name: float(cast(MeasuredWeight, auto).weight) for name, auto in self.auto.items()}
        return self.observers.chosen() | ({"auto_weights": weights} if weights else {})

    def _each_loss(self) -> dict[str, DistillationLoss]:
        return {name: cast(DistillationLoss, loss) for name, loss in self.losses.items()}

    def _ignored(self) -> int | None:
        """The label of images that the task loss ignores; None where it has none."""
        return getattr(self.task_loss, "ignore_index", None)

    def _networks(self) -> tuple[nn.Module, nn.Module | None]:
        return self.student, next(iter(self._frozen_teacher), None)

    def _build(self, batch: Batch) -> None:
        """Choose layers on an example, and let losses create the parameters that depend on their shapes."""
        self.observers.choose(*self._networks(), batch)
        for name, loss in self._each_loss().items():
            if loss.needs_build:
                self.observers.build(name, loss, *self._networks(), batch)
        self.losses.to(batch.images)

    def _observe_teacher(self, batch: Batch, cached: TeacherSeen | None, *, whole: bool) -> Observation:
        """The teacher's observation: of a run, of its cached output, or empty where no loss uses it."""
        if isinstance(cached, Observation):
            return cached
        if cached is not None:
            validate.check_replayable(self._each_loss())
            validate.check_teacher_output(cached, set(self.observers.teacher.layers), batch.images, batch.size)
            return self.observers.teacher.replay(cached)
        return self.observers.teacher.observe(self.teacher, batch, whole=whole) if self.uses_teacher else Observation()

    def _weigh(self, step: Step) -> dict[str, float | Tensor]:
        """The weight of every term; automatic ones first measure this batch if they are due."""
        measuring, fixed = self.training and torch.is_grad_enabled(), {"task": self.task_weight, **self.weights}
        return weigh(self.student, step, fixed, self.auto, self.schedule, self._progress, measuring=measuring)

    asks_teacher = renamed_property("asks_teacher", "uses_teacher")
    ask_teacher = renamed_method("ask_teacher", "run_teacher", run_teacher)
