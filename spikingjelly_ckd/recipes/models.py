"""The networks of the results table: residual ones for 32x32 images, and SpikingJelly's own for the rest.

ResNet-19 (blocks 3-3-2, widths 128-256-512; Zheng et al., AAAI 2021, arXiv 2011.05280) and ResNet-20 (blocks 3-3-3,
widths 16-32-64; He et al., CVPR 2016) are the students and teachers of CKDSNN (AAAI 2026, arXiv 2511.06902).

A spiking network and its ANN twin have the same topology and the same parameter names, so with one seed they start
from the same weights, and one's ``state_dict`` fits the other.

Shapes: ``T`` time steps, ``N`` images, ``C`` channels, ``H W`` pixels, ``K`` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import cast

from spikingjelly.activation_based import functional, layer, surrogate
from spikingjelly.activation_based import neuron as neurons
from torch import Tensor, nn

__all__ = [
    "ResNet",
    "SpikingResNet",
    "lif",
    "resnet19",
    "resnet20",
    "resnet34",
    "sew_resnet34",
    "spikformer_4_384",
    "spiking_resnet19",
    "spiking_resnet20",
    "spiking_resnet34",
]

LAST_ACTIVATIONS = ("spike", "relu")
SEW_CONNECTIONS = ("ADD", "AND", "IAND")


def lif() -> nn.Module:
    """The neuron of CKDSNN's networks.

    Each step halves the membrane and adds the input, fires at 1, and resets to 0 where it fired, the gradient
    flowing through the reset; the surrogate gradient is the triangle ``max(0, 1 - |v - 1|)``.

    Returns:
        A multi-step ``LIFNode``.

    Example:
        >>> import torch
        >>> lif()(torch.full((3, 1), 0.6)).flatten()  # membrane 0.6, 0.9, 1.05
        tensor([0., 0., 1.])
    """
    node = neurons.LIFNode(
        tau=2.0,
        decay_input=False,
        v_threshold=1.0,
        v_reset=0.0,
        surrogate_function=surrogate.PiecewiseQuadratic(alpha=1.0),
        detach_reset=False,
        step_mode="m",
    )
    return cast(nn.Module, node)


class _Block(nn.Module):
    """conv-BN-activation-conv-BN, plus the shortcut, then the activation."""

    def __init__(
        self,
        kit: ModuleType,
        in_channels: int,
        channels: int,
        stride: int,
        activation: Callable[[], nn.Module],
        last_activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        self.conv1 = kit.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = kit.BatchNorm2d(channels)
        self.act1 = activation()
        self.conv2 = kit.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = kit.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            pool = [kit.AvgPool2d(stride)] if stride != 1 else []
            convolution = kit.Conv2d(in_channels, channels, 1, bias=False)
            self.shortcut = nn.Sequential(*pool, convolution, kit.BatchNorm2d(channels))
        self.act2 = last_activation()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        return cast(Tensor, self.act2(residual + self.shortcut(x)))


class ResNet(nn.Module):
    """Residual network with a 3x3 stem and three stages of strides 1, 2 and 2, ending in average pool and Linear.

    Args:
        widths: channels of the three stages.
        depths: blocks of the three stages.
        num_classes: ``K``.
        in_channels: of the images; 2 for ON/OFF event frames.
        hidden: width of a second Linear between pool and classifier, with no activation between the two; None for
            one Linear. CKDSNN's released code has 256 in the student and none in the teacher.
        activation: makes one activation.
        last_activation: makes that of the last block; None is as all others.

    Raises:
        TypeError: a size that is no integer.
        ValueError: a size below 1, or not three stages.

    Example:
        >>> import torch
        >>> net = ResNet((4, 8, 16), (1, 1, 1), num_classes=10)
        >>> tuple(net(torch.rand(2, 3, 32, 32)).shape), tuple(net.layer3(net.layer2(torch.rand(2, 4, 32, 32))).shape)
        ((2, 10), (2, 16, 8, 8))
    """

    _kit: ModuleType = nn

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int],
        num_classes: int,
        in_channels: int = 3,
        *,
        hidden: int | None = None,
        activation: Callable[[], nn.Module] = nn.ReLU,
        last_activation: Callable[[], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if len(widths) != 3 or len(depths) != 3:
            raise ValueError(f"widths and depths must name three stages, got {tuple(widths)} and {tuple(depths)}")
        sizes = {"num_classes": num_classes, "in_channels": in_channels, "hidden": 1 if hidden is None else hidden}
        for name, value in [*sizes.items(), *(("widths", w) for w in widths), *(("depths", d) for d in depths)]:
            _check_size(name, value)
        kit = self._kit
        self.conv1 = kit.Conv2d(in_channels, widths[0], 3, 1, 1, bias=False)
        self.bn1 = kit.BatchNorm2d(widths[0])
        self.act1 = activation()
        self.layer1 = self._stage(widths[0], widths[0], depths[0], 1, activation, activation)
        self.layer2 = self._stage(widths[0], widths[1], depths[1], 2, activation, activation)
        self.layer3 = self._stage(widths[1], widths[2], depths[2], 2, activation, last_activation or activation)
        self.avgpool = kit.AdaptiveAvgPool2d(1)
        self.flatten = kit.Flatten(1)
        if hidden is None:
            self.fc: nn.Module = kit.Linear(widths[2], num_classes)
        else:
            self.fc = nn.Sequential(kit.Linear(widths[2], hidden), kit.Linear(hidden, num_classes))

    def _stage(
        self,
        in_channels: int,
        channels: int,
        depth: int,
        stride: int,
        activation: Callable[[], nn.Module],
        last_activation: Callable[[], nn.Module],
    ) -> nn.Sequential:
        ends = [*[activation] * (depth - 1), last_activation]
        return nn.Sequential(
            _Block(self._kit, in_channels, channels, stride, activation, ends[0]),
            *(_Block(self._kit, channels, channels, 1, activation, end) for end in ends[1:]),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits.

        Args:
            images: shape ``[N, C, H, W]``, normalised; ``H`` and ``W`` multiples of 4.

        Returns:
            Shape ``[N, K]``.

        Raises:
            ValueError: ``images`` has another number of dimensions.
        """
        if images.ndim != 4:
            raise ValueError(f"images must have shape [N, C, H, W], got {tuple(images.shape)}")
        return self._run(images)

    def _run(self, x: Tensor) -> Tensor:
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return cast(Tensor, self.fc(self.flatten(self.avgpool(x))))


