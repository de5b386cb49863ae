"""What a run is told besides its recipe: where things are, the seed, the machine, how far to go."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal

import torch
from lightning.pytorch.strategies import StrategyRegistry

from ..errors.arguments import ArgumentNotFoundError, ArgumentValueError
from ..errors.near import hint
from ..step.validate import check_replayable
from .export import what_is_there
from .files import is_first_process, locked
from .method_parts import needs_teacher
from .methods import folder_name
from .models.memory import find_memopt
from .recipe import FROM_TEACHER, Recipe

__all__ = [
    "Device",
    "Logger",
    "Run",
    "check_options",
    "default_workers",
    "output_folder",
    "teacher_file",
    "weights_file",
]

Device = Literal["auto", "cpu", "cuda"]
Logger = Literal["tensorboard", "csv", "wandb", "mlflow", "none"]
"""Where the metrics of every epoch go, beside ``history.csv``."""
MOST_WORKERS = 8
SMOKE_STEPS = 2
SMOKE_BATCH = 4


def default_workers() -> int:
    """Loading processes for one training process: its share of the cores that this one may use, eight at most.

    Example:
        >>> 1 <= default_workers() <= 8
        True
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, cores // max(1, torch.cuda.device_count())))


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run is told besides its recipe, one value for each flag of a row's script.

    Attributes:
        data_path: folder of the data set, or an ImageFolder tree; None where nothing is trained.
        output_dir: where the run is written; None for ``runs/ROW/METHOD-seedN``.
        teacher: path, or ``timm:NAME``; None trains one first, or takes up the one that an earlier run trained.
        teacher_build: ``module:function`` that makes the network of ``teacher``; None for the one that its file names,
            if that is of this package or the row's own.
        teacher_mean: mean of each channel that ``teacher`` was trained with, for images from 0 to 1; None for what its
            file says, or else that of the data.
        teacher_std: standard deviation, likewise.
        teacher_size: height and width that it was trained on; None for what its file says, or else the student's.
        any_teacher: go on with a teacher that is no better than chance.
        teacher_cache: run the teacher once, for so many augmentations of each image; None runs it in every step.
        teacher_cache_dir: None for ``teacher_cache`` beside the output folder.
        overwrite: the output folder may hold another run.
        resume: ``"latest"``, or the path of a checkpoint; None begins anew.
        seed: of weights, order, augmentation and noise, at least 0.
        seeds: of several runs, one after the other, each in a folder of its own; None for the one of ``seed``.
        device: what kind of device; ``"auto"`` takes CUDA where there is one.
        devices: how many on each node.
        num_nodes: how many nodes.
        strategy: Lightning's name of it, such as ``"ddp"``.
        workers: loading processes of each training process.
        download: fetch the data set if it is missing.
        num_classes: says that a number other than the row's own is meant.
        train_images: use so many, equally many of each class; None for all.
        test_images: likewise.
        val_images: hold out so many training images for validation, or a share between 0 and 1; None for none.
        best_on_test: say which epoch was best on the test set, as papers of the field do.
        allow_partial: take incomplete data; the record says so.
        energy_images: for the energy report; 0 leaves it out.
        logger: where metrics go, beside ``history.csv``.
        no_preflight: do not look at the first batch before training.
        no_progress: no progress bar.
        smoke: two steps of every stage.
        print_config: print every value with its source, and stop.
        pretrained: a teacher of timm begins with timm's weights (``examples/train_teacher.py``).

    Example:
        >>> Run(data_path=Path("data"), seed=3).device
        'auto'
    """

    data_path: Path | None = None
    output_dir: Path | None = None
    teacher: str | None = None
    teacher_build: str | None = None
    teacher_mean: tuple[float, ...] | None = None
    teacher_std: tuple[float, ...] | None = None
    teacher_size: int | None = None
    any_teacher: bool = False
    teacher_cache: int | None = None
    teacher_cache_dir: Path | None = None
    overwrite: bool = False
    resume: str | None = None
    seed: int = 0
    seeds: Sequence[int] | None = None
    device: Device = "auto"
    devices: int | Literal["auto"] = 1
    num_nodes: int = 1
    strategy: str = "auto"
    workers: int = field(default_factory=default_workers)
    download: bool = False
    num_classes: int | None = None
    train_images: int | None = None
    test_images: int | None = None
    val_images: int | float | None = None
    best_on_test: bool = False
    allow_partial: bool = False
    energy_images: int = 256
    logger: Logger = "tensorboard"
    no_preflight: bool = False
    no_progress: bool = False
    smoke: bool = False
    print_config: bool = False
    pretrained: bool = False

    @property
    def torch_device(self) -> torch.device:
        """Where this process will train."""
        if self.device == "cpu" or not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))

    @property
    def most_steps(self) -> int | None:
        """Limit of the steps of every stage; None for all."""
        return SMOKE_STEPS if self.smoke else None

    @property
    def counted_images(self) -> int:
        """Images of the energy report."""
        return min(self.energy_images, SMOKE_BATCH) if self.smoke else self.energy_images

    def shorten(self, recipe: Recipe) -> Recipe:
        """The recipe, of a smoke run with one epoch of small batches."""
        if not self.smoke:
            return recipe
        batch_size = min(recipe.batch_size, SMOKE_BATCH)
        return replace(recipe, epochs=1, warmup_epochs=0, mixup_off_epoch=0, batch_size=batch_size)

    def folder(self, recipe: Recipe) -> Path:
        """Where the run is written."""
        if self.output_dir is not None:
            return self.output_dir if self.seeds is None else self.output_dir / f"seed{self.seed}"
        return self._home(recipe) / f"{folder_name(recipe.method)}-seed{self.seed}"

    def teacher_folder(self, recipe: Recipe) -> Path:
        """Where a teacher that is trained first is written."""
        return (self.output_dir or self._home(recipe)) / "teacher"

    def _home(self, recipe: Recipe) -> Path:
        return Path("runs") / recipe.name / ("smoke" if self.smoke else "")

    def to_json(self) -> dict[str, Any]:
        """The flags for a record, apart from the seed, which stands there by itself."""
        return {name: value for name, value in vars(self).items() if name not in ("seed", "seeds", "print_config")}


def teacher_file(spec: str) -> Path | None:
    """The file that ``--teacher`` names; None for ``timm:NAME``.

    Raises:
        FileNotFoundError: it is not there.
    """
    if spec.startswith("timm:"):
        return None
    path = Path(spec).expanduser()
    if path.is_dir():
        raise FileNotFoundError(f"--teacher: {what_is_there(path.resolve())}")
    if not path.is_file():
        raise FileNotFoundError(f"--teacher: there is no file {path.resolve()}; pass a path or timm:NAME")
    return path


def weights_file(init: str | None) -> Path | None:
    """The file of weights that ``--init`` names; None where it names no file.

    Raises:
        FileNotFoundError: it is not there.
    """
    if init is None or init in FROM_TEACHER:
        return None
    path = Path(init).expanduser()
    if not path.is_file():
        names = ", ".join(map(repr, FROM_TEACHER))
        raise ArgumentNotFoundError("init", f"must be {names} or a file of weights; there is none {path.resolve()}")
    return path


def check_options(recipe: Recipe, run: Run) -> None:
    """Raise where the machine lacks what a run asks for, or where flags do not go together.

    Raises:
        FileNotFoundError: ``--teacher`` or ``--init`` names a file that is not there.
        ValueError: a device, strategy or part of SpikingJelly that is not there; a teacher cache that does nothing, or
            that holds no image that the student will see.
    """
    if run.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: PyTorch finds no CUDA device; pass --device cpu")
    known = ["auto", *sorted(StrategyRegistry.available_strategies())]
    if run.strategy not in known:
        raise ValueError(f"--strategy must be one of {', '.join(known)}, got {run.strategy}{hint(run.strategy, known)}")
    if run.teacher is not None:
        teacher_file(run.teacher)
    weights_file(recipe.init)
    for name in ("teacher_mean", "teacher_std", "teacher_size"):
        if run.teacher is None and getattr(run, name) is not None:
            text = "does nothing without --teacher PATH|timm:NAME: it says how that network was trained"
            raise ArgumentValueError(name, text)
    if run.logger in ("wandb", "mlflow") and find_spec(run.logger) is None:
        raise ValueError(f"--logger {run.logger}: the package is not installed; pip install {run.logger}")
    if recipe.memopt is not None:
        find_memopt()
    if recipe.sync_bn and run.torch_device.type != "cuda" and (run.devices != 1 or run.num_nodes > 1):
        raise ValueError("--sync-bn needs CUDA on several processes; leave it out")
    if recipe.accelerate and (run.devices != 1 or run.num_nodes > 1):
        raise ValueError("--accelerate is for one process: several would time for themselves and decide otherwise")
    if run.teacher_cache is None:
        if run.teacher_cache_dir is not None:
            raise ValueError("--teacher-cache-dir does nothing without --teacher-cache VIEWS")
        return
    method = recipe.read_method()
    if not needs_teacher(method):
        raise ValueError(
            f"--teacher-cache does nothing where no teacher is asked (--method {recipe.method}); leave it out"
        )
    try:
        check_replayable({name: loss for name, (loss, _) in method.losses.items()})
    except ValueError as error:
        raise ValueError(f"--teacher-cache cannot serve --method {recipe.method}: {error}") from error
    if recipe.mixup or recipe.cutmix:
        raise ValueError("--teacher-cache holds no mixed images: pass --mixup 0 --cutmix 0, or leave it out")
    if run.smoke:
        raise ValueError(
            "--smoke takes two steps of every stage, and --teacher-cache asks for the whole training set; leave one out"
        )


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Make a folder and hold it; a run that leaves nothing in it, as one that was refused, leaves no folder either.

    Raises:
        OSError: nothing can be written.
        RuntimeError: another process holds it.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"--output-dir: nothing can be written to {folder} ({error.strerror}); pass another") from error
    try:
        with locked(folder):
            yield
    finally:
        for place in made if is_first_process() else ():
            with suppress(OSError):
                place.rmdir()
