"""ImageNet."""

from __future__ import annotations

from pathlib import Path

from .base import Data
from .folders import IMAGENET, read_tree
from .options import DataOptions
from .roots import check_no_split, resolve_root

__all__ = ["imagenet"]


def imagenet(root: Path | str, options: DataOptions) -> Data:
    """ImageNet (ILSVRC 2012): 1,281,167 and 50,000 photographs in 1000 class folders; or an own tree.

    A tree counts as ImageNet if its 1000 folders have the names ``n01440764`` and so on; then every image has to be
    there. Test images are resized to a shorter side of ``size / 0.875`` and cropped in the middle.

    Args:
        root: folder that holds ``train`` and ``val`` (or ``test``; an own ``test`` without labels is left alone).
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
        FileNotFoundError: root must be a folder that is there, got /no/such/folder
    """
    check_no_split("imagenet", options)
    return read_tree(resolve_root(root), options, 1000, IMAGENET, row="imagenet")
