"""Steps of CKDSNN, BKDSNN and SeAl-KD as their code takes them, beside ours: same networks, same losses, same batch.

Written from what is known of each repository, not copied. What differs is how the teacher runs:

- CKDSNN, as released: neither ``eval`` nor ``no_grad``, parameters that want gradients. The forward has a graph, which
  ``backward`` walks, and BatchNorm takes the statistics of the batch.
- BKDSNN, its SEW script: ``eval``, but no ``no_grad``: the loss on features and logits walks back through the teacher.
- SeAl-KD: detached, ``eval`` and ``no_grad``, as in the code that it is derived from.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from speed_bench import Bench, Row, compute
from timing import ratios
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spikingjelly_ckd import Distiller, class_activation_map, record
from spikingjelly_ckd.networks.compat import reset
from spikingjelly_ckd.published import bkdsnn, ckd, seal
from spikingjelly_ckd.step.method import Method


@dataclass(frozen=True)
class Theirs:
    """One method and how its code runs the teacher.

    Attributes:
        method: with their weights.
        with_graph: whether the teacher's forward has one.
        in_train_mode: whether its BatchNorm takes the statistics of the batch.
        loss: takes a distiller's losses, logits ``[T, N, K]``, student layer, teacher logits, teacher layer, labels and
            the teacher.
    """

    method: Method
    with_graph: bool
    in_train_mode: bool
    loss: Callable[..., Tensor]


def of_ckdsnn(
    losses: Any, logits: Tensor, spikes: Tensor, wanted: Tensor, known: Tensor, labels: Tensor, teacher: nn.Module
) -> Tensor:
    head = next(m for m in reversed(list(teacher.modules())) if isinstance(m, nn.Linear))
    cam = class_activation_map(known, head.weight.detach(), wanted.argmax(1))
    return cross_entropy(logits.mean(0), labels) + losses.samd(spikes, cam) + losses.nld(logits.mean(0), wanted)


def of_bkdsnn(
    losses: Any, logits: Tensor, spikes: Tensor, wanted: Tensor, known: Tensor, labels: Tensor, teacher: nn.Module
) -> Tensor:
    mean = logits.mean(0)
    return (
        cross_entropy(mean, labels) + losses.logits(mean, wanted, labels) + SEW_WEIGHT * losses.feature(spikes, known)
    )


def of_seal(
    losses: Any, logits: Tensor, spikes: Tensor, wanted: Tensor, known: Tensor, labels: Tensor, teacher: nn.Module
) -> Tensor:
    steps = len(logits)
    of_task = cross_entropy(logits.flatten(0, 1), labels.repeat(steps))
    return of_task + losses.seal(logits, wanted.detach(), labels)


SEW_WEIGHT = 7e-5
"""Of BKDSNN's feature part in the SEW script."""
THEIRS = {
    "CKDSNN": Theirs(ckd("released"), True, True, of_ckdsnn),
    "BKDSNN": Theirs(bkdsnn(SEW_WEIGHT), True, False, of_bkdsnn),
    "SeAl-KD": Theirs(seal(), False, False, of_seal),
}


def beside(bench: Bench, rounds: int) -> Row:
    """For each method: their step, ours, and ours with everything on; ratios are to theirs."""
    arms: dict[str, Callable[[], object]] = {"plain": bench.plain()}
    for name, theirs in THEIRS.items():
        arms[f"{name}, theirs"] = their_step(bench, theirs)
        arms[f"{name}, ours"] = bench.distiller(theirs.method)
        arms[f"{name}, everything on"] = bench.accelerated(method=theirs.method)[0]
    row = compute(bench, arms, rounds, base="plain")
    for name in arms:
        of, _, how = name.partition(", ")
        if how:
            row["ratio"][name] = ratios(row["raw"][name], row["raw"][f"{of}, theirs"])
    return row


def their_step(bench: Bench, theirs: Theirs) -> Callable[[], Tensor]:
    """A step in their way; returns the loss."""
    student, _ = bench.own_student()
    steps = bench.pair.time_steps
    # a distiller knows the layers, and has losses with parameters for them
    probe = Distiller.from_method(
        theirs.method, bench.teacher, copy.deepcopy(student), time_steps=steps, example=bench.example
    )
    (spiking,), (last,) = next(iter(probe.layers.values()), bench.last_layers())
    teacher = copy.deepcopy(bench.teacher).requires_grad_(theirs.with_graph).train(theirs.in_train_mode)
    parameters = [*student.parameters(), *probe.losses.parameters()]
    optimizer = torch.optim.SGD(parameters, 1e-4, momentum=0.9)

    def step() -> Tensor:
        optimizer.zero_grad()
        reset(student)
        frames = bench.images.unsqueeze(0).expand(steps, *bench.images.shape)
        with bench.forward():
            with record(student, [spiking.path]) as seen, record(teacher, [last.path]) as known:
                logits = student(frames)
                with torch.set_grad_enabled(theirs.with_graph):
                    wanted = teacher(bench.images)
            inputs = (logits, seen[spiking.path], wanted, known[last.path], bench.labels, teacher)
            loss = theirs.loss(probe.losses, *inputs)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step
