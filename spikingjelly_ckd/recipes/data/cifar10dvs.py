"""CIFAR10-DVS, read and converted to frames by SpikingJelly."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...functional.errors import ArgumentNotFoundError, ArgumentValueError
from ...functional.installed import needs_packages
from .base import Data, make_data, make_part
from .folders import EVENT_SUFFIX, class_folders, folder_data
from .options import DataOptions
from .roots import check_classes, check_level, check_tree, first_names, is_tree, resolve_root
from .samples import FrameLoader, check_events
from .splits import DVS_CLASSES, RECORDINGS_PER_CLASS, SPLIT_HASHES, Sample, dvs_samples, split

__all__ = ["cifar10dvs"]

SENSOR = 128
"""Height and width of the sensor, pixels."""


def cifar10dvs(root: Path | str, options: DataOptions) -> Data:
    """CIFAR10-DVS (Li et al., 2017) by SpikingJelly: 10,000 recordings of 128x128 in 10 classes; or a tree of yours.

    Each recording is divided into ``time_steps`` frames with equal numbers of events (``split_by="number"``), which
    hold event counts. SpikingJelly writes them beside the events at the first use, which takes minutes. Frames are
    resized bilinearly to ``size`` and not normalised.

    Args:
        root: folder that holds ``events_np/<class>/cifar10_<class>_<i>.npz``, or ``train`` and ``test`` or ``val``.
        options: see :class:`DataOptions`; ``time_steps`` and ``split`` are needed (with a tree of your own ``split``
            is ignored, since its folders are the split).

    Returns:
        :class:`Data`.

    Raises:
        FileNotFoundError: the data is not there, or another folder is meant.
        ValueError: no split or no ``time_steps``, data that were not unpacked completely, another number of classes, or
            a recording with events outside the sensor.

    Example:
        >>> cifar10dvs(".", DataOptions(size=48, time_steps=10, flip=True, nda=True))
        Traceback (most recent call last):
        spikingjelly_ckd.functional.errors.ArgumentValueError: split must be one of ['first90', 'random42', 'tebn']:
        CIFAR10-DVS has no official one; got None
    """
    folder = resolve_root(root)
    if is_tree(folder):
        return folder_data(folder, options, len(DVS_CLASSES))
    if options.split not in SPLIT_HASHES:
        raise ArgumentValueError(
            "split", f"must be one of {sorted(SPLIT_HASHES)}: CIFAR10-DVS has no official one; got {options.split!r}"
        )
    if options.time_steps is None:
        raise ArgumentValueError("time_steps", "must be given for events: into how many frames a recording is divided")
    recordings, classes = _recordings(folder, options)
    integrated = folder / f"frames_number_{options.time_steps}_split_by_number"
    _check_finished(integrated)
    if not integrated.exists():
        _check_events(folder / "events_np", recordings, classes)
    frames = _spikingjelly(folder, data_type="frame", frames_number=options.time_steps, split_by="number")
    if [(Path(path).name, label) for path, label in frames.samples] != recordings:
        raise ValueError(
            f"{integrated} holds other recordings than events_np beside it: its making was broken off, or "
            "SpikingJelly's CIFAR10DVSTEBNSplit left links there; delete that folder, it will be made again"
        )
    frames.loader = FrameLoader(options.time_steps)  # SpikingJelly 0.0.0.0.14 would unpickle what the file holds
    parts = [make_part(frames, recordings, rows) for rows in split(options.split, recordings)]
    return make_data(
        "cifar10dvs",
        parts,
        options,
        classes=classes,
        split_name=f"cifar10dvs-{options.split}",
        complete=recordings == dvs_samples(),
    )


def _recordings(folder: Path, options: DataOptions) -> tuple[list[Sample], list[str]]:
    """Names and labels in file order, and the classes; an error unless all are there or ``allow_partial`` is True."""
    events = folder / "events_np"
    _check_finished(events)
    if not events.is_dir():
        check_level(folder, ["events_np"], inside=DVS_CLASSES[0])
        check_tree(folder)
        if not options.download:
            raise ArgumentNotFoundError("", _how_to_fetch(folder), remedy={"download": True})
        _spikingjelly(folder, data_type="event")
    classes = class_folders(events)
    check_classes(len(classes), len(DVS_CLASSES), options, folder)
    names = {title: sorted(n for n in os.listdir(events / title) if n.endswith(EVENT_SUFFIX)) for title in classes}
    samples = [(name, label) for label, title in enumerate(classes) for name in names[title]]
    if samples != dvs_samples() and not options.allow_partial:
        short = [f"{title} {len(found)}" for title, found in names.items() if len(found) != RECORDINGS_PER_CLASS]
        raise ArgumentValueError(
            "",
            f"{events} is half-unpacked or not CIFAR10-DVS, which has {RECORDINGS_PER_CLASS} recordings "
            f"cifar10_<class>_<i>.npz of each class ({first_names(short) or 'other names'}); delete events_np and make "
            "it again, or pass {remedy} if this is meant",
            remedy={"allow_partial": True},
        )
    return samples, classes


def _check_events(events: Path, recordings: Sequence[Sample], classes: Sequence[str]) -> None:
    """Check each recording before SpikingJelly makes frames of it, which would put stray events at other pixels."""
    for name, label in recordings:
        check_events(str(events / classes[label] / name), SENSOR)


def _check_finished(directory: Path) -> None:
    marker = directory.with_name(f"{directory.name}.building")
    if marker.exists():
        raise ValueError(
            f"{directory} is half-unpacked: SpikingJelly was broken off while it made it and left {marker.name}; "
            "delete both, it will be made again"
        )


def _spikingjelly(folder: Path, **arguments: Any) -> Any:
    """SpikingJelly's ``CIFAR10DVS``, without the line that 0.0.0.0.14 prints for each recording."""
    with contextlib.redirect_stdout(io.StringIO()):
        return _reader()(str(folder), **arguments)


def _reader() -> Any:
    """SpikingJelly's class; importing it needs all that any of SpikingJelly's data sets needs, torchaudio included."""
    with needs_packages("reading CIFAR10-DVS with spikingjelly.datasets"):
        from spikingjelly.datasets.cifar10_dvs import CIFAR10DVS
    return CIFAR10DVS


def _how_to_fetch(folder: Path) -> str:
    fetched = {path.name for path in (folder / "download").glob("*.zip")}
    missing = [f"{name} from {url}" for name, url, _ in _reader().resource_url_md5() if name not in fetched]
    return (
        f"{folder} holds no events_np (nor train with test or val, a tree of your own). "
        + (f"Put these into {folder / 'download'}: {'; '.join(missing)}. Then p" if missing else "P")
        + "ass {remedy}: SpikingJelly checks and unpacks what is in download, fetches what is missing there, and "
        "converts it"
    )
