"""One run of the teacher for several distillers gives each the step that it takes alone."""

import copy

import pytest
import torch
from conftest import tiny_student, tiny_teacher

from spikingjelly_ckd import Distiller, published
from spikingjelly_ckd.step.shared_teacher import SharedTeacher

METHODS = {
    "plain": published.plain(),
    "ckd": published.ckd(),
    "ckd of the label": published.ckd("released", samd={"target_class": "label"}),
    "kd": published.kd(),
    "at": published.at(),
    "catkd": published.catkd(),
    "e2kd": published.e2kd(),
    "enof": published.enof(),
    "bkdsnn": published.bkdsnn(),
}


@pytest.fixture
def arms(batch):
    teacher = tiny_teacher().eval()
    torch.manual_seed(0)
    student = tiny_student()
    return teacher, {
        name: Distiller.from_method(method, teacher, copy.deepcopy(student), time_steps=2, example=batch)
        for name, method in METHODS.items()
    }


def step(distiller, batch, *seen):
    torch.manual_seed(1)  # of the noise
    distiller.zero_grad()
    out = distiller(*batch, *seen)
    out.loss.backward()
    return out, [parameter.grad for parameter in distiller.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("name", METHODS)
def test_every_arm_takes_the_step_that_it_takes_alone(arms, batch, name):
    teacher, distillers = arms
    shared = SharedTeacher({name: distiller.observers for name, distiller in distillers.items()})
    seen = shared.observe(teacher, distillers[name].observers.read(*batch, 2, None, None))
    alone, gradients = step(copy.deepcopy(distillers[name]), batch)
    beside, others = step(distillers[name], batch, seen[name])
    assert torch.equal(alone.loss, beside.loss)
    assert alone.terms.keys() == beside.terms.keys()
    assert len(gradients) == len(others) > 0
    assert all(torch.equal(one, other) for one, other in zip(gradients, others, strict=True))


def test_the_teacher_runs_once_for_all(arms, batch):
    teacher, distillers = arms
    calls = []
    teacher.register_forward_hook(lambda *_: calls.append(1))
    shared = SharedTeacher({name: distiller.observers for name, distiller in distillers.items()})
    seen = shared.observe(teacher, distillers["kd"].observers.read(*batch, 2, None, None))
    for name, distiller in distillers.items():
        distiller(*batch, seen[name])
    assert len(calls) == 1


def test_layers_have_to_be_chosen_before():
    distiller = Distiller.from_method(published.samd(), tiny_teacher(), tiny_student(), time_steps=2)
    with pytest.raises(RuntimeError, match="layers are chosen at the first step"):
        SharedTeacher({"samd": distiller.observers})
