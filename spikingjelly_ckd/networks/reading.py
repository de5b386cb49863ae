"""How to read the tensors that a layer hands on: which axis is what, and where the positions are.

Shapes: ``T`` time steps, ``N`` images, ``C`` channels, ``h w`` positions, ``L`` tokens (``h * w``, row by row, and
any class or register tokens in front of them).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .class_token import has_one_token
from .recording import get_layer

__all__ = ["LAYOUTS", "Layer", "RefusedError", "arrange", "check_role", "read_layout", "resolve"]

LAYOUTS = ("NCHW", "NHWC", "NCL", "NLC", "TNCHW", "TNHWC", "TNCL", "TNLC")
"""What the axes of one recorded tensor can mean. A student's layout that begins with ``N`` is either one of T calls
or time and batch flattened into the first axis; which of them, the number of calls tells."""

_ROLES = ("student", "teacher")
_MOST_PREFIX_TOKENS = 16
_USUAL_PREFIXES = (0, 1, 2, 5)
"""No token, a class token, one for distillation beside it, four registers behind it."""


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
    check_role(role)
    if isinstance(layer, str):
        layer = Layer(layer)
    if not isinstance(layer, Layer):
        raise TypeError(f"{role}_layer must be a path or a Layer, got {type(layer).__name__}; pass Layer('path')")
    get_layer(module, layer.path)
    if not calls:
        raise ValueError(f"calls of layer {layer.path!r} must hold the tensors of one forward, got none")
    try:
        return read_layout(layer, module, [tuple(call.shape) for call in calls], role, steps, batch, image_size)
    except RefusedError as refused:
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


class RefusedError(Exception):
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


def read_layout(
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
        RefusedError: it cannot be.
    """
    readings = [
        reading
        for lead, rest in _leads(shapes, role, steps, batch)
        if layer.layout is None or layer.layout.startswith("T") == (lead == "TN")
        for reading in _spatial(lead, rest, layer, module, image_size)
        if not (strict and reading.loose)
    ]
    if not readings:
        raise RefusedError(_why_unreadable(shapes, layer, role, steps, batch))
    exact = [reading for reading in readings if reading.grid[0] * image_size[1] == reading.grid[1] * image_size[0]]
    chosen = _choose(exact or readings, layer, module, role)
    if chosen.grid == (1, 1):
        raise RefusedError(
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
            raise RefusedError(
                f"it ran {count} times in one forward, so it is shared between places of the network", "shared"
            )
        return [("N", shape[1:])] if len(shape) > 2 and shape[0] == batch else []
    if count > 1:
        if steps is not None and count != steps:
            raise RefusedError(
                f"it ran {count} times in one forward of {steps} time steps, so it is shared between places of the "
                "network or called more than once per step",
                "shared",
            )
        if any(other != shape for other in shapes):
            raise RefusedError("its calls have unlike shapes", "shared")
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
        RefusedError: more than one is left.
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
        raise RefusedError("its shape can be read as " + " or as ".join(str(reading) for reading in left), "ambiguous")
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


def _advice(refused: RefusedError, layer: Layer, module: nn.Module, role: str) -> str:
    name = f"{role}_layer"
    layouts = LAYOUTS if role == "student" else LAYOUTS[:4]
    explicit = (
        f"Pass {name}=Layer({layer.path!r}, layout=<one of {', '.join(layouts)}>), for token layouts with "
        "grid=(h, w) and prefix=<leading tokens that are no position>"
    )
    if refused.kind == "one position" and any(has_one_token(child) for child in module.modules()):
        return (
            "The last block of this network was prepared to compute its class token alone: pass "
            f"{name}=prepared.layer, or prepare it with layers= what is to be recorded, or with class_token=False"
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


def check_role(role: str) -> None:
    """Raise unless ``role`` is ``"student"`` or ``"teacher"``."""
    if role not in _ROLES:
        raise ValueError(f"role must be 'student' or 'teacher', got {role!r}")
