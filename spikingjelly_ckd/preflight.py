"""Before the first epoch: what was chosen, why, and what would go wrong."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice, pairwise
from typing import Any

import torch
from torch import Tensor, distributed, nn

from .distiller import Distiller, StepOutput
from .functional.checks import check_positive
from .functional.maps import at_least_float32, is_constant
from .networks import compat
from .networks.guards import preserve_state
from .networks.outputs import read_logits
from .networks.recording import record
from .step.arguments import input_violations, logit_violations
from .step.auto_weight import AUTO_SHARE, gradient_norm
from .step.batch import Batch

__all__ = ["Check", "PreflightReport", "preflight"]

LARGE_SHARE, SMALL_SHARE = 0.5, 0.005
"""Gradient of a weighted term at the recorded feature, as a share of the task's, above or below which is warned."""
SILENT_SHARE = 0.9
STATISTICS_OFF = 1.0
MEMORY_STEPS = 3
MOST_BATCHES = 8


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        status: ``"ok"``, ``"warn"``, ``"fail"`` or ``"info"`` (nothing to judge).
        message: in a sentence, with what to do where something is wrong.
        data: the figures behind it.
    """

    name: str
    status: str
    message: str
    data: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"[{self.status:>4}] {self.name}: {self.message}"


@dataclass(frozen=True)
class PreflightReport:
    """All findings; ``print`` it, or take it as data.

    Attributes:
        checks: in the order in which they are shown.
    """

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed (warnings are allowed)."""
        return all(check.status != "fail" for check in self.checks)

    def __getitem__(self, name: str) -> Check:
        """The finding called ``name``.

        Raises:
            KeyError: there is none.
        """
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(f"no check {name!r}; there are {[check.name for check in self.checks]}")

    def to_dict(self) -> dict[str, Any]:
        """The findings as plain data, for a JSON record."""
        return {"ok": self.ok, "checks": [asdict(check) for check in self.checks]}

    def __str__(self) -> str:
        return "\n".join(str(check) for check in self.checks)


@dataclass
class _Look:
    """What one observed step showed."""

    batch: Batch
    out: StepOutput
    points: list[Tensor]
    features: dict[str, tuple[Tensor, ...]]
    teacher_logits: Tensor
    first_norm: Tensor | None


def preflight(
    distiller: Distiller | nn.Module,
    batches: tuple[Tensor, Tensor] | Iterable[tuple[Tensor, Tensor]],
    *,
    accumulate: int = 1,
) -> PreflightReport:
    """Look at a distiller on real batches before training, and say what was chosen and what would go wrong.

    Parameters, buffers, gradients, modes and random numbers are left as they were found. The cost on one batch is
    about six training steps.

    Args:
        distiller: a :class:`~spikingjelly_ckd.Distiller`, bare, in ``DistributedDataParallel``, or compiled, which is
            looked at as if it were not.
        batches: one batch ``(images, labels)``, or an iterable such as a loader, of which the first 8 are taken; all
            serve the teacher's accuracy, the first serves everything else.
        accumulate: batches for each optimiser step, for the effective batch.

    Returns:
        A :class:`PreflightReport`.

    Raises:
        TypeError: no distiller, or a batch that is no (images, labels).
        ValueError: no batch, input that the distiller refuses, or no loss that needs the teacher.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from spikingjelly.activation_based import layer, neuron
        >>> from spikingjelly_ckd import CKDDistiller
        >>> teacher = nn.Sequential(
        ...     nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
        >>> student = nn.Sequential(
        ...     layer.Conv2d(3, 4, 3, step_mode="m"), layer.BatchNorm2d(4, step_mode="m"),
        ...     neuron.LIFNode(step_mode="m"),
        ...     layer.AdaptiveAvgPool2d(1, step_mode="m"), layer.Flatten(step_mode="m"),
        ...     layer.Linear(4, 10, step_mode="m"))
        >>> report = preflight(CKDDistiller(teacher, student, time_steps=4), (torch.randn(4, 3, 8, 8), torch.arange(4)))
        >>> report["state"].status
        'ok'
    """
    inner = getattr(distiller, "module", distiller)
    inner = getattr(inner, "_orig_mod", inner)
    if not isinstance(inner, Distiller):
        raise TypeError(f"distiller must be a Distiller, got {type(distiller).__name__}")
    if not inner.uses_teacher:
        raise ValueError("no loss of this distiller looks at a teacher, so there is nothing to look at before training")
    accumulate = int(check_positive("accumulate", accumulate))
    pairs = _pairs(batches)
    images, labels = pairs[0]
    with preserve_state(inner.student, inner.teacher, inner.losses), _relaxed(inner), torch.enable_grad():
        frozen = _frozen(inner)
        inner.teacher.requires_grad_(False).eval()
        inner.student.train()
        look = _observe(inner, images, labels)
        checks = [
            _neurons(inner),
            *_layers(inner, look),
            *_spikes(look),
            _values(look),
            *_maps(look),
            *_shares(inner, look),
            frozen,
            _accuracy(inner, look, pairs),
            _normalisation(inner, look),
            _state(inner, images),
            _effective_batch(look, accumulate),
        ]
        del look
        checks.append(_memory(inner, images, labels))
    return PreflightReport(tuple(checks))


