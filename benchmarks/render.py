"""Write the tables of README.md and docs/ from the records in benchmarks/results and from the published methods.

python benchmarks/render.py            # rewrite the tables
python benchmarks/render.py --check    # exit 1 if one is out of date

``<!-- table: NAME -->`` begins a table, ``<!-- end -->`` ends it. NAME is one of ``TABLES``, or a folder of the results
that ``methods.py``, ``ablations.py``, ``weights.py`` or ``python -m spikingjelly_ckd compare`` wrote.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import ablations
import gpu_tables
import methods
import speed_tables
import study_tables
from anchors import render_anchors
from cache import render as render_cache
from weights import ARMS
from weights import render as render_weights

from spikingjelly_ckd import published
from spikingjelly_ckd.recipes.comparison.records import read_records
from spikingjelly_ckd.recipes.comparison.table import render as render_comparison
from spikingjelly_ckd.recipes.report.table import interval95, tabulate

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (
    ROOT / "README.md",
    ROOT / "README_cn.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("results", "cache", "speed", "published", "gpu")),
)


def load(pattern: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text("utf8")) for path in sorted(RESULTS.glob(pattern))]


def spread(values: list[float], digits: int = 1) -> str:
    """Mean and standard deviation over the runs."""
    if len(values) < 2:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.fmean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def quickstart() -> str:
    """Three networks over the seeds: last epoch, mean of the last five, best, firing rate, time."""
    runs = load("quickstart_seed*.json")
    if len({(run["split"]["name"], run["split"]["sha256"]) for run in runs}) != 1:
        raise ValueError("the quickstart's records are of unlike splits and cannot share a table")
    lines = [
        "| network | last epoch, % | mean of last five, % | best epoch, % | firing rate | training, s |",
        "|---|---|---|---|---|---|",
    ]
    for name, title in (("teacher", "ANN teacher"), ("plain", "SNN, plain"), ("ckd", "SNN, CKD")):
        found = [run["results"][name] for run in runs]
        rates = [result["firing_rate"] for result in found if "firing_rate" in result]
        cells = [spread([r["accuracy"][key] for r in found]) for key in ("last", "mean_last5", "best")]
        seconds = spread([r["seconds"] for r in found], 0)
        lines.append(f"| {title} | {' | '.join(cells)} | {spread(rates, 3) if rates else '-'} | {seconds} |")
    last = {name: [run["results"][name]["accuracy"]["last"] for run in runs] for name in ("plain", "ckd")}
    difference = [ckd - plain for plain, ckd in zip(last["plain"], last["ckd"], strict=True)]
    args = runs[0]["args"]
    seeds = ", ".join(str(run["args"]["seed"]) for run in runs)
    lines += [
        "",
        f"CKD minus plain at the last epoch, paired by seed: {spread(difference)} points. Seeds {seeds}; "
        f"{args['epochs']} epochs, T={args['T']}, beta={args['beta']}, gamma={args['gamma']}; mean ± standard "
        f"deviation; split `{runs[0]['split']['name']}`. Command: `{runs[0]['command']} --seed S`.",
    ]
    return "\n".join(lines)


def cifar() -> str:
    """ResNet-20 on a CIFAR-10 subset, plain and CKD, over the seeds."""
    return tabulate(load("cifar10_r20_T*.json"), best_on_test=True)


def claims() -> dict[str, float | None]:
    """Every row with a script -> percent that CKDSNN reports; None where nothing is known."""
    sys.path.insert(0, str(EXAMPLES))
    scripts = [path for path in sorted(EXAMPLES.glob("*.py")) if "\nRECIPE = Recipe(" in path.read_text("utf8")]
    recipes = [importlib.import_module(path.stem).RECIPE for path in scripts]
    return {recipe.name: recipe.paper_accuracy for recipe in recipes}


def rows() -> str:
    """The rows of the paper's table: its number, and ours or "not run"."""
    expected = {name: claim for name, claim in claims().items() if claim is not None}
    return tabulate([run for name in expected for run in load(f"{name}_*.json")], expected, best_on_test=True)


def weights() -> str:
    """Validation accuracy against the weight of SAMD."""
    runs = json.loads((RESULTS / "weights.json").read_text("utf8"))
    assert {run["arm"] for run in runs} <= set(ARMS)
    return render_weights(runs)


def cache() -> str:
    """An epoch from the teacher cache beside plain training and the live teacher."""
    found = load("cache.json")
    return render_cache(found[0]) if found else "not measured yet"


def cache_views() -> str:
    """Few augmentations of each image from the cache, beside the live teacher with another one in every epoch."""
    live = {run["seed"]: run for run in load("cifar10_r20_T1_ckd_seed*.json")}
    runs = load("cache_views/*.json")
    if not runs:
        return "not run"
    for run in runs:
        beside = live[run["seed"]]
        if not run["finished"]:
            raise ValueError("a record of cache views is of a run that was not finished")
        if run["recipe"] != beside["recipe"] or run["data"] != beside["data"]:
            raise ValueError("a record of cache views is of another recipe or split than its live teacher's")
        if run["teacher"]["sha256"] != beside["teacher"]["sha256"]:
            raise ValueError("a record of cache views is of another teacher than its live teacher's")
    last = {seed: run["accuracy"]["last"] for seed, run in live.items()}
    epochs = live[0]["recipe"]["epochs"]
    arms = {f"live teacher, {epochs} epochs": last}
    for views in sorted({run["options"]["teacher_cache"] for run in runs}, reverse=True):
        own = [run for run in runs if run["options"]["teacher_cache"] == views]
        arms[str(views)] = {run["seed"]: run["accuracy"]["last"] for run in own}
    head = "| views of each image | seeds | last epoch, % (95 %) | paired to the live teacher (95 %) |"
    lines = [head, "|---|---|---|---|"]
    for arm, found in arms.items():
        paired = "" if found is last else with_interval([found[seed] - last[seed] for seed in found], "+")
        seeds = " ".join(map(str, sorted(found)))
        lines.append(f"| {arm} | {seeds} | {with_interval(list(found.values()))} | {paired} |")
    command = runs[0]["environment"]["command"]
    return "\n".join([*lines, "", f"Split `{live[0]['data']['split']}`, T=1. Command of one run: `{command}`."])


