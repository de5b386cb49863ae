"""NIR: what is written, read back, is the student; what NIR cannot hold is named."""

import copy
from functools import partial

import pytest
import torch
from conftest import tiny_student
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.model import sew_resnet
from torch import nn

from spikingjelly_ckd.recipes.deploy import nir as of_nir
from spikingjelly_ckd.recipes.deploy.nir import export_nir
from spikingjelly_ckd.recipes.export import save_network
from spikingjelly_ckd.recipes.models import SpikingResNet, make_neuron, spiking_resnet8, spiking_resnet20

nir = pytest.importorskip("nir", reason="the extra [nir] is not installed")
pytest.importorskip("spikingjelly.activation_based.nir_exchange", reason="SpikingJelly 2.x")
spikformer = pytest.importorskip("spikingjelly.activation_based.model.spikformer", reason="SpikingJelly 2.x")

KINDS = {
    "lif": make_neuron("lif"),
    "plif": make_neuron("plif"),
    "if": make_neuron("if"),
    "cubalif": partial(neuron.CUBALIFNode, 0.5, 0.5),
    "leaky input": partial(neuron.LIFNode, 3.0, decay_input=False, v_threshold=0.5, step_mode="m"),
}


def awake(network, *shape):
    """With statistics and weights of BatchNorm under which every layer of neurons fires."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.weight.uniform_(1.5, 3)
                module.bias.uniform_(-0.5, 1)
                module.momentum = 1.0
        network(torch.randn(*shape))
    functional.reset_net(network)
    return network.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_resnet8_comes_back(tmp_path, kind):
    network = awake(spiking_resnet8(10, neuron=KINDS[kind]), 4, 8, 3, 16, 16)
    found = export_nir(network, tmp_path / "a.nir", torch.randn(5, 3, 16, 16), time_steps=4)
    assert (found.nodes, found.neurons, found.folded, found.pools, found.samples) == (23, 7, 9, ("avgpool",), 5)
    assert found.firing_rate > 0.05
    assert found.largest > 0.01
    assert found.drift <= 1e-5 * found.largest
    assert found.agreement == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.nir"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lif", "plif", "if"])
def test_resnet20_comes_back(tmp_path, kind):
    network = awake(spiking_resnet20(10, neuron=KINDS[kind]), 2, 8, 3, 16, 16)
    found = export_nir(network, tmp_path / "a.nir", torch.randn(2, 3, 16, 16), time_steps=4)
    assert found.drift <= 1e-5 * found.largest
    assert found.firing_rate > 0.05


def test_two_linear_layers_and_threshold_dependent_norms(tmp_path):
    network = SpikingResNet((4, 8, 16), (1, 1, 1), 5, hidden=7, norm="tdbn")
    found = export_nir(awake(network, 2, 8, 3, 16, 16), tmp_path / "a.nir", torch.randn(2, 3, 16, 16), time_steps=3)
    assert found.drift <= 1e-5 * found.largest
    assert (found.folded, found.nodes) == (9, 24)


def test_event_frames_and_one_call_a_step(tmp_path):
    network = awake(tiny_student(channels=2), 3, 4, 2, 8, 8)
    frames = torch.rand(3, 4, 2, 8, 8)
    found = export_nir(network, tmp_path / "a.nir", frames)
    functional.set_step_mode(network, "s")
    again = export_nir(network, tmp_path / "b.nir", frames, student_steps="loop")
    assert (found.drift, found.largest) == pytest.approx((again.drift, again.largest))
    assert found.drift <= 1e-5 * found.largest


def test_the_drift_is_that_of_the_file(tmp_path, monkeypatch):
    network = awake(spiking_resnet8(10), 4, 8, 3, 16, 16)
    exporter, importer, write = of_nir._exchange()

    def spoiled(*args, **options):
        graph = exporter(*args, **options)
        graph.nodes["fc"].bias[3] += 0.25
        return graph

    monkeypatch.setattr(of_nir, "_exchange", lambda: (spoiled, importer, write))
    found = export_nir(network, tmp_path / "a.nir", torch.randn(2, 3, 16, 16), time_steps=2)
    assert found.drift == pytest.approx(0.25, rel=1e-3)


def test_a_second_export_is_equal_and_the_student_as_it_was(tmp_path):
    network = awake(spiking_resnet8(10), 4, 8, 3, 16, 16).train()
    before, images = copy.deepcopy(network.state_dict()), torch.randn(2, 3, 16, 16)
    first = export_nir(network, tmp_path / "a.nir", images, time_steps=2)
    assert export_nir(network, tmp_path / "a.nir", images, time_steps=2) == first
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert isinstance(network.avgpool, layer.AdaptiveAvgPool2d)


def test_an_exported_student_says_how_it_is_fed(tmp_path):
    network = awake(spiking_resnet8(10), 4, 8, 3, 16, 16)
    about = {"time_steps": 2, "size": 16, "student_steps": "multi"}
    path = save_network(tmp_path / "s.safetensors", network, spiking_resnet8, {"num_classes": 10}, **about)
    found = export_nir(path, tmp_path / "s.nir")
    assert found == export_nir(path, tmp_path / "s.nir")
    assert found.drift <= 1e-5 * found.largest
    assert nir.read(tmp_path / "s.nir").nodes["conv1"].input_shape.tolist() == [16, 16]
    assert "23 nodes, 7 of them neurons" in str(found)
    assert "says little" not in str(found)
    for module in network.modules():
        if hasattr(module, "v_threshold"):
            module.v_threshold = 1e6
    silent = export_nir(network, tmp_path / "silent.nir", torch.rand(3, 3, 16, 16), time_steps=2)
    assert (silent.firing_rate, silent.drift, silent.agreement) == (0.0, 0.0, 1.0)
    assert "(which says little: the logits are nearly the same for all samples" in str(silent)


class Odd(nn.Module):
    """Everything that NIR has no node for."""

    def __init__(self):
        super().__init__()
        self.conv = layer.Conv2d(3, 4, 3, groups=1, padding=1, step_mode="m")
        self.grouped = layer.Conv2d(4, 4, 3, groups=2, padding=1, step_mode="m")
        self.norm = layer.BatchNorm2d(4, step_mode="m")
        self.soft = neuron.LIFNode(v_reset=None, step_mode="m")
        self.pool = layer.MaxPool2d(2, step_mode="m")
        self.uneven = layer.AdaptiveAvgPool2d(3, step_mode="m")
        self.twice = neuron.IFNode(step_mode="m")
        self.scale = nn.Parameter(torch.ones(1))
        self.flatten = layer.Flatten(step_mode="m")
        self.fc = layer.Linear(36, 5, step_mode="m")

    def forward(self, frames):
        if frames.ndim != 5:
            raise ValueError("no frames")
        x = self.norm(self.soft(self.grouped(self.conv(frames))))
        x = self.twice(self.twice(self.pool(x))) * self.scale
        return self.fc(self.flatten(self.uneven(x).relu()))


def test_what_nir_cannot_hold_is_named_with_its_layer(tmp_path):
    with pytest.raises(ValueError, match="student cannot be held by NIR") as raised:
        export_nir(Odd(), tmp_path / "a.nir", torch.randn(2, 3, 8, 8), time_steps=2)
    for words in (
        "layer 'grouped' (Conv2d) has groups or a padding",
        "layer 'norm' (BatchNorm2d) cannot be folded",
        "layer 'soft' (LIFNode) has a soft reset",
        "layer 'pool' (MaxPool2d) has no node in NIR",
        "layer 'uneven' (AdaptiveAvgPool2d) has no node in NIR",
        "layer 'twice' is used 2 times",
        "mul() behind layer 'twice', ",
        "the tensor 'scale' is used by itself",
        "relu() behind layer 'uneven' are no sums of two outputs",
    ):
        assert words in str(raised.value)
    assert not list(tmp_path.iterdir())


class Shifted(nn.Module):
    """With a tensor that is no parameter and no buffer."""

    def __init__(self):
        super().__init__()
        self.conv, self.shift = layer.Conv2d(3, 4, 3, step_mode="m"), torch.ones(1)

    def forward(self, frames):
        return (self.conv(frames) + self.shift).mean((3, 4))


def test_a_plain_tensor_of_a_network_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"the tensor '\w+' is used by itself; add\(\) behind layer 'conv'"):
        export_nir(Shifted(), tmp_path / "a.nir", torch.randn(2, 3, 8, 8), time_steps=2)


def test_the_packages_own_networks_that_cannot_be_held(tmp_path):
    images = torch.randn(2, 3, 16, 16)
    for options, words in (
        ({"last_activation": "relu"}, r"layer 'layer3.0.act2' \(ReLU\) has no node"),
        ({"norm": "tebn", "norm_steps": 2}, r"layers 'bn1', .* \(TemporalEffectiveBatchNorm2d\) each cannot be folded"),
        ({"norm": "mpbn"}, r"layers 'act1', .* \(MPBNLIFNode\) each has no node"),
        ({"neuron": partial(neuron.LIFNode, v_reset=None, step_mode="m")}, "layers 'act1'.*soft reset"),
    ):
        with pytest.raises(ValueError, match=words):
            export_nir(SpikingResNet((4, 8, 16), (1, 1, 1), 5, **options), tmp_path / "a.nir", images, time_steps=2)


class Flattens(nn.Module):
    """Flattens by a call, as the networks of SpikingJelly do."""

    def __init__(self, call, step_mode="m"):
        super().__init__()
        self.call = call
        self.conv = layer.Conv2d(3, 4, 3, padding=1, step_mode=step_mode)
        self.fire = neuron.IFNode(v_threshold=0.2, step_mode=step_mode)
        self.fc = layer.Linear(4 * 36, 5, step_mode=step_mode)

    def forward(self, frames):
        return self.fc(self.call(self.fire(self.conv(frames))))


@pytest.mark.parametrize(
    ("call", "way"),
    [
        (lambda x: torch.flatten(x, 2), "multi"),
        (lambda x: x.flatten(-3), "multi"),
        (lambda x: torch.flatten(x, 1), "loop"),
        (lambda x: x.flatten(start_dim=1), "loop"),
    ],
)
def test_a_call_that_flattens_becomes_a_layer(tmp_path, call, way):
    network = Flattens(call, "s" if way == "loop" else "m")
    found = export_nir(network, tmp_path / "a.nir", torch.randn(3, 3, 6, 6), time_steps=2, student_steps=way)
    assert found.firing_rate > 0.05
    assert found.drift <= 1e-5 * found.largest
    assert "flatten_layer" in nir.read(tmp_path / "a.nir").nodes


def test_a_call_that_flattens_something_else_is_named(tmp_path):
    network = Flattens(lambda x: x.flatten(3).repeat(1, 1, 1, 1).flatten(2))
    with pytest.raises(ValueError, match=r"flatten\(\) behind layer 'fire', repeat\(\) are no sums of two"):
        export_nir(network, tmp_path / "a.nir", torch.randn(3, 3, 6, 6), time_steps=2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["IFNode", "ParametricLIFNode"])
def test_the_residual_networks_of_spikingjelly_come_back(tmp_path, kind):
    torch.manual_seed(0)
    network = sew_resnet.sew_resnet18(cnf="ADD", spiking_neuron=getattr(neuron, kind), num_classes=5)
    network.maxpool = layer.AvgPool2d(2)
    functional.set_step_mode(network, "m")
    found = export_nir(awake(network, 2, 4, 3, 64, 64), tmp_path / "a.nir", torch.randn(2, 3, 64, 64), time_steps=2)
    assert found.firing_rate > 0.05
    assert found.drift <= 1e-5 * found.largest


def test_a_transformer_is_refused_by_name_and_layers_of_a_kind_together(tmp_path):
    network = spikformer.Spikformer(T=2, img_size_h=32, img_size_w=32, embed_dims=32, num_heads=2, depths=1)
    with pytest.raises(ValueError, match=r"student cannot be held by NIR \(Spikformer\)"):
        export_nir(network, tmp_path / "a.nir", torch.randn(1, 3, 32, 32), time_steps=2)
    other = spiking_resnet8(5, neuron=partial(neuron.KLIFNode, step_mode="m"))
    with pytest.raises(ValueError, match=r"layers 'act1', .*'layer3.0.act2' \(KLIFNode\) each has no node in NIR"):
        export_nir(other, tmp_path / "a.nir", torch.randn(1, 3, 16, 16), time_steps=2)


class Wanders(nn.Module):
    def forward(self, frames):
        return frames.flatten(2)[:, :, : int(frames.sum())]


def test_the_part_whose_forward_cannot_be_followed_is_named(tmp_path):
    inner = layer.LinearRecurrentContainer(neuron.LIFNode(), 5, 5, step_mode="m")
    network = nn.Sequential(tiny_student(), nn.Sequential(inner))
    with pytest.raises(ValueError, match="cannot be followed") as caught:
        export_nir(network, tmp_path / "a.nir", torch.randn(2, 3, 8, 8), time_steps=2)
    said = str(caught.value)
    assert said.startswith("the forward of Sequential cannot be followed in '1.0' (LinearRecurrentContainer): ")
    assert said.endswith("; write this part without that, or leave it out")
    assert "torch.fx.wrap" not in said


def test_what_is_refused(tmp_path):
    network = tiny_student()
    with pytest.raises(TypeError, match="images must be a batch that the network takes, a tensor, got nothing"):
        export_nir(network, tmp_path / "a.nir", time_steps=2)
    with pytest.raises(TypeError, match="images must be a batch that the network takes, a tensor, got list"):
        export_nir(network, tmp_path / "a.nir", [torch.randn(3, 8, 8)], time_steps=2)
    with pytest.raises(
        ValueError, match=r"images cannot be taken by the network, \(2, 2, 1, 8, 8\): .* in its module '"
    ):
        export_nir(network, tmp_path / "a.nir", torch.randn(2, 1, 8, 8), time_steps=2)
    about = {"time_steps": 2, "size": 16, "classes": tuple("abcde"), "mean": (0.5,) * 3, "std": (0.5,) * 3}
    path = save_network(tmp_path / "s.safetensors", spiking_resnet8(5), spiking_resnet8, {"num_classes": 5}, **about)
    with pytest.raises(ValueError, match=r"images must be of the size that the student's JSON says, 16, got \(2, 3, 8"):
        export_nir(path, tmp_path / "a.nir", torch.randn(2, 3, 8, 8))
    with pytest.raises(ValueError, match="dt must be above 0"):
        export_nir(network, tmp_path / "a.nir", torch.randn(2, 3, 8, 8), time_steps=2, dt=0)
    with pytest.raises(ValueError, match="time_steps must be given for images"):
        export_nir(network, tmp_path / "a.nir", torch.randn(2, 3, 8, 8))
    with pytest.raises(ValueError, match="'internal' repeats images inside"):
        export_nir(network, tmp_path / "a.nir", torch.randn(2, 3, 8, 8), student_steps="internal")
    with pytest.raises(ValueError, match="the forward of Wanders cannot be followed"):
        export_nir(Wanders(), tmp_path / "a.nir", torch.ones(1, 1, 2, 2), time_steps=1)


def test_an_older_spikingjelly_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(of_nir, "EXCHANGE", "spikingjelly.activation_based.no_such_exchange")
    with pytest.raises(RuntimeError, match="has no exporter for NIR; it needs generation 2"):
        export_nir(tiny_student(), tmp_path / "a.nir", torch.randn(2, 3, 8, 8), time_steps=2)
