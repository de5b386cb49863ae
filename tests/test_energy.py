"""Operations, energy and firing rate: by hand, and against SpikingJelly's op_counter on real networks."""

import copy
import json

import pytest
import torch
from spikingjelly.activation_based import encoding, functional, layer, neuron, surrogate
from spikingjelly.activation_based.model import sew_resnet, spiking_resnet, spiking_vgg
from torch import nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer, resnet18

from spikingjelly_ckd.recipes.models import resnet20, spiking_resnet20
from spikingjelly_ckd.recipes.report import energy as energies
from spikingjelly_ckd.recipes.report.energy import Energy, ann_twin, count_operations, measure_energy

needs_op_counter = pytest.mark.skipif(energies.op_counter is None, reason="this SpikingJelly has no op_counter")
NEURON = {"spiking_neuron": neuron.IFNode, "surrogate_function": surrogate.ATan(), "detach_reset": True}


def spikes(*shape: int, rate: float = 0.3) -> torch.Tensor:
    return (torch.rand(shape) < rate).float()


def firing(net: nn.Module, inputs: torch.Tensor) -> nn.Module:
    """An untrained network that spikes: wide BatchNorm, statistics of its input."""
    functional.set_step_mode(net, "m")
    for child in net.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            nn.init.constant_(child.weight, 2.0)
            child.momentum = None
    with torch.no_grad():
        net.train()(inputs)
    functional.reset_net(net)
    return net


def spikformer(inputs: torch.Tensor) -> nn.Module:
    from spikingjelly.activation_based.model.spikformer import Spikformer

    net = Spikformer(T=2, img_size_h=32, img_size_w=32, patch_size=16, num_classes=10, embed_dims=64, depths=1)
    return firing(net, inputs)


SMALL, LARGE = (4, 1, 3, 32, 32), (2, 1, 3, 64, 64)
BINARY = {
    "resnet20 T=1": (lambda x: firing(spiking_resnet20(10), x), (1, 2, 3, 32, 32)),
    "resnet20 T=4": (lambda x: firing(spiking_resnet20(10), x), SMALL),
    "spiking_resnet18": (lambda x: firing(spiking_resnet.spiking_resnet18(**NEURON), x), LARGE),
    "sew_resnet18 AND": (lambda x: firing(sew_resnet.sew_resnet18(cnf="AND", **NEURON), x), LARGE),
    "spiking_vgg11_bn": (lambda x: firing(spiking_vgg.spiking_vgg11_bn(**NEURON), x), (2, 1, 3, 32, 32)),
}
OTHERS = {
    "sew_resnet18 ADD": (lambda x: firing(sew_resnet.sew_resnet18(cnf="ADD", **NEURON), x), LARGE),
    "spikformer": (spikformer, (2, 1, 3, 32, 32)),
    "spiking_resnet20's twin": (lambda x: ann_twin(spiking_resnet20(10)), (1, 2, 3, 32, 32)),
    "resnet20": (lambda x: resnet20(10), (2, 3, 32, 32)),
    "torchvision resnet18": (lambda x: resnet18(), (2, 3, 64, 64)),
    "torchvision vit": (lambda x: VisionTransformer(32, 8, 2, 4, 64, 128, num_classes=10), (2, 3, 32, 32)),
    "transposed": (lambda x: nn.ConvTranspose2d(3, 6, 3, 2, 1, 1, groups=3), (2, 3, 5, 7)),
}


@pytest.mark.slow
@needs_op_counter
@pytest.mark.parametrize("name", [*BINARY, *OTHERS])
def test_own_counting_and_op_counter_agree_exactly(name):
    make, shape = (BINARY | OTHERS)[name]
    batch = spikes(*shape) if name == "transposed" else torch.randn(shape)
    network = make(batch)
    axis = 1 if len(shape) == 5 else 0
    own, found = count_operations(network, batch), measure_energy(network, [batch], batch_axis=axis)
    assert found.counted_by == "spikingjelly op_counter"
    images = shape[axis]
    assert (found.macs * images, found.acs * images, found.synops * images) == (own.macs, own.acs, own.synops)
    assert own.macs + own.acs > 0
    assert found.total_mj >= found.compute_mj > 0
    if name in BINARY:
        assert found.firing_rate > 0.02
        assert found.synops > 0
        assert found.integer_layers == ()


