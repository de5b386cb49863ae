"""The two SpikingJelly generations: what each can do, asked without naming versions."""

import importlib.metadata

import torch
from conftest import tiny_student
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

from spikingjelly_ckd import use_fast_neurons
from spikingjelly_ckd.networks import compat
from spikingjelly_ckd.networks.compat import neurons


def test_neurons_are_told_from_other_modules_with_memory():
    assert compat.is_neuron(neuron.IFNode())
    assert not compat.is_neuron(layer.Dropout(0.5))
    assert not compat.is_neuron(nn.ReLU())
    for name in ("PSN", "SlidingPSN", "TernaryIFNode", "ILIFNode", "OTTTLIFNode"):
        if hasattr(neuron, name):
            assert issubclass(getattr(neuron, name), neurons._NEURONS), name
    if hasattr(neuron, "NonSpikingIFNode"):
        assert not compat.is_neuron(neuron.NonSpikingIFNode())


def test_step_modes_are_those_of_the_neurons():
    net = tiny_student(step_mode="s")
    assert set(compat.neuron_step_modes(net).values()) == {"s"}
    net[2].step_mode = "m"
    assert set(compat.neuron_step_modes(net).values()) == {"s", "m"}
    assert compat.neuron_step_modes(layer.MultiStepContainer(neuron.IFNode())) == {"0": "m"}


def test_fast_neurons_on_the_cpu_say_so_and_go_back():
    net = tiny_student()
    before = [getattr(m, "backend", None) for m in net.modules()]
    own = compat.neuron_path(net)
    path = use_fast_neurons(net)
    assert path.changed == 2
    assert path.device == "cpu"
    assert path.neurons == {"LIFNode": 2}
    assert path.implementation == "fused torch"
    assert path.spikingjelly == importlib.metadata.version("spikingjelly") in str(path)
    assert use_fast_neurons(net, enable=False).changed == 2
    assert compat.neuron_path(net) == own
    assert before == [getattr(m, "backend", None) for m in net.modules()]
    assert "torch" in own.implementation
    if hasattr(functional, "set_backend"):
        assert "CuPy needs the network on CUDA" in own.note
    else:
        assert "chosen by SpikingJelly" in own.note


def test_fast_neurons_away_from_the_cpu_are_spikingjellys():
    net = tiny_student()
    use_fast_neurons(net)
    net.to("meta")
    assert "fused" not in compat.neuron_path(net).implementation
    assert use_fast_neurons(net).changed == 2


def test_a_network_without_neurons_is_no_error():
    assert use_fast_neurons(nn.Linear(2, 2)).neurons == {}


def test_reset_reaches_a_neuron_that_was_added_later():
    net = nn.Sequential(neuron.IFNode(step_mode="m"))
    compat.reset(net)
    net.append(neuron.IFNode(step_mode="m"))
    compat.invalidate_reset_cache(net)
    net(torch.rand(2, 3))
    compat.reset(net)
    assert not any(isinstance(m.v, torch.Tensor) for m in net)
