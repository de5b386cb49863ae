"""Networks of SpikingJelly's own model zoo, named on the command line and read back from their files."""

import json

import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from spikingjelly.activation_based.model import parametric_lif_net, sew_resnet
from test_recipe import load_row
from torch import nn

from spikingjelly_ckd import Distiller
from spikingjelly_ckd.networks.compat import is_neuron, neuron_step_modes
from spikingjelly_ckd.recipes.build import build_student
from spikingjelly_ckd.recipes.command_line import parse
from spikingjelly_ckd.recipes.export import load_network
from spikingjelly_ckd.recipes.models import name_in_zoo, spikingjelly_network

ZOO = "spikingjelly.activation_based.model"
NEEDS = {
    "ms_resnet.ms_resnet18": "ms_resnet",
    "maxformer.maxformer_cifar": "maxformer",
    "spikformer.spikformer_ti": "spikformer",
    "spiking_vggws_ottt.ottt_spiking_vgg11_ws": "spiking_vggws_ottt",
}
"""Networks that not every generation of SpikingJelly has, and their modules."""


def network(name, *sizes, **options):
    if name in NEEDS:
        pytest.importorskip(f"{ZOO}.{NEEDS[name]}")
    return spikingjelly_network(name, *sizes, **options)


def neurons_of(student):
    return [module for module in student.modules() if is_neuron(module)]


@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("name", ["sew_resnet.sew_resnet18", "spiking_resnet.spiking_resnet18", *NEEDS])
def test_a_network_fits_classes_and_channels(name, channels):
    student = network(name, 7, channels, 32, 2)
    distiller = Distiller(None, student, {}, time_steps=2)
    assert distiller.predict(torch.rand(2, channels, 32, 32)).shape == (2, 7)
    assert set(neuron_step_modes(student).values()) == {"s" if "ottt" in name else "m"}


def test_networks_without_neurons_of_their_own_get_lif_and_the_others_keep_theirs():
    given = neurons_of(network("sew_resnet.sew_resnet18", 3))
    assert {type(one) for one in given} == {neuron.LIFNode}
    assert type(given[0].surrogate_function).__name__ == "PiecewiseQuadratic"
    own = neurons_of(network("ms_resnet.ms_resnet18", 3, time_steps=2))
    from spikingjelly.activation_based.model.ms_resnet import ms_resnet18

    assert [type(one) for one in own] == [type(one) for one in neurons_of(ms_resnet18(T=2, num_classes=3))]
    chosen = neurons_of(network("ms_resnet.ms_resnet18", 3, neuron="plif", tau=3.0, detach_reset=True))
    assert {type(one) for one in chosen} == {neuron.ParametricLIFNode}
    assert all(one.detach_reset for one in chosen)


def test_first_weights_do_not_depend_on_the_look_for_neurons():
    torch.manual_seed(0)
    given = network("spiking_resnet.spiking_resnet18", 3).state_dict()
    torch.manual_seed(0)
    named = network("spiking_resnet.spiking_resnet18", 3, neuron="lif").state_dict()
    assert all(torch.equal(tensor, named[key]) for key, tensor in given.items())


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        (
            "sew_resnet.sew_resnet17",
            {},
            "must be a network of .*sew_resnet, got 'sew_resnet17'; did you mean 'sew_resnet18'",
        ),
        ("sew_resnet.SEWResNet", {}, "needs nothing but sizes, and sew_resnet.SEWResNet asks for block, layers"),
        ("sew_resnet.conv1x1", {}, "needs nothing but sizes"),
        ("sew_resnet.nn", {}, "must be a network of"),
        ("sew_resnet._sew_resnet", {}, "must be module.function of"),
        ("os.system", {}, "there is no spikingjelly.activation_based.model.os"),
        ("...os.system", {}, "must be module.function of"),
        ("sew_resnet18", {}, "must be module.function of"),
        ("sew_resnet.sew_resnet18", {"tau": 0.5}, "tau must be above 1"),
        ("sew_resnet.sew_resnet18", {"step_mode": "x"}, "step_mode must be one of"),
        ("sew_resnet.sew_resnet18", {"in_channels": 0}, "in_channels must be at least 1"),
    ],
)
def test_what_is_no_network_of_the_zoo_is_refused(name, options, words):
    with pytest.raises(ValueError, match=words):
        spikingjelly_network(name, 3, **options)


def test_what_a_network_itself_refuses_is_one_line():
    pytest.importorskip(f"{ZOO}.masnn")
    with pytest.raises(
        RuntimeError, match=r"masnn_dvs128_gesture raised AssertionError: reduction_t cannot be .* line \d+\)$"
    ):
        spikingjelly_network("masnn.masnn_dvs128_gesture", 3, time_steps=2)


def test_names():
    assert name_in_zoo(sew_resnet.sew_resnet18) == "sew_resnet.sew_resnet18"
    assert name_in_zoo(parametric_lif_net.CIFAR10Net) == "parametric_lif_net.CIFAR10Net"
    assert name_in_zoo(nn.Linear) is None
    assert name_in_zoo(object()) is None


def built_student(folder, *flags):
    """A student of the zoo for the digits, written as a row writes it."""
    data = ("--data", "spikingjelly_ckd.recipes.data.digits:digits", "--data-path", str(folder), "--size", "16")
    off = ("--crop-padding", "0", "--auto-augment", "", "--erase", "0", "--no-flip", "--method", "plain", "-T", "2")
    line = [*data, *off, "--student", f"{ZOO}.sew_resnet:sew_resnet18", *flags]
    recipe, run = parse(load_row("cifar10_r20"), line)
    data = recipe.data(run.data_path, recipe.data_options())
    built = build_student(recipe, run, data)
    return built.network, built.save_student(folder / "student.safetensors", recipe, data, None)


@pytest.mark.parametrize("steps", ["multi", "loop"])
def test_a_row_builds_one_by_its_own_name_and_its_file_needs_no_builder(tmp_path, steps):
    student, path = built_student(tmp_path, "--student-steps", steps, "--neuron", "plif", "--tau", "3")
    assert student.conv1.in_channels == 2
    assert set(neuron_step_modes(student).values()) == {"s" if steps == "loop" else "m"}
    arguments = json.loads(path.with_suffix(".json").read_text())["arguments"]
    assert (arguments["name"], arguments["neuron"], arguments["tau"]) == ("sew_resnet.sew_resnet18", "plif", 3.0)
    read, _ = load_network(path)
    frames = torch.rand(2, 1, 2, 16, 16)
    outputs = []
    for one in (student.eval(), read):
        functional.reset_net(one)
        outputs.append(torch.stack([one(x) for x in frames]) if steps == "loop" else one(frames))
    assert torch.equal(*outputs)


def test_a_file_names_networks_of_the_zoo_alone(tmp_path):
    _, path = built_student(tmp_path)
    beside = path.with_suffix(".json")
    about = json.loads(beside.read_text())
    about["arguments"]["name"] = "os.system"
    beside.write_text(json.dumps(about))
    with pytest.raises(
        ValueError, match=r"spikingjelly_network refuses these arguments: name must be in the installed"
    ):
        load_network(path)
