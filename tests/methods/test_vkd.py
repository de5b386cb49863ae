"""VkD against its formula, and that its projection stays orthogonal."""

import math

import pytest
import torch
from conftest import tiny_student, tiny_teacher

from spikingjelly_ckd import Distiller, VkDLoss
from spikingjelly_ckd.methods.projectors import OrthogonalProjection


def reference(matrix, student, teacher):
    total, count = 0.0, 0
    for ours, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
        mean = sum(theirs) / len(theirs)
        spread = math.sqrt(sum((v - mean) ** 2 for v in theirs) / len(theirs) + 1e-5)
        for row, value in zip(matrix.tolist(), theirs, strict=True):
            error = sum(w * v for w, v in zip(row, ours, strict=True)) - (value - mean) / spread
            total, count = total + (error**2 / 2 if abs(error) < 1 else abs(error) - 0.5), count + 1
    return total / count


@pytest.mark.parametrize("channels", [(3, 5), (5, 3), (4, 4)])
def test_is_its_formula(channels):
    student = torch.rand(2, 4, channels[0], 4, 4, dtype=torch.float64)
    teacher = 3 * torch.randn(4, channels[1], 2, 2, dtype=torch.float64) + 1
    loss = VkDLoss(*channels).double()
    expected = reference(loss.projector.matrix(), student.mean((0, 3, 4)), teacher.mean((2, 3)))
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-10)


def test_gradcheck():
    loss = VkDLoss(3, 5).double()
    teacher = torch.rand(2, 5, 4, 4, dtype=torch.float64)

    def value(x, weight):
        return torch.func.functional_call(loss, {"projector.weight": weight}, (x, teacher))

    weight = loss.projector.weight.detach().clone().requires_grad_()
    student = torch.rand(2, 2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(value, (student, weight))


@pytest.mark.parametrize(("student", "teacher"), [(3, 5), (5, 3), (4, 4), (1, 6)])
def test_the_projection_is_orthogonal_and_stays_so(student, teacher):
    projection = OrthogonalProjection(student, teacher).double()
    optimizer = torch.optim.SGD(projection.parameters(), 0.1)
    first = projection.matrix().detach()
    for _ in range(5):
        optimizer.zero_grad()
        projection(torch.randn(8, student, dtype=torch.float64)).pow(3).sum().backward()
        optimizer.step()
        matrix = projection.matrix()
        product = matrix.T @ matrix if teacher >= student else matrix @ matrix.T
        torch.testing.assert_close(product, torch.eye(min(student, teacher)), atol=1e-12, rtol=0, check_dtype=False)
    assert not torch.allclose(projection.matrix(), first)


def test_the_projection_is_worked_out_in_fp32_under_autocast():
    projection, features = OrthogonalProjection(3, 5), torch.randn(2, 3)
    with torch.autocast("cpu", torch.bfloat16):
        found = projection(features)
    assert torch.equal(found, projection(features))


def test_a_wider_student_is_built_trained_and_not_exported(batch):
    distiller = Distiller(tiny_teacher(), tiny_student(), {"vkd": (VkDLoss(), 1.0)}, time_steps=2, example=batch)
    distiller(*batch).values["vkd"].backward()
    weight = distiller.losses["vkd"].projector.weight
    assert weight.shape == (8, 8)
    assert weight.grad.abs().sum() > 0
    assert not any("projector" in key for key in distiller.student.state_dict())


@pytest.mark.parametrize(("channels", "error"), [(0, ValueError), ("3", TypeError)])
def test_wrong_channels(channels, error):
    with pytest.raises(error, match="teacher_channels"):
        VkDLoss(3, channels)


def test_wrong_use():
    with pytest.raises(ValueError, match=r"\[T, N, C, h, w\]"):
        VkDLoss(3, 3)(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match="together"):
        VkDLoss(3)
    with pytest.raises(RuntimeError, match="not built"):
        VkDLoss()(torch.zeros(1, 1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"teacher must be \[N, C\].*C is 4 here and 3 in student"):
        VkDLoss(3, 3)(torch.zeros(1, 2, 3, 4, 4), torch.zeros(2, 4, 4, 4))
