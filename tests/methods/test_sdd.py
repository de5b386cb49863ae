"""SDD against its formula, written out in float64 loops, and on real networks."""

import math

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from torch import nn

from spikingjelly_ckd import Distiller, DKDLoss, KDLoss, SDDLoss, record
from spikingjelly_ckd.functional import regions

LABELS = torch.tensor([0, 4, 2, 2])


def softmax(values, temperature):
    powers = [math.exp((v - max(values)) / temperature) for v in values]
    return [p / sum(powers) for p in powers]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def divergence(z, t, y, criterion, temperature, alpha, beta):
    q, p = softmax(z, temperature), softmax(t, temperature)
    if criterion == "kd":
        return temperature**2 * kl(p, q)
    rest = [softmax([v for k, v in enumerate(row) if k != y], temperature) for row in (t, z)]
    return temperature**2 * (alpha * kl([p[y], 1 - p[y]], [q[y], 1 - q[y]]) + beta * kl(*rest))


def reference(student, teacher, labels, *, criterion, temperature, alpha, beta, disagreement):
    values = []
    for of_student, of_teacher, y in zip(student.tolist(), teacher.tolist(), labels.tolist(), strict=True):
        right = [t.index(max(t)) == y for t in of_teacher]
        for z, t, is_right in zip(of_student, of_teacher, right, strict=True):
            weight = 1.0 if is_right == right[0] else disagreement
            values.append(weight * divergence(z, t, y, criterion, temperature, alpha, beta))
    return sum(values) / len(values)


@pytest.fixture
def pair():
    student, teacher = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    teacher[0, 0, 0] = teacher[0, 2, 0] = 5  # right about the image and about one region
    teacher[1, 0, 0] = teacher[1, 3, 4] = 5  # wrong about the image, right about one region
    return student, teacher


