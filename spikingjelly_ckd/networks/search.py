"""Which layer of a network to compare.

A layer given by the user always wins. Without one, known SpikingJelly networks have a preset for their class name, and
any other network is run on a few images: of a student the last spiking layer that still has positions is chosen, of a
teacher the latest layer whose Grad-CAM varies over the image.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from torch import Tensor, nn

from ..errors.arguments import ArgumentValueError
from ..errors.checks import check_choice
from . import compat
from .candidates import blocks_around, spiking_kind
from .class_token import has_one_token
from .guards import outside_inference, preserve_state
from .layer import Layer
from .map_checks import NO_EVIDENCE
from .observing import Run
from .outputs import ROLES, Role
from .trial import Trial

__all__ = ["find_layer", "find_stages", "is_compiled"]

_PROBE_IMAGES = 4
_PROBE_AT_ONCE = 12


def find_layer(
    module: nn.Module,
    example: Tensor,
    *,
    role: Role | None = None,
    run: Run | None = None,
) -> Layer:
    """Choose the layer to compare, by running the network on a few images of ``example``.

    The network runs in eval mode. When this returns or raises, training flags, buffers and random state are as before,
    the states of spiking neurons are reset, no ``.grad`` was touched and no hook is left. For a student the choice is
    the preset of its class, else the last spiking neuron with positions, or a block that adds up spikes behind it. For
    a teacher it is the latest layer whose Grad-CAM for the top class is finite and varies over the image: in a ViT that
    classifies from its class token no gradient reaches the other tokens of the last block, so an earlier layer is
    chosen. ``passed_over`` of the result names the later layers that were refused.

    Args:
        module: the network, on the device of ``example``.
        example: what ``module.forward`` takes: images ``[N, C, H, W]`` or frames ``[T, N, C, H, W]``.
        role: ``"student"`` or ``"teacher"``; None is the student if the network has spiking neurons.
        run: how to run it, if not as ``module(example)``: such as once per time step.

    Returns:
        A :class:`Layer` with its layout, its prefix, the reason for it and what was passed over.

    Raises:
        TypeError: ``module`` is no module, or ``example`` no tensor.
        ValueError: wrong ``role`` or shape of ``example``, or no layer serves; the message lists the candidates and
            why each was refused.
        RuntimeError: no layer was seen running (as when the network was compiled before).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 6 * 6, 10))
        >>> find_layer(net, torch.rand(2, 3, 8, 8)).path
        '1'
    """
    trial = _begin(module, example, role, run)
    with preserve_state(module):
        module.eval()
        return _of_student(trial) if trial.role == "student" else _of_teacher(trial)


def find_stages(
    module: nn.Module,
    example: Tensor,
    *,
    role: Role | None = None,
    run: Run | None = None,
) -> tuple[Layer, ...]:
    """One layer for each size of map, shallow to deep: the last of that size that serves.

    For methods that compare several depths (AT, ReviewKD). A student's layers are spikes or the preset of its class, as
    for :func:`find_layer`; a teacher's are the ends of its blocks. The network is left as :func:`find_layer` leaves it.
    A network whose maps have one size throughout, such as a ViT, has one stage.

    Args:
        module: the network, on the device of ``example``.
        example: what ``module.forward`` takes: images ``[N, C, H, W]`` or frames ``[T, N, C, H, W]``.
        role: ``"student"`` or ``"teacher"``; None is the student if the network has spiking neurons.
        run: how to run it, if not as ``module(example)``.

    Returns:
        At least one :class:`Layer`.

    Raises:
        TypeError: ``module`` is no module, or ``example`` no tensor.
        ValueError: as :func:`find_layer`.
        RuntimeError: no layer was seen running.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 1), nn.ReLU(),
        ...     nn.Flatten(), nn.Linear(8 * 3 * 3, 10))
        >>> [layer.path for layer in find_stages(net, torch.rand(2, 3, 8, 8))]
        ['1', '4']
    """
    trial = _begin(module, example, role, run)
    with preserve_state(module):
        module.eval()
        return _of_stages(trial)


def _begin(module: nn.Module, example: Tensor, role: Role | None, run: Run | None) -> Trial:
    """Check the arguments of a search and cut the example to a few images."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
    if not isinstance(example, Tensor):
        raise TypeError(f"example must be a tensor [N, C, H, W] or [T, N, C, H, W], got {type(example).__name__}")
    if example.ndim not in (4, 5):
        raise ValueError(
            f"example must be images [N, C, H, W] or frames [T, N, C, H, W], got shape {tuple(example.shape)}"
        )
    if not example.numel():
        raise ValueError(f"example is empty: {tuple(example.shape)}; pass one image or more")
    if role is None:
        role = "student" if compat.has_neurons(module) else "teacher"
    check_choice("role", role, ROLES)
    if any(is_compiled(child) or has_one_token(child) for child in module.modules()):
        raise ValueError(
            "layers cannot be searched in a network with compiled parts or a last block for the class token alone: "
            f"the result would differ from the eager network's. Pass {role}_layer= or layers= (of a teacher from "
            "prepare_teacher: prepared.layer)"
        )
    if role == "teacher" and example.ndim != 4:
        raise ValueError(f"a teacher takes images, so example must be [N, C, H, W], got shape {tuple(example.shape)}")
    few = example[:, :_PROBE_IMAGES] if example.ndim == 5 else example[:_PROBE_IMAGES]
    if few.is_inference():
        with outside_inference():
            few = few.clone()
    return Trial(module, few, role, run)


