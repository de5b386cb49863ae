"""Hard-label distillation against its formula."""

import math

import pytest
import torch

from spikingjelly_ckd import HardLabelLoss


@pytest.fixture
def pair():
    return 3 * torch.randn(6, 5, dtype=torch.float64), 2 * torch.randn(6, 5, dtype=torch.float64)


def test_is_its_formula(pair):
    total = 0.0
    for z, t in zip(pair[0].tolist(), pair[1].tolist(), strict=True):
        total += math.log(sum(math.exp(v) for v in z)) - z[t.index(max(t))]
    assert HardLabelLoss()(*pair).item() == pytest.approx(total / 6, rel=1e-10)


def test_gradcheck(pair):
    assert torch.autograd.gradcheck(lambda z: HardLabelLoss()(z, pair[1]), (pair[0].requires_grad_(),))


def test_only_the_teachers_first_choice_counts(pair):
    sharper = 10 * pair[1]
    assert HardLabelLoss()(pair[0], sharper) == HardLabelLoss()(*pair)


def test_half_precision_gives_fp32_and_far_out_logits_stay_finite():
    student = torch.tensor([[400.0, -400.0]]).bfloat16().requires_grad_()
    value = HardLabelLoss()(student, torch.tensor([[-1.0, 1.0]]).bfloat16())
    assert value.dtype == torch.float32
    assert value.item() == 800
    assert torch.autograd.grad(value, student)[0].isfinite().all()


def test_wrong_shapes(pair):
    with pytest.raises(ValueError, match=r"teacher must be \[N, K\].*K is 4 here and 5 in student"):
        HardLabelLoss()(pair[0], pair[1][:, :4])
