"""How large each loss's gradient is beside the task's: before training, and after some steps of a copy."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ..distiller import Distiller
from ..errors.arguments import InvalidStepError
from ..step.auto_weight import AUTO_SHARE, FAINT, MeasuredWeight, gradient_norm
from ..step.held_weight import HeldWeight
from ..step.output import Step
from .report import Check, Status

__all__ = ["LARGE_SHARE", "MOMENTUM", "SMALL_SHARE", "Gradients", "after_training", "gradients", "shares"]

LARGE_SHARE, SMALL_SHARE = 0.5, 0.005
"""Gradient of a weighted term at the recorded feature, as a share of the task's, above or below which is warned."""
MOMENTUM = 0.9
"""Of the plain SGD that trains the copy."""


@dataclass(frozen=True)
class Gradients:
    """Norms of the gradients at the recorded feature (at the logits where no layer is recorded), at one moment.

    Attributes:
        task: of the task loss with its weight.
        terms: of each loss without its weight.
        weights: of each loss; one that is measured has 0 before the first training step.
        steps: of training that the copy made before, 0 for the distiller itself.
        stopped: why the copy could not be trained to the end; empty where it was.
    """

    task: float
    terms: dict[str, float]
    weights: dict[str, float]
    steps: int = 0
    stopped: str = ""


def gradients(distiller: Distiller, step: Step, steps: int = 0, stopped: str = "") -> Gradients:
    """The norms in one observed step.

    Args:
        distiller: whose weights hold.
        step: of this distiller, with its graph.
        steps: that it was trained for.
        stopped: why it was trained no longer.
    """
    points = step.points("")
    measured = {name: float(cast(MeasuredWeight, auto).weight) for name, auto in distiller.auto.items()}
    return Gradients(
        float(gradient_norm(distiller.task_weight * step.terms["task"].value, points, distiller.student)),
        {name: float(gradient_norm(step.terms[name].value, points, distiller.student)) for name in distiller.losses},
        {**distiller.weights, **measured},
        steps,
        stopped,
    )


def after_training(distiller: Distiller, pairs: Sequence[tuple[Tensor, Tensor]], steps: int, lr: float) -> Gradients:
    """The norms on the first batch after some steps of plain SGD; a deep copy is trained, and thrown away.

    Args:
        distiller: stays as it is; the copy shares its teacher.
        pairs: batches (images, labels), taken in turn.
        steps: how many.
        lr: learning rate.
    """
    twin = copy.deepcopy(distiller).train()
    trained = [parameter for parameter in twin.parameters() if parameter.requires_grad]
    done, stopped = 0, "" if trained else "no parameter of the student or the losses requires gradients"
    if trained:
        optimizer = torch.optim.SGD(trained, lr, momentum=MOMENTUM)
        try:
            while done < steps:
                optimizer.zero_grad()
                twin(*pairs[done % len(pairs)]).loss.backward()
                optimizer.step()
                done += 1
        except InvalidStepError as error:
            stopped = str(error)
    return gradients(twin, twin.observe(*pairs[0], whole=True), done, stopped)


def shares(distiller: Distiller, step: Step, later: Gradients | None = None) -> Iterator[Check]:
    """The gradient of every loss at the recorded feature, relative to the task's.

    Args:
        distiller: whose losses they are.
        step: what it observed before training.
        later: the same after some training; the verdict is then about these.
    """
    start = gradients(distiller, step)
    frozen = not any(point.requires_grad for point in step.points(""))
    for name in distiller.losses:
        check = _judge(distiller, name, start, frozen=frozen)
        yield check if later is None else _beside(check, _judge(distiller, name, later, frozen=frozen), later)


def _judge(distiller: Distiller, name: str, seen: Gradients, *, frozen: bool) -> Check:
    """One loss at one moment."""
    task, term = seen.task, seen.terms[name]
    data: dict[str, Any] = {"task_gradient": task, "term_gradient": term}
    if task == 0 or term == 0:
        which = "task" if task == 0 else name
        why = ", which has no graph: the student's layers up to it are frozen, or in a reentrant checkpoint"
        text = f"{name}: the {which} has no gradient at the recorded feature{why if frozen else ''}"
        return Check("gradient share", "warn", text, data)
    target = cast(MeasuredWeight, distiller.auto[name]).share if name in distiller.auto else AUTO_SHARE
    suggested = float(f"{target * task / term:.1g}")
    weight = seen.weights[name]
    share = weight * term / task
    if name in distiller.auto:
        word = "hold" if isinstance(distiller.auto[name], HeldWeight) else "auto"
        data |= {"weight": word, "suggested": suggested}
        if not seen.steps:
            text = f"{name}: '{word}' will set a weight of about {suggested:g}"
            if term < FAINT * task:
                return Check("gradient share", "warn", f"{text}; its gradient may be rounding alone", data)
            return Check("gradient share", "info", text, data)
        data |= {"measured": weight, "share": share}
        text = f"{name}: {share:.2g} of the task's gradient at the recorded feature with '{word}', at weight {weight:g}"
        return Check("gradient share", "info", text, data)
    data |= {"weight": weight, "share": share, "suggested": suggested}
    text = f"{name}: {share:.2g} of the task's gradient at the recorded feature with weight {weight:g}"
    status: Status = "ok"
    if weight > 0 and share > LARGE_SHARE:
        status, text = "warn", f"{text}, which can dominate; try {suggested:g}, or 'auto'"
    elif weight > 0 and share < SMALL_SHARE:
        status, text = "warn", f"{text}, which hardly acts; try {suggested:g}, or 'auto'"
    return Check("gradient share", status, text, data)


def _beside(start: Check, later: Check, seen: Gradients) -> Check:
    """Both moments in one finding, with the verdict of the later."""
    after = {"steps": seen.steps, "stopped": seen.stopped}
    if seen.stopped:
        text = f"{start.message}; a copy was trained for {seen.steps} steps and no further: {seen.stopped}"
        return Check("gradient share", "warn", text, {**start.data, "after": after})
    before = f"{start.data['share']:.2g}" if "share" in start.data else start.message
    text = f"after {seen.steps} steps, {later.message}; at the start, {before}"
    return Check("gradient share", later.status, text, {**start.data, "after": {**later.data, **after}})
