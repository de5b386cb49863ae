"""What one inference costs: firing rate, MACs, ACs, synaptic operations and energy of a network, spiking or not.

Energies are those of 45 nm CMOS at 32-bit floating point (Horowitz, ISSCC 2014): 4.6 pJ for a multiply-accumulate
(MAC), 0.9 pJ for an accumulate (AC). What is a MAC and what an AC is the definition of SpikingJelly 2.x's
``op_counter``; SpikingJelly 0.0.0.0.14 has none, and there :func:`count_operations` counts by the same definition:

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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.backends import cudnn, mha
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.module_tracker import ModuleTracker

from ...networks import compat
from ...networks.guards import preserve_state, reset_states
from ...networks.recording import watch

try:
    from spikingjelly.activation_based import op_counter
except ImportError:  # 0.0.0.0.14
    op_counter = None

__all__ = ["AC_PJ", "MAC_PJ", "Energy", "Operations", "ann_twin", "count_operations", "measure_energy"]

MAC_PJ = 4.6
"""Energy of one multiply-accumulate in pJ: 3.7 for the product, 0.9 for the sum."""
AC_PJ = 0.9
"""Energy of one accumulate in pJ."""
_MJ_PER_PJ = 1e-9

aten = torch.ops.aten

Forward = Callable[[nn.Module, Tensor], object]


@dataclass(frozen=True)
class Energy:
    """What one image costs, as a mean over the images given.

    Attributes:
        macs: multiply-accumulates.
        acs: accumulates.
        synops: the accumulates of convolutions and matrix products that spikes drive; a part of ``acs``.
        compute_mj: ``4.6 macs + 0.9 acs`` pJ, in mJ. Integer spike counts are in ``macs``.
        compute_mj_counts: the same in mJ with integer spike counts billed as spikes: a count of n as n ACs.
        total_mj: ``compute_mj`` and the memory traffic by SpikingJelly's ``op_counter``, in mJ; None without it.
        firing_rate: share of the outputs of all spiking neurons, over all steps and images, that are not 0, in
            [0, 1]; every output weighs the same. None for a network without spiking neurons.
        rates: the same for each neuron layer, by module path.
        integer_layers: paths of the layers whose inputs were whole numbers and not only 0 and 1: spike counts.
        counted_by: ``"spikingjelly op_counter"`` or ``"own counting"``.
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
    counted_by: str

    def to_json(self) -> dict[str, Any]:
        """The same as plain numbers, strings, lists and dicts, for the record of a run."""
        return asdict(self) | {"integer_layers": list(self.integer_layers)}


@dataclass(frozen=True)
class Operations:
    """Operations of one forward pass of a whole batch.

    Attributes:
        macs: multiply-accumulates.
        acs: accumulates.
        synops: the ``acs`` of spike-driven convolutions and matrix products.
        integer_macs: the part of ``macs`` whose inputs were integer spike counts, by module path.
        integer_additions: what ``integer_macs`` would be as ACs, a count of n being n additions per weight.
    """

    macs: int
    acs: int
    synops: int
    integer_macs: dict[str, int]
    integer_additions: int


def measure_energy(
    network: nn.Module, inputs: Iterable[Tensor], *, batch_axis: int = 0, forward: Forward | None = None
) -> Energy:
    """Run the network on some batches and say what one image costs.

    The network runs in eval mode without gradients, with cleared membranes for every batch, and is left as it was
    found (membranes cleared). It runs three times on a batch where ``op_counter`` does the counting, with the same
    random numbers.

    Args:
        network: spiking or not.
        inputs: batches as the network takes them: ``[N, C, H, W]``, or ``[T, N, C, H, W]`` with ``batch_axis=1``.
        batch_axis: the axis of a batch that counts images.
        forward: how to run a batch, ``forward(network, batch)``, if not by ``network(batch)``; such as
            ``lambda net, images: net(images.expand(4, *images.shape))`` for four time steps.

    Returns:
        :class:`Energy`.

    Raises:
        TypeError: a network that is no module, or inputs that are no batches of tensors.
        ValueError: no image at all, or a batch without ``batch_axis``.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> spikes = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
        >>> energy = measure_energy(nn.Linear(4, 10, bias=False), [spikes])
        >>> energy.macs, energy.acs, f"{energy.compute_mj:.2e} mJ"  # two spikes reach ten neurons, 0.9 pJ each
        (0.0, 20.0, '1.80e-08 mJ')
    """
    _check_network(network)
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

    Its energy on one time step, ``[1, N, C, H, W]``, is that of an ANN of this topology. It is a yardstick of cost:
    its outputs mean nothing before it is trained.

    Args:
        student: the spiking network; its membranes are cleared.

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
    _check_network(student)
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
    compat.invalidate_reset_cache(twin)
    return twin


