"""Weights in int8: what is written, what it changes, and what of it is reported."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from spikingjelly.activation_based import functional
from tiny_data import write_event_folder, write_image_folder
from torch import nn

from spikingjelly_ckd.recipes.deploy.evaluate import evaluate
from spikingjelly_ckd.recipes.deploy.exported import read_exported
from spikingjelly_ckd.recipes.deploy.int8 import export_int8, quantize
from spikingjelly_ckd.recipes.export import file_hash, load_network, save_network
from spikingjelly_ckd.recipes.models import resnet8, spiking_resnet8
from spikingjelly_ckd.recipes.weights import read_weights

CLASSES = ("class000", "class001", "class002")
ABOUT = {"time_steps": 2, "size": 16, "mean": (0.5,) * 3, "std": (0.25,) * 3, "classes": CLASSES, "accuracy": 50.0}


def awake(network, *shape):
    """With statistics of BatchNorm under which neurons fire."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.weight.uniform_(1.5, 3)
                module.bias.uniform_(-0.5, 1)
                module.momentum = 1.0
        network(torch.randn(*shape))
    functional.reset_net(network)
    return network.eval()


@pytest.fixture
def student(tmp_path):
    network = awake(spiking_resnet8(3), 2, 8, 3, 16, 16)
    return save_network(tmp_path / "student.safetensors", network, spiking_resnet8, {"num_classes": 3}, **ABOUT)


def test_integers_are_the_nearest():
    weight = torch.randn(5, 4, 3, 3)
    integers, scale = quantize(weight)
    assert integers.dtype == torch.int8
    assert integers.flatten(1).abs().amax(1).tolist() == [127] * 5
    error = (integers * scale.view(-1, 1, 1, 1) - weight).abs().flatten(1).amax(1)
    assert (error <= scale / 2 * (1 + 1e-5)).all()


def test_a_student_in_int8(student, tmp_path):
    tree = write_image_folder(tmp_path / "tree", per_class_train=1, per_class_test=3, size=24)
    found = export_int8(student, tmp_path / "small.safetensors", tree)
    assert (found.quantized, found.folded, found.norms, found.samples) == (10, 9, 9, 9)
    assert found.bytes_after < 0.35 * found.bytes_before
    assert 0 < found.drift < 0.5 * found.largest
    assert (found.accuracy_before, found.accuracy_after) == (
        evaluate(student, tree).accuracy,
        evaluate(tmp_path / "small.safetensors", tree).accuracy,
    )
    tensors = load_file(tmp_path / "small.safetensors")
    assert tensors["layer1.0.conv1.weight"].dtype == torch.int8
    assert tensors["layer1.0.conv1.weight.scale"].shape == (16,)
    about = json.loads((tmp_path / "small.json").read_text())
    assert (about["weights"], about["sha256"]) == ("int8", file_hash(found.path))
    assert "accuracy" not in about  # it is that of another network
    assert "10 tensors in int8, 9 of 9 BatchNorms folded" in str(found)
    assert f"accuracy {found.accuracy_after:.2f} %" in str(found)
    assert 0 < found.spread <= 2 * found.largest
    assert "says little" not in str(found)
    assert "the logits are nearly the same for all samples" in str(replace(found, spread=0.0))


def test_the_drift_is_that_of_rounding_alone(student, tmp_path, monkeypatch):
    """Without rounding, folding changes nothing but the last bits."""
    monkeypatch.setattr("spikingjelly_ckd.recipes.deploy.int8.LAYERS", ())
    found = export_int8(student, tmp_path / "same.safetensors")
    assert (found.quantized, found.folded) == (0, 9)
    assert found.drift <= 1e-4 * found.largest
    network, _ = load_network(found.path)
    assert all(
        module.running_mean.abs().max() > 0.01 for module in network.modules() if hasattr(module, "running_mean")
    )


def test_weights_are_integers_times_scales(student, tmp_path):
    path = export_int8(student, tmp_path / "small.safetensors").path
    tensors, network = load_file(path), load_network(path)[0]
    expected = tensors["fc.weight"].float() * tensors["fc.weight.scale"].view(-1, 1)
    assert torch.equal(network.fc.weight, expected)
    assert torch.equal(network.bn1.running_mean, tensors["bn1.running_mean"])


