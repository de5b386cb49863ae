"""``compare --tune``: before the comparison, every arm looks for its own values, on the validation part.

Files, in the folder of the comparison::

    tuning/ARM.json    the trials of one arm, written after each
    tuning.json        those of all arms and what was taken, once the search has ended

All trials are trained as the arms of a seed are, side by side with the same first weights, batches and teacher, with a
seed of their own. The test part is not looked at.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...errors.arguments import ArgumentValueError
from ..comparison.controls import CONTROL, LOUDER, TUNED
from ..files import say, whole_file
from ..progress import time_words
from ..untrusted import json_text
from .arms import Arm
from .plan import Plan
from .search import Trial, best_trial, with_values
from .trials import Tuning, run_part, seed_of_search
from .workers import run_seeds

__all__ = ["arms_to_tune", "tuned_arms", "tuned_plan"]


def arms_to_tune(arms: Sequence[Arm], methods: Sequence[str]) -> tuple[Arm, ...]:
    """The arms that are searched: those that were named with their controls, and plain training.

    Args:
        arms: of the comparison.
        methods: names; empty for all arms. Plain training with three times the loss has the values of plain training.

    Raises:
        ValueError: a name is none of the arms.
    """
    unknown = [name for name in methods if name not in {arm.name for arm in arms}]
    if unknown:
        raise ArgumentValueError(
            "tune_methods", f"must be of the arms, {', '.join(arm.name for arm in arms)}, got {', '.join(unknown)}"
        )
    named = [arm for arm in arms if arm.name in methods or not methods]
    names = {CONTROL} | {arm.name for arm in named} | {arm.control for arm in named}
    return tuple(arm for arm in arms if arm.name in names - {LOUDER})


def tuned_plan(
    plan: Plan,
    searched: Sequence[Arm],
    *,
    trials: int,
    epochs: int,
    seeds: Sequence[int],
    untuned: bool,
    jobs: int,
    budget: float | None,
    spent: float,
    expected: float,
) -> Plan | None:
    """Search, and put the tuned arms into the plan.

    Args:
        plan: of the comparison.
        searched: of :func:`arms_to_tune`.
        trials: of each arm.
        epochs: of each trial.
        seeds: of the comparison.
        untuned: keep the arms that are tuned with the values that were given, too.
        jobs: processes side by side.
        budget: seconds; None for no limit.
        spent: seconds of the budget that are over.
        expected: seconds of a seed of the plan.

    Returns:
        The plan, or None where the budget ended before the search, which was said.

    Raises:
        RuntimeError: a process failed.
        ValueError: the budget holds no search, or the trials in the folder are of other settings.
    """
    of_trials = replace(
        plan,
        recipe=replace(plan.recipe, epochs=epochs),
        arms=tuple(replace(arm, recipe=replace(arm.recipe, epochs=epochs)) for arm in searched),
    )
    parts = min(jobs, len(searched))
    tuning = Tuning(of_trials, trials, seed_of_search(seeds), parts)
    missing = max(trials - len(tuning.tried(arm)) for arm in tuning.arms)
    if missing:
        share = -(-len(searched) // parts) / len(plan.arms)
        expected = missing * expected * share * epochs / plan.recipe.epochs
        say(
            f"Tuning {len(searched)} arms on the validation part: {trials} trials of {epochs} epochs each, seed "
            f"{tuning.seed}, {missing} to come, which takes about {time_words(expected)}"
        )
        start = time.monotonic()
        outcome = run_seeds(
            tuning,
            range(parts),
            jobs=parts,
            budget=budget,
            spent=spent,
            expected=expected,
            target=run_part,
            part="tuning part",
            fewer="trials (--tune), --tune-epochs or --tune-methods",
            quiet=plan.run.no_progress,
        )
        for why in outcome.failed.values():
            raise RuntimeError(f"the search failed: {why}; the trials that ended are kept")
        if outcome.left_out:
            say(f"The search did not end in {time_words(time.monotonic() - start)}; the same command goes on with it")
            return None
    found = {arm.name: tuning.tried(arm) for arm in tuning.arms}
    about = {"trials": trials, "epochs": epochs, "seed": tuning.seed}
    arms = tuned_arms(plan.arms, found, about, untuned=untuned)
    _write_all(plan.folder, arms, about)
    for folder in (plan.folder / "checkpoints").glob("tuning-*"):
        shutil.rmtree(folder, ignore_errors=True)
    return replace(plan, arms=arms)


def tuned_arms(
    arms: Sequence[Arm], found: Mapping[str, Sequence[Trial]], about: Mapping[str, Any], *, untuned: bool
) -> tuple[Arm, ...]:
    """The arms of a comparison after a search.

    An arm whose trials all failed keeps the values that were given. Controls that no arm is compared with any more are
    left out, but for those of plain training.

    Args:
        arms: before it.
        found: name of each arm that was searched -> its trials.
        about: the search, for the records.
        untuned: keep the arms that were searched with the values that were given, too.
    """
    tuned = []
    for arm in arms:
        source = CONTROL if arm.name == LOUDER else arm.name
        if source not in found:
            continue
        best = best_trial(found[source]) or found[source][0]
        said = {"values": best.values, "val_accuracy": best.val_accuracy, **about}
        said["tried"] = [asdict(trial) for trial in found[source]]
        recipe = with_values(arm.recipe, best.values)
        tuned.append(replace(arm, name=arm.name + TUNED, recipe=recipe, control=arm.control + TUNED, tuned=said))
    kept = [arm for arm in arms if untuned or (arm.name not in found and arm.name != LOUDER)]
    controls = {arm.control for arm in kept}
    controls |= {LOUDER} if CONTROL in controls else set()
    return (*(arm for arm in arms if arm in kept or arm.name in controls), *tuned)


def _write_all(folder: Path, arms: Sequence[Arm], about: Mapping[str, Any]) -> None:
    of_arms = {
        arm.name.removesuffix(TUNED): {
            "values": arm.tuned["values"],
            "val_accuracy": arm.tuned["val_accuracy"],
            "method": arm.recipe.method,
            "lr": arm.recipe.lr,
            "tried": arm.tuned["tried"],
        }
        for arm in arms
        if arm.tuned is not None and arm.name != LOUDER + TUNED
    }
    with whole_file(folder / "tuning.json") as file:
        file.write(json_text({**about, "arms": of_arms}).encode())
