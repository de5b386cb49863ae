"""Every supported family of networks: the layer chosen by itself, its map, and SAMD's gradient through it.

A dozen rows run in the default suite and all of them with ``-m families``. As a script it writes the table in docs::

    python tests/test_coverage.py --render docs/coverage.md
    python tests/test_coverage.py --pick            # the smallest classifying member of every timm module
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
import torch
from coverage_cases import (
    SEEN_EARLIER,
    STUDENTS,
    TEACHERS,
    TIMM,
    TIMM_OMITTED,
    TIMM_PASSED_OVER,
    TIMM_VERSION,
    Case,
    other_side,
    wake,
)
from torch import Tensor
from torch.nn import functional as F

from spikingjelly_ckd import Distiller, SAMDLoss
from spikingjelly_ckd.networks.compat import spikingjelly_version

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs" / "coverage.md"
RECORD = ROOT / "docs" / "coverage.json"
PACKAGES = ("torch", "torchvision", "timm")


@dataclass
class Row:
    """What one network gave."""

    role: str
    network: str
    family: str
    input: list[int]
    layer: str
    layout: str | None
    prefix: int
    reason: str
    feature: list[int]
    map: list[int]
    samd: float
    gradient: float
    seconds: float


class Seen(SAMDLoss):
    """SAMD that keeps the shapes it compared and the teacher's maps as they came."""

    def select(self, signals: Any) -> tuple[Tensor, Tensor]:
        self.student_shape = list(signals.student_features[0].shape)
        self.teacher_shape = list(signals.teacher_features[0].shape)
        spikes, self.teacher_map = super().select(signals)
        return spikes, self.teacher_map


def images_of(case: Case) -> Tensor:
    """Images with something to see: each has a bright patch of its own on noise."""
    images = torch.randn(case.shape) * 0.5
    height, width = case.shape[-2:]
    for index in range(case.shape[-4]):
        top, left = (index * 3 % 4) * height // 4, (index * 2 % 4) * width // 4
        images[..., index, :, top : top + height // 2, left : left + width // 2] += 1.5
    return images.clamp_min(0) * 2 if case.role == "student" else images


def cover(case: Case) -> Row:
    """Run SAMD alone through one network and check it.

    Raises:
        AssertionError: the map, the loss or its gradient is not what a user needs.
    """
    torch.manual_seed(0)
    start = time.perf_counter()
    images, labels = images_of(case), torch.arange(case.shape[-4])
    network, options = case.build(), dict(case.options)
    if case.role == "teacher":
        teacher, student = wake(network, torch.cat([images, torch.randn_like(images)])), other_side(case)
        size = case.shape[-2:]
        options |= {"time_steps": 2, "teacher_input": lambda small: images if small.shape[-2:] != size else small}
        batch = F.interpolate(images, size=(32, 32), mode="area")
    else:
        teacher, student, batch = wake(other_side(case), images.flatten(0, -4)), network, images
    loss = Seen()
    options |= {"batch_first": False}
    distiller = Distiller(teacher, student.train(), {"samd": (loss, 1.0)}, task_weight=0.0, **options)
    out = distiller(batch, labels)
    out.loss.backward()
    chosen = distiller.layers["samd"][0 if case.role == "student" else 1][0]
    first = next(parameter for parameter in student.parameters() if parameter.ndim > 1)
    samd, gradient = float(out.terms["samd"]), float(first.grad.abs().max())
    spread = loss.teacher_map.amax(dim=(1, 2)) - loss.teacher_map.amin(dim=(1, 2))
    assert bool((spread > 0).all()), f"a teacher map is constant: {case}"
    assert out.skipped == 0, f"{out.skipped} images left out: {case}"
    assert torch.isfinite(out.terms["samd"]), f"SAMD is {samd}: {case}"
    assert 0 < gradient < float("inf"), f"the gradient at the student's first layer is {gradient}: {case}"
    assert sum(len(child._forward_hooks) for net in (teacher, student) for child in net.modules()) == 0
    feature = loss.student_shape if case.role == "student" else loss.teacher_shape
    grid = feature[-2:]
    assert grid[0] * grid[1] > 1
    return Row(
        role=case.role,
        network=case.name,
        family=case.family,
        input=list(case.shape),
        layer=chosen.path,
        layout=chosen.layout,
        prefix=chosen.prefix,
        reason=chosen.reason,
        feature=feature,
        map=grid,
        samd=samd,
        gradient=gradient,
        seconds=time.perf_counter() - start,
    )


def missing(case: Case) -> str | None:
    """What the case needs and the installed packages do not have."""
    for need in case.needs:
        module, _, name = need.partition(":")
        try:
            found = importlib.import_module(module)
        except ImportError:
            return f"{need} is not installed"
        if name and not hasattr(found, name):
            return f"{need} does not exist here"
    if "timm" in case.needs:
        import timm

        if not timm.is_model(case.name):
            return f"timm {timm.__version__} has no {case.name}"
    return None


def run(case: Case) -> None:
    lacking = missing(case)
    if lacking:
        pytest.skip(lacking)
    cover(case)


@pytest.mark.families
@pytest.mark.slow
@pytest.mark.parametrize("case", [*STUDENTS, *TEACHERS], ids=str)
def test_every_family_is_served(case):
    run(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in (*STUDENTS, *TEACHERS) if case.default], ids=str)
