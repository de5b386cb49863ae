"""Maps of where a network looked: spike activation maps, class maps, their sizes and normalisation.

Shapes: ``T`` time steps, ``N`` images, ``C`` channels, ``h w`` positions, ``K`` classes. Every function works in at
least fp32, whatever the input (spike counts above 256 are not exact in bf16), and follows the input's device.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors.checks import check_choice
from ..errors.shapes import check_shapes

__all__ = [
    "at_least_float32",
    "class_activation_map",
    "fold_time",
    "grad_cam",
    "grad_cam_plus_plus",
    "hires_cam",
    "is_constant",
    "match_maps",
    "normalize_map",
    "spike_activation_map",
    "time_mean",
]

Normalization = Literal["sample", "batch", "none"]
NORMALIZATIONS: tuple[Normalization, ...] = get_args(Normalization)
Pooling = Literal["mean", "sum"]
SPIKE_EPS = 1.0
"""Added to the range of a spike map before dividing by it: one spike. A map of a few spikes then has a small gradient
and a map of many is hardly changed. With 1e-3, as the authors' code has it for the whole batch, each nearly silent
image has a gradient a thousand times as large as the others' and ruins sparse networks (docs/results.md)."""


def at_least_float32(tensor: Tensor) -> Tensor:
    """``tensor`` in fp32 if it is in half precision, else as it is.

    Example:
        >>> import torch
        >>> [at_least_float32(torch.ones(1, dtype=dtype)).dtype for dtype in (torch.bfloat16, torch.float64)]
        [torch.float32, torch.float64]
    """
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def spike_activation_map(spikes: Tensor, *, negative: Literal["sum", "abs"] = "sum") -> Tensor:
    r"""Spike activation map (SAM): spikes summed over time and channels.

    :math:`M_{st} = \sum_t \sum_c S_{t,c}`, CKDSNN (arXiv 2511.06902).

    Args:
        spikes: the recorded layer, shape ``[T, N, C, h, w]``; spikes, spike counts, or signed values.
        negative: what a negative value means. ``"sum"`` adds values as they are; ``"abs"`` adds magnitudes, for
            ternary spikes (-1, 0, 1), which cancel in a plain sum, and for signed membrane potentials.

    Returns:
        Shape ``[N, h, w]``, fp32 or wider; gradients flow to ``spikes``.

    Raises:
        ValueError: ``spikes`` is not 5-dimensional, or ``negative`` is unknown.

    Example:
        >>> import torch
        >>> spike_activation_map(torch.ones(4, 1, 3, 2, 2))
        tensor([[[12., 12.],
                 [12., 12.]]])
    """
    check_shapes(spikes=(spikes, "T N C h w"))
    check_choice("negative", negative, ("sum", "abs"))
    values = at_least_float32(spikes)
    return (values.abs() if negative == "abs" else values).sum(dim=(0, 2))


def fold_time(tensor: Tensor) -> Tensor:
    """A student's layer as one image: time beside the channels, so that a class map sums over both.

    Args:
        tensor: shape ``[T, N, C, h, w]``.

    Returns:
        Shape ``[N, T * C, h, w]``, fp32 or wider.

    Raises:
        ValueError: ``tensor`` is not 5-dimensional.

    Example:
        >>> import torch
        >>> tuple(fold_time(torch.zeros(4, 2, 3, 8, 8)).shape)
        (2, 12, 8, 8)
    """
    check_shapes(tensor=(tensor, "T N C h w"))
    return at_least_float32(tensor).transpose(0, 1).flatten(1, 2)


def time_mean(tensor: Tensor) -> Tensor:
    """A student's layer averaged over time: rates, where it holds spikes.

    Args:
        tensor: shape ``[T, N, C, h, w]``.

    Returns:
        Shape ``[N, C, h, w]``, fp32 or wider.

    Raises:
        ValueError: ``tensor`` is not 5-dimensional.

    Example:
        >>> import torch
        >>> time_mean(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1, 1)).item()
        0.5
    """
    check_shapes(tensor=(tensor, "T N C h w"))
    return at_least_float32(tensor).mean(0)


