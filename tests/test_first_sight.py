"""What is judged at the first step: axes, step modes, shared tensors, labels, and teachers of every kind."""

import copy
import threading

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from spikingjelly_ckd import ATLoss, CKDDistiller, Distiller, KDLoss, PrefixKDLoss, SAMDLoss, TKSLoss, preflight, record

IMAGES, LABELS = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 4])
FRAMES = torch.randn(4, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def kd(teacher, student, **options):
    return Distiller(teacher, student, {"kd": (KDLoss(), 1.0)}, **options)


def samd(teacher, student, **options):
    return Distiller(teacher, student, {"samd": (SAMDLoss(), 1.0)}, **options)


def status(report, name):
    return [check.status for check in report.checks if check.name == name]


# --- axes where sizes coincide ---------------------------------------------------------------------------------------


def test_as_many_time_steps_as_recordings_must_be_told_apart():
    with pytest.raises(ValueError, match=r"4 time steps of 4 recordings or the reverse: pass batch_first=False"):
        kd(tiny_teacher(), tiny_student())(FRAMES, LABELS)
    time_first = kd(tiny_teacher(), tiny_student(), batch_first=False)(FRAMES, LABELS)
    torch.manual_seed(0)
    assert time_first.logits.shape == (4, 5)


def test_another_batch_settles_which_axis_is_time():
    distiller = kd(tiny_teacher(), tiny_student())
    distiller(FRAMES[:3], LABELS)
    assert distiller(FRAMES, LABELS).logits.shape == (4, 5)


class BatchFirstOut(nn.Module):
    """Returns ``[N, T, K]``."""

    def __init__(self):
        super().__init__()
        self.net = tiny_student()

    def forward(self, frames):
        return self.net(frames).transpose(0, 1)


class BatchFirstIn(BatchFirstOut):
    """Takes ``[N, T, ...]`` and returns the mean over time."""

    def forward(self, frames):
        return self.net(frames.transpose(0, 1)).mean(0)


@pytest.mark.parametrize("student", [BatchFirstOut, BatchFirstIn])
@pytest.mark.parametrize("time_steps", [4, 3])
def test_a_student_with_the_batch_first_is_noticed(student, time_steps):
    with pytest.raises(ValueError, match=r"takes or returns \[N, T|looks batch-first|expected logits"):
        kd(tiny_teacher(), student(), time_steps=time_steps)(IMAGES, LABELS)


def test_preflight_says_how_the_axes_were_read():
    found = preflight(kd(tiny_teacher(), tiny_student(), batch_first=True), (FRAMES[:, :3], LABELS))
    assert "read as T=3 frames of N=4 recordings" in found["input"].message
    found = preflight(kd(tiny_teacher(), tiny_student(), time_steps=2), (IMAGES, LABELS))
    assert "read as N=4 images, repeated over T=2 time steps" in found["input"].message


# --- step modes of whatever is no neuron -----------------------------------------------------------------------------


def with_module(module, *, at=3):
    student = tiny_student()
    student.insert(at, module)
    return student


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (layer.SynapseFilter(), "SynapseFilter '3'"),
        (layer.Dropout(0.5), "Dropout '3'"),
        (neuron.IFNode(), "neuron '3'"),
        (nn.SyncBatchNorm(4), "SyncBatchNorm '3' is PyTorch's own"),
        (nn.GroupNorm(2, 4), "GroupNorm '3' is PyTorch's own"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_module_that_takes_time_steps_for_images_is_named(module, name):
    student = with_module(module)
    if isinstance(module, nn.SyncBatchNorm):
        module.eval()
    with pytest.raises(ValueError, match=name):
        kd(tiny_teacher(), student, time_steps=3)(IMAGES, LABELS)


def test_batch_norm_1d_in_front_of_the_classifier_is_named():
    student = tiny_student()
    student.insert(8, layer.BatchNorm1d(4, step_mode="s"))  # [T, N=4, C]: takes the images for channels
    with pytest.raises(ValueError, match="BatchNorm1d '8' is in single-step mode"):
        kd(tiny_teacher(), student, time_steps=3)(IMAGES, LABELS)


def test_layers_that_treat_every_step_alike_and_containers_are_no_fault():
    student = with_module(layer.SeqToANNContainer(nn.BatchNorm2d(6)))
    student.insert(0, nn.Identity())
    student[-1].step_mode = "s"  # Linear
    kd(tiny_teacher(), student, time_steps=3)(IMAGES, LABELS)


def test_an_error_of_a_converted_norm_names_it():
    student = nn.SyncBatchNorm.convert_sync_batchnorm(tiny_student())
    with pytest.raises((ValueError, RuntimeError)) as raised:
        kd(tiny_teacher(), student, time_steps=3)(IMAGES[:3], LABELS[:3])
    assert "SyncBatchNorm" in f"{raised.value} {getattr(raised.value, '__notes__', '')}"


# --- shared tensors --------------------------------------------------------------------------------------------------


def test_a_shared_parameter_and_a_shared_buffer_are_refused_by_name():
    teacher, student = tiny_teacher(), tiny_student()
    student[3].weight = teacher[3].weight
    with pytest.raises(ValueError, match=r"student's '3.weight' and the teacher's '3.weight' are one tensor"):
        kd(teacher, student)
    teacher, student = tiny_teacher(), tiny_student()
    student[1].running_mean = teacher[1].running_mean
    with pytest.raises(ValueError, match=r"'1.running_mean'"):
        kd(teacher, student)
    teacher, student = tiny_teacher(), tiny_student()
    student[0].weight.data = teacher[0].weight.data  # other Parameters, one memory
    with pytest.raises(ValueError, match="one tensor"):
        kd(teacher, student)


def test_a_shared_module_without_tensors_is_harmless():
    shared = nn.ReLU()
    teacher, student = tiny_teacher(), tiny_student()
    teacher[5] = shared
    student.insert(0, shared)
    kd(teacher, student, time_steps=2)(IMAGES, LABELS).loss.backward()


# --- a spiking teacher -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["m", "s"])
def test_a_spiking_teacher_is_repeated_reset_and_averaged(mode):
    teacher = tiny_student(step_mode=mode).eval()
    distiller = kd(teacher, tiny_student(), time_steps=3)
    first, second = distiller.run_teacher(IMAGES, LABELS), distiller.run_teacher(IMAGES, LABELS)
    assert first.logits.equal(second.logits)
    functional.set_step_mode(teacher, "m")
    functional.reset_net(teacher)
    with torch.no_grad():
        expected = teacher(IMAGES.expand(3, *IMAGES.shape)).mean(0)
    functional.reset_net(teacher)
    torch.testing.assert_close(first.logits, expected)
    functional.set_step_mode(teacher, mode)
    assert preflight(distiller, (IMAGES, LABELS))["teacher repeats"].status == "ok"


class Repeating(nn.Module):
    """A spiking network that takes images, walks through three time steps by itself and averages."""

    def __init__(self, mode):
        super().__init__()
        self.mode, self.net = mode, tiny_student(step_mode=mode)

    def forward(self, images):
        functional.reset_net(self.net)
        if self.mode == "m":
            return self.net(images.expand(3, *images.shape)).mean(0)
        return torch.stack([self.net(images) for _ in range(3)]).mean(0)


@pytest.mark.parametrize("mode", ["m", "s"])
@pytest.mark.parametrize("time_steps", [2, None])
def test_a_spiking_teacher_that_repeats_images_by_itself_gets_images(mode, time_steps):
    teacher = Repeating(mode).eval()
    with torch.no_grad():
        expected = teacher(IMAGES)
    frames = IMAGES if time_steps else IMAGES.expand(2, *IMAGES.shape)
    distiller = kd(teacher, tiny_student(), time_steps=time_steps, batch_first=False)
    torch.testing.assert_close(distiller.run_teacher(frames, LABELS).logits, expected)
    distiller(frames, LABELS).loss.backward()
    assert distiller.chosen()["teacher"]["teacher_steps"] == "internal"
    again = kd(Repeating(mode), tiny_student(), time_steps=time_steps, batch_first=False)
    again.load_state_dict(distiller.state_dict())
    assert again.chosen() == distiller.chosen()


def test_a_spiking_teacher_that_takes_neither_frames_nor_images_says_so():
    teacher = nn.Sequential(tiny_student(), nn.Linear(7, 5))
    with pytest.raises(RuntimeError) as raised:
        kd(teacher, tiny_student(), time_steps=2)(IMAGES, LABELS)
    notes = "".join(raised.value.__notes__)
    assert "raised by the teacher in its module '1' (Linear), which got " in notes
    assert "on input (2, 4, 3, 8, 8). Linear is built for in_features=7 and got 5; teacher_input= " in notes


def test_a_spiking_teacher_has_no_class_map():
    with pytest.raises(ValueError, match="serves losses on its logits"):
        samd(tiny_student(), tiny_student(), time_steps=2)


# --- what a callable returns, and labels -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task_loss", "error", "message"),
    [
        (nn.CrossEntropyLoss(reduction="none"), ValueError, r"must give a scalar, got shape \(4,\)"),
        (lambda x, y: (F.cross_entropy(x, y), None), TypeError, "must give a scalar tensor .* got tuple"),
        (lambda x, y: F.cross_entropy(x, y).item(), TypeError, "got float"),
        (lambda x, y: (x.argmax(1) == y).sum(), TypeError, r"got torch.int64"),
    ],
)
def test_a_task_loss_gives_one_number(task_loss, error, message):
    with pytest.raises(error, match=message):
        Distiller(None, tiny_student(), {}, time_steps=2, task_loss=task_loss)(IMAGES, LABELS)


@pytest.mark.parametrize("rows", [[1.0, 1, 0, 0, 0], [0.0] * 5, [0.2] * 4 + [0.1]])
def test_soft_labels_that_are_no_distribution_are_refused(rows):
    labels = torch.eye(5)[LABELS]
    labels[1] = torch.tensor(rows)
    with pytest.raises(ValueError, match="must sum to 1 in every row"):
        CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2)(IMAGES, labels)
    several = F.binary_cross_entropy_with_logits
    CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2, task_loss=several)(IMAGES, labels)


