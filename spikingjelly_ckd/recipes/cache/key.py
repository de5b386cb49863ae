"""What the files of a teacher cache belong to, as plain data whose hash names their folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import PIL
import timm
import torch
import torchvision
from torch import Tensor, nn

from ...distiller import Distiller
from ..data import Data

__all__ = ["make_key", "tensors_of"]

FORMAT = 1
"""Of the files; another number makes another folder."""
MAP_SETTINGS = ("cam_method", "cam_pool", "target_class")
"""Settings of the package's losses on which the teacher's class map depends."""


def make_key(distiller: Distiller, data: Data, seed: int, shape: Iterable[int], maps: Iterable[str]) -> dict[str, Any]:
    """Everything on which the teacher's output for the training images depends.

    Args:
        distiller: whose teacher is cached.
        data: whose training set is used.
        seed: of the augmentation.
        shape: of one image.
        maps: names of the losses for which a class map is kept.

    Returns:
        Plain numbers, texts, lists and dicts.

    Raises:
        ValueError: the transform or ``teacher_input`` does not say in its ``repr`` what it does.
    """
    text = re.sub(" at 0x[0-9a-f]+", "", repr(distiller.teacher))
    return {
        "format": FORMAT,
        "teacher": _hash(text, tensors_of(distiller.teacher)),
        "teacher_input": _describe("teacher_input", distiller.teacher_input),
        "data": [data.name, data.split_hash],
        "images": len(data.train),  # type: ignore[arg-type]
        "shape": list(shape),
        "transform": _describe("the transform", getattr(data.train, "transform", data.train)),
        "seed": seed,
        "class_maps": {name: _describe_map(distiller, name) for name in maps},
        "versions": {package.__name__: package.__version__ for package in (torch, torchvision, timm, PIL)},
    }


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return dict(chain(network.named_parameters(), network.named_buffers()))


def _describe_map(distiller: Distiller, name: str) -> dict[str, Any]:
    """The class of a loss, the teacher's layers, and the settings on which its class map depends.

    For a loss that is not the package's own these are all settings that are numbers, texts or None.
    """
    loss = distiller.losses[name]
    kind = f"{type(loss).__module__}.{type(loss).__qualname__}"
    ours = kind.startswith(f"{Distiller.__module__.partition('.')[0]}.")
    plain = _plain_settings(loss)
    layers = [[x.path, x.layout, x.grid, x.prefix] for x in distiller.layers[name][1]]
    return {"loss": kind, "layers": layers} | {k: plain[k] for k in plain if k in MAP_SETTINGS or not ours}


def _describe(name: str, value: Any) -> str:
    """The ``repr`` of ``value``, and settings and tensors of the modules in it; the same in every run."""
    text = repr(value)
    if " at 0x" in text or "Lambda(" in text:  # torchvision's Lambda does not show its function
        raise ValueError(
            f"{name} must say in its repr what it does, so that a teacher cache can tell it from another, got {text}; "
            "give its class a __repr__, or pass a dataclass or a torch.nn.Module"
        )
    if not isinstance(value, nn.Module):
        return text
    plain = {path: _plain_settings(child, tuple) for path, child in value.named_modules()}
    return f"{text} {_hash(repr(plain), value.state_dict())}"


def _plain_settings(value: object, *more: type) -> dict[str, Any]:
    """Attributes that are numbers, texts or None."""
    kinds: tuple[type, ...] = (str, int, float, type(None), *more)
    return {name: item for name, item in vars(value).items() if isinstance(item, kinds) and name != "training"}


def _hash(text: str, tensors: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256(text.encode())
    for name, tensor in tensors.items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
