"""Run records into one table: ``python -m spikingjelly_ckd table RECORD.json ...``, or a folder that holds them.

One line for each row, method and setting over its seeds: mean, standard deviation and 95 % interval, the paper's number
beside them, and the difference to plain training paired by seed. Figures are of the test set: after the last epoch, the
mean of the last five, and at the epoch that was best on the validation part of runs that have one. The best epoch on
the test set itself, as in papers of the field, is shown only where it is asked for, and never alone. Records of one
data set on different splits are refused, and those of one setting on samples that differ under equal names. Texts of a
record are shown as they are: neither a terminal nor Markdown acts on them.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ...errors.installed import needs_packages
from ..files import until_reader_leaves
from ..parser import Parser
from ..records.files import told_twice
from ..records.schema import Record
from ..untrusted import markdown_cell, shown_text
from .settings import run_key, settings_of, settings_text, shared_settings

with needs_packages("the table of records"):
    from scipy.stats import t as student_t

    from ..comparison.table import render
    from .search import LINE, Found, find_records

__all__ = ["interval95", "main", "run_key", "settings_text", "shared_settings", "tabulate"]

BEST_ON_TEST = "best on test"
FIGURES: dict[str, Callable[[Record], float | None]] = {
    "last epoch": lambda run: run.test_accuracy,
    "mean of last 5": lambda run: run.result.mean_last_5 if run.result.part == "test" else None,
    "best on validation": lambda run: None if run.test is None else run.test.best,
    BEST_ON_TEST: lambda run: run.result.best,
}
"""Head of a column -> accuracy on the test set, percent."""


def interval95(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % interval of a mean, by Student's t.

    Args:
        values: one for each seed.

    Returns:
        Half width, same unit; None for fewer than two values.

    Example:
        >>> round(interval95([1.0, 2.0, 3.0]), 3)
        2.484
    """
    if len(values) < 2:
        return None
    quantile = float(student_t.ppf(0.975, len(values) - 1))
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def tabulate(
    records: Sequence[Record | Mapping[str, Any]],
    expected: Mapping[str, float | None] | None = None,
    *,
    best_on_test: bool = False,
) -> str:
    """The table, as Markdown.

    Args:
        records: of finished runs, also as plain data; the path of one is named where it cannot stand in the table.
        expected: row -> the paper's number; a row without a record says "not run".
        best_on_test: show the best epoch, chosen on the test set, and compare it with the paper's number.

    Returns:
        Lines of text; a column without an entry is left out.

    Raises:
        ValueError: nothing to show, unlike splits, an unfinished or smoke run, the same run twice, or the best on the
            test set of runs that chose on a validation part.

    Example:
        >>> from spikingjelly_ckd.recipes.records.parts import RecordedData
        >>> data = RecordedData(name="digits", split="40-20-40", split_hash="0" * 64)
        >>> common = {"row": "digits", "seed": 0, "data": data, "recipe": {"epochs": 1}}
        >>> reached = {"plain": 60.0, "kd": 62.5}
        >>> print(tabulate([
        ...     Record(method=method, **common).after([{"epoch": 1, "test_acc1": accuracy, "seconds": 1.5}])
        ...     for method, accuracy in reached.items()]))
        | row | method | split | seeds | last epoch | mean of last 5 | paired to plain |
        | --- | --- | --- | --- | --- | --- | --- |
        | `digits` | plain | 40-20-40 (00000000) | 0 | 60.00 | 60.00 |  |
        | `digits` | kd | 40-20-40 (00000000) | 0 | 62.50 | 62.50 | +2.50 |
    """
    runs = [record if isinstance(record, Record) else Record.from_json(record) for record in records]
    _refuse(runs, best_on_test=best_on_test)
    figures = {head: read for head, read in FIGURES.items() if best_on_test or head != BEST_ON_TEST}
    gap = BEST_ON_TEST if best_on_test else "last epoch"
    heads = ("row", "method", "setting", "split", "seeds", *figures, "paper", f"{gap.split()[0]} - paper")
    heads = (*heads, "paired to plain", "firing rate; energy")
    groups: dict[tuple[str, str, str], dict[int, Record]] = defaultdict(dict)
    for run in runs:
        key = run_key(run)
        twin = groups[key].get(run.seed)
        if twin is not None:
            twice = told_twice(f"row {key[0]}, method {key[2]}, seed {run.seed}", twin.path, run.path)
            raise ValueError(f"{twice} ({key[1]})")
        groups[key][run.seed] = run
    varying = _varying(runs)

    def place(key: tuple[str, str, str]) -> tuple[str, ...]:
        row, setting, method = key
        return row, settings_text(shared_settings(_first(groups[key]))), "" if method == "plain" else method, setting

    lines = [_line(groups, key, varying, figures, gap) for key in sorted(groups, key=place)]
    ran = {run.row for run in runs}
    for row, number in (expected or {}).items():
        if row not in ran:
            lines.append([_code(row), "not run", *[""] * (3 + len(figures)), _number(number), *[""] * 3])
    if not lines:
        raise ValueError("no record was given")
    kept = [column for column in range(len(heads)) if any(line[column] for line in lines)]
    table = [[line[column] for column in kept] for line in [heads, ["---"] * len(heads), *lines]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in table)


