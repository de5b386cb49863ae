"""Which layer of a network to look at.

A path given by the user always wins. Without one, a known SpikingJelly network answers by its class name (no model
is imported), and any other network is asked by running it once: a student for its last spiking layer that still has
positions, a teacher for the latest layer whose Grad-CAM varies over the image.
"""

from __future__ import annotations

import re
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from . import compat
from .class_token import has_one_token
from .guards import outside_inference, preserve_state
from .reading import Layer, RefusedError, arrange, check_role, read_layout
from .recording import record, watch

__all__ = ["find_head", "find_layer", "find_stages", "preset_student_steps"]

_PROBE_IMAGES = 4
_PROBE_AT_ONCE = 12
_SHOWN_REFUSALS = 8
_HALVED_IMAGES = 2
_IN_PLACE = 0.75
"""Share of positions that must answer to their own half of the image: 0.5 is chance, networks with a map give 0.94 and
more even untrained, and hidden states that merely count a square gave at most 0.67."""

# class name -> where its last spikes with positions are, best first; a negative number counts from the end
_STUDENT_PRESETS = {
    "SpikingResNet": ("layer4", "layer3", "layer2", "layer1"),
    "SEWResNet": ("layer4", "layer3", "layer2", "layer1"),
    "SpikingVGG": ("features",),
    "MSResNet": ("head_lif",),
    "Spikformer": ("blocks.-1",),
    "QKFormer": ("stage3.-1",),
    "MaxFormer": ("stage3.-1.mlp.lif1",),
    "SpikeDrivenTransformer": ("blocks.-1.mlp.lif1",),
    "MASNN": ("conv_blocks.-1",),
    "SNASNet": ("last_act.1",),
    "SpikeDHS": ("feature",),
}
_NO_EVIDENCE = "its class map has no positive evidence anywhere"
_STEP_PRESETS = {"SNASNet": "internal", "OTTTSpikingVGG": "loop"}

_ATTENTION_PATH = re.compile(r"(attn|attention)\d*$", re.IGNORECASE)
_ATTENTION = re.compile(r"[Aa]ttention|[Aa]ttn|SSA|MHSA")
_HOLDS_ATTENTION = re.compile(r"block|stage|encoder|former|net", re.IGNORECASE)
_NOISE = re.compile(
    r"dropout|droppath|stochasticdepth|softmax|^identity$|adaptive\w*pool|^layerscale|^gamma$", re.IGNORECASE
)


def find_layer(
    module: nn.Module,
    example: Tensor,
    *,
    role: str | None = None,
    run: Callable[[nn.Module, Tensor], Any] | None = None,
) -> Layer:
    """Choose the layer to look at, by running the network on a few images of ``example``.

    The network runs in eval mode; training flags, buffers, random state and membranes are as before when this
    returns or raises, no ``.grad`` is touched and no hook stays. For a student the choice is the preset of its class,
    else the last spiking neuron with positions, or a block that adds spikes up behind it. For a teacher it is the
    latest layer whose Grad-CAM for the top class is finite and varies over the image: a ViT that classifies from its
    class token sends no gradient to the other tokens of its last block, so an earlier point comes out.

    Args:
        module: the network, on the device of ``example``.
        example: what ``module.forward`` takes: images ``[N, C, H, W]`` or frames ``[T, N, C, H, W]``.
        role: ``"student"`` or ``"teacher"``; None is the student if the network has spiking neurons.
        run: how to run it, if not as ``module(example)``: such as once per time step.

    Returns:
        A :class:`Layer` with its layout, prefix and the reason for it.

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
    role: str | None = None,
    run: Callable[[nn.Module, Tensor], Any] | None = None,
) -> tuple[Layer, ...]:
    """One layer for each size of map, shallow to deep: the last of that size that serves.

    For methods that compare several depths (AT, ReviewKD). A student's layers are spikes or the preset of its class, as
    for :func:`find_layer`; a teacher's are the ends of its blocks. The network is left as it was found. A network whose
    maps have one size throughout, such as a ViT, has one stage.

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


