"""A student at every number of time steps, and early exit by confidence."""

import itertools
import math

import pytest
import tiny_nets
import torch
from conftest import tiny_student
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn
from torch.nn import functional as F

from spikingjelly_ckd.__main__ import main
from spikingjelly_ckd.recipes.deploy.steps import EarlyExit, StepEvaluation, StepFigures, evaluate_steps
from spikingjelly_ckd.recipes.export import save_network
from spikingjelly_ckd.recipes.models import spiking_resnet8
from spikingjelly_ckd.recipes.report.energy import measure_energy
from spikingjelly_ckd.recipes.report.plots.steps import plot_steps


@pytest.fixture
def student():
    net = tiny_student()
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(4, 8, 3, 8, 8))
            functional.reset_net(net)
        net[1].weight.fill_(3)
        net[4].weight.fill_(3)
        net[-1].weight.mul_(20)
    return net


@pytest.fixture
def batches():
    return [(torch.randn(6, 3, 8, 8), torch.randint(0, 5, (6,))), (torch.randn(3, 3, 8, 8), torch.randint(0, 5, (3,)))]


def logits_of(student, images, steps):
    functional.reset_net(student)
    with torch.no_grad():
        found = student.eval()(images.expand(steps, *images.shape))
    functional.reset_net(student)
    return found


def test_every_step_is_a_run_that_stops_there(student, batches):
    found = evaluate_steps(student, batches, time_steps=4, energy_images=7)
    assert (found.images, found.energy_images, found.notes) == (9, 7, ())
    for step in found.steps:
        t = step.time_steps
        right = [logits_of(student, x, t).mean(0).argmax(1) == y for x, y in batches]
        assert step.accuracy == pytest.approx(100 * torch.cat(right).float().mean().item())
        frames = [x[:n].expand(t, *x[:n].shape) for n, (x, _) in zip((6, 1), batches, strict=True)]
        energy = measure_energy(student, frames, batch_axis=1)
        assert (step.firing_rate, step.energy_mj) == (energy.firing_rate, energy.compute_mj)
    assert [step.time_steps for step in found.steps] == [1, 2, 3, 4]
    assert found.steps[0].firing_rate > 0.01
    assert 0 < found.steps[0].energy_mj < found.steps[-1].energy_mj


def test_images_stop_at_the_first_step_that_is_sure(student, batches):
    thresholds = (0.3, 0.5, 0.9)
    found = evaluate_steps(student, batches, time_steps=4, thresholds=thresholds)
    assert len({stop.mean_steps for stop in found.exits}) > 1
    for stop in found.exits:
        steps, right = [], 0
        for x, y in batches:
            logits = logits_of(student, x, 4)
            for image, label in enumerate(y):
                for t in range(1, 5):
                    mean = logits[:t, image].mean(0)
                    if t == 4 or F.softmax(mean, 0).max() >= stop.threshold:
                        break
                steps.append(t)
                right += int(mean.argmax() == label)
        assert stop.mean_steps == pytest.approx(sum(steps) / 9)
        assert stop.accuracy == pytest.approx(100 * right / 9)
        assert stop.shares == pytest.approx([steps.count(t) / 9 for t in range(1, 5)])
        price = sum(found.steps[t - 1].energy_mj for t in steps) / 9
        assert stop.energy_mj == pytest.approx(price)


def test_a_threshold_of_one_never_stops_early(student, batches):
    found = evaluate_steps(student, batches, time_steps=3, thresholds=[1.0], energy_images=0)
    assert found.exits[0].mean_steps == 3
    assert found.exits[0].accuracy == found.steps[-1].accuracy
    assert found.exits[0].energy_mj is found.steps[0].energy_mj is None


def test_a_second_call_is_equal_and_the_student_as_it_was(student, batches):
    student.train()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    first = evaluate_steps(student, batches, time_steps=4, energy_images=2)
    assert evaluate_steps(student, batches, time_steps=4, energy_images=2) == first
    assert student.training
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_every_way_of_taking_time_gives_the_same(student, batches):
    multi = evaluate_steps(student, batches, time_steps=4, energy_images=2)
    functional.set_step_mode(student, "s")
    loop = evaluate_steps(student, batches, time_steps=4, student_steps="loop", energy_images=2)
    assert [step.accuracy for step in loop.steps] == [step.accuracy for step in multi.steps]
    assert [step.firing_rate for step in loop.steps] == [step.firing_rate for step in multi.steps]
    assert [stop.shares for stop in loop.exits] == [stop.shares for stop in multi.exits]


def test_event_frames(student, batches):
    frames = [(torch.randn(3, 6, 3, 8, 8), batches[0][1])]
    found = evaluate_steps(student, frames, energy_images=2)
    batch_first = [(x.transpose(0, 1), y) for x, y in frames]
    assert evaluate_steps(student, batch_first, batch_first=True, energy_images=2) == found
    assert len(found.steps) == 3


def test_steps_are_read_inside_a_network_that_returns_their_mean(batches):
    net = tiny_nets.averaging_student(5)
    net.more = nn.Identity()
    images = [(F.interpolate(x, 16), y) for x, y in batches]
    found = evaluate_steps(Mean(net.network), images, time_steps=2, energy_images=1)
    assert [step.accuracy for step in found.steps] == [
        step.accuracy for step in evaluate_steps(net.network, images, time_steps=2, energy_images=1).steps
    ]


