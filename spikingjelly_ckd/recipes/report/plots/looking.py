"""Where both networks of a distiller look in some images, without leaving a trace in either."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ....distiller import Distiller
from ....functional.maps import spike_activation_map
from ....methods.base import DistillationLoss, Term
from ....methods.samd import SAMDLoss
from ....methods.signals import TeacherOutput
from ....networks.guards import preserve_state
from ....step.batch import read_batch

__all__ = ["MapReader", "SeenMaps", "see_maps"]

_NAME = "maps"


@dataclass(frozen=True)
class SeenMaps:
    """Maps and answers of both networks for some images; everything is detached and on the CPU.

    Attributes:
        images: ``[N, C, H, W]``, or event frames ``[T, N, C, H, W]``.
        labels: class indices ``[N]``; None where none were given.
        student: spike map, ``[N, h, w]``.
        student_logits: averaged over time, ``[N, K]``.
        teacher: class map, ``[N, h, w]``, of the student's size; None without a teacher.
        teacher_logits: ``[N, K]``; None without a teacher.

    Example:
        >>> from spikingjelly_ckd.recipes.models import spiking_resnet8
        >>> seen = see_maps(Distiller(None, spiking_resnet8(10), {}, time_steps=2), torch.rand(3, 3, 16, 16))
        >>> tuple(seen.student.shape), tuple(seen.student_logits.shape), seen.teacher
        ((3, 4, 4), (3, 10), None)
    """

    images: Tensor
    labels: Tensor | None
    student: Tensor
    student_logits: Tensor
    teacher: Tensor | None = None
    teacher_logits: Tensor | None = None


class _SpikeMap(DistillationLoss):
    """No loss: the spike map of a student that has no teacher."""

    takes = ("student_features",)

    def compute(self, spikes: Tensor) -> Term:
        """Zero, and the map."""
        return self.term(spikes.new_zeros(()), maps={"student": spike_activation_map(spikes).detach()})


class MapReader:
    """Reads the maps of a distiller again and again; a frozen teacher runs once for the images it saw before.

    The maps are those that SAMD compares, with the settings of the distiller's SAMD loss if it has one, and of the
    layers that this loss compares; else layers are found as SAMD finds them.

    Args:
        distiller: of any losses, with or without a teacher.

    Example:
        >>> from spikingjelly_ckd import CKDDistiller
        >>> from spikingjelly_ckd.recipes.models import resnet8, spiking_resnet8
        >>> reader = MapReader(CKDDistiller(resnet8(10), spiking_resnet8(10), time_steps=2))
        >>> images, labels = torch.rand(3, 3, 16, 16), torch.tensor([3, 7, 1])
        >>> before, after = (reader.read(images, labels) for _ in range(2))  # the teacher runs once
        >>> tuple(after.teacher.shape), torch.equal(before.teacher, after.teacher)
        ((3, 4, 4), True)
    """

    def __init__(self, distiller: Distiller) -> None:
        teacher = _teacher_of(distiller)
        name, loss = next(
            ((name, loss) for name, loss in distiller.losses.items() if isinstance(loss, SAMDLoss)), ("", SAMDLoss())
        )
        self._looker = Distiller(
            teacher,
            distiller.student,
            {_NAME: (_SpikeMap() if teacher is None else copy.deepcopy(loss), 1.0)},
            layers={_NAME: _layers_of(distiller, name)} if name else {},
            time_steps=distiller.time_steps,
            student_steps=distiller.student_steps,
            batch_first=distiller.batch_first,
            teacher_input=distiller.teacher_input,
            check=False,
        )
        self._seen: tuple[Tensor, Tensor | None, TeacherOutput] | None = None

    def read(self, images: Tensor, labels: Tensor | None = None) -> SeenMaps:
        """Look at some images in eval mode.

        Modes, buffers, gradients and random numbers of both networks are as before; no hook is left.

        Args:
            images: as for :meth:`~spikingjelly_ckd.Distiller.forward`, on the networks' device. Where they are the very
                tensor of the last call, and the labels too, the teacher does not run again.
            labels: class indices ``[N]``; None where there are none: maps of the label's class are then of the class
                that the teacher chooses.

        Returns:
            :class:`SeenMaps`, with time first.

        Raises:
            TypeError: as for :meth:`~spikingjelly_ckd.Distiller.forward`.
            ValueError: wrong shapes, or no layer serves.
        """
        looker = self._looker
        teacher = _teacher_of(looker)
        with preserve_state(looker.student, *([] if teacher is None else [teacher])), torch.no_grad():
            looker.eval()
            batch = read_batch(images, labels, time_steps=looker.time_steps, batch_first=bool(looker.batch_first))
            known = torch.zeros(batch.size, dtype=torch.long, device=images.device) if labels is None else labels
            said = None if teacher is None else self._of_teacher(images, labels, known)
            if labels is None and said is not None:
                known = said.logits.argmax(1)
            step = looker.observe(images, known, said, whole=True)
            maps = step.terms[_NAME].maps
            return SeenMaps(
                images=batch.images.cpu(),
                labels=None if labels is None else labels.cpu(),
                student=maps["student"].float().cpu(),
                student_logits=step.logits.detach().float().cpu(),
                teacher=maps["teacher"].float().cpu() if "teacher" in maps else None,
                teacher_logits=None if said is None else said.logits.float().cpu(),
            )

    def _of_teacher(self, images: Tensor, labels: Tensor | None, known: Tensor) -> TeacherOutput:
        """What the teacher says of the images, from the last call where it was asked the same.

        Without labels ``known`` is of no meaning, and a map of the label's class is that of the teacher's first choice.
        """
        if self._seen is None or self._seen[0] is not images or self._seen[1] is not labels:
            looker = self._looker
            said = looker.run_teacher(images, known)
            if labels is None and cast(DistillationLoss, looker.losses[_NAME]).target_class == "label":
                said = looker.run_teacher(images, said.logits.argmax(1))
            self._seen = images, labels, said
        return self._seen[2]


def see_maps(distiller: Distiller, images: Tensor, labels: Tensor | None = None) -> SeenMaps:
    """Where both networks of a distiller look, once.

    Args:
        distiller: as for :class:`MapReader`.
        images: as for :meth:`MapReader.read`.
        labels: as for :meth:`MapReader.read`.

    Example:
        >>> from torch import nn
        >>> from spikingjelly.activation_based import layer, neuron
        >>> student = nn.Sequential(
        ...     layer.Conv2d(3, 4, 3, step_mode="m"), neuron.IFNode(v_threshold=0.1, step_mode="m"),
        ...     layer.AdaptiveAvgPool2d(1, step_mode="m"), layer.Flatten(step_mode="m"),
        ...     layer.Linear(4, 10, step_mode="m"))
        >>> see_maps(Distiller(None, student, {}, time_steps=4), torch.rand(2, 3, 8, 8)).student.shape
        torch.Size([2, 6, 6])
    """
    return MapReader(distiller).read(images, labels)


def _teacher_of(distiller: Distiller) -> nn.Module | None:
    try:
        return distiller.teacher
    except RuntimeError:  # made without one
        return None


def _layers_of(distiller: Distiller, name: str) -> tuple[Any, Any]:
    """The layers of a loss: those that were chosen, or before that those that the user named."""
    try:
        return distiller.layers[name]
    except RuntimeError:
        observers = distiller.observers
        return observers.student.given.get(name), observers.teacher.given.get(name)