def compared(folder: str, arms: Iterable[str], beside: Mapping[str, object] | None = None) -> str:
    """Runs of one protocol, best first: each arm over its seeds, and its difference to plain training by seed.

    ``beside`` are the paper's figures by arm, in a column of their own.
    """
    runs = load(f"{folder}/*_seed*.json")
    protocol = {(r["split_hash"], r["teacher"]["sha256"], r["batch"], r["accuracy"]["epochs"]) for r in runs}
    if len(protocol) != 1:
        raise ValueError(f"the records in {folder} are of {len(protocol)} protocols and cannot share a table")
    found = {arm: {run["seed"]: run for run in runs if run["method"] == arm} for arm in arms}
    last = {arm: {seed: run["accuracy"]["last"] for seed, run in seeds.items()} for arm, seeds in found.items()}
    rows = [["method", "seeds", "last epoch, % (95 %)", "paired to plain (95 %)", "paper"]]
    for arm in sorted(found, key=lambda arm: statistics.fmean(last[arm].values()) if last[arm] else 0.0, reverse=True):
        both = sorted(last[arm].keys() & last["plain"].keys()) if arm != "plain" else []
        rows.append(
            [
                arm,
                " ".join(map(str, sorted(last[arm]))),
                with_interval(list(last[arm].values())) or "not run",
                with_interval([last[arm][seed] - last["plain"][seed] for seed in both], "+"),
                str((beside or {}).get(arm, "")),
            ]
        )
    shown = rows if beside else [row[:-1] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in shown]
    run = runs[0]
    return "\n".join([
        lines[0], "|---" * len(shown[0]) + "|", *lines[1:], "",
        f"Teacher {run['teacher']['accuracy']['last']:.1f} %; T={run['T']}, {run['accuracy']['epochs']} epochs, batch "
        f"{run['batch']}, split `{run['split']}`; mean ± standard deviation over the seeds.",
    ])  # fmt: skip


def published_methods() -> str:
    """Losses, weights, task loss, schedule, student and source of every published method with its defaults."""
    lines = [
        "| function | losses: weight | task loss: weight | schedule | the student needs | source |",
        "|---|---|---|---|---|---|",
    ]
    for name, function in published.METHODS.items():
        method = function()
        losses = ", ".join(f"`{type(loss).__name__}`: {weight:g}" for loss, weight in method.losses.values())
        task = "cross-entropy" if method.task_loss is None else f"`{type(method.task_loss).__name__}`"
        schedule = "; ".join(f"{term}: {factor}" for term, factor in method.schedule.items())
        cells = [f"`{name}()`", losses or "none", f"{task}: {method.task_weight:g}", schedule or "none"]
        lines.append(f"| {' | '.join(cells)} | {method.student} | {method.source} |")
    return "\n".join(lines)


def with_interval(values: list[float], sign: str = "") -> str:
    """Mean, standard deviation and half width of the 95 % interval."""
    if not values:
        return ""
    mean = f"{statistics.fmean(values):{sign}.1f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {statistics.stdev(values):.1f} (± {interval95(values):.1f})"


TABLES: dict[str, Callable[[], str]] = {
    "published": published_methods,
    "methods_digits": lambda: compared("methods_digits", methods.ARMS),
    "methods_cifar10": lambda: compared("methods_cifar10", methods.CIFAR_ARMS),
    "ablations_digits": lambda: compared("ablations_digits", ablations.ARMS, ablations.PAPER),
    "quickstart": quickstart,
    "cifar": cifar,
    "rows": rows,
    "anchors": lambda: render_anchors(claims()),
    "weights": weights,
    "cache": cache,
    "cache_views": cache_views,
    **speed_tables.TABLES,
    **gpu_tables.TABLES,
    **study_tables.TABLES,
}


def rendered(page: Path) -> str:
    """The page with every table made anew."""
    block = re.compile(r"(<!-- table: ([\w/]+) -->\n).*?(<!-- end -->)", re.S)
    return block.sub(lambda m: f"{m[1]}{table(m[2])}\n{m[3]}", page.read_text("utf8"))


def table(name: str) -> str:
    """The table of a name in :data:`TABLES`, or else of the comparison in that folder of the results."""
    return TABLES[name]() if name in TABLES else render_comparison(read_records(RESULTS / name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    stale = [page for page in PAGES if rendered(page) != page.read_text("utf8")]
    if args.check and stale:
        sys.exit(f"out of date, run python benchmarks/render.py: {', '.join(page.name for page in stale)}")
    for page in stale:
        page.write_text(rendered(page), "utf8")


if __name__ == "__main__":
    main()
