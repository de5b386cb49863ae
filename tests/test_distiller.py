"""The distiller on real networks: what a step gives, what it leaves alone, and the facts of the data path."""

import copy
import io
import pickle

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn
from torch.nn import functional as F

from spikingjelly_ckd import (
    ATLoss,
    CATKDLoss,
    CKDDistiller,
    DistillationLoss,
    Distiller,
    E2KDLoss,
    KDLoss,
    KDSNNLoss,
    Layer,
    SAMDLoss,
    TDKDLoss,
    find_layer,
    preflight,
    published,
)
from spikingjelly_ckd.methods.signals import TeacherOutput
from spikingjelly_ckd.networks.compat import is_neuron
from spikingjelly_ckd.step.batch import read_batch


def gradients(module):
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def membranes(net):
    return [m.v for m in net.modules() if is_neuron(m) and isinstance(getattr(m, "v", None), torch.Tensor)]


def hooks_left(*nets):
    return sum(len(m._forward_hooks) for net in nets for m in net.modules())


# --- what a step gives -----------------------------------------------------------------------------------------------


def test_a_step_of_ckd(teacher, student, batch):
    out = CKDDistiller(teacher, student, time_steps=4)(*batch)
    assert list(out.terms) == ["task", "samd", "nld"]
    assert out.logits.shape == (4, 5)
    assert {side: tuple(m.shape) for side, m in out.maps.items()} == {"student": (4, 4, 4), "teacher": (4, 4, 4)}
    assert all(not m.requires_grad and m.min() >= 0 and m.max() <= 1 for m in out.maps.values())
    assert not any(term.requires_grad for term in out.terms.values())
    torch.testing.assert_close(out.loss, sum(out.terms.values()))
    out.loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in (student[0].weight, student[8].weight))


def test_weights_and_task_weight_enter_the_loss(teacher, student, batch):
    losses = {"kd": (KDLoss(), 0.9), "samd": (SAMDLoss(), 3)}
    out = Distiller(teacher, student, losses, task_weight=0.1, time_steps=2)(*batch)
    expected = 0.1 * out.terms["task"] + 0.9 * out.terms["kd"] + 3 * out.terms["samd"]
    torch.testing.assert_close(out.loss, expected)
    assert out.weights == {"task": 0.1, "kd": 0.9, "samd": 3}


def test_variants_differ_as_their_formulas_do(teacher, student, batch, frozen_noise):
    samd = {}
    for variant in ("paper", "released"):
        distiller = CKDDistiller(teacher, student, time_steps=2, variant=variant, generator=frozen_noise())
        samd[variant] = distiller(*batch).terms["samd"]
    assert samd["paper"] > 2 * samd["released"] > 0


def test_no_losses_is_plain_training_bitwise(teacher, student, batch):
    plain = copy.deepcopy(student)
    images, labels = batch
    F.cross_entropy(plain(images.expand(3, *images.shape)).mean(0), labels).backward()
    Distiller(teacher, student, {}, time_steps=3)(images, labels).loss.backward()
    for name, gradient in gradients(plain).items():
        assert torch.equal(gradient, gradients(student)[name]), name


def test_no_loss_that_looks_at_it_means_that_no_teacher_runs_or_is_needed(teacher, student, batch):
    ran = []
    teacher.register_forward_hook(lambda *_: ran.append(1))
    with_teacher = Distiller(teacher, student, {}, time_steps=2)(*batch)
    without = Distiller(None, student, {}, time_steps=2)
    assert not ran
    assert torch.equal(without(*batch).loss, with_teacher.loss)
    assert copy.deepcopy(without.to("cpu")).predict(batch[0]).shape == with_teacher.logits.shape
    with pytest.raises(RuntimeError, match="teacher=None"):
        _ = without.teacher
    with pytest.raises(ValueError, match="'samd' .SAMDLoss. compares with a teacher, got teacher=None"):
        CKDDistiller(None, student, time_steps=2)
    with pytest.raises(ValueError, match="nothing to look at"):
        preflight(without, batch)