def class_activation_map(features: Tensor, weight: Tensor, classes: Tensor) -> Tensor:
    r"""Class activation map (CAM) of a network that ends in global average pooling and one linear layer.

    :math:`\mathrm{ReLU}(\sum_k w_{ck} F_k)`, Zhou et al., CVPR 2016.

    Args:
        features: what is pooled, shape ``[N, C, h, w]``.
        weight: the linear layer's weight, shape ``[K, C]``.
        classes: class of each image, integer, shape ``[N]``.

    Returns:
        Shape ``[N, h, w]``, non-negative, fp32 or wider.

    Raises:
        ValueError: the shapes do not fit each other.

    Example:
        >>> import torch
        >>> features = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1).expand(1, 2, 1, 2)
        >>> class_activation_map(features, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([1]))
        tensor([[[2., 2.]]])
    """
    check_shapes(features=(features, "N C h w"), weight=(weight, "K C"), classes=(classes, "N"))
    chosen = at_least_float32(weight)[classes]
    return _weighted_sum(features, chosen)


def grad_cam(features: Tensor, gradients: Tensor, *, pool: Pooling = "mean") -> Tensor:
    r"""Grad-CAM: channels weighted by the class score's gradient, summed, negative evidence dropped.

    :math:`\mathrm{ReLU}(\sum_k \alpha_k F_k)` with :math:`\alpha_k` the gradient :math:`\partial y_c / \partial F_k`
    pooled over the positions, Selvaraju et al., ICCV 2017. For a head of global average pooling and one linear layer
    it equals :func:`class_activation_map` divided by ``h * w``, and with ``pool="sum"`` it equals it outright.

    Args:
        features: the recorded layer, shape ``[N, C, h, w]``.
        gradients: of each image's class score with respect to ``features``, same shape.
        pool: ``"mean"`` (the published form) or ``"sum"`` over the positions.

    Returns:
        Shape ``[N, h, w]``, non-negative, fp32 or wider.

    Raises:
        ValueError: unlike shapes, not 4-dimensional, or ``pool`` is unknown.

    Example:
        >>> import torch
        >>> grad_cam(torch.ones(1, 2, 1, 2), torch.full((1, 2, 1, 2), 0.5))
        tensor([[[1., 1.]]])
    """
    check_shapes(features=(features, "N C h w"), gradients=(gradients, "N C h w"))
    check_choice("pool", pool, get_args(Pooling))
    gradients = at_least_float32(gradients)
    weights = gradients.mean(dim=(2, 3)) if pool == "mean" else gradients.sum(dim=(2, 3))
    return _weighted_sum(features, weights)


def grad_cam_plus_plus(features: Tensor, gradients: Tensor) -> Tensor:
    r"""Grad-CAM++: positions that speak for the class weigh more in their channel's coefficient.

    :math:`\mathrm{ReLU}(\sum_k w_k F_k)`, :math:`w_k = \sum_{ij} \alpha_k^{ij} \mathrm{ReLU}(g_k^{ij})` and
    :math:`\alpha_k^{ij} = (g_k^{ij})^2 / (2 (g_k^{ij})^2 + (g_k^{ij})^3 \sum_{ab} F_k^{ab})`, with :math:`g` the
    gradient of the class score; Chattopadhay et al., WACV 2018, for an exponential score, whose positive factor a later
    normalisation drops. A coefficient whose denominator is zero is zero.

    Args:
        features: the recorded layer, shape ``[N, C, h, w]``.
        gradients: of each image's class score with respect to ``features``, same shape.

    Returns:
        Shape ``[N, h, w]``, non-negative, fp32 or wider.

    Raises:
        ValueError: unlike shapes, or not 4-dimensional.

    Example:
        >>> import torch
        >>> grad_cam_plus_plus(torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1, 2))
        tensor([[[0.5000, 0.5000]]])
    """
    check_shapes(features=(features, "N C h w"), gradients=(gradients, "N C h w"))
    features, gradients = at_least_float32(features), at_least_float32(gradients)
    denominator = 2 * gradients**2 + gradients**3 * features.sum(dim=(2, 3), keepdim=True)
    alpha = torch.where(denominator == 0, 0.0, gradients**2 / torch.where(denominator == 0, 1.0, denominator))
    return _weighted_sum(features, (alpha * gradients.relu()).sum(dim=(2, 3)))


