"""What the chapters of benchmarks/speed.py share: pairs of networks, one call for each arm, and timing in turns."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timing import interleaved, quartiles, ratios
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spikingjelly_ckd import (
    CKDDistiller,
    Distiller,
    Method,
    TeacherOutput,
    accelerate,
    class_activation_map,
    record,
    use_fast_neurons,
)
from spikingjelly_ckd.acceleration import USUAL, Acceleration, Switch
from spikingjelly_ckd.networks.compat import is_neuron, reset
from spikingjelly_ckd.published import ckd
from spikingjelly_ckd.recipes.models import resnet19, resnet20, spikformer_4_384, spiking_resnet19, spiking_resnet20
from spikingjelly_ckd.step.pairing import Sides


def vit_tiny(num_classes: int) -> nn.Module:
    """ViT-Tiny of timm for 32 px: twelve blocks, a class token."""
    import timm

    return timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=4, num_classes=num_classes)


def resnet18(num_classes: int) -> nn.Module:
    import torchvision

    return torchvision.models.resnet18(num_classes=num_classes)


def sew_resnet18(num_classes: int) -> nn.Module:
    from spikingjelly.activation_based import functional, neuron, surrogate
    from spikingjelly.activation_based.model import sew_resnet

    net = sew_resnet.sew_resnet18(
        num_classes=num_classes,
        cnf="ADD",
        spiking_neuron=neuron.IFNode,
        surrogate_function=surrogate.ATan(),
        detach_reset=True,
    )
    functional.set_step_mode(net, "m")
    return net


@dataclass(frozen=True)
class Pair:
    """A teacher, a student and a batch."""

    teacher: Callable[[int], nn.Module]
    student: Callable[[int], nn.Module]
    time_steps: int
    batch: int
    size: int = 32
    classes: int = 10
    title: str = ""


PAIRS = {
    "r20_t1": Pair(resnet20, spiking_resnet20, 1, 64, title="ResNet-20, T=1"),
    "r20_t2": Pair(resnet20, spiking_resnet20, 2, 64, title="ResNet-20, T=2"),
    "r20_t4": Pair(resnet20, spiking_resnet20, 4, 64, title="ResNet-20, T=4"),
    "r19_t1": Pair(resnet19, spiking_resnet19, 1, 16, title="ResNet-19, T=1"),
    "r19_t4": Pair(resnet19, spiking_resnet19, 4, 16, title="ResNet-19, T=4"),
    "sew18": Pair(resnet18, sew_resnet18, 4, 16, size=64, title="SEW-ResNet-18, T=4, 64 px"),
    "spikformer": Pair(resnet19, spikformer_4_384, 1, 16, title="Spikformer-4-384, T=1"),
    "vit": Pair(vit_tiny, spiking_resnet20, 1, 64, title="ViT-Tiny teacher, ResNet-20, T=1"),
}


class Bench:
    """The networks of a pair, and one call for each arm; every arm has its own copy of the student."""

    def __init__(
        self,
        name: str,
        pair: Pair,
        device: torch.device,
        autocast: torch.dtype | None = None,
        switches: Sequence[Switch] = USUAL,
    ) -> None:
        torch.manual_seed(0)
        self.switches = switches
        self.name, self.pair, self.device, self.autocast = name, pair, device, autocast
        self.teacher = pair.teacher(pair.classes).to(device).eval().requires_grad_(False)
        self.student = pair.student(pair.classes).to(device)
        self.neurons = str(use_fast_neurons(self.student, enable=device.type == "cuda"))  # see ``neurons``
        self.images = torch.randn(pair.batch, 3, pair.size, pair.size, device=device)
        self.labels = torch.randint(0, pair.classes, (pair.batch,), device=device)
        self.example = torch.randn(4, 3, pair.size, pair.size, device=device)

    def forward(self) -> torch.autocast:
        """Around forward and loss; it is entered in each step, since casts of weights are kept until it is left."""
        return torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None)

    def teacher_alone(self, teacher: nn.Module | None = None) -> Callable[[], object]:
        return lambda: self.forward()(without_graph)(teacher or self.teacher, self.images)

    def plain(self, teacher: nn.Module | None = None, compiled: bool = False) -> Callable[[], object]:
        """Forward, cross-entropy, backward, optimiser; with a teacher's forward too it is the floor."""
        student, optimizer = self.own_student()
        call: Callable[[Tensor], Tensor] = compiled_alone(student) if compiled else student
        ask = compiled_alone(teacher) if compiled and teacher is not None else teacher

        def step() -> None:
            optimizer.zero_grad()
            reset(student)
            frames = self.images.unsqueeze(0).expand(self.pair.time_steps, *self.images.shape)
            with self.forward():
                logits = call(frames).mean(0)
                if ask is not None:
                    without_graph(ask, self.images)
                loss = cross_entropy(logits, self.labels)
            loss.backward()
            optimizer.step()

        return step

    def floor(self, compiled: bool = False) -> Callable[[], object]:
        return self.plain(self.teacher, compiled)

    def distiller(self, method: Method) -> Callable[[], object]:
        """A step of a distiller at the end of its schedule: the loop of a user."""
        student, _ = self.own_student()
        distiller = Distiller.from_method(
            method, self.teacher, student, time_steps=self.pair.time_steps, example=self.example
        )
        distiller.progress(1.0)
        return self.steps_of(distiller)

    def ckd(self, teacher: nn.Module | None = None, *, compiled: bool = False, **options: Any) -> Callable[[], object]:
        student, _ = self.own_student()
        teacher = teacher or self.teacher
        return self.steps_of(
            CKDDistiller(teacher, student, time_steps=self.pair.time_steps, example=self.example, **options), compiled
        )

    def accelerated(
        self, *, cached: bool = False, timed: bool = True, method: Method | None = None
    ) -> tuple[Callable[[], object], Acceleration]:
        """A step of CKD, or of a method, with every switch on that pays, or that agrees on a few images.

        ``cached`` runs no teacher.
        """
        student, _ = self.own_student()
        options: dict[str, Any] = {"time_steps": self.pair.time_steps, "example": self.example}
        distiller = Distiller.from_method(method or ckd(), self.teacher, student, **options)
        seen = distiller.run_teacher(self.images, self.labels) if cached else None
        if timed:
            found = accelerate(distiller, self.images, self.labels, switches=self.switches, teacher_output=seen)
        else:
            found = accelerate(distiller, self.images[:4], self.labels[:4], switches=self.switches, rounds=0)
        return self.steps_of(distiller, teacher_output=seen), found

    def steps_of(
        self, distiller: Distiller, compiled: bool = False, teacher_output: TeacherOutput | None = None
    ) -> Callable[[], object]:
        distiller.train()
        optimizer = torch.optim.SGD(distiller.parameters(), 1e-4, momentum=0.9)
        call = torch.compile(distiller, dynamic=False) if compiled else distiller

        def step() -> None:
            optimizer.zero_grad()
            with self.forward():
                loss = call(self.images, self.labels, teacher_output).loss
            loss.backward()
            optimizer.step()

        return step

    def released(self) -> Callable[[], object]:
        """As the authors' code: the teacher's parameters want gradients, so its forward has a graph, walked back."""
        student, optimizer = self.own_student()
        teacher = copy.deepcopy(self.teacher).requires_grad_()
        (spiking,), (last,) = self.last_layers()
        head = next(m for m in reversed(list(teacher.modules())) if isinstance(m, nn.Linear))
        samd, nld = (loss for loss, _ in ckd("released").losses.values())

        def step() -> None:
            optimizer.zero_grad()
            reset(student)
            frames = self.images.unsqueeze(0).expand(self.pair.time_steps, *self.images.shape)
            with self.forward():
                with record(student, [spiking.path]) as seen, record(teacher, [last.path]) as known:
                    logits = student(frames).mean(0)
                    wanted = teacher(self.images)
                cam = class_activation_map(known[last.path], head.weight.detach(), wanted.argmax(1))
                loss = cross_entropy(logits, self.labels) + samd(seen[spiking.path], cam) + nld(logits, wanted)
            loss.backward()
            optimizer.step()

        return step

    def last_layers(self) -> Sides:
        """The last stages of both networks."""
        probe = CKDDistiller(
            self.teacher, copy.deepcopy(self.student), time_steps=self.pair.time_steps, example=self.example
        )
        return probe.layers["samd"]

    def first_neuron(self) -> Callable[[], object]:
        """The first neuron of ResNet-20 alone, forward and backward."""
        node = copy.deepcopy(next(module for module in self.student.modules() if is_neuron(module)))
        shape = (self.pair.time_steps, self.pair.batch, 16, 32, 32)
        inputs = torch.randn(shape, device=self.device, dtype=self.autocast, requires_grad=True)

        def step() -> None:
            reset(node)
            with self.forward():
                spikes = node(inputs)
            torch.autograd.grad(spikes, inputs, spikes.detach())

        return step

    def own_student(self) -> tuple[nn.Module, torch.optim.Optimizer]:
        student = copy.deepcopy(self.student).train()
        return student, torch.optim.SGD(student.parameters(), 1e-4, momentum=0.9)


