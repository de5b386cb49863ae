"""The student's logits of every time step, where it returns only their mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..methods.signals import LinearHead
from ..networks.guards import preserve_state
from ..networks.heads import find_head
from ..networks.outputs import Logits, read_logits
from ..networks.recording import watch

__all__ = ["PerStepReadout", "find_per_step_logits"]


@dataclass(frozen=True)
class PerStepReadout:
    """Where a network's per-step logits are read.

    Attributes:
        path: the module that hands them on, or that returns the features in front of the head.
        head: path of the linear layer to apply to the spatial mean of those features; None where ``path`` already
            returns logits.
    """

    path: str
    head: str | None = None

    def read(self, network: nn.Module, calls: Sequence[Tensor], batch: int) -> Tensor:
        """Logits of every step.

        Args:
            network: the student.
            calls: what the module returned in one forward.
            batch: ``N``.

        Returns:
            Shape ``[T, N, K]``, fp32 or wider.

        Raises:
            ValueError: the tensors have no time axis.
        """
        steps = _over_time(calls, batch)
        if steps is None:
            raise ValueError(f"layer {self.path!r} returned {[tuple(c.shape) for c in calls]}, without a time axis")
        if self.head is None:
            return steps.to(torch.promote_types(steps.dtype, torch.float32))
        head = LinearHead.at(network, self.head)
        features = _pooled(steps, head)
        if features is None:
            raise ValueError(
                f"layer {self.path!r} returned {tuple(steps.shape)}, another shape than on the first batch"
            )
        return head(features)

    def violations(self, logits: Logits) -> dict[str, Tensor]:
        """Message -> boolean scalar, true where the steps read are not what the network's logits are the mean of.

        Args:
            logits: of the network, with those of every step where they were read.
        """
        if logits.steps is None:
            return {}
        error = (logits.steps.mean(0) - logits.mean).detach().abs().max()
        return {
            f"the mean of the per-step logits read at {self.path!r} is not the student's output (is there dropout "
            "between the two?); let the student return [T, N, K]": error
            > 0.05 * logits.mean.detach().abs().max() + 1e-3
        }


def find_per_step_logits(
    network: nn.Module, frames: Tensor, batch: int, *, run: Callable[[nn.Module, Tensor], Any]
) -> PerStepReadout | None:
    """Find a module whose outputs, averaged over time, are the network's logits.

    The network runs once on ``frames``, in eval mode, and is left as it was found. Looked for is first a module that
    returns ``[T, N, K]`` (or ``[N, K]`` in each of T calls), then one that returns features whose time mean the
    network's linear head turns into its logits.

    Args:
        network: the student.
        frames: what it takes.
        batch: ``N``.
        run: how to run it.

    Returns:
        None where the network returns the logits of every step by itself.

    Raises:
        ValueError: no such module.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> class Mean(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.fc = nn.Linear(4, 3)
        ...     def forward(self, frames):
        ...         return self.fc(frames.flatten(2)).mean(0)
        >>> find_per_step_logits(Mean(), torch.rand(5, 2, 1, 2, 2), 2, run=lambda net, x: net(x)).path
        'fc'
    """
    seen: dict[str, list[Tensor]] = {}
    with preserve_state(network), torch.no_grad():
        network.eval()
        with watch(network, lambda path, tensor: seen.setdefault(path, []).append(tensor)):
            count = frames.shape[0] if frames.ndim == 5 else None
            output = read_logits(run(network, frames), role="student", size=batch, steps=count)
    if output.steps is not None:
        return None
    classes = output.mean.shape[1]
    over_time = {path: steps for path, calls in seen.items() if (steps := _over_time(calls, batch)) is not None}
    for path, steps in reversed(over_time.items()):
        if steps.ndim == 3 and steps.shape[2] == classes and _close(steps.mean(0), output.mean):
            return PerStepReadout(path)
    path_of_head = find_head(network, classes, role="student")
    head = LinearHead.at(network, path_of_head)
    for path, steps in reversed(over_time.items()):
        features = _pooled(steps, head)
        if features is not None and _close(head(features.mean(0)), output.mean):
            return PerStepReadout(path, path_of_head)
    raise ValueError(
        f"a loss needs the logits of every time step, but {type(network).__name__} returns their mean, and no module "
        "of it returns what that is the mean of; let the network return [T, N, K]"
    )


def _over_time(calls: Sequence[Tensor], batch: int) -> Tensor | None:
    """``[T, N, ...]``, or None where there is no time axis."""
    if len(calls) > 1:
        same = all(call.shape == calls[0].shape for call in calls)
        return torch.stack(tuple(calls)) if same and calls[0].shape[:1] == (batch,) else None
    tensor = calls[0]
    if tensor.ndim >= 3 and tensor.shape[1] == batch:
        return tensor
    if tensor.ndim >= 2 and tensor.shape[0] % batch == 0 and tensor.shape[0] > batch:
        return tensor.reshape(-1, batch, *tensor.shape[1:])
    return None


def _pooled(steps: Tensor, head: LinearHead) -> Tensor | None:
    """What the head takes, ``[T, N, C]``: the mean over positions or tokens; None where the channels do not fit."""
    channels = head.weight.shape[1]
    if steps.ndim == 3 and steps.shape[2] == channels:
        return steps
    if steps.ndim >= 4 and steps.shape[2] == channels:
        return steps.flatten(3).mean(3)
    if steps.ndim == 4 and steps.shape[3] == channels:
        return steps.mean(2)
    return None


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one.float(), other.float(), rtol=1e-4, atol=1e-5)
