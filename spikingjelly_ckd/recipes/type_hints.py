"""What the type of a value says: whether it may be None, and which words it may be."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

__all__ = ["without_none", "words_of"]


def without_none(hint: Any) -> Any:
    """The type of a value that may also be None.

    Args:
        hint: of the value.

    Example:
        >>> without_none(int | None), without_none(float)
        (<class 'int'>, <class 'float'>)
    """
    kinds = [kind for kind in get_args(hint) if kind is not NoneType] if get_origin(hint) in (Union, UnionType) else []
    return kinds[0] if len(kinds) == 1 else hint


def words_of(hint: Any) -> tuple[Any, ...]:
    """The words of a value that is one of several, or None; nothing for another type.

    Args:
        hint: of the value.

    Example:
        >>> words_of(Literal["sgd", "adamw"] | None), words_of(str)
        (('sgd', 'adamw'), ())
    """
    kind = without_none(hint)
    return get_args(kind) if get_origin(kind) is Literal else ()
