"""What a row says when it has ended."""

from __future__ import annotations

from pathlib import Path

from .records.schema import Record

__all__ = ["closing_text"]

SMOKED = " (smoke run: two steps of every stage, so no figure says anything)"


def closing_text(record: Record, folder: Path, *, best_on_test: bool) -> str:
    """What came out, in a few lines.

    Args:
        record: of the run.
        folder: in which it stands.
        best_on_test: say the best epoch where it was chosen on the test set, too.
    """
    found, test = record.result, record.test
    figures = f"test accuracy last {record.test_accuracy:.2f} %"
    if test is None:
        figures += f", mean of the last 5 epochs {found.mean_last_5:.2f} %"
        if best_on_test:
            figures += f", best {found.best:.2f} % (epoch {found.best_epoch}, chosen on the test set)"
    else:
        best = (
            ""
            if test.best is None
            else f", of epoch {found.best_epoch}, chosen on the validation part, {test.best:.2f} %"
        )
        figures += f"{best}; validation accuracy last {found.last:.2f} %, best {found.best:.2f} %"
    if record.smoke:
        figures += SMOKED
    ended = "" if found.epochs >= record.recipe["epochs"] else f", stopped early after {found.epochs} epochs"
    lines = [f"{record.row}, {record.method}, seed {record.seed}, split {record.data.split}{ended}: {figures}"]
    for name, energy in (record.energy or {}).items():
        if isinstance(energy, dict):
            rate = "" if energy["firing_rate"] is None else f", firing rate {100 * energy['firing_rate']:.2f} %"
            lines.append(f"energy of the {name}: {energy['compute_mj']:.4g} mJ an image (compute){rate}")
    lines.append(f"record: {folder / 'record.json'}; student: {folder / 'student.safetensors'}")
    return "\n".join(lines)
