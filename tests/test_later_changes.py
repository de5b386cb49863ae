"""What changes after the first step, what a network keeps for itself, and maps whose order no shape tells."""

from typing import NamedTuple

import pytest
import torch
from spikingjelly.activation_based import base, functional, layer, monitor, neuron
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from spikingjelly_ckd import CKDDistiller, Distiller, preflight
from spikingjelly_ckd.methods import ATLoss, CATKDLoss, E2KDLoss, KDLoss, SAMDLoss, TDKDLoss, TETLoss

CLASSES = 10


def make_teacher():
    torch.manual_seed(1)
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, CLASSES)),
    )


def make_student():
    torch.manual_seed(2)
    network = nn.Sequential(
        *(layer.Conv2d(3, 8, 3, padding=1), layer.BatchNorm2d(8), neuron.LIFNode(v_threshold=0.3), layer.MaxPool2d(2)),
        *(layer.Conv2d(8, 8, 3, padding=1), layer.BatchNorm2d(8), neuron.LIFNode(v_threshold=0.3)),
        *(layer.AdaptiveAvgPool2d(1), layer.Flatten(), layer.Linear(8, CLASSES)),
    )
    functional.set_step_mode(network, "m")
    return network


@pytest.fixture
def batch():
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(4)


@pytest.fixture
def frames():
    return torch.randn(5, 4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


# --- step modes ------------------------------------------------------------------------------------------------------


class OfPlainLayers(nn.Module):
    """Layers of PyTorch in containers, which take either step mode."""

    def __init__(self, mode="m"):
        super().__init__()
        torch.manual_seed(2)
        self.conv = layer.SeqToANNContainer(nn.Conv2d(3, 8, 3, padding=1))
        self.fire = neuron.IFNode(step_mode=mode)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, frames):
        return self.fc(self.fire(self.conv(frames)).mean((3, 4)))


