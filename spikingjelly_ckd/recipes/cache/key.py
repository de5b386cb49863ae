"""What a cache belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["FORMAT", "MAP_SETTINGS", "content_hash", "describe", "plain_settings", "tensors_of"]

FORMAT = 1
MAP_SETTINGS = ("cam_pool", "evidence", "target_class")
"""Settings of the package's losses on which the teacher's class map depends."""


def describe(name: str, value: Any) -> str:
    """A text that tells ``value`` from another in every run: its ``repr``, and what modules in it hold."""
    text = repr(value)
    if " at 0x" in text or "Lambda(" in text:  # torchvision's Lambda does not show its function
        raise ValueError(
            f"{name} must say in its repr what it does, so that a teacher cache can tell it from another, got {text}; "
            "give its class a __repr__, or pass a dataclass or a torch.nn.Module"
        )
    if not isinstance(value, nn.Module):
        return text
    plain = {path: plain_settings(child, tuple) for path, child in value.named_modules()}
    return f"{text} {content_hash(repr(plain), value.state_dict())}"


def plain_settings(value: object, *more: type) -> dict[str, Any]:
    """Attributes that are numbers, texts or None."""
    kinds: tuple[type, ...] = (str, int, float, type(None), *more)
    return {name: item for name, item in vars(value).items() if isinstance(item, kinds) and name != "training"}


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return dict(chain(network.named_parameters(), network.named_buffers()))


def content_hash(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Of a text and tensors with their names."""
    found = hashlib.sha256(text.encode())
    for name, tensor in tensors.items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
