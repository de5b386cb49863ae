"""The pictures of the gallery, from data that scikit-learn carries: no download.

    python benchmarks/gallery.py --output docs/images/gallery
    python benchmarks/gallery.py --records benchmarks/results/study --output docs/images/gallery
    python benchmarks/gallery.py --cost benchmarks/results/map_images.json

``images.png``, ``spikes.png``, ``rates.png``, ``confusion.png`` and ``steps.png``: handwritten digits on crops of two
photographs, an ANN and a spiking ResNet-8, which is looked at before and after a short training with CKD.
``tokens.png``: event recordings of the digits, a transformer behind two convolutions and a Spikformer, one block each,
after CKD. The tasks are made for pictures, and the accuracies say nothing else.

The second command draws what the records of a comparison hold: ``curves.png`` and ``energy.png``. It trains nothing.

The third measures what the maps in TensorBoard cost in each epoch.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from sklearn.datasets import load_digits, load_sample_images
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F
from weights import transformer

from spikingjelly_ckd import CKDDistiller
from spikingjelly_ckd.recipes.comparison.records import read_records
from spikingjelly_ckd.recipes.data.digits import EventCamera, digit_events, stratified_split
from spikingjelly_ckd.recipes.deploy.steps import evaluate_steps
from spikingjelly_ckd.recipes.models import (
    resnet8,
    resnet19,
    resnet20,
    spiking_resnet8,
    spiking_resnet19,
    spiking_resnet20,
)
from spikingjelly_ckd.recipes.records import environment, write_record
from spikingjelly_ckd.recipes.report.plots.activity import plot_distiller_rates, plot_distiller_spikes
from spikingjelly_ckd.recipes.report.plots.looking import MapReader, SeenMaps, see_maps
from spikingjelly_ckd.recipes.report.plots.maps import plot_distiller_maps, plot_seen_maps
from spikingjelly_ckd.recipes.report.plots.results import plot_accuracy_and_energy, plot_confusion, plot_training
from spikingjelly_ckd.recipes.report.plots.steps import plot_steps
from spikingjelly_ckd.recipes.report.plots.style import rasterize, save_figure
from spikingjelly_ckd.recipes.training.map_images import MAP_IMAGES

STEPS = 4
SHOWN = (2, 3, 5, 7)
BATCH = 32
Part = tuple[Tensor, Tensor]
"""Images or recordings, batch first, and their labels."""


def digits_on_photographs(size: int = 32) -> dict[str, Part]:
    """A white digit somewhere on a crop of a photograph, ``[N, 3, size, size]`` in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    digits = load_digits()
    labels = torch.from_numpy(digits.target).long()
    ink = F.interpolate(torch.from_numpy(digits.images).float().unsqueeze(1) / 16, scale_factor=2, mode="bilinear")
    photographs = [
        F.avg_pool2d(torch.tensor(picture).float().movedim(-1, 0) / 255, 4) for picture in load_sample_images().images
    ]
    images = torch.empty(len(labels), 3, size, size)
    for i in range(len(labels)):
        photograph = photographs[i % len(photographs)]
        y, x = (int(torch.randint(side - size + 1, (), generator=generator)) for side in photograph.shape[1:])
        images[i] = 0.6 * photograph[:, y : y + size, x : x + size]
        y, x = torch.randint(size - 16 + 1, (2,), generator=generator).tolist()
        place = images[i, :, y : y + 16, x : x + 16]
        place += ink[i] * (1 - place)
    rows = stratified_split(labels, {"train": 0.6, "test": 0.4}, 2026)
    return {name: (images[part], labels[part]) for name, part in rows.items()}


def event_digits() -> dict[str, Part]:
    """Event recordings of the digits, ``[N, T, 2, 16, 16]``."""
    data = digit_events(STEPS, camera=EventCamera(size=16), reach=2.5, margin=1, seed=0)
    return {name: (data.part(name)[0].transpose(0, 1), data.part(name)[1]) for name in ("train", "test")}


class TokenTeacher(nn.Module):
    """Two convolutions, one transformer block on 8x8 tokens, and a linear layer on their mean."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        layers = [nn.Conv2d(2, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
        layers += [nn.Conv2d(32, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        self.stem = nn.Sequential(*layers)
        self.block = Block(width, num_heads=4)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of mean frames ``[N, 2, 16, 16]``."""
        tokens = self.stem(images).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.block(tokens)).mean(1))


def batches(part: Part, seed: int, most: int | None) -> Iterator[Part]:
    """Shuffled batches of one epoch; recordings are moved by up to two pixels."""
    generator = torch.Generator().manual_seed(seed)
    for rows in torch.randperm(len(part[1]), generator=generator).split(BATCH)[:most]:
        images = part[0][rows]
        if images.ndim == 5:
            images = images.roll(torch.randint(-2, 3, (2,), generator=generator).tolist(), dims=(-2, -1))
        yield images, part[1][rows]