def test_reset_before_backward_gives_the_same_gradients_bitwise(teacher, student, batch):
    twin = copy.deepcopy(student)
    images, labels = batch
    CKDDistiller(teacher, student, time_steps=3, gamma=0.0)(images, labels).loss.backward()
    assert membranes(student) == []
    distiller = CKDDistiller(teacher, twin, time_steps=3, gamma=0.0)
    # The same step with nothing reset until after backward.
    functional.reset_net(twin)
    from spikingjelly_ckd import grad_cam, record

    with record(twin, ["5"]) as seen:
        logits = twin(images.expand(3, *images.shape)).mean(0)
    with record(teacher, ["5"], as_leaf=True) as teacher_seen:
        score = teacher(images).amax(1).sum()
    cam = grad_cam(teacher_seen["5"].detach(), torch.autograd.grad(score, teacher_seen["5"])[0])
    assert membranes(twin)
    (torch.stack([F.cross_entropy(logits, labels), SAMDLoss()(seen["5"], cam)]).sum()).backward()
    functional.reset_net(twin)
    del distiller
    for name, gradient in gradients(twin).items():
        assert torch.equal(gradient, gradients(student)[name]), name


def test_the_teacher_map_is_of_the_class_asked_for(teacher, student, batch):
    images, labels = batch
    own = CKDDistiller(teacher, student, time_steps=2)(images, labels).maps["teacher"]
    with torch.no_grad():
        first_choice = teacher(images).argmax(1)
    by_label = CKDDistiller(teacher, student, time_steps=2, target_class="label")
    torch.testing.assert_close(by_label(images, first_choice).maps["teacher"], own)
    other = (first_choice + 1) % 5
    assert not torch.allclose(by_label(images, other).maps["teacher"], own)


def test_soft_labels(teacher, student, batch):
    images, labels = batch
    hard = Distiller(teacher, student, {}, time_steps=2)(images, labels).loss
    soft = Distiller(teacher, student, {}, time_steps=2)(images, F.one_hot(labels, 5).float()).loss
    torch.testing.assert_close(hard, soft)
    mixed = CKDDistiller(teacher, student, time_steps=2, target_class="label")
    assert mixed(images, torch.rand(4, 5).softmax(1)).loss.isfinite()


def test_event_frames_and_batch_first(teacher, student, events):
    frames, labels = events
    by_time = Distiller(teacher, student, {"kd": (KDLoss(), 1.0)})(frames, labels)
    by_batch = Distiller(teacher, student, {"kd": (KDLoss(), 1.0)}, batch_first=True)(frames.transpose(0, 1), labels)
    assert torch.equal(by_time.loss, by_batch.loss)
    with torch.no_grad():
        teacher_logits = teacher(frames.mean(0))
    assert by_time.terms["kd"] == KDLoss()(by_time.logits, teacher_logits)


def test_images_are_repeated_without_a_copy(batch):
    images = batch[0]
    frames = read_batch(images, None, time_steps=6, batch_first=False).over_time()
    assert frames.shape == (6, *images.shape)
    assert frames.untyped_storage().data_ptr() == images.untyped_storage().data_ptr()


def test_teacher_input_prepares_what_the_teacher_sees(student, batch):
    images, labels = batch
    gray = tiny_teacher(channels=1)
    distiller = CKDDistiller(
        gray, student, time_steps=2, teacher_input=lambda x: F.interpolate(x, size=16).mean(1, True)
    )
    out = distiller(images, labels)
    assert out.maps["teacher"].shape == (4, 4, 4)  # 8x8 pooled to the student's 4x4
    two_channels = tiny_student(channels=2)
    frames = torch.rand(3, 4, 2, 8, 8)
    to_rgb = lambda f: torch.cat([f.mean(0), f.mean(0)[:, :1]], 1)  # noqa: E731
    assert CKDDistiller(tiny_teacher(), two_channels, teacher_input=to_rgb)(frames, labels).loss.isfinite()


class Averages(nn.Module):
    """A student that averages over time by itself."""

    def __init__(self, wrap):
        super().__init__()
        self.net, self.wrap = tiny_student(), wrap

    def forward(self, x):
        return self.wrap(self.net(x).mean(0))


