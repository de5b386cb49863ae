"""One call from an exported student to predictions or accuracy."""

import dataclasses
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import public_nets
import pytest
import tiny_nets
import torch
from PIL import Image
from tiny_data import striped, write_event_folder, write_image_folder

from spikingjelly_ckd.__main__ import main
from spikingjelly_ckd.recipes.data import DataOptions, image_folder, imagenet
from spikingjelly_ckd.recipes.deploy import evaluate as evaluation
from spikingjelly_ckd.recipes.deploy import steps
from spikingjelly_ckd.recipes.deploy.evaluate import evaluate, evaluate_exported
from spikingjelly_ckd.recipes.deploy.exported import read_exported
from spikingjelly_ckd.recipes.export import save_network
from spikingjelly_ckd.recipes.models import resnet8, spiking_resnet8
from spikingjelly_ckd.recipes.row import run_row

RECIPE = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "cifar10_r20.py"))["RECIPE"]
CLASSES = ("class000", "class001", "class002")
ABOUT = {"time_steps": 2, "size": 16, "mean": (0.5,) * 3, "std": (0.25,) * 3, "classes": CLASSES}


def fired(network, *shape):
    """With statistics of BatchNorm under which neurons fire."""
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(*shape))
            for module in network.modules():
                if hasattr(module, "reset"):
                    module.reset()
    return network.eval()


@pytest.fixture
def student(tmp_path):
    network = fired(spiking_resnet8(3), 2, 8, 3, 16, 16)
    return save_network(tmp_path / "student.safetensors", network, spiking_resnet8, {"num_classes": 3}, **ABOUT)


@pytest.fixture
def tree(tmp_path):
    return write_image_folder(tmp_path / "tree", per_class_train=1, per_class_test=3, size=24)


def test_accuracy_is_that_of_the_record(tmp_path, tree):
    recipe = dataclasses.replace(RECIPE, data=image_folder, student=tiny_nets.student, method="plain", epochs=1)
    recipe = dataclasses.replace(recipe, time_steps=2, size=16, batch_size=3, amp="32-true")
    place = ["--data-path", tree, "--output-dir", tmp_path / "run", "--device", "cpu", "-j", "0", "--no-progress"]
    record = run_row(recipe, [str(word) for word in [*place, "--energy-images", "0", "--logger", "none"]])
    found = evaluate(tmp_path / "run" / "student.safetensors", tree, build=tiny_nets.student)
    assert found.accuracy == pytest.approx(record["accuracy"]["last"], abs=1e-4)
    assert found == evaluate(tmp_path / "run" / "student.safetensors", tree / "test", build=tiny_nets.student)


def test_the_batch_size_and_a_second_call_change_nothing(student, tree):
    found = evaluate(student, tree)
    again = evaluate(student, tree, batch_size=2)
    assert [one.label for one in found.predictions] == [one.label for one in again.predictions]
    assert (len(found.predictions), found.accuracy) == (9, again.accuracy)
    exported, images = read_exported(student), torch.randn(3, 3, 16, 16)
    first, second = exported.logits(images), exported.logits(images)
    assert torch.equal(first.steps, second.steps)
    assert first.steps.abs().max() > 0


def test_energy_at_every_step_is_of_images_of_the_whole_folder(student, tree, monkeypatch):
    seen = []

    def noted(network, batches, energy_images, **_):
        seen.append((energy_images, torch.cat([labels for _, labels in batches]).tolist()))

    monkeypatch.setattr(evaluation, "ENERGY_IMAGES", 3)
    monkeypatch.setattr(steps, "evaluate_steps", noted)
    evaluation._at_every_step(read_exported(student), tree, 2)
    ((count, labels),) = seen
    assert (count, labels[:3], sorted(labels)) == (3, [0, 1, 2], [0, 0, 0, 1, 1, 1, 2, 2, 2])


def test_an_image_is_prepared_as_in_the_test(student, tree):
    data = image_folder(tree, DataOptions(size=16), normalisation=(ABOUT["mean"], ABOUT["std"]))
    dataset, paths, has_labels = read_exported(student).samples(tree)
    assert has_labels
    assert [label for _, label in dataset] == [label for _, label in data.test]
    assert all(torch.equal(ours[0], theirs[0]) for ours, theirs in zip(dataset, data.test, strict=True))
    alone = read_exported(student).samples(paths[4])
    assert torch.equal(alone.dataset[0][0], data.test[4][0])
    assert (alone.has_labels, alone.paths) == (False, [paths[4]])


