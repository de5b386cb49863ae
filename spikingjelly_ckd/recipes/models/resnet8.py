"""ResNet-8 as an ANN and as its spiking twin: for comparisons in minutes on a CPU."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from .neurons import NeuronName, SurrogateName, lif, make_neuron
from .norms import NormName
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
    neuron: NeuronName | Callable[[], nn.Module] = lif,
    tau: float | None = None,
    surrogate: SurrogateName | None = None,
    detach_reset: bool | None = None,
    norm: NormName = "bn",
    norm_steps: int | None = None,
) -> SpikingResNet:
    """Spiking ResNet-8; the twin of :func:`resnet8`.

    Args:
        num_classes: ``K``.
        in_channels: of the frames.
        last_activation: as for :class:`SpikingResNet`.
        neuron: name of a neuron, or a function that makes one, see :func:`make_neuron`.
        tau: as for :func:`make_neuron`.
        surrogate: as for :func:`make_neuron`.
        detach_reset: as for :func:`make_neuron`.
        norm: name of the normalisation, see :func:`make_norm`.
        norm_steps: ``T``, which the normalisation ``"tebn"`` needs.

    Returns:
        A :class:`SpikingResNet`: ``[T, N, C, H, W]`` to logits ``[T, N, K]``.

    Raises:
        TypeError: a size is no integer, or ``neuron`` is no function that makes neurons.
        ValueError: a size is below 1, or a name is unknown.

    Example:
        >>> import torch
        >>> tuple(spiking_resnet8(10)(torch.rand(2, 1, 3, 24, 24)).shape)
        (2, 1, 10)
    """
    return SpikingResNet(
        WIDTHS,
        BLOCKS,
        num_classes,
        in_channels,
        neuron=make_neuron(neuron, tau=tau, surrogate=surrogate, detach_reset=detach_reset),
        last_activation=last_activation,
        norm=norm,
        norm_steps=norm_steps,
    )
