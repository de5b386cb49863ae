"""How a spiking network takes its time steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..networks.outputs import read_logits
from ..networks.presets import StudentSteps

__all__ = ["StudentSteps", "run_over_time"]


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
