"""How a spiking network takes its time steps."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..networks.outputs import read_logits

__all__ = ["StudentSteps", "run_over_time"]


StudentSteps = Literal["multi", "loop", "internal"]
"""How a student takes its time steps: all in one call, one call for each, or by itself, from images."""


def run_over_time(network: nn.Module, frames: Tensor, steps: StudentSteps) -> Any:
    """What a spiking network returns: of one call, or the logits of one call for each time step, ``[T, N, K]``.

    Args:
        network: in multi-step mode, or for ``"loop"`` in single-step mode.
        frames: ``[T, N, C, H, W]``, or images where the network repeats them by itself.
        steps: how it takes them.

    Example:
        >>> run_over_time(nn.Flatten(), torch.zeros(3, 2, 1, 2, 2), "loop").shape
        torch.Size([3, 2, 4])
    """
    if steps != "loop":
        return network(frames)
    return torch.stack([read_logits(network(x), role="student", size=x.shape[0], steps=1).mean for x in frames])
