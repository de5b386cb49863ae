"""The table of a comparison: what it says, and what it never says."""

import json
import re
from dataclasses import replace

import pytest

from spikingjelly_ckd.recipes.comparison.records import LATER, ArmRecord
from spikingjelly_ckd.recipes.comparison.table import answer, remarks, render

pytestmark = pytest.mark.tools

DATA = {"name": "digits", "split": "s", "split_hash": "0", "complete": True}
ASKED = {"student": "nets:build", "time_steps": 4, "epochs": 2, "smoke": False}
TEACHER = {"source": "t.safetensors", "sha256": "0", "accuracy": 91.5, "part": "val"}


def runs(arm, accuracies, control="plain", **more):
    return [
        ArmRecord(
            arm=arm, control=control, seed=seed, asked=ASKED, data=DATA, test_accuracy=accuracy, val_accuracy=accuracy,
            step_ms=10.0, firing_rate=0.1, energy_mj=0.5, **more,
        )
        for seed, accuracy in enumerate(accuracies)
    ]  # fmt: skip


PLAIN = runs("plain", [50.0, 52.0, 51.0, 53.0])
LOUDER = runs("plain x3", [50.4, 51.9, 51.6, 53.1])
GOOD = runs("kd", [60.1, 61.9, 61.2, 63.0], teacher=TEACHER)
BAD = runs("mgd", [40.2, 42.1, 41.0, 42.8], teacher=TEACHER)
SAME = runs("nld", [50.3, 51.8, 51.2, 52.9], teacher=TEACHER)


def test_who_is_better_and_who_is_worse():
    said = answer([*PLAIN, *LOUDER, *GOOD, *BAD, *SAME])
    assert said.startswith("Better than plain training: kd +10.05 (+9.")
    assert "Below their control: mgd." in said
    assert "nld" not in said
    assert "plain x3" not in said


def test_no_winner_where_the_interval_holds_zero():
    said = answer([*PLAIN, *LOUDER, *SAME])
    assert said.startswith("No method is told apart as better than plain training on 4 paired seeds. It takes ")


def test_what_larger_steps_give_as_well_is_said():
    louder = [replace(record, test_accuracy=record.test_accuracy + 9.9) for record in LOUDER]
    assert "points, not told apart from plain x3" in answer([*PLAIN, *louder, *GOOD])


def test_a_method_that_larger_steps_surpass_is_said_to_be_below_them():
    louder = [replace(record, test_accuracy=record.test_accuracy + 29.9) for record in LOUDER]
    said = answer([*PLAIN, *louder, *GOOD])
    assert "points, below plain x3" in said
    assert "not told apart" not in said


def test_a_winner_some_of_whose_seeds_failed_is_said_to_be_one():
    lost = [replace(record, test_accuracy=None, failed="diverged") for record in GOOD[:2]]
    said = answer([*PLAIN, *LOUDER, *lost, *GOOD[2:], *SAME])
    assert "kd +10.10" in said
    assert "points, by the seeds that did not fail (2 did)." in said
    assert "fail" not in answer([*PLAIN, *LOUDER, *GOOD, *SAME])


def test_one_seed_says_nothing():
    assert answer([PLAIN[0], GOOD[0]]).startswith("Nothing can be said: one seed gives no interval")
    assert answer(GOOD).startswith("Nothing can be said yet")


def test_equal_numbers_say_nothing():
    flat = [replace(record, test_accuracy=12.5) for record in [*PLAIN, *SAME]]
    assert answer(flat).startswith("Nothing can be said: every run has the same test accuracy, 12.50 %")
    assert "seeds" not in answer(flat)
    assert "Train longer" in answer([replace(record, firing_rate=0.2) for record in flat])
    silent = answer([replace(record, firing_rate=0.004) for record in flat])
    assert "hardly a neuron fires (at most 0.4 % of the outputs)" in silent
    assert "Train longer" not in silent
    assert "harder data" in answer([replace(record, test_accuracy=100.0) for record in flat])
    assert answer([*PLAIN, *flat[4:]]).startswith("No method is told apart")


