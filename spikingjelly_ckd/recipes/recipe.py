"""A row of a results table as values that can be read, each with its source, and the command line that changes them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_type_hints

import torch
from torch import nn

from ..functional.checks import check_choice, check_non_negative, check_positive
from .data.sets import Data, DataOptions
from .export import name_of, resolve_name

__all__ = ["METHODS", "Recipe", "command_line", "default_workers", "ours", "paper", "parse", "released"]

T = TypeVar("T")
METHODS = ("ckd", "plain")
CHOICES = {
    "method": METHODS,
    "variant": ("paper", "released"),
    "target_class": ("teacher", "label"),
    "optimizer": ("sgd", "adamw"),
    "amp": ("32-true", "bf16-mixed", "16-mixed"),
}
MOST_WORKERS = 8
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
    optimizer: str = "sgd"
    momentum: float
    weight_decay: float
    warmup_epochs: int
    amp: str
    clip: float = 0.0
    accumulate: int = 1
    ema: float = 0.0
    method: str = "ckd"
    variant: Literal["paper", "released"] = "paper"
    map_temperature: float
    temperature: float
    noise_weight: float
    beta: float | str
    gamma: float | str
    target_class: Literal["teacher", "label"] = "teacher"
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
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("lr", "teacher_lr"):
            check_positive(name, getattr(self, name))
        for name in ("momentum", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs}) must be below epochs ({self.epochs})")

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


def shown(value: Any) -> Any:
    """A value as plain data: a function by its name."""
    if not callable(value):
        return value
    try:
        return name_of(value)
    except ValueError:
        return repr(value)


_SHORT = {
    "time_steps": ("-T", "--time-steps"),
    "batch_size": ("-b", "--batch-size"),
    "weight_decay": ("--wd", "--weight-decay"),
    "epochs": ("--epochs",),
}
_CHANGEABLE = [
    item.name for item in fields(Recipe) if item.name not in ("name", "paper_accuracy", "data", "teacher", "sources")
]
_TYPES = get_type_hints(Recipe)


def _network(text: str) -> Callable[..., nn.Module]:
    if os.getcwd() not in sys.path:  # a script has its own folder there, and not the user's
        sys.path.insert(0, os.getcwd())
    try:
        return resolve_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _weight(text: str) -> float | str:
    if text == "auto":
        return text
    try:
        return check_non_negative("it", float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"it must be a number of at least 0 or 'auto', got {text!r}") from None


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"it must be a number of at least 1, got {text!r}")
    return int(text)


def _devices(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return _count(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"it must be a number of at least 1 or 'auto', got {text!r}") from None


def default_workers() -> int:
    """Loading processes for one training process: its share of the cores that this one may use, eight at most.

    Example:
        >>> 1 <= default_workers() <= 8
        True
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, cores // max(1, torch.cuda.device_count())))


def command_line(recipe: Recipe, description: str | None = None) -> argparse.ArgumentParser:
    """A parser with one flag for each value of the recipe, and the flags of the run.

    Args:
        recipe: gives the defaults.
        description: of the script.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    run = parser.add_argument_group("the run")
    run.add_argument("--data-path", type=Path, help="folder of the data set, or an ImageFolder tree (train/, test/)")
    run.add_argument("--output-dir", type=Path, help="default: runs/ROW/METHOD-seedN")
    run.add_argument("--teacher", metavar="PATH|timm:NAME", help="default: train one first, in runs/ROW/teacher")
    run.add_argument("--any-teacher", action="store_true", help="go on with a teacher that is no better than chance")
    run.add_argument(
        "--teacher-cache", type=_count, metavar="VIEWS", help="ask the teacher once for VIEWS augmentations of an image"
    )
    run.add_argument("--teacher-cache-dir", type=Path, help="default: teacher_cache beside the output folder")
    run.add_argument("--overwrite", action="store_true", help="the output folder may hold another run")
    run.add_argument("--resume", metavar="latest|PATH", help="go on from a checkpoint")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    run.add_argument("--devices", type=_devices, default=1, help="how many on each node, or 'auto'")
    run.add_argument("--num-nodes", type=_count, default=1)
    run.add_argument("--strategy", default="auto", help="Lightning's, such as ddp")
    run.add_argument(
        "-j", "--workers", type=int, default=default_workers(), help="loading processes; here: %(default)s"
    )
    run.add_argument("--download", action="store_true", help="fetch the data set if it is missing")
    run.add_argument("--num-classes", type=int, help="say that a number other than the row's own is meant")
    run.add_argument("--train-images", type=int, help="use so many, equally many of each class")
    run.add_argument("--test-images", type=int)
    run.add_argument("--allow-partial", action="store_true", help="take incomplete data; the record says so")
    run.add_argument("--energy-images", type=int, default=256, help="for the energy report; 0 leaves it out")
    run.add_argument("--no-preflight", action="store_true")
    run.add_argument("--no-progress", action="store_true", help="no progress bar")
    run.add_argument("--smoke", action="store_true", help="two steps of every stage")
    run.add_argument("--print-config", action="store_true", help="print every value with its source, and stop")
    values = parser.add_argument_group("the recipe (defaults are the row's)")
    for name in _CHANGEABLE:
        flags = _SHORT.get(name, ("--" + name.replace("_", "-"),))
        default = getattr(recipe, name)
        options: dict[str, Any] = {"dest": name, "default": None}
        if name == "student":
            options |= {"metavar": "MODULE:FUNCTION", "type": _network, "help": "a network of your own"}
        elif name in CHOICES:
            options["choices"] = CHOICES[name]
        elif name in ("beta", "gamma"):
            options |= {"type": _weight, "metavar": "NUMBER|auto"}
        elif _TYPES[name] is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["type"] = _TYPES[name] if _TYPES[name] in (int, float) else str
        if name != "student":
            options["help"] = f"{shown(default)}"
        values.add_argument(*flags, **options)
    return parser


def parse(
    recipe: Recipe, argv: Sequence[str] | None = None, description: str | None = None
) -> tuple[Recipe, argparse.Namespace]:
    """Read the command line.

    Args:
        recipe: of the script.
        argv: None for ``sys.argv``.
        description: of the script.

    Returns:
        The recipe as changed (the source of such a value becomes ``"command line"``), and the flags of the run.
    """
    parser = command_line(recipe, description)
    options = parser.parse_args(argv)
    changed = {name: getattr(options, name) for name in _CHANGEABLE if getattr(options, name) is not None}
    for name in _CHANGEABLE:
        delattr(options, name)
    sources = recipe.sources | dict.fromkeys(changed, "command line")
    if not options.print_config and options.data_path is None:
        parser.error("--data-path is needed: the folder of the data set, or an ImageFolder tree (train/, test/)")
    try:
        return replace(recipe, **changed, sources=sources), options
    except (TypeError, ValueError) as error:
        parser.error(str(error))
