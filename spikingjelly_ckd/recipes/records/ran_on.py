"""What a run ran on."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

__all__ = ["environment"]

PACKAGES = ("spikingjelly-ckd", "spikingjelly", "torch", "torchvision", "lightning", "timm", "cupy-cuda13x")


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
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
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
    folder = Path(__file__).parents[3]
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
