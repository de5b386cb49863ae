"""Networks on disk: the pair of files, names of functions, and checkpoints as they are around."""

import functools
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_nets
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from spikingjelly_ckd.errors.arguments import ArgumentValueError
from spikingjelly_ckd.recipes.data import cifar10
from spikingjelly_ckd.recipes.export import (
    BUILDERS,
    file_hash,
    load_network,
    name_of,
    read_about,
    resolve_name,
    save_network,
)
from spikingjelly_ckd.recipes.models import SpikingResNet, resnet20, spiking_resnet20
from spikingjelly_ckd.recipes.timm_teachers import timm_network
from spikingjelly_ckd.recipes.weights import fill, read_weights

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
    again, _ = load_network(path, build)
    assert type(again) is type(network)
    assert bits(again) == bits(network)
    assert not again.training
    assert torch.equal(again(torch.ones(shape)), network.eval()(torch.ones(shape)))


def test_a_network_in_channels_last_can_be_written(tmp_path):
    network = tiny_nets.teacher(5).to(memory_format=torch.channels_last)
    path = save_network(tmp_path / "net.safetensors", network, tiny_nets.teacher, {"num_classes": 5})
    assert bits(load_network(path, tiny_nets.teacher)[0]) == bits(network)


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
    assert load_network(path, tiny_nets.student)[1] == written
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.json", "net.safetensors"]


def test_another_function_may_build_the_network(tmp_path):
    network = tiny_nets.teacher(5)
    path = save_network(tmp_path / "net.safetensors", network, tiny_nets.teacher, {"num_classes": 5})
    about = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(about | {"build": "gone:build"}))
    with pytest.raises(ValueError, match="build must be given: .*net.json names gone:build, which is no network of"):
        load_network(path)
    with pytest.warns(UserWarning, match="net.json names gone:build, and tiny_nets:teacher builds the network here"):
        assert bits(load_network(path, build=tiny_nets.teacher)[0]) == bits(network)


def test_the_function_that_a_file_names_builds_it_without_a_word(tmp_path, recwarn):
    path = save_network(tmp_path / "net.safetensors", tiny_nets.teacher(5), tiny_nets.teacher, {"num_classes": 5})
    load_network(path, build=tiny_nets.teacher)
    load_network(path, build=lambda num_classes: tiny_nets.teacher(num_classes))  # has no name to compare
    assert not [warning for warning in recwarn if "builds the network here" in str(warning.message)]


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
        load_network(path, tiny_nets.teacher)


@pytest.mark.parametrize("missing", ["net.json", "net.safetensors"])
def test_either_file_missing(tmp_path, missing):
    path = save_network(tmp_path / "net.safetensors", tiny_nets.teacher(5), tiny_nets.teacher, {"num_classes": 5})
    (tmp_path / missing).unlink()
    with pytest.raises(FileNotFoundError, match=missing):
        load_network(path, tiny_nets.teacher)


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
        ("tiny_nets:studnet", "tiny_nets has no function 'studnet'; did you mean 'student'"),
        ("tiny_nets.py:student", "there is no module 'tiny_nets.py'; write tiny_nets:student, without .py and folder"),
        ("my/nets.py:student", "there is no module 'my/nets.py'; write nets:student, without .py and folder"),
        ("tiny_nets:WIDTHS", "tiny_nets has no function 'WIDTHS'"),
    ],
)
def test_wrong_names(name, words):
    with pytest.raises(ValueError, match=words):
        resolve_name(name)


def test_a_module_without_its_function_is_meant_where_it_lies_here(tmp_path, monkeypatch):
    (tmp_path / "digitz.py").touch()
    with pytest.raises(ValueError, match=r"got 'digitz'; did you mean spikingjelly_ckd.recipes.data.digits:digits"):
        resolve_name("digitz")
    monkeypatch.chdir(tmp_path)
    for name in ("digitz", "digitz:", "digitz.py"):
        with pytest.raises(ValueError, match=r"such as mynets:build, got .*; did you mean digitz:FUNCTION\?$"):
            resolve_name(name)


def test_a_text_is_no_function_that_builds():
    with pytest.raises(
        TypeError, match="build must be the function that makes the network, .*, got 'tiny_nets:teacher'"
    ):
        name_of("tiny_nets:teacher")


