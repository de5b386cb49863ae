"""Files that are there whole or not at all, damaged files set aside, and folders that one process at a time writes."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

__all__ = ["is_first_process", "locked", "say", "set_aside", "sweep", "until_reader_leaves", "whole_file"]

LOCK = "run.lock"
PART = ".part"
AGAIN = "see to the disk and the folder, then try again"
"""What to do once a file can be written; the command line of a training says what goes on with it instead."""
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Where launchers of several processes say which one this is; the names that Lightning reads, in its order."""
PAUSE = 0.5
"""Seconds between two looks at a folder that another process holds."""


def is_first_process() -> bool:
    """Whether this is the first, or the only, process of a training."""
    return next((os.environ[name] for name in RANKS if os.environ.get(name, "").isdecimal()), "0") == "0"


def say(text: str) -> None:
    """One line on the standard error, from the first process of a training."""
    if is_first_process():
        print(text, file=sys.stderr, flush=True)


@contextmanager
def until_reader_leaves() -> Iterator[None]:
    """Print on the standard output, and stop without a word where its reader has gone, such as ``| head``."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at the exit


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file such that it exists whole or not at all, also after a loss of power.

    Args:
        path: of the file; it is written beside it, so on the same file system, and moved there at the end of the block.

    Yields:
        A binary file.

    Raises:
        OSError: it cannot be written, since the disk is full or the folder is gone. What was there before is untouched
            and the unfinished file is deleted.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> with whole_file(folder / "a.txt") as file:
        ...     _ = file.write(b"whole")
        >>> [(path.name, path.read_text()) for path in folder.iterdir()]
        [('a.txt', 'whole')]
    """
    part: str | None = None
    try:
        number, part = tempfile.mkstemp(PART, f"{path.name}.", path.parent)
        with os.fdopen(number, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o644)
        os.replace(part, path)
        part = None
        _sync_folder(path.parent)
    except OSError as error:
        if error.strerror is None:  # in words already, from the block
            raise
        why = error.strerror if path.parent.is_dir() else f"its folder {path.parent} is gone"
        raise _in_words(
            error, f"{path} cannot be written: {why}. What was there before is as it was; {AGAIN}"
        ) from error
    finally:
        if part is not None:
            with suppress(OSError):
                os.unlink(part)


def _in_words(error: OSError, text: str) -> OSError:
    """The error of the system with a text of its own, without ``[Errno 28]`` before it."""
    told = OSError(text)
    told.errno = error.errno
    return told


def _sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk too, where the system can."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def sweep(folder: Path) -> None:
    """Delete what killed processes left unfinished in a folder, which the caller holds (:func:`locked`)."""
    for part in folder.glob(f"*{PART}"):
        with suppress(OSError):
            part.unlink()


def set_aside(path: Path, why: object) -> Path:
    """Rename a file that cannot be used, so that it is not in the way and not lost, and say so in one line.

    Among the processes of one training, the first does it for all.

    Args:
        path: of the file.
        why: it cannot be used.

    Returns:
        The new path: ``NAME.damaged``, or ``NAME.damaged2`` and so on.
    """
    names = (path.with_name(f"{path.name}.damaged{number or ''}") for number in (0, *range(2, 10**6)))
    aside = next(name for name in names if not name.exists())
    if is_first_process() and path.exists():
        os.replace(path, aside)
    say(f"{why}; it was set aside as {aside.name}")
    return aside


@contextmanager
def locked(folder: Path, *, wait: str | None = None) -> Iterator[None]:
    """Hold a folder, which no other process that asks for it can hold meanwhile.

    The lock is of the system, so a process that is killed holds it no longer. Among the processes of one training, the
    first holds it for all. Leftovers of killed processes are deleted at the start.

    Args:
        folder: which exists.
        wait: for what to wait until the other process is done, in words; None refuses.

    Raises:
        RuntimeError: another process holds it; the message says which, and since when.
    """
    if not is_first_process() or sys.platform == "win32":
        yield
        return
    number = _take(folder, wait)
    try:
        sweep(folder)
        yield
    finally:
        if number is not None:
            _leave(folder, number)


_HELD: set[int] = set()


def _close_in_child() -> None:
    """A loading process shares the lock of its parent, and would keep it for a while after the parent was killed."""
    for number in _HELD:
        with suppress(OSError):
            os.close(number)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def _take(folder: Path, wait: str | None) -> int | None:
    """The number of the open lock file; None where the file system knows no locks."""
    path, said = folder / LOCK, False
    while True:
        try:
            number = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _in_words(error, f"{path} cannot be written: {error.strerror}; pass another folder") from error
        try:
            free = _try(number)
        except OSError:
            os.close(number)
            say(f"{folder} is on a file system without locks: see to it that one run at a time writes there")
            return None
        if free and _is(path, number):
            content = json.dumps({"host": platform.node(), "pid": os.getpid(), "since": _now()})
            os.truncate(number, 0)
            os.pwrite(number, content.encode(), 0)
            _HELD.add(number)
            return number
        os.close(number)
        if free:  # deleted by whoever held it just now
            continue
        if wait is None:
            raise RuntimeError(
                f"{folder} is in use by {_holder(folder)}: wait until it ends, or pass another --output-dir"
            )
        if not said:
            say(f"{folder} is in use by {_holder(folder)}: waiting for {wait}")
            said = True
        time.sleep(PAUSE)


def _try(number: int) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is(path: Path, number: int) -> bool:
    """Whether the open file is still the one of this name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(number))
    except OSError:
        return False


def _leave(folder: Path, number: int) -> None:
    _HELD.discard(number)
    if _is(folder / LOCK, number):
        with suppress(OSError):
            os.unlink(folder / LOCK)
    os.close(number)


def _holder(folder: Path) -> str:
    try:
        found = json.loads((folder / LOCK).read_text("utf8"))
        return f"process {found['pid']} on {found['host']} since {found['since']}"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"


def _now() -> str:
    return datetime.now().astimezone().isoformat(" ", "seconds")
