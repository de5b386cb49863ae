"""Branches against their formula, written out in float64 loops, and on real networks without a teacher."""

import math

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from torch import nn
from torch.nn import functional as F

from spikingjelly_ckd import BranchKDLoss, Distiller, KDLoss, published
from spikingjelly_ckd.methods.projectors import SeparableBlock, branch

LABELS = torch.tensor([0, 4, 2, 2, 1])


def softmax(values, temperature=1.0):
    powers = [math.exp((v - max(values)) / temperature) for v in values]
    return [p / sum(powers) for p in powers]


def reference(branches, logits, labels, *, temperature, alpha, beta):
    heads = [*branches.tolist(), logits.tolist()]
    images = range(len(labels))
    entropy = -sum(math.log(softmax(head[n])[labels[n]]) for head in heads[:-1] for n in images) / len(labels)
    with_target, soft = 0, 0.0
    for n in images:
        right = [head[n] for head in heads if head[n].index(max(head[n])) == labels[n]]
        if right:
            with_target += 1
            target = softmax([sum(values) / len(right) for values in zip(*right, strict=True)], temperature)
            for head in heads:
                q = softmax(head[n], temperature)
                soft += temperature**2 * sum(a * math.log(a / b) for a, b in zip(target, q, strict=True))
    return alpha * entropy + beta * soft / max(with_target, 1)


@pytest.fixture
def layers():
    sizes = [(3, 5, 4, 8, 8), (3, 5, 6, 4, 4), (3, 5, 8, 2, 2)]
    return [torch.rand(*size, dtype=torch.float64) for size in sizes]


@pytest.fixture
def logits():
    return 3 * F.one_hot(LABELS, 6).double().roll(1, 0) + torch.randn(5, 6, dtype=torch.float64)


def built(layers, **settings):
    loss = BranchKDLoss(**settings, num_classes=6)
    loss.build([layer.shape for layer in layers], [])
    return loss.double().eval()


@pytest.mark.parametrize("settings", [(3.0, 1.0, 0.3), (1.0, 0.0, 1.0), (2.0, 0.7, 0.0)])
def test_is_its_formula(layers, logits, settings):
    settings = dict(zip(("temperature", "alpha", "beta"), settings, strict=True))
    loss = built(layers, **settings)
    for block in loss.branches:
        nn.init.normal_(block[-1].weight, std=3.0)  # so that some are right
    with torch.no_grad():
        branches = torch.stack([block(layer.mean(0)) for block, layer in zip(loss.branches, layers, strict=False)])
        value = loss(layers, logits, LABELS).item()
    assert value == pytest.approx(reference(branches, logits, LABELS.tolist(), **settings), rel=1e-10)


def test_gradcheck_of_the_students_logits(layers, logits):
    """The target is detached, so where the student itself is right the slope is not that of the value."""
    loss, wrong = built(layers), logits - 20 * F.one_hot(LABELS, 6)
    assert torch.autograd.gradcheck(lambda z: loss(layers, z, LABELS), (wrong.requires_grad_(),))


def test_the_target_is_detached(layers, logits):
    loss = built(layers, alpha=0.0, beta=1.0)
    logits = (logits + 20 * F.one_hot(LABELS, 6)).requires_grad_()
    gradient = torch.autograd.grad(loss(layers, logits, LABELS), logits)[0]
    with torch.no_grad():
        heads = torch.stack([*(block(x.mean(0)) for block, x in zip(loss.branches, layers, strict=False)), logits])
        right = (heads.argmax(2) == LABELS).unsqueeze(2)
        target = (heads * right).sum(0) / right.sum(0)
        expected = 3.0 * ((logits / 3).softmax(1) - (target / 3).softmax(1)) / 5
    torch.testing.assert_close(gradient, expected)


def test_where_no_head_is_right_the_self_distillation_is_zero(layers, logits):
    loss = built(layers, alpha=0.0, beta=1.0)
    with torch.no_grad():
        for block in loss.branches:
            block[-1].weight.zero_()
            block[-1].bias.copy_(F.one_hot(torch.tensor(5), 6))
    wrong = (logits - 20 * F.one_hot(LABELS, 6)).requires_grad_()
    value = loss(layers, wrong, LABELS)
    assert value.item() == 0
    assert not torch.autograd.grad(value, wrong)[0].any()


def test_a_block_is_its_convolutions():
    block, x = SeparableBlock(4, 6).double().eval(), torch.randn(2, 4, 7, 8, dtype=torch.float64)
    weights = [module.weight for module in block.convolve if isinstance(module, nn.Conv2d)]
    assert all(module.bias is None for module in block.modules() if isinstance(module, nn.Conv2d))
    scale = 1 / math.sqrt(1 + 1e-5)  # of a BatchNorm that has seen nothing
    inner = F.conv2d(F.conv2d(x, weights[0], stride=2, padding=1, groups=4), weights[1]).mul(scale).relu()
    inner = F.conv2d(F.conv2d(inner, weights[2], padding=1, groups=4), weights[3]).mul(scale).relu()
    expected = (inner + scale * F.conv2d(x, block.shortcut[0].weight, stride=2)).relu()
    assert expected.shape == (2, 6, 4, 4)
    torch.testing.assert_close(block(x), expected)


