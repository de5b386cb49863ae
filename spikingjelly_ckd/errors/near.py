"""Suggestions for a name that does not exist: the known names that are spelled almost like it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["hint", "near", "nearest"]

FURTHER = 0.12
"""A name less alike than the nearest by more than this is no suggestion."""


def nearest(name: str, known: Iterable[str], *, most: int = 3, least: float = 0.6) -> list[str]:
    """The names of ``known`` that are spelled almost like ``name``, the nearest first; capitals make no difference.

    Names that are clearly further than the nearest are left out: where ``kd`` is meant, ``vkd`` says nothing.

    Args:
        name: as it was typed.
        known: names that exist.
        most: how many are returned at most.
        least: how alike two names must be, from 0 to 1.

    Example:
        >>> nearest("samdlos", ["KDLoss", "SAMDLoss", "find_layer"], most=1)
        ['SAMDLoss']
        >>> nearest("kdd", ["kd", "sdd", "vkd"])
        ['kd']
    """
    spelled: dict[str, list[str]] = {}
    for one in sorted(set(known)):
        spelled.setdefault(one.lower(), []).append(one)
    alike = {one: difflib.SequenceMatcher(None, one, name.lower()).ratio() for one in spelled}
    least = max(least, max(alike.values(), default=0) - FURTHER)
    found = sorted((one for one in alike if alike[one] >= least), key=lambda one: (-alike[one], one))
    return [one for lower in found for one in spelled[lower]][:most]


def near(name: str, known: Iterable[str]) -> str:
    """A question with the names that are spelled almost like ``name``; empty where there is none.

    Example:
        >>> near("cifra10", ["cifar10", "digits"])
        "did you mean 'cifar10'?"
        >>> near("cifra10", ["digits"])
        ''
    """
    found = nearest(name, known)
    return f"did you mean {' or '.join(map(repr, found))}?" if found else ""


def hint(name: str, known: Iterable[str]) -> str:
    """The question of :func:`near` as the end of a sentence; empty where there is none.

    Example:
        >>> f"there is no 'cifra10'{hint('cifra10', ['cifar10', 'digits'])}"
        "there is no 'cifra10'; did you mean 'cifar10'?"
    """
    question = near(name, known)
    return f"; {question}" if question else ""
