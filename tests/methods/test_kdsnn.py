"""KDSNN's feature form against its formula."""

import pytest
import torch
from conftest import tiny_student, tiny_teacher

from spikingjelly_ckd import Distiller, KDSNNLoss
from spikingjelly_ckd.recipes.models import ResNet, SpikingResNet


def test_is_its_formula():
    loss = KDSNNLoss(3, 5).double()
    student, teacher = torch.rand(2, 4, 3, 4, 4, dtype=torch.float64), torch.randn(4, 5, 8, 8, dtype=torch.float64)
    weight, bias = loss.projector.weight.tolist(), loss.projector.bias.tolist()
    total = 0.0
    for n in range(4):
        pooled = [student[:, n, c].sum().item() / (2 * 16) for c in range(3)]
        for k in range(5):
            guess = sum(w[0][0] * f for w, f in zip(weight[k], pooled, strict=True)) + bias[k]
            total += (guess - teacher[n, k].sum().item() / 64) ** 2
    assert loss(student, teacher).item() == pytest.approx(total / 4, rel=1e-10)


def test_gradcheck():
    loss = KDSNNLoss(3, 5).double()
    student = torch.rand(2, 2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.rand(2, 5, 4, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher), (student,))


def test_equal_channels_need_no_convolution(batch):
    distiller = Distiller(tiny_teacher(), tiny_student(), {"kdsnn": (KDSNNLoss(), 1.0)}, time_steps=2, example=batch)
    assert not list(distiller.losses.parameters())
    distiller(*batch).values["kdsnn"].backward()
    assert distiller.student[3].weight.grad.abs().sum() > 0


def test_a_wider_teacher_brings_a_convolution_that_is_trained_and_not_exported(batch):
    teacher, student = (
        ResNet((8, 16, 24), (1, 1, 1), num_classes=5),
        SpikingResNet((4, 8, 16), (1, 1, 1), num_classes=5),
    )
    distiller = Distiller(teacher, student, {"loss": (KDSNNLoss(), 1.0)}, time_steps=2, example=batch)
    distiller(*batch).values["loss"].backward()
    weight = distiller.losses["loss"].projector.weight
    assert weight.shape == (24, 16, 1, 1)
    assert weight.grad.abs().sum() > 0
    assert any(weight is p for p in distiller.parameters())
    assert "losses.loss.projector.weight" in distiller.state_dict()
    assert not any("projector" in key for key in distiller.student.state_dict())


def test_explicit_channels_win():
    loss = KDSNNLoss(student_channels=3, teacher_channels=5)
    assert not loss.needs_build
    loss.build([torch.Size([2, 1, 7, 4, 4])], [torch.Size([1, 9, 4, 4])])
    assert loss.projector.weight.shape == (5, 3, 1, 1)


@pytest.mark.parametrize(("channels", "error"), [(0, ValueError), ("3", TypeError), (3.5, TypeError)])
def test_wrong_channels(channels, error):
    with pytest.raises(error, match="teacher_channels"):
        KDSNNLoss(student_channels=3, teacher_channels=channels)


def test_wrong_use():
    with pytest.raises(ValueError, match=r"\[T, N, C, h, w\]"):
        KDSNNLoss(student_channels=3, teacher_channels=3)(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match="together"):
        KDSNNLoss(3)
    with pytest.raises(RuntimeError, match="not built"):
        KDSNNLoss()(torch.zeros(1, 1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
