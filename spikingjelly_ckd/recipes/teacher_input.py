"""A teacher, and what it sees: the images as it was trained to see them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors.arguments import ArgumentValueError
from ..errors.checks import check_count
from ..networks.compat import has_neurons
from ..networks.failures import find_failure, unlike_input
from .data import Data
from .export import LARGEST
from .options import Run

__all__ = ["Teacher", "TeacherInput", "as_told"]

LEAST_DEVIATION = 1e-6
"""Of a normalisation; images are from 0 to 1, in steps of 1/255."""


class TeacherInput(nn.Module):
    """What the student sees, as the teacher was trained to see it: renormalised and resized.

    Args:
        student: mean and standard deviation that the images were normalised with, one number a channel each.
        teacher: those of the teacher's training.
        size: height and width of the teacher's input; None keeps the images'.

    Shapes: ``[N, C, H, W]`` to ``[N, C, size, size]``; event frames ``[T, N, C, H, W]`` enter as their mean frame,
    which is not renormalised.

    Raises:
        TypeError: ``size`` is no integer.
        ValueError: unlike numbers of channels, a mean or deviation that is not finite, a deviation that is not above
            zero, or a ``size`` below 1 or
            above 4096.

    Example:
        >>> import torch
        >>> half = ((0.5,), (0.5,))
        >>> zero_one = ((0.0,), (1.0,))
        >>> TeacherInput(half, zero_one, size=4)(torch.ones(1, 1, 2, 2)).round(decimals=3).unique()  # white stays 1
        tensor([1.])
    """

    def __init__(
        self,
        student: tuple[Sequence[float], Sequence[float]] | None,
        teacher: tuple[Sequence[float], Sequence[float]] | None,
        size: int | None = None,
    ) -> None:
        super().__init__()
        self.size = None if size is None else check_count("size", size)
        if size is not None and size > LARGEST:
            raise ArgumentValueError("size", f"must be at most {LARGEST} pixels, got {size}")
        for pair in (student, teacher):
            _check_normalisation(pair)
        scale, shift = torch.ones(1), torch.zeros(1)
        if student is not None and teacher is not None:
            lengths = {len(values) for values in (*student, *teacher)}
            if len(lengths) != 1:
                raise ValueError(f"means and deviations must have one number a channel, got {student} and {teacher}")
            (mean_s, std_s), (mean_t, std_t) = (torch.tensor(pair) for pair in (student, teacher))
            scale, shift = std_s / std_t, (mean_s - mean_t) / std_t
        self.register_buffer("scale", scale.view(-1, 1, 1))
        self.register_buffer("shift", shift.view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """The teacher's input."""
        images = images.mean(0) if images.ndim == 5 else images
        images = images * self.scale.to(images) + self.shift.to(images)  # type: ignore[operator]
        if self.size is None or images.shape[-2:] == (self.size, self.size):
            return images
        return F.interpolate(images, (self.size, self.size), mode="bicubic", antialias=True, align_corners=False)

    def extra_repr(self) -> str:
        """The size; scale and shift are buffers."""
        return f"size={self.size}"


def _check_normalisation(pair: tuple[Sequence[float], Sequence[float]] | None) -> None:
    mean, std = pair or ((), ())
    if not all(map(math.isfinite, (*mean, *std))):
        raise ValueError(f"means and deviations must be finite, got {mean} and {std}")
    if min(std, default=1) < LEAST_DEVIATION:
        raise ValueError(f"deviations must be at least {LEAST_DEVIATION:g}, got {std}")


