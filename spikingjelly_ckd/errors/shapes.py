"""One check of shapes by named axes, with one wording, for functions and losses."""

from __future__ import annotations

from typing import Any

from torch import Tensor

__all__ = ["check_shapes"]


def check_shapes(hint: str = "", /, **tensors: tuple[Tensor, str]) -> None:
    """Raise unless every tensor has the axes that are named for it, and each name has one size in all of them.

    It reads shapes alone: nothing waits for a device, and ``torch.compile`` traces through it.

    Args:
        hint: what to do about it, added to the message of a ``ValueError``.
        **tensors: name of an argument -> (tensor, axes). Axes are names with spaces between them, ``"T N C h w"``;
            the same name means the same size in all tensors of one call. ``"K>=2"`` asks for a least size, ``"..."``
            stands for any number of axes, and ``"N | N K"`` allows either form, told apart by the number of axes.

    Raises:
        TypeError: an argument is no tensor.
        ValueError: another number of axes, a size that another argument contradicts, or one that is too small.

    Example:
        >>> import torch
        >>> spikes, teacher_map = torch.zeros(4, 2, 3, 8, 8), torch.zeros(2, 4, 4)
        >>> check_shapes(spikes=(spikes, "T N C h w"), teacher_map=(teacher_map, "N h' w'"))
        >>> check_shapes(student=(torch.zeros(2, 5), "N K"), teacher=(torch.zeros(2, 4), "N K"))
        Traceback (most recent call last):
            ...
        ValueError: teacher must be [N, K], got (2, 4): K is 4 here and 5 in student (2, 5)
    """
    known: dict[str, tuple[str, Any]] = {}
    for argument, (tensor, axes) in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{argument} must be a tensor {_written(axes)}, got {type(tensor).__name__}")
        named = _named(tensor, axes)
        if named is None:
            raise ValueError(_message(hint, argument, tensor, axes))
        for axis, size in named:
            name, _, least = axis.partition(">=")
            if least and size < int(least):
                raise ValueError(_message(hint, argument, tensor, axes))
            other, expected = known.setdefault(name, (argument, size))
            if size != expected:
                shape = tuple(tensors[other][0].shape)
                conflict = f": {name} is {size} here and {expected} in {other} {shape}"
                raise ValueError(_message(hint, argument, tensor, axes, conflict))


def _named(tensor: Tensor, axes: str) -> list[tuple[str, Any]] | None:
    """Name and size of every axis, ``"..."`` with a tuple of sizes; None where no form has this number of axes."""
    shape = tuple(tensor.shape)
    for form in axes.split("|"):
        names = form.split()
        if "..." in names:
            front = names.index("...")
            back = len(shape) - (len(names) - 1 - front)
            if back >= front:
                sizes = (*shape[:front], shape[front:back], *shape[back:])
                return list(zip(names, sizes, strict=True))
        elif len(names) == len(shape):
            return list(zip(names, shape, strict=True))
    return None


def _written(axes: str) -> str:
    """``"N K>=2 | T N K"`` as ``[N, K] or [T, N, K] with K >= 2``."""
    forms = [[axis.partition(">=")[0] for axis in form.split()] for form in axes.split("|")]
    least = dict.fromkeys(axis.replace(">=", " >= ") for axis in axes.split() if ">=" in axis)
    return " or ".join(f"[{', '.join(form)}]" for form in forms) + (f" with {' and '.join(least)}" if least else "")


def _message(hint: str, argument: str, tensor: Tensor, axes: str, conflict: str = "") -> str:
    advice = f"; {hint}" if hint else ""
    return f"{argument} must be {_written(axes)}, got {tuple(tensor.shape)}{conflict}{advice}"
