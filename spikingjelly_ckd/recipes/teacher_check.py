"""Whether a teacher is better than guessing, on the data that it is to teach."""

from __future__ import annotations

from itertools import chain, islice

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..networks.outputs import read_logits
from ..preflight.guessing import guessing
from .data import Data
from .options import Run
from .progress import tracked
from .teacher_input import Teacher

__all__ = ["check_teacher"]

UNTRAINED = "is it trained, and on these classes in this order?"


@torch.no_grad()
def check_teacher(
    teacher: Teacher,
    data: Data,
    *,
    batch_size: int,
    workers: int = 0,
    limit: int | None = None,
    refuse: bool = True,
    advice: str = UNTRAINED,
) -> float:
    """Accuracy in percent on the validation part, or the test set where there is none, as the teacher will see it.

    Args:
        teacher: in ``eval``, on any device.
        data: whose validation part, or test set, is used.
        batch_size: images at a time.
        workers: loading processes.
        limit: of batches; None for all.
        refuse: raise where it is no better than guessing.
        advice: what the message says then; see :func:`advice_on`.

    Returns:
        Percent.

    Raises:
        TypeError: the teacher returned no logits.
        ValueError: it cannot take the images, wrong logits, NaN in the images or the logits, or an accuracy that always
            saying the most frequent class explains (no more than 2 standard errors above its share), from which no
            student can learn.

    Example:
        >>> from spikingjelly_ckd.recipes.data import DataOptions
        >>> from spikingjelly_ckd.recipes.data.digits import digits
        >>> data = digits("", DataOptions(size=16, time_steps=2))
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2 * 16 * 16, 10))
        >>> _ = torch.nn.init.zeros_(network[1].weight), network[1].bias.data.copy_(torch.eye(10)[3])
        >>> teacher = Teacher(network, "always three", sha256=None, mean=None, std=None, size=None)
        >>> round(check_teacher(teacher, data, batch_size=64, refuse=False), 2)
        10.31
    """
    device = next(chain(teacher.network.parameters(), teacher.network.buffers()), torch.empty(0)).device
    enter = teacher.input_for(data).to(device)
    right = 0
    seen: list[Tensor] = []
    part = getattr(data, "measured", data.test)  # an object of one's own may have a test part alone
    loader = DataLoader(part, batch_size, num_workers=workers)
    for images, labels in tracked(islice(loader, limit), "Teacher: accuracy", len(loader)):
        images = images.transpose(0, 1) if images.ndim == 5 else images
        logits = read_logits(teacher.run(enter(images.to(device))), role="teacher", size=len(labels)).mean
        if logits.shape[1] != data.num_classes:
            raise ValueError(
                f"the teacher {teacher.source} returned {tuple(logits.shape)} for {len(labels)} images of "
                f"{data.num_classes} classes: pass a teacher of these classes, or fine-tune this one on them first"
            )
        _check_finite(teacher, images, logits, part_of(data))
        right += int((logits.argmax(1).cpu() == labels).sum())
        seen.append(labels)
    if not seen:
        raise ValueError(
            f"the {part_of(data)} set of {data.name} is empty, so the teacher {teacher.source} cannot be checked"
        )
    of_guessing = guessing(torch.cat(seen))
    total = sum(map(len, seen))
    if refuse and of_guessing.explains(right / total):
        raise ValueError(
            f"the teacher {teacher.source} gets {100 * right / total:.2f} % of {total} {part_of(data)} images, hardly "
            f"more than guessing ({of_guessing}): {advice}"
        )
    return 100 * right / total


def part_of(data: Data) -> str:
    """What the part is called that a run measures on."""
    return "test" if data.validation is None else "validation"


def advice_on(run: Run, data: Data) -> str:
    """What to do about a teacher that guesses: the flags that do something for one of its origin.

    Args:
        run: its flags.
        data: on which the teacher is measured.

    Example:
        >>> from spikingjelly_ckd.recipes.data import DataOptions
        >>> from spikingjelly_ckd.recipes.data.digits import digits
        >>> advice_on(Run(), digits("", DataOptions(size=16, time_steps=2)))
        'train it with more --teacher-epochs or another --teacher-lr; --any-teacher goes on all the same'
    """
    if run.teacher is None:
        first = "train it with more --teacher-epochs or another --teacher-lr"
    elif run.teacher.startswith("timm:"):
        script = f"examples/train_teacher.py --model {run.teacher} --pretrained"
        first = f"are its classes these, in this order? If not, fine-tune it first ({script}) and pass the file"
    else:
        told = "--teacher-size" if data.is_event else "--teacher-mean, --teacher-std, --teacher-size"
        first = f"{UNTRAINED} If its images were made otherwise than these, say how ({told})"
    drawn = {"--val-images": run.val_images, "--test-images": None if data.validation is not None else run.test_images}
    larger = next((f"; a larger {flag} measures it better" for flag, value in drawn.items() if value is not None), "")
    return f"{first}{larger}; --any-teacher goes on all the same"


def _check_finite(teacher: Teacher, images: Tensor, logits: Tensor, part: str) -> None:
    """Raise where a number is NaN or infinite, since such an image would count as a wrong answer."""
    if not images.isfinite().all():
        raise ValueError(
            f"the {part} set holds NaN or inf, which would count as wrong answers; mend or remove its files"
        )
    if not logits.isfinite().all():
        raise ValueError(
            f"the teacher {teacher.source} returned logits that are NaN or inf for {part} images; check its weights "
            "and the normalisation of its input"
        )
