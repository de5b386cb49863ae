"""TTM and WTTM against their formula, written out in float64 loops."""

import math

import pytest
import torch

from spikingjelly_ckd import KDLoss, WTTMLoss


def softmax(values):
    powers = [math.exp(v - max(values)) for v in values]
    return [p / sum(powers) for p in powers]


def reference(student, teacher, exponent, *, weighted):
    total = 0.0
    for z, t in zip(student.tolist(), teacher.tolist(), strict=True):
        powers = [p**exponent for p in softmax(t)]
        unsure = sum(powers)
        target = [power / unsure for power in powers]
        divergence = sum(a * math.log(a / b) for a, b in zip(target, softmax(z), strict=True))
        total += unsure * divergence if weighted else divergence
    return total / len(student)


@pytest.fixture
def pair():
    return 3 * torch.randn(6, 5, dtype=torch.float64), 2 * torch.randn(6, 5, dtype=torch.float64)


@pytest.mark.parametrize("exponent", [0.1, 0.2, 1.0, 1.5])
@pytest.mark.parametrize("weighted", [True, False])
def test_is_its_formula(pair, exponent, weighted):
    value = WTTMLoss(exponent, weighted=weighted)(*pair).item()
    assert value == pytest.approx(reference(*pair, exponent, weighted=weighted), rel=1e-10)


@pytest.mark.parametrize("weighted", [True, False])
def test_gradcheck(pair, weighted):
    loss = WTTMLoss(weighted=weighted)
    assert torch.autograd.gradcheck(lambda z: loss(z, pair[1]), (pair[0].requires_grad_(),))


@pytest.mark.parametrize("weighted", [True, False])
def test_without_a_power_it_is_kd_at_temperature_1(pair, weighted):
    value = WTTMLoss(1.0, weighted=weighted)(*pair)
    torch.testing.assert_close(value, KDLoss(1.0)(*pair))


def test_images_of_which_the_teacher_is_sure_count_less():
    student = torch.zeros(1, 5, dtype=torch.float64)
    pulls = []
    for size in (1.0, 20.0):
        teacher = size * torch.eye(5, dtype=torch.float64)[:1]
        pulls.append(WTTMLoss(0.5)(student, teacher) / WTTMLoss(0.5, weighted=False)(student, teacher))
    assert pulls[0] > 1.9  # sum of the square roots; of five equal ones it is the root of 5
    assert pulls[1] == pytest.approx(1, abs=1e-3)


def test_half_precision_gives_fp32_and_far_out_logits_stay_finite():
    student = torch.tensor([[400.0, -400.0]]).bfloat16().requires_grad_()
    value = WTTMLoss()(student, torch.tensor([[-400.0, 400.0]]).bfloat16())
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert torch.autograd.grad(value, student)[0].isfinite().all()


@pytest.mark.parametrize(
    ("settings", "error"),
    [({"exponent": 0}, ValueError), ({"exponent": "0.1"}, TypeError), ({"weighted": "no"}, TypeError)],
)
def test_wrong_settings(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        WTTMLoss(**settings)


def test_wrong_shapes(pair):
    with pytest.raises(ValueError, match=r"teacher must be \[N, K\].*K is 4 here and 5 in student"):
        WTTMLoss()(pair[0], pair[1][:, :4])
