"""The records of a comparison as one table and one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ..recipe import SCALED
from ..untrusted import markdown_cell
from .comparable import check_comparable
from .controls import CONTROL, LOUDER_OF, TUNED
from .notes import all_guess, notes_on, number
from .records import ArmRecord
from .statistics import Comparison, compare_arms, mean_of_known

__all__ = ["answer", "arms_of", "cells_of", "compare_records", "control_of", "heads_of", "remarks", "render"]

LONGEST_NOTE = 4000
DENSE = 0.5
"""Share of the energy from which on it is said to be of multiply-accumulates."""
ALL_RIGHT = 99.5
"""Percent of the test images from which on a network is nearly always right."""
LEARNED = 0.02
"""Share of the way from guessing to all images right, up to which differences are not between students that learned."""
SILENT = 0.01
"""A network whose firing rate is below this hardly fires."""
HEADS = (
    *("arm", "seeds", "validation", "test", "test minus {control} (95 %)", "told apart", "firing rate", "energy, mJ"),
    *("step", "notes"),
)
"""Heads of the table's columns."""
_BESIDE = {"not told apart": "not told apart from", "below": "below"}
"""Verdict on an arm that is not above plain training with three times the loss -> how the answer says it."""


def arms_of(records: Iterable[ArmRecord]) -> dict[str, list[ArmRecord]]:
    """Arm -> its records by seed, in the order in which the arms come."""
    found: dict[str, list[ArmRecord]] = {}
    for record in records:
        found.setdefault(record.arm, []).append(record)
    return {arm: sorted(rows, key=lambda record: record.seed) for arm, rows in found.items()}


def compare_records(records: Sequence[ArmRecord], control: str = CONTROL) -> Comparison | None:
    """Differences of the test accuracy of all arms whose control this is; None while the control has no run.

    Args:
        records: of one comparison.
        control: name of the arm that is subtracted.
    """
    accuracies = {
        arm: {record.seed: record.test_accuracy for record in rows if record.test_accuracy is not None}
        for arm, rows in arms_of(records).items()
        if control in (arm, control_of(rows[0]), LOUDER_OF.get(rows[0].control))
    }
    accuracies = {arm: of_seeds for arm, of_seeds in accuracies.items() if of_seeds}
    return compare_arms(accuracies, control) if control in accuracies else None


def control_of(record: ArmRecord) -> str:
    """What is subtracted from an arm; an arm that is a control itself, such as another learning rate, has plain's."""
    return CONTROL if record.control == record.arm else record.control


def render(records: Sequence[ArmRecord], does_not_fit: Mapping[str, str] | None = None) -> str:
    """What was compared, the table, the answer under it, and what was left out, as Markdown.

    Each arm is compared with its control: plain training of the same student. The best comes first.

    Args:
        records: of one comparison.
        does_not_fit: name of each method that was left out -> why.

    Raises:
        ValueError: no record, or records of two comparisons: other data or other settings.
    """
    if not records:
        raise ValueError("there is no record of a run, so there is nothing to compare")
    check_comparable(records)
    lines = [_heading(records), "", f"| {' | '.join(heads_of(records))} |", "|" + "---|" * len(HEADS)]
    lines += [f"| {' | '.join(markdown_cell(cell, LONGEST_NOTE) for cell in cells)} |" for cells in cells_of(records)]
    lines += ["", answer(records), *remarks(records)]
    for arm, why in (does_not_fit or {}).items():
        lines.append(f"Does not fit: {markdown_cell(arm)}: {markdown_cell(why, LONGEST_NOTE)}")
    return "\n".join(lines)


def remarks(records: Sequence[ArmRecord], shown: Callable[[object], str] = markdown_cell) -> list[str]:
    """What holds for all arms: what a step's time leaves out, what an energy is of, what every preflight warns of.

    Args:
        records: of one comparison.
        shown: as for :func:`answer`.
    """
    found = []
    forward = mean_of_known(record.teacher_ms for record in records)
    if forward is not None and any(record.step_ms is not None for record in records):
        found.append(
            f"A step is one of training, without loading and without the teacher's forward of {forward:.0f} ms, which "
            "the arms share here; an arm that is trained alone takes both."
        )
    share = mean_of_known(record.mac_share for record in records)
    if share is not None and share >= DENSE:
        found.append(
            f"{100 * share:.0f} % of the energy is of multiply-accumulates (in the first layer, in BatchNorm, and "
            "where inputs are not 0 and 1, as behind an average pool), which more or fewer spikes do not change."
        )
    said = (f"Preflight of all arms: {shown(text)}" for text in _warnings_of_all(records))
    return found + [text if text.endswith("?") else f"{text}." for text in said]


