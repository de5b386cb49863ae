"""Preflight's look at the gradient shares after some steps of a copy."""

import copy
import json

import pytest
import torch
from conftest import tiny_student, tiny_teacher

from spikingjelly_ckd import CKDDistiller, preflight
from spikingjelly_ckd.step.auto_weight import AUTO_BATCHES, AUTO_SHARE, gradient_norm

LR = 0.05


def batches(count=3):
    random = torch.Generator().manual_seed(1)
    return [(torch.randn(16, 3, 8, 8, generator=random), torch.arange(16) % 5) for _ in range(count)]


def make(**options):
    torch.manual_seed(0)
    return CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2, **options)


def of(found, name):
    return next(c for c in found.checks if c.name == "gradient share" and c.message.split(name)[1:])


def test_the_shares_are_those_of_a_copy_that_was_trained_by_hand():
    distiller = make(gamma=0.0, beta=2.0)
    by_hand = copy.deepcopy(distiller)
    optimizer = torch.optim.SGD(by_hand.parameters(), LR, momentum=0.9)
    taken = batches()
    for index in range(5):
        optimizer.zero_grad()
        by_hand(*taken[index % 3]).loss.backward()
        optimizer.step()
    step = by_hand.observe(*taken[0])
    norms = [gradient_norm(step.terms[name].value, step.points("samd")) for name in ("samd", "task")]
    plain = of(preflight(distiller, taken), "samd")
    check = of(preflight(distiller, taken, steps=5, lr=LR), "samd")
    after = check.data.pop("after")
    assert check.data == plain.data
    assert (after["steps"], after["stopped"], after["weight"]) == (5, "", 2.0)
    assert after["share"] == pytest.approx(2.0 * float(norms[0] / norms[1]), rel=1e-5)
    assert after["share"] != pytest.approx(check.data["share"], rel=0.01)
    assert check.message.endswith(f"; at the start, {plain.data['share']:.2g}")
    assert f"after 5 steps, samd: {after['share']:.2g} of the task's gradient" in check.message


@pytest.mark.parametrize("beta", [1.0, "auto", "hold"])
def test_the_original_is_untouched_to_the_bit(beta):
    distiller = make(beta=beta, generator=torch.Generator().manual_seed(3), example=batches()[0])
    distiller.student[0].weight.grad = torch.ones_like(distiller.student[0].weight)
    distiller.student.eval()
    before = copy.deepcopy((distiller.state_dict(), distiller.teacher.state_dict()))
    noise, modes = torch.get_rng_state(), [module.training for module in distiller.modules()]
    preflight(distiller, batches(), steps=4)
    for old, network in zip(before, (distiller, distiller.teacher), strict=True):
        now = network.state_dict()
        assert now.keys() == old.keys()
        assert all(torch.equal(now[key], old[key]) for key in now)
    assert torch.equal(noise, torch.get_rng_state())
    assert modes == [module.training for module in distiller.modules()]
    assert torch.equal(distiller.student[0].weight.grad, torch.ones_like(distiller.student[0].weight))
    assert all(parameter.grad is None for name, parameter in distiller.student.named_parameters() if name != "0.weight")


def test_the_verdict_is_on_the_later_share():
    start = of(preflight(make(gamma=0.0), batches(1)), "samd").data
    weight = 0.6 * start["task_gradient"] / start["term_gradient"]
    at_once, later = (of(preflight(make(gamma=0.0, beta=weight), batches(1), steps=n), "samd") for n in (0, 40))
    assert (at_once.status, at_once.data["share"]) == ("warn", pytest.approx(0.6, rel=0.01))
    assert later.status == "ok"
    assert later.data["after"]["share"] < 0.4
    assert later.data["share"] == at_once.data["share"]
    assert "dominate" not in later.message


@pytest.mark.parametrize("word", ["auto", "hold"])
def test_measured_weights_are_measured_on_the_copy(word):
    distiller = make(gamma=0.0, beta=word)
    found = of(preflight(distiller, batches(), steps=AUTO_BATCHES + 2), "samd")
    assert (found.status, found.data["weight"], found.data["after"]["weight"]) == ("info", word, word)
    assert f"'{word}' will set a weight of about" in found.message
    assert found.data["after"]["measured"] > 0
    assert found.data["after"]["share"] == pytest.approx(AUTO_SHARE, rel=0.6)
    assert not distiller.auto["samd"].weight


def test_a_copy_that_diverges_is_said():
    found = preflight(make(), batches(), steps=20, lr=1e30)
    check = of(found, "samd")
    assert check.status == "warn"
    assert check.data["after"]["steps"] < 20
    assert f"for {check.data['after']['steps']} steps and no further: {check.data['after']['stopped']}" in check.message
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_student_that_is_frozen_as_a_whole():
    distiller = make()
    distiller.student.requires_grad_(False)
    report = preflight(distiller, batches(), steps=2)
    assert "no parameter of the student or the losses requires gradients" in of(report, "samd").message
    assert report["student trains"].status == "fail"
    assert "student.requires_grad_(True)" in report["student trains"].message


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [("steps", -1, ValueError), ("steps", 2.5, TypeError), ("lr", 0.0, ValueError), ("lr", "much", TypeError)],
)
def test_wrong_arguments(argument, value, error):
    with pytest.raises(error, match=argument):
        preflight(make(), batches(), **{argument: value})
