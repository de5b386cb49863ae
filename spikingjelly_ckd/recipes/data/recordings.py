"""Recordings of an event camera that SpikingJelly converts to frames: what its data sets of event data share."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ...errors.arguments import ArgumentNotFoundError, ArgumentValueError
from ...errors.installed import needs_packages, root_logger_untouched
from .listing import EVENT_SUFFIX, class_folders
from .options import DataOptions
from .samples import FrameLoader, check_events
from .splits import Sample

__all__ = ["check_finished", "convert", "find_recordings", "read_frames", "time_steps_of"]

_PARSES_IN_THREADS = (3, 11, 8)  # the first Python in which threads may parse at the same time


def time_steps_of(options: DataOptions) -> int:
    """How many frames a recording is divided into.

    Raises:
        ValueError: it is not said.
    """
    if options.time_steps is None:
        raise ArgumentValueError("time_steps", "must be given for events: into how many frames a recording is divided")
    return options.time_steps


def check_finished(directory: Path) -> None:
    """Raise where SpikingJelly was broken off while it made a folder.

    Raises:
        ValueError: the folder is half-unpacked; the message says what to delete.
    """
    marker = directory.with_name(f"{directory.name}.building")
    if marker.exists():
        raise ValueError(
            f"{directory} is half-unpacked: SpikingJelly was broken off while it made it and left {marker.name}; "
            "delete both, it will be made again"
        )


def find_recordings(directory: Path) -> tuple[list[Sample], list[str]]:
    """Names and labels of the recordings in class folders, in file order, and the classes.

    Raises:
        ValueError: the folder holds something else than class folders, or a class has no recording.
    """
    classes = class_folders(directory)
    names = {title: sorted(n for n in os.listdir(directory / title) if n.endswith(EVENT_SUFFIX)) for title in classes}
    empty = [title for title, found in names.items() if not found]
    if empty:
        raise ValueError(f"{directory / empty[0]} has no recordings; unpack it again")
    return [(name, label) for label, title in enumerate(classes) for name in names[title]], classes


def convert(source: str, folder: Path, options: DataOptions, **arguments: Any) -> None:
    """Let SpikingJelly check, unpack and convert what lies in ``folder/download``, if ``options`` allow it.

    Args:
        source: ``module:class`` below ``spikingjelly.datasets``.
        folder: the user's root.
        options: whose ``download`` is used.
        **arguments: of the class.

    Raises:
        FileNotFoundError: it is not allowed; the message says where the files are and where they have to be put.
    """
    kind = _class(source)
    fetched = {path.name for path in (folder / "download").glob("*")}
    missing = [f"{name} from {url}" for name, url, _ in kind.resource_url_md5() if name not in fetched]
    if not options.download or (missing and not kind.downloadable()):
        put = f"Put these into {folder / 'download'}: {'; '.join(missing)}. Then p" if missing else "P"
        fetches = ", fetches what is missing there" if kind.downloadable() else ""
        raise ArgumentNotFoundError(
            "",
            f"{folder} holds no events_np (nor train with test or val, a tree of your own). {put}ass {{remedy}}: "
            f"SpikingJelly checks and unpacks what is in download{fetches}, and converts it",
            remedy={"download": True},
        )
    _make(source, folder, data_type="event", **arguments)


def read_frames(
    source: str,
    folder: Path,
    time_steps: int,
    events: Iterable[tuple[Path, Sequence[Sample], Sequence[str]]],
    sensor: tuple[int, int],
    *,
    hint: str = "",
    **arguments: Any,
) -> Any:
    """The recordings as frames, which SpikingJelly writes beside the events at the first use.

    Args:
        source: ``module:class`` below ``spikingjelly.datasets``.
        folder: the user's root.
        time_steps: ``T``; a recording is divided into frames with equal numbers of events.
        events: for each folder of recordings its path, what is in it, and its classes; the first is what is read. They
            are all checked before frames are made of them.
        sensor: height and width, pixels.
        hint: what may have happened where frames and events differ.
        **arguments: of the class, such as ``train``.

    Returns:
        A data set of ``[T, 2, H, W]`` and label, in the order of the first of ``events``.

    Raises:
        ValueError: a recording with events outside of the sensor, or frames of other recordings.
    """
    events = list(events)
    integrated = folder / f"frames_number_{time_steps}_split_by_number"
    check_finished(integrated)
    if not integrated.exists():
        for directory, recordings, classes in events:
            for name, label in recordings:  # SpikingJelly would put stray events at other pixels
                check_events(str(directory / classes[label] / name), sensor)
    frames = _make(source, folder, data_type="frame", frames_number=time_steps, split_by="number", **arguments)
    if [(Path(path).name, label) for path, label in frames.samples] != list(events[0][1]):
        raise ValueError(
            f"{integrated} holds other recordings than events_np beside it: its making was broken off{hint}; delete "
            "that folder, it will be made again"
        )
    frames.loader = FrameLoader(time_steps)  # SpikingJelly 0.0.0.0.14 would unpickle what the file holds
    return frames


def _class(source: str) -> Any:
    module, _, name = source.partition(":")
    with needs_packages(f"reading {name} with spikingjelly.datasets"), root_logger_untouched():
        return getattr(importlib.import_module(f"spikingjelly.datasets.{module}"), name)


def _make(source: str, folder: Path, **arguments: Any) -> Any:
    """SpikingJelly's data set, without the line that 0.0.0.0.14 prints for each recording."""
    read = _class(source)
    with contextlib.redirect_stdout(io.StringIO()), _one_thread():
        return read(str(folder), **arguments)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """SpikingJelly reads recordings in one thread where Python cannot read NumPy's files in several.

    Until 3.11.8 all threads share one counter of ``ast.parse``, with which NumPy reads a file's header: now and then a
    file that is right raises "SystemError: AST constructor recursion depth mismatch" (CPython gh-106905).
    """
    if sys.version_info >= _PARSES_IN_THREADS:
        yield
        return
    from spikingjelly import configure

    threads = configure.max_threads_number_for_datasets_preprocess
    configure.max_threads_number_for_datasets_preprocess = 1
    try:
        yield
    finally:
        configure.max_threads_number_for_datasets_preprocess = threads
