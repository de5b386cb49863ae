"""NLD against its formula, written out in float64 loops, on the same noise."""

import math

import pytest
import torch

from spikingjelly_ckd import KDLoss, NLDLoss
from spikingjelly_ckd.functional import gaussian_like


def softmax(values, temperature):
    top = max(values)
    powers = [math.exp((v - top) / temperature) for v in values]
    return [p / sum(powers) for p in powers]


def reference(student, teacher, unit, *, temperature, weight, mode, spread):
    """Mean over the images, by loops; ``unit`` is the standard normal noise."""
    total = 0.0
    for z, t, u in zip(student.tolist(), teacher.tolist(), unit.tolist(), strict=True):
        classes = len(z)
        mean = sum(z) / classes
        variance = sum((v - mean) ** 2 for v in z) / (classes - 1)
        scale = {"std": math.sqrt(variance), "variance": variance}.get(spread, spread)
        noise = [mean + scale * v for v in u]
        if mode == "logits":
            q = softmax([a + weight * b for a, b in zip(z, noise, strict=True)], temperature)
        else:
            clean, noisy = softmax(z, temperature), softmax(noise, temperature)
            q = [(1 - weight) * a + weight * b for a, b in zip(clean, noisy, strict=True)]
        p = softmax(t, temperature)
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


@pytest.fixture
def pair():
    return 3 * torch.randn(5, 7, dtype=torch.float64), 2 * torch.randn(5, 7, dtype=torch.float64)


def unit_noise(like, generator):
    return torch.empty_like(like).normal_(generator=generator)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("weight", [0.0, 0.1, 0.5])
def test_paper_variant_is_its_formula(pair, frozen_noise, temperature, weight):
    unit = unit_noise(pair[0], frozen_noise())
    expected = reference(*pair, unit, temperature=temperature, weight=weight, mode="logits", spread="std")
    loss = NLDLoss(temperature, weight, generator=frozen_noise())
    assert loss(*pair).item() == pytest.approx(expected, rel=1e-12)


def test_released_variant_is_its_formula(pair, frozen_noise):
    unit = unit_noise(pair[0], frozen_noise())
    expected = reference(*pair, unit, temperature=2.0, weight=0.1, mode="probabilities", spread="variance")
    loss = NLDLoss(mode="probabilities", spread="variance", detach_statistics=False, generator=frozen_noise())
    assert loss(*pair).item() == pytest.approx(expected, rel=1e-12)


def test_fixed_spread_is_its_formula(pair, frozen_noise):
    unit = unit_noise(pair[0], frozen_noise())
    expected = reference(*pair, unit, temperature=2.0, weight=0.1, mode="logits", spread=0.7)
    assert NLDLoss(noise=0.7, generator=frozen_noise())(*pair).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("mode", ["logits", "probabilities"])
@pytest.mark.parametrize("spread", ["std", "variance"])
@pytest.mark.parametrize("noise", ["adaptive", 0.5])
def test_gradcheck(pair, frozen_noise, mode, spread, noise):
    student = pair[0].requires_grad_()

    def value(z):
        loss = NLDLoss(
            noise=noise, mode=mode, spread=spread, detach_statistics=False, generator=frozen_noise(), noise_weight=0.3
        )
        return loss(z, pair[1])

    assert torch.autograd.gradcheck(value, (student,))


def test_statistics_are_detached_in_the_paper_variant_only(pair):
    z = pair[0].requires_grad_()
    assert not gaussian_like(z, detach=True).requires_grad
    assert gaussian_like(z, detach=False).requires_grad


def test_noise_statistics_are_each_rows_own():
    logits = torch.tensor([[0.0, 2.0], [10.0, 50.0]], dtype=torch.float64)
    wide = logits.repeat(20000, 1)
    noise = gaussian_like(wide, generator=torch.Generator().manual_seed(0)).view(-1, 2, 2)
    for row in range(2):
        sample = noise[:, row].flatten()
        assert sample.mean().item() == pytest.approx(logits[row].mean().item(), abs=0.05 * logits[row].std().item())
        assert sample.std().item() == pytest.approx(logits[row].std().item(), rel=0.02)


