"""DIST against its formula, written out in float64 loops."""

import math

import pytest
import torch

from spikingjelly_ckd import DISTLoss


def softmax(values, temperature):
    powers = [math.exp((v - max(values)) / temperature) for v in values]
    return [p / sum(powers) for p in powers]


def correlation(a, b):
    x = [v - sum(a) / len(a) for v in a]
    y = [v - sum(b) / len(b) for v in b]
    lengths = math.sqrt(sum(v * v for v in x)) * math.sqrt(sum(v * v for v in y))
    return sum(v * w for v, w in zip(x, y, strict=True)) / (lengths + 1e-8)


def reference(student, teacher, *, temperature, beta, gamma):
    s = [softmax(row, temperature) for row in student.tolist()]
    t = [softmax(row, temperature) for row in teacher.tolist()]
    inter = sum(correlation(a, b) for a, b in zip(s, t, strict=True)) / len(s)
    columns = list(zip(zip(*s, strict=True), zip(*t, strict=True), strict=True))
    intra = sum(correlation(a, b) for a, b in columns) / len(columns)
    return beta * (1 - inter) + gamma * (1 - intra)


@pytest.fixture
def pair():
    return 2 * torch.randn(6, 5, dtype=torch.float64), 2 * torch.randn(6, 5, dtype=torch.float64)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize(("beta", "gamma"), [(1.0, 1.0), (2.0, 0.0), (0.0, 0.5)])
def test_is_its_formula(pair, temperature, beta, gamma):
    expected = reference(*pair, temperature=temperature, beta=beta, gamma=gamma)
    assert DISTLoss(temperature, beta, gamma)(*pair).item() == pytest.approx(expected, rel=1e-10)


def test_the_squared_temperature_is_a_switch(pair):
    plain, squared = (DISTLoss(4.0, squared_temperature=on)(*pair) for on in (False, True))
    torch.testing.assert_close(squared, 16 * plain)
    assert DISTLoss(squared_temperature=True)(*pair) == DISTLoss()(*pair)
    text = "DISTLoss(temperature=4.0, beta=1.0, gamma=1.0, squared_temperature=True)"
    assert repr(DISTLoss(4.0, squared_temperature=True)) == text


def test_gradcheck(pair):
    assert torch.autograd.gradcheck(lambda z: DISTLoss()(z, pair[1]), (pair[0].requires_grad_(),))


def test_equal_logits_and_shifted_logits_are_at_zero(pair):
    assert DISTLoss()(pair[0], pair[0]).item() == pytest.approx(0, abs=1e-5)
    assert DISTLoss()(pair[0], pair[0] + 5).item() == pytest.approx(0, abs=1e-5)


def test_constant_logits_stay_finite():
    flat = torch.zeros(3, 4, requires_grad=True)
    value = DISTLoss()(flat, torch.randn(3, 4))
    assert value.item() == pytest.approx(2)  # no correlation at all
    assert torch.autograd.grad(value, flat)[0].isfinite().all()


def test_half_precision_gives_fp32():
    assert DISTLoss()(torch.randn(3, 4).bfloat16(), torch.randn(3, 4).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"temperature": -1}, ValueError),
        ({"beta": -1.0}, ValueError),
        ({"gamma": -1.0}, ValueError),
        ({"gamma": None}, TypeError),
        ({"squared_temperature": "yes"}, TypeError),
    ],
)
def test_wrong_settings(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        DISTLoss(**settings)


def test_wrong_shapes(pair):
    with pytest.raises(ValueError, match=r"teacher must be \[N, K\].*K is 4 here and 5 in student"):
        DISTLoss()(pair[0], pair[1][:, :4])
    with pytest.raises(ValueError, match=r"N >= 2.*got \(1, .*larger batch"):
        DISTLoss()(pair[0][:1], pair[1][:1])
    with pytest.raises(ValueError, match=r"K >= 2, got \(.*, 1\)"):
        DISTLoss()(pair[0][:, :1], pair[1][:, :1])
