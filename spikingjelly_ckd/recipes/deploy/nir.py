"""A student as a graph of NIR, the Neuromorphic Intermediate Representation that other tools and chips read.

NIR (Pedersen et al., Nature Communications 2024, https://neuroir.org) has no BatchNorm, no pooling to a given size and
no dropout. Here BatchNorm is folded into the layer before it, and such pools get the window that they have on inputs of
one size, so the graph is for inputs of that size. SpikingJelly 2.x's exporter does the rest.
"""

from __future__ import annotations

import copy
import io
import operator
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, fx, nn

from ...errors.arguments import ArgumentTypeError, ArgumentValueError
from ...errors.checks import check_positive
from ...errors.installed import needs_packages
from ...networks.compat import is_neuron
from ...networks.guards import reset_states
from ...networks.outputs import read_logits
from ...networks.recording import watch
from ...step.batch import read_batch
from ...step.network_arguments import read_student_steps
from ...step.time_steps import StudentSteps, run_over_time
from ..files import whole_file
from .exported import read_exported
from .tracing import fold_norms, skip, trace_network, value_of

__all__ = ["NIRExport", "export_nir"]

DT = 1e-4
"""Seconds of a time step, as SpikingJelly's exporter has it."""
NEURONS = tuple(getattr(neuron, name, None) for name in ("IFNode", "LIFNode", "ParametricLIFNode", "CUBALIFNode"))
SAMPLES = 4
"""Of noise, where no images were given."""
KINDS = ("Linear", "Conv1d", "Conv2d", "AvgPool2d", "Flatten")
LAYERS = tuple(getattr(kit, name) for kit in (nn, layer) for name in KINDS)
EXCHANGE = "spikingjelly.activation_based.nir_exchange"
NEEDS_2 = "the installed SpikingJelly has no exporter for NIR; it needs generation 2: pip install 'spikingjelly>=2,<3'"


@dataclass(frozen=True)
class NIRExport:
    """A graph that was written, and how it differs from the network when it is read back.

    Attributes:
        path: of the file.
        nodes: how many there are, input and output included.
        neurons: how many of them are layers of spiking neurons.
        folded: how many BatchNorms were folded.
        pools: paths of the pools that got a fixed window.
        drift: largest absolute difference of a logit at any time step between the network and the graph that was read.
        largest: largest absolute logit of the network there.
        samples: on how many samples.
        agreement: share of the samples with the same class, from 0 to 1.
        firing_rate: of the network's neurons on the samples, from 0 to 1: where none fires, little was compared.
    """

    path: Path
    nodes: int
    neurons: int
    folded: int
    pools: tuple[str, ...]
    drift: float
    largest: float
    samples: int
    agreement: float
    firing_rate: float

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.nodes} nodes, {self.neurons} of them neurons (firing rate {self.firing_rate:.1%}); "
            f"{self.folded} BatchNorms folded; read back, logits differ by at most {self.drift:.2g} of "
            f"{self.largest:.2g} on {self.samples} samples, {self.agreement:.0%} with the same class"
        )