def test_a_module_that_misses_another_says_which(tmp_path, monkeypatch):
    (tmp_path / "needy.py").write_text("import not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match=r"needy cannot be imported: .*not_installed.*needy.py, line 1"):
        resolve_name("needy:build")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def build(:\n", r"'faulty:build': faulty cannot be imported: SyntaxError: .*faulty.py, line 1"),
        ("\nraise OSError\n", r"'faulty:build': faulty cannot be imported: OSError \(.*faulty.py, line 2\)"),
        ("raise ValueError('no\\ngood')\n", r"ValueError: no good \(.*faulty.py, line 1\)"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_line_with_the_place(tmp_path, monkeypatch, text, words):
    (tmp_path / "faulty.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=words) as caught:
        resolve_name("faulty:build")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.tools
def test_reading_a_network_needs_no_lightning(tmp_path):
    path = save_network(tmp_path / "net.safetensors", tiny_nets.student(5), tiny_nets.student, {"num_classes": 5})
    code = f"""
import sys
for name in ("lightning", "pytorch_lightning"):
    sys.modules[name] = None  # importing it raises
from spikingjelly_ckd.recipes.export import load_network
from spikingjelly_ckd.recipes.models import SpikingResNet, spiking_resnet20
import tiny_nets
network, about = load_network({str(path)!r}, tiny_nets.student)
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
        {"epoch": 3, "model_state_dict": WEIGHTS, "optimizer_state_dict": {}, "loss": 0.1},
        {"model_state": WEIGHTS, "optimizer_state": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": []}},
        {"epoch": 3, "whatever": prefixed("module.")},
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


HOSTILE_BUILDS = [
    *("os:system", "subprocess:run", "torch:load", "builtins:eval", "hostile:build", "tiny_nets:teacher", "nt:system"),
    *("spikingjelly_ckd.recipes.export:importlib", "spikingjelly_ckd.recipes.export:resolve_name"),
    *("spikingjelly_ckd.recipes.records.ran_on:subprocess", "spikingjelly_ckd.recipes.models:ResNet"),
    *("spikingjelly_ckd:resnet20.__init__", "spikingjelly_ckd.__main__:main", "spikingjelly_ckd_evil:resnet20"),
    *("resnet20", ":resnet20", "", "\x1b[2J:x", "a" * 9000, "os:system:resnet20"),
]


@pytest.mark.parametrize("name", HOSTILE_BUILDS)
def test_a_file_imports_and_calls_nothing_but_networks_of_this_package(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("hostile", "spikingjelly_ckd_evil"):
        Path(f"{module}.py").write_text("open('imported', 'w')\nbuild = resnet20 = lambda **_: open('called', 'w')\n")
    path = save_network(tmp_path / "net.safetensors", resnet20(3), resnet20, {"num_classes": 3})
    about = {"build": name, "arguments": {"command": "touch called"}}
    path.with_suffix(".json").write_text(json.dumps(about))
    with pytest.raises(
        ArgumentValueError, match="build must be given: .*net.json names .*which is no network of"
    ) as seen:
        load_network(path)
    assert seen.value.argument == "build"
    assert str(seen.value).isprintable()
    assert not Path("called").exists()
    assert not Path("imported").exists()


@pytest.mark.parametrize(
    "module", ["recipes.models", "recipes.models.resnet19_20", "recipes.models.resnet", "recipes.resnet_of_before"]
)
def test_networks_of_this_package_are_found_under_any_path_inside_it(tmp_path, module):
    path = save_network(tmp_path / "net.safetensors", resnet20(3), resnet20, {"num_classes": 3})
    about = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(about | {"build": f"spikingjelly_ckd.{module}:resnet20"}))
    assert type(load_network(path)[0]).__name__ == "ResNet"


@pytest.mark.parametrize("name", [name for name in BUILDERS if name != "timm_network"])
def test_every_builder_is_there(name):
    assert callable(getattr(importlib.import_module(BUILDERS[name]), name))
    assert name_of(getattr(importlib.import_module(BUILDERS[name]), name)) == f"{BUILDERS[name]}:{name}"


TIMM = "spikingjelly_ckd.recipes.timm_teachers:timm_network"


def test_a_network_of_timm_is_built_by_its_name_alone(tmp_path):
    path = save_network(
        tmp_path / "net.safetensors",
        timm_network("test_resnet", 3),
        timm_network,
        {"name": "test_resnet", "num_classes": 3},
    )
    assert load_network(path)[0](torch.rand(2, 3, 32, 32)).shape == (2, 3)


RIGHT = {"build": "spikingjelly_ckd.recipes.models:resnet20", "arguments": {"num_classes": 3}}
OUT_OF_RANGE = {
    "classes": ({"num_classes": 10**9}, "arguments: num_classes must be an integer from 1 to 65536, got 1000000000"),
    "no classes": ({"num_classes": 0}, "arguments: num_classes must be"),
    "negative": ({"num_classes": -3}, "arguments: num_classes must be"),
    "many digits": ({"num_classes": 10**4000}, "arguments: num_classes must be .*, got (a very large number|1000)"),
    "text": ({"num_classes": "3"}, "arguments: num_classes must be"),
    "flag": ({"num_classes": True}, "arguments: num_classes must be"),
    "channels": ({"num_classes": 3, "in_channels": 10**7}, "arguments: in_channels must be"),
    "hidden": ({"num_classes": 3, "hidden": 10**8}, "arguments: hidden must be"),
    "unknown": ({"num_classes": 3, "evil": 1}, "arguments do not fit .*resnet20: got an unexpected keyword"),
    "missing": ({}, "arguments do not fit .*resnet20: missing a required argument: 'num_classes'"),
    "empty name": ({"": 1}, "arguments do not fit"),
    "dunder": ({"num_classes": 3, "__class__": "x"}, "arguments do not fit"),
}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_arguments_are_checked_before_the_network_is_built(tmp_path, name):
    arguments, words = OUT_OF_RANGE[name]
    path = save_network(tmp_path / "net.safetensors", resnet20(3), resnet20, {"num_classes": 3})
    path.with_suffix(".json").write_text(json.dumps(RIGHT | {"arguments": arguments}))
    with pytest.raises(ValueError, match=rf"net.json: {words}"):
        load_network(path)


@pytest.mark.parametrize(
    ("build", "arguments", "words"),
    [
        (TIMM, {"name": "hf-hub:someone/evil", "num_classes": 3}, "none that would have to be fetched"),
        (TIMM, {"name": "local-dir:/tmp", "num_classes": 3}, "none that would have to be fetched"),
        (TIMM, {"name": "test_resnet", "num_classes": 3, "pretrained": True}, "none that would have to be fetched"),
        (TIMM, {"name": "no_such", "num_classes": 3}, "timm_network refuses these arguments: timm has no network"),
        (TIMM, {"name": 3, "num_classes": 3}, "arguments: name must be a text"),
        (
            "spikingjelly_ckd.recipes.models:spiking_resnet20",
            {"num_classes": 3, "neuron": "os:system"},
            "refuses these",
        ),
        (
            "spikingjelly_ckd.recipes.models:spiking_resnet20",
            {"num_classes": 3, "last_activation": []},
            "refuses these",
        ),
        ("spikingjelly_ckd.recipes.models:sew_resnet34", {"num_classes": 3, "connect": {}}, "refuses these"),
    ],
)
def test_arguments_that_a_builder_refuses_are_one_line(tmp_path, build, arguments, words):
    path = save_network(tmp_path / "net.safetensors", resnet20(3), resnet20, {"num_classes": 3})
    path.with_suffix(".json").write_text(json.dumps({"build": build, "arguments": arguments}))
    with pytest.raises(ValueError, match=words) as seen:
        load_network(path)
    assert "\n" not in str(seen.value)


BAD_TEXTS = {
    "empty": (b"", "is no JSON"),
    "cut": (b'{"build": ', "is cut off"),
    "html": (b"<html>404</html>", "is no JSON"),
    "latin-1": (b'{"build": "caf\xe9"}', "is no JSON"),
    "utf-16": ("{}".encode("utf-16"), "is no JSON"),
    "deep": (b"[" * 100_000, "is (nested too deeply|cut off)"),
    "deep and closed": (b"[" * 5000 + b"]" * 5000, "is nested too deeply"),
    "rather deep": (b"[" * 40 + b"]" * 40, "is nested too deeply: more than 32 levels"),
    "large": (b" " * (2**24 + 1), "is larger than 16 MiB"),
    "digits": (b'{"build": ' + b"9" * 5000 + b"}", "is no JSON"),
    "list": (b"[1]", "does not say how to build"),
    "number": (b"3", "does not say how to build"),
    "null": (b"null", "does not say how to build"),
    "no build": (b'{"arguments": {}}', "does not say how to build"),
}


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_a_json_that_says_no_network_is_one_line(tmp_path, name):
    content, words = BAD_TEXTS[name]
    path = save_network(tmp_path / "net.safetensors", resnet20(3), resnet20, {"num_classes": 3})
    path.with_suffix(".json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"net.json {words}") as seen:
        load_network(path)
    assert str(seen.value).isprintable()


BAD_VALUES = {
    "build": [3, None, [], {}],
    "arguments": [None, [], "x", 3],
    "time_steps": [0, -1, 1.5, "4", True, 10**9],
    "size": [0, -32, 10**9, 32.5, "32", float("nan"), [32]],
    "mean": [0.5, "abc", [None], ["0.5"], [float("inf")], {"a": 1}, [[0.5]], [1e308]],
    "std": [[0.0], [-0.5], [1e-300], [None], [float("nan")], 0.5, [True]],
    "classes": ["cat", [1, 2], {"cat": 0}, None, [["cat"]]],
    "event": ["no", 1, None],
    "accuracy": [-1, 101, "90", float("inf"), [90], 1e308],
    "split": [3, ["official"]],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD_VALUES.items() for value in values])
def test_every_value_is_of_its_kind(tmp_path, key, value):
    path = save_network(tmp_path / "net.safetensors", resnet20(3), resnet20, {"num_classes": 3})
    path.with_suffix(".json").write_text(json.dumps(RIGHT | {"mean": [0.5], "std": [0.5], "size": 8} | {key: value}))
    if value != value or value == float("inf"):  # null, where that is allowed
        about = read_about(path)
        assert about[key] is None
        return
    with pytest.raises(ValueError, match=rf"net.json: {key} must be ") as seen:
        read_about(path)
    assert len(str(seen.value)) < 600


def test_numbers_of_numpy_are_written_as_numbers(tmp_path):
    about = {"accuracy": np.float64(91.5), "size": np.int64(32), "mean": np.full(3, 0.5), "std": torch.full((3,), 0.25)}
    path = save_network(tmp_path / "net.safetensors", resnet20(3), resnet20, {"num_classes": np.int64(3)}, **about)
    found = load_network(path)[1]
    assert (found["accuracy"], found["size"], found["mean"], found["std"]) == (91.5, 32, [0.5] * 3, [0.25] * 3)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (lambda value: (100 * value).to(torch.int8), False),
        (lambda value: value.long(), False),
        (lambda value: value > 0, False),
        (lambda value: value.to(torch.complex64), False),
        (torch.Tensor.half, True),
        (torch.Tensor.double, True),
        (torch.Tensor.bfloat16, True),
    ],
)
def test_weights_that_would_be_cut_are_refused(tmp_path, change, kept):
    network = nn.Linear(4, 2)
    weights = {name: change(value) for name, value in network.state_dict().items()}
    if kept:
        fill(nn.Linear(4, 2), weights, tmp_path / "net.pth")
        return
    with pytest.raises(
        ValueError, match=r"net.pth does not fit Linear: 2 tensors would be cut .* \(such as weight, torch"
    ):
        fill(nn.Linear(4, 2), weights, tmp_path / "net.pth")


@pytest.mark.parametrize(("steps", "kept"), [(7.0, True), (7.5, False), (float("nan"), False)])
def test_a_count_may_be_written_as_a_whole_real_number(tmp_path, steps, kept):
    network = nn.BatchNorm1d(2)
    weights = network.state_dict() | {"num_batches_tracked": torch.tensor(steps)}
    if kept:
        fill(network, weights, tmp_path / "net.pth")
        assert network.num_batches_tracked == 7
        return
    with pytest.raises(ValueError, match="1 tensors would be cut"):
        fill(network, weights, tmp_path / "net.pth")


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
        ({"epoch": 3, "other": {"lr": 0.1}}, "holds no state_dict"),
        ({"first": WEIGHTS, "second": WEIGHTS}, "holds no state_dict.*; there are 2: first, second"),
        ({0: torch.ones(1)}, "holds no state_dict"),
        ({"a": WEIGHTS, 0: 1, "model": {0: torch.ones(1)}, "b": WEIGHTS}, "there are 2: a, b"),
        ({"w": torch.tensor([1.0, torch.nan])}, "holds NaN in 1 tensors, such as w"),
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


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "net.pth",
            "net.pth is another file: of weights alone, fill the network with them and write it with save_network",
        ),
        ("gone.safetensors", "there is no file .*gone.safetensors$"),
        ("beside.json", "beside.json describes a network: pass .*beside.safetensors, which lies beside it$"),
        ("full", "full is a folder: name one in it, such as .*full/in/kept.safetensors$"),
        ("empty", "empty is a folder without one$"),
    ],
)
def test_what_is_there_in_place_of_a_network_is_said(tmp_path, name, words):
    (tmp_path / "net.pth").write_bytes(b"weights")
    (tmp_path / "beside.json").touch()
    (tmp_path / "beside.safetensors").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "full" / "in").mkdir(parents=True)
    (tmp_path / "full" / "in" / "kept.safetensors").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=f"path must be a .safetensors file, such as of a run; .*{words}"):
        load_network(tmp_path / name)
