"""EnOF against its formula, and that its gradient goes through the frozen classifier."""

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from torch import nn

from spikingjelly_ckd import Distiller, EnOFLoss, record


def reference(features, weight, bias, teacher, temperature):
    """By loops: time and positions averaged, the teacher's classifier, the divergence."""
    steps, images, channels, height, width = features.shape
    total = 0.0
    for n in range(images):
        pooled = [features[:, n, c].sum().item() / (steps * height * width) for c in range(channels)]
        logits = torch.tensor([sum(w * f for w, f in zip(row, pooled, strict=True)) for row in weight.tolist()])
        logits = (logits.double() + bias) / temperature
        p = (teacher[n] / temperature).softmax(0)
        total += (p * (p.log() - logits.log_softmax(0))).sum().item()
    return temperature**2 * total / images


def test_is_its_formula_on_real_networks(batch):
    teacher, student = tiny_teacher().double(), tiny_student().double()
    images, labels = batch[0].double(), batch[1]
    distiller = Distiller(teacher, student, {"enof": (EnOFLoss(3.0), 1.0)}, layers={"enof": ("5", "5")}, time_steps=2)
    distiller(images, labels)  # the first step looks at the layers, too
    with record(student, ["5"]) as seen:
        out = distiller(images, labels)
    head = teacher[8]
    with torch.no_grad():
        expected = reference(seen["5"].detach(), head.weight, head.bias, teacher(images), 3.0)
    assert out.terms["enof"].item() == pytest.approx(expected, rel=1e-6)
    out.values["enof"].backward()
    assert student[8].weight.grad is None  # the student's own classifier has no part in it
    assert student[3].weight.grad.abs().sum() > 0
    assert head.weight.grad is None


def test_gradcheck():
    student = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: EnOFLoss()(z, teacher), (student,))


def test_unlike_channels_are_refused(batch):
    net = tiny_teacher()
    wide = nn.Sequential(
        *net[:3], nn.Conv2d(6, 9, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(9, 5)
    )
    distiller = Distiller(wide, tiny_student(), {"enof": (EnOFLoss(), 1.0)}, time_steps=2)
    with pytest.raises(ValueError, match="C is 9 here and 8 in student.*the teacher's classifier"):
        distiller(*batch)


def test_a_layer_that_the_classifier_does_not_read_is_refused(batch):
    teacher = tiny_teacher()
    two = nn.Sequential(*teacher[:8], nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 5))
    nn.init.normal_(two[8].weight)
    distiller = Distiller(two, tiny_student(), {"enof": (EnOFLoss(), 1.0)}, time_steps=2)
    with pytest.raises(ValueError, match="the teacher's logits are not its last linear layer applied to the mean"):
        distiller(*batch)


def test_a_teacher_without_a_linear_head_is_refused(batch):
    teacher = nn.Sequential(*tiny_teacher()[:6], nn.Conv2d(8, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    distiller = Distiller(teacher, tiny_student(), {"enof": (EnOFLoss(), 1.0)}, time_steps=2)
    with pytest.raises(ValueError, match="has no nn.Linear with 5 outputs"):
        distiller(*batch)


@pytest.mark.parametrize(("temperature", "error"), [(0, ValueError), ("2", TypeError)])
def test_wrong_temperature(temperature, error):
    with pytest.raises(error, match="temperature"):
        EnOFLoss(temperature)
