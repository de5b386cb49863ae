"""What stands around a step: evaluation, preflight, memory, imports, and an epoch through Lightning."""

from __future__ import annotations

import copy
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from speed_bench import PAIRS, Bench, Row, about, compute, has_pooled_head
from timing import quartiles, ratios, wait
from torch import Tensor

from spikingjelly_ckd import CKDDistiller, preflight
from spikingjelly_ckd.networks.compat import reset

HERE = Path(__file__).parent
ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": str(2**33), "MALLOC_MMAP_THRESHOLD_": str(2**32)}


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
    arms = ("floor", "CKD", "everything on", *(["as released"] if has_pooled_head(bench.pair) else []))
    env = {name: value for name, value in os.environ.items() if name not in ALLOCATOR}
    for arm in arms:
        pair = (bench.name, bench.pair.batch, bench.pair.time_steps)
        how = (arm, str(bench.device), torch.get_num_threads())
        code = f"from speed_around import peak; peak(*{pair}, *{how})"
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
        "everything on": lambda: bench.accelerated(timed=False)[0],
        "as released": bench.released,
    }
    step = make[arm]()
    cuda = bench.device.type == "cuda"

    def used() -> float:
        if cuda:
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    def held() -> float:
        """At this moment, and not at its peak so far, which the imports may have set."""
        if cuda:
            return torch.cuda.memory_allocated() / 2**20
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20

    if cuda:
        torch.cuda.reset_peak_memory_stats()
    before = held()
    for _ in range(3):
        step()
    wait(bench.device)
    print(json.dumps({"peak_mib": used(), "step_mib": used() - before}))


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
