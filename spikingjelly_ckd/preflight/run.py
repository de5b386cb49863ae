"""Looking at a distiller on real batches before training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ..distiller import Distiller
from ..errors.checks import check_count, check_positive
from ..networks.guards import preserve_state
from .checks import (
    accuracy,
    effective_batch,
    frozen,
    layers,
    memory,
    neurons,
    normalisation,
    observe,
    read_as,
    repeats,
    spikes,
    state,
    student_accuracy,
    trains,
    values,
)
from .map_checks import maps
from .report import PreflightReport
from .returned import outputs
from .shares import after_training, shares

__all__ = ["preflight"]

MOST_BATCHES = 8


def preflight(
    distiller: Distiller | nn.Module,
    batches: tuple[Tensor, Tensor] | Iterable[tuple[Tensor, Tensor]],
    *,
    accumulate: int = 1,
    steps: int = 0,
    lr: float = 0.1,
) -> PreflightReport:
    """Look at a distiller on real batches before training, and say what was chosen and what would go wrong.

    Parameters, buffers, gradients, modes and random numbers are left as they were found. The cost on one batch is
    about six training steps, and ``steps`` more.

    Args:
        distiller: a :class:`~spikingjelly_ckd.Distiller`, bare, in ``DistributedDataParallel``, or compiled, which is
            looked at as if it were not.
        batches: one batch ``(images, labels)``, or an iterable such as a loader, of which the first 8 are taken; all
            serve the accuracy of both networks and the training of the copy, the first serves everything else.
        accumulate: batches for each optimiser step, for the effective batch.
        steps: training steps after which the gradient shares are looked at once more, beside those at the start, which
            can mislead tenfold. A deep copy of student and losses is trained, on the batches in turn, by plain SGD with
            momentum 0.9. Under ``torch.distributed`` every process has to ask for them.
        lr: learning rate of the copy.

    Returns:
        A :class:`PreflightReport`.

    Raises:
        TypeError: no distiller, a batch that is no (images, labels), or ``accumulate`` or ``steps`` that is no integer.
        ValueError: no batch, ``accumulate``, ``steps`` or ``lr`` out of range, input that the distiller refuses, or no
            loss that needs the teacher.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from spikingjelly.activation_based import layer, neuron
        >>> from spikingjelly_ckd import CKDDistiller
        >>> teacher = nn.Sequential(
        ...     nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
        >>> student = nn.Sequential(
        ...     layer.Conv2d(3, 4, 3, step_mode="m"), layer.BatchNorm2d(4, step_mode="m"),
        ...     neuron.LIFNode(step_mode="m"),
        ...     layer.AdaptiveAvgPool2d(1, step_mode="m"), layer.Flatten(step_mode="m"),
        ...     layer.Linear(4, 10, step_mode="m"))
        >>> report = preflight(CKDDistiller(teacher, student, time_steps=4), (torch.randn(4, 3, 8, 8), torch.arange(4)))
        >>> report["state"].status
        'ok'
    """
    inner = getattr(distiller, "module", distiller)
    inner = getattr(inner, "_orig_mod", inner)
    if not isinstance(inner, Distiller):
        raise TypeError(f"distiller must be a Distiller, got {type(distiller).__name__}")
    if not inner.uses_teacher:
        raise ValueError("no loss of this distiller uses a teacher, so there is nothing to look at before training")
    check_count("accumulate", accumulate)
    check_count("steps", steps, least=0)
    check_positive("lr", lr)
    pairs = _pairs(batches)
    images, labels = pairs[0]
    with preserve_state(inner.student, inner.teacher, inner.losses), _restored(inner), torch.enable_grad():
        found = [frozen(inner)]
        inner.teacher.requires_grad_(False).eval()
        inner.student.train()
        look = observe(inner, images, labels)
        # what walks back through the observed step comes before what runs the networks again
        of_shares = [*shares(inner, look.step, after_training(inner, pairs, steps, lr) if steps else None)]
        found = [
            neurons(inner),
            read_as(look),
            *layers(inner, look),
            *spikes(look),
            values(look),
            *trains(look),
            *maps(inner, look),
            *of_shares,
            *found,
            *outputs(inner, look),
            repeats(inner, look),
            accuracy(inner, look, pairs),
            student_accuracy(inner, pairs),
            normalisation(inner, look),
            state(inner, images),
            effective_batch(look, accumulate),
        ]
        del look
        found.append(memory(inner, images, labels))
    return PreflightReport(tuple(found))


def _pairs(batches: Any) -> list[tuple[Tensor, Tensor]]:
    single = isinstance(batches, tuple | list) and len(batches) == 2 and isinstance(batches[0], Tensor)
    pairs = [tuple(batches)] if single else [tuple(pair) for pair in islice(batches, MOST_BATCHES)]
    if not pairs:
        raise ValueError("batches is empty; pass one batch (images, labels) or a few")
    for pair in pairs:
        if len(pair) != 2 or not all(isinstance(item, Tensor) for item in pair):
            raise TypeError("each batch must be (images, labels), two tensors")
    return pairs


@contextmanager
def _restored(distiller: Distiller) -> Iterator[None]:
    """Put back whether the teacher's parameters require gradients, and the noise's own random source."""
    trainable = [(parameter, parameter.requires_grad) for parameter in distiller.teacher.parameters()]
    sources = [getattr(loss, "generator", None) for loss in distiller.losses.values()]
    generators = [source for source in sources if isinstance(source, torch.Generator)]
    states = [generator.get_state() for generator in generators]
    try:
        yield
    finally:
        for parameter, requires_grad in trainable:
            parameter.requires_grad_(requires_grad)
        for generator, before in zip(generators, states, strict=True):
            generator.set_state(before)
