"""The report of runs: what it says, what it never says, and what hostile records cannot do to it."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from report_cases import ASKED, HOSTILE, SCRIPT, arm, comparison, hostile_folder, row, written
from torch.utils.tensorboard import SummaryWriter

from spikingjelly_ckd.recipes.report import page as page_module
from spikingjelly_ckd.recipes.report import page_gaps, page_tables, page_text
from spikingjelly_ckd.recipes.report.found import Study, find_studies
from spikingjelly_ckd.recipes.report.page import main, render_page

pytestmark = pytest.mark.tools

TAGS = re.findall(
    r"\w+",
    "html head meta title link style body main header nav ol ul li article section p h1 h2 h3 h4 a br dl div dt dd wbr "
    "table thead tbody tr th td button figure figcaption picture source img details summary span b pre code footer "
    "script",
)
ATTRIBUTES = re.findall(
    r"\S+",
    "lang charset http-equiv content name rel href id class tabindex role aria-label scope type data-value data-head "
    "src srcset media alt colspan hidden open",
)
VOID = ("meta", "link", "br", "img", "source", "wbr")


class Page(HTMLParser):
    """A page as a browser takes it apart; anything that the template does not write is an error."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.inside: list[str] = []
        self.scripts: list[str] = []
        self.sources: list[str] = []
        self.narrow: list[str] = []
        self.words: list[str] = []
        self.within_word = False
        self.feed(text)
        self.close()
        assert self.inside == []

    def handle_starttag(self, tag, attributes):
        assert tag in TAGS
        for name, value in attributes:
            assert name in ATTRIBUTES, (tag, name)
            if name == "href":
                assert value == "data:," or re.fullmatch(r"#study-\d+", value)
            if name in ("src", "srcset"):
                assert value.startswith(("data:image/svg+xml;base64,", "data:image/png;base64,"))
                (self.sources if name == "src" else self.narrow).append(value)
        self.within_word = tag == "wbr"
        if tag not in VOID:
            self.inside.append(tag)

    def handle_endtag(self, tag):
        assert self.inside.pop() == tag

    def handle_data(self, data):
        if self.inside[-1:] == ["script"]:
            self.scripts.append(data)
        elif self.inside[-1:] != ["style"]:
            self.words.append(data)
            if self.within_word:
                self.words[-2:] = ["".join(self.words[-2:])]
        self.within_word = False

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page_of(*paths) -> Page:
    return Page(render_page(*find_studies(paths)))


# --- an honest comparison --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return comparison(tmp_path_factory.mktemp("runs"))


def test_the_headline_names_network_and_data(runs):
    study, *_ = find_studies([runs])[0]
    assert page_text.title(study) == "Which of 2 methods helps nets:spiking_resnet8 on digits?"
    ours = {"student": "spikingjelly_ckd.recipes.models:spiking_resnet8"}
    study = replace(study, runs=[replace(run, asked=run.asked | ours, data={"name": "folder"}) for run in study.runs])
    assert page_text.title(study) == "Which of 2 methods helps spiking_resnet8 on a folder of images?"


def test_the_page_of_a_comparison_says_everything(runs):
    page = page_of(runs)
    assert (
        "Which of 2 methods helps nets:spiking_resnet8 on digits? Better than plain training: kd +8.30 (" in page.text
    )
    assert "student nets:spiking_resnet8" in page.text
    assert "teacher.safetensors, 91.50 % on the validation part" in page.text
    assert "python -m spikingjelly_ckd compare --data digits --methods kd --seeds 0 1 2" in page.text
    assert "test minus plain (95 %) told apart firing rate, %" in page.text
    assert "torch 2.11.0" in page.text
    for head in ("What was asked", "Results", "Energy", "What was not run", "To repeat it", "Environment"):
        assert head in page.text
    assert len(page.sources) == 3  # forest, curves, energy
    for source in page.sources:
        ElementTree.fromstring(base64.b64decode(source.partition(",")[2]))


def test_nobody_wins_whose_interval_holds_zero(tmp_path):
    page = page_of(comparison(tmp_path, {"kd": 0.2, "ckd": -0.1}))
    assert "No method is told apart as better than plain training on 3 paired seeds." in page.text
    assert "Better than" not in page.text


def test_the_answer_about_many_arms_is_whole(tmp_path):
    many = [f"kd:weight={number}.0,task_weight=1.0,temperature=2.0" for number in range(14)]
    for name in ("plain", *many):
        for seed in range(3):
            arm(name, seed, (60.0 if name == "plain" else 70.0) + 0.1 * seed * len(name) % 7).write(
                tmp_path / f"{name}_{seed}.json"
            )
    page = page_of(tmp_path)
    assert all(
        re.search(rf"Better than plain training: .*{re.escape(name)} \+.* What was asked", page.text) for name in many
    )