@pytest.mark.parametrize("check", [True, False])
def test_images_that_the_task_loss_ignores(check):
    labels = LABELS.clone()
    labels[0] = -1
    teacher = tiny_teacher()
    losses = {"samd": (SAMDLoss(target_class="label"), 1.0)}
    options = {"time_steps": 2, "task_loss": nn.CrossEntropyLoss(ignore_index=-1), "check": check}
    out = Distiller(teacher, tiny_student(), losses, **options)(IMAGES, labels)
    torch.testing.assert_close(out.terms["task"], F.cross_entropy(out.logits[1:], labels[1:]).detach())
    first_choice = labels.clone()
    first_choice[0] = teacher(IMAGES).argmax(1)[0]
    known = Distiller(teacher, tiny_student(), losses, time_steps=2)(IMAGES, first_choice)
    assert out.maps["teacher"].equal(known.maps["teacher"]), "its class map is of the teacher's own choice"
    labels[1] = 7
    if check:
        with pytest.raises(ValueError, match=r"0\.\.4 or be -1, which the task loss ignores"):
            Distiller(teacher, tiny_student(), losses, **options)(IMAGES, labels)


def test_a_teacher_whose_features_alone_are_compared_may_have_other_classes_and_gives_no_label():
    labels, teacher = LABELS.clone(), tiny_teacher()
    labels[0] = -1
    teacher[-1] = nn.Linear(teacher[-1].in_features, 17)
    losses = {"at": (ATLoss(), 1.0), "tks": (TKSLoss(), 1.0)}
    task_loss = nn.CrossEntropyLoss(ignore_index=-1)
    distiller = Distiller(teacher, tiny_student(), losses, time_steps=2, task_loss=task_loss)
    for _ in range(3):  # from the second step on the teacher ends at the layer that is compared
        distiller(IMAGES, LABELS)
        with pytest.raises(ValueError, match="the loss 'tks' reads labels: where no loss uses a teacher's logits"):
            distiller(IMAGES, labels)


