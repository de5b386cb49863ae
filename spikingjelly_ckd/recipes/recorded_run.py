"""The recipe and the flags of a recorded run; nothing is imported on the word of a record."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from . import data as readers
from .export import ARGUMENTS
from .names import BUILDERS, package_function
from .options import Run, default_workers
from .recipe import Recipe
from .records.schema import Record
from .untrusted import FLAG, NOTHING, PLAIN, Kind, check_kinds, either, number, optional, shown_text, whole

__all__ = ["READERS", "read_recipe", "read_run"]

READERS = dict.fromkeys(("cifar10", "cifar100", "cifar10dvs", "image_folder", "imagenet"), readers.__name__)
"""Readers of data that a record may name, and their module."""
NOT_REPEATED = ("seed", "print_config", "workers", "output_dir", "teacher_cache_dir", "overwrite", "resume", "download")
"""Values of a run that its record does not decide about here: they write, fetch or choose loading processes."""
MOST = 10**9
SEED = whole(0, 2**62)
BOUNDS = {
    "time_steps": ARGUMENTS["time_steps"],
    "size": ARGUMENTS["size"],
    "batch_size": whole(1, 2**20),
    "devices": either(whole(1, 64), Kind("'auto'", lambda value: value == "auto")),
    "num_nodes": whole(1, 1024),
    "teacher_cache": optional(whole(1, 1000)),
}
"""What could ask for more than a machine has."""
OF_TYPE: Mapping[Any, Kind] = {
    int: whole(-MOST, MOST),
    float: number(),
    bool: FLAG,
    str: PLAIN,
    Path: PLAIN,
    type(None): NOTHING,
}


def _kind(hint: Any) -> Kind:
    """What JSON may say for a value of this type; functions stand there by their names."""
    if get_origin(hint) in (Union, types.UnionType):
        return either(*map(_kind, get_args(hint)))
    if get_origin(hint) is Literal:
        words = get_args(hint)
        return Kind(f"one of {', '.join(map(str, words))}", lambda value: isinstance(value, str) and value in words)
    return OF_TYPE.get(hint, PLAIN)


def _checked(content: Mapping[str, Any], of: type, where: str, ignored: Sequence[str] = ()) -> dict[str, Any]:
    """The values of a part of a record that are fields of a dataclass; those that are ignored are left out.

    Raises:
        ValueError: a value is unknown, missing or of another kind.
    """
    known = {item.name: item for item in fields(of) if item.name not in ignored}
    hints = get_type_hints(of)
    kinds = {name: BOUNDS.get(name) or _kind(hints[name]) for name in known}
    unknown = [name for name in content if name not in known and name not in ignored]
    if unknown:
        raise ValueError(f"{where} says {shown_text(unknown[0])}, which this version does not know")
    missing = [
        name
        for name, item in known.items()
        if name not in content and item.default is MISSING and item.default_factory is MISSING
    ]
    if missing:
        raise ValueError(f"{where} does not say {', '.join(missing)}, so the run cannot be repeated")
    check_kinds(content, kinds, where)
    return {
        name: Path(value) if isinstance(value, str) and Path in get_args(hints[name]) else value
        for name, value in content.items()
        if name in known
    }


def read_recipe(record: Record, **given: Callable[..., Any] | None) -> Recipe:
    """The recipe of a recorded run.

    Args:
        record: of a row.
        **given: ``data``, ``student`` or ``teacher``: a function of the user's own in place of the one that the record
            names; None for that one, if it is of this package.

    Raises:
        ValueError: a value is missing, unknown, or of another kind; a function is none of this package.
    """
    where = "the recipe of the record"
    values = _checked(record.recipe, Recipe, where, ignored=("sources",))
    without = record.method == "plain" or record.options.get("teacher_build") is not None
    for name, modules in {"data": READERS, "student": BUILDERS, "teacher": BUILDERS}.items():
        own = given.get(name)
        found = own or package_function(values[name], modules)
        if found is None and not (name == "teacher" and without):
            flag = "--teacher-build" if name == "teacher" else f"--{name}"
            raise ValueError(
                f"{where} names {shown_text(values[name])} as {name}, which is no function of this package, and "
                f"nothing is imported on the word of a record; pass {flag} MODULE:FUNCTION if you know it"
            )
        values[name] = found or _no_teacher
    sources = {name: text for name, text in record.sources.items() if name in values and PLAIN.fits(text)}
    return Recipe(**values, sources=sources)


def _no_teacher(num_classes: int, in_channels: int = 3) -> Any:
    """Stands where a run needs no teacher of the recipe's own."""
    raise ValueError("the record names no teacher of this package; pass --teacher-build MODULE:FUNCTION")


def read_run(record: Record, folder: Path, **changes: Any) -> Run:
    """The flags of a recorded run, for a folder of its own.

    Nothing is fetched and nothing is written outside ``folder``; there are no more loading processes than is usual
    here, since they do not change the outcome.

    Args:
        record: of a row.
        folder: where the run is written.
        **changes: values to set otherwise.

    Raises:
        ValueError: a value is unknown or of another kind; the record names a function, or weights that timm would have
            to fetch from elsewhere, and the user did not.
    """
    where = "the options of the record"
    values = _checked(record.options, Run, where, ignored=NOT_REPEATED)
    check_kinds({"seed": record.seed}, {"seed": SEED}, "the record")
    wanted = record.options.get("workers")
    check_kinds({"workers": wanted}, {"workers": optional(whole(0, MOST))}, where)
    values["workers"] = default_workers() if wanted is None else min(wanted, default_workers())
    cache = None if values.get("teacher_cache") is None else folder / "teacher_cache"
    named = values.pop("teacher_build", None)
    made = {"seed": record.seed, "smoke": record.smoke, "output_dir": folder, "teacher_cache_dir": cache}
    run = Run(**(values | made | changes))
    if run.teacher_build is None and named is not None:
        if package_function(named, BUILDERS) is None:
            raise ValueError(
                f"{where} names {shown_text(named)}, which is no function of this package, and a record alone makes "
                "nothing be imported; pass --teacher-build MODULE:FUNCTION if you know it"
            )
        run = replace(run, teacher_build=named)
    said = changes.get("teacher") is not None
    if not said and run.teacher is not None and run.teacher.startswith("timm:") and run.teacher.count(":") > 1:
        raise ValueError(f"{where} name weights to fetch, {shown_text(run.teacher)}; pass --teacher if you trust them")
    return run
