"""Old names that stay for one minor version, each with a warning."""

from __future__ import annotations

import warnings
from typing import Any

__all__ = ["renamed", "warn_renamed"]


def warn_renamed(old: str, new: str, *, stacklevel: int = 3) -> None:
    """Warn that ``old`` is called ``new`` now, at the line of the caller's caller."""
    warnings.warn(f"{old} is called {new} now; the old name will go", DeprecationWarning, stacklevel=stacklevel)


def renamed(old: str, new: str) -> Any:
    """A class attribute called ``old`` that reads the attribute or method ``new`` and warns.

    Example:
        >>> import warnings
        >>> class Network:
        ...     def uses(self):
        ...         return True
        ...     asks = renamed("asks", "uses")
        >>> with warnings.catch_warnings(record=True) as seen:
        ...     warnings.simplefilter("always")
        ...     Network().asks(), str(seen[0].message)
        (True, 'asks is called uses now; the old name will go')
    """

    def read(self: Any) -> Any:
        warn_renamed(old, new)
        return getattr(self, new)

    return property(read, doc=f"Old name of ``{new}``.")
