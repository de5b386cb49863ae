"""The graph of a traced student, as far as NIR can hold it: what is written in another way, and what remains."""

from __future__ import annotations

import operator
from collections import Counter
from typing import cast

import torch
from spikingjelly.activation_based import layer, neuron
from torch import fx, nn

from ...step.time_steps import StudentSteps
from ..data.roots import first_names
from .tracing import fold_norms, skip, value_of

__all__ = ["faults_of", "fix_pools", "fold_norms_away", "put_flattens"]

NEURONS = tuple(getattr(neuron, name, None) for name in ("IFNode", "LIFNode", "ParametricLIFNode", "CUBALIFNode"))
KINDS = ("Linear", "Conv1d", "Conv2d", "AvgPool2d", "Flatten")
LAYERS = tuple(getattr(kit, name) for kit in (nn, layer) for name in KINDS)


def fold_norms_away(traced: fx.GraphModule) -> int:
    """Put each BatchNorm into the layer before it, where one stands that can take it.

    Args:
        traced: of :func:`~.tracing.trace_network`; changed in place.

    Returns:
        How many.
    """
    found = {norm: (first, bias) for first, norm, bias in fold_norms(traced)}
    for node in list(traced.graph.nodes):
        if node.op == "call_module" and node.target in found:
            first, bias = found[node.target]
            traced.get_submodule(first).bias = bias
            skip(traced, node)
    return len(found)


def fix_pools(traced: fx.GraphModule) -> list[str]:
    """Give pools to a fixed size the window that they have here, where it is the same everywhere.

    Args:
        traced: as for :func:`fold_norms_away`.

    Returns:
        Paths of these pools.
    """
    fixed = []
    for node in list(traced.graph.nodes):
        pool = traced.get_submodule(node.target) if node.op == "call_module" else None
        if not isinstance(pool, nn.AdaptiveAvgPool2d):
            continue
        before, after = value_of(node.args[0]).shape[-2:], value_of(node).shape[-2:]
        if any(size % out for size, out in zip(before, after, strict=True)):
            continue
        window = tuple(size // out for size, out in zip(before, after, strict=True))
        mode = getattr(pool, "step_mode", None)
        made = nn.AvgPool2d(window) if mode is None else layer.AvgPool2d(window, step_mode=mode)
        traced.set_submodule(node.target, made)
        fixed.append(str(node.target))
    return fixed


def put_flattens(traced: fx.GraphModule, way: StudentSteps) -> None:
    """Put a layer in the place of each call that flattens all axes of an image, for which the exporter has a node.

    Args:
        traced: as for :func:`fold_norms_away`.
        way: how the network takes its time steps.
    """
    kept = 1 if way == "loop" else 2
    for node in list(traced.graph.nodes):
        if (node.op, node.target) not in (("call_function", torch.flatten), ("call_method", "flatten")):
            continue
        before, after = value_of(node.args[0]), value_of(node)
        if before.ndim <= kept or after.shape != before.flatten(kept).shape:
            continue
        name = f"{node.name}_layer"
        traced.add_submodule(name, layer.Flatten(step_mode="s" if way == "loop" else "m"))
        with traced.graph.inserting_after(node):
            made = traced.graph.call_module(name, (node.args[0],))
        made.meta = node.meta
        node.replace_all_uses_with(made)
        traced.graph.erase_node(node)


def faults_of(traced: fx.GraphModule) -> list[str]:
    """What NIR, or SpikingJelly's exporter, cannot hold, each with its layers.

    Args:
        traced: after what can be written in another way has been.

    Returns:
        Ends of a sentence; none where the network can be written.
    """
    calls = Counter(node.target for node in traced.graph.nodes if node.op == "call_module")
    faults = [f"layer {path!r} is used {count} times" for path, count in calls.items() if count > 1]
    layers: dict[tuple[str, str], list[str]] = {}
    for path in calls:
        module = traced.get_submodule(cast(str, path))
        why = _fault_of(module)
        if why:
            layers.setdefault((type(module).__name__, why), []).append(repr(path))
    for (kind, why), paths in layers.items():
        many = len(paths) > 1
        faults.append(f"layer{'s' if many else ''} {', '.join(paths)} ({kind}) {'each ' if many else ''}{why}")
    calls_between: dict[str, str] = {}
    for node in traced.graph.nodes:
        if node.op == "get_attr":
            faults.append(f"the tensor {node.target!r} is used by itself")
        elif node.op in ("call_function", "call_method"):
            shapes = {getattr(value_of(x), "shape", None) for x in node.args if isinstance(x, fx.Node)}
            of_tensors = len(shapes) == 1 and None not in shapes
            if node.target is operator.add and of_tensors and len(node.all_input_nodes) == len(node.args) == 2:
                continue
            name = getattr(node.target, "__name__", node.target)
            behind = next((x.target for x in node.all_input_nodes if x.op == "call_module"), None)
            place = "" if behind is None else f" behind layer {behind!r}"
            calls_between.setdefault(f"{name}()", place)
    if calls_between:
        called = [f"{name}{place}" for name, place in calls_between.items()]
        faults.append(f"{first_names(called)} {'are no sums' if len(called) > 1 else 'is no sum'} of two outputs")
    return list(dict.fromkeys(faults))


def _fault_of(module: nn.Module) -> str:
    """Why NIR cannot hold a layer; empty where it can."""
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return "cannot be folded: no layer with weights alone stands before it, or it scales steps unlike"
    if type(module) in NEURONS:
        return (
            "has a soft reset (v_reset=None), which NIR does not tell from a hard one" if module.v_reset is None else ""
        )
    if type(module) not in (*LAYERS, *NEURONS):
        return "has no node in NIR"
    if isinstance(module, nn.Conv1d | nn.Conv2d) and (module.groups != 1 or module.padding_mode != "zeros"):
        return "has groups or a padding that the exporter does not write"
    if isinstance(module, nn.AvgPool2d):
        padded = bool(torch.tensor(module.padding).any())
        if module.ceil_mode or module.divisor_override is not None or (padded and not module.count_include_pad):
            return "rounds up, or divides by another number than its window"
    return ""
