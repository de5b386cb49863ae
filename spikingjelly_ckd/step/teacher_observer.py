"""The observer of the teacher."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..functional.maps import at_least_float32
from ..methods.signals import TeacherOutput
from ..networks import compat
from ..networks.failures import find_failure, unlike_input
from ..networks.guards import Containers, preserve_state, reset_states
from ..networks.outputs import read_logits
from ..networks.recording import watch
from .batch import Batch
from .observer import Observer, target_classes
from .output import Observation
from .time_steps import StudentSteps, run_over_time
from .validate import check_frozen, check_labels

__all__ = ["TeacherObserver"]


class TeacherObserver(Observer):
    """The teacher's: frozen, on images, everything detached.

    A spiking teacher gets images repeated over time, or event frames as they are; its states are reset at both ends,
    and its logits are averaged over time.

    Args:
        *shared: see :class:`Observer`.
        logits: whether a loss needs anything behind the recorded layers.
        time_steps: how a spiking teacher takes its time steps, as its step modes say; None is an ANN.
        **more: see :class:`Observer`.
    """

    role = "teacher"

    def __init__(self, *shared: Any, logits: bool, time_steps: StudentSteps | None, **more: Any) -> None:
        super().__init__(*shared, **more)
        self.wants_logits = logits
        self.time_steps = time_steps
        self.may_end_early = False
        self._has_ended_early = False
        self._has_to_end = False
        self._ran: int | None = None  # id of the network of the last forward

    def find_time_steps(self, network: nn.Module, batch: Batch) -> None:
        """Find out whether a spiking teacher walks through time by itself, so that it takes images.

        In multi-step mode that is one which cannot run on frames and can on images; in single-step mode one whose
        neurons run several times in one call. The network is left as it was found.

        Args:
            network: the teacher.
            batch: on which it is tried.
        """
        usual = self.time_steps
        if usual == "multi" and self._calls_of_neurons(network, batch) is None:
            self.time_steps = "internal"
            if self._calls_of_neurons(network, batch) is None:
                self.time_steps = usual
        elif usual == "loop":
            self.time_steps = "internal"
            calls = self._calls_of_neurons(network, batch)
            if not calls or max(calls.values()) == 1:
                self.time_steps = usual

    def _calls_of_neurons(self, network: nn.Module, batch: Batch) -> Counter[str] | None:
        """How often each neuron runs in one call of the network; None where the network cannot run."""
        calls: Counter[str] = Counter()
        neurons = compat.neuron_step_modes(network)

        def note(path: str, _: Tensor) -> None:
            calls.update([path] if path in neurons else ())

        try:
            with preserve_state(network), torch.no_grad(), watch(network, note):
                self.logits(network, batch)
        except Exception:  # whatever a network raises on what it does not take; if it takes neither, the step raises it
            return None
        return calls

    def chosen(self) -> dict[str, Any]:
        """As of :class:`Observer`; of a spiking teacher with how it takes its time steps."""
        return super().chosen() | ({} if self.time_steps is None else {"teacher_steps": self.time_steps})

    def restore(self, chosen: Mapping[str, Any]) -> None:
        """As of :class:`Observer`, with how a spiking teacher takes its time steps."""
        super().restore(chosen)
        if self.time_steps is not None:
            self.time_steps = chosen.get("teacher_steps", self.time_steps)

    def inputs(self, batch: Batch) -> Tensor:
        """Images ``[N, C, H, W]``; frames ``[T, N, C, H, W]`` of a spiking teacher that does not repeat by itself.

        Raises:
            ValueError: the number of time steps is not known, or ``teacher_input`` returned something else than images.
        """
        if self.time_steps in (None, "internal"):
            return batch.teacher_images()
        if batch.is_event and batch.teacher_input is None:
            return batch.images.detach()
        if batch.steps is None:
            raise ValueError("a spiking teacher gets images repeated over time: pass time_steps=")
        images = batch.teacher_images()
        return images.unsqueeze(0).expand(batch.steps, *images.shape)

    def run(self, network: nn.Module, inputs: Tensor) -> Any:
        """In one call, or in one for each time step of a spiking teacher; what it returns has no time axis."""
        try:
            if self.time_steps is None:
                return network(inputs)
            with reset_states(network):
                output = run_over_time(network, inputs, self.time_steps)
            steps, size = inputs.shape[:2] if inputs.ndim == 5 else (None, inputs.shape[0])
            return read_logits(output, role="student", size=size, steps=steps).mean
        except Exception as error:
            failure = find_failure(network, error)
            where = "" if failure is None else f" in {failure}"
            unlike = "" if failure is None else unlike_input(failure)
            error.add_note(
                f"raised by the teacher{where}, on input {tuple(inputs.shape)}{unlike and f'. {unlike}'}; "
                "teacher_input= can resize it, renormalise it or change its channels"
            )
            raise

    def logits(self, network: nn.Module, batch: Batch) -> Tensor:
        """``[N, K]``, and nothing else.

        Args:
            network: the teacher.
            batch: on which it runs.
        """
        output = self.run(network, self.inputs(batch))
        batch.check_kept(self.role)
        return read_logits(output, role="teacher", size=batch.size).mean

    def replay(self, cached: TeacherOutput) -> Observation:
        """The observation that a cached output stands for; no network runs.

        Args:
            cached: what the teacher returned for these images before.
        """
        maps = {name: at_least_float32(cached.class_maps[name].detach()) for name in self.layers}
        return Observation(at_least_float32(cached.logits.detach()), class_maps=maps)

    def observe(self, network: nn.Module, batch: Batch, *, whole: bool = False) -> Observation:
        """One forward. Where no loss needs anything behind the recorded layers, it ends there from the second one on.

        A teacher that would leave something in its lists or dicts when it is left there, such as the skip connections
        of a U-Net, has them put back, and runs to its end from then on. For another network, which has replaced the
        one before, all of this is found out anew.

        Args:
            network: the teacher, frozen and in eval mode.
            batch: what it takes.
            whole: run it to its end all the same, and give its logits.

        Raises:
            RuntimeError: it is in train mode, or a parameter of it requires gradients.
        """
        check_frozen(network)
        if self._ran != id(network):
            self._ran, self.may_end_early, self._has_ended_early, self._has_to_end = id(network), False, False, False
        images = self.inputs(batch)
        wants_logits = self.wants_logits or whole

        def targets(logits: Tensor) -> dict[str, Tensor]:
            check_labels(batch.labels, logits.shape, clamp=False)
            found = target_classes(logits, batch.labels)
            return {target: found[target] for target in sorted(set(self.cam_targets.values()))}

        early = self.may_end_early and not wants_logits
        kept = Containers(network) if early and not self._has_ended_early else None
        seen = self._observe(
            network,
            images.clone() if images.is_inference() else images,
            batch,
            targets=targets,
            stop=early,
        )
        if kept is not None:
            self._has_ended_early, self._has_to_end = True, kept.put_back()
            self.may_end_early = not self._has_to_end
        if seen.logits is not None and not whole:
            self.may_end_early = not self._has_to_end and all(
                len(seen.recording.calls(path)) == 1 for path in seen.recording
            )
        features = self._features(network, seen, batch)
        logits = seen.logits.mean.detach() if seen.logits is not None and wants_logits else None
        return Observation(
            logits,
            features={name: tuple(x.detach() for x in tensors) for name, tensors in features.items()},
            gradients=self._gradients(network, seen, batch),
            head=None if logits is None else self._head(network, logits.shape[1]),
        )
