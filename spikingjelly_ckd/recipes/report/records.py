"""What a run leaves behind: one JSON file that says what ran, on what, and what came out."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

__all__ = ["FORMAT", "environment", "read_record", "summary", "write_record"]

FORMAT = 1
PACKAGES = ("spikingjelly-ckd", "spikingjelly", "torch", "torchvision", "lightning", "timm", "cupy-cuda13x")
LAST = 5


def environment() -> dict[str, Any]:
    """Versions, git commit of the package, device and threads.

    Example:
        >>> sorted(environment())
        ['command', 'device', 'git', 'python', 'threads', 'versions']
    """
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return {
        "versions": found,
        "git": _git(),
        "python": platform.python_version(),
        "device": device,
        "threads": torch.get_num_threads(),
        "command": command,
    }


def _git() -> str | None:
    """Commit of the package's checkout, with ``+changes`` if files differ from it; None outside a checkout."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changed.strip() else "")


def summary(accuracies: Sequence[float]) -> dict[str, float | int]:
    """Best epoch beside the last and the mean of the last five; never the best alone.

    The best epoch is chosen on the test set itself, as papers in the field do, and is therefore too high.

    Args:
        accuracies: on the test set after each epoch, percent.

    Returns:
        ``last``, ``mean_last_5`` (of fewer, where there are fewer), ``best``, ``best_epoch`` (from 1), ``epochs``.

    Raises:
        ValueError: no epoch.

    Example:
        >>> summary([50.0, 70.0, 60.0])
        {'last': 60.0, 'mean_last_5': 60.0, 'best': 70.0, 'best_epoch': 2, 'epochs': 3}
    """
    if not accuracies:
        raise ValueError("no epoch was finished, so there is nothing to sum up")
    last = list(accuracies[-LAST:])
    best = max(accuracies)
    return {
        "last": accuracies[-1],
        "mean_last_5": sum(last) / len(last),
        "best": best,
        "best_epoch": list(accuracies).index(best) + 1,
        "epochs": len(accuracies),
    }


def write_record(path: str | Path, record: Mapping[str, Any]) -> Path:
    """Write a record, whole or not at all.

    Args:
        path: of the JSON file.
        record: plain data; paths become strings.

    Returns:
        The path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"format": FORMAT, **record}, indent=1, default=str) + "\n", "utf8")
    os.replace(part, path)
    return path


def read_record(path: str | Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        ValueError: the file is no record of this package.
    """
    try:
        record = json.loads(Path(path).read_text("utf8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(f"{path} is no run record (format {FORMAT}) of spikingjelly-ckd")
    return record
