"""Neurons of SpikingJelly that run all time steps as one function, where that is equal to their own code."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from .fused_neurons import SURROGATES, Dynamics, Leak, fused_steps
from .installed import HAS_BACKENDS, neuron, surrogate

__all__ = ["FUSED_KINDS", "is_fused", "set_fused"]

FUSED_KINDS = (neuron.IFNode, neuron.LIFNode, neuron.ParametricLIFNode)
"""Classes of the neurons that can; a subclass keeps its own methods."""
_FUSED_SURROGATES = tuple(getattr(surrogate, name) for name in SURROGATES)


class _FusedMethods:
    """What an instance gets in place of its class's methods, under their names.

    A bound method is pickled as the name of an attribute of its instance, so what is loaded has the class's own.
    """

    def single_step_forward(self: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        spikes = None if args or kwargs else _fused_forward(self, x, single=True)
        return type(self).single_step_forward(self, x, *args, **kwargs) if spikes is None else spikes

    def multi_step_forward(self: Any, x_seq: Any, *args: Any, **kwargs: Any) -> Any:
        spikes = None if args or kwargs else _fused_forward(self, x_seq, single=False)
        return type(self).multi_step_forward(self, x_seq, *args, **kwargs) if spikes is None else spikes


_FUSED_METHODS = (_FusedMethods.single_step_forward, _FusedMethods.multi_step_forward)


def is_fused(child: nn.Module) -> bool:
    """Whether a neuron has the methods above.

    Args:
        child: a neuron.
    """
    return all(getattr(vars(child).get(method.__name__), "__func__", None) is method for method in _FUSED_METHODS)


def set_fused(child: nn.Module, fused: bool) -> bool:
    """Switch a neuron to the methods above or back; whether that changed it.

    Args:
        child: a neuron of :data:`FUSED_KINDS`.
        fused: whether it gets these methods or the ones of its class.
    """
    if is_fused(child) == fused:
        return False
    for method in _FUSED_METHODS:
        if fused:
            setattr(child, method.__name__, MethodType(method, child))
        else:
            delattr(child, method.__name__)
    return True


def _fused_forward(node: Any, x: Any, *, single: bool) -> Tensor | None:
    """The spikes, with the state left as SpikingJelly leaves it, or None where its own code has to run."""
    if torch.compiler.is_compiling() or torch._C._is_tracing() or torch._C._are_functorch_transforms_active():
        return None
    if type(x) is not Tensor or x.device.type != "cpu" or x.layout != torch.strided or not x.numel():
        return None
    if not single and not x.ndim:
        return None
    dynamics = _dynamics(node, x)
    if dynamics is None:
        return None
    share = node.w.sigmoid() if isinstance(node, neuron.ParametricLIFNode) else None
    spikes, node.v = fused_steps(x.unsqueeze(0) if single else x, share, dynamics)
    return spikes[0] if single else spikes


def _dynamics(node: Any, x: Tensor) -> Dynamics | None:
    """What the neuron does in a step; None where that, its state or the dtype is not what was compared."""
    surrogate_function, parametric = node.surrogate_function, type(node) is neuron.ParametricLIFNode
    rest = 0.0 if node.v_reset is None else node.v_reset
    values = (node.v_threshold, rest, node.v, getattr(surrogate_function, "alpha", None))
    if any(type(value) not in (int, float) for value in values) or node.v != rest:
        return None
    if type(surrogate_function) not in _FUSED_SURROGATES or not surrogate_function.spiking or node.store_v_seq:
        return None
    if getattr(node, "backend", "torch") != "torch" or getattr(node, "_neuron_precision", None) is not None:
        return None
    if parametric and (node.w.ndim or node.w.device.type != "cpu" or node.w.dtype not in (torch.float32, x.dtype)):
        return None
    if x.dtype == torch.bfloat16:
        if HAS_BACKENDS and torch.is_autocast_enabled("cpu"):
            return None  # 0.0.0.0.14 goes on in float32 from the first reset on
        if any(float(torch.tensor(value, dtype=x.dtype)) != value for value in (node.v_threshold, rest)):
            return None
    elif x.dtype not in (torch.float32, torch.float64):
        return None
    # 0.0.0.0.14 has a code of its own for IF and LIF in eval mode: no surrogate gradient, another way to decay
    evaluates = HAS_BACKENDS and not node.training and not parametric
    if evaluates and torch.is_grad_enabled() and x.requires_grad:
        return None
    by_factor = HAS_BACKENDS and rest == 0 and not (evaluates and node.v_reset is not None)
    decay_input = getattr(node, "decay_input", False)
    leak: Leak = "none" if type(node) is neuron.IFNode else "factor" if by_factor and not decay_input else "difference"
    return Dynamics(
        leak=leak,
        tau=getattr(node, "tau", 2.0),
        decay_input=decay_input,
        threshold=node.v_threshold,
        reset=node.v_reset,
        detach_reset=node.detach_reset,
        surrogate=surrogate_function,
        alpha=surrogate_function.alpha,
    )
