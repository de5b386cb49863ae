"""Flags that have no effect in a comparison, because of its methods or its teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..command_line import check_teacher_flags, idle_flags
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
    check_teacher_flags(recipe, run, given)
