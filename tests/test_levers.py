"""Levers of a row as switches: neurons and normalisations of the student, the task loss, regularisation, logs."""

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

from spikingjelly_ckd.functional.errors import ArgumentError
from spikingjelly_ckd.networks.guards import reset_states
from spikingjelly_ckd.recipes.models import (
    SpikingResNet,
    lif,
    make_neuron,
    make_norm,
    spiking_resnet20,
    synchronise_norms,
    with_membrane_norm,
)
from spikingjelly_ckd.recipes.report.energy import ann_twin, measure_energy

GENERATION_2 = hasattr(layer, "TemporalEffectiveBatchNorm2d")
needs_2 = pytest.mark.skipif(not GENERATION_2, reason="SpikingJelly 2.x")
NORMS = {
    "bn": layer.BatchNorm2d,
    "tdbn": layer.ThresholdDependentBatchNorm2d,
    "tebn": getattr(layer, "TemporalEffectiveBatchNorm2d", None),
}


def tiny(**options):
    torch.manual_seed(0)
    return SpikingResNet((4, 8, 8), (1, 1, 1), 5, **options)


def kinds(network, base=nn.Module):
    return {type(module) for module in network.modules() if isinstance(module, base)}


# --- neurons ---------------------------------------------------------------------------------------------------------


def test_the_default_neuron_is_the_one_of_before():
    node = make_neuron()()
    assert repr(node) == repr(lif())
    assert (type(node), node.tau, node.decay_input, node.v_threshold, node.v_reset) == (
        neuron.LIFNode,
        2.0,
        False,
        1,
        0,
    )
    assert (node.detach_reset, node.step_mode, type(node.surrogate_function).__name__) == (
        False,
        "m",
        "PiecewiseQuadratic",
    )
    assert repr(make_neuron(lif, tau=4.0)()) == repr(make_neuron("lif", tau=4.0)())


def test_neurons_by_name():
    plif, integrate = make_neuron("plif", tau=4.0)(), make_neuron("if", surrogate="sigmoid", detach_reset=True)()
    assert (type(plif), type(integrate)) == (neuron.ParametricLIFNode, neuron.IFNode)
    assert plif.w.sigmoid().item() == pytest.approx(1 / 4)
    assert (type(integrate.surrogate_function).__name__, integrate.detach_reset) == ("Sigmoid", True)
    first, second = (make_neuron("lif", surrogate="atan")() for _ in range(2))
    assert first.surrogate_function is not second.surrogate_function


@pytest.mark.parametrize(
    ("options", "argument", "words"),
    [
        ({"neuron": "izhikevich"}, None, "neuron must be one of"),
        ({"neuron": lif()}, "neuron", "must be a callable that makes one neuron"),
        ({"neuron": 3}, "neuron", "must be a callable that makes one neuron"),
        ({"neuron": "if", "tau": 2.0}, "tau", "of a neuron with a leak"),
        ({"tau": 1.0}, "tau", "must be above 1"),
        ({"tau": float("nan")}, "tau", "must be above 1"),
        ({"surrogate": "step"}, None, "surrogate must be one of"),
        ({"neuron": neuron.IFNode, "tau": 2.0}, "tau", "goes with the name of a neuron"),
    ],
)
def test_a_neuron_that_cannot_be_made_is_refused(options, argument, words):
    with pytest.raises((TypeError, ValueError), match=words) as caught:
        make_neuron(**options)
    assert argument is None or (isinstance(caught.value, ArgumentError) and caught.value.argument == argument)


def test_the_options_reach_the_students_neurons():
    network = spiking_resnet20(5, neuron="plif", tau=3.0, surrogate="atan", detach_reset=True)
    nodes = [module for module in network.modules() if isinstance(module, neuron.BaseNode)]
    assert len(nodes) == 19
    assert {(type(node), type(node.surrogate_function).__name__, node.detach_reset) for node in nodes} == {
        (neuron.ParametricLIFNode, "ATan", True)
    }


# --- normalisations --------------------------------------------------------------------------------------------------


