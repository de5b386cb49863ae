"""A teacher made cheaper: it never trains, so it need not cost what a network that trains does."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .batch import read_logits
from .checks import check_choice, check_non_negative
from .hooks import convert_input, get_layer, record
from .layers import find_layer
from .layouts import Layer, arrange, resolve
from .maps import grad_cam, normalize_map

__all__ = ["PreparedTeacher", "prepare_teacher"]

TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.02}
"""Largest error of logits and class maps that is taken, by the type of the prepared network."""
ROUNDS = 5
MIXED = (nn.modules.batchnorm._BatchNorm,)
"""Layers that take half precision with parameters in fp32, and lose accuracy with parameters in half precision."""


@dataclass(frozen=True)
class PreparedTeacher:
    """A teacher for inference, and what its preparation cost and gained; ``print`` it.

    Attributes:
        network: to hand to the distiller, with ``teacher_layer=prepared.layer``. Layers keep their paths.
        layer: where its class maps were compared, and where a distiller with SAMD takes them.
        done: what was changed, in words; empty where it is the teacher as it was.
        left_out: why something that was asked for was not done.
        logit_error: of the example's logits, ``|difference| / |logits - their mean over the classes|`` (Euclidean).
        map_error: largest difference of the example's class maps, each scaled to [0, 1].
        agreement: share of the example's images with the same first choice.
        seconds: of one forward of the example, before and after, median of five; None where nothing was done.
        accuracy: on the held-out batches, percent, before and after; None without them.
    """

    network: nn.Module
    layer: Layer
    done: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    logit_error: float = 0.0
    map_error: float = 0.0
    agreement: float = 1.0
    seconds: tuple[float, float] | None = None
    accuracy: tuple[float, float] | None = None

    def __str__(self) -> str:
        lines = [f"teacher: {', '.join(self.done) or 'as it was'}; class maps at {self.layer.path!r}"]
        if self.seconds is not None:
            before, after = self.seconds
            lines.append(
                f"  a forward {1000 * before:.1f} ms -> {1000 * after:.1f} ms; logits off by {self.logit_error:.1e}, "
                f"class maps by {self.map_error:.1e}, first choice the same for {100 * self.agreement:.1f} %"
            )
        if self.accuracy is not None:
            lines.append(f"  held-out accuracy {self.accuracy[0]:.2f} % -> {self.accuracy[1]:.2f} %")
        return "\n".join([*lines, *(f"  left out: {reason}" for reason in self.left_out)])


def prepare_teacher(
    teacher: nn.Module,
    example: Tensor,
    *,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = True,
    compile: bool = False,  # torch's own word for it
    layers: Sequence[str] | None = None,
    held_out: Iterable[tuple[Tensor, Tensor]] | None = None,
    tolerance: float | None = None,
    max_drop: float = 0.5,
) -> PreparedTeacher:
    """A copy of a frozen teacher whose forward is cheaper: other memory format, half precision, compiled blocks.

    Nothing is taken on trust. Logits and class maps of the example are compared with the eager teacher's, and where
    they are off by more than ``tolerance``, or the held-out accuracy falls by more than ``max_drop`` points, the
    teacher is handed back as it was and ``left_out`` says why. Whether it pays depends on the machine: ``seconds``
    tells.

    The layers that will be recorded keep their hooks: blocks that hold one of them are not compiled as a whole, what
    is inside is. A distiller that records other layers than these says that a layer did not run.

    Args:
        teacher: any classifier. It is left as it is, but for ``eval`` and frozen parameters.
        example: images ``[N, C, H, W]`` as the teacher takes them (after ``teacher_input``), real ones if possible.
        dtype: ``torch.float32`` leaves numbers as they are; ``torch.bfloat16`` about halves the cost where the CPU or
            GPU is built for it; ``torch.float16`` is for GPUs. BatchNorm keeps parameters of fp32.
        channels_last: put images and convolutions into that memory format.
        compile: ``torch.compile`` for every block in front of and behind the recorded layers. The first forward of each
            input shape then takes from seconds to minutes.
        layers: paths that will be recorded, beside the layer that :func:`~spikingjelly_ckd.find_layer` finds.
        held_out: batches ``(images, labels [N])`` that the teacher was not trained on.
        tolerance: of logits and maps; None is 1e-3 in fp32, 0.05 in bf16 and 0.02 in fp16.
        max_drop: points of held-out accuracy that may be lost.

    Returns:
        A :class:`PreparedTeacher`; its ``network`` takes fp32 images and is used as any teacher.

    Raises:
        TypeError: ``teacher`` is no module, or ``example`` no tensor.
        ValueError: a type that is none of the three, a layer that is not there, or an example that does not fit.

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
    if not isinstance(teacher, nn.Module):
        raise TypeError(f"teacher must be a torch.nn.Module, got {type(teacher).__name__}")
    if not isinstance(example, Tensor):
        raise TypeError(f"example must be a tensor of images [N, C, H, W], got {type(example).__name__}")
    names = {str(known).removeprefix("torch."): known for known in TOLERANCES}
    check_choice("dtype", str(dtype).removeprefix("torch."), names)
    allowed = TOLERANCES[dtype] if tolerance is None else check_non_negative("tolerance", tolerance)
    check_non_negative("max_drop", max_drop)
    teacher.eval().requires_grad_(False)
    layer = find_layer(teacher, example, role="teacher", run=lambda net, x: net(x))
    kept = {layer.path, *(layers or ())}
    for path in kept:
        get_layer(teacher, path)
    batches = None if held_out is None else list(held_out)
    left_out: list[str] = []
    for compiled in (True, False) if compile else (False,):
        network, done = _changed(teacher, dtype, channels_last)
        blocks = list(_blocks(network, kept)) if compiled else []
        for block in blocks:
            block.compile()
        done += [f"{len(blocks)} blocks compiled"] if blocks else []
        try:
            found = _compared(teacher, network, example, layer, batches)
            reason = _too_far(found, allowed, max_drop)
        except Exception as error:  # whatever a compiler or a kernel in half precision raises
            if not done:
                raise
            reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        if reason is None:
            return replace(found, done=tuple(done), left_out=tuple(left_out))
        left_out.append(f"{' + '.join(done)}: {reason}")
    return PreparedTeacher(teacher, layer, left_out=tuple(left_out))