def is_compiled(module: nn.Module) -> bool:
    """Whether ``module.compile()`` or ``torch.compile(module)`` was called.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> import torch
        >>> is_compiled(layer), is_compiled(torch.compile(layer))
        (False, True)
    """
    return getattr(module, "_compiled_call_impl", None) is not None or hasattr(module, "_orig_mod")


def _of_student(trial: Trial) -> Layer:
    """The preset of the class, else the last spikes that still have positions.

    Raises:
        RuntimeError: no layer was seen running.
        ValueError: no layer serves; the message lists the candidates and why each was refused.
    """
    ran = trial.watch()
    missed = ""
    for path, name in trial.presets(ran):
        layer = trial.confirmed(Layer(path, reason=f"preset of {name}{missed}"))
        if layer is not None:
            return trial.chosen(layer)
        missed = missed or f"; {path} does not serve at {trial.image_size[0]}x{trial.image_size[1]}"
    counts = Counter(len(seen.shapes) for path, seen in ran.items() if compat.is_neuron(trial.names[path]))
    usual = max(counts, key=lambda count: (count > 1, counts[count]), default=1)
    for path, seen in reversed(ran.items()):
        kind = spiking_kind(trial.names, path, seen)
        if kind is None:
            continue
        if trial.steps is None and len(seen.shapes) not in (1, usual):
            why = f"it ran {len(seen.shapes)} times, not once or {usual} times as other neurons"
            trial.refusals.add(path, seen.shapes, why)
            continue
        layer = trial.confirmed(Layer(path, reason=kind + missed))
        if layer is not None:
            return trial.chosen(layer)
    if not compat.has_neurons(trial.module):
        raise ArgumentValueError(
            "",
            f"{type(trial.module).__name__} has no neuron of SpikingJelly, so nothing tells which of its layers spike; "
            "pass {remedy} with the path of one in named_modules()",
            remedy={"student_layer": "path"},
        )
    raise trial.failure("no layer with spikes and more than one position", "student_layer")


def _of_teacher(trial: Trial) -> Layer:
    """The latest layer whose Grad-CAM for the top class varies over the image.

    Raises:
        RuntimeError: no layer was seen running.
        ValueError: no layer serves; the message lists the candidates and why each was refused.
    """
    ran = trial.watch()
    candidates = trial.with_positions(ran)
    negative: list[Layer] = []
    for start in range(0, len(candidates), _PROBE_AT_ONCE):
        for layer, why in trial.judged(candidates[start : start + _PROBE_AT_ONCE]):
            shapes, around = ran[layer.path].shapes, blocks_around(trial.names, layer.path)
            block = next((other.path for other in negative if other.path in around), None)
            if why is not None:
                trial.refusals.add(layer.path, shapes, why)
            elif block is not None:
                trial.refusals.add(layer.path, shapes, f"it is inside {block!r}: {NO_EVIDENCE}", "put off")
            else:
                latest = layer is candidates[0]
                reason = "last layer with a map" if latest else "latest layer with a varying map"
                return trial.chosen(replace(layer, grid=None, reason=reason))
            if why == NO_EVIDENCE:
                negative.append(layer)
    if negative:
        # the map varies, but for these few images all of it speaks against their top class; the step checks each
        reason = "last layer with a map, all negative for the example"
        return trial.chosen(replace(negative[0], grid=None, reason=reason))
    raise trial.failure("no layer whose Grad-CAM for the top class varies over the image", "teacher_layer")


def _of_stages(trial: Trial) -> tuple[Layer, ...]:
    """The last layer that serves at each size of map, shallow to deep.

    Raises:
        RuntimeError: no layer was seen running.
        ValueError: no layer serves; the message lists the candidates and why each was refused.
    """
    found: dict[tuple[int, int], Layer] = {}
    ran = trial.watch()
    presets = trial.presets(ran) if trial.role == "student" else []
    candidates = [(path, f"preset of {name}") for path, name in presets]
    candidates += [(path, kind) for path, seen in reversed(ran.items()) if (kind := trial.kind(path, seen))]
    for path, kind in candidates:
        seen = ran[path]
        layer = trial.readable(Layer(path, reason=kind), seen.shapes)
        if layer is None or trial.size_of(layer, seen) in found:
            continue
        confirmed = trial.confirmed(layer)
        if confirmed is not None:
            found[trial.size_of(layer, seen)] = confirmed
    if not found:
        raise trial.failure("no layer with more than one position")
    largest_first = sorted(found.items(), key=lambda item: -item[0][0] * item[0][1])
    paths = [layer.path for layer in found.values()]
    return tuple(
        trial.chosen(replace(layer, reason=f"{layer.reason}, {h}x{w}"), others=paths) for (h, w), layer in largest_first
    )
