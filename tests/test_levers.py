"""Levers of a row as switches: neurons and normalisations of the student, the task loss, regularisation, logs."""

import dataclasses
import os
import re
import runpy
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace

import method_runs
import pytest
import tiny_nets
import torch
from method_runs import row
from safetensors.torch import load_file
from spikingjelly.activation_based import functional, layer, neuron
from timm.data import Mixup
from torch import nn
from torch.nn.functional import cross_entropy

from spikingjelly_ckd import Distiller, acceleration
from spikingjelly_ckd.errors.arguments import ArgumentError
from spikingjelly_ckd.networks.compat import is_neuron
from spikingjelly_ckd.networks.guards import reset_states
from spikingjelly_ckd.recipes import options, teacher_identity
from spikingjelly_ckd.recipes.command_line import parse
from spikingjelly_ckd.recipes.data import DataOptions, cifar10
from spikingjelly_ckd.recipes.data.augment import Cutout, event_transform, image_transform
from spikingjelly_ckd.recipes.export import load_network
from spikingjelly_ckd.recipes.models import (
    SpikingResNet,
    checkpoint_neurons,
    lif,
    make_neuron,
    make_norm,
    spiking_resnet20,
    synchronise_norms,
    with_membrane_norm,
    without_checkpoints,
)
from spikingjelly_ckd.recipes.records import read_record
from spikingjelly_ckd.recipes.report.energy import ann_twin, measure_energy
from spikingjelly_ckd.recipes.training import DistillationModule, resume

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


def plif_student(num_classes, in_channels=3, *, neuron="lif"):
    return SpikingResNet((4, 8, 16), (1, 1, 1), num_classes, in_channels, neuron=make_neuron(neuron))


def counted(function, calls):
    def call(*args):
        calls.append(1)
        return function(*args)

    return call


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


# --- rows ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return method_runs.make_ground(tmp_path_factory.mktemp("ground"))


PLAIN = ("--method", "plain", "--epochs", "1")


def make_recipe(**changes):
    recipe = runpy.run_path(str(method_runs.SCRIPT))["RECIPE"]
    return dataclasses.replace(recipe, **changes)


def test_the_student_of_a_row_by_switches(ground, tmp_path):
    flags = ("--neuron", "plif", "--tau", "3", "--surrogate", "atan", "--detach-reset")
    norm = ("--norm", "tebn") if GENERATION_2 else ()
    record = row(ground, tmp_path, *PLAIN, *flags, *norm, student=spiking_resnet20)
    wanted = {"neuron": "plif", "tau": 3.0, "surrogate": "atan", "detach_reset": True}
    wanted |= {"norm": "tebn", "norm_steps": 2} if norm else {}
    assert {name: record["student"]["arguments"].get(name) for name in wanted} == wanted
    network, _ = load_network(tmp_path / "student.safetensors")
    assert kinds(network, neuron.BaseNode) == {neuron.ParametricLIFNode}
    assert record["sources"]["neuron"] == "command line"
    with pytest.raises(ValueError, match="norm bn \\(command line\\) is a keyword .* tiny_nets:student, does not take"):
        row(ground, tmp_path / "other", *PLAIN, "--norm", "bn", student=tiny_nets.student)
    if GENERATION_2:  # not norm_steps, which is no flag
        with pytest.raises(ValueError, match="norm tebn \\(command line\\) is a keyword"):
            row(ground, tmp_path / "other", *PLAIN, "--norm", "tebn", student=tiny_nets.student)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--norm", "tebn", "--eval-time-steps", "3"), "--eval-time-steps does not go with norm 'tebn'"),
        (("--mixup-off-epoch", "1"), "--mixup-off-epoch does nothing: no images are mixed"),
        (("--label-smoothing", "1"), "--label-smoothing must"),
        (("--cutout", "-1"), "--cutout must be at least 0"),
        (("--eval-time-steps", "0"), "--eval-time-steps must be at least 1"),
        (("--logger", "paper"), "--logger: invalid choice"),
        (("--neuron", "izhikevich"), "--neuron: invalid choice"),
        (("--task-loss", "mse"), "--task-loss: invalid choice"),
    ],
)
def test_switches_that_do_not_go_together_are_a_usage_message(ground, tmp_path, capsys, flags, words):
    with pytest.raises(SystemExit):
        row(ground, tmp_path, *PLAIN, *flags)
    assert words in capsys.readouterr().err


