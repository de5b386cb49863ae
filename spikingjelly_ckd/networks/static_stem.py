"""Layers in front of the first neuron, run once where every time step shows the same image."""

from __future__ import annotations

from types import MethodType
from typing import Any, cast

import torch
from torch import Tensor, nn

__all__ = ["run_static_stem_once"]

_ALIKE = (nn.Conv2d, nn.AvgPool2d, nn.MaxPool2d, nn.BatchNorm2d)
"""PyTorch's layers whose multi-step versions treat every time step alike; BatchNorm in eval mode."""


def run_static_stem_once(network: nn.Module, *, enable: bool = True) -> int:
    """Let multi-step layers of SpikingJelly run once on an input that is one image, repeated over time without a copy.

    Their output is repeated in the same way, so that the next layer runs once too, up to the first neuron (or the first
    layer that makes a tensor of its own). Values stay the same to the bit. Gradients of weights are rounded otherwise,
    since they are summed over time in front of the convolution and not behind it. BatchNorm in train mode runs over all
    time steps as before: statistics of a single one would be rounded otherwise, and the running variance depends on the
    number of values.

    Args:
        network: in multi-step mode; changed in place, its class, ``state_dict`` and hooks stay.
        enable: False gives the layers their own ``forward`` back.

    Returns:
        How many layers were changed.

    Example:
        >>> import torch
        >>> from spikingjelly.activation_based import layer
        >>> conv = layer.Conv2d(3, 4, 1, step_mode="m")
        >>> frames = torch.rand(2, 3, 8, 8).expand(5, 2, 3, 8, 8)
        >>> before = conv(frames)
        >>> run_static_stem_once(conv), conv(frames).stride(0), torch.equal(conv(frames), before)
        (1, 0, True)
    """
    changed = 0
    for module in network.modules():
        if enable == _is_changed(module) or not (_is_changed(module) or _treats_steps_alike(module)):
            continue
        if enable:
            module.forward = MethodType(_Once.forward, module)
        else:
            del module.forward
        changed += 1
    return changed


def _treats_steps_alike(module: nn.Module) -> bool:
    kind = type(module)
    own = kind.__module__.startswith("spikingjelly.") and "forward" not in vars(module)
    return own and any(issubclass(kind, base) and kind.__name__ == base.__name__ for base in _ALIKE)


def _is_changed(module: nn.Module) -> bool:
    return getattr(vars(module).get("forward"), "__func__", None) is _Once.forward


class _Once:
    """What an instance gets in place of its class's method, under its name, by which a bound method is pickled."""

    def forward(self: Any, x: Tensor) -> Tensor:
        forward = type(self).forward
        if x.ndim != 5 or len(x) == 1 or x.stride(0) != 0 or self.step_mode != "m":
            return cast(Tensor, forward(self, x))
        if isinstance(self, nn.BatchNorm2d) and (self.training or self.running_mean is None):
            return cast(Tensor, forward(self, _copied(x)))
        once = forward(self, x[:1])
        return cast(Tensor, once.expand(len(x), *once.shape[1:]))


def _copied(x: Tensor) -> Tensor:
    """Every step in memory of its own, in the memory format of one; statistics are summed in that order."""
    if x[0].is_contiguous() or not x[0].is_contiguous(memory_format=torch.channels_last):
        return x.contiguous()
    return x.movedim(2, -1).contiguous().movedim(-1, 2)
