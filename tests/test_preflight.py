"""Preflight: each check passes on a sound pair and fails on a network that deserves it."""

import copy
import json
import re

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from spikingjelly.activation_based import base, layer, neuron
from torch import nn

from spikingjelly_ckd import CKDDistiller, Distiller, FitNetsLoss, KDLoss, SAMDLoss, preflight
from spikingjelly_ckd.recipes.models import ResNet, SpikingResNet
from spikingjelly_ckd.step.auto_weight import AUTO_SHARE

pytestmark = pytest.mark.slow

BATCH = (torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(16) % 5)


def report(teacher=None, student=None, batches=BATCH, accumulate=1, **options):
    distiller = CKDDistiller(teacher or tiny_teacher(), student or tiny_student(), time_steps=3, **options)
    return preflight(distiller, batches, accumulate=accumulate)


def all_named(found, name):
    return [check for check in found.checks if check.name == name]


def test_a_sound_pair_as_text_and_as_data():
    found = report()
    assert found.ok
    text = str(found)
    for words in ("SpikingJelly", "LIFNode", "'5'", "0/1", "4x4", "samd", "nld", "eval mode", "agree", "flat over 3"):
        assert words in text, words
    data = json.loads(json.dumps(found.to_dict()))
    assert data["ok"]
    assert {check["name"] for check in data["checks"]} == {
        *("neurons", "student layer", "teacher layer", "spikes", "silent channels", "values", "student map"),
        *("teacher map", "gradient share", "teacher frozen", "teacher accuracy", "teacher input", "state", "memory"),
        *("effective batch", "input", "teacher repeats", "student accuracy"),
    }
    with pytest.raises(KeyError, match="no check 'speed'"):
        found["speed"]


def test_the_accuracy_of_the_student_as_it_is():
    student = tiny_student()
    with torch.no_grad():
        predicted = Distiller(None, student.eval(), {}, time_steps=3).predict(BATCH[0]).argmax(1)
    found = report(student=student.train(), batches=(BATCH[0], predicted))["student accuracy"]
    assert found.data == {"accuracy": 1.0, "images": len(predicted)}


def test_everything_is_left_as_found():
    teacher, student = tiny_teacher(), tiny_student()
    distiller = CKDDistiller(teacher, student, time_steps=3, generator=torch.Generator().manual_seed(3), beta="auto")
    student.eval()
    student[0].weight.grad = torch.ones_like(student[0].weight)
    before = copy.deepcopy((distiller.state_dict(), teacher.state_dict()))
    noise, own = torch.get_rng_state(), distiller.losses["nld"].generator.get_state()
    flags = [m.training for m in distiller.modules()]
    preflight(distiller, BATCH)
    for old, net in zip(before, (distiller, teacher), strict=True):
        for key, value in net.state_dict().items():
            assert key.endswith("_extra_state") or torch.equal(value, old[key]), key  # layers were chosen, and stay so
    assert torch.equal(noise, torch.get_rng_state())
    assert torch.equal(own, distiller.losses["nld"].generator.get_state())
    assert flags == [m.training for m in distiller.modules()]
    assert torch.equal(student[0].weight.grad, torch.ones_like(student[0].weight))
    assert student[3].weight.grad is None
    assert distiller.check
    assert sum(len(m._forward_hooks) for net in (teacher, student) for m in net.modules()) == 0


def test_losses_on_features_alone_again_and_again():
    losses = {"hint": (FitNetsLoss(), 1.0)}
    distiller = Distiller(tiny_teacher(), tiny_student(), losses, time_steps=3, example=BATCH)
    first = str(preflight(distiller, BATCH))
    assert not distiller.observers.teacher.may_end_early, "a step still runs the whole teacher once"
    assert str(preflight(distiller, BATCH)) == first
    distiller(*BATCH)
    assert preflight(distiller, BATCH).ok
    assert distiller.observers.teacher.may_end_early


def test_a_teacher_whose_first_batch_norm_is_compiled():
    teacher = ResNet((4, 8, 16), (1, 1, 1), 5).eval()
    teacher.layer1.compile(backend="eager")
    teacher.bn1 = nn.Identity()
    found = report(teacher, teacher_layer="layer3", student_layer="5")
    assert found["teacher input"].status in ("ok", "warn")
    for stage in (teacher.layer2, teacher.layer3):
        stage.compile(backend="eager")
    found = report(teacher, teacher_layer="layer3", student_layer="5")
    assert "not checked" in found["teacher input"].message


def test_silent_student():
    silent = tiny_student(norm=False)
    silent[5].v_threshold = 1e6
    found = report(student=silent, student_layer="5")
    assert not found.ok
    assert found["silent channels"].status == "fail"
    assert found["student map"].status == "fail"