def test_a_smoke_run_has_no_winner():
    runs = [arm(name, seed, value, asked={"smoke": True}) for seed in (0, 1, 2) for name, value in SMOKE]
    said = page_text.sentence(Study.of_comparison(Path("x"), runs))
    assert said.startswith("This was a smoke run")


SMOKE = (("plain", 50.0), ("kd", 90.0))


def test_the_table_sorts_by_numbers_and_keeps_what_is_missing(runs):
    study = find_studies([runs])[0][0]
    table = page_tables.results(study)
    column = table.heads.index("test minus plain (95 %)")
    assert [line[0] for line in table.lines] == ["kd", "ckd", "plain"]
    assert [values[column] for values in table.values] == [8.3, pytest.approx(0.4), None]
    assert table.values[0][table.heads.index("told apart")] is None


def test_the_table_has_the_firing_rate_in_percent(tmp_path):
    for name, rate in (("plain", 0.05), ("kd", 0.1234), ("ckd", None)):
        arm(name, 0, 60.0, firing_rate=rate).write(tmp_path / f"records/{name}.json")
    study = find_studies([tmp_path])[0][0]
    table = page_tables.results(study)
    column = table.heads.index("firing rate, %")
    found = {line[0]: (line[column], values[column]) for line, values in zip(table.lines, table.values, strict=True)}
    assert found == {"kd": ("12.3", 12.3), "plain": ("5.0", 5.0), "ckd": ("not measured", None)}
    assert page_tables.energies(study).lines[0][:4] == ["plain", "0.004", "1.00", "5.0"]


def test_what_was_not_run_is_said(tmp_path):
    comparison(tmp_path)
    (tmp_path / "records/0_seed2.json").unlink()
    arm("ckd", 1, None).write(tmp_path / "records/1_seed1.json")
    found = {"arms": {"enof": "it needs a ReLU", "mgd": None, "plain": None}, "seconds": 1.0, "trained": 2}
    written(tmp_path / "rehearsal.json", found)
    (tmp_path / "checkpoints/seed7").mkdir(parents=True)
    (tmp_path / "checkpoints/seed7/latest.ckpt").touch()
    study = replace(find_studies([tmp_path])[0][0], notes=["seed 9 did not fit into the budget"])
    said = page_gaps.not_run(study)
    assert said[0] == "seed 9 did not fit into the budget"
    assert "enof does not fit: it needs a ReLU" in said
    assert "mgd: no record" in said
    assert "plain: no record" not in said
    assert "kd: no record of seed 2" in said
    assert "ckd, seed 1: epoch 2: NaN" in said
    assert any(text.startswith("seed7 has a checkpoint and no record") for text in said)


def test_one_seed_and_no_control_are_said():
    said = page_gaps.not_run(Study.of_comparison(Path("x"), [arm("kd", 0, 60.0, energy_mj=None)]))
    assert "A second seed: one seed gives no interval." in said
    assert any(text.startswith("Plain training") for text in said)
    assert "Energy of kd: not measured." in said


def test_runs_of_other_settings_are_other_studies(tmp_path):
    comparison(tmp_path)
    arm("kd", 0, 99.0, asked={"epochs": 50}).write(tmp_path / "records/longer.json")
    studies, left_out = find_studies([tmp_path])
    assert sorted(len(study.runs) for study in studies) == [1, 9]
    assert left_out == {}
    assert Page(render_page(studies)).text.startswith("2 studies Report of spikingjelly-ckd 2 studies")


def test_runs_of_a_version_that_knew_fewer_settings_are_of_the_same_study(tmp_path):
    comparison(tmp_path)
    arm("nld", 0, 70.0, asked=ASKED | {"early_stop": 0, "accelerate": False}).write(tmp_path / "records/later.json")
    studies, left_out = find_studies([tmp_path])
    assert ([len(study.runs) for study in studies], left_out) == ([10], {})
    written(tmp_path / "rows/a/record.json", row())
    written(tmp_path / "rows/b/record.json", row(method="plain", recipe__early_stop=0))
    written(tmp_path / "rows/c/record.json", row(seed=1, recipe__early_stop=0))
    written(tmp_path / "rows/d/record.json", row(seed=2, recipe__early_stop=5))
    studies, left_out = find_studies([tmp_path / "rows"])
    assert (sorted(len(study.runs) for study in studies), left_out) == ([1, 3], {})


# --- rows and benchmarks ---------------------------------------------------------------------------------------------