def test_the_task_loss_and_its_smoothing():
    logits, labels = torch.randn(4, 5), torch.tensor([0, 1, 2, 3])
    smooth = make_recipe(label_smoothing=0.2).read_method()
    assert torch.equal(smooth.task_loss(logits, labels), cross_entropy(logits, labels, label_smoothing=0.2))
    assert set(smooth.losses) == {"samd", "nld"}
    tet = make_recipe(method="kd", task_loss="tet", label_smoothing=0.1).read_method()
    assert (tet.task_loss.label_smoothing, tet.task_weight, tet.student.per_step_logits) == (0.1, 0.1, True)
    assert make_recipe(method="tdkd", label_smoothing=0.1).read_method().task_loss.label_smoothing == 0.1
    assert make_recipe(method="tdkd", task_loss="ce").read_method().task_loss is None
    assert make_recipe().read_method().task_loss is None
    assert "label_smoothing" in make_recipe(method="kd", label_smoothing=0.1).to_json()["parts"]["task"]


def test_the_smoothed_task_loss_trains(ground, tmp_path):
    first = [row(ground, tmp_path / str(s), *PLAIN, "--label-smoothing", s)["history"][0] for s in (0.0, 0.3)]
    assert first[0]["train_task"] != first[1]["train_task"]
    record = row(ground, tmp_path / "tet", *PLAIN, "--task-loss", "tet")
    assert record["recipe"]["task_loss"] == "tet"


def test_a_cutout_of_the_whole_sample_is_refused():
    assert DataOptions(size=16, cutout=15).cutout == 15
    with pytest.raises(ArgumentError, match="cutout must be below the size of the samples, 16, got 16"):
        DataOptions(size=16, cutout=16)


def test_cutout_blanks_a_square_of_every_channel():
    ones, found = torch.ones(2, 3, 16, 16), []
    for seed in range(200):
        torch.manual_seed(seed)
        cut = Cutout(6)(ones)
        assert torch.equal(cut[0, 0], cut[1, 2])
        found.append(int((cut[0, 0] == 0).sum()))
    assert max(found) == 36
    assert min(found) == 9, "in a corner a quarter of it is inside"
    assert bool((ones == 1).all())
    assert "Cutout(side=6)" in repr(image_transform(DataOptions(cutout=6), train=True, mean=(0.5,), std=(0.5,)))
    assert "Cutout" not in repr(image_transform(DataOptions(cutout=6), train=False, mean=(0.5,), std=(0.5,)))
    assert "Cutout" in repr(event_transform(DataOptions(cutout=6), train=True))
    assert "Cutout" not in repr(event_transform(DataOptions(), train=True))


def test_no_weight_decay_on_normalisations_and_biases():
    distiller = Distiller(None, tiny(neuron=make_neuron("plif")), {}, time_steps=2)
    module = with_trainer(DistillationModule(distiller, weight_decay=0.1, norm_decay=False))
    with_decay, without = module.configure_optimizers()["optimizer"].param_groups
    assert (with_decay["weight_decay"], without["weight_decay"]) == (0.1, 0.0)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    spared = {names[id(parameter)] for parameter in without["params"]}
    assert {"distiller.student.fc.bias", "distiller.student.bn1.weight", "distiller.student.act1.w"} <= spared
    others = {names[id(parameter)] for parameter in with_decay["params"]}
    assert others == {name for name in names.values() if name.endswith("weight") and name not in spared}
    assert all("conv" in name or "shortcut" in name or "fc" in name for name in others)
    assert spared | others == set(names.values())
    (one,) = with_trainer(DistillationModule(distiller)).configure_optimizers()["optimizer"].param_groups
    assert len(one["params"]) == len(names)


def with_trainer(module):
    module.trainer = SimpleNamespace(max_epochs=2, estimated_stepping_batches=4)
    return module


def test_images_are_mixed_up_to_an_epoch(ground, tmp_path, monkeypatch):
    mixed = []
    mix = Mixup.__call__

    def note(mixup, images, labels):
        mixed.append(len(images))
        return mix(mixup, images, labels)

    monkeypatch.setattr(Mixup, "__call__", note)
    row(ground, tmp_path, *PLAIN[:2], "--epochs", "3", "--mixup", "0.5", "--mixup-off-epoch", "1")
    assert mixed == [4, 4], "two batches of the first epoch"


