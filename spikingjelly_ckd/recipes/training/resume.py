"""Going on from a checkpoint, with the settings that it was made with."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from ..data import Data
from ..data.splits import data_set
from ..files import is_first_process, say, set_aside, whole_file
from ..options import Run
from ..recipe import Recipe
from ..records.files import read_record
from ..records.schema import Record
from ..teacher_input import Teacher
from ..weights import fill

__all__ = [
    "BEST",
    "GO_ON",
    "LATEST",
    "SETTINGS",
    "WholeCheckpoints",
    "begin_anew",
    "check_fits",
    "check_same_run",
    "find_checkpoint",
    "has_checkpoint",
    "read_checkpoint",
    "read_settings",
    "record_so_far",
    "resumed",
    "settings_of",
    "what_to_resume",
    "write_settings",
]

FREE = ("student", "teacher", "data", "teacher_epochs", "teacher_lr")
"""What may differ in a run that is resumed, as functions by their names: images, files and tensors are compared."""
SETTINGS = "settings_of_the_run"
GO_ON = "Go on from the end of the last epoch with --resume latest; a comparison, with the same command"
"""What to do after a run was stopped."""
LATEST, PREVIOUS, BEST = "latest.ckpt", "previous.ckpt", "best.ckpt"
BEGUN = "settings.json"


def what_to_resume(folder: Path, recipe: Recipe, run: Run) -> Path | None:
    """The checkpoint to go on from; None for a run that begins, or that was stopped before its first checkpoint.

    Args:
        folder: of the run.
        recipe: of the row.
        run: its flags.

    Raises:
        FileNotFoundError: no run was begun there.
        ValueError: another run is in the folder, or the one to resume had other settings or left no whole checkpoint.
    """
    resume = "latest" if run.resume is None and _was_requeued(folder) else run.resume
    settings = settings_of(recipe, run)
    begun, record = read_settings(folder), folder / "record.json"
    if resume == "latest" and begun is not None and not has_checkpoint(folder):
        check_same_run(folder, begun, settings)
        rank_zero_info(f"The run in {folder} was stopped before its first checkpoint, so its student begins anew")
        return None
    checkpoint = find_checkpoint(resume, folder)
    if checkpoint is not None:
        check_same_run(checkpoint, read_checkpoint(checkpoint)[SETTINGS], settings)
    elif record.is_file() and not (run.overwrite or (run.smoke and _is_smoke(record))):
        raise ValueError(
            f"{folder} holds a run already: pass --resume latest to go on with it, another --output-dir, or --overwrite"
        )
    return checkpoint


def _is_smoke(record: Path) -> bool:
    """Whether this is the record of a smoke run, which another one may take the place of."""
    try:
        return read_record(record).get("smoke") is True
    except (OSError, ValueError):
        return False


def _was_requeued(folder: Path) -> bool:
    """Whether SLURM started this job again, with the same command, where it had begun."""
    again = os.environ.get("SLURM_RESTART_COUNT", "0") not in ("", "0") and read_settings(folder) is not None
    if again:
        rank_zero_info("SLURM started this job again: going on as with --resume latest")
    return again


def find_checkpoint(resume: str | None, folder: Path) -> Path | None:
    """The file that ``--resume`` means, or None.

    ``"latest"`` is ``latest.ckpt``, or the checkpoint before it where that one is damaged or missing. A damaged file
    is named and set aside where there is another one to go on from.

    Raises:
        FileNotFoundError: there is none.
        ValueError: none of them can be read.
    """
    if resume is None:
        return None
    if resume != "latest":
        path = Path(resume).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"--resume {resume}: there is no checkpoint {path.resolve()}")
        return path
    there = [folder / name for name in (LATEST, PREVIOUS) if (folder / name).is_file()]
    if not there:
        raise FileNotFoundError(f"--resume latest: there is no checkpoint {(folder / LATEST).resolve()}")
    damaged: list[ValueError] = []
    for path in there:
        try:
            read_checkpoint(path)
        except ValueError as error:
            damaged.append(error)
            continue
        for broken, why in zip(there, damaged, strict=False):
            set_aside(broken, why)
        if path.name == PREVIOUS:
            say(f"Going on from {path}, the checkpoint before the last")
        return path
    raise damaged[0]


def has_checkpoint(folder: Path) -> bool:
    """Whether there is something to resume from in a folder."""
    return any((folder / name).is_file() for name in (LATEST, PREVIOUS))


def write_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Note what a run begins with, for a run that is stopped before its first checkpoint."""
    if is_first_process():
        with whole_file(folder / BEGUN) as file:
            file.write((json.dumps(settings, indent=1) + "\n").encode())


