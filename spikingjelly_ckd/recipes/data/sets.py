"""CIFAR-10, CIFAR-100, ImageNet, CIFAR10-DVS, and anyone's folders of images or event frames, in one form.

Each function takes a folder and :class:`DataOptions` and gives :class:`Data`: a training and a test set with their
classes, normalisation, split and its hash. Nothing but names is read before a sample is asked for (CIFAR excepted,
whose files hold all images at once), and everything can be pickled, so workers may be spawned.

Where a data set of its own name is expected, a tree of class folders is taken as well::

    root/train/<class>/*.png    root/test/<class>/*.png    (or val/ for test/; any image torchvision reads)
    root/train/<class>/*.npz    root/test/<class>/*.npz    (event frames, key "frames", [T, 2, H, W])
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import datasets
from torchvision.datasets.utils import check_integrity

from .augment import event_transform, image_transform
from .options import DataOptions
from .splits import (
    DVS_CLASSES,
    RECORDINGS_PER_CLASS,
    SPLIT_HASHES,
    Sample,
    dvs_samples,
    split,
    split_hash,
    stratified_subset,
)

__all__ = ["Data", "DataOptions", "cifar10", "cifar10dvs", "cifar100", "image_folder", "imagenet"]

CIFAR = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
"""Mean and standard deviation for both CIFARs, as in the code of CKDSNN."""

IMAGENET = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

IMAGENET_IMAGES = (1_281_167, 50_000)
EVENT_SUFFIX = ".npz"
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Data:
    """A training and a test set, and what a record says about them.

    Attributes:
        name: ``"cifar10"``, ``"cifar100"``, ``"imagenet"``, ``"cifar10dvs"``; ``"folder"`` or ``"event-folder"`` for
            an own tree.
        train: augmented; gives float32 ``[C, size, size]``, normalised, or event frames ``[T, 2, size, size]``, and
            the class as an integer.
        test: the same without augmentation.
        classes: their names; a label is an index into them.
        in_channels: ``C``: 3, or 2 for events.
        size: height and width, pixels.
        mean: of the normalisation, by channel, for images from 0 to 1; None for events, which stay counts.
        std: likewise.
        is_event: whether samples have a time axis.
        split: ``"official"``; ``"folders"`` for an own tree; ``"cifar10dvs-<name>"``. With ``"[train+test]"`` numbers
            of samples where only some are used.
        split_hash: sha256 of what is in which part, :func:`spikingjelly_ckd.recipes.data.splits.split_hash`.
        complete: False if the files are not the official ones (``allow_partial``): no number from them belongs in a
            table beside official ones.
    """

    name: str
    train: Dataset[tuple[Tensor, int]]
    test: Dataset[tuple[Tensor, int]]
    classes: tuple[str, ...]
    in_channels: int
    size: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    is_event: bool
    split: str
    split_hash: str
    complete: bool

    @property
    def num_classes(self) -> int:
        """``K``, how many classes there are."""
        return len(self.classes)


def cifar10(root: Path | str, options: DataOptions) -> Data:
    """CIFAR-10 (Krizhevsky, 2009): 50,000 and 10,000 images of 32x32 in 10 classes; or an own tree.

    Args:
        root: folder that holds ``cifar-10-batches-py``, or ``train`` and ``test`` or ``val``.
        options: see :class:`DataOptions`.

    Returns:
        :class:`Data`, normalised by the mean and standard deviation that the code of CKDSNN uses.

    Raises:
        FileNotFoundError: the data is not there, or not unpacked, or another folder is meant.
        ValueError: damaged or other files, or another number of classes.

    Example:
        >>> cifar10("/no/such/folder", DataOptions(crop_padding=4, flip=True))
        Traceback (most recent call last):
        FileNotFoundError: root must be a folder that is there, got /no/such/folder
    """
    return _cifar("cifar10", _CIFAR10, 10, root, options)


def cifar100(root: Path | str, options: DataOptions) -> Data:
    """CIFAR-100 (Krizhevsky, 2009): 50,000 and 10,000 images of 32x32 in 100 classes; or an own tree.

    Args:
        root: folder that holds ``cifar-100-python``, or ``train`` and ``test`` or ``val``.
        options: see :class:`DataOptions`.

    Returns:
        :class:`Data`, normalised as CIFAR-10, which the code of CKDSNN does for both.

    Raises:
        FileNotFoundError: the data is not there, or not unpacked, or another folder is meant.
        ValueError: damaged or other files, or another number of classes.

    Example:
        >>> cifar100("/no/such/folder", DataOptions(crop_padding=4, flip=True))
        Traceback (most recent call last):
        FileNotFoundError: root must be a folder that is there, got /no/such/folder
    """
    return _cifar("cifar100", _CIFAR100, 100, root, options)


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
    _check_no_split("imagenet", options)
    return _tree(_folder(root), options, 1000, IMAGENET, row="imagenet")


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
    return _tree(_folder(root), options, classes, normalisation or IMAGENET)


def cifar10dvs(root: Path | str, options: DataOptions) -> Data:
    """CIFAR10-DVS (Li et al., 2017) by SpikingJelly: 10,000 recordings of 128x128 in 10 classes; or an own tree.

    Events are divided into ``time_steps`` frames of equal numbers of events (``split_by="number"``) and counted;
    SpikingJelly writes these frames beside the events at the first use, which takes minutes. Frames are resized
    bilinearly to ``size`` and not normalised.

    Args:
        root: folder that holds ``events_np/<class>/cifar10_<class>_<i>.npz``, or ``train`` and ``test`` or ``val``.
        options: see :class:`DataOptions`; ``time_steps`` and ``split`` are needed (an own tree has its own split).

    Returns:
        :class:`Data`.

    Raises:
        FileNotFoundError: the data is not there, or another folder is meant.
        ValueError: no split or no ``time_steps``, half-unpacked data, or another number of classes.

    Example:
        >>> cifar10dvs(".", DataOptions(size=48, time_steps=10, flip=True, nda=True))
        Traceback (most recent call last):
        ValueError: split must be one of ['first90', 'random42', 'tebn']: CIFAR10-DVS has no official one; got None
    """
    folder = _folder(root)
    if _is_tree(folder):
        return _tree(folder, options, 10, IMAGENET, split=options.split)
    if options.split not in SPLIT_HASHES:
        raise ValueError(
            f"split must be one of {sorted(SPLIT_HASHES)}: CIFAR10-DVS has no official one; got {options.split!r}"
        )
    if options.time_steps is None:
        raise ValueError("time_steps must be given for events: into how many frames a recording is divided")
    recordings, classes = _recordings(folder, options)
    integrated = folder / f"frames_number_{options.time_steps}_split_by_number"
    _check_finished(integrated)
    frames = _spikingjelly(folder, data_type="frame", frames_number=options.time_steps, split_by="number")
    if [(Path(path).name, label) for path, label in frames.samples] != recordings:
        raise ValueError(
            f"{integrated} holds other recordings than events_np beside it: its making was broken off, or "
            "SpikingJelly's CIFAR10DVSTEBNSplit left links there; delete that folder, it will be made again"
        )
    parts = [_part(frames, recordings, rows) for rows in split(options.split, recordings)]
    return _data(
        "cifar10dvs",
        parts,
        options,
        classes=classes,
        split_name=f"cifar10dvs-{options.split}",
        complete=recordings == dvs_samples(),
    )


class _Part(NamedTuple):
    """Some samples of a data set: ``rows`` of ``source``, and their names and labels."""

    source: Any
    rows: Tensor
    samples: list[Sample]


class _Samples(Dataset[tuple[Tensor, int]]):
    """``rows`` of a data set of images or arrays, each through ``transform``."""

    def __init__(self, source: Any, rows: Tensor, transform: Callable[[Any], Tensor]) -> None:
        self.source = source
        self.rows = rows
        self.transform = transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        sample, label = self.source[int(self.rows[index])]
        if isinstance(sample, np.ndarray):
            sample = torch.from_numpy(sample)
        return self.transform(sample), int(label)


def _part(source: Any, samples: list[Sample], rows: Sequence[int] | Tensor | None = None) -> _Part:
    rows = torch.arange(len(samples)) if rows is None else torch.as_tensor(rows)
    return _Part(source, rows, [samples[row] for row in rows.tolist()])


def _data(
    name: str,
    parts: Sequence[_Part],
    options: DataOptions,
    *,
    classes: Sequence[str],
    split_name: str,
    complete: bool,
    normalisation: Normalisation | None = None,
    centre_crop: bool = False,
) -> Data:
    """Subsets, transforms and hash; ``normalisation`` None is for events."""
    counts = {"train_images": options.train_images, "test_images": options.test_images}
    parts = [_subset(part, count, key, len(classes)) for part, (key, count) in zip(parts, counts.items(), strict=True)]
    if any(count is not None for count in counts.values()):
        split_name += f"[{'+'.join(str(len(part.rows)) for part in parts)}]"
    used = []
    for part, train in zip(parts, (True, False), strict=True):
        if normalisation is None:
            transform = event_transform(options, train=train)
        else:
            mean, std = normalisation
            transform = image_transform(options, train=train, mean=mean, std=std, centre_crop=centre_crop)
        used.append(_Samples(part.source, part.rows, transform))
    mean_std = normalisation or (None, None)
    return Data(
        name=name,
        train=used[0],
        test=used[1],
        classes=tuple(classes),
        in_channels=2 if normalisation is None else 3,
        size=options.size,
        mean=mean_std[0],
        std=mean_std[1],
        is_event=normalisation is None,
        split=split_name,
        split_hash=split_hash({"train": parts[0].samples, "test": parts[1].samples}),
        complete=complete,
    )


def _subset(part: _Part, count: int | None, name: str, num_classes: int) -> _Part:
    if count is None:
        return part
    labels = torch.tensor([label for _, label in part.samples])
    chosen = stratified_subset(labels, count, num_classes, name=name)
    return _Part(part.source, part.rows[chosen], [part.samples[row] for row in chosen.tolist()])


# --- folders ---------------------------------------------------------------------------------------------------------


def _folder(root: Path | str, *, make: bool = False) -> Path:
    """Absolute, since SpikingJelly's links to a relative folder would lead nowhere."""
    if not isinstance(root, Path | str):
        raise TypeError(f"root must be a path, got {type(root).__name__} {root!r}")
    folder = Path(root).expanduser().resolve()
    if make:
        folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        raise FileNotFoundError(f"root must be a folder that is there, got {folder}")
    return folder


