"""The checks of a preflight, one function each."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, distributed, nn

from ..distiller import Distiller
from ..functional.maps import at_least_float32
from ..networks import compat
from ..networks.recording import record
from ..preflight.guessing import guessing
from ..step.batch import Batch
from ..step.output import Step
from ..step.weighing import NOTHING_TRAINED
from .report import Check, Status

__all__ = [
    "Look",
    "accuracy",
    "effective_batch",
    "frozen",
    "layers",
    "memory",
    "neurons",
    "normalisation",
    "observe",
    "read_as",
    "repeats",
    "spikes",
    "state",
    "student_accuracy",
    "trains",
    "values",
]

SILENT_SHARE = 0.9
STATISTICS_OFF = 1.0
MEMORY_STEPS = 3
UNLABELLED = "no image of these batches has a label"
AGAIN = "backward through the graph a second time"
"""What PyTorch says where a step reaches into the graph of the step before."""


@dataclass(frozen=True)
class Look:
    """One observed step, on which the checks work.

    Attributes:
        step: the step, without any check of its own.
        first_norm: the normalised input of the teacher's first BatchNorm, before its scale and shift,
            ``[N, C, h, w]``; None where there is no BatchNorm, or none that can be read.
    """

    step: Step
    first_norm: Tensor | None

    @property
    def batch(self) -> Batch:
        """The input of both networks."""
        return self.step.batch

    @property
    def teacher_logits(self) -> Tensor:
        """``[N, K]``."""
        return cast(Tensor, self.step.teacher.logits)

    @property
    def features(self) -> Mapping[str, tuple[Tensor, ...]]:
        """Of the student, by the names of the losses, ``[T, N, C, h, w]``, detached."""
        return {name: tuple(x.detach() for x in found) for name, found in self.step.student.features.items()}

    @property
    def maps(self) -> dict[str, Tensor]:
        """As a step gives them."""
        return self.step.output(self.step.terms["task"].value, {}, 0).maps


def observe(distiller: Distiller, images: Tensor, labels: Tensor) -> Look:
    """Observe one step, and the teacher's first BatchNorm in it."""
    path, norm = _first_norm(distiller.teacher)
    wanted = [] if norm is None else [path]
    with record(distiller.teacher, wanted, as_leaf=wanted) as seen:
        step = distiller.observe(images, labels, whole=True)
    return Look(step, None if norm is None else _undo_affine(norm, seen.calls(path)[0]))


def _first_norm(teacher: nn.Module) -> tuple[str, nn.BatchNorm2d | None]:
    """The first BatchNorm with statistics that is in no compiled block, where it would not be seen."""
    compiled = [f"{path}." for path, module in teacher.named_modules() if module._compiled_call_impl is not None]
    for path, module in teacher.named_modules():
        seen = not path.startswith(tuple(compiled))
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and seen:
            return path, module
    return "", None


def _undo_affine(norm: nn.BatchNorm2d, output: Tensor) -> Tensor | None:
    """The normalised input of a BatchNorm, before its scale and shift, of the channels whose scale is not zero."""
    output = at_least_float32(output.detach())
    if not norm.affine:
        return output
    scale = norm.weight.detach().float()
    keep = scale.abs() > 1e-3
    if not bool(keep.any()) or output.ndim != 4:
        return None
    bias = norm.bias.detach().float()
    return (output[:, keep] - bias[keep].view(1, -1, 1, 1)) / scale[keep].view(1, -1, 1, 1)


def neurons(distiller: Distiller) -> Check:
    """Which implementation runs each kind of neuron."""
    path = compat.neuron_path(distiller.student)
    if not path.neurons:
        return Check("neurons", "warn", "the student has no spiking neuron that is known", {"neurons": {}})
    return Check("neurons", "ok", str(path), asdict(path))


def layers(distiller: Distiller, look: Look) -> Iterator[Check]:
    """Which layers are compared, and how they are read."""
    for name, (student_layers, teacher_layers) in distiller.layers.items():
        for role, layers in (("student", student_layers), ("teacher", teacher_layers)):
            for layer in layers:
                shape = tuple(look.features[name][0].shape) if role == "student" else None
                where = f", [T, N, C, h, w] = {shape}" if shape else f", grid {layer.grid}" if layer.grid else ""
                passed = f"; passed over {'; '.join(layer.passed_over)}" if layer.passed_over else ""
                message = f"{name} reads {layer.path!r} ({layer.reason}), layout {layer.layout}{where}{passed}"
                yield Check(f"{role} layer", "ok", message, {"loss": name, **asdict(layer), "shape": shape})


def read_as(look: Look) -> Check:
    """How the batch's axes were read."""
    batch = look.batch
    data = {"T": batch.steps, "N": batch.size, "events": batch.is_event}
    if batch.is_event:
        return Check("input", "info", f"read as T={batch.steps} frames of N={batch.size} recordings", data)
    steps = "the student's own time steps" if batch.steps is None else f"T={batch.steps} time steps"
    return Check("input", "info", f"read as N={batch.size} images, repeated over {steps}", data)


