"""What a step of distillation costs beside its floor: a plain student step and one teacher forward without a graph.

    python benchmarks/speed.py steps                # the goals: CKD beside the floor, for each pair of networks
    python benchmarks/speed.py methods              # every method
    python benchmarks/speed.py neurons -b 16        # SpikingJelly's neurons and the fast ones
    python benchmarks/speed.py prepared             # teachers made cheaper by prepare_teacher
    python benchmarks/speed.py compiled             # the whole distiller under torch.compile
    python benchmarks/speed.py memory growth evaluation preflight imports epoch
    python benchmarks/speed.py steps compiled --device cuda --autocast bfloat16 --pairs r19_t1 r19_t4 -b 128

Each writes ``speed_<what>.json`` into ``--output`` (default benchmarks/results), a row for each pair, device and
autocast; rows that are not run again stay in the file. Arms are interleaved in one process, but for memory and imports,
where each has a fresh process. Works on the CPU and with ``--device cuda``. ``python benchmarks/render.py`` makes the
tables of docs/speed.md.

On Linux the process starts itself anew with an allocator that keeps its memory: with glibc's own limits, pages that
one arm gives back to the system fault in another, which falls on arms by chance.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from methods import ARMS as METHODS
from timing import interleaved, quartiles, ratios, wait
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spikingjelly_ckd import (
    CKDDistiller,
    Distiller,
    Method,
    class_activation_map,
    preflight,
    prepare_teacher,
    record,
    use_fast_neurons,
)
from spikingjelly_ckd.networks.compat import is_neuron, reset
from spikingjelly_ckd.networks.variants import fold_norms
from spikingjelly_ckd.published import ckd
from spikingjelly_ckd.recipes.methods import read_method
from spikingjelly_ckd.recipes.models import resnet19, resnet20, spikformer_4_384, spiking_resnet19, spiking_resnet20
from spikingjelly_ckd.recipes.report.records import environment, read_record, write_record

HERE = Path(__file__).parent
RESULTS = HERE / "results"


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

    def __init__(self, name: str, pair: Pair, device: torch.device, autocast: torch.dtype | None = None) -> None:
        torch.manual_seed(0)
        self.name, self.pair, self.device, self.autocast = name, pair, device, autocast
        self.teacher = pair.teacher(pair.classes).to(device).eval().requires_grad_(False)
        self.student = pair.student(pair.classes).to(device)
        self.neurons = str(use_fast_neurons(self.student, enable=device.type == "cuda"))  # see ``neurons``
        self.images = torch.randn(pair.batch, 3, pair.size, pair.size, device=device)
        self.labels = torch.randint(0, pair.classes, (pair.batch,), device=device)
        self._example = torch.randn(4, 3, pair.size, pair.size, device=device)

    def forward(self) -> torch.autocast:
        """Around forward and loss; it is entered in each step, since casts of weights are kept until it is left."""
        return torch.autocast(self.device.type, self.autocast, enabled=self.autocast is not None)

    def teacher_alone(self, teacher: nn.Module | None = None) -> Callable[[], object]:
        return lambda: self.forward()(without_graph)(teacher or self.teacher, self.images)

    def plain(self, teacher: nn.Module | None = None, compiled: bool = False) -> Callable[[], object]:
        """Forward, cross-entropy, backward, optimiser; with a teacher's forward too it is the floor."""
        student, optimizer = self._own_student()
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
        student, _ = self._own_student()
        distiller = Distiller.from_method(
            method, self.teacher, student, time_steps=self.pair.time_steps, example=self._example
        )
        distiller.progress(1.0)
        return self.steps_of(distiller)

    def ckd(self, teacher: nn.Module | None = None, *, compiled: bool = False, **options: Any) -> Callable[[], object]:
        student, _ = self._own_student()
        teacher = teacher or self.teacher
        return self.steps_of(
            CKDDistiller(teacher, student, time_steps=self.pair.time_steps, example=self._example, **options), compiled
        )

    def steps_of(self, distiller: Distiller, compiled: bool = False) -> Callable[[], object]:
        distiller.train()
        optimizer = torch.optim.SGD(distiller.parameters(), 1e-4, momentum=0.9)
        call = torch.compile(distiller, dynamic=False) if compiled else distiller

        def step() -> None:
            optimizer.zero_grad()
            with self.forward():
                loss = call(self.images, self.labels).loss
            loss.backward()
            optimizer.step()

        return step

    def released(self) -> Callable[[], object]:
        """As the authors' code: the teacher's parameters want gradients, so its forward has a graph, walked back."""
        student, optimizer = self._own_student()
        teacher = copy.deepcopy(self.teacher).requires_grad_()
        probe = CKDDistiller(
            self.teacher, copy.deepcopy(student), time_steps=self.pair.time_steps, example=self._example
        )
        (spiking,), (last,) = probe.layers["samd"]
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

    def _own_student(self) -> tuple[nn.Module, torch.optim.Optimizer]:
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


