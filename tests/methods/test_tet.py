"""TET against its formula, written out in float64 loops, and as a task loss."""

import math

import pytest
import torch
from torch.nn import functional as F

from spikingjelly_ckd import Distiller, TETLoss


def log_softmax(values):
    top = max(values)
    total = math.log(sum(math.exp(v - top) for v in values))
    return [v - top - total for v in values]


def reference(steps, soft, *, lamb=0.0, means=1.0, smoothing=0.0):
    entropy, distance, values = 0.0, 0.0, 0
    for step in steps.tolist():
        for z, y in zip(step, soft.tolist(), strict=True):
            target = [(1 - smoothing) * a + smoothing / len(z) for a in y]
            entropy -= sum(a * b for a, b in zip(target, log_softmax(z), strict=True))
            distance += sum((v - means) ** 2 for v in z)
            values += len(z)
    return (1 - lamb) * entropy / (steps.shape[0] * steps.shape[1]) + lamb * distance / values


@pytest.fixture
def steps():
    return 3 * torch.randn(4, 5, 6, dtype=torch.float64)


LABELS = torch.tensor([0, 5, 2, 2, 1])


@pytest.mark.parametrize("settings", [{}, {"lamb": 0.05}, {"lamb": 0.3, "means": 0.5}, {"lamb": 1.0, "means": 0.0}])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_is_its_formula(steps, settings, smoothing):
    expected = reference(steps, F.one_hot(LABELS, 6).double(), smoothing=smoothing, **settings)
    loss = TETLoss(label_smoothing=smoothing, **settings)
    assert loss(steps, LABELS).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_soft_labels_are_used_as_they_are(steps, smoothing):
    soft = torch.rand(5, 6, dtype=torch.float64)
    soft = soft / soft.sum(1, keepdim=True)
    expected = reference(steps, soft, smoothing=smoothing)
    assert TETLoss(label_smoothing=smoothing)(steps, soft).item() == pytest.approx(expected, rel=1e-12)


def test_as_many_classes_as_images(steps):
    square = steps[:, :, :5]
    labels = torch.tensor([0, 4, 2, 2, 1])
    expected = reference(square, F.one_hot(labels, 5).double())
    assert TETLoss()(square, labels).item() == pytest.approx(expected, rel=1e-12)


def test_one_step_is_the_cross_entropy(steps):
    torch.testing.assert_close(TETLoss()(steps[:1], LABELS), F.cross_entropy(steps[0], LABELS))


def test_it_is_at_least_the_cross_entropy_of_the_mean_logits(steps):
    assert TETLoss()(steps, LABELS) > F.cross_entropy(steps.mean(0), LABELS)


@pytest.mark.parametrize("lamb", [0.0, 0.2])
def test_gradcheck(steps, lamb):
    assert torch.autograd.gradcheck(lambda z: TETLoss(lamb, label_smoothing=0.1)(z, LABELS), (steps.requires_grad_(),))


def test_as_a_task_loss_without_a_teacher(student, batch):
    distiller = Distiller(None, student, {}, task_loss=TETLoss(), time_steps=3)
    out = distiller(*batch)
    steps = student(batch[0].expand(3, *batch[0].shape))
    torch.testing.assert_close(out.terms["task"], TETLoss()(steps.detach(), batch[1]))
    out.loss.backward()
    assert student[0].weight.grad.abs().sum() > 0


def test_half_precision_gives_fp32():
    value = TETLoss(lamb=0.1)(torch.zeros(2, 1, 3).bfloat16(), torch.tensor([[0.2, 0.3, 0.5]]).bfloat16())
    assert value.dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"lamb": -0.1}, ValueError),
        ({"lamb": 1.1}, ValueError),
        ({"lamb": "0"}, TypeError),
        ({"means": -1.0}, ValueError),
        ({"label_smoothing": 2.0}, ValueError),
        ({"label_smoothing": None}, TypeError),
    ],
)
def test_wrong_settings(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        TETLoss(**settings)


def test_wrong_shapes(steps):
    with pytest.raises(ValueError, match=r"\[T, N, K\]"):
        TETLoss()(steps[0], LABELS)
    with pytest.raises(ValueError, match="labels must be"):
        TETLoss()(steps, LABELS[:4])
    with pytest.raises(ValueError, match="labels must be"):
        TETLoss()(steps, torch.rand(5, 7))