@needs_op_counter
def test_neurons_and_the_counters_own_sums_are_all_that_differs_from_the_default_report():
    batch = torch.randn(SMALL)
    network = firing(spiking_resnet20(10), batch)
    report = energies.op_counter.estimate_simple_energy(network.eval(), batch)
    functional.reset_net(network)
    found = measure_energy(network, [batch], batch_axis=1)
    assert (report.counts["mac"], report.counts["synop"]) == (found.macs, found.synops)
    assert report.counts["ac"] > found.acs
    assert found.total_mj - found.compute_mj == pytest.approx(report.energy_memory_pj * 1e-9, rel=1e-9)


def test_a_convolution_by_hand():
    conv = nn.Conv2d(2, 5, 3, bias=False)
    real = measure_energy(conv, [torch.rand(3, 2, 4, 4) + 0.1])
    assert (real.macs, real.acs, real.synops) == (5 * 2 * 9 * 4, 0, 0)  # weights times 2x2 positions
    assert real.compute_mj == pytest.approx(360 * 4.6e-9)
    one_corner, one_inside = torch.zeros(2, 1, 2, 4, 4)
    one_corner[0, 0, 0, 0] = one_inside[0, 0, 1, 1] = 1
    assert measure_energy(conv, [one_corner]).acs == 5  # one window holds it
    binary = measure_energy(conv, [one_inside])
    assert (binary.macs, binary.acs, binary.synops) == (0, 5 * 4, 5 * 4)  # all four do
    assert binary.compute_mj == binary.compute_mj_counts == pytest.approx(20 * 0.9e-9)
    assert (binary.firing_rate, binary.rates, binary.integer_layers) == (None, {}, ())
    assert (real.mac_share, binary.mac_share) == (pytest.approx(1.0), 0.0)
    assert measure_energy(nn.ReLU(), [one_inside]).mac_share is None


def test_counts_are_billed_as_macs_and_beside_it_as_additions():
    net = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.Flatten(), nn.Linear(16, 2, bias=False))
    counts = torch.tensor([[[[3.0, 0.0], [1.0, 2.0]]]])
    found = measure_energy(net, [counts])
    assert found.integer_layers == ("0",)
    assert (found.macs, found.acs) == (4 * 4 + 16 * 2, 0)
    assert found.compute_mj == pytest.approx((16 + 32) * 4.6e-9)
    assert found.compute_mj_counts == pytest.approx((32 * 4.6 + 6 * 4 * 0.9) * 1e-9)
    signed = count_operations(net[0], torch.tensor([[[[-1.0, 0.0], [1.0, 1.0]]]]))
    assert (signed.integer_macs, signed.integer_additions) == ({"": 16}, 3 * 4)


def test_a_network_that_diverged_is_counted_too():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)).eval()
    found = count_operations(network, torch.full((1, 1, 4, 4), float("inf")))
    assert found.macs == 2 * 9 * 4 + 8 * 2


def test_pooled_spikes_are_real_numbers():
    net = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(2, 3, 1, bias=False))
    pooled = torch.zeros(1, 2, 4, 4)
    pooled[..., 0, 0] = 1.0  # 0.25 behind the pool
    found = measure_energy(net, [pooled])
    assert found.integer_layers == ()
    assert (found.macs, found.acs) == (3 * 2 * 4, 3 * 8)  # three additions for each of the pool's eight outputs


def test_sew_add_hands_counts_to_its_next_blocks():
    batch = torch.randn(LARGE)
    net = firing(sew_resnet.sew_resnet18(cnf="ADD", **NEURON), batch)
    found = measure_energy(net, [batch], batch_axis=1)
    assert "layer1.1.conv1" in found.integer_layers
    assert not any(path.endswith("conv2") for path in found.integer_layers)  # behind a neuron: spikes
    assert isinstance(net.get_submodule(found.integer_layers[0]), nn.Conv2d)
    assert found.compute_mj_counts < found.compute_mj


@pytest.mark.parametrize(
    ("kwargs", "size"),
    [
        ({"kernel_size": 3, "padding": 1}, (6, 7)),
        ({"kernel_size": (3, 2), "stride": (2, 3), "padding": (2, 0), "dilation": (1, 2)}, (8, 9)),
        ({"kernel_size": 5, "stride": 4, "groups": 2}, (9, 12)),
        ({"kernel_size": 3, "padding": "same", "padding_mode": "circular"}, (5, 5)),
    ],
)
def test_spikes_meet_as_many_weights_as_a_convolution_of_ones_says(kwargs, size):
    conv = nn.Conv2d(4, 6, **kwargs)
    x = spikes(3, 4, *size)
    ones = copy.deepcopy(conv)
    nn.init.ones_(ones.weight)
    nn.init.zeros_(ones.bias)
    with torch.no_grad():
        assert count_operations(conv, x).synops == ones(x).sum() > 0
        assert count_operations(ones, x).synops == ones(x).sum()  # binary weights: coincidences


