"""The options that all data sets share."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors.arguments import ArgumentTypeError, ArgumentValueError
from ...errors.checks import check_count, check_flag
from .splits import SplitName

__all__ = ["DataOptions"]


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What is read of a data set and how its samples are augmented; the defaults only resize to 32x32.

    Attributes:
        size: ``H`` and ``W`` of what the networks get, pixels.
        time_steps: ``T`` of event frames; None for images.
        split: which of the splits of CIFAR10-DVS, see :func:`spikingjelly_ckd.recipes.data.splits.split`; None for
            data sets with an official split.
        crop_padding: images; padding of a random crop on each side, pixels; 0 for no crop. CIFAR usually has 4.
        resized_crop: images; crop a random part and resize it, as is usual for photographs.
        flip: flip horizontally with probability one half.
        auto_augment: images; ``""`` for none, ``"cifar10"`` for torchvision's AutoAugment policy, or a policy of timm
            such as ``"rand-m9-mstd0.5-inc1"``.
        erase: images; probability of random erasing of 2 to 20 percent.
        roll: events; largest shift along each axis, pixels.
        nda: events; see :class:`spikingjelly_ckd.recipes.data.augment.EventNDA`.
        cutout: side of a square, blanked out at a random place of each training sample, pixels; 0 for none.
        train_images: how many samples of the training part to use, those for validation among them, equally many of
            each class; None for all. Which ones is fixed, see
            :func:`spikingjelly_ckd.recipes.data.splits.stratified_subset`.
        test_images: the same for the test part.
        val_images: how many samples of the training part to hold out for validation, or a share of it between 0 and 1,
            see :func:`spikingjelly_ckd.recipes.data.splits.hold_out`; None for none. They are the same ones with
            any number of ``train_images``.
        num_classes: how many classes there are, if that is meant to differ from the data set's official number.
        download: fetch CIFAR or CIFAR10-DVS if it is not there; convert DVS128 Gesture or N-Caltech101, whose archives
            are fetched by hand.
        allow_partial: accept files of the official layout that differ from the official ones, for trials.

    Raises:
        TypeError: a value of the wrong kind.
        ValueError: a value out of range, or both kinds of crop.

    Example:
        >>> DataOptions(crop_padding=4, flip=True).size
        32
    """

    size: int = 32
    time_steps: int | None = None
    split: SplitName | None = None
    crop_padding: int = 0
    resized_crop: bool = False
    flip: bool = False
    auto_augment: str = ""
    erase: float = 0.0
    roll: int = 0
    nda: bool = False
    cutout: int = 0
    train_images: int | None = None
    test_images: int | None = None
    val_images: int | float | None = None
    num_classes: int | None = None
    download: bool = False
    allow_partial: bool = False

    def __post_init__(self) -> None:
        least = {"size": 1, "crop_padding": 0, "roll": 0, "cutout": 0}
        if isinstance(self.val_images, float) and not 0 < self.val_images < 1:
            raise ArgumentValueError("val_images", f"must be a whole number, or between 0 and 1, got {self.val_images}")
        counts = () if isinstance(self.val_images, float) else ("val_images",)
        optional = ("time_steps", "train_images", "test_images", "num_classes", *counts)
        least |= {name: 1 for name in optional if getattr(self, name) is not None}
        for name, low in least.items():
            check_count(name, getattr(self, name), least=low)
        for name in ("resized_crop", "flip", "nda", "download", "allow_partial"):
            check_flag(name, getattr(self, name))
        if not isinstance(self.auto_augment, str):
            raise ArgumentTypeError("auto_augment", f"must be a string, got {self.auto_augment!r}")
        if isinstance(self.erase, bool) or not isinstance(self.erase, int | float):
            raise ArgumentTypeError("erase", f"must be a number, got {type(self.erase).__name__} {self.erase!r}")
        if not 0 <= self.erase <= 1:
            raise ArgumentValueError("erase", f"must be a probability from 0 to 1, got {self.erase}")
        if self.cutout >= self.size:
            raise ArgumentValueError(
                "cutout",
                f"must be below the size of the samples, {self.size}, got {self.cutout}, which can blank them out",
            )
        if self.crop_padding and self.resized_crop:
            raise ArgumentValueError("crop_padding", "and resized_crop are two kinds of random crop; use one")
