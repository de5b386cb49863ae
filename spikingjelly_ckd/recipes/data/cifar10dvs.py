"""CIFAR10-DVS, read and converted to frames by SpikingJelly."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ...errors.arguments import ArgumentValueError
from ...errors.near import hint as meant
from .base import Data, make_data, make_part
from .folders import folder_data
from .options import DataOptions
from .recordings import check_finished, convert, find_recordings, read_frames, time_steps_of
from .roots import check_classes, check_level, check_tree, first_names, is_tree, resolve_root
from .splits import DVS_CLASSES, RECORDINGS_PER_CLASS, SPLIT_HASHES, Sample, dvs_samples, split

__all__ = ["cifar10dvs"]

SOURCE = "cifar10_dvs:CIFAR10DVS"
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
        spikingjelly_ckd.errors.arguments.ArgumentValueError: split must be one of ['first90', 'random42', 'tebn']:
        CIFAR10-DVS has no official one; got None
    """
    folder = resolve_root(root)
    if is_tree(folder):
        return folder_data(folder, options, len(DVS_CLASSES))
    if options.split not in SPLIT_HASHES:
        raise ArgumentValueError(
            "split",
            f"must be one of {sorted(SPLIT_HASHES)}: CIFAR10-DVS has no official one; got {options.split!r}"
            f"{meant(str(options.split), SPLIT_HASHES)}",
        )
    time_steps = time_steps_of(options)
    recordings, classes = _recordings(folder, options)
    events = [(folder / "events_np", recordings, classes)]
    hint = ", or SpikingJelly's CIFAR10DVSTEBNSplit left links there"
    frames = read_frames(SOURCE, folder, time_steps, events, (SENSOR, SENSOR), hint=hint)
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
    check_finished(events)
    if not events.is_dir():
        check_level(folder, ["events_np"], inside=DVS_CLASSES[0])
        check_tree(folder)
        convert(SOURCE, folder, options)
    samples, classes = find_recordings(events)
    check_classes(len(classes), len(DVS_CLASSES), options, folder)
    if samples != dvs_samples() and not options.allow_partial:
        counts = Counter(label for _, label in samples)
        short = [f"{title} {counts[k]}" for k, title in enumerate(classes) if counts[k] != RECORDINGS_PER_CLASS]
        raise ArgumentValueError(
            "",
            f"{events} is half-unpacked or not CIFAR10-DVS, which has {RECORDINGS_PER_CLASS} recordings "
            f"cifar10_<class>_<i>.npz of each class ({first_names(short) or 'other names'}); delete events_np and make "
            "it again, or pass {remedy} if this is meant",
            remedy={"allow_partial": True},
        )
    return samples, classes
