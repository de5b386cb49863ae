"""Records of runs, and the table made of them."""

import copy
import json
import math
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
import torch
from scipy import stats

from spikingjelly_ckd.recipes.comparison.records import ArmRecord
from spikingjelly_ckd.recipes.records import FORMAT, environment, read_record, summary, write_record
from spikingjelly_ckd.recipes.records.parts import Accuracy
from spikingjelly_ckd.recipes.records.schema import Record
from spikingjelly_ckd.recipes.report.table import interval95, main, tabulate

pytestmark = pytest.mark.tools

HASHES = {"official": "a" * 64, "cifar10dvs-first90": "b" * 64, "cifar10dvs-random42": "c" * 64, "folders": "d" * 64}


def record(method="ckd", seed=0, last=70.0, *, best=None, mean=None, data="cifar10", split="official", **more):
    """A record with the keys of a run's that the table reads; a name of ``recipe`` goes there, others go on top."""
    recipe = {"time_steps": 4, "lr": 0.1, "epochs": 3}
    recipe |= {"beta": 1.0, "gamma": 1.0, "temperature": 2.0, "teacher_layer": None}
    recipe |= {name: more.pop(name) for name in list(more) if name in recipe}
    return {
        "format": FORMAT,
        "row": "row",
        "method": method,
        "seed": seed,
        "paper_accuracy": 80.0,
        "recipe": {"name": "row", "paper_accuracy": 80.0, "method": method, **recipe},
        "finished": True,
        "smoke": False,
        "data": {"name": data, "split": split, "split_hash": HASHES[split], "complete": True},
        "accuracy": {
            "last": last,
            "mean_last_5": last - 0.25 if mean is None else mean,
            "best": last + 1 if best is None else best,
            "best_epoch": 2,
            "epochs": 3,
        },
        "energy": None,
        **more,
    }


def read(table: str) -> list[dict[str, str]]:
    """The lines of a Markdown table by its heads."""
    heads, ruler, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert ruler == ["---"] * len(heads)
    assert all(len(line) == len(heads) for line in lines)
    return [dict(zip(heads, line, strict=True)) for line in lines]


# --- records ---------------------------------------------------------------------------------------------------------


def test_summary_of_many_epochs():
    found = summary([10.0, 60.0, 50.0, 40.0, 60.0, 30.0, 20.0])
    assert found == {"last": 20.0, "mean_last_5": 40.0, "best": 60.0, "best_epoch": 2, "epochs": 7}


def test_summary_of_one_epoch_and_of_none():
    assert summary([10.0]) == {"last": 10.0, "mean_last_5": 10.0, "best": 10.0, "best_epoch": 1, "epochs": 1}
    with pytest.raises(ValueError, match="no epoch was finished"):
        summary([])


def test_a_record_comes_back_and_nothing_else_is_left(tmp_path):
    path = write_record(tmp_path / "deep" / "record.json", {"row": "r", "paths": [tmp_path], "value": 0.1})
    assert read_record(path) == {"format": FORMAT, "row": "r", "paths": [str(tmp_path)], "value": 0.1}
    write_record(path, {"row": "second"})
    assert read_record(path)["row"] == "second"
    assert [file.name for file in path.parent.iterdir()] == ["record.json"]


def test_a_record_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = write_record(tmp_path / "record.json", {"row": "first"})
    circle: dict = {}
    circle["itself"] = circle
    with pytest.raises(ValueError, match="Circular"):
        write_record(path, circle)
    assert read_record(path)["row"] == "first"
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="record.json cannot be written: No space left on device"):
        write_record(path, {"row": "third"})
    assert read_record(path)["row"] == "first"
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "record.json is cut off"),
        ("[1, 2]", r"is no run record \(format 1 or 2\) of spikingjelly-ckd"),
        ('{"row": "r"}', "is no run record"),
        ('{"format": 3}', "is no run record"),
    ],
)
def test_files_that_are_no_records(tmp_path, text, words):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_record(tmp_path / "record.json")


