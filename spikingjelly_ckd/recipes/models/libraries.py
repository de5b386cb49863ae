"""Networks of torchvision and SpikingJelly, with any number of input channels and in multi-step mode."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Literal, cast, get_args

from spikingjelly.activation_based import functional, layer
from torch import nn

from ...errors.checks import check_count
from ...errors.near import hint
from .neurons import lif
from .norms import NEEDS_2

__all__ = [
    "max_resnet18",
    "resnet18",
    "resnet34",
    "sew_resnet18",
    "sew_resnet34",
    "spikformer_4_384",
    "spiking_resnet34",
]

SEWConnection = Literal["ADD", "AND", "IAND"]
"""How shortcut and branch of a SEW block are combined."""


def resnet18(num_classes: int, in_channels: int = 3) -> nn.Module:
    """ResNet-18 of torchvision, as :func:`resnet34`; 11.7 million parameters on ImageNet.

    Example:
        >>> sum(weights.numel() for weights in resnet18(1000).parameters())
        11689512
    """
    from torchvision.models import resnet18 as build

    return _with_stem(build(num_classes=check_count("num_classes", num_classes)), nn, in_channels)


def resnet34(num_classes: int, in_channels: int = 3) -> nn.Module:
    """ResNet-34 of torchvision, the ANN twin of :func:`spiking_resnet34`; 21.8 million parameters on ImageNet.

    Args:
        num_classes: ``K``.
        in_channels: of the images.

    Returns:
        A network ``[N, C, H, W]`` to ``[N, K]`` for photographs (a stem of stride 4); its last stage is ``layer4``.

    Raises:
        TypeError: a size is no integer.
        ValueError: a size is below 1.

    Example:
        >>> sum(weights.numel() for weights in resnet34(1000).parameters())
        21797672
    """
    from torchvision.models import resnet34 as build

    network = build(num_classes=check_count("num_classes", num_classes))
    return _with_stem(network, nn, in_channels)


def spiking_resnet34(num_classes: int, in_channels: int = 3, *, neuron: Callable[[], nn.Module] = lif) -> nn.Module:
    """SpikingJelly's spiking ResNet-34; 21.8 million parameters on ImageNet.

    Args:
        num_classes: ``K``.
        in_channels: of the frames.
        neuron: function that makes one neuron module.

    Returns:
        A multi-step network ``[T, N, C, H, W]`` to ``[T, N, K]`` for photographs; its last stage is ``layer4``.

    Raises:
        TypeError: a size is no integer.
        ValueError: a size is below 1.

    Example:
        >>> [path for path, _ in spiking_resnet34(10).named_children()][-3:]
        ['layer4', 'avgpool', 'fc']
    """
    from spikingjelly.activation_based.model.spiking_resnet import spiking_resnet34 as build

    network = build(num_classes=check_count("num_classes", num_classes), spiking_neuron=lambda **_: neuron())
    return _multi_step(_with_stem(network, layer, in_channels))


def sew_resnet18(
    num_classes: int, in_channels: int = 3, *, connect: SEWConnection = "ADD", neuron: Callable[[], nn.Module] = lif
) -> nn.Module:
    """SpikingJelly's SEW ResNet-18, as :func:`sew_resnet34`; 11.7 million parameters on ImageNet.

    Example:
        >>> import torch
        >>> tuple(sew_resnet18(10, connect="IAND")(torch.rand(2, 1, 3, 64, 64)).shape)  # two time steps of one image
        (2, 1, 10)
    """
    from spikingjelly.activation_based.model.sew_resnet import sew_resnet18 as build

    return _sew_resnet(build, num_classes, in_channels, connect, neuron)


def sew_resnet34(
    num_classes: int, in_channels: int = 3, *, connect: SEWConnection = "ADD", neuron: Callable[[], nn.Module] = lif
) -> nn.Module:
    """SpikingJelly's SEW ResNet-34 (Fang et al., NeurIPS 2021, arXiv 2102.04159); 21.8 million parameters on ImageNet.

    Args:
        num_classes: ``K``.
        in_channels: of the frames.
        connect: how shortcut and branch are combined: ``"ADD"``, where the stages put out spike counts, or ``"AND"``
            or ``"IAND"``, where they put out spikes.
        neuron: function that makes one neuron module.

    Returns:
        A multi-step network ``[T, N, C, H, W]`` to ``[T, N, K]`` for photographs; its last stage is ``layer4``.

    Raises:
        TypeError: a size is no integer.
        ValueError: a size is below 1, or ``connect`` is unknown.

    Example:
        >>> sum(weights.numel() for weights in sew_resnet34(1000).parameters())
        21797672
    """
    from spikingjelly.activation_based.model.sew_resnet import sew_resnet34 as build

    return _sew_resnet(build, num_classes, in_channels, connect, neuron)


def _sew_resnet(
    build: Callable[..., nn.Module],
    num_classes: int,
    in_channels: int,
    connect: SEWConnection,
    neuron: Callable[[], nn.Module],
) -> nn.Module:
    if connect not in get_args(SEWConnection):
        known = get_args(SEWConnection)
        raise ValueError(f"connect must be one of {known}, got {connect!r}{hint(str(connect), known)}")
    classes = check_count("num_classes", num_classes)
    network = build(num_classes=classes, cnf=connect, spiking_neuron=lambda **_: neuron())
    return _multi_step(_with_stem(network, layer, in_channels))


def max_resnet18(num_classes: int, in_channels: int = 3, time_steps: int = 4) -> nn.Module:
    """SpikingJelly's Max-ResNet-18 for 32x32 images (arXiv 2505.18608); 12.6 million parameters on CIFAR.

    Blocks 3-3-2 and widths 128-256-512, as in :func:`~spikingjelly_ckd.recipes.models.spiking_resnet19`, with
    membrane shortcuts and max-pooling in the blocks that halve the map. Neurons and surrogate are SpikingJelly's.

    Args:
        num_classes: ``K``.
        in_channels: of the frames.
        time_steps: ``T``, for images ``[N, C, H, W]``, which it also takes.

    Returns:
        A multi-step network ``[T, N, C, H, W]`` to ``[N, K]``; its last spikes with positions are ``head_lif``.

    Raises:
        RuntimeError: the installed SpikingJelly has no such network.
        TypeError: a size is no integer.
        ValueError: a size is below 1.

    Example:
        >>> import torch
        >>> try:
        ...     logits = max_resnet18(10)(torch.rand(2, 1, 3, 32, 32)).shape
        ... except RuntimeError:  # SpikingJelly 0.0.0.0.14 has no such network
        ...     logits = torch.Size([1, 10])
        >>> logits
        torch.Size([1, 10])
    """
    try:
        from spikingjelly.activation_based.model.ms_resnet import max_resnet18 as build
    except ImportError as error:
        raise RuntimeError(NEEDS_2.format("Max-ResNet")) from error
    steps = check_count("time_steps", time_steps)
    channels, classes = check_count("in_channels", in_channels), check_count("num_classes", num_classes)
    network: nn.Module = build(T=steps, in_channels=channels, num_classes=classes)
    return network


def spikformer_4_384(num_classes: int, in_channels: int = 3, size: int = 32) -> nn.Module:
    """SpikingJelly's Spikformer-4-384 (Zhou et al., ICLR 2023, arXiv 2209.15425); 9.3 million parameters on CIFAR.

    Args:
        num_classes: ``K``.
        in_channels: of the frames.
        size: height and width of the frames, a multiple of 4.

    Returns:
        A multi-step network ``[T, N, C, H, W]`` to ``[T, N, K]`` with 4 blocks of 384 channels on patches of 4x4.

    Raises:
        RuntimeError: the installed SpikingJelly has no Spikformer.
        TypeError: a size is no integer.
        ValueError: a size is below 1, or ``size`` is no multiple of 4.

    Example:
        >>> import torch
        >>> try:
        ...     logits = spikformer_4_384(10)(torch.rand(2, 1, 3, 32, 32)).shape
        ... except RuntimeError:  # SpikingJelly 0.0.0.0.14 has no such network
        ...     logits = torch.Size([2, 1, 10])
        >>> logits
        torch.Size([2, 1, 10])
    """
    try:
        from spikingjelly.activation_based.model.spikformer import Spikformer
    except ImportError as error:
        raise RuntimeError(NEEDS_2.format("Spikformer")) from error
    if check_count("size", size) % 4:
        raise ValueError(f"size must be a multiple of 4, the side of a patch, got {size}")
    network: nn.Module = Spikformer(
        in_channels=check_count("in_channels", in_channels),
        img_size_h=size,
        img_size_w=size,
        patch_size=4,
        embed_dims=384,
        num_heads=12,
        mlp_ratio=4.0,
        depths=4,
        num_classes=check_count("num_classes", num_classes),
    )
    return network


def _with_stem(network: nn.Module, kit: ModuleType, in_channels: int) -> nn.Module:
    """Replace the first convolution where the number of input channels is not that of colour images."""
    stem = cast(nn.Conv2d, network.conv1)
    if check_count("in_channels", in_channels) != stem.in_channels:
        network.conv1 = kit.Conv2d(in_channels, stem.out_channels, 7, 2, 3, bias=False)
    return network


def _multi_step(network: nn.Module) -> nn.Module:
    functional.set_step_mode(network, "m")
    return network
