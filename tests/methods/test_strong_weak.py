"""Strong2Weak and Weak2Strong against their formula, written out in float64 loops."""

import math

import pytest
import torch

from spikingjelly_ckd import Distiller, StrongWeakLoss


def softmax(values, temperature=1.0):
    powers = [math.exp((v - max(values)) / temperature) for v in values]
    return [p / sum(powers) for p in powers]


def confidence(step):
    return sum(max(softmax(z)) for z in step) / len(step)


def roles(steps, direction):
    """Target and learner."""
    ordered = sorted(steps.tolist(), key=confidence)
    return (ordered[-1], ordered[0]) if direction == "strong_to_weak" else (ordered[0], ordered[-1])


def reference(steps, direction, temperature, squared):
    total = 0.0
    for t, z in zip(*roles(steps, direction), strict=True):
        p, q = softmax(t, temperature), softmax(z, temperature)
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total / steps.shape[1] * (temperature**2 if squared else 1)


@pytest.fixture
def steps():
    return 2 * torch.randn(4, 5, 6, dtype=torch.float64)


@pytest.mark.parametrize("direction", ["strong_to_weak", "weak_to_strong"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("time_steps", [2, 4])
def test_is_its_formula(steps, direction, temperature, squared, time_steps):
    steps = steps[:time_steps]
    loss = StrongWeakLoss(direction, temperature, squared_temperature=squared)
    assert loss(steps).item() == pytest.approx(reference(steps, direction, temperature, squared), rel=1e-10)


@pytest.mark.parametrize("direction", ["strong_to_weak", "weak_to_strong"])
def test_gradcheck_of_both_sides(steps, direction):
    loss = StrongWeakLoss(direction, detach_target=False)
    assert torch.autograd.gradcheck(loss, (steps.requires_grad_(),))


@pytest.mark.parametrize("direction", ["strong_to_weak", "weak_to_strong"])
def test_only_the_learner_gets_a_gradient(steps, direction):
    steps = steps.requires_grad_()
    gradient = torch.autograd.grad(StrongWeakLoss(direction)(steps), steps)[0]
    target, learner = (torch.tensor(side, dtype=torch.float64) for side in roles(steps.detach(), direction))
    which = [i for i, step in enumerate(steps.detach()) if torch.equal(step, learner)]
    assert gradient.flatten(1).abs().sum(1).nonzero().flatten().tolist() == which
    # gradient of tau^2 KL to the learner alone: tau (q - p)
    expected = 2.0 * ((learner / 2).softmax(1) - (target / 2).softmax(1)) / 5
    torch.testing.assert_close(gradient[which[0]], expected)


def test_the_confidence_is_of_the_whole_batch():
    torch.manual_seed(0)
    strong, weak = 9 * torch.eye(4)[None], torch.zeros(1, 4, 4)
    weak[0, 0, 0] = 99  # one image of the weak step is surer than any of the strong one
    steps = torch.cat([weak, strong])
    value = StrongWeakLoss()(steps.requires_grad_())
    gradient = torch.autograd.grad(value, steps)[0]
    assert gradient[0].any()
    assert not gradient[1].any()


def test_equal_steps_cost_nothing(steps):
    assert StrongWeakLoss()(steps[:1].expand(3, -1, -1)).item() == 0


def test_one_time_step_is_refused(student, batch):
    with pytest.raises(ValueError, match=r"T >= 2, got \(1, .*time_steps=2"):
        StrongWeakLoss()(torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match=r"T >= 2, got \(1, .*time_steps=2"):
        Distiller(None, student, {"s2w": (StrongWeakLoss(), 1.0)}, time_steps=1)(*batch)


def test_half_precision_gives_fp32():
    assert StrongWeakLoss()(torch.randn(2, 3, 4).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "error"),
    [({"direction": "both"}, ValueError), ({"temperature": 0}, ValueError), ({"temperature": "2"}, TypeError)],
)
def test_wrong_settings(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        StrongWeakLoss(**settings)


def test_wrong_shapes():
    with pytest.raises(ValueError, match=r"\[T, N, K\]"):
        StrongWeakLoss()(torch.zeros(4, 3))
