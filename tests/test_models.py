"""The recipe networks: topology, twins, neurons, and what the distiller finds in them."""

from itertools import pairwise

import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from torch import nn

from spikingjelly_ckd import CKDDistiller, find_layer
from spikingjelly_ckd.recipes.models import (
    ResNet,
    SpikingResNet,
    lif,
    max_resnet18,
    resnet18,
    resnet19,
    resnet20,
    resnet34,
    sew_resnet18,
    sew_resnet34,
    spikformer_4_384,
    spiking_resnet19,
    spiking_resnet20,
    spiking_resnet34,
    spiking_vgg16,
    vgg16,
)

try:
    from spikingjelly.activation_based.model import spikformer
except ImportError:
    spikformer = None
needs_spikformer = pytest.mark.skipif(spikformer is None, reason="this SpikingJelly has no Spikformer")

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


# --- networks of SpikingJelly and torchvision ------------------------------------------------------------------------

LARGE = (resnet34, spiking_resnet34, sew_resnet34)


def resnet34_by_hand(in_channels: int, classes: int) -> int:
    """He et al. (CVPR 2016, table 1): 3-4-6-3 blocks of two 3x3 convolutions; 1x1 shortcuts where the width changes."""
    total, before = 49 * in_channels * 64 + 2 * 64, 64
    for width, depth in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True):
        for _ in range(depth):
            total += 9 * before * width + 9 * width * width + 4 * width
            if before != width:
                total += before * width + 2 * width
            before = width
    return total + 513 * classes


def spikformer_by_hand(in_channels: int, classes: int) -> int:
    """Five 3x3 convolutions, then 4 blocks: q, k, v, projection, and an MLP of ratio 4; BatchNorm behind each."""
    total, before = 0, in_channels
    for width in (48, 96, 192, 384, 384):
        total += 9 * before * width + 2 * width
        before = width
    return total + 4 * (12 * 384**2 + 2 * 384 * (4 + 4 + 1)) + 385 * classes


@pytest.mark.slow
@pytest.mark.parametrize("build", LARGE)
@pytest.mark.parametrize(("in_channels", "classes"), [(3, 1000), (2, 10)])
def test_parameters_of_resnet34_add_up(build, in_channels, classes):
    parameters = count(build(classes, in_channels))
    assert parameters == resnet34_by_hand(in_channels, classes)
    if (in_channels, classes) == (3, 1000):
        assert round(parameters / 1e6, 1) == 21.8  # as papers on ImageNet list


@pytest.mark.slow
@pytest.mark.parametrize("build", LARGE)
@pytest.mark.parametrize("in_channels", [2, 3])
def test_resnet34_has_its_stem_its_shapes_and_its_last_stage(build, in_channels):
    network = build(7, in_channels)
    images = torch.rand(2, in_channels, 64, 64)
    inputs = images if build is resnet34 else images.expand(3, *images.shape)
    shapes = []
    handle = network.layer4.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape)))
    assert network(inputs).shape == ((2, 7) if build is resnet34 else (3, 2, 7))
    handle.remove()
    assert shapes == [(2, 512, 2, 2) if build is resnet34 else (3, 2, 512, 2, 2)], "a stride of 32 in all"
    functional.reset_net(network)
    assert find_layer(network, inputs).path == "layer4"


@pytest.mark.parametrize(
    ("build", "preset", "nodes"),
    [(spiking_resnet34, "SpikingResNet", 1 + 2 * 16), (sew_resnet34, "SEWResNet", 1 + 2 * 16 + 3)],  # 3 in shortcuts
)
def test_spiking_resnet34_has_our_neurons_in_multi_step_mode_and_a_preset(build, preset, nodes):
    network = build(5)
    neurons = [m for m in network.modules() if isinstance(m, neuron.BaseNode)]
    assert len(neurons) == nodes
    assert {repr(node) for node in neurons} == {repr(lif())}
    assert {m.step_mode for m in network.modules() if hasattr(m, "step_mode")} == {"m"}
    found = find_layer(network, torch.rand(1, 2, 3, 64, 64))
    assert (found.path, found.layout) == ("layer4", "TNCHW")
    assert preset in found.reason
    others = [m for m in build(5, neuron=neuron.IFNode).modules() if isinstance(m, neuron.BaseNode)]
    assert {type(m) for m in others} == {neuron.IFNode}


@pytest.mark.parametrize(("connect", "counts"), [("ADD", True), ("AND", False), ("IAND", False)])
def test_sew_connects_as_it_is_told(connect, counts):
    network = sew_resnet34(5, connect=connect)
    outputs = []
    for stage in (network.layer1, network.layer2):
        stage.register_forward_hook(lambda _, __, out: outputs.append(out))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.bias.fill_(0.7)  # enough input for spikes to meet
        network(torch.rand(2, 2, 3, 64, 64))
    for out in outputs:
        assert torch.equal(out, out.round()), "whole spikes"
        assert (out.max() > 1) == counts


def test_plain_and_sew_are_two_networks():
    kinds = [type(build(5)).__name__ for build in (spiking_resnet34, sew_resnet34)]
    assert kinds == ["SpikingResNet", "SEWResNet"]


