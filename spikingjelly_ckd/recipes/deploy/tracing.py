"""The graph of a network on one input, and BatchNorm folded into the convolutions before it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from spikingjelly.activation_based import layer
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate
from torch.nn.utils import fuse_conv_bn_weights, fuse_linear_bn_weights

from ...networks import compat
from ...networks.guards import reset_states

__all__ = ["TraceError", "fold_norms", "skip", "trace_network", "value_of"]

VALUE = "value"
"""Key of a node's ``meta`` under which stands what it returned."""
PASSES = (nn.Identity, nn.modules.dropout._DropoutNd, layer.Dropout, layer.Dropout2d)
"""What returns its input in eval mode."""
ADDS = (operator.iadd, torch.add)


class TraceError(ValueError):
    """A network whose forward cannot be followed; the message says why."""


class _Tracer(fx.Tracer):
    """Follows a forward with the values of one input at hand, so that checks of shapes and the like can be decided.

    Modules of PyTorch and SpikingJelly without parts, and neurons, are nodes; what holds them is walked through.
    """

    def __init__(self, example: Tensor) -> None:
        super().__init__()
        self._example = example
        self._computing = False
        self.stopped_in = ""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is a node."""
        if compat.is_neuron(m):
            return True
        if type(m).__module__.startswith("spikingjelly."):
            return next(m.children(), None) is None
        return super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """A node, or, while a value is computed, the call itself."""
        if self._computing:
            return forward(*args, **kwargs)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.stopped_in = self.stopped_in or f" in {self.path_of_module(m)!r} ({type(m).__name__})"
            raise

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """A node for a parameter, or, while a value is computed, the parameter."""
        return attr_val if self._computing else super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **more: Any) -> fx.Proxy:
        """A node with its value."""
        proxy: fx.Proxy = super().create_proxy(kind, target, args, kwargs, *rest, **more)
        self._computing = True
        try:
            proxy.node.meta[VALUE] = self._compute(kind, target, _values(args), _values(kwargs))
        finally:
            self._computing = False
        return proxy

    def _compute(self, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        if kind == "placeholder":
            return self._example
        if kind == "call_function":
            return target(*args, **kwargs)
        if kind == "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        if kind == "call_module":
            return self.root.get_submodule(target)(*args, **kwargs)
        return operator.attrgetter(target)(self.root) if kind == "get_attr" else args[0]

    def to_bool(self, obj: fx.Proxy) -> bool:
        """The value decides."""
        return bool(value_of(obj.node))

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """As many items as the value has."""
        items: Any = obj
        return iter([items[index] for index in range(len(value_of(obj.node)))])


def value_of(node: fx.Node) -> Any:
    """What a node of a traced network returned on the example."""
    if VALUE not in node.meta:  # of a tensor that is no parameter, torch.fx makes a node by itself
        return operator.attrgetter(cast(str, node.target))(node.graph.owning_module)
    return node.meta[VALUE]


def _values(arguments: Any) -> Any:
    return map_aggregate(arguments, lambda item: value_of(item.node) if isinstance(item, fx.Proxy) else item)


@torch.no_grad()
def trace_network(network: nn.Module, example: Tensor) -> fx.GraphModule:
    """The graph of a network's forward on one input, in eval mode.

    Branches are those that the example takes: the graph holds for inputs of its shape. Identities and dropout are left
    out, and every addition is ``operator.add``.

    Args:
        network: in eval mode; its parts become those of the graph, and their states are reset.
        example: what it takes.

    Returns:
        A ``GraphModule``; :func:`value_of` gives what each node returned on the example.

    Raises:
        TraceError: its forward does something that cannot be followed, such as a loop over the values of a tensor.

    Example:
        >>> graph = trace_network(nn.Sequential(nn.Conv2d(1, 2, 1), nn.Identity(), nn.ReLU()), torch.zeros(1, 1, 2, 2))
        >>> [node.target for node in graph.graph.nodes if node.op == "call_module"]
        ['0', '2']
    """
    tracer = _Tracer(example)
    with reset_states(network):
        try:
            graph = tracer.trace(network)
        except Exception as error:  # whatever a forward makes of a tensor that stands for its place in the graph
            why = str(error).partition("\n")[0].partition(". If you want")[0]  # what follows is for authors of a tracer
            where = f"the forward of {type(network).__name__} cannot be followed{tracer.stopped_in}"
            raise TraceError(f"{where}: {why}; write this part without that, or leave it out") from error
    traced = fx.GraphModule(tracer.root, graph)
    graph.eliminate_dead_code()
    for node in list(graph.nodes):
        if node.op == "call_module" and isinstance(traced.get_submodule(node.target), PASSES):
            skip(traced, node)
        elif (node.op == "call_function" and node.target in ADDS) or (
            node.op == "call_method" and node.target in ("add", "add_")
        ):
            node.op, node.target = "call_function", operator.add
    traced.recompile()
    return traced


def skip(traced: fx.GraphModule, node: fx.Node) -> None:
    """Leave a node out: what took its output takes its input."""
    node.replace_all_uses_with(cast(fx.Node, node.args[0]))
    traced.graph.erase_node(node)


def fold_norms(traced: fx.GraphModule) -> list[tuple[str, str, nn.Parameter]]:
    """Multiply the scale of each BatchNorm into the convolution or linear layer whose output it alone takes, in place.

    The layer's weight is changed; what BatchNorm adds is returned, for the caller to put where it wants it.

    Args:
        traced: see :func:`trace_network`.

    Returns:
        For each: path of the layer, path of the BatchNorm, and the bias ``[C]`` that stands for both.
    """
    modules = dict(traced.named_modules(remove_duplicate=False))
    found = []
    calls = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    for node in traced.graph.nodes:
        before = node.args[0] if node.args else None
        if node.op != "call_module" or not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        norm, first = modules[node.target], modules[cast(str, before.target)]
        is_conv = isinstance(first, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        shared = len(before.users) > 1 or max(calls.count(node.target), calls.count(before.target)) > 1
        if not _is_plain_norm(norm) or not (is_conv or isinstance(first, nn.Linear)) or shared:
            continue
        fuse: Any = fuse_conv_bn_weights if is_conv else fuse_linear_bn_weights
        weight, bias = fuse(
            first.weight, first.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        first.weight = weight
        found.append((cast(str, before.target), cast(str, node.target), bias))
    return found


def _is_plain_norm(norm: nn.Module) -> bool:
    """Whether it multiplies and adds the same in every step: BatchNorm, also of SpikingJelly, and tdBN; not TEBN."""
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or hasattr(norm, "scale"):
        return False
    return norm.running_var is not None