def steps(bench: Bench, rounds: int) -> Row:
    """Plain, teacher, floor, CKD with Grad-CAM and with the head's weights, and the authors' way."""
    arms = {"plain": bench.plain(), "teacher": bench.teacher_alone(), "floor": bench.floor(), "CKD": bench.ckd()}
    if has_pooled_head(bench.pair):
        weight = ckd(samd={"cam_method": "weight"})
        arms |= {"CKD, weight-CAM": bench.distiller(weight), "as released": bench.released()}
    if bench.device.type == "cuda":
        arms["CKD, teacher_stream"] = bench.ckd(teacher_stream=True)
    return compute(bench, arms, rounds)


def compiled(bench: Bench, rounds: int) -> Row:
    """CKD under ``torch.compile`` as a whole, beside the floor of two compiled networks."""
    arms = {"floor": bench.floor(), "CKD": bench.ckd()}
    arms |= {"floor, compiled": bench.floor(compiled=True), "CKD, compiled": bench.ckd(compiled=True)}
    return compute(bench, arms, rounds)


def methods(bench: Bench, rounds: int) -> Row:
    """Every arm of benchmarks/methods.py that trains the pair's own student."""
    arms = {"plain": bench.plain(), "teacher": bench.teacher_alone(), "floor": bench.floor()}
    for name, text in METHODS.items():
        if name != "plain" and "ReLU" not in name and not name.endswith(("(auto)", "(released)")):
            arms[name] = bench.distiller(read_method(text))
    row = compute(bench, arms, rounds)
    for name in arms:  # where no teacher runs, the floor is the plain step
        if name.endswith("(no teacher)"):
            row["ratio"][name] = ratios(row["raw"][name], row["raw"]["plain"])
    return row


def neurons(bench: Bench, rounds: int) -> Row:
    """SpikingJelly's own neurons and those of ``use_fast_neurons``: the first of the student alone, and whole steps."""
    arms: dict[str, Callable[[], object]] = {}
    for mark in ("", ", fast"):
        use_fast_neurons(bench.student, enable=bool(mark))
        arms |= {f"neuron{mark}": bench.first_neuron(), f"plain{mark}": bench.plain(), f"CKD{mark}": bench.ckd()}
    row = compute(bench, arms, rounds, base="plain")
    row["ratio"] = {arm: ratios(row["raw"][f"{arm}, fast"], row["raw"][arm]) for arm in ("neuron", "plain", "CKD")}
    return row