RESULTS = sorted((Path(__file__).parents[1] / "benchmarks" / "results").glob("cifar10_r20_*_seed?.json"))


def test_a_record_of_before_is_read():
    """Written by the code that had format 1, and so were those of the results page."""
    path = Path(__file__).with_name("record_format1.json")
    before = json.loads(path.read_text("utf8"))
    assert before["format"] == 1
    found = Record.read(path)
    assert (found.format, found.path, found.chosen) == (FORMAT, path, None)
    assert (found.row, found.method, found.seed) == ("cifar10_r20", "ckd", 0)
    assert found.result.last == before["accuracy"]["last"]
    assert found.student.sha256 == before["student"]["sha256"]
    assert found.teacher.accuracy == before["teacher"]["accuracy"]
    written = json.loads(json.dumps(found.to_json()))
    assert written["teacher"].pop("made") is None, "which format 1 did not say"
    assert {name: written[name] for name in before if name != "format"} == {
        name: before[name] for name in before if name != "format"
    }, "nothing is lost"
    assert set(written) - set(before) == {"chosen"}


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_records_of_the_results_page_are_read(path):
    content = read_record(path)
    assert Record.read(path).result == Accuracy(**content["accuracy"])
    assert read(tabulate([content])) == read(tabulate([Record.read(path)]))


def test_records_of_both_formats_stand_in_one_table():
    now = Record.from_json({**json.loads(RESULTS[0].read_text("utf8")), "seed": 7})
    (line,) = read(tabulate([read_record(RESULTS[0]), now.to_json()]))
    assert line["seeds"] == f"{read_record(RESULTS[0])['seed']} 7"


def test_a_record_comes_back_as_it_was(tmp_path):
    rows = [{"test_acc1": accuracy, "seconds": 1.0} for accuracy in (68.25, 71.0, 70.0)]
    made = Record.from_json(record(history=rows))
    assert made.to_json()["format"] == FORMAT
    made = replace(made, path=made.write(tmp_path / "record.json"))
    assert Record.read(tmp_path / "record.json") == made
    with pytest.raises(FrozenInstanceError):
        made.seed = 1


def test_epochs_are_added_to_a_record_and_the_last_one_finishes_it():
    rows = [{"test_acc1": accuracy, "seconds": 1.5} for accuracy in (10.0, 30.0, 20.0)]
    begun = replace(Record.from_json(record()), finished=False, accuracy=None, history=[])
    with pytest.raises(ValueError, match="row row, seed 0 has no finished epoch"):
        begun.result  # noqa: B018
    two, three = begun.after(rows[:2]), begun.after(rows)
    assert (two.finished, two.result.epochs, two.seconds) == (False, 2, 3.0)
    assert (three.finished, three.result.last, three.result.best_epoch) == (True, 20.0, 2)
    assert begun.history == []


def test_a_record_of_something_else_is_told_by_what_it_lacks(tmp_path):
    path = write_record(tmp_path / "speed.json", {"what": "speed", "seed": 0})
    assert read_record(path)["what"] == "speed", "benchmarks have keys of their own"
    words = "speed.json: a record of a row says row, method, data, recipe, and this one does not"
    with pytest.raises(ValueError, match=words):
        Record.read(path)


