"""Bounds of values and gradients where an input is silent or constant, or too large to be squared.

A division by a row's own length or spread has a gradient of one over that length: without a bound, one image for which
the student is silent outweighs every other image of the batch. Such a row is divided by 1 instead, which leaves its
value and a gradient of the usual size. Every other row keeps its bits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .maps import at_least_float32

__all__ = ["LEAST_LENGTH", "bounded_logits", "excess", "is_flat", "is_short", "smallest_probability", "unit_rows"]

LEAST_LENGTH = 1e-6
"""Length up to which a row counts as silent: rounding, and not what a spike leaves."""
FLATNESS = 1e-6
"""Length of the differences from the mean, beside that of the row, up to which a row counts as constant: rounding."""
LARGEST_LOGIT = 1e15
"""Magnitude to which rows of larger logits are scaled: its square and sums of squares are finite in fp32."""


def bounded_logits(logits: Tensor) -> Tensor:
    """Logits in fp32 or wider, where rows with an entry beyond 1e15 are scaled to that magnitude.

    The softmax of such a row is one-hot before and after. The gradient passes as if nothing had been scaled. Rows
    that are not finite are left as they are.

    Args:
        logits: shape ``[..., K]``.

    Returns:
        Same shape.

    Example:
        >>> import torch
        >>> bounded_logits(torch.tensor([[1.0, 2.0], [1e30, -1e30]]))
        tensor([[ 1.0000e+00,  2.0000e+00],
                [ 1.0000e+15, -1.0000e+15]])
    """
    logits = at_least_float32(logits)
    scaled: Tensor = _Scaled.apply(logits, excess(logits))  # type: ignore[no-untyped-call]
    return scaled


class _Scaled(torch.autograd.Function):
    """Division whose gradient is that of a division by 1; one kernel, where a formula for it takes five."""

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, times: Tensor) -> Tensor:
        return values / times

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def excess(logits: Tensor) -> Tensor:
    """How many times larger than 1e15 the largest magnitude of each row is; 1 where it is not, or not finite.

    Args:
        logits: shape ``[..., K]``.

    Returns:
        Shape ``[..., 1]``, detached.

    Example:
        >>> import torch
        >>> excess(torch.tensor([[1.0, 2.0], [4e15, -1.0]])).flatten()
        tensor([1., 4.])
    """
    times = logits.detach().abs().amax(dim=-1, keepdim=True) / LARGEST_LOGIT
    return torch.nan_to_num(times, nan=1.0, posinf=1.0).clamp_min(1.0)


def unit_rows(rows: Tensor, least: float = LEAST_LENGTH) -> Tensor:
    """Rows divided by their Euclidean length; a row that is no longer than ``least`` is left as it is.

    Args:
        rows: shape ``[..., D]``.
        least: at least 0.

    Returns:
        Same shape. The gradient of a row is at most ``1 / least`` times what comes in.

    Example:
        >>> import torch
        >>> unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    return torch.where(is_short(rows, least), rows, F.normalize(rows, dim=-1))


def is_short(rows: Tensor, least: float = LEAST_LENGTH) -> Tensor:
    """Which rows are no longer than ``least``.

    Args:
        rows: shape ``[..., D]``.
        least: Euclidean length, at least 0.

    Returns:
        Boolean, shape ``[..., 1]``.

    Example:
        >>> import torch
        >>> is_short(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).flatten()
        tensor([False,  True])
    """
    short: Tensor = torch.linalg.vector_norm(rows.detach(), dim=-1, keepdim=True) <= least
    return short


def is_flat(rows: Tensor, dim: int, least: float = 0.0) -> Tensor:
    """Which rows are constant but for rounding, so that their spread means nothing.

    Args:
        rows: any shape.
        dim: axis along which a row lies.
        least: length of the differences from the mean up to which a row counts as constant in any case.

    Returns:
        Boolean, shape of ``rows`` with size 1 at ``dim``.

    Example:
        >>> import torch
        >>> is_flat(torch.tensor([[0.1, 0.1, 0.1], [0.0, 0.0, 1.0]]), dim=1).flatten()
        tensor([ True, False])
    """
    rows = rows.detach()
    spread = torch.linalg.vector_norm(rows - rows.mean(dim, keepdim=True), dim=dim, keepdim=True)
    length: Tensor = torch.linalg.vector_norm(rows, dim=dim, keepdim=True)
    flat: Tensor = spread <= (FLATNESS * length).clamp_min(least)
    return flat


def smallest_probability(dtype: torch.dtype) -> float:
    """A million times the smallest normal number: the logarithm is finite, and its slope times a factor is as well.

    Example:
        >>> import torch
        >>> 1e-33 < smallest_probability(torch.float32) < 1e-31
        True
    """
    return float(torch.finfo(dtype).tiny * 2**20)
