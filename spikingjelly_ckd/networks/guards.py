"""Running a network to look at it, and leaving it as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from . import compat

__all__ = ["outside_inference", "preserve_state", "reset_states"]


def outside_inference() -> AbstractContextManager[Any]:
    """Leave ``torch.inference_mode``, in which no graph can be made, and change nothing outside it.

    Where it was on, gradients are enabled inside.

    Example:
        >>> import torch
        >>> with torch.inference_mode(), outside_inference():
        ...     torch.is_inference_mode_enabled()
        False
    """
    return torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext()


@contextmanager
def reset_states(student: nn.Module) -> Iterator[None]:
    """Clear a student's membranes before and after the block; if the block raises, its buffers are as before.

    Membranes cleared before ``backward`` change no gradient, and a student that kept them could not be copied. The
    buffers are BatchNorm's statistics, which a batch of NaN would ruin for good.

    Args:
        student: the network that runs inside the block.

    Example:
        >>> import torch
        >>> from spikingjelly.activation_based import neuron
        >>> net = neuron.IFNode()
        >>> with reset_states(net):
        ...     _ = net(torch.tensor([0.6]))
        >>> net.v
        0.0
    """
    buffers = [(buffer, buffer.detach().clone()) for buffer in student.buffers()] if student.training else []
    try:
        compat.reset(student)
        yield
    except BaseException:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        raise
    finally:
        compat.reset(student)


@contextmanager
def preserve_state(*networks: nn.Module) -> Iterator[None]:
    """Restore what running a network changes: modes, buffers, membranes, gradients and random numbers.

    The block runs outside of ``torch.inference_mode``, in which no gradient could be asked for.

    Args:
        *networks: those that will run inside the block. Their membranes are cleared before and after.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> norm = nn.BatchNorm2d(2)
        >>> with preserve_state(norm):
        ...     _ = norm.train()(torch.rand(4, 2, 3, 3))
        >>> norm.running_mean
        tensor([0., 0.])
    """
    spiking = [
        network for network in networks if compat.has_neurons(network)
    ]  # others may mean something else by reset
    modules = [module for network in networks for module in network.modules()]
    modes = [module.training for module in modules]
    tensors = {id(buffer): buffer for network in networks for buffer in network.buffers()}
    buffers = [(buffer, buffer.detach().clone()) for buffer in tensors.values()]
    gradients = [(parameter, parameter.grad) for network in networks for parameter in network.parameters()]
    everything = [*tensors.values(), *(parameter for parameter, _ in gradients)]
    devices = sorted({tensor.device.index for tensor in everything if tensor.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        try:
            for network in spiking:
                compat.reset(network)
            for parameter, _ in gradients:
                parameter.grad = None
            with outside_inference():
                yield
        finally:
            for network in spiking:
                compat.reset(network)
            for module, mode in zip(modules, modes, strict=True):
                module.training = mode
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)
            for parameter, gradient in gradients:
                parameter.grad = gradient
