"""Which layer of a network to look at, and how to read the tensors it hands on.

A path given by the user always wins. Without one, a known SpikingJelly network answers by its class name (no model
is imported), and any other network is asked by running it once: a student for its last spiking layer that still has
positions, a teacher for the latest layer whose Grad-CAM varies over the image.

Shapes: ``T`` time steps, ``N`` images, ``C`` channels, ``h w`` positions, ``L`` tokens (``h * w``, row by row, and
any class or register tokens in front of them).
"""

from __future__ import annotations

import re
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from . import compat
from .hooks import get_layer, record
from .probing import untouched

__all__ = ["LAYOUTS", "Layer", "arrange", "find_layer", "preset_student_steps", "resolve"]

LAYOUTS = ("NCHW", "NHWC", "NCL", "NLC", "TNCHW", "TNHWC", "TNCL", "TNLC")
"""What the axes of one recorded tensor can mean. A student's layout that begins with ``N`` is either one of T calls
or time and batch flattened into the first axis; which of them, the number of calls tells."""

_ROLES = ("student", "teacher")
_MOST_PREFIX_TOKENS = 16
_USUAL_PREFIXES = (0, 1, 2, 5)
"""No token, a class token, one for distillation beside it, four registers behind it."""
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


@dataclass(frozen=True)
class Layer:
    """Where to look, and how to read what is there.

    Attributes:
        path: as in ``network.named_modules()``.
        layout: one of :data:`LAYOUTS`; None reads it off the shape at the first forward.
        grid: ``(h, w)`` of the token layouts; None finds it.
        prefix: leading tokens that are no position (class and register tokens); 0 finds them.
        reason: why this layer, in a few words; shown by ``preflight``.

    Raises:
        TypeError: ``path`` is not a string.
        ValueError: a field that is none of the above.

    Example:
        >>> Layer("blocks.11.norm1", layout="NLC", grid=(14, 14), prefix=1).layout
        'NLC'
    """

    path: str
    layout: str | None = None
    grid: tuple[int, int] | None = None
    prefix: int = 0
    reason: str = "given"

    def __post_init__(self) -> None:
        if not isinstance(self.path, str):
            raise TypeError(
                f"path must be a string as in named_modules(), got {type(self.path).__name__}; pass the module's name"
            )
        if self.layout is not None and self.layout not in LAYOUTS:
            raise ValueError(f"layout of layer {self.path!r} must be one of {LAYOUTS} or None, got {self.layout!r}")
        if self.grid is not None:
            grid = self.grid
            if not (isinstance(grid, tuple) and len(grid) == 2 and all(isinstance(n, int) and n > 0 for n in grid)):
                raise ValueError(
                    f"grid of layer {self.path!r} must be two positive integers (h, w) or None, got {grid!r}"
                )
        if not isinstance(self.prefix, int) or self.prefix < 0:
            raise ValueError(f"prefix of layer {self.path!r} must be an integer of at least 0, got {self.prefix!r}")


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
    if not isinstance(example, Tensor):
        raise TypeError(f"example must be a tensor [N, C, H, W] or [T, N, C, H, W], got {type(example).__name__}")
    if example.ndim not in (4, 5):
        raise ValueError(
            f"example must be images [N, C, H, W] or frames [T, N, C, H, W], got shape {tuple(example.shape)}"
        )
    if role is None:
        role = "student" if compat.has_neurons(module) else "teacher"
    _check_role(role)
    if role == "teacher" and example.ndim != 4:
        raise ValueError(f"a teacher takes images, so example must be [N, C, H, W], got shape {tuple(example.shape)}")
    few = example[:, :_PROBE_IMAGES] if example.ndim == 5 else example[:_PROBE_IMAGES]
    search = _Search(module, few, role, run)
    with untouched(module):
        module.eval()
        return search.student() if role == "student" else search.teacher()


