"""e2KD against its formula, and the student's Grad-CAM behind it against classifier weights."""

import math

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

from spikingjelly_ckd import Distiller, E2KDLoss, class_activation_map, record


def test_is_its_formula():
    student, teacher = torch.rand(3, 4, 5, dtype=torch.float64), torch.rand(3, 4, 5, dtype=torch.float64)
    total = 0.0
    for s, t in zip(student.flatten(1).tolist(), teacher.flatten(1).tolist(), strict=True):
        dot = sum(a * b for a, b in zip(s, t, strict=True))
        total += 1 - dot / math.sqrt(sum(a * a for a in s) * sum(b * b for b in t))
    assert E2KDLoss()(student, teacher).item() == pytest.approx(total / 3, rel=1e-12)


def test_gradcheck():
    student = torch.rand(2, 3, 3, dtype=torch.float64, requires_grad=True)
    teacher = torch.rand(2, 3, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda m: E2KDLoss()(m, teacher), (student,))


def test_the_students_map_is_its_weight_cam_behind_a_pooled_head(batch):
    """With one linear layer, Grad-CAM summed over time is the class's weights on the time-mean, over h * w."""
    teacher, student = tiny_teacher(), tiny_student()
    distiller = Distiller(teacher, student, {"e2kd": (E2KDLoss(), 1.0)}, layers={"e2kd": ("5", "5")}, time_steps=3)
    distiller(*batch)  # the first step looks at the layers, too
    with record(student, ["5"]) as seen:
        out = distiller(*batch)
    with torch.no_grad():
        chosen = teacher(batch[0]).argmax(1)
        expected = class_activation_map(seen["5"].mean(0), student[8].weight, chosen) / 16
    torch.testing.assert_close(out.maps["student"], expected)
    out.values["e2kd"].backward()
    assert student[8].weight.grad.abs().sum() > 0  # through the map's own weights
    assert student[3].weight.grad.abs().sum() > 0


def test_a_neuron_behind_the_layer_is_differentiated_twice(batch):
    """The gradient of the loss is what finite steps of the classifier's weight give, through a surrogate."""
    body = tiny_student(norm=False)
    student = nn.Sequential(*body[:8], layer.Linear(8, 8), neuron.LIFNode(), layer.Linear(8, 5))
    functional.set_step_mode(student, "m")
    nn.init.uniform_(student[8].bias, 0.5, 1.5)
    distiller = Distiller(
        tiny_teacher(), student, {"e2kd": (E2KDLoss(), 1.0)}, layers={"e2kd": ("5", "5")}, time_steps=2, task_weight=0
    ).double()
    images, labels = batch[0].double(), batch[1]
    distiller(images, labels).loss.backward()  # in train mode: 0.0.0.0.14 has no surrogate in eval
    weight = student[10].weight
    index = tuple((weight.grad.abs() == weight.grad.abs().max()).nonzero()[0].tolist())
    values = []
    for change in (1e-5, -2e-5):
        with torch.no_grad():
            weight[index] += change
            values.append(distiller(images, labels).terms["e2kd"].item())
    assert weight.grad[index].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_off(batch, mode):
    distiller = Distiller(tiny_teacher(), tiny_student(), {"e2kd": (E2KDLoss(), 1.0)}, time_steps=2)
    expected = distiller(*batch).terms["e2kd"]
    with mode():
        out = distiller(*batch)
    assert not out.loss.requires_grad
    assert not out.logits.requires_grad
    torch.testing.assert_close(out.terms["e2kd"], expected)


def test_constant_teacher_maps_are_left_out():
    student, teacher = torch.rand(2, 3, 3), torch.rand(2, 3, 3)
    teacher[0] = 0
    term = E2KDLoss().compute(student, teacher)
    assert term.skipped == 1
    assert term.value == pytest.approx(E2KDLoss()(student[1:], teacher[1:]).item() / 2)


def test_a_map_of_zeros_counts_one_and_has_no_gradient():
    """Nor has a map whose evidence is negative everywhere, which is such a map behind Grad-CAM's ReLU."""
    teacher = torch.rand(1, 3, 3)
    for evidence in (torch.zeros(1, 3, 3), -torch.rand(1, 3, 3)):
        student = evidence.requires_grad_()
        value = E2KDLoss()(student.relu() if evidence.any() else student, teacher)
        assert value == 1
        value.backward()
        assert not student.grad.any()


def test_the_weaker_the_map_the_harder_it_is_pulled():
    student, teacher = torch.rand(1, 3, 3, dtype=torch.float64), torch.rand(1, 3, 3, dtype=torch.float64)
    pulls = []
    for scale in (1.0, 0.01):
        scaled = (scale * student).requires_grad_()
        E2KDLoss()(scaled, teacher).backward()
        pulls.append(scaled.grad)
    torch.testing.assert_close(pulls[1], 100 * pulls[0])


def test_the_maps_come_closer_when_the_classifier_alone_is_trained(batch):
    """No spike moves; a sum of spikes (SAMD) could not change."""
    student = tiny_student()
    distiller = Distiller(tiny_teacher(), student, {"e2kd": (E2KDLoss(), 1.0)}, time_steps=2, task_weight=0.0)
    optimizer = torch.optim.Adam(student[8].parameters(), 0.05)
    spikes, values = [], []
    for _ in range(60):
        with record(student, ["5"]) as seen:
            out = distiller(*batch)
        spikes.append(seen.calls("5")[-1].detach())
        values.append(out.terms["e2kd"].item())
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
    assert torch.equal(spikes[0], spikes[-1])
    assert values[-1] < 0.97 * values[0]


def test_wrong_settings():
    with pytest.raises(ValueError, match="target_class"):
        E2KDLoss("best")
