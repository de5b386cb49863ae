"""Reading what a network returns as logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor

from ..functional.maps import at_least_float32

__all__ = ["ROLES", "Logits", "Role", "count_heads", "read_logits"]

Role = Literal["student", "teacher"]
"""Which of the two networks."""

ROLES: tuple[Role, ...] = get_args(Role)

_WANTED: dict[Role, str] = {"student": "[N, K] or [T, N, K]", "teacher": "[N, K]"}


@dataclass(frozen=True)
class Logits:
    """The logits in the output of a network.

    Attributes:
        mean: ``[N, K]``, fp32 or wider, averaged over time.
        steps: ``[T, N, K]``, or None where the network averages by itself.
    """

    mean: Tensor
    steps: Tensor | None


def read_logits(output: Any, *, role: Role, size: int, steps: int | None = None) -> Logits:
    """The logits in what a network returned.

    Args:
        output: ``[N, K]``, ``[T, N, K]``, an object with ``.logits``, or a tuple or list that begins with one. A
            student's must not hold as many ``[N, K]`` as it has time steps, and nothing else; nor be a list of them
            where its time steps are not known.
        role: ``"student"`` or ``"teacher"``, for the message.
        size: ``N``.
        steps: ``T`` where it is known.

    Returns:
        :class:`Logits`.

    Raises:
        TypeError: no tensor in it.
        ValueError: a shape that cannot be logits of this batch, a single class, or tensors that can be time steps as
            well as several heads.

    Example:
        >>> import torch
        >>> read_logits((torch.ones(4, 2, 10), None), role="student", size=2).mean.shape
        torch.Size([2, 10])
    """
    named = getattr(output, "logits", None)
    several = _several(output)
    first = named if isinstance(named, Tensor) else several[0] if several else output
    if not isinstance(first, Tensor):
        raise TypeError(
            f"the {role} returned {type(output).__name__}, expected logits {_WANTED[role]}; wrap it in a module that "
            "returns its logits"
        )
    shape = tuple(first.shape)
    alike = count_heads(output)
    unknown = steps is None and isinstance(several, list)  # heads come as a tuple, as those of SpikeDHS
    if role == "student" and first.ndim == 2 and 1 < len(several) == alike and (unknown or steps == alike):
        raise ValueError(
            f"the student returned {alike} tensors of shape {shape}, which can be its time steps or several heads: "
            "return torch.stack of them, [T, N, K], if they are time steps, or else the logits alone"
        )
    if first.ndim == 3 and role == "student" and shape[1] != size and shape[0] == size:
        raise ValueError(f"the student returned {shape}, which looks batch-first; expected [T, N, K] with N={size}")
    fits = shape[-2:-1] == (size,) and first.ndim in ((2, 3) if role == "student" else (2,))
    if not fits:
        raise ValueError(
            f"the {role} returned shape {shape}, expected logits {_WANTED[role]} with N={size}; wrap it in a module "
            "that returns its logits"
        )
    if first.ndim == 3 and steps is not None and shape[0] != steps:
        raise ValueError(f"the student returned {shape[0]} time steps for a batch of T={steps}: {shape}")
    if shape[-1] < 2:
        raise ValueError(f"the {role} has {shape[-1]} class; distillation needs at least 2")
    logits = at_least_float32(first)
    if role == "student":
        logits = logits.clone()  # a read-out that returns its state may reset it in place at the end of the step
    return Logits(logits.mean(0), logits) if logits.ndim == 3 else Logits(logits, None)


def count_heads(output: Any) -> int:
    """How many tensors of one shape a network returned, of which the first is taken for its logits.

    Args:
        output: of the network.

    Returns:
        The number of tensors of the shape of the first in a tuple or list; 0 for anything else, and where the output
        names its ``.logits``.

    Example:
        >>> import torch
        >>> count_heads((torch.ones(2, 10), torch.ones(2, 10), None)), count_heads(torch.ones(2, 10))
        (2, 0)
    """
    several = _several(output)
    first = several[0] if several else None
    return sum(isinstance(first, Tensor) and isinstance(one, Tensor) and one.shape == first.shape for one in several)


def _several(output: Any) -> tuple[Any, ...] | list[Any]:
    """The items of a tuple or list that has no field ``logits``; empty for any other output."""
    named = isinstance(getattr(output, "logits", None), Tensor)
    return output if isinstance(output, tuple | list) and not named else ()
