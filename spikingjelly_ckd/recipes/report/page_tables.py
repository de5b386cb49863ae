"""The tables of the page: what came out, and what one image costs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..comparison.statistics import mean_of_known
from ..comparison.table import arms_of, cells_of, heads_of
from ..untrusted import shown_text
from .found import Study
from .page_text import FINITE, NAME, WORDS

__all__ = ["Table", "energies", "numbers_of", "results"]

LEADING = re.compile(r"[+-]?\d+(?:\.\d+)?")
ENERGY = "energy, mJ"
"""Column that has a table of its own."""
RATE = "firing rate, %"
NOTES = "notes"
"""Column of which each text stands under its line."""


@dataclass(frozen=True)
class Table:
    """Cells of a table.

    Attributes:
        heads: of the columns.
        lines: texts, one for each head.
        notes: for each line a text that stands under it, or nothing; empty where no line has one.
    """

    heads: Sequence[str]
    lines: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    @property
    def numeric(self) -> list[bool]:
        """Of each column, whether all of its cells begin with a number or say nothing."""
        return [
            all(_leading(line[at]) is not None or line[at] in ("", "not measured") for line in self.lines)
            for at in range(len(self.heads))
        ]

    @property
    def values(self) -> list[list[float | None]]:
        """What each cell of a column of numbers is sorted by; None for a text, and for nothing."""
        numeric = self.numeric
        return [[_leading(cell) if numeric[at] else None for at, cell in enumerate(line)] for line in self.lines]


def _leading(text: str) -> float | None:
    found = LEADING.match(text)
    return None if found is None else float(found[0])


def results(study: Study) -> Table | None:
    """The table of the runs that have ended."""
    if study.is_of_teacher:
        lines = [
            [f"{row.seed}", f"{row.result.last:.2f}", f"{row.result.best:.2f}", f"{row.result.epochs}"]
            for row in study.rows
            if row.accuracy is not None
        ]
        part = WORDS[study.part]
        return Table(("seed", f"last epoch, {part}, %", f"best epoch, {part}, %", "epochs"), lines) if lines else None
    lines, heads = cells_of(study.runs), heads_of(study.runs)
    rate = heads.index("firing rate")
    heads[rate] = RATE
    for line in lines:
        line[rate] = line[rate].removesuffix(" %")
    shown = [at for at, head in enumerate(heads) if head not in (ENERGY, NOTES)]
    kept = [at for at in shown if any(line[at] not in ("", "not measured") for line in lines)]
    notes = [line[heads.index(NOTES)] for line in lines]
    return Table([heads[at] for at in kept], [[line[at] for at in kept] for line in lines], notes)


def energies(study: Study) -> Table | None:
    """What one image costs: each arm, and of rows the teacher and the student's ANN twin beside them."""
    lines = []
    arms = arms_of(study.runs)
    detail = {id(run): row.energy or {} for run, row in zip(study.runs, study.rows, strict=False)}
    control = mean_of_known(run.energy_mj for run in arms.get("plain", []))
    for arm, rows in arms.items():
        energy = mean_of_known(run.energy_mj for run in rows)
        if energy is not None:
            rate = mean_of_known(run.firing_rate for run in rows)
            counts = [numbers_of(detail.get(id(run), {}).get("student")) for run in rows]
            beside = "" if not control else f"{energy / control:.2f}"
            rate_text = "" if rate is None else f"{100 * rate:.1f}"
            lines.append([shown_text(arm, NAME), f"{energy:.4g}", beside, rate_text, *_operations(counts)])
    for name, words in (("ann_twin", "the student as an ANN"), ("teacher", "the teacher")):
        counts = [found for energy in detail.values() if (found := numbers_of(energy.get(name)))]
        energy = mean_of_known(found.get("compute_mj") for found in counts)
        if energy is not None:
            lines.append(
                [words, f"{energy:.4g}", "" if not control else f"{energy / control:.2f}", "", *_operations(counts)]
            )
    heads = ("network", ENERGY, "beside plain", RATE, "MACs", "ACs")
    kept = [at for at in range(len(heads)) if any(line[at] for line in lines)]
    return Table([heads[at] for at in kept], [[line[at] for at in kept] for line in lines]) if lines else None


def numbers_of(content: object) -> dict[str, float]:
    """The finite numbers of a mapping, whatever else it holds."""
    if not isinstance(content, Mapping):
        return {}
    return {str(name): float(value) for name, value in content.items() if FINITE.fits(value)}


def _operations(counts: Sequence[Mapping[str, float]]) -> list[str]:
    found = [mean_of_known(of.get(name) for of in counts) for name in ("macs", "acs")]
    return ["" if value is None else f"{value / 1e6:.2f} M" for value in found]
