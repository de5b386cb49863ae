"""What a search varies, what it tries next, and which trial it takes: the learning rate, weights and temperatures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...errors.installed import needs_packages
from ...step.method import Method
from ..method_arguments import numbers_of, with_arguments
from ..recipe import Recipe

__all__ = ["Range", "Trial", "best_trial", "needs_optuna", "propose", "search_space", "with_values"]

LR_FACTOR = math.sqrt(10)
"""To either side of the learning rate that was given: a decade in all."""
WEIGHT_FACTOR = 10.0
TEMPERATURE_FACTOR = 2.0
OF_CKD = ("beta", "gamma", "map_temperature", "temperature")
"""Values of a recipe that are weights and temperatures of ``"ckd"``."""
PROBE = 0.5
"""An argument is a weight if that of a loss is halved with it, and a temperature likewise."""
STARTUP = 5
"""Trials drawn at random before TPE looks at what came out."""
DIGITS = 4
"""Significant digits of a value that is tried, so that a text with it can be read."""


@dataclass(frozen=True)
class Range:
    """Where a value is looked for, on a logarithmic scale.

    Attributes:
        given: what the first trial has: the value of the source, or of the command line.
        low: the least.
        high: the greatest.
    """

    given: float
    low: float
    high: float


@dataclass(frozen=True)
class Trial:
    """One set of values, trained once.

    Attributes:
        values: name -> value; ``lr`` is the learning rate, the others are arguments of the method.
        val_accuracy: on the validation part after the last epoch, percent; None for one that failed.
        failed: why.
    """

    values: dict[str, float]
    val_accuracy: float | None
    failed: str | None = None


def search_space(recipe: Recipe) -> dict[str, Range]:
    """What is searched for an arm.

    The learning rate within a decade around the recipe's, each weight of a loss by factors from 0.1 to 10, each
    temperature from 0.5 to 2, as far as they are arguments of the method's function (for ``"ckd"``: values of the
    recipe) and are numbers above 0. The task's own weight and loss stay.

    Args:
        recipe: with the arm's method.

    Example:
        >>> from spikingjelly_ckd.recipes.compare.flags import RECIPE
        >>> for method in ("plain", "kd", "ckd"):
        ...     space = search_space(replace(RECIPE, method=method))
        ...     print({name: (one.low, one.given, one.high) for name, one in space.items()})
        {'lr': (0.03162, 0.1, 0.3162)}
        {'lr': (0.03162, 0.1, 0.3162), 'weight': (0.09, 0.9, 9.0), 'temperature': (2.0, 4.0, 8.0)}
        {'lr': (0.03162, 0.1, 0.3162), 'beta': (0.1, 1.0, 10.0), 'gamma': (0.1, 1.0, 10.0),
         'map_temperature': (1.0, 2.0, 4.0), 'temperature': (1.0, 2.0, 4.0)}
    """
    space = {"lr": _around(recipe.lr, LR_FACTOR)}
    method = recipe.read_method()
    if recipe.method == "ckd":
        values = {name: getattr(recipe, name) for name in OF_CKD}
        numbers = {name: value for name, value in values.items() if not isinstance(value, str)}  # "auto", "hold"
    else:
        numbers = numbers_of(recipe.method)
    for name, value in numbers.items():
        factor = None if name in space or value <= 0 else _factor(recipe, method, name, value)
        if factor is not None:
            space[name] = _around(value, factor)
    return space


def _factor(recipe: Recipe, method: Method, name: str, value: float) -> float | None:
    """How far an argument is varied; None for one that is neither a weight nor a temperature."""
    try:
        changed = with_values(recipe, {name: PROBE * value}).read_method()
    except (TypeError, ValueError):  # it does not take such an argument, or no such value
        return None
    for key, (loss, weight) in method.losses.items():
        other, other_weight = changed.losses.get(key, (None, None))
        if _is_halved(weight, other_weight):
            return WEIGHT_FACTOR
        if _is_halved(getattr(loss, "temperature", None), getattr(other, "temperature", None)):
            return TEMPERATURE_FACTOR
    return None


def _is_halved(one: Any, other: Any) -> bool:
    numbers = isinstance(one, int | float) and isinstance(other, int | float)
    return numbers and one > 0 and math.isclose(other, PROBE * one)


def _around(value: float, factor: float) -> Range:
    return Range(value, min(value, _rounded(value / factor)), max(value, _rounded(value * factor)))


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def with_values(recipe: Recipe, values: Mapping[str, float]) -> Recipe:
    """The recipe of an arm with other values.

    Args:
        recipe: with the arm's method.
        values: as in :class:`Trial`.

    Raises:
        ValueError: the method does not take them.

    Example:
        >>> from spikingjelly_ckd.recipes.compare.flags import RECIPE
        >>> tuned = with_values(replace(RECIPE, method="kd"), {"lr": 0.05, "weight": 2.5})
        >>> tuned.method, tuned.lr
        ('kd:weight=2.5', 0.05)
    """
    own = {name: value for name, value in values.items() if name != "lr"}
    changed: dict[str, Any] = own if recipe.method == "ckd" else {"method": with_arguments(recipe.method, own)}
    return replace(recipe, lr=values.get("lr", recipe.lr), **changed)


def needs_optuna() -> Any:
    """The package of the search.

    Raises:
        InstallationError: it is not there; the message has the command that installs it.
    """
    with needs_packages("--tune"):
        import optuna
    return optuna


def propose(space: Mapping[str, Range], tried: Sequence[Trial], *seeds: int) -> dict[str, float]:
    """The values of the next trial: the given ones first, then what Optuna's TPE draws.

    They follow from the arguments alone, so a search that was stopped goes on as if it had not been.

    Args:
        space: of :func:`search_space`.
        tried: all trials so far, in their order.
        *seeds: of the draw, integers of at least 0.

    Raises:
        InstallationError: as :func:`needs_optuna`.
    """
    if not tried:
        return {name: one.given for name, one in space.items()}
    optuna = needs_optuna()
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would announce a new study each time
    seed = int(np.random.SeedSequence((*seeds, len(tried))).generate_state(1)[0])
    try:
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        ranges = {
            name: optuna.distributions.FloatDistribution(one.low, one.high, log=True) for name, one in space.items()
        }
        states = optuna.trial.TrialState
        for trial in tried:
            state = states.FAIL if trial.val_accuracy is None else states.COMPLETE
            study.add_trial(
                optuna.trial.create_trial(
                    params=trial.values, distributions=ranges, value=trial.val_accuracy, state=state
                )
            )
        return {name: _rounded(value) for name, value in study.ask(ranges).params.items()}
    finally:
        optuna.logging.set_verbosity(level)


def best_trial(tried: Sequence[Trial]) -> Trial | None:
    """The trial with the greatest validation accuracy, the first of equals; None where all failed.

    Example:
        >>> best_trial([Trial({"lr": 0.1}, 50.0), Trial({"lr": 0.2}, 60.0), Trial({"lr": 0.3}, 60.0)]).values
        {'lr': 0.2}
    """
    ended = [trial for trial in tried if trial.val_accuracy is not None]
    return max(ended, key=lambda trial: trial.val_accuracy or 0.0, default=None)
