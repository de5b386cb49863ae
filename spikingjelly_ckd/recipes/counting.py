"""Operations and energy of the networks of a row, as its student takes its time steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from ..networks.compat import has_neurons
from ..step.network_arguments import read_student_steps
from ..step.time_steps import run_over_time
from .build import ALIASES, Built
from .data import Data
from .data.base import drawn_rows
from .files import say
from .options import Run
from .progress import tracked
from .recipe import Recipe
from .report.energy import Energy, ann_twin, measure_energy
from .teacher_input import Teacher

__all__ = ["count_energy", "measure_student"]


def count_energy(
    recipe: Recipe, run: Run, data: Data, student: Built, teacher: Teacher | None
) -> dict[str, Any] | None:
    """Operations and energy of one image: the student, its ANN twin on one step, and the teacher.

    Args:
        recipe: time steps, batch size.
        run: how many images are counted, or all of a smaller test set.
        data: whose test set is used; the images are drawn from it, and the same in every run.
        student: that was trained; it is moved to the CPU.
        teacher: None where there was none.

    Returns:
        ``"images"``, and what :class:`~spikingjelly_ckd.recipes.report.energy.Energy` says of each network. The twin is
        left out where the student repeats images by itself and its function does not take the number of time steps.
        None where no image is to be counted, or the student has no spiking neuron that is known, which is said.
    """
    rows = drawn_rows(len(cast(Any, data.test)), run.counted_images)
    if not rows:
        return None
    if not has_neurons(student.network):
        say(f"The energy of {student.name} is not counted: it has no spiking neuron that is known")
        return None

    def batches(whose: str) -> Iterator[Tensor]:
        loader = DataLoader(Subset(data.test, rows), min(recipe.batch_size, len(rows)))
        for images, _ in tracked(loader, f"Energy of the {whose}", len(loader)):
            yield images.transpose(0, 1) if images.ndim == 5 else images.unsqueeze(0)

    network = student.network.cpu()
    way = read_student_steps(network, recipe.student_steps)
    one_step = (x.mean(0, keepdim=True) for x in batches("twin"))
    found: dict[str, Any] = {"images": len(rows)}
    found["student"] = measure_student(network, batches("student"), recipe, is_event=data.is_event).to_json()
    if way == "internal" and not data.is_event:
        twin = _of_one_step(student)
        if twin is not None:
            found["ann_twin"] = measure_energy(ann_twin(twin), (x[0] for x in one_step)).to_json()
    else:
        found["ann_twin"] = _measure(ann_twin(network), one_step, looped=way == "loop").to_json()
    if teacher is not None:
        enter = teacher.input_for(data)
        found["teacher"] = measure_energy(
            teacher.network.cpu(), (enter(x.mean(0)) for x in batches("teacher"))
        ).to_json()
    return found


def measure_student(network: nn.Module, batches: Iterable[Tensor], recipe: Recipe, *, is_event: bool) -> Energy:
    """Operations and energy of one image of a student, as it takes its time steps.

    Args:
        network: on the CPU.
        batches: event frames ``[T, N, C, H, W]``, or images ``[1, N, C, H, W]``.
        recipe: how many time steps, and how they are taken.
        is_event: which of both the batches are.

    Raises:
        ValueError: as :func:`~spikingjelly_ckd.recipes.report.energy.measure_energy`.
    """
    way = read_student_steps(network, recipe.student_steps)
    if way == "internal" and not is_event:
        return measure_energy(network, (x[0] for x in batches))
    steps = recipe.evaluated_steps
    over_time = ((x if is_event else x.expand(steps, *x.shape[1:])).contiguous() for x in batches)
    return _measure(network, over_time, looped=way == "loop")


def _measure(network: nn.Module, frames: Iterator[Tensor], *, looped: bool) -> Energy:
    """Of frames ``[T, N, C, H, W]``, in one call or in one for each time step."""
    if not looped:
        return measure_energy(network, frames, batch_axis=1)
    return measure_energy(network, frames, batch_axis=1, forward=lambda net, x: run_over_time(net, x, "loop"))


def _of_one_step(student: Built) -> nn.Module | None:
    """The same network with one time step; None where its function takes no number of them."""
    names = [name for name in student.arguments if ALIASES.get(name, name) == "time_steps"]
    return student.build(**student.arguments | dict.fromkeys(names, 1)) if names else None