@dataclass(frozen=True)
class Teacher:
    """A trained ANN and what has to be known about it.

    Attributes:
        network: in ``eval``.
        source: where it came from, for the record.
        sha256: of its file; None for timm's own weights.
        mean: of the normalisation it was trained with, by channel; None for event frames.
        std: likewise.
        size: height and width it was trained on; None: that of the student.
        accuracy: in percent on the test set, as its own file says; None where nothing is said.
        measured_accuracy: in percent on the part that the run measures on, the validation part where there is one; None
            before.
        made: how it was made, as its own file says: network, data, recipe with epochs, seed; None if it says nothing.

    Example:
        >>> from spikingjelly_ckd.recipes.models import resnet8
        >>> usual = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
        >>> teacher = Teacher(resnet8(10).eval(), "mine", sha256=None, size=32, accuracy=91.5, **usual)
        >>> tuple(teacher.run(torch.rand(2, 3, 32, 32)).shape)
        (2, 10)
    """

    network: nn.Module
    source: str
    sha256: str | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    size: int | None
    accuracy: float | None = None
    measured_accuracy: float | None = None
    made: dict[str, Any] | None = None

    def input_for(self, data: Data) -> TeacherInput:
        """Turns a batch of ``data`` into what this teacher was trained on.

        Raises:
            ValueError: the normalisation of the teacher is known, and that of the data is not.
        """
        if data.mean is None and self.mean is not None and not data.is_event:
            raise ValueError(
                f"the teacher {self.source} was trained with mean {self.mean} and deviation {self.std}, and how the "
                f"images of {data.name} are normalised is not known: let the function of the data say it (mean and std)"
            )
        ours = None if data.mean is None or data.std is None else (data.mean, data.std)
        theirs = None if self.mean is None or self.std is None else (self.mean, self.std)
        return TeacherInput(ours, theirs, self.size)

    def run(self, inputs: Tensor) -> Any:
        """What the network returns.

        Args:
            inputs: as :meth:`input_for` makes them, ``[N, C, H, W]``.

        Raises:
            ValueError: it cannot take them, such as for other channels or another size; the layer is named.
        """
        try:
            return self.network(inputs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # timm asserts sizes, where PyTorch raises RuntimeError
            failure = find_failure(self.network, error)
            where = "" if failure is None else f" in {failure}"
            said = str(error).splitlines() or [type(error).__name__]
            advice = "pass one that was trained on such data"
            if has_neurons(self.network):
                advice = "it has spiking neurons, and the teacher of a row is an ANN, which takes images: pass one"
            elif failure is not None and not isinstance(failure.module, nn.Linear) and unlike_input(failure):
                advice += f" ({unlike_input(failure)})"
            else:
                advice += ", or say with --teacher-size what it was trained on"
            raise ValueError(
                f"the teacher {self.source} cannot take inputs {tuple(inputs.shape)}: {said[0]}{where}; {advice}"
            ) from error


def as_told(teacher: Teacher, run: Run, data: Data) -> Teacher:
    """The teacher with what a command line says of its input in place of what its file says.

    Args:
        teacher: as it was read.
        run: ``teacher_mean`` and ``teacher_std``, one number, or one a channel; ``teacher_size``.
        data: what it is to teach.

    Raises:
        ValueError: only one of mean and deviation, event frames, another number of channels, or numbers for
            images from 0 to 255.
    """
    pair = {name: values for name in ("teacher_mean", "teacher_std") if (values := getattr(run, name)) is not None}
    size = run.teacher_size or teacher.size
    if not pair:
        return replace(teacher, size=size)
    first = next(iter(pair))
    if data.is_event:
        raise ArgumentValueError(first, "does nothing to event frames, which are not normalised; leave it out")
    if len(pair) == 1:
        raise ArgumentValueError(first, "needs the other one: pass --teacher-mean and --teacher-std together")
    for name, values in pair.items():
        if len(values) not in (1, data.in_channels):
            raise ArgumentValueError(name, f"must be one number for each of {data.in_channels} channels, got {values}")
    if data.mean is not None and max(data.mean) <= 1 and min(pair["teacher_mean"]) > 2 and min(pair["teacher_std"]) > 1:
        raise ArgumentValueError(
            "teacher_mean",
            f"and --teacher-std are for images from 0 to 1, and {pair['teacher_mean']} and {pair['teacher_std']} look "
            "like those of images from 0 to 255: divide them by 255",
        )
    mean, std = (values * (data.in_channels // len(values)) for values in pair.values())
    return replace(teacher, mean=mean, std=std, size=size)