def prepared(bench: Bench, rounds: int) -> Row:
    """CKD with teachers from ``prepare_teacher``: what a step costs over the plain one, in eager teacher forwards."""
    settings: dict[str, dict[str, Any]] = {
        "fp32": {},
        "compiled": {"compile": True},
        "bf16": {"dtype": torch.bfloat16},
        "bf16, compiled": {"dtype": torch.bfloat16, "compile": True},
    }
    arms = {"plain": bench.plain(), "teacher": bench.teacher_alone(), "floor": bench.floor(), "CKD": bench.ckd()}
    done, notes = {}, {}
    folded = copy.deepcopy(bench.teacher)
    if fold_norms(folded):
        arms["teacher, BatchNorm folded"] = bench.teacher_alone(folded)
    for name, options in settings.items():
        teacher = prepare_teacher(bench.teacher, bench.images, **options)
        done[name], notes[name] = ", ".join(teacher.done) or "as it was", str(teacher)
        arms[f"teacher, {name}"] = bench.teacher_alone(teacher.network)
        arms[f"CKD, {name}"] = bench.ckd(teacher.network, teacher_layer=teacher.layer)
    row = compute(bench, arms, rounds)
    raw = row["raw"]
    row["over_plain"] = {}
    for name in ("floor", *(name for name in arms if name.startswith("CKD"))):
        rounds_of = zip(raw[name], raw["plain"], raw["teacher"], strict=True)
        row["over_plain"][name] = quartiles([(step - plain) / forward for step, plain, forward in rounds_of])
    row["forward"] = {name: ratios(raw[name], raw["teacher"]) for name in arms if name.startswith("teacher, ")}
    return row | {"done": done, "notes": notes}


def evaluation(bench: Bench, rounds: int) -> Row:
    """Logits of a batch through the wrapper, and by the student alone."""
    student = copy.deepcopy(bench.student).eval()
    distiller = CKDDistiller(bench.teacher, student, time_steps=bench.pair.time_steps).eval()

    @torch.no_grad()
    def bare() -> Tensor:
        reset(student)
        with bench.forward():
            return student(bench.images.unsqueeze(0).expand(bench.pair.time_steps, *bench.images.shape)).mean(0)

    @torch.no_grad()
    def through() -> Tensor:
        with bench.forward():
            return distiller.predict(bench.images)

    arms: dict[str, Callable[[], object]] = {"student": bare, "through the distiller": through}
    return compute(bench, arms, rounds, "student")


def of_preflight(bench: Bench, rounds: int) -> Row:
    """The preflight of one batch beside a plain step."""
    distiller = CKDDistiller(
        bench.teacher, copy.deepcopy(bench.student), time_steps=bench.pair.time_steps, example=bench.images[:4]
    )
    look = bench.forward()(lambda: preflight(distiller, (bench.images, bench.labels)))
    arms = {"plain": bench.plain(), "preflight": look}
    return compute(bench, arms, rounds, "plain")


def memory(bench: Bench, rounds: int) -> Row:
    """Peak memory of a fresh process for each arm: in all, and what the steps add to the networks."""
    found = {}
    arms = ("floor", "CKD", "as released") if has_pooled_head(bench.pair) else ("floor", "CKD")
    env = {name: value for name, value in os.environ.items() if name not in ALLOCATOR}
    for arm in arms:
        pair = (bench.name, bench.pair.batch, bench.pair.time_steps)
        code = f"import speed; speed.peak(*{pair}, {arm!r}, {str(bench.device)!r}, {torch.get_num_threads()})"
        runs = [
            json.loads(subprocess.check_output([sys.executable, "-c", code], cwd=HERE, env=env, text=True))
            for _ in range(rounds)
        ]
        found[arm] = {key: quartiles([run[key] for run in runs]) for key in ("peak_mib", "step_mib")}
    return about(bench) | {"rounds": rounds, "memory": found}


