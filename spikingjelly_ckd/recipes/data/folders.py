"""Trees of class folders, with images or with event frames.

The two forms::

    root/train/<class>/*.png    root/test/<class>/*.png    (or val/ for test/; any image that torchvision reads)
    root/train/<class>/*.npz    root/test/<class>/*.npz    (event frames under the key "frames", [T, 2, H, W])

Nothing but the names of files is read before a sample is used.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torchvision import datasets

from .base import Data, Normalisation, Part, make_data, make_part
from .options import DataOptions
from .roots import check_classes, check_level, check_no_split, first_names, incomplete_tree, list_content, resolve_root

__all__ = ["EVENT_SUFFIX", "IMAGENET", "Tree", "class_folders", "folder_data", "image_folder", "read_tree"]

IMAGENET = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
"""Mean and standard deviation of ImageNet, by timm."""

EVENT_SUFFIX = ".npz"
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")


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
            that differ between the parts or are empty, event frames of another shape, or another number of classes.

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
    check_classes(len(names), classes, options, folder)
    if not _holds_frames(directories[0], names):
        image_suffixes: tuple[str, ...] = datasets.folder.IMG_EXTENSIONS
        return Tree(names, [_scan(directory, image_suffixes, _load_image) for directory in directories], False)
    if options.time_steps is None:
        raise ValueError("time_steps must be given for events: how many frames each recording has")
    loader = _FrameLoader(options.time_steps)
    parts = [_scan(directory, (EVENT_SUFFIX,), loader) for directory in directories]
    loader(parts[0].source.samples[0][0])  # so that frames of another shape are found now
    return Tree(names, parts, True)


def class_folders(directory: Path) -> list[str]:
    """Names of the class folders in a part of a tree.

    Raises:
        ValueError: archives or samples lie beside the class folders, or there are none.
    """
    entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    folders = [entry.name for entry in entries if entry.is_dir()]
    files = [entry.name for entry in entries if not entry.is_dir()]
    packed = [name for name in files if name.lower().endswith(ARCHIVES)]
    if packed:
        raise ValueError(
            f"{directory} holds {first_names(packed)}; unpack each into a folder of its class and move it away"
        )
    loose = [name for name in files if name.lower().endswith((*datasets.folder.IMG_EXTENSIONS, EVENT_SUFFIX))]
    if loose:
        raise ValueError(
            f"{directory} must hold one folder for each class, but {len(loose)} samples lie loose in it, such as "
            f"{loose[0]}; sort them into class folders"
        )
    if not folders:
        raise ValueError(f"{directory} must hold one folder for each class, and it has {list_content(directory)}")
    return folders


def _holds_frames(directory: Path, classes: Sequence[str]) -> bool:
    """Whether the first sample is a file of event frames."""
    files = (file for name in classes for file in os.listdir(directory / name) if not file.startswith("."))
    return next(files, "").endswith(EVENT_SUFFIX)


def _scan(directory: Path, suffixes: tuple[str, ...], loader: Callable[[str], Any]) -> Part:
    source = datasets.DatasetFolder(directory, loader, suffixes, allow_empty=True)
    filled = set(source.targets)
    empty = [name for name, label in source.class_to_idx.items() if label not in filled]
    if empty:
        raise ValueError(
            f"{directory} has class folders without samples: {first_names(empty)}; unpack them again or delete them "
            f"(samples end in {', '.join(suffixes)})"
        )
    start = len(str(directory)) + 1
    return make_part(source, [(path[start:].replace(os.sep, "/"), label) for path, label in source.samples])


def _load_image(path: str) -> Any:
    try:
        return datasets.folder.default_loader(path)
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as an image ({error}); replace or delete it") from error


@dataclass(frozen=True)
class _FrameLoader:
    """Reads the event frames of one recording from an archive as SpikingJelly writes it."""

    time_steps: int

    def __call__(self, path: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        try:
            with np.load(path) as arrays:
                frames: np.ndarray[Any, np.dtype[np.float32]] = arrays["frames"].astype(np.float32)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is no archive of event frames under the key 'frames': {error}") from error
        if frames.ndim != 4 or frames.shape[0] != self.time_steps or frames.shape[1] != 2:
            raise ValueError(
                f"{path} must hold frames [T, 2, H, W] with T = time_steps = {self.time_steps}, got {frames.shape}"
            )
        return frames
