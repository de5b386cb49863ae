"""Handwritten digits seen by a simulated event camera: event data without a download.

The images are the 1797 handwritten digits of 8x8 pixels that come with scikit-learn (test part of the UCI set of
Alpaydin and Kaynak, 1998); the sensor is :class:`EventCamera`.

This is a small synthetic task for trying things out in minutes. It is no benchmark, and accuracies on it cannot be
compared with published ones.

Shapes: ``T`` frames, ``N`` recordings, ``2`` polarities (ON, OFF), ``H W`` pixels.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors.arguments import ArgumentValueError
from ...errors.checks import check_choice, check_count
from .augment import event_transform
from .base import Data, TransformedSubset
from .event_camera import EventCamera, random_paths
from .options import DataOptions

__all__ = ["DigitEvents", "EventCamera", "digit_events", "digits", "random_paths", "stratified_split"]

SPLIT_SEED = 2026
SPLIT_SHARES = (("train", 0.4), ("val", 0.2), ("test", 0.4))
DIGIT_LEVELS = 16.0
DARK = 0.1
"""Reflectance of the paper around a digit, where ink has 1: a natural contrast, and above 0 for the logarithm."""


@dataclass(frozen=True)
class DigitEvents:
    """Recordings of the 1797 digits, and a fixed split of them.

    Attributes:
        frames: event counts, float32, ``[T, N, 2, H, W]``.
        labels: digit, int64, ``[N]``.
        images: the sharp images, 0 (paper) to 1 (ink), ``[N, 8, 8]``.
        split: name of a part -> indices of its recordings, ascending.
        split_name: name of the split, for the record of a run.
        split_hash: sha256 of its indices.

    Example:
        >>> events = digit_events(2, camera=EventCamera(size=16))
        >>> frames, labels = events.part("val")
        >>> tuple(frames.shape), labels.bincount().tolist()
        ((2, 359, 2, 16, 16), [36, 36, 35, 37, 37, 36, 37, 35, 34, 36])
    """

    frames: Tensor
    labels: Tensor
    images: Tensor
    split: dict[str, Tensor]
    split_name: str
    split_hash: str

    def part(self, name: Literal["train", "val", "test"]) -> tuple[Tensor, Tensor]:
        """One part: frames ``[T, n, 2, H, W]`` and labels ``[n]``.

        Args:
            name: ``"train"``, ``"val"`` or ``"test"``.

        Raises:
            ValueError: there is no such part.
        """
        indices = self.split[check_choice("part", name, self.split)]
        return self.frames[:, indices], self.labels[indices]


def stratified_split(labels: Tensor, shares: dict[str, float], seed: int) -> dict[str, Tensor]:
    """Split within every class, so that each part has every class in the same proportion.

    Args:
        labels: class indices ``[N]``.
        shares: name of a part -> its share of the images; the last part takes what rounding leaves.
        seed: of the split.

    Returns:
        Name of a part -> its indices, ascending; the parts are disjoint and together hold all ``N``.

    Raises:
        ValueError: ``labels`` is not one-dimensional, or the shares are not above 0 with sum 1.

    Example:
        >>> import torch
        >>> parts = stratified_split(torch.tensor([0, 0, 1, 1]), {"train": 0.5, "test": 0.5}, seed=0)
        >>> [sorted((torch.tensor([0, 0, 1, 1])[rows]).tolist()) for rows in parts.values()]
        [[0, 1], [0, 1]]
    """
    if labels.ndim != 1:
        raise ValueError(f"labels must have shape [N], got {tuple(labels.shape)}")
    if not shares or min(shares.values()) <= 0 or not math.isclose(sum(shares.values()), 1.0):
        raise ValueError(f"shares must be above 0 and sum to 1, got {shares}")
    generator = torch.Generator().manual_seed(seed)
    parts: dict[str, list[Tensor]] = {name: [] for name in shares}
    for label in sorted(set(labels.tolist())):
        rows = torch.nonzero(labels == label).flatten()
        rows = rows[torch.randperm(len(rows), generator=generator)]
        edges = torch.tensor([0.0, *shares.values()]).cumsum(0).mul(len(rows)).round().long().tolist()
        edges[-1] = len(rows)
        for name, start, end in zip(shares, edges, edges[1:], strict=False):
            parts[name].append(rows[start:end])
    return {name: torch.cat(rows).sort().values for name, rows in parts.items()}


def digit_events(
    time_steps: int = 8,
    *,
    camera: EventCamera | None = None,
    reach: float = 5.0,
    turns: float = 1.0,
    looks: int = 4,
    margin: int = 2,
    seed: int = 0,
) -> DigitEvents:
    """One recording of each digit by one sensor. Needs scikit-learn.

    Args:
        time_steps: ``T``.
        camera: the sensor; None is one of 32x32 pixels with its defaults.
        reach: of the motion, pixels; see :func:`random_paths`.
        turns: of the motion; see :func:`random_paths`.
        looks: how often per frame the sensor compares intensities; more is finer and slower.
        margin: width of the paper around a digit, in pixels of its 8x8 image.
        seed: of motion, mismatch and noise; the split does not depend on it.

    Returns:
        :class:`DigitEvents`; the same arguments give the same recordings.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
        TypeError: a count that is no integer.
        ValueError: a value out of range.

    Example:
        >>> data = digit_events(2, camera=EventCamera(size=16))
        >>> tuple(data.frames.shape), {name: len(rows) for name, rows in data.split.items()}
        ((2, 1797, 2, 16, 16), {'train': 719, 'val': 359, 'test': 719})
    """
    check_count("time_steps", time_steps)
    check_count("looks", looks)
    check_count("margin", margin, least=0)
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images).float() / DIGIT_LEVELS
    labels = torch.from_numpy(digits.target).long()
    generator = torch.Generator().manual_seed(seed)
    paths = random_paths(len(images), time_steps * looks, generator, reach=reach, turns=turns)
    scene = DARK + (1 - DARK) * F.pad(images, (margin,) * 4)
    frames = (camera or EventCamera()).record(scene, paths, time_steps, generator)
    split = stratified_split(labels, dict(SPLIT_SHARES), SPLIT_SEED)
    shares = "-".join(f"{100 * share:.0f}" for _, share in SPLIT_SHARES)
    name = f"digits-{shares}-seed{SPLIT_SEED}"
    text = json.dumps({part: rows.tolist() for part, rows in split.items()}, sort_keys=True, separators=(",", ":"))
    return DigitEvents(frames, labels, images, split, name, hashlib.sha256(text.encode()).hexdigest())


def digits(root: Path | str, options: DataOptions) -> Data:
    """The digits as a data set for a comparison, with a validation part of their own.

    Args:
        root: not looked at: the images come with scikit-learn.
        options: ``size`` of the sensor, ``time_steps`` (4 where None), ``roll``, ``flip``, ``nda``.

    Returns:
        :class:`Data`.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
        ValueError: a number of images was chosen, or an option that is for images.

    Example:
        >>> data = digits("", DataOptions(size=16, time_steps=2))
        >>> data.split, len(data.train), len(data.validation), len(data.test)
        ('digits-40-20-40-seed2026', 719, 359, 719)
    """
    for name in ("train_images", "test_images", "val_images", "split"):
        if getattr(options, name) is not None:
            raise ArgumentValueError(name, "is not for the digits, whose three parts are fixed; leave it out")
    camera = EventCamera(size=options.size)
    events = digit_events(options.time_steps or 4, camera=camera, reach=2.5, margin=1, seed=0)
    source = list(zip(events.frames.transpose(0, 1), events.labels.tolist(), strict=True))
    parts = {
        name: TransformedSubset(source, rows, event_transform(options, train=name == "train"))
        for name, rows in events.split.items()
    }
    return Data(
        name="digits",
        train=parts["train"],
        validation=parts["val"],
        test=parts["test"],
        classes=tuple(map(str, range(10))),
        in_channels=2,
        size=options.size,
        mean=None,
        std=None,
        is_event=True,
        split=events.split_name,
        split_hash=events.split_hash,
        complete=True,
    )
