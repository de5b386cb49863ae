"""Every method of the catalogue as its source has it: losses, weights, task loss, schedule, and what the student needs.

One function for each; ``Distiller.from_method`` takes what it returns::

    distiller = Distiller.from_method(published.bkdsnn(), teacher, student, time_steps=4, example=images)

The arguments of a function are its weights and the settings of its loss; their defaults are the source's, or ours where
the docstring says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..errors.near import near
from ..step.method import Method, StudentNeeds
from .ckdsnn import ckd, nld, samd
from .features import at, bkdsnn, branch, catkd, e2kd, enof, fitnets, kdsnn, mgd, reviewkd
from .logits import akl, dist, dkd, hard_label, kd, lskd, nkd, rld, sdd, ttm, weighted_soft_label, wttm
from .projected import ofa, sastc, vkd, wkdf
from .relations import cka, rkd, sp
from .time_steps import seal, strong_weak, tdkd, tet, tks, tpd, tser, tssd

__all__ = [
    "METHODS",
    "Method",
    "StudentNeeds",
    "akl",
    "at",
    "bkdsnn",
    "branch",
    "by_name",
    "catkd",
    "cka",
    "ckd",
    "dist",
    "dkd",
    "e2kd",
    "enof",
    "fitnets",
    "hard_label",
    "kd",
    "kdsnn",
    "lskd",
    "mgd",
    "nkd",
    "nld",
    "ofa",
    "plain",
    "reviewkd",
    "rkd",
    "rld",
    "samd",
    "sastc",
    "sdd",
    "seal",
    "sp",
    "strong_weak",
    "tdkd",
    "tet",
    "tks",
    "tpd",
    "tser",
    "tssd",
    "ttm",
    "vkd",
    "weighted_soft_label",
    "wkdf",
    "wttm",
]


def plain(student: StudentNeeds | None = None) -> Method:
    """Plain training: cross-entropy of the mean logits and no distillation, the control for every method.

    Args:
        student: of the method that it is the control for, such as ``enof().student``; None is any student.

    Example:
        >>> plain().losses
        {}
    """
    return Method({}, student=student or StudentNeeds(), source="cross-entropy of the mean logits")


METHODS: Mapping[str, Callable[..., Method]] = {
    function.__name__: function
    for function in (
        *(plain, ckd, samd, nld, kd, dkd, dist, lskd, weighted_soft_label),
        *(ttm, wttm, rld, nkd, akl, hard_label, sdd),
        *(tet, tdkd, seal, tser, tks, strong_weak, tssd, tpd),
        *(enof, e2kd, catkd, kdsnn, bkdsnn, at, fitnets, mgd, reviewkd, branch),
        *(vkd, wkdf, ofa, sastc, rkd, sp, cka),
    )
}
"""Name -> function, for a command line; code imports the function."""


def by_name(name: str) -> Callable[..., Method]:
    """The function of this module with that name.

    Args:
        name: a key of :data:`METHODS`.

    Raises:
        ValueError: there is none; the message has the nearest names.

    Example:
        >>> by_name("bkdsnn")().losses["feature"][1]
        0.002
    """
    if name not in METHODS:
        if "," in name:
            raise ValueError(f"no method is called {name!r}; several have spaces between them, not commas")
        advice = near(name, METHODS) or f"there are {', '.join(METHODS)}"
        raise ValueError(f"no method is called {name!r}; {advice}")
    return METHODS[name]
