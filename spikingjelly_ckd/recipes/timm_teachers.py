"""Networks of timm as teachers: with its weights, or to be trained."""

from __future__ import annotations

from typing import Any, cast

import timm
from torch import nn

from ..errors.near import hint
from .data import Data
from .teacher_input import Teacher

__all__ = ["from_timm", "timm_network"]


def timm_network(name: str, num_classes: int, in_channels: int = 3, *, pretrained: bool = False) -> nn.Module:
    """``timm.create_model`` with a message that helps.

    Raises:
        ValueError: timm has no such network, or cannot change its classes or channels.

    Example:
        >>> timm_network("resnet10t", num_classes=5, in_channels=2).num_classes
        5
    """
    known = timm.is_model(name.split(".")[0]) or name.startswith(("hf-hub:", "hf_hub:", "local-dir:"))
    if not known:
        raise ValueError(f"timm has no network {name!r}{hint(name, timm.list_models())}")
    options = {"num_classes": num_classes, "in_chans": in_channels}
    return _fetched(name, **options) if pretrained else cast(nn.Module, timm.create_model(name, **options))


def from_timm(name: str, data: Data) -> Teacher:
    """A network of timm with its weights, as a teacher.

    Args:
        name: without ``timm:``.
        data: what it is to teach.

    Raises:
        ValueError: event frames, other classes, no such network, or weights that cannot be fetched.
    """
    if data.is_event:
        raise ValueError(
            "timm's weights are for pictures with three channels, and these are event frames with two: train a "
            f"teacher on them first (examples/train_teacher.py --model timm:{name})"
        )
    timm_network(name, data.num_classes)  # a message for an unknown name, before anything is fetched
    network: Any = _fetched(name)
    config = network.pretrained_cfg
    if network.num_classes != data.num_classes:
        raise ValueError(
            f"timm:{name} has {network.num_classes} classes and the data {data.num_classes}: fine-tune it first "
            f"(examples/train_teacher.py --model timm:{name})"
        )
    size = config["input_size"][-1]
    return Teacher(network.eval(), f"timm:{name}", None, tuple(config["mean"]), tuple(config["std"]), size)


def _fetched(name: str, **options: Any) -> nn.Module:
    """A network of timm with its weights."""
    try:
        return cast(nn.Module, timm.create_model(name, pretrained=True, **options))
    except Exception as error:
        raise ValueError(
            f"timm:{name}: its weights cannot be fetched ({type(error).__name__}: {str(error).partition(chr(10))[0]}); "
            "fetch them elsewhere and pass a file, --teacher PATH"
        ) from error