def test_losses_that_read_labels_refuse_images_without_one_where_no_teacher_says_another():
    labels = LABELS.clone()
    labels[0] = -1
    losses = {"tks": (TKSLoss(), 1.0), "prefix": (PrefixKDLoss(), 1.0)}
    options = {"time_steps": 2, "task_loss": nn.CrossEntropyLoss(ignore_index=-1)}
    distiller = Distiller(None, tiny_student(), losses, **options)
    with pytest.raises(ValueError, match="the label -1, which the task loss ignores, and the loss 'tks' reads labels"):
        distiller(IMAGES, labels)
    distiller(IMAGES, LABELS)
    Distiller(None, tiny_student(), {"prefix": (PrefixKDLoss(), 1.0)}, **options)(IMAGES, labels)


def test_a_batch_of_which_every_label_is_ignored():
    labels = torch.full_like(LABELS, -1)

    def step(reduction):
        options = {"time_steps": 2, "task_loss": nn.CrossEntropyLoss(ignore_index=-1, reduction=reduction)}
        return Distiller(tiny_teacher(), tiny_student(), {"kd": (KDLoss(), 1.0)}, **options)(IMAGES, labels)

    with pytest.raises(ValueError, match="every label of the batch is -1, the ignore_index of the task loss"):
        step("mean")
    assert step("sum").terms["task"] == 0


