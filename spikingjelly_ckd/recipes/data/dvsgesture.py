"""DVS128 Gesture, read and converted to frames by SpikingJelly."""

from __future__ import annotations

from pathlib import Path

from ...errors.arguments import ArgumentNotFoundError, ArgumentValueError
from .base import Data, make_data, make_part
from .folders import folder_data
from .options import DataOptions
from .recordings import check_finished, convert, find_recordings, read_frames, time_steps_of
from .roots import check_classes, check_no_split, check_tree, first_names, is_tree, resolve_root

__all__ = ["dvsgesture"]

SOURCE = "dvs128_gesture:DVS128Gesture"
SENSOR = 128
CLASSES = 11
RECORDINGS = (1176, 288)
"""Of the training and the test part, as SpikingJelly cuts the trials."""


def dvsgesture(root: Path | str, options: DataOptions) -> Data:
    """DVS128 Gesture (Amir et al., CVPR 2017) by SpikingJelly: 1464 recordings of 128x128, 11 gestures; or a tree.

    The split is the official one, by people: users 1 to 23 train, 24 to 29 test. Each recording is divided into
    ``time_steps`` frames with equal numbers of events, which SpikingJelly writes beside the events at the first use.
    Frames are resized bilinearly to ``size`` and not normalised. The names of the classes are SpikingJelly's numbers.

    Args:
        root: folder that holds ``events_np/train/<0 to 10>/*.npz`` and ``events_np/test``; or ``train`` and ``test`` or
            ``val`` of a tree of event frames.
        options: see :class:`DataOptions`; ``time_steps`` is needed.

    Returns:
        :class:`Data`.

    Raises:
        FileNotFoundError: the data are not there, or another folder is meant.
        ValueError: no ``time_steps``, a split was chosen, data that were not unpacked completely, another number of
            classes, or a recording with events outside the sensor.

    Example:
        >>> dvsgesture(".", DataOptions(size=48))
        Traceback (most recent call last):
        spikingjelly_ckd.errors.arguments.ArgumentValueError: time_steps must be given for events: into how many
        frames a recording is divided
    """
    folder = resolve_root(root)
    time_steps = time_steps_of(options)
    if folder.name == "events_np":
        raise ArgumentNotFoundError("root", f"must be the folder with events_np, not it: pass {folder.parent}")
    if is_tree(folder):
        return folder_data(folder, options, CLASSES)
    check_no_split("DVS128 Gesture, which has an official one", options)
    events = folder / "events_np"
    check_finished(events)
    if not events.is_dir():
        check_tree(folder)
        convert(SOURCE, folder, options, train=True)
    found = {part: find_recordings(events / part) for part in ("train", "test")}
    classes, others = (of_part[1] for of_part in found.values())
    if classes != others:
        only = first_names(sorted(set(classes) ^ set(others)))
        raise ValueError(f"{events}: train and test must have the same classes; only one of them has {only}")
    check_classes(len(classes), CLASSES, options, folder)
    counts = tuple(len(samples) for samples, _ in found.values())
    if counts != RECORDINGS and not options.allow_partial:
        raise ArgumentValueError(
            "",
            f"{events} is half-unpacked: DVS128 Gesture has {RECORDINGS} recordings, this has {counts}; delete "
            "events_np and make it again, or pass {remedy} if this is meant",
            remedy={"allow_partial": True},
        )
    places = [(events / part, *of_part) for part, of_part in found.items()]
    parts = []
    for part, order in (("train", places), ("test", places[::-1])):
        frames = read_frames(SOURCE, folder, time_steps, order, (SENSOR, SENSOR), train=part == "train")
        parts.append(make_part(frames, found[part][0]))
    return make_data(
        "dvsgesture", parts, options, classes=classes, split_name="official", complete=counts == RECORDINGS
    )