class Mean(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, frames):
        return self.network(frames).mean(0)


class Repeats(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images.expand(3, *images.shape))


def test_a_network_that_repeats_images_has_the_energy_of_all_its_steps(student, batches):
    found = evaluate_steps(Repeats(student), batches, time_steps=3, student_steps="internal", energy_images=2)
    plain = evaluate_steps(student, batches, time_steps=3, energy_images=2)
    assert [step.accuracy for step in found.steps] == [step.accuracy for step in plain.steps]
    assert [step.energy_mj for step in found.steps] == [None, None, plain.steps[-1].energy_mj]
    assert "runs its time steps by itself" in found.notes[0]
    assert len(plot_steps(found).axes) == 2


class LooksAhead(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = layer.Linear(12, 4, step_mode="m")
        self.neuron = neuron.LIFNode(step_mode="m")

    def forward(self, frames):
        x = frames.flatten(2)
        return self.fc(x - x.mean(0)) + self.neuron(x).mean()


def test_a_network_that_looks_ahead_is_noted():
    batches = [(torch.randn(4, 6, 3, 2, 2), torch.randint(0, 4, (6,)))]
    assert "depend on later steps" in evaluate_steps(LooksAhead(), batches, energy_images=0).notes[0]


def test_a_network_that_keeps_a_state_is_not_said_to_look_ahead(batches):
    found = evaluate_steps(tiny_nets.counting_student(5), batches, time_steps=4, energy_images=0)
    assert ["keeps a state" in note for note in found.notes] == [True]


def test_a_network_for_so_many_steps_is_noted(batches):
    if not hasattr(layer, "TemporalEffectiveBatchNorm2d"):
        pytest.skip("SpikingJelly 2.x")
    net = spiking_resnet8(5, norm="tebn", norm_steps=4)
    found = evaluate_steps(net, batches, time_steps=4, energy_images=1)
    assert "runs all of its steps only" in found.notes[0]
    assert [step.energy_mj is None for step in found.steps] == [True, True, True, False]


def test_the_tables_and_the_figure(student, batches):
    found = evaluate_steps(student, batches, time_steps=2, thresholds=(0.5,), energy_images=1)
    text = str(found)
    assert text.splitlines()[0] == "| time steps | accuracy, % | firing rate, % | energy, mJ |"
    assert f"| 2 | {found.steps[1].accuracy:.2f} |" in text
    assert f"| 0.5 | {found.exits[0].mean_steps:.2f} |" in text
    assert found.to_json()["steps"][1]["accuracy"] == found.steps[1].accuracy
    steps, energy = plot_steps(found).axes
    assert list(steps.lines[0].get_ydata()) == [step.accuracy for step in found.steps]
    assert list(energy.lines[0].get_xdata()) == [step.energy_mj for step in found.steps]
    assert list(energy.lines[1].get_xdata()) == [found.exits[0].energy_mj]
    assert [text.get_text() for text in steps.texts] == ["T=1", "T=2", "0.5"]
    long = StepEvaluation(9, 9, tuple(StepFigures(t, 50.0 + t, 0.1, 0.1 * t) for t in range(1, 17)), ())
    named = [text.get_text() for text in plot_steps(long).axes[0].texts]
    assert list(filter(None, named)) == ["T=1", "T=2", "T=4", "T=8", "T=16"]  # or they would lie over each other
    alike = tuple(EarlyExit(sure, 3.9 + 0.01 * n, 86.5, 0.02, ()) for n, sure in enumerate((0.9, 0.95, 0.99, 1.0)))
    figure = plot_steps(StepEvaluation(9, 9, long.steps[:4], alike))
    figure.draw_without_rendering()
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    bare = evaluate_steps(student, batches, time_steps=2, thresholds=(), energy_images=0)
    assert len(plot_steps(bare).axes) == 1
    assert "exit" not in str(bare)


def test_what_is_refused(student, batches):
    for wrong in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match=r"thresholds must lie in \(0, 1\]"):
            evaluate_steps(student, batches, time_steps=2, thresholds=[wrong])
    with pytest.raises(ValueError, match="at least one batch"):
        evaluate_steps(student, [], time_steps=2)
    (images, labels), *_ = batches
    with pytest.raises(ValueError, match="labels must lie in 0.."):
        evaluate_steps(student, [(images, labels + 99)], time_steps=2)
    with pytest.raises(TypeError, match="batch"):
        evaluate_steps(student, [images], time_steps=2)


def test_the_command(tmp_path, capsys):
    from tiny_data import write_image_folder

    tree = write_image_folder(tmp_path / "tree", per_class_train=1, per_class_test=1, size=16)
    about = {"time_steps": 2, "size": 16, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    about["classes"] = ("class000", "class001", "class002")
    path = save_network(tmp_path / "s.safetensors", spiking_resnet8(3), spiking_resnet8, {"num_classes": 3}, **about)
    assert main(["evaluate", str(path), str(tree), "--steps", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("accuracy ")
    assert "| exit at confidence |" in said
    one = tree / "test" / "class000"
    assert main(["evaluate", str(path), str(one), "--steps", "--device", "cpu"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "--steps measures accuracy, so " in said.err