class SpikingResNet(ResNet):
    """The same network with spiking neurons, in multi-step mode.

    Args:
        widths: channels of the three stages.
        depths: blocks of the three stages.
        num_classes: ``K``.
        in_channels: of the frames; 2 for ON/OFF event frames.
        hidden: as for :class:`ResNet`.
        neuron: makes one neuron.
        last_activation: of the last block: ``"spike"``, or ``"relu"`` as in CKDSNN's released code, whose spike map
            then sums real values instead of spikes (the network of EnOF).

    Raises:
        TypeError: a size that is no integer, or ``neuron`` that is no callable making neurons.
        ValueError: a size below 1, not three stages, or an unknown ``last_activation``.

    Example:
        >>> import torch
        >>> net = SpikingResNet((4, 8, 16), (1, 1, 1), num_classes=10, in_channels=2)
        >>> tuple(net(torch.rand(5, 2, 2, 32, 32)).shape)
        (5, 2, 10)
    """

    _kit = layer

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int],
        num_classes: int,
        in_channels: int = 3,
        *,
        hidden: int | None = None,
        neuron: Callable[[], nn.Module] = lif,
        last_activation: str = "spike",
    ) -> None:
        if last_activation not in LAST_ACTIVATIONS:
            raise ValueError(f"last_activation must be one of {LAST_ACTIVATIONS}, got {last_activation!r}")
        if not callable(neuron) or isinstance(neuron, nn.Module):
            raise TypeError(f"neuron must be a callable that makes one neuron, such as lif, got {neuron!r}")
        super().__init__(
            widths,
            depths,
            num_classes,
            in_channels,
            hidden=hidden,
            activation=neuron,
            last_activation=nn.ReLU if last_activation == "relu" else None,
        )
        functional.set_step_mode(self, "m")

    def forward(self, frames: Tensor) -> Tensor:
        """Logits of every time step; take the mean over the first axis to classify.

        The membranes keep their state: call ``functional.reset_net`` between batches (the distiller does).

        Args:
            frames: shape ``[T, N, C, H, W]``: event frames, or images repeated over time (direct encoding, which the
                distiller does for ``time_steps=T``); ``H`` and ``W`` multiples of 4.

        Returns:
            Shape ``[T, N, K]``.

        Raises:
            ValueError: ``frames`` has another number of dimensions.
        """
        if frames.ndim != 5:
            raise ValueError(
                f"frames must have shape [T, N, C, H, W], got {tuple(frames.shape)}; repeat images over time, or let "
                "the distiller do it (time_steps=)"
            )
        return self._run(frames)


