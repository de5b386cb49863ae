"""Networks on disk: the pair of files, names of functions, and checkpoints as they are around."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_nets
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from spikingjelly_ckd.recipes.data import cifar10
from spikingjelly_ckd.recipes.export import file_hash, load_network, name_of, read_weights, resolve_name, save_network
from spikingjelly_ckd.recipes.models import SpikingResNet, spiking_resnet20

HERE = Path(__file__).parent


class Kept(nn.Module):
    """Parameters and buffers of several types, one shared, and a buffer that is not saved."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(4, classes)
        self.second = nn.Linear(4, classes)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(classes)
        self.register_buffer("mask", torch.rand(classes) > 0.5)
        self.register_buffer("brief", torch.rand(classes).bfloat16())
        self.register_buffer("passing", torch.rand(classes), persistent=False)

    @classmethod
    def wide(cls, classes: int) -> "Kept":
        return cls(classes)

    def forward(self, x):
        return self.norm(self.first(x) + self.second(x))


def bits(network: nn.Module) -> dict[str, bytes]:
    """Every tensor of the ``state_dict``, byte by byte."""
    state = network.state_dict()
    return {name: bytes(t.contiguous().flatten().view(torch.uint8).tolist()) for name, t in state.items()}


def trained(network: nn.Module, *shape: int) -> nn.Module:
    """After a forward in training mode, so that the statistics are not those of a new network."""
    network(torch.rand(*shape))
    return network


@pytest.mark.parametrize("build", [tiny_nets.teacher, Kept])
def test_a_network_comes_back_bit_for_bit(tmp_path, build):
    keyword = "num_classes" if build is tiny_nets.teacher else "classes"
    shape = (4, 3, 16, 16) if build is tiny_nets.teacher else (4, 4)
    network = trained(build(**{keyword: 5}), *shape)
    path = save_network(tmp_path / "deep" / "net.safetensors", network, build, {keyword: 5})
    torch.manual_seed(1)
    again, _ = load_network(path)
    assert type(again) is type(network)
    assert bits(again) == bits(network)
    assert not again.training
    assert torch.equal(again(torch.ones(shape)), network.eval()(torch.ones(shape)))


def test_a_network_in_channels_last_can_be_written(tmp_path):
    network = tiny_nets.teacher(5).to(memory_format=torch.channels_last)
    path = save_network(tmp_path / "net.safetensors", network, tiny_nets.teacher, {"num_classes": 5})
    assert bits(load_network(path)[0]) == bits(network)


def test_the_json_says_how_to_build_and_feed_the_network(tmp_path):
    about = {"time_steps": 4, "mean": (0.5, 0.25, 0.125), "std": None, "size": 16, "classes": ("café", "dog")}
    arguments = {"num_classes": 2, "in_channels": 3}
    path = save_network(tmp_path / "net.safetensors", tiny_nets.student(2), tiny_nets.student, arguments, **about)
    written = json.loads((tmp_path / "net.json").read_text("utf8"))
    assert written == {
        "build": "tiny_nets:student",
        "arguments": arguments,
        **about,
        "mean": [0.5, 0.25, 0.125],
        "classes": ["café", "dog"],
        "sha256": file_hash(path),
    }
    assert load_network(path)[1] == written
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.json", "net.safetensors"]


def test_another_function_may_build_the_network(tmp_path):
    network = tiny_nets.teacher(5)
    path = save_network(tmp_path / "net.safetensors", network, tiny_nets.teacher, {"num_classes": 5})
    about = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(about | {"build": "gone:build"}))
    with pytest.raises(ValueError, match="there is no module 'gone'"):
        load_network(path)
    assert bits(load_network(path, build=tiny_nets.teacher)[0]) == bits(network)


def local_build() -> nn.Module:
    def build() -> nn.Module:
        return nn.Linear(1, 1)

    return build


@pytest.mark.parametrize("build", [lambda: nn.Linear(1, 1), local_build(), functools.partial(nn.Linear, 1), Kept.wide])
def test_what_has_no_name_is_refused_before_anything_is_written(tmp_path, build):
    with pytest.raises(ValueError, match="cannot be imported by its name; pass a function of a module"):
        save_network(tmp_path / "net.safetensors", nn.Linear(1, 1), build, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["net.pt", "net", "net.safetensors.gz"])
def test_another_ending_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=rf"path must end in \.safetensors, got .*{name}"):
        save_network(tmp_path / name, nn.Linear(1, 1), nn.Linear, {})
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_network_is_refused(tmp_path):
    path = save_network(tmp_path / "net.safetensors", tiny_nets.teacher(5), tiny_nets.teacher, {"num_classes": 6})
    with pytest.raises(ValueError, match=r"net.safetensors does not fit ResNet: .*fc.weight"):
        load_network(path)


@pytest.mark.parametrize("missing", ["net.json", "net.safetensors"])
def test_either_file_missing(tmp_path, missing):
    path = save_network(tmp_path / "net.safetensors", tiny_nets.teacher(5), tiny_nets.teacher, {"num_classes": 5})
    (tmp_path / missing).unlink()
    with pytest.raises(FileNotFoundError, match=missing):
        load_network(path)