def test_the_environment_says_what_ran(tmp_path):
    found = environment()
    assert found["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {"spikingjelly", "spikingjelly-ckd", "lightning", "torchvision", "timm"} <= set(found["versions"])
    assert found["threads"] == torch.get_num_threads()
    if (Path(__file__).parents[1] / ".git").exists():
        assert len(found["git"].removesuffix("+changes")) == 40
    json.dumps(found)


# --- figures ---------------------------------------------------------------------------------------------------------


def test_the_interval_is_students():
    values = [70.1, 71.4, 69.8, 70.9]
    low, high = stats.t.interval(0.95, df=3, loc=sum(values) / 4, scale=stats.sem(values))
    assert interval95(values) == pytest.approx((high - low) / 2)
    assert interval95([1.0, 2.0]) == pytest.approx(12.706204736 * math.sqrt(0.5) / math.sqrt(2))
    assert interval95([1.0]) is None
    assert interval95([]) is None


def test_mean_deviation_and_interval_over_the_seeds():
    values = [70.0, 71.0, 73.5]
    (line,) = read(tabulate([record(seed=seed, last=last) for seed, last in enumerate(values)], best_on_test=True))
    half = (stats.t.interval(0.95, df=2, loc=0, scale=stats.sem(values)))[1]
    spread = f"± {stats.tstd(values):.2f} (95 %: ± {half:.2f})"
    assert line["last epoch"] == f"71.50 {spread}"
    assert line["mean of last 5"] == f"71.25 {spread}"
    assert line["best on test"] == f"72.50 {spread}"
    assert line["paper"] == "80.00"
    assert line["best - paper"] == "-7.50"
    assert line["seeds"] == "0 1 2"
    assert line["method"] == "ckd"
    assert line["row"] == "`row`"
    assert line["split"] == "official (aaaaaaaa)"
    assert line["setting"] == "time_steps=4"
    assert line["paired to plain"] == "no plain runs"


def test_the_best_stands_beside_the_last_and_the_mean_of_five():
    text = tabulate([record(last=70.0, mean=69.0, best=75.0)], best_on_test=True)
    heads = text.splitlines()[0]
    assert heads.index("last epoch") < heads.index("mean of last 5") < heads.index("best on test")
    (line,) = read(text)
    assert [line[head] for head in ("last epoch", "mean of last 5", "best on test")] == ["70.00", "69.00", "75.00"]


def test_the_best_on_test_is_shown_only_where_it_is_asked_for(capsys, tmp_path):
    (line,) = read(tabulate([record(last=70.0, best=75.0)]))
    assert "best on test" not in line
    assert line["last - paper"] == "-10.00"
    path = tmp_path / "record.json"
    write_record(path, record(last=70.0, best=75.0))
    assert main([str(path)]) == 0
    assert "75.00" not in capsys.readouterr().out
    assert main([str(path), "--best-on-test"]) == 0
    assert "best on test" in capsys.readouterr().out


def with_validation(**more):
    content = record(**more)
    content["accuracy"]["part"] = "val"
    return content | {"test": {"last": 60.0, "best": 61.0}}


def test_runs_with_a_validation_part_show_their_look_at_the_test_set():
    runs = [with_validation(method=method, seed=seed) for method in ("plain", "ckd") for seed in (0, 1)]
    plain, ckd = read(tabulate(runs))
    assert ckd["last epoch"].startswith("60.00")
    assert ckd["best on validation"].startswith("61.00")
    assert "mean of last 5" not in plain
    assert ckd["paired to plain"].startswith("+0.00")
    with pytest.raises(ValueError, match="chose its best epoch on a validation part; leave out --best-on-test"):
        tabulate(runs, best_on_test=True)
    with pytest.raises(ValueError, match="stopped before it looked at the test set"):
        tabulate([with_validation() | {"test": None}])


def test_the_difference_to_plain_is_paired_by_seed_and_takes_common_seeds_only():
    plain = [record("plain", seed, last) for seed, last in ((0, 60.0), (1, 65.0), (2, 50.0), (7, 10.0))]
    ckd = [record("ckd", seed, last) for seed, last in ((2, 53.0), (1, 66.0), (0, 62.0), (8, 99.0))]
    lines = read(tabulate(plain + ckd))
    assert [line["method"] for line in lines] == ["plain", "ckd"], "plain first"
    gaps = [2.0, 1.0, 3.0]
    half = stats.t.ppf(0.975, 2) * stats.sem(gaps)
    assert lines[1]["paired to plain"] == f"+2.00 ± 1.00 (95 %: ± {half:.2f})"
    assert lines[0]["paired to plain"] == ""
    assert lines[1]["seeds"] == "0 1 2 8"


def test_one_common_seed_gives_a_bare_difference_and_none_says_so():
    (_, line) = read(tabulate([record("plain", 0, 60.0), record("ckd", 0, 59.5)]))
    assert line["paired to plain"] == "-0.50"
    (_, line) = read(tabulate([record("plain", 0), record("ckd", 1)]))
    assert line["paired to plain"] == "no common seed"


def test_plain_is_matched_whatever_the_settings_of_teaching():
    plain = record("plain", last=60.0, beta=3.0, gamma="auto", temperature=9.0)
    ckd = record("ckd", last=61.5, beta=0.5, teacher_layer="layer3")
    _, line = read(tabulate([plain, ckd]))
    assert line["paired to plain"] == "+1.50"
    assert line["setting"] == "time_steps=4"


def test_plain_runs_that_differ_in_settings_of_teaching_alone_are_one_setting():
    plain, ckd = read(tabulate([record("plain", 0, 60.0), record("plain", 1, 61.0, beta=5.0), record("ckd", 1, 64.0)]))
    assert plain["seeds"] == "0 1"
    assert ckd["paired to plain"] == "+3.00"
    with pytest.raises(ValueError, match="seed 0 is there twice"):
        tabulate([record("plain", 0), record("plain", 0, beta=5.0)])


def test_plain_runs_that_began_with_unlike_teachers_are_unlike():
    def begun(method, seed, sha256, init="teacher"):
        teacher = {"source": "t.safetensors", "sha256": sha256 * 64, "accuracy": 90.0}
        found = record(method, seed, 60.0 + seed, teacher=teacher, options={"teacher": "t.safetensors"})
        found["recipe"]["init"] = init
        return found

    unlike = read(tabulate([begun("plain", 0, "a"), begun("plain", 1, "b")]))
    assert [line["seeds"] for line in unlike] == ["0", "1"]
    (alike,) = read(tabulate([begun("plain", 0, "a"), begun("plain", 1, "a")]))
    assert alike["seeds"] == "0 1"
    (untouched,) = read(tabulate([begun("plain", 0, "a", None), begun("plain", 1, "b", None)]))
    assert untouched["seeds"] == "0 1"
    pair = read(tabulate([begun("plain", 0, "a"), begun("ckd", 0, "a")]))
    assert [line["paired to plain"] for line in pair if line["method"] == "ckd"] == ["+0.00"]
    pair = read(tabulate([begun("plain", 0, "b"), begun("ckd", 0, "a")]))
    assert [line["paired to plain"] for line in pair if line["method"] == "ckd"] == ["no plain runs"]


def test_plain_of_another_schedule_is_not_matched():
    ckd, plain = read(tabulate([record("plain", lr=0.2), record("ckd", lr=0.1)]))
    assert ckd["paired to plain"] == "no plain runs"
    assert ckd["setting"] == "time_steps=4, lr=0.1"
    assert plain["setting"] == "time_steps=4, lr=0.2"


def test_two_settings_of_a_row_stand_on_two_lines_with_what_differs():
    records = [record(seed=0, last=60.0), record(seed=1, last=62.0), record(seed=0, last=70.0, time_steps=2, beta=0.5)]
    two, four = sorted(read(tabulate(records)), key=lambda line: line["last epoch"], reverse=True)
    assert two["setting"] == "time_steps=2, beta=0.5"
    assert two["last epoch"] == "70.00"
    assert four["setting"] == "time_steps=4, beta=1.0"
    assert four["last epoch"].startswith("61.00 ± 1.41")


def test_each_setting_is_paired_with_its_own_plain():
    records = [record(m, 0, last, time_steps=t) for m, t, last in (("plain", 2, 50.0), ("ckd", 2, 53.0))]
    records += [record("plain", 0, 60.0), record("ckd", 0, 61.0)]
    gaps = {line["setting"]: line["paired to plain"] for line in read(tabulate(records)) if line["method"] == "ckd"}
    assert gaps == {"time_steps=2": "+3.00", "time_steps=4": "+1.00"}


def test_cost_is_the_mean_over_the_seeds():
    energies = [{"student": {"compute_mj": mj, "firing_rate": rate}} for mj, rate in ((0.1, 0.10), (0.3, 0.14))]
    (line,) = read(tabulate([record(seed=seed, energy=energy) for seed, energy in enumerate(energies)]))
    assert line["firing rate; energy"] == "12.0 %; 0.2 mJ"
    (line,) = read(tabulate([record(energy={"student": {"compute_mj": 0.25, "firing_rate": None}})]))
    assert line["firing rate; energy"] == "0.25 mJ"
    (line,) = read(tabulate([record()]))
    assert "firing rate; energy" not in line  # nobody measured it, so there is no column


def test_rows_that_were_not_run_say_so_and_keep_the_papers_number():
    lines = read(tabulate([record()], {"row": 80.0, "cifar10_r19_t1": 96.11, "mine": None}, best_on_test=True))
    assert [(line["row"], line["method"], line["paper"]) for line in lines[1:]] == [
        ("`cifar10_r19_t1`", "not run", "96.11"),
        ("`mine`", "not run", ""),
    ]
    assert all(not line["last epoch"] and not line["best - paper"] for line in lines[1:])
    assert read(tabulate([], {"cifar10_r19_t1": 96.11}))[0]["method"] == "not run"


def test_a_row_of_ones_own_has_no_number_to_compare_with():
    (line,) = read(tabulate([record(paper_accuracy=None)]))
    assert not {"paper", "last - paper"} & set(line)


def test_incomplete_data_is_said():
    partial = record()
    partial["data"]["complete"] = False
    assert read(tabulate([partial]))[0]["split"] == "official, incomplete (aaaaaaaa)"


# --- refusals --------------------------------------------------------------------------------------------------------


def test_two_splits_of_one_data_set_are_refused():
    first = record(data="cifar10dvs", split="cifar10dvs-first90")
    other = record(data="cifar10dvs", split="cifar10dvs-random42", seed=1) | {"row": "another row"}
    words = r"cifar10dvs is there on 2 splits \(cifar10dvs-first90 bbbbbbbb, cifar10dvs-random42 cccccccc\)"
    with pytest.raises(ValueError, match=words):
        tabulate([first, other])
    tabulate([first, record(seed=1)])  # another data set


def test_the_same_row_on_another_data_set_is_another_line():
    official = [record("plain", 0, 60.0), record("ckd", 0, 61.0)]
    own = record("ckd", 1, 90.0, data="folder", split="folders")
    lines = read(tabulate([*official, own]))
    assert {line["setting"]: line["last epoch"] for line in lines if line["method"] == "ckd"} == {
        "time_steps=4, data=cifar10": "61.00",
        "time_steps=4, data=folder": "90.00",
    }
    assert [line["paired to plain"] for line in lines] == ["", "+1.00", "no plain runs"]


def test_one_name_for_other_samples_is_refused_too():
    other = record(seed=1)
    other["data"]["split_hash"] = "e" * 64
    with pytest.raises(ValueError, match=r"cifar10 is there on 2 splits \(official aaaaaaaa, official eeeeeeee\)"):
        tabulate([record(), other])


def test_other_samples_under_equal_names_are_refused():
    def own(seed, content, **more):
        made = record(data="folder", split="folders", seed=seed, **more)
        made["data"] |= {} if content is None else {"content": content}
        return made

    assert len(read(tabulate([own(0, "1" * 8), own(1, "1" * 8), own(2, None)]))) == 1
    for method in ("ckd", "plain"):
        with pytest.raises(ValueError, match=r"row: folder is there with 2 contents under equal names \(11.*, 22"):
            tabulate([own(0, "1" * 8), own(1, "2" * 8, method=method)])
    bigger = own(1, "2" * 8)
    bigger["recipe"]["size"] = 64
    assert len(read(tabulate([own(0, "1" * 8), bigger]))) == 2, "another size makes other inputs of the same files"


def test_folders_of_ones_own_belong_to_their_row():
    def own(row, digest, seed=0):
        made = record(data="folder", split="folders", seed=seed) | {"row": row}
        made["data"]["split_hash"] = digest * 64
        return made

    assert len(read(tabulate([own("cats", "1"), own("dogs", "2")]))) == 2
    with pytest.raises(ValueError, match="cats: folder is there on 2 splits"):
        tabulate([own("cats", "1"), own("cats", "2", seed=1)])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"smoke": True}, "row row, method ckd, seed 0 is a smoke run, which says nothing about accuracy"),
        ({"finished": False}, "row row, method ckd, seed 0 is unfinished: 3 epochs; resume it, or leave it out"),
    ],
)
def test_runs_that_say_nothing(change, words):
    with pytest.raises(ValueError, match=words):
        tabulate([record(seed=1), record(**change)])


