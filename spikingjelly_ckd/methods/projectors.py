"""Small trainable networks that bring the student's features to the shape of the teacher's.

They are parameters of the losses: in the optimiser and the checkpoint with the student, never in the exported student.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Size, Tensor, nn
from torch.nn import functional as F

from ..functional.features import blur

__all__ = ["AttentionFusion", "BlurredGenerator", "SeparableBlock", "align", "branch", "regressor"]

MOST_FUSION_CHANNELS = 512


def align(student_channels: int, teacher_channels: int) -> nn.Module:
    """1x1 convolution to the teacher's channels; nothing where they are equal.

    Example:
        >>> align(8, 8), align(8, 16)
        (Identity(), Conv2d(8, 16, kernel_size=(1, 1), stride=(1, 1)))
    """
    return nn.Identity() if student_channels == teacher_channels else nn.Conv2d(student_channels, teacher_channels, 1)


class BlurredGenerator(nn.Module):
    """The teacher's features from a part of the student's: MGD (Yang et al., ECCV 2022), BKDSNN (ECCV 2024).

    A 1x1 convolution where the channels differ, whole channels set to zero, then 3x3 convolution, ReLU, 3x3
    convolution.

    Args:
        student_channels: of the student's layer.
        teacher_channels: of the teacher's.

    Example:
        >>> tuple(BlurredGenerator(4, 6)(torch.zeros(2, 4, 8, 8), ratio=0.15).shape)
        (2, 6, 8, 8)
    """

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.align = align(student_channels, teacher_channels)
        self.generate = nn.Sequential(
            nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1),
        )

    def forward(self, features: Tensor, ratio: float, generator: torch.Generator | None = None) -> Tensor:
        """``[N, C', h, w]`` of ``features [N, C, h, w]``, each channel set to zero with probability ``ratio``."""
        blurred = blur(self.align(features), ratio, generator)
        generated: Tensor = self.generate(blurred)
        return generated


def regressor(student: Sequence[int], teacher: Sequence[int]) -> nn.Sequential:
    """Convolution from one ``(channels, height, width)`` to another, BatchNorm, ReLU: FitNets' regressor.

    The convolution halves (3x3, stride 2), doubles (transposed 4x4, stride 2) or shrinks the map by a window that is
    as much larger than one position, as in mdistiller.

    Args:
        student: ``(C, h, w)`` of the student's layer.
        teacher: ``(C', h', w')`` of the teacher's.

    Raises:
        ValueError: no such convolution leads from the one size to the other.

    Example:
        >>> tuple(regressor((4, 8, 8), (6, 4, 4))(torch.zeros(2, 4, 8, 8)).shape)
        (2, 6, 4, 4)
    """
    (channels, height, width), (target_channels, target_height, target_width) = student, teacher
    convolution: nn.Module
    if (height, width) == (2 * target_height, 2 * target_width):
        convolution = nn.Conv2d(channels, target_channels, 3, stride=2, padding=1)
    elif (2 * height, 2 * width) == (target_height, target_width):
        convolution = nn.ConvTranspose2d(channels, target_channels, 4, stride=2, padding=1)
    elif height >= target_height and width >= target_width:
        window = (1 + height - target_height, 1 + width - target_width)
        convolution = nn.Conv2d(channels, target_channels, window)
    else:
        raise ValueError(
            f"no convolution leads from {height}x{width} positions to {target_height}x{target_width}; record other "
            "layers (layers=)"
        )
    return nn.Sequential(convolution, nn.BatchNorm2d(target_channels), nn.ReLU(inplace=True))


class SeparableBlock(nn.Module):
    """Residual block of depthwise-separable convolutions that halves a map (NeurIPS 2025, arXiv 2510.06254).

    Twice a 3x3 convolution of each channel, a 1x1 convolution, BatchNorm and ReLU, the first with stride 2; beside them
    a 1x1 convolution with stride 2 and BatchNorm; the sum through ReLU. No convolution has a bias.

    Args:
        channels: of the input.
        out_channels: of the output.

    Example:
        >>> tuple(SeparableBlock(4, 8)(torch.zeros(2, 4, 8, 8)).shape)
        (2, 8, 4, 4)
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stride, width in ((2, channels), (1, out_channels)):
            depthwise = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
            layers += [depthwise, nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.convolve = nn.Sequential(*layers)
        self.shortcut = nn.Sequential(
            nn.Conv2d(channels, out_channels, 1, stride=2, bias=False), nn.BatchNorm2d(out_channels)
        )

    def forward(self, features: Tensor) -> Tensor:
        """``[N, C', h', w']`` of ``features [N, C, h, w]``, with half as many positions a side, rounded up."""
        return torch.relu(self.shortcut(features) + self.convolve(features))


def branch(widths: Sequence[int], num_classes: int) -> nn.Sequential:
    """A classifier on an inner layer: a :class:`SeparableBlock` to each width, average pooling, one linear layer.

    Args:
        widths: channels of the layer, and of the deeper ones up to the last.
        num_classes: of the logits.

    Example:
        >>> tuple(branch((4, 8, 16), 10)(torch.zeros(2, 4, 8, 8)).shape)
        (2, 10)
    """
    blocks = [SeparableBlock(*pair) for pair in pairwise(widths)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], num_classes))


