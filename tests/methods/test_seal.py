"""SeAl-KD against its formula, written out in float64 loops."""

import math

import pytest
import torch

from spikingjelly_ckd import KDLoss, SeAlKDLoss

LABELS = torch.tensor([0, 4, 2, 2, 1])


def softmax(values, temperature=1.0):
    powers = [math.exp((v - max(values)) / temperature) for v in values]
    return [p / sum(powers) for p in powers]


def kl(target, learner, temperature):
    p, q = softmax(target, temperature), softmax(learner, temperature)
    return temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def without_errors(z, t, label):
    z, t, wrong = list(z), list(t), z.index(max(z))
    if wrong != label:
        z[wrong] = z[label]
        t[label] = t[wrong] = min(t[label], t[wrong])
    return z, t


def confidence(z):
    return 1 + sum(p * math.log(p) for p in softmax(z)) / math.log(len(z))


def other_steps(image, i):
    others = [z for j, z in enumerate(image) if j != i]
    weights = softmax([confidence(z) * cosine(image[i], z) for z in others])
    return [sum(w * v for w, v in zip(weights, values, strict=True)) for values in zip(*others, strict=True)]


def reference(steps, teacher, labels, *, alpha, beta, temperature):
    total = 0.0
    images = steps.transpose(0, 1).tolist()
    for image, t, y in zip(images, teacher.tolist(), labels.tolist(), strict=True):
        for i, z in enumerate(image):
            learner, target = without_errors(z, t, y)
            total += alpha * kl(target, learner, temperature)
            if len(image) > 1:
                total += beta * kl(other_steps(image, i), z, temperature)
    return total / (steps.shape[0] * steps.shape[1])


@pytest.fixture
def signals():
    steps = 2 * torch.randn(4, 5, 6, dtype=torch.float64)
    steps[:2, 0, 0] += 8  # right in two steps of four
    steps[2:, 0, 1] += 8
    return steps, 2 * torch.randn(5, 6, dtype=torch.float64)


@pytest.mark.parametrize("time_steps", [1, 2, 4])
@pytest.mark.parametrize(("alpha", "beta", "temperature"), [(0.6, 0.15, 3.0), (1.0, 0.0, 1.0), (0.0, 1.0, 4.0)])
def test_is_its_formula(signals, time_steps, alpha, beta, temperature):
    steps, teacher = signals[0][:time_steps], signals[1]
    expected = reference(steps, teacher, LABELS, alpha=alpha, beta=beta, temperature=temperature)
    value = SeAlKDLoss(alpha, beta, temperature)(steps, teacher, LABELS).item()
    assert value == pytest.approx(expected, rel=1e-10)


def test_gradcheck_of_the_teachers_part(signals):
    steps, teacher = signals
    assert torch.autograd.gradcheck(lambda z: SeAlKDLoss(beta=0.0)(z, teacher, LABELS), (steps.requires_grad_(),))


def test_a_wrong_choice_gets_no_gradient_and_the_label_gets_it_twice():
    steps = torch.tensor([[[1.0, 3.0, 0.0]]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[0.5, 2.0, 1.0]], dtype=torch.float64)
    value = SeAlKDLoss(1.0, 0.0, 1.0)(steps, teacher, torch.tensor([0]))
    p, q = softmax([0.5, 0.5, 1.0]), softmax([1.0, 1.0, 0.0])
    expected = [2 * (q[0] - p[0]), 0.0, q[2] - p[2]]
    assert torch.autograd.grad(value, steps)[0].flatten().tolist() == pytest.approx(expected, rel=1e-10)


def test_where_every_step_is_right_it_is_kd(signals):
    steps, teacher = signals
    right = steps.mean(0).argmax(1)
    value = SeAlKDLoss(1.0, 0.0, 3.0)(steps.mean(0, keepdim=True), teacher, right)
    assert value.item() == pytest.approx(KDLoss(3.0)(steps.mean(0), teacher).item(), rel=1e-10)


def test_the_other_steps_are_detached(signals):
    steps, teacher = signals
    steps = steps.requires_grad_()
    value = SeAlKDLoss(0.0, 1.0, 2.0)(steps, teacher, LABELS)
    images = steps.detach().transpose(0, 1).tolist()
    target = torch.tensor([[other_steps(image, i) for image in images] for i in range(4)], dtype=torch.float64)
    # gradient of tau^2 KL to the learner alone: tau (q - p)
    expected = 2.0 * ((steps.detach() / 2).softmax(2) - (target / 2).softmax(2)) / 20
    torch.testing.assert_close(torch.autograd.grad(value, steps)[0], expected)


def test_equal_steps_are_together_already(signals):
    steps = signals[0][:1].expand(3, -1, -1)
    assert SeAlKDLoss(0.0, 1.0)(steps, signals[1], LABELS).item() == pytest.approx(0, abs=1e-12)


def test_silent_steps_stay_finite(signals):
    steps = torch.zeros(3, 5, 6, requires_grad=True)
    value = SeAlKDLoss()(steps, signals[1].float(), LABELS)
    assert value.isfinite()
    assert torch.autograd.grad(value, steps)[0].isfinite().all()


def test_soft_labels_count_by_their_largest_entry(signals):
    soft = torch.nn.functional.one_hot(LABELS, 6) * 0.6 + 0.1
    assert SeAlKDLoss()(*signals, soft) == SeAlKDLoss()(*signals, LABELS)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"alpha": -1.0}, ValueError),
        ({"beta": -1.0}, ValueError),
        ({"temperature": 0}, ValueError),
        ({"alpha": "1"}, TypeError),
    ],
)
def test_wrong_settings(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        SeAlKDLoss(**settings)


def test_wrong_shapes(signals):
    steps, teacher = signals
    with pytest.raises(ValueError, match=r"\[T, N, K\]"):
        SeAlKDLoss()(steps[0], teacher, LABELS)
    with pytest.raises(ValueError, match=r"teacher must be \[N, K\].*K is 4 here and 6 in steps"):
        SeAlKDLoss()(steps, teacher[:, :4], LABELS)
    with pytest.raises(ValueError, match="K >= 2"):
        SeAlKDLoss()(steps[:, :, :1], teacher[:, :1], LABELS)
    with pytest.raises(ValueError, match="labels must be"):
        SeAlKDLoss()(steps, teacher, LABELS[:3])
