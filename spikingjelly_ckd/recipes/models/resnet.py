"""A residual network for 32x32 images and its spiking twin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Literal, cast, get_args

from spikingjelly.activation_based import functional, layer
from torch import Tensor, nn

from ...errors.checks import check_choice, check_count
from .neurons import lif
from .norms import NormName, make_norm, with_membrane_norm

__all__ = ["LastActivation", "ResNet", "SpikingResNet"]

LastActivation = Literal["spike", "relu"]
"""The activation of the last block: a spiking neuron, or a ReLU as in the released code of CKDSNN."""


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
        norm: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        self.conv1 = kit.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = norm(channels)
        self.act1 = activation()
        self.conv2 = kit.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = norm(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            pool = [kit.AvgPool2d(stride)] if stride != 1 else []
            convolution = kit.Conv2d(in_channels, channels, 1, bias=False)
            self.shortcut = nn.Sequential(*pool, convolution, norm(channels))
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
        activation: function that makes one activation module.
        last_activation: function that makes that of the last block; None for the same as all others.
        norm: function of the channels that makes one normalisation; None for BatchNorm.

    Raises:
        TypeError: a size is no integer.
        ValueError: a size is below 1, or there are not three stages.

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
        norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if len(widths) != 3 or len(depths) != 3:
            raise ValueError(f"widths and depths must name three stages, got {tuple(widths)} and {tuple(depths)}")
        sizes = {"num_classes": num_classes, "in_channels": in_channels, "hidden": 1 if hidden is None else hidden}
        for name, value in [*sizes.items(), *(("widths", w) for w in widths), *(("depths", d) for d in depths)]:
            check_count(name, value)
        kit = self._kit
        norm = norm or kit.BatchNorm2d
        self.conv1 = kit.Conv2d(in_channels, widths[0], 3, 1, 1, bias=False)
        self.bn1 = norm(widths[0])
        self.act1 = activation()
        self.layer1 = self._stage(widths[0], widths[0], depths[0], 1, activation, activation, norm)
        self.layer2 = self._stage(widths[0], widths[1], depths[1], 2, activation, activation, norm)
        self.layer3 = self._stage(widths[1], widths[2], depths[2], 2, activation, last_activation or activation, norm)
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
        norm: Callable[[int], nn.Module],
    ) -> nn.Sequential:
        ends = [*[activation] * (depth - 1), last_activation]
        return nn.Sequential(
            _Block(self._kit, in_channels, channels, stride, activation, ends[0], norm),
            *(_Block(self._kit, channels, channels, 1, activation, end, norm) for end in ends[1:]),
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
        neuron: function that makes one neuron module.
        norm: name of the normalisation, see :func:`~spikingjelly_ckd.recipes.models.make_norm`.
        norm_steps: ``T``, which the normalisation ``"tebn"`` needs.
        last_activation: of the last block: ``"spike"``, or ``"relu"`` as in CKDSNN's released code, whose spike map
            then sums real values instead of spikes (the network of EnOF).

    Raises:
        TypeError: a size is no integer, or ``neuron`` is no function that makes neurons.
        ValueError: a size is below 1, there are not three stages, or ``last_activation`` is unknown.

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
        norm: NormName = "bn",
        norm_steps: int | None = None,
        last_activation: LastActivation = "spike",
    ) -> None:
        check_choice("last_activation", last_activation, get_args(LastActivation))
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
            norm=make_norm(norm, norm_steps),
        )
        if norm == "mpbn":
            self._normalise_membranes()
        functional.set_step_mode(self, "m")

    def _normalise_membranes(self) -> None:
        self.act1 = with_membrane_norm(self.act1, self.conv1.out_channels)
        for block in (module for module in self.modules() if isinstance(module, _Block)):
            block.act1 = with_membrane_norm(block.act1, block.conv1.out_channels)
            if not isinstance(block.act2, nn.ReLU):
                block.act2 = with_membrane_norm(block.act2, block.conv2.out_channels)

    def forward(self, frames: Tensor) -> Tensor:
        """Logits of every time step; take the mean over the first axis to classify.

        The neurons keep their states: call ``functional.reset_net`` between batches (the distiller does).

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
