"""RLD against its formula, written out in float64 loops, and against DKD where the teacher is right."""

import math

import pytest
import torch

from spikingjelly_ckd import DKDLoss, RLDLoss

LABELS = torch.tensor([0, 4, 2, 2, 1, 3])


def softmax(values, temperature):
    powers = [math.exp((v - max(values)) / temperature) for v in values]
    return [p / sum(powers) for p in powers]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def reference(student, teacher, labels, *, temperature, alpha, beta, confidence_temperature):
    total = 0.0
    for z, t, y in zip(student.tolist(), teacher.tolist(), labels.tolist(), strict=True):
        sure, own = softmax(z, confidence_temperature)[y], max(softmax(t, confidence_temperature))
        total += alpha * confidence_temperature**2 * kl([own, 1 - own], [sure, 1 - sure])
        below = [k for k in range(len(t)) if t[k] < t[y]]
        if below:
            ranked = softmax([t[k] for k in below], temperature), softmax([z[k] for k in below], temperature)
            total += beta * temperature**2 * kl(*ranked)
    return total / len(student)


@pytest.fixture
def pair():
    student, teacher = 3 * torch.randn(6, 5, dtype=torch.float64), 2 * torch.randn(6, 5, dtype=torch.float64)
    teacher[0] = torch.tensor([9.0, 0.0, 1.0, 2.0, 3.0])  # right: every other class is below the label
    teacher[1] = torch.tensor([1.0, 2.0, 3.0, 4.0, 0.0])  # the label is last: none is below
    teacher[2] = torch.tensor([0.5, 4.0, 1.0, 3.0, 2.0])  # one is below
    teacher[3] = torch.tensor([1.0, 0.0, 1.0, 2.0, -1.0])  # one has the label's logit, and counts as above
    return student, teacher


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("confidence_temperature", [1.0, 2.0])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 8.0), (0.0, 1.0), (2.0, 0.0)])
def test_is_its_formula(pair, temperature, confidence_temperature, alpha, beta):
    settings = {
        "temperature": temperature,
        "alpha": alpha,
        "beta": beta,
        "confidence_temperature": confidence_temperature,
    }
    value = RLDLoss(**settings)(*pair, LABELS).item()
    assert value == pytest.approx(reference(*pair, LABELS, **settings), rel=1e-10)


def test_gradcheck(pair):
    assert torch.autograd.gradcheck(lambda z: RLDLoss()(z, pair[1], LABELS), (pair[0].requires_grad_(),))


def test_where_the_teacher_is_right_it_is_dkd(pair):
    student, teacher = pair
    right = teacher.argmax(1)
    torch.testing.assert_close(
        RLDLoss(3.0, 1.0, 2.0, confidence_temperature=3.0)(student, teacher, right),
        DKDLoss(3.0, 1.0, 2.0)(student, teacher, right),
    )


def test_classes_that_the_teacher_prefers_to_the_label_are_not_ranked(pair):
    student, teacher = pair[0][2:3].requires_grad_(), torch.tensor([[0.0, 3.0, 2.0, 1.0, -1.0]])
    gradient = torch.autograd.grad(RLDLoss(alpha=0.0)(student, teacher.double(), torch.tensor([2])), student)[0]
    assert (gradient[0] != 0).tolist() == [True, False, False, True, True]


def test_soft_labels_count_by_their_largest_entry(pair):
    soft = torch.nn.functional.one_hot(LABELS, 5) * 0.6 + 0.1
    assert RLDLoss()(*pair, soft) == RLDLoss()(*pair, LABELS)


def test_far_out_logits_stay_finite_in_half_precision():
    student = torch.tensor([[400.0, -400.0, 0.0]]).bfloat16().requires_grad_()
    for label in range(3):
        value = RLDLoss(1.0)(student, torch.tensor([[-400.0, 400.0, 0.0]]).bfloat16(), torch.tensor([label]))
        assert value.dtype == torch.float32
        assert value.isfinite()
        assert torch.autograd.grad(value, student)[0].isfinite().all()


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"temperature": 0}, ValueError),
        ({"alpha": -1.0}, ValueError),
        ({"beta": "8"}, TypeError),
        ({"confidence_temperature": 0}, ValueError),
    ],
)
def test_wrong_settings(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        RLDLoss(**settings)


def test_wrong_shapes(pair):
    with pytest.raises(ValueError, match=r"teacher must be \[N, K\].*K is 4 here and 5 in student"):
        RLDLoss()(pair[0], pair[1][:, :4], LABELS)
    with pytest.raises(ValueError, match="K >= 2"):
        RLDLoss()(pair[0][:, :1], pair[1][:, :1], LABELS)
    with pytest.raises(ValueError, match="labels must be"):
        RLDLoss()(*pair, LABELS[:3])
