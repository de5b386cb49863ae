"""What is chosen at first sight is saved, and a loaded distiller uses it."""

import copy
import json
import re

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

from spikingjelly_ckd import CKDDistiller, Distiller, KDLoss, SAMDLoss, TETLoss
from spikingjelly_ckd.methods import CATKDLoss

BATCH = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 4])


class Residual(nn.Module):
    """Adds the spikes of two branches up; the sum is a layer of spikes only while its scale is a whole number."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(layer.Conv2d(3, 6, 3, padding=1), layer.BatchNorm2d(6), neuron.LIFNode())
        self.second = nn.Sequential(layer.Conv2d(6, 6, 3, padding=1), layer.BatchNorm2d(6), neuron.LIFNode())
        self.join = Sum()

    def forward(self, x):
        first = self.first(x)
        return self.join(first, self.second(first))


class Sum(nn.Module):
    """``a + b``, scaled; it holds a neuron so that the search takes it for a block of spikes."""

    def __init__(self):
        super().__init__()
        self.neuron = neuron.LIFNode()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, a, b):
        return (a + self.neuron(b)) * self.scale


class Student(nn.Module):
    """A residual block of spikes in front of a pooled linear head."""

    def __init__(self):
        super().__init__()
        self.block = Residual()
        self.head = nn.Sequential(layer.AdaptiveAvgPool2d(1), layer.Flatten(), layer.Linear(6, 5))
        functional.set_step_mode(self, "m")

    def forward(self, x):
        return self.head(self.block(x))


def flipped(student):
    """A scale as training may leave it: what the sum returns is no longer whole numbers."""
    with torch.no_grad():
        student.block.join.scale.fill_(0.3)


def paths(distiller):
    return [layer.path for side in distiller.layers["samd"] for layer in side]


def make(student, **options):
    torch.manual_seed(1)
    return CKDDistiller(tiny_teacher(), student, time_steps=2, gamma=0.0, **options)


def test_a_search_after_training_would_choose_otherwise_and_a_loaded_distiller_does_not():
    torch.manual_seed(0)
    student = Student()
    first = make(student)
    first(*BATCH)
    flipped(student)
    anew = make(copy.deepcopy(student), check=False)  # its map is constant
    anew(*BATCH)
    assert paths(anew) != paths(first), "the scale has to flip the search, or this test shows nothing"
    loaded = make(Student())
    loaded.load_state_dict(first.state_dict())
    assert paths(loaded) == paths(first)
    assert loaded(*BATCH).loss.equal(first(*BATCH).loss)
    assert paths(loaded) == paths(first)


def test_a_distiller_made_with_an_example_takes_over_the_saved_layers():
    torch.manual_seed(0)
    student = Student()
    first = make(student, example=BATCH)
    flipped(student)
    loaded = make(copy.deepcopy(student), example=BATCH)
    assert paths(loaded) != paths(first)
    loaded.load_state_dict(first.state_dict())
    assert paths(loaded) == paths(first)


def test_layouts_heads_and_read_outs_are_saved_as_plain_data():
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = tiny_student()

        def forward(self, x):
            return self.body(x).mean(0)

    losses = {"cat": (CATKDLoss(), 1.0)}
    first = Distiller(tiny_teacher(), Mean(), losses, time_steps=3, task_loss=TETLoss(), example=BATCH)
    first(*BATCH)
    chosen = json.loads(json.dumps(first.chosen()))
    assert chosen["student"]["per_step_readout"] == {"path": "body", "head": None}
    assert chosen["student"]["head"] == "body.8"
    assert chosen["teacher"]["head"] == "8"
    (student_layer,), (teacher_layer,) = first.layers["cat"]
    assert chosen["student"]["layers"]["cat"][0]["layout"] == student_layer.layout
    assert chosen["teacher"]["layers"]["cat"][0] == teacher_layer.to_json()
    second = Distiller(tiny_teacher(), Mean(), losses, time_steps=3, task_loss=TETLoss())
    second.load_state_dict(first.state_dict())
    assert second.chosen() == first.chosen()


def test_automatic_weights_are_among_what_was_chosen():
    distiller = make(tiny_student(), beta="auto")
    distiller(*BATCH)
    assert distiller.chosen()["auto_weights"] == {"samd": float(distiller.auto["samd"].weight)}


def test_a_checkpoint_written_and_read_safely(tmp_path):
    first = make(Student(), example=BATCH)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = make(Student())
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert paths(second) == paths(first)


def test_a_network_without_the_saved_layer_is_named():
    first = make(Student(), example=BATCH)
    second = make(tiny_student())
    second.observers.set_extra_state(first.observers.get_extra_state())
    with pytest.raises(ValueError, match=r"has no layer 'block\.") as raised:
        second(*BATCH)
    assert re.search("loaded state names this layer of the student", str(raised.value.__notes__))


def test_a_moving_average_made_before_the_first_step_can_be_updated_after_it():
    update = pytest.importorskip("timm.utils").ModelEmaV3
    distiller = make(tiny_student())
    average = update(distiller)
    distiller(*BATCH)
    average.update(distiller)
    assert average.module.predict(BATCH[0]).shape == (len(BATCH[0]), 5)
    states = distiller.state_dict(), average.module.state_dict()
    assert [value.shape for value in states[0].values()] == [value.shape for value in states[1].values()]


def test_a_state_of_before_whose_bytes_were_not_filled_up_is_read():
    first, second = make(tiny_student(), example=BATCH), make(tiny_student())
    text = json.dumps(first.chosen()).encode()
    second.observers.set_extra_state(torch.tensor(list(text), dtype=torch.uint8))
    assert second.chosen() == first.chosen()


def test_layers_of_other_losses_are_chosen_anew_with_a_warning():
    first = make(tiny_student(), example=BATCH)
    second = Distiller(tiny_teacher(), tiny_student(), {"kd": (KDLoss(), 1.0)}, time_steps=2)
    with pytest.warns(UserWarning, match=r"belong to the losses \['samd'\]"):
        second.load_state_dict(first.state_dict())
    second(*BATCH)


def test_layers_named_by_the_user_win_over_saved_ones_with_a_warning():
    first = make(tiny_student(), student_layer="5", example=BATCH)
    second = make(tiny_student(), student_layer="2")
    with pytest.warns(UserWarning, match=r"saved layers of 'samd' are \['5'\]; those named here are used: \['2'\]"):
        second.load_state_dict(first.state_dict())
    assert second.layers["samd"][0][0].path == "2"
    second(*BATCH)


def test_a_state_saved_before_choices_were_still_loads_and_is_searched():
    first = make(tiny_student(), example=BATCH)
    old = {key: value for key, value in first.state_dict().items() if "extra_state" not in key}
    second = make(tiny_student())
    second.load_state_dict(old)
    second(*BATCH)
    assert paths(second) == paths(first)


def test_nothing_chosen_yet_is_saved_as_nothing():
    first, second = make(tiny_student()), make(tiny_student(), example=BATCH)
    assert first.chosen() == {}
    second.load_state_dict(first.state_dict())
    assert paths(second)


@pytest.mark.parametrize("state", [torch.tensor([1, 2, 3], dtype=torch.uint8), torch.zeros(2), "text"])
def test_a_damaged_state_is_named(state):
    with pytest.raises(ValueError, match="the state is damaged"):
        make(tiny_student()).observers.set_extra_state(state)


def test_a_layout_that_was_found_is_used_at_another_size():
    losses = {"samd": (SAMDLoss(), 1.0)}
    first = Distiller(tiny_teacher(), tiny_student(), losses, time_steps=2, example=BATCH)
    second = Distiller(tiny_teacher(), tiny_student(), losses, time_steps=2)
    second.load_state_dict(first.state_dict())
    out = second(torch.randn(2, 3, 16, 16), torch.tensor([0, 1]))
    assert out.maps["student"].shape == (2, 8, 8)
