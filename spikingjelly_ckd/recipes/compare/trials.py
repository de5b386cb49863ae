"""The trials of a search: what was tried on which part, trained and written down."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from multiprocessing import connection
from pathlib import Path
from typing import Any
from zlib import crc32

from ..data import Data
from ..files import set_aside, whole_file
from ..methods import folder_name
from ..training.resume import LATEST, check_same_run
from ..untrusted import MAPPING, TEXT, check_kinds, json_text, list_of, mapping_of, number, optional, read_json
from .arms import Arm
from .batches import Batches
from .one_seed import Tell, in_process
from .plan import Plan
from .search import Trial, propose, search_space, with_values

__all__ = ["Tuning", "run_part", "seed_of_search", "train_part"]

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
