"""The two SpikingJelly generations behind one set of questions.

Generation 0.0.0.0.14 gives every neuron a ``backend`` and speeds multi-step neurons up through CuPy; generation 2
has no ``backend`` and chooses native CUDA, Triton or torch by the device. Nothing else in the package asks which
one is installed, and this file asks what it can do, never for its version.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from importlib.metadata import version
from types import MethodType
from typing import Any, ParamSpec, TypeVar

import numpy
import torch
from torch import Tensor, nn

from ..errors.installed import cure, needs_packages, root_logger_untouched
from .fused_neurons import SURROGATES, Dynamics, Leak, fused_steps

with needs_packages("spikingjelly_ckd"), root_logger_untouched():
    from spikingjelly.activation_based import base, functional, layer, neuron, surrogate

__all__ = [
    "NeuronPath",
    "has_neurons",
    "invalidate_reset_cache",
    "is_neuron",
    "neuron_path",
    "neuron_step_modes",
    "obeys_step_mode",
    "reset",
    "spikingjelly_version",
    "untraced",
    "use_fast_neurons",
]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_NEURONS = tuple(
    item
    for item in vars(neuron).values()
    if isinstance(item, type)
    and issubclass(item, nn.Module)
    and issubclass(item, base.StepModule)
    and item.__module__.startswith(neuron.__name__)
)
_HAS_BACKENDS = hasattr(functional, "set_backend")
_FUSED = "fused torch"
_FUSED_KINDS = (neuron.IFNode, neuron.LIFNode, neuron.ParametricLIFNode)
_FUSED_SURROGATES = tuple(getattr(surrogate, name) for name in SURROGATES)
_QUERY_NAMES = {
    neuron.IFNode: "if",
    neuron.LIFNode: "lif",
    neuron.ParametricLIFNode: "plif",
    neuron.QIFNode: "qif",
    neuron.EIFNode: "eif",
    neuron.IzhikevichNode: "izhikevich",
}


def spikingjelly_version() -> str:
    """The installed SpikingJelly, as pip names it (the package itself carries no version)."""
    return version("spikingjelly")


def is_neuron(module: nn.Module) -> bool:
    """Whether ``module`` is a spiking neuron: SpikingJelly's (the PSN family included) or one built on its memory.

    ``layer.Dropout`` keeps memory too and is no neuron, nor is a ``NonSpiking...Node``; a user's own
    ``MemoryModule`` counts as one.

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
    """Whether any module inside is a spiking neuron."""
    return any(is_neuron(child) for child in module.modules())


def neuron_step_modes(module: nn.Module) -> dict[str, str]:
    """Path and step mode (``"s"``, ``"m"``) of each neuron inside ``module``.

    A ``layer.MultiStepContainer`` walks through time itself, so what it holds counts as multi-step.

    Example:
        >>> from spikingjelly.activation_based import neuron
        >>> neuron_step_modes(nn.Sequential(neuron.IFNode(step_mode="m"), neuron.IFNode()))
        {'0': 'm', '1': 's'}
    """
    inside = {
        id(child)
        for container in module.modules()
        if isinstance(container, layer.MultiStepContainer)
        for child in container.modules()
    }
    return {
        path: "m" if id(child) in inside else str(child.step_mode)
        for path, child in module.named_modules()
        if is_neuron(child) and hasattr(child, "step_mode")
    }


def step_modes(module: nn.Module) -> tuple[str | None, ...]:
    """The step mode of every module inside ``module``, in order, None for one that has none; cheap, for every step.

    Example:
        >>> step_modes(nn.Sequential(layer.Linear(2, 2, step_mode="m"), nn.ReLU()))
        (None, 'm', None)
    """
    return tuple(vars(child).get("_step_mode") for child in module.modules())


def is_in_single_step_mode(module: nn.Module) -> bool:
    """Whether SpikingJelly gives ``module`` a step mode, which decides what it does, and the mode is ``"s"``.

    Layers that treat every entry of the leading axes alike are left out: for them both modes are one.

    Example:
        >>> from spikingjelly.activation_based import layer, neuron
        >>> [is_in_single_step_mode(module) for module in (neuron.IFNode(), layer.Dropout(0.5), layer.Linear(2, 2))]
        [True, True, False]
    """
    alike = (nn.Linear, nn.Identity)
    return getattr(module, "step_mode", None) == "s" and obeys_step_mode(module) and not isinstance(module, alike)


