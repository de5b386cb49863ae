"""KDSNN's feature form against its formula."""

import pytest
import torch
from conftest import tiny_student, tiny_teacher

from spikingjelly_ckd import Distiller, KDSNNLoss


def test_is_its_formula():
    loss = KDSNNLoss(3, 5).double()
    student, teacher = torch.rand(2, 4, 3, 4, 4, dtype=torch.float64), torch.randn(4, 5, 8, 8, dtype=torch.float64)
    weight, bias = loss.align.weight.tolist(), loss.align.bias.tolist()
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


def test_wrong_use():
    with pytest.raises(ValueError, match="together"):
        KDSNNLoss(3)
    with pytest.raises(RuntimeError, match="not built"):
        KDSNNLoss()(torch.zeros(1, 1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