def _check_level(folder: Path, names: Sequence[str], inside: str | None = None) -> None:
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


def _check_tree(folder: Path, choices: Sequence[str] = ("test", "val")) -> None:
    """Whether a tree is meant that is above or inside, or that lacks a part."""
    parts = ("train", *choices)
    _check_level(folder, parts)
    if any((folder / part).is_dir() for part in parts):
        raise FileNotFoundError(f"root must hold train and {' or '.join(choices)}; {folder} has {_content(folder)}")


def _check_classes(found: int, own: int | None, options: DataOptions, folder: Path) -> None:
    expected = options.num_classes or own
    if expected is None or found == expected:
        return
    raise ValueError(
        f"{folder} has {found} classes, but "
        + (f"num_classes={expected}" if options.num_classes else f"this data set has {expected}")
        + f"; if they are all meant, say num_classes={found}"
    )


def _check_no_split(name: str, options: DataOptions) -> None:
    if options.split is not None:
        raise ValueError(f"split must be None for {name}, which has an official one, got {options.split!r}")


# --- CIFAR -----------------------------------------------------------------------------------------------------------


class _CIFAR10(datasets.CIFAR10):  # type: ignore[misc]
    """torchvision's, without its checksums: :func:`_cifar` looks at those itself, to say what is wrong."""

    train_list: ClassVar = [[name, None] for name, _ in datasets.CIFAR10.train_list]
    test_list: ClassVar = [[name, None] for name, _ in datasets.CIFAR10.test_list]
    meta: ClassVar = {**datasets.CIFAR10.meta, "md5": None}