def test_the_default_normalisation_gives_the_network_of_before():
    assert repr(tiny()) == repr(tiny(norm="bn"))
    assert kinds(tiny(), nn.modules.batchnorm._BatchNorm) == {layer.BatchNorm2d}


@needs_2
@pytest.mark.parametrize("norm", ["tdbn", "tebn"])
def test_normalisations_by_name(norm):
    network = tiny(norm=norm, norm_steps=3)
    assert kinds(network, nn.modules.batchnorm._BatchNorm) == {NORMS[norm]}
    assert network(torch.rand(3, 2, 3, 8, 8)).shape == (3, 2, 5)
    if norm == "tebn":
        assert tuple(network.layer2[0].bn1.scale.shape) == (3,)


@needs_2
def test_the_membrane_is_normalised():
    network = tiny(norm="mpbn", neuron=make_neuron("lif", tau=4.0, surrogate="atan"))
    assert kinds(network, neuron.BaseNode) == {neuron.MPBNLIFNode}
    node = network.layer2[0].act2
    assert (node.tau, type(node.surrogate_function).__name__, node.vbn.num_features) == (4.0, "ATan", 8)
    network(torch.rand(3, 2, 3, 8, 8)).sum().backward()
    assert node.vbn.weight.grad is not None
    relu = tiny(norm="mpbn", last_activation="relu")
    assert type(relu.layer3[-1].act2) is nn.ReLU
    with pytest.raises(TypeError, match="norm 'mpbn' is for the neuron 'lif', got IFNode"):
        tiny(norm="mpbn", neuron=make_neuron("if"))


@pytest.mark.skipif(GENERATION_2, reason="generation 2 has all")
def test_what_generation_1_lacks_is_said():
    with pytest.raises(RuntimeError, match="no tdBN that runs; it needs generation 2"):
        make_norm("tdbn")
    with pytest.raises(RuntimeError, match="no TEBN; it needs generation 2"):
        make_norm("tebn", 2)
    with pytest.raises(RuntimeError, match="no MPBN; it needs generation 2"):
        with_membrane_norm(lif(), 4)


def test_normalisations_that_cannot_be_made():
    with pytest.raises(ValueError, match="norm must be one of"):
        make_norm("ln")
    with pytest.raises(ArgumentError, match="norm 'tebn' has a scale for each time step"):
        make_norm("tebn")


@needs_2
@pytest.mark.parametrize("norm", ["tdbn", "tebn", "mpbn"])
def test_energy_and_the_ann_twin_of_any_normalisation(norm):
    network = tiny(norm=norm, norm_steps=4)
    measured = measure_energy(network, [torch.rand(4, 2, 3, 8, 8)], batch_axis=1)
    twin = ann_twin(network)
    assert twin(torch.rand(1, 2, 3, 8, 8)).shape == (1, 2, 5)
    assert measured.to_json()["compute_mj"] > 0


# --- BatchNorm over processes ----------------------------------------------------------------------------------------


def test_on_one_process_a_synchronised_network_is_the_same():
    network, frames = tiny(), torch.rand(3, 4, 3, 8, 8)
    names = list(network.state_dict())
    with reset_states(network):
        wanted = network(frames)
    other = synchronise_norms(tiny())
    assert list(other.state_dict()) == names
    with reset_states(other):
        assert torch.equal(other(frames), wanted)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in network.state_dict().items()), (
        "the running statistics too"
    )
    assert kinds(other, nn.modules.batchnorm._BatchNorm).isdisjoint({layer.BatchNorm2d})
    functional.set_step_mode(other, "s")
    assert other.layer1[0].bn1(torch.rand(4, 4, 8, 8)).shape == (4, 4, 8, 8)


def test_a_network_without_batchnorm_cannot_be_synchronised():
    with pytest.raises(ArgumentError, match="sync_bn does nothing: Sequential has no BatchNorm of SpikingJelly"):
        synchronise_norms(nn.Sequential(nn.BatchNorm2d(4)))