@pytest.mark.parametrize("events", [False, True])
def test_neurons_before_the_head_that_never_fire(events):
    """The layer that is compared fires as ever, so nothing else would say that no image can be told from another."""
    images, labels = BATCH
    images = images.expand(3, *images.shape) if events else images

    def look(threshold, images=images):
        student = tiny_student()
        late = neuron.LIFNode(v_threshold=threshold, step_mode="m")
        return report(student=nn.Sequential(*student[:-1], late, student[-1]), batches=(images, labels))

    found = look(1e6)
    assert found["silent channels"].status == "ok"
    assert found["student answers"].status == "warn"
    assert "the same for all 16 images" in found["student answers"].message
    assert not all_named(look(0.01), "student answers")
    first = images[..., :1, :, :, :].expand(images.shape)  # one image again and again
    assert not all_named(look(1e6, first), "student answers")


def test_half_silent_student():
    student = tiny_student()
    with torch.no_grad():
        student[4].bias[:7] = -1e3
    found = report(student=student)["silent channels"]
    assert found.data["share"] == pytest.approx(7 / 8)
    with torch.no_grad():
        student[4].bias[:] = -1e3
        student[4].bias[0] = 0
    assert report(student=student)["silent channels"].status in ("ok", "warn")


def test_a_map_of_four_numbers_is_no_map():
    images, labels = BATCH
    distiller = CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2)
    found = preflight(distiller, (images[..., :4, :4], labels))
    for role in ("student", "teacher"):
        assert found[f"{role} map"].status == "warn"
        assert found[f"{role} map"].message.startswith("2x2, so 4 numbers say where the network looks, ")
        said = found[f"{role} map"].message
        assert re.search(rf"pass {role}_layer= an earlier layer, such as '\w+' with 4x4$", said), said
    fine = preflight(CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2), (images[..., :6, :6], labels))
    assert "numbers say" not in fine["student map"].message


@pytest.mark.parametrize("pixels", [8, 4])
def test_a_map_that_is_pooled_to_the_other_side_says_from_what_and_blames_the_smaller(pixels):
    """Of 8 pixels the teacher's map is 4x4, of 4 it is 2x2, and no other layer of the student would make that finer."""
    images, labels = BATCH
    distiller = CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2, student_layer="2")
    found = preflight(distiller, (images[..., :pixels, :pixels], labels))
    half = f"{pixels // 2}x{pixels // 2}"
    said, other = found["student map"].message, found["teacher map"].message
    assert said.startswith(f"{half}, pooled from {pixels}x{pixels} to match the teacher's {half}, ")
    assert "pooled" not in other
    assert "layer=" not in other if pixels == 8 else "; pass teacher_layer= an earlier layer, such as '2'" in other
    assert "student_layer=" not in said
    assert ("; pass teacher_layer= an earlier layer, such as '2' with 4x4" in said) == (pixels == 4)


def test_small_maps_of_two_losses_name_the_layers_of_each():
    images, labels = BATCH
    losses = {"low": (SAMDLoss(), 1.0), "high": (SAMDLoss(), 1.0)}
    layers = {"low": ("2", "2"), "high": ("5", "5")}
    distiller = Distiller(tiny_teacher(), tiny_student(), losses, layers=layers, time_steps=2)
    found = preflight(distiller, (images[..., :4, :4], labels))
    assert "pass student_layer= an earlier layer, such as '2' with 4x4" in found["high/student map"].message
    assert "numbers say" not in found["low/student map"].message


def test_signed_values_instead_of_spikes():
    found = report(student_layer="4")["spikes"]
    assert (found.status, found.data["kind"]) == ("warn", "signed")


def test_counts_are_no_fault():
    class Add(nn.Module):
        def forward(self, x):
            return x + x

    student = tiny_student()
    student[5] = nn.Sequential(student[5], Add())
    found = report(student=student, student_layer="5")["spikes"]
    assert (found.status, found.data["kind"]) == ("ok", "counts")


def test_no_neuron():
    plain = nn.Sequential(layer.Conv2d(3, 4, 3, step_mode="m"), layer.AdaptiveAvgPool2d(1, step_mode="m"))
    plain.append(layer.Flatten(step_mode="m")).append(layer.Linear(4, 5, step_mode="m"))
    distiller = Distiller(tiny_teacher(), plain, {"kd": (KDLoss(), 1.0)}, time_steps=2)
    assert preflight(distiller, BATCH)["neurons"].status == "warn"


