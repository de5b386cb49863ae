"""On which implementation the neurons of a network run, and the fastest one at hand.

Generation 0.0.0.0.14 gives every neuron a ``backend`` and speeds multi-step neurons up through CuPy; generation 2
has no ``backend`` and chooses native CUDA, Triton or torch by the device.
"""

from __future__ import annotations

import importlib
from collections import Counter
from dataclasses import dataclass, replace

import numpy
import torch
from torch import nn

from ...errors.installed import cure
from .fused_methods import FUSED_KINDS, is_fused, set_fused
from .installed import HAS_BACKENDS, functional, neuron, spikingjelly_version
from .neurons import is_neuron

__all__ = ["NeuronPath", "neuron_path", "use_fast_neurons"]

_FUSED = "fused torch"
_QUERY_NAMES = {
    neuron.IFNode: "if",
    neuron.LIFNode: "lif",
    neuron.ParametricLIFNode: "plif",
    neuron.QIFNode: "qif",
    neuron.EIFNode: "eif",
    neuron.IzhikevichNode: "izhikevich",
}


@dataclass(frozen=True)
class NeuronPath:
    """Which implementation the neurons of a network run on.

    Attributes:
        spikingjelly: installed version.
        device: where the network's parameters are.
        implementation: such as ``"torch"``, ``"cupy"``, or what 2.x answers for the device.
        neurons: neuron class name -> how many.
        changed: how many neurons the call switched.
        note: why, in a sentence.

    Example:
        >>> from spikingjelly.activation_based import layer
        >>> network = nn.Sequential(layer.Linear(4, 8, step_mode="m"), neuron.LIFNode(step_mode="m"))
        >>> path = use_fast_neurons(network)
        >>> path.device, path.neurons, path.implementation, path.changed
        ('cpu', {'LIFNode': 1}, 'fused torch', 1)
    """

    spikingjelly: str
    device: str
    implementation: str
    neurons: dict[str, int]
    changed: int
    note: str

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {name}" for name, count in self.neurons.items()) or "no neurons"
        return f"SpikingJelly {self.spikingjelly} on {self.device}: {kinds} on {self.implementation} ({self.note})"


def use_fast_neurons(module: nn.Module, *, enable: bool = True, dtype: torch.dtype = torch.float32) -> NeuronPath:
    """Put the neurons on the fastest implementation at hand, and report which that is.

    On the CPU, ``IFNode``, ``LIFNode`` and ``ParametricLIFNode`` run all time steps as one function of ours; a subclass
    keeps its own methods. Spikes are SpikingJelly's to the bit and gradients agree to 1e-6 (relative, float32). A call
    that it does not cover runs SpikingJelly's own code: a neuron that is not at its reset value, ``store_v_seq``, a
    surrogate function other than ``ATan``, ``PiecewiseQuadratic`` and ``Sigmoid``, a dtype other than float32, float64
    and bfloat16 (with a threshold or reset value that bfloat16 rounds), and what is compiled, traced or exported. The
    class of a neuron, its ``state_dict``, copies and hooks are as before; a pickled neuron is SpikingJelly's own.

    On CUDA with SpikingJelly 0.0.0.0.14, CuPy and a NumPy older than 1.24 (whose ``numpy.int`` it asks for), multi-step
    neurons that can are switched to the CuPy backend, which computes in float32 and float16. On CUDA with 2.x nothing
    is changed: the path is chosen by SpikingJelly and is reported.

    Args:
        module: the network, on the device where it will run; on CUDA, in its final step mode.
        enable: False gives the neurons SpikingJelly's own code back.
        dtype: of what the neurons will be given, such as that of autocast.

    Returns:
        A :class:`NeuronPath`; print it.

    Example:
        >>> from spikingjelly.activation_based import neuron
        >>> lif = neuron.LIFNode(step_mode="m")
        >>> use_fast_neurons(lif).changed, use_fast_neurons(lif).changed, use_fast_neurons(lif, enable=False).changed
        (1, 0, 1)
    """
    device = neuron_path(module).device
    on_cupy = device.startswith("cuda") and dtype in (torch.float32, torch.float16) and not _fault_of_cupy()
    changed = 0
    for child in module.modules():
        if type(child) in FUSED_KINDS:
            changed += set_fused(child, enable and device == "cpu")
        if HAS_BACKENDS and is_neuron(child) and "cupy" in getattr(child, "supported_backends", ()):
            backend = "torch" if not enable else "cupy" if on_cupy else child.backend
            changed += child.backend != backend
            functional.set_backend(child, backend)
    return replace(neuron_path(module), changed=changed)


def neuron_path(module: nn.Module) -> NeuronPath:
    """What :func:`use_fast_neurons` reports, without changing anything.

    Args:
        module: the network.

    Returns:
        A :class:`NeuronPath` with ``changed`` 0.

    Example:
        >>> from spikingjelly.activation_based import neuron
        >>> path = neuron_path(nn.Sequential(neuron.IFNode(), neuron.IFNode(), neuron.LIFNode()))
        >>> path.device, path.neurons, path.changed
        ('cpu', {'IFNode': 2, 'LIFNode': 1}, 0)
    """
    neurons = [child for child in module.modules() if is_neuron(child)]
    device = next((tensor.device for tensor in (*module.parameters(), *module.buffers())), torch.device("cpu"))
    found = {_implementation(child, device) for child in neurons} or {"torch"}
    if device.type == "cpu" and _FUSED in found:
        note = "all time steps in one function, spikes equal to SpikingJelly's own"
    elif HAS_BACKENDS:
        note = _backend_note(device)
    elif device.type in ("cpu", "cuda"):
        note = "chosen by SpikingJelly from the device"
    else:
        note = f"SpikingJelly has no faster path for {device.type}"
    kinds = dict(Counter(type(child).__name__ for child in neurons))
    return NeuronPath(spikingjelly_version(), str(device), " + ".join(sorted(found)), kinds, 0, note)


def _backend_note(device: torch.device) -> str:
    if device.type != "cuda":
        return "CuPy needs the network on CUDA"
    return _fault_of_cupy() or "as set on the neurons"


def _fault_of_cupy() -> str:
    """Why CuPy cannot be used, and what to do; empty where it can. SpikingJelly passes such a failure over."""
    try:
        importlib.import_module("cupy")
    except Exception as error:
        return cure(error, "the CuPy backend")
    if not hasattr(numpy, "int"):
        return (
            f"the CuPy backend of SpikingJelly {spikingjelly_version()} asks for numpy.int, which NumPy has had until "
            f"1.23; here is {numpy.__version__}"
        )
    return ""


def _implementation(child: nn.Module, device: torch.device) -> str:
    if device.type == "cpu" and is_fused(child):
        return _FUSED
    if HAS_BACKENDS:
        return str(getattr(child, "backend", "torch"))
    name = _QUERY_NAMES.get(type(child))
    if name is None or device.type not in ("cpu", "cuda"):
        return "torch"
    return str(functional.neuron_implementation(name, device)["implementation"])