def test_accuracy_at_every_step_and_with_more_steps_than_in_training(ground, tmp_path):
    record = row(ground, tmp_path / "a", *PLAIN)
    assert len(record["accuracy_by_step"]) == 2
    assert record["accuracy_by_step"][-1] == pytest.approx(record["accuracy"]["last"])
    longer = row(ground, tmp_path / "b", *PLAIN, "--eval-time-steps", "4")
    assert len(longer["accuracy_by_step"]) == 4
    assert longer["history"][0]["train_loss"] == record["history"][0]["train_loss"], "training is as before"
    network, about = load_network(tmp_path / "b" / "student.safetensors", tiny_nets.optional_student)
    assert about["time_steps"] == 4, "whoever reads the file gets the accuracy of the record"
    data = cifar10(ground / "data", DataOptions(size=16, allow_partial=True))
    images, labels = zip(*data.test, strict=True)
    with torch.no_grad():
        logits = network.eval()(torch.stack(images).expand(4, -1, -1, -1, -1))
    right = [(logits[:t].mean(0).argmax(1) == torch.tensor(labels)).float().mean().item() * 100 for t in range(1, 5)]
    assert longer["accuracy_by_step"] == pytest.approx(right)
    assert longer["accuracy"]["last"] == pytest.approx(right[-1])
    validated = row(ground, tmp_path / "a", *PLAIN, "--resume", "latest")
    assert validated["accuracy_by_step"] == record["accuracy_by_step"], "kept where no epoch is left"


def test_energy_and_the_first_accuracy_are_of_the_steps_of_the_accuracy(ground, tmp_path, monkeypatch):
    begun = ("--init", ground / "teacher.safetensors", "--energy-images", "2")
    monkeypatch.setattr("spikingjelly_ckd.recipes.start.start_from", lambda *_: {"fitted": 1, "tensors": 1, "share": 1})
    monkeypatch.setattr("spikingjelly_ckd.recipes.row.check_start", lambda *_: None)
    seen = []

    def note(distiller, *_, **options):
        seen.append(distiller.time_steps)
        return 0.0

    monkeypatch.setattr("spikingjelly_ckd.recipes.start.accuracy_of", note)
    energies = [
        row(ground, tmp_path / str(steps), *PLAIN, *begun, "--eval-time-steps", steps)["energy"]["student"]
        for steps in (2, 4)
    ]
    assert seen == [2, 4]
    operations = [energy["macs"] + energy["acs"] for energy in energies]
    assert operations[1] > 1.5 * operations[0]


def test_accuracy_at_every_step_needs_the_steps():
    module = DistillationModule(Distiller(None, tiny_nets.averaging_student(5), {}, time_steps=2))
    assert module.logits(torch.rand(2, 3, 16, 16)).steps is None
    with pytest.raises(ArgumentError, match="eval_time_steps does nothing: the student keeps its time steps"):
        DistillationModule(
            Distiller(None, tiny_nets.averaging_student(5), {}, student_steps="internal"), eval_time_steps=4
        )


@pytest.mark.parametrize(
    ("logger", "file"), [("csv", "csv/metrics.csv"), ("none", None), ("tensorboard", "tensorboard")]
)
def test_metrics_go_where_they_are_asked_to(ground, tmp_path, monkeypatch, logger, file):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    record = row(ground, tmp_path / "out", *PLAIN, "--logger", logger)
    assert not list((tmp_path / "here").iterdir()), "nothing in the current folder"
    assert file is None or (tmp_path / "out" / file).exists()
    assert (logger == "tensorboard") == (tmp_path / "out" / "tensorboard").exists()
    assert (tmp_path / "out" / "history.csv").exists()
    assert record["options"]["logger"] == logger


@pytest.mark.parametrize("logger", ["wandb", "mlflow"])
def test_a_logger_that_is_not_installed_is_one_line(ground, tmp_path, monkeypatch, logger):
    monkeypatch.setattr(options, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=f"--logger {logger}: the package is not installed; pip install {logger}"):
        row(ground, tmp_path, *PLAIN, "--logger", logger)


