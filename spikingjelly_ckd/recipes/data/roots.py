"""What a root folder has to be, and what is said of one that is another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .options import DataOptions

__all__ = ["check_classes", "check_level", "check_no_split", "check_tree", "content", "is_tree", "resolve_root", "some"]


def resolve_root(root: Path | str, *, make: bool = False) -> Path:
    """Absolute, since SpikingJelly's links to a relative folder would lead nowhere."""
    if not isinstance(root, Path | str):
        raise TypeError(f"root must be a path, got {type(root).__name__} {root!r}")
    folder = Path(root).expanduser().resolve()
    if make:
        folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        raise FileNotFoundError(f"root must be a folder that is there, got {folder}")
    return folder


def check_level(folder: Path, names: Sequence[str], inside: str | None = None) -> None:
    """Whether the folder above is meant, or one below.

    ``names`` are what the right folder holds, the first in any case; ``inside`` is something that the first holds.
    """
    name = names[0]
    above = [
        outer.parent for outer in (folder, folder.parent) if outer.name in names and (outer.parent / name).is_dir()
    ]
    if inside and (folder / inside).exists():
        above.append(folder.parent)
    if above:
        raise FileNotFoundError(f"root must be the folder that holds {name}; {folder} is inside: pass {above[0]}")
    for child in sorted(folder.iterdir()):
        if os.path.isdir(child / name):
            raise FileNotFoundError(f"root must be the folder that holds {name}; {folder} is above: pass {child}")


def check_tree(folder: Path, choices: Sequence[str] = ("test", "val")) -> None:
    """Whether a tree is meant that is above or inside, or that lacks a part."""
    parts = ("train", *choices)
    check_level(folder, parts)
    if any((folder / part).is_dir() for part in parts):
        raise FileNotFoundError(f"root must hold train and {' or '.join(choices)}; {folder} has {content(folder)}")


def check_classes(found: int, own: int | None, options: DataOptions, folder: Path) -> None:
    """Whether there are as many classes as ``num_classes`` says, or as the data set has of its own."""
    expected = options.num_classes or own
    if expected is None or found == expected:
        return
    raise ValueError(
        f"{folder} has {found} classes, but "
        + (f"num_classes={expected}" if options.num_classes else f"this data set has {expected}")
        + f"; if they are all meant, say num_classes={found}"
    )


def check_no_split(name: str, options: DataOptions) -> None:
    """Whether a split was asked for where there is an official one."""
    if options.split is not None:
        raise ValueError(f"split must be None for {name}, which has an official one, got {options.split!r}")


def is_tree(folder: Path) -> bool:
    """Whether there are class folders for training and for testing."""
    return (folder / "train").is_dir() and any((folder / part).is_dir() for part in ("test", "val"))


def some(names: Sequence[str]) -> str:
    """The first three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def content(directory: Path) -> str:
    """What lies in a folder, for a message."""
    return some(sorted(os.listdir(directory))) or "nothing in it"
