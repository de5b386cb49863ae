"""CAT-KD against its formula, and its class maps against the logits."""

import pytest
import torch
from conftest import tiny_student
from torch import nn

from spikingjelly_ckd import CATKDLoss, Distiller
from spikingjelly_ckd.methods.signals import LinearHead


def pooled(maps, size):
    """By loops; the maps' height and width are multiples of ``size``."""
    rows, columns = maps.shape[2] // size, maps.shape[3] // size
    return [
        [
            maps[n, k, i * rows : (i + 1) * rows, j * columns : (j + 1) * columns].mean().item()
            for i in range(size)
            for j in range(size)
        ]
        for n in range(maps.shape[0])
        for k in range(maps.shape[1])
    ]


@pytest.mark.parametrize("normalize", [False, True])
def test_is_its_formula(normalize):
    student, teacher = torch.randn(2, 3, 4, 4, dtype=torch.float64), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    total, count = 0.0, 0
    for s, t in zip(pooled(student, 2), pooled(teacher, 2), strict=True):
        if normalize:
            s, t = ([v / sum(w * w for w in row) ** 0.5 for v in row] for row in (s, t))
        total += sum((a - b) ** 2 for a, b in zip(s, t, strict=True))
        count += len(s)
    assert CATKDLoss(2, normalize=normalize)(student, teacher).item() == pytest.approx(total / count, rel=1e-12)


def test_gradcheck():
    student = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda m: CATKDLoss(normalize=True)(m, teacher), (student,))


def test_the_mean_of_a_class_map_is_its_logit_without_bias(teacher, batch):
    head = LinearHead.at(teacher, "8")
    with torch.no_grad():
        features = teacher[:6](batch[0])
        torch.testing.assert_close(head.class_maps(features).mean(dim=(2, 3)) + head.bias, teacher(batch[0]))


def test_both_classifiers_take_part_and_only_the_students_learns(teacher, student, batch):
    distiller = Distiller(teacher, student, {"cat": (CATKDLoss(), 1.0)}, time_steps=2)
    distiller(*batch).values["cat"].backward()
    assert student[8].weight.grad.abs().sum() > 0
    assert student[3].weight.grad.abs().sum() > 0
    assert teacher[8].weight.grad is None


def test_a_student_with_two_linear_layers_is_refused(teacher, batch):
    body = tiny_student()
    student = nn.Sequential(*body[:8], nn.Linear(8, 8), nn.Linear(8, 5))
    with pytest.raises(ValueError, match="the student's logits are not its last linear layer"):
        Distiller(teacher, student, {"cat": (CATKDLoss(), 1.0)}, time_steps=2)(*batch)


def test_maps_smaller_than_the_size_are_refused():
    with pytest.raises(ValueError, match="pass a smaller size"):
        CATKDLoss(4)(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 8, 8))
    with pytest.raises(ValueError, match=r"teacher must be \[N, K, h', w'\].*K is 3 here and 2 in student"):
        CATKDLoss()(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4))


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (2.0, TypeError), (True, TypeError)])
def test_wrong_size(size, error):
    with pytest.raises(error, match="size"):
        CATKDLoss(size)
