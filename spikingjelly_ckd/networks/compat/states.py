"""States that neurons keep from one time step to the next, and their reset."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import nn

from .installed import base, functional

__all__ = ["invalidate_reset_cache", "keeps_state", "reset", "untraced"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def keeps_state(module: nn.Module) -> bool:
    """Whether ``module`` remembers something from one time step to the next.

    Args:
        module: one layer.

    Example:
        >>> from spikingjelly.activation_based import layer
        >>> keeps_state(layer.SynapseFilter()), keeps_state(layer.BatchNorm2d(2))
        (True, False)
    """
    return isinstance(module, base.MemoryModule)


def untraced(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """``function`` as ``torch.compile`` has to leave it alone: it runs as written.

    ``torch.compiler.disable`` says that too, and imports the compiler at once; here this is put off to the first call.

    Args:
        function: any.

    Example:
        >>> untraced(len)([1, 2])
        2
    """
    made: list[Callable[_P, _R]] = []

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if not made:
            made.append(torch.compiler.disable(function))  # type: ignore[no-untyped-call]
        return made[0](*args, **kwargs)

    return call


@untraced
def reset(module: nn.Module) -> None:
    """Reset the states of every neuron inside ``module``; gradients of the past forward can still be computed.

    ``torch.compile`` must not trace it: the reset of a second network would miss its neurons.

    Args:
        module: a network or a part of one.

    Example:
        >>> from spikingjelly.activation_based import neuron
        >>> network = nn.Sequential(neuron.IFNode())
        >>> spikes = network(torch.tensor([0.25]))
        >>> network[0].v
        tensor([0.2500])
        >>> reset(network)
        >>> network[0].v
        0.0
    """
    functional.reset_net(module)


def invalidate_reset_cache(module: nn.Module) -> None:
    """Forget which modules 2.x found at its first reset, so that later surgery on the network is not missed.

    Args:
        module: the network.

    Example:
        >>> from spikingjelly.activation_based import neuron
        >>> network = nn.Sequential(neuron.IFNode())
        >>> reset(network)
        >>> network[0] = neuron.LIFNode()
        >>> invalidate_reset_cache(network)
        >>> spikes = network(torch.tensor([0.25]))
        >>> reset(network)
        >>> network[0].v
        0.0
    """
    if hasattr(functional, "invalidate_reset_cache"):
        functional.invalidate_reset_cache(module)
