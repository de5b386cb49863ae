"""Going on from a checkpoint, with the settings that it was made with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..data import Data
from ..export import fill
from ..options import Run
from ..recipe import Recipe
from ..report.schema import Record
from ..teacher_input import Teacher

__all__ = [
    "SETTINGS",
    "check_fits",
    "check_same_run",
    "find_checkpoint",
    "read_checkpoint",
    "record_so_far",
    "settings_of",
]

FREE = ("student", "teacher", "data", "teacher_epochs", "teacher_lr")
"""What may differ in a run that is resumed, as functions by their names: images, files and tensors are compared."""
SETTINGS = "settings_of_the_run"


def find_checkpoint(resume: str | None, folder: Path) -> Path | None:
    """The file that ``--resume`` means, or None.

    Raises:
        FileNotFoundError: there is none.
    """
    if resume is None:
        return None
    path = folder / "latest.ckpt" if resume == "latest" else Path(resume).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"--resume {resume}: there is no checkpoint {path.resolve()}")
    return path


def record_so_far(folder: Path) -> Record | None:
    """The record of the run that is resumed in a folder; None where it left none."""
    path = folder / "record.json"
    return Record.read(path) if path.is_file() else None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a run saved.

    Raises:
        ValueError: it is cut off, or no checkpoint of a run.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"--resume: {path} cannot be read (cut off?): resume from another checkpoint, such as best.ckpt beside it, "
            "or begin anew with --overwrite"
        ) from error
    if not isinstance(saved, dict) or not {"state_dict", "epoch", SETTINGS} <= set(saved):
        raise ValueError(f"--resume: {path} is no checkpoint of a run; pass latest, or a latest.ckpt or best.ckpt")
    return saved


def settings_of(recipe: Recipe, run: Run, data: Data | None = None, teacher: Teacher | None = None) -> dict[str, Any]:
    """What a resumed run must have in common with the run before, as far as it is known by now."""
    settings = {name: value for name, value in recipe.to_json().items() if name not in FREE} | {"seed": run.seed}
    if data is not None:
        settings["data set"] = f"{data.name} {data.split} ({data.split_hash[:8]})"
    if teacher is not None:
        settings["teacher_cache"] = run.teacher_cache
        settings["teacher file"] = teacher.source if teacher.sha256 is None else f"of sha256 {teacher.sha256[:8]}"
    return settings


def check_same_run(path: Path, saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise where a setting differs from that of the run that wrote the checkpoint."""
    then = saved[SETTINGS]
    changed = {name: f"{name} {then[name]} -> {now[name]}" for name in now if name in then and now[name] != then[name]}
    if not changed:
        return
    schedule = (
        f"; the schedule of the learning rate was made for {then['epochs']} epochs" if "epochs" in changed else ""
    )
    raise ValueError(
        f"the run of {path} had other settings, so it cannot be resumed: {', '.join(changed.values())}{schedule}; pass "
        "the settings it had, or begin anew in another --output-dir"
    )


def check_fits(path: Path, saved: dict[str, Any], module: nn.Module) -> None:
    """Raise where the module has other tensors than the checkpoint."""
    try:
        fill(module, saved["state_dict"], path)
    except ValueError as error:
        raise ValueError(f"{error}: pass the network that the run began with (--student)") from error
