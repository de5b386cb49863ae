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
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..ckd import CKDDistiller
from ..distiller import Distiller
from ..networks.compat import neuron_path
from .build import about_data, build_network, check_student, count
from .command_line import brief_errors, parse
from .data import Data
from .data.loading import seed_all
from .export import file_hash, name_of, save_network
from .options import SMOKE_BATCH, check_cache, check_devices, check_writable
from .recipe import Recipe
from .report.energy import ann_twin, measure_energy
from .report.records import outcome, read_record, record_start, write_record
from .teachers import Teacher, is_unfinished, obtain_teacher, of_teacher, train_teacher
from .training.fit import FitResult, fit, optimisation, preflight_report
from .training.module import DistillationModule
from .training.resume import check_same_run, find_checkpoint, read_checkpoint, settings_of

__all__ = ["FitResult", "build_network", "fit", "make_distiller", "run_row", "run_teacher"]


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
    if resume == "latest" and not (folder / "latest.ckpt").is_file() and is_unfinished(of_teacher):
        resume = None  # the run was stopped while its teacher was trained
    before = _before(recipe, options, folder, resume)
    data = _load(recipe, options)
    seed_all(options.seed)
    wanted = {"num_classes": data.num_classes, "in_channels": data.in_channels, "size": data.size}
    student, arguments = build_network(recipe.student, **wanted, time_steps=recipe.time_steps)
    check_student(student, recipe, data, options)
    teacher, teacher_accuracy = None, None
    if recipe.method != "plain":
        teacher, teacher_accuracy = obtain_teacher(recipe, data, options, of_teacher)
    distiller = make_distiller(recipe, data, teacher, student)
    record = record_start(recipe, data, options, recipe.method)
    record["student"] = {"build": name_of(recipe.student), "arguments": arguments, "parameters": count(student)}
    record |= before
    if teacher is not None:
        record["teacher"] = {"source": teacher.source, "sha256": teacher.sha256, "accuracy": teacher_accuracy}

    @rank_zero_only
    def write(rows: list[dict[str, float]]) -> None:
        record["preflight"] = preflight_report(module.trainer) or record["preflight"]
        write_record(folder / "record.json", record | outcome(rows, recipe))

    module = DistillationModule(distiller, preflight=not options.no_preflight, **optimisation(recipe, data))
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
    record |= outcome(fitted.rows, recipe)
    if fitted.trainer.is_global_zero:
        path = folder / "student.safetensors"
        save_network(path, student, recipe.student, arguments, time_steps=recipe.time_steps, **about_data(data))
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
        _before(of_teacher(recipe, options), options, folder, options.resume)
        path = train_teacher(recipe, _load(recipe, options), options, folder, model=model)
    rank_zero_info(f"Teacher: written to {path}")
    return path


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
    check_devices(options)
    check_cache(recipe, options)
    check_writable(folder)
    checkpoint = find_checkpoint(resume, folder)
    if checkpoint is not None:
        check_same_run(checkpoint, read_checkpoint(checkpoint), settings_of(recipe, options))
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


def _load(recipe: Recipe, options: argparse.Namespace) -> Data:
    names = ("num_classes", "train_images", "test_images", "download", "allow_partial")
    data = recipe.data(options.data_path, recipe.data_options(**{name: getattr(options, name) for name in names}))
    if recipe.sources.get("split") == "command line" and data.split.startswith("folders"):
        raise ValueError(
            f"--split {recipe.split} does nothing: {options.data_path} is a tree whose folders are its split"
        )
    return data


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