def _warnings_of_all(records: Sequence[ArmRecord]) -> list[str]:
    """Warnings that every arm with a preflight has; none where there is one such arm."""
    looked = [rows[0].warnings for rows in arms_of(records).values() if rows[0].preflight is not None]
    return [text for text in looked[0] if all(text in others for others in looked)] if len(looked) > 1 else []


def heads_of(records: Sequence[ArmRecord]) -> list[str]:
    """:data:`HEADS` with the name of the control that is subtracted."""
    arms = arms_of(records)
    control = _usual_control(arms)
    others = {rows[0].control for arm, rows in arms.items() if rows[0].control != arm} - {control}
    named = f"{control} or the control in the notes" if others else control
    return [head.format(control=named) for head in HEADS]


def cells_of(records: Sequence[ArmRecord]) -> list[list[str]]:
    """The lines of the table under :func:`heads_of`, the best arm first, as texts that are not yet escaped."""
    arms = arms_of(records)
    found = {control: compare_records(records, control) for control in {control_of(rows[0]) for rows in arms.values()}}
    control = _usual_control(arms)
    step = mean_of_known(record.step_ms for record in arms.get(control, []))
    best_first = sorted(arms, key=lambda name: -(mean_of_known(record.test_accuracy for record in arms[name]) or 0.0))
    said = _warnings_of_all(records)
    return [list(_row(arm, arms[arm], found, control, step, said)) for arm in best_first]


def _usual_control(arms: Mapping[str, Sequence[ArmRecord]]) -> str:
    return CONTROL if CONTROL in arms or CONTROL + TUNED not in arms else CONTROL + TUNED


def _of_all_alike(records: Sequence[ArmRecord], reached: float) -> str:
    """Why every run may have the same accuracy, and what to do."""
    if reached >= ALL_RIGHT:
        return "and nearly all images are right. Compare on harder data."
    rates = [record.firing_rate for record in records if record.firing_rate is not None]
    if rates and max(rates) < SILENT:
        return (
            f"and hardly a neuron fires (at most {100 * max(rates):.1f} % of the outputs), so that the students may "
            "give one answer to all images. Look at the neurons and their inputs first (threshold, tau, decay_input)."
        )
    return "as where nothing has been learned yet. Train longer, or with another learning rate."


def _have_hardly_learned(records: Sequence[ArmRecord]) -> bool:
    """Whether every run is within :data:`LEARNED` of what guessing explains; of earlier records it is not known."""
    pairs = [(one.test_accuracy, one.guessing) for one in records if one.test_accuracy is not None]
    return all(level is not None and reached <= level + LEARNED * (100 - level) for reached, level in pairs)