@pytest.mark.parametrize("wrap", [lambda z: z, lambda z: (z, None), lambda z: [z, z]])
def test_students_that_return_a_mean_or_a_tuple(teacher, batch, wrap):
    student = Averages(wrap)
    out = CKDDistiller(teacher, student, time_steps=3)(*batch)
    assert out.logits.shape == (4, 5)
    assert out.loss.isfinite()


def test_a_network_that_repeats_by_itself(teacher, batch):
    class Repeats(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = tiny_student()

        def forward(self, x):
            return self.net(x.expand(4, *x.shape)).mean(0)

    student = Repeats()
    out = CKDDistiller(teacher, student, time_steps=None)(*batch)
    assert out.maps["student"].shape == (4, 4, 4)


def test_a_single_step_network_in_a_loop_equals_multi_step(teacher, batch):
    multi, single = tiny_student(norm=False), tiny_student(norm=False, step_mode="s")
    for net in (multi, single):
        nn.init.constant_(net[0].bias, 1.0)
        nn.init.constant_(net[3].bias, 0.6)
    single.load_state_dict(multi.state_dict())
    a = CKDDistiller(teacher, multi, time_steps=4, gamma=0)(*batch)
    b = CKDDistiller(teacher, single, time_steps=4, gamma=0, student_steps="loop")(*batch)
    torch.testing.assert_close(a.loss, b.loss)
    torch.testing.assert_close(a.maps["student"], b.maps["student"])
    a.loss.backward(), b.loss.backward()
    for name, gradient in gradients(multi).items():
        torch.testing.assert_close(gradient, gradients(single)[name])


def test_neurons_in_a_multi_step_container(teacher, batch):
    student = nn.Sequential(
        layer.MultiStepContainer(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), neuron.IFNode()),
        layer.SeqToANNContainer(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)),
    )
    out = CKDDistiller(teacher, student, time_steps=3)(*batch)
    assert out.maps["student"].shape == (4, 4, 4)


def test_internal_steps_leave_time_to_the_network(teacher, batch):
    class Internal(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = tiny_student(step_mode="s")

        def forward(self, x):
            return torch.stack([self.net(x) for _ in range(3)]).mean(0)

    out = CKDDistiller(teacher, Internal(), student_steps="internal")(*batch)
    assert out.maps["student"].shape == (4, 4, 4)


def test_layers_by_path_and_by_layer_object(teacher, student, batch):
    found = CKDDistiller(teacher, student, time_steps=2)
    with pytest.raises(RuntimeError, match="pass example="):
        _ = found.layers
    found(*batch)
    (student_layer,), (teacher_layer,) = found.layers["samd"]
    assert (student_layer.path, student_layer.layout) == ("5", "TNCHW")
    assert (teacher_layer.path, teacher_layer.layout) == ("5", "NCHW")
    explicit = CKDDistiller(teacher, student, time_steps=2, student_layer="2", teacher_layer=Layer("2"))
    assert explicit(*batch).maps["student"].shape == (4, 8, 8)


def test_a_per_step_task_loss(teacher, student, batch):
    class TET(DistillationLoss):
        needs = ("per_step_logits", "labels")

        def select(self, signals):
            return signals.student_per_step_logits, signals.labels

        def forward(self, steps, labels):
            return torch.stack([F.cross_entropy(z, labels) for z in steps]).mean()

    out = Distiller(teacher, student, {}, task_loss=TET(), time_steps=3)(*batch)
    images, labels = batch
    steps = student(images.expand(3, *images.shape))
    functional.reset_net(student)
    torch.testing.assert_close(
        out.loss, functional.temporal_efficient_training_cross_entropy(steps, labels)
        if hasattr(functional, "temporal_efficient_training_cross_entropy")
        else torch.stack([F.cross_entropy(z, labels) for z in steps]).mean(),
    )  # fmt: skip


def test_a_callable_task_loss(teacher, student, batch):
    smooth = lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1)  # noqa: E731
    out = Distiller(teacher, student, {}, task_loss=smooth, time_steps=2)(*batch)
    torch.testing.assert_close(out.loss, smooth(out.logits, batch[1]))


