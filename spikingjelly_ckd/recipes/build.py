"""Networks made by functions, and a look at the student before it is trained."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors.arguments import ArgumentValueError
from ..networks.compat import has_neurons, neuron_step_modes
from ..networks.failures import find_failure, unlike_input
from ..networks.guards import preserve_state
from .data import Data
from .data.loading import seed_all
from .export import save_network
from .models import name_in_zoo, spikingjelly_network
from .names import failure_text, in_code_of_user, name_of, raised_here, shown
from .options import Run
from .recipe import Recipe
from .student_axes import (
    find_batch_first,
    find_kept_state,
    find_other_steps,
    steps_in_each_call,
    steps_inside,
    student_distiller,
)

__all__ = ["Built", "build_network", "build_student", "check_student"]

ALIASES = {"T": "time_steps", "in_chans": "in_channels", "img_size": "size"}
"""Names that functions of SpikingJelly and timm have for the usual keywords."""
UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")


@dataclass(frozen=True)
class Built:
    """A network and how it was made, which is what its file needs.

    Attributes:
        network: itself.
        build: the function that made it.
        arguments: keywords of ``build``.
    """

    network: nn.Module
    build: Callable[..., nn.Module]
    arguments: dict[str, Any]

    @property
    def name(self) -> str:
        """``module:name`` of the function."""
        return name_of(self.build)

    @property
    def parameters(self) -> int:
        """How many there are."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def save(self, path: Path, data: Data, **more: Any) -> Path:
        """Write the network with what whoever feeds it has to know, see :func:`.export.save_network`."""
        about = {"mean": data.mean, "std": data.std, "size": data.size, "classes": data.classes}
        if data.centre_crop:
            about["centre_crop"] = True
        return save_network(path, self.network, self.build, self.arguments, **more, **about, event=data.is_event)

    def save_student(self, path: Path, recipe: Recipe, data: Data, init: Mapping[str, Any] | None) -> Path:
        """As :meth:`save`, of a trained student: its time steps too, and the thresholds that it began with.

        Args:
            path: of the ``.safetensors`` file.
            recipe: that it was trained by.
            data: that it was trained on.
            init: with whose weights it began, as the record says it.
        """
        steps = {"time_steps": recipe.evaluated_steps, "student_steps": recipe.student_steps}
        thresholds = (init or {}).get("thresholds")
        return self.save(path, data, **steps, **({"thresholds": thresholds} if thresholds else {}))


def build_student(recipe: Recipe, run: Run, data: Data) -> Built:
    """The student with its first weights, which follow from the seed of the run.

    Raises:
        TypeError: the recipe's function asks for something else, or returned no module.
        ValueError: it cannot be trained on these data, see :func:`check_student`.
    """
    seed_all(run.seed)
    wanted: dict[str, Any] = {"num_classes": data.num_classes, "in_channels": data.in_channels, "size": data.size}
    build, options, zoo_name = recipe.student, recipe.build_options(), name_in_zoo(recipe.student)
    if zoo_name is not None:
        build = spikingjelly_network
        wanted |= {"name": zoo_name, "step_mode": "s" if recipe.student_steps == "loop" else "m"}
    network, arguments = build_network(build, **wanted, time_steps=recipe.time_steps, **options)
    for name in (name for name in options if name not in arguments):
        raise ArgumentValueError(
            name,
            f"{options[name]} ({recipe.sources.get(name, 'of the recipe')}) is a keyword that the function of the "
            f"student, {shown(recipe.student)}, does not take: let it take {name}, or choose what does not need it",
        )
    check_student(network, recipe, data, run)
    return Built(network, build, arguments)


