"""Two datasets of PyTorch as :class:`Data`, for a data set of your own: ``--data mydata:build``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from ...errors.arguments import ArgumentTypeError, ArgumentValueError
from .base import Data, Normalisation, Part, TransformedSubset, make_data, make_part
from .folders import IMAGENET
from .options import DataOptions
from .splits import Sample

__all__ = ["data_from"]

Kind = Literal["picture", "finished", "events"]
OF_PICTURES = ("crop_padding", "resized_crop", "flip", "auto_augment", "erase", "cutout")
OF_EVENTS = ("roll", "nda")


def data_from(
    train: Dataset[Any],
    test: Dataset[Any],
    options: DataOptions,
    *,
    classes: Sequence[str] | None = None,
    name: str = "own",
    split: str = "own",
    normalisation: Normalisation | None = None,
) -> Data:
    """A training and a test set of PyTorch, whose samples are ``(image, label)``, as the rows take them.

    What the images are is told from the first of them:

    - pictures (``PIL.Image``, or 8 bit: arrays ``[H, W, C]`` and ``[H, W]``, tensors ``[C, H, W]``, C 1 or 3) are
      resized, augmented and normalised as ``options`` say;
    - event frames (tensors or arrays of counts, ``[T, 2, H, W]``) likewise, and are not normalised;
    - tensors of real numbers ``[C, H, W]`` are taken as they are: ``size`` has to be theirs, and augmentation is the
      dataset's own, so that the flags of a row's have to be switched off.

    Labels are read from ``targets``, ``labels`` or ``samples`` of the dataset where it has one of them, and otherwise
    by reading every sample once. A sample that was read for that is checked then, and each when it is used.

    Args:
        train: any map-style dataset.
        test: likewise.
        options: as the row hands them to the function.
        classes: names; None for ``train.classes``.
        name: of the data set, for the record.
        split: what the division into the two parts is called, for the record.
        normalisation: mean and standard deviation of each channel, for images from 0 to 1. Pictures are normalised with
            it, None for ImageNet's. Of finished tensors it says how they are normalised already; without it a teacher
            that was trained with another one cannot be used.

    Returns:
        :class:`Data`.

    Raises:
        TypeError: a sample that is no pair of an image and a whole number.
        ValueError: images of another kind or shape, no sample, labels outside of the classes, a class that no training
            sample has, another number of classes than ``options`` ask for, or an option that does nothing.

    Example:
        >>> import torch
        >>> pictures = torch.randint(0, 256, (4, 3, 20, 20), dtype=torch.uint8)
        >>> train = TensorDataset(pictures, torch.tensor([0, 1, 0, 1]))
        >>> data = data_from(train, train, DataOptions(size=16, flip=True), classes=("cat", "dog"))
        >>> image, label = data.train[1]
        >>> tuple(image.shape), label, data.split, data.num_classes
        ((3, 16, 16), 1, 'own', 2)
    """
    names = getattr(train, "classes", None) if classes is None else classes
    if names is None:
        raise ArgumentValueError("classes", "must be given: the training set has no attribute of this name")
    if options.num_classes is not None and options.num_classes != len(names):
        raise ArgumentValueError("num_classes", f"is {options.num_classes}, and the data set has {len(names)} classes")
    kind, shape = _look("training", train)
    parts = [_part("training", train, kind, shape, len(names)), _part("test", test, kind, shape, len(names))]
    missing = sorted(set(range(len(names))) - {label for _, label in parts[0].samples})
    if missing:
        raise ArgumentValueError("classes", f"has {names[missing[0]]!r}, of which there is no training sample")
    known = normalisation if kind == "finished" else None if kind == "events" else normalisation or IMAGENET
    about: dict[str, Any] = {"classes": names, "split_name": split, "complete": True}
    if kind != "finished":
        _check_steps(kind, shape, options)
        return make_data(name, parts, options, normalisation=known, **about)
    idle = {name: type(value)() for name in (*OF_PICTURES, *OF_EVENTS) if (value := getattr(options, name))}
    if idle:
        raise ArgumentValueError(
            next(iter(idle)),
            "does nothing to tensors of real numbers, which are taken as they are; switch it off, or let the "
            "dataset return pictures: pass {remedy}",
            remedy=idle,
        )
    if shape[-2] != shape[-1]:
        raise ValueError(
            f"the images are {tuple(shape)}, and networks get squares: let the dataset pad or resize them, or return "
            "pictures, which are resized"
        )
    if shape[-2:] != (options.size, options.size):
        raise ArgumentValueError("size", f"must be that of the images, {tuple(shape)}, got {options.size}")
    plain = make_data(name, parts, options, normalisation=IMAGENET, **about)
    sets: dict[str, Any] = {part: _as_they_are(getattr(plain, part)) for part in ("train", "test", "validation")}
    mean, std = known or (None, None)
    return replace(plain, **sets, in_channels=shape[0], mean=mean, std=std)


@dataclass(frozen=True)
class AsItIs:
    """The transform of finished images: none.

    Attributes:
        of: what the dataset says of its own transform.
    """

    of: str

    def __call__(self, image: Tensor) -> Tensor:
        """The image."""
        return image


@dataclass(frozen=True)
class CheckedSamples(Dataset[Any]):
    """The samples of a dataset, each checked and brought to what the transforms take.

    Attributes:
        dataset: of the user.
        part: what it is, for messages.
        kind: of its images.
        shape: of event frames and finished images.
        classes: how many there are.
    """

    dataset: Any
    part: str
    kind: Kind
    shape: tuple[int, ...]
    classes: int

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        where = f"{self.part} sample {index}"
        image, label = _pair(where, self.dataset[index])
        kind, found = _kind_of(where, image)
        if kind != self.kind or (kind == "finished" and found != self.shape):
            raise ValueError(f"{where} is {_said(kind, found)}, and the first is {_said(self.kind, self.shape)}")
        if not 0 <= label < self.classes:
            raise ValueError(f"{where} has label {label}; with {self.classes} classes they are 0 to {self.classes - 1}")
        if kind == "picture":
            return _picture(image), label
        return _finite(where, image), label


def _look(part: str, dataset: Any) -> tuple[Kind, tuple[int, ...]]:
    """What the first image is."""
    if not len(dataset):
        raise ValueError(f"the {part} set is empty")
    where = f"{part} sample 0"
    return _kind_of(where, _pair(where, dataset[0])[0])


def _pair(where: str, sample: Any) -> tuple[Any, int]:
    if not isinstance(sample, tuple | list) or len(sample) != 2:
        raise ArgumentTypeError("", f"{where} must be a pair (image, label), got {type(sample).__name__}")
    return sample[0], _label(where, sample[1])


def _label(where: str, label: Any) -> int:
    plain = isinstance(label, np.generic) or (isinstance(label, Tensor) and label.ndim == 0)
    value = label.item() if plain else label
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentTypeError("", f"the label of {where} must be a whole number, got {label!r:.60}")
    return value


def _kind_of(where: str, image: Any) -> tuple[Kind, tuple[int, ...]]:
    if isinstance(image, Image.Image):
        return "picture", ()
    if not isinstance(image, Tensor | np.ndarray):
        raise ArgumentTypeError(
            "", f"the image of {where} must be a picture, tensor or array, got {type(image).__name__}"
        )
    values = torch.as_tensor(image)
    shape = tuple(values.shape)
    if values.ndim == 4 and shape[1] == 2:
        return "events", shape
    channels = shape[:1] if isinstance(image, Tensor) else shape[2:]
    if values.dtype == torch.uint8 and (values.ndim == 2 or (values.ndim == 3 and channels in ((1,), (3,)))):
        return "picture", ()
    if values.ndim == 3 and values.is_floating_point():
        return "finished", shape
    raise ValueError(
        f"the image of {where} must be a picture of 8 bit, real numbers [C, H, W] or event frames [T, 2, H, W], got "
        f"{values.dtype} {shape}"
    )


def _said(kind: Kind, shape: tuple[int, ...]) -> str:
    return "a picture" if kind == "picture" else f"{shape}"


def _picture(image: Any) -> Image.Image:
    """RGB, 8 bit."""
    if isinstance(image, Tensor):
        image = image.permute(1, 2, 0) if image.ndim == 3 else image
        image = image.numpy()
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image)
    return cast(Image.Image, image).convert("RGB")


def _part(part: str, dataset: Any, kind: Kind, shape: tuple[int, ...], classes: int) -> Part:
    labels = [_label(f"{part} sample {index}", label) for index, label in enumerate(_labels(part, dataset))]
    if not labels:
        raise ValueError(f"the {part} set is empty")
    outside = next((index for index, label in enumerate(labels) if not 0 <= label < classes), None)
    if outside is not None:
        raise ArgumentValueError(
            "classes",
            f"are {classes}, so that labels are 0 to {classes - 1}; {part} sample {outside} has {labels[outside]}",
        )
    names = _names(dataset, len(labels))
    samples: list[Sample] = list(zip(names, labels, strict=True))
    return make_part(CheckedSamples(dataset, part, kind, shape, classes), samples)


def _labels(part: str, dataset: Any) -> Sequence[Any]:
    """Of every sample, without reading its image where the dataset knows them."""
    if isinstance(dataset, Subset):
        labels = _labels(part, dataset.dataset)
        return [labels[index] for index in dataset.indices]
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        images = dataset.tensors[0]
        broken = (~images.isfinite()).flatten(1).any(1)  # one look at what is in memory
        if broken.any():
            raise ValueError(f"{part} sample {int(broken.int().argmax())} holds NaN or inf; remove it")
        return list(dataset.tensors[1])
    for name in ("targets", "labels"):
        found = getattr(dataset, name, None)
        if found is not None and len(found) == len(dataset) and getattr(dataset, "target_transform", None) is None:
            return list(found)
    return [_label_of(f"{part} sample {index}", dataset[index]) for index in range(len(dataset))]


def _label_of(where: str, sample: Any) -> int:
    """Of a sample that was read for its label alone, so that what its image holds is seen before any training."""
    image, label = _pair(where, sample)
    if isinstance(image, Tensor | np.ndarray):
        _finite(where, image)
    return label


def _finite(where: str, image: Any) -> Tensor:
    """An image as it is trained on; a number that float32 cannot hold is inf there."""
    values = torch.as_tensor(image).float()
    if not values.isfinite().all():
        raise ValueError(f"{where} holds NaN or inf; remove it")
    return values


def _names(dataset: Any, count: int) -> list[str]:
    """Of every sample: its path below the folder of all where there are paths, or else its number."""
    if isinstance(dataset, Subset):
        names = _names(dataset.dataset, len(dataset.dataset))  # type: ignore[arg-type]
        return [names[index] for index in dataset.indices]
    found = getattr(dataset, "samples", None)
    if isinstance(found, list) and len(found) == count and all(isinstance(item[0], str) for item in found):
        common = os.path.commonpath([path for path, _ in found]) if count > 1 else ""
        return [path.removeprefix(common) for path, _ in found]
    return [str(index) for index in range(count)]


def _check_steps(kind: Kind, shape: tuple[int, ...], options: DataOptions) -> None:
    if kind == "events" and options.time_steps is not None and shape[0] != options.time_steps:
        raise ArgumentValueError("time_steps", f"is {options.time_steps}, and the event frames have T={shape[0]}")


def _as_they_are(part: Any) -> TransformedSubset | None:
    if part is None:
        return None
    transform = getattr(part.source.dataset, "transform", None)
    return TransformedSubset(part.source, part.rows, AsItIs("" if transform is None else repr(transform)))
