"""The arms of a comparison: methods as texts, their controls, and what does not fit the student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ... import published
from ...functional.errors import ArgumentValueError
from ..build import build_student
from ..data import Data
from ..methods import folder_name
from ..options import Run
from ..recipe import Recipe
from ..student_needs import check_needs

__all__ = ["ALL", "CONTROL", "LOUDER", "TUNED", "Arm", "fitting", "plain_relu", "read_arms"]

ALL = "all"
CONTROL = "plain"
LOUDER = "plain x3"
"""Plain training with three times the loss: what a gain may owe to larger steps alone."""
LOUDER_FACTOR = 3.0
RELU_CONTROL = "plain, ReLU read-out"
TUNED = " (tuned)"
"""Behind the name of an arm with the values that a search found for it."""


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
    its control.

    Args:
        recipe: what all arms have in common.
        methods: texts as for ``--method`` of a row; ``"all"`` is every method of the catalogue.

    Returns:
        The arms, and name of each method of ``"all"`` that these settings leave out -> why.

    Raises:
        ValueError: a text names no method, or one that these settings rule out.
    """
    named = [text for text in methods if text not in (ALL, CONTROL, LOUDER)]
    if not named and ALL not in methods and not {CONTROL, LOUDER} & set(methods):
        raise ArgumentValueError("methods", "must name a method or more, or all")
    arms = [Arm(CONTROL, replace(recipe, method=CONTROL))]
    arms.append(Arm(LOUDER, arms[0].recipe, factor=LOUDER_FACTOR))
    left_out: dict[str, str] = {}
    for text in dict.fromkeys([*named, *(published.METHODS if ALL in methods else ())]):
        if text == CONTROL:
            continue
        try:
            arms.append(Arm(text, replace(recipe, method=text)))
        except ValueError as error:
            if text in named:
                raise
            left_out[text] = str(error)
    with_relu = [arm for arm in arms if arm.recipe.last_activation == "relu" != recipe.last_activation]
    if with_relu:
        control = Arm(RELU_CONTROL, replace(recipe, method=f"{__name__}:{plain_relu.__name__}"), RELU_CONTROL)
        arms = [replace(arm, control=RELU_CONTROL) if arm in with_relu else arm for arm in arms] + [control]
    return arms, left_out


def fitting(arms: Sequence[Arm], run: Run, data: Data, methods: Sequence[str]) -> tuple[list[Arm], dict[str, str]]:
    """The arms whose needs the student can meet.

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
    return arm.name != RELU_CONTROL or any(other.control == RELU_CONTROL for other in arms if other is not arm)
