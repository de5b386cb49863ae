"""Neurons that compute their steps again in the backward pass: less memory for more time."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import nn

from ...errors.arguments import ArgumentValueError
from ...networks.compat import is_neuron

__all__ = ["MemoryBudget", "checkpoint_neurons", "find_memopt", "own_path", "without_checkpoints"]

MemoryBudget = Literal["speed", "balanced", "memory"]
"""How many neurons: about half of them, three quarters, or all, those with the largest inputs first."""
WRAPPED = "_checkpoint_wrapped_module"


def checkpoint_neurons(network: nn.Module, run: Callable[[], Any], budget: MemoryBudget) -> nn.Module:
    """Checkpoint the gradients of neurons, by level 1 of SpikingJelly's ``memopt.optimize_memory``.

    A neuron then keeps its input alone for the backward pass, and computes its steps once more there. Outputs,
    gradients, and names in the ``state_dict`` stay. Spikes are not compressed: whether an input is binary for all
    images is not known from a few. A deep copy of such a network still calls the neurons of the first one.

    Args:
        network: changed in place, after the distiller has chosen its layers.
        run: calls the network once, on a few images, so that the inputs can be measured.
        budget: see :data:`MemoryBudget`.

    Returns:
        ``network``.

    Raises:
        ValueError: the installed SpikingJelly has no ``memopt``, or the network no neuron that can be replaced.

    Example:
        >>> from spikingjelly.activation_based import layer, neuron
        >>> network = nn.Sequential(layer.Linear(4, 2, step_mode="m"), neuron.LIFNode(step_mode="m"))
        >>> if find_spec("spikingjelly.activation_based.memopt"):
        ...     network = checkpoint_neurons(network, lambda: network(torch.rand(3, 1, 4)), "memory")
        >>> [*network.state_dict()], type(without_checkpoints(network)[1]).__name__
        (['0.weight', '0.bias'], 'LIFNode')
    """
    memopt = find_memopt()
    kinds = tuple({type(child) for path, child in network.named_modules() if path and is_neuron(child)})
    if not kinds:
        raise ArgumentValueError("memopt", f"does nothing: {type(network).__name__} has no neuron to checkpoint")
    with torch.no_grad():
        memopt.optimize_memory(network, kinds, lambda _: run(), level=1, checkpoint_budget=budget, compress=False)
    return network


def without_checkpoints(network: nn.Module) -> nn.Module:
    """Give a network its own neurons back, such as for whoever counts their spikes; does nothing where it has them.

    Args:
        network: changed in place.

    Returns:
        ``network``.

    Example:
        >>> from spikingjelly.activation_based import layer, neuron
        >>> network = nn.Sequential(layer.Linear(4, 2, step_mode="m"), neuron.IFNode(step_mode="m"))
        >>> if find_spec("spikingjelly.activation_based.memopt"):  # SpikingJelly 2.x
        ...     network = checkpoint_neurons(network, lambda: network(torch.rand(3, 1, 4)), "memory")
        >>> [type(child).__name__ for child in without_checkpoints(network)]
        ['Linear', 'IFNode']
    """
    for path, module in [*network.named_modules()]:
        inner = getattr(module, WRAPPED, None)
        if path and isinstance(inner, nn.Module):
            parent, _, name = path.rpartition(".")
            setattr(network.get_submodule(parent), name, inner)
    return network


def own_path(path: str) -> str:
    """The path of a module in the network that :func:`without_checkpoints` gives back.

    Args:
        path: in a network whose neurons may be checkpointed.

    Example:
        >>> own_path("layer1.act._checkpoint_wrapped_module")
        'layer1.act'
    """
    return path.removesuffix(f".{WRAPPED}")


def find_memopt() -> Any:
    """SpikingJelly's module of that name.

    Raises:
        ValueError: the installed SpikingJelly has none.
    """
    if find_spec("spikingjelly.activation_based.memopt") is None:
        raise ArgumentValueError("memopt", "needs SpikingJelly 2.x: the one installed has no memopt.optimize_memory")
    from spikingjelly.activation_based import memopt

    return memopt
