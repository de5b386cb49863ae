"""SP against its formula, by loops over pairs of images."""

import math

import pytest
import torch
from conftest import tiny_student, tiny_teacher

from spikingjelly_ckd import Distiller, SPLoss


def similarities(rows):
    """Rows of inner products, each divided by its length."""
    found = []
    for a in rows:
        products = [sum(x * y for x, y in zip(a, b, strict=True)) for b in rows]
        length = math.sqrt(sum(p * p for p in products))
        found.append([p / length for p in products])
    return found


@pytest.fixture
def layers():
    return torch.rand(2, 4, 3, 2, 2, dtype=torch.float64), torch.randn(4, 5, 4, 4, dtype=torch.float64)


def test_is_its_formula(layers):
    ours = similarities(layers[0].mean(0).flatten(1).tolist())
    theirs = similarities(layers[1].flatten(1).tolist())
    squares = [(a - b) ** 2 for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True)]
    assert SPLoss()(*layers).item() == pytest.approx(sum(squares) / 4**2, rel=1e-10)


def test_gradcheck(layers):
    student, teacher = layers
    assert torch.autograd.gradcheck(lambda x: SPLoss()(x, teacher), (student.requires_grad_(),))


def test_a_turned_and_scaled_student_has_no_error(layers):
    student = layers[0]
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    assert SPLoss()(student, 7 * torch.einsum("dc,nchw->ndhw", turn, student.mean(0))).item() < 1e-12


def test_a_silent_image_has_a_row_of_zeros_and_a_usual_gradient(layers):
    student, teacher = layers
    student[:, 0] = 0
    leaf = student.requires_grad_()
    value = SPLoss()(leaf, teacher)
    (gradient,) = torch.autograd.grad(value, leaf)
    assert value.isfinite()
    assert gradient.abs().max() < 1


@pytest.mark.parametrize("size", [1e-4, 1e4, 1e30])
def test_the_size_of_the_features_says_nothing(layers, size):
    student, teacher = (layer.float() for layer in layers)
    leaf = (size * student).requires_grad_()
    value = SPLoss()(leaf, size * teacher)
    torch.testing.assert_close(value, SPLoss()(student, teacher))
    assert torch.autograd.grad(value, leaf)[0].isfinite().all()


def test_bf16_autocast_changes_nothing(layers):
    student, teacher = (layer.float() for layer in layers)
    with torch.autocast("cpu", torch.bfloat16):
        value = SPLoss()(student, teacher)
    assert torch.equal(value, SPLoss()(student, teacher))


def test_it_compares_the_last_layers(batch):
    distiller = Distiller(tiny_teacher(), tiny_student(), {"sp": (SPLoss(), 1.0)}, time_steps=2)
    distiller(*batch).values["sp"].backward()
    assert [layer.path for side in distiller.layers["sp"] for layer in side] == ["5", "5"]
    assert distiller.student[0].weight.grad.abs().sum() > 0


def test_wrong_input():
    with pytest.raises(ValueError, match=r"\[T, N, C, h, w\]"):
        SPLoss()(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match="N is 3 here and 2 in student"):
        SPLoss()(torch.zeros(1, 2, 3, 4, 4), torch.zeros(3, 3, 4, 4))
    with pytest.raises(ValueError, match="use a larger batch"):
        SPLoss()(torch.zeros(1, 1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
