"""Which layer of a network to compare.

A layer given by the user always wins. Without one, known SpikingJelly networks have a preset for their class name, and
any other network is run on a few images: of a student the last spiking layer that still has positions is chosen, of a
teacher the latest layer whose Grad-CAM varies over the image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..errors.checks import check_choice
from . import compat
from .candidates import Ran, blocks_around, is_skipped, reaches_logits, spiking_kind, what_ran
from .class_token import has_one_token
from .guards import outside_inference, preserve_state
from .layer import Layer
from .layouts import RefusedError, read_layout
from .map_checks import NO_EVIDENCE, map_trouble, out_of_place
from .observing import NoGradientError, Run, UnrelatedLayersError, observe_forward
from .outputs import ROLES, Role
from .presets import student_preset_paths
from .reading import arrange
from .recording import ChangedInPlaceError, record
from .refusals import Refusals

__all__ = ["find_head", "find_layer", "find_stages"]

_PROBE_IMAGES = 4
_PROBE_AT_ONCE = 12
_TOP = "top class"


def find_layer(
    module: nn.Module,
    example: Tensor,
    *,
    role: Role | None = None,
    run: Run | None = None,
) -> Layer:
    """Choose the layer to compare, by running the network on a few images of ``example``.

    The network runs in eval mode. When this returns or raises, training flags, buffers and random state are as before,
    the states of spiking neurons are reset, no ``.grad`` was touched and no hook is left. For a student the choice is
    the preset of its class, else the last spiking neuron with positions, or a block that adds up spikes behind it. For
    a teacher it is the latest layer whose Grad-CAM for the top class is finite and varies over the image: in a ViT that
    classifies from its class token no gradient reaches the other tokens of the last block, so an earlier layer is
    chosen. ``passed_over`` of the result names the later layers that were refused.

    Args:
        module: the network, on the device of ``example``.
        example: what ``module.forward`` takes: images ``[N, C, H, W]`` or frames ``[T, N, C, H, W]``.
        role: ``"student"`` or ``"teacher"``; None is the student if the network has spiking neurons.
        run: how to run it, if not as ``module(example)``: such as once per time step.

    Returns:
        A :class:`Layer` with its layout, its prefix, the reason for it and what was passed over.

    Raises:
        TypeError: ``example`` is not a tensor.
        ValueError: wrong ``role`` or shape of ``example``, or no layer serves; the message lists the candidates and
            why each was refused.
        RuntimeError: no layer was seen running (as when the network was compiled before).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 6 * 6, 10))
        >>> find_layer(net, torch.rand(2, 3, 8, 8)).path
        '1'
    """
    search = _begin(module, example, role, run)
    with preserve_state(module):
        module.eval()
        return search.student() if search.role == "student" else search.teacher()


def find_stages(
    module: nn.Module,
    example: Tensor,
    *,
    role: Role | None = None,
    run: Run | None = None,
) -> tuple[Layer, ...]:
    """One layer for each size of map, shallow to deep: the last of that size that serves.

    For methods that compare several depths (AT, ReviewKD). A student's layers are spikes or the preset of its class, as
    for :func:`find_layer`; a teacher's are the ends of its blocks. The network is left as :func:`find_layer` leaves it.
    A network whose maps have one size throughout, such as a ViT, has one stage.

    Args:
        module: the network, on the device of ``example``.
        example: what ``module.forward`` takes: images ``[N, C, H, W]`` or frames ``[T, N, C, H, W]``.
        role: ``"student"`` or ``"teacher"``; None is the student if the network has spiking neurons.
        run: how to run it, if not as ``module(example)``.

    Returns:
        At least one :class:`Layer`.

    Raises:
        TypeError: ``example`` is not a tensor.
        ValueError: as :func:`find_layer`.
        RuntimeError: no layer was seen running.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 1), nn.ReLU(),
        ...     nn.Flatten(), nn.Linear(8 * 3 * 3, 10))
        >>> [layer.path for layer in find_stages(net, torch.rand(2, 3, 8, 8))]
        ['1', '4']
    """
    search = _begin(module, example, role, run)
    with preserve_state(module):
        module.eval()
        return search.stages()


def find_head(module: nn.Module, classes: int, *, role: Role) -> str:
    """The path of a network's last linear layer with as many outputs as there are classes.

    Args:
        module: the network.
        classes: ``K``.
        role: ``"student"`` or ``"teacher"``, for the message.

    Raises:
        ValueError: no linear layer has ``classes`` outputs.

    Example:
        >>> from torch import nn
        >>> find_head(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 10)), 10, role="teacher")
        '1'
    """
    linears = {path: child for path, child in module.named_modules() if isinstance(child, nn.Linear)}
    found = [path for path, child in linears.items() if child.out_features == classes]
    if not found:
        raise ValueError(
            f"the {role} {type(module).__name__} has no nn.Linear with {classes} outputs, so a loss that applies its "
            f"classifier cannot run; its last linear layers are {list(linears)[-5:]}"
        )
    return str(found[-1])


def _begin(module: nn.Module, example: Tensor, role: Role | None, run: Run | None) -> _Search:
    """Check the arguments of a search and cut the example to a few images."""
    if not isinstance(example, Tensor):
        raise TypeError(f"example must be a tensor [N, C, H, W] or [T, N, C, H, W], got {type(example).__name__}")
    if example.ndim not in (4, 5):
        raise ValueError(
            f"example must be images [N, C, H, W] or frames [T, N, C, H, W], got shape {tuple(example.shape)}"
        )
    if role is None:
        role = "student" if compat.has_neurons(module) else "teacher"
    check_choice("role", role, ROLES)
    if any(_is_compiled(child) or has_one_token(child) for child in module.modules()):
        raise ValueError(
            "layers cannot be searched in a network with compiled parts or a last block for the class token alone: "
            f"the result would differ from the eager network's. Pass {role}_layer= or layers= (of a teacher from "
            "prepare_teacher: prepared.layer)"
        )
    if role == "teacher" and example.ndim != 4:
        raise ValueError(f"a teacher takes images, so example must be [N, C, H, W], got shape {tuple(example.shape)}")
    few = example[:, :_PROBE_IMAGES] if example.ndim == 5 else example[:_PROBE_IMAGES]
    if few.is_inference():
        with outside_inference():
            few = few.clone()
    return _Search(module, few, role, run)


def _is_compiled(module: nn.Module) -> bool:
    """Whether ``module.compile()`` or ``torch.compile(module)`` was called."""
    return getattr(module, "_compiled_call_impl", None) is not None or hasattr(module, "_orig_mod")


class _Search:
    """One search for a layer, and what it refused."""

    def __init__(self, module: nn.Module, example: Tensor, role: Role, run: Run | None) -> None:
        self.module, self.example, self.role = module, example, role
        self.run = run or (lambda network, batch: network(batch))
        self.names = dict(module.named_modules())
        self.steps = example.shape[0] if example.ndim == 5 else None
        self.batch = example.shape[1] if example.ndim == 5 else example.shape[0]
        self.image_size = (example.shape[-2], example.shape[-1])
        self.refusals = Refusals([])
        self.hint = ""

    def student(self) -> Layer:
        """The preset of the class, else the last spikes that still have positions.

        Raises:
            RuntimeError: no layer was seen running.
            ValueError: no layer serves; the message lists the candidates and why each was refused.
        """
        ran = self._watch()
        missed = ""
        for path, name in self._presets(ran):
            layer = self._confirmed(Layer(path, reason=f"preset of {name}{missed}"))
            if layer is not None:
                return self._chosen(layer)
            missed = missed or f"; {path} does not serve at {self.image_size[0]}x{self.image_size[1]}"
        counts = Counter(len(seen.shapes) for path, seen in ran.items() if compat.is_neuron(self.names[path]))
        usual = max(counts, key=lambda count: (count > 1, counts[count]), default=1)
        for path, seen in reversed(ran.items()):
            kind = spiking_kind(self.names, path, seen)
            if kind is None:
                continue
            if self.steps is None and len(seen.shapes) not in (1, usual):
                why = f"it ran {len(seen.shapes)} times, not once or {usual} times as other neurons"
                self.refusals.add(path, seen.shapes, why)
                continue
            layer = self._confirmed(Layer(path, reason=kind + missed))
            if layer is not None:
                return self._chosen(layer)
        if not compat.has_neurons(self.module):
            self.hint = "None of its modules is a neuron of SpikingJelly, so nothing tells which layers spike. "
        raise self._failure("no layer with spikes and more than one position", "student_layer")

    def teacher(self) -> Layer:
        """The latest layer whose Grad-CAM for the top class varies over the image.

        Raises:
            RuntimeError: no layer was seen running.
            ValueError: no layer serves; the message lists the candidates and why each was refused.
        """
        ran = self._watch()
        candidates = self._with_positions(ran)
        negative: list[Layer] = []
        for start in range(0, len(candidates), _PROBE_AT_ONCE):
            for layer, why in self._judged(candidates[start : start + _PROBE_AT_ONCE]):
                shapes, around = ran[layer.path].shapes, blocks_around(self.names, layer.path)
                block = next((other.path for other in negative if other.path in around), None)
                if why is not None:
                    self.refusals.add(layer.path, shapes, why)
                elif block is not None:
                    self.refusals.add(layer.path, shapes, f"it is inside {block!r}: {NO_EVIDENCE}", "put off")
                else:
                    latest = layer is candidates[0]
                    reason = "last layer with a map" if latest else "latest layer with a varying map"
                    return self._chosen(replace(layer, grid=None, reason=reason))
                if why == NO_EVIDENCE:
                    negative.append(layer)
        if negative:
            # the map varies, but for these few images all of it speaks against their top class; the step checks each
            reason = "last layer with a map, all negative for the example"
            return self._chosen(replace(negative[0], grid=None, reason=reason))
        raise self._failure("no layer whose Grad-CAM for the top class varies over the image", "teacher_layer")

    def stages(self) -> tuple[Layer, ...]:
        """The last layer that serves at each size of map, shallow to deep.

        Raises:
            RuntimeError: no layer was seen running.
            ValueError: no layer serves; the message lists the candidates and why each was refused.
        """
        found: dict[tuple[int, int], Layer] = {}
        ran = self._watch()
        presets = self._presets(ran) if self.role == "student" else []
        candidates = [(path, f"preset of {name}") for path, name in presets]
        candidates += [(path, kind) for path, seen in reversed(ran.items()) if (kind := self._kind(path, seen))]
        for path, kind in candidates:
            seen = ran[path]
            layer = self._readable(Layer(path, reason=kind), seen.shapes)
            if layer is None or self._size(layer, seen) in found:
                continue
            confirmed = self._confirmed(layer)
            if confirmed is not None:
                found[self._size(layer, seen)] = confirmed
        if not found:
            raise self._failure("no layer with more than one position", f"{self.role}_layer")
        largest_first = sorted(found.items(), key=lambda item: -item[0][0] * item[0][1])
        paths = [layer.path for layer in found.values()]
        return tuple(
            self._chosen(replace(layer, reason=f"{layer.reason}, {h}x{w}"), others=paths)
            for (h, w), layer in largest_first
        )

    def _kind(self, path: str, seen: Ran) -> str | None:
        """What a layer may be the end of a stage as, or None where it has no map."""
        if self.role == "student":
            return spiking_kind(self.names, path, seen)
        return None if path == "" or is_skipped(self.names, path) or len(seen.shapes[0]) < 3 else "end of a stage"

    def _presets(self, ran: dict[str, Ran]) -> list[tuple[str, str]]:
        """Paths that a known student's class names and that ran, best first, each with the class's name."""
        return [(path, name) for path, name in student_preset_paths(self.module) if path in ran]

    @staticmethod
    def _size(layer: Layer, seen: Ran) -> tuple[int, int]:
        """Height and width of a layer's map."""
        if layer.grid is not None:
            return layer.grid
        shape = seen.shapes[0]
        height, width = shape[-3:-1] if (layer.layout or "").endswith("HWC") else shape[-2:]
        return height, width

    def _watch(self) -> dict[str, Ran]:
        ran = what_ran(self.module, lambda: self.run(self.module, self.example), integers=self.role == "student")
        self._reset()
        self.refusals = Refusals(list(ran))
        return ran

    # whether it serves

    def _readable(self, layer: Layer, shapes: list[tuple[int, ...]]) -> Layer | None:
        try:
            return read_layout(
                layer, self.module, shapes, self.role, self.steps, self.batch, self.image_size, strict=True
            )
        except RefusedError as refused:
            if any(len(shape) > 2 for shape in shapes):
                self.refusals.add(layer.path, shapes, str(refused), "unreadable")
            return None

    def _with_positions(self, ran: dict[str, Ran]) -> list[Layer]:
        """A teacher's layers that can be read as maps, from the last back.

        What is inside a block that ends in one position is half-way and comes last; what is in front of the block is
        better.
        """
        trunk: list[Layer] = []
        inside: list[Layer] = []
        for path, seen in reversed(ran.items()):
            layer = self._readable(Layer(path), seen.shapes) if self._kind(path, seen) else None
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

    def _confirmed(self, layer: Layer) -> Layer | None:
        """Record the layer alone, and say whether it serves.

        Its shape must be readable, nothing may change it in place behind, and a student's logits must depend on it.
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
        read = self._readable(layer, shapes)
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

    def _judged(self, layers: list[Layer]) -> Iterator[tuple[Layer, str | None]]:
        """Each layer, and why its Grad-CAM does not serve or None if it does."""
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

    def _chosen(self, layer: Layer, *, others: Sequence[str] = ()) -> Layer:
        """``layer`` with what was refused behind it, up to the next of the ``others`` that were chosen too."""
        return replace(layer, passed_over=self.refusals.behind(layer.path, others))

    def _failure(self, what: str, argument: str) -> ValueError:
        return ValueError(
            f"{type(self.module).__name__} has {what} for an input of shape {list(self.example.shape)}. "
            f"Candidates from the last back: {self.refusals}. {self.hint}Pass {argument}='path' or "
            f"{argument}=Layer('path', layout=..., grid=...) with a path of named_modules(), which a Distiller takes "
            "in layers=, or use larger images"
        )
