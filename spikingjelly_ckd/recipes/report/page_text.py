"""What the page says of a study, as plain texts that nothing has escaped yet."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ..comparison.controls import LOUDER_OF
from ..comparison.table import answer, arms_of, cells_of, heads_of
from ..methods import folder_name
from ..untrusted import number, read_json, shown_text
from .found import Study

__all__ = ["Table", "commands", "energies", "environments", "facts", "not_run", "numbers_of", "preflights", "results"]
__all__ += ["sentence", "title"]

MOST = 60
"""Entries of one list that are shown."""
NAME = 60
"""Characters of a name."""
LEADING = re.compile(r"[+-]?\d+(?:\.\d+)?")
FINITE = number(-1e12, 1e12)
OF_ENERGY = ("firing rate", "energy, mJ")
"""Columns that have a table of their own."""
NOTES = "notes"
"""Column of which each text stands under its line."""
OF_FOLDER = {"folder": "a folder of images", "event-folder": "a folder of event frames"}
"""Name of data that have none -> what they are."""
PACKAGE = __name__.partition(".")[0]
WORDS = {"val": "validation", "test": "test"}


@dataclass(frozen=True)
class Table:
    """Cells of a table.

    Attributes:
        heads: of the columns.
        lines: texts, one for each head.
        notes: for each line a text that stands under it, or nothing; empty where no line has one.
    """

    heads: Sequence[str]
    lines: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    @property
    def numeric(self) -> list[bool]:
        """Of each column, whether all of its cells begin with a number or say nothing."""
        return [
            all(_leading(line[at]) is not None or line[at] in ("", "not measured") for line in self.lines)
            for at in range(len(self.heads))
        ]

    @property
    def values(self) -> list[list[float | None]]:
        """What each cell of a column of numbers is sorted by; None for a text, and for nothing."""
        numeric = self.numeric
        return [[_leading(cell) if numeric[at] else None for at, cell in enumerate(line)] for line in self.lines]


def _leading(text: str) -> float | None:
    found = LEADING.match(text)
    return None if found is None else float(found[0])


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
        return f"The teacher of {name} on {data}" if _is_of_teacher(study) else f"{name} on {data}, T={steps}"
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
        return answer(done, lambda name: shown_text(name, NAME))
    arm, rows = next(iter(arms.items()))
    reached = fmean(run.test_accuracy for run in rows if run.test_accuracy is not None)
    of = "one run" if len(rows) == 1 else f"the mean of {len(rows)} seeds"
    name = "The teacher" if _is_of_teacher(study) else shown_text(arm, NAME)
    said = f"{name} reached {reached:.2f} % on the test part, {of}."
    alone = " Nothing was trained beside it, so what the method adds is not known."
    return said + (alone if rows[0].control != arm and not _is_of_teacher(study) else "")


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
            "teacher" if _is_of_teacher(study) else "student",
            asked.get("teacher" if _is_of_teacher(study) else "student"),
        ),
        ("data", of_data),
        ("teacher", None if taught is None else _teacher(taught)),
        ("time steps T", asked.get("time_steps")),
        ("epochs", asked.get("epochs")),
        ("batch size", asked.get("batch_size")),
        ("optimiser", _optimiser(asked)),
        ("seeds", ", ".join(str(seed) for seed in sorted({run.seed for run in study.runs})[:MOST])),
        ("arms", ", ".join(shown_text(arm, NAME) for arm in list(arms)[:MOST])),
    ]
    paper = study.rows[0].paper_accuracy if study.rows else None
    found.append(("the paper's number", None if paper is None else f"{paper:.2f} %"))
    return [(name, str(value)) for name, value in found if value not in (None, "")]


def results(study: Study) -> Table | None:
    """The table of the runs that have ended."""
    if _is_of_teacher(study):
        lines = [
            [f"{row.seed}", f"{row.result.last:.2f}", f"{row.result.best:.2f}", f"{row.result.epochs}"]
            for row in study.rows
            if row.accuracy is not None
        ]
        part = WORDS[study.part]
        return Table(("seed", f"last epoch, {part}, %", f"best epoch, {part}, %", "epochs"), lines) if lines else None
    lines, heads = cells_of(study.runs), heads_of(study.runs)
    shown = [at for at, head in enumerate(heads) if head not in (*OF_ENERGY, NOTES)]
    kept = [at for at in shown if any(line[at] not in ("", "not measured") for line in lines)]
    notes = [line[heads.index(NOTES)] for line in lines]
    return Table([heads[at] for at in kept], [[line[at] for at in kept] for line in lines], notes)


def energies(study: Study) -> Table | None:
    """What one image costs: each arm, and of rows the teacher and the student's ANN twin beside them."""
    lines = []
    arms = arms_of(study.runs)
    detail = {id(run): row.energy or {} for run, row in zip(study.runs, study.rows, strict=False)}
    control = _mean(run.energy_mj for run in arms.get("plain", []))
    for arm, rows in arms.items():
        energy = _mean(run.energy_mj for run in rows)
        if energy is not None:
            rate = _mean(run.firing_rate for run in rows)
            counts = [numbers_of(detail.get(id(run), {}).get("student")) for run in rows]
            beside = "" if not control else f"{energy / control:.2f}"
            rate_text = "" if rate is None else f"{100 * rate:.1f} %"
            lines.append([shown_text(arm, NAME), f"{energy:.4g}", beside, rate_text, *_operations(counts)])
    for name, words in (("ann_twin", "the student as an ANN"), ("teacher", "the teacher")):
        counts = [found for energy in detail.values() if (found := numbers_of(energy.get(name)))]
        energy = _mean(found.get("compute_mj") for found in counts)
        if energy is not None:
            lines.append(
                [words, f"{energy:.4g}", "" if not control else f"{energy / control:.2f}", "", *_operations(counts)]
            )
    heads = ("network", "energy, mJ", "beside plain", "firing rate", "MACs", "ACs")
    kept = [at for at in range(len(heads)) if any(line[at] for line in lines)]
    return Table([heads[at] for at in kept], [[line[at] for at in kept] for line in lines]) if lines else None


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
    """What repeats the runs; and of rows, which are repeated from their records, what made them."""
    made = list(dict.fromkeys(run.command for run in study.runs if run.command))[:MOST]
    if not study.rows:
        return made, []
    paths = [str(row.path) for row in study.rows if row.path is not None and not _is_of_teacher(study)]
    repeating = [f"python -m spikingjelly_ckd rerun {shlex.quote(path)}" for path in paths[:MOST]]
    return (repeating, made) if repeating else (made, [])


