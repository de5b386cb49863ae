"""Trees of class folders, with images or with event frames."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torchvision import datasets

from .base import Data, Normalisation, Part, assemble, part_of
from .options import DataOptions
from .roots import check_classes, check_tree, content, resolve_root, some

__all__ = ["EVENT_SUFFIX", "IMAGENET", "class_folders", "image_folder", "read_tree"]

IMAGENET = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

IMAGENET_IMAGES = (1_281_167, 50_000)
EVENT_SUFFIX = ".npz"
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")


def image_folder(
    root: Path | str, options: DataOptions, *, classes: int | None = None, normalisation: Normalisation | None = None
) -> Data:
    """An own tree of class folders with images or event frames; its two folders are the split.

    Args:
        root: folder that holds ``train`` and ``test``, or ``val`` where there is no ``test``.
        options: see :class:`DataOptions`; event frames need ``time_steps``.
        classes: how many are expected; None takes what is there.
        normalisation: mean and standard deviation of each channel, for images from 0 to 1; None for ImageNet's.

    Returns:
        :class:`Data` named ``"folder"`` or ``"event-folder"``.

    Raises:
        FileNotFoundError: a folder is not there, or another one is meant.
        ValueError: images that are not sorted or not unpacked, folders that differ or are empty, event frames that
            do not fit, or another number of classes.

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
    return read_tree(resolve_root(root), options, classes, normalisation or IMAGENET)


def read_tree(
    folder: Path,
    options: DataOptions,
    own: int | None,
    normalisation: Normalisation,
    *,
    row: str = "folder",
    split: str | None = None,
) -> Data:
    """``own`` is the number of classes that is expected; ``row`` is ``"imagenet"`` if it may be that.

    ``split`` is what a row of events says for its own data set, and means nothing here.
    """
    if options.split != split:
        raise ValueError(f"split must be None for {folder}, whose folders are the split, got {options.split!r}")
    # the test folder of ImageNet has no labels
    choices = ("val", "test") if row == "imagenet" else ("test", "val")
    test = next((folder / part for part in choices if (folder / part).is_dir()), None)
    if not (folder / "train").is_dir() or test is None:
        check_tree(folder, choices)
        raise FileNotFoundError(f"root must hold train and {' or '.join(choices)}; {folder} has {content(folder)}")
    names = {directory: class_folders(directory) for directory in (folder / "train", test)}
    classes, others = names.values()
    if classes != others:
        raise ValueError(
            f"{folder / 'train'} and {test} must have the same class folders; only one of them has "
            f"{some(sorted(set(classes) ^ set(others)))}"
        )
    check_classes(len(classes), own, options, folder)
    suffixes: tuple[str, ...] = datasets.folder.IMG_EXTENSIONS
    loader: Callable[[str], Any] = _load_image
    is_event = _holds_frames(folder / "train", classes)
    if is_event:
        if options.time_steps is None:
            raise ValueError("time_steps must be given for events: how many frames each recording has")
        suffixes, loader = (EVENT_SUFFIX,), _FrameLoader(options.time_steps)
    parts = [_scan(directory, suffixes, loader) for directory in names]
    if is_event:
        loader(parts[0].source.samples[0][0])
    is_imagenet = row == "imagenet" and len(classes) == 1000 and all(re.fullmatch(r"n\d{8}", name) for name in classes)
    counts = tuple(len(part.rows) for part in parts)
    complete = not is_imagenet or counts == IMAGENET_IMAGES
    if not (complete or options.allow_partial):
        raise ValueError(
            f"{folder} is half-unpacked: ImageNet has {IMAGENET_IMAGES} images, this has {counts}; unpack it again, or "
            "pass allow_partial=True if this is meant"
        )
    return assemble(
        "imagenet" if is_imagenet else "event-folder" if is_event else "folder",
        parts,
        options,
        classes=classes,
        split_name="official" if is_imagenet else "folders",
        complete=complete,
        normalisation=None if is_event else normalisation,
        centre_crop=row == "imagenet",
    )


def class_folders(directory: Path) -> list[str]:
    """Names of the class folders, after a look at what else lies there."""
    entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    folders = [entry.name for entry in entries if entry.is_dir()]
    files = [entry.name for entry in entries if not entry.is_dir()]
    packed = [name for name in files if name.lower().endswith(ARCHIVES)]
    if packed:
        raise ValueError(f"{directory} holds {some(packed)}; unpack each into a folder of its class and move it away")
    loose = [name for name in files if name.lower().endswith((*datasets.folder.IMG_EXTENSIONS, EVENT_SUFFIX))]
    if loose:
        raise ValueError(
            f"{directory} must hold one folder for each class, but {len(loose)} samples lie loose in it, such as "
            f"{loose[0]}; sort them into class folders"
        )
    if not folders:
        raise ValueError(f"{directory} must hold one folder for each class, and it has {content(directory)}")
    return folders


def _holds_frames(directory: Path, classes: Sequence[str]) -> bool:
    """Whether the first sample that is found is an array."""
    files = (file for name in classes for file in os.listdir(directory / name) if not file.startswith("."))
    return next(files, "").endswith(EVENT_SUFFIX)


def _scan(directory: Path, suffixes: tuple[str, ...], loader: Callable[[str], Any]) -> Part:
    source = datasets.DatasetFolder(directory, loader, suffixes, allow_empty=True)
    filled = set(source.targets)
    empty = [name for name, label in source.class_to_idx.items() if label not in filled]
    if empty:
        raise ValueError(
            f"{directory} has class folders without samples: {some(empty)}; unpack them again or delete them "
            f"(samples end in {', '.join(suffixes)})"
        )
    start = len(str(directory)) + 1
    return part_of(source, [(path[start:].replace(os.sep, "/"), label) for path, label in source.samples])


def _load_image(path: str) -> Any:
    try:
        return datasets.folder.default_loader(path)
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as an image ({error}); replace or delete it") from error


@dataclass(frozen=True)
class _FrameLoader:
    """Event frames of one recording, as SpikingJelly writes them."""

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
