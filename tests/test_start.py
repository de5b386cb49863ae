"""A student that begins with the weights of its teacher or of a file."""

import copy

import method_runs
import pytest
import tiny_nets
import torch
from method_runs import row, stopping_after, teacher_of
from safetensors.torch import load_file
from spikingjelly.activation_based import layer, neuron
from torch import nn

from spikingjelly_ckd import Distiller
from spikingjelly_ckd.networks import compat
from spikingjelly_ckd.networks.recording import watch_inputs
from spikingjelly_ckd.recipes import start, thresholds
from spikingjelly_ckd.recipes.data import DataOptions, cifar10
from spikingjelly_ckd.recipes.export import load_network, save_network
from spikingjelly_ckd.recipes.records.schema import Record
from spikingjelly_ckd.recipes.start import accuracy_of, start_from
from spikingjelly_ckd.recipes.thresholds import balance_thresholds, set_thresholds

STILL = ("--epochs", "1", "--lr", "1e-30", "--wd", "0")


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return method_runs.make_ground(tmp_path_factory.mktemp("ground"))


def test_tensors_of_the_same_name_and_shape_are_copied():
    student, teacher = tiny_nets.optional_student(10), tiny_nets.teacher(7)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    teacher.bn1.running_mean.fill_(3.0)
    found = start_from(student, teacher.state_dict() | {"more": torch.ones(1)})
    assert (found["missing"], found["other_shape"], found["unused"]) == ([], ["fc.weight", "fc.bias"], ["more"])
    assert found["fitted"] == found["tensors"] - 2
    assert 0.8 < found["share"] < 1
    after = student.state_dict()
    assert torch.equal(after["conv1.weight"], teacher.conv1.weight)
    assert torch.equal(after["bn1.running_mean"], teacher.bn1.running_mean)
    assert torch.equal(after["fc.weight"], before["fc.weight"])
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert not any(
        a.data_ptr() == b.data_ptr() for a, b in zip(student.parameters(), teacher.parameters(), strict=True)
    )


def test_weights_of_which_none_fits_are_refused():
    with pytest.raises(ValueError, match=r"init has no tensor .* begin with conv1.weight, .* given with 0.weight"):
        start_from(tiny_nets.optional_student(10), nn.Sequential(nn.Linear(2, 2)).state_dict())


@pytest.mark.parametrize("method", ["ckd", "plain"])
def test_a_row_that_begins_with_its_teacher(ground, tmp_path, method):
    line = ("--method", method, "--init", "teacher", *STILL, *teacher_of(ground))
    record = row(ground, tmp_path, *line)
    teacher, student = load_file(ground / "teacher.safetensors"), load_file(tmp_path / "student.safetensors")
    assert all(torch.allclose(student[name], teacher[name]) for name in teacher if "weight" in name)
    assert record["init"]["fitted"] == record["init"]["tensors"]
    assert record["init"]["share"] == 1
    assert record["init"]["source"] == record["teacher"]["source"]
    assert 0 <= record["init"]["accuracy"] <= 100
    assert record["recipe"]["init"] == "teacher"
    assert Record.read(tmp_path / "record.json").init == record["init"]
    assert row(ground, tmp_path, *line, "--resume", "latest")["init"] == record["init"]


def test_a_row_that_begins_with_a_file(ground, tmp_path):
    torch.save(tiny_nets.teacher(10).state_dict(), tmp_path / "weights.pt")
    record = row(ground, tmp_path / "out", "--method", "plain", "--init", tmp_path / "weights.pt", *STILL)
    assert record["init"]["source"] == str(tmp_path / "weights.pt")
    assert "teacher" not in record
    with pytest.raises(FileNotFoundError, match="init must be 'teacher', 'scaled' or a file of weights"):
        row(ground, tmp_path / "other", "--method", "plain", "--init", tmp_path / "absent.pt", *STILL)


def test_without_the_switch_nothing_is_said_of_it(ground, tmp_path):
    assert "init" not in row(ground, tmp_path, "--method", "plain", *STILL)


def test_the_accuracy_before_the_first_step(ground):
    data = cifar10(ground / "data", DataOptions(size=16, allow_partial=True))
    distiller = Distiller(None, tiny_nets.optional_student(10), {}, time_steps=2)
    images, labels = zip(*data.test, strict=True)
    with torch.no_grad():
        right = distiller.eval().predict(torch.stack(images)).argmax(1) == torch.tensor(labels)
    options = {"batch_size": 4, "workers": 0, "device": torch.device("cpu")}
    found = accuracy_of(distiller.train(), data, limit=None, **options)
    assert found == pytest.approx(100 * right.float().mean().item())
    assert distiller.training
    assert accuracy_of(distiller, data, limit=1, **options) == pytest.approx(25 * right[:4].sum().item())


@pytest.fixture
def balanced(monkeypatch):
    """A student with its teacher's weights, before and after, and what was chosen on these images."""
    monkeypatch.setattr(thresholds, "QUANTILES", (0.3, 0.5, 0.8))
    torch.manual_seed(0)
    teacher, student = tiny_nets.teacher(3), tiny_nets.student(3)
    start_from(student, teacher.state_dict())
    student.bn1.train(False)
    distiller = Distiller(teacher, student, {}, time_steps=2)
    batches = [(torch.randn(8, 3, 16, 16), torch.arange(8) % 3), (torch.randn(8, 3, 16, 16), torch.arange(8) % 3)]
    before = {name: value.clone() for name, value in student.state_dict().items()}
    return distiller, before, batches, balance_thresholds(student, distiller.predict, batches)


