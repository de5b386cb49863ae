"""A network alone on disk: ``NAME.safetensors`` with its tensors and ``NAME.json`` with how to build and feed it.

Reading one needs neither Lightning nor a teacher. Nothing is unpickled; the JSON names the function that builds the
network, which is imported, so read files of people you trust, or pass ``build=``.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import json
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from .files import whole_file

__all__ = ["file_hash", "load_network", "name_of", "read_weights", "resolve_name", "save_network"]

STATE_KEYS = ("state_dict", "model", "net", "best_net", "state_dict_ema")
PREFIXES = ("module.", "network.", "model.", "_orig_mod.")


def name_of(build: Callable[..., Any]) -> str:
    """``module:name`` of a function or class, for :func:`resolve_name`.

    The module is the outermost package that exports it, so a name in a record does not depend on the file inside.

    Raises:
        ValueError: it cannot be imported by name (a lambda, a method, a partial, or defined inside a function).

    Example:
        >>> from spikingjelly_ckd.recipes.models import resnet20
        >>> name_of(resnet20)
        'spikingjelly_ckd.recipes.models:resnet20'
    """
    name = getattr(build, "__qualname__", f"<{type(build).__name__}>")
    if not name.isidentifier():
        raise ValueError(f"{build.__module__}:{name} cannot be imported by its name; pass a function of a module")
    packages = itertools.accumulate(build.__module__.split("."), "{}.{}".format)
    exports = (path for path in packages if getattr(sys.modules.get(path), name, None) is build)
    module = next(exports, build.__module__)
    return f"{module}:{name}"


def resolve_name(name: str) -> Callable[..., Any]:
    """The function or class called ``module:name``.

    Raises:
        ValueError: not of that form, no such module, or no such name in it.

    Example:
        >>> resolve_name("spikingjelly_ckd.recipes.models:resnet20").__name__
        'resnet20'
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ValueError(f"expected module:function, such as mynets:build, got {name!r}")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        raise ValueError(
            f"{name!r}: there is no module {module_name!r}; run from its folder, or set PYTHONPATH"
        ) from error
    found = getattr(module, attribute, None)
    if callable(found):
        return cast(Callable[..., Any], found)
    raise ValueError(f"{name!r}: {module_name} has no function {attribute!r}")


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_network(
    path: str | Path, network: nn.Module, build: Callable[..., nn.Module], arguments: Mapping[str, Any], **info: Any
) -> Path:
    """Write ``path`` (``.safetensors``) and, beside it, the ``.json``, each whole or not at all.

    The JSON is written last and holds the ``sha256`` of the weights, so a pair that was cut off in between shows.

    Args:
        path: of the ``.safetensors`` file.
        network: whose parameters and buffers to write.
        build: makes the network; found again by its name.
        arguments: keywords of ``build``.
        **info: what else belongs to it, such as ``time_steps``, ``mean``, ``std``, ``size``, ``classes``.

    Returns:
        The path of the ``.safetensors`` file.

    Raises:
        ValueError: another ending, or ``build`` cannot be imported by name.

    Example:
        >>> import tempfile
        >>> from spikingjelly_ckd.recipes.models import resnet20
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "net.safetensors"
        ...     _ = save_network(path, resnet20(10), resnet20, {"num_classes": 10}, size=32)
        ...     network, info = load_network(path)
        >>> type(network).__name__, info["size"]
        ('ResNet', 32)
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"path must end in .safetensors, got {path}")
    tensors = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    weights = save({name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()})
    about = {
        "build": name_of(build),
        "arguments": dict(arguments),
        **info,
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    text = json.dumps(about, indent=1) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    for target, content in ((path, weights), (path.with_suffix(".json"), text.encode())):
        with whole_file(target) as file:
            file.write(content)
    return path


def load_network(path: str | Path, build: Callable[..., nn.Module] | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """Read what :func:`save_network` wrote.

    Args:
        path: of the ``.safetensors`` file.
        build: makes the network in place of the function that the JSON names.

    Returns:
        The network in ``eval`` on the CPU, and the JSON.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: the named function does not exist, or its network has other tensors; the weights are not those that
            the JSON was written for.
    """
    path = Path(path)
    about = read_about(path)
    check_pair(path, about)
    network = (build or resolve_name(about["build"]))(**about["arguments"])
    fill(network, read_weights(path), path)
    return network.eval(), about


def read_about(path: Path) -> dict[str, Any]:
    """The JSON beside a ``.safetensors`` file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no JSON, or says no network.
    """
    beside = path.with_suffix(".json")
    try:
        about = json.loads(beside.read_text("utf8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{beside} is no JSON (cut off?): {error}") from error
    if not isinstance(about, dict) or not {"build", "arguments"} <= set(about):
        raise ValueError(f"{beside} does not say how to build the network: it has no 'build' and 'arguments'")
    return about


def check_pair(path: Path, about: Mapping[str, Any]) -> None:
    """Raise unless the weights are those that the JSON beside them was written for, where it says which.

    Raises:
        ValueError: they are damaged, or of another network.
    """
    expected = about.get("sha256")
    if expected is not None and path.is_file() and file_hash(path) != expected:
        raise ValueError(
            f"{path} is not the file that {path.with_suffix('.json').name} was written for (cut off, damaged or "
            "replaced): its sha256 is another; copy or write the two files again"
        )


def fill(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """``load_state_dict`` that says in one line which file does not fit which network.

    Raises:
        ValueError: names or shapes differ.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit {type(network).__name__}: {_differences(network, weights)}") from error


def _differences(network: nn.Module, weights: Mapping[str, Tensor]) -> str:
    own = network.state_dict()
    shapes = {name: (list(weights[name].shape), list(own[name].shape)) for name in own if name in weights}
    wrong = {
        "missing": [name for name in own if name not in weights],
        "unknown": [name for name in weights if name not in own],
        "of another shape": [f"{name} {a}, not {b}" for name, (a, b) in shapes.items() if a != b],
    }
    return ", ".join(f"{len(names)} tensors are {what} (such as {names[0]})" for what, names in wrong.items() if names)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file as they are around: safetensors, or PyTorch's format.

    Of a training checkpoint the entry ``state_dict``, ``model``, ``net`` or ``best_net`` is taken; ``module.`` and the
    like, left by ``DistributedDataParallel``, Lightning or ``torch.compile``, are dropped from the names.

    Args:
        path: of the file.

    Returns:
        Name -> tensor.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no tensors in it, or it holds Python objects, which would have to be unpickled.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path.resolve()}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        why = "it holds Python objects" if "GLOBAL" in str(error) else "cut off, or no file of PyTorch"
        raise ValueError(f"{path} cannot be read as tensors ({why}); save network.state_dict() alone") from error
    except Exception as error:
        raise ValueError(f"{path} cannot be read as tensors (cut off?): {str(error).partition(chr(10))[0]}") from error
    for key in STATE_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"{path} holds no state_dict, alone or under {STATE_KEYS}")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in content):
            content = {name.removeprefix(prefix): value for name, value in content.items()}
    return cast(dict[str, Tensor], content)