def test_constant_teacher_map():
    teacher = tiny_teacher()
    nn.init.zeros_(teacher[8].weight)
    assert report(teacher, teacher_layer="5")["teacher map"].status == "fail"


@pytest.mark.parametrize("fault", ["train mode", "trainable"])
def test_teacher_not_frozen(fault):
    teacher = tiny_teacher()
    distiller = CKDDistiller(teacher, tiny_student(), time_steps=2)
    if fault == "train mode":
        teacher[1].train()
    else:
        teacher[0].weight.requires_grad_(True)
    found = preflight(distiller, BATCH)["teacher frozen"]
    assert found.status == "fail"
    assert teacher[1].training == (fault == "train mode")
    assert teacher[0].weight.requires_grad == (fault == "trainable")


def test_untrained_and_trained_teacher_accuracy():
    images, labels = BATCH
    teacher = tiny_teacher()
    with torch.no_grad():
        logits = teacher.eval()(images)
        teacher[-1].bias -= logits.mean(0)  # several classes among the answers: one alone would be a guess
        own = teacher(images).argmax(1)
    good = report(teacher, batches=(images, own))["teacher accuracy"]
    assert (good.status, good.data["accuracy"]) == ("ok", 1.0)
    bad = report(teacher, batches=[(images, (own + 1) % 5), (images, (own + 2) % 5)])["teacher accuracy"]
    assert (bad.status, bad.data["images"]) == ("warn", 32)


def test_input_normalised_otherwise_than_the_teacher_was_trained_on():
    images, labels = BATCH
    teacher = tiny_teacher().train()
    with torch.no_grad():
        for _ in range(60):
            teacher(images)
    assert report(teacher)["teacher input"].status == "ok"
    assert report(teacher, batches=(images * 20 + 40, labels))["teacher input"].status == "warn"

    class Pretrained(nn.Module):
        pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3}  # noqa: RUF012

        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.head = nn.Linear(4, 5)

        def forward(self, x):
            return self.head(self.net(x))

    assert report(Pretrained())["teacher input"].status == "ok"
    assert report(Pretrained(), batches=(images.sigmoid() / 4, labels))["teacher input"].status == "warn"


def test_state_that_reset_does_not_clear():
    class Remembers(nn.Module):
        def __init__(self):
            super().__init__()
            self.past = 0.0

        def forward(self, x):
            self.past = self.past + 0.5
            return x + self.past

    student = tiny_student()
    student.append(Remembers())
    assert report(student=student)["state"].status == "fail"


def test_a_state_that_keeps_its_graph():
    class Keeps(nn.Module):
        kept = 0.0

        def forward(self, logits):
            self.kept = self.kept + logits
            return self.kept

    student = tiny_student()
    student.append(Keeps())
    found = report(student=student)
    assert {check.name for check in found.checks if check.status == "fail"} >= {"state", "memory"}
    assert "the graph of a step reaches into the step before" in found["memory"].message


def test_an_encoder_that_draws_spikes_keeps_no_state():
    class Draws(nn.Module):
        def forward(self, x):
            return x + torch.rand_like(x)

    student = tiny_student()
    student.append(Draws())
    distiller = CKDDistiller(tiny_teacher(), student, time_steps=3)
    numbers = torch.get_rng_state()
    assert preflight(distiller, BATCH)["state"].status == "ok"
    assert torch.equal(torch.get_rng_state(), numbers)


def test_a_tensor_elsewhere_in_the_process_that_has_no_size_in_bytes():
    elsewhere = torch.eye(3).to_sparse()
    with pytest.raises(RuntimeError):
        elsewhere.nbytes  # noqa: B018
    assert report()["memory"].status == "ok"


def test_memory_that_grows():
    class Hoards(nn.Module):
        def __init__(self):
            super().__init__()
            self.kept = []

        def forward(self, x):
            self.kept.append(x.detach().clone())
            return x

    student = tiny_student()
    student.append(Hoards())
    found = report(student=student)["memory"]
    assert found.status == "fail"
    assert found.data["bytes"][-1] > found.data["bytes"][0]


def test_values_that_are_not_finite_or_in_range():
    images, labels = BATCH
    assert report(batches=(images, labels + 3))["values"].status == "fail"
    broken = tiny_teacher()
    with torch.no_grad():
        broken[8].bias[0] = float("inf")
    assert report(broken)["values"].status == "fail"


@pytest.mark.parametrize(("beta", "status"), [(1e4, "warn"), (1e-6, "warn")])
def test_a_weight_that_dominates_or_vanishes_names_one_to_try(beta, status):
    found = all_named(report(beta=beta), "gradient share")[0]
    assert found.status == status
    again = all_named(report(beta=found.data["suggested"]), "gradient share")[0]
    assert again.data["share"] == pytest.approx(AUTO_SHARE, rel=0.4)  # the suggestion has one digit
    assert f"{found.data['suggested']:g}" in found.message


