"""Small trainable networks that bring the student's features to the shape of the teacher's.

They are parameters of the losses: in the optimiser and the checkpoint with the student, never in the exported student.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Size, Tensor, nn
from torch.nn import functional as F

from ..functional.bounds import unit_rows
from ..functional.features import blur
from ..functional.maps import at_least_float32

__all__ = [
    "AttentionFusion",
    "BlurredGenerator",
    "LayerMatching",
    "OrthogonalProjection",
    "SeparableBlock",
    "StageHead",
    "align",
    "branch",
    "regressor",
]

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


class OrthogonalProjection(nn.Module):
    """A linear map whose matrix stays orthogonal whatever is trained: VkD (Miles et al., CVPR 2024).

    The matrix is the exponential of a skew-symmetric one, cut to the channels: its columns are orthonormal where there
    are as many outputs as inputs or more, else its rows. It is worked out in fp32 or wider, also under autocast.

    Args:
        student_channels: inputs.
        teacher_channels: outputs.

    Example:
        >>> matrix = OrthogonalProjection(3, 5).matrix()
        >>> torch.allclose(matrix.T @ matrix, torch.eye(3), atol=1e-5)
        True
    """

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        self.student_channels, self.teacher_channels = student_channels, teacher_channels
        size = max(student_channels, teacher_channels)
        self.weight = nn.Parameter(torch.empty(size, size))
        nn.init.uniform_(self.weight, -(size**-0.5), size**-0.5)

    def matrix(self) -> Tensor:
        """``[C', C]``, teacher's channels by student's."""
        whole: Tensor = torch.linalg.matrix_exp(self.weight - self.weight.T)
        return whole[: self.teacher_channels, : self.student_channels]

    def forward(self, features: Tensor) -> Tensor:
        """``[N, C']`` of ``features [N, C]``."""
        with torch.autocast(features.device.type, enabled=False):
            matrix = self.matrix()
            return F.linear(at_least_float32(features), matrix)


class StageHead(nn.Sequential):
    """Logits of a stage of the student: OFA (Hao et al., NeurIPS 2023).

    For each halving of the map a depthwise 3x3 convolution with stride 2, a 1x1 convolution, BatchNorm, ReLU, and the
    same once more with stride 1; channels double each time, and are ``width`` after the last. Without any, a 1x1
    convolution to ``width``. Then the mean over the positions, and a linear layer. The weights begin as the authors'.

    Args:
        channels: of the stage.
        width: inputs of the linear layer.
        num_classes: outputs.
        halvings: how often the map is halved.

    Example:
        >>> tuple(StageHead(4, 16, 10, halvings=2)(torch.zeros(2, 4, 8, 8)).shape)
        (2, 10)
    """

    def __init__(self, channels: int, width: int, num_classes: int, halvings: int) -> None:
        widths = [*(channels * 2**index for index in range(halvings)), width]
        narrow: list[nn.Module] = [_halving(*pair) for pair in pairwise(widths)] or [nn.Conv2d(channels, width, 1)]
        linear = nn.Linear(width, num_classes)
        super().__init__(*narrow, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.trunc_normal_(linear.weight, std=0.02)
        nn.init.zeros_(linear.bias)


class LayerMatching(nn.Module):
    """Which of the teacher's layers each of the student's learns, and the networks that do: SASTC (AAAI 2025).

    Keys and queries are made of the rows of the matrix of inner products of the images' layers, by a linear layer,
    ReLU, another one, and division by the Euclidean length; each has a quarter as many numbers as there are images. A
    regressor for each pair is a 3x3 convolution to twice the teacher's channels, BatchNorm, ReLU, 1x1 convolution.

    Args:
        student_channels: of each layer of the student.
        teacher_channels: of each layer of the teacher.
        images: in every batch.

    Attributes:
        layers: how many of the student, of the teacher.
        images: in every batch.

    Example:
        >>> matching = LayerMatching([4, 8], [6], images=8)
        >>> matching.keys_of([torch.rand(8, 6, 4, 4)]).shape, matching.regress(1, 0, torch.rand(8, 8, 2, 2)).shape
        (torch.Size([8, 1, 2]), torch.Size([8, 6, 2, 2]))
    """

    def __init__(self, student_channels: Sequence[int], teacher_channels: Sequence[int], images: int) -> None:
        super().__init__()
        self.layers = len(student_channels), len(teacher_channels)
        self.images = images
        self.queries = nn.ModuleList(_embedding(images) for _ in student_channels)
        self.keys = nn.ModuleList(_embedding(images) for _ in teacher_channels)
        self.regressors = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(ours, 2 * theirs, 3, padding=1, bias=False),
                nn.BatchNorm2d(2 * theirs),
                nn.ReLU(inplace=True),
                nn.Conv2d(2 * theirs, theirs, 1, bias=False),
            )
            for ours in student_channels
            for theirs in teacher_channels
        )

    def queries_of(self, layers: Sequence[Tensor]) -> Tensor:
        """``[N, S, D]`` of the student's layers at one time step, each ``[N, C, h, w]``."""
        return _embedded(self.queries, layers)

    def keys_of(self, layers: Sequence[Tensor]) -> Tensor:
        """``[N, L, D]`` of the teacher's layers, each ``[N, C, h, w]``."""
        return _embedded(self.keys, layers)

    def regress(self, student: int, teacher: int, features: Tensor) -> Tensor:
        """The student's layer with that number, ``[N, C, h, w]``, as the teacher's would be."""
        found: Tensor = self.regressors[student * self.layers[1] + teacher](features)
        return found


def _halving(channels: int, to: int) -> nn.Sequential:
    def separable(to: int, stride: int) -> list[nn.Module]:
        depthwise = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False)
        return [depthwise, nn.Conv2d(channels, to, 1, bias=False), nn.BatchNorm2d(to), nn.ReLU()]

    return nn.Sequential(*separable(channels, 2), *separable(to, 1))


def _embedding(images: int) -> nn.Sequential:
    size = max(images // 4, 1)
    return nn.Sequential(nn.Linear(images, 2 * size), nn.ReLU(inplace=True), nn.Linear(2 * size, size))


def _embedded(networks: nn.ModuleList, layers: Sequence[Tensor]) -> Tensor:
    rows = []
    for network, layer in zip(networks, layers, strict=True):
        with torch.autocast(layer.device.type, enabled=False):
            images = at_least_float32(layer).flatten(1)
            rows.append(unit_rows(network(images @ images.T)))
    return torch.stack(rows, dim=1)
