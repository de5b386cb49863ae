"""The arms of a comparison: methods as texts, their controls, and what does not fit the student."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ... import published
from ...errors.arguments import ArgumentValueError
from ...errors.near import hint
from ..build import build_student
from ..comparison.controls import CONTROL, LOUDER, TUNED
from ..data import Data
from ..method_arguments import with_defaults
from ..methods import folder_name
from ..options import Run
from ..recipe import Recipe
from ..start import check_start
from ..student_needs import check_needs

__all__ = [
    "ALL",
    "OF_ARMS",
    "Arm",
    "fitting",
    "plain_relu",
    "read_arms",
    "split_arm",
]

ALL = "all"
LOUDER_FACTOR = 3.0
RELU_CONTROL = "plain, ReLU read-out"
OF_ARMS = {"init": str, "lr": float, "warmup_epochs": int}
"""Value of the recipe that an arm may have for itself -> its type."""


@dataclass(frozen=True)
class Arm:
    """One method under the common settings.

    Attributes:
        name: in the table and in records.
        recipe: the common one, with this arm's method.
        control: name of the arm that it is compared with.
        factor: of the whole loss.
        tuned: what was tried for it and what was taken, as plain data; None for the values that were given.
    """

    name: str
    recipe: Recipe
    control: str = CONTROL
    factor: float = 1.0
    tuned: Mapping[str, Any] | None = None

    def own(self) -> dict[str, Any]:
        """The values of the recipe that it has for itself, by its name."""
        return split_arm(self.name.removesuffix(TUNED))[1]

    def file(self, seed: int) -> str:
        """Name of its record."""
        return f"{folder_name(self.name)}_seed{seed}.json"


def plain_relu() -> published.Method:
    """Plain training of a student whose last block ends in ReLU: the control of the methods that need one.

    Example:
        >>> plain_relu().losses, plain_relu().student.last_activation
        ({}, 'relu')
    """
    return published.plain(published.StudentNeeds(last_activation="relu"))


def read_arms(recipe: Recipe, methods: Sequence[str]) -> tuple[list[Arm], dict[str, str]]:
    """The arms that were asked for, with the controls: plain training, and plain training with three times the loss.

    A method that needs ReLU as the last activation changes the student, so it gets plain training of that student for
    its control; an arm with values of its own behind ``@`` gets plain training with the same values.

    Args:
        recipe: what all arms have in common.
        methods: texts as for ``--method`` of a row, behind which ``@init=...,lr=...,warmup_epochs=...`` may stand;
            ``"all"`` is every method of the catalogue.

    Returns:
        The arms, and name of each method of ``"all"`` that these settings leave out -> why.

    Raises:
        ValueError: a text names no method, or one that these settings rule out, or is there twice, also in other words.

    Example:
        >>> from spikingjelly_ckd.recipes.compare.flags import RECIPE
        >>> [(arm.name, arm.control) for arm in read_arms(RECIPE, ["kd", "kd@init=teacher"])[0]]
        [('plain', 'plain'), ('plain x3', 'plain'), ('kd', 'plain'),
         ('kd@init=teacher', 'plain@init=teacher'), ('plain@init=teacher', 'plain')]
    """
    if not methods:
        raise ArgumentValueError("methods", "must name a method or more, or all")
    for text in methods:
        if methods.count(text) > 1:
            raise ArgumentValueError("methods", f"must name each arm once, got {text} {methods.count(text)} times")
    arms = [Arm(CONTROL, replace(recipe, method=CONTROL))]
    arms.append(Arm(LOUDER, arms[0].recipe, factor=LOUDER_FACTOR))
    texts = [text for text in methods if split_arm(text)[0] != ALL]
    every = [text.removeprefix(ALL) for text in methods if text not in texts]
    left_out: dict[str, str] = {}
    for text in dict.fromkeys([*texts, *(f"{name}{own}" for own in every for name in published.METHODS)]):
        if text in (CONTROL, LOUDER):
            continue
        method, own = split_arm(text)
        try:
            arms.append(Arm(text, replace(recipe, method=method, **own)))
        except ValueError as error:
            if text in texts and own:
                raise ArgumentValueError("methods", f"{text!r}: {error}") from error
            if text in texts:
                raise
            left_out[text] = str(error)
    arms = _unlike(arms, texts)
    controls: list[Arm] = []
    arms = [replace(arm, control=_control(arm, recipe, [*arms, *controls], controls)) for arm in arms]
    return [*arms, *controls], left_out


def _unlike(arms: Sequence[Arm], named: Sequence[str]) -> list[Arm]:
    """The arms, each training once: what is there twice would count as two in the intervals.

    Raises:
        ValueError: an arm that was named is another one in other words.
    """
    found: dict[str, Arm] = {}
    for arm in arms:
        values = vars(arm.recipe) | {"sources": None, "method": with_defaults(arm.recipe.method), "factor": arm.factor}
        first = found.setdefault(repr(values), arm)
        if first is not arm and arm.name in named:
            raise ArgumentValueError(
                "methods", f"must name each arm once, and {arm.name} is {first.name} in other words: leave one out"
            )
    return list(found.values())


def split_arm(text: str) -> tuple[str, dict[str, Any]]:
    """The method of an arm, and the values of the recipe that it has for itself.

    Args:
        text: the text of a method, behind which ``@key=value,...`` may stand.

    Raises:
        ValueError: another value than those of :data:`OF_ARMS`, or none of its type.

    Example:
        >>> split_arm("kd:weight=0.5@init=teacher,lr=0.03")
        ('kd:weight=0.5', {'init': 'teacher', 'lr': 0.03})
    """
    method, *rest = re.split(r"@(?=[A-Za-z_]+=)", text, maxsplit=1)
    own: dict[str, Any] = {}
    for item in re.split(r",(?=[A-Za-z_]+=)", rest[0]) if rest else ():
        name, _, value = item.partition("=")
        if name not in OF_ARMS or name in own:
            meant = "" if name in OF_ARMS else hint(name, OF_ARMS)
            raise ArgumentValueError("methods", f"{text!r}: behind @ may stand, once each, {', '.join(OF_ARMS)}{meant}")
        try:
            own[name] = OF_ARMS[name](value)
        except ValueError as error:
            kind = "a whole number" if OF_ARMS[name] is int else "a number"
            raise ArgumentValueError("methods", f"{text!r}: {name} must be {kind}, got {value!r}") from error
    return method, own


def _control(arm: Arm, recipe: Recipe, arms: Sequence[Arm], more: list[Arm]) -> str:
    """Name of the arm that an arm is compared with, which is added to ``more`` where it is none of the ``arms``."""
    needs_relu = arm.recipe.last_activation == "relu" != recipe.last_activation
    method, name = (f"{__name__}:{plain_relu.__name__}", RELU_CONTROL) if needs_relu else (CONTROL, CONTROL)
    if arm.recipe.method == CONTROL:
        return CONTROL
    own = arm.name.removeprefix(arm.recipe.method)  # from the @ on
    wanted = replace(recipe, method=method, **split_arm(own)[1])
    for other in arms:
        if other.recipe == wanted and other.factor == 1:
            return other.name
    name = f"{name}{own}"
    more.append(Arm(name, wanted, name if needs_relu else CONTROL))
    return name


def fitting(arms: Sequence[Arm], run: Run, data: Data, methods: Sequence[str]) -> tuple[list[Arm], dict[str, str]]:
    """The arms whose needs the student can meet, without a teacher.

    Args:
        arms: of :func:`read_arms`.
        run: device and seed.
        data: on which the student is looked at.
        methods: as they were asked for.

    Returns:
        These arms, and name of each other method of ``"all"`` -> why it does not fit.

    Raises:
        ValueError: a method that was named does not fit, or the student itself cannot be trained.
    """
    kept, left_out = [], {}
    for arm in arms:
        try:
            student = build_student(arm.recipe, run, data).network
            check_needs(student, arm.recipe, data, run)
            check_start(student, arm.recipe)
        except (TypeError, ValueError) as error:
            if arm.name in (CONTROL, LOUDER) or arm.name in methods:
                raise
            left_out[arm.name] = str(error)
        else:
            kept.append(arm)
    without = {arm.name for arm in kept}
    return [arm for arm in kept if arm.control in without and _is_used(arm, kept)], left_out


def _is_used(arm: Arm, arms: Sequence[Arm]) -> bool:
    """Whether an arm is more than the control of an arm that does not fit."""
    others = [other.control for other in arms if other is not arm]
    return arm.name == CONTROL or arm.control != arm.name or arm.name in others
