"""Trial of a network's layers on a few images: which can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..errors.arguments import ArgumentValueError
from . import compat
from .candidates import Ran, blocks_around, is_skipped, reaches_logits, spiking_kind, what_ran
from .layer import Layer
from .layouts import RefusedError, read_layout
from .map_checks import map_trouble, out_of_place
from .observing import NoGradientError, Run, UnrelatedLayersError, observe_forward
from .outputs import Role
from .presets import student_preset_paths
from .reading import arrange
from .recorded import ChangedInPlaceError
from .recording import record
from .refusals import Refusals

__all__ = ["Trial"]

_TOP = "top class"


class Trial:
    """A network that runs on a few images, to find which of its layers can be compared, and why the others cannot.

    Args:
        module: the network, in eval mode.
        example: a few images ``[N, C, H, W]`` or frames ``[T, N, C, H, W]``.
        role: ``"student"`` or ``"teacher"``.
        run: how to run it, if not as ``module(example)``.
    """

    def __init__(self, module: nn.Module, example: Tensor, role: Role, run: Run | None) -> None:
        self.module, self.example, self.role = module, example, role
        self.run = run or (lambda network, batch: network(batch))
        self.names = dict(module.named_modules())
        self.steps = example.shape[0] if example.ndim == 5 else None
        self.batch = example.shape[1] if example.ndim == 5 else example.shape[0]
        self.image_size = (example.shape[-2], example.shape[-1])
        self.refusals = Refusals([])
        self.hint = ""

    def kind(self, path: str, seen: Ran) -> str | None:
        """What a layer may be the end of a stage as, or None where it has no map.

        Args:
            path: of the layer.
            seen: what it returned.
        """
        if self.role == "student":
            return spiking_kind(self.names, path, seen)
        return None if path == "" or is_skipped(self.names, path) or len(seen.shapes[0]) < 3 else "end of a stage"

    def presets(self, ran: dict[str, Ran]) -> list[tuple[str, str]]:
        """Paths that a known student's class names and that ran, best first, each with the class's name.

        Args:
            ran: of :meth:`watch`.
        """
        return [(path, name) for path, name in student_preset_paths(self.module) if path in ran]

    @staticmethod
    def size_of(layer: Layer, seen: Ran) -> tuple[int, int]:
        """Height and width of a layer's map.

        Args:
            layer: with its layout.
            seen: what it returned.
        """
        if layer.grid is not None:
            return layer.grid
        shape = seen.shapes[0]
        height, width = shape[-3:-1] if (layer.layout or "").endswith("HWC") else shape[-2:]
        return height, width

    def watch(self) -> dict[str, Ran]:
        """Run the network, and begin the list of what is refused anew.

        Returns:
            Path of each layer that ran -> what it returned, in the order in which they ended.
        """
        ran = what_ran(self.module, lambda: self.run(self.module, self.example), integers=self.role == "student")
        self._reset()
        self.refusals = Refusals(list(ran))
        return ran

    def readable(self, layer: Layer, shapes: list[tuple[int, ...]]) -> Layer | None:
        """The layer with its layout, or None, which is noted, where its shape is not that of a map.

        Args:
            layer: to be read.
            shapes: of what it returned, one for each call.
        """
        try:
            return read_layout(
                layer, self.module, shapes, self.role, self.steps, self.batch, self.image_size, strict=True
            )
        except RefusedError as refused:
            if any(len(shape) > 2 for shape in shapes):
                self.refusals.add(layer.path, shapes, str(refused), "unreadable")
            return None

    def with_positions(self, ran: dict[str, Ran]) -> list[Layer]:
        """A teacher's layers that can be read as maps, from the last back.

        What is inside a block that ends in one position is half-way and comes last; what is in front of the block is
        better.

        Args:
            ran: of :meth:`watch`.
        """
        trunk: list[Layer] = []
        inside: list[Layer] = []
        for path, seen in reversed(ran.items()):
            layer = self.readable(Layer(path), seen.shapes) if self.kind(path, seen) else None
            if layer is None:
                continue
            around = sorted(blocks_around(self.names, path) & ran.keys())
            block = next((block for block in around if ran[block].shapes[-1][2:] == (1, 1)), None)
            if block is None:
                trunk.append(layer)
            else:
                inside.append(layer)
                why = f"it is inside {block!r}, which ends in one position"
                self.refusals.add(path, seen.shapes, why, "put off")
        return trunk + inside

    def confirmed(self, layer: Layer) -> Layer | None:
        """Record the layer alone, and say whether it serves.

        Its shape must be readable, nothing may change it in place behind, and a student's logits must depend on it.

        Args:
            layer: a candidate.

        Returns:
            The layer with its layout; None, which is noted, where it does not serve.
        """
        try:
            with self._gradients(), record(self.module, [layer.path]) as recording:
                output = self.run(self.module, self.example)
                calls = recording.calls(layer.path)
                recording.close()
                self._reset()
                used = self.role == "teacher" or reaches_logits(calls, output, size=self.batch, steps=self.steps)
            shapes = [tuple(call.shape) for call in calls]
        except ChangedInPlaceError:
            self.refusals.add(layer.path, [], "changed in place behind the layer")
            return None
        finally:
            self._reset()
        if not used:
            self.refusals.add(layer.path, shapes, "the logits do not depend on it")
            return None
        read = self.readable(layer, shapes)
        return None if read is None else replace(read, grid=None)

    @contextmanager
    def _gradients(self) -> Iterator[None]:
        """With a student's graph, unless it was made in inference mode; of a teacher without.

        Neurons are in train mode: in eval mode those of 0.0.0.0.14 have no gradient.
        """
        wanted = self.role == "student" and not any(weight.is_inference() for weight in self.module.parameters())
        neurons = [child for child in self.names.values() if wanted and compat.is_neuron(child) and not child.training]
        try:
            for child in neurons:
                child.training = True
            with torch.set_grad_enabled(wanted):
                yield
        finally:
            for child in neurons:
                child.training = False

    def judged(self, layers: list[Layer]) -> Iterator[tuple[Layer, str | None]]:
        """Each layer, and why its Grad-CAM does not serve or None if it does.

        Args:
            layers: of a teacher, which are tried in one forward.
        """
        misplaced: set[str] | None = None
        for layer, why in zip(layers, self._grad_cams(layers), strict=True):
            if why is None and not (layer.layout or "").endswith("HW"):
                if misplaced is None:
                    misplaced = out_of_place(self.module, layers, self.example, self.run)
                if layer.path in misplaced:
                    why = "its tokens do not answer to their own places in the image"
            yield layer, why

    def _grad_cams(self, layers: list[Layer]) -> list[str | None]:
        """For each layer why its Grad-CAM does not serve, or None if it does."""
        paths = [layer.path for layer in layers]
        try:
            seen = observe_forward(
                self.module,
                self.example,
                paths,
                run=self.run,
                role="teacher",
                batch=self.batch,
                cam_paths=paths,
                targets=lambda logits: {_TOP: logits.argmax(1, keepdim=True)},
            )
        except NoGradientError:
            raise
        except UnrelatedLayersError:
            return ["the class score does not depend on it"] * len(layers)
        if seen.logits is not None and not seen.logits.mean.any():
            self.hint = "The class scores are all 0 (is the classifier untrained?). "
        verdicts: list[str | None] = []
        for layer in layers:
            points, gradients = seen.recording.calls(layer.path), seen.gradients[_TOP, layer.path]
            if gradients[0] is None:
                verdicts.append("the class score does not depend on it")
                continue
            maps = [
                arrange([tensor.detach().double()], layer, role="teacher", steps=None, batch=self.batch)
                for tensor in (points[0], gradients[0])
            ]
            verdicts.append(map_trouble(*maps))
        return verdicts

    def _reset(self) -> None:
        if self.role == "student":
            compat.reset(self.module)

    def chosen(self, layer: Layer, *, others: Sequence[str] = ()) -> Layer:
        """``layer`` with what was refused behind it, up to the next of the ``others`` that were chosen too.

        Args:
            layer: that is taken.
            others: paths.
        """
        return replace(layer, passed_over=self.refusals.behind(layer.path, others))

    def failure(self, what: str, argument: str | None = None) -> ArgumentValueError:
        """The error of a search that found no layer; it lists the candidates and why each was refused.

        Args:
            what: the network has, in words.
            argument: with which the user gives the layer; None where several stages are looked for.
        """
        advice = (
            "Pass {remedy} with a path of named_modules(), or in Python a Layer, which says how its axes are read (a "
            "Distiller takes both in layers=, too),"
            if argument is not None
            else "The layers of several stages are looked for, which a Distiller takes in layers=, as paths of "
            f"named_modules() or as Layer('path', layout=..., grid=...); {self.role}_layer= names one layer and does "
            "not serve here. Pass them,"
        )
        return ArgumentValueError(
            "",
            f"{type(self.module).__name__} has {what} for an input of shape {list(self.example.shape)}. "
            f"Candidates from the last back: {str(self.refusals) or self._no_candidate()}. {self.hint}{advice} or use "
            "larger images",
            remedy=None if argument is None else {argument: "path"},
        )

    def _no_candidate(self) -> str:
        if self.role == "teacher":
            return "none had positions"
        return "no module with positions is a spiking neuron of SpikingJelly, or a block that holds one"