def _pairs(batches: Any) -> list[tuple[Tensor, Tensor]]:
    single = isinstance(batches, tuple | list) and len(batches) == 2 and isinstance(batches[0], Tensor)
    pairs = [tuple(batches)] if single else [tuple(pair) for pair in islice(batches, MOST_BATCHES)]
    if not pairs:
        raise ValueError("batches is empty; pass one batch (images, labels) or a few")
    for pair in pairs:
        if len(pair) != 2 or not all(isinstance(item, Tensor) for item in pair):
            raise TypeError("each batch must be (images, labels), two tensors")
    return pairs


@contextmanager
def _relaxed(distiller: Distiller) -> Iterator[None]:
    """Report value violations instead of raising, hold automatic weights and the noise's random source still.

    The teacher runs to its end, and nothing runs compiled, so that all that is recorded is seen.
    """
    training = distiller.training
    trainable = [(parameter, parameter.requires_grad) for parameter in distiller.teacher.parameters()]
    sources = [getattr(loss, "generator", None) for loss in distiller.losses.values()]
    generators = [source for source in sources if isinstance(source, torch.Generator)]
    states = [generator.get_state() for generator in generators]
    ran_once = distiller._teacher_ran_once
    distiller._reporting, distiller.training, distiller._teacher_ran_once = True, False, False
    compiled, distiller._compiled_call_impl = distiller._compiled_call_impl, None
    try:
        yield
    finally:
        distiller._reporting, distiller.training, distiller._compiled_call_impl = False, training, compiled
        distiller._teacher_ran_once = ran_once
        for parameter, requires_grad in trainable:
            parameter.requires_grad_(requires_grad)
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


def _observe(distiller: Distiller, images: Tensor, labels: Tensor) -> _Look:
    """One step, with what passed the recorded layers kept."""
    batch = distiller._read(images, labels)
    distiller._choose_layers(batch)
    path, norm = _first_norm(distiller.teacher)
    with (
        record(distiller.student, distiller._paths("student")) as seen,
        record(distiller.teacher, {"", path}, as_leaf={path} - {""}) as teacher_seen,
    ):
        out = distiller(images, labels)
    features = {
        name: tuple(distiller._arrange("student", layer, seen.calls(layer.path), batch).detach() for layer in layers)
        for name, (layers, _) in (distiller._layers or {}).items()
    }
    return _Look(
        batch=batch,
        out=out,
        points=[tensor for path in seen for tensor in seen.calls(path)] or [out.logits],
        features=features,
        teacher_logits=teacher_seen.calls("")[0].detach(),
        first_norm=None if norm is None else _undo_affine(norm, teacher_seen.calls(path)[0]),
    )


