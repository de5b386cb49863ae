"""A row of a results table as values that can be read, each with its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from torch import nn

from .._renamed import old_names
from ..functional.checks import check_choice, check_non_negative, check_positive, check_share
from ..functional.errors import ArgumentValueError
from ..methods.base import TargetClass
from .data import Data, DataOptions
from .names import name_of

__all__ = [
    "CHOICES",
    "Method",
    "Optimizer",
    "Precision",
    "Recipe",
    "Variant",
    "ours",
    "paper",
    "released",
    "shown",
]

__getattr__ = old_names(__name__, f"{__package__}.command_line")  # parse, command_line, default_workers

T = TypeVar("T")
Method = Literal["ckd", "plain"]
Variant = Literal["paper", "released"]
Optimizer = Literal["sgd", "adamw"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Weight = float | Literal["auto"]
LEAST = dict.fromkeys(("time_steps", "size", "epochs", "batch_size", "accumulate", "teacher_epochs"), 1)
LEAST |= dict.fromkeys(("weight_decay", "warmup_epochs", "clip", "mixup", "cutmix"), 0)


@dataclass(frozen=True)
class _Sourced:
    value: Any
    source: str


def paper(value: T) -> T:
    """Mark a recipe's value as stated by the paper (CKDSNN, AAAI 2026, arXiv 2511.06902)."""
    return cast(T, _Sourced(value, "paper"))


def released(value: T) -> T:
    """Mark a recipe's value as taken from the authors' code or its configuration files."""
    return cast(T, _Sourced(value, "released code"))


def ours(value: T) -> T:
    """Mark a recipe's value as our choice, where the sources are silent."""
    return cast(T, _Sourced(value, "ours"))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides about the outcome of a row, apart from the seed.

    A value written as ``paper(x)``, ``released(x)`` or ``ours(x)`` is stored as ``x``, and ``sources`` keeps where it
    came from. Most have no default on purpose: a recipe is read, not looked up.

    Attributes:
        name: of the row, and of the folder of its runs.
        paper_accuracy: percent, as reported; None for a set of one's own.
        data: loads it, ``(root, DataOptions) -> Data``.
        student: makes the spiking network from ``num_classes`` and ``in_channels``, such as
            :func:`~spikingjelly_ckd.recipes.models.spiking_resnet19`.
        teacher: makes the ANN from the same two.
        time_steps: ``T``.
        size: height and width of the input, pixels.
        split: of event data, by name.
        crop_padding: of a random crop, pixels; 0 for none.
        resized_crop: a random part of the image, as on ImageNet.
        flip: random horizontal flip.
        auto_augment: ``"cifar10"`` for AutoAugment's policy, or a policy string of timm.
        erase: probability of random erasing.
        roll: largest random shift of event frames, pixels.
        nda: neuromorphic data augmentation.
        mixup: alpha of timm's mixup; 0 for none.
        cutmix: alpha of timm's cutmix; 0 for none.
        epochs: of the student.
        batch_size: on each device.
        lr: of SGD or AdamW, for that batch.
        optimizer: ``"sgd"`` or ``"adamw"``.
        momentum: of SGD.
        weight_decay: on all parameters.
        warmup_epochs: linear; then cosine to 0.
        amp: Lightning's precision: ``"32-true"``, ``"bf16-mixed"``, ``"16-mixed"``.
        clip: largest gradient norm; 0 for no limit.
        accumulate: batches for each optimiser step.
        ema: decay of the weights' moving average; 0 for none.
        method: ``"ckd"``, or ``"plain"`` without a teacher.
        variant: of CKD: ``"paper"`` or ``"released"``.
        map_temperature: of SAMD.
        temperature: of NLD.
        noise_weight: of NLD.
        beta: weight of SAMD; a number or ``"auto"``.
        gamma: weight of NLD; a number or ``"auto"``.
        target_class: of the teacher's map: ``"teacher"`` or ``"label"``.
        student_layer: path; None finds the last stage.
        teacher_layer: path; None finds the last stage.
        teacher_epochs: if the teacher has to be trained first.
        teacher_lr: likewise.
        sources: name of each marked value -> where it is from.

    Raises:
        ValueError: an unknown choice, or a number out of range.
    """

    name: str
    paper_accuracy: float | None
    data: Callable[[Path | str, DataOptions], Data]
    student: Callable[..., nn.Module]
    teacher: Callable[..., nn.Module]
    time_steps: int
    size: int
    split: str | None = None
    crop_padding: int = 0
    resized_crop: bool = False
    flip: bool = False
    auto_augment: str = ""
    erase: float = 0.0
    roll: int = 0
    nda: bool = False
    mixup: float = 0.0
    cutmix: float = 0.0
    epochs: int
    batch_size: int
    lr: float
    optimizer: Optimizer = "sgd"
    momentum: float
    weight_decay: float
    warmup_epochs: int
    amp: Precision
    clip: float = 0.0
    accumulate: int = 1
    ema: float = 0.0
    method: Method = "ckd"
    variant: Variant = "paper"
    map_temperature: float
    temperature: float
    noise_weight: float
    beta: Weight
    gamma: Weight
    target_class: TargetClass = "teacher"
    student_layer: str | None = None
    teacher_layer: str | None = None
    teacher_epochs: int
    teacher_lr: float
    sources: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sources = dict(self.sources)
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, _Sourced):
                object.__setattr__(self, item.name, value.value)
                sources[item.name] = value.source
        object.__setattr__(self, "sources", sources)
        for name, known in CHOICES.items():
            check_choice(name, getattr(self, name), known)
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise ArgumentValueError(name, f"must be at least {least}, got {getattr(self, name)}")
        for name in ("lr", "teacher_lr", "map_temperature", "temperature"):
            check_positive(name, getattr(self, name))
        weights = [name for name in ("beta", "gamma") if getattr(self, name) != "auto"]
        for name in ("noise_weight", *weights):
            check_non_negative(name, getattr(self, name))
        for name in ("momentum", "ema"):
            check_share(name, getattr(self, name))
        if self.warmup_epochs >= self.epochs:
            raise ArgumentValueError("warmup_epochs", f"({self.warmup_epochs}) must be below epochs ({self.epochs})")

    def data_options(self, **more: Any) -> DataOptions:
        """The part that the data need, with what else the command line says."""
        names = {item.name for item in fields(DataOptions)} & {item.name for item in fields(self)}
        return DataOptions(**{name: getattr(self, name) for name in names}, **more)

    def to_json(self) -> dict[str, Any]:
        """The values as plain data, functions by name."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "sources"}
        return {name: shown(value) for name, value in values.items()}

    def __str__(self) -> str:
        """One line for each value, with its source beside it."""
        rows = [(name, str(value), self.sources.get(name, "")) for name, value in self.to_json().items()]
        wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
        return "\n".join(f"{a:{wide[0]}}  {b:{wide[1]}}  {c}".rstrip() for a, b, c in rows)


CHOICES = {name: get_args(hint) for name, hint in get_type_hints(Recipe).items() if get_origin(hint) is Literal}
"""Value of a recipe that is one of several words -> these words."""


def shown(value: Any) -> Any:
    """A value as plain data: a function by its name."""
    if not callable(value):
        return value
    try:
        return name_of(value)
    except ValueError:
        return repr(value)
