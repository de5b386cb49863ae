"""Copies of a network that compute the same at less cost."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from .class_token import keep_class_token
from .recording import MIXED, convert_input

__all__ = ["blocks_beside", "cheaper_variants"]


def cheaper_variants(
    teacher: nn.Module, dtype: torch.dtype, channels_last: bool, class_token: bool, compile: bool, kept: set[str]
) -> Iterator[tuple[nn.Module, list[str]]]:
    """Changed copies: first with all that was asked for, then without what may be at fault.

    Args:
        teacher: copied, and left as it is.
        dtype: of weights and computation; BatchNorm keeps parameters of fp32.
        channels_last: put convolutions and images into that memory format.
        class_token: let the last block of a ViT compute its class token alone.
        compile: compile the blocks that hold no kept layer.
        kept: paths of the layers that will be recorded.

    Yields:
        The copy, which takes images of any floating type, and what was done to it, in words.

    Example:
        >>> [done for _, done in cheaper_variants(nn.Conv2d(3, 4, 1), torch.bfloat16, True, False, False, set())]
        [['channels_last', 'bfloat16']]
    """
    both, neither = (True, False), (False,)
    for alone, compiled in itertools.product(both if class_token else neither, both if compile else neither):
        network, done = _changed(teacher, dtype, channels_last)
        if alone:
            if not keep_class_token(network):
                continue
            done.append("last block for the class token alone")
        if compiled:
            blocks = list(blocks_beside(network, kept))
            for block in blocks:
                _compile(block)
            done.append(f"{len(blocks)} blocks compiled")
        if done:
            convert_input(network, channels_last="channels_last" in done)
            yield network, done


def blocks_beside(module: nn.Module, paths: set[str], prefix: str = "") -> Iterator[nn.Module]:
    """The outermost blocks that neither are nor hold one of the layers at ``paths``.

    Args:
        module: the network.
        paths: of layers that are to stay reachable.
        prefix: the path of ``module`` with a full stop behind it, where it is a part of the network.

    Yields:
        Modules with children, but no ``ModuleList`` or ``ModuleDict``.

    Example:
        >>> net = nn.Sequential(nn.Sequential(nn.ReLU()), nn.Sequential(nn.Flatten()))
        >>> [block is net[1] for block in blocks_beside(net, {"0.0"})]
        [True]
    """
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        if any(kept == path or kept.startswith(f"{path}.") for kept in paths):
            yield from blocks_beside(child, paths, f"{path}.")
        elif next(child.children(), None) is not None and not isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield child
        else:
            yield from blocks_beside(child, paths, f"{path}.")


def _changed(teacher: nn.Module, dtype: torch.dtype, channels_last: bool) -> tuple[nn.Module, list[str]]:
    """A copy in another memory format and type, and what was done."""
    network, done = copy.deepcopy(teacher), []
    if channels_last and any(isinstance(module, nn.Conv2d) for module in network.modules()):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        done.append("channels_last")
    if dtype is not torch.float32:
        network.to(dtype)
        for module in network.modules():
            if isinstance(module, MIXED):
                module.float()
        done.append(str(dtype).removeprefix("torch."))
    return network, done


def _compile(block: nn.Module) -> None:
    """Compile one block, ``nn.Sequential`` included.

    ``torch.compile`` counts recompilations by code object and gives up after eight; blocks of one class share theirs,
    so each gets its own. What is set here is what ``block.compile()`` sets; no copy or pickle of the block keeps it.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        return block._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]

    call.__code__ = call.__code__.replace()
    block._compiled_call_impl = torch.compile(call)
