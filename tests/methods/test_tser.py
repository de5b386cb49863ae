"""TSER against its formula, written out in float64 loops."""

import math

import pytest
import torch

from spikingjelly_ckd import Distiller, TETLoss, TSERLoss


def softmax(values, temperature):
    powers = [math.exp((v - max(values)) / temperature) for v in values]
    return [p / sum(powers) for p in powers]


def reference(steps, teacher, *, alpha, gamma, temperature, sign):
    total = 0.0
    for step in steps.tolist():
        for z, t in zip(step, teacher.tolist(), strict=True):
            q, p = softmax(z, temperature), softmax(t, temperature)
            total += alpha * temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
            total += sign * gamma * -sum(b * math.log(b) for b in q)
    return total / (steps.shape[0] * steps.shape[1])


@pytest.fixture
def signals():
    return 3 * torch.randn(4, 5, 6, dtype=torch.float64), 2 * torch.randn(5, 6, dtype=torch.float64)


@pytest.mark.parametrize("time_steps", [1, 4])
@pytest.mark.parametrize(("entropy", "sign"), [("reward", -1), ("penalty", 1)])
@pytest.mark.parametrize(("alpha", "gamma", "temperature"), [(0.5, 0.1, 4.0), (0.0, 1.0, 1.0), (1.0, 0.0, 2.0)])
def test_is_its_formula(signals, time_steps, entropy, sign, alpha, gamma, temperature):
    steps, teacher = signals[0][:time_steps], signals[1]
    expected = reference(steps, teacher, alpha=alpha, gamma=gamma, temperature=temperature, sign=sign)
    value = TSERLoss(alpha, gamma, temperature, entropy)(steps, teacher).item()
    assert value == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("entropy", ["reward", "penalty"])
def test_gradcheck(signals, entropy):
    steps, teacher = signals
    loss = TSERLoss(gamma=0.5, entropy=entropy)
    assert torch.autograd.gradcheck(lambda z: loss(z, teacher), (steps.requires_grad_(),))


def test_the_entropy_is_rewarded():
    flat, sharp = torch.zeros(2, 1, 3), torch.tensor([9.0, 0.0, 0.0]).expand(2, 1, 3)
    reward, penalty = TSERLoss(0.0, 1.0), TSERLoss(0.0, 1.0, entropy="penalty")
    assert reward(flat, flat[0]) < reward(sharp, flat[0])
    assert penalty(flat, flat[0]) > penalty(sharp, flat[0])


def test_far_out_logits_stay_finite_in_half_precision():
    steps = torch.tensor([[[400.0, -400.0, 0.0]]]).bfloat16().requires_grad_()
    value = TSERLoss(temperature=1.0)(steps, torch.tensor([[-400.0, 400.0, 0.0]]).bfloat16())
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert torch.autograd.grad(value, steps)[0].isfinite().all()


def test_beside_the_cross_entropy_of_every_step(teacher, student, batch):
    losses = {"tser": (TSERLoss(alpha=0.3), 1.0)}
    out = Distiller(teacher, student, losses, task_loss=TETLoss(), task_weight=0.7, time_steps=3)(*batch)
    torch.testing.assert_close(out.loss, 0.7 * out.terms["task"] + out.terms["tser"])


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"alpha": -1.0}, ValueError),
        ({"gamma": -1.0}, ValueError),
        ({"temperature": 0}, ValueError),
        ({"entropy": "max"}, ValueError),
        ({"gamma": "1"}, TypeError),
    ],
)
def test_wrong_settings(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        TSERLoss(**settings)


def test_wrong_shapes(signals):
    steps, teacher = signals
    with pytest.raises(ValueError, match=r"\[T, N, K\]"):
        TSERLoss()(steps[0], teacher)
    with pytest.raises(ValueError, match=r"target must be \[N, K\] or \[T, N, K\].*N is 4 here and 5 in steps"):
        TSERLoss()(steps, teacher[:4])
