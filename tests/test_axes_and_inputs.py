"""Students and teachers of others whose axes, outputs or in-place writes would train on something else, silently."""

from collections import namedtuple

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

from spikingjelly_ckd import CKDDistiller, Distiller, KDLoss, KDSNNLoss, accelerate, find_layer
from spikingjelly_ckd.networks.outputs import read_logits

IMAGES, LABELS = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 5


def make_teacher():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))


def make_student(*behind_norm):
    student = nn.Sequential(
        layer.Conv2d(3, 4, 3),
        layer.BatchNorm2d(4),
        *behind_norm,
        neuron.LIFNode(v_threshold=0.2),
        layer.AdaptiveAvgPool2d(1),
        layer.Flatten(),
        layer.Linear(4, 5),
    )
    functional.set_step_mode(student, "m")
    return student


def kd(student, teacher=None, **options):
    return Distiller(teacher or make_teacher(), student, {"kd": (KDLoss(), 1.0)}, **options)


class Then(nn.Module):
    """A network, and what is done in front of it or behind it."""

    def __init__(self, network, *, before=lambda x: x, behind=lambda x: x):
        super().__init__()
        self.network, self.before, self.behind = network, before, behind

    def forward(self, x):
        return self.behind(self.network(self.before(x)))


@pytest.mark.parametrize("as_sequence", [list, tuple])
def test_a_sequence_of_time_steps_is_not_taken_for_its_first(as_sequence):
    student = Then(make_student(), behind=lambda logits: as_sequence(logits.unbind(0)))
    with pytest.raises(ValueError, match="4 tensors of shape .* time steps or several heads"):
        kd(student, time_steps=4)(IMAGES, LABELS)


def test_several_heads_come_as_a_tuple_where_no_time_steps_are_known():
    first, second = torch.zeros(2, 10), torch.ones(2, 10)
    assert torch.equal(read_logits((first, second), role="student", size=2).mean, first)
    with pytest.raises(ValueError, match="time steps or several heads"):
        read_logits([first, second], role="student", size=2)


def test_a_named_tuple_is_read_by_its_name():
    named = namedtuple("Named", "features logits")
    student = Then(make_student(), behind=lambda logits: named(torch.zeros_like(logits), logits))
    assert kd(student, time_steps=2)(IMAGES, LABELS).logits.any()


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_a_network_that_writes_into_the_images_is_named(role):
    networks = {"teacher": make_teacher(), "student": make_student()}
    networks[role] = Then(
        networks[role], before=lambda x: x[0].mul_(2)[None].expand_as(x) if x.ndim == 5 else x.mul_(2)
    )
    with pytest.raises(ValueError, match=f"the {role} wrote into"):
        kd(networks["student"], networks["teacher"], time_steps=2)(IMAGES.clone(), LABELS)


def test_a_teacher_that_writes_into_images_of_its_own_is_served():
    images = IMAGES.clone()
    teacher = Then(make_teacher(), before=lambda x: x.mul_(2))
    kd(make_student(), teacher, time_steps=2, teacher_input=torch.clone)(images, LABELS)
    assert images.equal(IMAGES)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(
    "module", [nn.Dropout2d(), nn.Dropout3d(), nn.LocalResponseNorm(2)], ids=lambda x: type(x).__name__
)
def test_a_layer_that_takes_images_for_channels_is_named(module, steps):
    with pytest.raises(ValueError, match=rf"{type(module).__name__} '2' is PyTorch's own and got \[T, N"):
        kd(make_student(module), time_steps=steps)(IMAGES, LABELS)


class OwnTime(nn.Module):
    """Repeats images by itself or does not; PyTorch's layers around one neuron."""

    def __init__(self, mode, steps):
        super().__init__()
        self.conv, self.lif, self.head = nn.Conv2d(3, 4, 3), neuron.LIFNode(step_mode=mode), nn.Linear(4, 5)
        self.steps = steps

    def forward(self, images):
        x = self.conv(images)
        x = x if self.steps is None else x.expand(self.steps, *x.shape)
        return self.head(self.lif(x).mean((-2, -1)))


@pytest.mark.parametrize("options", [{"time_steps": 4}, {}], ids=["told", "unknown"])
def test_a_single_step_neuron_that_gets_the_student_s_own_time_axis_is_named(options):
    with pytest.raises(ValueError, match="'lif' is in single-step mode and got all 4 time steps"):
        kd(OwnTime("s", 4), student_steps="internal", **options)(IMAGES, LABELS)


def test_images_without_time_steps_are_not_taken_for_time():
    with pytest.raises(ValueError, match="'lif' is in multi-step mode and got .* images without a time axis"):
        kd(OwnTime("m", None))(IMAGES, LABELS)


