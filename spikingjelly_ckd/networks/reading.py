"""How to read the tensors that a layer returns: which axis is what, and where the positions are.

Shapes: ``T`` time steps, ``N`` images, ``C`` channels, ``h w`` positions, ``L`` tokens (``h * w``, row by row, and
any class or register tokens in front of them).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors.checks import check_choice
from .class_token import has_one_token
from .layer import LAYOUTS, Layer, LayerSpec, as_layer
from .layouts import RefusedError, read_layout
from .outputs import ROLES, Role
from .recording import get_layer

__all__ = ["arrange", "resolve"]


def resolve(
    layer: LayerSpec,
    module: nn.Module,
    calls: Sequence[Tensor],
    *,
    role: Role,
    steps: int | None,
    batch: int,
    image_size: tuple[int, int],
) -> Layer:
    """Decide how to read a layer, from the tensors that it returned in one forward.

    What the user set always holds, and is checked. What is left open is decided by the shape, by the image's aspect
    ratio, by the channels that the modules around the layer declare and by a ``grid_size`` that the network states;
    it is never guessed.

    Args:
        layer: a :class:`Layer`, or just the path or the module.
        module: the network.
        calls: one tensor for each time that the layer ran in the forward.
        role: ``"student"`` or ``"teacher"``.
        steps: time steps of a student; None when the network repeats the images by itself.
        batch: images in the batch.
        image_size: ``(H, W)`` of the network's input.

    Returns:
        The layer with ``layout``, ``grid`` (of token layouts) and ``prefix`` set.

    Raises:
        TypeError: ``layer`` is no path, no :class:`Layer` and no module.
        ValueError: no such path, module or role; the tensors cannot be read, or can be read in more than one way (the
            message says what to pass); or the map has one position only, where a softmax is constant.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3))
        >>> found = resolve("0", net, [torch.zeros(2, 8, 6, 6)], role="teacher", steps=None, batch=2, image_size=(8, 8))
        >>> found.layout
        'NCHW'
    """
    check_choice("role", role, ROLES)
    layer = as_layer(module, layer, name=f"{role}_layer")
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


def arrange(calls: Sequence[Tensor], layer: Layer, *, role: Role, steps: int | None, batch: int) -> Tensor:
    """Bring what a layer returned to the axes that the losses expect.

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


def _advice(refused: RefusedError, layer: Layer, module: nn.Module, role: Role) -> str:
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
