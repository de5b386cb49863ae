"""Repeating a run of a row from its record alone, and comparing: ``python -m spikingjelly_ckd rerun RECORD.json``.

A record is a text that anybody can write. So it names functions of this package alone (:data:`.names.BUILDERS` and
:data:`READERS`), and what else is to be imported, fetched or written to is said on the command line. What it says of
recipe and run is compared with the types of :class:`~spikingjelly_ckd.recipes.recipe.Recipe` and
:class:`~spikingjelly_ckd.recipes.options.Run` before anything is made of it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from .command_line import FLAGS, brief_errors
from .comparison.records import KIND, RECORDS, in_a_new_folder
from .export import file_hash
from .files import is_first_process
from .flag_readers import function_named
from .options import Device, Run, check_options
from .parser import Parser, read_whole
from .recipe import Recipe
from .recorded_run import SEED, read_recipe, read_run
from .records.files import read_record
from .records.schema import Record
from .row import distil
from .row_data import load_data
from .teachers import obtain_teacher
from .untrusted import check_kinds, shown_text

__all__ = ["compare", "main", "rerun"]

EQUAL, DIFFERS, NOT_RUN = 0, 1, 2
"""Exit status: every figure is that of the record; one is another; the run was refused or stopped."""
PROGRAM = "rerun"

SHOWN = 200
LONGEST_COMMAND = 4000
NOT_SAID = "nothing"
OTHERWISE = ("processes", "neurons", "chosen")
"""What else a record says that explains another outcome."""


def compare(recorded: Record, again: Record) -> tuple[bool, list[str]]:
    """Whether a run came out as another one did, and what to say about it.

    Compared is every figure that both histories have, but for times; a record without a history by its accuracies.

    Args:
        recorded: of the run before; it may have stopped before its last epoch.
        again: of the run that repeats it.

    Returns:
        True where nothing differs, and the lines: the outcome; then, where they differ, versions, commit, device,
        network functions and what the distiller chose.

    Raises:
        ValueError: one of them has no finished epoch.
    """
    name = f"{PROGRAM}: {shown_text(recorded.row)}, {shown_text(recorded.method)}, seed {recorded.seed}: "
    here, there = again.result, recorded.result
    apart = _first_difference(recorded, again)
    if apart is None:
        figures = "every figure" if recorded.history else "every accuracy"
        lines = [f"{name}equal in {figures} of {there.epochs} epochs; test accuracy last {there.last:.2f} %"]
    else:
        where, names = apart
        lines = [f"{name}differs {where}: {', '.join(names)}"]
    if apart is not None and here.epochs == there.epochs:
        pairs = ((word, getattr(here, word), getattr(there, word)) for word in ("last", "mean_last_5", "best"))
        lines += [
            f"  {word}: {one:.2f} % here, {other:.2f} % recorded ({one - other:+.2f})" for word, one, other in pairs
        ]
    lines += [
        f"  {what}: {shown_text(one, SHOWN)} here, {shown_text(other, SHOWN)} recorded"
        for what, one, other in _otherwise(recorded, again)
    ]
    return apart is None, lines


def _first_difference(recorded: Record, again: Record) -> tuple[str, list[str]] | None:
    """The first epoch that came out otherwise, and its figures; None where there is none."""
    rows = zip(recorded.history, again.history, strict=False)
    for number_, (before, now) in enumerate(rows, start=1):
        names = [name for name in before if name in now and name != "seconds" and now[name] != before[name]]
        if names:
            return f"from epoch {number_} on", [f"{shown_text(x)} {now[x]} here, {before[x]} recorded" for x in names]
    if len(again.history) < len(recorded.history):
        return f"from epoch {len(again.history) + 1} on", ["it was not trained here"]
    if not recorded.history:
        pairs = {name: (value, vars(recorded.result)[name]) for name, value in vars(again.result).items()}
        names = [f"{name} {now} here, {before} recorded" for name, (now, before) in pairs.items() if now != before]
        return ("in its accuracies", names) if names else None
    return None


def _otherwise(recorded: Record, again: Record) -> Iterator[tuple[str, Any, Any]]:
    """What may explain another outcome: name, here, recorded."""
    before, now = _surroundings(recorded), _surroundings(again)
    for name in dict.fromkeys([*now, *before]):
        one, other = now.get(name, NOT_SAID), before.get(name, NOT_SAID)
        if one != other and None not in (one, other):
            yield name, one, other


def _surroundings(record: Record) -> dict[str, Any]:
    environment = dict(record.environment)
    versions = environment.pop("versions", {})
    environment.pop("command", None)
    found = dict(versions) if isinstance(versions, Mapping) else {}
    found |= environment | {name: getattr(record, name) for name in OTHERWISE}
    found |= {name: record.recipe.get(name) for name in ("data", "student", "teacher")}
    teacher, student = record.teacher, record.student
    found["content of the data"] = record.data.content
    found["teacher's sha256"] = None if teacher is None else teacher.sha256
    found["student's sha256"] = None if student is None else student.sha256
    return {shown_text(name): value for name, value in found.items()}


def rerun(record: Record, recipe: Recipe, run: Run) -> Record:
    """Repeat a run, from its data and its teacher on.

    Args:
        record: of the run before.
        recipe: as :func:`read_recipe` gives it.
        run: as :func:`read_run` gives it.

    Returns:
        The record of the new run, as its file says it.

    Raises:
        FileNotFoundError: data or teacher are not there.
        ValueError: they are others than those of the record.
    """
    check_options(recipe, run)
    data = load_data(recipe, run)
    if data.split_hash != record.data.split_hash:
        raise ValueError(
            f"{run.data_path} holds other samples than the run had: split {shown_text(record.data.split)} "
            f"({record.data.split_hash[:8]}), here {data.split} ({data.split_hash[:8]}); pass the data with --data-path"
        )
    known = None if record.teacher is None else record.teacher.sha256
    if run.teacher is not None and known is not None and not run.teacher.startswith("timm:"):
        path = Path(run.teacher).expanduser()
        if path.is_file() and file_hash(path) != known:
            raise ValueError(
                f"{path} is not the teacher of the run, whose sha256 is {known[:8]}...; pass it: --teacher"
            )
    seed = _seed_of_teacher(record, recipe, run)
    if seed != run.seed:
        obtain_teacher(recipe, replace(run, seed=seed, resume=None), data)
    folder = run.folder(recipe)
    distilled = distil(recipe, run)
    return Record.read(folder / "record.json") if is_first_process() else distilled


def _seed_of_teacher(record: Record, recipe: Recipe, run: Run) -> int:
    """The seed that the row's own teacher was trained with: runs with several seeds share one."""
    made = None if record.teacher is None else record.teacher.made
    if recipe.method == "plain" or run.teacher is not None or made is None or "seed" not in made:
        return run.seed
    check_kinds(made, {"seed": SEED}, "the record, made of the teacher")
    return int(made["seed"])


