"""Old names of methods, properties and arguments: they work for one minor version and warn."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

__all__ = ["renamed_argument", "renamed_method", "renamed_property"]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def renamed_method(old: str, new: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, a method now called ``new``, under its old name.

    Args:
        old: name that it is called by.
        new: name to use.
        function: the method.

    Returns:
        A method that raises a ``DeprecationWarning`` and calls ``function``.

    Example:
        >>> class Box:
        ...     def open(self):
        ...         return "lid"
        ...     unlock = renamed_method("unlock", "open", open)
        >>> with warnings.catch_warnings(record=True, action="always") as seen:
        ...     Box().unlock()
        'lid'
        >>> str(seen[0].message)
        'Box.unlock is now called open'
    """

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        warnings.warn(f"{type(self).__name__}.{old} is now called {new}", DeprecationWarning, stacklevel=2)
        return function(self, *args, **kwargs)

    call.__name__, call.__doc__ = old, f"The old name of :meth:`{new}`; it warns."
    return call


def renamed_property(old: str, new: str) -> property:
    """A property called ``old`` that reads the attribute now called ``new``, and warns.

    Example:
        >>> class Box:
        ...     is_open = True
        ...     unlocked = renamed_property("unlocked", "is_open")
        >>> with warnings.catch_warnings(record=True, action="always") as seen:
        ...     Box().unlocked
        True
        >>> str(seen[0].message)
        'Box.unlocked is now called is_open'
    """

    def read(self: Any) -> Any:
        warnings.warn(f"{type(self).__name__}.{old} is now called {new}", DeprecationWarning, stacklevel=2)
        return getattr(self, new)

    return property(read, doc=f"The old name of ``{new}``; it warns.")


def renamed_argument(old: str, new: str) -> Callable[[Callable[_Arguments, _Result]], Callable[_Arguments, _Result]]:
    """Decorator of a function whose keyword ``old`` is now called ``new``; its signature shows ``new`` alone.

    Args:
        old: name that is still accepted, with a ``DeprecationWarning``.
        new: name to use.

    Returns:
        The decorator.

    Raises:
        TypeError: when the decorated function is called with both names.

    Example:
        >>> @renamed_argument("colour", "color")
        ... def paint(color="red"):
        ...     return color
        >>> with warnings.catch_warnings(record=True, action="always") as seen:
        ...     paint(colour="blue")
        'blue'
        >>> str(seen[0].message)
        'the argument colour is now called color'
    """

    def decorate(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
        @functools.wraps(function)
        def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
            if old in kwargs:
                if new in kwargs:
                    raise TypeError(f"pass {new} alone: {old} is its old name")
                warnings.warn(f"the argument {old} is now called {new}", DeprecationWarning, stacklevel=2)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate
