"""Any network of SpikingJelly's own model zoo, ``spikingjelly.activation_based.model``, made for a data set."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from spikingjelly.activation_based import functional
from torch import nn

from ...errors.arguments import ArgumentValueError
from ...errors.checks import check_choice, check_count
from ...errors.near import hint
from ...networks.presets import preset_student_steps
from ..names import in_code_of_user
from .neurons import NeuronName, SurrogateName, make_neuron

__all__ = ["name_in_zoo", "spikingjelly_network"]

ZOO = "spikingjelly.activation_based.model"


def name_in_zoo(build: Callable[..., Any]) -> str | None:
    """The name of a function or class of SpikingJelly's model zoo, as :func:`spikingjelly_network` takes it.

    Args:
        build: any function.

    Returns:
        Such as ``"sew_resnet.sew_resnet18"``; None for what is of another place.

    Example:
        >>> from spikingjelly.activation_based.model.sew_resnet import sew_resnet18
        >>> name_in_zoo(sew_resnet18), name_in_zoo(nn.Linear)
        ('sew_resnet.sew_resnet18', None)
    """
    module, name = getattr(build, "__module__", None) or "", getattr(build, "__qualname__", "")
    return f"{module.removeprefix(ZOO + '.')}.{name}" if module.startswith(f"{ZOO}.") else None


def spikingjelly_network(
    name: str,
    num_classes: int,
    in_channels: int = 3,
    size: int = 32,
    time_steps: int = 4,
    *,
    step_mode: Literal["s", "m"] = "m",
    neuron: NeuronName | None = None,
    tau: float | None = None,
    surrogate: SurrogateName | None = None,
    detach_reset: bool | None = None,
) -> nn.Module:
    """A network of SpikingJelly's model zoo with the classes, channels and neurons that are asked for.

    It is in multi-step mode, unless it takes one time step in each call, as those of online training (OTTT) do.
    Networks that bring no neuron of their own (``spiking_resnet``, ``sew_resnet``, ``spiking_vgg``,
    ``parametric_lif_net``) get :func:`.lif` where none is named; the others keep theirs. SEW networks add their
    shortcuts (``cnf="ADD"``). A first convolution that is made for other channels is replaced.

    Args:
        name: module and function, such as ``"sew_resnet.sew_resnet18"``.
        num_classes: ``K``; a network whose number of classes is fixed keeps that.
        in_channels: of the images or frames.
        size: height and width, for networks that have to know them.
        time_steps: ``T``, for networks that have to know it.
        step_mode: ``"m"`` for one call with ``[T, N, C, H, W]``, ``"s"`` for one call a time step.
        neuron: as for :func:`.make_neuron`, of every spiking layer.
        tau: likewise.
        surrogate: likewise.
        detach_reset: likewise.

    Raises:
        TypeError: a size is no integer.
        ValueError: the installed SpikingJelly has no such network, it asks for more than a data set says, or the values
            of the neurons do not go together.

    Example:
        >>> network = spikingjelly_network("spiking_resnet.spiking_resnet18", 10, in_channels=2, neuron="if")
        >>> network(torch.rand(4, 1, 2, 32, 32)).shape
        torch.Size([4, 1, 10])
    """
    build = _find(name)
    known = {
        "num_classes": check_count("num_classes", num_classes),
        "in_channels": check_count("in_channels", in_channels),
        "T": check_count("time_steps", time_steps),
        **dict.fromkeys(("img_size_h", "img_size_w"), check_count("size", size)),
        "input_size": (size, size),
        "cnf": "ADD",
    }
    parameters = inspect.signature(build).parameters
    lacking = [
        parameter.name
        for parameter in parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and parameter.name not in known
    ]
    if lacking:
        raise ArgumentValueError(
            "name",
            f"must be a function that needs nothing but sizes, and {name} asks for {', '.join(lacking)}; write a "
            "function that calls it (module:function)",
        )
    options = {key: value for key, value in known.items() if key in parameters}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        options["num_classes"] = num_classes
    named = {"tau": tau, "surrogate": surrogate, "detach_reset": detach_reset}
    own = neuron is None and all(value is None for value in named.values())
    make = make_neuron(neuron or "lif", **cast(Any, named))
    with in_code_of_user(build):
        network = _built(build, options, make, own=own)
    if "in_channels" not in parameters:
        _take_channels(network, in_channels)
    one_step_a_call = preset_student_steps(network) == "loop"
    functional.set_step_mode(network, "s" if one_step_a_call else check_choice("step_mode", step_mode, ("s", "m")))
    return network


def _find(name: str) -> Callable[..., nn.Module]:
    """The function or class; no other module is imported, whatever a file says."""
    module, _, function = name.rpartition(".")
    if not module.isidentifier() or not function.isidentifier() or function.startswith("_"):
        raise ArgumentValueError("name", f"must be module.function of {ZOO}, got {name!r}")
    try:
        found = vars(importlib.import_module(f"{ZOO}.{module}"))
    except ModuleNotFoundError as error:
        raise ArgumentValueError(
            "name", f"must be in the installed SpikingJelly: there is no {ZOO}.{module}"
        ) from error
    own = {key: value for key, value in found.items() if getattr(value, "__module__", None) == f"{ZOO}.{module}"}
    build = own.get(function)
    if not (inspect.isfunction(build) or (inspect.isclass(build) and issubclass(build, nn.Module))):
        raise ArgumentValueError("name", f"must be a network of {ZOO}.{module}, got {function!r}{hint(function, own)}")
    return cast(Callable[..., nn.Module], build)


def _built(
    build: Callable[..., nn.Module], options: dict[str, Any], make: Callable[[], nn.Module], *, own: bool
) -> nn.Module:
    """The network with its own neurons if it has some and they are wanted, else with these."""
    if own:
        state = torch.get_rng_state()
        try:
            return build(**options)
        except TypeError:  # spiking_neuron=None, which is called
            torch.set_rng_state(state)
    if "spiking_neuron" not in inspect.signature(build).parameters:
        raise ArgumentValueError("neuron", f"cannot be chosen: {build.__name__} takes no spiking_neuron")
    # the builders hand it their other keywords
    return build(**options, spiking_neuron=lambda *_, **__: make())


def _take_channels(network: nn.Module, in_channels: int) -> None:
    """Replace the first convolution where it takes another number of channels."""
    path, first = next(((path, one) for path, one in network.named_modules() if isinstance(one, nn.Conv2d)), ("", None))
    if first is None or first.in_channels == in_channels or first.groups != 1:
        return
    geometry = {key: getattr(first, key) for key in ("kernel_size", "stride", "padding", "dilation")}
    parent, _, last = path.rpartition(".")
    new = type(first)(in_channels, first.out_channels, **geometry, bias=first.bias is not None)
    setattr(network.get_submodule(parent), last, new)
