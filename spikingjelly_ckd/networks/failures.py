"""Where in a network an error was raised, and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["Failure", "advice_on", "find_failure", "unlike_input"]


@dataclass(frozen=True)
class Failure:
    """The innermost module of a network that an error passed through.

    Attributes:
        path: as in ``network.named_modules()``.
        module: the module.
        shape: of its first input, where that is a tensor.
        dtype: of the same.
    """

    path: str
    module: nn.Module
    shape: tuple[int, ...] | None
    dtype: torch.dtype | None = None

    def __str__(self) -> str:
        got = "" if self.shape is None else f", which got {self.shape}"
        name = f"its module {self.path!r} ({type(self.module).__name__})" if self.path else "its own forward"
        return f"{name}{got}"


def find_failure(network: nn.Module, error: BaseException) -> Failure | None:
    """The innermost module of ``network`` in the traceback of ``error``; None where the error passed through none.

    Args:
        network: that raised.
        error: what it raised.

    Example:
        >>> net = nn.Sequential(nn.ReLU(), nn.Linear(3, 2))
        >>> try:
        ...     _ = net(Tensor([[1, 2, 3, 4]]))
        ... except RuntimeError as error:
        ...     print(find_failure(net, error))
        its module '1' (Linear), which got (1, 4)
    """
    paths = {id(module): path for path, module in network.named_modules()}
    found = None
    traceback = error.__traceback__
    while traceback is not None:
        local = traceback.tb_frame.f_locals
        module = cast(nn.Module, local.get("self"))
        if traceback.tb_frame.f_code.co_name == "_call_impl" and id(module) in paths:
            first = next(iter(local.get("args", ())), None)
            seen = (tuple(first.shape), first.dtype) if isinstance(first, Tensor) else (None, None)
            found = Failure(paths[id(module)], module, *seen)
        traceback = traceback.tb_next
    return found


def unlike_input(failure: Failure) -> str:
    """What a module is built for, where its input has other channels or features; empty where it has as many.

    Args:
        failure: of :func:`find_failure`.

    Example:
        >>> unlike_input(Failure("head", nn.Linear(128, 10), (4, 2, 512)))
        'Linear is built for in_features=128 and got 512'
        >>> unlike_input(Failure("head", nn.Linear(512, 10), (4, 2, 512)))
        ''
    """
    module, shape = failure.module, failure.shape or ()
    axes = _axes(module)
    if isinstance(module, nn.Linear):
        name, axis = "in_features", -1
    elif axes and not isinstance(module, nn.BatchNorm1d):  # whose channels may be the last axis, or the one before
        name, axis = "num_features" if hasattr(module, "num_features") else "in_channels", 1 - axes
    else:
        return ""
    takes = getattr(module, name, None)
    if takes is None or len(shape) < -axis or shape[axis] == takes:
        return ""
    return f"{type(module).__name__} is built for {name}={takes} and got {shape[axis]}"


def _axes(module: nn.Module) -> int:
    """The axes that a convolution, pool or normalisation of images takes, without time; 0 for other modules."""
    name = type(module).__name__
    return {"1d": 3, "2d": 4, "3d": 5}.get(name[-2:], 4 if isinstance(module, nn.SyncBatchNorm) else 0)


def advice_on(failure: Failure) -> str:
    """What to do about a module of a spiking network that failed; empty where nothing is known.

    Args:
        failure: of :func:`find_failure`.

    Example:
        >>> advice_on(Failure("conv", nn.Conv2d(3, 4, 3), (4, 2, 3, 8, 8))).partition(":")[0]
        "PyTorch's own Conv2d takes no time axis"
    """
    module, shape = failure.module, failure.shape or ()
    kind = type(module).__name__
    of_torch = type(module).__module__.startswith("torch.nn")
    axes = _axes(module)
    if isinstance(module, nn.SyncBatchNorm):
        return (
            "SyncBatchNorm takes the second axis for channels, which in [T, N, C, H, W] are the images; leave out "
            "convert_sync_batchnorm (sync_batchnorm=True of Lightning), which puts it in place of SpikingJelly's layers"
        )
    if of_torch and axes and len(shape) == axes + 1:
        return (
            f"PyTorch's own {kind} takes no time axis: use spikingjelly.activation_based.layer.{kind} in multi-step "
            "mode, put it into a layer.SeqToANNContainer, or pass student_steps='loop' with a single-step network, or "
            "student_steps='internal' where the network takes images and runs over time by itself"
        )
    if getattr(module, "step_mode", None) == "m" and axes and len(shape) == axes:
        return (
            f"{kind} is in multi-step mode and got no time axis: pass time_steps= for images (or "
            "student_steps='internal' if the network repeats them by itself)"
        )
    own = next(module.parameters(recurse=False), None)
    got = failure.dtype
    if own is None or got is None or got == own.dtype or not got.is_floating_point:
        return ""
    if torch.is_autocast_enabled(own.device.type):  # which converts what it gets
        return ""
    return f"It got {got}, and its parameters are {own.dtype}: convert the images or the network"
