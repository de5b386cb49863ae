"""What the axes of a layer's tensors mean, decided from their shapes and from what the network declares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from torch import nn

from .layer import Layer, Layout
from .outputs import Role

__all__ = ["RefusedError", "read_layout"]

_MOST_PREFIX_TOKENS = 16
_USUAL_PREFIXES = (0, 1, 2, 5)
"""No token, a class token, one for distillation beside it, four registers behind it."""


RefusedKind = Literal["shape", "shared", "ambiguous", "one position"]


class RefusedError(Exception):
    """A layer whose tensors cannot be read as maps, and why; ``kind`` tells which advice helps."""

    def __init__(self, why: str, kind: RefusedKind = "shape") -> None:
        super().__init__(why)
        self.kind = kind


@dataclass(frozen=True)
class _Reading:
    """One way to read a tensor; ``loose`` where it fits the number of axes and not the image's proportions."""

    layout: Layout
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
    role: Role,
    steps: int | None,
    batch: int,
    image_size: tuple[int, int],
    *,
    strict: bool = False,
) -> Layer:
    """Decide layout, grid and prefix of a layer from the shapes that it returned.

    Args:
        layer: what is set in it holds.
        module: the network, for the channels and grids that it declares.
        shapes: one for each time that the layer ran in the forward.
        role: ``"student"`` or ``"teacher"``.
        steps: time steps of a student; None where they are not known.
        batch: images in the batch.
        image_size: ``(H, W)`` of the network's input.
        strict: refuse maps that are not in the image's proportions.

    Returns:
        The layer with everything decided.

    Raises:
        RefusedError: the shapes cannot be read, can be read in more than one way, or leave one position.
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
            "its map is 1x1 (one position only): the softmax over positions is constant, so the map loss is always 0",
            "one position",
        )
    grid = chosen.grid if "L" in chosen.layout else layer.grid
    return replace(layer, layout=chosen.layout, grid=grid, prefix=chosen.prefix)


def _leads(
    shapes: Sequence[tuple[int, ...]], role: Role, steps: int | None, batch: int
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
        layout = cast(Layout, lead + tail)
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
    """Whether one stride for both axes, with some rounding, leads from the image to the grid."""
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


def _choose(readings: list[_Reading], layer: Layer, module: nn.Module, role: Role) -> _Reading:
    """The reading that fits what the network declares.

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
    """Channels that modules with channels first and last declare: inside the layer, then in each module around it."""
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


def _why_unreadable(shapes: Sequence[tuple[int, ...]], layer: Layer, role: Role, steps: int | None, batch: int) -> str:
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
    if len(shapes) == 1 and len(shape) > 3 and shape[:2] == (batch, steps) and steps not in (1, batch):
        return f"it is batch-first, [{batch}, {time}, ...], and time has to come first: transpose it in the network"
    if len(shapes) == 1 and shape[:1] == (batch,) and steps not in (None, 1) and shape[:2] != (steps, batch):
        return f"it ran once for all {time} time steps, before time begins in this network"
    if len(shape) < 3 or (len(shape) == 3 and shape[1] == batch):
        return "it has no positions left"
    if len(shapes) == 1 and shape[1:2] != (batch,) and shape[0] % batch:
        return f"its leading axes are not time and batch [{time}, {batch}, ...]"
    return "it has no axes that form a map of the image"