class _CIFAR100(datasets.CIFAR100):  # type: ignore[misc]
    """As :class:`_CIFAR10`."""

    train_list: ClassVar = [[name, None] for name, _ in datasets.CIFAR100.train_list]
    test_list: ClassVar = [[name, None] for name, _ in datasets.CIFAR100.test_list]
    meta: ClassVar = {**datasets.CIFAR100.meta, "md5": None}


def _cifar(name: str, kind: Any, own: int, root: Path | str, options: DataOptions) -> Data:
    folder = _folder(root, make=options.download)
    if _is_tree(folder):
        return _tree(folder, options, own, CIFAR)
    _check_no_split(name, options)
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
    _check_classes(len(classes), own, options, folder)
    highest = max(label for source in sources for label in source.targets)
    if highest >= len(classes):
        raise ValueError(
            f"{folder / kind.base_folder} has names for {len(classes)} classes, but labels up to {highest}"
        )
    parts = [_part(source, [(str(row), label) for row, label in enumerate(source.targets)]) for source in sources]
    return _data(
        name, parts, options, classes=classes, split_name="official", complete=not differing, normalisation=CIFAR
    )


def _fetch_cifar(kind: Any, folder: Path, files: list[Path], options: DataOptions) -> None:
    """Download if asked to, else say what is wrong."""
    base = folder / kind.base_folder
    if not base.is_dir():
        _check_level(folder, [kind.base_folder], inside=kind.meta["filename"])
        _check_tree(folder)
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
        f"{folder} holds no {kind.base_folder} (nor train with test or val of an own tree); pass download=True, or "
        f"unpack {kind.url} there"
    )