def trains(look: Look) -> Iterator[Check]:
    """Whether something of the student would be trained."""
    if not look.step.logits.requires_grad:
        yield Check("student trains", "fail", f"the student {NOTHING_TRAINED}")


def repeats(distiller: Distiller, look: Look) -> Check:
    """Whether two equal calls of the teacher agree."""
    with torch.no_grad():
        first, second = (distiller.observers.teacher.logits(distiller.teacher, look.batch) for _ in range(2))
    gap = float((first - second).abs().max())
    if not gap <= 1e-3 * (1 + float(first.abs().max())):
        return Check(
            "teacher repeats",
            "fail",
            f"two equal calls of the teacher differ by {gap:.2g}: it keeps a state between calls (neurons that are not "
            "reset), or draws random numbers in eval mode (a functional dropout without training=self.training)",
            {"gap": gap},
        )
    return Check("teacher repeats", "ok", "two equal calls of the teacher agree", {"gap": gap})


def spikes(look: Look) -> Iterator[Check]:
    """What the student's recorded layers hold, and how many of their channels are silent."""
    for name, features in look.features.items():
        for feature in features:
            values = at_least_float32(feature)
            whole = bool((values == values.round()).all())
            low, high = float(values.min()), float(values.max())
            kind = (
                "0/1"
                if whole and low >= 0 and high <= 1
                else "counts"
                if whole and low >= 0
                else "signed"
                if low < 0
                else "real"
            )
            status: Status = "ok" if kind in ("0/1", "counts") else "warn"
            note = (
                "" if status == "ok" else ": no spikes; record a spiking layer, or say what negatives mean (negative=)"
            )
            yield Check(
                "spikes", status, f"{name}: {kind}, {low:g} to {high:g}{note}", {"kind": kind, "min": low, "max": high}
            )
            silent = float((values.abs().sum(dim=(0, 1, 3, 4)) == 0).float().mean())
            status = "fail" if silent == 1 else "warn" if silent >= SILENT_SHARE else "ok"
            note = "" if status == "ok" else "; check thresholds, input scale and normalisation"
            yield Check(
                "silent channels",
                status,
                f"{name}: {silent:.0%} of the channels never fire on this batch{note}",
                {"share": silent},
            )


def values(look: Look) -> Check:
    """Whether images, labels and logits are valid."""
    violations = {**look.step.network_violations(), **look.step.terms["task"].violations}
    found = [message for message, violated in violations.items() if bool(violated)]
    return Check(
        "values",
        "fail" if found else "ok",
        "; ".join(found) or "images, labels and logits are valid",
        {"violations": found},
    )


def frozen(distiller: Distiller) -> Check:
    """Whether the teacher is in eval mode and needs no gradients."""
    training = [path or "(root)" for path, module in distiller.teacher.named_modules() if module.training]
    trainable = [name for name, parameter in distiller.teacher.named_parameters() if parameter.requires_grad]
    if training or trainable:
        return Check(
            "teacher frozen",
            "fail",
            f"{len(training)} modules in train mode, {len(trainable)} parameters require gradients; call "
            "teacher.eval() and teacher.requires_grad_(False)",
            {"training": training[:5], "trainable": trainable[:5]},
        )
    return Check("teacher frozen", "ok", "eval mode, no parameter requires gradients")


def accuracy(distiller: Distiller, look: Look, pairs: list[tuple[Tensor, Tensor]]) -> Check:
    """How often the teacher is right on these batches."""
    found = [_labelled(distiller, look.teacher_logits, look.batch)]
    for images, labels in pairs[1:]:
        batch = distiller.read(images, labels)
        with torch.no_grad():
            logits = distiller.observers.teacher.logits(distiller.teacher, batch)
        found.append(_labelled(distiller, logits, batch))
    chosen, classes = (torch.cat(each) for each in zip(*found, strict=True))
    total = len(classes)
    if not total:
        return Check("teacher accuracy", "info", UNLABELLED, {"images": 0})
    accuracy, guess = float((chosen == classes).double().mean()), guessing(classes)
    data = {"accuracy": accuracy, "images": total, "chance": guess.share, "standard_error": guess.error}
    text = f"{accuracy:.1%} on {total} images of these batches ({guess})"
    if guess.explains(accuracy):
        return Check("teacher accuracy", "warn", f"{text}: is it trained, and on these classes in this order?", data)
    return Check("teacher accuracy", "ok", text, data)


def student_accuracy(distiller: Distiller, pairs: list[tuple[Tensor, Tensor]]) -> Check:
    """How often the student is right on these batches as it is now, such as before its first step."""
    training, right, total = distiller.student.training, 0, 0
    distiller.student.eval()
    for images, labels in pairs:
        batch = distiller.read(images, labels)
        with torch.no_grad():
            chosen, classes = _labelled(distiller, distiller.predict(images), batch)
        right, total = right + int((chosen == classes).sum()), total + len(classes)
    distiller.student.train(training)
    if not total:
        return Check("student accuracy", "info", UNLABELLED, {"images": 0})
    data = {"accuracy": right / total, "images": total}
    return Check("student accuracy", "ok", f"{right / total:.1%} on {total} images of these batches, as it is", data)


