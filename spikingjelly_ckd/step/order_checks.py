"""Checks that the student's outputs have the order in which they are read: time steps, images, positions.

Where shapes do not tell the order, the network runs on images of which a part was changed. The outputs that change with
it must be those that are read as that part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..networks import compat
from ..networks.guards import firing, preserve_state
from ..networks.layer import Layer
from ..networks.map_checks import halves_changed, own_half
from ..networks.recording import record
from .batch import Batch
from .student_observer import StudentObserver

__all__ = ["check_places", "check_positions"]

_OWN_HALF = 0.6
"""Share of a change in one half of the image that must be in that half of a map of tokens; about 0.5 by chance."""
_CLEARLY = 0.2
"""A map is taken to have its channels last if this share is larger by so much when it is read like that."""


def check_places(observer: StudentObserver, network: nn.Module, batch: Batch) -> None:
    """Raise if the outputs have the batch in front of time, where shapes do not tell which axis is time.

    That is so where time and batch are folded into one axis, or are equal. The network runs twice, the second time with
    another first image: only the first image of every time step may change. The network is left as it was found.

    Args:
        observer: of the student, with its layers chosen.
        network: the student.
        batch: its input.

    Raises:
        ValueError: a layer or the output has the batch in front of time.
    """
    layers = {layer for of in observer.layers.values() for layer in of}
    by_shape = batch.steps not in (None, batch.size) and batch.size > 1
    if batch.steps == 1 or (by_shape and all((layer.layout or "").startswith("T") for layer in layers)):
        return
    axis = batch.images.ndim - 4
    if batch.size == 1:
        batch = replace(batch, images=torch.cat([batch.images, batch.images], axis), size=2)
        try:
            with preserve_state(network), torch.no_grad():
                observer.run(network.eval(), observer.inputs(batch))
        except Exception:  # it is made for one image
            return
    first, rest = batch.images.narrow(axis, 0, 1), batch.images.narrow(axis, 1, batch.size - 1)
    other = replace(batch, images=torch.cat([1 - first.flip(-1), rest], axis))
    before, after = (_read_all(observer, network, layers, each) for each in (batch, other))
    if any(torch.equal(tensor, after[name]) for name, tensor in before.items()):  # no neuron fires yet
        with preserve_state(network), torch.no_grad():
            _settle_norms(observer, network, batch)
            before, after = (_read_all(observer, network, layers, each) for each in (batch, other))
    for name, tensor in before.items():
        steps, size = tensor.shape[:2]
        moved = (tensor != after[name]).flatten(2).any(2)
        places = moved.flatten().nonzero().flatten()  # t * N + n; of [N, T], the first image has those below T
        if moved[:, 1:].any() and bool((places < steps).all()):
            raise ValueError(
                f"the student's {name} has the batch in front of time, [N, T, ...] or both folded into one axis in "
                f"that order, and would be read as {steps} time steps of {size} images, with images mixed: let it "
                "return [T, N, ...]"
            )


def check_positions(observer: StudentObserver, network: nn.Module, batch: Batch) -> None:
    """Raise if the positions of a map are not those of the image, where shapes do not tell.

    Tokens can be in another order than row by row, and channels can be last where all three axes have one size. The
    network runs on images of which one half was changed, and most of the change must be in that half of the map. It is
    left as it was found.

    Args:
        observer: of the student, with its layers chosen.
        network: the student.
        batch: what it takes.

    Raises:
        ValueError: a layer is read in another order than it has.
    """
    shapes = observer.shapes(network, {layer for of in observer.layers.values() for layer in of}, batch)
    layouts = _layouts(observer)
    doubtful = [
        layer for layer, shape in shapes.items() if not layouts[layer].endswith("HW") or len(set(shape[2:])) == 1
    ]
    axis = batch.images.ndim - 4
    with preserve_state(network):  # the caller's random numbers too
        images = halves_changed(batch.images, axis)
    halved = replace(batch, images=images, labels=None, size=images.shape[axis])
    try:
        seen = _read_all(observer, network, doubtful, halved) if doubtful else {}
    except Exception:  # it is made for one number of images
        return
    layouts = _layouts(observer)
    for layer in doubtful:
        read, layout = seen[f"layer {layer.path!r}"].transpose(0, 1), layouts[layer]
        share = own_half(read.flatten(1, 2))
        channels_last = own_half(read.movedim(-1, 2).flatten(1, 2)) if layout.endswith("HW") else 0.0
        if channels_last > share + _CLEARLY or (share < _OWN_HALF and not layout.endswith("HW")):
            raise ValueError(
                f"the student's layer {layer.path!r} was read as {layout}, and a change in one half of the image "
                "does not show in that half of such a map, so its positions are not those of the image, row by "
                "row: pass student_layer=Layer(path, layout=..., prefix=...) or another layer"
            )


def _layouts(observer: StudentObserver) -> dict[Layer, str]:
    """Each layer -> the layout in which it was last read; empty where none is known."""
    return {
        layer: read.layout or ""
        for name, layers in observer.layers.items()
        for layer, read in zip(layers, observer.as_read(name), strict=True)
    }


def _settle_norms(observer: StudentObserver, network: nn.Module, batch: Batch) -> None:
    """Take the statistics of BatchNorm from a batch, so that also neurons of unknown classes fire.

    SyncBatchNorm stays as it is, since not every process has to get here.
    """
    for module in network.eval().modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
            module.train()
            module.momentum = 1.0
    try:
        observer.run(network, observer.inputs(batch))
    except ValueError:  # one value for each channel has no statistics
        return
    finally:
        compat.reset(network)


def _read_all(
    observer: StudentObserver, network: nn.Module, layers: Iterable[Layer], batch: Batch
) -> dict[str, Tensor]:
    """Name -> the values of a layer, or of the output, for every time step and image, ``[T, N, ...]``."""
    with preserve_state(network), firing(network), torch.no_grad():
        with record(network.eval(), {layer.path for layer in layers}) as seen:
            logits = observer.logits(network, batch)
        found = {
            f"layer {layer.path!r}": observer.arranged(network, layer, seen.calls(layer.path), batch)
            for layer in layers
        }
    return found if logits.steps is None else found | {"output": logits.steps}