def test_photographs_are_cropped_as_in_the_test(tmp_path):
    names = tuple(f"n{number:08}" for number in range(1000))
    rng = torch.Generator().manual_seed(0)
    for part in ("train", "val"):
        for name in names:
            (tmp_path / part / name).mkdir(parents=True)
            (tmp_path / part / name / "1.png").symlink_to(tmp_path / f"{part}{name}.png")
    pixels = torch.randint(0, 256, (20, 40, 3), generator=rng, dtype=torch.uint8).numpy()
    for part in ("train", "val"):
        for name in names:
            Image.fromarray(pixels).save(tmp_path / f"{part}{name}.png", compress_level=0)
    data = imagenet(tmp_path, DataOptions(size=16, allow_partial=True))
    assert data.centre_crop
    about = ABOUT | {"classes": names, "mean": data.mean, "std": data.std, "centre_crop": True}
    path = save_network(tmp_path / "a.safetensors", spiking_resnet8(2), spiking_resnet8, {"num_classes": 2}, **about)
    sample = read_exported(path).samples(tmp_path / "val" / names[0] / "1.png").dataset[0][0]
    assert torch.equal(sample, data.test[0][0])


def test_a_folder_without_classes_gives_predictions(student, tmp_path):
    (tmp_path / "loose").mkdir()
    for label in range(3):
        Image.fromarray(striped(label, 20, np.random.default_rng(0))).save(tmp_path / "loose" / f"{label}.png")
    (tmp_path / "loose" / "notes.txt").write_text("no image")
    found = evaluate(student, tmp_path / "loose")
    assert found.accuracy is None
    assert [one.path.rsplit("/", 1)[1] for one in found.predictions] == ["0.png", "1.png", "2.png"]
    assert all(one.label in CLASSES and one.expected is None for one in found.predictions)
    assert str(found).count("\n") == 2
    assert "0.png: class00" in str(found)


def test_event_frames(tmp_path):
    tree = write_event_folder(tmp_path / "events", time_steps=3, classes=3, per_class_train=1, per_class_test=2)
    network = fired(spiking_resnet8(3, in_channels=2), 3, 8, 2, 16, 16)
    about = {"time_steps": 3, "size": 16, "classes": CLASSES, "event": True, "student_steps": "multi"}
    arguments = {"num_classes": 3, "in_channels": 2}
    path = save_network(tmp_path / "e.safetensors", network, spiking_resnet8, arguments, **about)
    found = evaluate(path, tree)
    data = image_folder(tree, DataOptions(size=16, time_steps=3))
    logits = [read_exported(path).logits(frames.unsqueeze(0)).mean for frames, _ in data.test]
    assert [one.label for one in found.predictions] == [CLASSES[int(one.argmax())] for one in logits]
    assert evaluate(path, tree / "test" / "class001" / "0.npz").predictions[0].label in CLASSES
    with pytest.raises(ValueError, match=r"must end in \.npz for this network"):
        evaluate(path, write_image_folder(tmp_path / "images") / "test" / "class001" / "0.png")


def test_the_file_of_a_teacher_serves_too(tmp_path, tree):
    about = {name: value for name, value in ABOUT.items() if name != "time_steps"}
    path = save_network(tmp_path / "t.safetensors", resnet8(3), resnet8, {"num_classes": 3}, **about)
    assert evaluate(path, tree).accuracy is not None


def test_a_student_with_neurons_of_its_own_is_run_for_its_time_steps(tmp_path, tree):
    net, about = public_nets.own_neurons(3), ABOUT | {"student_steps": "multi"}
    path = save_network(tmp_path / "own.safetensors", net, public_nets.own_neurons, {"num_classes": 3}, **about)
    found = read_exported(path, public_nets.own_neurons).logits(images := torch.randn(4, 3, 16, 16))
    assert torch.equal(found.steps, net.eval()(images.expand(2, *images.shape)))
    assert evaluate(path, tree, build=public_nets.own_neurons).accuracy is not None


def test_a_network_that_keeps_a_state_is_noted(tmp_path, tree, student):
    net, name = tiny_nets.counting_student(3), tmp_path / "state.safetensors"
    path = save_network(name, net, tiny_nets.counting_student, {"num_classes": 3}, **ABOUT)
    exported = read_exported(path, tiny_nets.counting_student)
    found = evaluate_exported(exported, tree)
    assert str(found).startswith("accuracy ")
    assert "keeps a state that functional.reset_net does not reset" in str(found)
    assert "keeps a state" in str(evaluate(path, tree / "test" / "class000", build=tiny_nets.counting_student))
    assert exported.network[1].calls == 1, "one batch, and what looks for a state is undone"
    assert not evaluate(student, tree).notes


def test_what_the_student_raised_is_told_with_how_it_was_run(tmp_path, tree, capsys):
    net = public_nets.spikformer(3)
    path = save_network(tmp_path / "s.safetensors", net, public_nets.spikformer, {"num_classes": 3}, **ABOUT)
    assert main(["evaluate", str(path), str(tree), "--build", "public_nets:spikformer", "--device", "cpu"]) == 1
    assert re.search("error: .*; raised by the student .* with student_steps='multi'", capsys.readouterr().err)