def _labelled(distiller: Distiller, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """What a network chose and what is right, ``[N]`` each, of the images with a label that the task loss counts."""
    labels, chosen = cast(Tensor, batch.labels), logits.argmax(1)
    if labels.ndim == 2:
        return chosen, labels.argmax(1)
    counted = (labels >= 0) & (labels != getattr(distiller.task_loss, "ignore_index", -1))
    return chosen[counted], labels[counted]


def normalisation(distiller: Distiller, look: Look) -> Check:
    """Whether the teacher's input has the statistics of the images that it was trained on."""
    if look.first_norm is not None:
        shift = float(look.first_norm.mean(dim=(0, 2, 3)).abs().mean())
        spread = float(look.first_norm.std(dim=(0, 2, 3)).mean())
        source = "its first BatchNorm's running statistics"
    elif getattr(distiller.teacher, "pretrained_cfg", None):
        images = at_least_float32(look.batch.teacher_images())
        shift = float(images.mean(dim=(0, 2, 3)).abs().mean())
        spread = float(images.std(dim=(0, 2, 3)).mean())
        source = "mean 0 and standard deviation 1"
    else:
        return Check(
            "teacher input",
            "info",
            "not checked: the teacher has no BatchNorm2d outside compiled blocks, and no pretrained_cfg",
        )
    data = {"shift": shift, "spread": spread}
    text = f"against {source}: shifted by {shift:.2g} and spread {spread:.2g} times"
    if shift > STATISTICS_OFF or not 0.5 <= spread <= 2:
        return Check(
            "teacher input",
            "warn",
            f"{text}; it was trained on another normalisation (pass teacher_input=, or --teacher-mean and "
            "--teacher-std), or hardly trained at all",
            data,
        )
    return Check("teacher input", "ok", text, data)


def state(distiller: Distiller, images: Tensor) -> Check:
    """Whether two equal forwards of the student, with equal random numbers, agree."""
    distiller.student.eval()
    logits = []
    for _ in range(2):
        torch.manual_seed(0)  # an encoder that draws spikes keeps no state; the block around puts the numbers back
        with torch.no_grad():
            logits.append(distiller.predict(images))
    first, second = logits
    distiller.student.train()
    gap = float((first - second).abs().max())
    if not gap <= 1e-4 * (1 + float(first.abs().max())):
        return Check(
            "state",
            "fail",
            f"two equal forwards differ by {gap:.2g}: a module keeps state that reset_net does not reset",
            {"gap": gap},
        )
    return Check("state", "ok", "two equal forwards agree: the states are reset", {"gap": gap})


def memory(distiller: Distiller, images: Tensor, labels: Tensor) -> Check:
    """Whether the memory that is held grows from step to step, and a step can be taken after another."""
    sizes = []
    for _ in range(MEMORY_STEPS):
        distiller.zero_grad(set_to_none=True)
        step = distiller.observe(images, labels, whole=True)
        try:
            torch.autograd.backward([term.value for term in step.terms.values() if term.value.requires_grad])
        except RuntimeError as error:
            if AGAIN not in str(error):
                raise
            return Check(
                "memory",
                "fail",
                "the graph of a step reaches into the step before: a module of the student keeps a state, and its "
                "graph, that reset_net does not reset",
            )
        del step
        sizes.append(_held_bytes(images.device))
    if all(later > earlier for earlier, later in pairwise(sizes)):
        return Check(
            "memory",
            "fail",
            f"grows by {(sizes[-1] - sizes[0]) / (MEMORY_STEPS - 1) / 2**20:.2g} MiB a step: something keeps outputs "
            "(a monitor that is never cleared, a list of tensors)",
            {"bytes": sizes},
        )
    return Check("memory", "ok", f"flat over {MEMORY_STEPS} steps", {"bytes": sizes})


def _held_bytes(device: torch.device) -> int:
    gc.collect()
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return sum(_bytes(item) for item in gc.get_objects() if type(item) in (Tensor, nn.Parameter))


def _bytes(tensor: Tensor) -> int:
    """0 for a tensor that has no size in bytes: a sparse one, or one that was never filled, anywhere in the process."""
    try:
        return tensor.nbytes
    except RuntimeError:
        return 0


def effective_batch(look: Look, accumulate: int) -> Check:
    """How many images an optimiser step sees."""
    world = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
    total = look.batch.size * accumulate * world
    text = f"{total} = {look.batch.size} images x {accumulate} accumulated x {world} processes"
    return Check(
        "effective batch",
        "info",
        text,
        {"batch": look.batch.size, "accumulate": accumulate, "processes": world, "total": total},
    )
