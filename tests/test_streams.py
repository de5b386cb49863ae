"""The teacher's own stream: in order on the CPU, on both streams on a GPU."""

import pytest
import torch
from conftest import tiny_student, tiny_teacher

from spikingjelly_ckd import CKDDistiller, Distiller, FitNetsLoss, KDLoss
from spikingjelly_ckd.step import streams
from spikingjelly_ckd.step.streams import SideStream

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]


def ckd(teacher, student, **options):
    return CKDDistiller(teacher, student, gamma=0.0, **options)


def hints(teacher, student, **options):
    losses = {"hint": (FitNetsLoss(), 1.0), "kd": (KDLoss(), 1.0)}
    torch.manual_seed(0)
    return Distiller(teacher, student, losses, layers={"hint": ("2", "2")}, **options)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("build", [ckd, hints])
def test_a_stream_of_its_own_changes_no_number(build, device, batch):
    images, labels = (x.to(device) for x in batch)
    teacher, student = tiny_teacher().to(device), tiny_student().to(device)
    found = []
    for own in (False, True):
        distiller = build(teacher, student, time_steps=2, teacher_stream=own, example=(images, labels)).to(device)
        for _ in range(3):  # on a GPU, memory is given out again from the second step on
            student.zero_grad()
            out = distiller(images, labels)
            out.loss.backward()
        found.append([out.loss, *(p.grad.clone() for p in student.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


class Streams:
    """Stands in for ``torch.cuda`` and writes down what is asked of it, in order."""

    def __init__(self):
        self.log, self.current = [], Stream("main", self)

    def Stream(self, device=None):  # noqa: N802
        return Stream("side", self)

    def current_stream(self, device):
        return self.current

    def stream(self, stream):
        return Inside(stream, self)


class Stream:
    def __init__(self, name, streams):
        self.name, self.streams = name, streams

    def wait_stream(self, other):
        self.streams.log.append(f"{self.name} waits for {other.name}")


class Inside:
    def __init__(self, stream, streams):
        self.stream, self.streams = stream, streams

    def __enter__(self):
        self.before, self.streams.current = self.streams.current, self.stream

    def __exit__(self, *raised):
        self.streams.current = self.before


@pytest.fixture
def gpu(monkeypatch):
    fake = Streams()
    monkeypatch.setattr(torch, "get_device_module", lambda device: fake)
    streams._stream.cache_clear()
    yield fake
    streams._stream.cache_clear()


@pytest.mark.parametrize("raising", [False, True])
def test_the_side_begins_where_the_main_stream_was_and_the_main_stream_waits_for_it(gpu, raising):
    side = SideStream(torch.device("cuda", 0))
    try:
        with side:
            gpu.log.append(f"the teacher on {gpu.current.name}")
            if raising:
                raise KeyError
    except KeyError:
        pass
    gpu.log.append("the student")
    side.join([])
    assert gpu.log == ["side waits for main", "the teacher on side", "the student", "main waits for side"]
    assert gpu.current.name == "main"


def test_the_student_runs_on_the_main_stream_and_the_teacher_beside_it(gpu, monkeypatch, batch):
    teacher, student = tiny_teacher(), tiny_student()
    handed = []
    join = SideStream.join
    monkeypatch.setattr(SideStream, "join", lambda self, tensors: join(self, handed.extend(tensors) or []))
    distiller = CKDDistiller(teacher, student, time_steps=2, teacher_stream=True, example=batch)
    for name, net in (("student", student), ("teacher", teacher)):
        net.register_forward_pre_hook(lambda *_, name=name: gpu.log.append(f"{name} on {gpu.current.name}"))
    distiller(*batch)
    assert gpu.log == ["side waits for main", "teacher on side", "student on main", "main waits for side"]
    assert [tuple(x.shape) for x in handed] == [(4, 5), (4, 8, 4, 4), (4, 8, 4, 4)]  # logits, features, gradients
    gpu.log.clear()
    distiller.teacher_stream = False
    distiller(*batch)
    assert gpu.log == ["teacher on main", "student on main"]


def test_memory_is_kept_for_the_stream_that_reads(gpu):
    class OnGPU:
        device = torch.device("cuda", 0)

        def record_stream(self, stream):
            gpu.log.append(f"kept for {stream.name}")

    side = SideStream(torch.device("cuda", 0))
    with side:
        made = OnGPU()
    side.join([made])
    assert gpu.log[-2:] == ["main waits for side", "kept for main"]


def test_without_a_stream_everything_runs_in_order(gpu):
    with SideStream(None) as side:
        made = torch.ones(1)
    side.join([made])
    assert gpu.log == []


def test_a_device_without_streams_runs_in_order(monkeypatch):
    monkeypatch.setattr(torch, "get_device_module", lambda device: object())
    with SideStream(torch.device("mps")):
        made = torch.ones(1)
    assert made.item() == 1