def test_thresholds_are_quantiles_of_what_each_neuron_receives(monkeypatch):
    monkeypatch.setattr(thresholds, "QUANTILES", (0.5,))
    torch.manual_seed(0)
    net = nn.Sequential(neuron.IFNode(step_mode="m"), nn.Flatten(2), layer.Linear(12, 3, step_mode="m"))
    frames = torch.randn(1, 4, 3, 2, 2)

    def predict(images):
        net[0].reset()
        return net(images.unsqueeze(0)).mean(0)

    found = balance_thresholds(net, predict, [(frames[0], torch.zeros(4, dtype=torch.long))])
    middle = frames[frames > 0].quantile(0.5)
    assert found.thresholds == {"0": float(middle.bfloat16())}
    net[0].reset()
    assert net[0](frames).sum() == (frames >= found.thresholds["0"]).sum()


def test_of_the_quantiles_the_best_on_the_images_is_taken(balanced):
    distiller, _, batches, found = balanced
    student, accuracies = distiller.student, {}
    for quantile in thresholds.QUANTILES:
        other = copy.deepcopy(distiller)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(thresholds, "QUANTILES", (quantile,))
            accuracies[quantile] = balance_thresholds(other.student, other.predict, batches).accuracy
    assert found.accuracy == max(accuracies.values())
    assert accuracies[found.quantile] == found.accuracy
    assert found.thresholds == {
        path: module.v_threshold for path, module in student.named_modules() if path in found.thresholds
    }


def test_only_thresholds_and_running_statistics_change(balanced):
    distiller, before, _, _ = balanced
    student = distiller.student
    for name, value in student.state_dict().items():
        assert torch.equal(value, before[name]) != ("running" in name or "num_batches" in name), name
    assert not student.bn1.training
    assert student.training
    assert {module.momentum for module in student.modules() if isinstance(module, nn.BatchNorm2d)} == {0.1}
    assert not any(module._forward_pre_hooks for module in student.modules())


def test_statistics_are_those_of_the_students_own_spikes(balanced):
    distiller, _, batches, _ = balanced
    norm, received = distiller.student.bn1, []
    distiller.eval()
    with torch.no_grad(), watch_inputs(distiller.student, ["bn1"], lambda _, tensor: received.append(tensor)):
        for images, _ in batches:
            distiller.predict(images)
    means = [tensor.flatten(0, 1).mean((0, 2, 3)) for tensor in received]
    assert torch.allclose(norm.running_mean, torch.stack(means).mean(0), atol=1e-5)


def test_a_student_without_thresholds_is_refused():
    with pytest.raises(ValueError, match=r"init 'scaled' sets the thresholds of neurons, and Flatten has no neuron"):
        balance_thresholds(nn.Flatten(), nn.Identity(), [(torch.ones(1, 2), torch.zeros(1))])
    with pytest.raises(ValueError, match="thresholds must name neurons of Flatten, got 'a'"):
        set_thresholds(nn.Flatten(), {"a": 1.0})


def test_a_row_that_begins_scaled_keeps_its_thresholds_on_disk(ground, tmp_path, monkeypatch):
    monkeypatch.setattr(thresholds, "QUANTILES", (0.7,))
    line = ("--method", "plain", "--init", "scaled", "--epochs", "1", *teacher_of(ground))
    record = row(ground, tmp_path, *line)
    assert record["init"]["source"] == record["teacher"]["source"]
    assert record["init"]["fitted"] == record["init"]["tensors"]
    student, about = load_network(tmp_path / "student.safetensors", build=tiny_nets.optional_student)
    found = {path: module.v_threshold for path, module in student.named_modules() if compat.is_neuron(module)}
    assert found == about["thresholds"] == record["init"]["thresholds"]
    assert set(found.values()) != {1.0}


def test_checkpointed_neurons_have_their_own_names_on_disk(ground, tmp_path, monkeypatch):
    pytest.importorskip("spikingjelly.activation_based.memopt")
    monkeypatch.setattr(thresholds, "QUANTILES", (0.7,))
    line = ("--method", "plain", "--init", "scaled", *STILL, *teacher_of(ground))
    found = [
        row(ground, tmp_path / name, *line, *more)["init"]["thresholds"]
        for name, more in (("whole", ()), ("checkpointed", ("--memopt", "memory")))
    ]
    assert found[0] == found[1]
    student, _ = load_network(tmp_path / "checkpointed" / "student.safetensors", build=tiny_nets.optional_student)
    assert {path: student.get_submodule(path).v_threshold for path in found[1]} == found[1]


def test_a_row_that_begins_scaled_goes_on_with_its_thresholds(ground, tmp_path, monkeypatch):
    monkeypatch.setattr(thresholds, "QUANTILES", (0.7,))
    line = ("--method", "plain", "--init", "scaled", "--epochs", "2", *teacher_of(ground))
    whole = row(ground, tmp_path / "whole", *line)
    with pytest.raises(ArithmeticError), stopping_after(1):
        row(ground, tmp_path / "stopped", *line)
    monkeypatch.setattr(start, "balance_thresholds", None)  # they are read, not sought again
    record = row(ground, tmp_path / "stopped", *line, "--resume", "latest")
    assert record["init"] == whole["init"]
    assert record["student"]["sha256"] == whole["student"]["sha256"]


@pytest.mark.parametrize("value", ["high", 0, -1, float("nan")])
def test_thresholds_of_a_file_are_looked_at(tmp_path, value):
    student, wrong = tiny_nets.optional_student(10), {"act1": value}
    path = save_network(
        tmp_path / "net.safetensors", student, tiny_nets.optional_student, {"num_classes": 10}, thresholds=wrong
    )
    with pytest.raises(ValueError, match="thresholds"):
        load_network(path, build=tiny_nets.optional_student)
