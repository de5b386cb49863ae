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
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from timm.data import Mixup
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..compat import neuron_path, use_fast_neurons
from ..distiller import CKDDistiller, Distiller
from .data import Data
from .energy import ann_twin, measure_energy
from .export import file_hash, name_of, save_network
from .loading import EpochData, seed_all
from .recipe import Recipe, parse
from .records import environment, read_record, summary, write_record
from .teachers import Teacher, check_teacher, load_teacher, timm_network
from .training import ClassifierModule, DistillationCallback, DistillationModule, History, StepSeeds, TrainingModule

__all__ = ["Fitted", "build_network", "fit", "make_distiller", "run_row", "run_teacher"]

TEACHER_FILE = "teacher.safetensors"
SMOKE_STEPS = 2
SMOKE_BATCH = 4


@contextmanager
def brief_errors() -> Iterator[None]:
    """On a command line, end with the message alone where this package itself refuses something.

    Whatever another library raises keeps its traceback.
    """
    try:
        yield
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        if not raised_in.is_relative_to(Path(__file__).parents[1]):
            raise
        notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
        sys.exit(f"{Path(sys.argv[0]).name}: error: {error}{notes}")


@dataclass(frozen=True)
class Fitted:
    """What a training left.

    Attributes:
        rows: of the history, one for each epoch.
        trainer: Lightning's.
        report: the preflight's findings as plain data, or None.
    """

    rows: list[dict[str, float]]
    trainer: Trainer
    report: dict[str, Any] | None


