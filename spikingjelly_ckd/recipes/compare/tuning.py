"""``compare --tune``: before the comparison, every arm looks for its own values, on the validation part.

Files, in the folder of the comparison::

    tuning/ARM.json    the trials of one arm, written after each
    tuning.json        those of all arms and what was taken, once the search has ended

All trials are trained as the arms of a seed are, side by side with the same first weights, batches and teacher, with a
seed of their own. The test part is not looked at.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from multiprocessing import connection
from pathlib import Path
from typing import Any
from zlib import crc32

from ...errors.arguments import ArgumentValueError
from ..comparison.controls import CONTROL, LOUDER, TUNED
from ..data import Data
from ..files import say, set_aside, whole_file
from ..methods import folder_name
from ..progress import time_words
from ..training.resume import LATEST, check_same_run
from ..untrusted import MAPPING, TEXT, check_kinds, json_text, list_of, mapping_of, number, optional, read_json
from .arms import Arm
from .batches import Batches
from .one_seed import Tell, in_process
from .plan import Plan
from .search import Trial, best_trial, propose, search_space, with_values
from .workers import run_seeds

__all__ = ["Tuning", "arms_to_tune", "run_part", "seed_of_search", "train_part", "tuned_arms", "tuned_plan"]

SEED = 1_000_003
"""Of the search's trainings, so that no seed of the comparison is one that the values were chosen on."""
KINDS = {"asked": MAPPING, "trials": list_of(MAPPING)}
KINDS_OF_TRIAL = {"values": mapping_of(number()), "val_accuracy": optional(number(0, 100)), "failed": optional(TEXT)}


@dataclass(frozen=True)
class Tuning:
    """A search over the arms of a plan; its parts are trained in processes side by side.

    Attributes:
        plan: with the arms that are searched; its epochs, and theirs, are those of a trial.
        trials: of each arm.
        seed: of every trial.
        parts: how many processes share the arms.
    """

    plan: Plan
    trials: int
    seed: int
    parts: int = 1

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The arms that are searched."""
        return self.plan.arms

    def without_record(self, part: int) -> tuple[Arm, ...]:
        """The arms of a part that have trials to come."""
        return tuple(arm for arm in self.arms[part :: self.parts] if len(self.tried(arm)) < self.trials)

    def next_trial(self, part: int) -> tuple[int, tuple[Arm, ...]]:
        """Number of the trial that comes next in a part, from 0, and the arms that take it."""
        done = {arm.name: len(self.tried(arm)) for arm in self.arms[part :: self.parts]}
        number = min(done.values())
        return number, tuple(arm for arm in self.arms if done.get(arm.name) == number)

    def checkpoints(self, part: int) -> Path:
        """Folder of the checkpoint of a part's next trial."""
        number, arms = self.next_trial(part)
        names = sha256("\n".join(arm.name for arm in arms).encode()).hexdigest()[:8]
        return self.plan.folder / "checkpoints" / f"tuning-{names}-{number}"

    def path(self, arm: Arm) -> Path:
        """File of an arm's trials."""
        return self.plan.folder / "tuning" / f"{folder_name(arm.name)}.json"

    def asked(self, arm: Arm) -> dict[str, Any]:
        """Everything that decides about the trials of an arm, as plain data."""
        values = self.plan.settings(self.seed) | arm.own() | {"method": arm.recipe.method, "tune": self.trials}
        plain: dict[str, Any] = json.loads(json_text(values))
        return plain

    def tried(self, arm: Arm) -> list[Trial]:
        """The trials of an arm that have ended, in their order. A file that cannot be read is set aside.

        Raises:
            ValueError: they are of other settings.
        """
        path = self.path(arm)
        if not path.is_file():
            return []
        try:
            content = read_json(path)
            trials = _checked(content, {*search_space(arm.recipe)})
        except (KeyError, TypeError, ValueError) as error:
            set_aside(path, f"{path} cannot be read ({error})")
            return []
        check_same_run(path, content["asked"], self.asked(arm))
        return trials

    def write(self, arm: Arm, trials: Sequence[Trial]) -> None:
        """Write the trials of an arm, whole or not at all."""
        path = self.path(arm)
        path.parent.mkdir(exist_ok=True)
        content = {"asked": self.asked(arm), "trials": [asdict(trial) for trial in trials]}
        with whole_file(path) as file:
            file.write(json_text(content).encode())