def _record_file(path: Path) -> Path:
    """The record of a row that is meant by a file or a folder.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is of a comparison.
    """
    file = path / "record.json" if path.is_dir() else path
    others = [] if file.is_file() else sorted((path / RECORDS).glob("*.json"))
    for found in (file, *others[:1]):
        content = read_record(found) if found.is_file() else {}
        if content.get("kind") == KIND:
            command = content.get("command")
            named = in_a_new_folder(command) if isinstance(command, str) and command else "it names none"
            raise ValueError(
                f"{found} is a record of compare, which is repeated by its command in a new folder: "
                f"{shown_text(named, LONGEST_COMMAND)}"
            )
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    return file


def _folder(record: Path, asked: Path | None, resume: str | None) -> Path:
    """Where the new run is written.

    Raises:
        ValueError: it is the recorded run's own, or holds something.
    """
    own = record.resolve().parent
    folder = own.with_name(f"{own.name}-rerun") if asked is None else asked
    if folder.resolve() == own:
        raise ValueError(f"--output-dir {folder} is the folder of the recorded run; pass another")
    if resume is None and is_first_process() and folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: pass another --output-dir, or --resume latest to go on with a rerun")
    return folder


def main(argv: Sequence[str] | None = None) -> int:
    """The command line.

    Args:
        argv: None for ``sys.argv``.

    Returns:
        0 where every figure is that of the record, 1 where one is another, 2 where the run was refused or stopped.

    Raises:
        SystemExit: after ``--help``, wrong flags, Ctrl-C or SIGTERM, with the status of each.
    """
    given = vars(_parser().parse_args(argv))
    path, asked = given.pop("record"), given.pop("output_dir")
    functions = {name: given.pop(name) for name in ("data", "student")}
    try:
        with brief_errors(PROGRAM):
            path = _record_file(path)
            record = Record.read(path)
            if record.method == "teacher":
                raise ValueError(f"{path} is of a teacher; pass the record of a row")
            if record.accuracy is None:
                raise ValueError(f"{path} has no finished epoch, so there is nothing to compare with")
            folder = _folder(path, asked, given["resume"])
            changes = {name: value for name, value in given.items() if value is not None}
            run = read_run(record, folder, **changes)
            own = None if run.teacher_build is None else function_named(run.teacher_build)
            recipe = read_recipe(record, teacher=own, **functions)
            again = rerun(record, run.shorten(recipe), run)
    except SystemExit as stop:
        if not isinstance(stop.code, str):
            raise
        print(stop.code, file=sys.stderr)
        return NOT_RUN
    if not is_first_process():
        return EQUAL
    equal, lines = compare(record, again)
    print("\n".join(lines))
    return EQUAL if equal else DIFFERS


def _parser() -> Parser:
    parser = Parser(
        f"python -m spikingjelly_ckd {PROGRAM}",
        description="Repeat a run of a row from its record alone, and compare the outcome. The exit status is 0 where "
        "both are equal, 1 where they differ, and 2 where nothing was run.",
    )
    parser.add_argument("record", type=Path, help="record.json of a row, or the folder that has it")
    parser.add_argument(
        "--output-dir",
        type=Path,
        metavar="DIR",
        help="a new folder (default: that of the record with -rerun behind it)",
    )
    parser.add_argument("--resume", metavar="latest|PATH", help="go on with a rerun that was stopped")
    for name, metavar, about in (
        ("student", "MODULE:FUNCTION", "function that makes the student, where the record names one of yours"),
        ("data", "MODULE:FUNCTION", "function that reads the data, where the record names one of yours"),
    ):
        parser.add_argument(f"--{name}", type=function_named, metavar=metavar, help=about)
    text = "function that makes the teacher's network, where the record names one of yours"
    parser.add_argument("--teacher-build", metavar="MODULE:FUNCTION", help=text)
    parser.add_argument("--teacher", metavar="PATH|timm:NAME", help="where the teacher is now")
    parser.add_argument(FLAGS["root"], type=Path, metavar="DIR", help="where the data are now")
    parser.add_argument("--download", action="store_true", default=None, help="fetch the data set if it is missing")
    parser.add_argument("--device", choices=get_args(Device), help="kind of device")
    parser.add_argument(
        "-j", "--workers", type=read_whole, metavar="N", help="loading processes, which do not change the outcome"
    )
    parser.add_argument("--no-progress", action="store_true", default=None, help="no progress bar")
    return parser
