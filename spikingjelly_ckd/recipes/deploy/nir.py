"""A student as a graph of NIR, the Neuromorphic Intermediate Representation that other tools and chips read.

NIR (Pedersen et al., Nature Communications 2024, https://neuroir.org) has no BatchNorm, no pooling to a given size and
no dropout. Here BatchNorm is folded into the layer before it, and such pools get the window that they have on inputs of
one size, so the graph is for inputs of that size. SpikingJelly 2.x's exporter does the rest.
"""

from __future__ import annotations

import copy
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...errors.arguments import ArgumentTypeError, ArgumentValueError
from ...errors.checks import check_positive
from ...errors.installed import needs_packages
from ...networks.compat import is_neuron
from ...networks.failures import find_failure
from ...networks.guards import reset_states
from ...networks.outputs import read_logits
from ...networks.recording import watch
from ...step.batch import read_batch
from ...step.network_arguments import read_student_steps
from ...step.time_steps import StudentSteps, run_over_time
from ..files import whole_file
from .exported import read_exported, remark_on_samples
from .nir_graph import faults_of, fix_pools, fold_norms_away, put_flattens
from .tracing import trace_network

__all__ = ["NIRExport", "export_nir"]

DT = 1e-4
"""Seconds of a time step, as SpikingJelly's exporter has it."""
SAMPLES = 4
"""Of noise, where no images were given."""
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
        spread: largest difference of a logit of the network between the first of the samples and another.
        samples: on how many samples.
        agreement: share of the samples with the same class, from 0 to 1.
        firing_rate: of the network's neurons on the samples, from 0 to 1: where none fires, little was compared.

    Example:
        >>> figures = {"nodes": 23, "neurons": 7, "folded": 9, "pools": ("avgpool",), "drift": 0.0, "largest": 1.5}
        >>> figures |= {"spread": 0.8, "samples": 4, "agreement": 1.0, "firing_rate": 0.12}
        >>> print(NIRExport(Path("student.nir"), **figures))
        student.nir: 23 nodes, 7 of them neurons (firing rate 12.0%); 9 BatchNorms folded; read back, logits differ by
        at most 0 of 1.5 on 4 samples, 100% with the same class
    """

    path: Path
    nodes: int
    neurons: int
    folded: int
    pools: tuple[str, ...]
    drift: float
    largest: float
    spread: float
    samples: int
    agreement: float
    firing_rate: float

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.nodes} nodes, {self.neurons} of them neurons (firing rate {self.firing_rate:.1%}); "
            f"{self.folded} BatchNorms folded; read back, logits differ by at most {self.drift:.2g} of "
            f"{self.largest:.2g} on {self.samples} samples, {self.agreement:.0%} with the same class"
            f"{remark_on_samples(self.spread, self.largest, self.samples)}"
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
        ValueError: the network does something that NIR cannot hold, and every such layer is named; or it cannot take
            ``images``, or a file says that it takes another size.

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
        size = exported.about.get("size")
        if isinstance(images, Tensor) and size is not None and tuple(images.shape[-2:]) != (size, size):
            raise ArgumentValueError(
                "images", f"must be of the size that the student's JSON says, {size}, got {tuple(images.shape)}"
            )
    if not isinstance(images, Tensor):
        got = "nothing" if images is None else type(images).__name__
        raise ArgumentTypeError("images", f"must be a batch that the network takes, a tensor, got {got}")
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
    folded = fold_norms_away(traced)
    pools = fix_pools(traced)
    put_flattens(traced, way)
    faults = faults_of(traced)
    if faults:
        raise ArgumentValueError(
            "student",
            f"cannot be held by NIR ({type(student).__name__}): {'; '.join(faults)}. Build the student without these "
            "layers, such as with average pools in place of max pools",
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
        spread=float((wanted - wanted[:, :1]).abs().max()),
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
        try:
            found = run_over_time(network, frames, way)
        except RuntimeError as error:
            where = find_failure(network, error)
            why = str(error).partition("\n")[0] + ("" if where is None else f" in {where}")
            raise ArgumentValueError(
                "images", f"cannot be taken by the network, {tuple(frames.shape)}: {why}"
            ) from error
        output = read_logits(found, role="student", size=frames.shape[1])
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
