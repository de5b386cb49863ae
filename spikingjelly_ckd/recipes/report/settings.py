"""Which runs of a row belong together: the settings that a record says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..recipe import DEFAULTS, FROM_TEACHER, OF_CKD
from ..records.schema import Record

__all__ = ["run_key", "settings_of", "settings_text", "shared_settings"]

NOT_SETTINGS = ("name", "paper_accuracy", "method", "parts")
OF_METHOD = (*OF_CKD, "student_layer", "teacher_layer", "teacher_cache")
"""Settings that do not touch plain training."""
OF_OWN_TEACHER = ("teacher_epochs", "teacher_lr")
"""Settings of a teacher that is trained first, and of none that is given."""


def settings_of(record: Record) -> dict[str, Any]:
    """What a run was told that may have changed its outcome; of plain training nothing about the teaching."""
    elsewhere = {"data": record.data.name, "processes": record.processes or 1}
    elsewhere["teacher_cache"] = record.options.get("teacher_cache")
    settings = DEFAULTS | record.recipe | elsewhere  # a row's script also runs on other data and on several devices
    teacher = record.teacher
    if teacher is not None and record.options.get("teacher") is not None:
        settings["teacher"] = teacher.source if teacher.sha256 is None else f"sha256 {teacher.sha256[:8]}"
        settings = {name: value for name, value in settings.items() if name not in OF_OWN_TEACHER}
    settings = _of_plain_training(settings) if record.method == "plain" else settings
    return {name: value for name, value in settings.items() if name not in NOT_SETTINGS}


def _of_plain_training(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that touch plain training; its teacher does where it begins with the teacher's weights."""
    out = OF_METHOD if settings.get("init") in FROM_TEACHER else (*OF_METHOD, "teacher", *OF_OWN_TEACHER)
    return {name: value for name, value in settings.items() if name not in out}


def run_key(record: Record) -> tuple[str, str, str]:
    """Row, settings and method: runs that share them differ in their seed alone.

    Example:
        >>> from spikingjelly_ckd.recipes.records.parts import RecordedData
        >>> data = RecordedData(name="digits", split="40-20-40", split_hash="0" * 64)
        >>> runs = [Record(row="digits", method="kd", seed=seed, data=data, recipe={"lr": 0.1}) for seed in (0, 1)]
        >>> run_key(runs[0]) == run_key(runs[1]), run_key(runs[0])[2]
        (True, 'kd')
    """
    return record.row, settings_text(settings_of(record)), record.method


def shared_settings(record: Record) -> dict[str, Any]:
    """The settings that a run has in common with its plain twin.

    Example:
        >>> from spikingjelly_ckd.recipes.records.parts import RecordedData
        >>> data = RecordedData(name="digits", split="40-20-40", split_hash="0" * 64)
        >>> common = {"row": "digits", "seed": 0, "data": data, "recipe": {"lr": 0.1, "teacher_epochs": 60}}
        >>> kd, plain = (shared_settings(Record(method=method, **common)) for method in ("kd", "plain"))
        >>> kd == plain, kd["lr"], "teacher_epochs" in kd
        (True, 0.1, False)
    """
    return _of_plain_training(settings_of(record))


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings in a line, by name.

    Example:
        >>> settings_text({"time_steps": 4, "lr": 0.1})
        'lr=0.1; time_steps=4'
    """
    return "; ".join(f"{name}={value}" for name, value in sorted(settings.items()))
