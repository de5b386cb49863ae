"""Running a recipe: data, teacher, training, energy, export, record.

Files of a run, in its output folder::

    record.json            what ran and what came out, written after each epoch
    history.csv            one row for each epoch
    tensorboard/           the same, for TensorBoard
    latest.ckpt best.ckpt  for --resume; best is chosen on the test set
    student.safetensors    the student alone, with student.json beside it
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, cast

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import StrategyRegistry
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from timm.data import Mixup
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..ckd import CKDDistiller
from ..distiller import Distiller
from ..networks.compat import has_neurons, neuron_path, neuron_step_modes, use_fast_neurons
from ..networks.guards import preserve_state
from .cache import CachedData, TeacherCache
from .data import Data, DataOptions
from .data.loading import ReproducibleDataModule, seed_all
from .export import file_hash, fill, name_of, save_network
from .recipe import Recipe, parse, shown
from .report.energy import ann_twin, measure_energy
from .report.records import environment, read_record, summary, write_record
from .teachers import Teacher, check_teacher, load_teacher, timm_network
from .training.module import (
    ClassifierModule,
    DistillationCallback,
    DistillationModule,
    History,
    StepSeeds,
    TrainingModule,
)

__all__ = ["FitResult", "build_network", "fit", "make_distiller", "run_row", "run_teacher"]

TEACHER_FILE = "teacher.safetensors"
FLAGS = {item.name: "--" + item.name.replace("_", "-") for item in fields(DataOptions)} | {"root": "--data-path"}
"""Arguments of the data -> flags of the scripts."""
FREE = ("student", "teacher", "data", "teacher_epochs", "teacher_lr")
"""What may differ in a run that is resumed, as functions by their names: images, files and tensors are compared."""
SETTINGS = "settings_of_the_run"
SMOKE_STEPS = 2
SMOKE_BATCH = 4


@contextmanager
def brief_errors() -> Iterator[None]:
    """On a command line, end with the message alone where this package itself refuses something.

    Arguments of functions are named as the flags that set them. Whatever another library raises keeps its traceback.
    """
    try:
        yield
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        message = _own_message(error)
        if message is None:
            raise
        notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
        sys.exit(f"{Path(sys.argv[0]).name}: error: {_with_flags(message)}{notes}")


def _own_message(error: Exception) -> str | None:
    """The message of what this package raised, here or in a loading process; None if it was another library."""
    message, raised_in = str(error), traceback.extract_tb(error.__traceback__)[-1].filename
    if " in DataLoader worker process " in message.partition("\n")[0]:  # torch puts the whole traceback into the text
        raised_in = re.findall(r'^  File "(.+)", line', message, re.MULTILINE)[-1]
        message = re.findall(rf"^{type(error).__name__}: (.*)", message, re.MULTILINE)[-1]
    return message if Path(raised_in).is_relative_to(Path(__file__).parents[1]) else None


def _with_flags(message: str) -> str:
    """``download=True`` becomes ``--download``, ``num_classes=4`` ``--num-classes 4``, ``root must`` names its flag."""

    def flag(found: re.Match[str]) -> str:
        name, given = found["name"], found["given"]
        return f"{FLAGS[name]}{given.replace('=True', '').replace('=', ' ')}" if name in FLAGS else found[0]

    return re.sub(r"\b(?P<name>[a-z_]+)(?P<given>=[\w.']+| must )", flag, message)


@dataclass(frozen=True)
class FitResult:
    """What a training left.

    Attributes:
        rows: of the history, one for each epoch.
        trainer: Lightning's.
        report: the preflight's findings as plain data, or None.
        cache: the teacher cache's folder, views, size and filling time as plain data, or None.
    """

    rows: list[dict[str, float]]
    trainer: Trainer
    report: dict[str, Any] | None
    cache: dict[str, Any] | None = None


def build_network(build: Callable[..., nn.Module], **wanted: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Call ``build`` with those of the keywords that it takes.

    Args:
        build: such as ``spiking_resnet19``, or a function of your own.
        **wanted: ``num_classes``, ``in_channels``, ``time_steps``, ``size``.

    Returns:
        The network and the keywords used.

    Raises:
        TypeError: ``build`` asks for something else, or returned no module.

    Example:
        >>> from spikingjelly_ckd.recipes.models import resnet20
        >>> build_network(resnet20, num_classes=5, in_channels=3, size=32)[1]
        {'num_classes': 5, 'in_channels': 3}
    """
    parameters = inspect.signature(build).parameters
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    used = {name: value for name, value in wanted.items() if anything or name in parameters}
    fixed = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    others = [
        name
        for name, item in parameters.items()
        if item.default is item.empty and item.kind not in fixed and name not in used
    ]
    if others:
        raise TypeError(
            f"{shown(build)} asks for {', '.join(others)}: it can take {', '.join(wanted)} by these names, and "
            "anything else needs a default"
        )
    network = build(**used)
    if not isinstance(network, nn.Module):
        raise TypeError(f"{name_of(build)} must return a torch.nn.Module, got {type(network).__name__}")
    return network, used


