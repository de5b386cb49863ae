"""A network alone on disk: ``NAME.safetensors`` with its tensors and ``NAME.json`` with how to build and feed it.

Reading one needs neither Lightning nor a teacher, and runs no code of the files: nothing is unpickled, and the function
that the JSON names is one of :data:`.names.BUILDERS`, or else has to be passed as ``build=``.
"""

from __future__ import annotations

import hashlib
import inspect
import pickle
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from .._renamed import old_names
from ..errors.arguments import ArgumentNotFoundError, ArgumentValueError
from ..errors.installed import needs_packages
from .files import whole_file
from .hub import local_file
from .names import BUILDERS, name_of, package_function
from .unpickling import ALLOWED
from .untrusted import (
    FLAG,
    HASH,
    MAPPING,
    TEXT,
    check_kinds,
    json_text,
    list_of,
    number,
    optional,
    read_json,
    shown_text,
    whole,
)

with needs_packages("spikingjelly_ckd.recipes.export"):
    from safetensors.torch import load_file, save

__all__ = ["SCALE", "dequantize", "file_hash", "load_network", "read_weights", "save_network", "write_network"]

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
SCALE = ".scale"
"""Behind the name of a tensor of integers: the name of its scales, one for each output channel."""

STATE_KEYS = (
    *("state_dict", "model", "net", "best_net", "state_dict_ema", "model_state_dict", "model_state"),
    *("network", "weights", "ema"),
)
PREFIXES = ("module.", "network.", "model.", "_orig_mod.")


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
    return write_network(path, network.state_dict(), {"build": name_of(build), "arguments": dict(arguments), **info})


