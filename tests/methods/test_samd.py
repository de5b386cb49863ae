"""SAMD against its formula, written out in float64 loops."""

import math

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from torch import nn

from spikingjelly_ckd import Distiller, SAMDLoss


def softmax(values, temperature):
    top = max(values)
    powers = [math.exp((v - top) / temperature) for v in values]
    return [p / sum(powers) for p in powers]


def reference(spikes, teacher_map, *, temperature, scope, squared, teacher_eps, student_eps):
    """One number, by loops over images and positions."""
    steps, images, channels, height, width = spikes.shape
    student = [
        [
            sum(spikes[t, n, c, y, x].item() for t in range(steps) for c in range(channels))
            for y in range(height)
            for x in range(width)
        ]
        for n in range(images)
    ]
    teacher = [teacher_map[n].flatten().tolist() for n in range(images)]

    def scaled(rows, eps):
        if scope == "none":
            return rows
        out = []
        for row in rows:
            pool = row if scope == "sample" else [v for r in rows for v in r]
            low = min(pool)
            out.append([(v - low) / (max(pool) - low + eps) for v in row])
        return out

    total = 0.0
    for s, t in zip(scaled(student, student_eps), scaled(teacher, teacher_eps), strict=True):
        p, q = softmax(t, temperature), softmax(s, temperature)
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total / images * (temperature**2 if squared else 1)


def released(**changes):
    return SAMDLoss(
        normalization="batch", squared_temperature=False, cam_pool="sum", student_eps=1e-3, teacher_eps=1e-3, **changes
    )


@pytest.fixture
def pair():
    spikes = torch.randint(0, 2, (3, 4, 5, 3, 4)).double()
    return spikes, torch.rand(4, 3, 4, dtype=torch.float64) * 1e-4


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_paper_variant_is_its_formula(pair, temperature):
    tiny = torch.finfo(torch.float64).tiny
    settings = {"temperature": temperature, "scope": "sample", "squared": True}
    expected = reference(*pair, **settings, teacher_eps=tiny, student_eps=1.0)
    assert SAMDLoss(temperature)(*pair).item() == pytest.approx(expected, rel=1e-12)


def test_released_variant_is_its_formula(pair):
    expected = reference(*pair, temperature=2.0, scope="batch", squared=False, teacher_eps=1e-3, student_eps=1e-3)
    value = released()(*pair).item()
    assert value == pytest.approx(expected, rel=1e-12)
    # The 1e-10 that the authors' code adds to both softmaxes is left out: it moves the value by less than 1e-8.
    spikes, cam = pair
    s, t = spikes.sum((0, 2)).flatten(1), cam.flatten(1)
    s, t = ((m - m.min()) / ((m - m.min()).max() + 1e-3) for m in (s, t))
    p, q = torch.softmax(t / 2, 1) + 1e-10, torch.softmax(s / 2, 1) + 1e-10
    assert value == pytest.approx((p * (p / q).log()).sum(1).mean().item(), abs=1e-8)


def test_literal_sums_make_the_softmax_one_hot():
    spikes = torch.randint(0, 2, (4, 2, 128, 4, 4)).double()
    cam = torch.rand(2, 4, 4, dtype=torch.float64)
    loss = SAMDLoss(normalization="none")
    expected = reference(spikes, cam, temperature=2.0, scope="none", squared=True, teacher_eps=0.0, student_eps=0.0)
    assert loss(spikes, cam).item() == pytest.approx(expected, rel=1e-12)
    one_hot = (spikes.sum((0, 2)).flatten(1) / 2).softmax(1).amax(1)
    assert one_hot.min() > 0.5
    assert loss(spikes, cam) > 20 * SAMDLoss()(spikes, cam)


