"""The tables and the figure of README and docs/results.md about the study, from benchmarks/results/study/records.

python benchmarks/study_tables.py docs/images/study.png    # the figure; benchmarks/render.py writes the tables
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Literal

from study import ARMS

from spikingjelly_ckd.recipes.comparison.controls import CONTROL, LOUDER
from spikingjelly_ckd.recipes.comparison.records import read_records
from spikingjelly_ckd.recipes.comparison.table import arms_of, compare_records
from spikingjelly_ckd.recipes.records import read_record
from spikingjelly_ckd.recipes.report.plots.results import plot_forest
from spikingjelly_ckd.recipes.report.plots.style import save_figure

RESULTS = Path(__file__).parent / "results"
RECORDS = RESULTS / "study" / "records"
FASTER = "plain@lr=0.3"
Language = Literal["en", "cn"]
HEADS: dict[Language, tuple[str, ...]] = {
    "en": (
        *("trained with", "test accuracy, %", "its ANN teacher, %", "minus plain (95 %)", "minus loss x 3 (95 %)"),
        "minus learning rate x 3 (95 %)",
    ),
    "cn": (
        *(
            "训练方式",
            "测试准确率，%",
            "ANN 教师，%",
            "减普通训练（95 %）",
            "减损失 x 3（95 %）",
            "减学习率 x 3（95 %）",
        ),
    ),
}
PLAIN: dict[Language, dict[str, str]] = {
    "en": {CONTROL: "plain", LOUDER: "plain x3 (loss x 3)", FASTER: "plain, learning rate x 3"},
    "cn": {CONTROL: "普通训练", LOUDER: "普通训练 x3（损失 x 3）", FASTER: "普通训练，学习率 x 3"},
}
SHOWN = ("ckd", "ckd:beta=10.0", "nld", "samd", "kd", "bkdsnn")
"""Methods of README's table; all are on docs/results.md."""


def named(language: Language) -> dict[str, str]:
    """Text of an arm -> its name."""
    return {text: name for name, text in ARMS.items()} | PLAIN[language]


def headline(language: Language) -> str:
    """Each arm of README's table beside the three controls, the best first."""
    records = read_records(RECORDS)
    arms = arms_of(records)
    names = named(language)
    teacher = read_record(RESULTS / "study_teacher.json")["quality"]["test"]["accuracy"]
    swapped = {CONTROL: FASTER, FASTER: CONTROL}  # a table compares everything with the arm of this name
    faster = [replace(record, arm=swapped.get(record.arm, record.arm)) for record in records]
    beside = [compare_records(records), compare_records(records, LOUDER), compare_records(faster)]
    lines = [f"| {' | '.join(HEADS[language])} |", "|---" * len(HEADS[language]) + "|"]
    means = {arm: fmean(record.test_accuracy or 0.0 for record in rows) for arm, rows in arms.items()}
    for arm in sorted((arm for arm in arms if arm in (*SHOWN, *PLAIN["en"])), key=lambda arm: -means[arm]):
        asked = (arm, arm, swapped.get(arm, arm))
        differences = [found and found.differences.get(name) for found, name in zip(beside, asked, strict=True)]
        cells = [names[arm], f"{means[arm]:.1f}", "" if arm in PLAIN["en"] else f"{teacher:.1f}"]
        cells += ["" if one is None else str(one) for one in differences]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def beside_faster() -> str:
    """The arms of the second table minus plain training with three times the learning rate, which the first one has.

    Both tables have the same seeds, first weights and batches, so the arms are paired with it.
    """
    faster = [replace(one, arm=CONTROL) for one in read_records(RECORDS) if one.arm == FASTER]
    others = [
        replace(one, control=CONTROL)
        for one in read_records(RESULTS / "study_all" / "records")
        if one.arm not in (CONTROL, LOUDER)
    ]
    found = compare_records([*faster, *others])
    assert found is not None
    lines = ["| trained with | minus plain, learning rate x 3 (95 %) | told apart |", "|---|---|---|"]
    known = {arm: one for arm, one in found.differences.items() if one is not None}
    for arm, one in sorted(known.items(), key=lambda item: -item[1].mean):
        lines.append(f"| {named('en').get(arm, arm)} | {one} | {one.verdict} |")
    return "\n".join(lines)


def power() -> str:
    """What the study can see: its pooled residual, and the seeds for a difference of one point."""
    found = compare_records(read_records(RECORDS))
    assert found is not None
    assert found.deviation is not None
    half = max(one.half or 0.0 for one in found.differences.values() if one is not None)
    lines = ["| residual of a run, points | half of an interval, points | seeds for one point |", "|---|---|---|"]
    return "\n".join([*lines, f"| {found.deviation:.2f} | {half:.2f} | {found.seeds_for_a_point} |"])


def teacher(record: str) -> str:
    """Accuracy, cross-entropy and calibration of a teacher."""
    lines = ["| part | images | accuracy, % | cross-entropy | calibration error |", "|---|---|---|---|---|"]
    for name, part in read_record(RESULTS / f"{record}.json")["quality"].items():
        lines.append(
            f"| {name} | {part['images']} | {part['accuracy']:.2f} | {part['cross_entropy']:.3f} | "
            f"{part['calibration_error']:.3f} |"
        )
    return "\n".join(lines)


def draw(path: str) -> None:
    """Every arm minus plain training, with its interval."""
    names = named("en")
    kept = {CONTROL, LOUDER}  # what the plot knows them by
    records = [
        one if one.arm in kept else replace(one, arm=names.get(one.arm, one.arm)) for one in read_records(RECORDS)
    ]
    save_figure(plot_forest(records), path)


TABLES: dict[str, Callable[[], str]] = {
    "headline": lambda: headline("en"),
    "headline_cn": lambda: headline("cn"),
    "study_power": power,
    "study_faster": beside_faster,
    **{name: partial(teacher, name) for name in ("study_teacher", "study_lite0_teacher")},
}


if __name__ == "__main__":
    draw(sys.argv[1])
