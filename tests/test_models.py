"""The recipe networks: topology, twins, neurons, and what the distiller finds in them."""

import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from torch import nn

from spikingjelly_ckd import CKDDistiller, find_layer
from spikingjelly_ckd.recipes.models import (
    ResNet,
    SpikingResNet,
    lif,
    resnet19,
    resnet20,
    spiking_resnet19,
    spiking_resnet20,
)

PAIRS = {"19": (resnet19, spiking_resnet19), "20": (resnet20, spiking_resnet20)}


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def by_hand(
    widths: tuple[int, ...], depths: tuple[int, ...], in_channels: int, classes: int, hidden: int | None
) -> int:
    """Parameters of convolutions (no bias), BatchNorms (2 a channel) and Linears (with bias)."""
    total = 9 * in_channels * widths[0] + 2 * widths[0]
    before = widths[0]
    for width, depth in zip(widths, depths, strict=True):
        for _ in range(depth):
            total += 9 * before * width + 9 * width * width + 4 * width
            if before != width:
                total += before * width + 2 * width
            before = width
    return total + (before * classes + classes if hidden is None else (before + 1) * hidden + (hidden + 1) * classes)


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize(("in_channels", "classes", "hidden"), [(3, 10, None), (2, 100, 256)])
def test_parameters_add_up(kind, in_channels, classes, hidden):
    widths, depths = {"19": ((128, 256, 512), (3, 3, 2)), "20": ((16, 32, 64), (3, 3, 3))}[kind]
    expected = by_hand(widths, depths, in_channels, classes, hidden)
    for build in PAIRS[kind]:
        assert count(build(classes, in_channels, hidden=hidden)) == expected


def test_parameters_match_the_literature():
    # He et al. (CVPR 2016, table 6) give 0.27 M for ResNet-20. Theirs has shortcuts without parameters where the width
    # changes; the 1x1 convolutions with BatchNorm here add 16*32 + 32*64 + 2*(32 + 64).
    assert round(count(resnet20(10)) / 1e6, 2) == 0.27
    assert count(resnet20(10)) - (16 * 32 + 32 * 64 + 2 * (32 + 64)) == 269722
    # SNN papers list 12.6 M (12.63 M) for ResNet-19. One Linear 512->10, as here, gives 12.57 M, and the second Linear
    # of 256 12.70 M: the head differs between papers, the rest is the same.
    assert round(count(resnet19(10)) / 1e6, 2) == 12.57
    assert round(count(resnet19(10, hidden=256)) / 1e6, 2) == 12.70


def test_names_and_sizes_of_the_stages():
    student, teacher = spiking_resnet20(10, 2), resnet20(10, 2)
    frames = torch.rand(3, 2, 2, 32, 32)
    shapes = {}
    handles = [
        getattr(net, f"layer{stage}").register_forward_hook(
            lambda _, __, out, key=(role, stage): shapes.__setitem__(key, tuple(out.shape))
        )
        for role, net in (("student", student), ("teacher", teacher))
        for stage in (1, 2, 3)
    ]
    assert student(frames).shape == (3, 2, 10)
    assert teacher(frames[0]).shape == (2, 10)
    for handle in handles:
        handle.remove()
    assert shapes["student", 1] == (3, 2, 16, 32, 32)
    assert shapes["student", 2] == (3, 2, 32, 16, 16)
    assert shapes["student", 3] == (3, 2, 64, 8, 8)
    assert shapes["teacher", 3] == (2, 64, 8, 8)


@pytest.mark.parametrize("hidden", [None, 256])
def test_twins_start_from_the_same_weights_and_share_names(hidden):
    torch.manual_seed(3)
    teacher = resnet20(10, hidden=hidden)
    torch.manual_seed(3)
    student = spiking_resnet20(10, hidden=hidden)
    ours, theirs = teacher.state_dict(), student.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    student.load_state_dict(teacher.state_dict())


def test_the_spiking_network_is_its_twin_but_for_the_neurons():
    def pass_on() -> nn.Module:
        return nn.ReLU()

    torch.manual_seed(0)
    teacher = ResNet((4, 8, 16), (1, 2, 1), 5)
    torch.manual_seed(0)
    student = SpikingResNet((4, 8, 16), (1, 2, 1), 5, neuron=pass_on)
    images = torch.rand(4, 3, 16, 16)
    teacher.eval(), student.eval()
    outputs = student(images.expand(3, *images.shape))
    assert torch.allclose(outputs, teacher(images).expand_as(outputs), atol=1e-5)


