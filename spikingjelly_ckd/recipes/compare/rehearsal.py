"""What does not fit is found before anything is trained: every arm takes two steps and a preflight checks it."""

from __future__ import annotations

import inspect
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...published import METHODS
from ..comparison.controls import CONTROL, LOUDER
from ..comparison.records import warnings_of
from ..data import Data
from ..files import say, set_aside, whole_file
from .arms import fitting
from .batches import cropped
from .plan import Plan

__all__ = ["check_students", "forget", "rehearsed", "say_warnings"]

REHEARSAL = "rehearsal.json"
START_UP = 10.0
"""Seconds until a process has its packages, roughly."""
MOST_LINES = 12
"""Of warnings of a preflight; of more arms the names alone are said."""


def check_students(plan: Plan, data: Data, methods: Sequence[str]) -> dict[str, str]:
    """Raise where the student does not fit the data, or a method that was named; nothing is trained for that.

    Args:
        plan: no teacher is needed.
        data: as loaded.
        methods: as they were asked for.

    Returns:
        Name of each arm of ``"all"`` that the student does not fit -> why; nothing where a rehearsal has found it.

    Raises:
        FileNotFoundError: there is no such file of weights.
        ValueError: something does not fit.
    """
    if _is_known(plan, _read(plan.folder / REHEARSAL)):
        return {}
    return fitting(plan.arms, plan.run, cropped(data, plan.crop), methods)[1]


def rehearsed(
    plan: Plan, data: Data, methods: Sequence[str], unfit: Mapping[str, str]
) -> tuple[Plan, dict[str, str], float]:
    """The plan with the arms that the student and the teacher serve, and with what a preflight found of each.

    What came out is kept in the folder of the comparison, so that it is not done again where a comparison goes on.

    Args:
        plan: with the teacher.
        data: as loaded.
        methods: as they were asked for.
        unfit: of :func:`check_students`.

    Returns:
        The plan, name of each arm of ``"all"`` that does not fit -> why, and the seconds that a seed takes, roughly.

    Raises:
        ValueError: a method that was named does not fit, or plain training does not.
    """
    known = _read(plan.folder / REHEARSAL)
    if not _is_known(plan, known):
        known = _rehearse(plan, data, unfit)
        with whole_file(plan.folder / REHEARSAL) as file:
            file.write((json.dumps(known, indent=1) + "\n").encode())
    unfit = {arm.name: known["arms"][arm.name] for arm in plan.arms if known["arms"][arm.name] is not None}
    for name, why in unfit.items():
        if name in (*methods, CONTROL, LOUDER):
            raise ValueError(f"{name} does not fit: {why}{_as_arm(name, why)}")
    kept = [arm for arm in plan.arms if arm.name not in unfit and arm.control not in unfit]
    used = {arm.control for arm in kept if arm.control != arm.name} | {CONTROL, LOUDER}
    arms = tuple(arm for arm in kept if arm.control != arm.name or arm.name in used)
    looks = known.get("preflights", {})
    return replace(plan, arms=arms, preflights=looks), unfit, known["seconds"] * len(arms) / max(1, known["trained"])


def forget(folder: Path) -> None:
    """Leave nothing of the rehearsal of other settings."""
    (folder / REHEARSAL).unlink(missing_ok=True)


def say_warnings(plan: Plan) -> None:
    """Say what the preflights warn of before the training, but for a lack of spikes, which some methods ask for.

    What several arms have in common is one line, and whatever else an arm has is another.
    """
    names = {arm.name for arm in plan.arms}
    found = {arm: warnings_of(look, {"spikes"}) for arm, look in plan.preflights.items() if arm in names}
    of_text: dict[str, list[str]] = {}
    for arm, texts in found.items():
        for text in dict.fromkeys(texts):
            of_text.setdefault(text, []).append(arm)
    lines = [(arms, text) for text, arms in of_text.items() if len(arms) > 1]
    for arm, texts in found.items():
        own = [text for text in dict.fromkeys(texts) if of_text[text] == [arm]]
        lines += [([arm], "; ".join(own))] if own else []
    for arms, text in lines[:MOST_LINES]:
        say(f"Preflight of {'all arms with a teacher' if len(arms) == len(found) > 1 else ', '.join(arms)}: {text}")
    more = list(dict.fromkeys(arm for arms, _ in lines[MOST_LINES:] for arm in arms))
    if more:
        say(f"Preflight of {len(more)} more arms ({', '.join(more)}): the warnings are in {plan.folder / REHEARSAL}")


def _is_known(plan: Plan, known: Mapping[str, Any]) -> bool:
    looked = not plan.run.no_preflight
    return all(arm.name in known["arms"] for arm in plan.arms) and known.get("looked", looked) == looked


def _rehearse(plan: Plan, data: Data, unfit: Mapping[str, str]) -> dict[str, Any]:
    fit = tuple(arm for arm in plan.arms if arm.name not in unfit)
    start = time.perf_counter()
    found = replace(plan, arms=fit).begin(plan.run.seed, data)
    plan.load_data()  # as the process of a seed does
    seconds = START_UP + time.perf_counter() - start + found.rehearse()
    unfit = {**unfit, **found.unfit}
    return {
        "arms": {arm.name: unfit.get(arm.name) for arm in plan.arms},
        "trained": len(found.running()),
        "seconds": round(seconds, 2),
        "looked": not plan.run.no_preflight,
        "preflights": found.looks,
    }


def _read(path: Path) -> dict[str, Any]:
    nothing: dict[str, Any] = {"arms": {}}
    if not path.is_file():
        return nothing
    try:
        known: dict[str, Any] = json.loads(path.read_text("utf8"))
        known["arms"].keys(), known.get("preflights", {}).keys(), float(known["seconds"]), int(known["trained"])
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        set_aside(path, f"{path} cannot be read ({error})")
        return nothing
    return known


def _as_arm(name: str, why: str) -> str:
    """How ``--methods`` says an argument that a message names; empty where it names none of the method's."""
    found = re.search(r"pass (\w+)=(\w+)", why)
    method = name.partition(":")[0].partition("@")[0]
    if found is None or method not in METHODS:
        return ""
    takes = inspect.signature(METHODS[method]).parameters.values()
    if not any(each.name == found[1] or each.kind is each.VAR_KEYWORD for each in takes):
        return ""
    return f" (as an arm: {method}:{found[1]}={found[2]})"
