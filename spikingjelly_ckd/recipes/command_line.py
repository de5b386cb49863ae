"""The command line of a row: a flag for each value of the recipe, the flags of the run, errors in one line."""

from __future__ import annotations

import argparse
import re
import sys
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from ..errors.arguments import ArgumentError, ArgumentValueError
from .data import DataOptions
from .files import AGAIN, say
from .flag_readers import MANY, READERS
from .flag_texts import GROUPS, METAVARS
from .method_parts import of_one_layer
from .names import shown
from .options import Run
from .parser import Parser
from .recipe import OF_CKD, Recipe
from .type_hints import without_none, words_of

__all__ = [
    "FLAGS",
    "brief_errors",
    "check_teacher_flags",
    "command_line",
    "idle_flags",
    "in_flags",
    "on_command_line",
    "parse",
]

PACKAGE = Path(__file__).parents[1]
ORIGINAL = "\nOriginal Traceback (most recent call last):\n"
"""What PyTorch puts before the traceback of an error in a loading process, which stands in the text of its own."""
SHORT = {"time_steps": "-T", "batch_size": "-b", "weight_decay": "--wd", "workers": "-j"}
RESUME = "--resume latest"
"""What goes on with a row that was stopped; messages of files and checkpoints say it."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as a shell says it: 128 + 2."""
CHANGEABLE = [item.name for item in fields(Recipe) if item.name not in ("name", "paper_accuracy", "teacher", "sources")]
"""Values of a recipe that have a flag."""
NOT_OF_RECIPE = ("teacher",)
"""Values of a run that a recipe has too, as something else."""
OF_TEACHING = ("teacher", "student", "method", "values of the method ckd")
"""Groups of flags that do nothing for a teacher that is trained alone."""
OF_STUDENTS = (
    *("seeds", "early_stop", "memopt", "accelerate", "sync_bn"),
    *("no_preflight", "energy_images", "best_on_test"),
)
"""Flags of other groups that are refused for such a teacher, or do nothing."""
IDLE_FOR_TEACHERS = {name for title in OF_TEACHING for name in GROUPS[title]} - {"any_teacher", "time_steps"}
"""Flags that are refused for such a teacher: not --any-teacher, which every part of a row may get, nor -T, which says
into how many frames recordings are divided."""
TEACHER_FOLDER = "Folder of the teacher; without it runs/ROW/teacher."


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


FLAGS = {name: _flag(name) for name in (*CHANGEABLE, *(item.name for item in fields(DataOptions)))}
FLAGS |= dict.fromkeys(("root", "data_path"), "--data-path")
FLAGS |= dict.fromkeys(("build", "teacher_build"), "--teacher-build")
FLAGS |= {
    name: _flag(name) for name in ("teacher_mean", "teacher_std", "teacher_size", "seeds", "resume", "pretrained")
}
FLAGS |= {
    name: _flag(name) for name in ("methods", "budget", "tune_epochs", "tune_methods", "untuned", "keep_students")
}
"""Argument of a function -> the flag of the scripts that sets it."""
OF_STEP = re.compile(r"\b(student_layer|teacher_layer|student_steps)=( ?(?=[^\s,)]))?(?:'([\w.]+)')?")
"""An argument of the distiller in a message of the step, with its value where that is a word in quotes."""


def parse(
    recipe: Recipe,
    argv: Sequence[str] | None = None,
    description: str | None = None,
    parent: argparse.ArgumentParser | None = None,
) -> tuple[Recipe, Run]:
    """Read the command line.

    Args:
        recipe: of the script.
        argv: None for ``sys.argv``.
        description: of the script.
        parent: of the script that trains a teacher, see :func:`command_line`.

    Returns:
        The recipe as changed (the source of such a value becomes ``"command line"``), and what else the run is told.
    """
    parser = command_line(recipe, description, parent)
    given = vars(parser.parse_args(argv))
    idle = [] if parent is None else [_flag(name) for name in given if name in IDLE_FOR_TEACHERS]
    if idle:
        why = "not used where a teacher alone is trained (--epochs and --lr are its own); leave it out"
        parser.error(f"{' and '.join(idle)}: {why}")
    changed = {name: given.pop(name) for name in CHANGEABLE if name in given}
    run = Run(**given)
    if not run.print_config and run.data_path is None:
        parser.error("--data-path is needed: the folder of the data set, or an ImageFolder tree (train/, test/)")
    try:
        recipe = replace(recipe, **changed, sources=recipe.sources | dict.fromkeys(changed, "command line"))
        check_teacher_flags(recipe, run, changed)
    except (TypeError, ValueError) as error:
        parser.error(_told(error, FLAGS, set(CHANGEABLE) - set(changed)))
    idle = idle_flags(recipe, changed)
    if idle:
        parser.error(
            f"{' and '.join(idle)}: not used by --method {recipe.method}; the arguments of a method other than ckd "
            "stand behind its name, --method NAME:key=value,..."
        )
    return recipe, run


