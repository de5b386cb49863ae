"""``python -m spikingjelly_ckd compare``: which method helps, on this network and these data."""

from __future__ import annotations

import html
import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ... import published
from ...errors.arguments import ArgumentValueError
from ..build import build_student
from ..command_line import FLAGS, brief_errors
from ..comparison.controls import CONTROL
from ..comparison.records import RECORDS, STUDENTS, ArmRecord, read_records, set_damaged_aside
from ..comparison.table import render
from ..data import Data
from ..data.digits import digits
from ..data.loading import say_left_out
from ..export import file_hash, read_about
from ..files import say, sweep, until_reader_leaves, whole_file
from ..method_parts import describe
from ..methods import is_own, read_method
from ..names import BUILDERS, package_function, resolve_name
from ..network_code import code_of
from ..options import Run, check_options, output_folder
from ..progress import say_emulated, time_words
from ..recipe import FROM_TEACHER, Recipe
from ..report.found import Study
from ..report.page import NAME, write_page
from ..teachers import obtain_teacher
from ..training.resume import check_same_run, read_settings, write_settings
from .arms import Arm, read_arms
from .batches import cropped
from .flags import HOME, PROGRAM, VALIDATION, ComparisonOptions, read_flags
from .idle import check_idle
from .plan import Plan
from .rehearsal import check_students, forget, rehearsed, say_warnings
from .search import needs_optuna
from .teacher_budget import TeacherInBudget
from .tuning import arms_to_tune, tuned_plan
from .workers import Outcome, run_seeds

__all__ = ["compare", "main"]


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
    start = time.monotonic()
    recipe, run, options = read_flags(argv)
    if options.list:
        with until_reader_leaves():
            print("\n".join(f"{name:20} {make().source}" for name, make in published.METHODS.items()))
        return 0
    arms, left_out = read_arms(recipe, options.methods)
    _check_tuning(options, arms)
    folder = run.output_dir or HOME
    check_options(recipe, run)
    with output_folder(folder):
        check_idle(recipe, run, arms, read_settings(folder) or {})
        written = (folder / name for name in (RECORDS, "tuning", STUDENTS))
        for inside in filter(Path.is_dir, (*written, *folder.glob("checkpoints/*"))):
            sweep(inside)
        set_damaged_aside(folder / RECORDS)
        watch = None if options.budget is None else TeacherInBudget(options.budget, start)
        plan, more, expected = _prepare(recipe, run, arms, options, folder, argv, watch)
        left_out |= more
        say_warnings(plan)
        seeds = options.seeds
        jobs = options.jobs or _places(run)
        if options.tune:
            found = _tuned(plan, options, jobs, expected, time.monotonic() - start)
            if found is None:
                return 0
            expected *= len(found.arms) / len(plan.arms)
            plan = found
        missing = [seed for seed in seeds if plan.without_record(seed)]
        jobs = min(jobs, max(1, len(missing)))
        counted = f"{len(seeds)} seed{'' if len(seeds) == 1 else 's'}"
        text = f"{len(plan.arms)} arms, {counted}, {len(missing)} of them to run, in {folder}"
        if missing:
            text += f"; a seed takes about {time_words(expected)}, and {jobs} run side by side"
        budget, spent = options.budget, time.monotonic() - start
        if budget is not None:
            whole = f"{budget:.0f} s" if budget < 600 else time_words(budget)  # minutes would round too much away
            text += f"; {time_words(spent)} of --budget {whole} are over"
        say(text)
        if options.tune and budget is not None and budget - spent < expected:
            outcome = Outcome(left_out=missing)  # the search took it
        else:
            outcome = run_seeds(
                plan,
                seeds,
                jobs=jobs,
                budget=budget,
                spent=spent,
                expected=expected,
                fewer="--methods or --epochs" if recipe.data is digits else "--methods, --epochs or --train-images",
                quiet=run.no_progress,
            )
        return _closing(plan, seeds, outcome.failed, outcome.left_out, left_out)


def _check_tuning(options: ComparisonOptions, arms: Sequence[Arm]) -> None:
    """Raise where what a search needs is missing, or its trials are too short."""
    if options.tune is None or options.tune_epochs is None:
        return
    needs_optuna()
    arms_to_tune(arms, options.tune_methods)
    warmup = max(arm.recipe.warmup_epochs for arm in arms)
    if options.tune_epochs <= warmup:
        raise ArgumentValueError("tune_epochs", f"must be above warmup_epochs ({warmup}), got {options.tune_epochs}")


def _tuned(plan: Plan, options: ComparisonOptions, jobs: int, expected: float, spent: float) -> Plan | None:
    """The plan with the values that a search found; None where the budget ended before it."""
    assert options.tune is not None
    assert options.tune_epochs is not None
    kept = {arm.name for arm in plan.arms}
    named = options.tune_methods and [CONTROL, *(name for name in options.tune_methods if name in kept)]
    return tuned_plan(
        plan,
        arms_to_tune(plan.arms, named),
        trials=options.tune,
        epochs=options.tune_epochs,
        seeds=options.seeds,
        untuned=options.untuned,
        jobs=jobs,
        budget=options.budget,
        spent=spent,
        expected=expected,
    )


