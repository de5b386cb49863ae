"""Networks made by functions, and a look at the student before it is trained."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..distiller import Distiller
from ..functional.errors import ArgumentValueError
from ..networks.compat import has_neurons, neuron_step_modes
from ..networks.guards import preserve_state
from .data import Data
from .data.loading import seed_all
from .export import save_network
from .names import name_of
from .options import Run
from .recipe import Recipe, shown

__all__ = ["Built", "build_network", "build_student", "check_student"]


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
        return save_network(path, self.network, self.build, self.arguments, **more, **about, event=data.is_event)


def build_student(recipe: Recipe, run: Run, data: Data) -> Built:
    """The student with its first weights, which follow from the seed of the run.

    Raises:
        TypeError: the recipe's function asks for something else, or returned no module.
        ValueError: it cannot be trained on these data, see :func:`check_student`.
    """
    seed_all(run.seed)
    wanted = {"num_classes": data.num_classes, "in_channels": data.in_channels, "size": data.size}
    options = recipe.build_options()
    network, arguments = build_network(recipe.student, **wanted, time_steps=recipe.time_steps, **options)
    for name in options.keys() - arguments.keys():
        raise ArgumentValueError(
            name,
            f"{options[name]} ({recipe.sources.get(name, 'of the recipe')}) is a keyword that the function of the "
            f"student, {shown(recipe.student)}, does not take; give it one, or leave this out",
        )
    check_student(network, recipe, data, run)
    return Built(network, recipe.student, arguments)


def build_network(build: Callable[..., nn.Module], **wanted: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Call ``build`` with those of the keywords that it takes.

    Args:
        build: such as ``spiking_resnet19``, or a function of your own.
        **wanted: ``num_classes``, ``in_channels``, ``time_steps``, ``size``.

    Returns:
        The network and the keywords used.

    Raises:
        TypeError: ``build`` asks for something else, or returned no module.

    Example:
        >>> from spikingjelly_ckd.recipes.models import resnet20
        >>> build_network(resnet20, num_classes=5, in_channels=3, size=32)[1]
        {'num_classes': 5, 'in_channels': 3}
    """
    parameters = inspect.signature(build).parameters
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    used = {name: value for name, value in wanted.items() if anything or name in parameters}
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
    network = build(**used)
    if not isinstance(network, nn.Module):
        raise TypeError(f"{name_of(build)} must return a torch.nn.Module, got {type(network).__name__}")
    return network, used


@torch.no_grad()
def check_student(student: nn.Module, recipe: Recipe, data: Data, run: Run) -> None:
    """Raise unless the student turns images into as many logits as there are classes; it is left as it was.

    Raises:
        ValueError: an ANN, a network in single-step mode, or another number of logits.
    """
    name = f"the student {shown(recipe.student)}"
    try:
        distiller = Distiller(None, student, {}, time_steps=recipe.time_steps, batch_first=True)
    except ValueError as error:
        if set(neuron_step_modes(student).values()) != {"s"}:
            raise
        raise ValueError(
            f"{name} is in single-step mode: let its function call functional.set_step_mode(network, 'm') before it "
            "returns the network"
        ) from error
    student.to(run.torch_device)
    images = torch.stack([data.test[0][0]] * 2).to(run.torch_device)
    try:
        with preserve_state(student):
            logits = distiller.eval().predict(images)
    except Exception as error:
        if has_neurons(student):
            raise
        raise ValueError(
            f"{name} is an ANN: it has no spiking neurons and does not take frames [T, N, C, H, W] "
            f"({str(error).partition(chr(10))[0]}); pass a spiking network in multi-step mode"
        ) from error
    if logits.shape[1] != data.num_classes:
        raise ValueError(
            f"{name} has {logits.shape[1]} outputs and the data {data.num_classes} classes: let its function take "
            "num_classes, and give the last layer as many outputs"
        )