@pytest.mark.parametrize("build", [tiny_nets.teacher, Kept])
def test_names_and_functions_belong_together(build):
    assert resolve_name(name_of(build)) == build


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("spikingjelly_ckd.recipes.data:cifar10", cifar10),
        ("spikingjelly_ckd.recipes.models:spiking_resnet20", spiking_resnet20),
        ("spikingjelly_ckd.recipes.models:SpikingResNet", SpikingResNet),
        ("torch.nn:Linear", nn.Linear),
    ],
)
def test_a_name_is_the_public_one_whatever_the_file(name, build):
    """So records of before and of now name the same function alike."""
    assert name_of(build) == name
    assert resolve_name(name) is build


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tiny_nets", "expected module:function, such as mynets:build, got 'tiny_nets'"),
        ("tiny_nets:", "expected module:function"),
        (":teacher", "expected module:function"),
        ("no_such:build", "there is no module 'no_such'; run from its folder, or set PYTHONPATH"),
        ("torch.no_such:build", "there is no module 'torch.no_such'"),
        ("tiny_nets:absent", "tiny_nets has no function 'absent'"),
        ("tiny_nets:WIDTHS", "tiny_nets has no function 'WIDTHS'"),
    ],
)
def test_wrong_names(name, words):
    with pytest.raises(ValueError, match=words):
        resolve_name(name)


def test_a_module_that_misses_another_says_which(tmp_path, monkeypatch):
    (tmp_path / "needy.py").write_text("import not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_installed"):
        resolve_name("needy:build")


@pytest.mark.slow
def test_reading_a_network_needs_no_lightning(tmp_path):
    path = save_network(tmp_path / "net.safetensors", tiny_nets.student(5), tiny_nets.student, {"num_classes": 5})
    code = f"""
import sys
for name in ("lightning", "pytorch_lightning"):
    sys.modules[name] = None  # importing it raises
from spikingjelly_ckd.recipes.export import load_network
from spikingjelly_ckd.recipes.models import SpikingResNet, spiking_resnet20
from spikingjelly_ckd.recipes.models import SpikingResNet, spiking_resnet20
network, about = load_network({str(path)!r})
print(type(network).__name__, [name for name, module in sys.modules.items() if "lightning" in name and module])
"""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["Dropped", "[]"], done.stderr


def test_the_hash_is_that_of_the_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert file_hash(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


WEIGHTS = {"conv.weight": torch.arange(6.0).view(2, 3), "norm.steps": torch.tensor(3)}


def prefixed(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in WEIGHTS.items()}


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        {"net": WEIGHTS, "epoch": 7, "acc": 93.1},
        {"model": WEIGHTS, "optimizer": {"lr": 0.1}},
        {"best_net": WEIGHTS},
        {"state_dict": prefixed("module."), "epoch": 7},
        {"state_dict": prefixed("network."), "pytorch-lightning_version": "2.6"},
        prefixed("_orig_mod."),
        {"model": prefixed("module._orig_mod.")},
        {"state_dict": prefixed("model.")},
    ],
    ids=lambda content: next(iter(content)) if isinstance(content, dict) else None,
)
def test_checkpoints_as_they_are_around(tmp_path, content):
    torch.save(content, tmp_path / "file.pth")
    found = read_weights(str(tmp_path / "file.pth"))
    assert list(found) == list(WEIGHTS)
    assert all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)


def test_a_prefix_that_only_some_names_have_is_a_part_of_the_network(tmp_path):
    content = {"module.weight": torch.ones(1), "head.weight": torch.ones(1)}
    torch.save(content, tmp_path / "file.pth")
    assert list(read_weights(tmp_path / "file.pth")) == ["module.weight", "head.weight"]


def test_safetensors_are_read_without_their_json(tmp_path):
    save_file(WEIGHTS, tmp_path / "file.safetensors")
    found = read_weights(tmp_path / "file.safetensors")
    assert {name: t.tolist() for name, t in found.items()} == {name: t.tolist() for name, t in WEIGHTS.items()}
    assert list(found) == list(load_file(tmp_path / "file.safetensors"))


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("unpickled"),))


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(Evil(), tmp_path / "evil.pth")
    with pytest.raises(
        ValueError,
        match=r"evil.pth cannot be read as tensors .it holds Python objects.; save network.state_dict\(\) alone",
    ):
        read_weights("evil.pth")
    assert not Path("unpickled").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (nn.Linear(1, 1), r"cannot be read as tensors .it holds Python objects.; save network.state_dict\(\) alone"),
        ([torch.ones(1)], "holds no state_dict, alone or under"),
        (torch.ones(1), "holds no state_dict"),
        ({"epoch": 3, "weights": WEIGHTS}, "holds no state_dict"),
        ({}, "holds no state_dict"),
        ({"model": {}}, "holds no state_dict"),
    ],
)
def test_files_without_weights(tmp_path, content, words):
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=words):
        read_weights(tmp_path / "file.pth")


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*absent.pth"):
        read_weights(tmp_path / "absent.pth")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_weights(tmp_path)


def test_a_file_that_is_no_checkpoint(tmp_path):
    (tmp_path / "file.pth").write_text("<html>404</html>")
    with pytest.raises(ValueError, match="file.pth cannot be read as tensors .cut off, or no file of PyTorch"):
        read_weights(tmp_path / "file.pth")
    (tmp_path / "file.safetensors").write_text("<html>404</html>")
    with pytest.raises(ValueError, match="file.safetensors cannot be read as tensors"):
        read_weights(tmp_path / "file.safetensors")
