"""Image and event augmentation: torchvision's and timm's for images, a few callables for event frames.

Every transform can be pickled, for worker processes that are spawned. The transforms of this file and torchvision's
draw from torch's global generator, timm's from ``random`` and ``numpy.random``; to repeat an augmentation, seed all
three (:func:`spikingjelly_ckd.recipes.data.loading.seeded`). Mixup and cutmix work on batches, in the training step.

Shapes: ``T`` frames, ``2`` polarities, ``H W`` pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision import transforms

from ...errors.arguments import ArgumentValueError
from .options import DataOptions

__all__ = ["Cutout", "EventNDA", "EventResize", "EventRoll", "event_transform", "image_transform"]

ERASE_SCALE = (0.02, 0.2)
"""Smallest and largest share of the image that random erasing covers, as in the code of CKDSNN."""

CENTRE_CROP = 0.875
"""Share of the shorter side of a test photograph that is kept: 224 of 256."""

NDA_DEGREES = 30
NDA_PIXELS = 5
NDA_SIZE = 48
"""Height and width of the frames for which NDA_PIXELS is meant."""


@dataclass(frozen=True)
class EventResize:
    """Resize frames to ``size x size``, bilinearly and without antialiasing; event counts become fractions.

    Attributes:
        size: ``H`` and ``W`` of the result.

    Example:
        >>> import torch
        >>> tuple(EventResize(48)(torch.ones(4, 2, 128, 128)).shape)
        (4, 2, 48, 48)
    """

    size: int

    def __call__(self, frames: Tensor) -> Tensor:
        """Frames ``[T, 2, H, W]`` to ``[T, 2, size, size]``."""
        if frames.shape[-2:] == (self.size, self.size):
            return frames
        return F.interpolate(frames, size=(self.size, self.size), mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class EventRoll:
    """Shift a recording by a random number of pixels along both axes; what leaves on one side enters on the other.

    Attributes:
        pixels: largest shift; shifts are drawn uniformly from ``-pixels`` to ``pixels``.

    Example:
        >>> import torch
        >>> frames = torch.rand(4, 2, 8, 8)
        >>> bool(EventRoll(3)(frames).sum().isclose(frames.sum()))
        True
    """

    pixels: int

    def __call__(self, frames: Tensor) -> Tensor:
        """Frames ``[T, 2, H, W]``, all moved alike."""
        down, right = torch.randint(-self.pixels, self.pixels + 1, (2,)).tolist()
        return frames.roll((down, right), dims=(-2, -1))


class EventNDA:
    """Neuromorphic data augmentation, as in the released code for CIFAR10-DVS (Li et al., ECCV 2022, arXiv 2203.06145).

    One of three, with the same probability, the same for all frames of a recording: a roll by up to 5 pixels along both
    axes; a rotation by up to 30 degrees; a shear along the rows by up to 30 degrees. Amounts are drawn uniformly;
    rotation and shear take the nearest pixel and fill with 0. Source: ``functions/data_loaders.py`` of
    Intelligent-Computing-Lab-Yale/NDA_SNN at d355bcb. That code has neither a flip nor a cutout; ``flip`` of the
    options adds a flip, and ``cutout`` a cutout. It rolls frames of 48x48; other sizes roll in proportion (ours).

    Example:
        >>> import torch
        >>> tuple(EventNDA()(torch.rand(4, 2, 48, 48)).shape)
        (4, 2, 48, 48)
    """

    def __init__(self) -> None:
        self._turns = (
            transforms.RandomRotation(NDA_DEGREES),
            transforms.RandomAffine(degrees=0, shear=(-NDA_DEGREES, NDA_DEGREES)),
        )

    def __call__(self, frames: Tensor) -> Tensor:
        """Frames ``[T, 2, H, W]``, all changed alike."""
        roll = EventRoll(round(NDA_PIXELS * frames.shape[-1] / NDA_SIZE))
        chosen: Callable[[Tensor], Tensor] = (roll, *self._turns)[int(torch.randint(3, ()))]
        return chosen(frames)

    def __repr__(self) -> str:
        return "EventNDA()"


@dataclass(frozen=True)
class Cutout:
    """Blank out a square at a random place (DeVries and Taylor, arXiv 1708.04552); what is over the edge is cut off.

    The value is 0: the mean colour of a normalised image, no event of a recording.

    Attributes:
        side: of the square, pixels.

    Example:
        >>> import torch
        >>> bool((Cutout(4)(torch.ones(3, 8, 8)) == 0).any())
        True
    """

    side: int

    def __call__(self, sample: Tensor) -> Tensor:
        """A sample ``[..., H, W]``; all channels and frames alike."""
        height, width = sample.shape[-2:]
        top, left = int(torch.randint(height, ())) - self.side // 2, int(torch.randint(width, ())) - self.side // 2
        sample = sample.clone()
        sample[..., max(0, top) : top + self.side, max(0, left) : left + self.side] = 0
        return sample


def event_transform(options: DataOptions, *, train: bool) -> Callable[[Tensor], Tensor]:
    """The transform of one recording: resize; for training also flip, roll, NDA and Cutout, as ``options`` ask for.

    Args:
        options: ``size``, ``flip`` (horizontal, with probability one half), ``roll``, ``nda``, ``cutout``.
        train: whether to augment.

    Returns:
        A function of frames, float32 ``[T, 2, H, W]`` to ``[T, 2, size, size]``.

    Raises:
        ValueError: an option that is for images.

    Example:
        >>> import torch
        >>> from spikingjelly_ckd.recipes.data import DataOptions
        >>> transform = event_transform(DataOptions(size=48, flip=True, roll=5), train=True)
        >>> tuple(transform(torch.rand(4, 2, 128, 128)).shape)
        (4, 2, 48, 48)
    """
    _check_unused(options, "event frames", ("crop_padding", "resized_crop", "auto_augment", "erase"))
    steps: list[Any] = [EventResize(options.size)]
    if train and options.flip:
        steps.append(transforms.RandomHorizontalFlip())
    if train and options.roll:
        steps.append(EventRoll(options.roll))
    if train and options.nda:
        steps.append(EventNDA())
    if train and options.cutout:
        steps.append(Cutout(options.cutout))
    return transforms.Compose(steps)  # type: ignore[no-any-return]


def image_transform(
    options: DataOptions,
    *,
    train: bool,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    centre_crop: bool = False,
) -> Callable[[Any], Tensor]:
    """The transform of one image: resize or crop, flip, automatic augmentation, normalisation, erasing.

    Training with ``options.resized_crop`` cuts out a random part and resizes it. Otherwise the image is resized as for
    testing, and ``options.crop_padding`` shifts it by a random crop of the padded image. Testing resizes to
    ``size x size``; photographs (``options.resized_crop`` or ``centre_crop``) are resized to a shorter side of
    ``size / 0.875`` and cropped in the middle, so that their proportions stay.

    Args:
        options: ``size``, ``crop_padding``, ``resized_crop``, ``flip``, ``auto_augment``, ``erase``, ``cutout``.
        train: whether to augment.
        mean: of each channel, for images from 0 to 1.
        std: of each channel.
        centre_crop: the images are photographs.

    Returns:
        A function of a PIL image, to float32 ``[3, size, size]``.

    Raises:
        ValueError: an option that is for events, or an ``auto_augment`` that timm does not know.

    Example:
        >>> from PIL import Image
        >>> from spikingjelly_ckd.recipes.data import DataOptions
        >>> transform = image_transform(DataOptions(size=16), train=False, mean=(0.5,) * 3, std=(0.5,) * 3)
        >>> image = transform(Image.new("RGB", (32, 24), "white"))
        >>> tuple(image.shape), image.unique()
        ((3, 16, 16), tensor([1.]))
    """
    _check_unused(options, "images", ("roll", "nda"))
    size = options.size
    steps: list[Any] = []
    if train and options.resized_crop:
        steps.append(transforms.RandomResizedCrop(size))
    elif options.resized_crop or centre_crop:
        steps += [transforms.Resize(int(size / CENTRE_CROP)), transforms.CenterCrop(size)]
    else:
        steps.append(transforms.Resize((size, size)))
    if train and options.crop_padding:
        steps.append(transforms.RandomCrop(size, padding=options.crop_padding))
    if train and options.flip:
        steps.append(transforms.RandomHorizontalFlip())
    if train and options.auto_augment:
        steps.append(_auto_augment(options.auto_augment, size, mean))
    steps += [transforms.ToTensor(), transforms.Normalize(mean, std)]
    if train and options.erase:
        steps.append(transforms.RandomErasing(options.erase, scale=ERASE_SCALE))
    if train and options.cutout:
        steps.append(Cutout(options.cutout))
    return transforms.Compose(steps)  # type: ignore[no-any-return]


def _auto_augment(policy: str, size: int, mean: tuple[float, ...]) -> Any:
    if policy == "cifar10":
        return transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10)
    from timm.data import auto_augment

    if policy.startswith("rand"):
        make = auto_augment.rand_augment_transform
    elif policy.startswith("augmix"):
        make = auto_augment.augment_and_mix_transform
    else:
        make = auto_augment.auto_augment_transform
    fill = tuple(round(255 * channel) for channel in mean)
    try:
        return make(policy, {"translate_const": int(0.45 * size), "img_mean": fill})
    except (AssertionError, IndexError, ValueError) as error:
        raise ArgumentValueError(
            "auto_augment",
            f"must be 'cifar10', a policy of timm, such as 'rand-m9-mstd0.5-inc1', or '' for none, got {policy!r}",
        ) from error


def _check_unused(options: DataOptions, kind: str, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(options, name)
        if value:
            off = {name: type(value)()}  # False, 0 or no policy
            raise ArgumentValueError(name, f"does nothing to {kind}, which this data has", remedy=off)