def resolve(
    layer: Layer | str,
    module: nn.Module,
    calls: Sequence[Tensor],
    *,
    role: str,
    steps: int | None,
    batch: int,
    image_size: tuple[int, int],
) -> Layer:
    """Decide how to read a layer, from the tensors that it handed on in one forward.

    What the user set always holds, and is checked. What is left open is decided by the shape, by the image's aspect
    ratio, by the channels that the modules around the layer declare and by a ``grid_size`` that the network states;
    it is never guessed.

    Args:
        layer: a :class:`Layer`, or just the path.
        module: the network.
        calls: one tensor for each time that the layer ran in the forward.
        role: ``"student"`` or ``"teacher"``.
        steps: time steps of a student; None when the network repeats the images by itself.
        batch: images in the batch.
        image_size: ``(H, W)`` of the network's input.

    Returns:
        The layer with ``layout``, ``grid`` (of token layouts) and ``prefix`` set.

    Raises:
        TypeError: ``layer`` is neither.
        ValueError: no such path or role; the tensors cannot be read, or can be read in more than one way (the
            message says what to pass); or the map has one position only, where a softmax is constant.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3))
        >>> found = resolve("0", net, [torch.zeros(2, 8, 6, 6)], role="teacher", steps=None, batch=2, image_size=(8, 8))
        >>> found.layout
        'NCHW'
    """
    _check_role(role)
    if isinstance(layer, str):
        layer = Layer(layer)
    if not isinstance(layer, Layer):
        raise TypeError(f"{role}_layer must be a path or a Layer, got {type(layer).__name__}; pass Layer('path')")
    get_layer(module, layer.path)
    if not calls:
        raise ValueError(f"calls of layer {layer.path!r} must hold the tensors of one forward, got none")
    try:
        return _read(layer, module, [tuple(call.shape) for call in calls], role, steps, batch, image_size)
    except _RefusedError as refused:
        raise ValueError(
            f"layer {layer.path!r} of {type(module).__name__} gives {_shapes(calls)} for {batch} images of "
            f"{image_size[0]}x{image_size[1]}: {refused}. {_advice(refused, layer, module, role)}"
        ) from None


def arrange(calls: Sequence[Tensor], layer: Layer, *, role: str, steps: int | None, batch: int) -> Tensor:
    """Bring what a layer handed on to the axes that the losses expect.

    Args:
        calls: one tensor for each time that the layer ran in the forward.
        layer: as :func:`resolve` returned it.
        role: ``"student"`` or ``"teacher"``.
        steps: time steps of a student; None when the network repeats the images by itself.
        batch: images in the batch.

    Returns:
        Shape ``[T, N, C, h, w]`` for a student, ``[N, C, h, w]`` for a teacher: a view, but for T calls, which are
        stacked. Differentiable, in the dtype of the input.

    Raises:
        ValueError: the tensors do not have the shape that the layer was resolved for.
        RuntimeError: the layer has no layout yet.

    Example:
        >>> import torch
        >>> tokens = torch.zeros(2, 1 + 4, 8)
        >>> layer = Layer("norm", layout="NLC", grid=(2, 2), prefix=1)
        >>> tuple(arrange([tokens], layer, role="teacher", steps=None, batch=2).shape)
        (2, 8, 2, 2)
    """
    layout, grid = layer.layout, layer.grid
    if layout is None or ("L" in layout and grid is None):
        raise RuntimeError(f"layer {layer.path!r} has no layout or grid yet: pass it through resolve() first")
    tensor = calls[0]
    if role == "student":
        if len(calls) > 1 and layout.startswith("N"):
            tensor = torch.stack(tuple(calls))
        elif len(calls) == 1 and layout.startswith("N") and tensor.ndim and tensor.shape[0] % batch == 0:
            tensor = tensor.reshape(-1, batch, *tensor.shape[1:])
        lead, count = 2, len(calls) if len(calls) > 1 else steps
        fits = tensor.shape[1:2] == (batch,) and steps in (None, count) and count in (None, tensor.shape[0])
    else:
        lead = 1
        fits = tensor.shape[:1] == (batch,) and len(calls) == 1
    tail = layout.removeprefix("T").removeprefix("N")
    if not fits or tensor.ndim != lead + len(tail):
        raise _changed(layer, calls, steps, batch)
    if tail == "CHW":
        return tensor
    if tail == "HWC":
        return tensor.movedim(-1, lead)
    if tail == "LC":
        tensor = tensor.transpose(-1, -2)
    rows, columns = grid or (0, 0)
    if tensor.shape[-1] != layer.prefix + rows * columns:
        raise _changed(layer, calls, steps, batch)
    return tensor[..., layer.prefix :].reshape(*tensor.shape[:-1], rows, columns)


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


# --- reading shapes --------------------------------------------------------------------------------------------------


class _RefusedError(Exception):
    """A layer that cannot serve, and why; ``kind`` tells what advice helps."""

    def __init__(self, why: str, kind: str = "shape") -> None:
        super().__init__(why)
        self.kind = kind


@dataclass(frozen=True)
class _Reading:
    """One way to understand a tensor; ``loose`` when only its rank speaks for it, not its proportions."""

    layout: str
    grid: tuple[int, int]
    channels: int
    prefix: int = 0
    loose: bool = False

    def __str__(self) -> str:
        text = f"{self.layout} with {self.channels} channels on {self.grid[0]}x{self.grid[1]}"
        return f"{text} behind {self.prefix} prefix tokens" if self.prefix else text