@pytest.mark.parametrize("transposed", [nn.ConvTranspose1d, nn.ConvTranspose2d])
def test_transposed_convolutions(transposed):
    conv = transposed(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, bias=False)
    x = spikes(2, 4, *[5] * (conv.weight.ndim - 2))
    synops, macs = count_operations(conv, x).synops, count_operations(conv, x + 0.5).macs
    nn.init.ones_(conv.weight)
    assert synops == conv(x).sum() > 0
    assert macs == 2 * x[0, 0].numel() * conv.weight.numel()


def test_matrix_products_of_spikes():
    class Attention(nn.Module):
        def forward(self, x):
            return x[0] @ x[1]

    batch = torch.stack([spikes(2, 3, 4, 4), spikes(2, 3, 4, 4)])
    found = count_operations(Attention(), batch)
    assert (found.macs, found.synops) == (0, (batch[0] @ batch[1]).sum())
    left = torch.stack([batch[0], torch.rand(2, 3, 4, 4) + 1])
    assert count_operations(Attention(), left).synops == batch[0].sum() * 4
    assert count_operations(Attention(), left.flip(0)).synops == batch[0].sum() * 4
    assert count_operations(Attention(), left + 0.5).macs == 6 * 4**3


def test_attention_of_a_teacher_is_billed_though_torch_would_fuse_it():
    tokens, width, heads = 5, 8, 2
    net = nn.TransformerEncoderLayer(width, heads, 16, batch_first=True)
    expected = tokens * (4 * width * width + 2 * width * 16) + 2 * tokens * tokens * width
    assert count_operations(net, torch.randn(1, tokens, width)).macs == expected
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.cudnn.enabled


def test_a_small_network_by_hand_is_the_same_in_both_generations():
    net = nn.Sequential(layer.Linear(2, 3, bias=False), neuron.IFNode(), layer.Linear(3, 4, bias=False))
    functional.set_step_mode(net, "m")
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.0]]))
    frames = torch.tensor([[[1.0, 0.5]], [[1.0, 0.5]]])  # membranes 1, 0.5, 0.6, then 1, 1, 1.2
    found = measure_energy(net, [frames], batch_axis=1)
    assert found.rates == {"1": 4 / 6}
    assert found.firing_rate == 4 / 6
    assert (found.macs, found.acs, found.synops) == (2 * 6, 4 * 4, 4 * 4)  # the neuron's own sums are not billed


def test_batch_norm_and_pools_by_hand():
    net, images = nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1)), torch.rand(1, 3, 4, 4)
    found = count_operations(net, images)
    assert (found.macs, found.acs, found.synops) == (48, 48 + 3 + 45, 0)
    own_statistics = count_operations(nn.BatchNorm2d(3, affine=False, track_running_stats=False), images)
    assert (own_statistics.macs, own_statistics.acs) == (0, 3 * 48)


def test_the_mean_over_batches_is_per_image():
    net = firing(spiking_resnet20(10), torch.randn(2, 4, 3, 16, 16))
    frames = torch.randn(2, 4, 3, 16, 16)
    together = measure_energy(net, [frames], batch_axis=1)
    apart = measure_energy(net, iter([frames[:, :1], frames[:, 1:]]), batch_axis=1)
    assert apart.synops == pytest.approx(together.synops)
    assert apart.compute_mj == pytest.approx(together.compute_mj, rel=1e-3)  # BatchNorm's small share per batch
    assert apart.firing_rate == pytest.approx(together.firing_rate)
    assert apart.rates.keys() == together.rates.keys() == {
        path for path, child in net.named_modules() if isinstance(child, neuron.LIFNode)
    }  # fmt: skip