def test_the_neuron_follows_its_recurrence_and_its_triangle():
    inputs = torch.rand(6, 50, generator=torch.Generator().manual_seed(1)).mul(1.5).requires_grad_()
    spikes = lif()(inputs)
    membrane, expected = torch.zeros(50), []
    for x in inputs.detach():
        membrane = membrane / 2 + x
        expected.append((membrane >= 1).float())
        membrane = membrane * (1 - expected[-1])
    assert torch.equal(spikes, torch.stack(expected))

    drive = torch.tensor([[0.3, 0.9, 1.4, 2.5]], requires_grad=True)
    lif()(drive).sum().backward()
    assert torch.allclose(drive.grad, (1 - (drive.detach() - 1).abs()).clamp(min=0))


def test_the_gradient_flows_through_the_reset():
    drive = torch.full((2, 1), 1.2, requires_grad=True)
    lif()(drive)[1].sum().backward()
    # v2 = 0.5 v1 (1 - s1) + x2 with s1 = 1: dv2/dv1 = -0.5 v1 * 0.8, times the triangle at v2 = 1.2
    assert torch.allclose(drive.grad[0], torch.tensor([0.8 * -0.5 * 1.2 * 0.8]))


@pytest.mark.parametrize("last", ["spike", "relu"])
def test_last_activation(last):
    net = spiking_resnet20(10, last_activation=last)
    assert isinstance(net.layer3[-1].act2, nn.ReLU if last == "relu" else neuron.LIFNode)
    assert sum(isinstance(m, neuron.LIFNode) for m in net.modules()) == 19 - (last == "relu")
    assert find_layer(net, torch.rand(2, 2, 3, 16, 16)).path == "layer3"


def test_all_modules_are_in_multi_step_mode():
    modes = {m.step_mode for m in spiking_resnet20(10, neuron=neuron.IFNode).modules() if hasattr(m, "step_mode")}
    assert modes == {"m"}


def test_a_step_of_distillation_trains_the_first_and_the_last_weight():
    teacher, student = ResNet((4, 8, 16), (1, 1, 1), 5), SpikingResNet((4, 8, 16), (1, 1, 1), 5)
    teacher.fc.weight.data.abs_()  # an untrained teacher may see no positive evidence anywhere
    distiller = CKDDistiller(teacher, student, time_steps=2, student_layer="layer3", teacher_layer="layer3")
    out = distiller(torch.randn(4, 3, 16, 16), torch.arange(4))
    out.loss.backward()
    assert out.maps["student"].shape == (4, 4, 4)
    for weight in (student.conv1.weight, student.fc.weight):
        assert weight.grad.isfinite().all()
        assert weight.grad.abs().sum() > 0
    functional.reset_net(student)


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: resnet20(0), ValueError, "num_classes must be at least 1"),
        (lambda: resnet20(10.0), TypeError, "num_classes must be an integer"),
        (lambda: resnet20(10, True), TypeError, "in_channels must be an integer"),
        (lambda: spiking_resnet20(10, hidden=0), ValueError, "hidden must be at least 1"),
        (lambda: ResNet((4, 8), (1, 1, 1), 5), ValueError, "three stages"),
        (lambda: ResNet((4, 8, 16), (1, 0, 1), 5), ValueError, "depths must be at least 1"),
        (lambda: spiking_resnet20(10, last_activation="silu"), ValueError, "last_activation must be one of"),
        (lambda: spiking_resnet20(10, neuron=neuron.LIFNode()), TypeError, "makes one neuron"),
        (lambda: resnet20(10)(torch.rand(2, 1, 3, 32, 32)), ValueError, r"images must have shape \[N, C, H, W\]"),
        (lambda: spiking_resnet20(10)(torch.rand(1, 3, 32, 32)), ValueError, "repeat images over time"),
    ],
)
def test_bad_arguments(build, error, words):
    with pytest.raises(error, match=words):
        build()