def export_nir(
    student: nn.Module | str | Path,
    path: str | Path,
    images: Tensor | None = None,
    *,
    time_steps: int | None = None,
    student_steps: StudentSteps = "multi",
    build: Callable[..., nn.Module] | None = None,
    dt: float = DT,
) -> NIRExport:
    """Write a student as a graph of NIR, read it back, and say how far its logits are from the student's.

    The graph is of one time step and one sample of the size of ``images``. The student is left as it was; it is run on
    the CPU.

    Args:
        student: a spiking network, or the path of an exported one (also ``hf://owner/name``), which says how it is fed.
        path: of the file, such as ``student.nir`` (HDF5); written whole or not at all.
        images: samples to compare on: images ``[N, C, H, W]``, or event frames ``[T, N, C, H, W]``. None takes four of
            noise, for an exported student alone: real images say more.
        time_steps: ``T`` for images; None for event frames. Of an exported student its own.
        student_steps: ``"multi"`` or ``"loop"``. Of an exported student its own.
        build: for an exported student, as for :func:`.export.load_network`.
        dt: seconds of a time step, in which time constants are written.

    Returns:
        :class:`NIRExport`; print it. Its ``drift`` is 0 for the residual networks of this package.

    Raises:
        ImportError: the extra ``[nir]`` is not installed.
        RuntimeError: the installed SpikingJelly has no exporter.
        TypeError: ``images`` are missing or no tensor.
        ValueError: the network does something that NIR cannot hold; every such layer is named.

    Example:
        ``print(export_nir("runs/ROW/METHOD-seed0/student.safetensors", "student.nir"))``
    """
    exporter, importer, write = _exchange()
    check_positive("dt", dt)
    if not isinstance(student, nn.Module):
        exported = read_exported(student, build)
        student, time_steps = exported.network, exported.about.get("time_steps")
        student_steps = exported.about.get("student_steps") or "multi"
        if images is None:
            images = exported.noise(SAMPLES)
            images = images.transpose(0, 1) if exported.is_event else images
    if images is None:
        raise ArgumentTypeError("images", "must be given for a network that is no exported file: a batch that it takes")
    way = read_student_steps(student, student_steps)
    if way == "internal":
        raise ArgumentValueError(
            "student_steps", "'internal' repeats images inside; export the network that it repeats"
        )
    with reset_states(student):
        network = copy.deepcopy(student).cpu().eval()
    batch = read_batch(images.detach().cpu(), None, time_steps=time_steps, batch_first=False)
    if batch.steps is None:
        raise ArgumentValueError("time_steps", "must be given for images: for how many steps the network is shown them")
    frames = batch.over_time().contiguous()
    wanted, rate = _run(network, frames, way)
    example = frames[0] if way == "loop" else frames
    traced = trace_network(network, example)
    folded = _fold(traced)
    pools = _fix_pools(traced)
    _take_flattens(traced, way)
    faults = _faults(traced)
    if faults:
        raise ArgumentValueError(
            "student", f"cannot be held by NIR ({type(student).__name__}): {'; '.join(faults)}. Build it without them"
        )
    traced.recompile()
    graph = exporter(traced, example, dt=dt)
    content = io.BytesIO()
    write(content, graph)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(content.getvalue())
    found = _run_graph(importer(str(path), dt=dt), frames)
    modules = [traced.get_submodule(cast(str, node.target)) for node in traced.graph.nodes if node.op == "call_module"]
    return NIRExport(
        path,
        nodes=len(graph.nodes),
        neurons=sum(map(is_neuron, modules)),
        folded=folded,
        pools=tuple(pools),
        drift=float((found - wanted).abs().max()),
        largest=float(wanted.abs().max()),
        samples=batch.size,
        agreement=float((found.mean(0).argmax(1) == wanted.mean(0).argmax(1)).float().mean()),
        firing_rate=rate,
    )


def _exchange() -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., None]]:
    """SpikingJelly's exporter and importer, and the function of NIR that writes a file."""
    if find_spec(EXCHANGE) is None:
        raise RuntimeError(NEEDS_2)
    with needs_packages("export_nir"):
        import nir
        import nirtorch  # noqa: F401  # named here, not from inside SpikingJelly
        from spikingjelly.activation_based.nir_exchange import export_to_nir, import_from_nir
    return export_to_nir, import_from_nir, nir.write


@torch.no_grad()
def _run(network: nn.Module, frames: Tensor, way: StudentSteps) -> tuple[Tensor, float]:
    """Logits ``[T, N, K]``, and the firing rate."""
    counts = Counter[str]()

    def note(path: str, output: Tensor) -> None:
        if is_neuron(network.get_submodule(path)):
            counts["fired"] += int(output.count_nonzero())
            counts["all"] += output.numel()

    with reset_states(network), watch(network, note):
        output = read_logits(run_over_time(network, frames, way), role="student", size=frames.shape[1])
    logits = output.mean.unsqueeze(0) if output.steps is None else output.steps
    return logits, counts["fired"] / max(1, counts["all"])


@torch.no_grad()
def _run_graph(graph: nn.Module, frames: Tensor) -> Tensor:
    """Logits ``[T, N, K]`` of what was read, step by step."""
    state, found = None, []
    for x in frames:
        output, state = graph(x, state)
        found.append(output)
    return torch.stack(found)


def _fold(traced: fx.GraphModule) -> int:
    """Put each BatchNorm into the layer before it, and say how many."""
    found = {norm: (first, bias) for first, norm, bias in fold_norms(traced)}
    for node in list(traced.graph.nodes):
        if node.op == "call_module" and node.target in found:
            first, bias = found[node.target]
            traced.get_submodule(first).bias = bias
            skip(traced, node)
    return len(found)


def _fix_pools(traced: fx.GraphModule) -> list[str]:
    """Give pools to a fixed size the window that they have here, where it is the same everywhere."""
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


def _take_flattens(traced: fx.GraphModule, way: StudentSteps) -> None:
    """Put a layer in the place of each call that flattens all axes of an image, for which the exporter has a node."""
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


def _faults(traced: fx.GraphModule) -> list[str]:
    """What NIR, or SpikingJelly's exporter, cannot hold, each with its layers."""
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
            faults.append(f"{name}(){place} is no sum of two outputs")
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
