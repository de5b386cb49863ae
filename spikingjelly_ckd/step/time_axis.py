"""Checks for modules of a student that confuse the time axis with the batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..networks import compat
from ..networks.guards import preserve_state
from ..networks.recording import watch
from ..networks.search import is_compiled

__all__ = ["check_own_time_axis", "check_step_modes"]

_SECOND_AXIS = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LocalResponseNorm,
    nn.CrossMapLRN2d,
    nn.ChannelShuffle,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.FeatureAlphaDropout,
)


def check_step_modes(
    network: nn.Module, frames: Tensor, steps: int, batch: int, *, run: Callable[[nn.Module, Tensor], Any]
) -> None:
    """Raise if a module treats the time axis as part of the batch.

    Looked at are modules with a step mode of SpikingJelly that are in single-step mode, and layers of PyTorch that take
    the second axis for channels (normalisations, ``Dropout2d``). A module that the network calls once a time step is no
    error, and neither is a layer that treats every entry of the leading axes alike (``Linear``, activations). Where
    ``frames`` are images repeated over time, multi-step neurons are looked at too: a student that repeats what it gets
    would run ``T`` times as many steps. Only a network that has such modules is run, in eval mode; it is left as it was
    found.

    Args:
        network: the student, in multi-step mode.
        frames: what it takes.
        steps: ``T``.
        batch: ``N``.
        run: how to run it.

    Raises:
        ValueError: a module does, and the message names it; or all neurons see a multiple of ``steps``.

    Example:
        >>> from spikingjelly.activation_based import neuron
        >>> network = nn.Sequential(neuron.IFNode(step_mode="m"))
        >>> check_step_modes(network, torch.zeros(2, 1, 3), 2, 1, run=lambda network, frames: network(frames))
    """
    single, multi = _in_doubt(network, steps), set[str]()
    if steps > 1 and frames.stride(0) == 0 and not any(map(is_compiled, network.modules())):
        multi = {path for path, mode in compat.neuron_step_modes(network).items() if mode == "m"}
    if not (single or multi) or steps == batch == 1:
        return
    seen = _shapes(network, frames, run)
    _check_repeated_once(multi, seen, steps, batch)
    for path, shapes in seen.items():
        if path not in single or len(shapes) > 1:
            continue
        module, shape = single[path], shapes[0]
        flattened = shape[:1] == (steps * batch,) and compat.keeps_state(module)
        if shape[:2] == (steps, batch) or flattened:
            raise ValueError(_taken_for_images(path, module, steps))


def _check_repeated_once(
    multi: Collection[str], seen: Mapping[str, Sequence[torch.Size]], steps: int, batch: int
) -> None:
    """Raise if every multi-step neuron got more time steps than there are, a multiple of them."""
    lengths = {shape[0] for path in multi for shape in seen.get(path, ()) if shape[1:2] == (batch,)}
    if len(lengths) == 1 and lengths != {steps} and max(lengths) % steps == 0:
        raise ValueError(
            f"the student repeats by itself what it gets, and got images that were repeated {steps} times already, so "
            f"that its neurons run {lengths.pop()} time steps: pass student_steps='internal', which gives it the images"
        )


def check_own_time_axis(
    network: nn.Module, images: Tensor, steps: int | None, batch: int, *, run: Callable[[nn.Module, Tensor], Any]
) -> None:
    """Raise if a student that takes images, and keeps time itself, has modules that confuse time steps and images.

    These are multi-step neurons that get images without a time axis, which they take for time steps of one, and modules
    in single-step mode that get all time steps in one call (see :func:`check_step_modes`). The network runs with two
    numbers of images, which tell which axis is the batch, and is left as it was found. Where it runs with one number
    only and the first two axes are alike, nothing can be said.

    Args:
        network: the student, which takes ``[N, C, H, W]``.
        images: what it takes.
        steps: ``T`` as it was given; None where nothing was said.
        batch: ``N``.
        run: how to run it.

    Raises:
        ValueError: a module does, or all multi-step neurons see another number of time steps than ``steps``.

    Example:
        >>> from spikingjelly.activation_based import neuron
        >>> network = nn.Sequential(neuron.IFNode(step_mode="m"))
        >>> check_own_time_axis(network, torch.zeros(3, 2, 4, 4), 4, 3, run=lambda network, images: network(images))
        Traceback (most recent call last):
        ValueError: the student's IFNode '0' is in multi-step mode and got (3, 2, 4, 4), images without a time axis: it
        takes the 3 images of the batch for time steps. Let the network repeat them, [T, N, ...], or put its neurons in
        single-step mode
    """
    multi = {path for path, mode in compat.neuron_step_modes(network).items() if mode == "m"}
    single = _in_doubt(network, steps)
    if not multi and not single:
        return
    runs = [(batch, _shapes(network, images, run))]
    others = images[1:] if batch > 1 else torch.cat([images, images])
    try:
        runs.append((len(others), _shapes(network, others, run)))
    except Exception:  # it is made for one number of images
        if batch == 1:
            return
    own: set[int] = set()
    for path, shapes in runs[0][1].items():
        leads = [_is_batch(axis, path, runs) for axis in (0, 1)]
        if path in multi and leads == [True, False]:
            size, seen = max(runs, key=lambda one: one[0])
            raise ValueError(
                f"the student's {type(network.get_submodule(path)).__name__} {path!r} is in multi-step mode and got "
                f"{tuple(seen[path][0])}, images without a time axis: it takes the {size} images of the batch for time "
                "steps. Let the network repeat them, [T, N, ...], or put its neurons in single-step mode"
            )
        if path in multi and leads == [False, True]:
            own |= {shape[0] for shape in shapes}
        if path not in single or len(shapes) > 1:
            continue
        module, found = single[path], shapes[0][0] if leads == [False, True] else None
        flattened = steps not in (None, 1) and shapes[0][0] == steps * batch and compat.keeps_state(module)
        if flattened or (found is not None and (found > 1 or _takes_second_axis(module))):
            raise ValueError(_taken_for_images(path, module, found or steps or 1))
    if steps is not None and len(own) == 1 and own != {steps}:
        raise ValueError(f"the student runs {own.pop()} time steps, and time_steps is {steps}: pass what it has")


def _is_batch(axis: int, path: str, runs: Sequence[tuple[int, dict[str, list[torch.Size]]]]) -> bool:
    """Whether an axis of every output of a module has the size of the batch, whatever that is."""
    return all(path in seen and all(shape[axis : axis + 1] == (size,) for shape in seen[path]) for size, seen in runs)


def _shapes(network: nn.Module, inputs: Tensor, run: Callable[[nn.Module, Tensor], Any]) -> dict[str, list[torch.Size]]:
    """Path -> the shapes that a module returned in one forward in eval mode; the network is left as it was found."""
    seen: dict[str, list[torch.Size]] = {}
    with (
        preserve_state(network),
        torch.no_grad(),
        watch(network.eval(), lambda path, output: seen.setdefault(path, []).append(output.shape)),
    ):
        run(network, inputs)
    return seen


def _in_doubt(network: nn.Module, steps: int | None) -> dict[str, nn.Module]:
    """Modules that may take a time axis for the batch: in single-step mode, or PyTorch's with channels second."""
    found = {
        path: module
        for path, module in network.named_modules()
        if _takes_second_axis(module) or (steps != 1 and compat.is_in_single_step_mode(module))
    }
    for path in compat.inside_containers(network):
        found.pop(path, None)
    return found


def _takes_second_axis(module: nn.Module) -> bool:
    """Whether it is PyTorch's own and takes the second axis for channels, or mixes the leading axes."""
    if isinstance(module, nn.PReLU):
        return module.num_parameters > 1
    return isinstance(module, _SECOND_AXIS) and not hasattr(module, "step_mode")


def _taken_for_images(path: str, module: nn.Module, steps: int) -> str:
    kind = type(module).__name__
    if not _takes_second_axis(module):
        what = "neuron" if compat.is_neuron(module) else kind
        return (
            f"the student's {what} {path!r} is in single-step mode and got all {steps} time steps in one call, as if "
            "they were images: call functional.set_step_mode(student, 'm')"
        )
    made = ""
    if isinstance(module, nn.SyncBatchNorm):
        made = (
            " (convert_sync_batchnorm, or sync_batchnorm=True of Lightning, puts it in place of SpikingJelly's layer)"
        )
    return (
        f"the student's {kind} {path!r} is PyTorch's own{made} and got [T, N, ...], so it takes the images of a batch "
        "for channels: use spikingjelly.activation_based.layer's, or put it into a layer.SeqToANNContainer"
    )
