"""Checks of the folder that a user passes as ``root``, with advice where it is another than the one expected."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ...errors.arguments import ArgumentNotFoundError, ArgumentTypeError, ArgumentValueError
from .options import DataOptions

__all__ = [
    "check_classes",
    "check_level",
    "check_no_split",
    "check_tree",
    "first_names",
    "incomplete_tree",
    "is_tree",
    "list_content",
    "resolve_root",
]


def resolve_root(root: Path | str, *, make: bool = False) -> Path:
    """The absolute path of ``root``; links that SpikingJelly makes to a relative folder would be broken.

    Args:
        root: as the user gave it; ``~`` is the home folder.
        make: create the folder if it does not exist.

    Raises:
        TypeError: ``root`` is no path.
        FileNotFoundError: it is no folder that exists.
    """
    if not isinstance(root, Path | str):
        raise ArgumentTypeError("root", f"must be a path, got {type(root).__name__} {root!r}")
    folder = Path(root).expanduser().resolve()
    if make:
        folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        raise ArgumentNotFoundError("root", f"must be a folder that is there, got {folder}")
    return folder


def check_level(folder: Path, names: Sequence[str], inside: str | None = None) -> None:
    """Check that the data do not lie one level above or below ``folder``.

    Args:
        folder: the user's root.
        names: what the right folder holds: the first in any case, of the others at least one.
        inside: something that the first of ``names`` holds.

    Raises:
        FileNotFoundError: the folder above is the right one, or one inside; the message says which.
    """
    name = names[0]
    above = [
        outer.parent for outer in (folder, folder.parent) if outer.name in names and (outer.parent / name).is_dir()
    ]
    if inside and (folder / inside).exists():
        above.append(folder.parent)
    if above:
        raise ArgumentNotFoundError("root", f"must be the folder with {name}; {folder} is inside: pass {above[0]}")
    for child in sorted(folder.iterdir()):
        if os.path.isdir(child / name):
            raise ArgumentNotFoundError("root", f"must be the folder with {name}; {folder} is above: pass {child}")


def is_tree(folder: Path) -> bool:
    """Whether ``folder`` holds class folders for training and for testing."""
    return (folder / "train").is_dir() and any((folder / part).is_dir() for part in ("test", "val"))


def check_tree(folder: Path) -> None:
    """Check that ``folder``, which is no tree of class folders, was not meant as one.

    Raises:
        FileNotFoundError: a tree lies one level above or below, or the one here lacks a part.
    """
    parts = ("train", "test", "val")
    check_level(folder, parts)
    if any((folder / part).is_dir() for part in parts):
        raise incomplete_tree(folder)


def incomplete_tree(folder: Path, test_names: Sequence[str] = ("test", "val")) -> FileNotFoundError:
    """The error of a tree of class folders that lacks its training or its test part."""
    text = f"must hold train and {' or '.join(test_names)}; {folder} has {list_content(folder)}"
    return ArgumentNotFoundError("root", text)


def check_classes(found: int, official: int | None, options: DataOptions, folder: Path) -> None:
    """Check the number of classes against ``num_classes``, or else against the data set's official number.

    Args:
        found: how many classes there are.
        official: how many the data set has; None if it may have any number.
        options: whose ``num_classes`` is used.
        folder: for the message.

    Raises:
        ValueError: another number.
    """
    expected = options.num_classes or official
    if expected is None or found == expected:
        return
    wanted = f"{expected} were asked for" if options.num_classes else f"this data set has {expected}"
    raise ArgumentValueError(
        "",
        f"{folder} has {found} classes, but {wanted}; if they are all meant, pass {{remedy}}",
        remedy={"num_classes": found},
    )


def check_no_split(where: str, options: DataOptions) -> None:
    """Check that no split was chosen where there is only one.

    Args:
        where: the data and the reason, for the message.
        options: whose ``split`` is looked at.

    Raises:
        ValueError: a split was chosen.
    """
    if options.split is not None:
        raise ArgumentValueError("split", f"must be None for {where}, got {options.split!r}")


def first_names(names: Sequence[str]) -> str:
    """The first three of ``names`` and how many more there are, for a message.

    Example:
        >>> first_names("abcde")
        'a, b, c and 2 more'
    """
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def list_content(directory: Path) -> str:
    """What lies in a folder, for a message."""
    return first_names(sorted(os.listdir(directory))) or "nothing in it"