def test_a_row_with_synchronised_norms(ground, tmp_path):
    one, other = (row(ground, tmp_path / name, *PLAIN, *flags) for name, flags in (("a", ()), ("b", ("--sync-bn",))))
    assert one["history"][0]["train_loss"] == other["history"][0]["train_loss"]
    assert other["energy"] == one["energy"]
    first, second = (load_file(tmp_path / name / "student.safetensors") for name in ("a", "b"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(ValueError, match="--sync-bn needs CUDA on several processes"):
        row(ground, tmp_path / "c", *PLAIN, "--sync-bn", "--devices", "2")


def test_a_teacher_is_not_taken_up_on_other_images_of_equal_names(tmp_path):
    def made(content):
        return {"data": {"name": "folder", "split_hash": "1" * 64} | content, "recipe": {"epochs": 2}, "seed": 0}

    one, other, before = (made(content) for content in ({"content": "aa"}, {"content": "bb"}, {}))
    assert teacher_identity.differences(one, other) == "content aa, not bb"
    assert teacher_identity.differences(before, one) == "", "an earlier teacher does not say it"
    found = [[path.name for path in teacher_identity.folders(tmp_path / "teacher", each)] for each in (one, other)]
    assert (
        found[0][:2]
        == found[1][:2]
        == [path.name for path in teacher_identity.folders(tmp_path / "teacher", before)][:2]
    )
    assert found[0][2] != found[1][2]


def test_a_run_is_not_resumed_on_other_images_of_equal_names(tmp_path):
    data = SimpleNamespace(name="folder", split="folders", split_hash="1" * 64, content="aa")
    run = options.Run(seed=0)
    then = resume.settings_of(make_recipe(), run, data)
    data.content = "bb"
    with pytest.raises(ValueError, match="other settings, .*: content of the data set aa -> bb"):
        resume.check_same_run(tmp_path, then, resume.settings_of(make_recipe(), run, data))
    resume.check_same_run(tmp_path, then, {**then, "another": 1})


def test_the_teacher_is_announced_with_what_epochs_does_not_change():
    def note(*names):
        return teacher_identity.epochs_note(make_recipe(epochs=1, sources=dict.fromkeys(names, "command line")))

    assert "--epochs 1 is the student's alone: pass --teacher-epochs" in note("epochs")
    assert note() == note("epochs", "teacher_epochs") == ""


@needs_2
@pytest.mark.parametrize("budget", ["speed", "memory"])
def test_a_row_with_gradient_checkpoints_is_the_same(ground, tmp_path, budget):
    line = ("--method", "ckd", "--epochs", "2", *method_runs.teacher_of(ground), "--neuron", "plif")
    net = {"student": plif_student}
    one, other = (
        row(ground, tmp_path / name, *line, *more, **net) for name, more in (("a", ()), ("b", ("--memopt", budget)))
    )
    assert other["recipe"]["memopt"] == budget
    for name in ("train_loss", "samd", "test_acc1"):
        assert [x.get(name) for x in other["history"]] == pytest.approx([x.get(name) for x in one["history"]])
    assert other["energy"] == one["energy"]
    assert other["chosen"] == one["chosen"]
    first, second = (load_file(tmp_path / name / "student.safetensors") for name in ("a", "b"))
    assert first.keys() == second.keys()
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)


@needs_2
def test_checkpointed_neurons_compute_twice_and_come_back():
    network, frames = tiny(), torch.rand(2, 3, 3, 16, 16)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    neurons = [module for module in network.modules() if is_neuron(module)]
    calls = []
    for module in neurons:
        module.single_step_forward = counted(module.single_step_forward, calls)
    with reset_states(network):
        network(frames).sum().backward()
    plain, gradients = len(calls), [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    checkpoint_neurons(network, lambda: network(frames), "memory")
    assert all(torch.equal(value, before[name]) for name, value in tiny().state_dict().items())
    calls.clear()
    with reset_states(network):
        network(frames).sum().backward()
    assert len(calls) == 2 * plain
    assert all(torch.equal(one, parameter.grad) for one, parameter in zip(gradients, network.parameters(), strict=True))
    assert [module for module in without_checkpoints(network).modules() if is_neuron(module)] == neurons
    with pytest.raises(ArgumentError, match="has no neuron"):
        checkpoint_neurons(nn.Sequential(nn.Linear(2, 2)), lambda: None, "memory")


@pytest.mark.skipif(GENERATION_2, reason="generation 2 has it")
def test_memopt_of_generation_1_is_refused(ground, tmp_path):
    with pytest.raises(ArgumentError, match="memopt needs SpikingJelly 2.x"):
        row(ground, tmp_path, *PLAIN, "--memopt", "memory")


def test_gradient_checkpoints_do_not_go_with_a_copy():
    with pytest.raises(ArgumentError, match="memopt does not go with ema"):
        make_recipe(memopt="memory", ema=0.9)


def test_a_row_with_cheaper_steps_is_resumed_with_the_same(ground, tmp_path, monkeypatch):
    flags = ("--method", "kd", "--accelerate", "--epochs", "2", *method_runs.teacher_of(ground))
    monkeypatch.setattr(acceleration, "PAYS", float("inf"))
    monkeypatch.setattr(acceleration, "_moved", lambda *tensors: 0.0)  # a batch of four moves far
    with method_runs.stopping_after(1), pytest.raises(ArithmeticError):
        row(ground, tmp_path, *flags)
    first = read_record(tmp_path / "record.json")["acceleration"]
    monkeypatch.setattr(acceleration, "PAYS", 0.0)  # timed again, nothing would be on
    record = row(ground, tmp_path, *flags, "--resume", "latest")
    assert record["recipe"]["accelerate"]
    assert record["acceleration"] == first
    assert {"fast neurons", "bfloat16", "teacher"} <= set(record["acceleration"]["on"])
    assert all(trial["ratio"] > 0 for trial in record["acceleration"]["trials"] if trial["on"])
    assert record["chosen"]["autocast"]
    assert record["accuracy"]["epochs"] == 2
    with pytest.raises(ValueError, match="--accelerate is for one process"):
        row(ground, tmp_path / "c", *flags, "--devices", "2")


def test_a_teacher_of_before_is_taken_up(ground):
    values = {name: value for name, value in make_recipe().to_json().items() if name not in ("cutout", "norm_decay")}
    assert teacher_identity._of_teacher(values, event=False) == teacher_identity._of_teacher(
        make_recipe(label_smoothing=0.1, neuron="if", norm="bn", sync_bn=True, accelerate=True).to_json(), event=False
    )
    assert "cutout" in teacher_identity._of_teacher(make_recipe(cutout=8).to_json(), event=False)


# --- SLURM -----------------------------------------------------------------------------------------------------------


def sbatch():
    page = (method_runs.SCRIPT.parents[1] / "docs" / "cluster.md").read_text("utf8")
    return next(block for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) if "#SBATCH" in block)


@pytest.mark.parametrize(("status", "queued"), [(0, False), (1, False), (143, True)])
def test_the_job_of_the_documents_is_queued_again_after_sigterm_only(tmp_path, status, queued):
    """The script in bash, with a stand-in for the two commands of SLURM."""
    for name, code in {
        "srun": f'echo "$@" > "{tmp_path}/srun"; exit {status}',
        "scontrol": f'echo "$@" > "{tmp_path}/queued"',
    }.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{code}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SLURM_JOB_ID": "17", "DATA": "data"}
    done = subprocess.run(["bash", "-c", sbatch()], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, "")
    assert (tmp_path / "queued").exists() == queued
    assert not queued or (tmp_path / "queued").read_text() == "requeue 17\n"
    python, script, *flags = shlex.split((tmp_path / "srun").read_text())
    assert python == "python"
    _, run = parse(runpy.run_path(str(method_runs.SCRIPT.parents[1] / script))["RECIPE"], flags)
    assert (run.output_dir, run.resume) == (Path("runs/r19_t4-seed0"), None)


def test_a_job_that_is_queued_again_goes_on_under_slurms_variables(ground, tmp_path, monkeypatch):
    for name, value in {"NTASKS": 1, "JOB_NAME": "train", "JOB_ID": 17, "PROCID": 0, "LOCALID": 0, "NODEID": 0}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    line = (*PLAIN[:2], "--epochs", "2")
    with pytest.raises(ArithmeticError), method_runs.stopping_after(1):
        row(ground, tmp_path, *line)
    with pytest.raises(ValueError, match="holds a run already"):
        row(ground, tmp_path, *line)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert row(ground, tmp_path, *line)["resumed_after_epochs"] == [1]