def keeps_state(module: nn.Module) -> bool:
    """Whether ``module`` remembers something from one time step to the next.

    Example:
        >>> from spikingjelly.activation_based import layer
        >>> keeps_state(layer.SynapseFilter()), keeps_state(layer.BatchNorm2d(2))
        (True, False)
    """
    return isinstance(module, base.MemoryModule)


def inside_containers(module: nn.Module) -> set[str]:
    """Paths of the modules inside a container of SpikingJelly, which takes care of the time axis itself.

    Example:
        >>> from spikingjelly.activation_based import layer
        >>> inside_containers(nn.Sequential(layer.SeqToANNContainer(nn.BatchNorm2d(2))))
        {'0.0'}
    """
    kinds = (layer.MultiStepContainer, layer.SeqToANNContainer)
    return {
        f"{outer}.{inner}".removeprefix(".")
        for outer, container in module.named_modules()
        if isinstance(container, kinds)
        for inner, _ in container.named_modules()
        if inner
    }


def obeys_step_mode(module: nn.Module) -> bool:
    """Whether ``module`` is one of SpikingJelly, or has its ``forward``, in which ``step_mode`` decides.

    Example:
        >>> from spikingjelly.activation_based import neuron
        >>> obeys_step_mode(neuron.IFNode())
        True
    """
    ours = getattr(type(module), "forward", None) is base.MemoryModule.forward
    return ours or type(module).__module__.startswith("spikingjelly.")


def untraced(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """``function`` as ``torch.compile`` has to leave it alone: it runs as written.

    ``torch.compiler.disable`` says that too, and imports the compiler at once; here this is put off to the first call.

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
    """
    functional.reset_net(module)


def invalidate_reset_cache(module: nn.Module) -> None:
    """Forget which modules 2.x found at its first reset, so that later surgery on the network is not missed."""
    if hasattr(functional, "invalidate_reset_cache"):
        functional.invalidate_reset_cache(module)


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
        if type(child) in _FUSED_KINDS:
            changed += _set_fused(child, enable and device == "cpu")
        if _HAS_BACKENDS and is_neuron(child) and "cupy" in getattr(child, "supported_backends", ()):
            backend = "torch" if not enable else "cupy" if on_cupy else child.backend
            changed += child.backend != backend
            functional.set_backend(child, backend)
    return replace(neuron_path(module), changed=changed)


def neuron_path(module: nn.Module) -> NeuronPath:
    """What :func:`use_fast_neurons` reports, without changing anything.

    Returns:
        A :class:`NeuronPath` with ``changed`` 0.
    """
    neurons = [child for child in module.modules() if is_neuron(child)]
    device = next((tensor.device for tensor in (*module.parameters(), *module.buffers())), torch.device("cpu"))
    found = {_implementation(child, device) for child in neurons} or {"torch"}
    if device.type == "cpu" and _FUSED in found:
        note = "all time steps in one function, spikes equal to SpikingJelly's own"
    elif _HAS_BACKENDS:
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
    if device.type == "cpu" and _is_fused(child):
        return _FUSED
    if _HAS_BACKENDS:
        return str(getattr(child, "backend", "torch"))
    name = _QUERY_NAMES.get(type(child))
    if name is None or device.type not in ("cpu", "cuda"):
        return "torch"
    return str(functional.neuron_implementation(name, device)["implementation"])


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


def _is_fused(child: nn.Module) -> bool:
    return all(getattr(vars(child).get(method.__name__), "__func__", None) is method for method in _FUSED_METHODS)


def _set_fused(child: nn.Module, fused: bool) -> bool:
    """Switch a neuron to the methods above or back; whether that changed it."""
    if _is_fused(child) == fused:
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
        if _HAS_BACKENDS and torch.is_autocast_enabled("cpu"):
            return None  # 0.0.0.0.14 goes on in float32 from the first reset on
        if any(float(torch.tensor(value, dtype=x.dtype)) != value for value in (node.v_threshold, rest)):
            return None
    elif x.dtype not in (torch.float32, torch.float64):
        return None
    # 0.0.0.0.14 has a code of its own for IF and LIF in eval mode: no surrogate gradient, another way to decay
    evaluates = _HAS_BACKENDS and not node.training and not parametric
    if evaluates and torch.is_grad_enabled() and x.requires_grad:
        return None
    by_factor = _HAS_BACKENDS and rest == 0 and not (evaluates and node.v_reset is not None)
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
