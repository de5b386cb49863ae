"""Attention Transfer against its formula, and which layers it compares."""

import pytest
import torch
from conftest import tiny_student, tiny_teacher

from spikingjelly_ckd import ATLoss, Distiller


def attention(layer, power):
    """``[h * w]`` of one image ``[C, h, w]``, by loops."""
    channels, height, width = layer.shape
    values = [
        sum(abs(layer[c, y, x].item()) ** power for c in range(channels)) / channels
        for y in range(height)
        for x in range(width)
    ]
    norm = sum(v * v for v in values) ** 0.5
    return [v / norm for v in values]


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_is_its_formula(power):
    student = [torch.rand(3, 2, 4, 4, 4, dtype=torch.float64), torch.rand(3, 2, 5, 2, 2, dtype=torch.float64)]
    teacher = [torch.randn(2, 6, 4, 4, dtype=torch.float64), torch.randn(2, 7, 4, 4, dtype=torch.float64)]
    pooled = torch.stack([teacher[1][..., y : y + 2, x : x + 2].mean((2, 3)) for y in (0, 2) for x in (0, 2)], 2)
    total = 0.0
    for s, t in ((student[0].mean(0), teacher[0]), (student[1].mean(0), pooled.view(2, 7, 2, 2))):
        squares = [
            (a - b) ** 2 for n in range(2) for a, b in zip(attention(s[n], power), attention(t[n], power), strict=True)
        ]
        total += sum(squares) / len(squares)
    assert ATLoss(power)(student, teacher).item() == pytest.approx(total, rel=1e-10)


def test_gradcheck():
    student = torch.rand(2, 2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    teacher = [torch.rand(2, 5, 2, 2, dtype=torch.float64)]
    assert torch.autograd.gradcheck(lambda x: ATLoss()([x], teacher), (student,))


def test_a_silent_position_has_no_gradient_at_power_two():
    spikes = torch.zeros(1, 1, 1, 1, 3, dtype=torch.float64)
    spikes[..., :2] = 1
    ATLoss()([spikes.requires_grad_()], [torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 1, 3)]).backward()
    assert spikes.grad[..., :2].abs().min() > 0
    assert spikes.grad[..., 2] == 0


def test_compares_every_size_of_map(batch):
    distiller = Distiller(tiny_teacher(), tiny_student(), {"at": (ATLoss(), 1000.0)}, time_steps=2)
    distiller(*batch).values["at"].backward()
    student_layers, teacher_layers = distiller.layers["at"]
    assert [layer.path for layer in student_layers] == ["2", "5"]
    assert [layer.path for layer in teacher_layers] == ["2", "5"]
    assert distiller.student[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_a_silent_student_has_a_finite_gradient(power):
    spikes = torch.zeros(2, 1, 3, 4, 4, requires_grad=True)
    loss = ATLoss(power)([spikes], [torch.rand(1, 3, 4, 4)])
    loss.backward()
    assert loss.isfinite()
    assert spikes.grad.isfinite().all()


def test_wrong_input():
    with pytest.raises(ValueError, match="as many layers"):
        ATLoss()([torch.zeros(1, 1, 1, 2, 2)], [])
    with pytest.raises(ValueError, match=r"teacher must be \[N, C', h', w'\].*N is 3 here and 2 in student"):
        ATLoss()([torch.zeros(1, 2, 1, 2, 2)], [torch.zeros(3, 1, 2, 2)])
    with pytest.raises(ValueError, match=r"\[T, N, C, h, w\]"):
        ATLoss()([torch.zeros(2, 1, 2, 2)], [torch.zeros(2, 1, 2, 2)])


@pytest.mark.parametrize(("power", "error"), [(0, ValueError), (0.5, ValueError), ("2", TypeError)])
def test_wrong_power(power, error):
    with pytest.raises(error, match="power"):
        ATLoss(power)
