"""What the accuracies of a history come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["is_over", "summary"]

LAST = 5


def summary(accuracies: Sequence[float]) -> dict[str, Any]:
    """Best epoch beside the last and the mean of the last five; never the best alone.

    The best epoch is chosen on the test set itself, as papers in the field do, and is therefore too high.

    Args:
        accuracies: on the test set after each epoch, percent.

    Returns:
        ``last``, ``mean_last_5`` (of fewer, where there are fewer), ``best``, ``best_epoch`` (from 1), ``epochs``.

    Raises:
        ValueError: no epoch.

    Example:
        >>> summary([50.0, 70.0, 60.0])
        {'last': 60.0, 'mean_last_5': 60.0, 'best': 70.0, 'best_epoch': 2, 'epochs': 3}
    """
    if not accuracies:
        raise ValueError("no epoch was finished, so there is nothing to sum up")
    last = list(accuracies[-LAST:])
    best = max(accuracies)
    return {
        "last": accuracies[-1],
        "mean_last_5": sum(last) / len(last),
        "best": best,
        "best_epoch": list(accuracies).index(best) + 1,
        "epochs": len(accuracies),
    }


def is_over(accuracies: Sequence[float], epochs: int, early_stop: int = 0) -> bool:
    """Whether a training has ended.

    Args:
        accuracies: after each epoch so far.
        epochs: of the whole.
        early_stop: epochs without a better one that end it before; 0 for none.

    Example:
        >>> is_over([50.0, 60.0, 60.0], 9), is_over([50.0, 60.0, 60.0], 9, early_stop=1)
        (False, True)
    """
    if not accuracies or len(accuracies) >= epochs:
        return bool(accuracies)
    return 0 < early_stop <= len(accuracies) - int(summary(accuracies)["best_epoch"])
