"""One protocol for every comparison: networks, data, schedule and seeds. An arm is a method under it.

An arm of a seed starts from the same student weights, sees the same batches in the same order with the same
augmentation, and asks the same teacher as every other arm of that seed, so differences are paired. Each run leaves one
record; one that is there is not run again.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from spikingjelly_ckd import Distiller, Method
from spikingjelly_ckd.recipes.data import DataOptions, cifar10
from spikingjelly_ckd.recipes.data.digits import EventCamera, digit_events
from spikingjelly_ckd.recipes.export import file_hash, load_network, save_network
from spikingjelly_ckd.recipes.models import ResNet, SpikingResNet, resnet20, spiking_resnet20
from spikingjelly_ckd.recipes.report.records import environment, read_record, summary, write_record
from spikingjelly_ckd.step.auto_weight import AutoWeight

Part = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Setup:
    """A data set with its networks and schedule.

    Attributes:
        load: reads ``(train, test)``, each ``(images, labels)``, and says which split it is: name and hash.
        teacher: builds the ANN.
        student: builds the spiking network.
        time_steps: ``T`` for images; None for event frames.
        augment: ``(images, generator) -> images``.
        optimizer: of the parameters of networks and projectors.
        batch: images in a batch.
        epochs: of the students.
        teacher_epochs: of the teacher.
    """

    load: Callable[[Path | None], tuple[Part, Part, str, str]]
    teacher: Callable[..., nn.Module]
    student: Callable[..., nn.Module]
    time_steps: int | None
    augment: Callable[[Tensor, torch.Generator], Tensor]
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    batch: int
    epochs: int
    teacher_epochs: int


def digits(_: Path | None) -> tuple[Part, Part, str, str]:
    """The event digits on a 16x16 sensor, T=4; the test part is for the figures, the validation part is not used."""
    events = digit_events(4, camera=EventCamera(size=16), reach=2.5, margin=1, seed=0)
    return events.part("train"), events.part("test"), events.split_name, events.split_hash


def digits_teacher(num_classes: int, in_channels: int) -> nn.Module:
    """ResNet with one block a stage; it sees the mean frame."""
    return ResNet((16, 32, 64), (1, 1, 1), num_classes, in_channels)


def digits_student(num_classes: int, in_channels: int, last_activation: str = "spike") -> nn.Module:
    """Its spiking twin."""
    return SpikingResNet((16, 32, 64), (1, 1, 1), num_classes, in_channels, last_activation=last_activation)


def cifar_subset(path: Path | None) -> tuple[Part, Part, str, str]:
    """5000 training and 2000 test images of CIFAR-10 or of a copy of it, in memory, normalised."""
    if path is None:
        raise SystemExit("--data-path is needed: the folder of CIFAR-10, or an ImageFolder tree of it")
    data = cifar10(path, DataOptions(train_images=5000, test_images=2000))
    parts = [next(iter(DataLoader(part, batch_size=len(part)))) for part in (data.train, data.test)]  # type: ignore[arg-type]
    train, test = ((images, labels) for images, labels in parts)
    return train, test, data.split, data.split_hash


def shift(frames: Tensor, generator: torch.Generator) -> Tensor:
    """The batch moved by at most one pixel along each axis."""
    return frames.roll(torch.randint(-1, 2, (2,), generator=generator).tolist(), dims=(-2, -1))


def crop_and_flip(images: Tensor, generator: torch.Generator, padding: int = 4) -> Tensor:
    """Random crop, padded with the mean colour, and flip; the choices are the generator's."""
    size = images.shape[-1]
    padded = nn.functional.pad(images, [padding] * 4)
    offsets = torch.randint(0, 2 * padding + 1, (len(images), 2), generator=generator).tolist()
    flips = torch.rand(len(images), generator=generator) < 0.5
    crops = torch.stack([image[:, y : y + size, x : x + size] for image, (y, x) in zip(padded, offsets, strict=True)])
    return torch.where(flips[:, None, None, None], crops.flip(-1), crops)


