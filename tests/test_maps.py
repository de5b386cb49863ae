"""Maps: against hand-computed values, against each other, and against an independent implementation."""

import pytest
import torch
from torch import nn

from spikingjelly_ckd.functional.maps import (
    SPIKE_EPS,
    class_activation_map,
    fold_time,
    grad_cam,
    grad_cam_plus_plus,
    hires_cam,
    is_constant,
    match_maps,
    normalize_map,
    spike_activation_map,
)
from spikingjelly_ckd.networks.recording import record


def evidence(net, images, path, classes):
    with record(net, [path], as_leaf=True) as seen:
        score = net(images).gather(1, classes[:, None]).sum()
    return seen[path].detach(), torch.autograd.grad(score, seen[path])[0]


def test_spike_map_sums_time_and_channels():
    spikes = torch.randint(0, 2, (4, 2, 3, 5, 6)).double()
    expected = torch.zeros(2, 5, 6, dtype=torch.float64)
    for t in range(4):
        for c in range(3):
            expected += spikes[t, :, c]
    assert torch.equal(spike_activation_map(spikes), expected)


def test_spike_map_is_exact_in_half_precision():
    spikes = torch.ones(8, 1, 64, 2, 2, dtype=torch.bfloat16)
    assert spikes.sum(dim=(0, 2)).dtype == torch.bfloat16
    assert torch.equal(spike_activation_map(spikes), torch.full((1, 2, 2), 512.0))
    counts = (torch.arange(4 * 101) < 325).to(torch.bfloat16).view(4, 1, 101, 1, 1)
    assert spike_activation_map(counts).item() == 325  # bf16 cannot hold 325


def test_ternary_spikes_cancel_in_a_sum_and_not_in_magnitudes():
    spikes = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1, 1)
    assert spike_activation_map(spikes).item() == 0
    assert spike_activation_map(spikes, negative="abs").item() == 2


def test_grad_cam_equals_weight_cam_for_a_pooled_linear_head(teacher, batch):
    teacher.double().eval().requires_grad_(False)
    classes = batch[1]
    features, gradients = evidence(teacher, batch[0].double(), "5", classes)
    cam = class_activation_map(features, teacher[8].weight, classes)
    positions = features.shape[2] * features.shape[3]
    torch.testing.assert_close(grad_cam(features, gradients) * positions, cam)
    torch.testing.assert_close(grad_cam(features, gradients, pool="sum"), cam)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ours"), [("GradCAM", grad_cam), ("GradCAMPlusPlus", grad_cam_plus_plus), ("HiResCAM", hires_cam)]
)
def test_class_evidence_agrees_with_pytorch_grad_cam(batch, name, ours):
    reference = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 16), nn.ReLU(),
        nn.Linear(16, 5),
    ).eval()  # fmt: skip
    with torch.no_grad():
        net[7].weight *= 100  # gradients beside which the epsilon in their Grad-CAM++ is nothing
    images, classes = batch
    theirs = getattr(reference, name)(model=net, target_layers=[net[3]])
    theirs_map = torch.from_numpy(theirs(images, [ClassifierOutputTarget(int(c)) for c in classes]))
    theirs.activations_and_grads.release()
    map_of_ours = normalize_map(ours(*evidence(net, images, "3", classes)), "sample", eps=1e-7)
    enlarged = torch.nn.functional.interpolate(map_of_ours[:, None], size=(8, 8), mode="bilinear")[:, 0]
    flat = ~is_constant(theirs_map)
    assert flat.any()
    scaled = normalize_map(enlarged, "sample", eps=1e-7)
    torch.testing.assert_close(scaled[flat], normalize_map(theirs_map, "sample", eps=1e-7)[flat], atol=1e-4, rtol=0)


def test_match_pools_the_larger_in_each_direction():
    student, teacher = torch.arange(32.0).view(1, 4, 8), torch.rand(1, 8, 2)
    a, b = match_maps(student, teacher)
    assert a.shape == b.shape == (1, 4, 2)
    torch.testing.assert_close(a[0, 0], torch.tensor([1.5, 5.5]))
    same, _ = match_maps(student, torch.rand(1, 4, 8))
    assert same is student


@pytest.mark.parametrize("sizes", [((1, 1), (4, 4)), ((1, 4), (4, 1))])
def test_one_position_is_refused(sizes):
    with pytest.raises(ValueError, match="one position"):
        match_maps(torch.rand(2, *sizes[0]), torch.rand(2, *sizes[1]))


