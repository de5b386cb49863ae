"""By what a network is known again when a command goes on: what its function built, and the code of its own classes."""

from __future__ import annotations

import inspect
import platform
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch
from torch import nn

from ..networks.compat.installed import spikingjelly_version
from .method_parts import ADDRESS

__all__ = ["code_of"]

PACKAGE = Path(__file__).parents[1]


def code_of(network: nn.Module, build: Callable[..., Any], what: str) -> dict[str, str]:
    """What a function built and the code behind it, as a setting that a command in the same folder has to share.

    It changes with layers, neurons and their values, with names, shapes and types of tensors, and with the code of the
    function, of the network's classes and of whatever these name, as far as that is no installed package's; comments
    and line numbers do not matter. Other versions of Python, torch and SpikingJelly have a setting of their own, since
    they write both otherwise.

    Args:
        network: as built, with any weights.
        build: the function.
        what: ``"student"`` or ``"teacher"``.

    Returns:
        Name of the setting -> eight digits.

    Example:
        >>> one, other = (code_of(nn.Linear(2, n), nn.Linear, "student") for n in (3, 4))
        >>> one.keys() == other.keys(), one == other
        (True, False)
    """
    found = sha256(ADDRESS.sub("", repr(network)).encode())
    for name, tensor in network.state_dict().items():
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
    for piece in sorted(_own_code([build, *(cls for module in network.modules() for cls in type(module).__mro__)])):
        found.update(piece)
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, SpikingJelly {spikingjelly_version()}"
    return {f"what the {what}'s function builds ({versions})": found.hexdigest()[:8]}


def _own_code(values: list[object]) -> Iterator[bytes]:
    """The code of functions and classes that are the user's, and of those that they name."""
    seen = set[int]()
    while values:
        value = values.pop()
        value = value.func if isinstance(value, partial) else value
        value = getattr(value, "__wrapped__", value) if callable(value) else value
        if not isinstance(value, (type, FunctionType)) or id(value) in seen:
            continue
        seen.add(id(value))
        if not _is_own(sys.modules.get(value.__module__)):
            continue
        for name, part in [*vars(value).items()] if isinstance(value, type) else [("", value)]:
            for function in _functions(part):
                yield f"{value.__qualname__}.{name}".encode() + _bytes(function)
                values += _named(function.__code__, function.__globals__)


def _named(code: CodeType, known: Mapping[str, object]) -> Iterator[object]:
    """What a code names: in its module, in a module of the user that it names too, or imported where it is used."""
    found = [known.get(name, sys.modules.get(name)) for name in code.co_names]
    yield from found
    for module in filter(_is_own, found):
        yield from (vars(module).get(name) for name in code.co_names)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _named(inner, known)


def _is_own(module: object) -> bool:
    """Whether it is a module of the user: of a file that is neither installed nor this package's."""
    file = getattr(module, "__file__", None) if isinstance(module, ModuleType) else None
    if file is None:
        return False
    installed = [Path(sysconfig.get_path(kind)) for kind in ("stdlib", "purelib", "platlib")]
    return not any(Path(file).resolve().is_relative_to(folder.resolve()) for folder in (*installed, PACKAGE))


def _functions(value: object) -> Iterator[FunctionType]:
    parts = (value.fget, value.fset) if isinstance(value, property) else (getattr(value, "__func__", value),)
    for part in map(inspect.unwrap, filter(callable, parts)):
        if isinstance(part, FunctionType):
            yield part


def _bytes(function: FunctionType) -> bytes:
    """What a function does, whatever its lines and its file are called."""
    defaults = f"{function.__defaults__} {function.__kwdefaults__}"
    return _of_code(function.__code__) + ADDRESS.sub("", defaults).encode()


def _of_code(code: CodeType) -> bytes:
    constants = b"".join(_of_code(one) if isinstance(one, CodeType) else _text(one) for one in code.co_consts)
    return code.co_code + " ".join(code.co_names).encode() + constants


def _text(constant: object) -> bytes:
    """A constant in the same words in every process: that of a set has no order of its own."""
    return repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant).encode()
