"""The files of a tree of class folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from torchvision import datasets

from .base import Part, make_part
from .roots import first_names, list_content

__all__ = ["EVENT_SUFFIX", "FolderSamples", "class_folders", "is_litter", "list_samples"]

EVENT_SUFFIX = ".npz"
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
LITTER = ("__MACOSX", "@eaDir", "lost+found")
"""Folders that archives of macOS, network drives and file systems leave, beside those whose names begin with a dot."""


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


def files_of(folder: Path, classes: Sequence[str]) -> tuple[Path, list[str]]:
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
        folder, names = files_of(directory / title, classes)
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


def scan(
    directory: Path,
    classes: Sequence[str],
    suffixes: tuple[str, ...],
    loader: Callable[[str], Any],
) -> Part:
    """The samples of a part of a tree, and their names below it.

    Args:
        directory: with the class folders.
        classes: names of the class folders, in order.
        suffixes: of the files that are samples.
        loader: reads one.
    """
    samples = list_samples(directory, classes, suffixes)
    start = len(str(directory)) + 1
    named = [(path[start:].replace(os.sep, "/"), label) for path, label in samples]
    return make_part(FolderSamples(samples, loader), named)


def check_links(paths: Sequence[str]) -> None:
    """Raise where two paths lead to one file, which would count twice, or be trained and tested on.

    Files are looked at one by one only where the listings of the folders show links, or an inode twice.

    Args:
        paths: of all samples.

    Raises:
        ValueError: two do.
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
