"""Per-step logits of students that return their mean alone."""

import pytest
import torch
from conftest import tiny_student
from spikingjelly.activation_based import functional
from torch import nn

from spikingjelly_ckd import Distiller
from spikingjelly_ckd.methods.base import DistillationLoss
from spikingjelly_ckd.step.per_step_readout import find_per_step_logits


class Steps(DistillationLoss):
    """Keeps what it was given."""

    needs = ("per_step_logits",)

    def select(self, signals):
        return (signals.student_per_step_logits,)

    def forward(self, steps):
        self.steps = steps
        return steps.square().mean()


class MeanOfLogits(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = tiny_student()

    def forward(self, frames):
        return self.body(frames).mean(0)


class MeanBeforeHead(nn.Module):
    """Averages the pooled features over time, then classifies, as SpikingJelly's Spikformer does."""

    def __init__(self, dropout=0.0):
        super().__init__()
        net = tiny_student()
        self.body, self.drop, self.head = net[:6], nn.Dropout(dropout), net[8]
        functional.set_step_mode(self.head, "s")

    def forward(self, frames):
        return self.head(self.drop(self.body(frames).mean(0).flatten(2).mean(2)))


class Flattened(nn.Module):
    """Time and batch in one axis, and a mean at the end."""

    def __init__(self):
        super().__init__()
        self.body, self.head = tiny_student()[:7], nn.Linear(8, 5)

    def forward(self, frames):
        features = self.body(frames).flatten(2)
        return self.head(features.flatten(0, 1)).view(*features.shape[:2], -1).mean(0)


class Hidden(nn.Module):
    """What it returns is no mean of anything."""

    def __init__(self):
        super().__init__()
        self.body = tiny_student()

    def forward(self, frames):
        return self.body(frames).max(0).values


def taken(student, batch, steps=3):
    loss = Steps()
    out = Distiller(None, student, {"steps": (loss, 1.0)}, time_steps=steps)(*batch)
    return loss.steps, out


@pytest.mark.parametrize("kind", [MeanOfLogits, MeanBeforeHead, Flattened])
def test_taken_where_the_net_hides_them(kind, batch):
    student = kind()
    steps, out = taken(student, batch)
    assert steps.shape == (3, 4, 5)
    torch.testing.assert_close(steps.mean(0), out.logits)
    if kind is not MeanOfLogits:
        body = student.body(batch[0].expand(3, *batch[0].shape)).flatten(3).mean(3)
        functional.reset_net(student)
        torch.testing.assert_close(steps, nn.functional.linear(body, student.head.weight, student.head.bias))
    out.loss.backward()
    assert all(p.grad is not None for p in student.parameters())


def test_one_step_needs_no_search(batch):
    steps, out = taken(Hidden(), batch, steps=1)
    assert torch.equal(steps[0], out.logits)


def test_a_student_that_returns_them_is_left_alone(batch):
    frames = batch[0].expand(3, *batch[0].shape)
    assert find_per_step_logits(tiny_student(), frames, 4, run=lambda net, x: net(x)) is None


def test_a_student_that_hides_them_for_good_is_refused(batch):
    student = Hidden()
    nn.init.uniform_(student.body[1].bias, 0.5, 2.0)  # in eval mode it would be silent: every step alike
    nn.init.uniform_(student.body[4].bias, 0.5, 2.0)
    with pytest.raises(ValueError, match="no module of it returns what that is the mean of"):
        taken(student, batch)


def test_dropout_between_is_said_at_once(batch):
    with pytest.raises(ValueError, match="is not the student's output"):
        taken(MeanBeforeHead(dropout=0.5).train(), batch)


def test_the_search_leaves_the_student_as_it_was(batch):
    student = MeanOfLogits().train()
    before = {key: value.clone() for key, value in student.state_dict().items()}
    find_per_step_logits(student, batch[0].expand(3, *batch[0].shape), 4, run=lambda net, x: net(x))
    assert student.training
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items())


def test_called_once_a_step(batch):
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = tiny_student(step_mode="s")

        def forward(self, images):
            return torch.stack([self.net(images) for _ in range(3)]).mean(0)

    loss = Steps()
    out = Distiller(None, Loop(), {"steps": (loss, 1.0)}, student_steps="internal")(*batch)
    torch.testing.assert_close(loss.steps.mean(0), out.logits)
    assert loss.steps.shape == (3, 4, 5)


def test_spikformer(batch):
    spikformer = pytest.importorskip("spikingjelly.activation_based.model.spikformer")
    net = spikformer.Spikformer(
        T=2, img_size_h=16, img_size_w=16, patch_size=4, in_channels=3, num_classes=5, embed_dims=32,
        num_heads=2, mlp_ratio=2.0, depths=1,
    )  # fmt: skip
    steps, out = taken(net, (torch.randn(4, 3, 16, 16), batch[1]), steps=2)
    assert steps.shape == (2, 4, 5)
    torch.testing.assert_close(steps.mean(0), out.logits)
