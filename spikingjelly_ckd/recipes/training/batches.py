"""Images and labels of a batch, whatever else a loader puts into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from ...errors.arguments import ArgumentTypeError

__all__ = ["IMAGE_NAMES", "LABEL_NAMES", "Unpack", "images_of", "unpack_batch"]

IMAGE_NAMES = ("image", "images", "img", "imgs", "pixel_values", "frames", "input", "inputs", "x")
LABEL_NAMES = ("label", "labels", "target", "targets", "y")

Unpack = Callable[[Any], tuple[Tensor, Tensor]]
"""Batch as the loader gives it -> (images, labels)."""


def unpack_batch(batch: Any, unpack: Unpack | None = None) -> tuple[Tensor, Tensor]:
    """Images and labels of a batch.

    Without ``unpack`` they are found by name in a dict, a namedtuple or a dataclass that has exactly one field of
    ``IMAGE_NAMES`` and one of ``LABEL_NAMES``; otherwise they are the first and the second item of a tuple or list.
    What else there is (indices, metadata) is passed over.

    Args:
        batch: as the loader gives it.
        unpack: finds them instead.

    Returns:
        Images and labels, as they are.

    Raises:
        TypeError: there are none, or ``unpack`` returns something else.

    Example:
        >>> import torch
        >>> images, labels, index = torch.rand(2, 3, 8, 8), torch.tensor([0, 1]), torch.tensor([7, 3])
        >>> unpack_batch((images, labels, index))[1]
        tensor([0, 1])
        >>> unpack_batch({"id": index, "pixel_values": images, "label": labels})[1]
        tensor([0, 1])
        >>> unpack_batch((index, (images, labels)), lambda batch: batch[1])[1]
        tensor([0, 1])
    """
    found = _find(batch) if unpack is None else unpack(batch)
    if isinstance(found, tuple | list) and len(found) == 2 and all(isinstance(item, Tensor) for item in found):
        return found[0], found[1]
    if unpack is None:
        raise TypeError(
            f"no images and labels are found in a batch that is {_describe(batch)}; expected (images, labels, ...), or "
            "names such as 'image' and 'label': pass unpack=, a function of the batch that returns (images, labels)"
        )
    raise ArgumentTypeError("unpack", f"must return (images, labels), two tensors, got {_describe(found)}")


def images_of(batch: Any, unpack: Unpack | None = None) -> Tensor:
    """Images of a batch that may have no labels: a tensor is taken as it is, all else as for :func:`unpack_batch`.

    Args:
        batch: as the loader gives it.
        unpack: finds them; the labels that it returns are passed over.

    Raises:
        TypeError: there are none.

    Example:
        >>> import torch
        >>> images_of([torch.rand(2, 3, 8, 8)]).shape
        torch.Size([2, 3, 8, 8])
    """
    images = batch if isinstance(batch, Tensor) else (_find(batch) if unpack is None else unpack(batch))[0]
    if isinstance(images, Tensor):
        return images
    raise TypeError(
        f"no images are found in a batch that is {_describe(batch)}; expected a tensor, (images, ...), or a name such "
        "as 'image': pass unpack=, a function of the batch that returns (images, labels)"
    )


def _find(batch: Any) -> tuple[Any, Any]:
    """Both by name if one of them has a name that is known, otherwise both by position; None for what is not there."""
    named = _named(batch)
    images, labels = (_only(named, names) for names in (IMAGE_NAMES, LABEL_NAMES))
    if images is None and labels is None and isinstance(batch, tuple | list):
        images, labels = (*batch[:2], None, None)[:2]
    return images, labels


def _named(batch: Any) -> Mapping[Any, Any]:
    if isinstance(batch, Mapping):
        return batch
    if isinstance(batch, tuple) and hasattr(batch, "_asdict"):
        return dict(batch._asdict())
    if is_dataclass(batch):
        return {field.name: getattr(batch, field.name) for field in fields(batch)}
    return {}


def _only(named: Mapping[Any, Any], names: tuple[str, ...]) -> Any:
    """What stands under the only one of ``names`` that is there."""
    found = [named[name] for name in names if name in named]
    return found[0] if len(found) == 1 else None


def _describe(batch: Any) -> str:
    kind, named = type(batch).__name__, _named(batch)
    if named:
        return f"a {kind} with {list(named)}"
    if isinstance(batch, tuple | list):
        return f"a {kind} of ({', '.join(type(item).__name__ for item in batch)})"
    return f"a {kind}"
