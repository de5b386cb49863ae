"""Running a recipe: data, student, teacher, training, record, energy, export.

Files of a run, in its output folder::

    record.json            what ran and what came out, written after each epoch
    history.csv            one row for each epoch
    tensorboard/           the same, for TensorBoard
    latest.ckpt            for --resume; previous.ckpt is the one before it
    best.ckpt              chosen on the validation part, or on the test set where there is none
    settings.json          what the run began with
    run.lock               while it runs: which process writes here
    student.safetensors    the student alone, with student.json beside it

``build_network`` is of :mod:`spikingjelly_ckd.recipes.build`, ``load_data`` is of
:mod:`spikingjelly_ckd.recipes.row_data`, ``fit`` and ``FitResult`` are of :mod:`spikingjelly_ckd.recipes.training.fit`.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..errors.arguments import ArgumentValueError
from ..errors.installed import needs_packages
from ..networks.compat import neuron_path
from .build import Built, build_network, build_student
from .closing import SMOKED, closing_text
from .command_line import CHANGEABLE, brief_errors, parse
from .counting import count_energy
from .data import Data
from .data.loading import say_left_out, seeded
from .distillers import make_distiller
from .export import file_hash
from .files import until_reader_leaves
from .models import checkpoint_neurons, synchronise_norms, without_checkpoints
from .network_code import code_of
from .options import Run, check_options, output_folder
from .recipe import Recipe
from .records.parts import RecordedStudent
from .records.schema import Record
from .row_data import load_data
from .seeds import distil_seeds
from .start import check_start, make_steps_cheaper, start_student
from .student_needs import check_needs
from .teacher_training import train_teacher, with_teacher_schedule
from .teachers import Teacher, obtain_teacher
from .training.fit import FitResult, fit, optimisation, preflight_report
from .training.module import DistillationModule
from .training.resume import (
    check_same_run,
    read_settings,
    record_so_far,
    resumed,
    settings_of,
    what_to_resume,
    write_settings,
)

with needs_packages("spikingjelly_ckd.recipes.row"):
    from lightning.pytorch.utilities import rank_zero_info

__all__ = [
    "FitResult",
    "build_network",
    "distil",
    "fit",
    "load_data",
    "make_distiller",
    "run_row",
    "run_teacher",
]

WEIGHTS_OF_LOSSES = (0, 1)
"""Beside the seed of a run: the source of the first weights of losses that have some."""


def run_row(recipe: Recipe, argv: Sequence[str] | None = None, description: str | None = None) -> dict[str, Any] | None:
    """Run a row's script from its command line.

    Args:
        recipe: of the row.
        argv: None for ``sys.argv``.
        description: for ``--help``.

    Returns:
        The record as plain data, see :class:`~spikingjelly_ckd.recipes.records.schema.Record`; after ``--seeds`` those
        of all seeds, as :func:`~spikingjelly_ckd.recipes.seeds.distil_seeds` returns them; None after
        ``--print-config``.

    Raises:
        FileNotFoundError: data, teacher or checkpoint are not there.
        ValueError: something does not fit; the message says what to pass.

    Example:
        >>> from contextlib import redirect_stdout
        >>> from io import StringIO
        >>> from spikingjelly_ckd.recipes.compare.flags import RECIPE  # any recipe, such as one of your own
        >>> with redirect_stdout(StringIO()) as shown:
        ...     run_row(RECIPE, ["--print-config", "--method", "kd", "--lr", "0.05"])
        >>> [line.split(maxsplit=2) for line in shown.getvalue().splitlines() if line.startswith("lr ")]
        [['lr', '0.05', 'command line']]
    """
    recipe, run = parse(recipe, argv, description)
    if run.print_config:
        with until_reader_leaves():
            print(recipe)
        return None
    with brief_errors(not_given=_not_given(recipe)) if argv is None else nullcontext():
        if run.seeds is not None:
            return distil_seeds(run.shorten(recipe), run, distil)
        return distil(run.shorten(recipe), run).to_json()


def _not_given(recipe: Recipe) -> list[str]:
    """Values that no flag set."""
    return [name for name in CHANGEABLE if recipe.sources.get(name) != "command line"]


def distil(recipe: Recipe, run: Run, like: Path | None = None) -> Record:
    """One row, from the data to the record, in a folder that no other run writes to meanwhile.

    Args:
        recipe: of the row, as it is run: of a smoke run already shortened.
        run: its flags.
        like: folder of another seed, whose student has to be of the same code.

    Returns:
        The record, on the first process with energy and the student's file.

    Raises:
        FileNotFoundError: as :func:`run_row`.
        ValueError: as :func:`run_row`.

    Example:
        >>> import tempfile
        >>> from contextlib import redirect_stdout
        >>> from io import StringIO
        >>> from spikingjelly_ckd.recipes.compare.flags import RECIPE  # any recipe, such as one of your own
        >>> from spikingjelly_ckd.recipes.data.digits import digits
        >>> from spikingjelly_ckd.recipes.models import spiking_resnet8
        >>> recipe = replace(RECIPE, data=digits, student=spiking_resnet8, size=16, time_steps=2)
        >>> few = {"smoke": True, "energy_images": 0, "workers": 0, "logger": "none", "no_progress": True}
        >>> run = Run(data_path=Path("."), output_dir=Path(tempfile.mkdtemp()), device="cpu", **few)
        >>> with redirect_stdout(StringIO()):
        ...     record = distil(run.shorten(recipe), run)
        >>> record.method, record.finished, (run.output_dir / "student.safetensors").is_file()
        ('plain', True, True)
    """
    folder = run.folder(recipe)
    check_options(recipe, run)
    with output_folder(folder):
        return _distil_locked(folder, recipe, run, like)


def _distil_locked(folder: Path, recipe: Recipe, run: Run, like: Path | None) -> Record:
    checkpoint = what_to_resume(folder, recipe, run)
    data = load_data(recipe, run)
    say_left_out(data, recipe.batch_size)
    if recipe.early_stop and data.validation is None:
        raise ArgumentValueError("early_stop", "looks at a validation part: pass --val-images, such as 0.1")
    student = build_student(recipe, run, data)
    code = code_of(student.network, student.build, "student")
    if checkpoint is not None:
        check_same_run(checkpoint, read_settings(checkpoint.parent) or {}, code)
    if like is not None:
        check_same_run(like, read_settings(like) or {}, code)
    if recipe.sync_bn:
        synchronise_norms(student.network)
    check_needs(student.network, recipe, data, run)
    check_start(student.network, recipe)
    if run.teacher is None:  # its training may be stopped; where nothing is trained, a refused row leaves nothing
        write_settings(folder, settings_of(recipe, run) | code)
    teacher = obtain_teacher(recipe, run, data)
    write_settings(folder, settings_of(recipe, run) | code)
    # what is chosen, is chosen before neurons are put into others
    example = None if recipe.memopt is None else torch.stack([data.test[0][0]] * 2).to(run.torch_device)
    with seeded(run.seed, *WEIGHTS_OF_LOSSES):
        distiller = make_distiller(recipe, data, teacher, student.network, example)
    if recipe.memopt is not None and example is not None:
        checkpoint_neurons(student.network, partial(distiller.predict, example), recipe.memopt)
    more = optimisation(recipe, data) | {"eval_time_steps": recipe.eval_time_steps}
    module = DistillationModule(distiller, preflight=not run.no_preflight, **more)
    start = Record.start(recipe, run, data, student=student, teacher=teacher)
    before = None if checkpoint is None else record_so_far(folder)
    begun = None if before is None else before.init
    start = replace(start, init=start_student(student.network, distiller, recipe, run, data, teacher, begun=begun))
    if checkpoint is not None:
        start = resumed(start, checkpoint, before)

    if recipe.accelerate:
        start = replace(start, acceleration=make_steps_cheaper(distiller, recipe, run, data, start.acceleration))

    def on_row(rows: list[dict[str, float]]) -> None:
        _so_far(start, module, rows).write(folder / "record.json")

    resume = None if checkpoint is None else str(checkpoint)
    fitted = fit(module, data, recipe, run, folder, on_row=on_row, resume=resume, teacher=teacher)
    without_checkpoints(student.network)
    record = replace(_so_far(start, module, fitted.rows), teacher_cache=fitted.cache, test=fitted.test)
    if module.accuracy_by_step is not None:
        record = replace(record, accuracy_by_step=module.accuracy_by_step)
    return _finish(record, recipe, run, data, student, teacher) if fitted.trainer.is_global_zero else record


def _so_far(start: Record, module: DistillationModule, rows: list[dict[str, float]]) -> Record:
    """The record after these epochs, with what the training found out about itself."""
    return replace(
        start.after(rows),
        chosen=module.distiller.chosen(),
        preflight=preflight_report(module.trainer) or start.preflight,
        neurons=str(neuron_path(module.distiller.student)),
        processes=module.trainer.world_size,
    )


def _finish(record: Record, recipe: Recipe, run: Run, data: Data, student: Built, teacher: Teacher | None) -> Record:
    """Write the student, count its energy, write the record, and say what came out."""
    folder = run.folder(recipe)
    path = student.save_student(folder / "student.safetensors", recipe, data, record.init)
    written = replace(RecordedStudent.of(student), sha256=file_hash(path))
    record = replace(record, student=written, energy=count_energy(recipe, run, data, student, teacher))
    record.write(folder / "record.json")
    print(closing_text(record, folder, best_on_test=run.best_on_test))
    return record


def run_teacher(
    recipe: Recipe,
    argv: Sequence[str],
    model: str | None,
    pretrained: bool,
    *,
    parent: ArgumentParser | None = None,
    description: str | None = None,
) -> Path | None:
    """Train the teacher of a row, for ``examples/train_teacher.py``.

    Args:
        recipe: of the row.
        argv: the row's command line; ``--epochs`` and ``--lr`` are the teacher's here.
        model: a network of timm in place of the row's own.
        pretrained: begin with timm's weights.
        parent: the flags of that script, for its help.
        description: of that script.

    Returns:
        Path of the ``.safetensors`` file; None after ``--print-config``.

    Raises:
        FileNotFoundError: the data are not there.
        ValueError: something does not fit.

    Example:
        >>> import tempfile
        >>> from spikingjelly_ckd.recipes.compare.flags import RECIPE  # any recipe, such as one of your own
        >>> from spikingjelly_ckd.recipes.data.digits import digits
        >>> flags = "--data-path . --size 16 -T 2 --smoke --device cpu -j 0 --logger none --no-progress --output-dir"
        >>> recipe = replace(RECIPE, data=digits)
        >>> run_teacher(recipe, [*flags.split(), tempfile.mkdtemp()], model=None, pretrained=False).name
        'teacher.safetensors'
    """
    of_teacher = {name: recipe.sources.get(f"teacher_{name}") for name in ("epochs", "lr")}
    sources = recipe.sources | {name: source for name, source in of_teacher.items() if source is not None}
    recipe = replace(recipe, epochs=recipe.teacher_epochs, lr=recipe.teacher_lr, method="plain", sources=sources)
    recipe, run = parse(recipe, argv, description, parent)
    recipe = replace(recipe, teacher_epochs=recipe.epochs, teacher_lr=recipe.lr)
    if recipe.early_stop:
        raise ArgumentValueError("early_stop", "is for students")
    if run.print_config:
        with until_reader_leaves():
            print(recipe)
        return None
    given = _not_given(recipe)
    recipe, run = run.shorten(recipe), replace(run, pretrained=pretrained)
    folder = run.output_dir or run.teacher_folder(recipe)
    with brief_errors(not_given=given):
        if run.seeds is not None:
            raise ArgumentValueError("seeds", "is for rows: a teacher that is trained alone has one --seed")
        if pretrained and model is None:
            raise ArgumentValueError("pretrained", "is for networks of timm: name one with --model timm:NAME")
        check_options(recipe, run)
        with output_folder(folder):
            checkpoint = what_to_resume(folder, with_teacher_schedule(recipe, run), run)
            data = load_data(recipe, run)
            write_settings(folder, settings_of(with_teacher_schedule(recipe, run), run))
            run = replace(run, resume=None if checkpoint is None else str(checkpoint))
            path = train_teacher(recipe, run, data, folder, model=model)
    rank_zero_info(f"Teacher: written to {path}{SMOKED if run.smoke else ''}")
    return path
