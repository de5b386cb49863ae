"""Errors that carry the name of their argument."""

import pickle
import subprocess
import sys

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from spikingjelly_ckd import published
from spikingjelly_ckd.errors import checks
from spikingjelly_ckd.errors.arguments import (
    ArgumentError,
    ArgumentNotFoundError,
    ArgumentTypeError,
    ArgumentValueError,
    InvalidStepError,
)
from spikingjelly_ckd.errors.near import hint, near, nearest
from spikingjelly_ckd.functional.maps import normalize_map
from spikingjelly_ckd.networks.layer import Layer

FLAGS = {"root": "--data-path", "download": "--download", "num_classes": "--num-classes"}


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (ArgumentValueError, ValueError),
        (ArgumentTypeError, TypeError),
        (ArgumentNotFoundError, FileNotFoundError),
    ],
)
def test_an_error_is_the_builtin_one_with_its_argument_as_data(kind, builtin):
    error = kind("root", "must be a folder", remedy={"download": True})
    assert isinstance(error, builtin)
    assert isinstance(error, ArgumentError)
    assert (error.argument, error.text, error.remedy) == ("root", "must be a folder", {"download": True})
    assert str(error) == "root must be a folder; pass download=True"
    assert kind("root", "must be a folder").remedy is None


def test_an_invalid_step_says_as_data_whether_the_training_diverged():
    error = pickle.loads(pickle.dumps(InvalidStepError("the loss is not finite", diverged=True)))
    assert isinstance(error, ValueError)
    assert (str(error), error.diverged) == ("the loss is not finite", True)
    assert not InvalidStepError("images hold NaN").diverged


@pytest.mark.parametrize("kind", [ArgumentValueError, ArgumentTypeError, ArgumentNotFoundError])
def test_an_error_travels_between_processes_whole(kind):
    error = kind("root", "holds 3 of {7}", remedy={"num_classes": 4})
    error.add_note("in epoch 1")
    other = pickle.loads(pickle.dumps(error))
    assert type(other) is kind
    assert (other.argument, other.text, other.remedy) == ("root", "holds 3 of {7}", {"num_classes": 4})
    assert str(other) == str(error)
    assert other.__notes__ == ["in epoch 1"]


@pytest.mark.parametrize(
    ("argument", "text", "remedy", "plain", "flags"),
    [
        ("root", "must be a folder", None, "root must be a folder", "--data-path must be a folder"),
        ("loss", "must be a Loss", None, "loss must be a Loss", "loss must be a Loss"),
        (
            "root",
            "holds nothing; pass {remedy}, or unpack it there",
            {"download": True},
            "root holds nothing; pass download=True, or unpack it there",
            "--data-path holds nothing; pass --download, or unpack it there",
        ),
        (
            "root",
            "has 4 classes",
            {"num_classes": 4, "check": False},
            "root has 4 classes; pass num_classes=4 and check=False",
            "--data-path has 4 classes; pass --num-classes 4 and check=False",
        ),
        ("", "there is no teacher", {"teacher": "x"}, "there is no teacher; pass teacher='x'", None),
    ],
)
def test_a_command_line_shows_its_flags(argument, text, remedy, plain, flags):
    error = ArgumentValueError(argument, text, remedy=remedy)
    assert str(error) == error.render() == plain
    assert error.render(FLAGS) == (flags or plain)


class Broken(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        raise ArgumentValueError("root", "is damaged")


def test_an_error_of_a_loading_process_keeps_its_kind():
    """PyTorch has only its text there."""
    with pytest.raises(ArgumentValueError, match="root is damaged") as caught:
        list(DataLoader(Broken(), num_workers=1))
    assert caught.value.argument == ""
    assert caught.value.text.startswith("Caught ArgumentValueError in DataLoader worker process 0")


@pytest.mark.parametrize(
    ("check", "value", "kind"),
    [
        (checks.check_positive, 0, ArgumentValueError),
        (checks.check_positive, "1", ArgumentTypeError),
        (checks.check_non_negative, -1, ArgumentValueError),
        (checks.check_count, 0, ArgumentValueError),
        (checks.check_count, 1.0, ArgumentTypeError),
        (checks.check_flag, 1, ArgumentTypeError),
        (checks.check_share, 1.0, ArgumentValueError),
        (lambda name, value: checks.check_choice(name, value, ("a", "b")), "c", ArgumentValueError),
    ],
)
def test_the_shared_checks_name_their_argument(check, value, kind):
    with pytest.raises(kind, match="^weight must ") as caught:
        check("weight", value)
    assert caught.value.argument == "weight"


@pytest.mark.parametrize(
    ("name", "known", "question"),
    [
        ("SAMDLos", ["find_layer", "SAMDLoss"], "did you mean 'SAMDLoss'?"),
        ("samdloss", ["find_layer", "SAMDLoss"], "did you mean 'SAMDLoss'?"),
        ("resnet2", ["resnet20", "ResNet20"], "did you mean 'ResNet20' or 'resnet20'?"),
        ("xyz", ["KDLoss"], ""),
        ("", ["KDLoss"], ""),
        ("KDLoss", [], ""),
    ],
)
def test_the_name_that_was_meant(name, known, question):
    assert near(name, known) == question
    assert hint(name, known) == (f"; {question}" if question else "")
    assert len(nearest(name, known, most=1)) == bool(question)


@pytest.mark.parametrize(
    ("refused", "meant"),
    [
        (lambda: checks.check_choice("mode", "logit", ("logits", "probabilities")), "'logits'"),
        (lambda: published.by_name("bkdsn"), "'bkdsnn' or 'kdsnn'"),
        (lambda: published.ckd(variant="relaesed"), "'released'"),
        (lambda: normalize_map(torch.rand(2, 4, 4), "sampel"), "'sample'"),
        (lambda: Layer("0", layout="NCWH"), "'NCHW'"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_word_that_was_meant(refused, meant):
    with pytest.raises(ValueError, match=f"did you mean {meant}"):
        refused()


def test_python_itself_names_the_attribute_that_was_meant():
    """No ``__getattr__`` of a module stands in its way."""
    for line, meant in (("published.bkdsn()", "bkdsnn"), ("spikingjelly_ckd.SAMDLos", "SAMDLoss")):
        code = f"import spikingjelly_ckd; from spikingjelly_ckd import published; {line}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert f"Did you mean: '{meant}'?" in done.stderr