@torch.no_grad()
def without_graph(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return network(images)


def compiled_alone(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """As a function of its own: what is compiled for a network's ``forward`` is reused, without a look at hooks, for
    another network of its class, and the distiller's would then record nothing."""

    def call(images: Tensor) -> Tensor:
        return network(images)

    call.__code__ = call.__code__.replace()  # its own count of recompilations
    return torch.compile(call, dynamic=False)


def has_pooled_head(pair: Pair) -> bool:
    return pair.teacher is not vit_tiny


Row = dict[str, Any]


def compute(bench: Bench, arms: dict[str, Callable[[], object]], rounds: int, base: str = "floor") -> Row:
    """Quartiles of the seconds of each arm, and of its ratio to ``base`` within a round."""
    seconds = interleaved(arms, rounds, bench.device)
    return about(bench) | {
        "rounds": rounds,
        "seconds": {name: quartiles(values) for name, values in seconds.items()},
        "ratio": {name: ratios(values, seconds[base]) for name, values in seconds.items()},
        "raw": {name: [round(value, 6) for value in values] for name, values in seconds.items()},
    }


def about(bench: Bench) -> Row:
    names = ("title", "time_steps", "batch", "size", "classes")
    autocast = None if bench.autocast is None else str(bench.autocast).removeprefix("torch.")
    how = {"device": bench.device.type, "autocast": autocast, "neurons": bench.neurons}
    return {name: getattr(bench.pair, name) for name in names} | how
