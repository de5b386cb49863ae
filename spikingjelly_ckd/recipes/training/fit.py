"""Training a module as a recipe says."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers import Logger as LightningLogger
from timm.data import Mixup

from ...errors.arguments import ArgumentValueError
from ..cache import CachedData, TeacherCache
from ..data import Data
from ..data.loading import ReproducibleDataModule
from ..options import Run
from ..progress import say_emulated
from ..quiet import without_chatter
from ..recipe import Recipe
from ..records.history import summary
from ..records.parts import TestFigures
from ..teacher_input import Teacher
from .callbacks import FailureNotes, FastNeurons, History, MovingAverage, StepSeeds, StopEarly, checkpoints
from .distillation_callback import DistillationCallback
from .map_images import MapImages, fixed_images
from .module import DistillationModule
from .progress import progress_callback
from .resume import (
    BEST,
    SETTINGS,
    WholeCheckpoints,
    begin_anew,
    check_fits,
    check_same_run,
    find_checkpoint,
    read_checkpoint,
    settings_of,
)
from .stopping import StopTogether
from .training_module import TrainingModule

__all__ = ["FitResult", "fit", "optimisation", "preflight_report"]


@dataclass(frozen=True)
class FitResult:
    """What a training left.

    Attributes:
        rows: of the history, one for each epoch.
        trainer: Lightning's.
        report: the preflight's findings as plain data, or None.
        cache: the teacher cache's folder, views, size and filling time as plain data, or None.
        test: what a look at the test set after the training found; None where it was looked at after each epoch.

    Example:
        >>> rows = [{"epoch": 1, "test_acc1": 61.0}, {"epoch": 2, "test_acc1": 67.5}]
        >>> trainer = Trainer(accelerator="cpu", logger=False)
        >>> FitResult(rows, trainer, report=None).accuracy
        67.5
        >>> FitResult(rows, trainer, report=None, test=TestFigures(last=66.0, best=66.5)).accuracy
        66.0
    """

    rows: list[dict[str, float]]
    trainer: Trainer
    report: dict[str, Any] | None
    cache: dict[str, Any] | None = None
    test: TestFigures | None = None

    @property
    def accuracy(self) -> float:
        """Percent on the test set, after the last epoch."""
        return self.rows[-1]["test_acc1"] if self.test is None else self.test.last


@without_chatter()
def fit(
    module: TrainingModule,
    data: Data,
    recipe: Recipe,
    run: Run,
    folder: Path,
    *,
    on_row: Callable[[list[dict[str, float]]], None] | None = None,
    resume: str | None = None,
    teacher: Teacher | None = None,
    settings: Mapping[str, Any] | None = None,
    watch: Callback | None = None,
) -> FitResult:
    """Train a module as the recipe says, with checkpoints, logs and seeds for every step.

    Args:
        module: a :class:`~spikingjelly_ckd.recipes.training.TrainingModule`.
        data: to train and test on.
        recipe: epochs, early stopping, batch, precision, clipping, accumulation, EMA.
        run: seed, devices, workers and the other flags.
        folder: where everything is written.
        on_row: called after each epoch with all rows of the history.
        resume: ``"latest"`` or a path of a checkpoint.
        teacher: whose file a resumed run has to have in common with the run before.
        settings: what else it has to have in common; None for all values of the recipe and the seed.
        watch: a callback of the caller, which may end the training by an error.

    Returns:
        :class:`FitResult`.

    Raises:
        FileNotFoundError: no checkpoint to resume from.
        SystemExit: with status 143 after SIGTERM, once the step is finished; the last epoch's checkpoint is there.
        ValueError: the checkpoint cannot be read, or belongs to a run with other settings; devices or a strategy that
            are not there.
    """
    checkpoint = find_checkpoint(resume, folder)
    history = History(folder / "history.csv", on_row)
    settings = dict(settings_of(recipe, run, data, teacher) if settings is None else settings)
    stop, average = StopTogether(), MovingAverage(recipe.ema) if recipe.ema else None
    callbacks = [
        *(stop, StepSeeds(run.seed), FailureNotes(), history, *checkpoints(folder, settings, data.measured_part)),
        *_callbacks(module, data, recipe, run),
        *(one for one in (average, watch) if one is not None),
    ]
    say_emulated(run.torch_device.type, _precision(run, recipe))
    trainer = _trainer(recipe, run, folder, callbacks)
    settings["processes"] = trainer.world_size
    _begin(module, checkpoint, settings, folder)
    loaders = _loaders(module, data, recipe, run, folder)
    with stop.watch(trainer):
        trainer.fit(module, datamodule=loaders, ckpt_path=checkpoint, weights_only=True)
        if average is not None:
            average.on_train_end(trainer, module)  # Lightning leaves it out where no epoch was left to train
        rows, best = history.rows, folder / BEST
        test = None if data.validation is None else _look_at_test(trainer, module, loaders, rows, best)
    return FitResult(history.rows, trainer, preflight_report(trainer), _cache(loaders), test)


def _callbacks(module: TrainingModule, data: Data, recipe: Recipe, run: Run) -> list[Callback]:
    """Those that not every training has: of a distillation, of early stopping, of progress on the screen."""
    found: list[Callback] = []
    distils = isinstance(module, DistillationModule)
    if distils:
        found.append(FastNeurons())
    if distils and run.logger == "tensorboard":
        load = partial(fixed_images, data)
        found.append(MapImages(load, classes=data.classes, mean=data.mean, std=data.std))
    if recipe.early_stop:
        found.append(StopEarly(recipe.early_stop))
    if not run.no_progress:
        found.append(progress_callback("Student" if distils else "Teacher", is_smoke=run.smoke))
    return found


def _trainer(recipe: Recipe, run: Run, folder: Path, callbacks: list[Callback]) -> Trainer:
    """Lightning's trainer with the values of the recipe and the flags of the run.

    Raises:
        ValueError: devices or a strategy that are not there.
    """
    try:
        return Trainer(
            accelerator={"cuda": "gpu"}.get(run.device, run.device),
            devices=run.devices,
            num_nodes=run.num_nodes,
            strategy=run.strategy,
            precision=_precision(run, recipe),
            max_epochs=recipe.epochs,
            gradient_clip_val=recipe.clip or None,
            accumulate_grad_batches=recipe.accumulate,
            logger=_logger(recipe, run, folder),
            callbacks=callbacks,
            plugins=_plugins(),
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            enable_model_summary=False,
            enable_progress_bar=not run.no_progress and sys.stderr.isatty(),
            limit_train_batches=run.most_steps,
            limit_val_batches=run.most_steps,
            limit_test_batches=run.most_steps,
            log_every_n_steps=1,  # nothing is logged by step, and short epochs are not warned about
        )
    except (MisconfigurationException, ImportError, ValueError) as error:
        asked = f"--device {run.device} --devices {run.devices} --strategy {run.strategy}"
        raise ValueError(f"{asked} cannot be used here: {error}") from error


def _begin(module: TrainingModule, checkpoint: Path | None, settings: Mapping[str, Any], folder: Path) -> None:
    """A training from the beginning, or one that goes on if the checkpoint is of the same run.

    Raises:
        ValueError: the checkpoint belongs to a run with other settings, or to another network.
    """
    if checkpoint is None:
        begin_anew(folder)
        return
    saved = read_checkpoint(checkpoint)
    check_same_run(checkpoint, saved[SETTINGS], settings)
    check_fits(checkpoint, saved, module)


def _look_at_test(
    trainer: Trainer, module: TrainingModule, loaders: ReproducibleDataModule, rows: list[dict[str, float]], best: Path
) -> TestFigures:
    """The accuracy on the test set after the last epoch, and with the weights that were best on the validation part.

    The module keeps the weights of the last epoch.
    """

    def look() -> float:
        (found,) = trainer.test(module, datamodule=loaders, verbose=False)
        return found["test_acc1"]

    if summary([row["val_acc1"] for row in rows])["best_epoch"] == len(rows):
        last = look()
        return TestFigures(last=last, best=last)
    if not best.is_file():  # the run was resumed in another folder than that of its first epochs
        return TestFigures(last=look())
    kept = copy.deepcopy(module.state_dict())
    module.load_state_dict(read_checkpoint(best)["state_dict"])
    of_best = look()
    module.load_state_dict(kept)
    return TestFigures(last=look(), best=of_best)


def _logger(recipe: Recipe, run: Run, folder: Path) -> LightningLogger | Literal[False]:
    """Lightning's logger of that name; services get the row as project and the folder as name of the run."""
    if run.logger == "none":
        return False  # None is a logger of Lightning's choice, in the current folder
    if run.logger == "wandb":
        return WandbLogger(name=folder.name, project=recipe.name, save_dir=folder)
    if run.logger == "mlflow":
        return MLFlowLogger(experiment_name=recipe.name, run_name=folder.name, save_dir=str(folder / "mlflow"))
    kind = TensorBoardLogger if run.logger == "tensorboard" else CSVLogger
    return kind(folder, name=run.logger, version="")