def _first_norm(teacher: nn.Module) -> tuple[str, nn.BatchNorm2d | None]:
    """The first BatchNorm with statistics that is in no compiled block, where it would not be seen."""
    compiled = [f"{path}." for path, module in teacher.named_modules() if module._compiled_call_impl is not None]
    for path, module in teacher.named_modules():
        seen = not path.startswith(tuple(compiled))
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and seen:
            return path, module
    return "", None


def _neurons(distiller: Distiller) -> Check:
    path = compat.neuron_path(distiller.student)
    if not path.neurons:
        return Check("neurons", "warn", "the student has no spiking neuron that is known", {"neurons": {}})
    return Check("neurons", "ok", str(path), asdict(path))


def _layers(distiller: Distiller, look: _Look) -> Iterator[Check]:
    for name, (student_layers, teacher_layers) in distiller.layers.items():
        for role, layers in (("student", student_layers), ("teacher", teacher_layers)):
            for layer in layers:
                shape = tuple(look.features[name][0].shape) if role == "student" else None
                where = f", [T, N, C, h, w] = {shape}" if shape else f", grid {layer.grid}" if layer.grid else ""
                message = f"{name} reads {layer.path!r} ({layer.reason}), layout {layer.layout}{where}"
                yield Check(f"{role} layer", "ok", message, {"loss": name, **asdict(layer), "shape": shape})


def _spikes(look: _Look) -> Iterator[Check]:
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
            status = "ok" if kind in ("0/1", "counts") else "warn"
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


def _values(look: _Look) -> Check:
    batch = look.batch
    logits = look.out.logits.detach()
    violations = input_violations(batch.images, batch.labels, logits.shape[1]) | logit_violations("student", logits)
    violations |= logit_violations("teacher", at_least_float32(look.teacher_logits))
    found = [message for message, fault in violations.items() if bool(fault)]
    return Check(
        "values",
        "fail" if found else "ok",
        "; ".join(found) or "images, labels and logits are sound",
        {"violations": found},
    )


def _maps(look: _Look) -> Iterator[Check]:
    for role, maps in look.out.maps.items():
        share = float(is_constant(maps).float().mean())
        status = "fail" if share == 1 else "warn" if share > 0.1 else "ok"
        advice = "" if status == "ok" else f"; pass {role}_layer= another layer"
        size = f"{maps.shape[1]}x{maps.shape[2]}"
        yield Check(
            f"{role} map",
            status,
            f"{size}, constant for {share:.0%} of the images{advice}",
            {"constant": share, "size": size},
        )


def _shares(distiller: Distiller, look: _Look) -> Iterator[Check]:
    task = float(gradient_norm(distiller.task_weight * look.out.values["task"], look.points))
    for name in distiller.losses:
        term = float(gradient_norm(look.out.values[name], look.points))
        data: dict[str, Any] = {"task_gradient": task, "term_gradient": term}
        if task == 0 or term == 0:
            which = "task" if task == 0 else name
            yield Check("gradient share", "warn", f"{name}: the {which} has no gradient at the recorded feature", data)
            continue
        suggested = float(f"{AUTO_SHARE * task / term:.1g}")
        if name not in distiller.weights:
            data |= {"weight": "auto", "suggested": suggested}
            yield Check("gradient share", "info", f"{name}: 'auto' will set a weight of about {suggested:g}", data)
            continue
        weight = distiller.weights[name]
        share = weight * term / task
        data |= {"weight": weight, "share": share, "suggested": suggested}
        text = f"{name}: {share:.2g} of the task's gradient at the recorded feature with weight {weight:g}"
        if weight > 0 and share > LARGE_SHARE:
            yield Check("gradient share", "warn", f"{text}, which can dominate; try {suggested:g}, or 'auto'", data)
        elif weight > 0 and share < SMALL_SHARE:
            yield Check("gradient share", "warn", f"{text}, which hardly acts; try {suggested:g}, or 'auto'", data)
        else:
            yield Check("gradient share", "ok", text, data)


