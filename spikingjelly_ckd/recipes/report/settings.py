"""Which runs of a row belong together: the settings that a record says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..recipe import DEFAULTS
from ..records.schema import Record

__all__ = ["run_key", "settings_of", "settings_text", "shared_settings"]

NOT_SETTINGS = ("name", "paper_accuracy", "method", "parts")
OF_TEACHING = (
    *("variant", "map_temperature", "temperature", "noise_weight", "beta", "gamma", "target_class"),
    *("student_layer", "teacher_layer", "teacher", "teacher_epochs", "teacher_lr", "teacher_cache"),
)
"""Settings that do not touch plain training."""
OF_TEACHER = ("teacher_epochs", "teacher_lr")
"""Settings of a teacher that is trained first, and of none that is given."""


def settings_of(record: Record) -> dict[str, Any]:
    """What a run was told that may have changed its outcome; of plain training nothing about the teaching."""
    elsewhere = {"data": record.data.name, "processes": record.processes or 1}
    elsewhere["teacher_cache"] = record.options.get("teacher_cache")
    settings = DEFAULTS | record.recipe | elsewhere  # a row's script also runs on other data and on several devices
    out: tuple[str, ...] = OF_TEACHING if record.method == "plain" else ()
    teacher = record.teacher
    if not out and teacher is not None and record.options.get("teacher") is not None:
        out = OF_TEACHER
        settings["teacher"] = teacher.source if teacher.sha256 is None else f"sha256 {teacher.sha256[:8]}"
    return {name: value for name, value in settings.items() if name not in (*NOT_SETTINGS, *out)}


def run_key(record: Record) -> tuple[str, str, str]:
    """Row, settings and method: runs that share them differ in their seed alone."""
    return record.row, settings_text(settings_of(record)), record.method


def shared_settings(record: Record) -> dict[str, Any]:
    """The settings that a run has in common with its plain twin."""
    return {name: value for name, value in settings_of(record).items() if name not in OF_TEACHING}


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings in a line, by name."""
    return "; ".join(f"{name}={value}" for name, value in sorted(settings.items()))
