"""What every module of a network did in one forward, and which of them can be a layer to look at."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from . import compat
from .guards import firing
from .outputs import read_logits
from .recording import watch

__all__ = ["Ran", "blocks_around", "is_skipped", "reaches_logits", "spiking_kind", "what_ran"]

_ATTENTION_PATH = re.compile(r"(attn|attention)\d*$", re.IGNORECASE)
_ATTENTION = re.compile(r"[Aa]ttention|[Aa]ttn|SSA|MHSA")
_HOLDS_ATTENTION = re.compile(r"block|stage|encoder|former|net", re.IGNORECASE)
_NOISE = re.compile(
    r"dropout|droppath|stochasticdepth|softmax|^identity$|adaptive\w*pool|^layerscale|^gamma$", re.IGNORECASE
)


@dataclass
class Ran:
    """What one module did in a forward.

    Attributes:
        shapes: of its output, one for each call.
        whole: every value of a block's output was a non-negative integer.
        silent: every value was 0.
        source: path of the inner module that made the very tensor that this one returned.
    """

    shapes: list[tuple[int, ...]] = field(default_factory=list)
    whole: bool = True
    silent: bool = True
    source: str | None = None


def what_ran(module: nn.Module, forward: Callable[[], object], *, integers: bool) -> dict[str, Ran]:
    """Note what every module returns during ``forward()``, ordered by when each ran last.

    Args:
        module: the network.
        forward: runs it once.
        integers: also note whether blocks return non-negative whole numbers, as sums of spikes are.

    Raises:
        RuntimeError: no module was seen running.
    """
    modules = dict(module.named_modules())
    notes, lively = _Notes(modules, integers=integers), _Notes(modules, integers=integers)
    with torch.no_grad(), watch(module, notes.add):
        forward()
    silent = [
        path
        for path in notes.silent_blocks()
        if compat.has_neurons(modules[path]) and not isinstance(modules[path], nn.Sequential)
    ]
    if integers and silent:  # it cannot be told what they return, unless their neurons fire
        compat.reset(module)
        with torch.no_grad(), firing(module), watch(module, lively.add):
            forward()
        for path in silent:
            if path in lively.ran:
                notes.ran[path].whole, notes.ran[path].silent = lively.ran[path].whole, lively.ran[path].silent
    if not notes.ran:
        raise RuntimeError(
            f"no layer of {type(module).__name__} was seen running, so none can be chosen: a network that "
            "was compiled before skips the recording. Compile the whole distiller instead, or after it"
        )
    return notes.ran


def spiking_kind(modules: Mapping[str, nn.Module], path: str, seen: Ran) -> str | None:
    """What makes this layer's output spikes, in words; None where it is not spikes.

    Args:
        modules: path -> module, of the whole network.
        path: of the layer.
        seen: what it returned.
    """
    child = modules[path]
    if is_skipped(modules, path):
        return None
    if compat.is_neuron(child):
        return "last spiking neuron with positions"
    if seen.source is not None or next(child.children(), None) is None or not compat.has_neurons(child):
        return None
    return "last block of spikes with positions" if seen.whole and not seen.silent else None


def is_skipped(modules: Mapping[str, nn.Module], path: str) -> bool:
    """Whether a layer is no candidate: attention, whose shapes only look like images, dropout, pooling and the like.

    Args:
        modules: path -> module, of the whole network.
        path: of the layer.
    """
    parts = path.split(".")
    above = [modules[".".join(parts[:depth])] for depth in range(1, len(parts) + 1)] if path else []
    names = [type(child).__name__ for child in above]
    if any(_ATTENTION_PATH.search(part) for part in parts):
        return True
    if any(_ATTENTION.search(name) and not _HOLDS_ATTENTION.search(name) for name in names):
        return True
    return bool(names and _NOISE.search(names[-1])) or (bool(above) and _is_surrogate(above[-1]))


def blocks_around(modules: Mapping[str, nn.Module], path: str) -> set[str]:
    """The blocks that the layer at ``path`` is an inner part of, but no ``Sequential`` or ``ModuleList``.

    Args:
        modules: path -> module, of the whole network.
        path: of the layer.
    """
    parts = path.split(".")
    above = {".".join(parts[:depth]) for depth in range(1, len(parts))}
    return {other for other in above if not isinstance(modules[other], nn.Sequential | nn.ModuleList)}


class _Notes:
    """Notes what ran, in order, and keeps no tensor."""

    def __init__(self, names: dict[str, nn.Module], *, integers: bool) -> None:
        self.ran: dict[str, Ran] = {}
        self._integers = integers
        self._holders = {path for path, child in names.items() if next(child.children(), None) is not None}
        self._makers: dict[int, tuple[weakref.ref[Tensor], int, str]] = {}

    def silent_blocks(self) -> list[str]:
        """Modules with children that made a tensor of zeros."""
        return [p for p, seen in self.ran.items() if p in self._holders and seen.silent and seen.source is None]

    def add(self, path: str, tensor: Tensor) -> None:
        seen = self.ran.pop(path, None) or Ran()
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


def _is_surrogate(child: nn.Module) -> bool:
    return type(child).__module__.startswith("spikingjelly.activation_based.surrogate")


def reaches_logits(calls: Sequence[Tensor], output: Any, *, size: int, steps: int | None) -> bool:
    """Whether a student's logits depend on a layer, as far as gradients tell.

    Args:
        calls: what the layer returned in one forward.
        output: what the network returned in it.
        size: ``N``.
        steps: ``T`` where it is known.

    Returns:
        False only where both have a graph and no gradient comes from the logits to the layer. An output that cannot be
        read counts as one that does: whoever runs the step says what is wrong with it.

    Example:
        >>> import torch
        >>> x = torch.ones(2, 3, requires_grad=True)
        >>> layer, beside = x * 2, x * 3
        >>> [reaches_logits([tensor], layer + 1, size=2, steps=1) for tensor in (layer, beside)]
        [True, False]
    """
    points = [call for call in calls if call.requires_grad]
    try:
        logits = read_logits(output, role="student", size=size, steps=steps).mean
        if not points or not logits.requires_grad:
            return True
        found = torch.autograd.grad(logits.sum(), points, allow_unused=True)
    except (RuntimeError, TypeError, ValueError):
        return True
    return any(gradient is not None for gradient in found)
