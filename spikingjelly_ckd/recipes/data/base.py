"""The one form of every data set, :class:`Data`, and how parts, transforms and hash are put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .augment import event_transform, image_transform
from .options import DataOptions
from .splits import Sample, split_hash, stratified_subset

__all__ = ["Data", "Normalisation", "Part", "Samples", "assemble", "part_of"]

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Data:
    """A training and a test set, and what a record says about them.

    Attributes:
        name: ``"cifar10"``, ``"cifar100"``, ``"imagenet"``, ``"cifar10dvs"``; ``"folder"`` or ``"event-folder"`` for
            an own tree.
        train: augmented; gives float32 ``[C, size, size]``, normalised, or event frames ``[T, 2, size, size]``, and
            the class as an integer.
        test: the same without augmentation.
        classes: their names; a label is an index into them.
        in_channels: ``C``: 3, or 2 for events.
        size: height and width, pixels.
        mean: of the normalisation, by channel, for images from 0 to 1; None for events, which stay counts.
        std: likewise.
        is_event: whether samples have a time axis.
        split: ``"official"``; ``"folders"`` for an own tree; ``"cifar10dvs-<name>"``. With ``"[train+test]"`` numbers
            of samples where only some are used.
        split_hash: sha256 of what is in which part, :func:`spikingjelly_ckd.recipes.data.splits.split_hash`.
        complete: False if the files are not the official ones (``allow_partial``): no number from them belongs in a
            table beside official ones.
    """

    name: str
    train: Dataset[tuple[Tensor, int]]
    test: Dataset[tuple[Tensor, int]]
    classes: tuple[str, ...]
    in_channels: int
    size: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    is_event: bool
    split: str
    split_hash: str
    complete: bool

    @property
    def num_classes(self) -> int:
        """``K``, how many classes there are."""
        return len(self.classes)


class Part(NamedTuple):
    """Some samples of a data set: ``rows`` of ``source``, and their names and labels."""

    source: Any
    rows: Tensor
    samples: list[Sample]


class Samples(Dataset[tuple[Tensor, int]]):
    """``rows`` of a data set of images or arrays, each through ``transform``."""

    def __init__(self, source: Any, rows: Tensor, transform: Callable[[Any], Tensor]) -> None:
        self.source = source
        self.rows = rows
        self.transform = transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        sample, label = self.source[int(self.rows[index])]
        if isinstance(sample, np.ndarray):
            sample = torch.from_numpy(sample)
        return self.transform(sample), int(label)


def part_of(source: Any, samples: list[Sample], rows: Sequence[int] | Tensor | None = None) -> Part:
    """``rows`` of ``source`` whose names and labels are ``samples``; all of them by default."""
    rows = torch.arange(len(samples)) if rows is None else torch.as_tensor(rows)
    return Part(source, rows, [samples[row] for row in rows.tolist()])


def assemble(
    name: str,
    parts: Sequence[Part],
    options: DataOptions,
    *,
    classes: Sequence[str],
    split_name: str,
    complete: bool,
    normalisation: Normalisation | None = None,
    centre_crop: bool = False,
) -> Data:
    """Subsets, transforms and hash; ``normalisation`` None is for events."""
    counts = {"train_images": options.train_images, "test_images": options.test_images}
    parts = [_subset(part, count, key, len(classes)) for part, (key, count) in zip(parts, counts.items(), strict=True)]
    if any(count is not None for count in counts.values()):
        split_name += f"[{'+'.join(str(len(part.rows)) for part in parts)}]"
    used = []
    for part, train in zip(parts, (True, False), strict=True):
        if normalisation is None:
            transform = event_transform(options, train=train)
        else:
            mean, std = normalisation
            transform = image_transform(options, train=train, mean=mean, std=std, centre_crop=centre_crop)
        used.append(Samples(part.source, part.rows, transform))
    mean_std = normalisation or (None, None)
    return Data(
        name=name,
        train=used[0],
        test=used[1],
        classes=tuple(classes),
        in_channels=2 if normalisation is None else 3,
        size=options.size,
        mean=mean_std[0],
        std=mean_std[1],
        is_event=normalisation is None,
        split=split_name,
        split_hash=split_hash({"train": parts[0].samples, "test": parts[1].samples}),
        complete=complete,
    )


def _subset(part: Part, count: int | None, name: str, num_classes: int) -> Part:
    if count is None:
        return part
    labels = torch.tensor([label for _, label in part.samples])
    chosen = stratified_subset(labels, count, num_classes, name=name)
    return Part(part.source, part.rows[chosen], [part.samples[row] for row in chosen.tolist()])
