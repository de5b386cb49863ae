"""The batches of a comparison: the same for every arm, with any number of arms, and after any interruption.

Images that fit are decoded once and augmented as whole batches; everything else comes from the loaders of the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from ..data import Data, DataOptions
from ..data.base import TransformedSubset, drawn_rows
from ..data.loading import EpochSampler, SeededSamples

__all__ = ["Batches", "InMemory", "Loaded", "Part", "batches_of", "cropped"]

Part = Literal["val", "test"]
Batch = tuple[Tensor, Tensor]
EVALUATED = 256
"""Images of a batch where nothing is trained."""
MEMORY = 4 << 30
"""Bytes of decoded images that are kept."""
ROUNDING = 0.01
"""Of 255 levels: by how much normalisation and back may change a picture of 8 bit."""


class _NoPictureError(ValueError):
    """Inputs that do not fit into 8 bit, such as measured values of a user's own data."""


class Batches(Protocol):
    """Batches ``(images [N, ...], labels [N])``, the batch first."""

    steps: int

    def train(self, seed: int, epoch: int) -> Iterator[Batch]:
        """The augmented batches of an epoch, which follow from the seed and the epoch alone."""

    def part(self, name: Part) -> Iterator[Batch]:
        """The batches of a part that is not trained on, in order."""

    def some(self, name: Part, count: int) -> Tensor:
        """So many images of such a part, drawn from all of it, ``[N, ...]``; the same in every run."""

    def count(self, name: Part) -> int:
        """How many images such a part has."""


class Loaded:
    """Batches of the loaders that the rows have.

    Args:
        data: with a validation part.
        batch_size: images of a step; an incomplete last batch of an epoch is left out.
        workers: loading processes.
    """

    def __init__(self, data: Data, batch_size: int, workers: int = 0) -> None:
        self.data = data
        self.batch_size = batch_size
        self.workers = workers
        self.steps = len(cast(Any, data.train)) // batch_size
        self._loaders: dict[Any, DataLoader[Any]] = {}  # their processes serve every epoch

    def train(self, seed: int, epoch: int) -> Iterator[Batch]:
        """See :class:`Batches`."""
        samples = SeededSamples(self.data.train, seed)
        sampler = EpochSampler(samples, 1, 0, shuffle=True, seed=seed, drop_last=True)
        loader = self._loader(("train", seed), samples, self.batch_size, sampler=sampler, drop_last=True)
        cast(EpochSampler, loader.sampler).set_epoch(epoch)
        return cast(Iterator[Batch], iter(loader))

    def part(self, name: Part) -> Iterator[Batch]:
        """See :class:`Batches`."""
        return cast(Iterator[Batch], iter(self._loader(name, _part(self.data, name), EVALUATED)))

    def some(self, name: Part, count: int) -> Tensor:
        """See :class:`Batches`."""
        part = _part(self.data, name)
        return torch.stack([part[row][0] for row in drawn_rows(self.count(name), count)])

    def _loader(self, key: Any, samples: Dataset[Any], size: int, **options: Any) -> DataLoader[Any]:
        if key not in self._loaders:
            several = self.workers > 0
            self._loaders[key] = DataLoader(
                samples, size, num_workers=self.workers, persistent_workers=several, **options
            )
        return self._loaders[key]

    def count(self, name: Part) -> int:
        """See :class:`Batches`."""
        return len(cast(Any, _part(self.data, name)))