def test_a_row_of_each_kind_is_served(case):
    run(case)


def test_the_default_rows_are_about_a_dozen_and_of_each_kind():
    default = [case for case in (*STUDENTS, *TEACHERS) if case.default]
    assert 10 <= len(default) <= 16
    assert {case.role for case in default} == {"student", "teacher"}


def test_names_are_unique():
    names = [str(case) for case in (*STUDENTS, *TEACHERS)]
    assert len(names) == len(set(names))


def test_every_timm_module_is_listed():
    timm = pytest.importorskip("timm")
    unknown = sorted(set(timm.list_modules()) - set(TIMM) - set(TIMM_OMITTED))
    assert not unknown, (
        f"timm {timm.__version__} has modules that the table of timm {TIMM_VERSION} does not know: {unknown}. "
        "Run `python tests/test_coverage.py --pick` and add its lines for them to TIMM in tests/coverage_cases.py, or "
        "name the reason in TIMM_OMITTED"
    )


def test_the_table_in_docs_is_of_these_networks():
    record = json.loads(RECORD.read_text("utf8"))
    listed = {(row["role"], row["family"], row["network"]) for run in record["runs"] for row in run["rows"]}
    for case in (*STUDENTS, *TEACHERS):
        key = (case.role, case.family, case.name)
        assert key in listed, f"{case} is not in {RECORD.name}: python tests/test_coverage.py --render docs/coverage.md"
    assert TABLE.read_text("utf8") == table(record), f"render {TABLE.name} from {RECORD.name} again"


# --- the table -------------------------------------------------------------------------------------------------------


