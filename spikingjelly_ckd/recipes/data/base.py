"""What every reader of data returns, :class:`Data`, and how it is put together from what was found on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...errors.arguments import ArgumentValueError
from .augment import event_transform, image_transform
from .options import DataOptions
from .roots import first_names
from .splits import Sample, hold_out, split_hash, stratified_subset

__all__ = ["Data", "Normalisation", "Part", "TransformedSubset", "drawn_rows", "make_data", "make_part"]

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel, for images from 0 to 1."""
SAMPLES_OF_CONTENT = 16
"""How many at least are looked at to tell data with equal names apart."""


@dataclass(frozen=True)
class Data:
    """A training and a test set, and what the record of a run says about them.

    Attributes:
        name: of the function that read it, such as ``"cifar10"``; ``"folder"`` or ``"event-folder"`` for a folder tree
            of your own; ``"own"``, or as you call it, for datasets of your own.
        train: with augmentation. A sample is ``(input, label)``: a normalised image, float32 ``[C, size, size]``, or
            event frames, float32 ``[T, 2, size, size]``, and the class index.
        test: the same without augmentation.
        classes: names of the classes; a label is an index into them.
        in_channels: ``C``: 3, or 2 for events.
        size: height and width of the input, pixels.
        mean: of the normalisation, by channel, for images from 0 to 1; None for events, which are not normalised, and
            for images of which it is not known.
        std: likewise.
        is_event: whether samples have a time axis.
        split: ``"official"``; ``"folders"`` for a tree of your own; ``"cifar10dvs-<name>"``,
            ``"ncaltech101-hash10"``; ``"own"``, or as you call it. Where only some samples
            are used, their numbers follow as ``"[train+test]"``, and with a validation part as ``"[train+val+test]"``.
        split_hash: sha256 of which sample is in which part, :func:`spikingjelly_ckd.recipes.data.splits.split_hash`.
        complete: False if the files differ from the official ones (``allow_partial``): results on them do not belong
            in a table beside results on the official data.
        validation: the part held out of the training part, as in ``test``; None where there is none.
        centre_crop: whether test images are resized to a shorter side of ``size / 0.875`` and cropped in the middle,
            as photographs are.

    Example:
        >>> from spikingjelly_ckd.recipes.data.digits import digits
        >>> data = digits("", DataOptions(size=16, time_steps=4))
        >>> frames, label = data.train[0]
        >>> tuple(frames.shape), data.num_classes, data.is_event, data.measured_part
        ((4, 2, 16, 16), 10, True, 'val')
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
    validation: Dataset[tuple[Tensor, int]] | None = None
    centre_crop: bool = False

    @property
    def measured(self) -> Dataset[tuple[Tensor, int]]:
        """What is measured before the end, and what choices may be made on: the validation part, or else the test."""
        return self.test if self.validation is None else self.validation

    @property
    def measured_part(self) -> Literal["val", "test"]:
        """Which of the two it is."""
        return "test" if self.validation is None else "val"

    @property
    def num_classes(self) -> int:
        """``K``, the number of classes."""
        return len(self.classes)

    @cached_property
    def content(self) -> str:
        """Eight digits of a sha256 over some samples of the test part, which tell data with equal names apart.

        They are evenly spaced, and taken as a network gets them, so of one size and one number of time steps.
        """
        digest, total = hashlib.sha256(), len(cast(Any, self.test))
        for index in range(0, total, max(1, total // SAMPLES_OF_CONTENT)):
            sample, label = self.test[index]
            digest.update(sample.contiguous().numpy().tobytes() + str(label).encode())
        return digest.hexdigest()[:8]


class Part(NamedTuple):
    """The training or the test part before augmentation: some rows of a dataset, and their names and labels.

    Attributes:
        source: any map-style dataset of images or arrays with labels.
        rows: indices into ``source``, shape ``[N]``.
        samples: name and label of each of these rows.
    """

    source: Any
    rows: Tensor
    samples: list[Sample]


class TransformedSubset(Dataset[tuple[Tensor, int]]):
    """Some rows of a dataset of images or arrays, each passed through ``transform``."""

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


def drawn_rows(total: int, count: int) -> list[int]:
    """Rows of a part on which something is measured that needs no more: drawn once, and the same in every run.

    The samples of a folder tree stand class by class, so the first of them would be of one class. Here the part is cut
    into as many stretches as rows are wanted, and one row is drawn from each.

    Args:
        total: samples of the part.
        count: how many rows, or all of a smaller part.

    Returns:
        Rows, ascending, no row twice.

    Example:
        >>> len(drawn_rows(1000, 3)), drawn_rows(2, 3)
        (3, [0, 1])
    """
    count = min(count, total)
    draws = torch.rand(count, generator=torch.Generator().manual_seed(0)).tolist()
    ends = [place * total // count for place in range(count + 1)] if count else []
    return [low + int(draw * (high - low)) for draw, (low, high) in zip(draws, pairwise(ends), strict=True)]


def make_part(source: Any, samples: list[Sample], rows: Sequence[int] | Tensor | None = None) -> Part:
    """The part of a dataset that consists of ``rows``.

    Args:
        source: any map-style dataset.
        samples: name and label of every sample of ``source``, in its order.
        rows: indices into ``source``; None for all.

    Returns:
        :class:`Part`.
    """
    rows = torch.arange(len(samples)) if rows is None else torch.as_tensor(rows)
    return Part(source, rows, [samples[row] for row in rows.tolist()])


def make_data(
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
    """Take the subsets that ``options`` ask for, add the transforms, and compute the hash of the split.

    Args:
        name: see :class:`Data`.
        parts: the training part and the test part.
        options: see :class:`DataOptions`.
        classes: names of the classes.
        split_name: see ``split`` of :class:`Data`, without the numbers of samples.
        complete: see :class:`Data`.
        normalisation: mean and standard deviation for images; None for event frames.
        centre_crop: see :func:`spikingjelly_ckd.recipes.data.augment.image_transform`.

    Returns:
        :class:`Data`.

    Raises:
        ValueError: an option that does nothing to this kind of data, or a subset larger than what is there.
    """
    train, test = parts
    counts = options.train_images, options.test_images
    validation = None
    if options.val_images is not None:
        train, validation = _held_out(train, options.val_images, counts[0], classes)
    train = _subset(train, counts[0], "train_images", len(classes), taken=validation)
    named = {"train": train} | ({} if validation is None else {"val": validation})
    named["test"] = _subset(test, counts[1], "test_images", len(classes))
    if len(named) == 3 or counts != (None, None):
        split_name += f"[{'+'.join(str(len(part.rows)) for part in named.values())}]"
    used = {}
    for part_name, part in named.items():
        train_part = part_name == "train"
        if normalisation is None:
            transform = event_transform(options, train=train_part)
        else:
            mean, std = normalisation
            transform = image_transform(options, train=train_part, mean=mean, std=std, centre_crop=centre_crop)
        used[part_name] = TransformedSubset(part.source, part.rows, transform)
    mean_std = normalisation or (None, None)
    return Data(
        name=name,
        train=used["train"],
        test=used["test"],
        validation=used.get("val"),
        classes=tuple(classes),
        in_channels=2 if normalisation is None else 3,
        size=options.size,
        mean=mean_std[0],
        std=mean_std[1],
        is_event=normalisation is None,
        split=split_name,
        split_hash=split_hash({part_name: part.samples for part_name, part in named.items()}),
        complete=complete,
        centre_crop=normalisation is not None and bool(centre_crop or options.resized_crop),
    )


def _labels(part: Part) -> Tensor:
    return torch.tensor([label for _, label in part.samples])


def _subset(part: Part, count: int | None, name: str, num_classes: int, *, taken: Part | None = None) -> Part:
    """Equally many samples of each class, together with those that are ``taken``."""
    if count is None:
        return part
    gone = None if taken is None else _labels(taken)
    return _rows(part, stratified_subset(_labels(part), count, num_classes, taken=gone, name=name))


def _held_out(part: Part, count: float, used: int | None, classes: Sequence[str]) -> tuple[Part, Part]:
    """What of a training part stays, and what is held out for validation, which follows from no subset of the rest.

    Args:
        part: the training part.
        count: how many samples, or a share of those that are used.
        used: how many that are; None for all.
        classes: their names.
    """
    labels = _labels(part)
    if used is not None and used > len(labels):
        raise ArgumentValueError("train_images", f"must be at most {len(labels)}, which there are, got {used}")
    if used is not None:
        share = f", {count:g} of them" if isinstance(count, float) else ""
        count = round(count * used) if isinstance(count, float) else count
        if not 1 <= count <= used - count:
            text = f"must be at least 1 and leave at least half of the {used} images of train_images to train on"
            raise ArgumentValueError("val_images", f"{text}, got {count}{share}")
    kept, held = hold_out(labels, [name for name, _ in part.samples], count)
    present = set(labels.tolist())
    missing = [classes[label] for label in sorted(present - set(labels[held].tolist()))]
    if missing:
        text = f"must give an image of each class to the validation part, and these {len(held)} have none of"
        single = [name for label, name in enumerate(classes) if int((labels == label).sum()) == 1]
        if single:
            raise ArgumentValueError("val_images", f"{text} {first_names(single)}, of which there is one image in all")
        raise ArgumentValueError("val_images", f"{text} {first_names(missing)}", remedy={"val_images": len(present)})
    return _rows(part, kept), _rows(part, held)


def _rows(part: Part, chosen: Tensor) -> Part:
    return Part(part.source, part.rows[chosen], [part.samples[row] for row in chosen.tolist()])