def idle_flags(recipe: Recipe, given: Iterable[str]) -> list[str]:
    """Flags of the values that were given and that the method does not use; none for ``"plain"``, ckd's control.

    Args:
        recipe: whose method.
        given: names of values of the recipe.
    """
    if recipe.method == "plain":  # the control of ckd, with the same command line
        return []
    unused = set() if recipe.method == "ckd" else set(OF_CKD)
    if not of_one_layer(recipe.read_method()):
        unused |= {"student_layer", "teacher_layer"}
    return [FLAGS[name] for name in given if name in unused]


def check_teacher_flags(recipe: Recipe, run: Run, given: Iterable[str]) -> None:
    """Raise for a flag that does nothing for the teacher: of its training where it is given, or the other way round.

    Args:
        recipe: whose own ANN is trained where none is given.
        run: with ``teacher`` and ``teacher_build``.
        given: names of values of the recipe that have a flag on the command line.

    Raises:
        ValueError: there is one.
    """
    of_training = [FLAGS[name] for name in given if name in ("teacher_epochs", "teacher_lr")]
    if run.teacher is not None and of_training:
        why = f"not used with --teacher {run.teacher}, which is not trained here; leave it out"
        raise ValueError(f"{' and '.join(sorted(of_training))}: {why}")
    if run.teacher is None and run.teacher_build is not None:
        why = f"does nothing without --teacher PATH: what is trained here is {shown(recipe.teacher)}"
        raise ArgumentValueError("teacher_build", why)


def command_line(
    recipe: Recipe,
    description: str | None = None,
    parent: argparse.ArgumentParser | None = None,
    *,
    unserved: Collection[str] = (),
    texts: Mapping[str, str] | None = None,
) -> argparse.ArgumentParser:
    """A parser with one flag for each value of the recipe and of the run. A flag that is not given leaves no trace.

    Args:
        recipe: gives the defaults that the help shows.
        description: of the script.
        parent: of the script that trains a teacher: its flags come first, and those that do nothing for a teacher are
            left out of the help.
        unserved: flags that are read, so that they can be refused with the reason, and are left out of the help.
        texts: name of a flag -> its help, where that is another one here; defaults are not shown then.
    """
    parser = Parser(
        usage="%(prog)s --data-path DIR [flags] (see --help)" if parent is None else parent.usage,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        parents=[] if parent is None else [parent],
        allow_abbrev=parent is None,
    )
    known = {**({} if parent is None else {"output_dir": TEACHER_FOLDER}), **(texts or {})}
    defaults, types = vars(Run()) | vars(recipe), get_type_hints(Run) | get_type_hints(Recipe)
    for title, flags in GROUPS.items():
        hidden = parent is not None and title in OF_TEACHING
        group = parser if hidden else parser.add_argument_group(title)
        for name, text in flags.items():
            value = None if name in NOT_OF_RECIPE else defaults[name]
            said = known.get(name) or f"{text}{_default(value, recipe.sources.get(name))}".replace("%", "%%")
            options = {"dest": name, "help": said, **_reads(name, without_none(types[name]))}
            if hidden or name in unserved or (parent is not None and name in OF_STUDENTS):
                options["help"] = argparse.SUPPRESS
            group.add_argument(*filter(None, (SHORT.get(name), _flag(name))), **options)
    return parser


def _default(value: Any, source: str | None) -> str:
    """What the help says where a flag is not given; nothing where its sentence says it."""
    if value is None or (value is False and source is None):
        return ""
    word = {True: "on", False: "off", "": "none"}.get(value) if isinstance(value, bool | str) else None
    return f" (default: {word or shown(value)}{'' if source is None else f', {source}'})"


