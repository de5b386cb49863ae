"""Copies of a network that compute the same at less cost."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .class_token import keep_class_token
from .recording import MIXED, convert_input

__all__ = ["blocks_beside", "cheaper_variants", "fold_norms"]


def cheaper_variants(
    teacher: nn.Module,
    dtype: torch.dtype,
    channels_last: bool,
    class_token: bool,
    compile: bool,
    kept: set[str],
    *,
    folded: bool = False,
) -> Iterator[tuple[nn.Module, list[str]]]:
    """Changed copies: first with every change that was asked for, then with fewer.

    Args:
        teacher: copied, and left as it is.
        dtype: of weights and computation; BatchNorm keeps parameters of fp32.
        channels_last: put convolutions and images into that memory format.
        class_token: let the last block of a ViT compute its class token alone.
        compile: compile the blocks that hold no kept layer.
        kept: paths of the layers that will be recorded.
        folded: fold BatchNorm into the convolutions.

    Yields:
        The copy, which takes images of any floating type, and what was done to it, in words.

    Example:
        >>> [done for _, done in cheaper_variants(nn.Conv2d(3, 4, 1), torch.bfloat16, True, False, False, set())]
        [['channels_last', 'bfloat16']]
    """
    both, neither = (True, False), (False,)
    for alone, compiled, fold in itertools.product(
        *(both if asked else neither for asked in (class_token, compile, folded))
    ):
        network = copy.deepcopy(teacher)
        count = fold_norms(network, kept) if fold else 0
        if fold and not count:
            continue
        done = [f"{count} BatchNorm folded"] if count else []
        done += _change(network, dtype, channels_last)
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


def fold_norms(network: nn.Module, kept: Collection[str] = ()) -> int:
    """Fold each BatchNorm into the convolution that is defined in front of it, in place.

    The network may run them in another order, so its outputs have to be compared.

    Args:
        network: in eval mode.
        kept: paths of layers that stay as they are.

    Returns:
        How many were folded; each is replaced by an ``nn.Identity``.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()).eval()
        >>> fold_norms(net), type(net[1]).__name__
        (1, 'Identity')
    """
    count = 0
    for path, module in list(network.named_modules()):
        prefix = f"{path}." if path else ""
        for (name, conv), (behind, norm) in itertools.pairwise(list(module.named_children())):
            if type(conv) is not nn.Conv2d or type(norm) is not nn.BatchNorm2d or norm.running_var is None:
                continue
            if conv.out_channels == norm.num_features and not {prefix + name, prefix + behind} & set(kept):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, behind, nn.Identity())
                count += 1
    return count


def _change(network: nn.Module, dtype: torch.dtype, channels_last: bool) -> list[str]:
    """Convert a network to another memory format and type, in place; the changes in words."""
    done: list[str] = []
    if channels_last and any(isinstance(module, nn.Conv2d) for module in network.modules()):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        done.append("channels_last")
    if dtype is not torch.float32:
        network.to(dtype)
        for module in network.modules():
            if isinstance(module, MIXED):
                module.float()
        done.append(str(dtype).removeprefix("torch."))
    return done


def _compile(block: nn.Module) -> None:
    """Compile one block, ``nn.Sequential`` included.

    ``torch.compile`` counts recompilations by code object and gives up after eight; blocks of one class share theirs,
    so each gets its own. What is set here is what ``block.compile()`` sets; no copy or pickle of the block keeps it.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        return block._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]

    call.__code__ = call.__code__.replace()
    block._compiled_call_impl = torch.compile(call)
