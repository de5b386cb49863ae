"""``python -m spikingjelly_ckd compare``: which method helps, on this network and these data."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ... import published
from ...errors.arguments import ArgumentValueError
from .. import data as data_sets
from ..command_line import CHANGEABLE, FLAGS, brief_errors, command_line
from ..data.digits import digits
from ..export import file_hash
from ..files import say, sweep, whole_file
from ..methods import describe, is_own, read_method, resolve_here
from ..models import resnet8, resnet20, spiking_resnet8, spiking_resnet20
from ..options import Run, check_options, output_folder
from ..parser import near
from ..progress import time_words
from ..recipe import Recipe, ours
from ..report.found import Study
from ..report.page import NAME, write_page
from ..start import FROM_TEACHER
from ..teachers import obtain_teacher
from ..training.resume import check_same_run, read_settings, write_settings
from .arms import CONTROL, Arm, read_arms
from .batches import cropped
from .plan import Plan
from .records import ArmRecord, read_records, set_damaged_aside
from .rehearsal import check_students, forget, rehearsed
from .search import needs_optuna
from .table import render
from .tuning import arms_to_tune, tuned_plan
from .workers import Outcome, run_seeds

__all__ = ["RECIPE", "compare", "main", "settings_of_data"]

PROGRAM = "python -m spikingjelly_ckd compare"
READERS = {name: getattr(data_sets, name) for name in ("cifar10", "cifar100", "cifar10dvs", "imagenet", "image_folder")}
READERS["digits"] = digits
"""Name for ``--data`` -> the function that reads the data."""
RECIPE = Recipe(
    name="compare",
    paper_accuracy=None,
    data=ours(data_sets.image_folder),
    student=ours(spiking_resnet20),
    teacher=ours(resnet20),
    time_steps=ours(4),
    size=ours(32),
    epochs=ours(30),
    batch_size=ours(64),
    lr=ours(0.1),
    momentum=ours(0.9),
    weight_decay=ours(1e-4),
    warmup_epochs=ours(0),
    amp=ours("32-true"),
    method=CONTROL,
    map_temperature=ours(2.0),
    temperature=ours(2.0),
    noise_weight=ours(0.1),
    beta=ours(1.0),
    gamma=ours(1.0),
    teacher_epochs=ours(60),
    teacher_lr=ours(0.1),
)
ELSEWHERE = {
    "method": "--methods",
    "seed": "--seeds",
    "resume": "the same command again, which goes on where it was",
    "overwrite": "another --output-dir",
    "print_config": "--list",
}
"""Flag of a row -> what a comparison has in its place."""
NOT_SERVED = (
    *("teacher_cache", "teacher_cache_dir", "devices", "num_nodes", "strategy", "mixup", "cutmix", "ema"),
    *("accelerate", "sync_bn", "eval_time_steps", "logger", "energy_images", "best_on_test", "early_stop"),
)
UNSERVED = {*ELSEWHERE, *NOT_SERVED, "accumulate", "mixup_off_epoch"}
"""Flags of rows that are refused."""
TEXTS = {
    "data_path": "Folder of the data set, or an ImageFolder tree with train and test or val. Needed, but for digits.",
    "val_images": "Hold out so many training images, or this share of them; without it a tenth.",
}
"""Help of flags that mean something else than in a row."""
TRAIN = "train"
"""What ``--teacher`` says for one that is trained first, which is the default."""
HOME = Path("runs") / "compare"
"""Where nothing is said."""
VALIDATION = 0.1
"""Share of the training part that is held out."""
TUNE = ("tune", "tune_epochs", "tune_methods", "untuned")
OWN = ("methods", "seeds", "budget", "jobs", "crop", "channels_last", "data", *TUNE)
"""Flags that the rows do not have, or have otherwise."""


def main(argv: Sequence[str]) -> int:
    """The command.

    Args:
        argv: its arguments.

    Returns:
        The exit status: 0, or 1 where a seed failed.
    """
    with brief_errors(PROGRAM, to_go_on="the same command", flags=FLAGS | {"method": "--methods"}):
        return compare(argv)


def compare(argv: Sequence[str]) -> int:
    """The command, with errors as they are raised; see :func:`main`."""
    parser, start = _parser(), time.monotonic()
    given = vars(parser.parse_args(argv))
    _refuse(parser, given)
    own = {name: given.pop(name) for name in OWN}
    if given.pop("list"):
        print("\n".join(f"{name:20} {make().source}" for name, make in published.METHODS.items()))
        return 0
    recipe, run, arms, left_out = _read(own, given)
    _check_tuning(own, recipe, run, arms)
    folder = run.output_dir or HOME
    check_options(recipe, run)
    with output_folder(folder):
        for inside in filter(Path.is_dir, (folder / "records", folder / "tuning", *folder.glob("checkpoints/*"))):
            sweep(inside)
        set_damaged_aside(folder / "records")
        plan, more, expected = _prepare(recipe, run, arms, own, folder, argv)
        left_out |= more
        seeds = own["seeds"]
        jobs = own["jobs"] or _places(run)
        if own["tune"]:
            found = _tuned(plan, seeds, own, jobs, expected, time.monotonic() - start)
            if found is None:
                return 0
            expected *= len(found.arms) / len(plan.arms)
            plan = found
        missing = [seed for seed in seeds if plan.without_record(seed)]
        jobs = min(jobs, max(1, len(missing)))
        text = f"{len(plan.arms)} arms, {len(seeds)} seeds, {len(missing)} of them to run, in {folder}"
        if missing:
            text += f"; a seed takes about {time_words(expected)}, and {jobs} run side by side"
        budget, spent = own["budget"], time.monotonic() - start
        if budget is not None:
            text += f"; {time_words(spent)} of --budget {time_words(budget)} are over"
        say(text)
        if own["tune"] and budget is not None and budget - spent < expected:
            outcome = Outcome(left_out=missing)  # the search took it
        else:
            outcome = run_seeds(plan, seeds, jobs=jobs, budget=budget, spent=spent, expected=expected)
        return _closing(plan, seeds, outcome.failed, outcome.left_out, left_out)


def _check_tuning(own: dict[str, Any], recipe: Recipe, run: Run, arms: Sequence[Arm]) -> None:
    """Raise where the flags of a search do not go together, or what it needs is missing; fill in its epochs."""
    if own["tune"] is None:
        for name in TUNE[1:]:
            if own[name]:
                raise ArgumentValueError(name, "does nothing without --tune TRIALS")
        return
    needs_optuna()
    arms_to_tune(arms, own["tune_methods"])
    own["tune_epochs"] = recipe.epochs if run.smoke or own["tune_epochs"] is None else own["tune_epochs"]
    warmup = max(arm.recipe.warmup_epochs for arm in arms)
    if own["tune_epochs"] <= warmup:
        raise ArgumentValueError("tune_epochs", f"must be above warmup_epochs ({warmup}), got {own['tune_epochs']}")


def _tuned(
    plan: Plan, seeds: Sequence[int], own: dict[str, Any], jobs: int, expected: float, spent: float
) -> Plan | None:
    """The plan with the values that a search found; None where the budget ended before it."""
    kept = {arm.name for arm in plan.arms}
    named = own["tune_methods"] and [CONTROL, *(name for name in own["tune_methods"] if name in kept)]
    return tuned_plan(
        plan,
        arms_to_tune(plan.arms, named),
        trials=own["tune"],
        epochs=own["tune_epochs"],
        seeds=seeds,
        untuned=own["untuned"],
        jobs=jobs,
        budget=own["budget"],
        spent=spent,
        expected=expected,
    )


def _closing(
    plan: Plan, seeds: Sequence[int], failed: dict[int, str], too_long: list[int], left_out: dict[str, str]
) -> int:
    """Print and write the table, and write the page."""
    names = {arm.name for arm in plan.arms}
    try:
        found = read_records(plan.folder / "records")
        records = [record for record in found if record.seed in seeds and record.arm in names]
    except FileNotFoundError:
        records = list[ArmRecord]()
    if records:
        text = render(records, left_out)
        with whole_file(plan.folder / "table.md") as file:
            file.write(f"{text}\n".encode())
        print(text)
        notes = [f"{arm} does not fit: {why}" for arm, why in left_out.items()]
        notes += [f"seed {seed} did not fit into the budget" for seed in too_long]
        notes += [f"seed {seed} failed: {why}" for seed, why in failed.items()]
        write_page(plan.folder / NAME, [Study.of_comparison(plan.folder, records, notes)])
    for seed in too_long:
        say(f"seed {seed} did not fit into the budget; the same command goes on with it")
    for seed, why in failed.items():
        say(f"seed {seed} failed: {why}")
    what = f"records, table.md and {NAME}" if records else "no run has ended, so there is no table; what was begun"
    say(f"{what}: {plan.folder}")
    return 1 if failed else 0


def _read(own: dict[str, Any], given: dict[str, Any]) -> tuple[Recipe, Run, list[Arm], dict[str, str]]:
    """The common recipe, the flags of the run and the arms."""
    for seed in own["seeds"]:
        if own["seeds"].count(seed) > 1:
            raise ArgumentValueError("seeds", f"must name each seed once, got {seed} {own['seeds'].count(seed)} times")
    recipe = replace(RECIPE, **settings_of_data(own["data"]))
    changed = {name: given.pop(name) for name in CHANGEABLE if name in given}
    recipe = replace(recipe, **changed, sources=recipe.sources | dict.fromkeys(changed, "command line"))
    # most images are in memory, and every seed would have loading processes of its own
    run = Run(**({"workers": 0} | given))
    run = replace(run, teacher=None if run.teacher == TRAIN else run.teacher)
    if run.val_images is None and recipe.data is not digits:
        run = replace(run, val_images=VALIDATION)
    if recipe.data is digits:
        if run.data_path is not None:
            raise ArgumentValueError("data_path", "does nothing with --data digits, which come with scikit-learn")
        run = replace(run, data_path=Path())
    if recipe.amp == "16-mixed":
        raise ArgumentValueError("amp", "must be 32-true or bf16-mixed here: no gradient is scaled")
    recipe = run.shorten(recipe)
    arms, left_out = read_arms(recipe, own["methods"])
    return recipe, run, arms, left_out


def _prepare(
    recipe: Recipe, run: Run, arms: list[Arm], own: dict[str, Any], folder: Path, argv: Sequence[str]
) -> tuple[Plan, dict[str, str], float]:
    """Look at everything that can go wrong before the first step, and get the teacher.

    Returns:
        The plan with the arms that fit, name of each other arm -> why it does not, and the seconds that a seed takes.
    """
    torch.set_num_threads(1)  # as in the processes of the seeds, so that the time of a step is theirs
    plan = Plan(
        recipe,
        run,
        tuple(arms),
        folder,
        None,
        crop=own["crop"],
        channels_last=own["channels_last"],
        command=f"{PROGRAM} {shlex.join(argv)}",
    )
    asked = plan.asked() | {"teacher": run.teacher or "trained here"}
    own_methods = {arm.recipe.method for arm in arms if is_own(arm.recipe.method)}
    asked |= {f"what {text} returns": describe(read_method(text)) for text in sorted(own_methods)}
    begun = read_settings(folder) or {}
    _agree(folder, begun, asked)
    data = plan.load_data()
    plan.batches(data)
    asked["data set"] = f"{data.name} {data.split} ({data.split_hash[:8]}, content {data.content})"
    _agree(folder, begun, asked)
    unfit = check_students(plan, data, own["methods"])
    for path in sorted({arm.recipe.init or FROM_TEACHER for arm in arms} - {FROM_TEACHER}):
        asked[f"weights of {path}"] = f"of sha256 {file_hash(Path(path).expanduser())[:8]}"
    _agree(folder, begun, asked)
    if run.teacher is None:  # its training may be stopped; where nothing is trained, a refused command leaves nothing
        write_settings(folder, begun | asked)
    if any(arm.recipe.uses_teacher for arm in arms):
        of_teacher = replace(run, output_dir=folder, seed=0, resume=None)
        # its schedule is that of all arms, whatever an arm has for itself
        found = obtain_teacher(replace(recipe, init=FROM_TEACHER), of_teacher, cropped(data, plan.crop))
        assert found is not None
        asked["teacher file"] = "timm's own" if found.sha256 is None else f"of sha256 {found.sha256[:8]}"
        _agree(folder, begun, asked)
        plan = replace(plan, teacher=found.source, teacher_accuracy=found.test_accuracy)
    write_settings(folder, begun | asked)
    return rehearsed(plan, data, own["methods"], unfit)


def _agree(folder: Path, begun: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raise where a comparison of other settings was begun in a folder; forget one of which nothing was trained yet."""
    try:
        check_same_run(folder, begun, asked)
    except ValueError:
        if any(any(folder.glob(made)) for made in ("records/*.json", "checkpoints/*/*.ckpt", "tuning/*")):
            raise
        begun.clear()
        forget(folder)


