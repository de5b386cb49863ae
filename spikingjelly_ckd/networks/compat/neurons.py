"""Which modules are spiking neurons."""

from __future__ import annotations

from torch import nn

from .installed import base, neuron

__all__ = ["has_neurons", "is_neuron"]

_NEURONS = tuple(
    item
    for item in vars(neuron).values()
    if isinstance(item, type)
    and issubclass(item, nn.Module)
    and issubclass(item, base.StepModule)
    and item.__module__.startswith(neuron.__name__)
)


def is_neuron(module: nn.Module) -> bool:
    """Whether ``module`` is a spiking neuron: SpikingJelly's (the PSN family included) or one built on its memory.

    ``layer.Dropout`` keeps memory too and is no neuron, nor is a ``NonSpiking...Node``; a user's own
    ``MemoryModule`` counts as one.

    Args:
        module: one layer.

    Example:
        >>> from spikingjelly.activation_based import layer, neuron
        >>> is_neuron(neuron.LIFNode()), is_neuron(layer.Dropout(0.5))
        (True, False)
    """
    if "NonSpiking" in type(module).__name__:
        return False
    if isinstance(module, _NEURONS):
        return True
    return isinstance(module, base.MemoryModule) and not type(module).__module__.startswith("spikingjelly.")


def has_neurons(module: nn.Module) -> bool:
    """Whether any module inside is a spiking neuron.

    Args:
        module: a network or a part of one.

    Example:
        >>> from spikingjelly.activation_based import layer, neuron
        >>> has_neurons(nn.Sequential(layer.Linear(4, 8), neuron.LIFNode())), has_neurons(nn.Sequential(nn.ReLU()))
        (True, False)
    """
    return any(is_neuron(child) for child in module.modules())
