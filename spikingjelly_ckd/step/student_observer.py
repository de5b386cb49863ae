"""The observer of the student."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..networks import compat
from ..networks.failures import advice_on, find_failure
from ..networks.guards import firing, preserve_state
from ..networks.layer import Layer
from ..networks.map_checks import halves_changed, own_half
from ..networks.outputs import Logits, read_logits
from ..networks.recording import record
from .batch import Batch
from .observer import Observer, target_classes
from .output import Observation
from .per_step_readout import PerStepReadout
from .time_steps import StudentSteps, run_over_time

__all__ = ["StudentObserver"]


_OWN_HALF = 0.6
"""Share of a change that has to show in its own half of a map of tokens: by chance it is about 0.5."""
_CLEARLY = 0.2
"""By this much more of it has to show with channels last before that is said to be the order."""


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
            error.add_note(self._note(network, tuple(inputs.shape), error))
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

    def _note(self, network: nn.Module, shape: tuple[int, ...], error: Exception) -> str:
        """What is known of an error that the student raised."""
        failure = find_failure(network, error)
        where = "" if failure is None else f" in its module {failure}"
        advice = "" if failure is None else advice_on(failure)
        if not compat.has_neurons(network):
            advice = "It has no spiking neurons, so it is no student: the order is (teacher, student)"
        elif not advice and len(shape) == 4 and self.student_steps == "multi":
            advice = "These are images without time steps: pass time_steps=T, which repeats them"
        note = f"raised by the student{where}, on input {shape} with student_steps={self.student_steps!r}"
        return f"{note}. {advice}" if advice else note

    def check_places(self, network: nn.Module, batch: Batch) -> None:
        """Raise if what is read as one image is another, where shapes leave open which axis is time.

        That is so where time and batch are folded into one axis, or are equal. The network runs twice, the second time
        with another first image: what answers to it has to be the first image of every step. It is left as it was
        found.

        Args:
            network: the student.
            batch: what it takes.

        Raises:
            ValueError: a layer or the output has the batch in front of time.
        """
        layers = {layer for of in self.layers.values() for layer in of}
        by_shape = batch.steps not in (None, batch.size) and batch.size > 1
        if batch.steps == 1 or (by_shape and all((layer.layout or "").startswith("T") for layer in layers)):
            return
        axis = batch.images.ndim - 4
        if batch.size == 1:
            batch = replace(batch, images=torch.cat([batch.images, batch.images], axis), size=2)
            try:
                with preserve_state(network), torch.no_grad():
                    self.run(network.eval(), self.inputs(batch))
            except Exception:  # it is made for one image
                return
        first, rest = batch.images.narrow(axis, 0, 1), batch.images.narrow(axis, 1, batch.size - 1)
        other = replace(batch, images=torch.cat([1 - first.flip(-1), rest], axis))
        before, after = (self._read_all(network, layers, each) for each in (batch, other))
        if any(torch.equal(tensor, after[name]) for name, tensor in before.items()):  # a network that is silent as yet
            with preserve_state(network), torch.no_grad():
                self._settle_norms(network, batch)
                before, after = (self._read_all(network, layers, each) for each in (batch, other))
        for name, tensor in before.items():
            steps, size = tensor.shape[:2]
            moved = (tensor != after[name]).flatten(2).any(2)
            places = moved.flatten().nonzero().flatten()  # t * N + n; of [N, T], the first image has those below T
            if moved[:, 1:].any() and bool((places < steps).all()):
                raise ValueError(
                    f"the student's {name} has the batch in front of time, [N, T, ...] or both folded into one axis in "
                    f"that order, and would be read as {steps} time steps of {size} images, with images mixed: let it "
                    "return [T, N, ...]"
                )

    def check_positions(self, network: nn.Module, batch: Batch) -> None:
        """Raise if a map that is read from tokens, or from axes of one size, is not that of the image.

        Tokens can be in another order than row by row, and channels last where all three axes have one size.
        The network runs twice, on images with one half changed at a time, which has to show in that half of the map. It
        is left as it was found.

        Args:
            network: the student.
            batch: what it takes.

        Raises:
            ValueError: a layer is read in another order than it has.
        """
        shapes = self.shapes(network, {layer for of in self.layers.values() for layer in of}, batch)
        doubtful = [
            layer
            for layer, shape in shapes.items()
            if not (self._resolved[layer].layout or "").endswith("HW") or len(set(shape[2:])) == 1
        ]
        axis = batch.images.ndim - 4
        with preserve_state(network):  # the caller's random numbers too
            images = halves_changed(batch.images, axis)
        halved = replace(batch, images=images, labels=None, size=images.shape[axis])
        try:
            seen = self._read_all(network, doubtful, halved) if doubtful else {}
        except Exception:  # it is made for one number of images
            return
        for layer in doubtful:
            read, layout = seen[f"layer {layer.path!r}"].transpose(0, 1), self._resolved[layer].layout or ""
            share = own_half(read.flatten(1, 2))
            channels_last = own_half(read.movedim(-1, 2).flatten(1, 2)) if layout.endswith("HW") else 0.0
            if channels_last > share + _CLEARLY or (share < _OWN_HALF and not layout.endswith("HW")):
                raise ValueError(
                    f"the student's layer {layer.path!r} was read as {layout}, and a change in one half of the image "
                    "does not show in that half of such a map, so its positions are not those of the image, row by "
                    "row: pass student_layer=Layer(path, layout=..., prefix=...) or another layer"
                )

    def _settle_norms(self, network: nn.Module, batch: Batch) -> None:
        """Take the statistics of BatchNorm from a batch, so that neurons that no one knows fire too.

        Those of several processes stay as they are, since not every process has to come here.
        """
        for module in network.eval().modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
                module.train()
                module.momentum = 1.0
        try:
            self.run(network, self.inputs(batch))
        except ValueError:  # one value for each channel has no statistics
            return
        finally:
            compat.reset(network)

    def _read_all(self, network: nn.Module, layers: Iterable[Layer], batch: Batch) -> dict[str, Tensor]:
        """Name -> what a layer, or the output, says of every time step and image, ``[T, N, ...]``."""
        with preserve_state(network), firing(network), torch.no_grad():
            with record(network.eval(), {layer.path for layer in layers}) as seen:
                logits = self.logits(network, batch)
            found = {
                f"layer {layer.path!r}": self._arranged(network, layer, seen.calls(layer.path), batch)
                for layer in layers
            }
        return found if logits.steps is None else found | {"output": logits.steps}

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
