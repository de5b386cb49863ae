"""Schedules of weights: their values at both ends and in between, what they refuse, and that they can be kept."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from conftest import tiny_student, tiny_teacher

from spikingjelly_ckd import Distiller, KDLoss
from spikingjelly_ckd.step.schedule import Ramp, decay, warm_up

STEPS = [step / 97 for step in range(98)]


@pytest.mark.parametrize("share", [20 / 240, 0.5, 1.0])
def test_a_warm_up_is_a_straight_line_and_then_one(share):
    schedule = warm_up(share)
    assert [schedule(p) for p in STEPS] == [min(p / share, 1) for p in STEPS]
    assert (schedule(0.0), schedule(share), schedule(1.0)) == (0.0, 1.0, 1.0)


def test_a_weight_decays_in_a_straight_line():
    assert [decay()(p) for p in (0.0, 0.5, 1.0)] == [1.0, 0.5, 0.0]
    assert [decay(start=0.5)(p) for p in (0.0, 0.5, 0.75, 1.0)] == [1.0, 1.0, 0.5, 0.0]
    assert [decay(last=0.25)(p) for p in (0.0, 0.5, 1.0)] == [1.0, 0.625, 0.25]


def test_a_weight_decays_along_a_cosine():
    schedule = decay(start=0.5, shape="cosine")
    assert (schedule(0.0), schedule(0.5), schedule(1.0)) == (1.0, 1.0, 0.0)
    assert [schedule(p) for p in STEPS if p > 0.5] == pytest.approx(
        [(1 + math.cos(math.pi * (2 * p - 1))) / 2 for p in STEPS if p > 0.5]
    )
    ordered = [schedule(p) for p in STEPS]
    assert ordered == sorted(ordered, reverse=True)


def test_a_ramp_is_constant_outside_of_its_part():
    ramp = Ramp(0.25, 2.0, start=0.2, end=0.4)
    assert [ramp(p) for p in (0.0, 0.2, 0.4, 1.0)] == [0.25, 0.25, 2.0, 2.0]
    assert ramp(0.3) == pytest.approx(1.125)


@pytest.mark.parametrize("schedule", [warm_up(0.1), decay(0.5, 0.3, "cosine"), Ramp(1.0, 2.0)])
def test_a_schedule_can_be_kept(schedule):
    for twin in (pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule), eval(repr(schedule), {"Ramp": Ramp})):
        assert twin == schedule
        assert [twin(p) for p in STEPS] == [schedule(p) for p in STEPS]


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: warm_up(0.0), ValueError, "share must be above 0 and at most 1, got 0.0"),
        (lambda: warm_up(1.5), ValueError, "share must be above 0 and at most 1, got 1.5"),
        (lambda: warm_up(-0.1), ValueError, "share must be at least 0"),
        (lambda: warm_up(math.nan), ValueError, "share must be at least 0 and finite"),
        (lambda: warm_up("20"), TypeError, "share must be a number, got str '20'"),
        (lambda: warm_up(True), TypeError, "share must be a number"),
        (lambda: decay(start=1.0), ValueError, "start must lie in [0, 1), got 1.0"),
        (lambda: decay(last=2.0), ValueError, "last must be at most 1, got 2.0"),
        (lambda: decay(last=-1.0), ValueError, "last must be at least 0"),
        (lambda: decay(shape="step"), ValueError, "shape must be one of ['cosine', 'linear'], got 'step'"),
        (lambda: Ramp(0.0, 1.0, start=0.5, end=0.5), ValueError, "end must lie above start=0.5"),
        (lambda: Ramp(0.0, 1.0, end=1.1), ValueError, "end must lie above start=0.0 and be at most 1, got 1.1"),
        (lambda: Ramp(-1.0, 1.0), ValueError, "first must be at least 0"),
        (lambda: Ramp(1.0, None), TypeError, "last must be a number, got NoneType"),
    ],
)
def test_what_is_no_schedule_is_refused(make, error, said):
    with pytest.raises(error) as raised:
        make()
    assert said in str(raised.value)


def step_with(factor):
    torch.manual_seed(0)
    losses = {"kd": (KDLoss(), 2.0)}
    distiller = Distiller(tiny_teacher(), tiny_student(), losses, time_steps=2, schedule={"kd": factor})
    distiller.progress(0.5)
    return distiller(torch.randn(4, 3, 8, 8), torch.arange(4))


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (math.nan, ValueError, r"schedule\['kd'\] at progress 0.5 must be at least 0 and finite, got nan"),
        (math.inf, ValueError, "got inf"),
        (-1.0, ValueError, "got -1.0"),
        (np.float32("nan"), ValueError, "got nan"),
        (None, TypeError, r"schedule\['kd'\] at progress 0.5 must be a number, got NoneType None"),
    ],
)
def test_a_factor_that_is_no_weight_is_refused(value, error, said):
    with pytest.raises(error, match=said):
        step_with(lambda progress: value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_a_weight_that_was_set_later_is_looked_at(value):
    distiller = Distiller(tiny_teacher(), tiny_student(), {"kd": (KDLoss(), 2.0)}, time_steps=2)
    distiller.weights["kd"] = value
    with pytest.raises(ValueError, match=r"weights\['kd'\] must be at least 0 and finite, got "):
        distiller(torch.randn(4, 3, 8, 8), torch.arange(4))


@pytest.mark.parametrize("value", [0.25, np.float32(0.25), torch.tensor(0.25)])
def test_a_factor_may_be_any_number(value):
    assert step_with(lambda progress: value).weights == {"task": 1.0, "kd": 0.5}
