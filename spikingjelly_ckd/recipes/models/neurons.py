"""Neurons by name, with their time constant, surrogate gradient and reset."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, cast, get_args

from spikingjelly.activation_based import neuron as neurons
from spikingjelly.activation_based import surrogate as surrogates
from torch import nn

from ...errors.arguments import ArgumentTypeError, ArgumentValueError
from ...errors.checks import check_choice

__all__ = ["NeuronName", "SurrogateName", "lif", "make_neuron"]

NeuronName = Literal["lif", "plif", "if"]
"""Leaky integrate-and-fire; the same with a time constant that is learned; without a leak."""
SurrogateName = Literal["triangle", "atan", "sigmoid"]
"""Surrogate gradient: ``max(0, 1 - |v - 1|)`` of CKDSNN, or SpikingJelly's arctangent or sigmoid, as it has them."""
_SURROGATES: dict[SurrogateName, Callable[[], nn.Module]] = {
    "triangle": partial(surrogates.PiecewiseQuadratic, alpha=1.0),
    "atan": surrogates.ATan,
    "sigmoid": surrogates.Sigmoid,
}
TAU = 2.0


def lif() -> nn.Module:
    """The leaky integrate-and-fire neuron of CKDSNN's networks.

    In each step the membrane potential is halved and the input added. The neuron fires where the potential reaches 1
    and is then reset to 0; the gradient flows through the reset. The surrogate gradient is the triangle
    ``max(0, 1 - |v - 1|)``.

    Returns:
        A ``LIFNode`` in multi-step mode.

    Example:
        >>> import torch
        >>> lif()(torch.full((3, 1), 0.6)).flatten()  # potential 0.6, 0.9, 1.05
        tensor([0., 0., 1.])
    """
    return make_neuron("lif")()


def make_neuron(
    neuron: NeuronName | Callable[[], nn.Module] = "lif",
    *,
    tau: float | None = None,
    surrogate: SurrogateName | None = None,
    detach_reset: bool | None = None,
) -> Callable[[], nn.Module]:
    """A function that makes one neuron in multi-step mode: threshold 1, reset to 0, an input that is not scaled.

    Args:
        neuron: name, or a function that makes neurons, which has no further arguments.
        tau: time constant of ``"lif"``, above 1, or the first one of ``"plif"``; None is 2.
        surrogate: name; None is ``"triangle"``.
        detach_reset: whether the gradient does not flow through the reset; None is False.

    Raises:
        TypeError: ``neuron`` is neither a name nor a function.
        ValueError: an unknown name, an argument that the neuron does not have, or ``tau`` not above 1.

    Example:
        >>> node = make_neuron("lif", tau=4.0, surrogate="atan", detach_reset=True)()
        >>> node.tau, type(node.surrogate_function).__name__, node.detach_reset
        (4.0, 'ATan', True)
    """
    given = {"tau": tau, "surrogate": surrogate, "detach_reset": detach_reset}
    given = {name: value for name, value in given.items() if value is not None}
    if isinstance(neuron, nn.Module) or not (callable(neuron) or isinstance(neuron, str)):
        raise ArgumentTypeError(
            "neuron", f"must be a callable that makes one neuron, such as lif, or its name, got {neuron!r}"
        )
    if callable(neuron):
        if given and neuron is not lif:
            raise ArgumentValueError(min(given), "goes with the name of a neuron, and neuron is a function")
        if neuron is not lif:
            return neuron
        neuron = "lif"
    check_choice("neuron", neuron, get_args(NeuronName))
    if tau is not None and (neuron == "if" or not tau > 1):
        raise ArgumentValueError("tau", f"must be above 1, of a neuron with a leak, got {tau} for {neuron!r}")
    options: dict[str, Any] = {
        "v_threshold": 1.0,
        "v_reset": 0.0,
        "detach_reset": bool(detach_reset),
        "step_mode": "m",
    }
    if neuron != "if":
        options |= {"init_tau" if neuron == "plif" else "tau": TAU if tau is None else tau, "decay_input": False}
    kind = {"lif": neurons.LIFNode, "plif": neurons.ParametricLIFNode, "if": neurons.IFNode}[neuron]
    make_surrogate = _SURROGATES[check_choice("surrogate", surrogate or "triangle", get_args(SurrogateName))]
    return lambda: cast(nn.Module, kind(surrogate_function=make_surrogate(), **options))
