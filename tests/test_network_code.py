"""A network is known again by what its function builds and by the code behind it."""

import importlib
import subprocess
import sys

import pytest
from conftest import tiny_student
from torch import nn

from spikingjelly_ckd.recipes.models import spiking_resnet8
from spikingjelly_ckd.recipes.network_code import code_of

pytestmark = pytest.mark.tools

MINE = """
import functools

import torch
from torch import nn
from spikingjelly.activation_based import layer, neuron


class Mine(nn.Module):
    # says nothing
    def __init__(self, tau=2.0):
        super().__init__()
        self.fc = nn.Linear(4, 2)
        self.lif = neuron.LIFNode(tau=tau, step_mode="m")

    def forward(self, x):
        return self.lif(self.fc(x)) if x.shape[-1] in {4, 5} else x


def build(num_classes=2):
    import mine_of_blocks

    return scaled(Mine(), mine_of_blocks.factor())


@functools.lru_cache
def scaled(network, factor):
    with torch.no_grad():
        network.fc.weight.mul_(factor)
    return network


def other():
    return 1
"""
BLOCKS = """
import operator


def factor():
    return size(operator.mul(2, 3))


def size(value):
    return abs(value) + 1


def unused():
    return 1
"""


@pytest.fixture
def code(tmp_path, monkeypatch):
    """Function that gives the setting of ``mine_of_code:build``, with a text of the user's files replaced."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def of(before="", after=""):
        assert before in MINE + BLOCKS
        for name, text in {"mine_of_code": MINE, "mine_of_blocks": BLOCKS}.items():
            (tmp_path / f"{name}.py").write_text(text.replace(before, after) if before else text)
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        build = importlib.import_module("mine_of_code").build
        return code_of(build(), build, "student")

    yield of
    for name in ("mine_of_code", "mine_of_blocks"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# says nothing", "# says something\n    # else"),
        ("def other():\n    return 1", "def other():\n    return 2"),
        ("def unused():\n    return 1", "def unused():\n    return 2"),
    ],
)
def test_what_makes_no_other_network_changes_nothing(code, before, after):
    assert code(before, after) == code()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("nn.Linear(4, 2)", "nn.Linear(4, 3)"),
        ("tau=2.0", "tau=3.0"),
        ("self.lif(self.fc(x)) if", "self.fc(self.lif(x)) if"),
        ("self.lif(self.fc(x)) if", "2 * self.lif(self.fc(x)) if"),
        ("{4, 5}", "{4, 6}"),
        ("scaled(Mine()", "scaled(Mine().requires_grad_(False)"),
        ("weight.mul_(factor)", "weight.add_(factor)"),
        ("mul(2, 3)", "mul(2, 4)"),
        ("abs(value) + 1", "abs(value) + 2"),
        ("LIFNode(", "IFNode() if tau == 3.0 else neuron.LIFNode("),
    ],
)
def test_what_makes_another_network_shows(code, before, after):
    assert code(before, after) != code()


def test_it_is_the_same_in_every_process(code, tmp_path):
    (setting,) = code().values()
    line = "import mine_of_code as m; from spikingjelly_ckd.recipes.network_code import code_of; "
    line += "print(*code_of(m.build(), m.build, 'student').values())"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-B", "-c", line],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join([str(tmp_path), *filter(None, sys.path)])},
        )
        assert done.stdout.split()[-1] == setting


def test_networks_of_packages_are_told_by_what_was_built():
    one, same, other = (code_of(spiking_resnet8(n), spiking_resnet8, "student") for n in (10, 10, 5))
    assert one == same != other
    assert one.keys() == other.keys() != code_of(spiking_resnet8(10), spiking_resnet8, "teacher").keys()
    (name,) = one
    assert name.startswith("what the student's function builds (Python 3.")
    assert code_of(tiny_student(), tiny_student, "student") == code_of(tiny_student(), tiny_student, "student")
    assert code_of(nn.Identity(), nn.Identity, "student")