def test_a_label_out_of_range_points_to_ignore_index():
    with pytest.raises(ValueError, match="ignore_index"):
        kd(tiny_teacher(), tiny_student(), time_steps=2)(IMAGES, LABELS - 1)


# --- outputs that are no logits, teachers that do not repeat themselves ---------------------------------------------


@pytest.mark.parametrize("last", [nn.Softmax(1), nn.LogSoftmax(1)])
def test_preflight_notices_probabilities_of_the_teacher(last):
    found = preflight(kd(tiny_teacher().append(last), tiny_student(), time_steps=2), (IMAGES, LABELS))
    assert status(found, "logits") == ["warn"]
    assert "softmax" in found["logits"].message
    assert status(preflight(kd(tiny_teacher(), tiny_student(), time_steps=2), (IMAGES, LABELS)), "logits") == []


def test_preflight_notices_probabilities_of_the_student():
    student = tiny_student().append(nn.Softmax(2))
    found = preflight(kd(tiny_teacher(), student, time_steps=2), (IMAGES, LABELS))
    assert found["logits"].data["role"] == "student"


@pytest.mark.parametrize("last", [nn.Softmax, nn.LogSoftmax])
@pytest.mark.parametrize(("axis", "over"), [(0, "the time steps"), (1, "the images of the batch"), (2, "the classes")])
def test_preflight_names_the_axis_of_the_students_probabilities(last, axis, over):
    found = preflight(kd(tiny_teacher(), tiny_student().append(last(axis)), time_steps=2), (IMAGES, LABELS))
    assert (status(found, "logits"), found["logits"].data["role"]) == (["warn"], "student")
    assert f"probabilities over {over}" in found["logits"].message


class Heads(nn.Module):
    """Returns several tensors, the first of which is taken."""

    def __init__(self, net, *more):
        super().__init__()
        self.net, self.more = net, more

    def forward(self, images):
        return self.net(images), *self.more


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_preflight_says_that_the_first_of_several_heads_is_taken(role):
    of = {"teacher": (4, 5), "student": (2, 4, 5)}[role]
    nets = {"teacher": tiny_teacher(), "student": tiny_student()}
    for more, heads in (((torch.zeros(of), torch.zeros(of)), 3), ((None, torch.zeros(4, 7)), None)):
        found = preflight(kd(*(nets | {role: Heads(nets[role], *more)}).values(), time_steps=2), (IMAGES, LABELS))
        assert [check.data for check in found.checks if check.name == "heads"] == (
            [{"role": role, "heads": heads}] if heads else []
        )
        assert found.ok


class Restless(nn.Module):
    """Drops features in eval mode too."""

    def __init__(self):
        super().__init__()
        self.net = tiny_teacher()

    def forward(self, images):
        return F.dropout(self.net(images), 0.5)