def write_network(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Path:
    """Write the pair of files of :func:`save_network`.

    Args:
        path: of the ``.safetensors`` file.
        tensors: name -> what is written.
        about: for the JSON, which gets the hash of the weights.
    """
    found = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    weights = save({name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in found.items()})
    text = json_text({**about, "sha256": hashlib.sha256(weights).hexdigest()})
    path.parent.mkdir(parents=True, exist_ok=True)
    for target, content in ((path, weights), (path.with_suffix(".json"), text.encode())):
        with whole_file(target) as file:
            file.write(content)
    return path


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
    """
    path = local_file(path)
    if path.suffix != ".safetensors" or not path.is_file():
        raise ArgumentNotFoundError("path", f"must be a .safetensors file that is there, such as of a run, got {path}")
    about = read_about(path)
    check_pair(path, about)
    network = _build(build or _package_builder(about["build"], path), about["arguments"], path)
    fill(network, read_weights(path), path)
    return network.eval(), about


def _package_builder(name: str, path: Path) -> Callable[..., nn.Module]:
    build = package_function(name, BUILDERS)
    if build is None:
        raise ArgumentValueError(
            "build",
            f"must be given: {path.with_suffix('.json')} names {shown_text(name)}, which is no network of "
            "spikingjelly_ckd, and nothing is imported on the word of a file; pass the function that builds "
            "the network if you know it",
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
        raise ValueError(f"{beside}: arguments do not fit {name_of(build)}: {shown_text(error)}") from error
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


def dequantize(weights: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Real weights in place of integers with a scale for each output channel.

    Args:
        weights: name -> tensor; beside an int8 tensor ``NAME`` stands ``NAME.scale``, ``[C]``. Others stay.
        path: of the file, for the message.

    Raises:
        ValueError: scales of another shape, negative or not finite.

    Example:
        >>> weights = {"w": torch.tensor([[2], [4]], dtype=torch.int8), "w.scale": torch.tensor([0.5, 0.25])}
        >>> dequantize(weights, Path("net.safetensors"))
        {'w': tensor([[1.], [1.]])}
    """
    found = dict(weights)
    for name, tensor in weights.items():
        if tensor.dtype != torch.int8 or name + SCALE not in weights:
            continue
        scale = found.pop(name + SCALE)
        fits = scale.is_floating_point() and scale.shape == tensor.shape[:1]
        if not fits or not bool(scale.isfinite().all() and (scale >= 0).all()):
            raise ValueError(f"{path}: the scales of {shown_text(name)} must be one a channel, finite, not negative")
        found[name] = tensor.to(scale.dtype) * scale.view(-1, *[1] * (tensor.ndim - 1))
    return found


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
        ValueError: names or shapes differ, or whole numbers stand for real ones or the other way round.
    """
    own, weights = network.state_dict(), named_as(network, weights)
    cut = [name for name in own if name in weights and not _is_kept(weights[name], own[name].dtype)]
    if cut:
        raise ValueError(
            f"{path} does not fit {type(network).__name__}: {len(cut)} tensors would be cut or are no weights (such as "
            f"{shown_text(cut[0])}, {weights[cut[0]].dtype} for {own[cut[0]].dtype})"
        )
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit {type(network).__name__}: {_differences(network, weights)}") from error


def _is_kept(values: Tensor, dtype: torch.dtype) -> bool:
    """Whether a tensor means the same in another type: real numbers stay real, whole numbers and flags the same."""
    if values.dtype == dtype:
        return True
    if dtype.is_floating_point or dtype.is_complex:
        return values.dtype.is_floating_point or (values.dtype.is_complex and dtype.is_complex)
    return not values.dtype.is_complex and torch.equal(values.to(dtype).to(values.dtype), values)


def _differences(network: nn.Module, weights: Mapping[str, Tensor]) -> str:
    own = network.state_dict()
    shapes = {name: (list(weights[name].shape), list(own[name].shape)) for name in own if name in weights}
    wrong = {
        "missing": [name for name in own if name not in weights],
        "unknown": [name for name in weights if name not in own],
        "of another shape": [f"{name} {a}, not {b}" for name, (a, b) in shapes.items() if a != b],
    }
    return ", ".join(
        f"{len(names)} tensors are {what} (such as {shown_text(names[0])})" for what, names in wrong.items() if names
    )


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file as they are around: safetensors, or PyTorch's format.

    Of a training checkpoint the entry ``state_dict``, ``model``, ``model_state_dict`` or the like is taken, or else the
    only entry that is a dict of tensors; ``module.`` and the like, left by ``DistributedDataParallel``, Lightning or
    ``torch.compile``, are dropped from the names. Nothing is unpickled but tensors and plain values; an
    ``argparse.Namespace``, paths and NumPy's numbers beside the tensors are no hindrance. Weights of
    :func:`.deploy.int8.export_int8` are multiplied by their scales.

    Args:
        path: of the file.

    Returns:
        Name -> tensor.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no tensors in it, NaN among them, or it holds Python objects, which would have to be unpickled.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path.resolve()}")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            with torch.serialization.safe_globals([(stand_in, name) for name, stand_in in ALLOWED.items()]):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        why = "it holds Python objects" if "GLOBAL" in str(error) else "cut off, or no file of PyTorch"
        raise ValueError(f"{path} cannot be read as tensors ({why}); save network.state_dict() alone") from error
    except Exception as error:
        what = str(error).partition(chr(10))[0]
        why = f": {what}" if " " in what else ""  # PyTorch's parser of a text stumbles without a sentence
        raise ValueError(
            f"{path} cannot be read as tensors (cut off?){why}; it must be a file of torch.save(network.state_dict(), "
            "...) or of safetensors"
        ) from error
    weights = _find_weights(content, path)
    broken = [name for name, value in weights.items() if value.is_floating_point() and value.isnan().any()]
    if broken:
        raise ValueError(f"{path} holds NaN in {len(broken)} tensors, such as {shown_text(broken[0])}")
    before = len(_wrappers(weights))
    return dequantize({name[before:]: value for name, value in weights.items()}, path)


def _wrappers(names: Iterable[str]) -> str:
    """What wrappers put in front of all names, such as ``"module."``."""
    names, found = list(names), ""
    while more := next((x for x in PREFIXES if names and all(n.startswith(found + x) for n in names)), None):
        found += more
    return found


def named_as(network: nn.Module, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights under the network's own names, where all of these begin with what :func:`read_weights` drops."""
    own = network.state_dict().keys()
    before = "" if own & weights.keys() else _wrappers(own)
    return {before + name: value for name, value in weights.items()}


def _find_weights(content: object, path: Path) -> dict[str, Tensor]:
    """The dict of tensors in what a file holds: itself, under a usual key, or the only one."""
    if _is_weights(content):
        return content
    entries: dict[object, object] = content if isinstance(content, dict) else {}
    for key in STATE_KEYS:
        value = entries.get(key)
        if _is_weights(value):
            return value
    found = {key: value for key, value in entries.items() if _is_weights(value)}
    if len(found) == 1:
        return next(iter(found.values()))
    among = f"; there are {len(found)}: {', '.join(shown_text(key, 40) for key in found)}" if found else ""
    raise ValueError(f"{path} holds no state_dict, alone or under {STATE_KEYS}{among}")


def _is_weights(value: object) -> TypeGuard[dict[str, Tensor]]:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(name, str) and isinstance(item, Tensor) for name, item in value.items())
    )