def peak(name: str, batch: int, time_steps: int, arm: str, device: str, threads: int) -> None:
    """Print the memory of one arm in this process, in MiB."""
    torch.set_num_threads(threads)
    bench = Bench(name, replace(PAIRS[name], batch=batch, time_steps=time_steps), torch.device(device))
    make: dict[str, Callable[[], Callable[[], object]]] = {
        "floor": bench.floor,
        "CKD": bench.ckd,
        "as released": bench.released,
    }
    step = make[arm]()
    cuda = bench.device.type == "cuda"

    def used() -> float:
        if cuda:
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    if cuda:
        torch.cuda.reset_peak_memory_stats()
    before = used()
    for _ in range(3):
        step()
    wait(bench.device)
    print(json.dumps({"peak_mib": used(), "step_mib": used() - before}))


def growth(bench: Bench, rounds: int) -> Row:
    """CKD and floor at both ends of T, batch and classes: does what CKD adds grow faster than the floor?"""
    ends: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "T": ({"time_steps": 1}, {"time_steps": 8}),
        "batch": ({"batch": 16}, {"batch": 256}),
        "classes": ({"classes": 10}, {"classes": 1000}),
    }
    found = {}
    for axis, changes in ends.items():
        rows = []
        for change in changes:
            one = Bench(bench.name, replace(bench.pair, **change), bench.device, bench.autocast)
            rows.append(
                compute(one, {"floor": one.floor(), "CKD": one.ckd()}, rounds) | {"value": next(iter(change.values()))}
            )
        found[axis] = rows
    return about(bench) | {"rounds": rounds, "axes": found}


def imports(bench: Bench, rounds: int) -> Row:
    """Seconds that importing the package adds to torch and SpikingJelly's core, each in a fresh process."""
    code = (
        "import time, torch; from spikingjelly.activation_based import base, functional, layer, neuron; "
        "start = time.perf_counter(); import spikingjelly_ckd; print(time.perf_counter() - start)"
    )
    found = [float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(rounds)]
    return {"rounds": rounds, "seconds": quartiles(found)}


def epoch(bench: Bench, rounds: int) -> Row:
    """An epoch of CKD through Lightning, and by a plain loop with the same schedule that counts right answers too."""
    from lightning.pytorch import Callback, Trainer
    from torch.utils.data import DataLoader, TensorDataset

    from spikingjelly_ckd.recipes.training import DistillationModule, cosine_with_warmup, topk_accuracy

    pair, batches = bench.pair, 16
    images = torch.randn(batches * pair.batch, 3, pair.size, pair.size)
    data = TensorDataset(images, torch.randint(0, pair.classes, (len(images),)))
    times: dict[str, list[float]] = {"plain loop": [], "Lightning": []}

    def distiller() -> CKDDistiller:
        student = copy.deepcopy(bench.student)
        return CKDDistiller(
            bench.teacher, student, time_steps=pair.time_steps, example=images[:4].to(bench.device)
        ).train()

    def loop() -> None:
        module = distiller()
        optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, cosine_with_warmup(2, batches))
        for _ in range(2):
            start, sums = time.perf_counter(), torch.zeros(3, device=bench.device)
            for inputs, labels in DataLoader(data, pair.batch, shuffle=True):
                out = module(inputs.to(bench.device), labels.to(bench.device))
                optimizer.zero_grad()
                out.loss.backward()
                optimizer.step()
                schedule.step()
                right = [topk_accuracy(out.logits.detach(), labels.to(bench.device), top) for top in (1, 5)]
                sums += torch.stack([out.loss.detach(), *right])
            sums.tolist()
            seconds = time.perf_counter() - start
        times["plain loop"].append(seconds)

    class Clock(Callback):
        def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
            self.start = time.perf_counter()

        def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
            self.seconds = time.perf_counter() - self.start

    def lightning() -> None:
        clock = Clock()
        trainer = Trainer(
            accelerator="gpu" if bench.device.type == "cuda" else "cpu",
            devices=1,
            max_epochs=2,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[clock],
            log_every_n_steps=1,
        )
        trainer.fit(DistillationModule(distiller(), preflight=False), DataLoader(data, pair.batch, shuffle=True))
        times["Lightning"].append(clock.seconds)

    for number in range(rounds):
        for one in (loop, lightning) if number % 2 else (lightning, loop):
            one()
    return about(bench) | {
        "rounds": rounds,
        "seconds": {name: quartiles(values) for name, values in times.items()},
        "ratio": {name: ratios(values, times["plain loop"]) for name, values in times.items()},
    }