def hires_cam(features: Tensor, gradients: Tensor) -> Tensor:
    r"""HiResCAM: gradient times feature at each position, summed over the channels, negative evidence dropped.

    :math:`\mathrm{ReLU}(\sum_k g_k \odot F_k)`, Draelos and Carin, arXiv 2011.08891. Behind a pooled linear head the
    gradient is the same everywhere, and this equals :func:`grad_cam`.

    Args:
        features: the recorded layer, shape ``[N, C, h, w]``.
        gradients: of each image's class score with respect to ``features``, same shape.

    Returns:
        Shape ``[N, h, w]``, non-negative, fp32 or wider.

    Raises:
        ValueError: unlike shapes, or not 4-dimensional.

    Example:
        >>> import torch
        >>> hires_cam(torch.ones(1, 1, 1, 2), torch.tensor([[[[1.0, -1.0]]]]))
        tensor([[[1., 0.]]])
    """
    check_shapes(features=(features, "N C h w"), gradients=(gradients, "N C h w"))
    return (at_least_float32(features) * at_least_float32(gradients)).sum(dim=1).relu()


def match_maps(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Bring two maps to one size: the larger is average-pooled to the smaller, in height and width each.

    Args:
        student: shape ``[N, h, w]``.
        teacher: shape ``[N, h', w']``.

    Returns:
        Both maps with shape ``[N, min(h, h'), min(w, w')]``, fp32 or wider.

    Raises:
        ValueError: not two maps of as many images, or one position is left, where a softmax is constant.

    Example:
        >>> import torch
        >>> student, teacher = match_maps(torch.rand(2, 8, 8), torch.rand(2, 4, 4))
        >>> tuple(student.shape), tuple(teacher.shape)
        ((2, 4, 4), (2, 4, 4))
    """
    check_shapes(student=(student, "N h w"), teacher=(teacher, "N h' w'"))
    size = (min(student.shape[1], teacher.shape[1]), min(student.shape[2], teacher.shape[2]))
    if size == (1, 1):
        raise ValueError(
            f"a map of one position carries nothing: student {tuple(student.shape[1:])}, teacher "
            f"{tuple(teacher.shape[1:])}. Record an earlier layer (student_layer=, teacher_layer=) or use larger images"
        )
    return _pool_to(at_least_float32(student), size), _pool_to(at_least_float32(teacher), size)


def normalize_map(maps: Tensor, mode: Normalization, *, eps: float = SPIKE_EPS) -> Tensor:
    """Min-max normalisation to [0, 1].

    Args:
        maps: shape ``[N, h, w]``.
        mode: ``"sample"`` scales each image's map by its own range, ``"batch"`` all by the range of the whole batch
            (the authors' code: a map then depends on its neighbours), ``"none"`` leaves them as they are.
        eps: added to the range before the division.

    Returns:
        Shape ``[N, h, w]``, fp32 or wider. Gradients flow through minimum and maximum; that of a constant map is
        at most ``1 / eps`` times what comes in, as is every other.

    Raises:
        ValueError: ``mode`` is unknown, or ``maps`` is not 3-dimensional.

    Example:
        >>> import torch
        >>> normalize_map(torch.tensor([[[0.0, 4.0]]]), "sample", eps=0.0)
        tensor([[[0., 1.]]])
    """
    check_choice("normalization", mode, NORMALIZATIONS)
    check_shapes(maps=(maps, "N h w"))
    maps = at_least_float32(maps)
    if mode == "none":
        return maps
    if mode == "batch":
        shifted = maps - maps.min()
        return shifted / (shifted.max() + eps)
    shifted = maps - maps.amin(dim=(1, 2), keepdim=True)
    return shifted / (shifted.amax(dim=(1, 2), keepdim=True) + eps)


def is_constant(maps: Tensor, *, tolerance: float = 1e-6) -> Tensor:
    """Which maps are constant over the positions.

    Args:
        maps: shape ``[N, h, w]``.
        tolerance: range relative to the largest magnitude up to which a map counts as constant.

    Returns:
        Boolean, shape ``[N]``.

    Raises:
        ValueError: ``maps`` is not 3-dimensional.

    Example:
        >>> import torch
        >>> is_constant(torch.tensor([[[0.0, 0.0]], [[0.0, 1e-9]]]))
        tensor([ True, False])
    """
    check_shapes(maps=(maps, "N h w"))
    maps = at_least_float32(maps)
    low, high = maps.amin(dim=(1, 2)), maps.amax(dim=(1, 2))
    return high - low <= tolerance * torch.maximum(high.abs(), low.abs())


def _weighted_sum(features: Tensor, weights: Tensor) -> Tensor:
    # Not einsum: autocast would take the matrix product to half precision.
    return (at_least_float32(features) * weights[:, :, None, None]).sum(dim=1).relu()


def _pool_to(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[1:]) == size:
        return maps
    return F.adaptive_avg_pool2d(maps.unsqueeze(1), size).squeeze(1)
