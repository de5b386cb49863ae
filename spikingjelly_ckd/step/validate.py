"""Checks of networks, labels and values during a step."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Size, Tensor, distributed, nn

from ..errors.arguments import InvalidStepError
from ..methods.base import DistillationLoss
from ..methods.signals import TeacherOutput

LABEL_SUM_TOLERANCE = 0.02
"""Half precision and label smoothing stay within it."""

INVALID_LOGITS = "the {role}'s logits hold NaN or inf"

__all__ = [
    "add_note_on_error",
    "all_finite",
    "check_classes",
    "check_frozen",
    "check_labels",
    "check_replayable",
    "check_scalar",
    "check_teacher_output",
    "in_range",
    "input_violations",
    "label_sum_violations",
    "logit_violations",
    "raise_first",
]


def check_frozen(teacher: nn.Module) -> None:
    """Raise if the teacher was unfrozen or put back into train mode since the distiller was made.

    Args:
        teacher: the network.

    Raises:
        RuntimeError: a module of it is in train mode, or a parameter of it requires gradients.
    """
    if any(module.training for module in teacher.modules()):
        raise RuntimeError(
            "the teacher, or a module of it, is in train mode: its BatchNorm statistics would drift and its dropout "
            "would be on. Call teacher.eval() (the distiller did so once), and train() on the distiller alone"
        )
    if any(parameter.requires_grad for parameter in teacher.parameters()):
        raise RuntimeError("a parameter of the teacher requires gradients again; call teacher.requires_grad_(False)")


@contextmanager
def add_note_on_error(note: str) -> Iterator[None]:
    """Add ``note`` to whatever a network raises inside the block.

    Args:
        note: a sentence.
    """
    try:
        yield
    except Exception as error:
        error.add_note(note)
        raise


def check_replayable(losses: Mapping[str, DistillationLoss]) -> None:
    """Raise if a loss takes more of the teacher than its logits and a class map.

    Args:
        losses: name -> loss.

    Raises:
        ValueError: a loss compares features, or applies the teacher's last layer, and defines no class map.
    """
    for name, loss in losses.items():
        if {"features", "teacher_head"} & set(loss.needs) and type(loss).class_map is DistillationLoss.class_map:
            raise ValueError(
                f"{name!r} ({type(loss).__name__}) compares the teacher's features, which a TeacherOutput does not "
                "hold; it can replace the teacher for losses that use logits and class maps (such as SAMD, NLD and KD)"
            )


def check_teacher_output(known: TeacherOutput, maps: set[str], images: Tensor, size: int) -> None:
    """Raise unless ``known`` holds logits, and those class maps, of ``size`` images on the device of ``images``.

    Args:
        known: as the user gave it.
        maps: names of the losses that need a class map.
        images: of the batch.
        size: ``N``.

    Raises:
        TypeError: ``known`` is no :class:`TeacherOutput`, or a value in it is no floating tensor.
        ValueError: a class map is missing, or a value has a wrong shape or device.
    """
    if not isinstance(known, TeacherOutput) or not isinstance(known.class_maps, Mapping):
        raise TypeError(f"teacher_output must be a TeacherOutput with a mapping of maps, got {type(known).__name__}")
    missing = maps - known.class_maps.keys()
    if missing:
        raise ValueError(f"teacher_output holds class maps of {sorted(known.class_maps)} and none of {sorted(missing)}")
    named = {"logits": known.logits} | {f"class_maps[{name!r}]": known.class_maps[name] for name in maps}
    for name, value in named.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            got = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"teacher_output.{name} must be a floating tensor, got {got}")
        if value.device != images.device:
            raise ValueError(
                f"teacher_output.{name} is on {value.device} and the images on {images.device}: move it there"
            )
        axes = "[N, K]" if name == "logits" else "[N, h, w]"
        if value.ndim != axes.count(",") + 1 or len(value) != size:
            raise ValueError(f"teacher_output.{name} must be {axes} with N={size}, got {tuple(value.shape)}")


def check_classes(student: Tensor, teacher: Tensor | None) -> None:
    """Raise unless both networks have as many classes.

    Raises:
        ValueError: the numbers of classes differ.
    """
    if teacher is not None and teacher.shape[1] != student.shape[1]:
        raise ValueError(
            f"the teacher has {teacher.shape[1]} classes and the student {student.shape[1]}; give both as many outputs"
            " (of a network that returns several tensors, the first is taken for its logits)"
        )


def check_labels(labels: Tensor | None, shape: Size, *, clamp: bool) -> Tensor:
    """Labels that fit logits ``[N, K]``; indices out of range are clamped, since they are reported elsewhere.

    Args:
        labels: ``[N]``, or soft ``[N, K]``.
        shape: of the logits.
        clamp: put indices into the range.

    Raises:
        TypeError: ``labels`` is None.
        ValueError: soft labels have another shape than the logits.
    """
    if labels is None:
        raise TypeError("labels must be a tensor, got None; use predict(images) where there are no labels")
    if labels.ndim == 2 and labels.shape != shape:
        raise ValueError(f"soft labels must be [N, K] = {tuple(shape)}, got {tuple(labels.shape)}")
    return labels.clamp(0, shape[1] - 1) if clamp and labels.ndim == 1 else labels


def in_range(labels: Tensor, classes: int, ignored: int | None, instead: Tensor | None, *, clamp: bool) -> Tensor:
    """Labels for a loss.

    Args:
        labels: ``[N]``, or soft ``[N, K]``, which stay as they are.
        classes: ``K``.
        ignored: label of images that the task loss ignores.
        instead: what those images get in its place, ``[N]``; None is class 0.
        clamp: put what is out of range otherwise into it.
    """
    if labels.ndim == 2:
        return labels
    within = labels.clamp(0, classes - 1) if clamp else labels
    if ignored is None:
        return within
    return torch.where(labels == ignored, 0 if instead is None else instead, within)


def check_scalar(what: str, value: object) -> None:
    """Raise unless a loss gave one floating scalar.

    Raises:
        TypeError: no floating tensor.
        ValueError: a tensor with axes.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point():
        got = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{what} must give a scalar tensor of floating point, got {got}")
    if value.ndim:
        raise ValueError(
            f"{what} must give a scalar, got shape {tuple(value.shape)}: average over the images (reduction='mean')"
        )


