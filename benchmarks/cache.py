"""What an epoch from the teacher cache costs beside plain training and beside CKD with the live teacher.

    python benchmarks/cache.py -T 1 --rounds 7 --output benchmarks/results/cache.json

Synthetic images of CIFAR's size, held in memory, with crop and flip; spiking ResNet-20 learns from a ResNet-20 that is
made wider until its answer (logits and class map) costs at least the student's forward. Each arm trains with
``DistillationModule`` on Lightning's Trainer, two epochs a round, of which the second counts; a round runs all arms and
begins with another one. Works on CPU and CUDA (``--device cuda``).
"""

from __future__ import annotations

import argparse
import copy
import logging
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from timing import interleaved, quartiles, ratios, timed, wait
from torch import nn
from torch.utils.data import Dataset
from torchvision import transforms

from spikingjelly_ckd import CKDDistiller, Distiller, use_fast_neurons
from spikingjelly_ckd.recipes.cache import CachedData, TeacherCache
from spikingjelly_ckd.recipes.data import Data
from spikingjelly_ckd.recipes.data.loading import ReproducibleDataModule
from spikingjelly_ckd.recipes.models import ResNet, spiking_resnet20
from spikingjelly_ckd.recipes.records import environment, write_record
from spikingjelly_ckd.recipes.training import DistillationModule, StepSeeds

CLASSES = 100
FACTORS = (1, 2, 4, 8, 16)
ARMS = ("plain", "live", "cached")


class InMemory(Dataset[tuple[torch.Tensor, int]]):
    """Random images with crop and flip; ``transform`` is what a cache reads."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(count, 3, 32, 32, generator=generator)
        self.labels = torch.randint(0, CLASSES, (count,), generator=generator).tolist()
        self.transform = transforms.Compose([transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


class EpochClock(Callback):
    """Seconds of each training epoch, from its first batch being asked for to its last step being done."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        wait(self.device)
        self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        wait(self.device)
        self.seconds.append(time.perf_counter() - self.start)


