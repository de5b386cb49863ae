"""Which layers of two networks a loss compares, where the user names none or those of one side."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import nn

from ..methods.base import LayerChoice
from ..networks.layer import Layer
from ..networks.search import find_layer, find_stages
from .batch import Batch
from .observer import Observer

__all__ = ["Searched", "Side", "choose_alone", "choose_pair"]

Side = tuple[Layer, ...]
"""Layers of one network."""


class Searched:
    """One network with its observer, on the batch that layers are chosen on."""

    def __init__(self, observer: Observer, network: nn.Module, batch: Batch) -> None:
        self.observer, self.network, self.batch = observer, network, batch
        self._found: dict[bool, Side] = {}

    def find(self, *, stages: bool) -> Side:
        """The layers of all stages, or the one that serves best, without grids, which follow the size of the input.

        Args:
            stages: one layer for each size of map, in place of the one that serves best.
        """
        if stages not in self._found:
            inputs, role, run = self.observer.inputs(self.batch), self.observer.role, self.observer.run
            if stages:
                found = find_stages(self.network, inputs, role=role, run=run)
            else:
                found = (find_layer(self.network, inputs, role=role, run=run),)
            self.batch.check_kept(role)
            self._found[stages] = tuple(replace(layer, grid=None) for layer in found)
        return self._found[stages]

    def positions(self, layers: Side) -> list[int]:
        """How many positions the map of each layer has.

        Args:
            layers: of this network.
        """
        shapes = self.observer.shapes(self.network, layers, self.batch)
        return [shapes[layer][-2:].numel() for layer in layers]


def choose_alone(name: str, choice: LayerChoice, student: Searched) -> Side:
    """The layers of a loss that reads the student's alone.

    Args:
        name: of the loss.
        choice: of the loss.
        student: the network that is searched.
    """
    given = student.observer.given[name]
    if given is not None:
        return given
    found = student.find(stages=choice != "last")
    return (found[(len(found) - 1) // 2],) if choice == "middle" else found


def choose_pair(name: str, choice: LayerChoice, student: Searched, teacher: Searched) -> None:
    """Set the layers of one loss on both sides.

    Args:
        name: of the loss.
        choice: of the loss.
        student: whose layers are set.
        teacher: likewise.
    """
    given = student.observer.given[name], teacher.observer.given[name]
    ours, theirs = (
        side.find(stages=choice != "last") if layers is None else layers
        for side, layers in zip((student, teacher), given, strict=True)
    )
    if choice != "last" and given == (None, None):
        ours, theirs = _deepest(choice, ours, theirs)
    elif choice != "last" and given[0] is None:
        ours = _nearest(name, (student, ours), (teacher, theirs))
    elif choice != "last" and given[1] is None:
        theirs = _nearest(name, (teacher, theirs), (student, ours))
    student.observer.layers[name], teacher.observer.layers[name] = ours, theirs


def _deepest(choice: LayerChoice, student: Side, teacher: Side) -> tuple[Side, Side]:
    """As many stages on both sides, the deepest; or the middle one of them."""
    count = min(len(student), len(teacher))
    if choice == "stages":
        return student[-count:], teacher[-count:]
    middle = (count - 1) // 2
    return (student[-count:][middle],), (teacher[-count:][middle],)


def _nearest(name: str, searched: tuple[Searched, Side], given: tuple[Searched, Side]) -> Side:
    """For each layer given on one side, the stage of the other whose map is nearest in size."""
    side, stages = searched
    sizes = side.positions(stages)
    apart = [[abs(math.log(one / size)) for one in sizes] for size in given[0].positions(given[1])]
    nearest = tuple(stages[each.index(min(each))] for each in apart)
    if len(set(nearest)) < len(nearest):
        raise ValueError(
            f"layers[{name!r}] names {len(nearest)} layers of one side, and two of them are nearest in size to one "
            f"stage of the {side.observer.role}; its stages are {[stage.path for stage in stages]}: name the layers of "
            "both sides"
        )
    return nearest
