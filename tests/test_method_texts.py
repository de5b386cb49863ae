"""A method as a text: of the catalogue, with arguments, or of the user's own."""

import sys
from functools import partial

import pytest

from spikingjelly_ckd import KDLoss, published
from spikingjelly_ckd.errors.arguments import ArgumentError
from spikingjelly_ckd.recipes.method_parts import describe, needs_teacher
from spikingjelly_ckd.recipes.methods import folder_name, read_method
from spikingjelly_ckd.step.method import Method

pytestmark = pytest.mark.tools

MINE = """
from torch import nn

from spikingjelly_ckd import published

def build(weight=1.0, text="", several=()):
    method = published.kd(weight)
    print(repr(text), several)
    return method

def wrong():
    return nn.Identity()

def broken():
    raise ValueError("my own fault")
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "methods_of_mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "methods_of_mine", raising=False)


@pytest.mark.parametrize("name", published.METHODS)
def test_every_method_of_the_catalogue_is_read_by_its_name(name):
    read, made = read_method(name), published.METHODS[name]()
    assert {key: (repr(loss), weight) for key, (loss, weight) in read.losses.items()} == {
        key: (repr(loss), weight) for key, (loss, weight) in made.losses.items()
    }
    assert (read.task_weight, read.schedule, read.student, read.source) == (
        made.task_weight,
        made.schedule,
        made.student,
        made.source,
    )
    assert folder_name(name) == name


def test_arguments():
    method = read_method("kd:weight=0.5, task_weight=0.25,temperature=1.0")
    assert (method.losses["kd"][1], method.task_weight, method.losses["kd"][0].temperature) == (0.5, 0.25, 1.0)
    assert [read_method(f"nld:weight={word}").losses["nld"][1] for word in ("auto", "hold")] == ["auto", "hold"]
    assert read_method("tks:static=True").schedule == {}
    assert read_method("ckd:variant=released,samd={'temperature': 4.0}")


def test_functions_of_ones_own(mine, capsys):
    assert read_method("methods_of_mine:build").losses["kd"][1] == 1.0
    assert read_method("methods_of_mine:build:weight=2,text=a:b,several=[1,2]").losses["kd"][1] == 2
    assert capsys.readouterr().out.splitlines()[-1] == "'a:b' [1, 2]"
    (loss, weight), *more = read_method("spikingjelly_ckd:KDLoss:temperature=3.0").losses.values()
    assert (type(loss), loss.temperature, weight, more) == (KDLoss, 3.0, 1.0, [])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bkdsn", "did you mean 'bkdsnn'"),
        ("bkdsn:weight=1", "did you mean 'bkdsnn'"),
        ("", "no method is called ''"),
        ("kd:0.5", "must be kd:key=value,key=value, got 'kd:0.5'"),
        ("kd:weight=1,weight=2", "weight is there twice"),
        ("kd:heat=2", "'kd:heat=2': kd takes weight, task_weight, temperature, and not heat"),
        ("ckd:heat=2", "and not heat"),
        ("kd:temperature=-1", "temperature must be"),
        ("absent_module:build", "there is no module 'absent_module'"),
        ("methods_of_mine:absent", "methods_of_mine has no function 'absent'"),
        ("methods_of_mine:wrong", "must return a spikingjelly_ckd.published.Method or one DistillationLoss, got Id"),
        ("methods_of_mine:broken", "my own fault"),
    ],
)
def test_what_cannot_be_read_is_one_error_with_its_argument(mine, text, words):
    with pytest.raises(ArgumentError) as caught:
        read_method(text)
    assert caught.value.argument == "method"
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_which_methods_need_a_teacher():
    without = {name for name in published.METHODS if not needs_teacher(read_method(name))}
    assert without == {"branch", "plain", "strong_weak", "tet", "tks", "tpd", "tssd"}


def test_folder_names_are_safe_and_short():
    for text in (
        "kd:weight=0.5,temperature=1.0",
        "a.b:c",
        "../../x:y",
        "kd:" + ",".join(f"k{i}={i}" for i in range(99)),
    ):
        name = folder_name(text)
        assert not set(name) & set('/\\:*?"<>| \0'), name
        assert not name.startswith(".")
        assert len(name) < 100
    assert folder_name("x" * 200) != folder_name("x" * 201)


def test_two_methods_never_share_a_folder():
    texts = ("mine:\u65b9\u6cd5\u4e00", "mine:\u65b9\u6cd5\u4e8c", "mine:", "\u6211:\u65b9")
    texts += ("kd@init=a/b", "kd@init=a-b")
    texts += ("kd@init=a b", "kd@init=a,b", "at:layers=[1,2]", "at:layers=(1,2)", "at:x=-1", "at:x=[1]", "at:x='1'")
    assert len({folder_name(text) for text in texts}) == len(texts)
    for usual, name in (
        ("plain x3", "plain-x3"),
        ("plain, ReLU read-out@lr=0.03 (tuned)", "plain-ReLU-read-out-lr=0.03-tuned"),
        ("kd:weight=0.5@init=teacher,lr=1e-05", "kd-weight=0.5-init=teacher-lr=1e-05"),
    ):
        assert folder_name(usual) == name


def own_task(logits, labels):
    return logits.sum()


def test_a_method_is_described_by_the_same_words_in_every_process():
    for task in (own_task, partial(own_task), lambda logits, labels: logits.sum()):
        words = describe(Method({}, task_loss=task))["task"]
        assert "0x" not in words
        assert "own_task" in words or "lambda" in words
        assert "cross-entropy" not in words
