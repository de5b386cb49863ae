"""What a network was shown: images, or counts of events, as colours, and as greys that a map is laid on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ....errors.arguments import ArgumentValueError
from ....errors.checks import check_both
from ....errors.shapes import check_shapes
from .panels import Scale, coloured, enlarged
from .style import SIGNED

__all__ = ["show_inputs"]

_LEAST_PIXELS = 96
_LIGHT = 0.5
"""Darkest grey of an input below a map, so that the map's colours stay readable."""


def show_inputs(
    images: Tensor, count: int, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[Tensor, Tensor, Scale | None, str]:
    """Images or event frames as pixels, large enough to be looked at.

    Args:
        images: ``[N, C, H, W]`` with 1 or 3 channels; ``[N, 2, H, W]`` with counts of ON and OFF events; or frames of
            either ``[T, N, C, H, W]``, of which events are summed and pictures averaged over time.
        count: ``N``, as of the maps.
        mean: of each channel that the images were normalised with; they are then shown as they were.
        std: standard deviation of each channel, likewise.

    Returns:
        Colours ``[N, H, W, 3]``, greys to lay maps on ``[N, H, W]``, the scale of events, a note for the heading.

    Raises:
        TypeError: no tensor.
        ValueError: other axes or another number of images, or values that are not finite.

    Example:
        >>> colours, greys, scale, note = show_inputs(torch.rand(2, 1, 32, 32), 2, None, None)
        >>> colours.shape, greys.shape, scale, note
        (torch.Size([2, 96, 96, 3]), torch.Size([2, 96, 96]), None, '')
    """
    check_shapes(images=(images, "N C H W | T N C H W"))
    size, channels = images.shape[-4], images.shape[-3]
    if size != count:
        swapped = images.ndim == 5 and images.shape[0] == count
        hint = "; the frames are batch-first: pass images.transpose(0, 1)" if swapped else ""
        raise ArgumentValueError("images", f"are {size} and the maps of {count}: {tuple(images.shape)}{hint}")
    if channels not in (1, 2, 3):
        text = f"must have 1 or 3 channels, or 2 polarities, got {channels}: {tuple(images.shape)}"
        raise ArgumentValueError("images", text)
    if not images.isfinite().all():
        raise ArgumentValueError("images", "hold NaN or inf, which has no colour")
    images = images.detach().float().cpu()
    height, width = images.shape[-2:]
    finer = -(-_LEAST_PIXELS // min(height, width))
    pixels = (height * finer, width * finer)
    if channels == 2:
        counts = images.sum(0) if images.ndim == 5 else images
        events = enlarged(counts[:, 0] - counts[:, 1], pixels)
        reach = events.abs().max().item() or 1.0
        scale = Scale(SIGNED, -reach, reach, "events a pixel, ON − OFF")
        return coloured(events, scale), 1 - _LIGHT * events.abs() / reach, scale, ""
    still = images.mean(0) if images.ndim == 5 else images
    check_both("mean", mean, "std", std)
    if mean is not None and std is not None:
        for name, given in (("mean", mean), ("std", std)):
            if len(given) not in (1, channels):
                raise ArgumentValueError(name, f"must be of each of {channels} channels, got {len(given)} numbers")
        still = still * torch.tensor(std).view(-1, 1, 1) + torch.tensor(mean).view(-1, 1, 1)
        still = still.clamp(0, 1)
    note = "mean of the frames" if images.ndim == 5 else ""
    if still.min() < 0 or still.max() > 1:
        low, high = still.amin((1, 2, 3), keepdim=True), still.amax((1, 2, 3), keepdim=True)
        still, note = (still - low) / (high - low).clamp_min(torch.finfo(still.dtype).tiny), "by its own range"
    grey = enlarged(still.mean(1), pixels)
    colours = torch.stack([enlarged(channel, pixels) for channel in still.expand(-1, 3, -1, -1).unbind(1)], -1)
    return colours, _LIGHT + (1 - _LIGHT) * grey, None, note