class AttentionFusion(nn.Module):
    """ReviewKD's fusion of the student's layers, from deep to shallow (Chen et al., CVPR 2021).

    Each layer is brought to a common width by a 1x1 convolution; from the second on it is mixed with what came from
    deeper, enlarged to its size, by two attention maps; a 3x3 convolution then leads to the teacher's channels.

    Args:
        student_shapes: of each layer, ``[T, N, C, h, w]``, shallow to deep.
        teacher_shapes: of each layer, ``[N, C, h, w]``, as many.

    Example:
        >>> fusion = AttentionFusion([(2, 1, 4, 8, 8), (2, 1, 6, 4, 4)], [(1, 5, 8, 8), (1, 7, 4, 4)])
        >>> [tuple(x.shape) for x in fusion([torch.zeros(1, 4, 8, 8), torch.zeros(1, 6, 4, 4)])]
        [(1, 5, 8, 8), (1, 7, 4, 4)]
    """

    def __init__(
        self, student_shapes: Sequence[Size | tuple[int, ...]], teacher_shapes: Sequence[Size | tuple[int, ...]]
    ) -> None:
        super().__init__()
        middle = min(MOST_FUSION_CHANNELS, student_shapes[-1][2])
        self.narrow = nn.ModuleList(
            nn.Sequential(nn.Conv2d(shape[2], middle, 1, bias=False), nn.BatchNorm2d(middle))
            for shape in student_shapes
        )
        self.attention = nn.ModuleList(nn.Conv2d(2 * middle, 2, 1) for _ in student_shapes[1:])
        self.widen = nn.ModuleList(
            nn.Sequential(nn.Conv2d(middle, shape[1], 3, padding=1, bias=False), nn.BatchNorm2d(shape[1]))
            for shape in teacher_shapes
        )
        for branch in (*self.narrow, *self.widen):
            nn.init.kaiming_uniform_(branch[0].weight, a=1)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The student's layers ``[N, C, h, w]`` as the teacher's would be, shallow to deep."""
        last = len(features) - 1
        residual: Tensor | None = None
        found: list[Tensor] = []
        for index in range(last, -1, -1):
            here = self.narrow[index](features[index])
            if residual is not None:
                deeper = F.interpolate(residual, size=here.shape[-2:], mode="nearest")
                shares = self.attention[index](torch.cat([here, deeper], dim=1)).sigmoid()
                here = here * shares[:, :1] + deeper * shares[:, 1:]
            residual = here
            found.append(self.widen[index](here))
        return found[::-1]
