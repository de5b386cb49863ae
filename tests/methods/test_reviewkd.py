"""ReviewKD: the context loss against loops, the fusion against its parts, and what is trained."""

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from torch.nn import functional as F

from spikingjelly_ckd import Distiller, ReviewKDLoss


def context(student, teacher):
    """Mean squared errors at full size and at 4, 2, 1 positions a side where the map is larger, by loops."""
    size = student.shape[2]
    values, weights = [((student - teacher) ** 2).sum().item() / student.numel()], [1.0]
    for side in (4, 2, 1):
        if side >= size:
            continue
        step = size // side
        error, count = 0.0, 0
        for y in range(side):
            for x in range(side):
                cell = (..., slice(y * step, (y + 1) * step), slice(x * step, (x + 1) * step))
                difference = student[cell].mean((2, 3)) - teacher[cell].mean((2, 3))
                error, count = error + (difference**2).sum().item(), count + difference.numel()
        values.append(error / count)
        weights.append(weights[-1] / 2)
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)


@pytest.fixture
def layers():
    student = [torch.rand(2, 3, 4, 8, 8, dtype=torch.float64), torch.rand(2, 3, 6, 4, 4, dtype=torch.float64)]
    teacher = [torch.randn(3, 5, 8, 8, dtype=torch.float64), torch.randn(3, 7, 4, 4, dtype=torch.float64)]
    loss = ReviewKDLoss()
    loss.build([x.shape for x in student], [x.shape for x in teacher])
    return loss.double(), student, teacher


def test_is_its_formula(layers):
    loss, student, teacher = layers
    fusion = loss.fusion
    shallow, deep = (x.sum(0) / 2 for x in student)
    deep = fusion.narrow[1](deep)
    larger = deep.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    narrow = fusion.narrow[0](shallow)
    weight, bias = fusion.attention[0].weight[:, :, 0, 0], fusion.attention[0].bias
    both = torch.cat([narrow, larger], dim=1)
    shares = torch.sigmoid(torch.einsum("oc,nchw->nohw", weight, both) + bias[:, None, None])
    mixed = narrow * shares[:, 0:1] + larger * shares[:, 1:2]
    expected = context(fusion.widen[0](mixed), teacher[0]) + context(fusion.widen[1](deep), teacher[1])
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-10)


def test_gradcheck(layers):
    loss, student, teacher = layers
    loss.eval()
    deep = student[1].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss([student[0], x], teacher), (deep,))


def test_built_over_the_stages_trained_and_not_exported(batch):
    distiller = Distiller(tiny_teacher(), tiny_student(), {"r": (ReviewKDLoss(), 1.0)}, time_steps=2, example=batch)
    assert [layer.path for layer in distiller.layers["r"][0]] == ["2", "5"]
    distiller(*batch).values["r"].backward()
    assert all(p.grad is not None for p in distiller.losses.parameters())
    assert not any("fusion" in key for key in distiller.student.state_dict())


def test_wrong_use(layers):
    loss, student, teacher = layers
    with pytest.raises(RuntimeError, match="not built"):
        ReviewKDLoss()(student, teacher)
    with pytest.raises(ValueError, match="layers of one size on both sides"):
        ReviewKDLoss().build([(2, 1, 4, 8, 8)], [(1, 4, 4, 4)])
    with pytest.raises(ValueError, match="shallow to deep"):
        ReviewKDLoss().build([(2, 1, 4, 4, 4), (2, 1, 4, 8, 8)], [(1, 4, 4, 4), (1, 4, 8, 8)])
    with pytest.raises(ValueError, match=r"teacher must be \[N, C, h, w\].*h is 2 here and 4 in student"):
        loss(student, [teacher[0], F.avg_pool2d(teacher[1], 2)])
    for few in ((student[:1], teacher[:1]), (student, teacher[:1]), (3 * student, 3 * teacher)):
        with pytest.raises(ValueError, match="built for 2 layers"):
            loss(*few)


def test_a_fusion_that_is_there_is_kept(layers):
    loss, student, teacher = layers
    fusion = loss.fusion
    loss.build([x.shape for x in student], [x.shape for x in teacher])
    assert loss.fusion is fusion