def _checked(content: Any, names: set[str]) -> list[Trial]:
    """Raise unless a file holds trials over these names."""
    check_kinds(content, KINDS, "it")
    for one in content["trials"]:
        check_kinds(one, KINDS_OF_TRIAL, "a trial")
        if {*one["values"]} != names:
            raise ValueError(f"its trials are of {', '.join(one['values'])}, and the search is of {', '.join(names)}")
    return [Trial(one["values"], one["val_accuracy"], one["failed"]) for one in content["trials"]]


def seed_of_search(seeds: Sequence[int]) -> int:
    """The seed of all trials, which is none of the comparison's.

    Example:
        >>> seed_of_search([0, 1]), seed_of_search([1000003])
        (1000003, 1000004)
    """
    return next(seed for seed in range(SEED, SEED + len(seeds) + 1) if seed not in seeds)


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


def run_part(tuning: Tuning, part: int, pipe: connection.Connection, end: float | None, place: int) -> None:
    """:func:`train_part` in a process of its own, as :func:`~spikingjelly_ckd.recipes.compare.one_seed.run_seed`."""
    in_process(partial(train_part, tuning, part), pipe, end, place)


def train_part(tuning: Tuning, part: int, tell: Tell = lambda share, whole_epoch: None) -> None:
    """Train the trials that are missing for the arms of a part.

    Args:
        tuning: the search.
        part: which, from 0.
        tell: see :data:`~spikingjelly_ckd.recipes.compare.one_seed.Tell`.

    Raises:
        ValueError: trials that were found are of other settings.
    """
    if not tuning.without_record(part):
        return
    data = tuning.plan.load_data()
    batches = tuning.plan.batches(data)
    while tuning.without_record(part):
        _train_trial(tuning, part, data, batches, tell)


def _train_trial(tuning: Tuning, part: int, data: Data, batches: Batches, tell: Tell) -> None:
    """The next trial of the arms of a part, side by side."""
    folder, (number, arms) = tuning.checkpoints(part), tuning.next_trial(part)
    tried = {arm.name: tuning.tried(arm) for arm in arms}
    values, failed, accuracies = dict[str, dict[str, float]](), dict[str, str](), dict[str, float]()
    ready = []
    for arm in arms:
        space = search_space(arm.recipe)
        values[arm.name] = propose(space, tried[arm.name], tuning.seed, crc32(arm.name.encode()))
        try:
            ready.append(replace(arm, recipe=with_values(arm.recipe, values[arm.name])))
        except ValueError as error:
            failed[arm.name] = str(error)
    if ready:
        found = replace(tuning.plan, arms=tuple(ready)).begin(tuning.seed, data, batches)
        epochs, steps = tuning.plan.recipe.epochs, tuning.plan.run.most_steps or batches.steps

        def told(epoch: int, step: int) -> None:
            tell((number + (epoch + step / steps) / epochs) / tuning.trials, step == 0 and epoch > 0)

        found.train(folder / LATEST, tuning.plan.settings(tuning.seed) | {"values": values}, told)
        failed |= found.unfit
        for name, state in found.states.items():
            if state.failed is None:
                accuracies[name] = state.history[-1]["val_accuracy"]
            else:
                failed[name] = state.failed
    for arm in arms:
        trial = Trial(values[arm.name], accuracies.get(arm.name), failed.get(arm.name))
        tuning.write(arm, [*tried[arm.name], trial])
    shutil.rmtree(folder, ignore_errors=True)


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