class OneStep(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fire, self.fc = nn.Conv2d(3, 8, 3, padding=1), neuron.IFNode(v_threshold=0.3), nn.Linear(8, 10)

    def forward(self, images):
        return self.fc(self.fire(self.conv(images)).mean((2, 3)))


@pytest.mark.parametrize("call", ["forward", "predict", "preflight"])
def test_a_step_mode_that_was_changed_after_the_first_step_is_refused(batch, call):
    student = OfPlainLayers()
    distiller = CKDDistiller(make_teacher(), student, time_steps=4)
    first = distiller(*batch)
    functional.set_step_mode(student, "s")
    with pytest.raises(ValueError, match="is in single-step mode: call functional.set_step_mode"):
        {
            "forward": lambda: distiller(*batch),
            "predict": lambda: distiller.predict(batch[0]),
            "preflight": lambda: preflight(distiller, batch),
        }[call]()
    functional.set_step_mode(student, "m")
    assert torch.equal(distiller(*batch).terms["samd"], first.terms["samd"])


def test_neurons_of_a_loop_that_are_put_in_multi_step_mode_are_refused(batch):
    student = OneStep()
    distiller = CKDDistiller(make_teacher(), student, time_steps=3, student_steps="loop")
    distiller(*batch)
    functional.set_step_mode(student, "m")
    with pytest.raises(ValueError, match="has neurons in multi-step mode"):
        distiller(*batch)


def test_batchnorm_that_was_converted_after_the_first_step_is_refused(batch):
    student = make_student()
    distiller = CKDDistiller(make_teacher(), student, time_steps=2)
    distiller(*batch)
    student[1] = nn.BatchNorm2d(2)
    with pytest.raises((ValueError, RuntimeError)):
        distiller(*batch)


# --- the first batch has one time step -------------------------------------------------------------------------------


class MeanOverTime(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside = make_student()

    def forward(self, frames):
        return self.inside(frames).mean(0)


def test_the_logits_of_every_step_are_found_when_there_are_several(batch, frames):
    fresh, late = (Distiller(None, MeanOverTime(), {}, task_loss=TETLoss(), batch_first=False) for _ in range(2))
    late.train(False)(frames[:1], batch[1])
    expected = fresh.eval()(frames, batch[1]).terms["task"]
    assert torch.equal(late(frames, batch[1]).terms["task"], expected)
    assert late.chosen()["student"]["per_step_readout"] is not None
    saved = Distiller(None, MeanOverTime(), {}, task_loss=TETLoss(), batch_first=False).eval()
    saved(frames[:1], batch[1])
    loaded = Distiller(None, MeanOverTime(), {}, task_loss=TETLoss(), batch_first=False).eval()
    loaded.load_state_dict(saved.state_dict())
    assert torch.equal(loaded(frames, batch[1]).terms["task"], expected)


def test_a_neuron_in_single_step_mode_is_found_when_there_are_several_steps(batch, frames):
    student = make_student()
    student[2].step_mode = "s"
    distiller = CKDDistiller(make_teacher(), student, batch_first=False)
    distiller(frames[:1], batch[1])
    with pytest.raises(ValueError, match="'2' is in single-step mode and got all 5 time steps"):
        distiller(frames, batch[1])


def test_a_layer_with_the_batch_in_front_of_time_is_found_when_there_are_several_steps(batch, frames):
    class Folded(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside, self.flat, self.fc = make_student()[:7], nn.Identity(), nn.Linear(8, CLASSES)

        def forward(self, frames):
            steps, size = frames.shape[:2]
            folded = self.flat(self.inside(frames).transpose(0, 1).flatten(0, 1))
            return self.fc(folded.mean((2, 3))).view(size, steps, -1).transpose(0, 1)

    distiller = CKDDistiller(make_teacher(), Folded(), batch_first=False, student_layer="flat")
    distiller(frames[:1], batch[1])
    with pytest.raises(ValueError, match="'flat' has the batch in front of time"):
        distiller(frames, batch[1])


def test_a_mean_in_train_mode_alone_is_refused(batch):
    class MeanInTraining(MeanOverTime):
        def forward(self, frames):
            steps = self.inside(frames)
            return steps.mean(0) if self.training else steps

    plain = Distiller(None, MeanInTraining(), {}, task_loss=TETLoss(), time_steps=4)
    taught = Distiller(make_teacher(), MeanInTraining(), {"tdkd": (TDKDLoss(), 1.0)}, time_steps=4)
    for distiller in (plain, taught):
        with pytest.raises(ValueError, match="returns their mean in train mode"):
            distiller(*batch)


# --- gradients that a step takes -------------------------------------------------------------------------------------


class Checkpointed(nn.Module):
    """Neurons behind the recorded layer that run again for a gradient."""

    def __init__(self, again):
        super().__init__()
        torch.manual_seed(2)
        self.again = again
        self.first, self.fire = layer.Conv2d(3, 8, 3, padding=1), neuron.IFNode(v_threshold=0.5)
        self.tail = nn.Sequential(
            *(layer.Conv2d(8, 8, 3, padding=1), neuron.IFNode(v_threshold=0.5, v_reset=None)),
            *(neuron.IFNode(v_threshold=2.0, v_reset=None), layer.AdaptiveAvgPool2d(1), layer.Flatten()),
            layer.Linear(8, CLASSES),
        )
        functional.set_step_mode(self, "m")

    def forward(self, frames):
        spikes = self.fire(self.first(frames))
        return checkpoint(self.tail, spikes, use_reentrant=False) if self.again else self.tail(spikes)


@pytest.mark.parametrize(
    ("loss", "weight"), [(SAMDLoss(), "auto"), (SAMDLoss(student_map="grad_cam"), 1.0), (E2KDLoss(), 1.0)]
)
def test_checkpointed_neurons_run_again_from_their_reset_state(batch, loss, weight):
    found = []
    for again in (False, True):
        student = Checkpointed(again)
        distiller = Distiller(
            make_teacher(), student, {"x": (loss, weight)}, time_steps=4, layers={"x": ("fire", None)}
        )
        out = distiller(3 * batch[0], batch[1])
        out.loss.backward()
        found.append((out.loss.detach(), torch.as_tensor(out.weights["x"]), student.first.weight.grad))
    for plain, other in zip(*found, strict=True):
        torch.testing.assert_close(plain, other)


@pytest.mark.parametrize("weight", ["auto", "hold"])
def test_every_one_of_several_measured_weights_is_that_without_a_checkpoint(batch, weight):
    losses = {"samd": (SAMDLoss(), weight), "kd": (KDLoss(), weight)}
    plain, again = (
        Distiller(make_teacher(), Checkpointed(again), losses, time_steps=4, layers={"samd": ("fire", None)})
        for again in (False, True)
    )
    for distiller in (plain, again):
        distiller(3 * batch[0], batch[1])
    for name in losses:
        torch.testing.assert_close(again.auto[name].weight, plain.auto[name].weight)


def test_the_logits_outlive_a_reset_in_place(batch):
    class Readout(base.MemoryModule):
        def __init__(self):
            super().__init__()
            self.v = None

        def forward(self, spikes):
            self.v = spikes.sum(0)
            return self.v

        def reset(self):
            if self.v is not None:
                self.v.zero_()

    distiller = CKDDistiller(make_teacher(), nn.Sequential(*make_student(), Readout()), time_steps=4)
    out = distiller(*batch)
    torch.testing.assert_close(F.cross_entropy(out.logits, batch[1]), out.terms["task"])
    assert distiller.predict(batch[0]).any()


def test_a_layer_that_the_logits_do_not_depend_on_is_passed_over(batch):
    class WithDecoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = make_student()
            self.decoder = nn.Sequential(layer.Conv2d(8, 4, 3, padding=1), neuron.LIFNode(v_threshold=0.1))
            functional.set_step_mode(self, "m")

        def forward(self, frames):
            spikes = self.inside[:7](frames)
            return self.inside[7:](spikes), self.decoder(spikes)

    distiller = CKDDistiller(make_teacher(), WithDecoder(), time_steps=2, beta="auto")
    weights = [distiller(*batch).weights["samd"] for _ in range(2)]
    (chosen,) = distiller.layers["samd"][0]
    assert chosen.path == "inside.6"
    assert "the logits do not depend on it" in str(chosen.passed_over)
    assert all(weight > 0 for weight in weights)


# --- what a network keeps --------------------------------------------------------------------------------------------


def regulariser_first(batch):
    student = make_student()
    distiller = CKDDistiller(make_teacher(), student, time_steps=2)
    own = student(batch[0].expand(2, *batch[0].shape)).pow(2).mean()
    functional.reset_net(student)
    return own + distiller(*batch).loss


def two_distillers(batch):
    student = make_student()
    return sum(CKDDistiller(make_teacher(), student, time_steps=2)(*batch).loss for _ in range(2))


def preflight_between(batch):
    distiller = CKDDistiller(make_teacher(), make_student(), time_steps=2)
    loss = distiller(*batch).loss
    preflight(distiller, batch)
    return loss


def error_between(batch):
    distiller = CKDDistiller(make_teacher(), make_student(), time_steps=2)
    loss = distiller(*batch).loss
    with pytest.raises(ValueError, match="label"):
        distiller(batch[0], batch[1] + 50)
    return loss


@pytest.mark.parametrize("make", [regulariser_first, two_distillers, preflight_between, error_between])
def test_a_graph_of_the_student_survives_what_runs_it_again(batch, make):
    make(batch).backward()


@pytest.mark.parametrize("side", ["teacher", "student"])
def test_a_buffer_that_is_an_expanded_view(batch, side):
    class Shift(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1).expand(1, 3, 16, 16))

        def forward(self, images):
            return images - self.mean

    teacher, student = make_teacher(), make_student()
    if side == "teacher":
        teacher = nn.Sequential(Shift(), *teacher)
    else:
        student = nn.Sequential(Shift(), *student)
    distiller = CKDDistiller(teacher, student, time_steps=2)
    distiller(*batch).loss.backward()
    with pytest.raises(ValueError, match="label"):  # and not one about the buffer
        distiller(batch[0], batch[1] + 50)


class Output(NamedTuple):
    features: torch.Tensor
    positive: torch.Tensor


class ReturnsTwo(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, images):
        features = F.relu(self.conv(images))
        return Output(features, features > 0)


class OfReturnsTwo(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.block, self.fc = ReturnsTwo(), nn.Linear(8, CLASSES)

    def forward(self, images):
        return self.fc(self.block(images).features.mean((2, 3)))


@pytest.mark.parametrize("path", [None, "block"])
def test_a_layer_that_returns_a_named_tuple(batch, path):
    distiller = CKDDistiller(OfReturnsTwo(), make_student(), time_steps=2, teacher_layer=path)
    assert distiller(*batch).loss.isfinite()
    assert distiller.layers["samd"][1][0].path == "block"


def test_a_teacher_that_clears_up_at_its_end_is_run_to_its_end(batch):
    class WithSkips(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside, self.skips = make_teacher(), []

        def forward(self, images):
            features = self.inside[:3](images)
            self.skips.append(features)
            return self.inside[5:](self.inside[3:5](features)) + self.skips.pop(0).mean((1, 2, 3))[:, None]

    teacher = WithSkips().eval()
    before = teacher(batch[0].flip(0))
    distiller = Distiller(teacher, make_student(), {"at": (ATLoss(), 1.0)}, time_steps=2)
    for _ in range(4):
        distiller(*batch)
        assert not teacher.skips
    assert torch.equal(teacher(batch[0].flip(0)), before)
    assert not distiller.observers.teacher.may_end_early


class Beside(nn.Module):
    """The layers of ``make_teacher`` under the path ``inside``, with what is left in ``skips`` where it ends early."""

    def __init__(self, *, clears):
        super().__init__()
        self.inside, self.skips, self.clears = make_teacher(), [], clears

    def forward(self, images):
        features = self.inside[:3](images)
        if not self.clears:
            return self.inside[3:](features)
        self.skips.append(features)
        return self.inside[5:](self.inside[3:5](features)) + self.skips.pop(0).mean((1, 2, 3))[:, None]


@pytest.mark.parametrize("assign", [False, True])
def test_a_replaced_teacher_is_looked_at_anew(batch, assign):
    first, other = Beside(clears=False), Beside(clears=True)
    distiller = Distiller(first, make_student(), {"at": (ATLoss(), 1.0)}, time_steps=2)
    for _ in range(3):
        distiller(*batch)
    assert distiller.observers.teacher.may_end_early
    if assign:
        distiller.teacher = other
    else:
        distiller.replace_teacher(other)
    assert distiller.teacher is other
    assert not other.training
    assert not any(parameter.requires_grad for parameter in other.parameters())
    assert not any(part is other for part in distiller.modules())  # in no state_dict and no parameters()
    for _ in range(4):
        distiller(*batch)
        assert not other.skips


@pytest.mark.parametrize(
    ("other", "error", "said"),
    [
        (lambda student: student, ValueError, "are one tensor"),
        (lambda student: make_student(), ValueError, "make a new distiller"),
        (lambda student: nn.DataParallel(make_teacher()), TypeError, "DistributedDataParallel"),
        (lambda student: "resnet18", TypeError, "teacher must be a torch.nn.Module, got str"),
        (lambda student: None, TypeError, "teacher must be a torch.nn.Module, got None"),
    ],
)
def test_what_cannot_be_a_teacher_does_not_replace_one(batch, other, error, said):
    teacher, student = make_teacher(), make_student()
    distiller = Distiller(teacher, student, {"kd": (KDLoss(), 1.0)}, time_steps=2)
    with pytest.raises(error, match=said):
        distiller.teacher = other(student)
    assert distiller.teacher is teacher
    assert student.training
    distiller(*batch).loss.backward()


# --- what no shape tells ---------------------------------------------------------------------------------------------


class Tokens(nn.Module):
    """Spiking tokens in some order."""

    def __init__(self, order):
        super().__init__()
        torch.manual_seed(2)
        self.order, self.patches, self.mix = order, nn.Conv2d(3, 12, 4, stride=4), nn.Linear(12, 12)
        self.fire, self.fc = neuron.LIFNode(v_threshold=0.2, step_mode="m"), nn.Linear(12, CLASSES)
        self.class_token = nn.Parameter(torch.randn(1, 1, 12))

    def forward(self, frames):
        steps, size = frames.shape[:2]
        maps = self.patches(frames.flatten(0, 1))
        if self.order == "columns":
            maps = maps.transpose(2, 3)
        if self.order == "windows":
            maps = maps.view(len(maps), 12, 2, 2, 2, 2).permute(0, 1, 2, 4, 3, 5)
        tokens, first = maps.flatten(2).transpose(1, 2), self.class_token.expand(len(maps), 1, 12)
        if self.order.startswith("class token"):
            tokens = torch.cat([first, tokens] if self.order.endswith("first") else [tokens, first], 1)
        return self.fc(self.fire(self.mix(tokens).view(steps, size, *tokens.shape[1:])).mean(2))


@pytest.mark.parametrize("order", ["rows", "class token first"])
def test_tokens_row_by_row_are_taken_and_no_random_number_is_used(batch, order):
    distiller = Distiller(make_teacher(), Tokens(order), {"samd": (SAMDLoss(), 1.0)}, time_steps=2)
    before = torch.get_rng_state()
    assert distiller(*batch).loss.isfinite()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("order", ["columns", "windows", "class token last"])
def test_tokens_in_another_order_are_refused(batch, order):
    with pytest.raises(
        ValueError, match="'fire' was read as TNLC, and a change in one half of the image does not show"
    ):
        CKDDistiller(make_teacher(), Tokens(order), time_steps=2)(*batch)


@pytest.mark.parametrize("seed", range(4))
def test_channels_last_is_refused_where_all_axes_have_one_size(batch, seed):
    class Cube(nn.Module):
        def __init__(self, *, last):
            super().__init__()
            torch.manual_seed(seed)
            self.last, self.conv = last, layer.Conv2d(3, 16, 3, padding=1, step_mode="m")
            self.fire, self.fc = neuron.LIFNode(v_threshold=0.3, step_mode="m"), nn.Linear(16, CLASSES)

        def forward(self, frames):
            maps = self.conv(frames)
            if self.last:
                return self.fc(self.fire(maps.movedim(2, -1)).mean((2, 3)))
            return self.fc(self.fire(maps).mean((3, 4)))

    assert CKDDistiller(make_teacher(), Cube(last=False), time_steps=2)(*batch).loss.isfinite()
    with pytest.raises(ValueError, match="'fire' was read as TNCHW"):
        CKDDistiller(make_teacher(), Cube(last=True), time_steps=2)(*batch)


# --- true reasons ----------------------------------------------------------------------------------------------------


def test_an_error_of_the_student_where_t_is_n_keeps_its_reason(batch):
    with pytest.raises(RuntimeError, match="to have 3 channels, but got 2 channels"):
        CKDDistiller(make_teacher(), make_student(), time_steps=4)(batch[0][:, :2], batch[1])


def test_images_without_time_steps_name_the_argument(batch):
    with pytest.raises(ValueError, match="expected x with shape") as caught:
        CKDDistiller(make_teacher(), make_student())(*batch)
    assert "time_steps=" in caught.value.__notes__[0]


def test_a_head_that_does_not_fit_the_recorded_layer_is_said(batch):
    layers = {"catkd": ("6", "1")}
    with pytest.raises(ValueError, match="the recorded layer has 8 channels and the last linear layer takes 16"):
        Distiller(make_teacher(), make_student(), {"catkd": (CATKDLoss(), 1.0)}, time_steps=2, layers=layers)(*batch)


def test_neurons_that_nothing_marks_as_such_are_said(batch):
    class OwnNeuron(nn.Module):
        def forward(self, currents):
            return (currents > 0.3).float()

    student = make_student()
    student[2], student[6] = OwnNeuron(), OwnNeuron()
    with pytest.raises(ValueError, match="has no neuron of SpikingJelly.*pass student_layer='path'"):
        CKDDistiller(make_teacher(), student, time_steps=2)(*batch)


def test_features_in_front_of_the_logits_are_said(batch):
    class FeaturesFirst(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.body, self.fc = network[:-1], network[-1]

        def forward(self, images):
            features = self.body(images)
            return features, self.fc(features)

    with pytest.raises(ValueError, match=r"16 classes and the student 10.*the first is taken for its logits"):
        CKDDistiller(FeaturesFirst(make_teacher()), make_student(), time_steps=2)(*batch)
    narrow, losses = make_teacher(), {"kd": (KDLoss(), 1.0)}
    narrow[7], classes = nn.Linear(16, 3), batch[1] % 3
    alike = Distiller(FeaturesFirst(narrow), nn.Sequential(make_student(), nn.Linear(10, 16)), losses, time_steps=2)
    found = [check for check in preflight(alike, (batch[0], classes)).checks if check.name == "heads"]
    assert [(check.status, check.data["widths"]) for check in found] == [("warn", [16, 3])]


def test_hooks_of_ones_own_see_one_forward_a_step_once_layers_are_chosen(batch):
    student = make_student()
    seen = monitor.OutputMonitor(student, neuron.LIFNode)
    distiller = CKDDistiller(make_teacher(), student, time_steps=2, example=batch[0])
    seen.records.clear()
    distiller(*batch)
    assert len(seen.records) == 2
