"""Teachers: from a file or from timm, or trained first, and checked before anybody learns from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from ..errors.arguments import InvalidStepError
from . import teacher_identity as identity
from .build import build_network
from .data import Data
from .files import locked, say, set_aside
from .names import resolve_name
from .options import Run, teacher_file
from .recipe import Recipe
from .teacher_check import advice_on, check_teacher, part_of
from .teacher_file import described_teacher, is_described, weights_teacher
from .teacher_identity import TEACHER_FILE
from .teacher_input import Teacher, TeacherInput, as_told
from .teacher_training import first_teacher, train_teacher, with_teacher_schedule
from .timm_teachers import from_timm, timm_network
from .training.resume import LATEST, find_checkpoint

__all__ = [
    "Teacher",
    "TeacherInput",
    "check_teacher",
    "first_teacher",
    "load_teacher",
    "named_teacher",
    "obtain_teacher",
    "timm_network",
    "train_teacher",
]


def obtain_teacher(recipe: Recipe, run: Run, data: Data, watch: Callback | None = None) -> Teacher | None:
    """The teacher of a row: given, trained by an earlier run, or trained now; None where the method has none.

    Args:
        recipe: of the row.
        run: its flags.
        data: what it is to teach.
        watch: of its training, which it may end by an error.

    Raises:
        FileNotFoundError: ``--teacher`` names no file.
        ValueError: it does not fit, or is no better than chance.

    Example:
        >>> import tempfile
        >>> from spikingjelly_ckd.recipes.compare.flags import RECIPE  # any recipe
        >>> from spikingjelly_ckd.recipes.data import DataOptions
        >>> from spikingjelly_ckd.recipes.data.digits import digits
        >>> data = digits("", DataOptions(size=16, time_steps=2))
        >>> run = Run(output_dir=Path(tempfile.mkdtemp()), smoke=True, device="cpu", workers=0, no_progress=True)
        >>> obtain_teacher(run.shorten(replace(RECIPE, method="kd")), run, data).measured_accuracy is None
        False
        >>> obtain_teacher(run.shorten(replace(RECIPE, method="plain")), run, data) is None
        True
    """
    if not recipe.uses_teacher:
        return None
    teacher = named_teacher(run.teacher or _own_teacher(recipe, run, data, watch), recipe, run, data)
    teacher.network.to(run.torch_device)
    accuracy = check_teacher(
        teacher,
        data,
        batch_size=recipe.batch_size,
        workers=run.workers,
        limit=run.most_steps,
        refuse=not (run.any_teacher or run.smoke),
        advice=advice_on(run, data),
    )
    said = "" if teacher.accuracy is None else f" (its file says {teacher.accuracy:.2f} % on the test set)"
    how = "" if teacher.made is None else f"; made so: {identity.described(teacher.made)}"
    of = f"{run.most_steps} batches of " if run.smoke else ""
    rank_zero_info(f"Teacher: {teacher.source} has {accuracy:.2f} % on {of}the {part_of(data)} set{said}{how}")
    return replace(teacher, measured_accuracy=accuracy)


def named_teacher(spec: str, recipe: Recipe, run: Run, data: Data) -> Teacher:
    """The teacher of a file or of timm, with what the flags say of it.

    Args:
        spec: path, or ``timm:NAME``.
        recipe: whose own ANN a file is of that does not say its network.
        run: ``teacher_build``, which counts where ``teacher`` was given, and how its input is normalised.
        data: what it is to teach.

    Raises:
        FileNotFoundError: as :func:`load_teacher`.
        ValueError: as :func:`load_teacher`.

    Example:
        >>> import tempfile, torch
        >>> from spikingjelly_ckd.recipes.compare.flags import RECIPE  # any recipe
        >>> from spikingjelly_ckd.recipes.data import DataOptions
        >>> from spikingjelly_ckd.recipes.data.digits import digits
        >>> from spikingjelly_ckd.recipes.models import resnet8
        >>> path = f"{tempfile.mkdtemp()}/weights.pt"
        >>> torch.save(resnet8(10, 2).state_dict(), path)  # which does not say what network it is of
        >>> run = Run(teacher=path, teacher_build="spikingjelly_ckd.recipes.models:resnet8", teacher_size=16)
        >>> named_teacher(path, RECIPE, run, digits("", DataOptions(size=16, time_steps=2))).size
        16
    """
    own = None if run.teacher is None or run.teacher_build is None else resolve_name(run.teacher_build)
    build, arguments = _builder(own or recipe.teacher, data, run)
    return as_told(load_teacher(spec, data, build, arguments, of_any_file=own is not None), run, data)


def _own_teacher(recipe: Recipe, run: Run, data: Data, watch: Callback | None) -> str:
    """Path of the row's own ANN, trained by an earlier run or now, and made as the recipe says."""
    ours = with_teacher_schedule(recipe, run)
    wanted = identity.made(ours, run, data, first_teacher(recipe, run, data))
    for folder in identity.folders(run.teacher_folder(recipe), wanted):
        if _is_anothers(folder, wanted):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, wait="the teacher that is trained there"):
            path = None if _is_anothers(folder, wanted) else _take_up(folder, recipe, run, data, wanted, watch)
            if path is not None:
                return str(path)
    raise ValueError(f"{folder} holds another teacher than its name says: delete it, or pass --teacher PATH")