def _damage(path: Path, archive: str) -> str:
    """What is wrong with a file, without unpickling it: a whole pickle ends in a full stop."""
    if path.read_bytes()[-1:] != pickle.STOP:
        return f"{path} is cut off, a half-unpacked file; delete {path.parent} and unpack {archive} again"
    return (
        f"{path} differs from the official file (md5); delete {path.parent} and unpack {archive} again, or pass "
        "allow_partial=True if this is meant"
    )


# --- trees of class folders ------------------------------------------------------------------------------------------


def _is_tree(folder: Path) -> bool:
    return (folder / "train").is_dir() and any((folder / part).is_dir() for part in ("test", "val"))


def _tree(
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
        _check_tree(folder, choices)
        raise FileNotFoundError(f"root must hold train and {' or '.join(choices)}; {folder} has {_content(folder)}")
    names = {directory: _class_folders(directory) for directory in (folder / "train", test)}
    classes, others = names.values()
    if classes != others:
        raise ValueError(
            f"{folder / 'train'} and {test} must have the same class folders; only one of them has "
            f"{_some(sorted(set(classes) ^ set(others)))}"
        )
    _check_classes(len(classes), own, options, folder)
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
    return _data(
        "imagenet" if is_imagenet else "event-folder" if is_event else "folder",
        parts,
        options,
        classes=classes,
        split_name="official" if is_imagenet else "folders",
        complete=complete,
        normalisation=None if is_event else normalisation,
        centre_crop=row == "imagenet",
    )


def _class_folders(directory: Path) -> list[str]:
    """Names of the class folders, after a look at what else lies there."""
    entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    folders = [entry.name for entry in entries if entry.is_dir()]
    files = [entry.name for entry in entries if not entry.is_dir()]
    packed = [name for name in files if name.lower().endswith(ARCHIVES)]
    if packed:
        raise ValueError(f"{directory} holds {_some(packed)}; unpack each into a folder of its class and move it away")
    loose = [name for name in files if name.lower().endswith((*datasets.folder.IMG_EXTENSIONS, EVENT_SUFFIX))]
    if loose:
        raise ValueError(
            f"{directory} must hold one folder for each class, but {len(loose)} samples lie loose in it, such as "
            f"{loose[0]}; sort them into class folders"
        )
    if not folders:
        raise ValueError(f"{directory} must hold one folder for each class, and it has {_content(directory)}")
    return folders


def _holds_frames(directory: Path, classes: Sequence[str]) -> bool:
    """Whether the first sample that is found is an array."""
    files = (file for name in classes for file in os.listdir(directory / name) if not file.startswith("."))
    return next(files, "").endswith(EVENT_SUFFIX)


def _scan(directory: Path, suffixes: tuple[str, ...], loader: Callable[[str], Any]) -> _Part:
    source = datasets.DatasetFolder(directory, loader, suffixes, allow_empty=True)
    filled = set(source.targets)
    empty = [name for name, label in source.class_to_idx.items() if label not in filled]
    if empty:
        raise ValueError(
            f"{directory} has class folders without samples: {_some(empty)}; unpack them again or delete them "
            f"(samples end in {', '.join(suffixes)})"
        )
    start = len(str(directory)) + 1
    return _part(source, [(path[start:].replace(os.sep, "/"), label) for path, label in source.samples])


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _content(directory: Path) -> str:
    return _some(sorted(os.listdir(directory))) or "nothing in it"


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


# --- CIFAR10-DVS -----------------------------------------------------------------------------------------------------


def _recordings(folder: Path, options: DataOptions) -> tuple[list[Sample], list[str]]:
    """Names and labels in file order, and the classes; raises unless all are there or ``allow_partial``."""
    events = folder / "events_np"
    _check_finished(events)
    if not events.is_dir():
        _check_level(folder, ["events_np"], inside=DVS_CLASSES[0])
        _check_tree(folder)
        if not options.download:
            raise FileNotFoundError(_how_to_fetch(folder))
        _spikingjelly(folder, data_type="event")
    classes = _class_folders(events)
    _check_classes(len(classes), len(DVS_CLASSES), options, folder)
    names = {title: sorted(n for n in os.listdir(events / title) if n.endswith(EVENT_SUFFIX)) for title in classes}
    samples = [(name, label) for label, title in enumerate(classes) for name in names[title]]
    if samples != dvs_samples() and not options.allow_partial:
        short = [f"{title} {len(found)}" for title, found in names.items() if len(found) != RECORDINGS_PER_CLASS]
        raise ValueError(
            f"{events} is half-unpacked or not CIFAR10-DVS, which has {RECORDINGS_PER_CLASS} recordings "
            f"cifar10_<class>_<i>.npz of each class ({_some(short) or 'other names'}); delete events_np and make it "
            "again, or pass allow_partial=True if this is meant"
        )
    return samples, classes


def _check_finished(directory: Path) -> None:
    marker = directory.with_name(f"{directory.name}.building")
    if marker.exists():
        raise ValueError(
            f"{directory} is half-unpacked: SpikingJelly was broken off while it made it and left {marker.name}; "
            "delete both, it will be made again"
        )


def _spikingjelly(folder: Path, **arguments: Any) -> Any:
    """``CIFAR10DVS``, without the line that 0.0.0.0.14 prints for each recording."""
    from spikingjelly.datasets.cifar10_dvs import CIFAR10DVS

    with contextlib.redirect_stdout(io.StringIO()):
        return CIFAR10DVS(str(folder), **arguments)


def _how_to_fetch(folder: Path) -> str:
    from spikingjelly.datasets.cifar10_dvs import CIFAR10DVS

    fetched = {path.name for path in (folder / "download").glob("*.zip")}
    missing = [f"{name} from {url}" for name, url, _ in CIFAR10DVS.resource_url_md5() if name not in fetched]
    return (
        f"{folder} holds no events_np (nor train with test or val of an own tree). "
        + (f"Put these into {folder / 'download'}: {'; '.join(missing)}. Then p" if missing else "P")
        + "ass download=True: SpikingJelly checks and unpacks what is in download, fetches what is missing there, and "
        "converts it"
    )
