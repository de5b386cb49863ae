"""Tables of docs/gpu.md, from what ``benchmarks/gpu.py run --output benchmarks/results/gpu`` wrote."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from gpu import ROW
from gpu_steps import BASE, WAYS

from spikingjelly_ckd.recipes.records import read_record

RESULTS = Path(__file__).parent / "results" / "gpu"
NOT_RUN = "not run"


def found(name: str) -> dict[str, Any] | None:
    path = RESULTS / name
    return read_record(path) if path.is_file() else None


def tests() -> str:
    """How many of the tests that need a GPU passed, and which did not."""
    lines = ["| device | torch | SpikingJelly | tests | passed | skipped | failed |", "|---|---|---|---|---|---|---|"]
    for file, generation in (("gpu_tests.json", "2.x"), ("legacy/gpu_tests.json", "0.0.0.0.14")):
        record = found(file)
        if record is None:
            lines.append(f"| {NOT_RUN} |  | {generation} |  |  |  |  |")
            continue
        failed = Counter(name.partition("[")[0] for name in record["failed"])
        bad = record["failures"] + record["errors"]
        versions, passed = record["environment"]["versions"], record["tests"] - bad - record["skipped"]
        names = ", ".join(f"`{name}` {count} times" for name, count in failed.items())
        lines.append(
            f"| {record['environment']['device']} | {versions['torch']} | {versions['spikingjelly']} | "
            f"{record['tests']} | {passed} | {record['skipped']} | {bad}{f': {names}' if names else ''} |"
        )
    return "\n".join(lines)


def steps() -> str:
    """Milliseconds of a step and its ratio to the plain step in float32, for each way of running it."""
    record = found("gpu_steps.json")
    lines = ["| way | T | step | ms | plain float32 beside it, ms | ratio |", "|---|---|---|---|---|---|"]
    for way in WAYS:
        rows = (
            {} if record is None else {key: row for key, row in record["steps"].items() if key.startswith(f"{way}_T")}
        )
        if not rows:
            lines.append(f"| {way} | 1, 4 |  | {NOT_RUN} |  |  |")
        for key, row in rows.items():
            time_steps = key.removeprefix(f"{way}_T").partition("_")[0]
            if "failed" in row:
                lines.append(f"| {way} | {time_steps} |  | cannot run: {row['failed']} |  |  |")
            for name in row.get("seconds", {}):
                if name != BASE:
                    seconds, base = (1000 * row["seconds"][one][1] for one in (name, BASE))
                    ratio = row["ratio"][name][1]
                    lines.append(f"| {way} | {time_steps} | {name} | {seconds:.1f} | {base:.1f} | {ratio:.2f} |")
    return "\n".join(lines)


def neurons() -> str:
    """Fast neurons over SpikingJelly's own, of both generations."""
    lines = ["| generation | networks | neuron | plain step | CKD step |", "|---|---|---|---|---|"]
    for folder, name in (("neurons", "2.x"), ("neurons/legacy", "0.0.0.0.14, CuPy")):
        record = found(f"{folder}/speed_neurons.json")
        if record is None:
            lines.append(f"| {name} | ResNet-20, T=1 and 4 | {NOT_RUN} | {NOT_RUN} | {NOT_RUN} |")
            continue
        for row in record["pairs"].values():
            if folder.endswith("legacy") and " on cupy" not in row["neurons"]:
                lines.append(f"| {name} | {row['title']} | {NOT_RUN}: {row['neurons']} | {NOT_RUN} | {NOT_RUN} |")
                continue
            ratios = (f"{row['ratio'][arm][1]:.2f}" for arm in ("neuron", "plain", "CKD"))
            lines.append(f"| {name} | {row['title']} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def rows() -> str:
    """Accuracy of teacher, plain and CKD on the test images."""
    lines = ["| network | epochs | test accuracy, % |", "|---|---|---|"]
    for name in ("teacher", "plain", "ckd"):
        record = found(f"{ROW}/{name}/record.json")
        test = None if record is None else record.get("test")
        if record is None or test is None:
            lines.append(f"| {name} | {NOT_RUN} | {NOT_RUN} |")
        else:
            lines.append(f"| {name} | {len(record['history'])} | {test['accuracy']:.2f} |")
    return "\n".join(lines)


TABLES = {"gpu_tests": tests, "gpu_steps": steps, "gpu_neurons": neurons, "gpu_rows": rows}
