"""Records that somebody else wrote: refused in one line, or shown as text on which nothing acts."""

import copy
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from spikingjelly_ckd.recipes.records import FORMAT, read_record, write_record
from spikingjelly_ckd.recipes.records.schema import Record
from spikingjelly_ckd.recipes.report.table import main
from spikingjelly_ckd.recipes.untrusted import markdown_cell, shown_text

pytestmark = pytest.mark.tools

ROWS = [
    {"epoch": epoch, "test_acc1": accuracy, "seconds": 1.0} for epoch, accuracy in ((1, 60.0), (2, 72.0), (3, 70.5))
]


def record(**changes) -> dict:
    """A record as a run writes it; ``data__split`` changes an entry of a part."""
    made = {
        "format": FORMAT,
        "row": "row",
        "paper_accuracy": 80.0,
        "method": "ckd",
        "seed": 0,
        "data": {"name": "cifar10", "split": "official", "split_hash": "a" * 64, "complete": True, "classes": 10},
        "recipe": {"name": "row", "time_steps": 4, "lr": 0.1, "epochs": 3},
        "sources": {"lr": "paper"},
        "options": {"teacher": "file"},
        "smoke": False,
        "environment": {"git": None},
        "student": {"build": "nets:student", "arguments": {"num_classes": 10}, "parameters": 5, "sha256": "b" * 64},
        "teacher": {"source": "file", "sha256": "c" * 64, "accuracy": 91.0},
        "finished": True,
        "accuracy": {"last": 70.5, "mean_last_5": 67.5, "best": 72.0, "best_epoch": 2, "epochs": 3},
        "history": copy.deepcopy(ROWS),
        "seconds": 3.0,
        "energy": {"student": {"compute_mj": 0.5, "firing_rate": 0.1}},
    }
    for name, value in changes.items():
        *parts, last = name.split("__")
        inner = made
        for part in parts:
            inner = inner[part]
        inner[last] = value
    return made


def written(folder: Path, content: object) -> Path:
    path = folder / "record.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf8")
    return path


