"""What the pictures of results take: records of a comparison, or the numbers of a training loop of your own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .....errors.arguments import ArgumentTypeError, ArgumentValueError
from ....comparison.records import ArmRecord

__all__ = ["Runs", "accuracy_of", "as_records"]

Runs = Sequence[ArmRecord] | Mapping[str, Tensor | Sequence[Any]]
"""Records, or name of each arm -> one entry for each seed; entries of one place are of one seed."""


def as_records(runs: Runs, entry: str, values: Callable[[Tensor], dict[str, Any]], control: str) -> list[ArmRecord]:
    """Records as they are, and plain numbers as the records of which a picture is drawn.

    Args:
        runs: either.
        entry: axes of one seed's entry, such as ``"epochs"``, for a message; empty for one number.
        values: one seed's entry -> fields of its record.
        control: name of the arm that the others are compared with.

    Raises:
        TypeError: an arm's values are no numbers.
        ValueError: other axes, no values, or values that are not finite.

    Example:
        >>> found = as_records({"kd": [61.0, 63.5]}, "", lambda value: {"test_accuracy": accuracy_of(value)}, "kd")
        >>> [(record.arm, record.seed, record.test_accuracy) for record in found]
        [('kd', 0, 61.0), ('kd', 1, 63.5)]
    """
    if not isinstance(runs, Mapping):
        return list(runs)
    return [
        ArmRecord(arm=arm, control=control, seed=seed, **values(one))
        for arm, given in runs.items()
        for seed, one in enumerate(_numbers(arm, given, entry))
    ]


def accuracy_of(value: Tensor) -> float:
    """One accuracy in percent.

    Args:
        value: scalar.

    Raises:
        ValueError: it is below 0 or above 100.

    Example:
        >>> accuracy_of(torch.tensor(61.5))
        61.5
    """
    accuracy = float(value)
    if not 0 <= accuracy <= 100:
        raise ArgumentValueError("records", f"must hold accuracies in percent, from 0 to 100, got {accuracy:g}")
    return accuracy


def _numbers(arm: str, given: Tensor | Sequence[Any], entry: str) -> Tensor:
    """The values of one arm, ``[seeds, ...]``."""
    axes = f"[seeds, {entry}]" if entry else "[seeds]"
    if not isinstance(arm, str):
        raise ArgumentTypeError("records", f"must have a text as the name of each arm, got {arm!r}")
    try:
        found = torch.as_tensor(given, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError) as error:
        raise TypeError(f"{arm!r} must have numbers {axes}: {error}") from error
    if found.ndim != (2 if entry else 1) or not found.numel():
        raise ArgumentValueError("records", f"must have {axes} for each arm, got {tuple(found.shape)} for {arm!r}")
    if not bool(found.isfinite().all()):
        raise ArgumentValueError("records", f"must be finite, and a value of {arm!r} is not")
    return found
