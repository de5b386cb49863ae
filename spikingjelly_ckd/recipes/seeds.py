"""A row with several seeds: one run after the other, then mean and interval."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors.arguments import ArgumentValueError
from .files import is_first_process, say
from .options import Run
from .recipe import Recipe
from .records.schema import Record
from .report.table import interval95
from .training.resume import check_same_run, read_settings, settings_of

__all__ = ["distil_seeds"]


def distil_seeds(recipe: Recipe, run: Run, distil: Callable[[Recipe, Run, Path | None], Record]) -> dict[str, Any]:
    """The runs of a row with the seeds that a run names, each in a folder of its own, with one teacher.

    A seed that is done is left as it is, and one that was broken off goes on from its last whole epoch, so the same
    command continues where it was stopped. ``overwrite`` begins all of them anew.

    Args:
        recipe: of the row, as it is run.
        run: its flags, with ``seeds``.
        distil: what runs one seed, see :func:`~spikingjelly_ckd.recipes.row.distil`.

    Returns:
        ``runs``, the records as plain data; ``mean`` of the accuracies on the test set after the last epoch, percent;
        ``interval95``, half the width of its 95 % interval, None for one seed.

    Raises:
        ValueError: a checkpoint to resume from was named, or a seed twice; a folder holds a run with other settings, or
            of other data.
    """
    if run.resume not in (None, "latest"):
        raise ArgumentValueError("resume", "names one run; leave it out, since the same command goes on by itself")
    seeds = list(run.seeds or ())
    for seed, times in Counter(seeds).items():
        if times > 1:
            raise ArgumentValueError("seeds", f"must name each seed once, got {seed} {times} times")
    first = replace(run, seed=seeds[0]).folder(recipe)
    records: list[Record] = []
    for place, seed in enumerate(seeds, 1):
        one = replace(run, seed=seed)
        folder = one.folder(recipe)
        done = None if run.overwrite or run.smoke else _finished(folder, recipe, one)
        if done is None:
            say(f"Seed {seed} ({place} of {len(seeds)}) in {folder}")
            goes_on = not (run.overwrite or run.smoke) and read_settings(folder) is not None
            done = distil(recipe, replace(one, resume="latest" if goes_on else None), first if records else None)
        else:
            say(f"Seed {seed} ({place} of {len(seeds)}) is done, in {folder}")
        _check_same_data(records, done)
        _check_same_student(first, folder)
        records.append(done)
    accuracies = [record.test_accuracy or 0.0 for record in records]
    mean, half = statistics.mean(accuracies), interval95(accuracies)
    if is_first_process():
        print(_closing(records, accuracies, mean, half))
    return {"runs": [record.to_json() for record in records], "mean": mean, "interval95": half}


def _finished(folder: Path, recipe: Recipe, run: Run) -> Record | None:
    """The record of a seed that is done; None where it is to be run."""
    path = folder / "record.json"
    if not path.is_file() or not (folder / "student.safetensors").is_file():
        return None
    record = Record.read(path)
    check_same_run(folder, read_settings(folder) or {}, settings_of(recipe, run))
    return record if record.finished and record.test_accuracy is not None else None


def _check_same_data(records: Sequence[Record], other: Record) -> None:
    for first in records[:1]:
        if first.data.split_hash != other.data.split_hash:
            raise ValueError(
                f"seed {other.seed} ran on split {other.data.split} ({other.data.split_hash[:8]}), and seed "
                f"{first.seed} on {first.data.split} ({first.data.split_hash[:8]}): their accuracies have no common "
                "mean; pass another --output-dir"
            )


def _check_same_student(first: Path, other: Path) -> None:
    """Raise where another seed has another student, whose code changed between two commands; see ``code_of``."""
    built = {name: value for name, value in (read_settings(other) or {}).items() if name.startswith("what the ")}
    check_same_run(first, read_settings(first) or {}, built)


def _closing(records: Sequence[Record], accuracies: Sequence[float], mean: float, half: float | None) -> str:
    """The accuracies of the seeds in two lines."""
    first = records[0]
    each = ", ".join(f"{value:.2f} % (seed {run.seed})" for run, value in zip(records, accuracies, strict=True))
    head = f"{first.row}, {first.method}, {len(records)} seeds, test accuracy after the last epoch: "
    if half is None:
        spread = f"{mean:.2f} %; one seed gives no interval"
    else:
        spread = f"{mean:.2f} ± {half:.2f} % (mean and 95 % interval), standard deviation"
        spread += f" {statistics.stdev(accuracies):.2f}"
    return f"{head}{spread}{' (smoke run, which says nothing)' if first.smoke else ''}\n  {each}"