def test_a_second_export_and_a_second_call_are_equal(student, tmp_path):
    first = export_int8(student, tmp_path / "small.safetensors")
    bits = first.path.read_bytes()
    assert export_int8(student, tmp_path / "small.safetensors") == first
    assert first.path.read_bytes() == bits
    exported = read_exported(first.path)
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(exported.logits(images).steps, exported.logits(images).steps)


def test_event_frames_teachers_and_networks_that_cannot_be_followed(tmp_path):
    tree = write_event_folder(tmp_path / "events", time_steps=3, classes=3, per_class_train=1, per_class_test=2)
    about = {"time_steps": 3, "size": 16, "classes": CLASSES, "event": True}
    arguments = {"num_classes": 3, "in_channels": 2}
    network = awake(spiking_resnet8(3, 2), 3, 8, 2, 16, 16)
    path = save_network(tmp_path / "e.safetensors", network, spiking_resnet8, arguments, **about)
    assert export_int8(path, tmp_path / "e8.safetensors", tree).accuracy_after is not None
    assert export_int8(path, tmp_path / "e8.safetensors").samples == 64
    path = save_network(tmp_path / "t.safetensors", resnet8(3), resnet8, {"num_classes": 3}, size=16)
    assert export_int8(path, tmp_path / "t8.safetensors").folded == 9
    path = save_network(tmp_path / "w.safetensors", wandering(3), wandering, {"num_classes": 3}, size=8, time_steps=2)
    found = export_int8(path, tmp_path / "w8.safetensors", build=wandering)
    assert (found.folded, found.norms, found.quantized) == (0, 1, 2)


class Wandering(nn.Module):
    """Decides by values, in a way that no graph holds."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, frames):
        return self.net(frames) * [1.0, 1.0][int(frames.sum() > 0)]


def wandering(num_classes):
    from spikingjelly.activation_based import layer, neuron

    kit = {"step_mode": "m"}
    return Wandering(
        nn.Sequential(
            layer.Conv2d(3, 4, 3, **kit),
            layer.BatchNorm2d(4, **kit),
            neuron.LIFNode(**kit),
            layer.AdaptiveAvgPool2d(1, **kit),
            layer.Flatten(**kit),
            layer.Linear(4, num_classes, **kit),
        )
    )


def test_what_is_refused(student, tmp_path):
    with pytest.raises(ValueError, match="be no file of the student"):
        export_int8(student, student)
    with pytest.raises(ValueError, match=r"path must end in \.safetensors"):
        export_int8(student, tmp_path / "a.pt")
    small = export_int8(student, tmp_path / "small.safetensors").path
    with pytest.raises(ValueError, match="has its weights in int8 already"):
        export_int8(small, tmp_path / "smaller.safetensors")
    network = spiking_resnet8(3)
    network.fc.weight.data[0, 0] = float("inf")
    about = {"time_steps": 2, "size": 16}
    broken = save_network(tmp_path / "broken.safetensors", network, spiking_resnet8, {"num_classes": 3}, **about)
    with pytest.raises(ValueError, match=r"broken\.safetensors: fc\.weight holds numbers that are not finite"):
        export_int8(broken, tmp_path / "b.safetensors")
    assert not list(tmp_path.glob("b.*"))


@pytest.mark.parametrize(
    "scale", [None, torch.ones(2), torch.full((3,), float("nan")), -torch.ones(3), torch.ones(3, dtype=torch.int64)]
)
def test_scales_that_make_no_weights_are_refused(student, tmp_path, scale):
    path = export_int8(student, tmp_path / "small.safetensors").path
    tensors, about = load_file(path), json.loads(path.with_suffix(".json").read_text())
    del tensors["fc.weight.scale"]
    save_file(tensors | ({} if scale is None else {"fc.weight.scale": scale}), path)
    path.with_suffix(".json").write_text(json.dumps(about | {"sha256": file_hash(path)}))
    words = r"scales of fc\.weight must be one a channel|holds NaN"
    with pytest.raises(ValueError, match=words if scale is not None else "would be cut or are no weights"):
        load_network(path)


def test_whoever_reads_the_tensors_gets_real_weights(student, tmp_path):
    """Also where a run begins with them, or takes them for its teacher."""
    path = export_int8(student, tmp_path / "small.safetensors").path
    weights, network = read_weights(path), load_network(path)[0]
    assert weights.keys() == network.state_dict().keys()
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