def rows(folder: Path) -> Path:
    for seed in (0, 1, 2):
        history = [{"test_acc1": 50.0}, {"test_acc1": 60.0 + seed}]
        accuracy = {
            "last": 60.0 + seed,
            "mean_last_5": 55 + seed / 2,
            "best": 60.0 + seed,
            "best_epoch": 2,
            "epochs": 2,
        }
        written(folder / f"ckd{seed}/record.json", row(seed=seed))
        plain = row(seed=seed, method="plain", history=history, accuracy=accuracy, preflight=None, teacher=None)
        written(folder / f"plain{seed}/record.json", plain)
    return folder


def test_rows_are_compared_with_plain_runs_of_their_settings(tmp_path):
    page = page_of(rows(tmp_path))
    assert "cifar10_r20 on cifar10, T=4" in page.text
    assert "Better than plain training: ckd +9.00" in page.text
    assert "ckd: 2 checks, 1 to look at" in page.text
    assert f"python -m spikingjelly_ckd rerun {tmp_path}/ckd0/record.json" in page.text
    assert "cifar10_r20.py --seed 0" in page.text
    assert "the teacher 0.2" in page.text
    assert "the paper's number 94.00 %" in page.text
    assert len(page.sources) == 4  # forest, curves, energy, rates


def test_runs_with_and_without_a_validation_part_are_other_studies(tmp_path):
    held_out = row(seed=1, data__val_images=5, test={"last": 50.0, "best": 51.0})
    held_out["history"] = [{"val_acc1": one["test_acc1"]} for one in held_out["history"]]
    written(tmp_path / "a/record.json", row())
    contradicting = {**row(seed=2, data__val_images=5)}
    written(tmp_path / "c/record.json", contradicting)
    held_out["accuracy"] = {**held_out["accuracy"], "part": "val"}
    written(tmp_path / "b/record.json", held_out)
    studies, left_out = find_studies([tmp_path])
    assert sorted(study.part for study in studies) == ["test", "val"]
    assert [Path(path).parent.name for path in left_out] == ["c"]
    assert render_page(studies, left_out)


def test_settings_that_differ_name_the_arms(tmp_path):
    written(tmp_path / "a/record.json", row())
    written(tmp_path / "b/record.json", row(recipe__beta=10.0))
    study = find_studies([tmp_path])[0][0]
    assert {run.arm for run in study.runs} == {"ckd (beta=1.0)", "ckd (beta=10.0)"}


def test_other_data_and_other_steps_are_other_studies(tmp_path):
    written(tmp_path / "a/record.json", row())
    written(tmp_path / "b/record.json", row(data__split_hash="b" * 64))
    written(tmp_path / "c/record.json", row(recipe__time_steps=1))
    assert len(find_studies([tmp_path])[0]) == 3


def test_a_run_that_stopped_is_in_no_mean(tmp_path):
    rows(tmp_path)
    stopped = row(
        seed=3, finished=False, history=[{"test_acc1": 99.0}], recipe__epochs=2,
        accuracy={"last": 99.0, "mean_last_5": 99.0, "best": 99.0, "best_epoch": 1, "epochs": 1},
    )  # fmt: skip
    written(tmp_path / "late/record.json", stopped)
    study = find_studies([tmp_path])[0][0]
    assert "ckd, seed 3: stopped after 1 of 2 epochs" in page_gaps.not_run(study)
    assert page_text.sentence(study).startswith("Better than plain training: ckd +9.00")


def test_the_same_run_counts_once(tmp_path):
    written(tmp_path / "a/record.json", row())
    written(tmp_path / "b/record.json", row())
    studies, left_out = find_studies([tmp_path, tmp_path / "a"])
    assert [len(study.runs) for study in studies] == [1]
    assert list(left_out) == [str(tmp_path / "b/record.json")]


def test_one_run_promises_nothing(tmp_path):
    path = written(tmp_path / "record.json", row())
    said = page_text.sentence(find_studies([path])[0][0])
    assert said.startswith("ckd reached 70.00 % on the test part, one run. Nothing was trained beside it")


def test_a_teacher_is_shown_where_nothing_else_is(tmp_path):
    teacher = written(tmp_path / "teacher/record.json", row(method="teacher", teacher=None))
    assert page_text.sentence(find_studies([tmp_path])[0][0]).startswith("The teacher reached 70.00 %")
    written(tmp_path / "record.json", row())
    assert [study.runs[0].arm for study in find_studies([tmp_path])[0]] == ["ckd"]
    assert len(find_studies([tmp_path, teacher])[0]) == 2


def test_records_of_the_benchmarks_are_read():
    folder = Path(__file__).parents[1] / "benchmarks/results/methods_cifar10"
    studies, left_out = find_studies([folder])
    assert left_out == {}
    assert [study.kind for study in studies] == ["benchmark"]
    page = Page(render_page(studies))
    assert "methods_cifar10: 8 methods on " in page.text
    assert len(page.sources) == 2