def table(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    lines = [
        "# Networks that are served",
        "",
        "Each row is one step with SAMD as the only loss, with layers that the package found, random weights and",
        "two images. It gives the chosen layer and the reason, the shape of the feature as the loss sees it",
        "(student `[T, N, C, h, w]`, teacher `[N, C, h, w]`), the size of its map and the value of SAMD. A row is",
        "ok when the teacher's map varies over every image, SAMD is finite, its gradient at the student's first",
        "layer is finite and not zero, and no hook is left. Students are paired with a small CNN as teacher,",
        "teachers with a small spiking student. The rows are also tests: `pytest -m families`.",
        "",
        "The class scores of an untrained teacher hardly depend on the image. Before its run its classifier",
        "therefore gets random weights and no bias, BatchNorm scales that start at zero are set to one, and the",
        "statistics of BatchNorm are taken from the images. The input is the smallest, from 64 pixels up, that",
        "the network takes and at which its last stage has more than one position.",
        "",
    ]
    for role, title in (("student", "Students"), ("teacher", "Teachers")):
        for run in record["runs"]:
            rows = [row for row in run["rows"] if row["role"] == role]
            if not rows:
                continue
            packages = ", ".join(f"{name} {number}" for name, number in run["versions"].items())
            lines += [
                f"## {title}, {packages}",
                "",
                f"{len(rows)} rows; the whole run, one thread, took {run['seconds']} s.",
                "",
            ]
            lines += ["| network | family | input | layer | why | feature | map | SAMD | status |", "|" + "---|" * 9]
            for row in rows:
                cells = (
                    row["network"], row["family"], _by(row["input"]), f"`{row['layer']}`", row["reason"],
                    _by(row["feature"]), _by(row["map"]), f"{row['samd']:.3g}", "ok",
                )  # fmt: skip
                lines.append("| " + " | ".join(cells) + " |")
            lines.append("")
    lines += ["## Left out", ""]
    lines += [f"- timm `{module}`: {why}." for module, why in TIMM_OMITTED.items()]
    lines += [f"- Of every timm module, {TIMM_PASSED_OVER}.", f"- {SEEN_EARLIER}", ""]
    lines += ["Rendered by `python tests/test_coverage.py --render docs/coverage.md` from `docs/coverage.json`, which"]
    lines += ["the same command fills with a run of the installed SpikingJelly.", ""]
    return "\n".join(lines)


def text(record: dict[str, Any]) -> str:
    """The record as JSON, one row a line."""
    runs = [run | {"rows": [json.dumps(row) for row in run["rows"]]} for run in record["runs"]]
    dumped = json.dumps(record | {"runs": runs}, indent=1)
    for run in runs:
        for row in run["rows"]:
            dumped = dumped.replace(json.dumps(row), row, 1)
    return dumped + "\n"


def _by(sizes: list[int]) -> str:
    return " x ".join(map(str, sizes))


def render(path: Path) -> int:
    """Run everything that is installed, keep the record beside the table, write the table."""
    versions = {"SpikingJelly": spikingjelly_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    rows, failed, skipped = [], [], []
    cases = [*STUDENTS, *TEACHERS]
    if spikingjelly_version().startswith("0."):
        cases = STUDENTS  # a teacher does not meet SpikingJelly
    start = time.perf_counter()
    for case in cases:
        lacking = missing(case)
        if lacking:
            skipped.append(f"{case}: {lacking}")
            continue
        try:
            row = cover(case)
        except Exception as error:
            failed.append(f"{case}: {type(error).__name__}: {error}")
            print(f"FAILED {failed[-1]}", flush=True)
            continue
        rows.append(row)
        print(f"{case}: {row.layer} ({row.reason}) {row.feature} {row.seconds:.1f} s", flush=True)
    seconds = time.perf_counter() - start
    print(f"{len(rows)} ok, {len(failed)} failed, {len(skipped)} not here, {seconds:.0f} s")
    if failed:
        return 1
    record_path = path.with_suffix(".json")
    record = json.loads(record_path.read_text("utf8")) if record_path.exists() else {"runs": []}
    kept = [run for run in record["runs"] if run["versions"]["SpikingJelly"] != versions["SpikingJelly"]]
    rounded = [asdict(row) | {"samd": float(f"{row.samd:.4g}"), "gradient": float(f"{row.gradient:.4g}"),
                              "seconds": round(row.seconds, 1)} for row in rows]  # fmt: skip
    runs = [*kept, {"versions": versions, "seconds": round(seconds), "rows": rounded}]
    record = {"command": "python tests/test_coverage.py --render docs/coverage.md",
              "runs": sorted(runs, key=lambda run: run["versions"]["SpikingJelly"], reverse=True)}  # fmt: skip
    record_path.write_text(text(record), "utf8")
    path.write_text(table(record), "utf8")
    return 0


def pick() -> int:
    """Print the smallest classifying member of every timm module, counted without allocating weights."""
    import timm

    for module in timm.list_modules():
        members = []
        for name in timm.list_models(module=module):
            with torch.device("meta"):
                net = timm.create_model(name, num_classes=10)
            if getattr(net, "num_classes", 0) == 10:
                members.append((sum(parameter.numel() for parameter in net.parameters()), name))
        members.sort()
        chosen = members[:1]
        if chosen and chosen[0][1].startswith("test_"):
            chosen += [member for member in members if not member[1].startswith("test_")][:1]
        print(f'    "{module}": {[(name, round(count / 1e6, 2)) for count, name in chosen]},', flush=True)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--render", type=Path, metavar="FILE", help="run every row and write the table")
    parser.add_argument("--pick", action="store_true", help="print timm's smallest classifiers")
    arguments = parser.parse_args()
    sys.exit(pick() if arguments.pick else render(arguments.render or TABLE))