def test_forward_says_how_to_run_a_batch():
    net = firing(spiking_resnet20(10), torch.randn(2, 2, 3, 16, 16))
    images = torch.randn(2, 3, 16, 16)
    repeated = measure_energy(net, [images.expand(2, *images.shape)], batch_axis=1)
    assert measure_energy(net, [images], forward=lambda net, x: net(x.expand(2, *x.shape))) == repeated
    single = copy.deepcopy(net)
    functional.set_step_mode(single, "s")
    stepwise = measure_energy(single, [images], forward=lambda net, x: [net._run(x) for _ in range(2)])
    assert (stepwise.synops, stepwise.firing_rate) == (repeated.synops, repeated.firing_rate)
    stem = count_operations(net, images, forward=lambda net, x: net.act1(net.bn1(net.conv1(x.unsqueeze(0)))))
    elements = 2 * 16 * 16 * 16
    assert (stem.macs, stem.acs) == (elements * 27 + elements, elements + 16)


def test_the_network_is_left_as_it_was_found():
    net = firing(spiking_resnet20(10), torch.randn(1, 2, 3, 16, 16))
    net.layer1.eval()
    before, modes = copy.deepcopy(net.state_dict()), [child.training for child in net.modules()]
    random = torch.get_rng_state()
    measure_energy(net, [torch.randn(1, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0))], batch_axis=1)
    assert modes == [child.training for child in net.modules()]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(not child._forward_hooks for child in net.modules())
    assert torch.equal(random, torch.get_rng_state())
    copy.deepcopy(net)  # refuses membranes that hold a graph


def test_random_spikes_are_the_same_in_every_pass():
    net = nn.Sequential(encoding.PoissonEncoder(), nn.Linear(50, 7, bias=False))
    inputs = torch.rand(4, 50)
    found = measure_energy(net, [inputs])
    own = count_operations(net, inputs)
    assert (found.acs * 4, found.macs) == (own.acs, 0)


def test_the_twin_has_relus_and_costs_what_the_ann_costs():
    student = spiking_resnet20(10)
    student.load_state_dict(resnet20(10).state_dict())
    student(torch.randn(1, 1, 3, 32, 32))
    twin = ann_twin(student)
    assert not any(isinstance(child, neuron.LIFNode) for child in twin.modules())
    assert any(isinstance(child, neuron.LIFNode) for child in student.modules())
    assert {p.data_ptr() for p in twin.parameters()}.isdisjoint(p.data_ptr() for p in student.parameters())
    teacher = resnet20(10)
    teacher.load_state_dict(student.state_dict())
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(twin.eval()(images.unsqueeze(0))[0], teacher.eval()(images))
    costs = [measure_energy(twin, [images.unsqueeze(0)], batch_axis=1), measure_energy(teacher, [images])]
    assert costs[0] == costs[1]
    assert costs[0].firing_rate is None


def test_a_neuron_alone_and_a_shared_one_have_twins():
    assert isinstance(ann_twin(neuron.IFNode()), nn.ReLU)
    shared = neuron.IFNode()
    assert [type(child) for child in ann_twin(nn.Sequential(shared, nn.Identity(), shared))] == [
        nn.ReLU,
        nn.Identity,
        nn.ReLU,
    ]


def test_the_record_is_plain_json():
    found = measure_energy(nn.Sequential(layer.Linear(3, 2), neuron.IFNode()), [torch.tensor([[2.0, 0.0, 3.0]])])
    record = found.to_json()
    assert json.loads(json.dumps(record)) == record
    assert Energy(**record | {"integer_layers": tuple(record["integer_layers"])}) == found
    assert record["integer_layers"] == ["0"]
    assert (found.total_mj is None) == (found.counted_by == "own counting") == (energies.op_counter is None)


def test_what_cannot_be_measured_says_so():
    net, batch = nn.Linear(3, 2), torch.rand(1, 3)
    with pytest.raises(TypeError, match=r"pass \[batch\] for one"):
        measure_energy(net, batch)
    with pytest.raises(TypeError, match="got a list; drop the labels"):
        measure_energy(net, [[batch, torch.tensor([0])]])
    with pytest.raises(TypeError, match="must be an nn.Module, got function"):
        measure_energy(F.relu, [batch])
    with pytest.raises(ValueError, match=r"batch_axis=2 is no axis of a batch of shape \(1, 3\)"):
        measure_energy(net, [batch], batch_axis=2)
    with pytest.raises(ValueError, match="at least one image, got none"):
        measure_energy(net, [])
    with pytest.raises(ValueError, match="Linear has none: it is its own twin"):
        ann_twin(net)
