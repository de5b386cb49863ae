"""Remarks on an arm of a comparison, as the last cell of its row has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .controls import LOUDER_OF
from .records import ArmRecord
from .statistics import mean_of_known

__all__ = ["all_guess", "notes_on", "number"]

LEAST_SHARE = 0.01
"""A method whose losses have a smaller share of the gradient than this, in every epoch, does not act."""


def notes_on(arm: str, rows: Sequence[ArmRecord], usual: str, said: Sequence[str]) -> Iterable[str]:
    """Remarks on an arm.

    Args:
        arm: its name.
        rows: its records, one a seed.
        usual: the control that the head of the table names.
        said: warnings that stand under the table, since all arms have them.

    Example:
        >>> runs = [ArmRecord(arm="kd", control="plain", seed=seed, skipped=3) for seed in (0, 1)]
        >>> list(notes_on("kd", runs, "plain", []))
        ['left out 6 images whose map of the teacher is constant, in all epochs and seeds']
    """
    control = rows[0].control
    if control not in (usual, arm):
        yield f"its control is {control}"
    if arm in LOUDER_OF.values():
        yield f"{control} with three times the loss: what larger steps give by themselves"
    tuned = rows[0].method.get("tuned")
    if tuned is not None:
        values = ", ".join(f"{name} {value:g}" for name, value in tuned["values"].items())
        yield f"{values}, the best of {tuned['trials']} trials"
    begun = [record.init for record in rows if record.init is not None]
    if begun:
        accuracy = number(mean_of_known(init["accuracy"] for init in begun), "{:.2f} %")
        yield (
            f"begins with {begun[0]['fitted']} of {begun[0]['tensors']} tensors of {begun[0]['source']}, "
            f"{accuracy} before the first step"
        )
        quantiles = sorted({init["quantile"] for init in begun if init.get("quantile") is not None})
        if quantiles:
            yield f"thresholds are the {' or '.join(f'{100 * q:g} %' for q in quantiles)} quantiles of the inputs"
    shares = [record.greatest_share for record in rows if record.greatest_share is not None]
    if shares and max(shares) < LEAST_SHARE:
        yield f"does not act: its share of the gradient stays under {LEAST_SHARE:g}"
    if all_guess(rows):
        yield "no better than guessing"
    skipped = sum(record.skipped for record in rows)
    if skipped:
        yield f"left out {skipped} images whose map of the teacher is constant, in all epochs and seeds"
    yield from (f"preflight, {text}" for text in rows[0].warnings if text not in said)
    timed = [record for record in rows if record.history and "seconds" in record.history[0]]  # by compare
    if any(record.failed is None and record.step_ms is None for record in timed):
        yield "no step was timed: the first one of an epoch is not, and an epoch has no other"
    for record in rows:
        if record.failed is not None:
            yield f"seed {record.seed} failed: {record.failed}"


def all_guess(records: Iterable[ArmRecord]) -> bool:
    """Whether guessing explains the accuracy of every run that has one; of earlier records it is not known.

    Example:
        >>> all_guess([ArmRecord(arm="kd", control="plain", seed=0, test_accuracy=11.0, guessing=14.2)])
        True
    """
    pairs = [(one.test_accuracy, one.guessing) for one in records if one.test_accuracy is not None]
    return bool(pairs) and all(level is not None and reached <= level < 100 for reached, level in pairs)


def number(value: float | None, form: str, missing: str = "not measured") -> str:
    """A figure as a cell shows it.

    Example:
        >>> number(12.345, "{:.1f} %"), number(None, "{:.1f} %")
        ('12.3 %', 'not measured')
    """
    return missing if value is None else form.format(value)
