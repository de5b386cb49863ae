"""observe_forward(): layers, logits and the gradients of class scores, from one forward."""

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from spikingjelly.activation_based import functional
from torch import nn

from spikingjelly_ckd.networks.observing import UnrelatedLayersError, observe_forward

RUN = {"run": lambda net, x: net(x)}


def top_and_second(logits):
    top, second = logits.topk(2).indices.split(1, dim=1)
    return {"top": top, "second": second}


def test_gradients_are_those_of_each_target_s_class_score(teacher, batch):
    teacher.eval().requires_grad_(False)
    seen = observe_forward(
        teacher, batch[0], ["1", "2", "5"], role="teacher", batch=4, cam_paths=["2", "5"], targets=top_and_second, **RUN
    )
    first = teacher[:3](batch[0]).requires_grad_()
    last = teacher[3:6](first)
    logits = teacher[6:](last)
    for place, target in enumerate(("top", "second")):
        index = logits.topk(2).indices[:, place : place + 1]
        expected = torch.autograd.grad(logits.gather(1, index).sum(), [first, last], retain_graph=True)
        for path, gradient in zip(("2", "5"), expected, strict=True):
            torch.testing.assert_close(seen.gradients[target, path][0], gradient)
    assert set(seen.gradients) == {(target, path) for target in ("top", "second") for path in ("2", "5")}
    torch.testing.assert_close(seen.logits.mean, logits.detach())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_student_s_gradients_come_for_each_call_and_can_have_a_graph():
    student = tiny_student(step_mode="s")
    frames = torch.rand(2, 4, 3, 8, 8)
    seen = observe_forward(
        student, frames, ["5"], role="student", batch=4, steps=2, cam_paths=["5"], targets=top_and_second,
        run=lambda net, x: torch.stack([net(frame) for frame in x]), with_graph=True, create_graph=True,
    )  # fmt: skip
    functional.reset_net(student)
    gradients = seen.gradients_at("top", "5")
    assert [gradient.shape for gradient in gradients] == [(4, 8, 4, 4)] * 2
    assert seen.logits.steps.shape == (2, 4, 5)
    sum(gradient.square().sum() for gradient in gradients).backward()
    assert student[8].weight.grad.abs().sum() > 0


class Aside(nn.Module):
    """Has a layer that its class scores do not depend on."""

    def __init__(self):
        super().__init__()
        self.body, self.aside, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        self.aside(x)
        return self.head(self.body(x).mean((2, 3)))


def test_a_layer_that_the_scores_do_not_depend_on_has_no_gradient(batch):
    options = {"role": "teacher", "batch": 4, "targets": top_and_second, **RUN}
    seen = observe_forward(Aside(), batch[0], ["body", "aside"], cam_paths=["body", "aside"], **options)
    assert seen.gradients["top", "aside"] == (None,)
    (zeros,) = seen.gradients_at("top", "aside")
    assert torch.equal(zeros, torch.zeros(4, 4, 6, 6))
    with pytest.raises(KeyError):
        seen.gradients_at("third", "aside")
    net = Aside().requires_grad_(False)
    with pytest.raises(UnrelatedLayersError, match=r"do not depend on the layers \['aside'\].*; pass teacher_layer="):
        observe_forward(net, batch[0], ["aside"], cam_paths=["aside"], **options)


def test_without_targets_nothing_is_differentiated_and_no_graph_is_made(teacher, batch):
    seen = observe_forward(teacher, batch[0], ["5"], role="teacher", batch=4, **RUN)
    assert seen.gradients == {}
    assert not seen.recording["5"].requires_grad
    assert not seen.logits.mean.requires_grad


def test_a_forward_that_stops_has_layers_and_no_logits(batch):
    teacher = nn.Sequential(*tiny_teacher()[:6], nn.Linear(1, 1))  # would raise if it ran
    seen = observe_forward(teacher, batch[0], ["5"], role="teacher", batch=4, stop=True, **RUN)
    assert seen.logits is None
    assert seen.recording["5"].shape == (4, 8, 4, 4)


def test_under_inference_mode_gradients_are_found(teacher, batch):
    with torch.inference_mode():
        seen = observe_forward(
            teacher, batch[0], ["5"], role="teacher", batch=4, cam_paths=["5"], targets=top_and_second, **RUN
        )
    assert seen.gradients["top", "5"][0].abs().sum() > 0