class Adapted(DistillationLoss):
    """A feature loss with a 1x1 convolution that depends on the layers' channels."""

    needs = ("features",)

    def __init__(self):
        super().__init__()
        self.projector = None

    @property
    def needs_build(self):
        return self.projector is None

    def build(self, student_shapes, teacher_shapes):
        self.projector = nn.Conv2d(student_shapes[0][2], teacher_shapes[0][1], 1)

    def select(self, signals):
        return signals.student_features[0], signals.teacher_features[0]

    def forward(self, student, teacher):
        return F.mse_loss(self.projector(student.mean(0)), teacher)


def test_losses_with_parameters_are_built_from_the_example(teacher, student, batch):
    with pytest.raises(ValueError, match="pass example="):
        Distiller(teacher, student, {"hint": (Adapted(), 1.0)}, time_steps=2)
    distiller = Distiller(teacher, student, {"hint": (Adapted(), 1.0)}, time_steps=2, example=batch)
    assert "losses.hint.projector.weight" in distiller.state_dict()
    distiller(*batch).loss.backward()
    assert distiller.losses["hint"].projector.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["bkdsnn", "fitnets", "branch", "vkd", "ofa", "sastc"])
def test_losses_with_parameters_serve_networks_of_any_floating_type(name, dtype, teacher, student, batch):
    images, labels = batch
    method = published.by_name(name)()
    converted = Distiller.from_method(method, teacher, student, time_steps=2, example=batch).to(dtype)
    nets = tiny_teacher().to(dtype), tiny_student().to(dtype)
    made = Distiller.from_method(method, *nets, time_steps=2, example=(images.to(dtype), labels))
    for distiller in (converted, made):
        distiller(images.to(dtype), labels).loss.backward()
        assert distiller.student[0].weight.dtype == dtype
        own = [parameter for loss in distiller.losses.values() for parameter in loss.parameters()]
        assert {parameter.dtype for parameter in own} <= {torch.promote_types(dtype, torch.float32)}
        assert all(parameter.grad.isfinite().all() for parameter in own if parameter.grad is not None)
    converted.float()(images, labels).loss.backward()


def test_the_example_leaves_both_networks_as_they_were(teacher, student, batch):
    teacher.eval()
    student.train()
    before = copy.deepcopy((teacher.state_dict(), student.state_dict()))
    modes = [m.training for m in student.modules()]
    noise = torch.get_rng_state()
    distiller = CKDDistiller(teacher, student, time_steps=2, example=batch[0])
    assert distiller.layers["samd"][0][0].path == "5"
    assert torch.equal(noise, torch.get_rng_state())
    assert modes == [m.training for m in student.modules()]
    assert membranes(student) == []
    for old, net in zip(before, (teacher, student), strict=True):
        assert all(torch.equal(value, old[key]) for key, value in net.state_dict().items())


# --- what it leaves alone --------------------------------------------------------------------------------------------


