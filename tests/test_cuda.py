"""On a GPU: the same numbers as on the CPU, every method, each precision, rows and comparisons. Skipped without one."""

import copy
import json

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from method_runs import make_ground, row, teacher_of

from spikingjelly_ckd import CKDDistiller, Distiller, preflight, prepare_teacher, published
from spikingjelly_ckd.methods.stochastic import StochasticLoss
from spikingjelly_ckd.networks.compat import neuron_path, reset, use_fast_neurons
from spikingjelly_ckd.recipes.compare import command
from spikingjelly_ckd.recipes.models import resnet8, spiking_resnet8
from spikingjelly_ckd.recipes.report.energy import measure_energy

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(autouse=True)
def _whole_float32():
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return make_ground(tmp_path_factory.mktemp("ground"), per_class_train=4)


def gradients(distiller, images, labels):
    distiller.student.zero_grad()
    out = distiller(images, labels)
    out.loss.backward()
    # copies: moving a module moves the gradients of its parameters in place
    return out, [p.grad.to("cpu", copy=True) for p in distiller.student.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", published.METHODS)
def test_a_method_has_the_numbers_of_the_cpu(name, batch):
    method = published.METHODS[name]()
    torch.manual_seed(0)
    distiller = Distiller.from_method(
        method, tiny_teacher(), tiny_student(), time_steps=method.student.time_steps, example=batch
    ).train()
    distiller.progress(1.0)
    expected, expected_gradients = gradients(distiller, *batch)
    found, found_gradients = gradients(distiller.cuda(), *(x.cuda() for x in batch))
    assert found.loss.device.type == "cuda"
    torch.testing.assert_close(found.logits.cpu(), expected.logits, rtol=1e-4, atol=1e-5)
    if any(isinstance(loss, StochasticLoss) for loss, _ in method.losses.values()):
        assert torch.isfinite(found.loss), "its noise is the device's own"
        return
    torch.testing.assert_close(found.loss.cpu(), expected.loss, rtol=1e-3, atol=1e-4)
    largest = max(float(gradient.abs().max()) for gradient in expected_gradients)
    for one, other in zip(found_gradients, expected_gradients, strict=True):  # that of a bias before BatchNorm is zero
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3 * float(other.abs().max()) + 1e-4 * largest)


@pytest.mark.parametrize("steps", [1, 4])
def test_spikes_are_those_of_the_cpu(steps):
    torch.manual_seed(0)
    student = spiking_resnet8(10).eval()
    frames = torch.randn(steps, 4, 3, 16, 16)
    with torch.no_grad():
        expected = student(frames)
        reset(student)
        student.cuda()
        print(use_fast_neurons(student))
        found = student(frames.cuda()).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert neuron_path(student).device.startswith("cuda")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_steps_learn(dtype):
    torch.manual_seed(0)
    images, labels = torch.randn(8, 3, 16, 16, device="cuda"), torch.arange(8, device="cuda") % 4
    distiller = CKDDistiller(resnet8(4).cuda(), spiking_resnet8(4).cuda(), time_steps=2, example=images).train()
    optimizer = torch.optim.SGD(distiller.parameters(), 0.05, momentum=0.9)
    scaler = torch.amp.GradScaler("cuda", enabled=dtype is torch.float16)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        with torch.autocast("cuda", dtype):
            out = distiller(images, labels)
        scaler.scale(out.loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(float(out.terms["task"]))
    assert losses[-1] < 0.7 * losses[0]


def test_a_compiled_step_has_the_numbers_of_the_eager_one(batch):
    images, labels = (x.cuda() for x in batch)
    distiller = CKDDistiller(
        tiny_teacher().cuda(), tiny_student().cuda(), time_steps=2, example=(images, labels), gamma=0.0
    )
    expected, expected_gradients = gradients(distiller, images, labels)
    compiled = torch.compile(distiller, dynamic=False)
    distiller.student.zero_grad()
    out = compiled(images, labels)
    out.loss.backward()
    torch.testing.assert_close(out.loss, expected.loss, rtol=1e-3, atol=1e-4)
    found = [p.grad.cpu() for p in distiller.student.parameters() if p.grad is not None]
    for one, other in zip(found, expected_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)


def test_a_prepared_teacher_agrees(batch):
    images = batch[0].cuda()
    network = tiny_teacher().cuda().eval()
    prepared = prepare_teacher(network, images, dtype=torch.bfloat16)
    with torch.no_grad():
        torch.testing.assert_close(prepared.network(images).float(), network(images), rtol=0.05, atol=0.05)


def test_preflight_changes_nothing(batch):
    images, labels = (x.cuda() for x in batch)
    distiller = CKDDistiller(tiny_teacher().cuda(), tiny_student().cuda(), time_steps=2, example=(images, labels))
    before = copy.deepcopy(distiller.state_dict())
    drawn = torch.cuda.get_rng_state()
    preflight(distiller, (images, labels))
    assert torch.equal(drawn, torch.cuda.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in distiller.state_dict().items())


def test_energy_is_that_of_the_cpu():
    torch.manual_seed(0)
    student, frames = spiking_resnet8(10).eval(), torch.randn(2, 2, 3, 16, 16)
    expected = measure_energy(student, [frames], batch_axis=1)
    found = measure_energy(student.cuda(), [frames.cuda()], batch_axis=1)
    assert found.compute_mj == pytest.approx(expected.compute_mj, rel=1e-3)


@pytest.mark.parametrize("amp", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_row_trains(ground, tmp_path, amp):
    flags = ("--method", "ckd", "--device", "cuda", "--amp", amp, *teacher_of(ground))
    record = row(ground, tmp_path / "one", "--epochs", "2", *flags)
    assert record["environment"]["device"] == torch.cuda.get_device_name()
    assert all(value is None or value == value for value in record["history"][-1].values())
    assert (tmp_path / "one" / "student.safetensors").is_file()


def test_a_comparison_trains_on_the_gpu(ground, tmp_path):
    place = ("--data", "cifar10", "--data-path", ground / "data", "--allow-partial", "--output-dir", tmp_path)
    nets = ("--student", "tiny_nets:optional_student", "--teacher", ground / "teacher.safetensors", "--any-teacher")
    quick = ("--size", "16", "-T", "2", "-b", "8", "--epochs", "2", "--val-images", "10", "--device", "cuda")
    methods = ("--methods", "ckd", "kd", "--seeds", "0", "1", "--jobs", "2", "--teacher-build", "tiny_nets:teacher")
    assert command.main([str(part) for part in (*place, *nets, *quick, *methods)]) == 0
    records = [json.loads(path.read_text()) for path in (tmp_path / "records").glob("*.json")]
    assert len(records) == 8
    assert all(record["environment"]["device"] == torch.cuda.get_device_name() for record in records)


def test_networks_on_two_devices_are_refused(batch):
    distiller = CKDDistiller(tiny_teacher(), tiny_student().cuda(), time_steps=2)
    with pytest.raises((RuntimeError, ValueError), match="cuda|device"):
        distiller(*(x.cuda() for x in batch))


def test_memory_is_given_back(batch):
    images, labels = (x.cuda() for x in batch)
    distiller = CKDDistiller(tiny_teacher().cuda(), tiny_student().cuda(), time_steps=2, example=(images, labels))
    sizes = []
    for _ in range(30):
        distiller.student.zero_grad(set_to_none=True)
        distiller(images, labels).loss.backward()
        sizes.append(torch.cuda.memory_allocated())
    assert len(set(sizes[5:])) == 1