def _read(
    layer: Layer,
    module: nn.Module,
    shapes: Sequence[tuple[int, ...]],
    role: str,
    steps: int | None,
    batch: int,
    image_size: tuple[int, int],
    *,
    strict: bool = False,
) -> Layer:
    """``layer`` with everything decided; ``strict`` takes no map that is not in the image's proportions.

    Raises:
        _RefusedError: it cannot be.
    """
    readings = [
        reading
        for lead, rest in _leads(shapes, role, steps, batch)
        if layer.layout is None or layer.layout.startswith("T") == (lead == "TN")
        for reading in _spatial(lead, rest, layer, module, image_size)
        if not (strict and reading.loose)
    ]
    if not readings:
        raise _RefusedError(_why_unreadable(shapes, layer, role, steps, batch))
    exact = [reading for reading in readings if reading.grid[0] * image_size[1] == reading.grid[1] * image_size[0]]
    chosen = _choose(exact or readings, layer, module, role)
    if chosen.grid == (1, 1):
        raise _RefusedError(
            "its map has one position only, where a softmax is constant and the map loss always 0", "one position"
        )
    grid = chosen.grid if "L" in chosen.layout else layer.grid
    return replace(layer, layout=chosen.layout, grid=grid, prefix=chosen.prefix)


def _leads(
    shapes: Sequence[tuple[int, ...]], role: str, steps: int | None, batch: int
) -> list[tuple[str, tuple[int, ...]]]:
    """The ways to split the leading axes off: ``("TN" or "N", the other axes)``."""
    shape, count = shapes[0], len(shapes)
    if role == "teacher":
        if count > 1:
            raise _RefusedError(
                f"it ran {count} times in one forward, so it is shared between places of the network", "shared"
            )
        return [("N", shape[1:])] if len(shape) > 2 and shape[0] == batch else []
    if count > 1:
        if steps is not None and count != steps:
            raise _RefusedError(
                f"it ran {count} times in one forward of {steps} time steps, so it is shared between places of the "
                "network or called more than once per step",
                "shared",
            )
        if any(other != shape for other in shapes):
            raise _RefusedError("its calls have unlike shapes", "shared")
        return [("N", shape[1:])] if len(shape) > 2 and shape[0] == batch else []
    leads = []
    if len(shape) == 3 and shape[1] == batch and steps in (None, shape[0]):
        return []  # [T, N, C] has no positions, and must not pass for [T * N, C, L]
    if len(shape) > 3 and shape[1] == batch and steps in (None, shape[0]):
        leads.append(("TN", shape[2:]))
    if len(shape) > 2 and shape[0] % batch == 0 and steps in (None, shape[0] // batch):
        leads.append(("N", shape[1:]))
    return leads


def _spatial(
    lead: str, rest: tuple[int, ...], layer: Layer, module: nn.Module, image_size: tuple[int, int]
) -> list[_Reading]:
    """The ways to read the axes behind the leading ones, within what the user fixed."""
    tails = {3: ("CHW", "HWC"), 2: ("CL", "LC")}.get(len(rest), ())
    stated = _stated_prefixes(module) if len(rest) == 2 else set()
    readings = []
    for tail in tails:
        layout = lead + tail
        if layer.layout not in (None, layout):
            continue
        channels = rest[0] if tail.startswith("C") else rest[-1]
        sizes = rest[1:] if tail.startswith("C") else rest[:-1]
        if len(sizes) == 2:
            grid = (sizes[0], sizes[1])
            if layer.layout is None and layer.grid not in (None, grid):
                continue
            readings.append(
                _Reading(layout, grid, channels, loose=layer.layout is None and not _fits(grid, image_size))
            )
            continue
        readings += [
            _Reading(layout, grid, channels, prefix)
            for prefix, grid in _token_grids(sizes[0], layer, stated, image_size)
            if channels > 1 or layer.layout is not None
        ]
    return readings


def _token_grids(
    length: int, layer: Layer, stated: set[int], image_size: tuple[int, int]
) -> list[tuple[int, tuple[int, int]]]:
    """How ``length`` tokens can be prefix tokens and a grid: ``(prefix, (h, w))``."""
    if layer.grid is not None:
        prefix = length - layer.grid[0] * layer.grid[1]
        fits = prefix == layer.prefix if layer.prefix else 0 <= prefix <= _MOST_PREFIX_TOKENS
        return [(prefix, layer.grid)] if fits else []
    if layer.prefix:
        return [(layer.prefix, grid) for grid in _grids(length - layer.prefix, image_size)]
    # what the network states comes first; the first that leaves a grid is meant, since squares lie far apart
    for prefix in (*sorted(stated, reverse=True), *_USUAL_PREFIXES):
        grids = _grids(length - prefix, image_size)
        if grids:
            return [(prefix, grid) for grid in grids]
    return [(0, (1, 1))] if length == 1 else []


def _grids(length: int, image_size: tuple[int, int]) -> list[tuple[int, int]]:
    """The grids of ``length`` positions in the image's proportions."""
    return [
        (rows, length // rows)
        for rows in range(1, min(length, image_size[0]) + 1)
        if length > 1 and length % rows == 0 and _fits((rows, length // rows), image_size)
    ]


def _fits(grid: tuple[int, int], image_size: tuple[int, int]) -> bool:
    """Whether one stride, with some rounding, takes the image to the grid."""
    (rows, columns), (height, width) = grid, image_size
    if rows > height or columns > width:
        return False
    if height == width:
        return rows == columns
    if rows * width == columns * height or (rows, columns) == (1, 1):
        return True
    low = max(height / (rows + 1), width / (columns + 1))
    high = min(height / max(rows - 1, 1e-9), width / max(columns - 1, 1e-9))
    return low < high


def _choose(readings: list[_Reading], layer: Layer, module: nn.Module, role: str) -> _Reading:
    """The one reading that is meant.

    Raises:
        _RefusedError: more than one is left.
    """
    firm = [reading for reading in readings if not reading.loose]
    if len(firm) == 1:
        return firm[0]
    left = firm or readings
    for numbers_first, numbers_last in _declared_channels(module, layer.path):
        declared = [reading for reading in left if reading.channels in numbers_first | numbers_last]
        if len({reading.layout for reading in declared}) == 1:
            left = declared
            break
        placed = [
            reading
            for reading in declared
            if reading.channels in (numbers_last if reading.layout.endswith("C") else numbers_first)
        ]
        if len({reading.layout for reading in placed}) == 1:
            left = placed
            break
    grids = _stated_grids(module)
    stated = [reading for reading in left if "L" in reading.layout and reading.grid in grids]
    if len(left) > 1 and len(stated) == 1:
        left = stated
    if len(left) > 1 and firm and role == "student":
        # SpikingJelly's own order of axes; channels-last students say so
        left = [reading for reading in left if reading.layout.endswith("CHW")] or left
    if len(left) > 1 or (not firm and not _is_declared(left[0], module, layer.path)):
        raise _RefusedError("its shape can be read as " + " or as ".join(str(reading) for reading in left), "ambiguous")
    return left[0]


def _declared_channels(module: nn.Module, path: str) -> Iterator[tuple[set[int], set[int]]]:
    """Channels that modules with channels first, and with channels last, declare: at the layer, then wider around."""
    parts = path.split(".") if path else []
    for depth in range(len(parts), -1, -1):
        first: set[int] = set()
        last: set[int] = set()
        for child in module.get_submodule(".".join(parts[:depth])).modules():
            if next(child.children(), None) is not None:
                continue
            shape = getattr(child, "normalized_shape", None)
            if isinstance(shape, tuple | list) and shape:
                (first if "2d" in type(child).__name__ else last).add(int(shape[-1]))
            for name, numbers in (
                ("out_features", last),
                ("out_channels", first),
                ("num_features", first),
                ("num_channels", first),
            ):
                number = getattr(child, name, None)
                if isinstance(number, int):
                    numbers.add(number)
        if first or last:
            yield first, last


def _is_declared(reading: _Reading, module: nn.Module, path: str) -> bool:
    nearest = next(_declared_channels(module, path), (set[int](), set[int]()))
    return reading.channels in nearest[0] | nearest[1]


def _stated_prefixes(module: nn.Module) -> set[int]:
    numbers = {getattr(child, "num_prefix_tokens", None) for child in module.modules()}
    return {number for number in numbers if isinstance(number, int) and 0 < number <= _MOST_PREFIX_TOKENS}


def _stated_grids(module: nn.Module) -> set[tuple[int, int]]:
    sizes = [getattr(child, "grid_size", None) for child in module.modules()]
    return {
        (size[0], size[1])
        for size in sizes
        if isinstance(size, tuple | list) and len(size) == 2 and all(isinstance(number, int) for number in size)
    }


def _why_unreadable(shapes: Sequence[tuple[int, ...]], layer: Layer, role: str, steps: int | None, batch: int) -> str:
    if layer.layout is not None or layer.grid is not None or layer.prefix:
        given = [f"layout={layer.layout!r}"] if layer.layout else []
        given += [f"grid={layer.grid}"] if layer.grid else []
        given += [f"prefix={layer.prefix}"] if layer.prefix else []
        return f"that does not fit {', '.join(given)}"
    shape = shapes[0]
    if role == "teacher":
        if shape[:1] != (batch,):
            return "its first axis is not the batch (windows or patches may be folded into it)"
        return "it has no positions left" if len(shape) < 3 else "it has no axes that form a map of the image"
    time = "T" if steps is None else str(steps)
    if len(shapes) == 1 and shape[:1] == (batch,) and steps not in (None, 1):
        return f"it ran once for all {time} time steps, before time begins in this network"
    if len(shape) < 3 or (len(shape) == 3 and shape[1] == batch):
        return "it has no positions left"
    if len(shapes) == 1 and shape[1:2] != (batch,) and shape[0] % batch:
        return f"its leading axes are not time and batch [{time}, {batch}, ...]"
    return "it has no axes that form a map of the image"


def _advice(refused: _RefusedError, layer: Layer, module: nn.Module, role: str) -> str:
    name = f"{role}_layer"
    layouts = LAYOUTS if role == "student" else LAYOUTS[:4]
    explicit = (
        f"Pass {name}=Layer({layer.path!r}, layout=<one of {', '.join(layouts)}>), for token layouts with "
        "grid=(h, w) and prefix=<leading tokens that are no position>"
    )
    if refused.kind == "one position":
        earlier = _sibling_before(module, layer.path)
        such = f", such as {name}={earlier!r}" if earlier else ""
        return f"Pass an earlier layer{such}, or use images of at least twice the height and width"
    if refused.kind == "shared":
        return f"Pass another {name}: one that runs once per forward, or once per time step"
    if refused.kind == "ambiguous":
        return explicit
    return f"{explicit}, or another layer of named_modules()"


def _sibling_before(module: nn.Module, path: str) -> str | None:
    """The module of the same class in front of the one at ``path``, in the same container."""
    parent, _, name = path.rpartition(".")
    before: list[str] = []
    for other, child in module.get_submodule(parent).named_children():
        if other == name:
            break
        if type(child) is type(module.get_submodule(path)):
            before.append(f"{parent}.{other}" if parent else other)
    return before[-1] if before else None


def _changed(layer: Layer, calls: Sequence[Tensor], steps: int | None, batch: int) -> ValueError:
    time = "" if steps is None else f" over {steps} time steps"
    return ValueError(
        f"layer {layer.path!r} was read as {layer.layout}"
        + (f" on {layer.grid[0]}x{layer.grid[1]}" if layer.grid else "")
        + f" but gave {_shapes(calls)} for {batch} images{time}: the size or the kind of the input changed; "
        "resolve the layer anew for such a batch, or give every batch the same image size"
    )


def _shapes(calls: Sequence[Tensor]) -> str:
    if not calls:
        return "nothing"
    text = str(list(calls[0].shape))
    return text if len(calls) == 1 else f"{len(calls)} times {text}"


def _check_role(role: str) -> None:
    if role not in _ROLES:
        raise ValueError(f"role must be 'student' or 'teacher', got {role!r}")


# --- searching a network ---------------------------------------------------------------------------------------------


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
        known = _known(self.module, _STUDENT_PRESETS)
        missed = ""
        if known is not None:
            prefix, name = known
            for pattern in _STUDENT_PRESETS[name]:
                path = _concrete(self.module, prefix, pattern)
                if path is None or path not in ran:
                    continue
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

    # what ran, and what it made

    def _watch(self) -> dict[str, _Ran]:
        """Run once and note what every module hands on, ordered by when each ran last."""
        paths = list(self.names)
        while True:
            notes = _Notes(self.names, integers=self.role == "student")
            try:
                with torch.no_grad(), record(self.module, paths) as recording:
                    # only shapes and kinds are kept, in order, not the tensors of every layer
                    setattr(recording, "_add", notes.add)  # noqa: B010
                    self.run(self.module, self.example)
            except TypeError as error:
                # a module may return no tensor at all; it is no candidate
                skipped = [path for path in paths if str(error).startswith(f"layer {path!r} returned")]
                if not skipped:
                    raise
                paths.remove(skipped[0])
                self._reset()
                continue
            self._reset()
            break
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
            return _read(layer, self.module, shapes, self.role, self.steps, self.batch, self.image_size, strict=True)
        except _RefusedError as refused:
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
            f"{argument}=Layer('path', layout=..., grid=...) with a path of named_modules(), or use larger images"
        )


class _Notes:
    """Takes the place of a recording: notes what ran, in order, and lets the tensors go."""

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
