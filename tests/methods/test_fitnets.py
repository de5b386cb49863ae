"""FitNets against its formula, and its regressor."""

import pytest
import torch
from conftest import tiny_student, tiny_teacher

from spikingjelly_ckd import Distiller, FitNetsLoss
from spikingjelly_ckd.methods.projectors import regressor


def test_is_its_formula():
    loss = FitNetsLoss((4, 6, 6), (5, 3, 3)).double()
    student, teacher = torch.rand(3, 2, 4, 6, 6, dtype=torch.float64), torch.randn(2, 5, 3, 3, dtype=torch.float64)
    convolution, norm = loss.projector[0], loss.projector[1]
    mean = torch.nn.functional.pad(student.sum(0) / 3, [1, 1, 1, 1])
    out = torch.zeros(2, 5, 3, 3, dtype=torch.float64)
    for y in range(3):
        for x in range(3):
            window = mean[:, :, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
            out[:, :, y, x] = (window[:, None] * convolution.weight).sum((2, 3, 4)) + convolution.bias
    shifted = out - out.mean((0, 2, 3), keepdim=True)
    out = (shifted / (shifted.square().mean((0, 2, 3), keepdim=True) + norm.eps).sqrt()).clamp_min(0)
    expected = (out - teacher).square().sum().item() / teacher.numel()
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-10)


def test_gradcheck():
    loss = FitNetsLoss((3, 4, 4), (2, 4, 4)).double().eval()
    student = torch.rand(2, 2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.rand(2, 2, 4, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher), (student,))


@pytest.mark.parametrize("target", [(5, 8, 8), (5, 4, 4), (5, 16, 16), (5, 7, 6), (5, 1, 1)])
def test_the_regressor_leads_to_the_teachers_shape(target):
    assert tuple(regressor((3, 8, 8), target)(torch.zeros(2, 3, 8, 8)).shape) == (2, *target)


def test_no_regressor_leads_to_a_larger_map_of_another_size():
    with pytest.raises(ValueError, match="no convolution leads from 4x4 positions to 7x7"):
        regressor((3, 4, 4), (3, 7, 7))


def test_built_from_the_middle_stage_trained_and_not_exported(batch):
    distiller = Distiller(tiny_teacher(), tiny_student(), {"hint": (FitNetsLoss(), 100.0)}, time_steps=2, example=batch)
    (student_layer,), (teacher_layer,) = distiller.layers["hint"]
    assert (student_layer.path, teacher_layer.path) == ("2", "2")  # of two stages the first
    distiller(*batch).values["hint"].backward()
    assert distiller.losses["hint"].projector[0].weight.grad.abs().sum() > 0
    assert any("projector" in key for key in distiller.state_dict())
    assert not any("projector" in key for key in distiller.student.state_dict())


def test_wrong_use():
    with pytest.raises(ValueError, match="together"):
        FitNetsLoss((3, 4, 4))
    for shape, error in (((3, 4), ValueError), (3, TypeError), ((3, 4, 4.5), TypeError), ((0, 4, 4), ValueError)):
        with pytest.raises(error, match="teacher_shape"):
            FitNetsLoss((3, 4, 4), shape)
    with pytest.raises(ValueError, match=r"\[T, N, C, h, w\]"):
        FitNetsLoss((3, 4, 4), (3, 4, 4))(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    with pytest.raises(RuntimeError, match="not built"):
        FitNetsLoss()(torch.zeros(1, 1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"teacher must be \[N, C, h, w\].*h is 2 here and 4 in regressed"):
        FitNetsLoss((3, 4, 4), (3, 4, 4))(torch.zeros(1, 2, 3, 4, 4), torch.zeros(2, 3, 2, 2))
    with pytest.raises(ValueError, match="create parameters"):
        Distiller(tiny_teacher(), tiny_student(), {"hint": (FitNetsLoss(), 1.0)}, time_steps=2)