@needs_spikformer
@pytest.mark.parametrize(("in_channels", "classes"), [(3, 10), (2, 100)])
def test_parameters_of_spikformer_add_up(in_channels, classes):
    parameters = count(spikformer_4_384(classes, in_channels))
    assert parameters == spikformer_by_hand(in_channels, classes)
    if (in_channels, classes) == (3, 10):
        # Zhou et al. (ICLR 2023) give 9.32 M for Spikformer-4-384; theirs has biases in the blocks' projections
        assert round(parameters / 1e6, 1) == 9.3
        assert round((parameters + 4 * (4 * 384 + 4 * 384 + 384)) / 1e6, 2) == 9.32


@needs_spikformer
@pytest.mark.parametrize(("size", "in_channels"), [(32, 3), (16, 2)])
def test_spikformer_has_patches_of_four_and_a_preset(size, in_channels):
    network = spikformer_4_384(7, in_channels, size=size)
    frames = torch.rand(2, 2, in_channels, size, size)
    shapes = []
    handle = network.blocks[-1].register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape)))
    assert network(frames).shape == (2, 2, 7)
    handle.remove()
    assert shapes == [(2, 2, 384, size // 4, size // 4)]
    assert len(network.blocks) == 4
    functional.reset_net(network)
    found = find_layer(network, frames)
    assert (found.path, found.layout) == ("blocks.3", "TNCHW")
    assert "Spikformer" in found.reason


@pytest.mark.skipif(spikformer is not None, reason="this SpikingJelly has a Spikformer")
def test_without_a_spikformer_the_message_says_what_to_install():
    with pytest.raises(
        RuntimeError, match=r"has no Spikformer; it needs generation 2: pip install 'spikingjelly>=2,<3'"
    ):
        spikformer_4_384(10)


@pytest.mark.parametrize("build", LARGE)
def test_bad_sizes_of_resnet34(build):
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        build(0)
    with pytest.raises(TypeError, match="in_channels must be an integer, got float"):
        build(10, 2.0)


def test_an_unknown_connection_is_refused():
    with pytest.raises(ValueError, match=r"connect must be one of \('ADD', 'AND', 'IAND'\), got 'add'"):
        sew_resnet34(10, connect="add")


@needs_spikformer
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"size": 30}, ValueError, "size must be a multiple of 4, the side of a patch, got 30"),
        ({"size": 0}, ValueError, "size must be at least 1"),
        ({"in_channels": True}, TypeError, "in_channels must be an integer"),
        ({"num_classes": -1}, ValueError, "num_classes must be at least 1"),
    ],
)
def test_bad_sizes_of_spikformer(arguments, error, words):
    with pytest.raises(error, match=words):
        spikformer_4_384(**{"num_classes": 10, **arguments})


# --- networks of the other rows --------------------------------------------------------------------------------------


def test_parameters_of_the_networks_of_other_rows():
    body = 9 * sum(a * b for a, b in pairwise(VGG)) + 3 * sum(VGG[1:])  # with biases and BatchNorm
    assert count(vgg16(100)) == count(spiking_vgg16(100)) == body + 513 * 100
    assert count(vgg16(10, 2)) == count(vgg16(10)) - 9 * 64
    assert count(resnet18(1000)) == count(sew_resnet18(1000)) == 11_689_512  # as torchvision states it


VGG = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)


@pytest.mark.parametrize(("ann", "snn"), [(vgg16, spiking_vgg16), (resnet18, sew_resnet18)])
def test_the_weights_of_an_ann_fit_its_spiking_twin_by_name(ann, snn):
    teacher, student = ann(7, 2), snn(7, 2)
    student.load_state_dict(teacher.state_dict())
    with torch.no_grad():
        assert student(torch.rand(3, 2, 2, 32, 32)).shape == (3, 2, 7)
        assert teacher.eval()(torch.rand(2, 2, 32, 32)).shape == (2, 7)
    with pytest.raises(ValueError, match="in_channels must be at least 1, got 0"):
        snn(7, 0)


def test_a_vgg_at_32x32_is_compared_where_its_map_has_more_than_one_position():
    frames = torch.rand(2, 3, 3, 32, 32)
    student = find_layer(spiking_vgg16(10), frames, role="student")
    teacher = find_layer(vgg16(10), frames[0], role="teacher")
    assert (student.path, teacher.path) == ("features.42", "features.42")


@needs_spikformer
def test_max_resnet18_is_read_in_front_of_its_head():
    network = max_resnet18(10, 2, time_steps=3)
    assert count(network) == pytest.approx(count(spiking_resnet19(10, 2)), rel=0.01)
    assert find_layer(network, torch.rand(3, 2, 2, 32, 32), role="student").path == "head_lif"
    with torch.no_grad():
        assert network(torch.rand(4, 2, 2, 16, 16)).shape == (2, 10), "the frames' own number of time steps"
    with pytest.raises(ValueError, match="time_steps must be at least 1, got 0"):
        max_resnet18(10, time_steps=0)
