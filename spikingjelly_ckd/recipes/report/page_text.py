"""What the page says of a study, as plain texts that nothing has escaped yet."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from ..comparison.controls import LOUDER_OF
from ..comparison.records import in_a_new_folder
from ..comparison.table import answer, arms_of
from ..untrusted import number, shown_text
from .found import Study

__all__ = ["commands", "environments", "facts", "preflights", "sentence", "title"]

MOST = 60
"""Entries of one list that are shown."""
NAME = 60
"""Characters of a name."""
FINITE = number(-1e12, 1e12)
"""Numbers that a run may have measured."""
OF_FOLDER = {"folder": "a folder of images", "event-folder": "a folder of event frames"}
"""Name of data that have none -> what they are."""
PACKAGE = __name__.partition(".")[0]
WORDS = {"val": "validation", "test": "test"}
"""Part of the data -> its name in a text."""


def title(study: Study) -> str:
    """What was asked, as a headline."""
    student = _network(study.runs[0].asked.get("student"))
    data = str(study.runs[0].data.get("name", "unknown data"))
    data = shown_text(OF_FOLDER.get(data, data), NAME)
    methods = [
        arm for arm, rows in arms_of(study.runs).items() if rows[0].control != arm and arm not in LOUDER_OF.values()
    ]
    name = shown_text(study.name, NAME)
    if study.kind == "row":
        steps = shown_text(study.runs[0].asked.get("time_steps", "unknown"), NAME)
        return f"The teacher of {name} on {data}" if study.is_of_teacher else f"{name} on {data}, T={steps}"
    if study.kind == "benchmark":
        return f"{name}: {len(methods)} methods on {data}"
    if len(methods) == 1:
        return f"Does {shown_text(methods[0], NAME)} help {student} on {data}?"
    return f"Which of {len(methods)} methods helps {student} on {data}?"


def sentence(study: Study) -> str:
    """The answer; never a winner whose interval holds zero, and nothing of a smoke run."""
    if study.is_smoke:
        return "This was a smoke run: it shows that everything runs, and no figure of it means anything."
    done = [run for run in study.runs if run.test_accuracy is not None]
    if not done:
        return "No run has ended yet, so nothing can be said."
    arms = arms_of(done)
    if len(arms) > 1:
        # a row that was stopped is no method that failed
        return answer(study.runs if study.kind == "comparison" else done, lambda name: shown_text(name, NAME))
    arm, rows = next(iter(arms.items()))
    reached = fmean(run.test_accuracy for run in rows if run.test_accuracy is not None)
    of = "one run" if len(rows) == 1 else f"the mean of {len(rows)} seeds"
    name = "The teacher" if study.is_of_teacher else shown_text(arm, NAME)
    said = f"{name} reached {reached:.2f} % on the test part, {of}."
    alone = " Nothing was trained beside it, so what the method adds is not known."
    return said + (alone if rows[0].control != arm and not study.is_of_teacher else "")


def facts(study: Study) -> list[tuple[str, str]]:
    """What was asked: name and value."""
    first = study.runs[0]
    asked, data = first.asked, first.data
    taught = next((run.teacher for run in study.runs if run.teacher), None)
    arms = arms_of(study.runs)
    of_data = f"{data.get('name', 'unknown')}, split {data.get('split', 'unknown')}"
    if data.get("split_hash"):
        of_data += f" ({str(data['split_hash'])[:8]})"
    if data.get("complete") is False:
        of_data += ", files are missing or others"
    found = [
        (
            "teacher" if study.is_of_teacher else "student",
            asked.get("teacher" if study.is_of_teacher else "student"),
        ),
        ("data", of_data),
        ("teacher", None if taught is None else _teacher(taught)),
        ("time steps T", asked.get("time_steps")),
        ("image size", asked.get("size")),
        ("epochs", asked.get("epochs")),
        ("batch size", asked.get("batch_size")),
        ("optimiser", _optimiser(asked)),
        ("seeds", ", ".join(str(seed) for seed in sorted({run.seed for run in study.runs})[:MOST])),
        ("arms", ", ".join(shown_text(arm, NAME) for arm in list(arms)[:MOST])),
    ]
    paper = study.rows[0].paper_accuracy if study.rows else None
    found.append(("the paper's number", None if paper is None else f"{paper:.2f} %"))
    return [(name, str(value)) for name, value in found if value not in (None, "")]


def preflights(study: Study) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Of each arm with a preflight: its name, and status, name and message of each check, problems first.

    The checks of the first seed, and what other seeds found beyond those.
    """
    found: dict[str, dict[tuple[str, str, str], None]] = {}
    for run in study.runs:
        checks = (run.preflight or {}).get("checks")
        own = found.setdefault(run.arm, {})
        is_first = not own
        for check in checks if isinstance(checks, list) else []:
            if isinstance(check, Mapping):
                status = str(check.get("status", "unknown"))
                name, message = str(check.get("name", "")), str(check.get("message", ""))
                if is_first:
                    own.setdefault((status, name, message))
                elif status not in ("ok", "info") and (status, name, message) not in own:
                    own.setdefault((status, name, f"seed {run.seed}: {message}"))
    order = {"fail": 0, "error": 0, "warn": 1}
    return [
        (shown_text(arm, NAME), sorted(checks, key=lambda check: order.get(check[0], 2))[:MOST])
        for arm, checks in list(found.items())[:MOST]
        if checks
    ]