def test_maps_of_tensorboard_and_pictures_of_the_folder_are_shown(tmp_path):
    written(tmp_path / "record.json", row())
    board = SummaryWriter(str(tmp_path / "tensorboard"))
    for epoch in (1, 2):
        board.add_image("maps", torch.full((3, 4, 4), 100 * epoch, dtype=torch.uint8), epoch)
    board.close()
    (tmp_path / "maps.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (tmp_path / "large.svg").write_text("x" * (2**21 + 1))
    page = page_of(tmp_path)
    assert "Where teacher and student look, after epoch 2." in page.text
    assert sum(source.startswith("data:image/png") for source in page.sources) == 1
    assert "maps.svg" in page.text
    assert "large.svg" not in page.text


def test_event_files_that_are_none_cost_no_page(tmp_path):
    written(tmp_path / "record.json", row())
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard/events.out.tfevents.1").write_bytes(bytes(range(256)) * 9)
    assert "Maps" not in page_of(tmp_path).text


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_writes_one_file_and_says_the_answer(tmp_path, capsys, monkeypatch):
    folder = comparison(tmp_path / "run")
    assert main([str(folder)]) == 0
    said = capsys.readouterr()
    assert "Better than plain training: kd" in said.out + said.err
    first = (folder / "report.html").read_bytes()
    assert main([str(folder)]) == 0
    assert (folder / "report.html").read_bytes() == first
    monkeypatch.chdir(tmp_path)
    assert main([str(folder), str(folder), "--output", "a/b.html"]) == 0
    assert Path("a/b.html").read_bytes() == first


@pytest.mark.parametrize("path", ["nowhere", "empty", "broken.json"])
def test_what_is_no_run_is_said_in_a_line(tmp_path, capsys, path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.json").write_text('{"format": 2, "row": ')
    assert main([str(tmp_path / path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("report: ")
    assert said.count("\n") == 1


# --- hostile records -------------------------------------------------------------------------------------------------


def without_figures(studies, left_out) -> Page:
    """Figures take their time, and names that break them are tested beside them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_module, "figures_of_study", lambda study: [])
        return Page(render_page(studies, left_out))


def test_hostile_records_are_text(tmp_path):
    page = without_figures(*find_studies([hostile_folder(tmp_path)]))
    assert len(page.scripts) == 1
    assert SCRIPT in page.text  # as words
    assert "{{ 7 * 7 }}" in page.text
    assert "49" not in re.findall(r"\b49\b", page.text.replace(str(tmp_path), ""))  # where it may be by chance
    assert not re.search("[\u202a-\u202e\u0000\u001b]", page.text)
    assert {len(found) for found in re.findall("x{700,}", page.text)} == {9000}  # a command, which is shown as a whole
    assert "broken/record.json : it is cut off" in page.text


@given(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=300)), st.floats(0, 100), st.floats(0))
@settings(max_examples=15, deadline=None)
def test_no_text_of_a_record_leaves_its_place(text, accuracy, energy):
    asked = {"student": text, "epochs": text, text: text}
    taught = {"source": text, "accuracy": text, "part": text}
    runs = [
        arm(name, 0, accuracy, asked=asked, data={"name": text, "split": text}, teacher=taught, energy_mj=energy,
            environment={text: {text: text}}, command=text, history=[], control=text)
        for name in (text, "plain")
    ]  # fmt: skip
    study = Study.of_comparison(Path("run"), runs, notes=[text])
    assert len(without_figures([study], {text: text}).scripts) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from(HOSTILE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(HOSTILE), inner, max_size=3),
    max_leaves=6,
)
FREE = ("environment", "preflight", "energy__student__rates", "energy__teacher", "recipe__lr", "recipe__student")


@given(st.sampled_from(FREE), JSON)
@settings(max_examples=25, deadline=None)
def test_parts_of_a_record_that_have_no_schema_may_be_anything(tmp_path_factory, name, value):
    folder = tmp_path_factory.mktemp("free")
    (folder / "record.json").write_text(json.dumps(row(**{name: value})), "utf8")
    written(folder / "sound/record.json", row(seed=1))
    studies, left_out = find_studies([folder])
    assert len(without_figures(studies, left_out).scripts) == 1


@pytest.mark.parametrize(("methods", "opened"), [(3, 1), (5, 0)])
def test_what_a_preflight_warns_of_is_open_where_few_were_taken(methods, opened, tmp_path):
    warned, calm = row()["preflight"], {"ok": True, "checks": row()["preflight"]["checks"][:1]}
    for number in range(methods):
        content = row(method=f"kd{number}", preflight=warned if number == 0 else calm)
        written(tmp_path / f"{number}/record.json", content)
    page = render_page(*find_studies([tmp_path]))
    assert page.count("<details open>\n<summary>kd0") == opened
    assert page.count("<details open>\n<summary>kd") == opened