def _closing(
    plan: Plan, seeds: Sequence[int], failed: dict[int, str], too_long: list[int], left_out: dict[str, str]
) -> int:
    """Print and write the table, and write the page."""
    names = {arm.name for arm in plan.arms}
    try:
        found = read_records(plan.folder / RECORDS)
        records = [record for record in found if record.seed in seeds and record.arm in names]
    except FileNotFoundError:
        records = list[ArmRecord]()
    if records:
        text = render(records, left_out)
        with whole_file(plan.folder / "table.md") as file:
            file.write(f"{text}\n".encode())
        print(html.unescape(text))
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
    if records:
        say(_of_students(plan, records))
    return 1 if failed else 0


def _of_students(plan: Plan, records: Sequence[ArmRecord]) -> str:
    """Where the students of these runs are."""
    if not plan.keep_students:
        return (
            "Students are not kept: --keep-students writes those of the runs that it is given for; or train the method "
            "that you choose with a row and the same values (docs/training.md)"
        )
    arms, whole = {arm.name: arm for arm in plan.arms}, [record for record in records if record.failed is None]
    paths = [plan.student_path(arms[record.arm], record.seed) for record in whole]
    kept = [path for path in paths if path.is_file()]
    lost = len(paths) - len(kept)
    builds = {str(read_about(path)["build"]) for path in kept[:1]}
    own = "".join(f" --build {build}" for build in builds if package_function(build, BUILDERS) is None)
    text = f"students: {plan.folder / STUDENTS}; python -m spikingjelly_ckd evaluate STUDENT FOLDER{own} runs one"
    return f"{text}; {lost} runs have none, since they ended before --keep-students was given" if lost else text


def _prepare(
    recipe: Recipe,
    run: Run,
    arms: list[Arm],
    options: ComparisonOptions,
    folder: Path,
    argv: Sequence[str],
    watch: TeacherInBudget | None,
) -> tuple[Plan, dict[str, str], float]:
    """Look at everything that can go wrong before the first step, and get the teacher.

    Returns:
        The plan with the arms that fit, name of each other arm -> why it does not, and the seconds that a seed takes.
    """
    torch.set_num_threads(1)  # as in the processes of the seeds, so that the time of a step is theirs
    say_emulated(run.torch_device.type, recipe.amp)
    plan = Plan(
        recipe,
        run,
        tuple(arms),
        folder,
        None,
        crop=options.crop,
        channels_last=options.channels_last,
        keep_students=options.keep_students,
        command=f"{PROGRAM} {shlex.join(argv)}",
    )
    asked = plan.asked() | {"teacher": run.teacher or "trained here"}
    own_methods = {arm.recipe.method for arm in arms if is_own(arm.recipe.method)}
    for text in sorted(own_methods):
        method = read_method(text)
        asked[f"what {text} returns"] = describe(method)
        asked |= code_of(nn.ModuleList(loss for loss, _ in method.losses.values()), nn.ModuleList, f"method {text}")
    begun = read_settings(folder) or {}
    _agree(folder, begun, asked)
    data = _load_data(plan)
    plan.batches(data)
    say_left_out(data, recipe.batch_size)
    asked["data set"] = f"{data.name} {data.split} ({data.split_hash[:8]}, content {data.content})"
    _agree(folder, begun, asked)
    unfit = check_students(plan, data, options.methods)
    student = build_student(recipe, run, cropped(data, plan.crop))
    asked |= code_of(student.network, student.build, "student")
    for path in sorted({arm.recipe.init for arm in arms if arm.recipe.init not in (None, *FROM_TEACHER)}):
        asked[f"weights of {path}"] = f"of sha256 {file_hash(Path(path).expanduser())[:8]}"
    _agree(folder, begun, asked)
    if run.teacher is None:  # its training may be stopped; where nothing is trained, a refused command leaves nothing
        write_settings(folder, begun | asked)
    if any(arm.recipe.uses_teacher for arm in arms):
        of_teacher = replace(run, output_dir=folder, seed=0, resume=None)
        # its schedule is that of all arms, whatever an arm has for itself
        seen = cropped(data, plan.crop)
        found = obtain_teacher(replace(recipe, init=FROM_TEACHER[0]), of_teacher, seen, watch)
        assert found is not None
        asked["teacher file"] = "timm's own" if found.sha256 is None else f"of sha256 {found.sha256[:8]}"
        if run.teacher_build is not None:
            asked |= code_of(found.network, resolve_name(run.teacher_build), "teacher")
        _agree(folder, begun, asked)
        plan = replace(plan, teacher=found.source, teacher_accuracy=found.measured_accuracy)
    write_settings(folder, begun | asked)
    return rehearsed(plan, data, options.methods, unfit)


def _load_data(plan: Plan) -> Data:
    """The data of all arms; an error about the validation part says where its size is from if no flag set it."""
    try:
        return plan.load_data()
    except ArgumentValueError as error:
        if error.argument != "val_images" or plan.run.val_images != VALIDATION:
            raise
        held_out = "the tenth of the training images that is held out where no --val-images is given"
        raise ArgumentValueError("", f"{held_out} {error.text}", remedy=error.remedy) from error


def _agree(folder: Path, begun: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raise where a comparison of other settings was begun in a folder; forget one of which nothing was trained yet."""
    try:
        check_same_run(folder, begun, asked)
    except ValueError:
        if any(any(folder.glob(made)) for made in ("records/*.json", "checkpoints/*/*.ckpt", "tuning/*")):
            raise
        begun.clear()
        forget(folder)


def _places(run: Run) -> int:
    """How many seeds run side by side where nothing is said."""
    if run.torch_device.type == "cuda":
        return torch.cuda.device_count()
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
