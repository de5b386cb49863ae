"""Every row with every method that fits it, at the smallest size, on tiny sets in the formats of the real ones.

A seeded sample runs with the slow tests, all pairs with ``-m families``.
"""

import inspect
import random
import re
import runpy

import pytest
from test_rows import EXAMPLES, NEEDS_2, ROWS, RUN

from spikingjelly_ckd import published
from spikingjelly_ckd.recipes.methods import read_method
from spikingjelly_ckd.recipes.row import run_row
from spikingjelly_ckd.step.arguments import TEACHER_NEEDS

PAIRS = [(name, method) for name in sorted(ROWS) for method in published.METHODS]
DRAW = random.Random(5)
SAMPLE = [(name, DRAW.choice(sorted(published.METHODS))) for name in DRAW.sample(sorted(ROWS), 6)]
QUICK = ("--energy-images", "0", "--no-preflight", "--logger", "none", "--smoke")


LARGER = {(name, "sdd"): "128" for name in ROWS if name.startswith(("imagenet", "cifar100_vgg"))}
LARGER[("cifar100_vgg16_t4", "catkd")] = "128"
"""Pairs whose images are larger than the row's other tests have: SDD divides the last map into 4 by 4 parts, and CAT-KD
reads the map behind VGG's last pooling, which has one position at the size of CIFAR."""


def marks(pair):
    return () if pair in SAMPLE else (pytest.mark.families,)


def recipe_of(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["RECIPE"]


@pytest.fixture(scope="module")
def grounds(tmp_path_factory):
    """Row -> its images, and its teacher once one was trained."""
    return {name: tmp_path_factory.mktemp(name) for name in ROWS}


def train(name, method, ground, out):
    write, flags, _ = ROWS[name]
    if (name, method) in LARGER:
        ground, flags = ground / "larger", (*flags, "--size", LARGER[name, method])
        ground.mkdir(exist_ok=True)
    if not (ground / "data").exists():
        write(ground / "data")
    teacher = ground / "teacher" / "teacher.safetensors"
    taught = ("--teacher", teacher) if teacher.is_file() else ()
    if taught:  # which is not trained here
        at = flags.index("--teacher-epochs")
        flags = (*flags[:at], *flags[at + 2 :])
    place = ("--data-path", ground / "data", "--output-dir", out, *taught)
    record = run_row(recipe_of(name), [str(part) for part in (*RUN, *flags, *QUICK, *place, "--method", method)])
    if (out / "teacher").exists():
        (out / "teacher").rename(ground / "teacher")
    return record


def refusal(name, method):
    """What is said where the row's student cannot serve the method; None where it can."""
    recipe, needs = recipe_of(name), published.by_name(method)().student
    if needs.time_steps > recipe.time_steps:
        return "time_steps must be at least"
    takes = inspect.signature(recipe.student).parameters
    if needs.last_activation == "relu" and "last_activation" not in takes:
        return "last_activation relu .* is a keyword that the function of the student, .*, does not take"
    return None


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method"), [pytest.param(*pair, marks=marks(pair)) for pair in PAIRS])
def test_a_row_trains_with_a_method(name, method, grounds, tmp_path, capsys):
    if name in NEEDS_2:
        pytest.importorskip("spikingjelly.activation_based.model.spikformer")
    words = refusal(name, method)
    if words is not None:
        with pytest.raises((SystemExit, ValueError)) as caught:
            train(name, method, grounds[name], tmp_path)
        assert re.search(words, f"{caught.value} {capsys.readouterr().err}")
        assert not (tmp_path / "teacher").exists()
        return
    record = train(name, method, grounds[name], tmp_path)
    losses = read_method(method).losses
    assert record["method"] == method
    assert {f"train_{loss}" for loss in losses} <= record["history"][0].keys()
    assert ("teacher" in record) == any(TEACHER_NEEDS & set(loss.needs) for loss, _ in losses.values())
    assert (tmp_path / "student.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "method", "words"),
    [
        (
            "cifar100_vgg16_t4",
            "catkd",
            "catkd needs .* and the student .*spiking_vgg16 lacks it: the student's logits are",
        ),
        (
            "imagenet_sewr18_t4",
            "sdd",
            "sdd does not fit the student .*sew_resnet18 and the teacher .*: features must be",
        ),
    ],
)
def test_what_a_row_cannot_learn_is_said_before_its_teacher_is_trained(name, method, words, tmp_path, capsys):
    write, flags, _ = ROWS[name]
    write(tmp_path / "data")
    line = (
        *RUN,
        *flags,
        *QUICK,
        "--data-path",
        tmp_path / "data",
        "--output-dir",
        tmp_path / "out",
        "--method",
        method,
    )
    with pytest.raises((SystemExit, ValueError)) as caught:
        run_row(recipe_of(name), [str(part) for part in line])
    assert re.search(words, f"{caught.value} {capsys.readouterr().err}")
    assert not (tmp_path / "out" / "teacher").exists()


def test_most_pairs_are_trained_and_every_row_and_method_is_among_them():
    trained = [pair for pair in PAIRS if refusal(*pair) is None]
    assert {name for name, _ in trained} == set(ROWS)
    assert {method for _, method in trained} == set(published.METHODS)
    assert len(trained) > 0.9 * len(PAIRS)
