"""A student, a teacher and pictures that nobody here wrote: from files to a table by commands alone."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import public_nets
import pytest
import torch
from PIL import Image
from spikingjelly.activation_based import functional
from test_recipe import load_row
from tiny_data import striped
from torch import nn

from spikingjelly_ckd.networks.layer import Layer
from spikingjelly_ckd.networks.layouts import RefusedError, read_layout
from spikingjelly_ckd.recipes.build import build_network, build_student
from spikingjelly_ckd.recipes.command_line import parse
from spikingjelly_ckd.recipes.compare.command import main as compare_main
from spikingjelly_ckd.recipes.export import load_network, resolve_name
from spikingjelly_ckd.recipes.records import read_record
from spikingjelly_ckd.recipes.row import run_row
from spikingjelly_ckd.recipes.teachers import obtain_teacher
from spikingjelly_ckd.recipes.weights import fill, read_weights

HERE = Path(__file__).parent
SCRIPT = HERE.parent / "examples" / "cifar10_r20.py"
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.25, 0.2)
RUN = ("--device", "cpu", "-j", "0", "--no-progress", "--amp", "32-true", "--energy-images", "2")
slow = partial(pytest.param, marks=pytest.mark.slow)
SMALL = ("--size", "16", "--crop-padding", "2", "--auto-augment", "", "-b", "6", "--epochs", "1", "-T", "4")


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """PNG files with lists of labels, and a checkpoint of a teacher as a training with DDP left it."""
    folder = tmp_path_factory.mktemp("ground")
    rng = np.random.default_rng(0)
    (folder / "data").mkdir()
    for part, count in (("train", 8), ("test", 4)):
        lines = []
        for label in range(3):
            for number in range(count):
                name = f"{part}_{label}_{number}.png"
                Image.fromarray(striped(4 * label, 16, rng)).save(folder / "data" / name)
                lines.append(f"{name},{label}")
        (folder / "data" / f"{part}.csv").write_text("\n".join(lines))
    torch.manual_seed(0)
    network = public_nets.stranger(3)
    samples = public_nets.Pictures(folder / "data", "train")
    images = torch.stack([torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) / 255 for image, _ in samples])
    images = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    labels = torch.tensor([label for _, label in samples])
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    weights = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"epoch": 60, "state_dict": weights}, folder / "checkpoint.pth.tar")
    return folder


def flags(ground, out, *more, teacher=True):
    line = [*RUN, *SMALL, "--data", "public_nets:pictures", "--data-path", ground / "data", "--output-dir", out]
    if teacher:
        line += ["--teacher", ground / "checkpoint.pth.tar", "--teacher-build", "public_nets:stranger"]
        line += [f"--teacher-mean={','.join(map(str, MEAN))}", f"--teacher-std={','.join(map(str, STD))}"]
    return [str(part) for part in (*line, *more)]


def row(ground, out, *more, teacher=True):
    return run_row(load_row("cifar10_r20"), flags(ground, out, *more, teacher=teacher))


STUDENTS = {
    "spikformer": ("internal", "block.0"),
    "sew_net": ("internal", "layer1"),
    "single": ("loop", "3"),
}


@pytest.mark.parametrize("name", [name if name == "spikformer" else slow(name) for name in STUDENTS])
def test_from_files_to_a_record(ground, tmp_path, name):
    steps, layer = STUDENTS[name]
    student = "tiny_nets:single_step" if name == "single" else f"public_nets:{name}"
    cached = ("--teacher-cache", "1") if name == "sew_net" else ()
    found = row(ground, tmp_path / "run", "--student", student, "--student-steps", steps, *cached)
    record = read_record(tmp_path / "run" / "record.json")
    assert found["recipe"]["data"] == "public_nets:pictures"
    assert record["data"]["name"] == "own"
    assert record["data"]["classes"] == 3
    assert record["teacher"]["accuracy"] > 90
    assert record["preflight"]["ok"]
    chosen = record["chosen"]["student"]
    assert chosen["student_steps"] == steps
    assert chosen["layers"]["samd"][0]["path"].startswith(layer)
    assert (record["teacher_cache"] is not None) == bool(cached)
    energy = record["energy"]
    assert 0 < energy["student"]["firing_rate"] < 1
    assert energy["student"]["compute_mj"] > 0
    assert energy["ann_twin"]["macs"] > 0
    assert energy["teacher"]["macs"] > 0

    about = json.loads((tmp_path / "run" / "student.json").read_text())
    assert (about["time_steps"], about["student_steps"]) == (4, steps)
    network, _ = load_network(tmp_path / "run" / "student.safetensors", resolve_name(student))
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert network(images).shape == (2, 3)
    functional.reset_net(network)


@pytest.mark.slow
def test_by_commands_alone(ground, tmp_path):
    """In a folder of one's own, where a module holds the networks and reads the pictures."""
    work = tmp_path / "mine"
    work.mkdir()
    (work / "mystuff.py").write_text((HERE / "public_nets.py").read_text())
    own = ("--student", "public_nets:spikformer", "--student-steps", "internal", "--no-preflight")
    line = [text.replace("public_nets", "mystuff") for text in flags(ground, tmp_path / "run", *own)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, SCRIPT, *line], cwd=work, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    command = [sys.executable, "-m", "spikingjelly_ckd", "table", str(tmp_path / "run")]
    table = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    assert "`cifar10_r20`" in table.stdout, table.stderr


