"""Trees of class folders, with images or with event frames.

The two forms::

    root/train/<class>/*.png    root/test/<class>/*.png    (or val/ for test/; any image that torchvision reads)
    root/train/<class>/*.npz    root/test/<class>/*.npz    (event frames under the key "frames", [T, 2, H, W])

Nothing but the names of files is read before a sample is used. Hidden files and folders in a class folder are left
out; the images of a class may lie in the only folder inside its class folder, as in Tiny ImageNet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torchvision import datasets

from ...errors.arguments import ArgumentValueError
from .base import Data, Normalisation, Part, make_data, make_part
from .options import DataOptions
from .roots import check_classes, check_level, check_no_split, first_names, incomplete_tree, list_content, resolve_root
from .samples import FrameLoader, load_image

__all__ = [
    "EVENT_SUFFIX",
    "IMAGENET",
    "FolderSamples",
    "Tree",
    "class_folders",
    "folder_data",
    "image_folder",
    "is_litter",
    "list_samples",
    "read_tree",
]

IMAGENET = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
"""Mean and standard deviation of ImageNet, by timm."""

EVENT_SUFFIX = ".npz"
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
LITTER = ("__MACOSX", "@eaDir", "lost+found")
"""Folders that archives of macOS, network drives and file systems leave, beside those whose names begin with a dot."""


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
    check_classes(len(names), classes, options, folder)
    is_event = _holds_frames(directories[0], names)
    if is_event and options.time_steps is None:
        raise ArgumentValueError("time_steps", "must be given for events: how many frames each recording has")
    loader = FrameLoader(options.time_steps) if options.time_steps is not None and is_event else load_image
    suffixes = (EVENT_SUFFIX,) if is_event else datasets.folder.IMG_EXTENSIONS
    parts = [_scan(directory, names, suffixes, loader) for directory in directories]
    _check_links([path for part in parts for path, _ in part.source.samples])
    if is_event:
        loader(parts[0].source.samples[0][0])  # so that frames of another shape are found now
    return Tree(names, parts, is_event)


def class_folders(directory: Path) -> list[str]:
    """Names of the class folders in a part of a tree. Hidden files are left out.

    Raises:
        ValueError: archives or samples lie beside the class folders, a folder is the litter of another program, or
            there are none.
    """
    entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    folders = [entry.name for entry in entries if entry.is_dir()]
    files = [entry.name for entry in entries if not entry.is_dir() and not is_litter(entry.name)]
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
    litter = [name for name in folders if is_litter(name)]
    if litter:
        raise ValueError(f"{directory} holds {first_names(litter)}, which would count as a class; delete it")
    if not folders:
        raise ValueError(f"{directory} must hold one folder for each class, and it has {list_content(directory)}")
    return folders


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden, or left by another program."""
    return name.startswith(".") or name in LITTER


@dataclass(frozen=True)
class FolderSamples:
    """The samples of a part of a tree, by index; each is read when it is used.

    Attributes:
        samples: path and label of each.
        loader: reads a file.
    """

    samples: list[tuple[str, int]]
    loader: Callable[[str], Any]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        path, label = self.samples[index]
        return self.loader(path), label


def _holds_frames(directory: Path, classes: Sequence[str]) -> bool:
    """Whether the first sample is a file of event frames."""
    files = (name for title in classes for name in _files_of(directory / title, classes)[1])
    return next(files, "").lower().endswith(EVENT_SUFFIX)


def _files_of(folder: Path, classes: Sequence[str]) -> tuple[Path, list[str]]:
    """Where the files of a class lie and their names, sorted: the class folder itself, or the only folder in it.

    Raises:
        ValueError: more folders, files beside a folder, or a folder with the name of another class, so that images
            would count for the wrong class or twice.
    """
    entries = [entry for entry in os.scandir(folder) if not is_litter(entry.name)]
    nested = sorted(entry.name for entry in entries if entry.is_dir())
    names = sorted(entry.name for entry in entries if not entry.is_dir())
    if not nested:
        return folder, names
    inner = folder / nested[0]
    known = len(nested) == 1 and not names and (nested[0] not in classes or nested[0] == folder.name)
    if not known or any(entry.is_dir() and not is_litter(entry.name) for entry in os.scandir(inner)):
        raise ValueError(
            f"{folder} holds folders ({first_names(nested)}) whose images would count for class {folder.name}; move "
            "them to their own class, or delete them if they are copies"
        )
    return inner, sorted(entry.name for entry in os.scandir(inner) if not is_litter(entry.name))


def list_samples(directory: Path, classes: Sequence[str], suffixes: tuple[str, ...]) -> list[tuple[str, int]]:
    """Path and label of each sample in the class folders of a part of a tree, sorted.

    Args:
        directory: the part.
        classes: names of its class folders; a label is an index into them.
        suffixes: that the files of samples end in.

    Raises:
        ValueError: a class folder without samples, or with folders inside whose class is not clear.
    """
    samples: list[tuple[str, int]] = []
    empty = []
    for label, title in enumerate(classes):
        folder, names = _files_of(directory / title, classes)
        paths = [os.path.join(folder, name) for name in names if name.lower().endswith(suffixes)]
        samples += [(path, label) for path in paths]
        if not paths:
            empty.append(title)
    if empty:
        raise ValueError(
            f"{directory} has class folders without samples: {first_names(empty)}; unpack them again or delete them "
            f"(samples end in {', '.join(suffixes)})"
        )
    return samples


def _scan(
    directory: Path,
    classes: Sequence[str],
    suffixes: tuple[str, ...],
    loader: Callable[[str], Any],
) -> Part:
    samples = list_samples(directory, classes, suffixes)
    start = len(str(directory)) + 1
    named = [(path[start:].replace(os.sep, "/"), label) for path, label in samples]
    return make_part(FolderSamples(samples, loader), named)


def _check_links(paths: Sequence[str]) -> None:
    """Raise where two paths lead to one file, which would count twice, or be trained and tested on.

    Files are looked at one by one only where the listings of the folders show links, or an inode twice.
    """
    folders = {folder: os.path.realpath(folder) for folder in {os.path.dirname(path) for path in paths}}
    links: set[str] = set()
    inodes: set[int] = set()
    shared = False
    for entry in chain.from_iterable(map(os.scandir, folders)):
        if entry.is_symlink():
            links.add(entry.path)
        else:
            shared |= entry.inode() in inodes
            inodes.add(entry.inode())
    if not links and not shared and len(set(folders.values())) == len(folders):
        return
    counted: dict[Hashable, str] = {}
    for path in paths:
        folder, name = os.path.split(path)
        file: Hashable = os.path.realpath(path) if path in links else os.path.join(folders[folder], name)
        if shared:
            about = os.stat(path)
            file = (about.st_dev, about.st_ino) if about.st_nlink > 1 else file  # several names of one file
        first = counted.setdefault(file, path)
        if first != path:
            raise ValueError(f"{path} and {first} lead to one file, which would count twice; delete one of them")