def _plugins() -> list[Any]:
    """Whole checkpoints; and on SLURM no requeueing by Lightning, whose checkpoint is of the middle of an epoch."""
    slurm = SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()
    return [WholeCheckpoints(), *([SLURMEnvironment(auto_requeue=False)] if slurm else [])]


def _loaders(module: TrainingModule, data: Data, recipe: Recipe, run: Run, folder: Path) -> ReproducibleDataModule:
    """The loaders of a run, with the teacher cache if it was asked for."""
    if run.teacher_cache is None or not isinstance(module, DistillationModule):
        return ReproducibleDataModule(data, batch_size=recipe.batch_size, workers=run.workers, seed=run.seed)
    root = run.teacher_cache_dir or folder.parent / "teacher_cache"
    module.distiller.to(run.torch_device)
    cache = TeacherCache(root, module.distiller, data, seed=run.seed, views=run.teacher_cache)
    return CachedData(cache, batch_size=recipe.batch_size, workers=run.workers)


def _cache(loaders: ReproducibleDataModule) -> dict[str, Any] | None:
    """What a record says of the teacher cache; the time of filling is in no epoch's seconds."""
    if not isinstance(loaders, CachedData):
        return None
    views, seconds = loaders.views, round(loaders.filling_seconds, 1)
    return {
        "folder": loaders.cache.folder,
        "views": views,
        "bytes": views * loaders.cache.bytes_per_view,
        "filled": loaders.filled,
        "filling_seconds": seconds,
    }


