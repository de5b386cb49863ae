"""The tables of docs/speed.md, from the records of benchmarks/speed.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
NOT_RUN = "not run"
HIGH = 1.10
REASONS: dict[str, str] = {}
"""Why a method costs more than 1.10 of the floor."""


def pairs(what: str) -> dict[str, Any]:
    path = RESULTS / f"speed_{what}.json"
    return json.loads(path.read_text("utf8"))["pairs"] if path.exists() else {}


def middle(values: list[float], digits: int = 3) -> str:
    """Median with quartiles."""
    low, median, high = values
    return f"{median:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def how(found: dict[str, Any]) -> str:
    """What the records below a table were made with."""
    if not found:
        return ""
    one = next(iter(found.values()))
    where, versions = one["environment"], one["environment"]["versions"]
    return (
        f"\n\n{where['device']}, {where['threads']} threads, torch {versions['torch']}, SpikingJelly "
        f"{versions['spikingjelly']}, {one['rounds']} rounds; median and quartiles. "
        f"Command: `python benchmarks/{where['command']}`."
    )


def steps() -> str:
    found = pairs("steps")
    rows = []
    for row in found.values():
        ratio, seconds = row["ratio"], row["seconds"]
        cells = [middle(ratio[arm]) if arm in ratio else "-" for arm in ("CKD", "CKD, weight-CAM", "as released")]
        share = f"{100 * ratio['teacher'][1]:.0f} %"
        rows.append([row["title"], str(row["batch"]), f"{seconds['floor'][1]:.3f} s", share, *cells])
    head = ["networks", "batch", "floor", "teacher's share", "CKD", "CKD, weight-CAM", "as released"]
    return table(head, rows) + how(found)


def methods() -> str:
    found = pairs("methods")
    rows = []
    for row in found.values():
        for arm, ratio in sorted(row["ratio"].items(), key=lambda item: item[1][1]):
            if arm not in ("plain", "teacher", "floor"):
                rows.append([arm, middle(ratio), REASONS[arm] if ratio[1] > HIGH else ""])
    title = "".join(f"\n\n{row['title']}, batch {row['batch']}." for row in found.values())
    return table(["method", "step / floor", "why above 1.10"], rows) + title + how(found)


def prepared() -> str:
    found = pairs("prepared")
    rows = []
    for row in found.values():
        for name in ("CKD", *(arm for arm in row["over_plain"] if arm.startswith("CKD, "))):
            kind = name.partition(", ")[2]
            forward = row["forward"].get(f"teacher, {kind}")
            rows.append([
                row["title"], kind or "eager, as it was", middle(forward, 2) if forward else "1", middle(
                    row["over_plain"][name], 2), middle(row["ratio"][name]),
            ])  # fmt: skip
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
            rows.append([row["title"], arm, *cells, f"{peak / floor['peak_mib'][1]:.3f}"])
    head = ["networks", "step", "added by the steps, MiB", "/ floor", "whole process, MiB", "/ floor"]
    return table(head, rows) + how(found)


def growth() -> str:
    found = pairs("growth")
    rows = []
    for row in found.values():
        for axis, (low, high) in row["axes"].items():
            grows = high["seconds"]["floor"][1] / low["seconds"]["floor"][1]
            cells = [middle(end["ratio"]["CKD"]) for end in (low, high)]
            rows.append([f"{axis} {low['value']} to {high['value']}", f"{grows:.1f} times", *cells])
    return table(["from, to", "the floor grows", "CKD / floor, before", "after"], rows) + how(found)


def others() -> str:
    rows = []
    for what, title, arm in (
        ("evaluation", "evaluation through the wrapper / bare student", "through the distiller"),
        ("preflight", "preflight on one batch / plain step", "preflight"),
        ("epoch", "training epoch through Lightning / plain loop", "Lightning"),
    ):
        rows += [[title, row["title"], middle(row["ratio"][arm])] for row in pairs(what).values()]
    rows += [["`import spikingjelly_ckd`, seconds", "", middle(row["seconds"])] for row in pairs("imports").values()]
    return table(["what", "networks", "measured"], rows) + how(pairs("evaluation"))


TABLES: dict[str, Callable[[], str]] = {
    f"speed_{call.__name__}": call for call in (steps, methods, prepared, memory, growth, others)
}