def test_runs_that_only_guess_say_nothing():
    guess = [replace(record, guessing=33.3 + 5) for record in [*runs("plain", [33.3, 33.7]), *runs("kd", [34.1, 33.3])]]
    said = answer(guess)
    assert said.startswith(
        "Nothing can be said: no run is better than guessing, which explains up to 38.30 %; the best"
    )
    assert "the best has 34.10 %, as where nothing has been learned yet. Train longer" in said
    learned = [replace(record, guessing=38.3) for record in [*PLAIN, *GOOD, *runs("at", [33.0, 34.0, 33.5, 33.1])]]
    assert answer(learned).startswith("Better than plain training: kd")
    (line,) = [line for line in render(learned).splitlines() if line.startswith("| at |")]
    assert "no better than guessing" in line
    assert render(learned).count("no better than guessing") == 1
    assert "guessing" not in answer(runs("plain", [33.3, 33.7]) + runs("kd", [34.1, 33.3])), "of earlier records"


def test_differences_that_are_the_same_in_every_seed_say_nothing():
    shifted = [
        replace(record, test_accuracy=plain.test_accuracy + 2.5) for plain, record in zip(PLAIN, SAME, strict=True)
    ]
    assert answer([*PLAIN, *shifted]).startswith("Nothing can be said: each difference is the same in every seed")


def looked_at(record, *warnings):
    checks = [{"name": "state", "status": "ok", "message": "agrees"}]
    checks += [dict(zip(("name", "message", "status"), (*pair, "warn"), strict=True)) for pair in warnings]
    return replace(record, preflight={"ok": True, "checks": checks})


def test_what_the_preflight_warns_of_stands_beside_its_arm_or_once_under_all_of_them():
    every, one = ("heads", "the student returns 2 tensors"), ("student map", "2x2 | <b>")
    share = ("gradient share", "kd: 22 of the task's")
    good = [looked_at(record, every, share) for record in GOOD]
    lines = render([*PLAIN, *good, *(looked_at(record, every, one) for record in SAME)]).splitlines()
    assert "Preflight of all arms: heads: the student returns 2 tensors." in lines
    asked = [looked_at(record, ("teacher accuracy", "10%: is it trained?")) for record in (*GOOD, *SAME)]
    assert "Preflight of all arms: teacher accuracy: 10%: is it trained?" in render([*PLAIN, *asked]).splitlines()
    rows = {line.split(" | ")[0]: line for line in lines}
    assert rows["| nld"].endswith("| preflight, student map: 2x2 \\| &lt;b&gt; |")
    assert rows["| kd"].endswith("|  |")
    assert "gradient share" not in "".join(lines)
    assert "heads" in next(x for x in render([*PLAIN, *good]).splitlines() if x.startswith("| kd |"))


@pytest.mark.parametrize(("needs", "said"), [("ReLU as the last activation", False), ("nothing", True)])
def test_a_lack_of_spikes_is_no_warning_where_the_method_wants_none(needs, said):
    record = replace(GOOD[0], method={"text": "enof", "needs": needs})
    assert bool(looked_at(record, ("spikes", "enof: real, 0 to 6: no spikes")).warnings) is said


def test_what_a_step_leaves_out_is_said():
    text = render([*PLAIN, *(replace(record, teacher_ms=5.6) for record in GOOD)])
    assert "without the teacher's forward of 6 ms, which the arms share here" in text
    assert "teacher's forward" not in render(PLAIN)


def test_arms_that_are_hardly_better_than_guessing_are_not_told_apart():
    """The difference may be significant all the same, of students that have learned nothing else."""
    at_chance = [replace(record, test_accuracy=10.0 + 0.01 * seed, guessing=12.6) for seed, record in enumerate(PLAIN)]
    hardly = [replace(record, test_accuracy=13.5 + 0.02 * seed, guessing=12.6) for seed, record in enumerate(GOOD)]
    said = answer([*at_chance, *hardly])
    assert said.startswith("Nothing can be said: no run is clearly better than guessing, which explains up to 12.60 %")
    learned = [replace(record, test_accuracy=20.0 + 0.03 * seed) for seed, record in enumerate(hardly)]
    assert answer([*at_chance, *learned]).startswith("Better than plain training: kd +")


