"""Weighted soft labels against their formula."""

import pytest
import torch

from spikingjelly_ckd import WeightedSoftLabelLoss


def soft_labels_reference(student, teacher, labels, temperature):
    total = 0.0
    for s, t, y in zip(student, teacher, labels, strict=True):
        own, theirs = -(y * s.log_softmax(0)).sum(), -(y * t.log_softmax(0)).sum()
        weight = 1 - torch.exp(-own / (theirs + 1e-7))
        total += weight * -((t / temperature).softmax(0) * (s / temperature).log_softmax(0)).sum()
    return temperature**2 * total.item() / len(student)


@pytest.mark.parametrize("soft", [False, True])
def test_weighted_soft_labels_are_their_formula(soft):
    student, teacher = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    labels = torch.rand(6, 5, dtype=torch.float64).softmax(1) if soft else torch.tensor([0, 1, 2, 3, 4, 0])
    rows = labels if soft else torch.nn.functional.one_hot(labels, 5).double()
    expected = soft_labels_reference(student, teacher, rows, 2.0)
    assert WeightedSoftLabelLoss()(student, teacher, labels).item() == pytest.approx(expected, rel=1e-10)


def test_the_weight_is_detached():
    student = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    teacher, labels = torch.randn(6, 5, dtype=torch.float64), torch.arange(6) % 5
    WeightedSoftLabelLoss(1.0)(student, teacher, labels).backward()
    with torch.no_grad():
        entropy = torch.nn.functional.cross_entropy
        own, theirs = (entropy(z, labels, reduction="none") for z in (student, teacher))
        weight = 1 - torch.exp(-own / (theirs + 1e-7))
        expected = weight[:, None] * (student.softmax(1) - teacher.softmax(1)) / 6
    torch.testing.assert_close(student.grad, expected)


def test_unlike_shapes_and_wrong_temperature():
    with pytest.raises(ValueError, match=r"teacher must be \[N, K\].*K is 5 here and 4 in student"):
        WeightedSoftLabelLoss()(torch.zeros(2, 4), torch.zeros(2, 5), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="temperature"):
        WeightedSoftLabelLoss(0)


def test_labels_of_any_integer_or_floating_type():
    student, teacher = torch.zeros(2, 3), torch.eye(2, 3)
    labels, soft = torch.tensor([0, 1]), torch.eye(2, 3)
    values = [WeightedSoftLabelLoss()(student, teacher, each) for each in (labels, labels.int(), soft, soft.double())]
    assert len({float(value) for value in values}) == 1
