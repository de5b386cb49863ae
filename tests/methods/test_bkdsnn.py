"""BKDSNN against its formula, on the same mask."""

import pytest
import torch
from conftest import tiny_student, tiny_teacher

from spikingjelly_ckd import BKDSNNLoss, Distiller, WeightedSoftLabelLoss
from spikingjelly_ckd.recipes.models import ResNet, SpikingResNet


def reference(loss, student, teacher, kept):
    """By hand but for the two convolutions behind the mask."""
    mean = student.sum(0) / student.shape[0]
    weight, bias = loss.projector.align.weight[:, :, 0, 0], loss.projector.align.bias
    aligned = torch.zeros(*teacher.shape, dtype=torch.float64)
    for n in range(len(teacher)):
        for k in range(teacher.shape[1]):
            for c in range(mean.shape[1]):
                aligned[n, k] += weight[k, c] * mean[n, c]
            aligned[n, k] = (aligned[n, k] + bias[k]) * kept[n, k]
    first, second = loss.projector.generate[0], loss.projector.generate[2]
    guess = torch.conv2d(aligned, first.weight, first.bias, padding=1).clamp_min(0)
    guess = torch.conv2d(guess, second.weight, second.bias, padding=1)
    return guess


@pytest.mark.parametrize("pooled", [False, True])
def test_is_its_formula(frozen_noise, pooled):
    loss = BKDSNNLoss(0.4, pooled=pooled, student_channels=3, teacher_channels=5, generator=frozen_noise()).double()
    student, teacher = torch.rand(2, 4, 3, 4, 4, dtype=torch.float64), torch.randn(4, 5, 4, 4, dtype=torch.float64)
    kept = torch.rand(4, 5, generator=frozen_noise()) >= 0.4
    error = reference(loss, student, teacher, kept) - teacher
    expected = (error.mean((2, 3)) if pooled else error).square().sum() / 4
    assert loss(student, teacher).item() == pytest.approx(expected.item(), rel=1e-10)


@pytest.mark.parametrize("pooled", [False, True])
def test_gradcheck(frozen_noise, pooled):
    loss = BKDSNNLoss(0.4, pooled=pooled, student_channels=3, teacher_channels=5).double()
    student = torch.rand(2, 2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.rand(2, 5, 4, 4, dtype=torch.float64)

    def value(x):
        loss.generator = frozen_noise()
        return loss(x, teacher)

    assert torch.autograd.gradcheck(value, (student,))


def test_without_blur_nothing_is_drawn_away():
    loss = BKDSNNLoss(0.0, student_channels=3, teacher_channels=5).double()
    student, teacher = torch.rand(1, 2, 3, 4, 4, dtype=torch.float64), torch.rand(2, 5, 4, 4, dtype=torch.float64)
    error = reference(loss, student, teacher, torch.ones(2, 5, dtype=torch.bool)) - teacher
    assert loss(student, teacher).item() == pytest.approx(error.square().sum().item() / 2, rel=1e-10)


def test_built_trained_and_not_exported(batch):
    losses = {"feature": (BKDSNNLoss(), 2e-3), "logits": (WeightedSoftLabelLoss(), 1.0)}
    distiller = Distiller(tiny_teacher(), tiny_student(), losses, time_steps=2, example=batch)
    distiller(*batch).loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in distiller.losses.parameters())
    assert not any("projector" in key for key in distiller.student.state_dict())


def test_a_wider_teacher_brings_a_convolution_that_is_trained_and_not_exported(batch):
    teacher, student = (
        ResNet((8, 16, 24), (1, 1, 1), num_classes=5),
        SpikingResNet((4, 8, 16), (1, 1, 1), num_classes=5),
    )
    distiller = Distiller(teacher, student, {"loss": (BKDSNNLoss(), 1.0)}, time_steps=2, example=batch)
    distiller(*batch).values["loss"].backward()
    weight = distiller.losses["loss"].projector.align.weight
    assert weight.shape == (24, 16, 1, 1)
    assert weight.grad.abs().sum() > 0
    assert any(weight is p for p in distiller.parameters())
    assert "losses.loss.projector.align.weight" in distiller.state_dict()
    assert not any("align" in key for key in distiller.student.state_dict())


def test_explicit_channels_win():
    loss = BKDSNNLoss(student_channels=3, teacher_channels=5)
    assert not loss.needs_build
    loss.build([torch.Size([2, 1, 7, 4, 4])], [torch.Size([1, 9, 4, 4])])
    assert loss.projector.align.weight.shape == (5, 3, 1, 1)


@pytest.mark.parametrize(("channels", "error"), [(0, ValueError), ("3", TypeError), (3.5, TypeError)])
def test_wrong_channels(channels, error):
    with pytest.raises(error, match="teacher_channels"):
        BKDSNNLoss(student_channels=3, teacher_channels=channels)


def test_wrong_use():
    with pytest.raises(ValueError, match=r"\[T, N, C, h, w\]"):
        BKDSNNLoss(student_channels=3, teacher_channels=3)(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match="blur_ratio"):
        BKDSNNLoss(1.0)
    with pytest.raises(RuntimeError, match="not built"):
        BKDSNNLoss()(torch.zeros(1, 1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="pass pooled=True"):
        BKDSNNLoss(student_channels=3, teacher_channels=3)(torch.zeros(1, 1, 3, 4, 4), torch.zeros(1, 3, 8, 8))
