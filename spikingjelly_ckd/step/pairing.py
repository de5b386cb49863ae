"""Both observers as a pair: which layers are compared, where the user names none or those of one side."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Size, Tensor, nn

from ..methods.base import DistillationLoss
from ..networks import compat
from ..networks.guards import preserve_state
from .arguments import WHOLE_TEACHER
from .batch import Batch, read_batch
from .choosing import Searched, Side, choose_alone, choose_pair
from .network_arguments import read_student_steps
from .order_checks import check_places, check_positions
from .per_step_readout import find_per_step_logits
from .saving import decode, encode
from .student_observer import StudentObserver
from .teacher_observer import TeacherObserver
from .time_axis import check_own_time_axis, check_step_modes
from .time_steps import StudentSteps

__all__ = ["Pair", "Sides"]

Sides = tuple[Side, Side]
"""Student layers, teacher layers."""


class Pair(nn.Module):
    """The observers of both networks, and what was chosen for them on the first batch, which is saved.

    It has no parameters; its part of ``state_dict()`` is what was chosen. Where that was loaded, nothing is searched.

    Args:
        losses: name -> loss.
        needs: of all losses and the task loss.
        given: name of each loss that compares layers -> those that the user named on each side.
        student_steps: how the student takes its time steps.
        teacher_steps: likewise of a spiking teacher; None is an ANN.

    Attributes:
        autocast: whether student and losses run under bf16 autocast; saved with what was chosen.
    """

    def __init__(
        self,
        losses: Mapping[str, DistillationLoss],
        needs: Collection[str],
        given: Mapping[str, tuple[Side | None, Side | None]],
        student_steps: StudentSteps,
        teacher_steps: StudentSteps | None,
    ) -> None:
        super().__init__()
        self.student = StudentObserver(
            {name: sides[0] for name, sides in given.items()},
            {name: loss.target_class for name, loss in losses.items() if "student_gradients" in loss.needs},
            head="student_head" in needs,
            per_step_logits="per_step_logits" in needs,
            student_steps=student_steps,
        )
        self.teacher = TeacherObserver(
            {name: sides[1] for name, sides in given.items() if "features" in losses[name].needs},
            {name: loss.target_class for name, loss in losses.items() if "gradients" in loss.needs},
            head="teacher_head" in needs,
            logits=bool(WHOLE_TEACHER & set(needs)),
            time_steps=teacher_steps,
        )
        self._choices = {name: losses[name].layer_choice for name in given}
        self.autocast = False
        self._is_chosen = False
        self._time_is_first = False
        self._is_checked = False  # what was loaded is looked up in the networks at the next step
        self._is_of_one_step = False  # with T=1 no axis can be mistaken for time, so that a first batch shows nothing
        self._step_modes: tuple[str | None, ...] = ()

    @property
    def layers(self) -> dict[str, Sides]:
        """Name of each loss that reads layers -> (student layers, teacher layers), as last read.

        The teacher's are none where a loss reads the student's alone.

        Raises:
            RuntimeError: before they were chosen.
        """
        if not self._is_chosen:
            raise RuntimeError("layers are chosen at the first step; pass example= to choose them at construction")
        return {
            name: (self.student.as_read(name), self.teacher.as_read(name) if name in self.teacher.layers else ())
            for name in self.student.layers
        }

    def read(
        self,
        images: Tensor,
        labels: Tensor | None,
        time_steps: int | None,
        batch_first: bool | None,
        teacher_input: Callable[[Tensor], Tensor] | None,
    ) -> Batch:
        """A batch in the package's axes, see :func:`~spikingjelly_ckd.step.batch.read_batch`.

        Event frames whose labels show that time comes first settle that for later batches in which ``T = N``.
        """
        settled = False if batch_first is None and self._time_is_first else batch_first
        batch = read_batch(images, labels, time_steps=time_steps, batch_first=settled, teacher_input=teacher_input)
        self._time_is_first |= batch.is_event and labels is not None and batch.steps != batch.size
        return batch

    def precision(self, student: nn.Module) -> AbstractContextManager[Any]:
        """Around a step: bf16 autocast where it is switched on."""
        if not self.autocast:
            return nullcontext()
        device = next((parameter.device.type for parameter in student.parameters()), "cpu")
        return torch.autocast(device, torch.bfloat16)

    def choose(self, student: nn.Module, teacher: nn.Module | None, batch: Batch) -> None:
        """Set the layers of both sides for every loss, and where the student's per-step logits are read; once.

        Layers that the user named stay. No network is searched twice. Step modes and orders of axes are checked again
        at the first batch of several time steps, and step modes also where they were changed.

        Args:
            student: the network.
            teacher: likewise; None where there is none.
            batch: on which they are run.

        Raises:
            ValueError: images with NaN or inf, a student whose neurons take time steps for images, no layer that
                serves, or a loaded layer that is not in the network.
        """
        if not self._is_checked or (self._is_of_one_step and batch.steps != 1):
            self._choose(student, teacher, batch)
        else:
            self.check_modes(student, batch)

    def check_modes(self, student: nn.Module, batch: Batch) -> None:
        """Raise if the student's step modes were changed since they were checked, so that they fit no longer.

        Raises:
            ValueError: neurons or layers of the student take time steps for images, or images for time steps.
        """
        if self._is_checked and not torch.compiler.is_compiling() and compat.step_modes(student) != self._step_modes:
            self._check_modes(student, batch)

    @compat.untraced
    def _check_modes(self, student: nn.Module, batch: Batch) -> None:
        self._step_modes = compat.step_modes(student)
        read_student_steps(student, self.student.student_steps)
        frames, run = self.student.inputs(batch), self.student.run
        if frames.ndim == 4:
            check_own_time_axis(student, frames, batch.steps, batch.size, run=run)
        elif self.student.student_steps != "loop":
            check_step_modes(student, frames, len(frames), batch.size, run=run)

    @compat.untraced
    def _choose(self, student: nn.Module, teacher: nn.Module | None, batch: Batch) -> None:
        if not batch.images.isfinite().all():
            raise ValueError("images hold NaN or inf, so no layer can be chosen on them")
        batch = replace(batch)  # notes the version of its memory, which a compiled step does not know
        self._check_modes(student, batch)
        batch.check_kept("student")
        if batch.steps is not None and batch.steps == batch.size > 1:
            self._check_axes(student, batch)
        if self._is_chosen:
            self.student.check_loaded(student)
            if teacher is not None:
                self.teacher.check_loaded(teacher)
        else:
            if teacher is not None:
                self.teacher.find_time_steps(teacher, batch)
            ours = Searched(self.student, student, batch)
            theirs = None if teacher is None else Searched(self.teacher, teacher, batch)
            for name, choice in self._choices.items():
                if name not in self.teacher.given:
                    self.student.layers[name] = choose_alone(name, choice, ours)
                elif theirs is not None:
                    choose_pair(name, choice, ours, theirs)
        if self.student.wants_per_step_logits and self.student.readout is None and batch.steps != 1:
            frames = self.student.inputs(batch)
            self.student.readout = find_per_step_logits(student, frames, batch.size, run=self.student.run)
        check_places(self.student, student, batch)
        check_positions(self.student, student, batch)
        self._is_chosen = self._is_checked = True
        self._is_of_one_step = batch.steps == 1

    def _check_axes(self, student: nn.Module, batch: Batch) -> None:
        """Raise if the student fails with one image fewer, so that it takes or returns ``[N, T, ...]``."""
        size = batch.size - 1
        images = batch.images.narrow(batch.images.ndim - 4, 0, size)
        fewer = replace(batch, images=images, labels=None, size=size)
        self.count_classes(student, batch)  # an error here has another reason
        try:
            self.count_classes(student, fewer)
        except Exception as error:
            raise ValueError(
                f"this batch has T = N = {batch.size}, so its shape does not tell time from images; with {size} images "
                "the student fails, so it takes or returns [N, T, ...]: let it take [T, N, C, H, W] and return "
                "[T, N, K]"
            ) from error

    def shapes(
        self, name: str, student: nn.Module, teacher: nn.Module | None, batch: Batch
    ) -> tuple[list[Size], list[Size]]:
        """What the loss called ``name`` gets of its layers: shapes ``[T, N, C, h, w]`` and ``[N, C, h, w]``."""
        ours = list(self.student.shapes(student, self.student.layers[name], batch).values())
        if teacher is None or name not in self.teacher.layers:
            return ours, []
        return ours, list(self.teacher.shapes(teacher, self.teacher.layers[name], batch).values())

    def build(
        self, name: str, loss: DistillationLoss, student: nn.Module, teacher: nn.Module | None, batch: Batch
    ) -> None:
        """Let a loss create the parameters that depend on the shapes of its layers, and on the number of classes.

        Args:
            name: of the loss.
            loss: that is built.
            student: the network.
            teacher: likewise; None where there is none.
            batch: on which they run.
        """
        if loss.num_classes is None:
            loss.num_classes = self.count_classes(student, batch)
        loss.build(*self.shapes(name, student, teacher, batch))

    def count_classes(self, student: nn.Module, batch: Batch) -> int:
        """How many classes the student's logits have; the network is left as it was found."""
        with preserve_state(student), torch.no_grad():
            return self.student.logits(student.eval(), batch).mean.shape[1]

    def chosen(self) -> dict[str, Any]:
        """Everything that was chosen on the first batch, as plain data; empty before it was."""
        if not self._is_chosen:
            return {}
        precision = {"autocast": True} if self.autocast else {}
        return {"student": self.student.chosen(), "teacher": self.teacher.chosen(), **precision}

    def get_extra_state(self) -> Tensor:
        """:meth:`chosen` as a tensor of bytes."""
        return encode(self.chosen())

    def set_extra_state(self, state: Tensor) -> None:
        """Use what another distiller chose; layers that the user named here stay.

        Raises:
            ValueError: the state is damaged.
        """
        chosen = decode(state)
        names = set(chosen["student"]["layers"]) if chosen else set()
        if chosen and names != set(self._choices):
            warnings.warn(
                f"the loaded layers belong to the losses {sorted(names)} and this distiller has "
                f"{sorted(self._choices)}: its layers are chosen anew",
                stacklevel=2,
            )
        elif chosen:
            self.student.restore(chosen["student"])
            self.teacher.restore(chosen["teacher"])
            autocast = chosen.get("autocast", False)
            if self.autocast and not autocast:
                words = "the loaded state was saved without bfloat16, so it is off: accelerate() after loading"
                warnings.warn(words, stacklevel=2)
            self.autocast = autocast
            self._is_chosen, self._is_checked = True, False

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, metadata: Any, strict: bool, missing: list[str], *lists: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, *lists)
        if f"{prefix}_extra_state" in missing:  # saved by a version that did not save choices: they are made anew
            missing.remove(f"{prefix}_extra_state")