def _is_anothers(folder: Path, wanted: Mapping[str, Any]) -> bool:
    """Whether a folder holds a teacher that was made otherwise, which is left alone; says so."""
    found = [identity.differences(there, wanted) for there in identity.claims(folder)]
    if not found or "" in found:
        return False
    say(f"Teacher: the one in {folder} was made otherwise ({found[0]}); it is left as it is")
    return True


def _take_up(
    folder: Path, recipe: Recipe, run: Run, data: Data, wanted: Mapping[str, Any], watch: Callback | None
) -> Path | None:
    """The teacher of a folder that is this process's: as it is there, or trained, or trained to its end.

    None where another one has been begun over it, and it is there no longer.
    """
    path = folder / TEACHER_FILE
    about = identity.whole(folder)
    if about is not None and not identity.differences(about["made"], wanted):
        known = about.get("accuracy")
        accuracy = "" if known is None else f"; its file says {known:.2f} % on the test set"
        say(f"Teacher: {path}, trained by an earlier run: {identity.described(about['made'])}{accuracy}")
        return path
    seed, resume, begun = run.seed, None, identity.claims(folder)
    if begun and identity.differences(begun[0], wanted):
        return None
    if begun and _can_go_on(folder):
        seed, resume = begun[0].get("seed", run.seed), "latest"
        say(f"Teacher: its training in {folder} was broken off and goes on, with its seed {seed}")
    else:
        say(f"Teacher: none was given (--teacher), so one is trained first, in {folder}")
    say(f"Teacher: {identity.described({**wanted, 'seed': seed})}{identity.epochs_note(recipe)}")
    try:
        return train_teacher(recipe, replace(run, seed=seed, resume=resume), data, folder, watch=watch)
    except InvalidStepError as error:
        # the note names --lr and --overwrite, which are for the student here
        where, _, advice = " ".join(getattr(error, "__notes__", ())).partition(":")
        error.__notes__ = [f"{where} of the teacher{': pass a lower --teacher-lr' if advice else ''}"]
        raise


def _can_go_on(folder: Path) -> bool:
    """Whether a training that was broken off left a checkpoint; damaged ones are set aside."""
    try:
        return find_checkpoint("latest", folder) is not None
    except FileNotFoundError:
        return False
    except ValueError as error:
        set_aside(folder / LATEST, error)
        return _can_go_on(folder)


def _builder(build: Callable[..., nn.Module], data: Data, run: Run) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
    """The function of an ANN, and those of the usual keywords that it takes."""
    size = run.teacher_size or data.size
    return build, build_network(build, num_classes=data.num_classes, in_channels=data.in_channels, size=size)[1]


def load_teacher(
    spec: str,
    data: Data,
    build: Callable[..., nn.Module],
    arguments: Mapping[str, Any] | None = None,
    *,
    of_any_file: bool = False,
) -> Teacher:
    """The teacher that ``--teacher`` names.

    Args:
        spec: ``timm:NAME``, with timm's own weights; or a path: ``.safetensors`` with its ``.json`` (what
            ``examples/train_teacher.py`` writes), or a ``state_dict`` in any usual file, for ``build``'s network.
        data: what it is to teach.
        build: network of a file that does not say its own, or that names this function.
        arguments: keywords of ``build``, for a file that does not say its own.
        of_any_file: ``build`` makes the network of a file that names another function, too.

    Returns:
        A :class:`Teacher`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it does not fit: other classes, other channels, weights of another network.

    Example:
        >>> import tempfile
        >>> from spikingjelly_ckd.recipes.data import DataOptions
        >>> from spikingjelly_ckd.recipes.data.digits import digits
        >>> from spikingjelly_ckd.recipes.export import save_network
        >>> from spikingjelly_ckd.recipes.models import resnet8
        >>> path, arguments = Path(tempfile.mkdtemp(), "teacher.safetensors"), {"num_classes": 10, "in_channels": 2}
        >>> about = {"classes": [str(digit) for digit in range(10)], "event": True, "accuracy": 91.5}
        >>> _ = save_network(path, resnet8(**arguments), resnet8, arguments, **about)
        >>> load_teacher(str(path), digits("", DataOptions(size=16, time_steps=2)), resnet8).accuracy
        91.5
    """
    path = teacher_file(spec)
    if path is None:
        return from_timm(spec.removeprefix("timm:"), data)
    if is_described(path):
        return described_teacher(path, spec, data, build, of_any_file)
    return weights_teacher(path, spec, data, build, arguments)