def test_automatic_weights_are_said_and_not_measured():
    distiller = CKDDistiller(tiny_teacher(), tiny_student(), time_steps=3, beta="auto")
    found = all_named(preflight(distiller, BATCH), "gradient share")[0]
    assert (found.status, found.data["weight"]) == ("info", "auto")
    assert distiller.auto["samd"].seen == 0


def test_a_whole_loader_is_not_read_in():
    images, labels = BATCH
    found = report(batches=((images, labels) for _ in range(10**9)))
    assert found["teacher accuracy"].data["images"] == 8 * len(labels)


def test_images_that_the_task_loss_ignores_count_for_no_accuracy():
    images, labels = BATCH
    unlabelled = labels.clone()
    unlabelled[::2] = 1
    ignores = {"task_loss": nn.CrossEntropyLoss(ignore_index=1)}
    distiller = CKDDistiller(tiny_teacher(), tiny_student(), time_steps=3, **ignores)
    seen = preflight(distiller, (images, unlabelled))
    known = unlabelled != 1
    rest = preflight(distiller, (images[known], labels[known]))
    for who in ("teacher accuracy", "student accuracy"):
        assert seen[who].data == rest[who].data, who
    none = preflight(distiller, (images, torch.ones_like(labels)))
    assert [none[who].status for who in ("teacher accuracy", "student accuracy")] == ["info", "info"]


def test_effective_batch():
    assert report(accumulate=4)["effective batch"].data["total"] == 64


def test_a_network_with_ternary_spikes_is_named():
    ternary = getattr(neuron, "TernaryIFNode", None)
    if ternary is None:
        pytest.skip("SpikingJelly 0.0.0.0.14 has no ternary neurons")
    student = tiny_student()
    student[5] = ternary(v_threshold=0.3, step_mode="m")
    assert report(student=student, student_layer="5")["spikes"].data["kind"] == "signed"


def test_a_memory_module_of_the_users_counts_as_a_neuron():
    class Own(base.MemoryModule):
        def __init__(self):
            super().__init__()
            self.register_memory("v", 0.0)
            self.inner = neuron.IFNode(step_mode="m")

        def forward(self, x):
            return self.inner(x)

    student = tiny_student()
    student[5] = Own()
    assert report(student=student, student_layer="5")["neurons"].data["neurons"]["Own"] == 1


def test_wrong_arguments():
    distiller = CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2)
    with pytest.raises(TypeError, match="must be a Distiller"):
        preflight(tiny_student(), BATCH)
    with pytest.raises(ValueError, match="batches is empty"):
        preflight(distiller, [])
    with pytest.raises(TypeError, match="two tensors"):
        preflight(distiller, [(BATCH[0], BATCH[1], 1)])
    with pytest.raises(ValueError, match="accumulate"):
        preflight(distiller, BATCH, accumulate=0)
    with pytest.raises(TypeError, match="accumulate must be an integer"):
        preflight(distiller, BATCH, accumulate=0.5)


def test_two_map_losses_are_each_reported():
    losses = {"low": (SAMDLoss(), 1.0), "high": (SAMDLoss(), 1.0)}
    layers = {"low": ("2", "2"), "high": ("5", "5")}
    distiller = Distiller(tiny_teacher(), tiny_student(), losses, layers=layers, time_steps=2)
    found = preflight(distiller, BATCH)
    assert [check.data["path"] for check in all_named(found, "student layer")] == ["2", "5"]
    assert len(all_named(found, "gradient share")) == 2


@pytest.mark.parametrize("form", ["in place", "wrapped"])
def test_a_distiller_that_was_compiled_and_trained(form):
    teacher, student = ResNet((4, 8, 16), (1, 1, 1), 5), SpikingResNet((4, 8, 16), (1, 1, 1), 5)
    distiller = CKDDistiller(teacher, student, time_steps=3, gamma=0.0, example=BATCH)
    call = distiller if form == "in place" else torch.compile(distiller, backend="eager", dynamic=False)
    if form == "in place":
        distiller.compile(backend="eager", dynamic=False)
    call(*BATCH).loss.backward()
    call(*BATCH)  # what the first step found out (layers, an early end) is compiled for here, on the oldest torch
    eager = copy.deepcopy(distiller)  # without what was compiled
    found, expected = (
        [check for check in preflight(one, BATCH).checks if check.name != "memory"] for one in (call, eager)
    )
    assert found == expected
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    call(*BATCH)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs, "what is compiled serves on"
