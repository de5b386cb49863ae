"""TKS against its formula, written out in float64 loops."""

import math

import pytest
import torch

from spikingjelly_ckd import Distiller, TKSLoss

LABELS = torch.tensor([0, 4, 2, 2, 1])


def softmax(values, temperature=1.0):
    powers = [math.exp((v - max(values)) / temperature) for v in values]
    return [p / sum(powers) for p in powers]


def target_of(image, label, temperature):
    right = [z for z in image if z.index(max(z)) == label]
    return softmax([sum(z[k] for z in right) for k in range(len(image[0]))], temperature)


def reference(steps, labels, temperature):
    total = 0.0
    for image, y in zip(steps.transpose(0, 1).tolist(), labels.tolist(), strict=True):
        target = target_of(image, y, temperature)
        for z in image:
            total -= sum(a * math.log(b) for a, b in zip(target, softmax(z), strict=True))
    return temperature**2 * total / (steps.shape[0] * steps.shape[1])


@pytest.fixture
def steps():
    steps = 2 * torch.randn(4, 5, 6, dtype=torch.float64)
    steps[:2, 0, 0] += 8  # right in two steps of four
    steps[2:, 0, 1] += 8
    steps[:, 1, 0] += 8  # right in none
    steps[:, 2, 2] += 8  # right in all
    return steps


@pytest.mark.parametrize("time_steps", [1, 4])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("detach", [False, True])
def test_is_its_formula(steps, time_steps, temperature, detach):
    steps = steps[:time_steps]
    value = TKSLoss(temperature, detach_target=detach)(steps, LABELS).item()
    assert value == pytest.approx(reference(steps, LABELS, temperature), rel=1e-10)


def test_gradcheck_flows_through_the_target(steps):
    assert torch.autograd.gradcheck(lambda z: TKSLoss()(z, LABELS), (steps.requires_grad_(),))


def test_a_detached_target_is_a_constant(steps):
    steps = steps.requires_grad_()
    images = steps.detach().transpose(0, 1).tolist()
    target = [target_of(image, y, 2.0) for image, y in zip(images, LABELS.tolist(), strict=True)]
    expected = 4.0 * (steps.detach().softmax(2) - torch.tensor(target, dtype=torch.float64)) / 20
    detached, attached = (
        torch.autograd.grad(TKSLoss(2.0, detach_target=detach)(steps, LABELS), steps)[0] for detach in (True, False)
    )
    torch.testing.assert_close(detached, expected)
    assert not torch.allclose(attached, expected)


def test_where_no_step_is_right_the_target_is_uniform(steps):
    wrong = steps[:, 1:2]
    expected = -9 * wrong.log_softmax(2).mean()
    assert TKSLoss(3.0)(wrong, LABELS[1:2]).item() == pytest.approx(expected.item(), rel=1e-10)


def test_soft_labels_count_by_their_largest_entry(steps):
    soft = torch.nn.functional.one_hot(LABELS, 6) * 0.6 + 0.1
    assert TKSLoss()(steps, soft) == TKSLoss()(steps, LABELS)


def test_without_a_teacher_and_with_a_schedule(student, batch):
    distiller = Distiller(None, student, {"tks": (TKSLoss(), 0.0)}, time_steps=3)
    for share in (1.0, 0.3):
        distiller.task_weight, distiller.weights["tks"] = share, 1 - share
        out = distiller(*batch)
        torch.testing.assert_close(out.loss, share * out.terms["task"] + (1 - share) * out.terms["tks"])


def test_half_precision_gives_fp32():
    assert TKSLoss()(torch.randn(2, 3, 4).bfloat16(), torch.tensor([0, 1, 2])).dtype == torch.float32


@pytest.mark.parametrize(("temperature", "error"), [(0, ValueError), ("3", TypeError)])
def test_wrong_temperature(temperature, error):
    with pytest.raises(error, match="temperature"):
        TKSLoss(temperature)


def test_wrong_shapes(steps):
    with pytest.raises(ValueError, match=r"\[T, N, K\]"):
        TKSLoss()(steps[0], LABELS)
    with pytest.raises(ValueError, match="labels must be"):
        TKSLoss()(steps, LABELS[:3])
