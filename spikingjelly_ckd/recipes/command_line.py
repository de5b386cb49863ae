"""The command line of a row: a flag for each value of the recipe, the flags of the run, errors in one line."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_type_hints

from ..functional.checks import check_non_negative
from ..functional.errors import ArgumentError
from ..published import METHODS
from .data import DataOptions
from .files import say
from .methods import of_one_layer, resolve_here
from .options import Device, Logger, Run, default_workers
from .recipe import CHOICES, OF_CKD, Recipe, Weight, shown, without_none

__all__ = ["FLAGS", "brief_errors", "command_line", "function_named", "parse"]

PACKAGE = Path(__file__).parents[1]
ORIGINAL = "\nOriginal Traceback (most recent call last):\n"
"""What PyTorch puts before the traceback of an error in a loading process, which stands in the text of its own."""
SHORT = {"time_steps": "-T", "batch_size": "-b", "weight_decay": "--wd"}
RESUME = "--resume latest"
"""What goes on with a row that was stopped; messages of files and checkpoints say it."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as a shell says it: 128 + 2."""
CHANGEABLE = [item.name for item in fields(Recipe) if item.name not in ("name", "paper_accuracy", "teacher", "sources")]
"""Values of a recipe that have a flag."""
FLAGS = {name: f"--{name.replace('_', '-')}" for name in (*CHANGEABLE, *(item.name for item in fields(DataOptions)))}
FLAGS |= dict.fromkeys(("root", "data_path"), "--data-path")
FLAGS |= dict.fromkeys(("build", "teacher_build"), "--teacher-build")
FLAGS |= {name: f"--{name.replace('_', '-')}" for name in ("teacher_mean", "teacher_std", "teacher_size")}
FLAGS |= {
    name: f"--{name.replace('_', '-')}" for name in ("methods", "budget", "tune_epochs", "tune_methods", "untuned")
}
OF_ONES_OWN = {
    "student": "a network of your own: a function of num_classes, in_channels, size, time_steps, as far as it wants",
    "data": "a data set of your own: a function (root, DataOptions) that returns Data",
}
"""Values of a recipe that are functions, and what the help says of them."""
"""Argument of a function -> the flag of the scripts that sets it."""


def parse(recipe: Recipe, argv: Sequence[str] | None = None, description: str | None = None) -> tuple[Recipe, Run]:
    """Read the command line.

    Args:
        recipe: of the script.
        argv: None for ``sys.argv``.
        description: of the script.

    Returns:
        The recipe as changed (the source of such a value becomes ``"command line"``), and what else the run is told.
    """
    parser = command_line(recipe, description)
    given = vars(parser.parse_args(argv))
    changed = {name: given.pop(name) for name in CHANGEABLE if name in given}
    run = Run(**given)
    if not run.print_config and run.data_path is None:
        parser.error("--data-path is needed: the folder of the data set, or an ImageFolder tree (train/, test/)")
    try:
        recipe = replace(recipe, **changed, sources=recipe.sources | dict.fromkeys(changed, "command line"))
    except (TypeError, ValueError) as error:
        parser.error(str(error))
    idle = _idle(recipe, changed)
    if idle:
        parser.error(
            f"{' and '.join(idle)}: not used by --method {recipe.method}; the arguments of a method other than ckd "
            "stand behind its name, --method NAME:key=value,..."
        )
    return recipe, run


def _idle(recipe: Recipe, given: Iterable[str]) -> list[str]:
    """Flags of the values that were given and that the method does not use."""
    if recipe.method == "plain":  # the control of ckd, with the same command line
        return []
    unused = set() if recipe.method == "ckd" else set(OF_CKD)
    if not of_one_layer(recipe.read_method()):
        unused |= {"student_layer", "teacher_layer"}
    return [FLAGS[name] for name in given if name in unused]