def test_images_that_were_left_out_and_steps_that_were_not_timed_are_said():
    said = [replace(record, skipped=3, step_ms=None, history=[{"epoch": 1, "seconds": 2.5}]) for record in GOOD]
    row = next(x for x in render([*PLAIN, *said]).splitlines() if x.startswith("| kd |"))
    assert "left out 12 images whose map of the teacher is constant" in row
    assert "| not measured | " in row
    assert "no step was timed" in row
    of_a_row = [replace(record, step_ms=None, history=[{"val_accuracy": 50.0}]) for record in GOOD]
    assert "no step was timed" not in render([*PLAIN, *of_a_row]), "a row times none, whatever its epochs have"


def test_an_arm_of_another_student_is_compared_with_that_one():
    control = runs("plain, ReLU read-out", [55.0, 57.0, 56.0, 58.0], control="plain, ReLU read-out")
    enof = runs("enof", [54.9, 57.1, 56.2, 57.9], control="plain, ReLU read-out", teacher=TEACHER)
    text = render([*PLAIN, *LOUDER, *control, *enof])
    row = next(line for line in text.splitlines() if line.startswith("| enof |"))
    assert "its control is plain, ReLU read-out" in row
    assert "not told apart" in row
    better = [replace(record, test_accuracy=record.test_accuracy + 9) for record in enof]
    assert "points beside plain, ReLU read-out" in answer([*PLAIN, *LOUDER, *control, *better])
    assert "Better than plain training: enof +9.0" in answer([*PLAIN, *LOUDER, *control, *better])


def test_an_arm_with_other_first_weights_is_beside_a_control_with_the_same():
    name, init = "plain@init=teacher", {"source": "t", "fitted": 3, "tensors": 4, "accuracy": 12.0}
    control = runs(name, [70.0, 72.0, 71.0, 73.0], init=init)
    better = runs("kd@init=teacher", [80.1, 81.9, 81.2, 83.0], control=name, init=init)
    text = render([*PLAIN, *LOUDER, *control, *better])
    assert "begins with 3 of 4 tensors of t, 12.00 % before the first step" in text
    said = answer([*PLAIN, *LOUDER, *control, *better])
    assert "plain@init=teacher +20.0" in said
    assert "points beside plain@init=teacher" in said


def test_the_table_says_what_was_compared_and_what_was_not():
    idle = [
        replace(record, history=[{"epoch": 1, "share": 0.002}]) for record in runs("kdsnn", [50.0, 52.0, 51.0, 53.1])
    ]
    failed = replace(SAME[3], test_accuracy=None, val_accuracy=None, failed="epoch 2: NaN | <b>")
    text = render([*PLAIN, *LOUDER, *GOOD, *idle, *SAME[:3], failed], {"enof": "no ReLU"})
    heading, rows = text.splitlines()[0], {line.split(" | ")[0]: line for line in text.splitlines()}
    assert heading.startswith(
        "Student nets:build, T=4, 2 epochs, data digits, split s. Teacher t.safetensors with 91.50 %"
    )
    assert "does not act: its share of the gradient stays under 0.01" in rows["| kdsnn"]
    assert "seed 3 failed: epoch 2: NaN \\| &lt;b&gt;" in rows["| nld"]
    assert rows["| nld"].split(" | ")[1] == "3"
    assert "10 ms (1.00 x plain)" in rows["| kd"]
    assert "Does not fit: enof: no ReLU" in text


