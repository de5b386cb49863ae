"""Plain data in a ``state_dict``: as a tensor of bytes, which every kind of checkpoint can hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["decode", "encode"]

BLOCK = 2**14
"""The bytes are padded with blanks to a multiple of it. A state saved before anything was chosen so has the same shapes
as one saved later, and moving averages can copy one ``state_dict`` into the other (as timm's does)."""


def encode(data: Mapping[str, Any]) -> Tensor:
    """``data`` as JSON in a tensor of bytes.

    Args:
        data: what JSON can hold.

    Returns:
        uint8, one axis; its length is a multiple of :data:`BLOCK`.

    Example:
        >>> decode(encode({"layers": ["3"]}))
        {'layers': ['3']}
    """
    text = json.dumps(data, sort_keys=True).encode()
    return torch.frombuffer(bytearray(text.ljust(-(-len(text) // BLOCK) * BLOCK)), dtype=torch.uint8)


def decode(state: Tensor) -> dict[str, Any]:
    """What :func:`encode` was given.

    Args:
        state: of :func:`encode`.

    Raises:
        ValueError: it is something else.
    """
    try:
        data = json.loads(bytes(state.cpu().tolist()))
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError("the saved choices of the distiller cannot be read: the state is damaged") from error
    if not isinstance(data, dict):
        raise ValueError("the saved choices of the distiller are no mapping: the state is damaged")  # noqa: TRY004
    return data