def choose_teacher(student: nn.Module, batch: tuple[torch.Tensor, torch.Tensor], T: int, device: torch.device) -> Any:  # noqa: N803
    """The narrowest ResNet-20 whose answer costs at least the student's forward, and what both cost, seconds."""
    for factor in FACTORS:
        torch.manual_seed(1)
        teacher = ResNet((16 * factor, 32 * factor, 64 * factor), (3, 3, 3), CLASSES).to(device)
        distiller = CKDDistiller(teacher, student, time_steps=T, example=batch)
        plain = Distiller(None, student, {}, time_steps=T)
        optimizer = torch.optim.SGD(student.parameters(), 0.0)

        def step(plain: Distiller = plain, optimizer: Any = optimizer) -> None:
            optimizer.zero_grad()
            plain(*batch).loss.backward()
            optimizer.step()

        calls = {
            "student_forward": lambda d=plain: d(*batch),
            "student_step": step,
            "teacher_answer": lambda d=distiller: d.run_teacher(*batch),
        }
        found = {name: quartiles(values)[1] for name, values in interleaved(calls, 5, device).items()}
        print(f"teacher of {factor} x ResNet-20's width:", {k: round(v, 4) for k, v in found.items()}, flush=True)
        if found["teacher_answer"] >= found["student_forward"]:
            break
    return teacher, factor, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=5120)
    parser.add_argument("-b", type=int, default=64)
    parser.add_argument("-T", type=int, default=1)
    parser.add_argument("-j", type=int, default=0, help="loading processes")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    if args.device == "cpu":
        torch.set_num_threads(1)
    device = torch.device(args.device)
    train = InMemory(args.images)
    names = tuple(str(label) for label in range(CLASSES))
    data = Data("synthetic", train, train, names, 3, 32, None, None, False, f"first {args.images}", "0" * 64, True)
    torch.manual_seed(0)
    first = spiking_resnet20(CLASSES).to(device)
    use_fast_neurons(first)
    batch = train.images[: args.b].to(device), torch.tensor(train.labels[: args.b], device=device)
    teacher, factor, costs = choose_teacher(first, batch, args.T, device)

    with tempfile.TemporaryDirectory() as folder:

        def distil() -> Distiller:
            return CKDDistiller(teacher, copy.deepcopy(first), time_steps=args.T, example=batch)

        cache = TeacherCache(folder, distil(), data)
        filling = timed(lambda: cache.fill(batch_size=args.b, workers=args.j), device)
        seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}

        def epochs(arm: str) -> None:
            plain = Distiller(None, copy.deepcopy(first), {}, time_steps=args.T)
            distiller = plain if arm == "plain" else distil()
            loaders = ReproducibleDataModule(data, batch_size=args.b, workers=args.j)
            if arm == "cached":
                cache.distiller = distiller
                loaders = CachedData(cache, batch_size=args.b, workers=args.j)
            clock = EpochClock(device)
            trainer = Trainer(
                accelerator="gpu" if args.device == "cuda" else "cpu",
                devices=1,
                max_epochs=2,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                limit_val_batches=0,
                default_root_dir=folder,
                use_distributed_sampler=False,
                callbacks=[StepSeeds(0), clock],
            )
            trainer.fit(DistillationModule(distiller, preflight=False), datamodule=loaders)
            seconds[arm].append(clock.seconds[-1])

        interleaved({arm: partial(epochs, arm) for arm in ARMS}, args.rounds, device, warmup=0)
        size = cache.path(0).stat().st_size
    record = {
        "network": "spiking_resnet20", "teacher": f"ResNet-20, {factor} times as wide", "T": args.T, "batch": args.b,
        "images": args.images, "workers": args.j, "device": args.device, "costs_s": costs,
        "epoch_s": seconds, "quartiles_s": {arm: quartiles(values) for arm, values in seconds.items()},
        "ratio_to_plain": {arm: ratios(seconds[arm], seconds["plain"]) for arm in ARMS[1:]},
        "fill_view_s": filling, "view_bytes": size, "environment": environment(),
    }  # fmt: skip
    write_record(args.output, record)
    print(render(record))


def render(record: dict[str, Any]) -> str:
    """The record as a table."""
    lines = ["| training | epoch, s (quartiles) | of plain training (quartiles) |", "|---|---|---|"]
    for arm, title in (("plain", "plain"), ("live", "CKD, live teacher"), ("cached", "CKD, from the cache")):
        low, middle, high = record["quartiles_s"][arm]
        first, ratio, third = record["ratio_to_plain"].get(arm, (1, 1, 1))
        share = "1" if arm == "plain" else f"{ratio:.2f} ({first:.2f} to {third:.2f})"
        lines.append(f"| {title} | {middle:.2f} ({low:.2f} to {high:.2f}) | {share} |")
    costs, where = record["costs_s"], record["environment"]
    saved = record["quartiles_s"]["live"][1] - record["quartiles_s"]["cached"][1]
    pays = f"after {record['fill_view_s'] / saved:.1f} epochs a view" if saved > 0 else "never here"
    lines += [
        "",
        f"{record['network']}, T={record['T']}, batch {record['batch']}, {record['images']} synthetic images of 32x32, "
        f"{record['workers']} workers; teacher {record['teacher']}, whose answer costs "
        f"{costs['teacher_answer'] / costs['student_forward']:.2f} forwards or "
        f"{costs['teacher_answer'] / costs['student_step']:.2f} training steps of the student. Filling a view took "
        f"{record['fill_view_s']:.1f} s, {record['view_bytes'] / 1e6:.2f} MB, and is made up for {pays}. "
        f"{len(record['epoch_s']['plain'])} rounds on {where['device']}, {where['threads']} threads, PyTorch "
        f"{where['versions']['torch']}. Command: `{where['command']}`.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