def _reads(name: str, hint: Any) -> dict[str, Any]:
    """How argparse reads the text behind a flag."""
    if name in READERS:
        return {"type": READERS[name], "metavar": METAVARS.get(name, "N"), **MANY.get(name, {})}
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction if name in CHANGEABLE else "store_true"}
    if words := words_of(hint):
        return {"choices": words}
    known = hint if hint in (int, float, Path) else str
    usual = {int: "N", float: "NUMBER", Path: "DIR", str: "TEXT"}
    return {"type": known, "metavar": METAVARS.get(name, usual[known])}


@contextmanager
def brief_errors(
    program: str | None = None,
    to_go_on: str = RESUME,
    *,
    flags: Mapping[str, str] = FLAGS,
    not_given: Collection[str] = (),
) -> Iterator[None]:
    """On a command line, end with the message alone where this package refuses something, or the machine does.

    Arguments of functions are named as the flags that set them. What the system refuses (a full disk, a file that went
    away) is one line too, whoever asked for it. Whatever else another library raises keeps its traceback.

    Args:
        program: that the message begins with; None for the name of the script.
        to_go_on: what goes on with a run that was stopped, such as a flag.
        flags: name of an argument -> its flag.
        not_given: arguments whose values are the row's, since no flag set them.
    """
    try:
        yield
    except KeyboardInterrupt:
        say(f"Stopped. Go on with {to_go_on}, or begin anew where nothing was trained yet")
        sys.exit(INTERRUPTED)
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        message, raised_in = _origin(error, flags, not_given)
        if not raised_in.is_relative_to(PACKAGE):
            if not isinstance(error, OSError) or not (error.errno or message.startswith("[Errno ")):
                raise
            message = f"{message}; see to it, then go on with {RESUME}"
        notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
        text = on_command_line(f"{message}{notes}", to_go_on)
        sys.exit(f"{program or Path(sys.argv[0]).name}: error: {text}")


def on_command_line(message: str, to_go_on: str) -> str:
    """A message that says what goes on with the training at hand.

    Example:
        >>> on_command_line("a disk is full; see to the disk and the folder, then try again", "the same command")
        'a disk is full; see to the disk and the folder, then go on with the same command'
    """
    return message.replace(AGAIN, AGAIN.replace("try again", f"go on with {to_go_on}")).replace(RESUME, to_go_on)


def in_flags(text: str) -> str:
    """A message of the step, which names arguments of the distiller, in the words of a command line.

    Example:
        >>> in_flags("a map is constant; pass student_layer= another layer (nothing was changed; check=False turns "
        ...     "these checks off)")
        'a map is constant; pass --student-layer another layer'
        >>> in_flags("a network that runs over time by itself needs student_steps='internal'")
        'a network that runs over time by itself needs --student-steps internal'
    """
    text = text.replace(" (nothing was changed; check=False turns these checks off)", "")
    return OF_STEP.sub(lambda found: f"{FLAGS[found[1]]}{'' if found[2] is None else ' '}{found[3] or ''}", text)


def _told(error: Exception, flags: Mapping[str, str], not_given: Collection[str]) -> str:
    """The message of an error with flags for arguments; a value that no flag set is called the row's."""
    if not isinstance(error, ArgumentError):
        return in_flags(str(error))
    name = error.argument
    if name not in not_given or name not in flags:
        return error.render(flags)
    message = error.render(flags, called=f"the row's {name}")
    return message if error.remedy else f"{message}; set it with {flags[name]}"


def _origin(error: Exception, flags: Mapping[str, str], not_given: Collection[str]) -> tuple[str, Path]:
    """The message of an error and the file that raised it; in a loading process, of the error there.

    PyTorch has only the text of an error in a loading process: the traceback as Python writes it. The file of its last
    frame is where it was raised, and the first line after that frame which is not indented begins with its type.
    """
    traced = str(error).partition(ORIGINAL)[2].splitlines()
    if not traced:
        return _told(error, flags, not_given), Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    frame = max(number for number, line in enumerate(traced) if line.startswith('  File "'))
    last = next(number for number in range(frame + 1, len(traced)) if not traced[number].startswith(" "))
    return "\n".join(traced[last:]).partition(": ")[2], Path(traced[frame].split('"')[1])
