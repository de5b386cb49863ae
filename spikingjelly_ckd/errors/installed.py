"""Errors of imports that name the package at fault, missing or incompatible, and the command that installs it."""

from __future__ import annotations

import json
import logging
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit
from urllib.request import url2pathname

import torch

__all__ = ["InstallationError", "cure", "needs_packages", "root_logger_untouched"]

OURS = "spikingjelly-ckd"
TOGETHER = ("torch", "torchvision", "torchaudio")
"""Built for one another: packages of different releases fail at import."""
DISTRIBUTIONS = {"cupy": "cupy-cuda13x", "sklearn": "scikit-learn", "PIL": "pillow", "yaml": "pyyaml"}
"""Module -> distribution that brings it, where the names differ."""
BUNDLES = ("train", "tune", "nir")
"""Extras of several packages that are missing together where one of them is."""
NAME = re.compile(r"[\w.-]+")
LONGEST = 200


class InstallationError(ImportError):
    """A package is missing or incompatible with the others; the message names it and the command that installs it."""


@contextmanager
def needs_packages(part: str) -> Iterator[None]:
    """Around imports of other packages: a failure is raised as one line with versions and the command that helps.

    Args:
        part: what needs them, for the message.

    Raises:
        InstallationError: a package is not installed, or fails when it is imported.

    Example:
        >>> with needs_packages("this example"):
        ...     import no_such_package
        Traceback (most recent call last):
        spikingjelly_ckd.errors.installed.InstallationError: this example needs no_such_package, which is not \
installed: pip install 'no_such_package'
    """
    try:
        yield
    except InstallationError:
        raise
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise InstallationError(cure(error, part)) from error


@contextmanager
def root_logger_untouched() -> Iterator[None]:
    """Around the import of a package that logs while it is imported: no handler is added to the root logger.

    ``logging.info`` gives the root logger a handler where it has none, and every library then prints through it,
    Lightning among them. SpikingJelly 0.0.0.0.14 does so where CuPy is missing.

    Example:
        >>> import logging
        >>> before = list(logging.getLogger().handlers)
        >>> with root_logger_untouched():
        ...     logging.info("said at import")
        >>> logging.getLogger().handlers == before
        True
    """
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)
    try:
        yield
    finally:
        root.removeHandler(silent)


def cure(error: Exception, part: str) -> str:
    """The message about a failed import, in one line.

    Args:
        error: what the import raised.
        part: what needs the package.
    """
    name = _culprit(error)
    distribution = DISTRIBUTIONS.get(name, name)
    if isinstance(error, ModuleNotFoundError) and not _is_there(name):
        extra = _extra_of(distribution)
        whole = "" if extra is None else f"; or, with all that goes with it, {_install_extra(extra)}"
        return f"{part} needs {distribution}, which is not installed: {_command(distribution)}{whole}"
    beside = "" if name == "torch" else f" beside torch {torch.__version__}"
    what = (str(error).splitlines() or [""])[0][:LONGEST]
    return (
        f"{part} needs {distribution}, and {_version(distribution)}, which is installed, does not work{beside} "
        f"({type(error).__name__}: {what}): {_command(distribution, again=isinstance(error, ModuleNotFoundError))}"
    )


def _culprit(error: Exception) -> str:
    """The package that an import failed in: the one it names, or the innermost that is not torch's loader."""
    if isinstance(error, ImportError) and error.name:
        return error.name.partition(".")[0]
    passed = {"torch", *sys.stdlib_module_names, __name__.partition(".")[0]}
    found, traceback = "torch", error.__traceback__
    while traceback is not None:
        name = _package_of(traceback)
        found = found if name in passed else name
        traceback = traceback.tb_next
    return found


def _package_of(traceback: TracebackType) -> str:
    return str(traceback.tb_frame.f_globals.get("__name__", "torch")).partition(".")[0]


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "a version unknown to pip"


def _command(distribution: str, *, again: bool = False) -> str:
    """The command of pip that installs what this package asks for, with all that has to go with it."""
    wanted = TOGETHER if distribution in TOGETHER else (distribution,)
    chosen = [_requirement(name) for name in wanted]
    return f"pip install {'--force-reinstall ' if again else ''}{' '.join(map(repr, chosen))}"


def _requirements(distribution: str) -> list[str]:
    """The lines about a distribution in the metadata of this package."""
    try:
        lines = requires(OURS) or []
    except PackageNotFoundError:
        lines = []
    return [line for line in lines if (NAME.match(line) or [""])[0].lower() == distribution.lower()]


def _extra_of(distribution: str) -> str | None:
    """The extra that brings a distribution beside others; None where the package itself needs it, or none does."""
    lines = _requirements(distribution)
    return next((extra for extra in BUNDLES if any(f'extra == "{extra}"' in line for line in lines)), None)


def _install_extra(extra: str) -> str:
    """The command of pip that installs an extra of this package from where the package came: a folder, or an index."""
    texts = (found.read_text("direct_url.json") for found in Distribution.discover(name=OURS))  # egg-info has none
    origin = json.loads(next(filter(None, texts), "{}"))
    address = urlsplit(origin.get("url", ""))
    if address.scheme != "file" or not Path(folder := url2pathname(address.path)).is_dir():
        return f"pip install '{OURS}[{extra}]'"
    editable = "-e " if origin.get("dir_info", {}).get("editable", False) else ""
    return f"pip install {editable}{shlex.quote(f'{folder}[{extra}]')}"


def _requirement(distribution: str) -> str:
    """What this package asks for of a distribution, as its metadata say it; of those that go together, the set."""
    found = _requirements(distribution)
    of_set = [line for line in found if "extra" in line] if distribution in TOGETHER else []
    return (of_set or found or [distribution])[0].partition(";")[0].strip()