def test_normalisation_scopes():
    maps = torch.tensor([[[0.0, 1.0]], [[2.0, 6.0]]])
    assert torch.equal(normalize_map(maps, "none"), maps)
    torch.testing.assert_close(normalize_map(maps, "sample", eps=0.0), torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]]]))
    torch.testing.assert_close(normalize_map(maps, "batch", eps=0.0), torch.tensor([[[0, 1 / 6]], [[1 / 3, 1.0]]]))


def test_batch_normalisation_couples_the_images_and_sample_does_not():
    maps = torch.rand(3, 4, 4)
    louder = torch.cat([maps[:2], 10 * maps[2:]])
    assert torch.equal(normalize_map(maps, "sample")[0], normalize_map(louder, "sample")[0])
    assert not torch.allclose(normalize_map(maps, "batch")[0], normalize_map(louder, "batch")[0])


def test_gradient_of_a_silent_map_is_bounded_by_the_epsilon():
    target = torch.softmax(torch.rand(1, 16) / 2, 1)

    def largest_gradient(eps):
        spikes = torch.zeros(2, 1, 3, 4, 4, requires_grad=True)
        maps = normalize_map(spike_activation_map(spikes), "sample", eps=eps)
        loss = 4 * torch.nn.functional.kl_div((maps.flatten(1) / 2).log_softmax(1), target, reduction="batchmean")
        return torch.autograd.grad(loss, spikes)[0].abs().max().item()

    assert largest_gradient(torch.finfo(torch.float32).tiny) > 1e30
    assert 1 < largest_gradient(1e-3) < 100
    assert largest_gradient(SPIKE_EPS) < 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spike_activation_map(torch.rand(2, 3, 4, 4)), r"\[T, N, C, h, w\]"),
        (lambda: spike_activation_map(torch.rand(1, 2, 3, 4, 4), negative="ignore"), "negative must be one of"),
        (
            lambda: grad_cam(torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 5)),
            r"gradients must be \[N, C, h, w\].*w is 5 here and 4 in features",
        ),
        (lambda: grad_cam(torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4), pool="max"), "pool must be one of"),
        (
            lambda: class_activation_map(torch.rand(2, 3, 4, 4), torch.rand(5, 4), torch.tensor([0, 1])),
            r"weight must be \[K, C\].*C is 4 here and 3 in features",
        ),
        (
            lambda: class_activation_map(torch.rand(2, 3, 4, 4), torch.rand(5, 3), torch.tensor([0])),
            r"classes must be \[N\].*N is 1 here and 2 in features",
        ),
        (lambda: normalize_map(torch.rand(2, 4, 4), "image"), "normalization must be one of"),
        (lambda: normalize_map(torch.rand(2, 1, 4, 4), "sample"), r"\[N, h, w\]"),
        (lambda: is_constant(torch.rand(4, 4)), r"maps must be \[N, h, w\], got \(4, 4\)"),
        (
            lambda: match_maps(torch.rand(2, 4, 4), torch.rand(3, 4, 4)),
            r"teacher must be \[N, h', w'\].*N is 3 here and 2 in student",
        ),
    ],
)
def test_wrong_shapes_and_names(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_fold_time_puts_time_beside_the_channels():
    tensor = torch.randn(3, 2, 4, 5, 6)
    folded = fold_time(tensor)
    for t in range(3):
        for c in range(4):
            assert torch.equal(folded[:, t * 4 + c], tensor[t, :, c])


def test_grad_cam_plus_plus_is_its_formula():
    features, gradients = torch.rand(2, 3, 4, 4, dtype=torch.float64), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    expected = torch.zeros(2, 4, 4, dtype=torch.float64)
    for n in range(2):
        for c in range(3):
            total = features[n, c].sum()
            weight = 0.0
            for g in gradients[n, c].flatten():
                alpha = g**2 / (2 * g**2 + g**3 * total)
                weight += alpha * max(g, 0.0)
            expected[n] += weight * features[n, c]
    torch.testing.assert_close(grad_cam_plus_plus(features, gradients), expected.relu(), rtol=1e-10, atol=1e-12)


def test_grad_cam_plus_plus_of_zero_gradients_is_zero():
    assert not grad_cam_plus_plus(torch.rand(1, 2, 3, 3), torch.zeros(1, 2, 3, 3)).any()
