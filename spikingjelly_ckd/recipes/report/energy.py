"""Energy of one inference: firing rate, MACs, ACs, synaptic operations and mJ of a network, spiking or not.

Energies are those of 45 nm CMOS at 32-bit floating point (Horowitz, ISSCC 2014): 4.6 pJ for a multiply-accumulate
(MAC), 0.9 pJ for an accumulate (AC). MACs and ACs are counted by SpikingJelly 2.x's ``op_counter``; SpikingJelly
0.0.0.0.14 has none, and there :func:`count_operations` counts by the same definition:

- A convolution or matrix product with an operand of only 0 and 1 costs one AC per spike and weight it meets (these
  ACs are the SynOps); any other costs one MAC per multiplication.
- BatchNorm costs one MAC and one AC per element, a sum, mean or average pool its additions, an element-wise addition
  one AC per element, or per spike if both operands are spikes.
- The arithmetic inside a neuron is not billed. It depends on the kernel that runs it (the three of SpikingJelly's
  two generations on CPU and CUDA show three different counts), so no definition could be held across them.

``docs/energy.md`` says what this leaves out and how integer spikes are billed.

Shapes: ``T`` time steps, ``N`` images, ``C`` channels, ``H W`` pixels, ``K`` classes.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Tensor, nn

from ...networks import compat
from ...networks.guards import reset_states
from ...networks.recording import watch
from .operations import CountedCall, Forward, Operations, check_network, count_operations, inference

try:
    from spikingjelly.activation_based import op_counter
except ImportError:  # 0.0.0.0.14
    op_counter = None

__all__ = ["AC_PJ", "ENERGY_IMAGES", "MAC_PJ", "Energy", "Operations", "ann_twin", "count_operations", "measure_energy"]

MAC_PJ = 4.6
"""Energy of one multiply-accumulate in pJ: 3.7 for the product, 0.9 for the sum."""
AC_PJ = 0.9
"""Energy of one accumulate in pJ."""
ENERGY_IMAGES = 64
"""Images that firing rate and energy are measured on where nothing else is said."""
_MJ_PER_PJ = 1e-9


@dataclass(frozen=True)
class Energy:
    """What one image costs, as a mean over the images given.

    Attributes:
        macs: multiply-accumulates.
        acs: accumulates.
        synops: the accumulates of convolutions and matrix products that spikes drive; a part of ``acs``.
        compute_mj: ``4.6 macs + 0.9 acs`` pJ, in mJ. Integer spike counts are in ``macs``.
        compute_mj_counts: the same with integer spike counts billed as spikes: a count of n as n ACs.
        total_mj: ``compute_mj`` and the memory traffic by SpikingJelly's ``op_counter``, in mJ; None without it.
        firing_rate: share of non-zero values among the outputs of all spiking neurons, over all steps and images, in
            [0, 1]; every output has the same weight. None for a network without spiking neurons.
        rates: the firing rate of each layer of neurons, by module path.
        integer_layers: paths of the layers whose inputs were whole numbers and not only 0 and 1: spike counts.
        counted_by: what counted the operations.

    Example:
        >>> import torch
        >>> from spikingjelly.activation_based import neuron
        >>> network = nn.Sequential(nn.Linear(4, 10, bias=False), neuron.IFNode(v_threshold=1e9))
        >>> energy = measure_energy(network, [torch.full((2, 4), 0.5)])
        >>> energy.macs, energy.firing_rate, energy.rates, energy.mac_share
        (40.0, 0.0, {'1': 0.0}, 1.0)
    """

    macs: float
    acs: float
    synops: float
    compute_mj: float
    compute_mj_counts: float
    total_mj: float | None
    firing_rate: float | None
    rates: dict[str, float]
    integer_layers: tuple[str, ...]
    counted_by: Literal["spikingjelly op_counter", "own counting"]

    @property
    def mac_share(self) -> float | None:
        """Share of ``compute_mj`` that MACs take, in [0, 1], which more or fewer spikes do not change; None of 0 mJ."""
        return MAC_PJ * self.macs * _MJ_PER_PJ / self.compute_mj if self.compute_mj else None

    def to_json(self) -> dict[str, Any]:
        """The same as plain numbers, strings, lists and dicts, for the record of a run."""
        return asdict(self) | {"integer_layers": list(self.integer_layers)}


def measure_energy(
    network: nn.Module, inputs: Iterable[Tensor], *, batch_axis: int = 0, forward: Forward | None = None
) -> Energy:
    """Run the network on some batches and compute what one image costs.

    The network runs in eval mode without gradients; the states of its neurons are reset before each batch and at the
    end, and all else is left as it was. Where ``op_counter`` does the counting, it runs three times on each batch, with
    the same random numbers.

    Args:
        network: spiking or not.
        inputs: batches as the network takes them: ``[N, C, H, W]``, or ``[T, N, C, H, W]`` with ``batch_axis=1``.
        batch_axis: the axis of a batch that counts images.
        forward: function ``forward(network, batch)`` that runs a batch; None for ``network(batch)``. With
            ``lambda net, images: net(images.expand(4, *images.shape))`` images are shown for four time steps.

    Returns:
        :class:`Energy`.

    Raises:
        TypeError: ``network`` is no module, or ``inputs`` are no batches of tensors.
        ValueError: there is no image, or a batch has no axis ``batch_axis``.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> spikes = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
        >>> energy = measure_energy(nn.Linear(4, 10, bias=False), [spikes])
        >>> energy.macs, energy.acs, f"{energy.compute_mj:.2e} mJ"  # two spikes reach ten neurons, 0.9 pJ each
        (0.0, 20.0, '1.80e-08 mJ')
    """
    check_network(network)
    if isinstance(inputs, Tensor) or not isinstance(inputs, Iterable):
        raise TypeError(f"inputs must be an iterable of batches, got {type(inputs).__name__}; pass [batch] for one")
    own: list[Operations] = []
    billed: list[tuple[int, int, int, float]] = []
    rates = _Rates(network)
    images = 0
    for batch in inputs:
        images += _images(batch, batch_axis)
        with watch(network, rates.see):
            own.append(count_operations(network, batch, forward=forward))
        if op_counter is None:
            billed.append((own[-1].macs, own[-1].acs, own[-1].synops, 0.0))
        else:
            billed.append(_by_op_counter(network, batch, forward))
    if images == 0:
        raise ValueError("inputs must hold at least one image, got none; an iterator can be used up only once")
    macs, acs, synops, memory_pj = (sum(column) for column in zip(*billed, strict=True))
    compute_pj = MAC_PJ * macs + AC_PJ * acs
    integer_macs = Counter[str]()
    for operations in own:
        integer_macs.update(operations.integer_macs)
    rebilled_pj = AC_PJ * sum(operations.integer_additions for operations in own) - MAC_PJ * integer_macs.total()
    return Energy(
        macs=macs / images,
        acs=acs / images,
        synops=synops / images,
        compute_mj=compute_pj * _MJ_PER_PJ / images,
        compute_mj_counts=(compute_pj + rebilled_pj) * _MJ_PER_PJ / images,
        total_mj=None if op_counter is None else (compute_pj + memory_pj) * _MJ_PER_PJ / images,
        firing_rate=rates.overall(),
        rates=rates.by_layer(),
        integer_layers=tuple(integer_macs),
        counted_by="own counting" if op_counter is None else "spikingjelly op_counter",
    )


def ann_twin(student: nn.Module) -> nn.Module:
    """The same network with a ReLU in place of every spiking neuron, its weights copied.

    Its energy on one time step, ``[1, N, C, H, W]``, is that of an ANN with this topology. It is meant for comparing
    costs; its outputs are meaningless until it is trained.

    Args:
        student: the spiking network; the states of its neurons are reset.

    Returns:
        A copy that shares nothing with ``student`` and takes inputs of the same axes.

    Raises:
        TypeError: ``student`` is no module.
        ValueError: ``student`` has no spiking neuron.

    Example:
        >>> from spikingjelly.activation_based import layer, neuron
        >>> [type(child).__name__ for child in ann_twin(nn.Sequential(layer.Linear(4, 2), neuron.LIFNode()))]
        ['Linear', 'ReLU']
    """
    check_network(student)
    if not compat.has_neurons(student):
        raise ValueError(f"student must have spiking neurons, {type(student).__name__} has none: it is its own twin")
    with reset_states(student):
        twin = copy.deepcopy(student)
    if compat.is_neuron(twin):
        return nn.ReLU()
    replaced: list[str] = []
    for path, child in list(twin.named_modules(remove_duplicate=False)):
        if compat.is_neuron(child) and not any(path.startswith(f"{outer}.") for outer in replaced):
            parent, _, name = path.rpartition(".")
            setattr(twin.get_submodule(parent), name, nn.ReLU())
            replaced.append(path)
        elif isinstance(getattr(child, "scale", None), nn.Parameter) and hasattr(child, "running_mean"):
            child.scale = nn.Parameter(child.scale.detach()[:1])  # TEBN, of which one step is left
    compat.invalidate_reset_cache(twin)
    return twin


def _by_op_counter(network: nn.Module, batch: Tensor, forward: Forward | None) -> tuple[int, int, int, float]:
    """MACs, ACs, SynOps and the energy of the memory traffic in pJ, by SpikingJelly.

    Operations and memory are counted in two passes. In a single pass, as in ``SimpleEnergyProfiler``, the sums that the
    memory counter computes in order to count would be billed as ACs of the network.
    """
    call = CountedCall(network, forward)
    neurons = list({type(child) for child in network.modules() if compat.is_neuron(child)})
    kinds = (op_counter.MACCounter, op_counter.ACCounter, op_counter.SynOpCounter)
    macs, acs, synops = counters = [kind(extra_ignore_modules=neurons) for kind in kinds]
    with inference(network), op_counter.DispatchCounterMode(counters):
        call(batch)
    memory = op_counter.NeuromorphicMemoryAccessCounter()
    with inference(network), op_counter.ModuleCounterMode([memory], model=network):
        call(batch)
    memory_pj = memory.get_total() * op_counter.SimpleEnergyCostConfig().e_memory_pj_per_byte
    return macs.get_total(), acs.get_total(), synops.get_total(), memory_pj


class _Rates:
    """Counts the outputs of spiking neurons and those that are not 0."""

    def __init__(self, network: nn.Module) -> None:
        self._neurons = {path for path, child in network.named_modules() if compat.is_neuron(child)}
        self._fired = Counter[str]()
        self._outputs = Counter[str]()

    def see(self, path: str, output: Tensor) -> None:
        if path in self._neurons:
            self._fired[path] += int(output.count_nonzero())
            self._outputs[path] += output.numel()

    def overall(self) -> float | None:
        return self._fired.total() / self._outputs.total() if self._outputs else None

    def by_layer(self) -> dict[str, float]:
        return {path: self._fired[path] / outputs for path, outputs in self._outputs.items()}


def _images(batch: Tensor, batch_axis: int) -> int:
    if not isinstance(batch, Tensor):
        raise TypeError(
            f"inputs must be batches of tensors, got a {type(batch).__name__}; drop the labels, as in "
            "(images for images, labels in loader)"
        )
    if not -batch.ndim <= batch_axis < batch.ndim:
        raise ValueError(f"batch_axis={batch_axis} is no axis of a batch of shape {tuple(batch.shape)}")
    return batch.shape[batch_axis]