def test_training_touches_the_student_alone(teacher, student, batch):
    before = copy.deepcopy(teacher.state_dict())
    start = copy.deepcopy(student.state_dict())
    distiller = CKDDistiller(teacher, student, time_steps=2)
    distiller.train()
    optimizer = torch.optim.SGD(distiller.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        distiller(*batch).loss.backward()
        optimizer.step()
    for key, value in teacher.state_dict().items():
        assert value.numpy().tobytes() == before[key].numpy().tobytes(), key
    assert all(p.grad is None for p in teacher.parameters())
    assert not torch.equal(start["0.weight"], student.state_dict()["0.weight"])
    assert hooks_left(teacher, student) == 0


def test_a_step_touches_no_gradient(teacher, student, batch):
    CKDDistiller(teacher, student, time_steps=2)(*batch)
    assert gradients(student) == {}


def test_parameters_and_state_dict_are_the_students(teacher, student):
    distiller = CKDDistiller(teacher, student, time_steps=2)
    assert {id(p) for p in distiller.parameters()} == {id(p) for p in student.parameters()}
    of_student = {f"student.{key}" for key in student.state_dict()}
    assert set(distiller.state_dict()) == of_student | {"observers._extra_state"}
    assert not any(m is teacher for m in distiller.modules())


def test_train_keeps_the_teacher_in_eval_and_to_moves_it(teacher, student, batch):
    distiller = CKDDistiller(teacher, student, time_steps=2).train()
    assert student.training
    assert not any(m.training for m in teacher.modules())
    distiller.double()
    assert teacher[0].weight.dtype == student[0].weight.dtype == torch.float64
    assert distiller(batch[0].double(), batch[1]).loss.dtype == torch.float64


def test_deepcopy_shares_the_teacher_and_works_after_a_step(teacher, student, batch):
    distiller = CKDDistiller(teacher, student, time_steps=2)
    distiller(*batch)
    twin = copy.deepcopy(distiller)
    assert twin.teacher is teacher
    assert twin.student is not student
    assert torch.equal(twin.predict(batch[0]), distiller.predict(batch[0]))


def test_without_the_final_reset_deepcopy_of_a_student_fails(student, batch):
    student(batch[0].expand(2, *batch[0].shape))
    with pytest.raises(RuntimeError):
        copy.deepcopy(student)


def test_pickle_and_state_round_trip(teacher, student, batch):
    distiller = CKDDistiller(teacher, student, time_steps=2, beta="auto")
    distiller(*batch)
    again = pickle.loads(pickle.dumps(distiller))
    assert torch.equal(again.predict(batch[0]), distiller.predict(batch[0]))
    file = io.BytesIO()
    torch.save(distiller.state_dict(), file)
    file.seek(0)
    fresh = CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2, beta="auto")
    fresh.load_state_dict(torch.load(file, weights_only=True))
    distiller.eval(), fresh.eval()
    assert torch.equal(fresh.predict(batch[0]), distiller.predict(batch[0]))


def test_predict_is_the_student_alone(teacher, student, batch):
    distiller = CKDDistiller(teacher, student, time_steps=3).eval()
    images = batch[0]
    with torch.no_grad():
        expected = student(images.expand(3, *images.shape)).mean(0)
        functional.reset_net(student)
        assert torch.equal(distiller.predict(images), expected)
        assert torch.equal(distiller.predict(images), expected)
    assert membranes(student) == []


def test_state_is_cleared_after_an_exception(teacher, student, batch):
    distiller = CKDDistiller(teacher, student, time_steps=2)
    with pytest.raises(ValueError, match="labels"):
        distiller(batch[0], batch[1] + 100)
    assert membranes(student) == []
    copy.deepcopy(student)


def test_no_module_of_ours_answers_to_reset_or_detach():
    """SpikingJelly's reset_net and detach_net call these on any module that has them."""
    distiller = CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2, beta="auto")
    for module in distiller.modules():
        if type(module).__module__.startswith("spikingjelly_ckd"):
            assert not hasattr(module, "reset")
            assert not hasattr(module, "detach")


def test_a_neuron_added_after_construction_of_the_student_is_reset(teacher, batch):
    student = tiny_student()
    functional.reset_net(student)  # 2.x caches its list here
    student[5] = nn.Sequential(student[5], neuron.IFNode(step_mode="m"))
    CKDDistiller(teacher, student, time_steps=2)(*batch)
    assert membranes(student) == []


# --- modes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_step_without_gradients_still_has_its_maps(teacher, student, batch, mode):
    distiller = CKDDistiller(teacher, student, time_steps=2, gamma=0)
    expected = distiller(*batch)
    with mode():
        images, labels = batch[0].clone(), batch[1].clone()
        out = distiller(images, labels)
    assert not out.loss.requires_grad
    torch.testing.assert_close(out.loss, expected.loss.detach())
    torch.testing.assert_close(out.maps["teacher"], expected.maps["teacher"])


def test_bf16_autocast_stays_close_and_maps_are_fp32(teacher, student, batch):
    distiller = CKDDistiller(teacher, student, time_steps=2, gamma=0)
    exact = distiller(*batch)
    with torch.autocast("cpu", torch.bfloat16):
        out = distiller(*batch)
    assert out.maps["student"].dtype == out.maps["teacher"].dtype == out.terms["samd"].dtype == torch.float32
    assert out.loss.item() == pytest.approx(exact.loss.item(), rel=0.1)
    assert out.terms["samd"].item() == pytest.approx(exact.terms["samd"].item(), rel=0.1)
    out.loss.backward()
    assert all(g.isfinite().all() for g in gradients(student).values())


