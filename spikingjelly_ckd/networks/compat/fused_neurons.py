"""IF, LIF and parametric LIF over all time steps as one autograd function, for the CPU.

The operations are SpikingJelly's in SpikingJelly's order, so spikes are equal to the bit. The time is saved around
them: a block of elements that fits into the cache goes through all time steps before the next block does, in buffers
that are used again, and the backward keeps nothing but the input, from which it computes the potentials again.

Shapes: ``x`` ``[T, ...]``, the potential ``[...]``; in a block ``T`` tensors ``[m]``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

__all__ = ["SURROGATES", "Dynamics", "Leak", "fused_steps"]

Leak = Literal["none", "difference", "factor"]
"""How the potential decays: not at all (IF), as ``v - (v - rest) / tau``, or as ``v * (1 - 1 / tau)``, which is the
same for a rest of 0 but for rounding."""
_BLOCK_BYTES = 2**20
"""A block over all time steps, for each thread: what a cache of the second level holds."""
_SMALLEST_BLOCK = 2**15
"""Elements of a time step in a block at least, for each thread: below, calls take longer than what they compute."""

_NEEDS_ITS_INPUT = (
    "a fast neuron computes its potentials again from its input, which was written to after it had run (as by "
    "`x += block(x)`): write x = x + ..., or call use_fast_neurons(student, enable=False)"
)


def _sigmoid(u: Tensor, alpha: float, spare: Tensor) -> Tensor:
    s = u.mul_(alpha).sigmoid_()
    return torch.sub(_scalar(1.0, s), s, out=spare).mul_(s).mul_(alpha)


def _atan(u: Tensor, alpha: float, spare: Tensor) -> Tensor:
    z = u.mul_(math.pi / 2 * alpha)
    z = torch.mul(z, z, out=spare).add_(1)
    return torch.div(_scalar(alpha / 2, z), z, out=spare)


def _triangle(u: Tensor, alpha: float, spare: Tensor) -> Tensor:
    side = u.abs_() if alpha == 1 else u.abs_().mul_(alpha * alpha)
    return torch.sub(_scalar(alpha, u), side, out=spare).clamp_min_(0)


def _scalar(value: float, like: Tensor) -> Tensor:
    return torch.tensor(value, dtype=like.dtype)


SURROGATES: dict[str, Callable[[Tensor, float, Tensor], Tensor]] = {
    "ATan": _atan,
    "PiecewiseQuadratic": _triangle,
    "Sigmoid": _sigmoid,
}
"""Class of the surrogate function -> its slope at ``potential - threshold``, which it overwrites, given ``alpha`` and a
second buffer."""


@dataclass(frozen=True)
class Dynamics:
    """What a neuron does in a step.

    Attributes:
        leak: how the potential decays.
        tau: time constant in steps, above 1; not used where the decay is given as a tensor or nothing decays.
        decay_input: whether the input is divided by ``tau`` too; the decay is then ``"difference"`` or ``"none"``.
        threshold: the neuron fires where its potential reaches it.
        reset: the potential after a spike, and before the first step; None subtracts the threshold and begins at 0.
        detach_reset: whether no gradient flows through the reset.
        surrogate: the surrogate function, of a class named in :data:`SURROGATES`.
        alpha: the parameter of the surrogate function.
    """

    leak: Leak
    tau: float
    decay_input: bool
    threshold: float
    reset: float | None
    detach_reset: bool
    surrogate: Callable[[Tensor], Tensor]
    alpha: float

    @property
    def rest(self) -> float:
        """Potential before the first step."""
        return 0.0 if self.reset is None else self.reset

    @property
    def scales_input(self) -> bool:
        """Whether the input is multiplied by the share of the potential that decays."""
        return self.decay_input and self.leak != "none"

    @property
    def kept(self) -> float | None:
        """The factor that stays of the potential, or None where a product would round otherwise than SpikingJelly.

        With a small power of two and a rest of 0 both round once, in bfloat16 too.
        """
        exact = self.rest == 0 and math.frexp(self.tau)[0] == 0.5 and self.tau <= 2**7
        return 1 - 1 / self.tau if self.leak == "factor" or exact else None


def fused_steps(x: Tensor, share: Tensor | None, dynamics: Dynamics) -> tuple[Tensor, Tensor]:
    """All time steps of a neuron that begins at rest.

    Args:
        x: input, ``[T, ...]`` with T of at least 1, floating point, on the CPU.
        share: share of the potential that decays in a step, in (0, 1), no axes; None for ``1 / tau``.
        dynamics: what happens in a step.

    Returns:
        Spikes ``[T, ...]`` and the potential after the last step ``[...]``. Gradients flow from both to ``x`` and
        ``share``, and can be differentiated again.

    Example:
        >>> from spikingjelly.activation_based import surrogate
        >>> lif = Dynamics("difference", 2.0, False, 1.0, 0.0, False, surrogate.ATan(), 2.0)
        >>> spikes, potential = fused_steps(torch.full((3, 1), 0.6), None, lif)  # potential 0.6, 0.9, 1.05
        >>> spikes.flatten(), potential
        (tensor([0., 0., 1.]), tensor([0.]))
    """
    spikes, potential = _Fused.apply(x, share, dynamics)  # type: ignore[no-untyped-call]
    return spikes, potential


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, share: Tensor | None, dynamics: Dynamics) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, share)
        ctx.dynamics = dynamics
        ctx.set_materialize_grads(False)
        spikes, potential = _empty(x, x.shape), _empty(x, x.shape[1:])
        work = _buffers(x, 1)
        for inputs, fired, (v,) in zip(*(_blocks(each, x) for each in (x, spikes, potential[None])), strict=True):
            before = None
            for current, spike in zip(inputs, fired, strict=True):
                charged = _charge(current, before, share, dynamics, work[0, : len(v)])
                torch.ge(charged, dynamics.threshold, out=spike)
                before = _reset(charged, spike, dynamics, v)
        return spikes, potential

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        try:
            x, share = ctx.saved_tensors
        except RuntimeError as error:
            error.add_note(_NEEDS_ITS_INPUT)
            raise
        dynamics = ctx.dynamics
        if torch.is_grad_enabled():
            return *_with_graph(x, share, dynamics, grads, ctx.needs_input_grad), None
        of_spikes = x.new_zeros(()).expand_as(x) if grads[0] is None else grads[0]
        of_input = _empty(x, x.shape)
        of_share = torch.zeros((), dtype=torch.float64) if ctx.needs_input_grad[1] else None
        rows = [_blocks(each, x) for each in (x, of_spikes, of_input)]
        of_potential = [(None,)] * len(rows[0]) if grads[1] is None else _blocks(grads[1][None], x)
        buffers = _buffers(x, 3 * len(x) + 4)
        for inputs, spikes, out, (carry,) in zip(*rows, of_potential, strict=True):
            _backward(inputs, spikes, carry, share, dynamics, out, of_share, buffers[:, : len(out[0])].unbind())
        return of_input, None if of_share is None else of_share.to(share.dtype), None


def _backward(
    x: Sequence[Tensor],
    of_spikes: Sequence[Tensor],
    carry: Tensor | None,
    share: Tensor | None,
    d: Dynamics,
    out: Sequence[Tensor],
    of_share: Tensor | None,
    buffers: Sequence[Tensor],
) -> None:
    """The gradients of a block: to its input, into ``out``, and to ``share``, added to ``of_share``.

    ``carry`` is the gradient to the potential after a step, at first the last.
    """
    steps = len(x)
    u, spare, work, carried, *rest = buffers
    charged_into, fired, v = rest[:steps], rest[steps : 2 * steps], rest[2 * steps :]
    charged: list[Tensor] = []
    for t in range(steps):
        charged.append(_charge(x[t], v[t - 1] if t else None, share, d, charged_into[t]))
        if t + 1 < steps or carry is not None:
            torch.ge(charged[t], d.threshold, out=fired[t])
        if t + 1 < steps:
            _reset(charged[t], fired[t], d, v[t])
    for t in reversed(range(steps)):
        slope = SURROGATES[type(d.surrogate).__name__](torch.sub(charged[t], d.threshold, out=u), d.alpha, spare)
        g = work if d.scales_input else out[t]
        if carry is None:
            torch.mul(of_spikes[t], slope, out=g)
        else:
            at_spike = of_spikes[t]
            if not d.detach_reset:
                step = d.threshold if d.reset is None else charged[t] - d.rest if d.rest else charged[t]
                at_spike = torch.sub(at_spike, torch.mul(carry, step, out=g), out=g)
            torch.mul(at_spike, slope, out=g)
            g.add_(carry if d.reset is None else torch.addcmul(carry, fired[t], carry, value=-1, out=spare))
        if of_share is not None:
            terms = _slope_of_share(x[t], v[t - 1] if t else None, d, u).mul_(g)
            of_share += terms.sum(dtype=max(torch.float32, g.dtype, key=lambda dtype: dtype.itemsize))
        if d.scales_input:
            torch.div(g, d.tau, out=out[t]) if share is None else torch.mul(g, share, out=out[t])
        if t:
            carry = torch.sub(g, out[t], out=carried) if d.scales_input else _decay(g, 0.0, share, d, carried)


def _charge(x: Tensor, v: Tensor | None, share: Tensor | None, d: Dynamics, out: Tensor) -> Tensor:
    """The potential before firing, from that after the step before; None stands for rest."""
    if d.scales_input:
        if v is not None:
            x = torch.sub(x, torch.sub(v, d.rest, out=out) if d.rest else v, out=out)
        out = torch.div(x, d.tau, out=out) if share is None else torch.mul(x, share, out=out)
        return out.add_(d.rest if v is None else v) if v is not None or d.rest else out
    if v is None:
        return torch.add(x, d.rest, out=out) if d.rest else x
    return torch.add(_decay(v, d.rest, share, d, out), x, out=out)


def _decay(v: Tensor, rest: float, share: Tensor | None, d: Dynamics, out: Tensor) -> Tensor:
    """What the decay leaves of a potential, or of a gradient on its way back, where ``rest`` is 0."""
    if d.leak == "none":
        return v
    if share is None:
        if d.kept is not None:
            return torch.mul(v, d.kept, out=out)
        lost = torch.div(torch.sub(v, rest, out=out) if rest else v, d.tau, out=out)
    elif d.leak == "factor":
        return torch.mul(v, 1.0 - share, out=out)
    else:
        lost = torch.mul(torch.sub(v, rest, out=out) if rest else v, share, out=out)
    return torch.sub(v, lost, out=out)


def _reset(charged: Tensor, spike: Tensor, d: Dynamics, out: Tensor) -> Tensor:
    """The potential after firing; products with a spike of 0 or 1 are exact."""
    if d.reset is None:
        return torch.sub(charged, spike, alpha=d.threshold, out=out)
    torch.addcmul(charged, spike, charged, value=-1, out=out)
    return out.add_(spike, alpha=d.reset) if d.reset else out


def _slope_of_share(x: Tensor, v: Tensor | None, d: Dynamics, out: Tensor) -> Tensor:
    """The derivative of the potential before firing by the share that decays."""
    if v is None:
        return out.copy_(x) if d.scales_input else out.zero_()
    lost = torch.sub(v, d.rest, out=out)
    return torch.sub(x, lost, out=out) if d.scales_input else lost.neg_()


def _with_graph(
    x: Tensor, share: Tensor | None, d: Dynamics, grads: Sequence[Tensor | None], wanted: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients to ``x`` and ``share`` with a graph of their own, from a forward of plain operations."""
    spikes: list[Tensor] = []
    v = torch.full_like(x[0], d.rest)
    lost: Callable[[Tensor], Tensor] = (lambda y: y / d.tau) if share is None else (lambda y: y * share)
    for current in x:
        if d.scales_input:
            charged = v + lost(current - (v - d.rest))
        else:
            charged = current + (v if d.leak == "none" else v - lost(v - d.rest))
        spikes.append(d.surrogate(charged - d.threshold))
        reset = spikes[-1].detach() if d.detach_reset else spikes[-1]
        v = charged - reset * d.threshold if d.reset is None else reset * d.reset + (1 - reset) * charged
    pairs = [(y, g) for y, g in zip((torch.stack(spikes), v), grads, strict=True) if g is not None]
    inputs = [i for i, want in zip((x, share), wanted, strict=False) if want and i is not None]
    outputs, of_outputs = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(outputs, inputs, of_outputs, create_graph=True, allow_unused=True))
    return next(found) if wanted[0] else None, next(found) if wanted[1] else None


