"""Observers: each runs one network of a step once and collects what the losses need.

An observer knows which layers each loss compares and how their tensors are read. It holds no network and no loss: the
network is an argument, so that a copy, an average or a converted network cannot be confused with another.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Size, Tensor, nn

from ..methods.signals import LinearHead
from ..networks.guards import preserve_state
from ..networks.heads import find_head
from ..networks.layer import Layer
from ..networks.observing import ObservedForward, observe_forward
from ..networks.outputs import Role
from ..networks.reading import arrange, resolve
from ..networks.recording import get_layer, record
from .batch import Batch
from .output import LayerTensors
from .validate import add_note_on_error

__all__ = ["GivenLayers", "Observer", "target_classes"]

GivenLayers = Mapping[str, tuple[Layer, ...] | None]
"""Name of each loss that compares layers -> those that the user named on one side; None where they are to be found."""


class Observer:
    """What both sides share: layers by loss, how they are read, and gradients of a class score at them.

    Args:
        given: layers that the user named.
        cam_targets: name of each loss that asks for gradients -> whose class they are of, ``"teacher"`` or ``"label"``.
        head: whether a loss applies the network's last linear layer.

    Attributes:
        layers: name of each loss -> its layers, once they are chosen.
        head_path: of the last linear layer, once it was looked for.
        wants_head: whether a loss applies it.
    """

    role: ClassVar[Role]

    def __init__(self, given: GivenLayers, cam_targets: Mapping[str, str], *, head: bool) -> None:
        self.given = given
        self.cam_targets = cam_targets
        self.layers: dict[str, tuple[Layer, ...]] = {}
        self.head_path: str | None = None
        self.wants_head = head
        self._resolved: dict[Any, Layer] = {}

    def inputs(self, batch: Batch) -> Tensor:
        """What the network takes of a batch.

        Args:
            batch: in the package's axes.
        """
        raise NotImplementedError

    def run(self, network: nn.Module, inputs: Tensor) -> Any:
        """What the network returns, with a note on whatever it raises.

        Args:
            network: of this side.
            inputs: of :meth:`inputs`.
        """
        raise NotImplementedError

    def as_read(self, name: str) -> tuple[Layer, ...]:
        """The layers of the loss called ``name``, with the layouts in which they were last read.

        Args:
            name: of a loss that compares layers.
        """
        return tuple(self._resolved.get(layer, layer) for layer in self.layers[name])

    def chosen(self) -> dict[str, Any]:
        """Everything that was chosen on the first batch, as plain data for a checkpoint or a record."""
        return {
            # a grid that was found follows the size of the input, so only one that the user gave is kept
            "layers": {
                name: [
                    replace(read, grid=layer.grid).to_json()
                    for layer, read in zip(layers, self.as_read(name), strict=True)
                ]
                for name, layers in self.layers.items()
            },
            "head": self.head_path,
        }

    def restore(self, chosen: Mapping[str, Any]) -> None:
        """Use what :meth:`chosen` gave in another run; layers that the user named here stay.

        Args:
            chosen: plain data.
        """
        for name, layers in chosen["layers"].items():
            saved, given = tuple(Layer.from_json(layer) for layer in layers), self.given[name]
            if given is not None and [x.path for x in given] != [x.path for x in saved]:
                warnings.warn(
                    f"the {self.role}'s saved layers of {name!r} are {[x.path for x in saved]}; those named here are "
                    f"used: {[x.path for x in given]}",
                    stacklevel=2,
                )
            self.layers[name] = saved if given is None else given
        self.head_path = chosen["head"]

    def check_loaded(self, network: nn.Module) -> None:
        """Raise if a layer that was loaded is not in the network.

        Args:
            network: of this side.

        Raises:
            ValueError: the message names the layer and the nearest ones.
        """
        with add_note_on_error(
            f"the loaded state names this layer of the {self.role}: was it saved with another network?"
        ):
            for path in self._chosen_paths():
                get_layer(network, path)

    def shapes(self, network: nn.Module, layers: Iterable[Layer], batch: Batch) -> dict[Layer, Size]:
        """The shapes of these layers in the losses' axes, for such a batch; the network is left as it was found.

        Args:
            network: of this side.
            layers: in it.
            batch: on which it runs.
        """
        with preserve_state(network), torch.no_grad():
            with record(network.eval(), {layer.path for layer in layers}) as seen:
                self.run(network, self.inputs(batch))
            batch.check_kept(self.role)
            return {layer: self.arranged(network, layer, seen.calls(layer.path), batch).shape for layer in layers}

    def arranged(self, network: nn.Module, layer: Layer, calls: Sequence[Tensor], batch: Batch) -> Tensor:
        """What a layer returned, in the losses' axes; its layout is determined once for each shape.

        Args:
            network: of this side.
            layer: as it was given or chosen.
            calls: every output of it in one forward.
            batch: on which the network ran.
        """
        steps = self._steps(batch)
        key = (layer, len(calls), calls[0].shape, steps, batch.size, batch.image_size)
        if key not in self._resolved:
            size = self.inputs(batch).shape
            found = resolve(
                layer,
                network,
                calls,
                role=self.role,
                steps=steps,
                batch=batch.size,
                image_size=(size[-2], size[-1]),
            )
            self._resolved[key] = self._resolved[layer] = found
        return arrange(calls, self._resolved[key], role=self.role, steps=steps, batch=batch.size)

    def _observe(
        self, network: nn.Module, inputs: Tensor, batch: Batch, more_paths: Collection[str] = (), **how: Any
    ) -> ObservedForward:
        seen = observe_forward(
            network,
            inputs,
            [*self._paths(self.layers), *more_paths],
            run=self.run,
            role=self.role,
            batch=batch.size,
            cam_paths=self._paths(self.cam_targets),
            **how,
        )
        batch.check_kept(self.role)
        return seen

    def _chosen_paths(self) -> list[str]:
        return [*self._paths(self.layers), *([] if self.head_path is None else [self.head_path])]

    def _paths(self, names: Iterable[str]) -> list[str]:
        return [layer.path for name in names for layer in self.layers[name]]

    def _features(self, network: nn.Module, seen: ObservedForward, batch: Batch) -> LayerTensors:
        return {
            name: tuple(self.arranged(network, x, seen.recording.calls(x.path), batch) for x in layers)
            for name, layers in self.layers.items()
        }

    def _gradients(self, network: nn.Module, seen: ObservedForward, batch: Batch) -> LayerTensors:
        """Zeros where the class score does not depend on a call of the layer."""
        return {
            name: tuple(self.arranged(network, x, seen.gradients_at(target, x.path), batch) for x in self.layers[name])
            for name, target in self.cam_targets.items()
        }

    def _steps(self, batch: Batch) -> int | None:
        return None

    def _head(self, network: nn.Module, classes: int) -> LinearHead | None:
        if not self.wants_head:
            return None
        if self.head_path is None:
            self.head_path = find_head(network, classes, role=self.role)
        return LinearHead.at(network, self.head_path)


def target_classes(logits: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
    """Class index of each image, ``[N, 1]``: ``"teacher"``, its top-1 class, and ``"label"``.

    Args:
        logits: the teacher's, ``[N, K]``.
        labels: ``[N]`` or ``[N, K]``; without any, or where one is out of range (images that the task loss ignores),
            both are the teacher's top-1 class.
    """
    first = logits.argmax(1, keepdim=True)
    if labels is None:
        return {"teacher": first, "label": first}
    if labels.ndim == 2:
        return {"teacher": first, "label": labels.argmax(1, keepdim=True)}
    own, known = labels.unsqueeze(1), (labels >= 0) & (labels < logits.shape[1])
    return {"teacher": first, "label": torch.where(known.unsqueeze(1), own, first)}