class InMemory:
    """Images decoded once, augmented as whole batches: random crop, flip, normalisation.

    Args:
        data: of images, with a validation part.
        options: ``size``, ``crop_padding``, ``flip``; no other augmentation.
        batch_size: images of a step.
        crop: height and width that are cut out of each image, at a random place for training and of the middle
            otherwise; None takes it whole.
    """

    def __init__(self, data: Data, options: DataOptions, batch_size: int, crop: int | None = None) -> None:
        self.padding, self.flip, self.crop = options.crop_padding, options.flip, crop
        self.batch_size = batch_size
        self._parts = {name: _decoded(part, data) for name, part in _parts(data).items()}
        self.steps = len(self._parts["train"][1]) // batch_size
        mean, std = (torch.tensor(cast(Any, values)).view(-1, 1, 1) for values in (data.mean, data.std))
        self._scale, self._shift = 1 / (255 * std), -mean / std

    def train(self, seed: int, epoch: int) -> Iterator[Batch]:
        """See :class:`Batches`."""
        images, labels = self._parts["train"]
        number = int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0] >> np.uint64(1))
        generator = torch.Generator().manual_seed(number)
        order = torch.randperm(len(labels), generator=generator)
        for rows in order[: self.steps * self.batch_size].view(-1, self.batch_size):
            yield self._normalised(self._augmented(images[rows], generator)), labels[rows]

    def part(self, name: Part) -> Iterator[Batch]:
        """See :class:`Batches`."""
        images, labels = self._parts[name]
        for rows in torch.split(torch.arange(len(labels)), EVALUATED):
            yield self._middle(images[rows]), labels[rows]

    def some(self, name: Part, count: int) -> Tensor:
        """See :class:`Batches`."""
        return self._middle(self._parts[name][0][drawn_rows(self.count(name), count)])

    def count(self, name: Part) -> int:
        """See :class:`Batches`."""
        return len(self._parts[name][1])

    def _middle(self, images: Tensor) -> Tensor:
        edge = 0 if self.crop is None else (images.shape[-1] - self.crop) // 2
        size = images.shape[-1] if self.crop is None else self.crop
        return self._normalised(images[..., edge : edge + size, edge : edge + size])

    def _augmented(self, images: Tensor, generator: torch.Generator) -> Tensor:
        size = images.shape[-1] if self.crop is None else self.crop
        padded = F.pad(images, [self.padding] * 4)  # with black, as torchvision's RandomCrop
        room = padded.shape[-1] - size
        count = len(images)
        tops, lefts = torch.randint(0, room + 1, (2, count), generator=generator)
        columns = torch.arange(size).expand(count, size)
        if self.flip:
            flipped = torch.rand(count, generator=generator) < 0.5
            columns = torch.where(flipped[:, None], size - 1 - columns, columns)
        rows, columns = tops[:, None] + torch.arange(size), lefts[:, None] + columns
        # one gather for crop and flip: [N, H, W, C] indexed by image, row and column
        return padded[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

    def _normalised(self, images: Tensor) -> Tensor:
        return torch.addcmul(self._shift, images.float(), self._scale).contiguous()


def batches_of(data: Data, options: DataOptions, batch_size: int, crop: int | None, workers: int = 0) -> Batches:
    """Batches from memory where the images fit and their augmentation is known there, else from loaders.

    Raises:
        ValueError: ``crop`` is asked for where it cannot be, or no batch is full.
    """
    extra = options.auto_augment or options.erase or options.resized_crop or options.cutout
    simple = (
        not data.is_event and not extra and all(isinstance(part, TransformedSubset) for part in _parts(data).values())
    )
    count = sum(len(cast(Any, part)) for part in _parts(data).values())
    if crop is not None and not (simple and 1 <= crop <= options.size + 2 * options.crop_padding):
        raise ValueError(
            f"--crop {crop} cuts squares out of images of --size {options.size}: it must not be larger, and goes with "
            "--crop-padding and --flip alone"
        )
    fits = simple and count * data.in_channels * options.size**2 <= MEMORY
    batches: Batches = Loaded(data, batch_size, workers)
    if fits:
        try:
            batches = InMemory(data, options, batch_size, crop)
        except _NoPictureError:
            if crop is not None:
                raise
    if batches.steps < 1:
        raise ValueError(
            f"the training part has {len(cast(Any, data.train))} images, fewer than one batch of {batch_size}; pass a "
            "smaller -b"
        )
    return batches


def cropped(data: Data, crop: int | None) -> Data:
    """The data as the networks see them: with ``crop`` a random part of each image to train on, else its middle.

    Args:
        data: as loaded.
        crop: height and width; None leaves them as they are.
    """
    if crop is None:
        return data
    parts = {name: cast(TransformedSubset, part) for name, part in _parts(data).items()}
    cut = {"train": transforms.RandomCrop(crop)} | dict.fromkeys(("val", "test"), transforms.CenterCrop(crop))
    train, validation, test = (
        TransformedSubset(part.source, part.rows, transforms.Compose([part.transform, cut[name]]))
        for name, part in parts.items()
    )
    return replace(data, train=train, validation=validation, test=test, size=crop)


def _parts(data: Data) -> dict[str, Dataset[Any]]:
    return {"train": data.train, "val": _part(data, "val"), "test": data.test}


def _part(data: Data, name: Part) -> Dataset[Any]:
    part = data.test if name == "test" else data.validation
    if part is None:
        raise ValueError("the data have no validation part: pass --val-images")
    return part


def _decoded(part: Dataset[Any], data: Data) -> Batch:
    """Images as the data's own test transform gives them, before normalisation, uint8 ``[N, C, H, W]``; and labels.

    Raises:
        _NoPictureError: an input has more than the 256 levels of a picture, or nothing says how it is normalised.
    """
    if data.mean is None or data.std is None:
        raise _NoPictureError("the inputs are as their data set makes them: leave out --crop")
    subset, transform = cast(TransformedSubset, part), cast(TransformedSubset, data.test).transform
    mean, std = (torch.tensor(cast(Any, values)).view(-1, 1, 1) for values in (data.mean, data.std))
    images, labels = [], []
    for row in subset.rows.tolist():
        picture, label = subset.source[row]
        levels = (transform(picture) * std + mean) * 255
        if not (levels - levels.round().clamp(0, 255)).abs().max() <= ROUNDING:  # nor is NaN a picture
            raise _NoPictureError("the inputs are no pictures of 8 bit: leave out --crop")
        images.append(levels.round().to(torch.uint8))
        labels.append(int(label))
    return torch.stack(images), torch.tensor(labels)