def build_network(build: Callable[..., nn.Module], **wanted: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Call ``build`` with those of the keywords that it takes.

    Args:
        build: such as ``spiking_resnet19``, or a function of your own.
        **wanted: ``num_classes``, ``in_channels``, ``time_steps``, ``size``; a function may call the last three by the
            names of SpikingJelly and timm, ``in_chans``, ``T`` and ``img_size``.

    Returns:
        The network and the keywords used.

    Raises:
        RuntimeError: ``build`` is no function of this package, and its code raised.
        TypeError: ``build`` asks for something else, or returned no module.

    Example:
        >>> from spikingjelly_ckd.recipes.models import resnet20
        >>> build_network(resnet20, num_classes=5, in_channels=3, size=32)[1]
        {'num_classes': 5, 'in_channels': 3}
    """
    parameters = inspect.signature(build).parameters
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    named = {name: wanted[ALIASES.get(name, name)] for name in parameters if ALIASES.get(name, name) in wanted}
    used = wanted if anything and not named.keys() & ALIASES.keys() else named
    fixed = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    others = [
        name
        for name, item in parameters.items()
        if item.default is item.empty and item.kind not in fixed and name not in used
    ]
    if others:
        raise TypeError(
            f"{shown(build)} asks for {', '.join(others)}: it can take {', '.join(wanted)} by these names, and "
            "anything else needs a default"
        )
    with in_code_of_user(build):
        network, used = _called(build, used, optional=used.keys() - parameters.keys() - {"num_classes"})
    if not isinstance(network, nn.Module):
        raise TypeError(f"{name_of(build)} must return a torch.nn.Module, got {type(network).__name__}")
    return network, used


def _called(
    build: Callable[..., nn.Module], used: dict[str, Any], optional: Set[str]
) -> tuple[nn.Module, dict[str, Any]]:
    """The network, without those optional keywords that the function passes on to one that does not know them.

    The builders of torchvision take any keyword and hand it to the class, which takes few.
    """
    try:
        return build(**used), used
    except TypeError as error:
        refused = UNEXPECTED.search(str(error))
        if refused is None or refused[1] not in optional:
            raise
        left = {name: value for name, value in used.items() if name != refused[1]}
        return _called(build, left, optional)


@torch.no_grad()
def check_student(student: nn.Module, recipe: Recipe, data: Data, run: Run) -> None:
    """Raise unless the student turns images into as many logits as there are classes; it is left as it was.

    Raises:
        ValueError: an ANN, one that takes its time steps in another way than the recipe says, runs another number of
            them, or is batch-first; or another number of logits.
    """
    name = f"the student {shown(recipe.student)}"
    try:
        runner = student_distiller(student, recipe)
    except ValueError as error:
        modes = set(neuron_step_modes(student).values())
        if recipe.student_steps == "loop" and "m" in modes:
            raise ValueError(
                f"{name} has neurons in multi-step mode, and --student-steps loop calls it once a time step: pass "
                "--student-steps multi, or let its function call functional.set_step_mode(network, 's')"
            ) from error
        if modes != {"s"}:
            raise
        raise ValueError(
            f"{name} is in single-step mode: let its function call functional.set_step_mode(network, 'm') before it "
            "returns the network, or pass --student-steps loop, which calls it once a time step, or internal for one "
            "that takes images and runs its time steps by itself"
        ) from error
    student.to(run.torch_device)
    count = 3 if recipe.time_steps == 2 else 2  # not as many as time steps, so that no axis is taken for another
    images = torch.stack([data.test[0][0]] * count).to(run.torch_device)
    try:
        with preserve_state(student):
            logits = runner.eval().predict(images)
    except Exception as error:
        if not has_neurons(student):
            raise ValueError(
                f"{name} is an ANN: it has no spiking neurons and does not take frames [T, N, C, H, W] "
                f"({str(error).partition(chr(10))[0]}); pass a spiking network, or --student-steps internal for one "
                "that takes images and has neurons of its own"
            ) from error
        advice = find_other_steps(student, recipe, images)
        if advice is None and raised_here(error):
            raise
        raise ValueError(f"{name} {advice or _failed_on(student, data, error)}") from error
    if logits.shape[1] != data.num_classes:
        raise ValueError(
            f"{name} has {logits.shape[1]} outputs and the data {data.num_classes} classes: let its function take "
            "num_classes, and give the last layer as many outputs"
        )
    if runner.student_steps == "internal":
        steps = steps_inside(student, recipe, images)
        if steps is not None:
            raise ValueError(
                f"{name} runs {steps} time steps by itself and the row has T={recipe.time_steps}: pass -T {steps}, or "
                "let its function take time_steps"
            )
    elif runner.student_steps == "loop":
        steps = steps_in_each_call(student, recipe, images)
        if steps is not None:
            of_its_own = "" if steps == recipe.time_steps else f" -T {steps}"
            raise ValueError(
                f"{name} runs {steps} time steps by itself in each call, and --student-steps loop calls it once a time "
                f"step: pass --student-steps internal{of_its_own}"
            )
    elif runner.student_steps == "multi" and recipe.time_steps > 1:
        advice = find_batch_first(student, recipe, images)
        if advice is not None:
            raise ValueError(f"{name} {advice}")
        steps = None if data.is_event else steps_inside(student, recipe, images)
        if steps is not None and steps > recipe.time_steps and steps % recipe.time_steps == 0:
            raise ValueError(
                f"{name} repeats by itself what it gets, and runs {steps} time steps where the row has "
                f"T={recipe.time_steps}: pass --student-steps internal"
            )
    kept = None if run.no_preflight else find_kept_state(student, recipe, images)
    if kept is not None:
        raise ValueError(f"{name} {kept}; --no-preflight trains it all the same")


def _failed_on(student: nn.Module, data: Data, error: Exception) -> str:
    """What a student's own code raised, and what its function can take, as the end of a sentence."""
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    said = f"does not run on a few test images: {failure_text(error, outside_libraries=True)}{notes}"
    failure = find_failure(student, error)
    if failure is not None and unlike_input(failure):
        given = f"size={data.size}" if isinstance(failure.module, nn.Linear) else f"in_channels={data.in_channels}"
        said += f"; its function is called with {given} if it takes it"
    elif data.is_event and failure is not None and not failure.path:
        said += "; event frames [T, N, C, H, W] bring their time steps, so that a network has nothing to repeat"
    return said
