"""Trees of class folders, with images or with event frames.

The two forms::

    root/train/<class>/*.png    root/test/<class>/*.png    (or val/ for test/; any image that torchvision reads)
    root/train/<class>/*.npz    root/test/<class>/*.npz    (event frames under the key "frames", [T, 2, H, W])

Nothing but the names of files is read before a sample is used. Hidden files and folders in a class folder are left
out; the images of a class may lie in the only folder inside its class folder, as in Tiny ImageNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torchvision import datasets

from ...errors.arguments import ArgumentValueError
from .base import Data, Normalisation, Part, make_data
from .listing import EVENT_SUFFIX, check_links, class_folders, files_of, scan
from .options import DataOptions
from .roots import check_classes, check_level, check_no_split, first_names, incomplete_tree, resolve_root
from .samples import FrameLoader, load_image

__all__ = ["IMAGENET", "Tree", "folder_data", "image_folder", "read_tree"]

IMAGENET = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
"""Mean and standard deviation of ImageNet, by timm."""


def image_folder(
    root: Path | str, options: DataOptions, *, classes: int | None = None, normalisation: Normalisation | None = None
) -> Data:
    """A tree of class folders of your own, with images or event frames; its two folders are the split.

    Args:
        root: folder that holds ``train`` and ``test``, or ``val`` where there is no ``test``.
        options: see :class:`DataOptions`; event frames need ``time_steps``.
        classes: how many are expected; None for any number.
        normalisation: mean and standard deviation of each channel, for images from 0 to 1; None for ImageNet's.

    Returns:
        :class:`Data` named ``"folder"`` or ``"event-folder"``.

    Raises:
        FileNotFoundError: a folder is not there, or another one is meant.
        ValueError: a split was chosen, samples that are not sorted into class folders or not unpacked, class folders
            that differ between the parts or are empty, folders inside a class folder, two paths to one file, event
            frames of another shape, or another number of classes.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for part in ("train", "test"):
        ...         for title in ("cat", "dog"):
        ...             folder = Path(root, part, title)
        ...             folder.mkdir(parents=True)
        ...             Image.new("RGB", (40, 30)).save(folder / "1.png")
        ...     data = image_folder(root, DataOptions(size=32))
        ...     image, label = data.train[1]
        >>> data.name, data.classes, data.split, tuple(image.shape), label
        ('folder', ('cat', 'dog'), 'folders', (3, 32, 32), 1)
    """
    folder = resolve_root(root)
    check_no_split(f"{folder}, whose folders are the split", options)
    return folder_data(folder, options, classes, normalisation or IMAGENET)


class Tree(NamedTuple):
    """What a tree of class folders holds.

    Attributes:
        classes: names of the class folders.
        parts: the training part and the test part.
        is_event: whether the samples are event frames.
    """

    classes: list[str]
    parts: list[Part]
    is_event: bool

    @property
    def name(self) -> str:
        """``"event-folder"`` or ``"folder"``."""
        return "event-folder" if self.is_event else "folder"


def folder_data(
    folder: Path, options: DataOptions, classes: int | None = None, normalisation: Normalisation = IMAGENET
) -> Data:
    """As :func:`image_folder`, for a root that was resolved; ``split`` of ``options`` is ignored."""
    tree = read_tree(folder, options, classes)
    return make_data(
        tree.name,
        tree.parts,
        options,
        classes=tree.classes,
        split_name="folders",
        complete=True,
        normalisation=None if tree.is_event else normalisation,
    )


def read_tree(
    folder: Path, options: DataOptions, classes: int | None, test_names: Sequence[str] = ("test", "val")
) -> Tree:
    """Read the names of all samples, after a look at whether the tree is whole.

    Args:
        folder: that holds the training and the test part.
        options: whose ``time_steps`` and ``num_classes`` are used.
        classes: how many are expected; None for any number.
        test_names: names that the test part may have; the first that is there is read.

    Returns:
        :class:`Tree`.

    Raises:
        FileNotFoundError: a part is not there, or another folder is meant.
        ValueError: as for :func:`image_folder`.
    """
    test = next((folder / name for name in test_names if (folder / name).is_dir()), None)
    if test is None or not (folder / "train").is_dir():
        check_level(folder, ("train", *test_names))
        raise incomplete_tree(folder, test_names)
    directories = [folder / "train", test]
    names, others = (class_folders(directory) for directory in directories)
    if names != others:
        raise ValueError(
            f"{directories[0]} and {test} must have the same class folders; only one of them has "
            f"{first_names(sorted(set(names) ^ set(others)))}"
        )
    is_event = _holds_frames(directories[0], names)
    if is_event and options.time_steps is None:
        raise ArgumentValueError("time_steps", "must be given for events: how many frames each recording has")
    loader = FrameLoader(options.time_steps) if options.time_steps is not None and is_event else load_image
    suffixes = (EVENT_SUFFIX,) if is_event else datasets.folder.IMG_EXTENSIONS
    parts = [scan(directory, names, suffixes, loader) for directory in directories]
    check_classes(len(names), classes, options, folder)  # of the folders that hold samples: an empty one was refused
    check_links([path for part in parts for path, _ in part.source.samples])
    if is_event:
        loader(parts[0].source.samples[0][0])  # so that frames of another shape are found now
    return Tree(names, parts, is_event)


def _holds_frames(directory: Path, classes: Sequence[str]) -> bool:
    """Whether the first sample is a file of event frames."""
    files = (name for title in classes for name in files_of(directory / title, classes)[1])
    return next(files, "").lower().endswith(EVENT_SUFFIX)