def command_line(recipe: Recipe, description: str | None = None) -> argparse.ArgumentParser:
    """A parser with one flag for each value of the recipe and of the run. A flag that is not given leaves no trace.

    Args:
        recipe: gives the defaults that the help shows.
        description: of the script.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    _add_data(parser.add_argument_group("the data"))
    _add_teacher(parser.add_argument_group("the teacher"))
    _add_run(parser.add_argument_group("the run"))
    _add_machine(parser.add_argument_group("the machine"))
    _add_recipe(parser.add_argument_group("the recipe (defaults are the row's)"), recipe)
    return parser


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--data-path", type=Path, help="folder of the data set, or an ImageFolder tree (train/, test/)")
    group.add_argument("--download", action="store_true", help="fetch the data set if it is missing")
    group.add_argument("--num-classes", type=int, help="say that a number other than the row's own is meant")
    group.add_argument("--train-images", type=int, help="use so many, equally many of each class")
    group.add_argument("--test-images", type=int)
    group.add_argument(
        "--val-images", type=_number_or_share, metavar="N|SHARE", help="hold out so many training images for validation"
    )
    group.add_argument("--allow-partial", action="store_true", help="take incomplete data; the record says so")


def _add_teacher(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--teacher", metavar="PATH|timm:NAME", help="default: train the recipe's own first, in runs/ROW/teacher"
    )
    group.add_argument(
        "--teacher-build", metavar="MODULE:FUNCTION", type=_name_of_network, help="makes the network of --teacher PATH"
    )
    for flag in ("--teacher-mean", "--teacher-std"):
        text = "of its training, one number a channel, for images from 0 to 1"
        group.add_argument(flag, metavar="NUMBER,...", type=_numbers, help=text)
    group.add_argument("--teacher-size", type=_count, help="height and width that it was trained on, pixels")
    group.add_argument("--any-teacher", action="store_true", help="go on with a teacher that is no better than chance")
    group.add_argument(
        "--teacher-cache", type=_count, metavar="VIEWS", help="run the teacher once for VIEWS augmentations of an image"
    )
    group.add_argument("--teacher-cache-dir", type=Path, help="default: teacher_cache beside the output folder")


def _add_run(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--output-dir", type=Path, help="default: runs/ROW/METHOD-seedN")
    group.add_argument("--overwrite", action="store_true", help="the output folder may hold another run")
    group.add_argument("--resume", metavar="latest|PATH", help="go on from a checkpoint")
    group.add_argument("--seed", type=int)
    group.add_argument("--energy-images", type=int, help="for the energy report; 0 leaves it out")
    group.add_argument("--best-on-test", action="store_true", help="also say the best epoch, chosen on the test set")
    group.add_argument("--logger", choices=get_args(Logger), help="default: tensorboard")
    group.add_argument("--no-preflight", action="store_true")
    group.add_argument("--no-progress", action="store_true", help="no progress bar")
    group.add_argument("--smoke", action="store_true", help="two steps of every stage")
    group.add_argument("--print-config", action="store_true", help="print every value with its source, and stop")


def _add_machine(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--device", choices=get_args(Device))
    group.add_argument("--devices", type=_devices, help="how many on each node, or 'auto'")
    group.add_argument("--num-nodes", type=_count)
    group.add_argument("--strategy", help="Lightning's, such as ddp")
    group.add_argument("-j", "--workers", type=int, help=f"loading processes; here: {default_workers()}")


def _add_recipe(group: argparse._ArgumentGroup, recipe: Recipe) -> None:
    types = get_type_hints(Recipe)
    for name in CHANGEABLE:
        options: dict[str, Any] = {"dest": name, "help": f"{shown(getattr(recipe, name))}"}
        if name in OF_ONES_OWN:
            options |= {"metavar": "MODULE:FUNCTION", "type": function_named, "help": OF_ONES_OWN[name]}
        elif name == "method":
            options |= {"metavar": "NAME|MODULE:FUNCTION", "help": f"{recipe.method}, or one of {', '.join(METHODS)}"}
        elif name in CHOICES:
            options["choices"] = CHOICES[name]
        elif name in ("beta", "gamma"):
            options |= {"type": _weight, "metavar": "NUMBER|auto|hold"}
        elif without_none(types[name]) is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            kind = without_none(types[name])
            options["type"] = kind if kind in (int, float) else str
        group.add_argument(*filter(None, (SHORT.get(name), FLAGS[name])), **options)


def function_named(text: str) -> Callable[..., Any]:
    """The function that a flag names, as ``MODULE:FUNCTION``; modules of the working folder are found.

    Raises:
        argparse.ArgumentTypeError: there is none.
    """
    try:
        return resolve_here(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _name_of_network(text: str) -> str:
    function_named(text)
    return text


def _weight(text: str) -> Weight:
    if text in ("auto", "hold"):
        return cast(Literal["auto", "hold"], text)
    try:
        return check_non_negative("it", float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"it must be a number of at least 0, 'auto' or 'hold', got {text!r}") from None


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"it must be numbers with commas between them, got {text!r}") from None


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"it must be a number of at least 1, got {text!r}")
    return int(text)


def _number_or_share(text: str) -> int | float:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"it must be a whole number, or between 0 and 1, got {text!r}") from None


def _devices(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        return _count(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"it must be a number of at least 1 or 'auto', got {text!r}") from None


@contextmanager
def brief_errors(program: str | None = None, to_go_on: str = RESUME) -> Iterator[None]:
    """On a command line, end with the message alone where this package refuses something, or the machine does.

    Arguments of functions are named as the flags that set them. What the system refuses (a full disk, a file that went
    away) is one line too, whoever asked for it. Whatever else another library raises keeps its traceback.

    Args:
        program: that the message begins with; None for the name of the script.
        to_go_on: what goes on with a run that was stopped, such as a flag.
    """
    try:
        yield
    except KeyboardInterrupt:
        say(f"Stopped. Go on with {to_go_on}, or begin anew where nothing was trained yet")
        sys.exit(INTERRUPTED)
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        message, raised_in = _origin(error)
        if not raised_in.is_relative_to(PACKAGE):
            if not isinstance(error, OSError) or not (error.errno or message.startswith("[Errno ")):
                raise
            message = f"{message}; see to it, then go on with {RESUME}"
        notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
        text = f"{message}{notes}".replace(RESUME, to_go_on)
        sys.exit(f"{program or Path(sys.argv[0]).name}: error: {text}")


def _origin(error: Exception) -> tuple[str, Path]:
    """The message of an error and the file that raised it; in a loading process, of the error there.

    PyTorch has only the text of an error in a loading process: the traceback as Python writes it. The file of its last
    frame is where it was raised, and the first line after that frame which is not indented begins with its type.
    """
    traced = str(error).partition(ORIGINAL)[2].splitlines()
    if not traced:
        message = error.render(FLAGS) if isinstance(error, ArgumentError) else str(error)
        return message, Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    frame = max(number for number, line in enumerate(traced) if line.startswith('  File "'))
    last = next(number for number in range(frame + 1, len(traced)) if not traced[number].startswith(" "))
    return "\n".join(traced[last:]).partition(": ")[2], Path(traced[frame].split('"')[1])