WHATS: dict[str, tuple[Callable[[Bench, int], Row], tuple[str, ...], int]] = {
    "steps": (steps, ("r20_t1", "r20_t4", "r19_t1", "sew18", "spikformer", "vit"), 15),
    "methods": (methods, ("r20_t2",), 15),
    "neurons": (neurons, ("r20_t1", "r20_t4"), 15),
    "prepared": (prepared, ("r20_t1", "vit"), 15),
    "compiled": (compiled, ("r20_t1", "r20_t4"), 15),
    "memory": (memory, ("r20_t1", "r20_t4", "sew18", "vit"), 3),
    "growth": (growth, ("r20_t1",), 15),
    "evaluation": (evaluation, ("r20_t1", "r20_t4"), 31),
    "preflight": (of_preflight, ("r20_t1", "r20_t4"), 7),
    "imports": (imports, ("r20_t1",), 15),
    "epoch": (epoch, ("r20_t1",), 7),
}
"""What is measured -> how, of which pairs, over how many rounds."""
ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": str(2**33), "MALLOC_MMAP_THRESHOLD_": str(2**32)}


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def device(text: str) -> torch.device:
    """One that is here, or it says why it is not."""
    try:
        return torch.zeros(1, device=text).device
    except (RuntimeError, AssertionError, ImportError) as error:
        raise argparse.ArgumentTypeError(str(error).splitlines()[0]) from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=WHATS, nargs="+")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, help="default: those of each measurement")
    parser.add_argument("-b", "--batch", type=count, help="in place of the pair's")
    parser.add_argument("-T", type=count, help="in place of the pair's")
    parser.add_argument("--rounds", type=count, help="default: those of each measurement")
    parser.add_argument("--threads", type=count, default=torch.get_num_threads())
    parser.add_argument("--device", type=device, default="cpu")
    parser.add_argument("--autocast", choices=("bfloat16", "float16"), help="run every arm under it")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    if sys.platform == "linux" and args.what != ["memory"] and not ALLOCATOR.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})
    if args.autocast and {"memory", "epoch", "imports"} & set(args.what):
        parser.error("--autocast: not for memory, epoch and imports")
    if "methods" in args.what and any(
        (args.T or PAIRS[name].time_steps) < 2 for name in args.pairs or WHATS["methods"][1]
    ):
        parser.error("methods: some of them compare time steps; pass -T 2, or pairs with T of at least 2")
    if args.output.exists() and not args.output.is_dir():
        parser.error(f"--output: {args.output} is no folder")
    torch.set_num_threads(args.threads)
    for what in args.what:
        call, names, rounds = WHATS[what]
        path = args.output / f"speed_{what}.json"
        rows = read_record(path)["pairs"] if path.exists() else {}
        for name in args.pairs or names:
            pair = PAIRS[name]
            pair = replace(pair, batch=args.batch or pair.batch, time_steps=args.T or pair.time_steps)
            autocast = None if args.autocast is None else getattr(torch, args.autocast)
            bench = Bench(name, pair, args.device, autocast)
            start = time.perf_counter()
            row = call(bench, args.rounds or rounds) | {"environment": environment()}
            marks = ("" if bench.device.type == "cpu" else bench.device.type, args.autocast)
            rows["_".join([name, *filter(None, marks)])] = row
            write_record(path, {"what": what, "pairs": rows})
            found = {arm: round(ratio[1], 3) for arm, ratio in row.get("ratio", {}).items()}
            print(f"{what} {name}: {time.perf_counter() - start:.0f} s {found or ''}", flush=True)


if __name__ == "__main__":
    main()
