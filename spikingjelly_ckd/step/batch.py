"""Reading what a user passes: a batch of images or event frames, and its labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..networks.outputs import Role

__all__ = ["Batch", "read_batch"]

_WROTE: dict[Role, str] = {
    "teacher": "the teacher wrote into the images that the student gets too (as by x.sub_(mean), x /= std or an "
    "in-place activation in front); let it compute a new tensor, or pass teacher_input=torch.clone",
    "student": "the student wrote into its input, which is the batch itself, repeated over time without a copy (as by "
    "x[t] += ..., x.mul_(2) or an in-place activation in front); let it compute a new tensor, or begin with x.clone()",
}


@dataclass(frozen=True)
class Batch:
    """One batch as the networks take it.

    Attributes:
        images: ``[N, C, H, W]``, or event frames with time first, ``[T, N, C, H, W]``.
        labels: class indices ``[N]`` (int64) or soft labels ``[N, K]``; None where there are none.
        size: ``N``.
        steps: ``T``, or None where the student decides.
        teacher_input: turns the images into what the teacher takes; None is the images, or the mean of event frames.
    """

    images: Tensor
    labels: Tensor | None
    size: int
    steps: int | None
    teacher_input: Callable[[Tensor], Tensor] | None = None
    _version: int | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_version", _version(self.images))

    def check_kept(self, role: Role) -> None:
        """Raise if the network that ran last has written into the images, which both networks share.

        Args:
            role: of the network that ran last.

        Raises:
            ValueError: it has; the message says what to do.
        """
        version = _version(self.images)
        if version != self._version and None not in (version, self._version):
            raise ValueError(_WROTE[role])

    @property
    def is_event(self) -> bool:
        """Whether the images carry a time axis of their own."""
        return self.images.ndim == 5

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width."""
        return self.images.shape[-2], self.images.shape[-1]

    def over_time(self) -> Tensor:
        """``[T, N, C, H, W]``, images repeated without a copy; as they are where the student decides on ``T``."""
        if self.is_event or self.steps is None:
            return self.images
        return self.images.unsqueeze(0).expand(self.steps, *self.images.shape)

    def teacher_images(self) -> Tensor:
        """What the teacher takes, ``[N, C, H, W]``, detached.

        Raises:
            ValueError: ``teacher_input`` returned something else.
        """
        if self.teacher_input is None:
            return (self.images.mean(0) if self.is_event else self.images).detach()
        images = self.teacher_input(self.images)
        if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[0] != self.size:
            got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"teacher_input must return [N, C, H, W] with N={self.size}, got {got}")
        return images.detach()


def read_batch(
    images: Tensor,
    labels: Tensor | None,
    *,
    time_steps: int | None,
    batch_first: bool | None,
    teacher_input: Callable[[Tensor], Tensor] | None = None,
) -> Batch:
    """Check a batch and bring it into the package's axis order.

    Args:
        images: ``[N, C, H, W]``, or event frames ``[T, N, C, H, W]`` (``[N, T, C, H, W]`` with ``batch_first``).
        labels: class indices ``[N]``, soft labels ``[N, K]``, or None.
        time_steps: None, or ``T``; must equal the time axis of event frames.
        batch_first: event frames come as ``[N, T, C, H, W]``; None is False, and is refused where ``T = N``, since
            the labels then do not tell which axis is time.
        teacher_input: turns images, or frames with time first, into what the teacher takes.

    Returns:
        A :class:`Batch` with time first.

    Raises:
        TypeError: images or labels are no tensors, images hold integers, or labels are neither integers nor soft.
        ValueError: shapes or axis orders that cannot be right.

    Example:
        >>> import torch
        >>> read_batch(torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]), time_steps=4, batch_first=False).over_time().shape
        torch.Size([4, 2, 3, 8, 8])
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a tensor, got {type(images).__name__}")
    if not images.is_floating_point():
        raise TypeError(f"images must be floating point, got {images.dtype}; scale and convert them first")
    if images.ndim not in (4, 5):
        raise ValueError(f"images must be [N, C, H, W] or event frames [T, N, C, H, W], got {tuple(images.shape)}")
    if images.numel() == 0:
        raise ValueError(f"images are empty: {tuple(images.shape)}")
    channels, height, width = images.shape[-3:]
    if channels == height and width <= 4 < channels:
        raise ValueError(f"images look channels-last: {tuple(images.shape)}; expected [..., C, H, W], so permute them")
    if images.ndim == 5 and batch_first:
        images = images.transpose(0, 1)
    size = images.shape[-4]
    if labels is not None:
        labels = _read_labels(images, labels, size)
    if batch_first is None and images.ndim == 5 and 1 < size == images.shape[0]:
        raise ValueError(
            f"event frames {tuple(images.shape)} can be {size} time steps of {size} recordings or the reverse: pass "
            "batch_first=False for [T, N, C, H, W], or batch_first=True for [N, T, C, H, W]"
        )
    if time_steps is not None and images.ndim == 5 and images.shape[0] != time_steps:
        swapped = labels is None and not batch_first and images.shape[1] == time_steps  # labels fit the axis of N
        hint = "; frames look batch-first, pass batch_first=True" if swapped else ""
        raise ValueError(
            f"time_steps is {time_steps}, but the event frames have T={images.shape[0]}: {tuple(images.shape)}{hint}"
        )
    steps = images.shape[0] if images.ndim == 5 else time_steps
    return Batch(images, labels, size, steps, teacher_input)


def _version(images: Tensor) -> int | None:
    """How often the memory of the images was written to; None in ``torch.inference_mode`` and in a compiled step."""
    return None if torch.compiler.is_compiling() or images.is_inference() else images._version


def _read_labels(images: Tensor, labels: Tensor, size: int) -> Tensor:
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels must be a tensor, got {type(labels).__name__}")
    if labels.ndim not in (1, 2) or labels.shape[0] != size:
        swapped = images.ndim == 5 and labels.ndim in (1, 2) and labels.shape[0] == images.shape[0]
        hint = "; the frames look batch-first, pass batch_first=True" if swapped else ""
        raise ValueError(
            f"labels must be [N] or [N, K] with N={size} as the images {tuple(images.shape)} say, got "
            f"{tuple(labels.shape)}{hint}"
        )
    if labels.device != images.device:
        raise ValueError(f"images are on {images.device}, labels on {labels.device}; move them to one device")
    if labels.ndim == 2:
        if not labels.is_floating_point():
            advice = "class indices are [N]: pass labels.squeeze(1)" if labels.shape[1] == 1 else "pass labels.float()"
            raise TypeError(
                f"soft labels [N, K] must be floating point, got {labels.dtype} {tuple(labels.shape)}; {advice}"
            )
        return labels
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"labels [N] must be integer class indices, got {labels.dtype}; pass labels.long()")
    return labels.long()