def make_distiller(recipe: Recipe, data: Data, teacher: Teacher | None, student: nn.Module) -> Distiller:
    """The distiller of a recipe; ``method="plain"`` needs no teacher.

    Args:
        recipe: whose method, weights and temperatures.
        data: which decides between images and event frames.
        teacher: None for plain training.
        student: the spiking network.

    Raises:
        ValueError: the method needs a teacher.
    """
    common: dict[str, Any] = {"time_steps": recipe.time_steps, "batch_first": True}
    if recipe.method == "plain":
        return Distiller(None, student, {}, **common)
    if teacher is None:
        raise ValueError(f"method {recipe.method!r} needs a teacher")
    return CKDDistiller(
        teacher.network,
        student,
        teacher_layer=recipe.teacher_layer,
        student_layer=recipe.student_layer,
        beta=recipe.beta,
        gamma=recipe.gamma,
        map_temperature=recipe.map_temperature,
        temperature=recipe.temperature,
        noise_weight=recipe.noise_weight,
        variant=recipe.variant,
        target_class=recipe.target_class,
        teacher_input=teacher.input_for(data),
        **common,
    )


def fit(
    module: TrainingModule,
    data: Data,
    recipe: Recipe,
    options: argparse.Namespace,
    folder: Path,
    *,
    on_row: Callable[[list[dict[str, float]]], None] | None = None,
    resume: str | None = None,
    teacher: Teacher | None = None,
) -> FitResult:
    """Train a module as the recipe says, with checkpoints, logs and seeds for every step.

    Args:
        module: a :class:`~spikingjelly_ckd.recipes.training.TrainingModule`.
        data: to train and test on.
        recipe: epochs, batch, precision, clipping, accumulation, EMA.
        options: flags of the run, see :func:`~spikingjelly_ckd.recipes.recipe.command_line`.
        folder: where everything is written.
        on_row: called after each epoch with all rows of the history.
        resume: ``"latest"`` or a path of a checkpoint.
        teacher: whose file a resumed run has to have in common with the run before.

    Returns:
        :class:`FitResult`.

    Raises:
        FileNotFoundError: no checkpoint to resume from.
        ValueError: the checkpoint cannot be read, or belongs to a run with other settings; devices or a strategy that
            are not there.
    """
    checkpoint = find_checkpoint(resume, folder)
    history = History(folder / "history.csv", on_row)
    settings = _settings(recipe, options, data, teacher)
    callbacks: list[Callback] = [StepSeeds(options.seed), _Explained(), history, *_checkpoints(folder, settings)]
    if isinstance(module, DistillationModule):
        callbacks.append(_FastNeurons())
    average = EMAWeightAveraging(decay=recipe.ema) if recipe.ema else None
    if average is not None:
        callbacks.append(average)
    try:
        trainer = Trainer(
            accelerator={"cuda": "gpu"}.get(options.device, options.device),
            devices=options.devices,
            num_nodes=options.num_nodes,
            strategy=options.strategy,
            precision=cast(Any, recipe.amp),
            max_epochs=recipe.epochs,
            gradient_clip_val=recipe.clip or None,
            accumulate_grad_batches=recipe.accumulate,
            logger=TensorBoardLogger(folder, name="tensorboard", version=""),
            callbacks=callbacks,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            enable_model_summary=False,
            enable_progress_bar=not options.no_progress,
            limit_train_batches=SMOKE_STEPS if options.smoke else None,
            limit_val_batches=SMOKE_STEPS if options.smoke else None,
            log_every_n_steps=1,  # nothing is logged by step, and short epochs are not warned about
        )
    except (MisconfigurationException, ImportError, ValueError) as error:
        asked = f"--device {options.device} --devices {options.devices} --strategy {options.strategy}"
        raise ValueError(f"{asked} cannot be used here: {error}") from error
    settings["processes"] = trainer.world_size
    if checkpoint is not None:
        saved = read_checkpoint(checkpoint)
        _check_same_run(checkpoint, saved, settings)
        _check_fits(checkpoint, saved, module)
    loaders = _loaders(module, data, recipe, options, folder)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*exists and is not empty")  # it is ours: resumed, or written to just now
        trainer.fit(module, datamodule=loaders, ckpt_path=checkpoint, weights_only=True)
    if average is not None:
        average.on_train_end(trainer, module)  # Lightning leaves it out where the checkpoint had no epoch left to train
    return FitResult(history.rows, trainer, _report(trainer), _cache(loaders))


