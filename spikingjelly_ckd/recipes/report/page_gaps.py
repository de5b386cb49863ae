"""What a study lacks: seeds, arms, a control, measurements."""

from __future__ import annotations

from pathlib import Path

from ..comparison.table import arms_of
from ..methods import folder_name
from ..untrusted import read_json, shown_text
from .found import Study
from .page_text import MOST, NAME

__all__ = ["not_run"]


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
    if study.is_of_teacher:
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
