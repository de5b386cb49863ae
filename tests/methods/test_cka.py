"""Linear CKA against its definition by channels instead of images, and as a loss over time."""

import pytest
import torch
from conftest import tiny_student, tiny_teacher

from spikingjelly_ckd import CKALoss, Distiller
from spikingjelly_ckd.functional import linear_cka


def alignment(student, teacher):
    """``|X'Y|^2 / (|X'X| |Y'Y|)`` of centred columns, in loops over the columns."""
    columns = [[[v - sum(c) / len(c) for v in c] for c in zip(*rows, strict=True)] for rows in (student, teacher)]

    def squares(left, right):
        return sum(sum(a * b for a, b in zip(x, y, strict=True)) ** 2 for x in left for y in right)

    (ours, theirs) = columns
    return squares(ours, theirs) / (squares(ours, ours) * squares(theirs, theirs)) ** 0.5


@pytest.fixture
def layers():
    return torch.rand(2, 5, 3, 2, 2, dtype=torch.float64), torch.randn(5, 2, 4, 4, dtype=torch.float64)


def test_is_its_formula(layers):
    student, teacher = layers
    every = [alignment(step.flatten(1).tolist(), teacher.flatten(1).tolist()) for step in student]
    assert CKALoss()(student, teacher).item() == pytest.approx(1 - sum(every) / 2, rel=1e-10)


def test_gradcheck(layers):
    student, teacher = layers
    assert torch.autograd.gradcheck(lambda x: CKALoss()(x, teacher), (student.requires_grad_(),))


def test_turning_moving_and_scaling_change_nothing(layers):
    student = layers[0][0]
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    other = 7 * torch.einsum("dc,nchw->ndhw", turn, student) + 100
    assert linear_cka(student, other).item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("fill", [0.0, 0.1, 3.7, 1e4])
@pytest.mark.parametrize("images", [2, 7, 64])
def test_a_step_that_is_alike_for_every_image_counts_one_and_has_no_gradient(layers, fill, images):
    teacher = torch.randn(images, 2, 4, 4)
    student = torch.rand(2, images, 3, 2, 2)
    student[1] = fill
    leaf = student.requires_grad_()
    value = CKALoss()(leaf, teacher)
    assert value.item() == pytest.approx(0.5 + 0.5 * (1 - linear_cka(student[0], teacher).item()), rel=1e-5)
    (gradient,) = torch.autograd.grad(value, leaf)
    assert gradient[0].any()
    assert not gradient[1].any()


@pytest.mark.parametrize("size", [1e-4, 1e4, 1e30])
def test_the_size_of_the_features_says_nothing(layers, size):
    student, teacher = (layer.float() for layer in layers)
    leaf = (size * student).requires_grad_()
    value = CKALoss()(leaf, size * teacher)
    torch.testing.assert_close(value, CKALoss()(student, teacher))
    assert torch.autograd.grad(value, leaf)[0].isfinite().all()


def test_it_compares_the_last_layers(batch):
    distiller = Distiller(tiny_teacher(), tiny_student(), {"cka": (CKALoss(), 1.0)}, time_steps=2)
    distiller(*batch).values["cka"].backward()
    assert [layer.path for side in distiller.layers["cka"] for layer in side] == ["5", "5"]
    assert distiller.student[0].weight.grad.abs().sum() > 0


def test_wrong_input():
    with pytest.raises(ValueError, match=r"\[T, N, C, h, w\]"):
        CKALoss()(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match="N is 3 here and 2 in student"):
        CKALoss()(torch.zeros(1, 2, 3, 4, 4), torch.zeros(3, 3, 4, 4))
    with pytest.raises(ValueError, match="use a larger batch"):
        CKALoss()(torch.zeros(1, 1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
