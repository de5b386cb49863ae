"""The observer of the student."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..networks import compat
from ..networks.failures import advice_on, find_failure, unlike_input
from ..networks.outputs import Logits, read_logits
from .batch import Batch
from .observer import Observer, target_classes
from .output import Observation
from .per_step_readout import PerStepReadout
from .time_steps import StudentSteps, run_over_time

__all__ = ["StudentObserver"]

OF_SHAPES = (RuntimeError, ValueError, IndexError, AssertionError)
"""What a network raises by itself where its input has another shape than it takes."""


class StudentObserver(Observer):
    """The student's: over time, with its graph.

    Args:
        *shared: see :class:`Observer`.
        student_steps: how the student takes its time steps.
        per_step_logits: whether a loss needs the logits of every time step.
        **more: see :class:`Observer`.

    Attributes:
        readout: where per-step logits are read inside a student that returns their mean; None where it returns them.
    """

    role = "student"

    def __init__(self, *shared: Any, student_steps: StudentSteps, per_step_logits: bool, **more: Any) -> None:
        super().__init__(*shared, **more)
        self.student_steps = student_steps
        self.wants_per_step_logits = per_step_logits
        self.readout: PerStepReadout | None = None
        self._warned = False

    def inputs(self, batch: Batch) -> Tensor:
        """Frames ``[T, N, C, H, W]``, or images where the student repeats them by itself."""
        return batch.images if self.student_steps == "internal" else batch.over_time()

    def run(self, network: nn.Module, inputs: Tensor) -> Any:
        """In one call, or in one for each time step.

        Raises:
            TypeError: a call for one time step returns no tensor.
            ValueError: the inputs of a loop over time have no time axis, or a call for one time step returns no logits.
        """
        if self.student_steps == "loop" and inputs.ndim != 5:
            raise ValueError("student_steps='loop' calls the student once a time step: pass time_steps=")
        try:
            return run_over_time(network, inputs, self.student_steps)
        except Exception as error:
            error.add_note(self._note(network, inputs, error))
            raise

    @compat.untraced
    def _warn_of_missing_graphs(self, network: nn.Module, calls: Callable[[str], Sequence[Tensor]]) -> None:
        """Say once where a loss compares a layer through which it cannot train anything."""
        self._warned = True
        paths = [path for path in self._paths(self.layers) if not any(call.requires_grad for call in calls(path))]
        if paths and any(parameter.requires_grad for parameter in network.parameters()):
            warnings.warn(
                f"the student's layers {paths} have no graph, so what is compared there trains nothing: the layers up "
                "to them are frozen, or run in a checkpoint with use_reentrant=True (pass use_reentrant=False)",
                stacklevel=2,
            )

    def _note(self, network: nn.Module, inputs: Tensor, error: Exception) -> str:
        """What is known of an error that the student raised."""
        shape = tuple(inputs.shape)
        are_repeated = inputs.ndim == 5 and inputs.stride(0) == 0  # images; event frames bring their time steps
        failure = find_failure(network, error)
        where = "" if failure is None else f" in {failure}"
        advice = "" if failure is None else advice_on(failure)
        in_itself = failure is not None and not failure.path and isinstance(error, OF_SHAPES)
        if not compat.has_neurons(network):
            advice = "It has no spiking neurons, so it is no student: the order is (teacher, student)"
        elif not advice and len(shape) == 4 and self.student_steps == "multi":
            advice = "These are images without time steps: pass time_steps=T, which repeats them"
        elif not advice and self.student_steps == "multi" and are_repeated and in_itself:
            advice = "A network that takes images and runs over time by itself needs student_steps='internal'"
        elif not advice and failure is not None:
            advice = unlike_input(failure)
        note = f"raised by the student{where}, on input {shape} with student_steps={self.student_steps!r}"
        return f"{note}. {advice}" if advice else note

    def logits(self, network: nn.Module, batch: Batch) -> Logits:
        """What the network returns, and nothing else.

        Args:
            network: the student.
            batch: on which it runs.
        """
        output = self.run(network, self.inputs(batch))
        batch.check_kept(self.role)
        return read_logits(output, role="student", size=batch.size, steps=batch.steps)

    def observe(self, network: nn.Module, batch: Batch, teacher_logits: Tensor | None) -> Observation:
        """One forward.

        Args:
            network: the student, with its states reset.
            batch: what it takes.
            teacher_logits: ``[N, K]``, whose first choice a class score may be of; None where no loss asks for one.
        """
        with_graph = torch.is_grad_enabled()
        seen = self._observe(
            network,
            self.inputs(batch),
            batch,
            () if self.readout is None else (self.readout.path,),
            steps=batch.steps,
            targets=self._targets(batch, teacher_logits),
            with_graph=with_graph,
            create_graph=with_graph and bool(self.cam_targets),
        )
        calls = seen.recording.calls
        if with_graph and not self._warned:
            self._warn_of_missing_graphs(network, calls)
        read = self._with_steps(network, cast(Logits, seen.logits), calls, batch)
        return Observation(
            read.mean,
            read.steps,
            self._features(network, seen, batch),
            self._gradients(network, seen, batch),
            points={name: tuple(t for x in of for t in calls(x.path)) for name, of in self.layers.items()},
            every_point=tuple(tensor for path in seen.recording for tensor in calls(path)),
            head=self._head(network, read.mean.shape[1]),
            violations={} if self.readout is None else self.readout.violations(read),
        )

    def chosen(self) -> dict[str, Any]:
        """As of :class:`Observer`, with where per-step logits are read and how time steps are taken."""
        readout = None if self.readout is None else {"path": self.readout.path, "head": self.readout.head}
        return super().chosen() | {"per_step_readout": readout, "student_steps": self.student_steps}

    def restore(self, chosen: Mapping[str, Any]) -> None:
        """As of :class:`Observer`, with where per-step logits are read."""
        super().restore(chosen)
        readout = chosen["per_step_readout"]
        self.readout = None if readout is None else PerStepReadout(**readout)

    def _chosen_paths(self) -> list[str]:
        return [*super()._chosen_paths(), *([] if self.readout is None else [self.readout.path])]

    def _steps(self, batch: Batch) -> int | None:
        return batch.steps

    def _targets(self, batch: Batch, teacher_logits: Tensor | None) -> Callable[[Tensor], dict[str, Tensor]] | None:
        if not self.cam_targets or teacher_logits is None:
            return None
        found = target_classes(teacher_logits, batch.labels)
        return lambda _: {target: found[target] for target in sorted(set(self.cam_targets.values()))}

    def _with_steps(
        self, network: nn.Module, logits: Logits, calls: Callable[[str], Sequence[Tensor]], batch: Batch
    ) -> Logits:
        """With the logits of every step, ``[T, N, K]``, read inside a network that returns their mean."""
        if not self.wants_per_step_logits or logits.steps is not None:
            return logits
        if self.readout is None and batch.steps == 1:
            return Logits(logits.mean, logits.mean.unsqueeze(0))
        if self.readout is None:
            raise ValueError(
                "a loss needs the logits of every time step: the student returned them, [T, N, K], when it was looked "
                "at in eval mode, and returns their mean in train mode; let it return [T, N, K] in both"
            )
        return Logits(logits.mean, self.readout.read(network, calls(self.readout.path), batch.size))