def _too_far(found: PreparedTeacher, allowed: float, max_drop: float) -> str | None:
    worst = max(found.logit_error, found.map_error)
    if not worst <= allowed:
        return f"off by {worst:.1e}, more than {allowed:.1e} (tolerance=)"
    if found.accuracy is not None and found.accuracy[0] - found.accuracy[1] > max_drop:
        return f"held-out accuracy {found.accuracy[0]:.2f} % -> {found.accuracy[1]:.2f} % (max_drop=)"
    return None


def _changed(teacher: nn.Module, dtype: torch.dtype, channels_last: bool) -> tuple[nn.Module, list[str]]:
    """A copy in another memory format and type, and what was done."""
    network, done = copy.deepcopy(teacher), []
    memory_format = torch.preserve_format
    if channels_last and any(isinstance(module, nn.Conv2d) for module in network.modules()):
        memory_format = torch.channels_last
        network.to(memory_format=memory_format)  # type: ignore[call-overload]
        done.append("channels_last")
    if dtype is not torch.float32:
        network.to(dtype)
        for module in network.modules():
            if isinstance(module, MIXED):
                module.float()
        done.append(str(dtype).removeprefix("torch."))
    if done:
        convert_input(network, memory_format)
    return network, done


def _blocks(module: nn.Module, paths: set[str], prefix: str = "") -> Iterator[nn.Module]:
    """The outermost modules with children that no kept path is, or is inside of."""
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        if any(kept == path or kept.startswith(f"{path}.") for kept in paths):
            yield from _blocks(child, paths, f"{path}.")
        elif next(child.children(), None) is not None and not isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield child
        else:
            yield from _blocks(child, paths, f"{path}.")


def _compared(
    teacher: nn.Module,
    network: nn.Module,
    example: Tensor,
    layer: Layer,
    held_out: Sequence[tuple[Tensor, Tensor]] | None,
) -> PreparedTeacher:
    (eager, eager_maps), (other, other_maps) = (_explained(net, example, layer) for net in (teacher, network))
    centred = eager - eager.mean(1, keepdim=True)
    return PreparedTeacher(
        network,
        layer,
        logit_error=float((other - eager).norm() / centred.norm().clamp_min(torch.finfo(eager.dtype).tiny)),
        map_error=float((other_maps - eager_maps).abs().max()),
        agreement=float((eager.argmax(1) == other.argmax(1)).float().mean()),
        seconds=(_seconds(teacher, example), _seconds(network, example)),
        accuracy=None if held_out is None else (_accuracy(teacher, held_out), _accuracy(network, held_out)),
    )


def _explained(network: nn.Module, images: Tensor, layer: Layer) -> tuple[Tensor, Tensor]:
    """Logits and the Grad-CAM of the first choice, each map scaled to [0, 1]."""
    with record(network, [layer.path], as_leaf=True) as seen, torch.enable_grad():
        logits = read_logits(network(images), role="teacher", size=len(images)).mean
        (gradient,) = torch.autograd.grad(logits.amax(1).sum(), seen.calls(layer.path))
    calls = seen.calls(layer.path)
    size = (images.shape[-2], images.shape[-1])
    layer = resolve(layer, network, calls, role="teacher", steps=None, batch=len(images), image_size=size)
    features, gradients = (
        arrange(tensors, layer, role="teacher", steps=None, batch=len(images)) for tensors in (calls, [gradient])
    )
    maps = grad_cam(features.detach(), gradients)
    return logits.detach(), normalize_map(maps, "sample", eps=torch.finfo(maps.dtype).tiny)


@torch.no_grad()
def _accuracy(network: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> float:
    right = images = 0
    for batch, labels in batches:
        logits = read_logits(network(batch), role="teacher", size=len(batch)).mean
        right += int((logits.argmax(1) == labels).sum())
        images += len(labels)
    return 100 * right / images


@torch.no_grad()
def _seconds(network: nn.Module, images: Tensor) -> float:
    def finished() -> float:
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)
        return time.perf_counter()

    network(images)
    found = []
    for _ in range(ROUNDS):
        start = finished()
        network(images)
        found.append(finished() - start)
    return statistics.median(found)