REFUSED = {
    "takes images, and was given frames": (
        ("public_nets:spikformer",),
        r"spikformer takes images \[N, C, H, W\], which it repeats by itself: pass --student-steps internal$",
    ),
    "takes frames, and was given images": (
        ("tiny_nets:student", "--student-steps", "internal"),
        r"tiny_nets:student takes frames \[T, N, C, H, W\] in one call: pass --student-steps multi$",
    ),
    "has another number of time steps inside": (
        ("public_nets:six_steps", "--student-steps", "internal"),
        "public_nets:six_steps runs 6 time steps by itself and the row has T=4: pass -T 6, or",
    ),
    "repeats frames once more": (
        ("public_nets:repeats_what_it_gets",),
        "repeats_what_it_gets repeats by itself what it gets, and runs 16 time steps where the row has T=4: "
        "pass --student-steps internal$",
    ),
    "is in single-step mode": (
        ("public_nets:sew_net",),
        "sew_net is in single-step mode: let its function call .* or pass --student-steps loop, .* or internal",
    ),
    "is single-step, and runs one time step": (
        ("tiny_nets:single_step", "--student-steps", "internal"),
        "tiny_nets:single_step runs 1 time steps by itself and the row has T=4: pass -T 1, or",
    ),
    "runs its time steps by itself, and is to be looped": (
        ("public_nets:sew_net", "--student-steps", "loop"),
        "public_nets:sew_net runs 4 time steps by itself in each call, .*: pass --student-steps internal$",
    ),
    "runs more of them than the row, and is to be looped": (
        ("public_nets:three_loops", "--student-steps", "loop"),
        "public_nets:three_loops runs 3 time steps by itself in each call, .* internal -T 3$",
    ),
    "is in multi-step mode, and is to be looped": (
        ("tiny_nets:student", "--student-steps", "loop"),
        "tiny_nets:student has neurons in multi-step mode, and --student-steps loop .*: pass --student-steps multi",
    ),
    "is batch-first": (
        ("public_nets:batch_first",),
        r"public_nets:batch_first takes \[N, T, C, H, W\], batch first, and .* return a module whose forward is",
    ),
    "keeps a potential for the next batch, and is silent": (
        ("public_nets:keeps_potential", "--method", "plain"),
        "keeps a state that functional.reset_net does not reset .*'2.0' returns., .*; --no-preflight trains it all",
    ),
    "keeps a graph for the next batch": (
        ("public_nets:keeps_graph",),
        "keeps_graph keeps a state that functional.reset_net does not reset .*'2.0' returns., so that what it says",
    ),
    "takes other channels": (
        ("public_nets:of_five_channels",),
        "of_five_channels does not run on a few test images: RuntimeError: .*; raised by the student in its module '0' "
        ".*Conv2d is built for in_channels=5 and got 3; its function is called with in_channels=3 if it "
        "takes it$",
    ),
    "asks for something beside the frames": (
        ("public_nets:asks_for_more",),
        "asks_for_more does not run on a few test images: TypeError: .* missing 1 required .*: 'mode'; raised by the "
        ".*student_steps='multi'$",
    ),
    "is an ANN": (
        ("public_nets:stranger",),
        "public_nets:stranger is an ANN: it has no spiking neurons .*--student-steps internal for one that",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_student_that_is_run_in_another_way_is_told_which(ground, case):
    (student, *more), words = REFUSED[case]
    recipe, run = parse(load_row("cifar10_r20"), flags(ground, "out", "--student", student, *more, teacher=False))
    data = recipe.data(run.data_path, recipe.data_options())
    with pytest.raises(ValueError, match=words) as caught:
        build_student(recipe, run, data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("more", [(), ("--student-steps", "internal")])
def test_a_student_that_repeats_event_frames_is_told_that_they_have_their_time_steps(tmp_path, more):
    line = ("--data", "digits", "--methods", "plain", "--student", "public_nets:repeats_frames", *more)
    with pytest.raises(SystemExit, match=r"event frames \[T, N, C, H, W\] bring their time steps, so that"):
        compare_main([*line, "--smoke", "--output-dir", str(tmp_path)])


@pytest.mark.parametrize("more", [("draws_spikes",), ("keeps_potential", "--no-preflight")])
def test_a_student_that_draws_its_input_or_is_not_looked_at_is_taken(ground, more):
    student, *rest = more
    line = flags(ground, "out", "--student", f"public_nets:{student}", *rest, teacher=False)
    recipe, run = parse(load_row("cifar10_r20"), line)
    build_student(recipe, run, recipe.data(run.data_path, recipe.data_options()))


def test_a_student_whose_places_share_neurons_is_looped(ground):
    line = flags(ground, "out", "--student", "public_nets:SharedNeurons", "--student-steps", "loop", teacher=False)
    recipe, run = parse(load_row("cifar10_r20"), line)
    built = build_student(recipe, run, recipe.data(run.data_path, recipe.data_options()))
    assert built.network.fc.out_features == 3


def test_a_network_of_spikingjelly_is_built_by_its_own_names(ground):
    pytest.importorskip("spikingjelly.activation_based.model.ms_resnet")
    line = flags(ground, "out", "--student", "spikingjelly.activation_based.model:max_resnet18", teacher=False)
    recipe, run = parse(load_row("cifar10_r20"), line)
    built = build_student(recipe, run, recipe.data(run.data_path, recipe.data_options()))
    sizes = {"num_classes": 3, "in_channels": 3, "size": recipe.size, "time_steps": 4, "step_mode": "m"}
    assert built.arguments == {"name": "ms_resnet.max_resnet18", **sizes}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            ("--teacher-mean", "123,116,103", "--teacher-std", "58"),
            "are for images from 0 to 1, .*: divide them by 255",
        ),
        (("--teacher-mean", "0.5"), "teacher_mean needs the other one: pass --teacher-mean and --teacher-std together"),
        (
            ("--teacher-mean", "0.5,0.5", "--teacher-std", "0.2"),
            "must be one number for each of 3 channels",
        ),
        (("--teacher-mean", "0.5", "--teacher-std", "0"), "deviations must be at least 1e-06, got"),
        (("--teacher-size", "24", "--teacher"), "teacher_size does nothing without --teacher PATH"),
        (("--teacher-build", "tiny_nets:teacher"), r"checkpoint.pth.tar does not fit ResNet: \d+ tensors are missing"),
        (
            ("--teacher-build", "tiny_nets:teacher"),
            r"read as tiny_nets:teacher: .* with --teacher-build MODULE",
        ),
        (
            ("--student", "public_nets:failing"),
            r"nets:failing raised KeyError: 'depth' \(.*public_nets.py, line ",
        ),
        (("--teacher-build", "public_nets:failing"), r"nets:failing raised KeyError: 'depth' \(.*, line "),
        (
            ("--method", "public_nets:failing:num_classes=3"),
            r"nets:failing raised KeyError: 'depth' \(.*, line ",
        ),
        (("--data", "public_nets:failing_data"), r"public_nets:failing_data raised KeyError: 16 \(.*, line "),
        (("--data", "public_nets:data_of_one_argument"), "must take a folder and DataOptions, as data.folder, options"),
        (
            ("--data", "public_nets:no_data"),
            "data public_nets:no_data must return .*Data, got dict; data_from",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(ground, tmp_path, more, words):
    teacher = more[-1] != "--teacher"
    more = more if teacher else more[:-1]
    line = flags(ground, tmp_path / "run", "--student", "tiny_nets:student", teacher=False)
    if teacher:
        line += ["--teacher", str(ground / "checkpoint.pth.tar"), "--teacher-build", "public_nets:stranger"]
    with pytest.raises((RuntimeError, TypeError, ValueError), match=words) as caught:
        run_row(load_row("cifar10_r20"), [*line, *more])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121", "convnext_tiny"])
def test_builders_of_torchvision_get_the_keywords_that_their_class_takes(name):
    build = resolve_name(f"torchvision.models:{name}")
    network, used = build_network(build, num_classes=7, in_channels=3, size=32)
    assert used["num_classes"] == 7
    assert network.eval()(torch.rand(1, 3, 64, 64)).shape == (1, 7)


def test_a_keyword_that_fails_deeper_is_an_error():
    def build(num_classes, **more):
        return nn.Linear(3, classes=num_classes)

    with pytest.raises(TypeError, match="unexpected keyword argument 'classes'"):
        build_network(build, num_classes=7, in_channels=3)


def test_a_size_of_the_teachers_own(ground):
    line = flags(ground, "out", "--teacher-size", "24", "--method", "kd")
    recipe, run = parse(load_row("cifar10_r20"), line)
    data = recipe.data(run.data_path, recipe.data_options())
    teacher = obtain_teacher(recipe, run, data)
    assert (teacher.size, teacher.mean, teacher.std) == (24, MEAN, STD)
    assert teacher.input_for(data)(torch.rand(2, 3, 16, 16)).shape == (2, 3, 24, 24)


def test_images_of_unknown_normalisation_are_no_input_for_a_teacher_of_a_known_one(ground):
    recipe, run = parse(load_row("cifar10_r20"), flags(ground, "out"))
    data = replace(recipe.data(run.data_path, recipe.data_options()), mean=None, std=None)
    with pytest.raises(ValueError, match="how the images of own are normalised is not known: let the function of"):
        obtain_teacher(recipe, run, data)


@pytest.mark.parametrize("prefixes", ["", "module.", "module._orig_mod.", "model.module."])
def test_a_checkpoint_fits_whatever_was_wrapped_around_its_network(tmp_path, prefixes):
    network = public_nets.stranger(3)
    torch.save({"model": {prefixes + name: x for name, x in network.state_dict().items()}}, tmp_path / "weights.pt")
    other = public_nets.stranger(3)
    fill(other, read_weights(tmp_path / "weights.pt"), tmp_path / "weights.pt")
    assert all(torch.equal(x, y) for x, y in zip(network.parameters(), other.parameters(), strict=True))


def test_a_layer_that_is_batch_first_is_named():
    layer = Layer("net")
    with pytest.raises(RefusedError, match=r"it is batch-first, \[6, 4, ...\], and time has to come first"):
        read_layout(layer, nn.Identity(), [(6, 4, 8, 7, 7)], "student", 4, 6, (16, 16))
