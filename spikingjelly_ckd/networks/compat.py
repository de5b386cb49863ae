"""The two SpikingJelly generations behind one set of questions.

Generation 0.0.0.0.14 gives every neuron a ``backend`` and speeds multi-step neurons up through CuPy; generation 2
has no ``backend`` and chooses native CUDA, Triton or torch by the device. Nothing else in the package asks which
one is installed, and this file asks what it can do, never for its version.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from importlib.metadata import version
from typing import ParamSpec, TypeVar

import torch
from torch import nn

from ..functional.installed import cure, needs_packages

with needs_packages("spikingjelly_ckd"):
    from spikingjelly.activation_based import base, functional, layer, neuron

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


def use_fast_neurons(module: nn.Module) -> NeuronPath:
    """Put the neurons on the fastest implementation of the installed SpikingJelly, and report which that is.

    On 0.0.0.0.14 with the network on CUDA and CuPy installed, multi-step neurons that can are switched to the CuPy
    backend. On 2.x nothing is changed: the path is chosen by SpikingJelly from the device and is reported. Without
    CUDA, or where CuPy is missing or cannot be imported, the report says so and nothing is changed.

    Args:
        module: the network, on the device where it will run and in its final step mode.

    Returns:
        A :class:`NeuronPath`; print it.

    Example:
        >>> from spikingjelly.activation_based import neuron
        >>> use_fast_neurons(neuron.LIFNode(step_mode="m")).changed
        0
    """
    path = neuron_path(module)
    if not _HAS_BACKENDS or not path.device.startswith("cuda") or _fault_of_cupy():
        return path
    able = [
        child
        for child in module.modules()
        if is_neuron(child) and "cupy" in getattr(child, "supported_backends", ()) and child.backend != "cupy"
    ]
    for child in able:
        functional.set_backend(child, "cupy")
    after = neuron_path(module)
    return NeuronPath(
        after.spikingjelly, after.device, after.implementation, after.neurons, len(able), "multi-step neurons switched"
    )


def neuron_path(module: nn.Module) -> NeuronPath:
    """What :func:`use_fast_neurons` reports, without changing anything.

    Returns:
        A :class:`NeuronPath` with ``changed`` 0.
    """
    neurons = [child for child in module.modules() if is_neuron(child)]
    device = next((tensor.device for tensor in (*module.parameters(), *module.buffers())), torch.device("cpu"))
    if _HAS_BACKENDS:
        names = sorted({getattr(child, "backend", "torch") for child in neurons}) or ["torch"]
        implementation, note = " + ".join(names), _backend_note(device)
    elif device.type in ("cpu", "cuda"):
        found = {_implementation(child, device) for child in neurons} or {"torch"}
        implementation, note = " + ".join(sorted(found)), "chosen by SpikingJelly from the device"
    else:
        implementation, note = "torch", f"SpikingJelly has no faster path for {device.type}"
    kinds = dict(Counter(type(child).__name__ for child in neurons))
    return NeuronPath(spikingjelly_version(), str(device), implementation, kinds, 0, note)


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
    return ""


def _implementation(child: nn.Module, device: torch.device) -> str:
    name = _QUERY_NAMES.get(type(child))
    if name is None:
        return "torch"
    return str(functional.neuron_implementation(name, device)["implementation"])