def said(path: Path, capsys) -> str:
    """What the table says of a record that it refuses, which has to be one line of harmless text."""
    assert main([str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert len(err) < 3000
    assert "Traceback" not in err
    return err


def test_the_record_itself_is_fine(tmp_path, capsys):
    assert main([str(written(tmp_path, record()))]) == 0
    assert "| `row` | ckd | " in capsys.readouterr().out


WRONG_KINDS = {
    "row": [3, None, ["row"], {}, "x" * 20_000],
    "method": [None, 1, ["ckd"]],
    "seed": ["0", -1, 1.5, None, True, [0], 10**30],
    "paper_accuracy": ["80", -1, 101, 1e308, [80]],
    "data": [None, "cifar10", [], 3],
    "data__name": [None, 3, ["cifar10"]],
    "data__split": [None, {"a": 1}],
    "data__split_hash": [None, 3, "", "../../etc", "Z" * 64, "a" * 65, "a" * 7],
    "data__complete": ["yes", 1, None],
    "data__classes": [0, -5, "10", 1e308],
    "recipe": [None, "lr=0.1", [], 3],
    "recipe__epochs": ["3", 0, -1, 2.5, None, [3], 1e308],
    "sources": [None, [], {"lr": 3}],
    "options": [None, [], "x"],
    "smoke": ["no", 0, None],
    "environment": [None, []],
    "student": ["nets:student", [], 3],
    "student__build": [3, None],
    "student__parameters": ["5", -1, 1e308],
    "student__sha256": [3, "<b>"],
    "teacher": ["file", [], 0],
    "teacher__source": [3, None, []],
    "teacher__accuracy": ["91", 1e308, -1],
    "finished": ["true", 1, None, []],
    "accuracy": ["70", [70], 70],
    "accuracy__last": ["70", None, 1e308, -1, 101, [70], True],
    "accuracy__mean_last_5": [None, 1e308],
    "accuracy__best": [None, "72", 1e308],
    "accuracy__best_epoch": [0, -2, "2", 1.5],
    "accuracy__epochs": [0, "3", 10**400],
    "history": [None, "x", {"0": {}}, [3], [[1]], [{"test_acc1": "70"}], [{"test_acc1": [70]}]],
    "seconds": ["3", -1, [3]],
    "energy": ["low", [], 3, {"student": None}, {"student": {}}, {"other": 1}],
    "energy__student": ["x", [0.5]],
    "energy__student__compute_mj": ["0.5", None, 1e308, -1],
    "energy__student__firing_rate": ["0.1", 1e308, -0.1],
    "resumed_after_epochs": [3, ["1"], [-1], [1e308]],
    "processes": [0, "2", -1],
    "neurons": [3, []],
    "chosen": ["x", []],
    "preflight": ["ok", 3],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG_KINDS.items() for value in values])
def test_an_entry_of_another_kind_is_refused_by_name(tmp_path, capsys, name, value):
    line = said(written(tmp_path, record(**{name: value})), capsys)
    assert "record.json" in line
    assert re.search(name.split("__")[-1].replace("test_", ""), line) or name == "energy"


@pytest.mark.parametrize("name", ["row", "method", "seed", "data", "recipe", "data__split_hash", "accuracy__best"])
def test_an_entry_that_is_missing_is_named(tmp_path, capsys, name):
    content = record()
    *parts, last = name.split("__")
    inner = content
    for part in parts:
        inner = inner[part]
    del inner[last]
    assert f"a record of a row says {last}, and this one does not" in said(written(tmp_path, content), capsys)


CONTRADICTIONS = {
    "more epochs asked": {"recipe__epochs": 100},
    "unfinished with all epochs": {"finished": False},
    "no history": {"history": []},
    "half a history": {"history": ROWS[:1]},
    "better than its history": {"accuracy__last": 99.0},
    "better best": {"accuracy__best": 99.0},
    "better mean": {"accuracy__mean_last_5": 70.0},
    "other best epoch": {"accuracy__best_epoch": 1},
    "more epochs said": {"accuracy__epochs": 300},
    "no accuracy": {"accuracy": None},
    "impossible accuracy": {"history": [*ROWS[:2], {"test_acc1": 1e308}]},
    "accuracy that is not there": {"history": [*ROWS[:2], {"epoch": 3}]},
    "accuracy that is nothing": {"history": [*ROWS[:2], {"test_acc1": None}]},
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_record_that_contradicts_itself_is_refused(tmp_path, capsys, name):
    line = said(written(tmp_path, record(**CONTRADICTIONS[name])), capsys)
    assert re.search(r"history|epochs|test_acc1", line)


def test_a_record_without_a_history_has_to_have_its_epochs():
    content = record(recipe__epochs=100)
    del content["history"]
    with pytest.raises(ValueError, match="says that it is finished, and not all of its 100 epochs were trained"):
        Record.from_json(content)


TEXTS = {
    "empty": "",
    "cut": '{"format": 2, "row": ',
    "page": "<html><script>alert(1)</script></html>",
    "number": "3",
    "text": '"record"',
    "null": "null",
    "list": "[1, 2]",
    "no format": "{}",
    "format as list": '{"format": [2]}',
    "format as text": '{"format": "2"}',
    "format of tomorrow": '{"format": 99}',
    "deep": "[" * 100_000,
    "deep and closed": '{"format": 2, "row": ' + "[" * 3000 + "]" * 3000 + "}",
    "rather deep": '{"format": 2, "row": ' + "[" * 40 + "]" * 40 + "}",
    "digits": '{"format": ' + "9" * 10_000 + "}",
    "large": '{"format": 2, "row": "' + "x" * 2**24 + '"}',
    "escape in it": '{"format": 2, "\x1b[2J": }',
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_that_is_no_record_is_one_line(tmp_path, capsys, name):
    assert "record.json" in said(written(tmp_path, TEXTS[name]), capsys)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ('{"format": 2, "row": "cut o', "is cut off: "),
        ('{"format": 2, "row": ', "is cut off: "),
        ('{"format": 2,\n', "is cut off: "),
        ("{", "is cut off: "),
        ('import torch\n\nNAME = "a', "is no JSON: "),
        ("", "is no JSON: "),
        ('{"format": 2, row: 3}', "is no JSON: "),
    ],
)
def test_a_file_that_ends_early_is_told_from_one_that_is_something_else(tmp_path, capsys, content, word):
    assert word in said(written(tmp_path, content), capsys)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b'{"format": 2, "row": "caf\xe9"}', bytes(100), "{}".encode("utf-32")]
)
def test_bytes_that_are_no_text_are_one_line(tmp_path, capsys, content):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    assert "record.json" in said(path, capsys)