def settings_of_data(name: str) -> dict[str, Any]:
    """What follows from ``--data`` for the recipe: the reader, and for the digits networks and schedule.

    Args:
        name: of the data, or ``module:function``.

    Returns:
        Field of the :class:`~spikingjelly_ckd.recipes.recipe.Recipe` -> its value.

    Raises:
        ValueError: no data have this name.
    """
    if name not in READERS and ":" not in name:
        meant = near(name, READERS)
        raise ArgumentValueError(
            "data", f"must be {', '.join(READERS)} or module:function, got {name!r}{meant and f'; {meant}'}"
        )
    if name not in READERS:
        return {"data": resolve_here(name)}
    if name == "digits":
        nets = {"student": spiking_resnet8, "teacher": resnet8, "size": 16, "roll": 1}
        return {"data": digits, **nets, "epochs": 20, "batch_size": 32, "teacher_epochs": 40}
    return {"data": READERS[name]}


def _parser() -> argparse.ArgumentParser:
    parser = command_line(RECIPE, __doc__, unserved=UNSERVED, texts=TEXTS)
    parser.prog = PROGRAM
    parser.usage = "%(prog)s --methods METHOD ... --data-path DIR [flags] (see --help)"
    # some flags of rows mean something else here
    group = parser.add_argument_group("the comparison", conflict_handler="resolve")
    group.add_argument(
        "--methods",
        nargs="+",
        default=[],
        metavar="METHOD",
        help="NAME, NAME:key=value,..., module:function, or all; behind it @init=...,lr=...,warmup_epochs=...",
    )
    group.add_argument(
        "--seeds", nargs="+", type=_seed, default=[0, 1, 2], metavar="N", help="with spaces between; default: 0 1 2"
    )
    group.add_argument(
        "--budget", type=_seconds, default=None, metavar="TIME", help="for all of it, such as 90s, 30m or 2h"
    )
    group.add_argument(
        "--jobs", type=_count, default=None, help="seeds side by side, one thread each; default: one a core, or a GPU"
    )
    group.add_argument("-j", "--workers", type=int, help="loading processes of each seed; default: 0")
    group.add_argument("--output-dir", type=Path, help=f"default: {HOME}")
    group.add_argument("--teacher", metavar=f"PATH|timm:NAME|{TRAIN}", help="default: train it first, in --output-dir")
    group.add_argument("--data", default="image_folder", metavar="|".join([*READERS, "MODULE:FUNCTION"]))
    group.add_argument(
        "--crop", type=_count, default=None, metavar="PIXELS", help="cut out so many, of images of --size"
    )
    group.add_argument("--channels-last", action="store_true", default=False, help="memory format of the networks")
    group.add_argument(
        "--tune",
        type=_count,
        default=None,
        metavar="TRIALS",
        help="before it, try so many learning rates, weights and temperatures for each arm on the validation part",
    )
    group.add_argument("--tune-epochs", type=_count, default=None, help="of each trial; default: --epochs")
    group.add_argument(
        "--tune-methods", nargs="+", default=[], metavar="METHOD", help="tune these of the --methods; default: all"
    )
    group.add_argument(
        "--untuned", action="store_true", default=False, help="keep the arms that are tuned with their given values too"
    )
    group.add_argument(
        "--list", action="store_true", default=False, help="print the methods with their sources, and go"
    )
    return parser


def _refuse(parser: argparse.ArgumentParser, given: dict[str, Any]) -> None:
    """End where a flag of the rows is given that a comparison does not have."""
    for name, instead in ELSEWHERE.items():
        if given.get(name):
            parser.error(f"--{name.replace('_', '-')} is not for a comparison; pass {instead}")
    for name in NOT_SERVED:
        if given.get(name) not in (None, 0, 0.0):
            parser.error(f"--{name.replace('_', '-')} is not served by a comparison, whose arms train side by side")
    if given.get("accumulate", 1) != 1:
        parser.error("--accumulate is not served by a comparison; pass a larger -b")


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"seeds are whole numbers of at least 0 with spaces between, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"it must be a number of at least 1, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)", text.strip())
    if found is None or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"a time is a number with s, m or h, such as 90s, 30m or 2h, got {text!r}")
    return float(found[1]) * {"s": 1, "m": 60, "min": 60, "h": 3600}[found[2]]


def _places(run: Run) -> int:
    """How many seeds run side by side where nothing is said."""
    if run.torch_device.type == "cuda":
        return torch.cuda.device_count()
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