def test_preflight_notices_a_teacher_that_does_not_repeat_itself():
    found = preflight(kd(Restless(), tiny_student(), time_steps=2), (IMAGES, LABELS))
    assert found["teacher repeats"].status == "fail"
    assert not found.ok


# --- strangers' teachers ---------------------------------------------------------------------------------------------


class Frozen(nn.Module):
    """Runs without gradients, as helpers for frozen networks do."""

    def __init__(self):
        super().__init__()
        self.net = tiny_teacher()

    @torch.no_grad()
    def forward(self, images):
        return self.net(images)


@pytest.mark.parametrize("options", [{}, {"layers": {"samd": (None, "net.5")}}])
def test_a_forward_without_gradients_is_named_where_a_class_map_is_wanted(options):
    with pytest.raises(ValueError, match="switches gradients off"):
        samd(Frozen(), tiny_student(), time_steps=2, **options)(IMAGES, LABELS)
    kd(Frozen(), tiny_student(), time_steps=2)(IMAGES, LABELS).loss.backward()


class Checkpointed(nn.Module):
    """A teacher whose block is still checkpointed from its own training."""

    def __init__(self, reentrant):
        super().__init__()
        self.net, self.reentrant = tiny_teacher(), reentrant

    def forward(self, images):
        stem = self.net[:3](images)
        return self.net[6:](checkpoint(self.net[3:6], stem, use_reentrant=self.reentrant))


def test_a_checkpointed_block_gives_the_map_of_the_plain_one():
    teacher = Checkpointed(False)
    plain = copy.deepcopy(teacher.net)
    student = tiny_student()
    expected = samd(plain, student, time_steps=2, layers={"samd": ("5", "4")})(IMAGES, LABELS)
    found = samd(teacher, copy.deepcopy(student), time_steps=2, layers={"samd": ("5", "net.4")})(IMAGES, LABELS)
    torch.testing.assert_close(found.maps["teacher"], expected.maps["teacher"])


def test_a_reentrant_checkpoint_says_its_reason():
    with pytest.raises((ValueError, RuntimeError), match="reentrant|did not run"):
        samd(Checkpointed(True), tiny_student(), time_steps=2, layers={"samd": ("5", "net.4")})(IMAGES, LABELS)


def test_a_compiled_teacher_says_so_where_layers_are_searched():
    teacher = torch.compile(tiny_teacher().eval(), backend="eager")
    with torch.no_grad():
        teacher(IMAGES)
    with pytest.raises(ValueError, match="compiled"):
        samd(teacher, tiny_student(), time_steps=2)(IMAGES, LABELS)


def test_a_teacher_made_in_inference_mode_is_served():
    with torch.inference_mode():
        teacher = tiny_teacher()
    CKDDistiller(teacher, tiny_student(), time_steps=2)(IMAGES, LABELS).loss.backward()


def test_a_scripted_teacher_is_served_for_its_logits():
    teacher = torch.jit.script(tiny_teacher().eval())
    kd(teacher, tiny_student(), time_steps=2)(IMAGES, LABELS).loss.backward()
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_an_exported_teacher_is_refused_with_its_reason():
    exported = torch.export.export(tiny_teacher(inplace=False).eval(), (IMAGES,)).module()
    with pytest.raises(ValueError, match=r"was exported \(torch.export\)"):
        kd(exported, tiny_student(), time_steps=2)


def test_a_quantised_teacher_is_served_for_its_logits_and_has_no_class_map():
    teacher = torch.ao.quantization.quantize_dynamic(tiny_teacher().eval(), {nn.Linear})
    kd(teacher, tiny_student(), time_steps=2)(IMAGES, LABELS).loss.backward()
    with pytest.raises(ValueError, match="quantised"):
        samd(teacher, tiny_student(), time_steps=2)(IMAGES, LABELS)


def test_two_threads_over_one_network_are_refused_with_the_reason():
    teacher, raised = tiny_teacher(), []

    def other():
        try:
            with record(teacher, ["5"]):
                pass
        except RuntimeError as error:
            raised.append(str(error))

    with record(teacher, ["5"]), record(teacher, ["2"]):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "another thread is recording" in raised[0]
    with record(teacher, ["5"]):
        pass


