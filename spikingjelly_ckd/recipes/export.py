"""A network alone on disk: ``NAME.safetensors`` with its tensors and ``NAME.json`` with how to build and feed it.

Reading one needs neither Lightning nor a teacher, and runs no code of the files: nothing is unpickled, and the function
that the JSON names is one of :data:`.names.BUILDERS`, or else has to be passed as ``build=``.
"""

from __future__ import annotations

import hashlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._renamed import old_names
from ..errors.arguments import ArgumentNotFoundError, ArgumentValueError
from ..errors.installed import needs_packages
from .files import whole_file
from .hub import local_file
from .names import BUILDERS, name_of, package_function
from .thresholds import set_thresholds
from .untrusted import (
    FLAG,
    HASH,
    MAPPING,
    TEXT,
    check_kinds,
    json_text,
    list_of,
    mapping_of,
    number,
    optional,
    read_json,
    shown_text,
    whole,
)
from .weights import SCALE, dequantize, fill, read_weights

with needs_packages("spikingjelly_ckd.recipes.export"):
    from safetensors.torch import save

__all__ = [
    "SCALE",
    "dequantize",
    "file_hash",
    "load_network",
    "read_weights",
    "save_network",
    "what_is_there",
    "write_network",
]

__getattr__ = old_names(__name__, f"{__package__}.names")  # resolve_name

