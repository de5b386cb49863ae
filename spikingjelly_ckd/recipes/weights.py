"""Tensors of checkpoint files as they are around, and how they are put into a network."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from ..errors.installed import needs_packages
from .unpickling import ALLOWED
from .untrusted import shown_text

with needs_packages("spikingjelly_ckd.recipes.export"):
    from safetensors.torch import load_file

__all__ = ["SCALE", "dequantize", "fill", "named_as", "read_weights"]

SCALE = ".scale"
"""Behind the name of a tensor of integers: the name of its scales, one for each output channel."""
STATE_KEYS = (
    *("state_dict", "model", "net", "best_net", "state_dict_ema", "model_state_dict", "model_state"),
    *("network", "weights", "ema"),
)
PREFIXES = ("module.", "network.", "model.", "_orig_mod.")


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


def fill(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """``load_state_dict`` that says in one line which file does not fit which network.

    Args:
        network: that gets the weights.
        weights: name -> tensor.
        path: of the file, for the message.

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

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "checkpoint.pth")
        >>> torch.save({"epoch": 3, "model": {"module.fc.weight": torch.zeros(10, 64)}}, path)
        >>> {name: tuple(tensor.shape) for name, tensor in read_weights(path).items()}
        {'fc.weight': (10, 64)}
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
        what = str(error).partition(chr(10))[0].partition(". ")[0]  # what follows is about PyTorch's own parts
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
    """The weights under the network's own names, where all of these begin with what :func:`read_weights` drops.

    Args:
        network: that they are for.
        weights: of :func:`read_weights`.

    Returns:
        Name -> tensor; the same names where one of them is the network's.
    """
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
