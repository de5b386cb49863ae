"""A teacher prepared for inference: it is never trained, so its forward can be made cheaper."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from .errors.checks import check_flag, check_non_negative
from .functional.maps import grad_cam
from .networks.class_token import has_one_token
from .networks.guards import outside_inference
from .networks.layer import Layer, LayerSpec
from .networks.observing import observe_forward
from .networks.outputs import Logits, read_logits
from .networks.reading import arrange, resolve
from .networks.recording import converts_input, get_layer, listen
from .networks.search import find_layer
from .networks.variants import blocks_beside, cheaper_variants
from .step.arguments import read_side
from .step.batch import read_batch
from .step.network_arguments import NO_DATA_PARALLEL
from .step.validate import add_note_on_error, input_violations

__all__ = ["PreparedTeacher", "prepare_teacher"]

TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.02}
"""Largest error of logits and class maps that is accepted, by the type of the prepared network."""
ROUNDS = 5
"""Forwards that are timed."""
FAINT = 0.05
"""Class maps with a range below this share of the largest one are compared on this share of the largest range."""
_TOP = "top class"


@dataclass(frozen=True)
class PreparedTeacher:
    """A teacher for inference, with its errors and its gain in speed; ``print`` it.

    Attributes:
        network: to pass to the distiller, with ``teacher_layer=prepared.layer``. Layers keep their paths.
        layer: where its class maps were compared, and where a distiller with SAMD takes them.
        done: what was changed, in words; empty where ``network`` is the original teacher. The figures below are then
            None.
        left_out: why something that was asked for was not done.
        logit_error: of the example's logits, ``|difference| / |logits - their mean over the classes|`` (Euclidean).
        map_error: largest difference of the example's class maps, as a share of the range of the eager map.
        agreement: share of the example's images with the same first choice.
        seconds: of one forward of the example, before and after, median of five.
        accuracy: on the held-out batches, percent, before and after; None without them.

    Example:
        >>> from spikingjelly_ckd.recipes.models import resnet8
        >>> prepared = prepare_teacher(resnet8(10), torch.rand(4, 3, 16, 16), channels_last=True)
        >>> prepared.done, prepared.agreement  # then teacher_layer=prepared.layer
        (('channels_last',), 1.0)
    """

    network: nn.Module
    layer: Layer
    done: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    logit_error: float | None = None
    map_error: float | None = None
    agreement: float | None = None
    seconds: tuple[float, float] | None = None
    accuracy: tuple[float, float] | None = None

    def __str__(self) -> str:
        lines = [f"teacher: {', '.join(self.done) or 'as it was'}; class maps at {self.layer.path!r}"]
        if self.seconds is not None and self.agreement is not None:
            before, after = self.seconds
            lines.append(
                f"  a forward {1000 * before:.1f} ms -> {1000 * after:.1f} ms; logits off by {self.logit_error:.1e}, "
                f"class maps by {self.map_error:.1e}, first choice the same for {100 * self.agreement:.1f} %"
            )
        if self.accuracy is not None:
            lines.append(f"  held-out accuracy {self.accuracy[0]:.2f} % -> {self.accuracy[1]:.2f} %")
        return "\n".join([*lines, *(f"  left out: {reason}" for reason in self.left_out)])


@dataclass(frozen=True)
class _Eager:
    """Outputs of the original teacher on the example, and the seconds that it takes."""

    logits: Tensor
    maps: Tensor
    shapes: Mapping[str, list[Any]]
    seconds: float


def prepare_teacher(
    teacher: nn.Module,
    example: Tensor,
    *,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = True,
    class_token: bool = True,
    fold_norms: bool = False,
    compile: bool = False,  # torch's own word for it
    layers: LayerSpec | Sequence[LayerSpec] | None = None,
    held_out: Iterable[tuple[Tensor, Tensor]] | None = None,
    tolerance: float | None = None,
    max_drop: float = 0.5,
) -> PreparedTeacher:
    """A copy of a frozen teacher whose forward is cheaper.

    The copy can have another memory format, half precision and compiled blocks. In a ViT of timm or torchvision that
    classifies from its class token, the last block computes that token alone. BatchNorm can be folded into the
    convolutions in front of it.

    Every change is checked. Logits and class maps of the example are compared with the original teacher's. If they
    differ by more than ``tolerance``, or the held-out accuracy falls by more than ``max_drop`` points, fewer changes
    are tried; if none can be made, the original teacher is returned, and ``left_out`` says why. Whether a forward is
    faster depends on the machine: see ``seconds``.

    The layers that will be recorded keep their hooks and shapes: blocks that hold one of them are not compiled as a
    whole, what is inside is. A distiller that records other layers than these says that a layer did not run or has one
    position only. In a network with compiled blocks or a class token alone no layers can be searched: hand
    ``prepared.layer`` and what is in ``layers`` to the distiller.

    A prepared network keeps the types that it was prepared in: ``distiller.float()`` or ``.to(torch.bfloat16)`` change
    the student, and move the teacher only to another device.

    Args:
        teacher: a classifier that is not compiled and has a layer for class maps. It is left as it is, but for ``eval``
            and frozen parameters.
        example: images ``[N, C, H, W]`` as the teacher takes them (after ``teacher_input``), real ones if possible.
        dtype: of weights and computation. ``torch.float32`` changes none; ``torch.bfloat16`` is faster where the CPU or
            GPU supports it (docs/speed.md); ``torch.float16`` is for GPUs. BatchNorm keeps its parameters in fp32.
        channels_last: put images and convolutions into that memory format.
        class_token: let the last block of a ViT compute its class token alone, where no other is recorded.
        fold_norms: fold each BatchNorm, in fp32, into the convolution that is defined in front of it, where neither is
            recorded. In half precision the folded weights are rounded.
        compile: ``torch.compile`` for every block in front of and behind the recorded layers. The first forward of each
            input shape then takes from seconds to minutes.
        layers: what will be recorded (paths, layers or modules of ``teacher``), beside the layer that
            :func:`~spikingjelly_ckd.find_layer` finds.
        held_out: batches ``(images, labels [N])`` that the teacher was not trained on.
        tolerance: of logits and maps; None is 1e-3 in fp32, 0.05 in bf16 and 0.02 in fp16.
        max_drop: points of held-out accuracy that may be lost.

    Returns:
        A :class:`PreparedTeacher`; its ``network`` takes images of any floating type and is used as any teacher.

    Raises:
        TypeError: ``teacher`` is no module, ``example`` no floating tensor, an option is no bool, or ``held_out`` holds
            something else than pairs of tensors or can be iterated only once.
        ValueError: another type than the three, a layer that does not exist, a teacher that is compiled or prepared
            already, an example with NaN or of one value throughout, or invalid held-out images or labels.
        Exception: whatever the teacher raises on the example, with a note.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> teacher = nn.Sequential(
        ...     nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
        >>> prepared = prepare_teacher(teacher, torch.rand(4, 3, 16, 16), dtype=torch.bfloat16)
        >>> prepared.done
        ('channels_last', 'bfloat16')
        >>> prepared.network[0].weight.dtype
        torch.bfloat16
    """
    _check_eager(teacher)
    _check_example(example)
    flags = {"channels_last": channels_last, "class_token": class_token, "fold_norms": fold_norms, "compile": compile}
    _check_options(dtype, flags, held_out)
    allowed = TOLERANCES[dtype] if tolerance is None else check_non_negative("tolerance", tolerance)
    check_non_negative("max_drop", max_drop)
    kept = {layer.path for layer in read_side(layers, teacher) or ()}
    teacher.eval().requires_grad_(False)
    with outside_inference():
        example = example.clone() if example.is_inference() else example
        note = (
            f"raised on the example {tuple(example.shape)}, which the teacher gets as it is. Class maps are compared, "
            "so a layer has to be found for them; a teacher that has none can be used unprepared"
        )
        with add_note_on_error(note):
            layer = find_layer(teacher, example, role="teacher")
        kept.add(layer.path)
        logits, maps, shapes = _logits_and_maps(teacher, example, layer, None, kept)
        eager = _Eager(logits, maps, shapes, _seconds(teacher, example))
        left_out: list[str] = []
        if compile and next(blocks_beside(teacher, kept), None) is None:
            left_out.append(f"compile: no block in front of or behind {', '.join(map(repr, sorted(kept)))}")
            compile = False
        variants = cheaper_variants(teacher, dtype, channels_last, class_token, compile, kept, folded=fold_norms)
        for network, done in variants:
            try:
                found = _compared(eager, network, example, layer)
                reason = _too_far(found, allowed)
            except Exception as error:  # whatever a compiler or a kernel in half precision raises
                reason = _first_line(error)
            if reason is None and held_out is not None:
                found, reason = _on_held_out(found, teacher, held_out, max_drop, example.device)
            if reason is None:
                return replace(found, done=tuple(done), left_out=tuple(left_out))
            left_out.append(f"{' + '.join(done)}: {reason}")
        return PreparedTeacher(teacher, layer, left_out=tuple(left_out))


def _check_options(dtype: torch.dtype, flags: Mapping[str, bool], held_out: object) -> None:
    if dtype not in TOLERANCES:
        raise ValueError(f"dtype must be one of {', '.join(map(str, TOLERANCES))}, got {dtype!r}")
    for name, flag in flags.items():
        check_flag(name, flag)
    if held_out is not None and (not isinstance(held_out, Iterable) or isinstance(held_out, Iterator)):
        raise TypeError(
            "held_out must be batches that can be iterated more than once, such as a list or a DataLoader, got "
            f"{type(held_out).__name__}"
        )


def _check_eager(teacher: nn.Module) -> None:
    if not isinstance(teacher, nn.Module):
        raise TypeError(f"teacher must be a torch.nn.Module, got {type(teacher).__name__}")
    for path, module in teacher.named_modules():
        if isinstance(module, nn.DataParallel):
            raise TypeError(f"the teacher is in nn.DataParallel. {NO_DATA_PARALLEL}")
        where = f"at {path!r}" if path else "as a whole"
        if module._compiled_call_impl is not None or hasattr(module, "_orig_mod"):
            raise ValueError(f"the teacher is compiled, {where}: pass the eager one, with compile=True")
        if has_one_token(module) or converts_input(module):
            raise ValueError(f"the teacher was prepared before, {where}: pass the eager one")


def _check_example(example: Tensor) -> None:
    if not isinstance(example, Tensor) or not example.is_floating_point():
        got = example.dtype if isinstance(example, Tensor) else type(example).__name__
        raise TypeError(f"example must be a floating tensor of images [N, C, H, W], got {got}")
    if example.ndim != 4 or not example.numel():
        raise ValueError(f"example must hold images [N, C, H, W], got shape {tuple(example.shape)}")
    if not example.isfinite().all():
        raise ValueError("example holds NaN or inf")
    if (example == example.flatten()[0]).all():
        raise ValueError("example has one value throughout, so no class map can be judged on it; pass real images")


def _too_far(found: PreparedTeacher, allowed: float) -> str | None:
    for name, error in (("logits", found.logit_error), ("class maps", found.map_error)):
        if error is None or not error <= allowed:  # not ``error > allowed``, which is False for NaN
            return f"{name} off by {error:.1e}, more than {allowed:.1e} (tolerance=)"
    return None


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


@torch.no_grad()
def _on_held_out(
    found: PreparedTeacher, teacher: nn.Module, batches: Iterable[Any], max_drop: float, device: torch.device
) -> tuple[PreparedTeacher, str | None]:
    """``found`` with the accuracy of both networks on the held-out images, and why it is refused (None: it is not).

    Invalid data and errors of the original teacher are raised; an error of the prepared network is a reason to refuse.
    """
    right, images = [0, 0], 0
    for pair in batches:
        batch, labels = _read_held_out(pair, device)
        for place, network in enumerate((teacher, found.network)):
            try:
                with add_note_on_error(
                    f"raised on held-out images {tuple(batch.shape)}, which the teacher gets as they are"
                ):
                    logits = read_logits(network(batch), role="teacher", size=len(batch)).mean
            except Exception as error:
                if network is teacher:
                    raise
                return found, f"on held-out images {_first_line(error)}"
            violations = [text for text, fault in input_violations(batch, labels, logits.shape[1]).items() if fault]
            if violations:
                raise ValueError(f"held_out: {violations[0]}")
            right[place] += int((logits.argmax(1) == labels).sum())
        images += len(batch)
    if not images:
        raise ValueError("held_out gave no batch (images, labels); it has to give them each time it is iterated")
    before, after = (100 * count / images for count in right)
    low = before - after > max_drop
    reason = f"held-out accuracy {before:.2f} % -> {after:.2f} % (max_drop=)" if low else None
    return replace(found, accuracy=(before, after)), reason


def _read_held_out(batch: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    pair = isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(item, Tensor) for item in batch)
    if not pair:
        got = [type(item).__name__ for item in batch] if isinstance(batch, tuple | list) else type(batch).__name__
        raise TypeError(f"held_out must hold batches (images, labels) of two tensors, got {got} in place of one")
    if batch[0].ndim != 4 or batch[1].ndim != 1:
        shapes = [tuple(item.shape) for item in batch]
        raise ValueError(f"held_out must hold batches (images [N, C, H, W], class indices [N]), got shapes {shapes}")
    with add_note_on_error("raised by a batch of held_out"):
        read = read_batch(batch[0].to(device), batch[1].to(device), time_steps=None, batch_first=False)
    return read.images, cast(Tensor, read.labels)


def _compared(eager: _Eager, network: nn.Module, example: Tensor, layer: Layer) -> PreparedTeacher:
    logits, maps, shapes = _logits_and_maps(network, example, layer, eager.logits, eager.shapes)
    for path, before in eager.shapes.items():
        if shapes[path] != before:
            raise ValueError(f"layer {path!r} would return {shapes[path] or 'nothing'}, not {before}")
    tiny = torch.finfo(maps.dtype).tiny
    centred = eager.logits - eager.logits.mean(1, keepdim=True)
    spans = eager.maps.amax((1, 2)) - eager.maps.amin((1, 2))
    spans = torch.maximum(spans, FAINT * spans.max()).clamp_min(tiny)  # a faint map does not count by its own range
    return PreparedTeacher(
        network,
        layer,
        logit_error=float((logits - eager.logits).norm() / centred.norm().clamp_min(tiny)),
        map_error=float(((maps - eager.maps).abs().amax((1, 2)) / spans).max()),
        agreement=float((eager.logits.argmax(1) == logits.argmax(1)).float().mean()),
        seconds=(eager.seconds, _seconds(network, example)),
    )


def _logits_and_maps(
    network: nn.Module, images: Tensor, layer: Layer, chosen: Tensor | None, kept: Iterable[str]
) -> tuple[Tensor, Tensor, dict[str, list[Any]]]:
    """Logits, the Grad-CAM of each image's top class in ``chosen`` (None: its own logits), and the kept layers' shapes.

    Shapes are noted at the call, since what a layer returns may be changed in place behind it.
    """
    shapes: dict[str, list[Any]] = {path: [] for path in sorted(kept)}
    with ExitStack() as hooks:
        for path, found in shapes.items():
            hooks.callback(listen(get_layer(network, path), _note_shape(found)).remove)
        seen = observe_forward(
            network,
            images,
            [layer.path],
            run=lambda net, x: net(x),
            role="teacher",
            batch=len(images),
            cam_paths=[layer.path],
            targets=lambda logits: {_TOP: (logits if chosen is None else chosen).argmax(1, keepdim=True)},
        )
    calls = seen.recording.calls(layer.path)
    size = (images.shape[-2], images.shape[-1])
    layer = resolve(layer, network, calls, role="teacher", steps=None, batch=len(images), image_size=size)
    features, gradients = (
        arrange(tensors, layer, role="teacher", steps=None, batch=len(images))
        for tensors in (calls, seen.gradients_at(_TOP, layer.path))
    )
    return cast(Logits, seen.logits).mean.detach(), grad_cam(features.detach(), gradients), shapes


def _note_shape(found: list[Any]) -> Callable[[Any], None]:
    def note(output: Any) -> None:
        first = output[0] if isinstance(output, tuple | list) and output else output
        found.append(tuple(first.shape) if isinstance(first, Tensor) else type(first).__name__)

    return note


def _seconds(network: nn.Module, images: Tensor) -> float:
    """Of a forward as in a step with SAMD: with gradients enabled, though no parameter requires one."""

    def finished() -> float:
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)
        return time.perf_counter()

    found = []
    with torch.enable_grad():
        network(images)
        for _ in range(ROUNDS):
            start = finished()
            network(images)
            found.append(finished() - start)
    return statistics.median(found)
