"""RKD against its formula, by loops over pairs and triplets."""

import math

import pytest
import torch
from conftest import tiny_student, tiny_teacher

from spikingjelly_ckd import Distiller, RKDLoss


def huber(value):
    return value**2 / 2 if abs(value) < 1 else abs(value) - 0.5


def apart(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def distances(points):
    every = [[apart(a, b) for b in points] for a in points]
    positive = [d for row in every for d in row if d > 0]
    mean = sum(positive) / len(positive)
    return [d / mean for row in every for d in row]


def cosines(points):
    found = []
    for corner in points:
        ways = []
        for point in points:
            length = apart(point, corner)
            ways.append([(x - y) / length if length else 0.0 for x, y in zip(point, corner, strict=True)])
        found += [sum(x * y for x, y in zip(a, b, strict=True)) for a in ways for b in ways]
    return found


def reference(student, teacher, measure):
    pairs = list(zip(measure(student.tolist()), measure(teacher.tolist()), strict=True))
    return sum(huber(a - b) for a, b in pairs) / len(pairs)


@pytest.fixture
def layers():
    return torch.rand(2, 4, 3, 2, 2, dtype=torch.float64), torch.randn(4, 5, 4, 4, dtype=torch.float64)


@pytest.mark.parametrize("weights", [(25.0, 50.0), (1.0, 0.0), (0.0, 1.0)])
def test_is_its_formula(layers, weights):
    pooled = layers[0].mean((0, 3, 4)), layers[1].mean((2, 3))
    parts = [reference(*pooled, measure) for measure in (distances, cosines)]
    expected = sum(weight * part for weight, part in zip(weights, parts, strict=True))
    assert RKDLoss(*weights)(*layers).item() == pytest.approx(expected, rel=1e-10)


def test_gradcheck(layers):
    student, teacher = layers
    assert torch.autograd.gradcheck(lambda x: RKDLoss()(x, teacher), (student.requires_grad_(),))


def test_a_turned_moved_and_scaled_student_has_no_error(layers):
    student = layers[0]
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    teacher = 7 * torch.einsum("dc,nchw->ndhw", turn, student.mean(0)) + 2
    assert RKDLoss()(student, teacher).item() == pytest.approx(0, abs=1e-12)


def test_two_images_that_are_alike_have_no_distance_and_no_direction(layers):
    student, teacher = layers
    student[:, 1] = student[:, 0]
    leaf = student.requires_grad_()
    value = RKDLoss()(leaf, teacher)
    (gradient,) = torch.autograd.grad(value, leaf)
    assert value.isfinite()
    assert gradient.isfinite().all()
    assert gradient.abs().max() < 100


@pytest.mark.parametrize("size", [1e-4, 1e4, 1e30])
def test_the_size_of_the_features_says_nothing(layers, size):
    student, teacher = (layer.float() for layer in layers)
    expected = RKDLoss()(student, teacher)
    leaf = (size * student).requires_grad_()
    value = RKDLoss()(leaf, size * teacher)
    torch.testing.assert_close(value, expected)
    assert torch.autograd.grad(value, leaf)[0].isfinite().all()


def test_it_compares_the_last_layers(batch):
    distiller = Distiller(tiny_teacher(), tiny_student(), {"rkd": (RKDLoss(), 1.0)}, time_steps=2)
    distiller(*batch).values["rkd"].backward()
    assert [layer.path for side in distiller.layers["rkd"] for layer in side] == ["5", "5"]
    assert distiller.student[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("settings", "error"),
    [({"distance_weight": -1}, ValueError), ({"angle_weight": -1}, ValueError), ({"angle_weight": None}, TypeError)],
)
def test_wrong_settings(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        RKDLoss(**settings)


def test_wrong_input():
    with pytest.raises(ValueError, match=r"\[T, N, C, h, w\]"):
        RKDLoss()(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match="N is 3 here and 2 in student"):
        RKDLoss()(torch.zeros(1, 2, 3, 4, 4), torch.zeros(3, 3, 4, 4))
    with pytest.raises(ValueError, match="use a larger batch"):
        RKDLoss()(torch.zeros(1, 1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
