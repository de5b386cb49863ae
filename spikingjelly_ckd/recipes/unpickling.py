"""Pickles of others, read without running what they name: plain values, and NumPy's numbers and arrays by stand-ins.

NumPy's own functions are not called either: what they rebuild can hold objects or point anywhere in memory.
"""

from __future__ import annotations

import argparse
import io
import pathlib
import pickle
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

__all__ = ["ALLOWED", "NumpyArray", "NumpyType", "PlainUnpickler", "load_plain"]

NUMBERS = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])
"""NumPy's types that are read, without their byte order."""


class NumpyType:
    """Stands in for ``numpy.dtype`` while a pickle is read.

    Args:
        code: such as ``"f8"``.
        *options: what NumPy's takes besides; nothing to a number.
    """

    def __init__(self, code: str = "", *options: object) -> None:
        if code not in NUMBERS:
            raise pickle.UnpicklingError(f"arrays of {code!r:.40} are not read, only of numbers")
        self.code = code
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("an array of an unknown byte order")
        self.order = order

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's type."""
        return np.dtype(self.order + self.code)


class NumpyArray:
    """Stands in for ``numpy.ndarray`` while a pickle is read; :meth:`read` makes it an array."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def read(self) -> np.ndarray[Any, np.dtype[Any]]:
        """The array.

        Raises:
            pickle.UnpicklingError: it was not filled, or its numbers are not those of its shape.
        """
        try:
            _, shape, kind, fortran, raw = self.state
            found = np.frombuffer(_bytes(raw), kind.dtype)
            return found.reshape(shape, order="F" if fortran else "C")
        except (AttributeError, TypeError, ValueError) as error:
            raise pickle.UnpicklingError(f"an array that cannot be read: {error}") from error


def _bytes(raw: object) -> bytes:
    """Bytes; pickles of Python 2, read as latin-1, have text in their place."""
    return raw.encode("latin1") if isinstance(raw, str) else bytes(raw)  # type: ignore[call-overload]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Bytes as protocol 2 writes them: ``_codecs.encode`` of a text."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in {encoding!r:.40}")
    return _bytes(text)


def _no_bytes() -> bytes:
    """No bytes at all, as protocol 2 writes them: a call of ``bytes``."""
    return b""


def _empty_array(*_: object) -> NumpyArray:
    return NumpyArray()


def _number(kind: NumpyType, raw: Any = b"") -> int | float | bool:
    """One number of NumPy, as Python's."""
    found: list[int | float | bool] = np.frombuffer(_bytes(raw), kind.dtype).tolist()
    (number,) = found
    return number


def _filled_array(raw: object, kind: NumpyType, shape: object, order: str = "C") -> NumpyArray:
    """An array of protocol 5."""
    found = NumpyArray()
    found.state = (1, shape, kind, order == "F", raw)
    return found


_OF_NUMPY: dict[str, Callable[..., Any]] = {"numpy.dtype": NumpyType, "numpy.ndarray": NumpyArray}
for _core in ("numpy.core", "numpy._core"):
    _OF_NUMPY |= {
        f"{_core}.multiarray._reconstruct": _empty_array,
        f"{_core}.multiarray.scalar": _number,
        f"{_core}.numeric._frombuffer": _filled_array,
    }
_OF_NUMPY |= {"_codecs.encode": _encode, "__builtin__.bytes": _no_bytes, "builtins.bytes": _no_bytes}

ALLOWED: MappingProxyType[str, Callable[..., Any]] = MappingProxyType(
    _OF_NUMPY
    | {"argparse.Namespace": argparse.Namespace}
    | {f"{module}.PosixPath": pathlib.PurePosixPath for module in ("pathlib", "pathlib._local")}
    | {f"{module}.WindowsPath": pathlib.PureWindowsPath for module in ("pathlib", "pathlib._local")}
)
"""Name in a pickle -> what is called instead, for ``torch.load`` with ``weights_only=True``."""


class PlainUnpickler(pickle.Unpickler):
    """Reads plain containers, numbers and texts, and arrays as :class:`NumpyArray`; names nothing else.

    Example:
        >>> import os
        >>> PlainUnpickler(io.BytesIO(pickle.dumps({"labels": [1, 2]}))).load()
        {'labels': [1, 2]}
        >>> PlainUnpickler(io.BytesIO(pickle.dumps(os.getcwd))).load()
        Traceback (most recent call last):
        _pickle.UnpicklingError: it names posix.getcwd, and only plain values and arrays of numbers are read
    """

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name of NumPy.

        Raises:
            pickle.UnpicklingError: any other name.
        """
        found = _OF_NUMPY.get(f"{module}.{name}")
        if found is None:
            raise pickle.UnpicklingError(
                f"it names {f'{module}.{name}':.80}, and only plain values and arrays of numbers are read"
            )
        return found

    def persistent_load(self, pid: object) -> Any:
        """Nothing lies outside of the file.

        Raises:
            pickle.UnpicklingError: always, since the file refers to something outside of it.
        """
        raise pickle.UnpicklingError("it refers to something outside of the file")


def load_plain(path: Path) -> Any:
    """What a pickle holds, with texts of Python 2 as latin-1.

    Args:
        path: of the file.

    Raises:
        ValueError: it is cut off or no pickle, or names a function or class.
    """
    try:
        return PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except OSError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its commands ran into
        raise ValueError(f"{path} is no readable file of plain values: {error}") from error