def environments(study: Study) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each environment that runs were made in: how many of them, and its entries."""
    found: dict[str, tuple[int, Mapping[str, Any]]] = {}
    for run in study.runs:
        own = {name: value for name, value in run.environment.items() if name != "command"}
        key = repr(own)
        found[key] = (found.get(key, (0, own))[0] + 1, own)
    return [
        (f"{count} of {len(study.runs)} runs", list(_entries(own))[:MOST])
        for count, own in list(found.values())[:MOST]
        if own
    ]


def commands(study: Study) -> tuple[list[str], list[str]]:
    """What repeats the runs, and what made them where that is another command."""
    made = list(dict.fromkeys(run.command for run in study.runs if run.command))[:MOST]
    if study.kind == "comparison":
        return [in_a_new_folder(command) for command in made], made
    if not study.rows:
        return made, []
    paths = [str(row.path) for row in study.rows if row.path is not None and not study.is_of_teacher]
    repeating = [f"python -m spikingjelly_ckd rerun {shlex.quote(path)}" for path in paths[:MOST]]
    return (repeating, made) if repeating else (made, [])


def _teacher(taught: Mapping[str, Any]) -> str:
    accuracy = taught.get("accuracy")
    on = (
        f"{accuracy:.2f} % on the {WORDS.get(str(taught.get('part')), 'unknown')} part" if FINITE.fits(accuracy) else ""
    )
    return ", ".join(filter(None, (shown_text(taught.get("source", "unknown")), on)))


def _optimiser(asked: Mapping[str, Any]) -> str:
    named = {"lr": "learning rate", "momentum": "momentum", "weight_decay": "weight decay"}
    values = [f"{words} {asked[name]}" for name, words in named.items() if asked.get(name) is not None]
    return ", ".join([str(asked.get("optimizer") or ""), *values]).removeprefix(", ")


def _entries(own: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Names and values, those of mappings inside too."""
    for name, value in own.items():
        if isinstance(value, Mapping):
            yield from ((str(inner), str(item)) for inner, item in value.items())
        elif value is not None:
            yield str(name), str(value)


def _network(value: object) -> str:
    """``module:function``, whose name alone says enough where it is one of this package."""
    if value is None:
        return "the student"
    module, _, function = str(value).rpartition(":")
    return shown_text(function if module.partition(".")[0] == PACKAGE else value, NAME)
