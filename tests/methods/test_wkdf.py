"""WKD-F against its formula, behind its own projector."""

import math

import pytest
import torch
from conftest import tiny_student, tiny_teacher

from spikingjelly_ckd import Distiller, WKDFLoss
from spikingjelly_ckd.functional import channel_statistics_error


def statistics(positions):
    """Mean and spread of one channel, from a list."""
    mean = sum(positions) / len(positions)
    variance = sum((v - mean) ** 2 for v in positions) / (len(positions) - 1)
    return mean, math.sqrt(variance + 1e-5)


def reference(student, teacher, mean_weight):
    total = 0.0
    for ours, theirs in zip(student.flatten(2).tolist(), teacher.flatten(2).tolist(), strict=True):
        for left, right in zip(ours, theirs, strict=True):
            (mean, spread), (target, target_spread) = statistics(left), statistics(right)
            total += mean_weight * (mean - target) ** 2 + (spread - target_spread) ** 2
    return total / len(student)


@pytest.mark.parametrize("mean_weight", [4.0, 0.0, 1.0])
def test_is_its_formula(mean_weight):
    loss = WKDFLoss(mean_weight, 3, 5).double()
    student, teacher = torch.rand(2, 4, 3, 4, 4, dtype=torch.float64), torch.randn(4, 5, 2, 3, dtype=torch.float64)
    convolution, norm = loss.projector[0], loss.projector[1]
    mean = torch.einsum("oc,nchw->nohw", convolution.weight[:, :, 0, 0], student.sum(0) / 2)
    mean = mean + convolution.bias[:, None, None]
    centred = mean - mean.mean((0, 2, 3), keepdim=True)
    projected = (centred / (centred.square().mean((0, 2, 3), keepdim=True) + norm.eps).sqrt()).clamp_min(0)
    expected = reference(projected, teacher, mean_weight)
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-10)


def test_gradcheck():
    loss = WKDFLoss(student_channels=3, teacher_channels=5).double()
    student = torch.rand(2, 3, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.rand(3, 5, 4, 4, dtype=torch.float64)
    loss.eval()  # BatchNorm's statistics change from call to call
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher), (student,))


def test_a_map_of_one_position_has_no_spread():
    leaf = torch.tensor([[[[1.0]], [[2.0]]]], requires_grad=True)
    value = channel_statistics_error(leaf, torch.zeros(1, 2, 1, 1))
    assert value.item() == pytest.approx(4 * (1 + 4))
    torch.testing.assert_close(torch.autograd.grad(value, leaf)[0].flatten(), torch.tensor([8.0, 16.0]))


def test_a_constant_map_has_a_bounded_gradient():
    leaf = torch.full((1, 2, 4, 4), 1e4, requires_grad=True)
    value = channel_statistics_error(leaf, torch.rand(1, 2, 8, 8))
    assert value.isfinite()
    assert torch.autograd.grad(value, leaf)[0].isfinite().all()


def test_built_trained_and_not_exported(batch):
    distiller = Distiller(tiny_teacher(), tiny_student(), {"wkd": (WKDFLoss(), 1.0)}, time_steps=2, example=batch)
    distiller(*batch).values["wkd"].backward()
    own = dict(distiller.losses["wkd"].named_parameters())
    assert len(own) == 4
    assert all(p.grad is not None for p in own.values())
    assert not any("projector" in key for key in distiller.student.state_dict())


@pytest.mark.parametrize(
    ("settings", "error"), [({"mean_weight": -1.0}, ValueError), ({"mean_weight": None}, TypeError)]
)
def test_wrong_settings(settings, error):
    with pytest.raises(error, match="mean_weight"):
        WKDFLoss(**settings)


def test_wrong_use():
    with pytest.raises(ValueError, match=r"\[T, N, C, h, w\]"):
        WKDFLoss(4.0, 3, 3)(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match="together"):
        WKDFLoss(student_channels=3)
    with pytest.raises(RuntimeError, match="not built"):
        WKDFLoss()(torch.zeros(1, 1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="C is 4 here and 3 in student"):
        WKDFLoss(4.0, 3, 3)(torch.zeros(1, 2, 3, 4, 4), torch.zeros(2, 4, 4, 4))
