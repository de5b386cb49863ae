"""OFA against its formula, and its heads against their parts."""

import math

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from torch import nn

from spikingjelly_ckd import Distiller, OFALoss
from spikingjelly_ckd.methods.projectors import StageHead


def softmax(values, temperature):
    powers = [math.exp((v - max(values)) / temperature) for v in values]
    return [p / sum(powers) for p in powers]


def exit_error(student, teacher, label, power, temperature):
    """Of one image at one exit."""
    total = 0.0
    for k, (q, p) in enumerate(zip(softmax(student, temperature), softmax(teacher, temperature), strict=True)):
        right = float(k == label)
        total -= ((p + right) ** power - right) * math.log(q)
    return total


@pytest.fixture
def layers():
    return [torch.rand(2, 3, 4, 8, 8, dtype=torch.float64), torch.rand(2, 3, 6, 4, 4, dtype=torch.float64)]


@pytest.fixture
def logits():
    return (
        2 * torch.randn(3, 5, dtype=torch.float64),
        2 * torch.randn(3, 5, dtype=torch.float64),
        torch.tensor([4, 0, 2]),
    )


def made(layers, *settings):
    loss = OFALoss(*settings, num_classes=5)
    loss.build([x.shape for x in layers], [(3, 7, 4, 4)])
    return loss.double().eval()


@pytest.mark.parametrize(("power", "temperature"), [(1.0, 1.0), (1.5, 1.0), (1.2, 4.0)])
def test_is_its_formula(layers, logits, power, temperature):
    loss = made(layers, power, temperature)
    student, teacher, labels = logits
    exits = [*(head(layer.sum(0) / 2) for head, layer in zip(loss.heads, layers, strict=True)), student]
    expected = [
        sum(exit_error(exit[n].tolist(), teacher[n].tolist(), labels[n], power, temperature) for exit in exits)
        for n in range(3)
    ]
    assert loss(layers, *logits).tolist() == pytest.approx(expected, rel=1e-10)


def test_gradcheck(layers, logits):
    loss = made(layers, 1.5)
    deep = layers[1].requires_grad_()
    student = logits[0].requires_grad_()
    assert torch.autograd.gradcheck(lambda x, z: loss([layers[0], x], z, *logits[1:]), (deep, student))


def test_soft_labels_count_by_their_largest_entry(layers, logits):
    loss, soft = made(layers, 1.5), torch.eye(5, dtype=torch.float64)[logits[2]] * 0.8 + 0.04
    assert torch.equal(loss(layers, *logits[:2], soft), loss(layers, *logits))


def test_heads_have_the_authors_parts():
    head = StageHead(4, 32, 10, halvings=3)
    shapes = [tuple(m.weight.shape) for m in head.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    depthwise = {channels: (channels, 1, 3, 3) for channels in (4, 8, 16)}
    assert shapes == [
        *(depthwise[4], (4, 4, 1, 1), depthwise[4], (8, 4, 1, 1)),
        *(depthwise[8], (8, 8, 1, 1), depthwise[8], (16, 8, 1, 1)),
        *(depthwise[16], (16, 16, 1, 1), depthwise[16], (32, 16, 1, 1)),
        (10, 32),
    ]
    strides = [m.stride for m in head.modules() if isinstance(m, nn.Conv2d)]
    assert strides == 3 * [(2, 2), (1, 1), (1, 1), (1, 1)]
    last = [m for m in StageHead(4, 32, 10, halvings=0).modules() if isinstance(m, nn.Conv2d)]
    assert [tuple(m.weight.shape) for m in last] == [(32, 4, 1, 1)]
    assert not head[-1].bias.any()


def test_the_classes_are_read_off_the_example(batch):
    distiller = Distiller(tiny_teacher(), tiny_student(), {"ofa": (OFALoss(), 1.0)}, time_steps=2, example=batch)
    loss = distiller.losses["ofa"]
    assert loss.num_classes == 5
    assert [head[-1].out_features for head in loss.heads] == [5, 5]
    assert [layer.path for layer in distiller.layers["ofa"][0]] == ["2", "5"]
    distiller(*batch).values["ofa"].backward()
    assert all(p.grad is not None for p in loss.parameters())
    assert not any("heads" in key for key in distiller.student.state_dict())


def test_reading_the_classes_leaves_the_student_as_it_was(batch):
    student = tiny_student()
    before = {key: value.clone() for key, value in student.state_dict().items()}
    distiller = Distiller(tiny_teacher(), student, {}, time_steps=2)
    random = torch.random.get_rng_state()
    assert distiller.observers.count_classes(student, distiller.read(*batch)) == 5
    assert torch.equal(torch.random.get_rng_state(), random)
    assert student.training
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items())


def test_a_teacher_with_one_stage_serves_several_of_the_student(batch):
    layers = {"ofa": (["2", "5"], ["5"])}
    losses = {"ofa": (OFALoss(), 1.0)}
    distiller = Distiller(tiny_teacher(), tiny_student(), losses, layers=layers, time_steps=2, example=batch)
    assert len(distiller.losses["ofa"].heads) == 2
    assert distiller(*batch).loss.isfinite()


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"power": 0.5}, ValueError),
        ({"power": None}, TypeError),
        ({"temperature": 0}, ValueError),
        ({"num_classes": 1}, ValueError),
        ({"num_classes": 2.5}, TypeError),
    ],
)
def test_wrong_settings(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        OFALoss(**settings)


def test_wrong_use(layers, logits):
    with pytest.raises(RuntimeError, match="not built"):
        OFALoss()(layers, *logits)
    with pytest.raises(RuntimeError, match="pass num_classes="):
        OFALoss().build([x.shape for x in layers], [(3, 7, 4, 4)])
    loss = made(layers)
    with pytest.raises(ValueError, match="built for 2 layers of the student, got 1"):
        loss(layers[:1], *logits)
    with pytest.raises(ValueError, match="K is 4 here and 5 in student"):
        loss(layers, logits[0], logits[1][:, :4], logits[2])


def test_heads_that_are_there_are_kept(layers):
    loss = made(layers)
    heads = loss.heads
    loss.build([x.shape for x in layers], [(3, 7, 4, 4)])
    assert loss.heads is heads
