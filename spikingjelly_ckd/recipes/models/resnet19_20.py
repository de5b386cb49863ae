"""ResNet-19 and ResNet-20, each as an ANN and as its spiking twin."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from .neurons import NeuronName, SurrogateName, lif, make_neuron
from .norms import NormName
from .resnet import LastActivation, ResNet, SpikingResNet

__all__ = ["resnet19", "resnet20", "spiking_resnet19", "spiking_resnet20"]


def resnet19(num_classes: int, in_channels: int = 3, *, hidden: int | None = None) -> ResNet:
    """ANN ResNet-19, 12.6 million parameters.

    Args:
        num_classes: ``K``.
        in_channels: of the images.
        hidden: as for :class:`ResNet`.

    Returns:
        A :class:`ResNet`; its last stage is ``layer3``, 512 channels on a quarter of the input's height and width.

    Raises:
        TypeError: a size is no integer.
        ValueError: a size is below 1.

    Example:
        >>> sum(p.numel() for p in resnet19(10).parameters())
        12569226
    """
    return ResNet((128, 256, 512), (3, 3, 2), num_classes, in_channels, hidden=hidden)


def resnet20(num_classes: int, in_channels: int = 3, *, hidden: int | None = None) -> ResNet:
    """ANN ResNet-20, 0.27 million parameters.

    Args:
        num_classes: ``K``.
        in_channels: of the images.
        hidden: as for :class:`ResNet`.

    Returns:
        A :class:`ResNet`; its last stage is ``layer3``, 64 channels on a quarter of the input's height and width.

    Raises:
        TypeError: a size is no integer.
        ValueError: a size is below 1.

    Example:
        >>> sum(p.numel() for p in resnet20(10).parameters())
        272474
    """
    return ResNet((16, 32, 64), (3, 3, 3), num_classes, in_channels, hidden=hidden)


def spiking_resnet19(
    num_classes: int,
    in_channels: int = 3,
    *,
    last_activation: LastActivation = "spike",
    neuron: NeuronName | Callable[[], nn.Module] = lif,
    hidden: int | None = None,
    tau: float | None = None,
    surrogate: SurrogateName | None = None,
    detach_reset: bool | None = None,
    norm: NormName = "bn",
    norm_steps: int | None = None,
) -> SpikingResNet:
    """Spiking ResNet-19; the twin of :func:`resnet19`.

    Args:
        num_classes: ``K``.
        in_channels: of the frames.
        last_activation: as for :class:`SpikingResNet`.
        neuron: name of a neuron, or a function that makes one, see :func:`make_neuron`.
        hidden: as for :class:`ResNet`.
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
        >>> net = spiking_resnet19(10, last_activation="relu", hidden=256)  # as in the authors' code
        >>> type(net.layer3[-1].act2).__name__, type(net.layer3[-1].act1).__name__
        ('ReLU', 'LIFNode')
    """
    return SpikingResNet(
        (128, 256, 512),
        (3, 3, 2),
        num_classes,
        in_channels,
        hidden=hidden,
        neuron=make_neuron(neuron, tau=tau, surrogate=surrogate, detach_reset=detach_reset),
        last_activation=last_activation,
        norm=norm,
        norm_steps=norm_steps,
    )


def spiking_resnet20(
    num_classes: int,
    in_channels: int = 3,
    *,
    last_activation: LastActivation = "spike",
    neuron: NeuronName | Callable[[], nn.Module] = lif,
    hidden: int | None = None,
    tau: float | None = None,
    surrogate: SurrogateName | None = None,
    detach_reset: bool | None = None,
    norm: NormName = "bn",
    norm_steps: int | None = None,
) -> SpikingResNet:
    """Spiking ResNet-20; the twin of :func:`resnet20`.

    Args:
        num_classes: ``K``.
        in_channels: of the frames.
        last_activation: as for :class:`SpikingResNet`.
        neuron: name of a neuron, or a function that makes one, see :func:`make_neuron`.
        hidden: as for :class:`ResNet`.
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
        >>> tuple(spiking_resnet20(100)(torch.rand(2, 1, 3, 32, 32)).shape)
        (2, 1, 100)
    """
    return SpikingResNet(
        (16, 32, 64),
        (3, 3, 3),
        num_classes,
        in_channels,
        hidden=hidden,
        neuron=make_neuron(neuron, tau=tau, surrogate=surrogate, detach_reset=detach_reset),
        last_activation=last_activation,
        norm=norm,
        norm_steps=norm_steps,
    )