def preflight_report(trainer: Trainer) -> dict[str, Any] | None:
    """What the preflight of this training found, if there was one."""
    found = [item.report for item in cast(Any, trainer).callbacks if isinstance(item, DistillationCallback)]
    return next((report.to_dict() for report in found if report is not None), None)


def optimisation(recipe: Recipe, data: Data) -> dict[str, Any]:
    """The part of a recipe that a :class:`~spikingjelly_ckd.recipes.training.TrainingModule` takes.

    Raises:
        ValueError: an odd batch is to be mixed.
    """
    names = ("lr", "optimizer", "momentum", "weight_decay", "norm_decay", "warmup_epochs", "mixup_off_epoch")
    mixup = None
    if (recipe.mixup or recipe.cutmix) and recipe.batch_size % 2:
        text = f"pairs the images of a batch: pass an even batch size (-b), got {recipe.batch_size}"
        raise ArgumentValueError("mixup", text)
    if recipe.mixup or recipe.cutmix:
        mixup = Mixup(recipe.mixup, recipe.cutmix, label_smoothing=0.0, num_classes=data.num_classes)
    return {name: getattr(recipe, name) for name in names} | {"mixup": mixup, "measured": data.measured_part}


def _precision(run: Run, recipe: Recipe) -> Any:
    """That of the recipe; on a CPU, on which nothing trains in half precision, bfloat16 in its place."""
    return "bf16-mixed" if recipe.amp == "16-mixed" and run.torch_device.type == "cpu" else recipe.amp
