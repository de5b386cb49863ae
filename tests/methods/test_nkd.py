"""NKD against its formula, written out in float64 loops."""

import math

import pytest
import torch

from spikingjelly_ckd import NKDLoss

LABELS = torch.tensor([0, 4, 2, 2, 1, 3])


def softmax(values, temperature=1.0):
    powers = [math.exp((v - max(values)) / temperature) for v in values]
    return [p / sum(powers) for p in powers]


def reference(student, teacher, labels, temperature, gamma):
    total = 0.0
    for z, t, y in zip(student.tolist(), teacher.tolist(), labels.tolist(), strict=True):
        total -= softmax(t)[y] * math.log(softmax(z)[y])
        p, q = (softmax([v for k, v in enumerate(row) if k != y], temperature) for row in (t, z))
        total -= gamma * temperature**2 * sum(a * math.log(b) for a, b in zip(p, q, strict=True))
    return total / len(student)


@pytest.fixture
def pair():
    return 3 * torch.randn(6, 5, dtype=torch.float64), 2 * torch.randn(6, 5, dtype=torch.float64)


@pytest.mark.parametrize(("temperature", "gamma"), [(1.0, 1.5), (3.0, 3.5), (2.0, 0.0)])
def test_is_its_formula(pair, temperature, gamma):
    value = NKDLoss(temperature, gamma)(*pair, LABELS).item()
    assert value == pytest.approx(reference(*pair, LABELS, temperature, gamma), rel=1e-10)


def test_gradcheck(pair):
    assert torch.autograd.gradcheck(lambda z: NKDLoss()(z, pair[1], LABELS), (pair[0].requires_grad_(),))


def test_the_label_has_no_part_among_the_others(pair):
    student, teacher = pair[0].requires_grad_(), pair[1]
    changed = teacher.scatter_add(1, LABELS[:, None], torch.full((6, 1), 5.0, dtype=torch.float64))
    others = [NKDLoss(2.0)(student, t, LABELS) - NKDLoss(2.0, 0.0)(student, t, LABELS) for t in (teacher, changed)]
    torch.testing.assert_close(*others)


def test_a_sure_teacher_leaves_the_cross_entropy(pair):
    teacher = 1e4 * torch.nn.functional.one_hot(LABELS, 5).double()
    expected = torch.nn.functional.cross_entropy(pair[0], LABELS)
    torch.testing.assert_close(NKDLoss(gamma=0.0)(pair[0], teacher, LABELS), expected)


def test_two_classes_leave_nothing_to_the_others(pair):
    two = [side[:, :2] for side in pair]
    assert NKDLoss()(*two, LABELS % 2) == NKDLoss(gamma=0.0)(*two, LABELS % 2)


def test_soft_labels_count_by_their_largest_entry(pair):
    soft = torch.nn.functional.one_hot(LABELS, 5) * 0.6 + 0.1
    assert NKDLoss()(*pair, soft) == NKDLoss()(*pair, LABELS)


def test_half_precision_gives_fp32(pair):
    assert NKDLoss()(pair[0].bfloat16(), pair[1].bfloat16(), LABELS).dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "error"),
    [({"temperature": 0}, ValueError), ({"gamma": -1.0}, ValueError), ({"gamma": "1"}, TypeError)],
)
def test_wrong_settings(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        NKDLoss(**settings)


def test_wrong_shapes(pair):
    with pytest.raises(ValueError, match=r"teacher must be \[N, K\].*K is 4 here and 5 in student"):
        NKDLoss()(pair[0], pair[1][:, :4], LABELS)
    with pytest.raises(ValueError, match="K >= 2"):
        NKDLoss()(pair[0][:, :1], pair[1][:, :1], LABELS)
    with pytest.raises(ValueError, match="labels must be"):
        NKDLoss()(*pair, LABELS[:3])
