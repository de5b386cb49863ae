"""Two real gloo processes: gradients, automatic weights, and what DDP must not see."""

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from processes import on_processes
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from spikingjelly_ckd import CKDDistiller

pytestmark = pytest.mark.slow


def pair():
    torch.manual_seed(3)
    teacher, student = tiny_teacher(), tiny_student(norm=False)
    nn.init.constant_(student[0].bias, 1.5)
    nn.init.constant_(student[3].bias, 1.2)
    return teacher, student


def data():
    generator = torch.Generator().manual_seed(5)
    return torch.randn(8, 3, 8, 8, generator=generator), torch.randint(0, 5, (8,), generator=generator)


def train(distiller, images, labels):
    out = distiller(images, labels)
    out.loss.backward()
    return out


def worker(rank, port, options, results):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        teacher, student = pair()
        distiller = DistributedDataParallel(CKDDistiller(teacher, student, time_steps=3, **options))
        images, labels = data()
        half = slice(4 * rank, 4 * rank + 4)
        out = train(distiller, images[half], labels[half])
        results[rank] = (
            {name: p.grad.numpy() for name, p in student.named_parameters()},
            {name: float(weight) for name, weight in out.weights.items()},
            [p.grad is None for p in teacher.parameters()],
        )
    finally:
        distributed.destroy_process_group()


def run(**options):
    return on_processes(worker, 2, options)[0]


@pytest.mark.skipif(not distributed.is_available(), reason="torch without distributed")
def test_gradients_are_the_mean_of_the_half_batches():
    results = run(gamma=0.0)
    images, labels = data()
    halves = []
    for half in (slice(0, 4), slice(4, 8)):
        teacher, student = pair()
        train(CKDDistiller(teacher, student, time_steps=3, gamma=0.0), images[half], labels[half])
        halves.append({name: p.grad for name, p in student.named_parameters()})
    whole_teacher, whole_student = pair()
    train(CKDDistiller(whole_teacher, whole_student, time_steps=3, gamma=0.0), images, labels)
    whole = {name: p.grad for name, p in whole_student.named_parameters()}
    for name in halves[0]:
        mean = (halves[0][name] + halves[1][name]) / 2
        for rank in (0, 1):
            torch.testing.assert_close(torch.from_numpy(results[rank][0][name]), mean)
        torch.testing.assert_close(mean, whole[name])  # per-sample maps: the world size changes nothing
    assert all(results[0][2])


@pytest.mark.parametrize("beta", ["auto", "hold"])
def test_automatic_weights_agree_between_processes(beta):
    results = run(beta=beta, gamma=0.0)
    assert results[0][1] == results[1][1]
    images, labels = data()
    alone = []
    for half in (slice(0, 4), slice(4, 8)):
        teacher, student = pair()
        out = train(CKDDistiller(teacher, student, time_steps=3, beta=beta, gamma=0.0), images[half], labels[half])
        alone.append(float(out.weights["samd"]))
    assert results[0][1]["samd"] == pytest.approx((alone[0] * alone[1]) ** 0.5, rel=1e-4)
    assert alone[0] != pytest.approx(alone[1], rel=1e-3)