def test_own_time_steps_as_many_as_images_and_the_batch_first():
    kd(OwnTime("m", 6), student_steps="internal")(IMAGES, LABELS)
    student = Then(OwnTime("m", 6), behind=lambda logits: logits.transpose(0, 1))
    with pytest.raises(ValueError, match="output has the batch in front of time"):
        kd(student, student_steps="internal")(IMAGES, LABELS)


class Folded(nn.Module):
    """Folds time and batch into one axis, with either of them outside."""

    def __init__(self, *, batch_first):
        super().__init__()
        self.batch_first, self.conv, self.lif = batch_first, nn.Conv2d(3, 4, 3), neuron.LIFNode(step_mode="m")
        self.pool, self.head = nn.MaxPool2d(2), nn.Linear(4, 5)

    def forward(self, frames):
        steps, size = frames.shape[:2]
        spikes = self.lif(self.conv(frames.flatten(0, 1)).unflatten(0, (steps, size)))
        folded = self.pool((spikes.transpose(0, 1) if self.batch_first else spikes).flatten(0, 1)).mean((2, 3))
        return self.head(
            folded.unflatten(0, (size, steps)).mean(1) if self.batch_first else folded.unflatten(0, (steps, size))
        )


class OwnNeuron(nn.Module):
    """Not SpikingJelly's, and silent until BatchNorm has seen a batch."""

    def forward(self, frames):
        return (frames > 1).float()


def test_a_folded_axis_is_looked_at_where_neurons_of_ones_own_are_silent():
    student = Folded(batch_first=True)
    student.conv = nn.Sequential(student.conv, nn.BatchNorm2d(4))
    student.lif = OwnNeuron()
    nn.init.constant_(student.conv[0].weight, 0.01)
    student.conv[1].running_var.fill_(100.0)
    losses, layers = {"hint": (KDSNNLoss(), 1.0)}, {"hint": ("pool", None)}
    with pytest.raises(ValueError, match="layer 'pool' has the batch in front of time"):
        Distiller(make_teacher(), student, losses, layers=layers, time_steps=4, example=IMAGES)
    assert torch.equal(student.conv[1].running_var, torch.full((4,), 100.0))
    assert student.conv[1].momentum == 0.1


def test_time_and_batch_in_one_axis_have_to_be_in_this_order():
    options = {"time_steps": 4, "student_layer": "pool"}
    CKDDistiller(make_teacher(), Folded(batch_first=False), **options)(IMAGES, LABELS).loss.backward()
    with pytest.raises(ValueError, match="layer 'pool' has the batch in front of time"):
        CKDDistiller(make_teacher(), Folded(batch_first=True), **options)(IMAGES, LABELS)


class FirstStepTwice(nn.Module):
    def forward(self, x):
        x[0].mul_(2)
        return x


@pytest.mark.parametrize("behind", [FirstStepTwice(), nn.ReLU(inplace=True)], ids=["one step", "all"])
def test_a_stem_that_is_written_to_in_eval_mode_does_not_run_once(behind):
    distiller = kd(make_student(behind), time_steps=3)
    before = distiller.eval().predict(IMAGES)
    assert not accelerate(distiller, IMAGES, LABELS, switches=["static stem"], rounds=0).on
    assert distiller.predict(IMAGES).equal(before)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.lif = neuron.LIFNode(step_mode="m")

    def forward(self, x):
        x += self.lif(x)
        return x


def test_a_fast_neuron_whose_input_is_written_to_is_not_switched_on():
    distiller = kd(make_student(Residual()), time_steps=3)
    found = accelerate(distiller, IMAGES, LABELS, switches=["fast neurons"], rounds=0)
    assert not found.on
    assert "use_fast_neurons(student, enable=False)" in found.trials[0].note
    distiller(IMAGES, LABELS).loss.backward()


class Shortcut(nn.Module):
    def __init__(self, threshold):
        super().__init__()
        self.conv = layer.Conv2d(4, 4, 1, step_mode="m")
        self.sn = neuron.IFNode(threshold, step_mode="m")
        self.shortcut_sn = neuron.IFNode(threshold, step_mode="m")

    def forward(self, x):
        return self.sn(self.conv(x)) + self.shortcut_sn(x)


@pytest.mark.parametrize("threshold", [0.1, 1e6], ids=["fires", "silent"])
def test_the_shortcut_of_a_silent_block_is_not_chosen_before_the_block(threshold):
    network = nn.Sequential(layer.Conv2d(3, 4, 1, step_mode="m"), Shortcut(threshold), layer.Flatten(step_mode="m"))
    assert find_layer(network, IMAGES.expand(2, *IMAGES.shape), role="student").path == "1"