def test_grey_networks_see_grey_images(tmp_path, tree):
    about = ABOUT | {"mean": (0.5,), "std": (0.5,)}
    arguments = {"num_classes": 3, "in_channels": 1}
    path = save_network(tmp_path / "g.safetensors", spiking_resnet8(3, 1), spiking_resnet8, arguments, **about)
    assert read_exported(path).samples(tree).dataset[0][0].shape == (1, 16, 16)
    assert evaluate(path, tree).accuracy is not None


@pytest.mark.parametrize("name", ["size", "mean", "classes"])
def test_what_the_file_must_say_is_named(tmp_path, tree, name):
    about = {key: value for key, value in ABOUT.items() if key != name}
    path = save_network(tmp_path / "s.safetensors", spiking_resnet8(3), spiking_resnet8, {"num_classes": 3}, **about)
    images = tree / "test" / "class000"
    with pytest.raises(ValueError, match=rf"says no {name}; write both again"):
        evaluate(path, images)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": CLASSES[:2]}, "names 2 classes, and the network has 3"),
        ({"classes": []}, "names 0 classes, and the network has 3"),
        ({"classes": (*CLASSES, "d")}, "names 4 classes, and the network has 3"),
        ({"mean": (0.5,) * 2, "std": (0.5,) * 2}, "one number for each channel, 3 or 1, got 2 and 2"),
        ({"std": (0.5,)}, "one number for each channel, 3 or 1, got 3 and 1"),
        ({"mean": (), "std": ()}, "got 0 and 0"),
    ],
)
def test_a_file_that_contradicts_its_network_is_refused(student, tree, changes, words):
    beside = student.with_suffix(".json")
    beside.write_text(json.dumps(json.loads(beside.read_text()) | changes))
    with pytest.raises(ValueError, match=words):
        evaluate(student, tree / "test" / "class000")


def test_no_prediction_comes_of_logits_that_are_no_numbers(tmp_path, tree):
    network = spiking_resnet8(3)
    network.fc.bias.data[1] = float("inf")
    path = save_network(tmp_path / "s.safetensors", network, spiking_resnet8, {"num_classes": 3}, **ABOUT)
    with pytest.raises(ValueError, match=r"its logits of .*\.png are not finite numbers"):
        evaluate(path, tree / "test" / "class000")


def test_a_network_that_is_not_there_is_named(student, tree, tmp_path):
    for path in (tmp_path / "no.safetensors", tmp_path, student.with_suffix(".json")):
        with pytest.raises((FileNotFoundError, ValueError), match=r"must be a \.safetensors file, such as of a run"):
            evaluate(path, tree)
    student.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match="which says how to build the network of student.safetensors"):
        evaluate(student, tree)


def test_what_does_not_fit_is_said(student, tree, tmp_path):
    with pytest.raises(FileNotFoundError, match="must be a file or a folder that is there"):
        evaluate(student, tmp_path / "nowhere")
    (tree / "test" / "zebra").mkdir()
    Image.new("RGB", (9, 9)).save(tree / "test" / "zebra" / "1.png")
    with pytest.raises(ValueError, match="folders that are no class of the network: zebra; its classes are class000"):
        evaluate(student, tree)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no file that ends in \.jpg"):
        evaluate(student, tmp_path / "empty")
    path = save_network(tmp_path / "s.safetensors", spiking_resnet8(3), spiking_resnet8, {"num_classes": 3}, size=16)
    with pytest.raises(ValueError, match="its JSON says no time_steps"):
        evaluate(path, tree)


def test_the_command(student, tree, capsys):
    assert main(["evaluate", str(student), str(tree), "--device", "cpu"]) == 0
    assert capsys.readouterr().out == f"{evaluate(student, tree)}\n"
    assert main(["evaluate", str(student), str(tree / "nowhere"), "--device", "cpu"]) == 1
    assert "evaluate: error: images must be a file or a folder" in capsys.readouterr().err
    assert main(["evaluate", str(student), str(tree), "--device", "gpu"]) == 1
    assert capsys.readouterr().err == "evaluate: error: --device must be 'cpu', 'cuda' or 'cuda:N', got 'gpu'\n"
    assert main(["evaluate", str(student), str(tree), "--device", "cuda:99"]) == 1
    assert "evaluate: error: --device is not there, got 'cuda:99'; PyTorch sees " in capsys.readouterr().err


def test_a_name_in_a_file_cannot_write_on_the_terminal(student, tree):
    about = json.loads(student.with_suffix(".json").read_text())
    about["classes"] = ["\x1b[2Ja"] * 3
    student.with_suffix(".json").write_text(json.dumps(about))
    assert "\x1b" not in str(evaluate(student, tree / "test" / "class000"))


@pytest.mark.slow
@pytest.mark.tools
def test_it_needs_no_lightning(student, tree):
    code = f"""
import sys
for name in ("lightning", "pytorch_lightning"):
    sys.modules[name] = None
from spikingjelly_ckd.recipes.deploy.evaluate import main
sys.exit(main([{str(student)!r}, {str(tree)!r}, "--device", "cpu"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("accuracy ")