def _loaders(
    module: TrainingModule, data: Data, recipe: Recipe, options: argparse.Namespace, folder: Path
) -> ReproducibleDataModule:
    """The loaders of a run, with the teacher cache if it was asked for."""
    if options.teacher_cache is None or not isinstance(module, DistillationModule):
        return ReproducibleDataModule(data, batch_size=recipe.batch_size, workers=options.workers, seed=options.seed)
    root = options.teacher_cache_dir or folder.parent / "teacher_cache"
    module.distiller.to(_device(options))
    cache = TeacherCache(root, module.distiller, data, seed=options.seed, views=options.teacher_cache)
    return CachedData(cache, batch_size=recipe.batch_size, workers=options.workers)


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


def _report(trainer: Trainer) -> dict[str, Any] | None:
    """What the preflight of this training found, if there was one."""
    found = [item.report for item in cast(Any, trainer).callbacks if isinstance(item, DistillationCallback)]
    return next((report.to_dict() for report in found if report is not None), None)


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


def _settings(
    recipe: Recipe, options: argparse.Namespace, data: Data | None = None, teacher: Teacher | None = None
) -> dict[str, Any]:
    """What a resumed run must have in common with the run before, as far as it is known by now."""
    settings = {name: value for name, value in recipe.to_json().items() if name not in FREE} | {"seed": options.seed}
    if data is not None:
        settings["data set"] = f"{data.name} {data.split} ({data.split_hash[:8]})"
    if teacher is not None:
        settings["teacher_cache"] = options.teacher_cache
        settings["teacher file"] = teacher.source if teacher.sha256 is None else f"of sha256 {teacher.sha256[:8]}"
    return settings


def _check_same_run(path: Path, saved: dict[str, Any], now: dict[str, Any]) -> None:
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


def _check_fits(path: Path, saved: dict[str, Any], module: nn.Module) -> None:
    try:
        fill(module, saved["state_dict"], path)
    except ValueError as error:
        raise ValueError(f"{error}: pass the network that the run began with (--student)") from error


class _Explained(Callback):
    """Say in which step something failed, what to do about a loss that is not finite, and how to go on after Ctrl-C."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if not torch.isfinite(trainer.callback_metrics["train_loss"]):
            raise ValueError("the training loss is not finite (NaN or inf)")

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        if isinstance(exception, KeyboardInterrupt):
            rank_zero_info("Stopped. Go on from the end of the last epoch with --resume latest")
        elif isinstance(exception, ValueError) and re.search("NaN or inf|everywhere alike", str(exception)):
            advice = ": begin anew (--overwrite) with a lower learning rate (--lr)" if trainer.global_step else ""
            exception.add_note(f"in epoch {trainer.current_epoch + 1}, step {trainer.fit_loop.batch_idx + 1}{advice}")


class _FastNeurons(Callback):
    """Take the fastest neurons of the installed SpikingJelly once the student is where it will run, and say which."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        rank_zero_info(f"Neurons: {use_fast_neurons(pl_module)}")


