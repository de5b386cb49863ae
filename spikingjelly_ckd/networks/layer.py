"""Where to look in a network, and how to read what is there."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LAYOUTS", "Layer", "check_role"]

LAYOUTS = ("NCHW", "NHWC", "NCL", "NLC", "TNCHW", "TNHWC", "TNCL", "TNLC")
"""What the axes of one recorded tensor can mean. A student's layout that begins with ``N`` is either one of T calls
or time and batch flattened into the first axis; which of them, the number of calls tells."""

_ROLES = ("student", "teacher")


@dataclass(frozen=True)
class Layer:
    """Where to look, and how to read what is there.

    Attributes:
        path: as in ``network.named_modules()``.
        layout: one of :data:`LAYOUTS`; None reads it off the shape at the first forward.
        grid: ``(h, w)`` of the token layouts; None finds it.
        prefix: leading tokens that are no position (class and register tokens); 0 finds them.
        reason: why this layer, in a few words; shown by ``preflight``.

    Raises:
        TypeError: ``path`` is not a string.
        ValueError: a field that is none of the above.

    Example:
        >>> Layer("blocks.11.norm1", layout="NLC", grid=(14, 14), prefix=1).layout
        'NLC'
    """

    path: str
    layout: str | None = None
    grid: tuple[int, int] | None = None
    prefix: int = 0
    reason: str = "given"

    def __post_init__(self) -> None:
        if not isinstance(self.path, str):
            raise TypeError(
                f"path must be a string as in named_modules(), got {type(self.path).__name__}; pass the module's name"
            )
        if self.layout is not None and self.layout not in LAYOUTS:
            raise ValueError(f"layout of layer {self.path!r} must be one of {LAYOUTS} or None, got {self.layout!r}")
        if self.grid is not None:
            grid = self.grid
            if not (isinstance(grid, tuple) and len(grid) == 2 and all(isinstance(n, int) and n > 0 for n in grid)):
                raise ValueError(
                    f"grid of layer {self.path!r} must be two positive integers (h, w) or None, got {grid!r}"
                )
        if not isinstance(self.prefix, int) or self.prefix < 0:
            raise ValueError(f"prefix of layer {self.path!r} must be an integer of at least 0, got {self.prefix!r}")


def check_role(role: str) -> None:
    """Raise unless ``role`` is ``"student"`` or ``"teacher"``."""
    if role not in _ROLES:
        raise ValueError(f"role must be 'student' or 'teacher', got {role!r}")
