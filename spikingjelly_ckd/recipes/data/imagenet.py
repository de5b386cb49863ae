"""ImageNet, a tree of 1000 class folders."""

from __future__ import annotations

import re
from pathlib import Path

from ...errors.arguments import ArgumentValueError
from .base import Data, make_data
from .folders import IMAGENET, read_tree
from .options import DataOptions
from .roots import check_no_split, resolve_root

__all__ = ["imagenet"]

CLASSES = 1000
IMAGES = (1_281_167, 50_000)
"""Of the training and of the validation part."""


def imagenet(root: Path | str, options: DataOptions) -> Data:
    """ImageNet (ILSVRC 2012): 1,281,167 and 50,000 photographs in 1000 class folders; or a tree of your own.

    A tree counts as ImageNet if its 1000 folders have the names ``n01440764`` and so on; then every image has to be
    there. Test images are resized to a shorter side of ``size / 0.875`` and cropped in the middle.

    Args:
        root: folder that holds ``train`` and ``val`` (or ``test``; where both are there, ``val`` is read, since
            ImageNet's ``test`` has no labels).
        options: see :class:`DataOptions`.

    Returns:
        :class:`Data`, normalised by timm's constants.

    Raises:
        FileNotFoundError: a folder is not there, or another one is meant.
        ValueError: images that are not sorted or not unpacked, folders that differ or are empty, images missing, or
            another number of classes.

    Example:
        >>> imagenet("/no/such/folder", DataOptions(size=224, resized_crop=True, flip=True))
        Traceback (most recent call last):
        spikingjelly_ckd.errors.arguments.ArgumentNotFoundError: root must be a folder that is
        there, got /no/such/folder
    """
    check_no_split("imagenet, which has an official one", options)
    folder = resolve_root(root)
    tree = read_tree(folder, options, CLASSES, test_names=("val", "test"))
    official = len(tree.classes) == CLASSES and all(re.fullmatch(r"n\d{8}", name) for name in tree.classes)
    counts = tuple(len(part.rows) for part in tree.parts)
    complete = not official or counts == IMAGES
    if not (complete or options.allow_partial):
        raise ArgumentValueError(
            "",
            f"{folder} is half-unpacked: ImageNet has {IMAGES} images, this has {counts}; unpack it again, or pass "
            "{remedy} if this is meant",
            remedy={"allow_partial": True},
        )
    return make_data(
        "imagenet" if official else tree.name,
        tree.parts,
        options,
        classes=tree.classes,
        split_name="official" if official else "folders",
        complete=complete,
        normalisation=None if tree.is_event else IMAGENET,
        centre_crop=True,
    )