def read_settings(folder: Path) -> dict[str, Any] | None:
    """What :func:`write_settings` wrote; None where it wrote nothing, or where that is damaged and was set aside."""
    path = folder / BEGUN
    if not path.is_file():
        return None
    try:
        return dict(json.loads(path.read_text("utf8")))
    except (ValueError, TypeError, RecursionError) as error:
        set_aside(path, f"{path} cannot be read ({error})")
        return None


def begin_anew(folder: Path) -> None:
    """Delete the checkpoints of another run, which is overwritten, lest they be taken for those of this one."""
    if is_first_process():
        for name in (LATEST, PREVIOUS, BEST):
            (folder / name).unlink(missing_ok=True)


def record_so_far(folder: Path) -> Record | None:
    """The record of the run that is resumed in a folder; None where it left none that can be read.

    One that cannot be read is named and set aside; it is written anew from the checkpoint.
    """
    path = folder / "record.json"
    if not path.is_file():
        return None
    try:
        return Record.read(path)
    except (ValueError, TypeError) as error:
        set_aside(path, error)
        return None


def resumed(record: Record, checkpoint: Path, before: Record | None) -> Record:
    """The record of a run that goes on from a checkpoint.

    Args:
        record: of the run as it begins.
        checkpoint: to go on from.
        before: record of the run so far, if it can be read.
    """
    epochs = len(read_checkpoint(checkpoint).get("callbacks", {}).get("History", {}).get("rows", ()))
    stops = [] if before is None else before.resumed_after_epochs
    if before is not None:
        record = replace(record, preflight=before.preflight, accuracy_by_step=before.accuracy_by_step)
        record = replace(record, acceleration=before.acceleration)
    return replace(record, resumed_after_epochs=[*stops, epochs])


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a run saved.

    Raises:
        ValueError: it is cut off or changed (each tensor in the file has a checksum), or no checkpoint of a run.
    """
    others = [name for name in (LATEST, PREVIOUS, BEST) if name != path.name and path.with_name(name).is_file()]
    advice = f"resume from another checkpoint (beside it: {', '.join(others)}), or" if others else "there is no other:"
    try:
        _check_sums(path)
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        what = str(error).partition(chr(10))[0]
        raise ValueError(
            f"--resume: {path} cannot be read (cut off or damaged: {what}); {advice} begin anew with --overwrite"
        ) from error
    if not isinstance(saved, dict) or not {"state_dict", "epoch", SETTINGS} <= set(saved):
        raise ValueError(f"--resume: {path} is no checkpoint of a run; {advice} begin anew with --overwrite")
    return saved


def _check_sums(path: Path) -> None:
    """Compare the checksums in a file of PyTorch, which writes them and does not look at them.

    Raises:
        ValueError: one is another.
    """
    with zipfile.ZipFile(path) as file:
        changed = file.testzip()
    if changed is not None:
        raise ValueError(f"the checksum of {changed} is another")


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are written beside their place and moved there whole; the ``latest.ckpt`` of before is kept.

    Lightning's own writes in the temporary folder, which on clusters is another file system, and copies from there.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a file; where it is ``latest.ckpt``, the one of before becomes ``previous.ckpt``."""
        path, content = Path(path), io.BytesIO()
        torch.save(checkpoint, content)
        with whole_file(path) as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())  # nothing is moved before all is written
            if path.name == LATEST and path.is_file():
                _keep(path, path.with_name(PREVIOUS))


def _keep(path: Path, name: Path) -> None:
    """Give a file a second name; where the file system knows no links, only that name."""
    part = name.with_name(f"{name.name}.link.part")
    try:
        part.unlink(missing_ok=True)
        os.link(path, part)
    except OSError:
        os.replace(path, name)
    else:
        os.replace(part, name)


def settings_of(recipe: Recipe, run: Run, data: Data | None = None, teacher: Teacher | None = None) -> dict[str, Any]:
    """What a resumed run must have in common with the run before, as far as it is known by now."""
    settings = {name: value for name, value in recipe.to_json().items() if name not in FREE} | {"seed": run.seed}
    if data is not None:
        settings["data set"] = data_set(data.name, data.split, data.split_hash)
        settings["content of the data set"] = data.content
    if teacher is not None:
        settings["teacher_cache"] = run.teacher_cache
        settings["teacher file"] = teacher.source if teacher.sha256 is None else f"of sha256 {teacher.sha256[:8]}"
    return settings


def check_same_run(path: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise where a setting differs from that of the run that wrote the checkpoint, or began in the folder.

    Raises:
        ValueError: a setting differs; the message names each one with both values.
    """
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
    """Raise where the module has other tensors than the checkpoint.

    Raises:
        ValueError: names, shapes or kinds of numbers of the tensors differ.
    """
    try:
        fill(module, saved["state_dict"], path)
    except ValueError as error:
        raise ValueError(f"{error}: pass the network that the run began with (--student)") from error
