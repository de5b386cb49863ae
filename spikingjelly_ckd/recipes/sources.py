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
    """Mark a recipe's value as stated by the paper (CKDSNN, AAAI 2026, arXiv 2511.06902).

    Args:
        value: itself.

    Returns:
        The value with its source, which a :class:`~spikingjelly_ckd.recipes.recipe.Recipe` takes apart.

    Example:
        >>> paper(0.1)
        Sourced(value=0.1, source='paper')
    """
    return cast(T, Sourced(value, "paper"))


def released(value: T) -> T:
    """Mark a recipe's value as taken from the authors' code or its configuration files; see :func:`paper`.

    Example:
        >>> released(128)
        Sourced(value=128, source='released code')
    """
    return cast(T, Sourced(value, "released code"))


def ours(value: T) -> T:
    """Mark a recipe's value as our choice, where the sources are silent; see :func:`paper`.

    Example:
        >>> ours("cosine")
        Sourced(value='cosine', source='ours')
    """
    return cast(T, Sourced(value, "ours"))


def cited(value: T, source: str) -> T:
    """Mark a recipe's value as stated elsewhere, such as by the authors of its student.

    Args:
        value: itself.
        source: where, in a few words.

    Example:
        >>> cited(5e-4, "Spikformer, ICLR 2023")
        Sourced(value=0.0005, source='Spikformer, ICLR 2023')
    """
    return cast(T, Sourced(value, source))