def fit(module: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], part: Part, epochs: int, most: int | None) -> None:
    """AdamW with a cosine over the epochs."""
    optimizer = torch.optim.AdamW(module.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for epoch in range(epochs):
        module.train()
        for images, labels in batches(part, epoch, most):
            optimizer.zero_grad()
            loss(images, labels).backward()
            optimizer.step()
        schedule.step()
    module.eval()


def trained(
    teacher: nn.Module, student: nn.Module, data: dict[str, Part], epochs: tuple[int, int], *, smoke: bool
) -> tuple[CKDDistiller, CKDDistiller]:
    """The student before and after CKD by a teacher that is trained first; ``epochs`` are the teacher's and its own."""
    most = 2 if smoke else None
    of_teacher, of_student = (1, 1) if smoke else epochs
    is_event = data["train"][0].ndim == 5

    def answer(images: Tensor) -> Tensor:
        return teacher(images.mean(1) if is_event else images)

    fit(teacher, lambda images, labels: F.cross_entropy(answer(images), labels), data["train"], of_teacher, most)
    options = {"batch_first": True} if is_event else {"time_steps": STEPS}
    after = CKDDistiller(teacher, student, **options)
    before = CKDDistiller(teacher, copy.deepcopy(student), **options)
    fit(after, lambda images, labels: after(images, labels).loss, data["train"], of_student, most)
    images, labels = data["test"]
    with torch.no_grad():
        right = [
            100 * torch.cat([said(x).argmax(1) for x in images.split(128)]).eq(labels).float().mean().item()
            for said in (answer, after.predict)
        ]
    print(f"test accuracy: teacher {right[0]:.1f} %, student {right[1]:.1f} %", flush=True)
    with torch.no_grad():  # statistics of BatchNorm, without which an untrained student is silent in eval mode
        before.train()
        for x, _ in batches(data["train"], 0, most):
            before.predict(x)
    return before.eval(), after


def draw_images(folder: Path, *, smoke: bool) -> None:
    """A ResNet and its spiking twin on images: maps, spikes, rates, confusions and fewer time steps."""
    torch.manual_seed(0)
    data = digits_on_photographs()
    before, after = trained(resnet8(10), spiking_resnet8(10), data, (25, 15), smoke=smoke)
    images, labels = few(data["test"])
    seen = see_maps(before, images, labels)
    save_figure(plot_distiller_maps(after, images, labels, before=seen), folder / "images.png")
    save_figure(plot_distiller_spikes(after, images), folder / "spikes.png")
    rates = plot_distiller_rates({"before": before, "after": after}, data["test"][0][:64])
    save_figure(rates, folder / "rates.png")
    images, labels = data["test"]
    with torch.no_grad():
        said = torch.cat([after.predict(x).argmax(1) for x in images.split(128)])
    counts = torch.bincount(10 * labels + said, minlength=100).view(10, 10)
    save_figure(plot_confusion(counts), folder / "confusion.png")
    pairs = list(zip(images.split(128), labels.split(128), strict=True))
    save_figure(plot_steps(evaluate_steps(after.student, pairs, time_steps=STEPS)), folder / "steps.png")


def draw_records(folder: Path, records: Path) -> None:
    """Training curves, and accuracy against energy, of the arms of a comparison."""
    runs = read_records(records)
    save_figure(plot_training(runs), folder / "curves.png")
    save_figure(plot_accuracy_and_energy(runs), folder / "energy.png")


def draw_tokens(folder: Path, *, smoke: bool) -> None:
    """A transformer and a Spikformer on event recordings: maps."""
    torch.manual_seed(0)
    data = event_digits()
    _, after = trained(TokenTeacher(), transformer(10, 2, STEPS), data, (25, 12), smoke=smoke)
    save_figure(plot_distiller_maps(after, *few(data["test"])), folder / "tokens.png")


def few(part: Part) -> Part:
    """The first image of each digit of :data:`SHOWN`."""
    rows = torch.stack([(part[1] == digit).nonzero()[0, 0] for digit in SHOWN])
    return part[0][rows], part[1][rows]


def cost(rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of one core: a forward of the student on the fixed images, the look at the maps, and the drawing."""
    found = {}
    for name, teacher, student in (
        ("ResNet-20, T=4", resnet20(10), spiking_resnet20(10)),
        ("ResNet-19, T=4", resnet19(10), spiking_resnet19(10)),
    ):
        distiller = CKDDistiller(teacher, student, time_steps=STEPS).eval()
        images, labels = torch.rand(MAP_IMAGES, 3, 32, 32), torch.arange(MAP_IMAGES)
        reader = MapReader(distiller)
        seen = reader.read(images, labels)

        def forward(distiller: CKDDistiller = distiller, images: Tensor = images) -> None:
            with torch.no_grad():
                distiller.predict(images)

        def look(reader: MapReader = reader, images: Tensor = images, labels: Tensor = labels) -> None:
            reader.read(images, labels)

        def picture(seen: SeenMaps = seen) -> None:
            rasterize(plot_seen_maps({"student": seen}))

        parts = {"forward": forward, "look": look, "drawing": picture}
        seconds: dict[str, list[float]] = {part: [] for part in parts}
        for _ in range(rounds):
            for part, work in parts.items():
                start = time.process_time()
                work()
                seconds[part].append(time.process_time() - start)
        found[name] = {part: round(statistics.median(values), 3) for part, values in seconds.items()}
        print(name, found[name], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="folder of the pictures")
    parser.add_argument("--records", type=Path, help="draw the records of this folder, and train nothing")
    parser.add_argument("--cost", type=Path, help="record of what the maps in TensorBoard cost")
    parser.add_argument("--rounds", type=int, default=7, help="of the cost, of which the median is taken")
    parser.add_argument("--smoke", action="store_true", help="one epoch of two steps, to see that it runs")
    args = parser.parse_args()
    if args.output is None and args.cost is None:
        parser.error("nothing to do: pass --output or --cost")
    torch.set_num_threads(1)
    if args.output is not None and args.records is not None:
        draw_records(args.output, args.records)
    elif args.output is not None:
        draw_images(args.output, smoke=args.smoke)
        draw_tokens(args.output, smoke=args.smoke)
    if args.cost is not None:
        seconds = cost(args.rounds)
        about = {"images": MAP_IMAGES, "rounds": args.rounds, "unit": "s of process time, one thread, median"}
        write_record(args.cost, {**about, "seconds": seconds, "environment": environment()})


if __name__ == "__main__":
    main()
