"""Operations of one forward pass, counted from what PyTorch executes, by the definition in ``report/energy.py``.

Shapes: ``T`` time steps, ``N`` images, ``C`` channels, ``H W`` pixels, ``K`` classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.backends import cudnn, mha
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.module_tracker import ModuleTracker

from ...networks import compat
from ...networks.guards import preserve_state

__all__ = ["CountedCall", "Forward", "Operations", "check_network", "count_operations", "inference"]

aten = torch.ops.aten
Forward = Callable[[nn.Module, Tensor], object]


@dataclass(frozen=True)
class Operations:
    """Operations of one forward pass of a whole batch.

    Attributes:
        macs: multiply-accumulates.
        acs: accumulates.
        synops: the ``acs`` of spike-driven convolutions and matrix products.
        integer_macs: the part of ``macs`` whose inputs were integer spike counts, by module path.
        integer_additions: what ``integer_macs`` would be as ACs, a count of n being n additions per weight.

    Example:
        >>> count_operations(nn.Linear(4, 10, bias=False), torch.ones(1, 4)).acs  # four spikes to ten neurons
        40
    """

    macs: int
    acs: int
    synops: int
    integer_macs: dict[str, int]
    integer_additions: int


def count_operations(network: nn.Module, batch: Tensor, *, forward: Forward | None = None) -> Operations:
    """Count the operations of one forward pass from what PyTorch executes; needs no counter of SpikingJelly.

    The network runs as in :func:`~spikingjelly_ckd.recipes.report.energy.measure_energy` and is left in the same way.

    Args:
        network: spiking or not.
        batch: one batch as the network takes it.
        forward: as for :func:`~spikingjelly_ckd.recipes.report.energy.measure_energy`.

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
    check_network(network)
    call = CountedCall(network, forward)
    mode = _CountingMode(call)
    with inference(network), mode.tracker, mode:
        call(batch)
    return Operations(mode.macs, mode.acs, mode.synops, dict(mode.integer_macs), mode.integer_additions)


class CountedCall(nn.Module):
    """Wraps the network while it is counted, so that all module paths begin alike however it is called."""

    PREFIX = "CountedCall.network"

    def __init__(self, network: nn.Module, forward: Forward | None) -> None:
        super().__init__()
        self.network = network
        self._run = forward

    def forward(self, batch: Tensor) -> object:
        """Run the network on one batch."""
        return self.network(batch) if self._run is None else self._run(self.network, batch)


@contextmanager
def inference(network: nn.Module) -> Iterator[None]:
    """Eval mode without gradients, states restored afterwards, and no fused attention or cuDNN BatchNorm.

    The fused versions are single operations that no counter bills.
    """
    fast_path = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with preserve_state(network), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), cudnn.flags(enabled=False):
            network.eval()
            yield
    finally:
        mha.set_fastpath_enabled(fast_path)


class _CountingMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts every ATen operation that runs outside a neuron."""

    def __init__(self, call: CountedCall) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tracker = ModuleTracker()
        self.macs = self.acs = self.synops = self.integer_additions = 0
        self.integer_macs = Counter[str]()
        self._neurons = {
            f"{CountedCall.PREFIX}.{path}".rstrip(".")
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
            path = max(self.tracker.parents, key=len).removeprefix(CountedCall.PREFIX).lstrip(".")
            self.integer_macs[path] += macs
            self.integer_additions += round(product.uses_of_left(product.left.abs()))


@dataclass(frozen=True)
class _Product:
    """What has to be known of a convolution or matrix product in order to count it.

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
    return bool(((values == values.round()) & values.isfinite()).all())


def check_network(network: nn.Module) -> None:
    """Raise unless ``network`` is a module.

    Raises:
        TypeError: ``network`` is no module.
    """
    if not isinstance(network, nn.Module):
        raise TypeError(f"the network must be an nn.Module, got {type(network).__name__}")