def _refuse(records: Sequence[Record], *, best_on_test: bool) -> None:
    splits: dict[str, dict[str, str]] = defaultdict(dict)
    contents: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records:
        path = "" if record.path is None else f"{record.path}: "
        label = f"{path}row {record.row}, method {record.method}, seed {record.seed}"
        if record.method == "teacher":
            raise ValueError(f"{label} is of a teacher, and this table is of students")
        if record.smoke:
            raise ValueError(f"{label} is a smoke run, which says nothing about accuracy")
        if not record.finished:
            raise ValueError(f"{label} is unfinished: {record.result.epochs} epochs; resume it, or leave it out")
        if record.test_accuracy is None:
            raise ValueError(f"{label} was stopped before it looked at the test set; resume it, or leave it out")
        if best_on_test and record.result.part == "val":
            raise ValueError(f"{label} chose its best epoch on a validation part; leave out --best-on-test")
        data = record.data
        own = data.name in ("folder", "event-folder")
        name = f"{record.row}: {data.name}" if own else data.name
        splits[name][data.split_hash] = f"{data.split} {data.split_hash[:8]}"
        if data.content is not None:
            contents[name, settings_text(shared_settings(record))].add(data.content)
    for name, found in splits.items():
        if len(found) > 1:
            raise ValueError(
                f"{name} is there on {len(found)} splits ({', '.join(sorted(found.values()))}); their accuracies "
                "cannot be compared, so make one table for each"
            )
    for (name, _), digests in contents.items():
        if len(digests) > 1:
            raise ValueError(
                f"{name} is there with {len(digests)} contents under equal names ({', '.join(sorted(digests))}: digits "
                'of "content" in the records); their accuracies cannot be compared, so make one table for each'
            )


def _first(runs: Mapping[int, Record]) -> Record:
    return next(iter(runs.values()))


def _varying(records: Sequence[Record]) -> set[tuple[str, str]]:
    """Settings of a row that differ between its records."""
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records:
        for name, value in settings_of(record).items():
            values[record.row, name].add(str(value))
    return {key for key, found in values.items() if len(found) > 1}


def _line(
    groups: Mapping[tuple[str, str, str], Mapping[int, Record]],
    key: tuple[str, str, str],
    varying: set[tuple[str, str]],
    figures: Mapping[str, Callable[[Record], float | None]],
    gap: str,
) -> list[str]:
    row, _, method = key
    runs = groups[key]
    first = _first(runs)
    settings = settings_of(first)
    shown = [f"{name}={value}" for name, value in settings.items() if (row, name) in varying or name == "time_steps"]
    found = {
        head: [value for run in runs.values() if (value := read(run)) is not None] for head, read in figures.items()
    }
    number = first.paper_accuracy
    data = first.data
    split = f"{data.split}{'' if data.complete else ', incomplete'} ({data.split_hash[:8]})"
    return [
        _code(row),
        markdown_cell(method),
        markdown_cell(", ".join(shown)),
        markdown_cell(split),
        " ".join(str(seed) for seed in sorted(runs)),
        *(_spread(values) if values else "" for values in found.values()),
        _number(number),
        "" if number is None else f"{statistics.mean(found[gap]) - number:+.2f}",
        _paired(groups, key),
        _cost(runs),
    ]


def _paired(groups: Mapping[tuple[str, str, str], Mapping[int, Record]], key: tuple[str, str, str]) -> str:
    """Last epoch minus that of plain training with the same seed and settings."""
    if key[2] == "plain":
        return ""
    wanted = shared_settings(_first(groups[key]))
    for (row, _, method), runs in groups.items():
        if (row, method) == (key[0], "plain") and shared_settings(_first(runs)) == wanted:
            seeds = sorted(set(runs) & set(groups[key]))
            gaps = [_test(groups[key][seed]) - _test(runs[seed]) for seed in seeds]
            return _spread(gaps, sign="+") if gaps else "no common seed"
    return "no plain runs"


def _test(run: Record) -> float:
    return cast(float, run.test_accuracy)  # the table refuses a run that has none


def _code(text: str) -> str:
    return f"`{markdown_cell(text)}`"


def _spread(values: Sequence[float], sign: str = "") -> str:
    mean = f"{statistics.mean(values):{sign}.2f}"
    half = interval95(values)
    return mean if half is None else f"{mean} ± {statistics.stdev(values):.2f} (95 %: ± {half:.2f})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _cost(runs: Mapping[int, Record]) -> str:
    found = [run.energy["student"] for run in runs.values() if run.energy]
    if not found:
        return ""
    energy = f"{statistics.mean(item['compute_mj'] for item in found):.3g} mJ"
    rates = [100 * item["firing_rate"] for item in found if item["firing_rate"] is not None]
    return f"{statistics.mean(rates):.1f} %; {energy}" if rates else energy


def main(argv: Sequence[str] | None = None) -> int:
    """The command line.

    Args:
        argv: None for ``sys.argv``.

    Returns:
        0, or 1 where the records cannot stand in one table.
    """
    parser = Parser("python -m spikingjelly_ckd table", description="Run records into one table.")
    parser.add_argument("records", nargs="+", type=Path, help="records, or folders to search for them")
    parser.add_argument("--best-on-test", action="store_true", help="show the best epoch, chosen on the test set, too")
    arguments = parser.parse_args(argv)
    try:
        found = Found()
        for path in arguments.records:
            find_records(path, found)
        tables = [tabulate(found.rows, best_on_test=arguments.best_on_test)] if found.rows else []
        for folder, records in found.comparisons.items():
            tables.append(f"Comparison in {shown_text(folder, LINE)}\n\n{render(records)}")
        with until_reader_leaves():
            print("\n\n".join(tables))
    except (OSError, ValueError) as error:
        print(f"table: {shown_text(error, LINE)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
