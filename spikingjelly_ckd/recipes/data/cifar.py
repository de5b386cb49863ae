"""CIFAR-10 and CIFAR-100 in the files of their authors; all images of a part are loaded at once.

The files are pickles. They are read without running anything that they name.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torchvision import datasets
from torchvision.datasets.utils import check_integrity, download_and_extract_archive

from ...errors.arguments import ArgumentNotFoundError, ArgumentValueError
from ..unpickling import NumpyArray, load_plain
from .base import Data, make_data, make_part
from .folders import folder_data
from .options import DataOptions
from .roots import check_classes, check_level, check_no_split, check_tree, is_tree, resolve_root

__all__ = ["cifar10", "cifar100"]

IMAGE = (3, 32, 32)
CIFAR = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
"""Mean and standard deviation for both CIFARs, as in the code of CKDSNN."""


def cifar10(root: Path | str, options: DataOptions) -> Data:
    """CIFAR-10 (Krizhevsky, 2009): 50,000 and 10,000 images of 32x32 in 10 classes; or a tree of your own.

    Args:
        root: folder that holds ``cifar-10-batches-py``, or ``train`` and ``test`` or ``val``.
        options: see :class:`DataOptions`.

    Returns:
        :class:`Data`, normalised by the mean and standard deviation that the code of CKDSNN uses.

    Raises:
        FileNotFoundError: the data are not there or not unpacked, or another folder is meant.
        ValueError: a split was chosen, files that are damaged or differ from the official ones, or another number of
            classes.

    Example:
        >>> cifar10("/no/such/folder", DataOptions(crop_padding=4, flip=True))
        Traceback (most recent call last):
        spikingjelly_ckd.errors.arguments.ArgumentNotFoundError: root must be a folder that is
        there, got /no/such/folder
    """
    return _cifar("cifar10", datasets.CIFAR10, 10, root, options)


def cifar100(root: Path | str, options: DataOptions) -> Data:
    """CIFAR-100 (Krizhevsky, 2009): 50,000 and 10,000 images of 32x32 in 100 classes; or a tree of your own.

    Args:
        root: folder that holds ``cifar-100-python``, or ``train`` and ``test`` or ``val``.
        options: see :class:`DataOptions`.

    Returns:
        :class:`Data`, normalised as CIFAR-10, which the code of CKDSNN does for both.

    Raises:
        FileNotFoundError: the data are not there or not unpacked, or another folder is meant.
        ValueError: a split was chosen, files that are damaged or differ from the official ones, or another number of
            classes.

    Example:
        >>> cifar100("/no/such/folder", DataOptions(crop_padding=4, flip=True))
        Traceback (most recent call last):
        spikingjelly_ckd.errors.arguments.ArgumentNotFoundError: root must be a folder that is
        there, got /no/such/folder
    """
    return _cifar("cifar100", datasets.CIFAR100, 100, root, options)


@dataclass(frozen=True)
class _Images:
    """The images of a part, ``[N, 32, 32, 3]``, and their labels; a sample is ``(picture, label)``."""

    data: np.ndarray[Any, np.dtype[np.uint8]]
    targets: list[int]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.data[index]), self.targets[index]


def _cifar(name: str, kind: Any, official_classes: int, root: Path | str, options: DataOptions) -> Data:
    folder = resolve_root(root, make=options.download)
    if is_tree(folder):
        check_no_split(f"{folder}, whose folders are the split", options)
        return folder_data(folder, options, official_classes, CIFAR)
    check_no_split(f"{name}, which has an official one", options)
    sums = dict([*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])])
    files = {folder / kind.base_folder / file: md5 for file, md5 in sums.items()}
    if not all(path.is_file() for path in files):
        _fetch_cifar(kind, folder, list(files), options)
    differing = [path for path, md5 in files.items() if not check_integrity(path, md5)]
    if differing and not options.allow_partial:
        raise _damage(differing[0], kind.filename)
    base = folder / kind.base_folder
    classes = _read_names(base / kind.meta["filename"], kind.meta["key"])
    sources = [_read_images([base / name for name, _ in listed]) for listed in (kind.train_list, kind.test_list)]
    check_classes(len(classes), official_classes, options, folder)
    labels = [label for source in sources for label in source.targets]
    if not 0 <= min(labels) <= max(labels) < len(classes):
        raise ValueError(f"{base} has names for {len(classes)} classes, but labels from {min(labels)} to {max(labels)}")
    parts = [make_part(source, [(str(row), label) for row, label in enumerate(source.targets)]) for source in sources]
    return make_data(
        name, parts, options, classes=classes, split_name="official", complete=not differing, normalisation=CIFAR
    )


def _read_names(path: Path, key: str) -> list[str]:
    """Names of the classes."""
    content = load_plain(path)
    names = content.get(key) if isinstance(content, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path} must hold the names of the classes under {key!r}; unpack the archive again")
    return names


def _read_images(paths: Sequence[Path]) -> _Images:
    """The images and labels of several files, in their order."""
    parts = [_read_batch(path) for path in paths]
    images = np.vstack([pixels for pixels, _ in parts]).reshape(-1, *IMAGE)
    return _Images(images.transpose(0, 2, 3, 1), [label for _, labels in parts for label in labels])


def _read_batch(path: Path) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], list[int]]:
    """The images ``[N, 3072]`` and labels of a file."""
    content = load_plain(path)
    try:
        images, labels = (
            value.read() if isinstance(value, NumpyArray) else np.asarray(value)
            for value in (content["data"], content["labels" if "labels" in content else "fine_labels"])
        )
    except Exception as error:  # whatever an odd value makes of NumPy
        raise ValueError(f"{path} must hold images and labels under 'data' and 'labels': {error!r}") from error
    width = math.prod(IMAGE)
    if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != width or not len(images):
        raise ValueError(f"{path} must hold images [N, {width}] of type uint8, got {images.shape} of {images.dtype}")
    if labels.dtype.kind not in "ui" or labels.shape != images.shape[:1]:
        raise ValueError(f"{path} must hold {len(images)} whole numbers as labels, got {labels.shape} {labels.dtype}")
    return images, labels.tolist()


def _fetch_cifar(kind: Any, folder: Path, files: list[Path], options: DataOptions) -> None:
    """Download the files if ``download`` is True, else raise an error that says what is missing."""
    base = folder / kind.base_folder
    if not base.is_dir():
        check_level(folder, [kind.base_folder], inside=kind.meta["filename"])
        check_tree(folder)
    if options.download:
        download_and_extract_archive(kind.url, folder, filename=kind.filename, md5=kind.tgz_md5)
        return
    missing = [path.name for path in files if not path.is_file()]
    if base.is_dir():
        raise FileNotFoundError(
            f"{base} is half-unpacked, it has no {', '.join(missing)}; unpack {kind.filename} again"
        )
    if (folder / kind.filename).is_file():
        raise FileNotFoundError(f"{folder / kind.filename} was not unpacked; run tar -xzf {kind.filename} in {folder}")
    raise ArgumentNotFoundError(
        "",
        f"{folder} holds no {kind.base_folder} (nor train with test or val, a tree of your own); pass {{remedy}}, or "
        f"unpack {kind.url} there",
        remedy={"download": True},
    )


def _damage(path: Path, archive: str) -> ValueError:
    """What is wrong with a file, without unpickling it; the last byte of a whole pickle is ``pickle.STOP``."""
    if path.read_bytes()[-1:] != pickle.STOP:
        return ValueError(f"{path} is cut off, a half-unpacked file; delete {path.parent} and unpack {archive} again")
    return ArgumentValueError(
        "",
        f"{path} differs from the official file (md5); delete {path.parent} and unpack {archive} again, or pass "
        "{remedy} if this is meant",
        remedy={"allow_partial": True},
    )