def build_network(build: Callable[..., nn.Module], **wanted: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Call ``build`` with those of the keywords that it takes.

    Args:
        build: such as ``spiking_resnet19``, or a function of your own.
        **wanted: ``num_classes``, ``in_channels``, ``time_steps``, ``size``.

    Returns:
        The network and the keywords used.

    Raises:
        TypeError: ``build`` returned no module.

    Example:
        >>> from spikingjelly_ckd.recipes.models import resnet20
        >>> build_network(resnet20, num_classes=5, in_channels=3, size=32)[1]
        {'num_classes': 5, 'in_channels': 3}
    """
    parameters = inspect.signature(build).parameters
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    used = {name: value for name, value in wanted.items() if anything or name in parameters}
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
) -> Fitted:
    """Train a module as the recipe says, with checkpoints, logs and seeds for every step.

    Args:
        module: a :class:`~spikingjelly_ckd.recipes.training.TrainingModule`.
        data: to train and test on.
        recipe: epochs, batch, precision, clipping, accumulation, EMA.
        options: flags of the run, see :func:`~spikingjelly_ckd.recipes.recipe.command_line`.
        folder: where everything is written.
        on_row: called after each epoch with all rows of the history.
        resume: ``"latest"`` or a path of a checkpoint.

    Returns:
        :class:`Fitted`.

    Raises:
        FileNotFoundError: no checkpoint to resume from.
    """
    checkpoint = find_checkpoint(resume, folder)
    history = History(folder / "history.csv", on_row)
    callbacks: list[Callback] = [StepSeeds(options.seed), history, *_checkpoints(folder)]
    if isinstance(module, DistillationModule):
        callbacks.append(_FastNeurons())
    average = EMAWeightAveraging(decay=recipe.ema) if recipe.ema else None
    if average is not None:
        callbacks.append(average)
    trainer = Trainer(
        accelerator={"cuda": "gpu"}.get(options.device, options.device),
        devices=options.devices if options.devices == "auto" else int(options.devices),
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
    loaders = EpochData(data, batch_size=recipe.batch_size, workers=options.workers, seed=options.seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*exists and is not empty")  # it is ours: resumed, or written to just now
        trainer.fit(module, datamodule=loaders, ckpt_path=checkpoint, weights_only=True)
    if average is not None:
        average.on_train_end(trainer, module)  # Lightning leaves it out where the checkpoint had no epoch left to train
    listeners = [item for item in cast(Any, trainer).callbacks if isinstance(item, DistillationCallback)]
    report = listeners[0].report if listeners else None
    return Fitted(history.rows, trainer, report.to_dict() if report is not None else None)


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


class _FastNeurons(Callback):
    """Take the fastest neurons of the installed SpikingJelly once the student is where it will run, and say which."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        rank_zero_info(f"Neurons: {use_fast_neurons(pl_module)}")


class _FirstCheckpoint(Callback):
    """Write ``latest.ckpt`` before the first step too, so that a run stopped in its first epoch can be resumed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.global_step == 0:
            trainer.save_checkpoint(self.path)


def _checkpoints(folder: Path) -> list[Callback]:
    common: dict[str, Any] = {
        "dirpath": folder,
        "enable_version_counter": False,
        "save_on_train_epoch_end": True,
    }
    return [
        _FirstCheckpoint(folder / "latest.ckpt"),
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
    epochs = 1 if options.smoke else recipe.teacher_epochs
    recipe = replace(recipe, epochs=epochs, lr=recipe.teacher_lr, warmup_epochs=min(recipe.warmup_epochs, epochs - 1))
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


def _before(recipe: Recipe, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What a resumed run takes over from its record so far.

    Raises:
        FileNotFoundError: no checkpoint to resume from.
        ValueError: another run is in the folder, or the one to resume had other settings.
    """
    find_checkpoint(options.resume, folder)
    path = folder / "record.json"
    if options.resume is None and path.is_file() and not (options.overwrite or options.smoke):
        raise ValueError(
            f"{folder} holds a run already: pass --resume latest to go on with it, another --output-dir, or --overwrite"
        )
    if options.resume is None or not path.is_file():
        return {"preflight": None, "resumed_after_epochs": []}
    record = read_record(path)
    now, free = recipe.to_json() | {"seed": options.seed}, ("student", "epochs", "teacher_epochs", "teacher_lr")
    then = record["recipe"] | {"seed": record["seed"]}
    changed = [
        f"{name} {then.get(name)} -> {now[name]}" for name in now if name not in free and now[name] != then.get(name)
    ]
    if changed:
        raise ValueError(f"the run in {folder} had other settings, so it cannot be resumed: {', '.join(changed)}")
    epochs = [*record["resumed_after_epochs"], len(record["history"])]
    return {"preflight": record["preflight"], "resumed_after_epochs": epochs}


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
    before = _before(recipe, options, folder)
    data = _load(recipe, options)
    teacher, teacher_accuracy = None, None
    if recipe.method != "plain":
        teacher, teacher_accuracy = obtain_teacher(recipe, data, options, (options.output_dir or home) / "teacher")
    seed_all(options.seed)
    wanted = {"num_classes": data.num_classes, "in_channels": data.in_channels, "size": data.size}
    student, arguments = build_network(recipe.student, **wanted, time_steps=recipe.time_steps)
    distiller = make_distiller(recipe, data, teacher, student)
    record = _record_start(recipe, data, options, recipe.method)
    record["student"] = {"build": name_of(recipe.student), "arguments": arguments, "parameters": _count(student)}
    record |= before
    if teacher is not None:
        record["teacher"] = {"source": teacher.source, "sha256": teacher.sha256, "accuracy": teacher_accuracy}

    @rank_zero_only
    def write(rows: list[dict[str, float]]) -> None:
        write_record(folder / "record.json", record | _outcome(rows, recipe))

    module = DistillationModule(distiller, preflight=not options.no_preflight, **_optimisation(recipe, data))
    fitted = fit(
        module,
        data,
        recipe,
        options,
        folder,
        on_row=write,
        resume=options.resume,
    )
    record |= {"neurons": str(neuron_path(student)), "processes": fitted.trainer.world_size}
    record |= _outcome(fitted.rows, recipe)
    if fitted.report is not None:
        record["preflight"] = fitted.report
    if fitted.trainer.is_global_zero:
        path = folder / "student.safetensors"
        save_network(path, student, recipe.student, arguments, time_steps=recipe.time_steps, **_about(data))
        record["student"]["sha256"] = file_hash(path)
        record["energy"] = _energy(recipe, data, options, student, teacher)
        write_record(folder / "record.json", record)
        print(_closing(record, folder))
    return record


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
        _before(recipe, options, folder)
        path = train_teacher(recipe, _load(recipe, options), options, folder, model=model)
    rank_zero_info(f"Teacher: written to {path}")
    return path


def _load(recipe: Recipe, options: argparse.Namespace) -> Data:
    names = ("num_classes", "train_images", "test_images", "download", "allow_partial")
    return recipe.data(options.data_path, recipe.data_options(**{name: getattr(options, name) for name in names}))


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