def _is_channels_last(x: Tensor) -> bool:
    """Whether ``[T, N, C, H, W]`` keeps the channels of a pixel together; the steps may be one repeated step."""
    if x.ndim != 5 or x.stride(0) not in (0, x[0].numel()):
        return False
    return not x[0].is_contiguous() and x[0].movedim(1, -1).is_contiguous()


def _empty(x: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor of this shape, with or without the time axis of ``x`` and laid out as it, if that is channels-last."""
    if _is_channels_last(x):
        strides = (x[0].numel(), *x.stride()[1:])
        return torch.empty_strided(shape, strides[-len(shape) :], dtype=x.dtype)
    return torch.empty(shape, dtype=x.dtype)


def _buffers(x: Tensor, count: int) -> Tensor:
    return torch.empty(count, min(x[0].numel(), _block_size(x)), dtype=x.dtype)


def _block_size(x: Tensor) -> int:
    return max(_SMALLEST_BLOCK, _BLOCK_BYTES // (len(x) * x.itemsize)) * torch.get_num_threads()


def _blocks(x: Tensor, like: Tensor) -> list[tuple[Tensor, ...]]:
    """Each block as its time steps, in the order in which ``like`` lies in memory."""
    rows = (x.movedim(2, -1) if _is_channels_last(like) else x).reshape(len(x), -1)
    return [block.unbind() for block in torch.split(rows, _block_size(like), 1)]
