"""A look at what a function for ``--data`` returned, before anything is trained on it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...errors.arguments import ArgumentTypeError, ArgumentValueError
from .base import Data
from .loading import seeded

__all__ = ["check_data"]


def check_data(data: Any, source: str, *, time_steps: int) -> Data:
    """``data`` if it can be trained on, as far as the first and the last sample of each part show it.

    Args:
        data: what the function returned.
        source: the function, for the message.
        time_steps: ``T``, which event frames have to have.

    Raises:
        TypeError: no :class:`Data`, or a sample that is no pair of a tensor and a whole number.
        ValueError: fewer than two classes, no samples, or a sample of another shape, with NaN or inf, or with a label
            that is no class.
    """
    if not isinstance(data, Data):
        raise ArgumentTypeError(
            "data",
            f"{source} must return a spikingjelly_ckd.recipes.data.Data, got {type(data).__name__}; data_from makes "
            "one of two datasets",
        )
    if data.num_classes < 2:
        raise ArgumentValueError(
            "data",
            f"{source} found {data.num_classes} class, and a network learns to tell at least 2 apart; in a tree of "
            "folders each class is a folder in train and in test or val",
        )
    frame = (data.in_channels, data.size, data.size)
    expected = (time_steps, *frame) if data.is_event else frame
    parts: dict[str, Any] = {"training": data.train, "validation": data.validation, "test": data.test}
    for part, dataset in parts.items():
        if dataset is None:
            continue
        count = len(dataset)
        if not count:
            raise ArgumentValueError("data", f"{source} returned an empty {part} set")
        for index in sorted({0, count - 1}):
            with seeded(0, index):
                sample = dataset[index]
            _check_sample(sample, f"{source}: {part} sample {index}", expected, data.num_classes)
    return data


def _check_sample(sample: Any, where: str, expected: tuple[int, ...], classes: int) -> None:
    image, label = sample if isinstance(sample, tuple | list) and len(sample) == 2 else (None, None)
    if isinstance(label, Tensor) and label.ndim == 0:
        label = label.item()
    if not isinstance(image, Tensor) or isinstance(label, bool) or not isinstance(label, int):
        raise ArgumentTypeError("data", f"{where} must be (tensor, whole number), got {_kinds(sample)}")
    if image.dtype != torch.float32 or tuple(image.shape) != expected:
        got = f"{image.dtype} {tuple(image.shape)}"
        raise ArgumentValueError("data", f"{where} must be torch.float32 {expected}, got {got}")
    if not image.isfinite().all():
        raise ArgumentValueError("data", f"{where} holds NaN or inf")
    if not 0 <= label < classes:
        raise ArgumentValueError("data", f"{where} has label {label}, and {classes} classes have 0 to {classes - 1}")


def _kinds(sample: Any) -> str:
    if isinstance(sample, tuple | list):
        return f"({', '.join(type(item).__name__ for item in sample)})"
    return type(sample).__name__
