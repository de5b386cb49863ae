"""CIFAR-10 and CIFAR-100, read by torchvision; all images of a part are loaded at once."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, ClassVar

from torchvision import datasets
from torchvision.datasets.utils import check_integrity

from .base import Data, make_data, make_part
from .folders import folder_data
from .options import DataOptions
from .roots import check_classes, check_level, check_no_split, check_tree, is_tree, resolve_root

__all__ = ["cifar10", "cifar100"]

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
        FileNotFoundError: root must be a folder that is there, got /no/such/folder
    """
    return _cifar("cifar10", _CIFAR10, 10, root, options)


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
        FileNotFoundError: root must be a folder that is there, got /no/such/folder
    """
    return _cifar("cifar100", _CIFAR100, 100, root, options)


class _CIFAR10(datasets.CIFAR10):  # type: ignore[misc]
    """torchvision's reader without its checksums: :func:`_cifar` compares them itself, to say what is wrong."""

    train_list: ClassVar = [[name, None] for name, _ in datasets.CIFAR10.train_list]
    test_list: ClassVar = [[name, None] for name, _ in datasets.CIFAR10.test_list]
    meta: ClassVar = {**datasets.CIFAR10.meta, "md5": None}


class _CIFAR100(datasets.CIFAR100):  # type: ignore[misc]
    """The same for CIFAR-100."""

    train_list: ClassVar = [[name, None] for name, _ in datasets.CIFAR100.train_list]
    test_list: ClassVar = [[name, None] for name, _ in datasets.CIFAR100.test_list]
    meta: ClassVar = {**datasets.CIFAR100.meta, "md5": None}


def _cifar(name: str, kind: Any, official_classes: int, root: Path | str, options: DataOptions) -> Data:
    folder = resolve_root(root, make=options.download)
    if is_tree(folder):
        check_no_split(f"{folder}, whose folders are the split", options)
        return folder_data(folder, options, official_classes, CIFAR)
    check_no_split(f"{name}, which has an official one", options)
    official = kind.__base__
    sums = dict([*official.train_list, *official.test_list, (official.meta["filename"], official.meta["md5"])])
    files = {folder / kind.base_folder / file: md5 for file, md5 in sums.items()}
    if not all(path.is_file() for path in files):
        _fetch_cifar(kind, folder, list(files), options)
    differing = [path for path, md5 in files.items() if not check_integrity(path, md5)]
    if differing and not options.allow_partial:
        raise ValueError(_damage(differing[0], kind.filename))
    try:
        sources = [kind(folder, train=True), kind(folder, train=False)]
    except (AttributeError, EOFError, ImportError, KeyError, IndexError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(f"{folder / kind.base_folder} holds no readable CIFAR files: {error!r}") from error
    classes = sources[0].classes
    check_classes(len(classes), official_classes, options, folder)
    highest = max(label for source in sources for label in source.targets)
    if highest >= len(classes):
        raise ValueError(
            f"{folder / kind.base_folder} has names for {len(classes)} classes, but labels up to {highest}"
        )
    parts = [make_part(source, [(str(row), label) for row, label in enumerate(source.targets)]) for source in sources]
    return make_data(
        name, parts, options, classes=classes, split_name="official", complete=not differing, normalisation=CIFAR
    )


def _fetch_cifar(kind: Any, folder: Path, files: list[Path], options: DataOptions) -> None:
    """Download the files if ``download`` is True, else raise an error that says what is missing."""
    base = folder / kind.base_folder
    if not base.is_dir():
        check_level(folder, [kind.base_folder], inside=kind.meta["filename"])
        check_tree(folder)
    if options.download:
        kind(folder, download=True)
        return
    missing = [path.name for path in files if not path.is_file()]
    if base.is_dir():
        raise FileNotFoundError(
            f"{base} is half-unpacked, it has no {', '.join(missing)}; unpack {kind.filename} again"
        )
    if (folder / kind.filename).is_file():
        raise FileNotFoundError(f"{folder / kind.filename} was not unpacked; run tar -xzf {kind.filename} in {folder}")
    raise FileNotFoundError(
        f"{folder} holds no {kind.base_folder} (nor train with test or val, a tree of your own); pass download=True, "
        f"or unpack {kind.url} there"
    )


def _damage(path: Path, archive: str) -> str:
    """What is wrong with a file, without unpickling it; the last byte of a whole pickle is ``pickle.STOP``."""
    if path.read_bytes()[-1:] != pickle.STOP:
        return f"{path} is cut off, a half-unpacked file; delete {path.parent} and unpack {archive} again"
    return (
        f"{path} differs from the official file (md5); delete {path.parent} and unpack {archive} again, or pass "
        "allow_partial=True if this is meant"
    )
