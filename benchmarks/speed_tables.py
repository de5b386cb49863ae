"""The tables of docs/speed.md, from the records of benchmarks/speed.py."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from timing import ratios

RESULTS = Path(__file__).parent / "results"
NOT_RUN = "not run"
HIGH = 1.10
REASONS = {
    "ReviewKD": "its own fusion: 3x3 convolutions on the maps of every stage, forward and backward",
}
"""Why a method costs more than 1.10 of the floor."""


def pairs(what: str) -> dict[str, Any]:
    path = RESULTS / f"speed_{what}.json"
    return json.loads(path.read_text("utf8"))["pairs"] if path.exists() else {}


def middle(values: Sequence[float], digits: int = 3) -> str:
    """Median with quartiles."""
    low, median, high = values
    return f"{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def how(found: dict[str, Any]) -> str:
    """What the records of a table were made with."""
    texts = []
    for row in found.values():
        where, versions = row["environment"], row["environment"]["versions"]
        texts.append(
            f"{where['device']}, threads: {where['threads']}, torch {versions['torch']}, SpikingJelly "
            f"{versions['spikingjelly']}, {row['rounds']} rounds; medians, quartiles in brackets. "
            f"Command: `python benchmarks/{where['command']}`."
        )
    return "".join(f"\n\n{text}" for text in dict.fromkeys(texts))


def networks(row: dict[str, Any]) -> str:
    """The networks, and where and how they ran where that is not a CPU in fp32."""
    marks = ["on CUDA"] if row.get("device") == "cuda" else []
    marks += [f"{row['autocast']} autocast"] if row.get("autocast") else []
    return ", ".join([row["title"], *marks])


def steps() -> str:
    found = pairs("steps")
    arms = ["CKD", "CKD, weight-CAM", "CKD, teacher_stream", "as released"]
    arms = [arm for arm in arms if any(arm in row["ratio"] for row in found.values())]
    rows = []
    for row in found.values():
        ratio, seconds = row["ratio"], row["seconds"]
        speeds = [row["batch"] / seconds[arm][1] for arm in ("plain", "floor", "CKD")]
        cells = [f"{speed:.{0 if speed >= 10 else 1}f}" for speed in speeds]
        cells += [f"{100 * ratio['teacher'][1]:.0f} %", *(middle(ratio[arm]) if arm in ratio else "-" for arm in arms)]
        rows.append([networks(row), str(row["batch"]), *cells])
    speeds = [f"{arm}, images/s" for arm in ("plain", "floor", "CKD")]
    head = ["networks", "batch", *speeds, "teacher's share of the floor", *(f"{arm} / floor" for arm in arms)]
    return table(head, rows) + how(found)


def compiled() -> str:
    found = pairs("compiled")
    arms = ("CKD", "floor, compiled", "CKD, compiled")
    rows = []
    for row in found.values():
        against = ratios(row["raw"]["CKD, compiled"], row["raw"]["floor, compiled"])
        rows.append([networks(row), *(middle(row["ratio"][arm]) for arm in arms), middle(against)])
    head = [
        "networks",
        "CKD / floor",
        "compiled floor / floor",
        "compiled CKD / floor",
        "compiled CKD / compiled floor",
    ]
    return table(head, rows) + how(found)


def methods() -> str:
    found = pairs("methods")
    rows = []
    for row in found.values():
        for arm, ratio in sorted(row["ratio"].items(), key=lambda item: item[1][1]):
            if arm not in ("plain", "teacher", "floor"):
                if ratio[1] > HIGH and arm not in REASONS:
                    raise ValueError(f"{arm} costs {ratio[1]:.2f} of the floor: say why in REASONS")
                rows.append([arm, middle(ratio), REASONS[arm] if ratio[1] > HIGH else ""])
    title = "".join(f"\n\n{networks(row)}, batch {row['batch']}." for row in found.values())
    return table(["method", "step / floor", "why above 1.10"], rows) + title + how(found)


def neurons() -> str:
    found = pairs("neurons")
    arms = ("neuron", "plain", "CKD")
    rows = [[networks(row), str(row["batch"]), *(middle(row["ratio"][arm]) for arm in arms)] for row in found.values()]
    return table(["networks", "batch", "a neuron alone", "plain step", "CKD step"], rows) + how(found)


def prepared() -> str:
    found = pairs("prepared")
    rows = []
    for row in found.values():
        over, ratio, forward, on = row["over_plain"], row["ratio"], row["forward"], networks(row)
        rows.append([on, "eager, as it was", "1", middle(over["CKD"], 2), middle(ratio["CKD"])])
        if "teacher, BatchNorm folded" in forward:
            rows.append([on, "BatchNorm folded (a trial)", middle(forward["teacher, BatchNorm folded"], 2), "-", "-"])
        for name, done in row["done"].items():
            step = f"CKD, {name}"
            rows.append([on, done, middle(forward[f"teacher, {name}"], 2), middle(over[step], 2), middle(ratio[step])])
    head = ["networks", "teacher", "forward / eager", "(step - plain) / eager forward", "step / floor"]
    return table(head, rows) + how(found)


def memory() -> str:
    found = pairs("memory")
    rows = []
    for row in found.values():
        floor = row["memory"]["floor"]
        for arm, figures in row["memory"].items():
            step, peak = figures["step_mib"][1], figures["peak_mib"][1]
            cells = [f"{step:.0f}", f"{step / floor['step_mib'][1]:.3f}", f"{peak:.0f}"]
            rows.append([networks(row), arm, *cells, f"{peak / floor['peak_mib'][1]:.3f}"])
    head = ["networks", "step", "added by the steps, MiB", "/ floor", "whole process, MiB", "/ floor"]
    return table(head, rows) + how(found)


def growth() -> str:
    found = pairs("growth")
    rows = []
    for row in found.values():
        for axis, (low, high) in row["axes"].items():
            grows = high["seconds"]["floor"][1] / low["seconds"]["floor"][1]
            cells = [middle(end["ratio"]["CKD"]) for end in (low, high)]
            grown = f"{high['ratio']['CKD'][1] / low['ratio']['CKD'][1]:.3f}"
            rows.append([f"{axis} {low['value']} to {high['value']}", f"{grows:.1f} times", *cells, grown])
    head = ["from, to", "the floor grows", "CKD / floor, before", "after", "after / before"]
    return table(head, rows) + how(found)


def others() -> str:
    rows = []
    for what, title, arm in (
        ("evaluation", "evaluation through the wrapper / bare student", "through the distiller"),
        ("preflight", "preflight on one batch / plain step", "preflight"),
        ("epoch", "training epoch through Lightning / plain loop", "Lightning"),
    ):
        rows += [[title, networks(row), middle(row["ratio"][arm])] for row in pairs(what).values()]
    rows += [["`import spikingjelly_ckd`, seconds", "", middle(row["seconds"])] for row in pairs("imports").values()]
    return table(["what", "networks", "measured"], rows) + how(pairs("evaluation"))


def goals() -> str:
    """Every goal with what was measured, and whether the median meets it."""
    rows: list[list[str]] = []

    def add(what: str, goal: float, measured: list[float], digits: int = 3) -> None:
        median = measured[len(measured) // 2]
        shown = middle(measured, digits) if len(measured) == 3 else f"{median:.{digits}f}"
        rows.append([what, f"{goal:.{digits}f}", shown, "met" if median <= goal else "**missed**"])

    for row in pairs("steps").values():
        what, ratio = f"CKD step / floor, {networks(row)}", row["ratio"]
        share = ratio["teacher"][1]
        if row.get("device") == "cuda":
            add(what, 1.0, ratio["CKD, teacher_stream"])
        elif "as released" in ratio:
            add(what, 1.02, ratio["CKD"])
        else:
            add(f"{what}, 1 + 0.15 x the teacher's share of {share:.2f}", 1 + 0.15 * share, ratio["CKD"])
    for row in pairs("prepared").values():
        for dtype, goal in (("fp32", 1.0), ("bf16", 0.65)):
            what = f"(step - plain) / eager forward, {networks(row)}, {dtype}"
            add(what, goal, row["over_plain"][f"CKD, {dtype}"], 2)
    for row in pairs("memory").values():
        floor, ckd = (row["memory"][arm]["peak_mib"][1] for arm in ("floor", "CKD"))
        add(f"peak memory of the process / floor, {networks(row)}", 1.02, [ckd / floor])
    for row in pairs("growth").values():
        for axis, (low, high) in row["axes"].items():
            grown = high["ratio"]["CKD"][1] / low["ratio"]["CKD"][1]
            add(f"growth of CKD / floor, {axis} {low['value']} to {high['value']}", 1.0, [grown])
    for what, title, arm, goal in (
        ("evaluation", "evaluation through the wrapper / bare student", "through the distiller", 1.01),
        ("preflight", "preflight in plain steps", "preflight", 10.0),
        ("epoch", "epoch through Lightning / plain loop", "Lightning", 1.05),
    ):
        for row in pairs(what).values():
            add(f"{title}, {networks(row)}", goal, row["ratio"][arm])
    for row in pairs("imports").values():
        add("`import spikingjelly_ckd`, s", 0.3, row["seconds"])
    cache = RESULTS / "cache.json"
    if cache.exists():
        record = json.loads(cache.read_text("utf8"))
        add("epoch from the teacher cache / plain training", 1.05, record["ratio_to_plain"]["cached"])
    return table(["goal", "at most", "measured: median (quartiles)", ""], rows)


def below() -> str:
    """The goals below the floor; what was not measured says so."""
    rows: list[list[str]] = []

    def add(what: str, goal: float, measured: Sequence[float] | None, *, least: bool = False) -> None:
        bound = f"at least {goal:.2f}" if least else f"at most {goal:.2f}"
        if measured is None:
            rows.append([what, bound, NOT_RUN, ""])
            return
        median = measured[len(measured) // 2]
        met = median >= goal if least else median <= goal
        shown = middle(measured, 2) if len(measured) == 3 else f"{median:.2f}"
        rows.append([what, bound, shown, "met" if met else "**missed**"])

    found = pairs("goals")
    for name, title, goal in (
        ("r20_t1", "ResNet-20, T=1", 0.55),
        ("r20_t4", "ResNet-20, T=4", 0.60),
        ("spikformer", "Spikformer-4-384, T=1", 0.60),
    ):
        compiled = found.get(f"{name}_compile")
        ways = [(title, found.get(name))]
        ways += [] if compiled is None else [(f"{title}, with torch.compile", compiled)]
        for way, row in ways:
            ratio = None if row is None else row["ratio"]["everything on"]
            add(f"CKD step, everything on / plain eager fp32 step, {way}", goal, ratio)
            if name == "r20_t1":
                cached = None if row is None else row["ratio"]["everything on, teacher cache"]
                add(f"the same with a teacher cache, {way}", 0.45, cached)
    for what, title, goal, key in (
        ("lockstep", "`compare` in lock-step, images a second / a loop of one arm after the other", 3.0, "speedup"),
        ("loading", "epoch with images from memory / with PIL in loading processes", 0.60, "ratio"),
    ):
        row = pairs(what).get("r20_t1")
        measured = None if row is None else row[key]["memory"] if key == "ratio" else row[key]
        add(title, goal, measured, least=key == "speedup")
    for row in pairs("memory").values():
        figures = {arm: found["step_mib"][1] for arm, found in row["memory"].items()}
        accelerated = [figures["everything on"] / figures["floor"]] if "everything on" in figures else None
        add(f"memory that the steps add, everything on / floor, {networks(row)}", 0.90, accelerated)
    return table(["what", "goal", "measured: median (quartiles)", ""], rows) + how_all("goals", "lockstep", "loading")


def how_all(*whats: str) -> str:
    """What the records of several measurements were made with."""
    return how({f"{what} {name}": row for what in whats for name, row in pairs(what).items()})


def switches() -> str:
    """What each switch was worth and moved, beside those that were on."""
    rows = []
    for row in pairs("goals").values():
        report = row["reports"]["everything on"]
        tried = any(trial["switch"] == "compile" for trial in report["trials"])
        title = networks(row) + (", with torch.compile" if tried else "")
        for trial in report["trials"]:
            ratio = "-" if trial["ratio"] is None else f"{trial['ratio']:.2f}"
            moved = ["-" if trial[key] is None else f"{trial[key]:.1e}" for key in ("logit_error", "map_error")]
            rows.append([title, trial["switch"], "on" if trial["on"] else "off", ratio, *moved, trial["note"]])
        noise = ["-" if value is None else f"{value:.1e}" for value in report["sensitivity"]]
        rows.append([title, "noise of 0.4 % on the images", "", "", *noise, ""])
    if not rows:
        return NOT_RUN
    return table(["networks", "switch", "", "step's time", "logits moved", "maps moved", "note"], rows)


def beside() -> str:
    """Steps as other code takes them, beside ours."""
    found = pairs("beside")
    rows = []
    for row in found.values():
        for name in (arm.removesuffix(", theirs") for arm in row["raw"] if arm.endswith(", theirs")):
            theirs = ratios(row["raw"][f"{name}, theirs"], row["raw"]["plain"])
            cells = (theirs, *(row["ratio"][f"{name}, {how}"] for how in ("ours", "everything on")))
            rows.append([networks(row), name, *map(middle, cells)])
    if not rows:
        return NOT_RUN
    head = ["networks", "method", "their step / plain eager step", "ours / theirs", "ours, everything on / theirs"]
    return table(head, rows) + how(found)


def accuracy() -> str:
    """Accuracy of short trainings, and its difference to that without a switch, by seed."""
    row = pairs("accuracy").get("r20_t1")
    if row is None:
        return NOT_RUN
    before = row["accuracy"]["as it was"]
    rows = []
    for name, found in row["accuracy"].items():
        apart = [one - other for one, other in zip(found, before, strict=True)]
        shown = "" if found is before else " ".join(f"{value:+.1f}" for value in apart)
        rows.append(
            [name, f"{statistics.fmean(found):.1f}", shown, "" if not shown else f"{statistics.fmean(apart):+.1f}"]
        )
    head = ["switches", "test accuracy, %", "minus as it was, each seed", "mean"]
    title = f"\n\n{row['title']}, {row['epochs']} epochs, batch {row['batch']}; a seed in place of a round."
    return table(head, rows) + title + how({"": row})


TABLES: dict[str, Callable[[], str]] = {
    f"speed_{call.__name__}": call
    for call in (
        goals,
        below,
        switches,
        accuracy,
        beside,
        steps,
        neurons,
        compiled,
        methods,
        prepared,
        memory,
        growth,
        others,
    )
}
