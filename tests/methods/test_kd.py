"""KD against its formula."""

import pytest
import torch

from spikingjelly_ckd import KDLoss


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_is_its_formula(temperature):
    student, teacher = torch.randn(2, 6, 5, dtype=torch.float64)
    total = 0.0
    for s, t in zip(student / temperature, teacher / temperature, strict=True):
        p, q = t.exp() / t.exp().sum(), s.exp() / s.exp().sum()
        total += sum(a * (a / b).log() for a, b in zip(p, q, strict=True))
    assert KDLoss(temperature)(student, teacher).item() == pytest.approx(temperature**2 * total.item() / 6, rel=1e-12)


def test_gradcheck():
    student = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: KDLoss()(z, teacher), (student,))


@pytest.mark.parametrize(("temperature", "error"), [(0, ValueError), (-1, ValueError), ("4", TypeError)])
def test_wrong_temperature(temperature, error):
    with pytest.raises(error, match="temperature"):
        KDLoss(temperature)