def label_sum_violations(labels: Tensor) -> dict[str, Tensor]:
    """Message -> boolean scalar, true where soft labels are no distribution, which cross-entropy takes them for."""
    if labels.ndim != 2:
        return {}
    away = (labels.sum(1, dtype=torch.float32) - 1).abs() > LABEL_SUM_TOLERANCE
    return {
        "soft labels must sum to 1 in every row; for several labels an image pass task_loss= (such as "
        "binary_cross_entropy_with_logits)": away.any()
    }


def input_violations(
    images: Tensor, labels: Tensor | None, classes: int, ignored: int | None = None
) -> dict[str, Tensor]:
    """Message -> boolean scalar, true where a batch must not be trained on; ``ignored`` is a label to pass over.

    Args:
        images: of the batch.
        labels: likewise; None where there are none.
        classes: ``K``.
        ignored: a label to pass over; None for none.
    """
    violations = {"images hold NaN or inf": ~all_finite(images)}
    if labels is not None and labels.ndim == 1:
        outside = (labels < 0) | (labels >= classes)
        outside = outside if ignored is None else outside & (labels != ignored)
        but = "" if ignored is None else f" or be {ignored}, which the task loss ignores"
        advice = (
            ""
            if ignored is not None
            else ("; for images without a label pass a task_loss= with an ignore_index, such as nn.CrossEntropyLoss")
        )
        violations[f"labels must lie in 0..{classes - 1}{but}, as there are {classes} classes{advice}"] = outside.any()
    elif labels is not None:
        violations["soft labels must be finite and not negative"] = ~(labels.isfinite() & (labels >= 0)).all()
    return violations


def logit_violations(role: str, logits: Tensor) -> dict[str, Tensor]:
    """Message -> boolean scalar, true where a network's logits must not be used."""
    advice = "; check its weights and its input" if role == "teacher" else ""
    return {f"{INVALID_LOGITS.format(role=role)}{advice}": ~all_finite(logits)}


def all_finite(values: Tensor) -> Tensor:
    """Whether all values are finite, as a boolean scalar.

    It uses minimum and maximum alone, so that no tensor of the input's size is made.
    """
    if not values.numel():
        return values.new_ones((), dtype=torch.bool)
    low, high = torch.aminmax(values.detach())
    return (low > -math.inf) & (high < math.inf)


def raise_first(
    violations: Mapping[str, Tensor],
    count: Tensor | None = None,
    *,
    together: bool = False,
    diverged: Collection[str] = (),
) -> int:
    """Read all violations and ``count`` from the device in one go; raise the first violation, or return the count.

    Args:
        violations: message -> boolean scalar, true where the step must not be trained on.
        count: scalar to read with them.
        together: under ``torch.distributed``, raise on every rank where one has a violation. Each rank has to call this
            with the same messages.
        diverged: messages of which the error says that the training diverged.

    Raises:
        InvalidStepError: a violation is true.

    Example:
        >>> raise_first({"images hold NaN": torch.tensor(False)}, torch.tensor(3.0))
        3
    """
    flags = torch.stack([*violations.values()]).to(torch.int64)
    total = flags.new_zeros(()) if count is None else count.to(torch.int64)
    if together:
        flags = _over_ranks(flags)
    *values, number = torch.cat([flags, total.reshape(1)]).tolist()
    for message, value in zip(violations, values, strict=True):
        if value:
            where = f"on rank {value - 1}: " if together else ""
            text = f"{where}{message} (nothing was changed; check=False turns these checks off)"
            raise InvalidStepError(text, diverged=message in diverged)
    return int(number)


def _over_ranks(flags: Tensor) -> Tensor:
    """For each flag one more than the last rank on which it is set, or 0: every rank then raises, and none waits."""
    ranked = flags * (distributed.get_rank() + 1)
    distributed.all_reduce(ranked, distributed.ReduceOp.MAX)
    return ranked