@pytest.mark.slow
def test_compiling_the_whole_distiller_works(teacher, student, batch, frozen_noise):
    expected = CKDDistiller(teacher, student, time_steps=2, gamma=0)(*batch).loss
    compiled = torch.compile(CKDDistiller(teacher, student, time_steps=2, gamma=0), backend="eager")
    for _ in range(2):
        out = compiled(*batch)
        torch.testing.assert_close(out.loss, expected)
    out.loss.backward()
    assert student[0].weight.grad.abs().sum() > 0


@pytest.mark.slow
def test_compiled_steps_have_the_gradients_of_eager_ones_and_compile_once(teacher, student, batch):
    eager = CKDDistiller(teacher, student, time_steps=2, gamma=0, example=batch)
    eager(*batch).loss.backward()
    expected = gradients(student)
    torch._dynamo.reset()
    compiled = torch.compile(eager, backend="aot_eager", dynamic=False)
    counters = torch._dynamo.utils.counters["stats"]
    graphs = []
    for _ in range(3):
        student.zero_grad()
        compiled(*batch).loss.backward()
        graphs.append(counters["unique_graphs"])
        for name, gradient in gradients(student).items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)
    assert graphs[0] > 0
    assert graphs[0] == graphs[1] == graphs[2], "every step compiles anew"


@pytest.mark.slow
def test_two_compiled_distillers_in_one_process_clear_their_own_students(batch):
    torch._dynamo.reset()
    for _ in range(3):
        student = tiny_student()
        distiller = CKDDistiller(tiny_teacher(), student, time_steps=2, gamma=0, example=batch)
        distiller.compile(backend="eager", dynamic=False)
        for _ in range(2):
            distiller(*batch).loss.backward()
            assert [module.v for module in student.modules() if hasattr(module, "v")] == [0.0, 0.0]


@pytest.mark.slow
def test_a_copy_of_a_compiled_distiller_runs_its_own_student(teacher, student, batch):
    distiller = CKDDistiller(teacher, student, time_steps=2, gamma=0, example=batch)
    distiller.compile(backend="eager", dynamic=False)
    distiller(*batch)
    twin = copy.deepcopy(distiller)
    assert twin.teacher is teacher
    twin(*batch).loss.backward()
    assert gradients(twin.student).keys() == dict(student.named_parameters()).keys()
    assert not gradients(student)
    again = pickle.loads(pickle.dumps(distiller))
    torch.testing.assert_close(again(*batch).loss, distiller(*batch).loss)


def test_layers_are_found_in_a_student_made_under_inference_mode():
    with torch.inference_mode():
        frames = torch.rand(2, 4, 3, 8, 8)
        assert find_layer(tiny_student(), frames).path


@pytest.mark.parametrize("call", ["forward", "run_teacher"])
def test_the_first_call_may_be_under_inference_mode(teacher, student, batch, call):
    distiller = CKDDistiller(teacher, student, time_steps=2)
    with torch.inference_mode():
        images = batch[0].clone()
        getattr(distiller, call)(images, batch[1])
    distiller(*batch).loss.backward()
    assert student[0].weight.grad.isfinite().all()