def find_head(module: nn.Module, classes: int, *, role: str) -> str:
    """The path of a network's last linear layer with as many outputs as there are classes.

    Args:
        module: the network.
        classes: ``K``.
        role: ``"student"`` or ``"teacher"``, for the message.

    Raises:
        ValueError: it has none.

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


def _begin(
    module: nn.Module, example: Tensor, role: str | None, run: Callable[[nn.Module, Tensor], Any] | None
) -> _Search:
    """Check the arguments of a search and cut the example to a few images."""
    if not isinstance(example, Tensor):
        raise TypeError(f"example must be a tensor [N, C, H, W] or [T, N, C, H, W], got {type(example).__name__}")
    if example.ndim not in (4, 5):
        raise ValueError(
            f"example must be images [N, C, H, W] or frames [T, N, C, H, W], got shape {tuple(example.shape)}"
        )
    if role is None:
        role = "student" if compat.has_neurons(module) else "teacher"
    check_role(role)
    if any(child._compiled_call_impl is not None or has_one_token(child) for child in module.modules()):
        raise ValueError(
            "layers cannot be searched in a network with compiled parts or a last block for the class token alone: "
            f"others than the eager network's would be found. Pass {role}_layer= or layers= (of a teacher from "
            "prepare_teacher its layer, and what it was told to keep)"
        )
    if role == "teacher" and example.ndim != 4:
        raise ValueError(f"a teacher takes images, so example must be [N, C, H, W], got shape {tuple(example.shape)}")
    few = example[:, :_PROBE_IMAGES] if example.ndim == 5 else example[:_PROBE_IMAGES]
    if few.is_inference():
        with outside_inference():
            few = few.clone()
    return _Search(module, few, role, run)


def preset_student_steps(module: nn.Module) -> str | None:
    """How a known SpikingJelly network wants its time steps, by class name.

    Returns:
        ``"internal"`` for one that runs its own time loop (SNASNet), ``"loop"`` for one that takes a single step per
        call and has no multi-step mode (OTTT), None for every other network.

    Example:
        >>> from torch import nn
        >>> class SNASNet(nn.Module): ...
        >>> preset_student_steps(SNASNet())
        'internal'
    """
    known = _known(module, _STEP_PRESETS)
    return None if known is None else _STEP_PRESETS[known[1]]


@dataclass
class _Ran:
    """What one module did in a forward."""

    shapes: list[tuple[int, ...]] = field(default_factory=list)
    whole: bool = True  # every value a non-negative integer
    silent: bool = True
    source: str | None = None  # the module inside that made the very tensor this one returned


class _Search:
    """One search for a layer; keeps what was refused, for the message of a failure."""

    def __init__(
        self, module: nn.Module, example: Tensor, role: str, run: Callable[[nn.Module, Tensor], Any] | None
    ) -> None:
        self.module, self.example, self.role = module, example, role
        self.run = run or (lambda network, batch: network(batch))
        self.names = dict(module.named_modules())
        self.steps = example.shape[0] if example.ndim == 5 else None
        self.batch = example.shape[1] if example.ndim == 5 else example.shape[0]
        self.image_size = (example.shape[-2], example.shape[-1])
        self.tried: list[str] = []
        self.unread: list[str] = []
        self.hint = ""

    def student(self) -> Layer:
        """The preset of the class, else the last spikes that still have positions."""
        ran = self._watch()
        missed = ""
        for path, name in self._presets(ran):
            layer = self._confirmed(Layer(path, reason=f"preset of {name}{missed}"))
            if layer is not None:
                return layer
            missed = missed or f"; {path} does not serve at {self.image_size[0]}x{self.image_size[1]}"
        counts = Counter(len(seen.shapes) for path, seen in ran.items() if compat.is_neuron(self.names[path]))
        usual = max(counts, key=lambda count: (count > 1, counts[count]), default=1)
        for path, seen in reversed(ran.items()):
            kind = self._spiking(path, seen)
            if kind is None:
                continue
            if self.steps is None and len(seen.shapes) not in (1, usual):
                why = f"it ran {len(seen.shapes)} times, not once or {usual} times as other neurons"
                self.tried.append(_refusal(path, seen.shapes, why))
                continue
            layer = self._confirmed(Layer(path, reason=kind + missed))
            if layer is not None:
                return layer
        raise self._failure("no layer with spikes and more than one position", "student_layer")

    def teacher(self) -> Layer:
        """The latest layer whose Grad-CAM for the top class varies over the image."""
        ran = self._watch()
        trunk: list[Layer] = []
        inside: list[Layer] = []
        for path, seen in reversed(ran.items()):
            if path == "" or self._is_skipped(path) or len(seen.shapes[0]) < 3:
                continue
            layer = self._readable(Layer(path), seen.shapes)
            if layer is not None:
                # inside a block that ends in one position is half-way; what comes before the block is better
                blocks = [ran[block].shapes[-1] for block in self._blocks_around(path) if block in ran]
                (inside if any(shape[2:] == (1, 1) for shape in blocks) else trunk).append(layer)
        candidates = trunk + inside
        negative: list[Layer] = []
        for start in range(0, len(candidates), _PROBE_AT_ONCE):
            together = candidates[start : start + _PROBE_AT_ONCE]
            out_of_place: set[str] | None = None
            for layer, why in zip(together, self._grad_cams(together), strict=True):
                if why is None and not (layer.layout or "").endswith("HW"):
                    if out_of_place is None:
                        out_of_place = self._out_of_place(together)
                    if layer.path in out_of_place:
                        why = "its tokens do not answer to their own places in the image"
                if why is None and not self._blocks_around(layer.path) & {other.path for other in negative}:
                    reason = "last layer with a map" if layer is candidates[0] else "latest layer with a varying map"
                    return replace(layer, grid=None, reason=reason)
                if why == _NO_EVIDENCE:
                    negative.append(layer)
                if why is not None:
                    self.tried.append(_refusal(layer.path, ran[layer.path].shapes, why))
        if negative:
            # the map varies, but for these few images all of it speaks against their top class; the step checks each
            return replace(negative[0], grid=None, reason="last layer with a map, all negative for the example")
        raise self._failure("no layer whose Grad-CAM for the top class varies over the image", "teacher_layer")

    def stages(self) -> tuple[Layer, ...]:
        """The last layer that serves at each size of map, shallow to deep."""
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
        return tuple(replace(layer, reason=f"{layer.reason}, {h}x{w}") for (h, w), layer in largest_first)

    def _kind(self, path: str, seen: _Ran) -> str | None:
        """What a layer may be the end of a stage as, or None."""
        if self.role == "student":
            return self._spiking(path, seen)
        return None if path == "" or self._is_skipped(path) or len(seen.shapes[0]) < 3 else "end of a stage"

    def _presets(self, ran: dict[str, _Ran]) -> list[tuple[str, str]]:
        """Paths that a known student's class names and that ran, best first, each with the class's name."""
        known = _known(self.module, _STUDENT_PRESETS)
        if known is None:
            return []
        prefix, name = known
        paths = [_concrete(self.module, prefix, pattern) for pattern in _STUDENT_PRESETS[name]]
        return [(path, name) for path in paths if path is not None and path in ran]

    @staticmethod
    def _size(layer: Layer, seen: _Ran) -> tuple[int, int]:
        """Height and width of a layer's map."""
        if layer.grid is not None:
            return layer.grid
        shape = seen.shapes[0]
        height, width = shape[-3:-1] if (layer.layout or "").endswith("HWC") else shape[-2:]
        return height, width

    # what ran, and what it made

    def _watch(self) -> dict[str, _Ran]:
        """Run once and note what every module hands on, ordered by when each ran last."""
        notes = _Notes(self.names, integers=self.role == "student")
        with torch.no_grad(), watch(self.module, notes.add):
            self.run(self.module, self.example)
        self._reset()
        if not notes.ran:
            raise RuntimeError(
                f"no layer of {type(self.module).__name__} was seen running, so none can be chosen: a network that "
                "was compiled before skips the recording. Compile the whole distiller instead, or after it"
            )
        return notes.ran

    def _spiking(self, path: str, seen: _Ran) -> str | None:
        """Why this layer's output is spikes, or None."""
        child = self.names[path]
        if self._is_skipped(path):
            return None
        if compat.is_neuron(child):
            return "last spiking neuron with positions"
        if seen.source is not None or next(child.children(), None) is None or not compat.has_neurons(child):
            return None
        return "last block of spikes with positions" if seen.whole and not seen.silent else None

    def _is_skipped(self, path: str) -> bool:
        """Attention, whose shapes look like images and are none, and layers that only pass on or blur."""
        parts = path.split(".")
        above = [self.names[".".join(parts[:depth])] for depth in range(1, len(parts) + 1)] if path else []
        names = [type(child).__name__ for child in above]
        if any(_ATTENTION_PATH.search(part) for part in parts):
            return True
        if any(_ATTENTION.search(name) and not _HOLDS_ATTENTION.search(name) for name in names):
            return True
        return bool(names and _NOISE.search(names[-1])) or (bool(above) and _is_surrogate(above[-1]))

    def _blocks_around(self, path: str) -> set[str]:
        """The modules that ``path`` is an inner part of; the parts of a Sequential are its trunk, not its inside."""
        parts = path.split(".")
        above = {".".join(parts[:depth]) for depth in range(1, len(parts))}
        return {other for other in above if not isinstance(self.names[other], nn.Sequential | nn.ModuleList)}

    # whether it serves

    def _readable(self, layer: Layer, shapes: list[tuple[int, ...]]) -> Layer | None:
        try:
            return read_layout(
                layer, self.module, shapes, self.role, self.steps, self.batch, self.image_size, strict=True
            )
        except RefusedError as refused:
            if any(len(shape) > 2 for shape in shapes):
                self.unread.append(_refusal(layer.path, shapes, str(refused)))
            return None

    def _confirmed(self, layer: Layer) -> Layer | None:
        """Record the layer alone: its shape must be readable, and nothing may change it in place behind."""
        try:
            with torch.no_grad(), record(self.module, [layer.path]) as recording:
                self.run(self.module, self.example)
            shapes = [tuple(call.shape) for call in recording.calls(layer.path)]
        except RuntimeError as error:
            if "changed in place" not in str(error):
                raise
            self.tried.append(_refusal(layer.path, [], "changed in place behind the layer"))
            return None
        finally:
            self._reset()
        read = self._readable(layer, shapes)
        return None if read is None else replace(read, grid=None)

    def _grad_cams(self, layers: list[Layer]) -> list[str | None]:
        """For each layer why its Grad-CAM does not serve, or None if it does."""
        paths = [layer.path for layer in layers]
        with torch.enable_grad():
            with record(self.module, paths, as_leaf=True) as recording:
                score = _top_score(self.run(self.module, self.example))
            if not score.any():
                self.hint = "The class scores are all 0 (is the classifier untrained?). "
            points = [recording[path] for path in paths]
            if not score.requires_grad:
                return ["the class score does not depend on it"] * len(layers)
            gradients = torch.autograd.grad(score, points, allow_unused=True)
        verdicts: list[str | None] = []
        for layer, point, gradient in zip(layers, points, gradients, strict=True):
            if gradient is None:
                verdicts.append("the class score does not depend on it")
                continue
            maps = [
                arrange([tensor.detach().double()], layer, role="teacher", steps=None, batch=self.batch)
                for tensor in (point, gradient)
            ]
            verdicts.append(_map_trouble(*maps))
        return verdicts

    def _out_of_place(self, layers: list[Layer]) -> set[str]:
        """The token layers in which a change in one half of the image does not show most in that half of the map.

        A number of tokens can be a square by chance (queries, hidden states), and tokens can be in another order than
        row by row. Layers with axes for height and width are not asked.
        """
        layers = [layer for layer in layers if not (layer.layout or "").endswith("HW")]
        height, width = self.image_size
        images = self.example[:_HALVED_IMAGES]
        noise = images.mean() + torch.randn_like(images) * images.std().clamp_min(0.1)
        halves = torch.zeros(4, height, width, dtype=torch.bool, device=images.device)
        halves[0, : height // 2] = halves[1, -(height // 2) :] = True
        halves[2, :, : width // 2] = halves[3, :, -(width // 2) :] = True
        changed = [torch.where(half, noise, images) for half in halves]
        with torch.no_grad(), record(self.module, [layer.path for layer in layers]) as recording:
            self.run(self.module, torch.cat([images, *changed]))
        out_of_place = set()
        for layer in layers:
            features = arrange(recording.calls(layer.path), layer, role="teacher", steps=None, batch=5 * len(images))
            features = features.double().reshape(5, len(images), *features.shape[1:])
            change = (features[1:] - features[0]).abs().sum(dim=2)
            share = (change / change.sum(dim=0).clamp_min(1e-12)).mean(dim=1)
            if min(_in_place(share[0], share[1]), _in_place(share[2].T, share[3].T)) < _IN_PLACE:
                out_of_place.add(layer.path)
        return out_of_place

    def _reset(self) -> None:
        if self.role == "student":
            compat.reset(self.module)

    def _failure(self, what: str, argument: str) -> ValueError:
        refused = [*self.tried, *self.unread]
        shown = refused[:_SHOWN_REFUSALS]
        more = len(refused) - len(shown)
        tried = "; ".join(shown) + (f"; and {more} more" if more else "") if shown else "none had positions"
        return ValueError(
            f"{type(self.module).__name__} has {what} for an input of shape {list(self.example.shape)}. "
            f"Candidates from the last back: {tried}. {self.hint}Pass {argument}='path' or "
            f"{argument}=Layer('path', layout=..., grid=...) with a path of named_modules(), which a Distiller takes "
            "in layers=, or use larger images"
        )


class _Notes:
    """Notes what ran, in order, and lets the tensors go."""

    def __init__(self, names: dict[str, nn.Module], *, integers: bool) -> None:
        self.ran: dict[str, _Ran] = {}
        self._integers = integers
        self._holders = {path for path, child in names.items() if next(child.children(), None) is not None}
        self._makers: dict[int, tuple[weakref.ref[Tensor], int, str]] = {}

    def add(self, path: str, tensor: Tensor) -> None:
        seen = self.ran.pop(path, None) or _Ran()
        self.ran[path] = seen  # last run, last in order
        seen.shapes.append(tuple(tensor.shape))
        version = 0 if tensor.is_inference() else tensor._version
        maker = self._makers.get(id(tensor))
        if maker is not None and maker[0]() is tensor and maker[1] == version:
            seen.source = maker[2]
            return
        self._makers[id(tensor)] = (weakref.ref(tensor), version, path)
        if self._integers and path in self._holders and seen.whole and tensor.numel():
            seen.whole = bool(((tensor >= 0) & (tensor == tensor.round())).all())
            seen.silent = seen.silent and not bool(tensor.any())


def _top_score(output: Any) -> Tensor:
    """The summed score of each image's top class."""
    logits = output
    if not isinstance(logits, Tensor):
        logits = getattr(output, "logits", output[0] if isinstance(output, tuple | list) and output else None)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        got = list(logits.shape) if isinstance(logits, Tensor) else type(output).__name__
        raise ValueError(
            f"the teacher must return class scores [N, K] (or a tuple that begins with them), got {got}; "
            "wrap it in a module that returns its logits"
        )
    return logits.float().max(dim=1).values.sum()


def _map_trouble(features: Tensor, gradients: Tensor) -> str | None:
    """Why the Grad-CAM of ``features`` and ``gradients``, both ``[N, C, h, w]``, does not serve; None if it does."""
    if not (torch.isfinite(features).all() and torch.isfinite(gradients).all()):
        return "its values or gradients are not finite"
    if not gradients.any():
        return "the class score sends no gradient to its positions"
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    evidence = (weights * features).sum(dim=1)
    scale = (weights * features).abs().sum(dim=1).amax(dim=(1, 2))
    if not (evidence.amax(dim=(1, 2)) - evidence.amin(dim=(1, 2)) > 1e-5 * scale).any():
        return "its class map is the same at every position"
    maps = evidence.relu()
    if not (maps.amax(dim=(1, 2)) - maps.amin(dim=(1, 2)) > 1e-5 * scale).any():
        return _NO_EVIDENCE
    return None


def _refusal(path: str, shapes: Sequence[tuple[int, ...]], why: str) -> str:
    shape = f" {list(shapes[0])}" if shapes else ""
    times = f" x{len(shapes)}" if len(shapes) > 1 else ""
    return f"{path}{shape}{times}: {why}"


def _in_place(first: Tensor, second: Tensor) -> float:
    """Share of rows' positions that lean to their own half; ``first`` and ``second`` are ``[h, w]``."""
    size = first.shape[0] // 2
    if size == 0:
        return 1.0
    lean = first - second
    lean = lean - lean.mean()
    return float(torch.cat([lean[:size] > 0, lean[-size:] < 0]).double().mean())


def _known(module: nn.Module, presets: dict[str, Any]) -> tuple[str, str] | None:
    """Where a class with a preset sits: ``(path, class name)``, if there is exactly one outermost."""
    found: list[tuple[str, str]] = []
    for path, child in module.named_modules():
        if any(not outer or path.startswith(f"{outer}.") for outer, _ in found):
            continue
        name = next((kind.__name__ for kind in type(child).__mro__ if kind.__name__ in presets), None)
        if name is not None:
            found.append((path, name))
    return found[0] if len(found) == 1 else None


def _concrete(module: nn.Module, prefix: str, pattern: str) -> str | None:
    """``pattern`` below ``prefix`` with negative numbers counted out; None if there is no such module."""
    parts = prefix.split(".") if prefix else []
    for part in pattern.split("."):
        children = [name for name, _ in module.get_submodule(".".join(parts)).named_children()]
        if part.startswith("-"):
            if len(children) < -int(part):
                return None
            part = children[int(part)]
        if part not in children:
            return None
        parts.append(part)
    return ".".join(parts)


def _is_surrogate(child: nn.Module) -> bool:
    return type(child).__module__.startswith("spikingjelly.activation_based.surrogate")
