"""The ANN of a row, or a network of timm, trained as a teacher."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lightning.pytorch import Callback

from . import teacher_identity as identity
from .build import Built, build_network
from .data import Data
from .data.loading import seed_all
from .files import is_first_process
from .options import Run
from .recipe import Recipe
from .records.schema import Record
from .teacher_identity import TEACHER_FILE
from .timm_teachers import timm_network
from .training.fit import fit, optimisation
from .training.module import ClassifierModule
from .training.resume import find_checkpoint, record_so_far, resumed

__all__ = ["first_teacher", "train_teacher", "with_teacher_schedule"]


def train_teacher(
    recipe: Recipe, run: Run, data: Data, folder: Path, *, model: str | None = None, watch: Callback | None = None
) -> Path:
    """Train the ANN of a row (or timm's ``model``) and write it; its normalisation and accuracy go with it.

    A training that was cut off goes on where it was, if the run is resumed. How the teacher is made stands in
    ``making.json`` from the beginning and in ``teacher.json`` at the end, see :mod:`.teacher_identity`.

    Args:
        recipe: of the row.
        run: its flags.
        data: to train and test on.
        folder: where the teacher, its record and its checkpoints are written.
        model: a network of timm in place of the row's own.
        watch: of the training, which it may end by an error.

    Returns:
        Path of the ``.safetensors`` file.

    Example:
        >>> import tempfile
        >>> from spikingjelly_ckd.recipes.compare.flags import RECIPE  # any recipe
        >>> from spikingjelly_ckd.recipes.data import DataOptions
        >>> from spikingjelly_ckd.recipes.data.digits import digits
        >>> data, folder = digits("", DataOptions(size=16, time_steps=2)), Path(tempfile.mkdtemp())
        >>> run = Run(smoke=True, device="cpu", workers=0, logger="none", no_progress=True)
        >>> train_teacher(run.shorten(RECIPE), run, data, folder).name
        'teacher.safetensors'
    """
    recipe = with_teacher_schedule(recipe, run)
    seed_all(run.seed)
    built = first_teacher(recipe, run, data, model)
    module = ClassifierModule(built.network, **optimisation(recipe, data))
    made = identity.made(recipe, run, data, built)
    checkpoint = find_checkpoint(run.resume, folder)
    record = Record.start(recipe, run, data, method="teacher", network=made["network"])
    if checkpoint is not None:
        record = resumed(record, checkpoint, record_so_far(folder))
    elif is_first_process():
        folder.mkdir(parents=True, exist_ok=True)
        identity.begin(folder, made)
    path = folder / TEACHER_FILE

    def on_row(rows: list[dict[str, float]]) -> None:
        record.after(rows).write(folder / "record.json")

    settings = identity.settings(made)
    fitted = fit(module, data, recipe, run, folder, on_row=on_row, resume=run.resume, settings=settings, watch=watch)
    if fitted.trainer.is_global_zero:
        built.save(path, data, accuracy=fitted.accuracy, split=data.split, split_hash=data.split_hash, made=made)
    fitted.trainer.strategy.barrier()
    return path


def first_teacher(recipe: Recipe, run: Run, data: Data, model: str | None = None) -> Built:
    """The ANN before its training.

    Args:
        recipe: of the row, whose own ANN it is.
        run: whether ``model`` begins with timm's weights.
        data: for its classes, channels and size.
        model: a network of timm in place of the row's own.

    Raises:
        TypeError: as :func:`~spikingjelly_ckd.recipes.build.build_network`.
        ValueError: timm has no such network.

    Example:
        >>> from spikingjelly_ckd.recipes.compare.flags import RECIPE  # any recipe
        >>> from spikingjelly_ckd.recipes.data import DataOptions
        >>> from spikingjelly_ckd.recipes.data.digits import digits
        >>> built = first_teacher(RECIPE, Run(), digits("", DataOptions(size=16, time_steps=2)))
        >>> built.name, built.arguments
        ('spikingjelly_ckd.recipes.models:resnet20', {'num_classes': 10, 'in_channels': 2})
    """
    common = {"num_classes": data.num_classes, "in_channels": data.in_channels}
    if model is None:
        network, arguments = build_network(recipe.teacher, **common, size=data.size)
        return Built(network, recipe.teacher, arguments)
    arguments = {"name": model, **common}
    return Built(timm_network(**arguments, pretrained=run.pretrained), timm_network, arguments)


def with_teacher_schedule(recipe: Recipe, run: Run) -> Recipe:
    """The recipe with the epochs, all of them, and the learning rate of its teacher."""
    epochs = 1 if run.smoke else recipe.teacher_epochs
    warmup = min(recipe.warmup_epochs, epochs - 1)
    return replace(recipe, epochs=epochs, lr=recipe.teacher_lr, warmup_epochs=warmup, early_stop=0)