def test_batches_of_changing_size(teacher, student):
    distiller = CKDDistiller(teacher, student, time_steps=2)
    for size, side in ((4, 8), (3, 8), (2, 16)):
        out = distiller(torch.randn(size, 3, side, side), torch.arange(size))
        assert out.maps["student"].shape == (size, side // 2, side // 2)


def test_a_constant_teacher_map_is_skipped_and_counted(student, batch):
    teacher = tiny_teacher()
    images = batch[0].clone()
    images[2] = 0  # without padding effects a blank image would be flat; here the bias-free net makes it so
    teacher[0].padding_mode = teacher[3].padding_mode = "replicate"
    for conv in (teacher[0], teacher[3]):
        conv._reversed_padding_repeated_twice = [1, 1, 1, 1]
    out = CKDDistiller(teacher, student, time_steps=2)(images, batch[1])
    assert out.skipped >= 1
    assert out.loss.isfinite()


def test_the_check_can_be_left_out(teacher, student, batch):
    out = CKDDistiller(teacher, student, time_steps=2, check=False)(batch[0], batch[1])
    assert isinstance(out.skipped, torch.Tensor)
    assert out.skipped == 0


def test_plain_sequential_of_layers_and_neurons_without_a_norm(teacher, batch):
    student = nn.Sequential(
        layer.Conv2d(3, 4, 3), neuron.IFNode(), layer.MaxPool2d(2), layer.Flatten(), layer.Linear(36, 5)
    )
    functional.set_step_mode(student, "m")
    nn.init.constant_(student[0].bias, 0.5)
    out = CKDDistiller(teacher, student, time_steps=4)(*batch)
    assert out.loss.isfinite()


CACHEABLE = {
    "CKD": lambda: {"samd": (SAMDLoss(), 1.0), "kd": (KDLoss(), 1.0)},
    "weight": lambda: {"samd": (SAMDLoss(cam_method="weight"), 1.0)},
    "hires": lambda: {"samd": (SAMDLoss(cam_method="hires_cam", target_class="label"), 1.0)},
    "e2KD": lambda: {"maps": (E2KDLoss(), 1.0), "samd": (SAMDLoss(student_map="grad_cam"), 1.0)},
    "per step": lambda: {"tdkd": (TDKDLoss(), 1.0)},
}


@pytest.mark.parametrize("losses", CACHEABLE.values(), ids=CACHEABLE)
def test_what_the_teacher_said_before_takes_its_place(losses, teacher, student, batch):
    distiller = Distiller(teacher, student, losses(), time_steps=2)
    live = distiller(*batch)
    known = distiller.run_teacher(*batch)
    assert not known.logits.requires_grad
    handle = teacher.register_forward_pre_hook(lambda *_: pytest.fail("the teacher ran"))
    again = distiller(*batch, known)
    handle.remove()
    assert torch.equal(again.loss, live.loss)
    slopes = [torch.autograd.grad(out.loss, list(student.parameters())) for out in (live, again)]
    assert all(torch.equal(one, other) for one, other in zip(*slopes, strict=True))
    for side, value in live.maps.items():
        assert torch.equal(again.maps[side], value)


@pytest.mark.parametrize("loss", [ATLoss, KDSNNLoss, CATKDLoss])
def test_losses_that_compare_features_cannot_do_with_what_was_said(loss, teacher, student, batch):
    distiller = Distiller(teacher, student, {"loss": (loss(), 1.0)}, time_steps=2, example=batch)
    known = TeacherOutput(torch.zeros(4, 5), {})
    for call in (lambda: distiller.run_teacher(*batch), lambda: distiller(*batch, known)):
        with pytest.raises(ValueError, match=r"'loss' .* compares the teacher's features"):
            call()


@pytest.mark.parametrize(
    ("known", "error", "message"),
    [
        (torch.zeros(4, 5), TypeError, "must be a TeacherOutput .* got Tensor"),
        (TeacherOutput(torch.zeros(3, 5), {"samd": torch.rand(4, 4, 4)}), ValueError, r"with N=4, got \(3, 5\)"),
        (TeacherOutput(torch.zeros(4, 5)), ValueError, "none of \\['samd'\\]"),
        (TeacherOutput(torch.zeros(4, 5), {"samd": torch.zeros(4, 2)}), ValueError, r"must be \[N, h, w\]"),
        (TeacherOutput([1.0], {"samd": torch.rand(4, 4, 4)}), TypeError, "logits must be a floating tensor, got list"),
        (TeacherOutput(torch.zeros(4, 5), {"samd": torch.ones(4, 4, 4).long()}), TypeError, "floating .*int64"),
        (TeacherOutput(torch.zeros(4, 5, device="meta"), {"samd": torch.rand(4, 4, 4)}), ValueError, "is on meta"),
        (TeacherOutput(torch.full((4, 5), torch.nan), {"samd": torch.rand(4, 4, 4)}), ValueError, "NaN"),
    ],
)
def test_what_the_teacher_said_has_to_fit(known, error, message, teacher, student, batch):
    distiller = CKDDistiller(teacher, student, time_steps=2)
    with pytest.raises(error, match=message):
        distiller(*batch, known)


def test_a_class_map_by_weights_needs_a_pooled_head_also_when_asked_alone(student, batch):
    teacher = tiny_teacher()
    teacher.insert(8, nn.Sigmoid())
    distiller = Distiller(teacher, student, {"samd": (SAMDLoss(cam_method="weight"), 1.0)}, time_steps=2)
    with pytest.raises(ValueError, match="the teacher's logits are not its last linear layer"):
        distiller.run_teacher(*batch)


def test_what_the_teacher_said_is_detached_and_in_fp32(teacher, student, batch):
    distiller = CKDDistiller(teacher, student, time_steps=2, gamma=0.0)
    known = distiller.run_teacher(*batch)
    logits = known.logits.clone().requires_grad_()
    maps = {"samd": known.class_maps["samd"].half()}
    out = distiller(*batch, TeacherOutput(logits, maps))
    out.loss.backward()
    assert logits.grad is None
    assert out.maps["teacher"].dtype is torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.tensor([0, 1, 2, 99])}, "labels must lie in 0..4"),
        ({"labels": torch.rand(4, 9)}, "soft labels must be"),
        ({"images": torch.full((4, 3, 8, 8), torch.nan)}, "images hold NaN"),
    ],
)
def test_the_teacher_is_not_asked_of_what_a_step_refuses(change, message, teacher, student, batch):
    distiller = CKDDistiller(teacher, student, time_steps=2, target_class="label", teacher_layer="5")
    images, labels = batch
    with pytest.raises(ValueError, match=message):
        distiller.run_teacher(**{"images": images, "labels": labels, **change})


