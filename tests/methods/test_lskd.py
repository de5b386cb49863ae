"""LS-KD against its formula, written out in float64 loops."""

import math

import pytest
import torch

from spikingjelly_ckd import LSKDLoss


def softmax(values):
    powers = [math.exp(v - max(values)) for v in values]
    return [p / sum(powers) for p in powers]


def standardized(values, eps):
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    return [(v - mean) / (deviation + eps) for v in values]


def reference(student, teacher, temperature, eps):
    total = 0.0
    for z, t in zip(student.tolist(), teacher.tolist(), strict=True):
        q = softmax([v / temperature for v in standardized(z, eps)])
        p = softmax([v / temperature for v in standardized(t, eps)])
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


@pytest.fixture
def pair():
    return 3 * torch.randn(6, 5, dtype=torch.float64), 2 * torch.randn(6, 5, dtype=torch.float64)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("eps", [1e-7, 0.5])
def test_is_its_formula(pair, temperature, eps):
    expected = reference(*pair, temperature, eps)
    assert LSKDLoss(temperature, eps)(*pair).item() == pytest.approx(expected, rel=1e-10)


def test_gradcheck(pair):
    assert torch.autograd.gradcheck(lambda z: LSKDLoss()(z, pair[1]), (pair[0].requires_grad_(),))


def test_scale_and_shift_of_either_side_do_not_count(pair):
    value = LSKDLoss()(*pair).item()
    assert LSKDLoss()(7 * pair[0] - 3, 0.1 * pair[1] + 2).item() == pytest.approx(value, rel=1e-5)


def test_constant_logits_stay_finite():
    flat = torch.zeros(2, 4, requires_grad=True)
    value = LSKDLoss()(flat, torch.randn(2, 4))
    assert value.isfinite()
    assert torch.autograd.grad(value, flat)[0].isfinite().all()


def test_half_precision_gives_fp32():
    assert LSKDLoss()(torch.randn(3, 4).bfloat16(), torch.randn(3, 4).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "error"),
    [({"temperature": 0}, ValueError), ({"eps": 0.0}, ValueError), ({"temperature": "2"}, TypeError)],
)
def test_wrong_settings(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        LSKDLoss(**settings)


def test_wrong_shapes(pair):
    with pytest.raises(ValueError, match=r"teacher must be \[N, K\].*K is 4 here and 5 in student"):
        LSKDLoss()(pair[0], pair[1][:, :4])
    with pytest.raises(ValueError, match="K >= 2"):
        LSKDLoss()(pair[0][:, :1], pair[1][:, :1])
