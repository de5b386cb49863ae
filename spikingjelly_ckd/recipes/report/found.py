"""The runs under given paths, put together into studies: what can be compared, side by side, and nothing else.

A study is one comparison, the runs of one row under one setting, or the runs of one benchmark; each of its runs is an
:class:`~spikingjelly_ckd.recipes.comparison.records.ArmRecord`, whatever wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..comparison.comparable import settings_asked
from ..comparison.controls import CONTROL
from ..comparison.records import KIND, RECORDS, ArmRecord
from ..records.checks import KINDS as KINDS_OF_ROW
from ..records.files import READABLE
from ..records.schema import Record
from ..untrusted import check_kinds, list_of, number, read_json, shown_text
from .settings import run_key, settings_text, shared_settings

__all__ = ["Study", "find_studies"]

MOST_FILES = 10_000
BENCHMARK: Mapping[str, Any] = {name: KINDS_OF_ROW[""][name] for name in ("method", "seed", "teacher", "environment")}
HISTORY = list_of(number(0, 100))


@dataclass(frozen=True, kw_only=True)
class Study:
    """Runs that share everything but the method and the seed.

    Attributes:
        kind: what wrote them.
        name: of the comparison's folder, the row or the benchmark.
        runs: one for each arm and seed; of rows and benchmarks, in the form of a comparison's.
        rows: the records of rows that ``runs`` were made of; none otherwise.
        part: of the data that the accuracies of the history are of.
        folders: where the runs are.
        notes: what is known to be missing, beside what the runs themselves say.
    """

    kind: Literal["comparison", "row", "benchmark"]
    name: str
    runs: Sequence[ArmRecord]
    rows: Sequence[Record] = ()
    part: Literal["val", "test"] = "val"
    folders: Sequence[Path] = ()
    notes: Sequence[str] = ()

    @classmethod
    def of_comparison(cls, folder: Path, runs: Sequence[ArmRecord], notes: Sequence[str] = ()) -> Study:
        """The runs of one comparison, plain training first.

        Args:
            folder: of the comparison.
            runs: of the same data and settings.
            notes: what is known to be missing.
        """
        name = folder.resolve().name
        return cls(kind="comparison", name=name, runs=sorted(runs, key=_plain_first), folders=[folder], notes=notes)

    @property
    def is_smoke(self) -> bool:
        """Whether its figures mean nothing."""
        return any(run.asked.get("smoke") is True for run in self.runs)

    @property
    def is_of_teacher(self) -> bool:
        """Whether it is the training of a teacher."""
        return bool(self.rows) and self.rows[0].method == "teacher"


def _plain_first(run: ArmRecord) -> tuple[bool, bool]:
    return run.arm != CONTROL, run.control != run.arm


@dataclass
class _Pile:
    """What was read so far."""

    comparisons: dict[tuple[Path, str], list[ArmRecord]] = field(default_factory=dict)
    rows: dict[tuple[str, ...], list[Record]] = field(default_factory=dict)
    benchmarks: dict[tuple[str, ...], list[ArmRecord]] = field(default_factory=dict)
    paths: dict[object, Path] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def is_new(self, key: object, path: Path) -> bool:
        """False, which is noted, for a run that is there already."""
        first = self.paths.setdefault(key, path)
        if first is path:
            return True
        if first.resolve() != path.resolve():
            self.left_out[str(path)] = (
                f"its settings, method and seed are those of {first}, and a table takes one of them"
            )
        return False


def find_studies(paths: Iterable[str | Path]) -> tuple[list[Study], dict[str, str]]:
    """Read records and put together what belongs together.

    Args:
        paths: records of rows, comparisons and benchmarks, or folders, which are searched. The teachers that runs of a
            folder trained for themselves do not become studies.

    Returns:
        The studies, comparisons first; and path of each record that was left out -> why.

    Raises:
        FileNotFoundError: a path is not there.
        ValueError: no record is in any of them.
    """
    pile = _Pile()
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"{path}: there is no such file or folder")
        if not path.is_dir():
            _read(path, pile, named=True)
            continue
        teachers: list[Path] = []
        files = sorted(path.rglob("*.json"))
        for file in files[:MOST_FILES]:
            _read(file, pile, teachers=teachers)
        if len(files) > MOST_FILES:
            pile.left_out[str(path)] = f"only the first {MOST_FILES} of its {len(files)} files were read"
        if not (pile.comparisons or pile.rows or pile.benchmarks):
            for file in teachers:
                _read(file, pile, named=True)
    studies = [*_comparisons(pile), *_rows(pile), *_benchmarks(pile)]
    if not studies:
        why = "".join(f"; {path}: {text}" for path, text in list(pile.left_out.items())[:3])
        where = ", ".join(map(str, paths))
        raise ValueError(f"there is no record of a run in {where}{why}; pass the folder of a run, or its record.json")
    return studies, pile.left_out


def _read(path: Path, pile: _Pile, *, named: bool = False, teachers: list[Path] | None = None) -> None:
    """Add one file; in a folder, files that do not look like records are passed over."""
    try:
        content = read_json(path)
        is_record = isinstance(content, dict) and content.get("format") in READABLE
        kind = _kind(content) if is_record else None
        if kind == "arm":
            _add_arm(ArmRecord.read(path), path, pile)
        elif kind == "row":
            record = Record.read(path)
            if record.method == "teacher" and teachers is not None:
                teachers.append(path)
            else:
                _add_row(record, path, pile)
        elif kind == "benchmark":
            _add_benchmark(content, path, pile)
        elif named or path.name == "record.json" or path.parent.name == RECORDS:
            pile.left_out[str(path)] = f"no record (format {' or '.join(map(str, READABLE))}) of a training"
    except (OSError, ValueError) as error:
        why = str(error).replace(f"{path}: ", "").replace(f"{path} ", "it ")
        pile.left_out[str(path)] = shown_text(why, 400)


def _kind(content: Mapping[str, Any]) -> Literal["arm", "row", "benchmark"] | None:
    if content.get("kind") == KIND:
        return "arm"
    if "row" in content:
        return "row"
    return "benchmark" if "method" in content and "accuracy" in content else None


def _add_row(record: Record, path: Path, pile: _Pile) -> None:
    if pile.is_new((run_key(record), record.seed, record.data.split_hash), path):
        shared, of_teacher = settings_text(shared_settings(record)), str(record.method == "teacher")
        data = (record.data.name, record.data.split_hash, str(record.data.val_images))
        own = (record.row, *data, shared, of_teacher, str(record.smoke))
        pile.rows.setdefault(own, []).append(record)


def _add_arm(record: ArmRecord, path: Path, pile: _Pile) -> None:
    folder = path.parent.parent if path.parent.name == RECORDS else path.parent
    common = json.dumps([settings_asked(record), record.data], sort_keys=True)
    if pile.is_new((folder, common, record.arm, record.seed), path):
        pile.comparisons.setdefault((folder, common), []).append(record)


def _add_benchmark(content: Mapping[str, Any], path: Path, pile: _Pile) -> None:
    """A record of ``benchmarks/methods.py`` as one of a comparison; its accuracies are of the test part."""
    check_kinds(content, BENCHMARK, "the record")
    check_kinds(content["accuracy"], KINDS_OF_ROW["accuracy"], "the record, accuracy")
    check_kinds(content, {"history": HISTORY}, "the record")
    named = {name: str(content.get(name, "unknown")) for name in ("set", "split", "split_hash", "T", "batch")}
    epochs = content["accuracy"].get("epochs")
    teacher = content.get("teacher")
    found = teacher.get("accuracy") if teacher else None
    record = ArmRecord(
        arm=content["method"],
        control=CONTROL,
        seed=content["seed"],
        method={name: content[name] for name in ("losses", "task", "source") if name in content},
        asked={"time_steps": named["T"], "batch_size": named["batch"], "epochs": epochs},
        data={"name": named["set"], "split": named["split"], "split_hash": named["split_hash"]},
        teacher=None
        if not teacher
        else {
            "source": f"sha256 {shown_text(teacher.get('sha256'))[:8]}",
            "accuracy": found.get("last") if isinstance(found, dict) else None,
            "part": "test",
        },
        history=[{"val_accuracy": value} for value in content.get("history", [])],
        test_accuracy=content["accuracy"].get("last"),
        environment=content.get("environment", {}),
        command=_command(content.get("environment", {})),
    )
    key = (str(path.parent), *named.values(), str(epochs))
    if pile.is_new((key, record.arm, record.seed), path):
        pile.benchmarks.setdefault(key, []).append(record)


def _comparisons(pile: _Pile) -> Iterable[Study]:
    for (folder, _), runs in pile.comparisons.items():
        yield Study.of_comparison(folder, runs)


def _benchmarks(pile: _Pile) -> Iterable[Study]:
    for key, runs in pile.benchmarks.items():
        folder = Path(key[0])
        yield Study(
            kind="benchmark",
            name=folder.resolve().name,
            runs=sorted(runs, key=_plain_first),
            part="test",
            folders=[folder],
        )


def _rows(pile: _Pile) -> Iterable[Study]:
    for rows in pile.rows.values():
        rows.sort(key=lambda record: record.method != CONTROL)
        names = _arm_names(rows)
        part: Literal["val", "test"] = "test" if rows[0].data.val_images is None else "val"
        yield Study(
            kind="row",
            name=rows[0].row,
            runs=[_as_arm(record, name, part) for record, name in zip(rows, names, strict=True)],
            rows=rows,
            part=part,
            folders=[record.path.parent for record in rows if record.path is not None],
        )


def _arm_names(rows: Sequence[Record]) -> list[str]:
    """The method of each record, with the settings in which records of this method differ."""
    found = [(record.method, run_key(record)[1]) for record in rows]
    names = []
    for record, (method, settings) in zip(rows, found, strict=True):
        others = {other for name, other in found if name == method}
        if len(others) == 1:
            names.append(method)
            continue
        own = dict(item.partition("=")[::2] for item in settings.split("; "))
        differing = [
            f"{name}={value}" for name, value in own.items() if any(f"{name}={value}" not in other for other in others)
        ]
        names.append(f"{record.method} ({', '.join(differing)})")
    return names


def _as_arm(record: Record, name: str, part: str) -> ArmRecord:
    energy = (record.energy or {}).get("student", {})
    epochs = len(record.history)
    stopped = None if record.finished else f"stopped after {epochs} of {record.recipe.get('epochs')} epochs"
    teacher = record.teacher
    return ArmRecord(
        arm=name,
        control=CONTROL,
        seed=record.seed,
        asked={**record.recipe, "smoke": record.smoke},
        data={"name": record.data.name, "split": record.data.split, "split_hash": record.data.split_hash},
        teacher=None
        if teacher is None
        else {"source": teacher.source, "sha256": teacher.sha256, "accuracy": teacher.accuracy, "part": part},
        history=[{"val_accuracy": row[f"{part}_acc1"]} for row in record.history],
        val_accuracy=record.result.last if record.finished and part == "val" else None,
        test_accuracy=record.test_accuracy if record.finished else None,
        firing_rate=energy.get("firing_rate"),
        energy_mj=energy.get("compute_mj"),
        failed=stopped,
        preflight=record.preflight,
        environment=record.environment,
        command=_command(record.environment),
    )


def _command(environment: Mapping[str, Any]) -> str:
    command = environment.get("command", "")
    return command if isinstance(command, str) else ""
