"""ResNet-8 as an ANN and as its spiking twin: for comparisons in minutes on a CPU."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from .neurons import lif
from .resnet import LastActivation, ResNet, SpikingResNet

__all__ = ["resnet8", "spiking_resnet8"]

WIDTHS = (16, 32, 64)
BLOCKS = (1, 1, 1)


def resnet8(num_classes: int, in_channels: int = 3) -> ResNet:
    """ANN ResNet-8: ResNet-20 with one block a stage, 0.08 million parameters.

    Args:
        num_classes: ``K``.
        in_channels: of the images.

    Returns:
        A :class:`ResNet`.

    Raises:
        TypeError: a size is no integer.
        ValueError: a size is below 1.

    Example:
        >>> sum(p.numel() for p in resnet8(10).parameters())
        78042
    """
    return ResNet(WIDTHS, BLOCKS, num_classes, in_channels)


def spiking_resnet8(
    num_classes: int,
    in_channels: int = 3,
    *,
    last_activation: LastActivation = "spike",
    neuron: Callable[[], nn.Module] = lif,
) -> SpikingResNet:
    """Spiking ResNet-8; the twin of :func:`resnet8`.

    Args:
        num_classes: ``K``.
        in_channels: of the frames.
        last_activation: as for :class:`SpikingResNet`.
        neuron: function that makes one neuron module.

    Returns:
        A :class:`SpikingResNet`: ``[T, N, C, H, W]`` to logits ``[T, N, K]``.

    Raises:
        TypeError: a size is no integer, or ``neuron`` is no function that makes neurons.
        ValueError: a size is below 1, or ``last_activation`` is unknown.

    Example:
        >>> import torch
        >>> tuple(spiking_resnet8(10)(torch.rand(2, 1, 3, 24, 24)).shape)
        (2, 1, 10)
    """
    return SpikingResNet(WIDTHS, BLOCKS, num_classes, in_channels, neuron=neuron, last_activation=last_activation)