def test_the_same_run_twice_and_no_run():
    with pytest.raises(ValueError, match="row row, method ckd, seed 0 is there twice"):
        tabulate([record(), copy.deepcopy(record())])
    with pytest.raises(ValueError, match="no record was given"):
        tabulate([])


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path):
    for method, last in (("plain", 60.0), ("ckd", 61.25)):
        write_record(tmp_path / method / "record.json", record(method, 0, last))
    write_record(tmp_path / "ckd" / "teacher" / "record.json", record("teacher", 0, 90.0))
    return tmp_path


def command(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "spikingjelly_ckd", "table", *map(str, arguments)]
    return subprocess.run(line, env=environment, capture_output=True, text=True)


def test_a_folder_is_searched_for_records(runs, capsys):
    assert main([str(runs)]) == 0
    lines = read(capsys.readouterr().out.strip())
    assert [(line["method"], line["paired to plain"]) for line in lines] == [("plain", ""), ("ckd", "+1.25")]


@pytest.mark.slow
def test_a_refusal_is_a_line_and_an_exit_code(runs):
    write_record(runs / "broken" / "record.json", record(finished=False))
    done = command(runs)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(
        f"table: {runs / 'broken' / 'record.json'}: row row, method ckd, seed 0 is unfinished"
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("place", ["records", "copies"])
def test_a_damaged_record_of_a_comparison_is_left_out_with_a_note(tmp_path, capsys, place):
    for seed in (0, 1):
        for arm in ("plain", "kd"):
            accuracy = 60.0 + seed
            one = ArmRecord(
                arm=arm, control="plain", seed=seed, data={"name": "d", "split": "s", "split_hash": "0"},
                test_accuracy=accuracy, asked={"student": "nets:build", "time_steps": 4, "epochs": 2},
            )  # fmt: skip
            one.write(tmp_path / place / f"{arm}_seed{seed}.json")
    damaged = tmp_path / place / "kd_seed0.json"
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert main([str(tmp_path)]) == 0
    assert f"table: left out: {damaged} is cut off" in capsys.readouterr().err


def test_what_belongs_in_no_table_is_left_out_of_a_folder_with_a_note(runs, capsys):
    smoke, other = runs / "smoke" / "record.json", runs / "other" / "record.json"
    write_record(smoke, record(smoke=True))
    other.parent.mkdir()
    other.write_text("{}")
    assert main([str(runs)]) == 0
    said = capsys.readouterr()
    assert len(read(said.out.strip())) == 2
    assert f"table: left out: {smoke} is of a smoke run" in said.err
    assert f"table: left out: {other} is no run record" in said.err
    for path, words in ((smoke, "is a smoke run"), (other, "is no run record")):  # named, it is meant
        assert main([str(path)]) == 1
        said = capsys.readouterr()
        assert str(path) in said.err
        assert words in said.err


def test_the_same_run_twice_leads_with_the_two_paths(runs, capsys):
    again = write_record(runs / "zagain" / "record.json", record("ckd", 0, 61.25))
    assert main([str(runs)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        f"table: {runs / 'ckd' / 'record.json'} and {again}: row row, method ckd, seed 0 is there twice"
    )


def test_a_given_teacher_is_told_by_its_file_and_not_by_settings_of_its_training():
    def run(seed, sha, teacher_epochs, method="ckd"):
        made = record(method, seed, options={"teacher": "file"}, teacher={"source": "file", "sha256": sha * 64})
        made["recipe"]["teacher_epochs"] = teacher_epochs
        return made

    (line,) = read(tabulate([run(0, "a", 5), run(1, "a", 7)]))
    assert line["seeds"] == "0 1"
    lines = read(tabulate([run(0, "a", 5), run(1, "b", 5)]))
    assert [line["setting"] for line in lines] == [
        f"time_steps=4, teacher=sha256 {letter * 8}" for letter in ("a", "b")
    ]
    plain = record("plain", 0, last=60.0)
    plain["recipe"]["teacher_epochs"] = 5
    assert read(tabulate([run(0, "a", 5), plain]))[1]["paired to plain"] == "+10.00"


def test_records_of_any_name_and_comparisons_are_found(tmp_path, capsys):
    for method, last in (("plain", 60.0), ("ckd", 61.25)):
        write_record(tmp_path / "results" / f"row_{method}_seed0.json", record(method, 0, last))
    write_record(tmp_path / "results" / "speed.json", {"what": "seconds"})
    for arm, accuracies in (("plain", (50.0, 52.0)), ("kd", (60.0, 62.5))):
        for seed, accuracy in enumerate(accuracies):
            asked = {"student": "nets:build", "time_steps": 4, "epochs": 2, "smoke": False}
            data = {"name": "digits", "split": "s", "split_hash": "0", "complete": True}
            made = ArmRecord(arm=arm, control="plain", seed=seed, asked=asked, data=data, test_accuracy=accuracy)
            made.write(tmp_path / "compared" / "records" / f"{arm}_seed{seed}.json")
    assert main([str(tmp_path)]) == 0
    said = capsys.readouterr()
    rows, comparison = said.out.split(f"\n\nComparison in {tmp_path / 'compared' / 'records'}\n\n")
    assert [line["method"] for line in read(rows)] == ["plain", "ckd"]
    assert "| kd | 2 |" in comparison
    assert said.err == "", "benchmarks write other files beside"
    assert main([str(tmp_path / "compared" / "records" / "kd_seed0.json")]) == 0


def test_a_folder_of_other_files_says_what_it_holds(tmp_path, capsys):
    write_record(tmp_path / "speed.json", {"what": "seconds"})
    assert main([str(tmp_path)]) == 1
    assert "nor another record of a run; it holds 1 other .json files; a run writes one" in capsys.readouterr().err
    write_record(tmp_path / "record.json", record(smoke=True))
    assert main([str(tmp_path)]) == 1
    assert "none of the 1 records there belongs in a table" in capsys.readouterr().err


def test_runs_with_a_teacher_cache_are_other_runs():
    cached = record("ckd", 0, 61.0, options={"teacher_cache": 2})
    lines = read(tabulate([record("plain", 0, 60.0), record("ckd", 0, 62.0), cached]))
    assert [line["setting"] for line in lines] == [
        "time_steps=4",
        "time_steps=4, teacher_cache=2",
        "time_steps=4, teacher_cache=None",
    ]
    assert [line["paired to plain"] for line in lines] == ["", "+1.00", "+2.00"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "one.json: there is no such file or folder"),
        ("{}", "no run record"),
        ("{", "is cut off"),
        ("folder", "one.json: there is no record.json in this folder or below it"),
        (json.dumps(record("teacher")), "is of a teacher, and this table is of students"),
    ],
)
def test_what_cannot_be_read_is_a_line_and_an_exit_code(tmp_path, capsys, content, words):
    path = tmp_path / "one.json"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    assert main([str(path)]) == 1
    said = capsys.readouterr()
    assert words in said.err
    assert said.out == ""


def test_files_may_be_named_and_folders_mixed_in(runs, capsys):
    assert main([str(runs / "plain" / "record.json"), str(runs / "ckd")]) == 0
    assert len(read(capsys.readouterr().out.strip())) == 2