class _FirstCheckpoint(Callback):
    """Write ``latest.ckpt`` before the first step too, so that a run stopped in its first epoch can be resumed.

    Each checkpoint gets the settings of its run.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.settings = settings

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint[SETTINGS] = self.settings

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.global_step == 0:
            trainer.save_checkpoint(self.path)


def _checkpoints(folder: Path, settings: dict[str, Any]) -> list[Callback]:
    common: dict[str, Any] = {
        "dirpath": folder,
        "enable_version_counter": False,
        "save_on_train_epoch_end": True,
    }
    return [
        _FirstCheckpoint(folder / "latest.ckpt", settings),
        ModelCheckpoint(filename="latest", **common),
        ModelCheckpoint(filename="best", monitor="test_acc1", mode="max", **common),
    ]


def obtain_teacher(recipe: Recipe, data: Data, options: argparse.Namespace, folder: Path) -> tuple[Teacher, float]:
    """The teacher that was asked for, or one trained first; and its accuracy on the test set, percent.

    Raises:
        FileNotFoundError: ``--teacher`` names no file.
        ValueError: it does not fit, or is no better than chance.
    """
    spec = options.teacher
    if spec is None:
        spec = str(folder / TEACHER_FILE)
        if Path(spec).is_file():
            rank_zero_info(f"Teacher: {spec}, trained by an earlier run")
            _check_same_set(Path(spec), data)
        else:
            rank_zero_info(f"Teacher: none was given (--teacher), so one is trained first, in {folder}")
            train_teacher(recipe, data, options, folder)
    _, arguments = build_network(recipe.teacher, num_classes=data.num_classes, in_channels=data.in_channels)
    teacher = load_teacher(spec, data, recipe.teacher, arguments)
    teacher.network.to(_device(options))
    accuracy = check_teacher(
        teacher,
        data,
        batch_size=recipe.batch_size,
        workers=options.workers,
        limit=SMOKE_STEPS if options.smoke else None,
        refuse=not (options.any_teacher or options.smoke),
    )
    said = "" if teacher.accuracy is None else f" (its file says {teacher.accuracy:.2f} %)"
    rank_zero_info(f"Teacher: {teacher.source} has {accuracy:.2f} % on the test set{said}")
    return teacher, accuracy


def _device(options: argparse.Namespace) -> torch.device:
    """Where this process will train."""
    if options.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def _check_same_set(path: Path, data: Data) -> None:
    about = json.loads(path.with_suffix(".json").read_text("utf8"))
    if about.get("split_hash") != data.split_hash:
        raise ValueError(
            f"{path} was trained on split {about.get('split')}, and this run uses {data.split} with other images: pass "
            "--teacher PATH to use it all the same, or another --output-dir to train a new one"
        )


def train_teacher(
    recipe: Recipe, data: Data, options: argparse.Namespace, folder: Path, *, model: str | None = None
) -> Path:
    """Train the ANN of a row (or timm's ``model``) and write it; its normalisation and accuracy go with it.

    Returns:
        Path of the ``.safetensors`` file.
    """
    recipe = _of_teacher(recipe, options)
    seed_all(options.seed)
    common = {"num_classes": data.num_classes, "in_channels": data.in_channels}
    if model is None:
        build = recipe.teacher
        network, arguments = build_network(build, **common)
    else:
        build, arguments = timm_network, {"name": model, **common}
        network = timm_network(**arguments, pretrained=options.pretrained)
    module = ClassifierModule(network, **_optimisation(recipe, data))
    record = _record_start(recipe, data, options, "teacher") | {"network": {"build": name_of(build), **arguments}}
    path = folder / TEACHER_FILE

    def write(rows: list[dict[str, float]]) -> None:
        write_record(folder / "record.json", record | _outcome(rows, recipe))

    fitted = fit(module, data, recipe, options, folder, on_row=write, resume=_resumable(options, folder))
    accuracy = summary([row["test_acc1"] for row in fitted.rows])["last"]
    about = _about(data) | {"split": data.split, "split_hash": data.split_hash}
    if fitted.trainer.is_global_zero:
        save_network(path, network, build, arguments, accuracy=accuracy, **about)
    fitted.trainer.strategy.barrier()
    return path


def _is_unfinished(of_teacher: Path) -> bool:
    return (of_teacher / "latest.ckpt").is_file() and not (of_teacher / TEACHER_FILE).is_file()


def _of_teacher(recipe: Recipe, options: argparse.Namespace) -> Recipe:
    """The recipe with the schedule of its teacher."""
    epochs = 1 if options.smoke else recipe.teacher_epochs
    return replace(recipe, epochs=epochs, lr=recipe.teacher_lr, warmup_epochs=min(recipe.warmup_epochs, epochs - 1))


def _resumable(options: argparse.Namespace, folder: Path) -> str | None:
    """A teacher whose training was cut off goes on where it was, if the run is resumed."""
    return "latest" if options.resume is not None and (folder / "latest.ckpt").is_file() else None


def _optimisation(recipe: Recipe, data: Data) -> dict[str, Any]:
    names = ("lr", "optimizer", "momentum", "weight_decay", "warmup_epochs")
    mixup = None
    if (recipe.mixup or recipe.cutmix) and recipe.batch_size % 2:
        raise ValueError(f"mixup pairs the images of a batch: pass an even batch size (-b), got {recipe.batch_size}")
    if recipe.mixup or recipe.cutmix:
        mixup = Mixup(recipe.mixup, recipe.cutmix, label_smoothing=0.0, num_classes=data.num_classes)
    return {name: getattr(recipe, name) for name in names} | {"mixup": mixup}


def _record_start(recipe: Recipe, data: Data, options: argparse.Namespace, method: str) -> dict[str, Any]:
    """What is known before the first step."""
    flags = {name: value for name, value in vars(options).items() if name not in ("seed", "print_config")}
    return {
        "row": recipe.name,
        "paper_accuracy": recipe.paper_accuracy,
        "method": method,
        "seed": options.seed,
        "data": {
            "name": data.name,
            "split": data.split,
            "split_hash": data.split_hash,
            "complete": data.complete,
            "classes": data.num_classes,
        },
        "recipe": recipe.to_json(),
        "sources": recipe.sources,
        "options": flags,
        "smoke": options.smoke,
        "environment": environment(),
    }


def _before(recipe: Recipe, options: argparse.Namespace, folder: Path, resume: str | None) -> dict[str, Any]:
    """Look at what can be known before the data are read: devices, folder, checkpoint.

    Returns:
        What a resumed run takes over from its record so far.

    Raises:
        FileNotFoundError: no checkpoint to resume from.
        OSError: the folder cannot be written.
        ValueError: a device that is not there, a teacher cache that does not go with the recipe, another run in the
            folder, or the one to resume had other settings.
    """
    _check_devices(options)
    _check_cache(recipe, options)
    _check_writable(folder)
    checkpoint = find_checkpoint(resume, folder)
    if checkpoint is not None:
        _check_same_run(checkpoint, read_checkpoint(checkpoint), _settings(recipe, options))
    path = folder / "record.json"
    if checkpoint is None and path.is_file() and not (options.overwrite or options.smoke):
        raise ValueError(
            f"{folder} holds a run already: pass --resume latest to go on with it, another --output-dir, or --overwrite"
        )
    if checkpoint is None or not path.is_file():
        return {"preflight": None, "resumed_after_epochs": []}
    record = read_record(path)
    epochs = [*record["resumed_after_epochs"], len(record["history"])]
    return {"preflight": record["preflight"], "resumed_after_epochs": epochs}


def _check_devices(options: argparse.Namespace) -> None:
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: PyTorch finds no CUDA device; pass --device cpu")
    known = ["auto", *sorted(StrategyRegistry.available_strategies())]
    if options.strategy not in known:
        raise ValueError(f"--strategy must be one of {', '.join(known)}, got {options.strategy}")


def _check_cache(recipe: Recipe, options: argparse.Namespace) -> None:
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


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"--output-dir: nothing can be written to {folder} ({error.strerror}); pass another") from error


def _outcome(rows: list[dict[str, float]], recipe: Recipe) -> dict[str, Any]:
    return {
        "finished": len(rows) >= recipe.epochs,
        "accuracy": summary([row["test_acc1"] for row in rows]),
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "history": rows,
    }


def run_row(recipe: Recipe, argv: Sequence[str] | None = None, description: str | None = None) -> dict[str, Any] | None:
    """Run a row's script from its command line.

    Args:
        recipe: of the row.
        argv: None for ``sys.argv``.
        description: for ``--help``.

    Returns:
        The record; None after ``--print-config``.

    Raises:
        FileNotFoundError: data, teacher or checkpoint are not there.
        ValueError: something does not fit; the message says what to pass.
    """
    recipe, options = parse(recipe, argv, description)
    if options.print_config:
        print(recipe)
        return None
    if options.smoke:
        recipe = replace(recipe, epochs=1, warmup_epochs=0, batch_size=min(recipe.batch_size, SMOKE_BATCH))
    with brief_errors() if argv is None else nullcontext():
        return _run(recipe, options)


def _run(recipe: Recipe, options: argparse.Namespace) -> dict[str, Any]:
    home = Path("runs") / recipe.name / ("smoke" if options.smoke else "")
    folder = options.output_dir or home / f"{recipe.method}-seed{options.seed}"
    of_teacher = (options.output_dir or home) / "teacher"
    resume = options.resume
    if resume == "latest" and not (folder / "latest.ckpt").is_file() and _is_unfinished(of_teacher):
        resume = None  # the run was stopped while its teacher was trained
    before = _before(recipe, options, folder, resume)
    data = _load(recipe, options)
    seed_all(options.seed)
    wanted = {"num_classes": data.num_classes, "in_channels": data.in_channels, "size": data.size}
    student, arguments = build_network(recipe.student, **wanted, time_steps=recipe.time_steps)
    _check_student(student, recipe, data, options)
    teacher, teacher_accuracy = None, None
    if recipe.method != "plain":
        teacher, teacher_accuracy = obtain_teacher(recipe, data, options, of_teacher)
    distiller = make_distiller(recipe, data, teacher, student)
    record = _record_start(recipe, data, options, recipe.method)
    record["student"] = {"build": name_of(recipe.student), "arguments": arguments, "parameters": _count(student)}
    record |= before
    if teacher is not None:
        record["teacher"] = {"source": teacher.source, "sha256": teacher.sha256, "accuracy": teacher_accuracy}

    @rank_zero_only
    def write(rows: list[dict[str, float]]) -> None:
        record["preflight"] = _report(module.trainer) or record["preflight"]
        write_record(folder / "record.json", record | _outcome(rows, recipe))

    module = DistillationModule(distiller, preflight=not options.no_preflight, **_optimisation(recipe, data))
    fitted = fit(
        module,
        data,
        recipe,
        options,
        folder,
        on_row=write,
        resume=resume,
        teacher=teacher,
    )
    record["teacher_cache"] = fitted.cache
    record |= {"neurons": str(neuron_path(student)), "processes": fitted.trainer.world_size}
    record |= _outcome(fitted.rows, recipe)
    if fitted.trainer.is_global_zero:
        path = folder / "student.safetensors"
        save_network(path, student, recipe.student, arguments, time_steps=recipe.time_steps, **_about(data))
        record["student"]["sha256"] = file_hash(path)
        record["energy"] = _energy(recipe, data, options, student, teacher)
        write_record(folder / "record.json", record)
        print(_closing(record, folder))
    return record


@torch.no_grad()
def _check_student(student: nn.Module, recipe: Recipe, data: Data, options: argparse.Namespace) -> None:
    """Raise unless the student turns images into as many logits as there are classes; it is left as it was.

    Raises:
        ValueError: an ANN, a network in single-step mode, or another number of logits.
    """
    name = f"the student {shown(recipe.student)}"
    try:
        distiller = Distiller(None, student, {}, time_steps=recipe.time_steps, batch_first=True)
    except ValueError as error:
        if set(neuron_step_modes(student).values()) != {"s"}:
            raise
        raise ValueError(
            f"{name} is in single-step mode: let its function call functional.set_step_mode(network, 'm') before it "
            "returns the network"
        ) from error
    student.to(_device(options))
    images = torch.stack([data.test[0][0]] * 2).to(_device(options))
    try:
        with preserve_state(student):
            logits = distiller.eval().predict(images)
    except Exception as error:
        if has_neurons(student):
            raise
        raise ValueError(
            f"{name} is an ANN: it has no spiking neurons and does not take frames [T, N, C, H, W] "
            f"({str(error).partition(chr(10))[0]}); pass a spiking network in multi-step mode"
        ) from error
    if logits.shape[1] != data.num_classes:
        raise ValueError(
            f"{name} has {logits.shape[1]} outputs and the data {data.num_classes} classes: let its function take "
            "num_classes, and give the last layer as many outputs"
        )


def run_teacher(recipe: Recipe, argv: Sequence[str], model: str | None, pretrained: bool) -> Path | None:
    """Train the teacher of a row, for ``examples/train_teacher.py``.

    Args:
        recipe: of the row.
        argv: the row's command line; ``--epochs`` and ``--lr`` are the teacher's here.
        model: a network of timm in place of the row's own.
        pretrained: begin with timm's weights.

    Returns:
        Path of the ``.safetensors`` file; None after ``--print-config``.

    Raises:
        FileNotFoundError: the data are not there.
        ValueError: something does not fit.
    """
    recipe = replace(recipe, epochs=recipe.teacher_epochs, lr=recipe.teacher_lr, method="plain")
    recipe, options = parse(recipe, argv)
    recipe = replace(recipe, teacher_epochs=recipe.epochs, teacher_lr=recipe.lr)
    if options.print_config:
        print(recipe)
        return None
    if options.smoke:
        recipe = replace(recipe, batch_size=min(recipe.batch_size, SMOKE_BATCH))
    options.pretrained = pretrained
    folder = options.output_dir or Path("runs") / recipe.name / "teacher"
    with brief_errors():
        _before(_of_teacher(recipe, options), options, folder, options.resume)
        path = train_teacher(recipe, _load(recipe, options), options, folder, model=model)
    rank_zero_info(f"Teacher: written to {path}")
    return path


def _load(recipe: Recipe, options: argparse.Namespace) -> Data:
    names = ("num_classes", "train_images", "test_images", "download", "allow_partial")
    data = recipe.data(options.data_path, recipe.data_options(**{name: getattr(options, name) for name in names}))
    if recipe.sources.get("split") == "command line" and data.split.startswith("folders"):
        raise ValueError(
            f"--split {recipe.split} does nothing: {options.data_path} is a tree whose folders are its split"
        )
    return data


def _about(data: Data) -> dict[str, Any]:
    """What whoever feeds a network has to know."""
    return {"mean": data.mean, "std": data.std, "size": data.size, "classes": data.classes, "event": data.is_event}


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _energy(
    recipe: Recipe, data: Data, options: argparse.Namespace, student: nn.Module, teacher: Teacher | None
) -> dict[str, Any] | None:
    """Operations and energy of one image: the student, its ANN twin on one step, and the teacher."""
    count = min(options.energy_images, SMOKE_BATCH) if options.smoke else options.energy_images
    if not count:
        return None

    def batches() -> Iterator[Tensor]:
        size = min(recipe.batch_size, count)
        for images, _ in islice(DataLoader(data.test, size), max(1, count // size)):
            yield images.transpose(0, 1) if images.ndim == 5 else images.unsqueeze(0)

    student, steps = student.cpu(), recipe.time_steps
    over_time = ((x if data.is_event else x.expand(steps, *x.shape[1:])).contiguous() for x in batches())
    found = {"images": count, "student": measure_energy(student, over_time, batch_axis=1).to_json()}
    one_step = (x.mean(0, keepdim=True) for x in batches())
    found["ann_twin"] = measure_energy(ann_twin(student), one_step, batch_axis=1).to_json()
    if teacher is not None:
        enter = teacher.input_for(data)
        found["teacher"] = measure_energy(teacher.network.cpu(), (enter(x.mean(0)) for x in batches())).to_json()
    return found


def _closing(record: dict[str, Any], folder: Path) -> str:
    accuracy = record["accuracy"]
    lines = [
        f"{record['row']}, {record['method']}, seed {record['seed']}, split {record['data']['split']}: test accuracy "
        f"last {accuracy['last']:.2f} %, mean of the last 5 epochs {accuracy['mean_last_5']:.2f} %, "
        f"best {accuracy['best']:.2f} % (epoch {accuracy['best_epoch']}, chosen on the test set)"
    ]
    for name, energy in (record["energy"] or {}).items():
        if isinstance(energy, dict):
            rate = "" if energy["firing_rate"] is None else f", firing rate {100 * energy['firing_rate']:.2f} %"
            lines.append(f"energy of the {name}: {energy['compute_mj']:.4g} mJ an image (compute){rate}")
    lines.append(f"record: {folder / 'record.json'}; student: {folder / 'student.safetensors'}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit("run a row's script, such as examples/cifar10_r19_t1.py")