def test_the_mean_of_the_noise_has_no_effect(pair, frozen_noise):
    loss = NLDLoss(generator=frozen_noise())
    shifted = NLDLoss(generator=frozen_noise())
    assert loss(*pair).item() == pytest.approx(shifted(pair[0] + 100, pair[1]).item(), rel=1e-9)


def test_without_noise_it_is_kd_and_with_it_it_is_not(pair):
    assert NLDLoss(2.0, 0.0)(*pair).item() == pytest.approx(KDLoss(2.0)(*pair).item(), rel=1e-12)
    assert NLDLoss(2.0, 0.5)(*pair).item() != pytest.approx(KDLoss(2.0)(*pair).item(), rel=1e-3)


def test_noise_is_new_each_step_and_repeatable(pair, frozen_noise):
    loss = NLDLoss(generator=frozen_noise())
    first, second = loss(*pair), loss(*pair)
    again = NLDLoss(generator=frozen_noise())
    assert first != second
    assert again(*pair) == first


def test_a_row_without_spread_and_one_class():
    flat = torch.zeros(2, 4, requires_grad=True)
    for loss in (NLDLoss(), NLDLoss(detach_statistics=False), NLDLoss(mode="probabilities", detach_statistics=False)):
        value = loss(flat, torch.randn(2, 4))
        assert value.isfinite()
        assert torch.autograd.grad(value, flat)[0].isfinite().all()
    with pytest.raises(ValueError, match="K >= 2"):
        NLDLoss()(torch.zeros(2, 1), torch.zeros(2, 1))


def test_far_out_logits_stay_finite_in_half_precision():
    student = torch.tensor([[400.0, -400.0, 0.0]]).bfloat16().requires_grad_()
    for mode in ("logits", "probabilities"):
        value = NLDLoss(mode=mode)(student, torch.tensor([[-400.0, 400.0, 0.0]]).bfloat16())
        assert value.dtype == torch.float32
        assert value.isfinite()
        assert torch.autograd.grad(value, student)[0].isfinite().all()


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"temperature": -2}, ValueError),
        ({"noise_weight": -0.1}, ValueError),
        ({"noise": -1.0}, ValueError),
        ({"noise": "fixed"}, ValueError),
        ({"mode": "labels"}, ValueError),
        ({"spread": "range"}, ValueError),
        ({"noise_weight": 1.0, "mode": "probabilities"}, ValueError),
        ({"noise_weight": None}, TypeError),
    ],
)
def test_wrong_settings(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        NLDLoss(**settings)


def test_unlike_shapes():
    with pytest.raises(ValueError, match=r"teacher must be \[N, K\].*K is 5 here and 4 in student"):
        NLDLoss()(torch.zeros(2, 4), torch.zeros(2, 5))


def test_the_state_of_another_kind_of_generator_is_said():
    loss = NLDLoss(generator=torch.Generator())
    with pytest.raises(RuntimeError) as caught:
        loss.load_state_dict({"generator": torch.zeros(16, dtype=torch.uint8)})
    assert "on a device of the same type, got cpu" in caught.value.__notes__[0]


def test_the_generator_goes_into_the_state_and_back(pair):
    loss = NLDLoss(generator=torch.Generator().manual_seed(0))
    loss(*pair)
    state = loss.state_dict()
    due = loss(*pair)
    other = NLDLoss(generator=torch.Generator().manual_seed(1))
    assert other(*pair) != due
    other.load_state_dict(state)
    assert other(*pair) == due
    assert NLDLoss().state_dict() == {}
    with pytest.warns(UserWarning, match="NLDLoss has a generator and the loss has none.*pass generator="):
        NLDLoss().load_state_dict(state)
