"""Whether a class map at a layer tells where in the image something is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..functional.maps import grad_cam
from .layer import Layer
from .observing import Run
from .reading import arrange
from .recording import record

__all__ = ["NO_EVIDENCE", "halves_changed", "map_trouble", "out_of_place", "own_half"]

_HALVED_IMAGES = 2
_IN_PLACE = 0.75
"""Share of positions that must answer to their own half of the image: 0.5 is chance, networks with a map give 0.94 and
more even untrained, and hidden states that merely count a square gave at most 0.67."""
NO_EVIDENCE = "its class map has no positive evidence anywhere"


def map_trouble(features: Tensor, gradients: Tensor) -> str | None:
    """Why a Grad-CAM does not serve, or None if it does for at least one image.

    Args:
        features: the recorded layer, shape ``[N, C, h, w]``.
        gradients: of each image's class score with respect to ``features``, same shape.

    Example:
        >>> ramp = torch.arange(4.0).view(1, 1, 2, 2)
        >>> map_trouble(ramp, torch.ones(1, 1, 2, 2)) is None
        True
        >>> map_trouble(ramp, -torch.ones(1, 1, 2, 2))
        'its class map has no positive evidence anywhere'
    """
    if not (torch.isfinite(features).all() and torch.isfinite(gradients).all()):
        return "its values or gradients are not finite"
    if not gradients.any():
        return "the class score sends no gradient to its positions"
    maps = grad_cam(features, gradients)
    evidence = maps - grad_cam(features, -gradients)  # for the class less against it: the sum before the ReLU
    terms = gradients.mean(dim=(2, 3), keepdim=True) * features
    rounding = 1e-5 * terms.abs().sum(dim=1).amax(dim=(1, 2))
    if not (_range(evidence) > rounding).any():
        return "its class map is the same at every position"
    return None if (_range(maps) > rounding).any() else NO_EVIDENCE


def out_of_place(module: nn.Module, layers: Sequence[Layer], images: Tensor, run: Run) -> set[str]:
    """Find token layers in which a change in one half of the image does not show most in that half of the map.

    A number of tokens can be a square by chance (queries, hidden states), and tokens can be in another order than
    row by row. Layers with axes for height and width are not tested.

    Args:
        module: a teacher.
        layers: layers of it with layout, grid and prefix, as :func:`~.layouts.read_layout` returns them.
        images: shape ``[N, C, H, W]``; two of them are used.
        run: how to run the network.

    Returns:
        The paths of those layers.
    """
    layers = [layer for layer in layers if not (layer.layout or "").endswith("HW")]
    images = halves_changed(images)
    with torch.no_grad(), record(module, [layer.path for layer in layers]) as recording:
        run(module, images)
    wrong = set()
    for layer in layers:
        change = _changes(arrange(recording.calls(layer.path), layer, role="teacher", steps=None, batch=len(images)))
        share = (change / change.sum(dim=0).clamp_min(1e-12)).mean(dim=1)
        if min(_in_place(share[0], share[1]), _in_place(share[2].T, share[3].T)) < _IN_PLACE:
            wrong.add(layer.path)
    return wrong


def halves_changed(images: Tensor, axis: int = 0) -> Tensor:
    """A few images, and the same four times with noise in the upper, lower, left and right half.

    Args:
        images: of any shape that ends in height and width.
        axis: of the images, of which the first two are used.

    Returns:
        ``5 N`` images along that axis, ``N`` of at most 2.

    Example:
        >>> halves_changed(torch.zeros(9, 3, 4, 4)).shape
        torch.Size([10, 3, 4, 4])
    """
    images = images.narrow(axis, 0, min(_HALVED_IMAGES, images.shape[axis]))
    height, width = images.shape[-2:]
    noise = images.mean() + torch.randn_like(images) * images.std().clamp_min(0.1)
    halves = torch.zeros(4, height, width, dtype=torch.bool, device=images.device)
    halves[0, : height // 2] = halves[1, -(height // 2) :] = True
    halves[2, :, : width // 2] = halves[3, :, -(width // 2) :] = True
    return torch.cat([images, *(torch.where(half, noise, images) for half in halves)], axis)


def own_half(features: Tensor) -> float:
    """How much of the change that a half of the image makes in a layer is in that half of its map, at the least.

    Args:
        features: of the images of :func:`halves_changed`, ``[5 N, C, h, w]``.

    Returns:
        A share; 1 where nothing changed.

    Example:
        >>> images = halves_changed(torch.rand(2, 3, 4, 4))
        >>> own_half(images), own_half(images.mT) < 0.7
        (1.0, True)
    """
    upper, lower, left, right = _changes(features).sum(1)
    shares = [_in_first(change) for change in (upper, lower.flip(0), left.T, right.T.flip(0))]
    return min(shares)


def _changes(features: Tensor) -> Tensor:
    """``[5 N, C, h, w] -> [4, N, h, w]``: what each changed half changed, over the channels."""
    size, height, width = len(features) // 5, *features.shape[-2:]
    each = features.double().reshape(5, size, -1, height, width)
    return (each[1:] - each[0]).abs().sum(dim=2)


def _in_first(change: Tensor) -> float:
    """Share of the change in the first half of the rows; the middle one of an odd number is left out."""
    size = change.shape[0] // 2
    own, other = float(change[:size].sum()), float(change[change.shape[0] - size :].sum())
    return own / (own + other) if own + other else 1.0


def _range(maps: Tensor) -> Tensor:
    """``[N, h, w] -> [N]``."""
    return maps.amax(dim=(1, 2)) - maps.amin(dim=(1, 2))


def _in_place(first: Tensor, second: Tensor) -> float:
    """Share of rows' positions that lean to their own half; ``first`` and ``second`` are ``[h, w]``."""
    size = first.shape[0] // 2
    if size == 0:
        return 1.0
    lean = first - second
    lean = lean - lean.mean()
    return float(torch.cat([lean[:size] > 0, lean[-size:] < 0]).double().mean())
