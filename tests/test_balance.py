"""Automatic weights: what is measured, that it is held, and that it travels with the state."""

import copy
import warnings

import pytest
import torch
from conftest import tiny_student, tiny_teacher

from spikingjelly_ckd import CKDDistiller, DistillationLoss, Distiller, KDLoss, LSKDLoss, preflight, record
from spikingjelly_ckd.step.auto_weight import AUTO_BATCHES, AUTO_SHARE, AutoWeight, gradient_norm


def test_gradient_norm_is_the_norm_over_all_points():
    x, y = torch.tensor([3.0], requires_grad=True), torch.tensor([4.0], requires_grad=True)
    value = (x.square() + y.square()).sum() / 2
    assert gradient_norm(value, [x, y]) == 5
    assert gradient_norm(x.sum(), [x, y]) == 1
    assert gradient_norm(torch.tensor(1.0), [x]) == 0
    assert x.grad is None


def test_gradient_norm_is_as_wide_as_the_gradient():
    """1 + 2**-40 is 1 in fp32; the square of 2**-15 is less than fp16 can hold."""
    x = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    scale = 1 + 2.0**-40
    assert gradient_norm(scale * x.sum(), [x]).item() == scale
    assert gradient_norm(x.detach().sum(), [x]).dtype == torch.float64
    half = torch.ones(4, dtype=torch.float16, requires_grad=True)
    norm = gradient_norm((half * 2.0**-15).sum(), [half])
    assert norm.dtype == gradient_norm(half.detach().sum(), [half]).dtype == torch.float32
    assert norm == 2.0**-14


@pytest.mark.parametrize("slope", [1e-12, 1e-9, 1e-3, 1e2, 6e4])
def test_gradients_in_fp16_are_neither_rounded_to_zero_nor_infinite(slope):
    """Such slopes has the mean over images, steps and positions of a student that is nearly right."""
    half = torch.ones(16, dtype=torch.float16, requires_grad=True)
    assert gradient_norm((slope * half.float()).sum(), [half]).item() == pytest.approx(4 * slope, rel=0.1)


def test_weight_is_the_share_over_the_geometric_mean():
    x = torch.tensor([1.0], requires_grad=True)
    auto = AutoWeight(share=0.3, batches=2)
    for scale in (1.0, 4.0):
        auto.observe(x.sum(), scale * x.sum(), [x])
    assert auto.weight.item() == pytest.approx(0.3 / 2)
    assert not auto.measuring


@pytest.mark.parametrize("weight", ["auto", "hold"])
def test_a_loss_whose_gradient_is_rounding_alone_is_named(weight):
    """Two standardised logits are 0.71 and -0.71 whatever the network says."""
    options = {"time_steps": 2, "example": torch.randn(4, 3, 8, 8)}
    batch = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 0, 1])
    for classes, loss in ((2, LSKDLoss()), (3, LSKDLoss()), (2, KDLoss())):
        distiller = Distiller(tiny_teacher(classes), tiny_student(classes), {"own": (loss, weight)}, **options)
        share = [check for check in preflight(distiller, batch).checks if check.name == "gradient share"]
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for _ in range(3):
                distiller(*batch)
        doubted = [str(one.message) for one in said if "automatic weight" in str(one.message)]
        assert len(doubted) == (loss.__class__ is LSKDLoss and classes == 2), "once"
        assert [check.status for check in share] == ["warn" if doubted else "info"]


def test_a_batch_without_gradient_is_left_out():
    x = torch.tensor([1.0], requires_grad=True)
    auto = AutoWeight(batches=1)
    auto.observe(x.sum(), 0 * x.sum(), [x])
    assert auto.measuring
    assert auto.seen == 0


@pytest.mark.parametrize("term", ["samd", "nld"])
def test_the_weighted_gradient_is_the_stated_share(term):
    student = tiny_student()
    weights = {"beta": 0.0, "gamma": 0.0} | {{"samd": "beta", "nld": "gamma"}[term]: "auto"}
    distiller = CKDDistiller(tiny_teacher(), student, time_steps=2, **weights)
    images, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 4])
    distiller.observe(images, labels)  # layers are found in runs of their own, which record would see
    with record(student, ["5"]) as seen:
        out = distiller(images, labels)
    points = seen.calls("5")
    share = out.weights[term] * gradient_norm(out.values[term], points) / gradient_norm(out.values["task"], points)
    assert share.item() == pytest.approx(AUTO_SHARE, rel=1e-4)
    expected = out.terms["task"] + out.weights[term] * out.terms[term]
    torch.testing.assert_close(out.loss.detach(), expected)


def test_measured_over_the_first_training_batches_then_held():
    distiller = CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2, beta="auto", gamma=0.0)
    weights = []
    for _ in range(AUTO_BATCHES + 3):
        out = distiller(torch.randn(4, 3, 8, 8), torch.randint(0, 5, (4,)))
        weights.append(float(out.weights["samd"]))
    assert len(set(weights[: AUTO_BATCHES - 1])) > AUTO_BATCHES // 2
    assert len(set(weights[AUTO_BATCHES - 1 :])) == 1
    distiller.eval()


def test_evaluation_does_not_measure():
    distiller = CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2, beta="auto", gamma=0.0)
    images, labels = torch.randn(4, 3, 8, 8), torch.randint(0, 5, (4,))
    with torch.no_grad():
        assert distiller(images, labels).weights["samd"] == 0
    assert distiller.auto["samd"].seen == 0


def test_a_resumed_run_does_not_measure_again():
    first = CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2, beta="auto", gamma="auto")
    for _ in range(AUTO_BATCHES):
        first(torch.randn(4, 3, 8, 8), torch.randint(0, 5, (4,)))
    resumed = CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2, beta="auto", gamma="auto")
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    out = resumed(torch.randn(4, 3, 8, 8), torch.randint(0, 5, (4,)))
    assert float(out.weights["samd"]) == float(first.auto["samd"].weight)
    assert not resumed.auto["samd"].measuring


def test_wrong_settings():
    with pytest.raises(ValueError, match="share"):
        AutoWeight(share=0)
    with pytest.raises(ValueError, match="batches"):
        AutoWeight(batches=0)
    with pytest.raises(TypeError, match="batches must be an integer"):
        AutoWeight(batches=0.5)


@pytest.mark.parametrize("weight", ["auto", "hold"])
def test_a_loss_that_never_has_a_gradient_is_said(weight):
    class Detached(DistillationLoss):
        takes = ("student_logits", "teacher_logits")

        def forward(self, student, teacher):
            return (student.detach() - teacher).square().mean()

    distiller = Distiller(tiny_teacher(), tiny_student(), {"own": (Detached(), weight)}, time_steps=2)
    images, labels = torch.randn(4, 3, 8, 8), torch.arange(4)
    for _ in range(19):
        distiller(images, labels)
    with pytest.warns(UserWarning, match="in 20 training steps a loss .* its weight is still 0 .* pass a number"):
        distiller(images, labels)
    for _ in range(25):  # and no more
        distiller(images, labels)
