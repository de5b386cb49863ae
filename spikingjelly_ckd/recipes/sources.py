"""Where a value of a recipe is from: the paper, the authors' code, somewhere else, or ourselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar, cast

__all__ = ["Sourced", "cited", "ours", "paper", "released"]

T = TypeVar("T")


@dataclass(frozen=True)
class Sourced:
    """A value, and in a few words where it is stated."""

    value: Any
    source: str


def paper(value: T) -> T:
    """Mark a recipe's value as stated by the paper (CKDSNN, AAAI 2026, arXiv 2511.06902)."""
    return cast(T, Sourced(value, "paper"))


def released(value: T) -> T:
    """Mark a recipe's value as taken from the authors' code or its configuration files."""
    return cast(T, Sourced(value, "released code"))


def ours(value: T) -> T:
    """Mark a recipe's value as our choice, where the sources are silent."""
    return cast(T, Sourced(value, "ours"))


def cited(value: T, source: str) -> T:
    """Mark a recipe's value as stated elsewhere, such as by the authors of its student.

    Args:
        value: itself.
        source: where, in a few words.
    """
    return cast(T, Sourced(value, source))
