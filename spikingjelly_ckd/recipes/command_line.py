"""The command line of a row: a flag for each value of the recipe, the flags of the run, errors in one line."""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import torch
from torch import nn

from ..functional.checks import check_non_negative
from .data import DataOptions
from .export import resolve_name
from .recipe import CHOICES, Recipe, shown

__all__ = ["brief_errors", "command_line", "default_workers", "parse"]

MOST_WORKERS = 8
FLAGS = {item.name: "--" + item.name.replace("_", "-") for item in fields(DataOptions)} | {"root": "--data-path"}
"""Arguments of the data -> flags of the scripts."""
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


@contextmanager
def brief_errors() -> Iterator[None]:
    """On a command line, end with the message alone where this package itself refuses something.

    Arguments of functions are named as the flags that set them. Whatever another library raises keeps its traceback.
    """
    try:
        yield
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        message = _own_message(error)
        if message is None:
            raise
        notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
        sys.exit(f"{Path(sys.argv[0]).name}: error: {_with_flags(message)}{notes}")


def _own_message(error: Exception) -> str | None:
    """The message of what this package raised, here or in a loading process; None if it was another library."""
    message, raised_in = str(error), traceback.extract_tb(error.__traceback__)[-1].filename
    if " in DataLoader worker process " in message.partition("\n")[0]:  # torch puts the whole traceback into the text
        raised_in = re.findall(r'^  File "(.+)", line', message, re.MULTILINE)[-1]
        message = re.findall(rf"^{type(error).__name__}: (.*)", message, re.MULTILINE)[-1]
    return message if Path(raised_in).is_relative_to(Path(__file__).parents[1]) else None


def _with_flags(message: str) -> str:
    """``download=True`` becomes ``--download``, ``num_classes=4`` ``--num-classes 4``, ``root must`` names its flag."""

    def flag(found: re.Match[str]) -> str:
        name, given = found["name"], found["given"]
        return f"{FLAGS[name]}{given.replace('=True', '').replace('=', ' ')}" if name in FLAGS else found[0]

    return re.sub(r"\b(?P<name>[a-z_]+)(?P<given>=[\w.']+| must )", flag, message)
