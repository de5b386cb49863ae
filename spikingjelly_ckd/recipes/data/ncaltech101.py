"""N-Caltech101, read and converted to frames by SpikingJelly."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from .base import Data, make_data, make_part
from .folders import folder_data
from .options import DataOptions
from .recordings import check_finished, convert, find_recordings, read_frames, time_steps_of
from .roots import check_classes, check_level, check_no_split, check_tree, is_tree, resolve_root
from .splits import Sample

__all__ = ["hash10", "ncaltech101"]

SOURCE = "n_caltech101:NCaltech101"
SENSOR = (180, 240)
"""Height and width, pixels."""
CLASSES = 101
SPLIT = "ncaltech101-hash10"


def ncaltech101(root: Path | str, options: DataOptions) -> Data:
    """N-Caltech101 (Orchard et al., 2015) by SpikingJelly: recordings of 180x240, 100 objects and a background class.

    There is no official split; :func:`hash10` is ours, and accuracies on other splits do not compare. Each recording is
    divided into ``time_steps`` frames with equal numbers of events, which SpikingJelly writes beside the events at the
    first use. Frames are resized bilinearly to ``size x size``, whatever their proportions, and not normalised.

    Args:
        root: folder that holds ``events_np/<class>/*.npz``; or ``train`` and ``test`` or ``val`` of a tree of event
            frames.
        options: see :class:`DataOptions`; ``time_steps`` is needed.

    Returns:
        :class:`Data`. How many recordings there are is not checked: the hash of the split says what was used.

    Raises:
        FileNotFoundError: the data are not there, or another folder is meant.
        ValueError: no ``time_steps``, a split was chosen, another number of classes, a class with a single recording,
            or a recording with events outside the sensor.

    Example:
        >>> ncaltech101(".", DataOptions(size=48))
        Traceback (most recent call last):
        spikingjelly_ckd.errors.arguments.ArgumentValueError: time_steps must be given for events: into how many
        frames a recording is divided
    """
    folder = resolve_root(root)
    time_steps = time_steps_of(options)
    if is_tree(folder):
        return folder_data(folder, options, CLASSES)
    check_no_split("N-Caltech101, which has one here, hash10", options)
    events = folder / "events_np"
    check_finished(events)
    if not events.is_dir():
        check_level(folder, ["events_np"], inside="airplanes")
        check_tree(folder)
        convert(SOURCE, folder, options)
    samples, classes = find_recordings(events)
    check_classes(len(classes), CLASSES, options, folder)
    rows = hash10(samples, classes)
    frames = read_frames(SOURCE, folder, time_steps, [(events, samples, classes)], SENSOR)
    parts = [make_part(frames, samples, part) for part in rows]
    whole = len(classes) == CLASSES
    return make_data("ncaltech101", parts, options, classes=classes, split_name=SPLIT, complete=whole)


def hash10(samples: Sequence[Sample], classes: Sequence[str]) -> tuple[list[int], list[int]]:
    """A tenth of each class to test on, by the hash of ``class/name``; it depends on no seed and no order of files.

    Args:
        samples: name and label of each recording.
        classes: their names.

    Returns:
        Indices into ``samples``, ascending: train, test. Of each class at least one is in either.

    Raises:
        ValueError: a class with a single recording.

    Example:
        >>> samples = [(f"image_{number:04}.npz", 0) for number in range(20)]
        >>> [samples[row][0] for row in hash10(samples, ["ant"])[1]]
        ['image_0004.npz', 'image_0012.npz']
    """
    test: list[int] = []
    for label, title in enumerate(classes):
        rows = [row for row, sample in enumerate(samples) if sample[1] == label]
        if len(rows) < 2:
            raise ValueError(f"class {title} has {len(rows)} recordings, of which one would be tested; it needs two")
        hashes = {row: hashlib.sha256(f"{title}/{samples[row][0]}".encode()).digest() for row in rows}
        test += sorted(rows, key=hashes.__getitem__)[: max(1, round(len(rows) / 10))]
    return sorted(set(range(len(samples))) - set(test)), sorted(test)
