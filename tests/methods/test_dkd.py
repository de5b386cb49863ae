"""DKD against its formula, written out in float64 loops, and against KD."""

import math

import pytest
import torch

from spikingjelly_ckd import DKDLoss, KDLoss

LABELS = torch.tensor([0, 4, 2, 2, 1, 3])


def softmax(values):
    powers = [math.exp(v - max(values)) for v in values]
    return [p / sum(powers) for p in powers]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def parts(student, teacher, labels, temperature):
    """Means over the images of both divergences, and of the second times the teacher's share of the others."""
    target = rest = shared = 0.0
    for z, t, y in zip(student.tolist(), teacher.tolist(), labels.tolist(), strict=True):
        q, p = softmax([v / temperature for v in z]), softmax([v / temperature for v in t])
        target += kl([p[y], 1 - p[y]], [q[y], 1 - q[y]])
        others = kl(
            softmax([v / temperature for k, v in enumerate(t) if k != y]),
            softmax([v / temperature for k, v in enumerate(z) if k != y]),
        )
        rest += others
        shared += (1 - p[y]) * others
    return [temperature**2 * total / len(student) for total in (target, rest, shared)]


@pytest.fixture
def pair():
    return 3 * torch.randn(6, 5, dtype=torch.float64), 2 * torch.randn(6, 5, dtype=torch.float64)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 8.0), (0.0, 1.0), (2.0, 0.0)])
def test_is_its_formula(pair, temperature, alpha, beta):
    target, rest, _ = parts(*pair, LABELS, temperature)
    value = DKDLoss(temperature, alpha, beta)(*pair, LABELS).item()
    assert value == pytest.approx(alpha * target + beta * rest, rel=1e-10)


def test_the_parts_make_up_kd(pair):
    target, _, shared = parts(*pair, LABELS, 4.0)
    assert target + shared == pytest.approx(KDLoss(4.0)(*pair).item(), rel=1e-10)


def test_gradcheck(pair):
    assert torch.autograd.gradcheck(lambda z: DKDLoss()(z, pair[1], LABELS), (pair[0].requires_grad_(),))


def test_soft_labels_count_by_their_largest_entry(pair):
    soft = torch.full((6, 5), 0.1, dtype=torch.float64)
    soft[torch.arange(6), LABELS] = 0.6
    assert DKDLoss()(*pair, soft) == DKDLoss()(*pair, LABELS)


def test_two_classes_leave_nothing_to_the_others(pair):
    two = [side[:, :2] for side in pair]
    value = DKDLoss(4.0, 1.0, 8.0)(*two, LABELS % 2)
    assert value.item() == pytest.approx(KDLoss(4.0)(*two).item(), rel=1e-10)


def test_far_out_logits_stay_finite_in_half_precision():
    student = torch.tensor([[400.0, -400.0, 0.0]]).bfloat16().requires_grad_()
    for label in range(3):
        value = DKDLoss(1.0)(student, torch.tensor([[-400.0, 400.0, 0.0]]).bfloat16(), torch.tensor([label]))
        assert value.dtype == torch.float32
        assert value.isfinite()
        assert torch.autograd.grad(value, student)[0].isfinite().all()


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"temperature": 0}, ValueError),
        ({"alpha": -1.0}, ValueError),
        ({"beta": -1.0}, ValueError),
        ({"beta": "8"}, TypeError),
    ],
)
def test_wrong_settings(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        DKDLoss(**settings)


def test_wrong_shapes(pair):
    with pytest.raises(ValueError, match=r"teacher must be \[N, K\].*K is 4 here and 5 in student"):
        DKDLoss()(pair[0], pair[1][:, :4], LABELS)
    with pytest.raises(ValueError, match="K >= 2"):
        DKDLoss()(pair[0][:, :1], pair[1][:, :1], LABELS)
    with pytest.raises(ValueError, match="labels must be"):
        DKDLoss()(*pair, LABELS[:3])
