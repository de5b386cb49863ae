"""TDKD against its formula, written out in float64 loops."""

import math

import pytest
import torch

from spikingjelly_ckd import Distiller, KDLoss, TDKDLoss, TETLoss

LABELS = torch.tensor([0, 4, 2, 2, 1])


def softmax(values, temperature):
    powers = [math.exp((v - max(values)) / temperature) for v in values]
    return [p / sum(powers) for p in powers]


def kl(target, learner, temperature):
    p, q = softmax(target, temperature), softmax(learner, temperature)
    return temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def ensemble(steps, label, kind):
    """Of one image: ``steps`` is a list over time of lists over classes."""
    chosen = [z for z in steps if kind == "mean" or z.index(max(z)) == label]
    if not chosen:
        return [0.0] * len(steps[0])
    return [sum(values) / len(chosen) for values in zip(*chosen, strict=True)]


def reference(steps, teacher, labels, *, alpha, beta, temperature, kind):
    total = 0.0
    images = steps.transpose(0, 1).tolist()
    for image, t, y in zip(images, teacher.tolist(), labels.tolist(), strict=True):
        together = ensemble(image, y, kind)
        for z in image:
            total += alpha * kl(t, z, temperature) + beta * kl(together, z, temperature)
    return total / (steps.shape[0] * steps.shape[1])


@pytest.fixture
def signals():
    steps = 3 * torch.randn(4, 5, 6, dtype=torch.float64)
    steps[:2, 0, 0] += 20  # right in two steps of four
    steps[2:, 0, 1] += 20
    steps[:, 1, 0] += 20  # right in none
    steps[:, 2, 2] += 20  # right in all
    return steps, 2 * torch.randn(5, 6, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["mean", "correct"])
@pytest.mark.parametrize(("alpha", "beta", "temperature"), [(0.2, 0.5, 3.0), (1.0, 0.0, 1.0), (0.0, 2.0, 4.0)])
def test_is_its_formula(signals, kind, alpha, beta, temperature):
    expected = reference(*signals, LABELS, alpha=alpha, beta=beta, temperature=temperature, kind=kind)
    value = TDKDLoss(alpha, beta, temperature, kind)(*signals, LABELS).item()
    assert value == pytest.approx(expected, rel=1e-10)


def test_gradcheck_of_the_teachers_part(signals):
    steps, teacher = signals
    assert torch.autograd.gradcheck(lambda z: TDKDLoss(beta=0.0)(z, teacher, LABELS), (steps.requires_grad_(),))


@pytest.mark.parametrize("kind", ["mean", "correct"])
def test_the_ensemble_is_detached(signals, kind):
    steps, teacher = signals
    steps = steps.requires_grad_()
    value = TDKDLoss(0.0, 1.0, 2.0, kind)(steps, teacher, LABELS)
    images = steps.detach().transpose(0, 1).tolist()
    target = [ensemble(image, y, kind) for image, y in zip(images, LABELS.tolist(), strict=True)]
    target = torch.tensor(target, dtype=torch.float64)
    # gradient of tau^2 KL to the learner alone: tau (q - p)
    expected = 2.0 * ((steps.detach() / 2).softmax(2) - (target / 2).softmax(1)) / 20
    torch.testing.assert_close(torch.autograd.grad(value, steps)[0], expected)


def test_where_no_step_is_right_the_target_is_uniform(signals):
    steps, teacher = signals
    value = TDKDLoss(0.0, 1.0, 3.0, "correct")(steps[:, 1:2], teacher[1:2], LABELS[1:2])
    uniform = sum(kl([0.0] * 6, z, 3.0) for z in steps[:, 1].tolist()) / 4
    assert value.item() == pytest.approx(uniform, rel=1e-10)


def test_one_step_is_kd(signals):
    steps, teacher = signals
    value = TDKDLoss(alpha=0.2, temperature=3.0)(steps[:1], teacher, LABELS)
    assert value.item() == pytest.approx(0.2 * KDLoss(3.0)(steps[0], teacher).item(), rel=1e-10)


def test_the_labels_count_for_the_correct_ensemble_alone(signals):
    other = (LABELS + 1) % 6
    assert TDKDLoss()(*signals, LABELS) == TDKDLoss()(*signals, other)
    assert TDKDLoss(ensemble="correct")(*signals, LABELS) != TDKDLoss(ensemble="correct")(*signals, other)


def test_soft_labels_count_by_their_largest_entry(signals):
    soft = torch.nn.functional.one_hot(LABELS, 6) * 0.6 + 0.1
    loss = TDKDLoss(ensemble="correct")
    assert loss(*signals, soft) == loss(*signals, LABELS)


def test_beside_the_cross_entropy_of_every_step(teacher, student, batch):
    distiller = Distiller(teacher, student, {"tdkd": (TDKDLoss(), 1.0)}, task_loss=TETLoss(), time_steps=3)
    out = distiller(*batch)
    torch.testing.assert_close(out.loss, out.terms["task"] + out.terms["tdkd"])


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"alpha": -1.0}, ValueError),
        ({"beta": -1.0}, ValueError),
        ({"temperature": 0}, ValueError),
        ({"ensemble": "last"}, ValueError),
        ({"alpha": "1"}, TypeError),
    ],
)
def test_wrong_settings(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        TDKDLoss(**settings)


def test_wrong_shapes(signals):
    steps, teacher = signals
    with pytest.raises(ValueError, match=r"\[T, N, K\]"):
        TDKDLoss()(steps[0], teacher, LABELS)
    with pytest.raises(ValueError, match=r"target must be \[N, K\] or \[T, N, K\].*K is 4 here and 6 in steps"):
        TDKDLoss()(steps, teacher[:, :4], LABELS)
    with pytest.raises(ValueError, match="labels must be"):
        TDKDLoss(ensemble="correct")(steps, teacher, LABELS[:3])
