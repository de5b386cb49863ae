"""Flags that have no effect in a comparison, because of its methods or its teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors.arguments import ArgumentValueError
from ..command_line import FLAGS, idle_flags
from ..names import shown
from ..options import Run
from ..recipe import Recipe
from .arms import Arm

__all__ = ["check_idle"]


def check_idle(recipe: Recipe, run: Run, arms: Sequence[Arm], begun: Mapping[str, Any]) -> None:
    """Raise for a flag that no arm or not this teacher uses, but for one that the folder was begun with.

    Args:
        recipe: with the flags that were given.
        run: likewise.
        arms: of the comparison.
        begun: settings of the folder.

    Raises:
        ValueError: there is one.
    """
    values = recipe.to_json()
    given = [name for name, source in recipe.sources.items() if source == "command line"]
    given = [name for name in given if name not in begun or begun[name] != values[name]]
    unused = [set(idle_flags(arm.recipe, given)) for arm in arms if arm.recipe.method != "plain"]
    idle = set.intersection(*unused) if unused else set()
    if idle:
        raise ValueError(f"{' and '.join(sorted(idle))}: no method of this comparison uses it; leave it out")
    of_training = [FLAGS[name] for name in given if name in ("teacher_epochs", "teacher_lr")]
    if run.teacher is not None and of_training:
        why = f"does nothing with --teacher {run.teacher}, which is not trained here; leave it out"
        raise ValueError(f"{' and '.join(sorted(of_training))} {why}")
    if run.teacher is None and run.teacher_build is not None:
        why = f"does nothing without --teacher PATH: what is trained here is {shown(recipe.teacher)}"
        raise ArgumentValueError("teacher_build", why)