@pytest.mark.parametrize("normalization", ["sample", "batch"])
@pytest.mark.parametrize("scaling", ["softmax", "none", "zscore", "l2"])
def test_gradcheck(normalization, scaling):
    spikes = torch.rand(2, 3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    cam = torch.rand(3, 3, 3, dtype=torch.float64)
    loss = SAMDLoss(normalization=normalization, scaling=scaling)
    assert torch.autograd.gradcheck(lambda s: loss(s, cam), (spikes,))


def test_other_scalings_are_correlation_and_cosine(pair):
    spikes, cam = pair
    term = SAMDLoss(scaling="zscore").compute(*pair)
    rows = torch.stack([term.maps["student"].flatten(1), term.maps["teacher"].flatten(1)], 1)
    correlation = torch.stack([torch.corrcoef(row)[0, 1] for row in rows])
    assert term.value.item() == pytest.approx((2 - 2 * correlation).mean().item(), rel=1e-4)
    cosine = torch.cosine_similarity(rows[:, 0], rows[:, 1])
    assert SAMDLoss(scaling="l2")(*pair).item() == pytest.approx((2 - 2 * cosine).mean().item(), rel=1e-9)
    assert SAMDLoss(scaling="none")(*pair).item() == pytest.approx((rows[:, 0] - rows[:, 1]).square().mean().item())


def test_equal_maps_give_zero_and_unequal_sizes_are_matched():
    cam = torch.tensor([[[0.0, 1.0], [2.0, 4.0]]], dtype=torch.float64)
    spikes = 1e9 * cam.view(1, 1, 1, 2, 2)
    assert SAMDLoss()(spikes, cam).abs() < 1e-9
    assert SAMDLoss()(spikes.repeat_interleave(2, 3).repeat_interleave(2, 4), cam).abs() < 1e-9


def test_size_on_random_maps_at_weight_one():
    """The authors' form is weak: about 0.01 on random maps, 0.12 on opposite halves (methods of the field, 1.6 #6)."""
    maps = torch.rand(64, 8, 8)
    spikes = torch.rand(1, 64, 1, 8, 8)
    assert 0.003 < released()(spikes, maps) < 0.03
    half = torch.zeros(1, 8, 8)
    half[:, :4] = 1
    assert released()((1 - half).view(1, 1, 1, 8, 8), half).item() == pytest.approx(0.122, abs=0.005)


def test_constant_teacher_maps_weigh_nothing_and_are_counted(pair):
    spikes, cam = pair
    flat = cam.clone()
    flat[1] = 0.5
    term = SAMDLoss().compute(spikes, flat)
    assert term.skipped == 1
    alone = [SAMDLoss()(spikes[:, i : i + 1], flat[i : i + 1]).item() for i in (0, 2, 3)]
    assert term.value.item() == pytest.approx(sum(alone) / 4)
    assert not any(term.violations.values())
    assert any(SAMDLoss().compute(spikes, torch.ones_like(cam)).violations.values())


def test_violations_name_silence_and_negatives(pair):
    spikes, cam = pair
    silent = SAMDLoss().compute(torch.zeros_like(spikes), cam)
    assert "does not fire" in next(message for message, holds in silent.violations.items() if holds)
    signed = SAMDLoss().compute(spikes - 0.3, cam)
    assert "negative" in next(message for message, holds in signed.violations.items() if holds)
    for meaning in ("abs", "sum"):
        assert not any(SAMDLoss(negative=meaning).compute(spikes - 0.3, cam).violations.values())


def test_gradient_reaches_the_spikes_and_not_the_target(pair):
    spikes, cam = pair[0].requires_grad_(), pair[1].requires_grad_()
    term = SAMDLoss().compute(spikes, cam.detach())
    term.value.backward()
    assert spikes.grad.abs().sum() > 0
    assert cam.grad is None
    assert not term.maps["student"].requires_grad


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"temperature": 0}, ValueError),
        ({"temperature": -1.0}, ValueError),
        ({"temperature": float("nan")}, ValueError),
        ({"temperature": "2"}, TypeError),
        ({"normalization": "image"}, ValueError),
        ({"scaling": "tanh"}, ValueError),
        ({"target_class": "student"}, ValueError),
        ({"cam_pool": "max"}, ValueError),
        ({"negative": "drop"}, ValueError),
        ({"teacher_eps": 0.0}, ValueError),
        ({"student_eps": 0.0}, ValueError),
    ],
)
def test_wrong_settings(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        SAMDLoss(**settings)


def test_wrong_shapes():
    with pytest.raises(ValueError, match=r"\[T, N, C, h, w\]"):
        SAMDLoss()(torch.rand(2, 3, 4, 4), torch.rand(2, 4, 4))
    with pytest.raises(ValueError, match="one position"):
        SAMDLoss()(torch.rand(1, 2, 3, 1, 1), torch.rand(2, 4, 4))


# --- other class maps of the teacher, and the student's own class map ------------------------------------------------


def maps_of(loss, batch, *, teacher=None, labels=None):
    torch.manual_seed(0)
    layers = {"samd": ("5", "5")}
    distiller = Distiller(teacher or tiny_teacher(), tiny_student(), {"samd": (loss, 1.0)}, layers=layers, time_steps=2)
    out = distiller(batch[0], batch[1] if labels is None else labels)
    out.loss.backward()
    return out.maps


def two_layer_teacher():
    """A head whose gradient differs from position to position."""
    net = tiny_teacher()
    return nn.Sequential(
        *net[:6], nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 5)
    )