def answer(records: Sequence[ArmRecord], shown: Callable[[object], str] = markdown_cell) -> str:
    """Which methods are above their control, in one sentence; never one whose interval holds zero.

    Args:
        records: of one comparison, those of runs that failed too.
        shown: makes the name of an arm harmless where the sentence goes; what is there is Markdown.
    """
    if any(record.asked.get("smoke") for record in records):
        return "Nothing can be said: a smoke run takes two steps of every stage."
    found = {control: compare_records(records, control) for control in {control_of(record) for record in records}}
    compared = [one for one in found.values() if one is not None and one.differences]
    if not compared:
        return "Nothing can be said yet: a control and another arm need a run of one seed at least."
    if all(one.freedom == 0 for one in compared):
        return "Nothing can be said: one seed gives no interval. Run two seeds or more."
    accuracies = {record.test_accuracy for record in records if record.test_accuracy is not None}
    if len(accuracies) == 1:
        reached = accuracies.pop()
        alike = f"every run has the same test accuracy, {reached:.2f} %"
        return f"Nothing can be said: {alike}, {_of_all_alike(records, reached)}"
    if all_guess(records) or _have_hardly_learned(records):
        level = max(record.guessing or 0.0 for record in records)
        best = max(accuracies)
        clearly = "" if all_guess(records) else "clearly "
        alike = (
            f"no run is {clearly}better than guessing, which explains up to {level:.2f} %; the best has {best:.2f} %"
        )
        return f"Nothing can be said: {alike}, {_of_all_alike(records, best)}"
    if all(one.deviation is None for one in compared):
        return (
            "Nothing can be said: each difference is the same in every seed, to the last image, as on a test part of "
            "few images, so there is no interval. Test on more images."
        )
    told = {
        arm: difference
        for one in compared
        for arm, difference in one.differences.items()
        if difference is not None and arm not in LOUDER_OF.values()
    }
    needed = max((one.seeds_for_a_point for one in compared if one.seeds_for_a_point is not None), default=None)
    need = "" if needed is None else f" It takes {needed} seeds to tell a difference of one point."
    above = sorted((arm for arm in told if told[arm].verdict == "above"), key=lambda arm: -told[arm].mean)
    below = [arm for arm in told if told[arm].verdict == "below"]
    tail = f" Below their control: {', '.join(map(shown, below))}." if below else ""
    if not above:
        seeds = max((one.seeds for one in told.values()), default=0)
        return f"No method is told apart as better than plain training on {seeds} paired seeds.{tail}{need}"
    louder = {name: compare_records(records, name) for name in LOUDER_OF.values()}
    controls = {record.arm: control_of(record) for record in records}
    names = []
    for arm in above:
        other = louder.get(LOUDER_OF.get(controls[arm], ""))
        beside = None if other is None else other.differences.get(arm)
        control = controls[arm]
        said = None if beside is None else _BESIDE.get(beside.verdict)
        hint = "" if said is None else f", {said} {LOUDER_OF[control]}"
        than = "" if control in LOUDER_OF else f" beside {shown(control)}"
        failed = [record for record in records if record.arm == arm and record.failed is not None]
        lost = f", by the seeds that did not fail ({len(failed)} did)" if failed else ""
        names.append(f"{shown(arm)} {told[arm]} points{than}{hint}{lost}")
    return f"Better than plain training: {'; '.join(names)}.{tail}{need}"


def _begun_with(init: object) -> str:
    return "the weights of the teacher, scaled" if init == SCALED else f"the weights of {markdown_cell(init)}"


def _heading(records: Sequence[ArmRecord]) -> str:
    """The student, the data and the teacher, in a line."""
    first = records[0]
    taught = next((record.teacher for record in records if record.teacher is not None), None)
    parts = [
        *(["SMOKE RUN, two steps of every stage: no figure means anything."] if first.asked.get("smoke") else []),
        f"Student {markdown_cell(first.asked.get('student', 'unknown'))},",
        f"T={markdown_cell(first.asked.get('time_steps', 'unknown'))},",
        f"{markdown_cell(first.asked.get('epochs', 'unknown'))} epochs,",
        f"data {markdown_cell(first.data.get('name', 'unknown'))}, split {markdown_cell(first.data.get('split', ''))}.",
        *([f"All begin with {_begun_with(first.asked['init'])}."] if first.asked.get("init") else []),
    ]
    if taught is not None:
        accuracy = taught.get("accuracy")
        part = {"val": "validation"}.get(str(taught.get("part")), taught.get("part"))
        said = f" with {accuracy:.2f} % on the {part} part" if isinstance(accuracy, int | float) else ""
        parts.append(f"Teacher {markdown_cell(taught.get('source'))}{said}.")
    return " ".join(parts)


def _row(
    arm: str,
    rows: Sequence[ArmRecord],
    found: Mapping[str, Comparison | None],
    usual: str,
    plain_step: float | None,
    said: Sequence[str],
) -> Iterable[str]:
    done = [record for record in rows if record.failed is None]
    compared = found.get(control_of(rows[0]))
    difference = None if compared is None else compared.differences.get(arm)
    step = mean_of_known(record.step_ms for record in done)
    yield arm
    yield f"{len(done)}"
    yield number(mean_of_known(record.val_accuracy for record in done), "{:.2f}")
    yield number(mean_of_known(record.test_accuracy for record in done), "{:.2f}")
    yield "" if difference is None else str(difference)
    yield "" if difference is None else difference.verdict
    rate = mean_of_known(record.firing_rate for record in done)
    yield number(None if rate is None else 100 * rate, "{:.1f} %")
    yield number(mean_of_known(record.energy_mj for record in done), "{:.4g}")
    ratio = None if not (step and plain_step) else step / plain_step
    yield number(step, "{:.0f} ms") + number(ratio, " ({:.2f} x plain)", missing="")
    yield "; ".join(notes_on(arm, rows, usual, said))
