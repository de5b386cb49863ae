"""Prefix distillation against its formula, written out in float64 loops."""

import math

import pytest
import torch

from spikingjelly_ckd import Distiller, PrefixKDLoss, published
from spikingjelly_ckd.functional import prefix_means


def softmax(values, temperature):
    powers = [math.exp((v - max(values)) / temperature) for v in values]
    return [p / sum(powers) for p in powers]


def kl(target, learner, temperature):
    p, q = softmax(target, temperature), softmax(learner, temperature)
    return temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def after(image, count):
    return [sum(z[k] for z in image[:count]) / count for k in range(len(image[0]))]


def reference(steps, pairs, temperature):
    images = steps.transpose(0, 1).tolist()
    values = [kl(after(image, long), after(image, short), temperature) for image in images for short, long in pairs]
    return sum(values) / len(values)


@pytest.fixture
def steps():
    return 2 * torch.randn(4, 5, 6, dtype=torch.float64)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize(
    ("settings", "pairs"),
    [
        ({}, [(1, 4), (2, 4), (3, 4)]),
        ({"prefix": 1}, [(1, 4)]),
        ({"prefix": 3}, [(3, 4)]),
        ({"target": "next"}, [(1, 2), (2, 3), (3, 4)]),
    ],
)
def test_is_its_formula(steps, settings, pairs, temperature, detach):
    loss = PrefixKDLoss(**settings, temperature=temperature, detach_target=detach)
    assert loss(steps).item() == pytest.approx(reference(steps, pairs, temperature), rel=1e-10)


@pytest.mark.parametrize("settings", [{}, {"prefix": 2}, {"target": "next"}])
def test_gradcheck_flows_through_an_attached_target(steps, settings):
    loss = PrefixKDLoss(**settings, detach_target=False)
    assert torch.autograd.gradcheck(loss, (steps.requires_grad_(),))


def test_a_detached_target_is_a_constant(steps):
    steps = steps.requires_grad_()
    gradient = torch.autograd.grad(PrefixKDLoss(prefix=2)(steps), steps)[0]
    assert not gradient[2:].any()  # the later steps are in the target alone
    target, learner = steps.detach().mean(0), steps.detach()[:2].mean(0)
    expected = 2.0 * ((learner / 2).softmax(1) - (target / 2).softmax(1)) / 5 / 2  # each step is half of the learner
    torch.testing.assert_close(gradient[:2], expected.expand(2, -1, -1))


def test_the_gradient_of_tpd_is_that_of_a_cross_entropy(steps):
    steps = steps.requires_grad_()
    means = prefix_means(steps)
    target = (means[1:].detach() / 2).softmax(2)
    entropy = -4 * (target * (means[:-1] / 2).log_softmax(2)).sum(2).mean()
    torch.testing.assert_close(
        torch.autograd.grad(PrefixKDLoss("next")(steps), steps)[0], torch.autograd.grad(entropy, steps)[0]
    )


def test_with_two_steps_all_settings_are_one(steps):
    values = [PrefixKDLoss(**settings)(steps[:2]) for settings in ({}, {"prefix": 1}, {"target": "next"})]
    assert values[0] == values[1] == values[2] > 0


def test_equal_steps_cost_nothing(steps):
    assert PrefixKDLoss()(steps[:1].expand(3, -1, -1)).item() == pytest.approx(0, abs=1e-12)


def test_too_few_time_steps_are_refused(student, batch):
    with pytest.raises(ValueError, match=r"T >= 2, got \(1, .*time_steps=2"):
        PrefixKDLoss()(torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match=r"T >= 4, got \(3, .*time_steps=4"):
        PrefixKDLoss(prefix=3)(torch.zeros(3, 2, 3))
    with pytest.raises(ValueError, match=r"T >= 2, got \(1, .*time_steps=2"):
        Distiller(None, student, {"prefix": (PrefixKDLoss(), 1.0)}, time_steps=1)(*batch)


def test_published_settings(student, batch):
    assert published.tssd(prefix=3).student.time_steps == 4
    for method in (published.tssd(), published.tpd()):
        out = Distiller.from_method(method, None, student, time_steps=3)(*batch)
        out.loss.backward()
        assert len(out.terms) == 2


def test_half_precision_gives_fp32():
    assert PrefixKDLoss()(torch.randn(2, 3, 4).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"target": "last"}, ValueError),
        ({"prefix": 0}, ValueError),
        ({"prefix": 1.5}, TypeError),
        ({"prefix": 1, "target": "next"}, ValueError),
        ({"temperature": 0}, ValueError),
        ({"detach_target": "yes"}, TypeError),
    ],
)
def test_wrong_settings(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        PrefixKDLoss(**settings)


def test_wrong_shapes():
    with pytest.raises(ValueError, match=r"\[T, N, K\]"):
        PrefixKDLoss()(torch.zeros(4, 3))