@pytest.mark.parametrize("criterion", ["dkd", "kd"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("disagreement", [1.0, 2.0, 3.5])
def test_is_its_formula(pair, criterion, temperature, disagreement):
    settings = {"criterion": criterion, "temperature": temperature, "alpha": 1.5, "beta": 3.0}
    settings["disagreement"] = disagreement
    value = SDDLoss(**settings)(*pair, LABELS).item()
    assert value == pytest.approx(reference(*pair, LABELS, **settings), rel=1e-10)


@pytest.mark.parametrize("criterion", ["dkd", "kd"])
def test_gradcheck(pair, criterion):
    loss = SDDLoss(criterion)
    assert torch.autograd.gradcheck(lambda z: loss(z, pair[1], LABELS), (pair[0].requires_grad_(),))


def test_the_whole_image_alone_is_the_criterion_itself(pair):
    student, teacher = (logits[:, :1] for logits in pair)
    whole = student[:, 0], teacher[:, 0]
    torch.testing.assert_close(SDDLoss()(student, teacher, LABELS), DKDLoss()(*whole, LABELS))
    torch.testing.assert_close(SDDLoss("kd")(student, teacher, LABELS), KDLoss()(*whole))


def test_regions_are_means_of_the_cells_coarse_to_fine():
    layer = torch.rand(2, 3, 8, 4, dtype=torch.float64)
    found = regions(layer, (1, 2, 4))
    assert found.shape == (2, 21, 3)
    cells = [layer[:, :, 2 * i : 2 * i + 2, j] for i in range(4) for j in range(4)]
    torch.testing.assert_close(found[:, 5:], torch.stack([cell.mean(2) for cell in cells], dim=1))
    quarters = [layer[:, :, 4 * i : 4 * i + 4, 2 * j : 2 * j + 2] for i in range(2) for j in range(2)]
    torch.testing.assert_close(found[:, 1:5], torch.stack([quarter.mean((2, 3)) for quarter in quarters], dim=1))
    torch.testing.assert_close(found[:, 0], layer.mean((2, 3)))


@pytest.mark.parametrize("scales", [(1,), (1, 2), (1, 2, 4)])
def test_on_real_networks(batch, scales):
    teacher, student = tiny_teacher().double(), tiny_student().double()
    images, labels = batch[0].double(), batch[1]
    settings = {"criterion": "dkd", "temperature": 4.0, "alpha": 1.0, "beta": 8.0, "disagreement": 2.0}
    distiller = Distiller(teacher, student, {"sdd": (SDDLoss(**settings, scales=scales), 1.0)}, time_steps=2)
    distiller(images, labels)  # chooses the layers
    with record(student, ["5"]) as seen:
        out = distiller(images, labels)
    with torch.no_grad():
        layers = seen["5"].mean(0), teacher[:6](images)
        logits = []
        for layer, head in zip(layers, (student[8], teacher[8]), strict=True):
            cells = []
            for scale in scales:
                step = 4 // scale
                for i in range(scale):
                    for j in range(scale):
                        pooled = layer[:, :, step * i : step * (i + 1), step * j : step * (j + 1)].mean((2, 3))
                        cells.append(pooled @ head.weight.T + head.bias)
            logits.append(torch.stack(cells, dim=1))
    assert out.terms["sdd"].item() == pytest.approx(reference(*logits, labels, **settings), rel=1e-9)
    out.values["sdd"].backward()
    assert student[8].weight.grad.abs().sum() > 0
    assert student[3].weight.grad.abs().sum() > 0
    assert teacher[8].weight.grad is None


def test_a_student_with_two_linear_layers_is_refused(teacher, batch):
    student = nn.Sequential(*tiny_student()[:8], nn.Linear(8, 8), nn.Linear(8, 5))
    with pytest.raises(ValueError, match="the student's logits are not its last linear layer"):
        Distiller(teacher, student, {"sdd": (SDDLoss(), 1.0)}, time_steps=2)(*batch)


def test_a_map_smaller_than_the_finest_grid_is_refused(batch):
    images = batch[0][:, :, :4, :4]
    distiller = Distiller(tiny_teacher(), tiny_student(), {"sdd": (SDDLoss(), 1.0)}, time_steps=2)
    with pytest.raises(ValueError, match=r"h >= 4.*got \(4, 8, 2, 2\).*pass coarser ones"):
        distiller(images, batch[1])
    coarse = Distiller(tiny_teacher(), tiny_student(), {"sdd": (SDDLoss(scales=(1, 2)), 1.0)}, time_steps=2)
    assert coarse(images, batch[1]).terms["sdd"].isfinite()


def test_soft_labels_count_by_their_largest_entry(pair):
    soft = torch.nn.functional.one_hot(LABELS, 5) * 0.6 + 0.1
    assert SDDLoss()(*pair, soft) == SDDLoss()(*pair, LABELS)


def test_it_prints_its_scales():
    text = "SDDLoss(criterion=kd, temperature=4.0, alpha=1.0, beta=8.0, disagreement=2.0, scales=(1, 2))"
    assert repr(SDDLoss("kd", scales=[1, 2])) == text


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"criterion": "nkd"}, ValueError),
        ({"temperature": 0}, ValueError),
        ({"alpha": -1.0}, ValueError),
        ({"beta": "8"}, TypeError),
        ({"scales": (2, 4)}, ValueError),
        ({"scales": (1, 4, 2)}, ValueError),
        ({"scales": ()}, ValueError),
        ({"scales": (1, 2.0)}, TypeError),
        ({"disagreement": -1}, ValueError),
    ],
)
def test_wrong_settings(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        SDDLoss(**settings)


def test_wrong_shapes(pair):
    with pytest.raises(ValueError, match=r"teacher must be \[N, M, K\].*M is 4 here and 5 in student"):
        SDDLoss()(pair[0], pair[1][:, :4], LABELS)
    with pytest.raises(ValueError, match="labels must be"):
        SDDLoss()(*pair, LABELS[:3])
