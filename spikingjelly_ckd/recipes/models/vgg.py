"""VGG-16 of torchvision and of SpikingJelly, with one linear layer behind its global average."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import cast

from spikingjelly.activation_based import functional, layer
from torch import nn

from ...errors.checks import check_count
from .neurons import lif

__all__ = ["spiking_vgg16", "vgg16"]


def vgg16(num_classes: int, in_channels: int = 3) -> nn.Module:
    """VGG-16 with BatchNorm of torchvision, its head for 32x32 images; the ANN twin of :func:`spiking_vgg16`.

    In place of torchvision's three linear layers of 4096, which are made for 224x224, one linear layer takes the mean
    over positions; 14.8 million parameters on CIFAR-100.

    Args:
        num_classes: ``K``.
        in_channels: of the images.

    Returns:
        A network ``[N, C, H, W]`` to ``[N, K]``. Its stages end in poolings; at 32x32 the last map of more than one
        position is 2x2, in front of the fifth.

    Raises:
        TypeError: a size is no integer.
        ValueError: a size is below 1.

    Example:
        >>> import torch
        >>> with torch.device("meta"):  # takes no memory, and no time for first weights
        ...     network = vgg16(100)
        >>> sum(weights.numel() for weights in network.parameters())
        14774436
    """
    from torchvision.models import vgg16_bn

    return _small_vgg(vgg16_bn(num_classes=check_count("num_classes", num_classes)), nn, num_classes, in_channels)


def spiking_vgg16(num_classes: int, in_channels: int = 3, *, neuron: Callable[[], nn.Module] = lif) -> nn.Module:
    """SpikingJelly's spiking VGG-16 with BatchNorm, with the head of :func:`vgg16`; 14.8 million parameters.

    Args:
        num_classes: ``K``.
        in_channels: of the frames.
        neuron: function that makes one neuron module.

    Returns:
        A multi-step network ``[T, N, C, H, W]`` to ``[T, N, K]``.

    Raises:
        TypeError: a size is no integer.
        ValueError: a size is below 1.

    Example:
        >>> import torch
        >>> with torch.device("meta"):  # takes no memory, and no time for first weights
        ...     network = spiking_vgg16(100)
        >>> sum(weights.numel() for weights in network.parameters())
        14774436
    """
    from spikingjelly.activation_based.model.spiking_vgg import spiking_vgg16_bn

    classes = check_count("num_classes", num_classes)
    network = spiking_vgg16_bn(num_classes=classes, spiking_neuron=lambda **_: neuron())
    network = _small_vgg(network, layer, classes, in_channels)
    functional.set_step_mode(network, "m")
    return network


def _small_vgg(network: nn.Module, kit: ModuleType, num_classes: int, in_channels: int) -> nn.Module:
    """A VGG with one linear layer behind its global average, and the first convolution for so many channels."""
    features = cast(nn.Sequential, network.features)
    stem = cast(nn.Conv2d, features[0])
    if check_count("in_channels", in_channels) != stem.in_channels:
        features[0] = kit.Conv2d(in_channels, stem.out_channels, 3, padding=1)
    network.avgpool, network.classifier = kit.AdaptiveAvgPool2d(1), kit.Linear(512, num_classes)
    return network
