"""A student at every number of time steps, and with early exit by its confidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...distiller import Distiller
from ...errors.arguments import ArgumentValueError
from ...errors.checks import check_count
from ...methods import TETLoss
from ...networks.guards import preserve_state, reset_states
from ...networks.outputs import read_logits
from ...step.time_steps import StudentSteps, run_over_time
from ...step.validate import raise_first
from ..data.loading import seeded
from ..records.evaluation import EarlyExit, StepEvaluation, StepFigures
from ..report.energy import ENERGY_IMAGES, Energy, measure_energy
from ..training.batches import unpack_batch
from ..training.figures import StepAccuracy, among_largest
from .exported import KEEPS_STATE

__all__ = ["evaluate_steps"]

THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
CLOSE = 1e-4
"""Of the largest logit: by how much the logits of a step may differ between runs of unlike length."""
LOOKS_AHEAD = (
    "The logits of a step depend on later steps, or the network runs all of its steps only: figures of fewer steps, "
    "and of early exit, are not those of a network that stops there."
)
UNMEASURED = "No run of fewer steps was measured."
STEPS_INSIDE = "The network runs its time steps by itself, so nothing is measured of runs of fewer."


def evaluate_steps(
    student: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    time_steps: int | None = None,
    student_steps: StudentSteps = "multi",
    batch_first: bool | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    energy_images: int = ENERGY_IMAGES,
) -> StepEvaluation:
    """Accuracy, firing rate and energy after every number of steps up to ``T``, and with early exit by confidence.

    The student runs once for all ``T`` steps on each batch; its accuracy after ``t`` is that of the mean of the first
    ``t`` logits. Firing rate and energy are those of runs of ``t`` steps on the first images. The student is left as it
    was, in ``eval`` or not.

    Args:
        student: a spiking network, as for :class:`~spikingjelly_ckd.Distiller`.
        batches: ``(images, labels)``: images ``[N, C, H, W]`` or event frames, on the student's device, and class
            indices ``[N]``.
        time_steps: ``T`` for images; None for event frames, or a network that repeats images by itself.
        student_steps: as for :class:`~spikingjelly_ckd.Distiller`.
        batch_first: as for :class:`~spikingjelly_ckd.Distiller`.
        thresholds: confidences in ``(0, 1]`` at which an image may stop early.
        energy_images: how many images, the first of the batches, firing rate and energy are measured on; 0 leaves them
            out. Where batches come sorted by class, draw them in another order.

    Returns:
        :class:`~spikingjelly_ckd.recipes.records.evaluation.StepEvaluation`.

    Raises:
        TypeError: a batch without labels, or as :class:`~spikingjelly_ckd.Distiller`.
        ValueError: no batch, labels that are no classes, images that are not finite, a threshold out of range, or as
            :class:`~spikingjelly_ckd.Distiller`.

    Example:
        >>> from spikingjelly_ckd.recipes.models import spiking_resnet8
        >>> batches = [(torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 2, 3]))]
        >>> found = evaluate_steps(spiking_resnet8(10), batches, time_steps=3, thresholds=[0.9], energy_images=1)
        >>> [step.time_steps for step in found.steps], found.exits[0].mean_steps
        ([1, 2, 3], 3.0)
    """
    for threshold in thresholds:
        if not 0 < threshold <= 1:
            raise ArgumentValueError("thresholds", f"must lie in (0, 1], got {threshold}")
    check_count("energy_images", energy_images, least=0)
    options: dict[str, Any] = {"student_steps": student_steps, "batch_first": batch_first}
    runner = Distiller(None, student, {}, task_loss=TETLoss(), time_steps=time_steps, **options)
    accuracy, stops = StepAccuracy(), [_Exits(threshold) for threshold in thresholds]
    kept: list[Tensor] = []
    total, notes, whole = 0, [], False
    with preserve_state(student), torch.no_grad():
        runner.eval()
        for images, labels in map(unpack_batch, batches):
            step = runner.observe(images, labels)
            raise_first(step.input_violations())
            logits = cast(Tensor, step.student.per_step_logits)
            way = runner.student_steps
            inputs = step.batch.images if way == "internal" else step.batch.over_time()
            if not total:
                notes = _faults_of_fewer_steps(student, inputs, logits, way)
                whole = bool(notes)
            accuracy.add(logits, labels)
            for stop in stops:
                stop.add(logits, labels)
            if total < energy_images:
                kept.append(inputs.narrow(inputs.ndim - 4, 0, min(len(labels), energy_images - total)))
            total += len(labels)
        if not total:
            raise ArgumentValueError("batches", "must hold at least one batch of images and labels")
        energies = _energies(student, kept, len(logits), way, notes, whole=whole)
    reached = zip(cast(list[float], accuracy.percent()), energies, strict=True)
    figures = tuple(
        StepFigures(t, percent, *(None, None) if energy is None else (energy.firing_rate, energy.compute_mj))
        for t, (percent, energy) in enumerate(reached, start=1)
    )
    costs = [figure.energy_mj for figure in figures]
    exits = tuple(stop.found(total, costs) for stop in stops)
    return StepEvaluation(total, min(energy_images, total), figures, exits, tuple(notes))


class _Exits:
    """Where images stop at one threshold, and how many of them are right."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._right = 0
        self._stopped: Tensor | None = None

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Of a batch, ``[T, N, K]`` and ``[N]``."""
        steps = len(logits)
        so_far = logits.cumsum(0) / torch.arange(1, steps + 1, device=logits.device).view(-1, 1, 1)
        sure = so_far.softmax(2).amax(2) >= self.threshold
        sure[-1] = True
        stop = sure.int().argmax(0)
        chosen = so_far[stop, torch.arange(len(labels), device=logits.device)]
        self._right += int(among_largest(chosen, labels, 1).sum())
        counts = stop.bincount(minlength=steps).cpu()
        self._stopped = counts if self._stopped is None else self._stopped + counts

    def found(self, images: int, costs: Sequence[float | None]) -> EarlyExit:
        """The figures, with the energy of each number of steps."""
        shares = tuple(count / images for count in cast(Tensor, self._stopped).tolist())
        mean = sum(step * share for step, share in enumerate(shares, start=1))
        used = [(share, cost) for share, cost in zip(shares, costs, strict=True) if share]
        known = [share * cost for share, cost in used if cost is not None]
        energy = sum(known) if len(known) == len(used) else None
        return EarlyExit(self.threshold, mean, 100 * self._right / images, energy, shares)


def _faults_of_fewer_steps(student: nn.Module, inputs: Tensor, logits: Tensor, way: StudentSteps) -> list[str]:
    """Why a run of fewer steps is not the beginning of a run of all; tried without the last step."""
    if way == "internal" or inputs.ndim == 4:
        return [STEPS_INSIDE]
    if len(logits) == 1:
        return []
    first, _, second = (_logits_of(student, part, way) for part in (inputs, -inputs, inputs))
    if _are_far(first, second):
        return [f"{KEEPS_STATE} {UNMEASURED}"]
    try:
        found = _logits_of(student, inputs[:-1], way)
    except (IndexError, RuntimeError, TypeError, ValueError):  # of layers that are made for so many time steps
        return [LOOKS_AHEAD]
    return [LOOKS_AHEAD] if _are_far(found, logits[:-1].mean(0)) else []


def _logits_of(student: nn.Module, inputs: Tensor, way: StudentSteps) -> Tensor:
    """The mean logits, with the same random numbers in every call."""
    with seeded(0), reset_states(student):
        output = run_over_time(student, inputs, way)
    return read_logits(output, role="student", size=inputs.shape[1], steps=len(inputs)).mean


def _are_far(found: Tensor, others: Tensor) -> bool:
    return bool((found - others).abs().max() > CLOSE * others.abs().max())


def _energies(
    student: nn.Module, kept: Sequence[Tensor], steps: int, way: StudentSteps, notes: list[str], *, whole: bool
) -> list[Energy | None]:
    """Of runs of 1 to ``T`` steps, with ``whole`` of ``T`` alone; None where it cannot be counted, which is noted."""
    found: list[Energy | None] = [None] * steps
    run = partial(run_over_time, steps="loop") if way == "loop" else None
    for length in range(steps if whole else 1, steps + 1 if kept else 0):
        batches = kept if whole else [frames[:length] for frames in kept]
        try:
            found[length - 1] = measure_energy(student, batches, batch_axis=kept[0].ndim - 4, forward=run)
        except (IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            notes.append(f"Energy after {length} steps is not measured: {str(error).partition(chr(10))[0]}")
    return found
