"""Which axes a student takes and what it keeps of a batch, found out by trying, so that a message can say it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import get_args

import torch
from torch import Tensor, nn

from ..distiller import Distiller
from ..networks import compat
from ..networks.guards import preserve_state
from ..networks.outputs import read_logits
from ..networks.recording import watch
from ..step.time_steps import StudentSteps
from .data.loading import seeded
from .recipe import Recipe

__all__ = [
    "find_batch_first",
    "find_kept_state",
    "find_other_steps",
    "steps_in_each_call",
    "steps_inside",
    "student_distiller",
]

TAKES: dict[StudentSteps, str] = {
    "multi": "frames [T, N, C, H, W] in one call",
    "loop": "the images of one time step in each call",
    "internal": "images [N, C, H, W], which it repeats by itself",
}
BATCH_FIRST = (
    "takes [N, T, C, H, W], batch first, and SpikingJelly's axes are [T, N, C, H, W]: let its function return a module "
    "whose forward is self.net(frames.transpose(0, 1)), and transpose its logits back if they are [N, T, K]"
)


def student_distiller(student: nn.Module, recipe: Recipe, steps: StudentSteps | None = None) -> Distiller:
    """A distiller that does nothing but run the student as the recipe says.

    Args:
        student: the network.
        recipe: whose time steps are used.
        steps: in place of the recipe's ``student_steps``.

    Raises:
        ValueError: the step mode of the student's neurons does not fit.
    """
    return Distiller(None, student, {}, **recipe.step_options() | ({} if steps is None else {"student_steps": steps}))


def find_other_steps(student: nn.Module, recipe: Recipe, images: Tensor) -> str | None:
    """What a student that refused a batch takes instead, as the end of a sentence; None where nothing was found.

    Args:
        student: it is left as it was.
        recipe: whose ``student_steps`` it was run with.
        images: as the loader gives them.
    """
    for steps in get_args(StudentSteps):
        if steps != recipe.student_steps and _runs(partial(_predict, student, recipe, images, steps)):
            return f"takes {TAKES[steps]}: pass --student-steps {steps}"
    return BATCH_FIRST if _runs(partial(_predict_batch_first, student, recipe, images)) else None


def find_batch_first(student: nn.Module, recipe: Recipe, images: Tensor) -> str | None:
    """As :func:`find_other_steps`, of a student that took frames; None where it is not batch-first.

    In a network that takes the images for time steps the logits of an image depend on the one before it.

    Args:
        student: it is left as it was.
        recipe: whose ``student_steps`` are ``"multi"``.
        images: as the loader gives them, at least two, not as many as time steps.
    """
    if _mixes_images(student, images, partial(_predict, student, recipe)) is not True:
        return None
    swapped = _mixes_images(student, images, partial(_predict_batch_first, student, recipe))
    return BATCH_FIRST if swapped is False else None


def steps_inside(student: nn.Module, recipe: Recipe, images: Tensor) -> int | None:
    """How many time steps a student runs by itself, if not as many as the recipe says; None where it agrees.

    A neuron in single-step mode shows it by the number of its calls, one in multi-step mode by its first axis.

    Args:
        student: it is left as it was.
        recipe: whose ``student_steps`` are ``"internal"``, or ``"multi"``.
        images: as the loader gives them.
    """
    modes = compat.neuron_step_modes(student)
    calls = _calls(student, recipe, images)
    counts = Counter[int]()
    for path in modes.keys() & calls.keys():
        sizes = calls[path]
        flat = sizes[0] == recipe.time_steps * len(images)
        counts[recipe.time_steps if flat else sizes[0] if modes[path] == "m" and len(sizes) == 1 else len(sizes)] += 1
    return None if not counts or recipe.time_steps in counts else counts.most_common(1)[0][0]


def steps_in_each_call(student: nn.Module, recipe: Recipe, images: Tensor) -> int | None:
    """How many time steps a student runs by itself in each call of a loop over time; None where it is one.

    In a network that loops by itself all neurons run equally often in a call, and so does a layer with weights. Where
    the layers with weights run once, several places share a neuron.

    Args:
        student: it is left as it was.
        recipe: whose ``student_steps`` are ``"loop"``.
        images: as the loader gives them.
    """
    calls = _calls(student, recipe, images)
    neurons = compat.neuron_step_modes(student).keys() & calls.keys()
    counts = [len(calls[path]) for path in neurons]
    if len(counts) < 2 or len(set(counts)) > 1:
        return None
    weighted = [path for path, module in student.named_modules() if list(module.parameters(recurse=False))]
    if not any(len(calls[path]) == counts[0] for path in set(weighted) & calls.keys() - neurons):
        return None
    steps, rest = divmod(counts[0], recipe.time_steps)
    return steps if steps > 1 and not rest else None


def find_kept_state(student: nn.Module, recipe: Recipe, images: Tensor) -> str | None:
    """What a student keeps of one batch for the next, as the end of a sentence; None where it keeps nothing.

    Equal images with another batch between them pass every module alike, once the states are reset. The random numbers
    are the same, too, so that an encoder which draws spikes is not taken for a state. Modules are compared and not the
    logits alone, since a network whose last neurons are still silent has the same logits for everything.

    Args:
        student: it is left as it was.
        recipe: whose ``student_steps`` say how it is run.
        images: as the loader gives them.
    """
    try:
        with preserve_state(student), torch.no_grad():
            runner = student_distiller(student, recipe)
            _take_statistics(student, lambda: runner.predict(images))
            first = _outputs(student, runner, images)
            runner.predict(-images)
            second = _outputs(student, runner, images)
    except Exception:  # whatever a network makes of images that it does not expect
        return None
    path = next((path for path, outputs in first.items() if not _alike(outputs, second.get(path, []))), None)
    if path is None:
        return None
    where = f" (seen first in what its module {path!r} returns)" if path else ""
    return (
        f"keeps a state that functional.reset_net does not reset{where}, so that what it says of an image depends on "
        "the images before: derive the module that keeps it from SpikingJelly's base.MemoryModule and let it "
        "register_memory the state, or begin anew in every forward"
    )


def _outputs(student: nn.Module, runner: Distiller, images: Tensor) -> dict[str, list[Tensor]]:
    """Path of each module that ran -> what it returned, call by call, in the order in which the modules ended."""
    outputs: dict[str, list[Tensor]] = {}
    with seeded(0), watch(student, lambda path, output: outputs.setdefault(path, []).append(output)):
        runner.predict(images)
    return outputs


def _alike(outputs: list[Tensor], others: list[Tensor]) -> bool:
    """Whether nothing changed but by rounding; what is not a number both times is no change."""
    if [output.shape for output in outputs] != [other.shape for other in others]:
        return False
    alike = partial(torch.allclose, rtol=1e-3, atol=1e-5, equal_nan=True)
    return all(alike(output.double(), other.double()) for output, other in zip(outputs, others, strict=True))


def _calls(student: nn.Module, recipe: Recipe, images: Tensor) -> dict[str, list[int]]:
    """Path of each module that ran in one forward -> length of the first axis of its output, call by call."""
    calls: dict[str, list[int]] = {}
    with preserve_state(student), torch.no_grad():
        runner = student_distiller(student, recipe).eval()
        with watch(student, lambda path, output: calls.setdefault(path, []).append(len(output))):
            runner.predict(images)
    return calls


def _predict(student: nn.Module, recipe: Recipe, images: Tensor, steps: StudentSteps | None = None) -> Tensor:
    return student_distiller(student, recipe, steps).predict(images)


def _predict_batch_first(student: nn.Module, recipe: Recipe, images: Tensor) -> Tensor:
    """Logits ``[N, K]`` of a network that takes ``[N, T, C, H, W]``, and returns ``[N, K]`` or ``[N, T, K]``."""
    frames = images if images.ndim == 5 else images.unsqueeze(1).expand(-1, recipe.time_steps, *images.shape[1:])
    compat.reset(student)
    output = student(frames)
    compat.reset(student)
    if isinstance(output, Tensor) and output.ndim == 3:
        output = output.transpose(0, 1)
    return read_logits(output, role="student", size=len(images), steps=recipe.time_steps).mean


def _runs(predict: Callable[[], Tensor]) -> bool:
    try:
        with torch.no_grad():
            return bool(predict().ndim == 2)
    except Exception:  # whatever a network makes of axes that it does not expect
        return False


def _mixes_images(student: nn.Module, images: Tensor, predict: Callable[[Tensor], Tensor]) -> bool | None:
    """Whether the logits of an image depend on the image before it; None where the network does not run."""
    changed = images.clone()
    changed[0] = -changed[0]
    try:
        with preserve_state(student), torch.no_grad():
            _take_statistics(student, lambda: predict(images))
            one, other = predict(images)[1:], predict(changed)[1:]
    except Exception:  # as above
        return None
    return not torch.allclose(one, other, rtol=1e-3, atol=1e-5)


def _take_statistics(student: nn.Module, predict: Callable[[], Tensor]) -> None:
    """Leave the student in eval mode with BatchNorm's statistics of a batch.

    A network that never fires would show nothing.
    """
    for module in student.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            module.momentum = 1.0
    student.train()
    predict()
    student.eval()
