"""Step modes: which a module has, and whether it obeys it."""

from __future__ import annotations

from torch import nn

from .installed import base, layer
from .neurons import is_neuron

__all__ = ["inside_containers", "is_in_single_step_mode", "neuron_step_modes", "obeys_step_mode", "step_modes"]


def neuron_step_modes(module: nn.Module) -> dict[str, str]:
    """Path and step mode (``"s"``, ``"m"``) of each neuron inside ``module``.

    A ``layer.MultiStepContainer`` walks through time itself, so what it holds counts as multi-step.

    Args:
        module: a network or a part of one.

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

    Args:
        module: a network or a part of one.

    Example:
        >>> step_modes(nn.Sequential(layer.Linear(2, 2, step_mode="m"), nn.ReLU()))
        (None, 'm', None)
    """
    return tuple(vars(child).get("_step_mode") for child in module.modules())


def is_in_single_step_mode(module: nn.Module) -> bool:
    """Whether SpikingJelly gives ``module`` a step mode, which decides what it does, and the mode is ``"s"``.

    Layers that treat every entry of the leading axes alike are left out: for them both modes are one.

    Args:
        module: one layer.

    Example:
        >>> from spikingjelly.activation_based import layer, neuron
        >>> [is_in_single_step_mode(module) for module in (neuron.IFNode(), layer.Dropout(0.5), layer.Linear(2, 2))]
        [True, True, False]
    """
    alike = (nn.Linear, nn.Identity)
    return getattr(module, "step_mode", None) == "s" and obeys_step_mode(module) and not isinstance(module, alike)


def inside_containers(module: nn.Module) -> set[str]:
    """Paths of the modules inside a container of SpikingJelly, which takes care of the time axis itself.

    Args:
        module: a network or a part of one.

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

    Args:
        module: one layer.

    Example:
        >>> from spikingjelly.activation_based import neuron
        >>> obeys_step_mode(neuron.IFNode())
        True
    """
    ours = getattr(type(module), "forward", None) is base.MemoryModule.forward
    return ours or type(module).__module__.startswith("spikingjelly.")