def test_a_branch_has_a_block_to_each_deeper_width():
    network = branch((4, 6, 8), 10)
    assert [type(module) for module in network[:2]] == [SeparableBlock, SeparableBlock]
    assert network[-1].weight.shape == (10, 8)


def test_without_a_teacher(batch):
    student = tiny_student()
    distiller = Distiller.from_method(published.branch(), None, student, time_steps=2, example=batch)
    assert not distiller.uses_teacher
    assert [[layer.path for layer in side] for side in distiller.layers["branch"]] == [["2", "5"], []]
    loss = distiller.losses["branch"]
    assert (loss.num_classes, loss.branches[0][-1].weight.shape) == (5, (5, 8))
    out = distiller(*batch)
    out.loss.backward()
    assert student[0].weight.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in distiller.losses.parameters())
    assert "branches" not in " ".join(student.state_dict())


def test_a_distiller_without_a_teacher_is_saved_and_loaded(batch):
    make = lambda: Distiller.from_method(published.branch(), None, tiny_student(), time_steps=2, example=batch)  # noqa: E731
    first, second = make(), make()
    second.load_state_dict(first.state_dict())
    assert second.chosen() == first.chosen()
    assert torch.equal(first.eval()(*batch).loss, second.eval()(*batch).loss)


def test_beside_a_teacher_its_outputs_can_be_cached(batch):
    losses = {"kd": (KDLoss(), 1.0), "branch": (BranchKDLoss(), 1.0)}
    distiller = Distiller(tiny_teacher(), tiny_student(), losses, time_steps=2, example=batch).eval()
    known = distiller.run_teacher(*batch)
    assert known.class_maps == {}
    assert torch.equal(distiller(*batch, known).loss, distiller(*batch).loss)


def test_layers_of_the_student_can_be_named_and_none_of_the_teacher(batch):
    losses = {"branch": (BranchKDLoss(), 1.0)}
    options = {"time_steps": 2, "example": batch}
    named = Distiller(None, tiny_student(), losses, layers={"branch": (["1", "4"], None)}, **options)
    assert [layer.path for layer in named.layers["branch"][0]] == ["1", "4"]
    with pytest.raises(ValueError, match=r"names layers of the teacher, and BranchKDLoss reads the student's alone"):
        Distiller(tiny_teacher(), tiny_student(), losses, layers={"branch": (["1", "4"], ["1"])}, **options)
    with pytest.raises(ValueError, match="needs two of the student, got 1"):
        Distiller(None, tiny_student(), {"branch": (BranchKDLoss(), 1.0)}, layers={"branch": ("5", None)}, **options)


def test_soft_labels_go_to_the_cross_entropy_as_they_are(layers, logits):
    soft = F.one_hot(LABELS, 6) * 0.6 + 0.4 / 6
    whole, entropy = built(layers), None
    hard, softened = (whole(layers, logits, labels) for labels in (LABELS, soft))
    whole.alpha = 0.0
    assert whole(layers, logits, soft) == whole(layers, logits, LABELS)
    entropy = sum(
        F.cross_entropy(block(x.mean(0)), soft) - F.cross_entropy(block(x.mean(0)), LABELS)
        for block, x in zip(whole.branches, layers, strict=False)
    )
    torch.testing.assert_close(softened - hard, entropy)


def test_half_precision_gives_fp32(layers, logits):
    loss = built(layers).float()
    value = loss([layer.bfloat16() for layer in layers], logits.bfloat16(), LABELS)
    assert value.dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"temperature": 0}, ValueError),
        ({"alpha": -1.0}, ValueError),
        ({"beta": "1"}, TypeError),
        ({"num_classes": 0}, ValueError),
    ],
)
def test_wrong_settings(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        BranchKDLoss(**settings)


def test_what_is_missing_is_named(layers, logits):
    with pytest.raises(RuntimeError, match="pass example="):
        BranchKDLoss()(layers, logits, LABELS)
    with pytest.raises(ValueError, match="num_classes must be given"):
        BranchKDLoss().build([layer.shape for layer in layers], [])
    with pytest.raises(ValueError, match="built for 3 layers, got 2"):
        built(layers)(layers[:2], logits, LABELS)
    with pytest.raises(ValueError, match=r"branch must be \[N, K\].*K is 6 here and 5 in logits"):
        built(layers)(layers, logits[:, :5], LABELS)
