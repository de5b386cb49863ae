"""SASTC against its formula by loops, and that it asks for batches of one size."""

import math

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from torch.nn import functional as F

from spikingjelly_ckd import Distiller, SASTCLoss


def embed(network, layer):
    """Unit vectors ``[N][D]`` from the rows of inner products, by loops over the images."""
    rows = layer.flatten(1)
    products = torch.stack([torch.stack([(a * b).sum() for b in rows]) for a in rows])
    first, second = network[0], network[2]
    hidden = (products @ first.weight.T + first.bias).clamp_min(0)
    found = hidden @ second.weight.T + second.bias
    return [[v / math.sqrt(sum(x * x for x in row)) for v in row] for row in found.tolist()]


def regress(network, features):
    first, norm, last = network[0], network[1], network[3]
    found = F.conv2d(features, first.weight, padding=1)
    centred = found - found.mean((0, 2, 3), keepdim=True)
    found = (centred / (centred.square().mean((0, 2, 3), keepdim=True) + norm.eps).sqrt()).clamp_min(0)
    return torch.einsum("oc,nchw->nohw", last.weight[:, :, 0, 0], found)


def halved(features, how):
    cells = torch.stack([features[..., y::2, x::2] for y in (0, 1) for x in (0, 1)])
    return cells.amax(0) if how == "max" else cells.mean(0)


def reference(matching, student, teacher):
    steps, images = student[0].shape[:2]
    keys = [embed(network, layer) for network, layer in zip(matching.keys, teacher, strict=True)]
    total = 0.0
    for t in range(steps):
        for i, ours in enumerate(student):
            query = embed(matching.queries[i], ours[t])
            errors = []
            for j, theirs in enumerate(teacher):
                network = matching.regressors[i * len(teacher) + j]
                features, target = ours[t], theirs
                if features.shape[-1] > target.shape[-1]:
                    features = halved(features, "max")
                elif features.shape[-1] < target.shape[-1]:
                    target = halved(target, "mean")
                errors.append((regress(network, features) - target).square().mean((1, 2, 3)).tolist())
            for n in range(images):
                scores = [sum(q * k for q, k in zip(query[n], key[n], strict=True)) for key in keys]
                powers = [math.exp(s) for s in scores]
                total += sum(p / sum(powers) * error[n] for p, error in zip(powers, errors, strict=True))
    return total / (steps * images * len(student))


@pytest.fixture
def layers():
    student = [torch.rand(2, 8, 3, 4, 4, dtype=torch.float64), torch.rand(2, 8, 4, 2, 2, dtype=torch.float64)]
    teacher = [torch.randn(8, 5, 4, 4, dtype=torch.float64), torch.randn(8, 2, 2, 2, dtype=torch.float64)]
    return student, teacher


def made(layers):
    student, teacher = layers
    loss = SASTCLoss()
    loss.build([x.shape for x in student], [x.shape for x in teacher])
    return loss.double()


def test_is_its_formula(layers):
    loss = made(layers)
    assert loss(*layers).item() == pytest.approx(reference(loss.matching, *layers), rel=1e-10)


def test_the_teacher_may_have_more_layers(layers):
    student, teacher = layers
    loss = made((student[:1], teacher))
    assert loss(student[:1], teacher).item() == pytest.approx(reference(loss.matching, student[:1], teacher), rel=1e-10)


def test_gradcheck(layers):
    student, teacher = layers
    loss = made(layers).eval()
    deep = student[1].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss([student[0], x], teacher), (deep,))


def test_a_quarter_of_the_batch_is_the_width_and_one_at_least():
    for images, width in ((128, 32), (8, 2), (3, 1)):
        loss = SASTCLoss()
        loss.build([(2, images, 3, 4, 4)], [(images, 5, 4, 4)])
        first, _, second = loss.matching.keys[0]
        assert (first.in_features, first.out_features, second.out_features) == (images, 2 * width, width)


def test_built_over_the_stages_trained_and_not_exported(batch):
    distiller = Distiller(tiny_teacher(), tiny_student(), {"s": (SASTCLoss(), 1.0)}, time_steps=2, example=batch)
    assert [layer.path for layer in distiller.layers["s"][0]] == ["2", "5"]
    distiller(*batch).values["s"].backward()
    assert all(p.grad is not None for p in distiller.losses.parameters())
    assert not any("matching" in key for key in distiller.student.state_dict())


def test_another_batch_than_the_example_is_refused(batch):
    images, labels = batch
    distiller = Distiller(tiny_teacher(), tiny_student(), {"s": (SASTCLoss(), 1.0)}, time_steps=2, example=batch)
    with pytest.raises(ValueError, match="built for batches of 4 images.*got 3: use drop_last=True"):
        distiller(images[:3], labels[:3])


def test_wrong_use(layers):
    student, teacher = layers
    with pytest.raises(RuntimeError, match="not built"):
        SASTCLoss()(student, teacher)
    loss = made(layers)
    with pytest.raises(ValueError, match=r"built for \(2, 2\) layers .*got 2 and 1"):
        loss(student, teacher[:1])
    with pytest.raises(ValueError, match=r"\[T, N, C, h, w\]"):
        loss([layer[0] for layer in student], teacher)
    with pytest.raises(ValueError, match="N is 3 here and 8 in student"):
        loss(student, [teacher[0], teacher[1][:3]])


def test_networks_that_are_there_are_kept(layers):
    loss = made(layers)
    matching = loss.matching
    loss.build([x.shape for x in layers[0]], [x.shape for x in layers[1]])
    assert loss.matching is matching