def test_a_teacher_that_nobody_looks_at_is_not_asked(student, batch):
    with pytest.raises(ValueError, match="no loss uses the teacher"):
        Distiller(None, student, {}, time_steps=2).run_teacher(*batch)


def test_a_loss_of_ones_own_with_a_class_map_is_replayed(teacher, student, batch):
    class Activity(DistillationLoss):
        needs = ("features",)

        def select(self, signals):
            return signals.student_features[0].mean((0, 2)), self.class_map(signals)

        def class_map(self, signals):
            return signals.class_map if signals.class_map is not None else signals.teacher_features[0].mean(1)

        def forward(self, student, teacher):
            return (student - teacher).square().mean()

    distiller = Distiller(teacher, student, {"own": (Activity(), 1.0)}, time_steps=2, layers={"own": ("5", "5")})
    expected = distiller(*batch).loss
    assert torch.equal(distiller(*batch, distiller.run_teacher(*batch)).loss, expected)


def test_a_layer_may_be_given_as_a_module(teacher, student, batch):
    by_path = CKDDistiller(teacher, student, time_steps=2, gamma=0.0, teacher_layer="5", student_layer="5")
    by_module = CKDDistiller(
        teacher, student, time_steps=2, gamma=0.0, teacher_layer=teacher[5], student_layer=student[5]
    )
    assert by_module(*batch).loss.equal(by_path(*batch).loss)
    assert by_module.layers == by_path.layers


def test_a_module_of_another_network_is_no_layer(teacher, student):
    with pytest.raises(ValueError, match="not a module of this Sequential"):
        CKDDistiller(teacher, student, teacher_layer=tiny_teacher()[5])


def test_a_loss_that_reads_what_it_does_not_need_is_named(teacher, student, batch):
    class Forgetful(DistillationLoss):
        needs = ()

        def select(self, signals):
            return signals.student_logits, signals.teacher_logits

        def forward(self, student, teacher):
            return (student - teacher).square().mean()

    message = r"Forgetful.select gives None for 'teacher' of forward.*needs is \(\); add .*'logits' for teacher_logits"
    with pytest.raises(ValueError, match=message):
        Distiller(teacher, student, {"own": (Forgetful(), 1.0)}, time_steps=2)(*batch)