def count_operations(network: nn.Module, batch: Tensor, *, forward: Forward | None = None) -> Operations:
    """Count the operations of one forward pass by what PyTorch executes; needs no SpikingJelly counter.

    The network runs as in :func:`measure_energy` and is left in the same way.

    Args:
        network: spiking or not.
        batch: one batch as the network takes it.
        forward: as for :func:`measure_energy`.

    Returns:
        :class:`Operations` of the whole batch.

    Raises:
        TypeError: ``network`` is no module.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        >>> count_operations(net, torch.rand(1, 3, 4, 4)).macs == 8 * 3 * 9 * 16
        True
        >>> count_operations(net, torch.ones(1, 3, 4, 4)).acs == 8 * 3 * 100  # the border meets fewer weights
        True
    """
    _check_network(network)
    call = _Call(network, forward)
    mode = _CountingMode(call)
    with _inference(network), mode.tracker, mode:
        call(batch)
    return Operations(mode.macs, mode.acs, mode.synops, dict(mode.integer_macs), mode.integer_additions)


class _Call(nn.Module):
    """Holds the network while it is counted, so that all module paths begin alike however it is called."""

    PREFIX = "_Call.network"

    def __init__(self, network: nn.Module, forward: Forward | None) -> None:
        super().__init__()
        self.network = network
        self._run = forward

    def forward(self, batch: Tensor) -> object:
        return self.network(batch) if self._run is None else self._run(self.network, batch)


@contextmanager
def _inference(network: nn.Module) -> Iterator[None]:
    """Eval, no gradients, state restored; and attention and BatchNorm by the operations the definition knows.

    Fused attention and cuDNN's BatchNorm are single operations that no counter bills.
    """
    fast_path = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with preserve_state(network), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), cudnn.flags(enabled=False):
            network.eval()
            yield
    finally:
        mha.set_fastpath_enabled(fast_path)


def _by_op_counter(network: nn.Module, batch: Tensor, forward: Forward | None) -> tuple[int, int, int, float]:
    """MACs, ACs, SynOps and the energy of the memory traffic in pJ, by SpikingJelly.

    Operations and memory are counted in two passes: in one, as ``SimpleEnergyProfiler`` does it, the sums that the
    memory counter takes to count would be billed as ACs of the network.
    """
    call = _Call(network, forward)
    neurons = list({type(child) for child in network.modules() if compat.is_neuron(child)})
    kinds = (op_counter.MACCounter, op_counter.ACCounter, op_counter.SynOpCounter)
    macs, acs, synops = counters = [kind(extra_ignore_modules=neurons) for kind in kinds]
    with _inference(network), op_counter.DispatchCounterMode(counters):
        call(batch)
    memory = op_counter.NeuromorphicMemoryAccessCounter()
    with _inference(network), op_counter.ModuleCounterMode([memory], model=network):
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