def test_the_control_is_named():
    said = render([*PLAIN, *LOUDER, *GOOD])
    assert "| test minus plain (95 %) |" in said
    assert "plain with three times the loss" in next(x for x in said.splitlines() if x.startswith("| plain x3 |"))
    tuned = [replace(record, arm=f"{record.arm} (tuned)", control="plain (tuned)") for record in [*PLAIN, *GOOD]]
    assert "| test minus plain (tuned) (95 %) |" in render(tuned)
    both = render([*PLAIN, *GOOD, *tuned])
    assert "| test minus plain or the control in the notes (95 %) |" in both
    assert "its control is plain (tuned)" in next(x for x in both.splitlines() if x.startswith("| kd (tuned) |"))


def test_plain_training_with_a_value_of_its_own_is_compared_with_plain_training():
    other = [replace(record, arm="plain@lr=0.3", control="plain@lr=0.3") for record in GOOD]
    line = next(x for x in render([*PLAIN, *other]).splitlines() if x.startswith("| plain@lr=0.3 |"))
    assert line.replace("plain@lr=0.3", "kd") == next(
        x for x in render([*PLAIN, *GOOD]).splitlines() if x.startswith("| kd |")
    )
    assert "plain@lr=0.3 +" in answer([*PLAIN, *other])


def test_a_smoke_run_is_marked():
    smoke = [replace(record, asked=ASKED | {"smoke": True}) for record in [*PLAIN, *GOOD]]
    assert render(smoke).startswith("SMOKE RUN")


def test_settings_that_an_earlier_version_did_not_know_are_those_by_default():
    later = [replace(record, asked=ASKED | {"early_stop": 0, "memopt": None}) for record in GOOD]
    assert "| kd |" in render([*PLAIN, *later])
    with pytest.raises(ValueError, match="differ in early_stop"):
        render([*PLAIN, *(replace(record, asked=ASKED | {"early_stop": 3}) for record in GOOD)])


@pytest.mark.parametrize(
    ("change", "words"),
    [({"data": DATA | {"split_hash": "1"}}, "other data"), ({"asked": ASKED | {"epochs": 3}}, "differ in epochs")],
)
def test_records_of_two_comparisons_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        render([*PLAIN, replace(GOOD[0], **change)])
    with pytest.raises(ValueError, match="no record"):
        render([])


def test_a_run_that_is_there_twice_is_refused():
    with pytest.raises(ValueError, match="^kd seed 0 is there twice"):
        render([*PLAIN, *GOOD, GOOD[0]])


def test_a_run_that_is_there_twice_is_named_with_its_files(tmp_path):
    files = [GOOD[0].write(tmp_path / name) for name in ("kd_seed0.json", "kd_seed0 (copy).json")]
    first, other = (ArmRecord.read(file) for file in files)
    assert (first.path, first) == (files[0], GOOD[0]), "the path is not compared"
    assert "path" not in files[0].read_text()
    with pytest.raises(ValueError, match=re.escape(f"{files[0]} and {files[1]}: kd seed 0 is there twice")):
        render([*PLAIN, first, other])


def test_the_head_names_plain_training_where_that_did_not_run():
    head = render(GOOD).splitlines()[2]
    assert "minus plain" in head
    assert "tuned" not in head


def test_energy_that_spikes_do_not_change_is_named():
    said = "84 % of the energy is of multiply-accumulates (in the first layer, in BatchNorm, and where inputs are not "
    assert any(text.startswith(said) for text in remarks(runs("plain", [50.0, 51.0], mac_share=0.84)))
    assert remarks(runs("plain", [50.0, 51.0], mac_share=0.4)) == remarks(PLAIN) == []


def test_a_record_of_an_earlier_version_is_read(tmp_path):
    path = GOOD[0].write(tmp_path / "kd_seed0.json")
    content = json.loads(path.read_text("utf8"))
    for name in LATER:
        content.pop(name)
    path.write_text(json.dumps(content))
    assert ArmRecord.read(path) == GOOD[0]
    path.write_text(json.dumps(content | {"mac_share": 1.5}))
    with pytest.raises(ValueError, match="mac_share"):
        ArmRecord.read(path)
