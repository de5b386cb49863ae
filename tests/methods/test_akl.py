"""AKL against its formula, written out in float64 loops."""

import math

import pytest
import torch

from spikingjelly_ckd import AKLLoss, KDLoss


def softmax(values, temperature):
    powers = [math.exp((v - max(values)) / temperature) for v in values]
    return [p / sum(powers) for p in powers]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def share_of_the_tail(p, q, head_mass):
    order = sorted(range(len(p)), key=lambda k: -p[k])
    head, mass = [], 0.0
    for k in order:
        mass += p[k]
        if not head or mass <= head_mass:
            head.append(k)
    gaps = [abs(a - b) for a, b in zip(p, q, strict=True)]
    return sum(gap for k, gap in enumerate(gaps) if k not in head) / sum(gaps)


def reference(student, teacher, head_mass, temperature):
    total = 0.0
    for z, t in zip(student.tolist(), teacher.tolist(), strict=True):
        p, q = softmax(t, temperature), softmax(z, temperature)
        share = share_of_the_tail(p, q, head_mass)
        total += (1 - share) * kl(p, q) + share * kl(q, p)
    return total / len(student)


@pytest.fixture
def pair():
    student, teacher = 2 * torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    teacher[0] = torch.tensor([6.0, 0.0, 1.0, 2.0, 3.0])  # the first class alone holds more than any head
    return student, teacher


@pytest.mark.parametrize("head_mass", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_is_its_formula(pair, head_mass, temperature):
    value = AKLLoss(head_mass, temperature)(*pair).item()
    assert value == pytest.approx(reference(*pair, head_mass, temperature), rel=1e-10)


def test_the_weights_are_detached(pair):
    student, teacher = pair[0].requires_grad_(), pair[1]
    gradient = torch.autograd.grad(AKLLoss()(student, teacher), student)[0]
    for z, t, found in zip(student.detach(), teacher, 6 * gradient, strict=True):
        share = share_of_the_tail(t.softmax(0).tolist(), z.softmax(0).tolist(), 0.5)
        leaf = z.clone().requires_grad_()
        p, q = t.softmax(0), leaf.softmax(0)
        value = (1 - share) * (p * (p / q).log()).sum() + share * (q * (q / p).log()).sum()
        torch.testing.assert_close(found, torch.autograd.grad(value, leaf)[0])


@pytest.mark.parametrize("student_first", [True, False])
def test_gradcheck_of_each_direction(student_first):
    """With two classes the share is one half whatever the student says, so the weights have no slope."""
    student, teacher = torch.randn(4, 2, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)
    if student_first:
        student, teacher = teacher, student
    assert torch.autograd.gradcheck(lambda z: AKLLoss()(z, teacher), (student.requires_grad_(),))


def test_with_all_of_the_gap_in_the_head_it_is_kd():
    teacher, student = torch.tensor([[[0.45, 0.45, 0.1]], [[0.7, 0.2, 0.1]]], dtype=torch.float64).log()
    torch.testing.assert_close(AKLLoss(0.95)(student, teacher), KDLoss(1.0)(student, teacher))
    assert AKLLoss(0.5)(student, teacher) != KDLoss(1.0)(student, teacher)  # the second class is in the tail


def test_equal_networks_are_at_zero_without_a_gradient(pair):
    leaf = pair[1].clone().requires_grad_()
    value = AKLLoss()(leaf, pair[1])
    assert value.item() == 0
    torch.testing.assert_close(torch.autograd.grad(value, leaf)[0], torch.zeros_like(leaf))


def test_half_precision_gives_fp32_and_far_out_logits_stay_finite():
    student = torch.tensor([[400.0, -400.0, 0.0]]).bfloat16().requires_grad_()
    value = AKLLoss()(student, torch.tensor([[-400.0, 400.0, 0.0]]).bfloat16())
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert torch.autograd.grad(value, student)[0].isfinite().all()


@pytest.mark.parametrize(
    ("settings", "error"),
    [({"head_mass": 1.0}, ValueError), ({"head_mass": "half"}, TypeError), ({"temperature": 0}, ValueError)],
)
def test_wrong_settings(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        AKLLoss(**settings)


def test_wrong_shapes(pair):
    with pytest.raises(ValueError, match=r"teacher must be \[N, K\].*K is 4 here and 5 in student"):
        AKLLoss()(pair[0], pair[1][:, :4])
