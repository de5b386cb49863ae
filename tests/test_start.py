"""A student that begins with the weights of its teacher or of a file."""

import method_runs
import pytest
import tiny_nets
import torch
from method_runs import row, teacher_of
from safetensors.torch import load_file
from torch import nn

from spikingjelly_ckd import Distiller
from spikingjelly_ckd.recipes.data import DataOptions, cifar10
from spikingjelly_ckd.recipes.records.schema import Record
from spikingjelly_ckd.recipes.start import accuracy_of, start_from

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
    with pytest.raises(FileNotFoundError, match="init must be 'teacher' or a file of weights"):
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