def _frozen(distiller: Distiller) -> Check:
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


def _accuracy(distiller: Distiller, look: _Look, pairs: list[tuple[Tensor, Tensor]]) -> Check:
    right, total = _count_right(look.teacher_logits, look.batch)
    for images, labels in pairs[1:]:
        batch = distiller._read(images, labels)
        with torch.no_grad():
            logits = read_logits(distiller.teacher(distiller._teacher_images(batch)), role="teacher", size=batch.size)
        more, count = _count_right(logits.mean, batch)
        right, total = right + more, total + count
    accuracy, chance = right / total, 1 / look.teacher_logits.shape[-1]
    data = {"accuracy": accuracy, "images": total, "chance": chance}
    text = f"{accuracy:.1%} on {total} images of these batches (chance {chance:.1%})"
    if accuracy <= 1.5 * chance:
        return Check("teacher accuracy", "warn", f"{text}: is it trained, and on these classes in this order?", data)
    return Check("teacher accuracy", "ok", text, data)


def _count_right(logits: Tensor, batch: Batch) -> tuple[int, int]:
    assert batch.labels is not None
    labels = batch.labels if batch.labels.ndim == 1 else batch.labels.argmax(1)
    return int((logits.argmax(1) == labels).sum()), batch.size


def _normalisation(distiller: Distiller, look: _Look) -> Check:
    """Whether the teacher's input looks like what it was trained on."""
    if look.first_norm is not None:
        shift = float(look.first_norm.mean(dim=(0, 2, 3)).abs().mean())
        spread = float(look.first_norm.std(dim=(0, 2, 3)).mean())
        source = "its first BatchNorm's running statistics"
    elif getattr(distiller.teacher, "pretrained_cfg", None):
        images = at_least_float32(distiller._teacher_images(look.batch))
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
            f"{text}; it was trained on another normalisation, pass teacher_input= to undo it",
            data,
        )
    return Check("teacher input", "ok", text, data)


def _undo_affine(norm: nn.BatchNorm2d, output: Tensor) -> Tensor | None:
    """What a BatchNorm made of its input before its own scale and shift, for channels whose scale is not zero."""
    output = at_least_float32(output.detach())
    if not norm.affine:
        return output
    scale = norm.weight.detach().float()
    keep = scale.abs() > 1e-3
    if not bool(keep.any()) or output.ndim != 4:
        return None
    bias = norm.bias.detach().float()
    return (output[:, keep] - bias[keep].view(1, -1, 1, 1)) / scale[keep].view(1, -1, 1, 1)


def _state(distiller: Distiller, images: Tensor) -> Check:
    distiller.student.eval()
    with torch.no_grad():
        first, second = distiller.predict(images), distiller.predict(images)
    distiller.student.train()
    gap = float((first - second).abs().max())
    if not gap <= 1e-4 * (1 + float(first.abs().max())):
        return Check(
            "state",
            "fail",
            f"two equal forwards differ by {gap:.2g}: a module keeps state that reset_net does not clear",
            {"gap": gap},
        )
    return Check("state", "ok", "two equal forwards agree: the state is cleared", {"gap": gap})


def _memory(distiller: Distiller, images: Tensor, labels: Tensor) -> Check:
    sizes = []
    for _ in range(MEMORY_STEPS):
        distiller.zero_grad(set_to_none=True)
        distiller(images, labels).loss.backward()
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
    return sum(item.nbytes for item in gc.get_objects() if type(item) in (Tensor, nn.Parameter))


def _effective_batch(look: _Look, accumulate: int) -> Check:
    world = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
    total = look.batch.size * accumulate * world
    text = f"{total} = {look.batch.size} images x {accumulate} accumulated x {world} processes"
    return Check(
        "effective batch",
        "info",
        text,
        {"batch": look.batch.size, "accumulate": accumulate, "processes": world, "total": total},
    )