MOST_CLASSES = 2**16
LARGEST = 4096
"""Height and width of images, pixels."""
ABOUT = {
    "build": TEXT,
    "arguments": MAPPING,
    "time_steps": optional(whole(1, 10_000)),
    "student_steps": optional(TEXT),
    "size": optional(whole(1, LARGEST)),
    "mean": optional(list_of(number(-1e6, 1e6))),
    "std": optional(list_of(number(1e-6, 1e6))),
    "classes": list_of(TEXT),
    "weights": optional(TEXT),
    "event": FLAG,
    "centre_crop": FLAG,
    "thresholds": optional(mapping_of(number(1e-9, 1e9))),
    "accuracy": optional(number(0, 100)),
    "split": optional(TEXT),
    "split_hash": optional(TEXT),
    "sha256": optional(HASH),
    "made": optional(MAPPING),
}
"""What the ``.json`` of a network may say; ``build`` and ``arguments`` it has to."""
ARGUMENTS = {
    "num_classes": whole(1, MOST_CLASSES),
    "in_channels": whole(1, 1024),
    "size": whole(1, LARGEST),
    "time_steps": whole(1, 10_000),
    "hidden": optional(whole(1, 2**13)),
    "name": TEXT,
}
"""Bounds of the arguments that builders usually have."""


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "weights.bin")
        >>> path.write_bytes(b"123"), file_hash(path)[:8]
        (3, 'a665a459')
    """
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
    return write_network(path, network.state_dict(), {"build": name_of(build), "arguments": dict(arguments), **info})


def write_network(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Path:
    """Write the pair of files of :func:`save_network`.

    Args:
        path: of the ``.safetensors`` file.
        tensors: name -> what is written.
        about: for the JSON, which gets the hash of the weights.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "net.safetensors")
        >>> about = {"build": "spikingjelly_ckd.recipes.models:resnet8", "arguments": {"num_classes": 10}}
        >>> write_network(path, {"fc.weight": torch.zeros(10, 64)}, about).with_suffix(".json").is_file()
        True
    """
    found = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    weights = save({name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in found.items()})
    text = json_text({**about, "sha256": hashlib.sha256(weights).hexdigest()})
    path.parent.mkdir(parents=True, exist_ok=True)
    for target, content in ((path, weights), (path.with_suffix(".json"), text.encode())):
        with whole_file(target) as file:
            file.write(content)
    return path


def what_is_there(path: Path) -> str:
    """What stands in the place of an exported network, in words, and what to pass.

    Example:
        >>> what_is_there(Path("student.safetensors"))
        'there is no file student.safetensors'
    """
    if path.is_dir():
        inside = min([*path.glob("*.safetensors"), *path.glob("*/*.safetensors")], default=None)
        return f"{path} is a folder" + (" without one" if inside is None else f": name one in it, such as {inside}")
    if not path.is_file():
        return f"there is no file {path}"
    if path.suffix == ".json" and path.with_suffix(".safetensors").is_file():
        return f"{path} describes a network: pass {path.with_suffix('.safetensors')}, which lies beside it"
    return f"{path} is another file: of weights alone, fill the network with them and write it with save_network"


def load_network(path: str | Path, build: Callable[..., nn.Module] | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """Read what :func:`save_network` wrote.

    Args:
        path: of the ``.safetensors`` file, or ``hf://owner/name`` (:func:`.hub.local_file`), which is looked at as
            closely as any file.
        build: makes the network in place of the function that the JSON names; needed for any but those of this package.

    Returns:
        The network in ``eval`` on the CPU, and the JSON.

    Raises:
        FileNotFoundError: one of the two files is missing.
        TypeError: ``build`` returned no module.
        ValueError: the JSON names a function that is none of :data:`.names.BUILDERS` and ``build`` was not given, its
            arguments do not fit, a value is out of range, or the network has other tensors; the weights are not those
            that the JSON was written for.

    Example:
        >>> import tempfile
        >>> from spikingjelly_ckd.recipes.models import spiking_resnet8
        >>> path, arguments = Path(tempfile.mkdtemp(), "student.safetensors"), {"num_classes": 10}
        >>> _ = save_network(path, spiking_resnet8(**arguments), spiking_resnet8, arguments, time_steps=4)
        >>> network, about = load_network(path)
        >>> tuple(network(torch.rand(about["time_steps"], 1, 3, 32, 32)).shape)
        (4, 1, 10)
    """
    path = local_file(path)
    if path.suffix != ".safetensors" or not path.is_file():
        raise ArgumentNotFoundError("path", f"must be a .safetensors file, such as of a run; {what_is_there(path)}")
    about = read_about(path)
    check_pair(path, about)
    network = _build(_builder(build, about["build"], path), about["arguments"], path)
    fill(network, read_weights(path), path)
    set_thresholds(network, about.get("thresholds") or {})
    return network.eval(), about


def _builder(build: Callable[..., nn.Module] | None, name: str, path: Path) -> Callable[..., nn.Module]:
    """The function that makes the network; where it is another one than the file names, that is said."""
    if build is None:
        return _package_builder(name, path)
    try:
        given = name_of(build)
    except ValueError:  # it has no name to compare
        return build
    if given != name:
        warnings.warn(
            f"{path.with_suffix('.json')} names {shown_text(name)}, and {given} builds the network here: weights that "
            "fit it say nothing of its neurons, so compare its accuracy with that of the run",
            stacklevel=3,
        )
    return build


def _package_builder(name: str, path: Path) -> Callable[..., nn.Module]:
    build = package_function(name, BUILDERS)
    if build is None:
        raise ArgumentValueError(
            "build",
            f"must be given: {path.with_suffix('.json')} names {shown_text(name)}, which is no network of "
            "spikingjelly_ckd, and nothing is imported on the word of a file; pass the function that builds "
            "the network if you know it, on the command line by that name",
        )
    return build


def _build(build: Callable[..., nn.Module], arguments: Mapping[str, Any], path: Path) -> nn.Module:
    """Call a function with the arguments that a file says, after a look at them."""
    beside = path.with_suffix(".json")
    check_kinds(arguments, ARGUMENTS, f"{beside}: arguments")
    if getattr(build, "__module__", None) == BUILDERS["timm_network"] and (
        arguments.get("pretrained") or ":" in arguments.get("name", "")
    ):
        raise ValueError(f"{beside}: a file may name a network of timm itself, and none that would have to be fetched")
    try:
        inspect.signature(build).bind(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{beside}: arguments do not fit {name_of(build)}: {shown_text(error)}; the network was made with "
            f"{shown_text(', '.join(arguments)) or 'no arguments'}"
        ) from error
    try:
        network = build(**arguments)
    except Exception as error:  # whatever values out of a file make of the function
        raise ValueError(f"{beside}: {name_of(build)} refuses these arguments: {shown_text(error)}") from error
    if not isinstance(network, nn.Module):
        raise TypeError(f"build must return a torch.nn.Module, got {type(network).__name__}")
    return network


def read_about(path: Path) -> dict[str, Any]:
    """The JSON beside a ``.safetensors`` file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no JSON, says no network, or a value is of another kind than in :data:`ABOUT`.
    """
    beside = path.with_suffix(".json")
    if not beside.is_file():
        raise FileNotFoundError(f"{beside} is not there, which says how to build the network of {path.name}; copy both")
    about = read_json(beside)
    if not isinstance(about, dict) or not {"build", "arguments"} <= set(about):
        raise ValueError(f"{beside} does not say how to build the network: it has no 'build' and 'arguments'")
    check_kinds(about, ABOUT, str(beside))
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
