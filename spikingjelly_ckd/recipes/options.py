"""What the flags of a run ask of the machine and of each other."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from tempfile import TemporaryFile

import torch
from lightning.pytorch.strategies import StrategyRegistry

from .recipe import Recipe

__all__ = ["SMOKE_BATCH", "SMOKE_STEPS", "check_cache", "check_devices", "check_writable", "device"]

SMOKE_STEPS = 2
SMOKE_BATCH = 4


def device(options: argparse.Namespace) -> torch.device:
    """Where this process will train."""
    if options.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def check_devices(options: argparse.Namespace) -> None:
    """Raise where a device or a strategy is not there."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: PyTorch finds no CUDA device; pass --device cpu")
    known = ["auto", *sorted(StrategyRegistry.available_strategies())]
    if options.strategy not in known:
        raise ValueError(f"--strategy must be one of {', '.join(known)}, got {options.strategy}")


def check_cache(recipe: Recipe, options: argparse.Namespace) -> None:
    """Raise where ``--teacher-cache`` does nothing, or holds no image that the student will see."""
    if options.teacher_cache is None:
        if options.teacher_cache_dir is not None:
            raise ValueError("--teacher-cache-dir does nothing without --teacher-cache VIEWS")
        return
    if recipe.method == "plain":
        raise ValueError("--teacher-cache does nothing where no teacher is asked (--method plain); leave it out")
    if recipe.mixup or recipe.cutmix:
        raise ValueError("--teacher-cache holds no mixed images: pass --mixup 0 --cutmix 0, or leave it out")
    if options.smoke:
        raise ValueError(
            "--smoke takes two steps of every stage, and --teacher-cache asks for the whole training set; leave one out"
        )


def check_writable(folder: Path) -> None:
    """Raise where nothing can be written to a folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"--output-dir: nothing can be written to {folder} ({error.strerror}); pass another") from error
