"""A layer to record, by its path, and how its tensors are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from torch import nn

from ..errors.near import hint

__all__ = ["LAYOUTS", "Layer", "LayerSpec", "Layout", "as_layer", "path_of"]

Layout = Literal["NCHW", "NHWC", "NCL", "NLC", "TNCHW", "TNHWC", "TNCL", "TNLC"]
"""What the axes of one recorded tensor can mean. A student's layout that begins with ``N`` is either one of T calls
or time and batch flattened into the first axis; which of them, the number of calls tells."""

LAYOUTS: tuple[Layout, ...] = get_args(Layout)

_SAVED = ("path", "layout", "grid", "prefix", "reason")


@dataclass(frozen=True)
class Layer:
    """A layer to record, and how its tensors are read.

    Attributes:
        path: as in ``network.named_modules()``.
        layout: one of :data:`LAYOUTS`; None reads it off the shape at the first forward.
        grid: ``(h, w)`` of the token layouts; None finds it.
        prefix: leading tokens that are no position (class and register tokens); 0 finds them.
        reason: why this layer, in a few words; shown by ``preflight``.
        passed_over: the layers behind this one that a search refused: for each reason the last such layer, its shape
            and how many more there are. Equality, hash and :meth:`to_json` leave it out.

    Raises:
        TypeError: ``path`` is not a string.
        ValueError: another field does not have one of the values above.

    Example:
        >>> Layer("blocks.11.norm1", layout="NLC", grid=(14, 14), prefix=1).layout
        'NLC'
    """

    path: str
    layout: Layout | None = None
    grid: tuple[int, int] | None = None
    prefix: int = 0
    reason: str = "given"
    passed_over: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.path, str):
            raise TypeError(
                f"path must be a string as in named_modules(), got {type(self.path).__name__}; pass the module's name"
            )
        if self.layout is not None and self.layout not in LAYOUTS:
            raise ValueError(
                f"layout of layer {self.path!r} must be one of {LAYOUTS} or None, got {self.layout!r}"
                f"{hint(str(self.layout), LAYOUTS)}"
            )
        if self.grid is not None:
            grid = self.grid
            if not (isinstance(grid, tuple) and len(grid) == 2 and all(isinstance(n, int) and n > 0 for n in grid)):
                raise ValueError(
                    f"grid of layer {self.path!r} must be two positive integers (h, w) or None, got {grid!r}"
                )
        if not isinstance(self.prefix, int) or self.prefix < 0:
            raise ValueError(f"prefix of layer {self.path!r} must be an integer of at least 0, got {self.prefix!r}")

    def to_json(self) -> dict[str, Any]:
        """The layer as a dict that JSON and ``torch.load(weights_only=True)`` can hold.

        Returns:
            ``path``, ``layout``, ``grid`` (a list), ``prefix`` and ``reason``.

        Example:
            >>> Layer("norm", layout="NLC", grid=(2, 2)).to_json()
            {'path': 'norm', 'layout': 'NLC', 'grid': [2, 2], 'prefix': 0, 'reason': 'given'}
        """
        saved = {name: getattr(self, name) for name in _SAVED}
        return saved | {"grid": None if self.grid is None else list(self.grid)}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Layer:
        """The layer that :meth:`to_json` has written; what is missing has its default.

        Args:
            saved: plain data.

        Raises:
            TypeError: ``saved`` is no mapping, or its path no string.
            ValueError: ``saved`` has no path, holds other names, or a value that a layer cannot have.

        Example:
            >>> Layer.from_json({"path": "norm", "layout": "NLC", "grid": [2, 2]}).grid
            (2, 2)
        """
        if not isinstance(saved, Mapping):
            raise TypeError(f"a saved layer must be a mapping as Layer.to_json() returns, got {type(saved).__name__}")
        if "path" not in saved or saved.keys() - set(_SAVED):
            raise ValueError(f"a saved layer must hold 'path' and may hold {list(_SAVED[1:])}, got {sorted(saved)}")
        grid = saved.get("grid")
        return cls(**{**saved, "grid": tuple(grid) if isinstance(grid, list) else grid})


LayerSpec = str | Layer | nn.Module
"""How a layer is named: its path, a :class:`Layer` that also says how to read it, or the module itself."""


def as_layer(network: nn.Module, spec: LayerSpec, *, name: str = "layer") -> Layer:
    """What a user has given for a layer, as a :class:`Layer`.

    Args:
        network: where a module given as ``spec`` is looked up. A path is taken as it is.
        spec: a path, a :class:`Layer` or a module of ``network``.
        name: of the argument, for the message.

    Raises:
        TypeError: ``spec`` is none of the three.
        ValueError: a module that :func:`path_of` does not find.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> as_layer(net, net[1]).path
        '1'
    """
    if isinstance(spec, Layer):
        return spec
    if isinstance(spec, nn.Module):
        return Layer(path_of(network, spec))
    if isinstance(spec, str):
        return Layer(spec)
    raise TypeError(f"{name} must be a path, a Layer or a module of the network, got {type(spec).__name__} {spec!r}")


def path_of(network: nn.Module, module: nn.Module) -> str:
    """The path of ``module`` inside ``network``, as in ``network.named_modules()``; empty for the network itself.

    Args:
        network: the whole.
        module: a part of it, as an object.

    Raises:
        TypeError: ``module`` is no module.
        ValueError: it is not part of ``network``, or has several paths there.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> path_of(net, net[1])
        '1'
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
    paths: list[str] = [path for path, child in network.named_modules(remove_duplicate=False) if child is module]
    if not paths:
        raise ValueError(
            f"the {type(module).__name__} that was given as a layer is not a module of this {type(network).__name__}: "
            "pass a module of this very network (a copy has modules of its own), or a path of named_modules()"
        )
    if len(paths) > 1:
        raise ValueError(
            f"the {type(module).__name__} that was given as a layer has several paths in this "
            f"{type(network).__name__}, {paths}: pass one of them"
        )
    return paths[0]