def not_run(study: Study) -> list[str]:
    """What is missing: seeds, arms, a control, measurements."""
    arms, found = arms_of(study.runs), list(study.notes)
    for folder in study.folders if study.kind == "comparison" else ():
        found += _of_rehearsal(folder)
        seeds = {run.seed for run in study.runs}
        for path in sorted(folder.glob("checkpoints/seed*/latest.ckpt")):
            if path.parent.name.removeprefix("seed") not in map(str, seeds):
                found.append(
                    f"{path.parent.name} has a checkpoint and no record: it is training, or was stopped. The "
                    "same command goes on with it."
                )
    seeds_of_all = sorted({run.seed for run in study.runs})
    for arm, rows in arms.items():
        name = shown_text(arm, NAME)
        absent = [str(seed) for seed in seeds_of_all if seed not in {run.seed for run in rows}]
        if absent:
            found.append(f"{name}: no record of seed {', '.join(absent[:MOST])}")
        found += [f"{name}, seed {run.seed}: {run.failed}" for run in rows if run.failed is not None]
    if _is_of_teacher(study):
        return list(dict.fromkeys(found))[:MOST]
    if len(seeds_of_all) == 1:
        found.append("A second seed: one seed gives no interval.")
    if not any(run.control == run.arm for run in study.runs):
        found.append("Plain training of the same student: without it nothing says what a method adds.")
    unmeasured = [shown_text(arm, NAME) for arm, rows in arms.items() if all(run.energy_mj is None for run in rows)]
    if unmeasured:
        found.append(f"Energy of {', '.join(unmeasured[:MOST])}: not measured.")
    if study.kind == "row":
        found += [
            f"{shown_text(run.arm, NAME)}, seed {run.seed}: no preflight"
            for run in study.runs
            if not run.preflight and run.arm != "plain"
        ]
    return list(dict.fromkeys(found))[:MOST]


def numbers_of(content: object) -> dict[str, float]:
    """The finite numbers of a mapping, whatever else it holds."""
    if not isinstance(content, Mapping):
        return {}
    return {str(name): float(value) for name, value in content.items() if FINITE.fits(value)}


def _of_rehearsal(folder: Path) -> list[str]:
    """Arms that the rehearsal of a comparison found unfit, and those that have no record yet."""
    path = folder / "rehearsal.json"
    try:
        content = read_json(path) if path.is_file() else None
    except (OSError, ValueError):
        return []
    arms = content.get("arms") if isinstance(content, dict) else None
    with_records = {file.stem.rpartition("_seed")[0] for file in folder.glob("records/*.json")}
    said = []
    for arm, why in arms.items() if isinstance(arms, dict) else ():
        if why is not None:
            said.append(f"{shown_text(arm, NAME)} does not fit: {shown_text(why, 400)}")
        elif folder_name(arm) not in with_records:
            said.append(f"{shown_text(arm, NAME)}: no record")
    return said


def _is_of_teacher(study: Study) -> bool:
    return bool(study.rows) and study.rows[0].method == "teacher"


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


def _operations(counts: Sequence[Mapping[str, float]]) -> list[str]:
    found = [_mean(of.get(name) for of in counts) for name in ("macs", "acs")]
    return ["" if value is None else f"{value / 1e6:.2f} M" for value in found]


def _network(value: object) -> str:
    """``module:function``, whose name alone says enough where it is one of this package."""
    if value is None:
        return "the student"
    module, _, function = str(value).rpartition(":")
    return shown_text(function if module.partition(".")[0] == PACKAGE else value, NAME)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