# --- strangers' students ---------------------------------------------------------------------------------------------


def frozen_trunk():
    student = tiny_student()
    for parameter in student[:6].parameters():
        parameter.requires_grad_(False)
    return student


def test_a_frozen_trunk_trains_and_preflight_says_what_does_not_act():
    distiller = CKDDistiller(tiny_teacher(), frozen_trunk(), time_steps=2, beta="auto")
    with pytest.warns(UserWarning, match="have no graph, so what is compared there trains nothing"):
        distiller(IMAGES, LABELS).loss.backward()
    found = [check for check in preflight(distiller, (IMAGES, LABELS)).checks if check.name == "gradient share"]
    assert all("has no graph" in check.message for check in found)


class CheckpointedStudent(nn.Module):
    """Runs its body again in backward, after the step has reset the states."""

    def __init__(self):
        super().__init__()
        self.net = tiny_student()

    def forward(self, frames):
        with set_checkpoint_early_stop(False):  # an early stop does not pass the TorchScript of 0.0.0.0.14's neurons
            return self.net[6:](checkpoint(self.net[:6], frames.clone().requires_grad_(), use_reentrant=False))


def test_a_checkpointed_student_can_be_copied_after_its_backward():
    distiller = kd(tiny_teacher(), CheckpointedStudent(), time_steps=2)
    distiller(IMAGES, LABELS).loss.backward()
    copy.deepcopy(distiller)(IMAGES, LABELS)


def note_of(distiller, *batch):
    with pytest.raises(Exception) as raised:  # noqa: PT011 - whatever the network raises; the note is what counts
        distiller(*batch)
    return f"{raised.value} {' '.join(getattr(raised.value, '__notes__', []))}"


def test_the_note_names_the_module_that_failed_and_what_it_got():
    student = tiny_student()
    student[3] = layer.Conv2d(7, 8, 3, padding=1, stride=2, step_mode="m")
    note = note_of(kd(tiny_teacher(), student, time_steps=2), IMAGES, LABELS)
    assert "in its module '3' (Conv2d), which got (2, 4, 6, 8, 8)" in note
    assert "time_steps=" not in note, "a channel mismatch has nothing to do with time"
    assert note.endswith(". Conv2d is built for in_channels=7 and got 6")


def test_the_note_on_a_teacher_of_other_channels_names_them_too():
    teacher = tiny_teacher()
    teacher[0] = nn.Conv2d(1, 6, 3, padding=1)
    note = note_of(kd(teacher, tiny_student(), time_steps=2), IMAGES, LABELS)
    assert "raised by the teacher in its module '0' (Conv2d), which got (4, 3, 8, 8), on input (4, 3, 8, 8)" in note
    assert "Conv2d is built for in_channels=1 and got 3; teacher_input= can" in note


def test_the_note_on_a_network_that_failed_in_its_own_forward_names_no_module():
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = tiny_student()

        def forward(self, x):
            return self.body(x) + torch.zeros(3)

    assert "raised by the student in its own forward" in note_of(
        kd(tiny_teacher(), Fails(), time_steps=2), IMAGES, LABELS
    )


def test_the_note_names_a_convolution_of_pytorch():
    student = tiny_student()
    student[0] = nn.Conv2d(3, 6, 3, padding=1)
    note = note_of(kd(tiny_teacher(), student, time_steps=2), IMAGES, LABELS)
    assert "PyTorch's own Conv2d takes no time axis" in note
    assert "student_steps='loop'" in note
    assert "student_steps='internal' where the network takes images and runs over time by itself" in note


def test_the_note_asks_for_time_steps_where_they_are_missing():
    note = note_of(kd(tiny_teacher(), tiny_student()), IMAGES, LABELS)
    assert "pass time_steps= for images" in note


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_the_note_names_images_of_another_type_than_the_network(dtype):
    note = note_of(kd(tiny_teacher().to(dtype), tiny_student(), time_steps=2), IMAGES.to(dtype), LABELS)
    assert f"It got {dtype}, and its parameters are torch.float32: convert the images or the network" in note


