"""One run of a teacher for several distillers of one batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from .batch import Batch
from .output import LayerTensors, Observation
from .pairing import Pair
from .teacher_observer import TeacherObserver

__all__ = ["SharedTeacher"]


class SharedTeacher:
    """A teacher that several distillers have in common, run once for all of them.

    Its observations are passed to each distiller as ``teacher_output``. The step of a distiller is then the same, to
    the bit, as if it had run the teacher itself.

    Args:
        pairs: name of each distiller -> its ``observers``, which have chosen their layers: it was built with
            ``example=``, or has run a step. Those without a loss that uses a teacher can be left out, or are given
            nothing.

    Raises:
        RuntimeError: layers were not chosen yet.
        ValueError: the teacher of one takes its time steps in another way.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from spikingjelly_ckd import Distiller
        >>> from spikingjelly_ckd.methods import KDLoss
        >>> teacher, *students = (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)) for _ in range(3))
        >>> losses, images, labels = {"kd": (KDLoss(), 1.0)}, torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 1])
        >>> options = {"student_steps": "internal", "example": images}
        >>> arms = {name: Distiller(teacher, student, losses, **options) for name, student in zip("ab", students)}
        >>> shared = SharedTeacher({name: arm.observers for name, arm in arms.items()})
        >>> batch = arms["a"].observers.read(images, labels, None, None, None)
        >>> seen = shared.observe(teacher.eval(), batch)
        >>> bool(arms["b"](images, labels, seen["b"]).loss == arms["b"](images, labels).loss)
        True
    """

    def __init__(self, pairs: Mapping[str, Pair]) -> None:
        self._pairs = dict(pairs)
        of = {name: pair.teacher for name, pair in self._pairs.items()}
        if len({observer.time_steps for observer in of.values()}) > 1:
            raise ValueError("the distillers differ in how a spiking teacher takes its time steps")
        layers = {
            f"{name}/{loss}": sides[1] for name, pair in self._pairs.items() for loss, sides in pair.layers.items()
        }
        self._observer = TeacherObserver(
            layers,
            {
                f"{name}/{loss}": target
                for name, observer in of.items()
                for loss, target in observer.cam_targets.items()
            },
            head=any(observer.wants_head for observer in of.values()),
            logits=True,
            time_steps=next((observer.time_steps for observer in of.values()), None),
        )
        self._observer.layers = layers

    def observe(self, teacher: nn.Module, batch: Batch) -> dict[str, Observation]:
        """One forward, and for each distiller what its own losses compare.

        Args:
            teacher: frozen and in eval mode.
            batch: what it takes.

        Raises:
            RuntimeError: it is in train mode, or a parameter of it requires gradients.
        """
        seen = self._observer.observe(teacher, batch, whole=True)
        return {name: self._part(seen, name, pair) for name, pair in self._pairs.items()}

    def _part(self, seen: Observation, name: str, pair: Pair) -> Observation:
        return replace(
            seen,
            logits=seen.logits if pair.teacher.wants_logits else None,
            features=_of(seen.features, name),
            gradients=_of(seen.gradients, name),
            head=seen.head if pair.teacher.wants_head else None,
        )


def _of(tensors: LayerTensors, name: str) -> LayerTensors:
    """The layers of one distiller, by the names of its losses."""
    return {key.removeprefix(f"{name}/"): found for key, found in tensors.items() if key.startswith(f"{name}/")}