SGD = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=1e-4)
SETUPS = {
    "digits": Setup(digits, digits_teacher, digits_student, None, shift, SGD, 32, 20, 40),
    "cifar10": Setup(cifar_subset, resnet20, spiking_resnet20, 1, crop_and_flip, SGD, 64, 12, 30),
}


def train(
    module: nn.Module,
    step: Callable[[Tensor, Tensor], Tensor],
    predict: Callable[[Tensor], Tensor],
    parts: tuple[Part, Part],
    setup: Setup,
    seed: int,
    epochs: int,
    before_step: Callable[[float], None] = lambda progress: None,
) -> list[float]:
    """Train with a cosine schedule to zero over the steps; accuracy on the second part after each epoch, percent."""
    (images, labels), (test_images, test_labels) = parts
    axis = images.ndim - 4  # of the images in the batch: event frames have time in front
    count, steps = len(labels), len(labels) // setup.batch
    optimizer = setup.optimizer(module.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    generator = torch.Generator().manual_seed(seed)
    accuracy = []
    for epoch in range(epochs):
        module.train()
        order = torch.randperm(count, generator=generator)[: steps * setup.batch].view(steps, setup.batch)
        for number, rows in enumerate(order):
            before_step((epoch * steps + number) / (epochs * steps))
            optimizer.zero_grad()
            step(setup.augment(images.index_select(axis, rows), generator), labels[rows]).backward()
            optimizer.step()
            schedule.step()
        module.eval()
        with torch.no_grad():
            logits = torch.cat([predict(chunk) for chunk in test_images.split(256, dim=axis)])
        accuracy.append(100 * (logits.argmax(1) == test_labels).float().mean().item())
    return accuracy


def build(
    setup: Setup, kind: str, parts: tuple[Part, Part], **options: Any
) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
    """The builder of a network and the arguments for it."""
    (images, labels), _ = parts
    arguments = {"num_classes": int(labels.max()) + 1, "in_channels": images.shape[-3], **options}
    return getattr(setup, kind), arguments


def obtain_teacher(setup: Setup, parts: tuple[Part, Part], path: Path) -> None:
    """Train the teacher and write it to ``path``, unless it is there."""
    if path.exists():
        return
    torch.manual_seed(0)
    builder, arguments = build(setup, "teacher", parts)
    teacher, loss = builder(**arguments), nn.CrossEntropyLoss()
    mean = (lambda x: x.mean(0)) if setup.time_steps is None else (lambda x: x)
    start = time.perf_counter()
    accuracy = train(
        teacher, lambda x, y: loss(teacher(mean(x)), y), lambda x: teacher(mean(x)), parts, setup, 0,
        setup.teacher_epochs,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    seconds = round(time.perf_counter() - start, 1)
    found = summary(accuracy)
    save_network(path, teacher, builder, arguments, accuracy=found["last"], accuracies=found, seconds=seconds)


def make(setup: Setup, method: Method, seed: int, parts: tuple[Part, Part], teacher: nn.Module) -> Distiller:
    """The student of a seed under a method."""
    torch.manual_seed(seed)
    builder, arguments = build(setup, "student", parts, **method.student.builder_options())
    student = builder(**arguments)
    (images, labels), _ = parts
    example = images.narrow(images.ndim - 4, 0, 8), labels[:8]
    distiller = Distiller.from_method(method, teacher, student, time_steps=setup.time_steps, example=example)
    torch.manual_seed(seed)  # projectors took random numbers, or did not
    return distiller


def run(
    setup_name: str,
    arm: str,
    method: Method,
    seed: int,
    data_path: Path | None,
    folder: Path,
    epochs: int | None = None,
) -> Path:
    """Train one student under one method and write its record; ``epochs`` in place of the setup's."""
    torch.set_num_threads(1)
    target = folder / f"{arm.replace(' ', '_').replace('/', '_')}_seed{seed}.json"
    if target.exists():
        return target
    setup = with_epochs(SETUPS[setup_name], epochs)
    *parts, split, split_hash = setup.load(data_path)
    pair = (parts[0], parts[1])
    teacher_path = folder / "teacher.safetensors"
    teacher, about = load_network(teacher_path, setup.teacher)
    distiller = make(setup, method, seed, pair, teacher)
    terms: list[dict[str, Tensor]] = []
    skipped: list[Tensor] = []

    def step(images: Tensor, labels: Tensor) -> Tensor:
        out = distiller(images, labels)
        terms.append(out.terms)
        skipped.append(torch.as_tensor(out.skipped))
        return out.loss

    start = time.perf_counter()
    accuracy = train(distiller, step, distiller.predict, pair, setup, seed, setup.epochs, distiller.progress)
    steps = len(terms) // setup.epochs
    each_epoch = [terms[first : first + steps] for first in range(0, len(terms), steps)]
    record = {
        "set": setup_name,
        "method": arm,
        "seed": seed,
        "losses": {name: [repr(distiller.losses[name]), weight] for name, (_, weight) in method.losses.items()},
        "auto_weights": {name: float(cast(AutoWeight, auto).weight) for name, auto in distiller.auto.items()},
        "task": {"loss": repr(distiller.task_loss), "weight": method.task_weight},
        "student": method.student.builder_options(),
        "schedule": {name: repr(schedule) for name, schedule in method.schedule.items()},
        "source": method.source,
        "split": split,
        "split_hash": split_hash,
        "T": setup.time_steps or pair[0][0].shape[0],
        "batch": setup.batch,
        "accuracy": summary(accuracy),
        "history": accuracy,
        "terms": [
            {name: torch.stack([row[name] for row in rows]).mean().item() for name in rows[0]} for rows in each_epoch
        ],
        "skipped": int(torch.stack(skipped).sum()),
        "teacher": {"sha256": file_hash(teacher_path), "accuracy": about["accuracies"]},
        "seconds": round(time.perf_counter() - start, 1),
        "environment": environment(),
    }
    return write_record(target, record)


def add_flags(parser: argparse.ArgumentParser, arms: Iterable[str]) -> None:
    """The flags that every benchmark of this kind has."""
    parser.add_argument("--set", choices=SETUPS, default="digits")
    parser.add_argument("--data-path", type=Path, help="of CIFAR-10, for --set cifar10")
    parser.add_argument("--arms", nargs="+", choices=list(arms), metavar="ARM", default=list(arms))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--output", type=Path, required=True, help="folder of the records and of the teacher")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="runs side by side, one thread each")
    parser.add_argument("--epochs", type=int, help="of teacher and students, to try things out; default: the set's")
    parser.add_argument("--list", action="store_true", help="print the arms and go")


def run_all(args: argparse.Namespace, arms: Mapping[str, Method], find: Callable[[str], Method]) -> None:
    """Every arm of every seed that has no record yet, seeds outermost; ``find`` is importable, for the processes."""
    if args.list:
        for name, method in arms.items():
            print(f"{name}: {method.source}")
        return
    folder = args.output
    torch.set_num_threads(1)
    setup = with_epochs(SETUPS[args.set], args.epochs)
    *parts, _, _ = setup.load(args.data_path)
    obtain_teacher(setup, (parts[0], parts[1]), folder / "teacher.safetensors")
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        waiting = [
            pool.submit(_job, args.set, name, find, seed, args.data_path, folder, args.epochs)
            for seed in args.seeds
            for name in args.arms
        ]
        for done in as_completed(waiting):
            record = read_record(done.result())
            accuracy = record["accuracy"]
            print(
                f"{record['method']} seed {record['seed']}: {accuracy['last']:.2f}, {record['seconds']} s", flush=True
            )


def with_epochs(setup: Setup, epochs: int | None) -> Setup:
    """The setup with another number of epochs for teacher and students."""
    return setup if epochs is None else replace(setup, epochs=epochs, teacher_epochs=epochs)


def _job(
    setup: str,
    name: str,
    find: Callable[[str], Method],
    seed: int,
    data_path: Path | None,
    folder: Path,
    epochs: int | None,
) -> Path:
    return run(setup, name, find(name), seed, data_path, folder, epochs)