def resnet19(num_classes: int, in_channels: int = 3, *, hidden: int | None = None) -> ResNet:
    """ANN ResNet-19, 12.6 million parameters.

    Args:
        num_classes: ``K``.
        in_channels: of the images.
        hidden: as for :class:`ResNet`.

    Returns:
        A :class:`ResNet`; its last stage is ``layer3``, 512 channels on a quarter of the input's height and width.

    Raises:
        TypeError: a size that is no integer.
        ValueError: a size below 1.

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
        TypeError: a size that is no integer.
        ValueError: a size below 1.

    Example:
        >>> sum(p.numel() for p in resnet20(10).parameters())
        272474
    """
    return ResNet((16, 32, 64), (3, 3, 3), num_classes, in_channels, hidden=hidden)


def spiking_resnet19(
    num_classes: int,
    in_channels: int = 3,
    *,
    last_activation: str = "spike",
    neuron: Callable[[], nn.Module] = lif,
    hidden: int | None = None,
) -> SpikingResNet:
    """Spiking ResNet-19; the twin of :func:`resnet19`.

    Args:
        num_classes: ``K``.
        in_channels: of the frames.
        last_activation: as for :class:`SpikingResNet`.
        neuron: makes one neuron.
        hidden: as for :class:`ResNet`.

    Returns:
        A :class:`SpikingResNet`: ``[T, N, C, H, W]`` to logits ``[T, N, K]``.

    Raises:
        TypeError: a size that is no integer, or ``neuron`` that is no callable making neurons.
        ValueError: a size below 1, or an unknown ``last_activation``.

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
        neuron=neuron,
        last_activation=last_activation,
    )


def spiking_resnet20(
    num_classes: int,
    in_channels: int = 3,
    *,
    last_activation: str = "spike",
    neuron: Callable[[], nn.Module] = lif,
    hidden: int | None = None,
) -> SpikingResNet:
    """Spiking ResNet-20; the twin of :func:`resnet20`.

    Args:
        num_classes: ``K``.
        in_channels: of the frames.
        last_activation: as for :class:`SpikingResNet`.
        neuron: makes one neuron.
        hidden: as for :class:`ResNet`.

    Returns:
        A :class:`SpikingResNet`: ``[T, N, C, H, W]`` to logits ``[T, N, K]``.

    Raises:
        TypeError: a size that is no integer, or ``neuron`` that is no callable making neurons.
        ValueError: a size below 1, or an unknown ``last_activation``.

    Example:
        >>> import torch
        >>> tuple(spiking_resnet20(100)(torch.rand(2, 1, 3, 32, 32)).shape)
        (2, 1, 100)
    """
    return SpikingResNet(
        (16, 32, 64), (3, 3, 3), num_classes, in_channels, hidden=hidden, neuron=neuron, last_activation=last_activation
    )


def resnet34(num_classes: int, in_channels: int = 3) -> nn.Module:
    """ResNet-34 of torchvision, the ANN twin of :func:`spiking_resnet34`; 21.8 million parameters on ImageNet.

    Args:
        num_classes: ``K``.
        in_channels: of the images.

    Returns:
        A network ``[N, C, H, W]`` to ``[N, K]`` for photographs (a stem of stride 4); its last stage is ``layer4``.

    Raises:
        TypeError: a size that is no integer.
        ValueError: a size below 1.
    """
    from torchvision.models import resnet34 as build

    network = build(num_classes=_check_size("num_classes", num_classes))
    return _with_stem(network, nn, in_channels)


def spiking_resnet34(num_classes: int, in_channels: int = 3, *, neuron: Callable[[], nn.Module] = lif) -> nn.Module:
    """SpikingJelly's spiking ResNet-34; 21.8 million parameters on ImageNet.

    Args:
        num_classes: ``K``.
        in_channels: of the frames.
        neuron: makes one neuron.

    Returns:
        A multi-step network ``[T, N, C, H, W]`` to ``[T, N, K]`` for photographs; its last stage is ``layer4``.

    Raises:
        TypeError: a size that is no integer.
        ValueError: a size below 1.
    """
    from spikingjelly.activation_based.model.spiking_resnet import spiking_resnet34 as build

    network = build(num_classes=_check_size("num_classes", num_classes), spiking_neuron=lambda **_: neuron())
    return _multi_step(_with_stem(network, layer, in_channels))


def sew_resnet34(
    num_classes: int, in_channels: int = 3, *, connect: str = "ADD", neuron: Callable[[], nn.Module] = lif
) -> nn.Module:
    """SpikingJelly's SEW ResNet-34 (Fang et al., NeurIPS 2021, arXiv 2102.04159); 21.8 million parameters on ImageNet.

    Args:
        num_classes: ``K``.
        in_channels: of the frames.
        connect: how shortcut and branch meet: ``"ADD"``, whose stages give spike counts, ``"AND"`` or ``"IAND"``,
            whose stages give spikes.
        neuron: makes one neuron.

    Returns:
        A multi-step network ``[T, N, C, H, W]`` to ``[T, N, K]`` for photographs; its last stage is ``layer4``.

    Raises:
        TypeError: a size that is no integer.
        ValueError: a size below 1, or an unknown ``connect``.
    """
    from spikingjelly.activation_based.model.sew_resnet import sew_resnet34 as build

    if connect not in SEW_CONNECTIONS:
        raise ValueError(f"connect must be one of {SEW_CONNECTIONS}, got {connect!r}")
    classes = _check_size("num_classes", num_classes)
    network = build(num_classes=classes, cnf=connect, spiking_neuron=lambda **_: neuron())
    return _multi_step(_with_stem(network, layer, in_channels))


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
        TypeError: a size that is no integer.
        ValueError: a size below 1, or no multiple of 4.
    """
    try:
        from spikingjelly.activation_based.model.spikformer import Spikformer
    except ImportError as error:
        raise RuntimeError(
            "the installed SpikingJelly has no Spikformer; it needs generation 2: pip install 'spikingjelly>=2,<3'"
        ) from error
    if _check_size("size", size) % 4:
        raise ValueError(f"size must be a multiple of 4, the side of a patch, got {size}")
    network: nn.Module = Spikformer(
        in_channels=_check_size("in_channels", in_channels),
        img_size_h=size,
        img_size_w=size,
        patch_size=4,
        embed_dims=384,
        num_heads=12,
        mlp_ratio=4.0,
        depths=4,
        num_classes=_check_size("num_classes", num_classes),
    )
    return network


def _with_stem(network: nn.Module, kit: ModuleType, in_channels: int) -> nn.Module:
    """A network for colour images with the stem for other inputs."""
    stem = cast(nn.Conv2d, network.conv1)
    if _check_size("in_channels", in_channels) != stem.in_channels:
        network.conv1 = kit.Conv2d(in_channels, stem.out_channels, 7, 2, 3, bias=False)
    return network


def _multi_step(network: nn.Module) -> nn.Module:
    functional.set_step_mode(network, "m")
    return network


def _check_size(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, got {type(value).__name__} {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return value