def test_the_note_of_another_failure_under_autocast_says_nothing_of_types():
    student = tiny_student()
    student[3] = layer.Conv2d(7, 8, 3, padding=1, stride=2, step_mode="m")
    with torch.autocast("cpu", torch.bfloat16):
        note = note_of(kd(tiny_teacher(), student, time_steps=2), IMAGES, LABELS)
    assert "in its module '3' (Conv2d)" in note
    assert "convert" not in note


def test_the_note_of_a_student_that_repeats_images_itself_names_the_argument():
    class Repeats(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = tiny_student()

        def forward(self, x):
            return self.body(x.unsqueeze(0).repeat(2, 1, 1, 1, 1))

    note = note_of(kd(tiny_teacher(), Repeats(), time_steps=2), IMAGES, LABELS)
    assert "A network that takes images and runs over time by itself needs student_steps='internal'" in note
    assert kd(tiny_teacher(), Repeats(), student_steps="internal")(IMAGES, LABELS).loss.isfinite()
    frames = note_of(kd(tiny_teacher(), Repeats()), IMAGES.repeat(2, 1, 1, 1, 1), LABELS)
    assert "student_steps='internal'" not in frames, "frames bring their time steps, so it takes none"


def test_training_with_a_module_that_both_networks_hold():
    shared = nn.Dropout(0.5)
    teacher, student = tiny_teacher().insert(6, shared), tiny_student().insert(0, shared)
    distiller = kd(teacher, student, time_steps=2).train()
    first, second = distiller.run_teacher(IMAGES, LABELS), distiller.run_teacher(IMAGES, LABELS)
    assert first.logits.equal(second.logits), "the teacher's dropout is off"
    assert student[0] is shared
    assert shared.training


class KeepsTime(nn.Module):
    """Takes images; its neurons are in multi-step mode, and get the time axis or not."""

    def __init__(self, steps, *, repeats):
        super().__init__()
        self.steps, self.repeats = steps, repeats
        self.conv, self.lif = nn.Conv2d(3, 4, 3, padding=1), neuron.LIFNode(step_mode="m")
        self.head = nn.Linear(4, 5)

    def forward(self, images):
        x = self.conv(images)
        if not self.repeats:
            return sum(self.head(self.lif(x).mean((2, 3))) for _ in range(self.steps)) / self.steps
        return self.head(self.lif(x.expand(self.steps, *x.shape)).mean((3, 4))).mean(0)


def own_time(student, **options):
    return kd(tiny_teacher(), student, student_steps="internal", **options)


def test_images_of_a_batch_are_not_taken_for_time_steps():
    with pytest.raises(ValueError, match="LIFNode .lif. is in multi-step mode and got .* images without a time axis"):
        own_time(KeepsTime(2, repeats=False))(torch.rand(6, 3, 8, 8), torch.arange(6) % 5)
    own_time(KeepsTime(2, repeats=True), time_steps=2)(torch.rand(6, 3, 8, 8), torch.arange(6) % 5)


def test_another_number_of_time_steps_than_the_student_has_is_said():
    with pytest.raises(ValueError, match="the student runs 4 time steps, and time_steps is 2"):
        own_time(KeepsTime(4, repeats=True), time_steps=2)(torch.rand(6, 3, 8, 8), torch.arange(6) % 5)


class RepeatsWhatItGets(nn.Module):
    """``x.repeat(T, ...)`` runs on images and on frames alike, so that frames have ``T * T`` time steps."""

    def __init__(self, steps):
        super().__init__()
        self.steps, self.body = steps, tiny_student()

    def forward(self, x):
        return self.body(x.repeat(self.steps, 1, 1, 1, 1)).mean(0)


@pytest.mark.parametrize("of", [kd, samd])
def test_a_student_that_repeats_frames_once_more_is_told_how_it_is_run(of):
    with pytest.raises(ValueError, match=r"images that were repeated 3 times already, .* run 9 time steps: pass stud"):
        of(tiny_teacher(), RepeatsWhatItGets(3), time_steps=3)(IMAGES, LABELS)
    assert of(tiny_teacher(), RepeatsWhatItGets(3), student_steps="internal", time_steps=3)(IMAGES, LABELS).loss > 0