HOSTILE = {
    "colours": "\x1b[31mred\x1b[0m",
    "clears the screen": "\x1b[2J\x1b[H",
    "title": "\x1b]0;title\x07",
    "one-byte escape": "\x9b31m",
    "bell and back": "good\x08\x08\x08\x08bad\x07",
    "return": "row\roverwritten",
    "lines": "a\n| `forged` | ckd | 99.99 |",
    "other lines": "a\u2028b\u0085c\x0bd\x0ce",
    "cells": "a | 99.99 | b",
    "escaped pipe": "a \\| b",
    "markup": "<img src=x onerror=alert(1)>",
    "entity": "&lt;script&gt;",
    "link": "[click](javascript:alert(1))",
    "picture": "![x](http://example.org/x.png)",
    "code": "a` **b** `c",
    "right to left": "abc\u202efed",
    "zero width": "a\u200bb\ufeffc",
    "half a character": "\ud800",
    "arabic letter mark": "abc\u061cfed",
    "tags": "a\U000e0041\U000e007fc",
    "blank letters": "a\u3164\u2800\u115f\uffa0c",
    "tab": "a\tb",
    "null": "a\x00b",
    "long": "x" * 9000,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("place", ["row", "method", "data__split", "recipe__time_steps", "teacher__source"])
def test_text_of_a_record_is_shown_and_nothing_acts_on_it(tmp_path, capsys, place, name):
    assert main([str(written(tmp_path, record(**{place: HOSTILE[name]})))]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 3
    assert err == ""
    assert out.replace("\n", "").isprintable()
    assert not set(out) & set("\u3164\u2800\u115f\uffa0"), "letters that nobody sees"
    assert "<" not in out
    assert ">" not in out
    assert "](" not in out, "no link"
    cells = [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines]
    assert len(set(cells)) == 1, "no cell was added"
    assert lines[2].count("`") == 2
    assert all(len(line) < 1500 for line in lines)


@pytest.mark.parametrize("name", HOSTILE)
def test_text_of_a_record_is_shown_in_messages_too(tmp_path, capsys, name):
    folder = tmp_path / "runs"
    folder.mkdir()
    for change in ({"smoke": True}, {"finished": False, "history": ROWS[:2], "accuracy": None}):
        said(written(folder, record(row=HOSTILE[name], **change)), capsys)
    written(folder, record(row=HOSTILE[name], data__split=HOSTILE[name]))
    other = tmp_path / "other"
    other.mkdir()
    written(other, record(row=HOSTILE[name], data__split_hash="d" * 64, seed=1))
    assert main([str(folder), str(other)]) == 1
    err = capsys.readouterr().err
    assert err[:-1].isprintable()
    assert err.count("\n") == 1


@pytest.mark.parametrize("value", [{"a": {"b": [1, "\x1b[2J"]}}, ["|"] * 50, 1e308, 10**400, None, True])
def test_settings_of_any_kind_are_shown(tmp_path, capsys, value):
    assert main([str(written(tmp_path, record(recipe__lr=value, recipe__time_steps=value)))]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 3
    assert out.replace("\n", "").isprintable()


def test_names_of_folders_are_text_too(tmp_path, capsys):
    folder = tmp_path / "a\x1b[2J\nb"
    folder.mkdir()
    assert "\\x1b" in said(written(folder, "{"), capsys)


# --- what is written -------------------------------------------------------------------------------------------------


def strict(path: Path) -> dict:
    def refuse(token):
        raise AssertionError(f"{token} is no JSON")

    return json.loads(path.read_text("utf8"), parse_constant=refuse)


def test_nan_and_infinities_are_written_as_null_and_foreign_numbers_as_numbers(tmp_path):
    content = {
        "nan": math.nan,
        "list": [math.inf, -math.inf, 0.1, np.float64("nan")],
        "numpy": [np.float64(0.1), np.float32(0.5), np.int64(3), np.bool_(True), np.arange(2), np.float16("inf")],
        "torch": [torch.tensor(2.5), torch.arange(2), torch.tensor(math.nan), torch.tensor(True)],
        "path": Path("x"),
        3: "key",
    }
    path = write_record(tmp_path / "record.json", content)
    assert strict(path) == {
        "format": FORMAT,
        "nan": None,
        "list": [None, None, 0.1, None],
        "numpy": [0.1, 0.5, 3, True, [0, 1], None],
        "torch": [2.5, [0, 1], None, True],
        "path": "x",
        "3": "key",
    }
    assert read_record(path) == strict(path)


def test_nan_that_was_written_before_is_read_as_nothing(tmp_path):
    path = written(tmp_path, '{"format": 1, "loss": NaN, "rows": [Infinity, -Infinity, 1e999, 0.5]}')
    assert read_record(path) == {"format": 1, "loss": None, "rows": [None, None, None, 0.5]}


def test_a_diverged_run_leaves_a_record_that_is_read_again(tmp_path):
    made = Record.from_json(record())
    rows = [{**row, "train_loss": math.nan} for row in ROWS]
    path = made.after(rows).write(tmp_path / "record.json")
    assert [row["train_loss"] for row in strict(path)["history"]] == [None] * 3
    assert Record.read(path).result.last == 70.5


def test_what_is_shown_is_short_and_plain():
    assert shown_text("plain words, é and 猫") == "plain words, é and 猫"
    assert shown_text("x" * 300) == "x" * 197 + "..."
    assert markdown_cell("cifar10_r20, folders[50+20]") == "cifar10_r20, folders[50+20]"
