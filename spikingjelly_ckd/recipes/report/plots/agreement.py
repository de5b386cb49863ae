"""How far two networks look at the same places: one map compared with another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ....functional.logits import correlation
from ....functional.maps import at_least_float32, is_constant, match_maps, normalize_map

__all__ = ["Agreement", "map_agreement", "own_range"]


@dataclass(frozen=True)
class Agreement:
    """How far a student's map is like its teacher's, image by image; NaN where one of the two is constant.

    Attributes:
        correlation: Pearson's correlation over the positions, ``[N]``, in [-1, 1]. The softened maps that SAMD compares
            are nearly a line of the maps themselves, so theirs is nearly the same.
        pointing: share of the positions at which the student's map is largest (one, but for ties) where the teacher's
            map has at least half of its range, ``[N]``, in [0, 1]. Ours, after the pointing game, which asks whether
            the largest value lies on the object.

    Example:
        >>> student, teacher = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]]), torch.tensor([[[3.0, 2.0], [1.0, 0.0]]])
        >>> found = map_agreement(student, teacher)
        >>> [round(value, 4) for value in found.correlation.tolist()], found.pointing.tolist()
        ([-1.0], [0.0])
    """

    correlation: Tensor
    pointing: Tensor


def map_agreement(student: Tensor, teacher: Tensor) -> Agreement:
    """Compare the maps of two networks for the same images.

    Args:
        student: ``[N, h, w]``.
        teacher: ``[N, h', w']``; the larger map is averaged down to the smaller one's size.

    Returns:
        :class:`Agreement`.

    Raises:
        ValueError: not two maps of as many images, or a single position.

    Example:
        >>> ramp = torch.arange(4.0).view(1, 2, 2)
        >>> found = map_agreement(ramp, 3 * ramp + 1)
        >>> round(found.correlation.item(), 4), found.pointing.item()
        (1.0, 1.0)
        >>> map_agreement(torch.ones(1, 2, 2), ramp).correlation
        tensor([nan])
    """
    student, teacher = match_maps(as_numbers(student.detach()), as_numbers(teacher.detach()))
    undefined = is_constant(student) | is_constant(teacher)
    ours, theirs = (own_range(maps).flatten(1) for maps in (student, teacher))
    peaks = ours == ours.amax(1, keepdim=True)
    share = (peaks & (theirs >= 0.5)).sum(1) / peaks.sum(1)
    return Agreement(*(value.masked_fill(undefined, torch.nan) for value in (correlation(ours, theirs, dim=1), share)))


def own_range(maps: Tensor) -> Tensor:
    """Each map of ``[N, h, w]`` from 0 to 1 of its own range; zeros where it is constant.

    Args:
        maps: of any network.

    Example:
        >>> own_range(torch.tensor([[[3.0, 5.0]], [[2.0, 2.0]]])).tolist()
        [[[0.0, 1.0]], [[0.0, 0.0]]]
    """
    maps = at_least_float32(as_numbers(maps))
    return normalize_map(maps, "sample", eps=torch.finfo(maps.dtype).tiny)


def as_numbers(maps: Tensor) -> Tensor:
    """Counts and masks as floating point, which has a range to be scaled to."""
    return maps if maps.is_floating_point() else maps.float()