@pytest.mark.parametrize("method", ["weight", "hires_cam"])
def test_behind_a_pooled_linear_head_all_methods_but_grad_cam_plus_plus_are_one(batch, method):
    grad_cam = maps_of(SAMDLoss(), batch)["teacher"]
    torch.testing.assert_close(maps_of(SAMDLoss(cam_method=method), batch)["teacher"], grad_cam, rtol=1e-4, atol=1e-5)


def test_methods_differ_behind_another_head(batch):
    maps = [
        maps_of(SAMDLoss(cam_method=m), batch, teacher=two_layer_teacher())["teacher"]
        for m in ("grad_cam", "grad_cam++", "hires_cam")
    ]
    assert all(not torch.allclose(a, b, atol=1e-3) for a, b in ((maps[0], maps[1]), (maps[0], maps[2])))


def test_weights_of_a_head_that_is_not_pooled_are_refused(batch):
    with pytest.raises(ValueError, match="8 channels and the last linear layer takes 16"):
        maps_of(SAMDLoss(cam_method="weight"), batch, teacher=two_layer_teacher())


def test_the_weight_method_needs_no_gradients_and_follows_the_target(batch):
    assert "gradients" not in SAMDLoss(cam_method="weight").needs
    assert "gradients" in SAMDLoss().needs
    soft = torch.nn.functional.one_hot(batch[1], 5).float()
    label = [
        maps_of(SAMDLoss(cam_method=m, target_class="label"), batch, labels=labels)["teacher"]
        for m in ("weight", "grad_cam")
        for labels in (batch[1], soft)
    ]
    for other in label[1:]:
        torch.testing.assert_close(other, label[0], rtol=1e-4, atol=1e-5)


def test_map_to_map_compares_the_students_grad_cam(batch):
    spikes, cam = maps_of(SAMDLoss(), batch), maps_of(SAMDLoss(student_map="grad_cam"), batch)
    torch.testing.assert_close(spikes["teacher"], cam["teacher"])
    assert not torch.allclose(spikes["student"], cam["student"], atol=1e-2)


@pytest.mark.parametrize("setting", ["cam_method", "student_map"])
def test_unknown_methods(setting):
    with pytest.raises(ValueError, match=setting):
        SAMDLoss(**{setting: "attention"})


def test_the_old_word_evidence_warns_and_works():
    with pytest.warns(DeprecationWarning, match="evidence is now called cam_method"):
        loss = SAMDLoss(evidence="weight")
    assert loss.cam_method == "weight"
    with pytest.warns(DeprecationWarning, match="evidence is now called cam_method"):
        assert loss.evidence == "weight"
    with pytest.raises(TypeError, match="pass cam_method alone"):
        SAMDLoss(evidence="weight", cam_method="weight")