class _CountingMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bills every ATen operation that runs outside a neuron."""

    def __init__(self, call: _Call) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tracker = ModuleTracker()
        self.macs = self.acs = self.synops = self.integer_additions = 0
        self.integer_macs = Counter[str]()
        self._neurons = {
            f"{_Call.PREFIX}.{path}".rstrip(".")
            for path, child in call.network.named_modules(remove_duplicate=False)
            if compat.is_neuron(child)
        }

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if self._neurons.isdisjoint(self.tracker.parents):
            if func in _PRODUCTS:
                self._bill_product(_PRODUCTS[func](*args))
            elif func in _ADDITIONS:
                self.acs += _ADDITIONS[func](args, out)
            elif func is aten.native_batch_norm.default:
                macs, acs = _batch_norm(*args[:6])
                self.macs += macs
                self.acs += acs
        return out

    def _bill_product(self, product: _Product) -> None:
        left_spikes, right_spikes = _is_binary(product.left), _is_binary(product.right)
        if not (left_spikes or right_spikes):
            self._bill_macs(product)
            return
        if left_spikes and right_spikes:
            additions = round(product.coincidences())
        elif left_spikes:
            additions = round(product.uses_of_left(product.left))
        else:
            additions = int(product.right.count_nonzero()) * product.right_uses
        self.acs += additions
        self.synops += additions

    def _bill_macs(self, product: _Product) -> None:
        macs = product.right.numel() * product.right_uses
        self.macs += macs
        if _is_whole(product.left):
            path = max(self.tracker.parents, key=len).removeprefix(_Call.PREFIX).lstrip(".")
            self.integer_macs[path] += macs
            self.integer_additions += round(product.uses_of_left(product.left.abs()))


@dataclass(frozen=True)
class _Product:
    """A convolution or matrix product as the counting sees it.

    Attributes:
        left: the input, or the first matrix.
        right: the weight, or the second matrix.
        right_uses: how often each element of ``right`` is multiplied.
        uses_of_left: of a tensor like ``left``, the sum of its elements times how often each is multiplied.
        coincidences: the sum of all products.
    """

    left: Tensor
    right: Tensor
    right_uses: int
    uses_of_left: Callable[[Tensor], float]
    coincidences: Callable[[], float]


def _matrix_product(left: Tensor, right: Tensor) -> _Product:
    """``[..., m, k]`` times ``[..., k, n]``."""
    rows, columns = left.shape[-2], right.shape[-1]
    return _Product(
        left,
        right,
        rows,
        lambda values: columns * float(values.sum(dtype=torch.float64)),
        lambda: float((left.double().sum(-2) * right.double().sum(-1)).sum()),
    )


def _convolution(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> _Product:
    """Multiplications with padded zeros count as MACs; a spike is billed only for the outputs it reaches."""
    kernel = weight.shape[2:]
    geometry = list(zip(images.shape[2:], kernel, stride, padding, dilation, output_padding, strict=True))
    if transposed:
        large = [(size - 1) * s - 2 * p + d * (k - 1) + 1 + extra for size, k, s, p, d, extra in geometry]
        small, channels = list(images.shape[2:]), weight.shape[1]
    else:
        small = [(size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d, _ in geometry]
        large, channels = list(images.shape[2:]), weight.shape[0] // groups

    def uses_of_left(values: Tensor) -> float:
        plane = values.sum(dim=(0, 1), dtype=torch.float64)
        for axis in reversed(range(len(geometry))):
            _, k, s, p, d, _ = geometry[axis]
            reached = torch.arange(small[axis]).unsqueeze(1) * s - p + torch.arange(k) * d
            inside = (reached >= 0) & (reached < large[axis])
            uses = inside.sum(1) if transposed else torch.bincount(reached[inside], minlength=large[axis])
            plane = plane @ uses.to(plane)
        return channels * float(plane)

    def coincidences() -> float:
        arguments = (None, stride, padding, dilation, transposed, output_padding, groups)
        return float(aten.convolution.default(images.double(), weight.double(), *arguments).sum())

    positions = torch.Size(small).numel()
    return _Product(images, weight, len(images) * positions, uses_of_left, coincidences)


def _batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor | None, var: Tensor | None, batch_stats: bool
) -> tuple[int, int]:
    """MACs and ACs: the affine map; centring, and taking and keeping the statistics of the batch where it does."""
    elements, channels = x.numel(), x.shape[1]
    affine = elements if weight is not None else 0
    if not batch_stats:
        return affine, elements + channels
    kept = 2 * channels if mean is not None else 0
    return affine + kept, 3 * elements + kept


def _element_wise(args: Sequence[Any], out: Tensor) -> int:
    operands = args[:2]
    if all(isinstance(operand, Tensor) and _is_binary(operand) for operand in operands):
        return sum(int(operand.count_nonzero()) for operand in operands)
    return out.numel()


def _reduction(args: Sequence[Any], out: Tensor) -> int:
    return cast(int, args[0].numel()) - out.numel()


def _average_pool(args: Sequence[Any], out: Tensor) -> int:
    return out.numel() * (torch.Size(args[1]).numel() - 1)


_PRODUCTS: dict[Any, Callable[..., _Product]] = {
    aten.mm.default: _matrix_product,
    aten.bmm.default: _matrix_product,
    aten.addmm.default: lambda bias, left, right: _matrix_product(left, right),
    aten.baddbmm.default: lambda bias, left, right: _matrix_product(left, right),
    aten.convolution.default: _convolution,
}
_ADDITIONS: dict[Any, Callable[[Sequence[Any], Tensor], int]] = {
    **{
        overload: _element_wise
        for name in ("add", "add_", "sub", "sub_", "rsub")
        for overload in (getattr(aten, name).Tensor, getattr(aten, name).Scalar)
    },
    aten.sum.default: _reduction,
    aten.sum.dim_IntList: _reduction,
    aten.mean.dim: _reduction,
    aten.avg_pool2d.default: _average_pool,
    aten.sigmoid_.default: lambda args, out: out.numel(),
}


def _is_binary(values: Tensor) -> bool:
    return bool(((values == 0) | (values == 1)).all())


def _is_whole(values: Tensor) -> bool:
    return bool((values == values.round()).all())


def _images(batch: Tensor, batch_axis: int) -> int:
    if not isinstance(batch, Tensor):
        raise TypeError(
            f"inputs must be batches of tensors, got a {type(batch).__name__}; drop the labels, as in "
            "(images for images, labels in loader)"
        )
    if not -batch.ndim <= batch_axis < batch.ndim:
        raise ValueError(f"batch_axis={batch_axis} is no axis of a batch of shape {tuple(batch.shape)}")
    return batch.shape[batch_axis]


def _check_network(network: nn.Module) -> None:
    if not isinstance(network, nn.Module):
        raise TypeError(f"the network must be an nn.Module, got {type(network).__name__}")
