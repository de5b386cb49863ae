"""A small network: ``compare`` in lock-step, images from memory, and what faster steps cost in accuracy."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from speed_bench import Bench, Row, about
from timing import interleaved, quartiles, ratios
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, pad

from spikingjelly_ckd import CKDDistiller, Distiller, accelerate
from spikingjelly_ckd.acceleration import Switch
from spikingjelly_ckd.recipes.compare.arms import Arm, read_arms
from spikingjelly_ckd.recipes.compare.batches import Batches, InMemory, Loaded
from spikingjelly_ckd.recipes.compare.flags import RECIPE
from spikingjelly_ckd.recipes.compare.lockstep import Seed
from spikingjelly_ckd.recipes.data import Data, DataOptions
from spikingjelly_ckd.recipes.data.base import make_data, make_part
from spikingjelly_ckd.recipes.data.digits import digits
from spikingjelly_ckd.recipes.methods import read_method
from spikingjelly_ckd.recipes.models import ResNet, SpikingResNet, resnet8, spiking_resnet8
from spikingjelly_ckd.recipes.models.resnet import LastActivation
from spikingjelly_ckd.recipes.options import Run, default_workers
from spikingjelly_ckd.recipes.recipe import Recipe
from spikingjelly_ckd.recipes.teacher_input import Teacher

CLASSES, SIZE, PADDING, BATCH = 10, 24, 3, 64
TRAINED, HELD_OUT = 32 * BATCH, 20
"""Images of an epoch; few to evaluate on, since that is not what is compared."""
METHODS = ("kd", "nld", "samd", "ckd", "bkdsnn", "fitnets")
"""Beside plain training and plain training with three times the loss."""
WIDTHS = (16, 32, 64)
LOADED_EPOCHS = 3
ACCURACY_EPOCHS, TEACHER_EPOCHS, ACCURACY_BATCH = 6, 12, 32
SWITCHES: dict[str, tuple[Switch, ...]] = {
    "as it was": (),
    "fast neurons": ("fast neurons",),
    "channels-last": ("channels-last",),
    "bfloat16": ("bfloat16",),
    "teacher": ("teacher",),
    "everything on": ("fast neurons", "channels-last", "bfloat16", "teacher"),
}


@dataclass(frozen=True)
class Pictures:
    """JPEG images in memory, which PIL decodes each time they are asked for; a sample is ``(picture, label)``."""

    files: Sequence[bytes]
    labels: Sequence[int]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.open(io.BytesIO(self.files[index])).convert("RGB"), self.labels[index]


def pictures(count: int, seed: int) -> Pictures:
    """Smooth random colours of 32 pixels."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    files = []
    for pixels in (interpolate(coarse, size=32, mode="bilinear") * 255).byte().permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=95)
        files.append(file.getvalue())
    return Pictures(files, [index % CLASSES for index in range(count)])


def small_data() -> tuple[Data, DataOptions]:
    """Images with crop and flip."""
    options = DataOptions(size=SIZE, crop_padding=PADDING, flip=True, val_images=HELD_OUT)
    sources = [pictures(count, seed) for seed, count in enumerate((TRAINED + HELD_OUT, HELD_OUT))]
    parts = [make_part(s, [(str(row), label) for row, label in enumerate(s.labels)]) for s in sources]
    names = [str(label) for label in range(CLASSES)]
    half = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    data = make_data(
        "synthetic", parts, options, classes=names, split_name="synthetic", complete=True, normalisation=half
    )
    return data, options


def small_student(num_classes: int, in_channels: int = 3, *, last_activation: LastActivation = "spike") -> nn.Module:
    """One block a stage."""
    return SpikingResNet(WIDTHS, (1, 1, 1), num_classes, in_channels, last_activation=last_activation)


def small_teacher() -> nn.Module:
    """ResNet-20."""
    return ResNet(WIDTHS, (3, 3, 3), CLASSES).eval()


def small_recipe(epochs: int) -> Recipe:
    """As ``compare`` would be asked for the fastest training on a CPU."""
    return replace(RECIPE, student=small_student, time_steps=1, size=SIZE, epochs=epochs, amp="bf16-mixed")


def lockstep(bench: Bench, rounds: int) -> Row:
    """An epoch of eight arms: in lock-step as ``compare`` trains them, and one after the other in a plain eager loop.

    The loop is the one that this project's benchmarks had before ``compare``: augmentation image by image, a teacher
    that runs in fp32 for each arm, SpikingJelly's own neurons.
    """
    data, options = small_data()
    arms, _ = read_arms(small_recipe(1), METHODS)
    teacher, batches = small_teacher(), InMemory(data, options, BATCH)
    images, labels = (torch.cat(each) for each in zip(*batches.train(0, 0), strict=True))
    held_out = next(batches.part("val"))[0]

    def one_after_the_other() -> None:
        for arm in arms:
            loop_epoch(arm, teacher, images, labels, held_out)

    calls = {
        "loop": one_after_the_other,
        "lock-step": lambda: train_arms(arms, data, batches, teacher),
    }
    seconds = interleaved(calls, rounds, bench.device, warmup=1)
    count = len(arms) * len(images)
    return small_row(bench, rounds, seconds, "loop") | {
        "arms": [arm.name for arm in arms],
        "images_per_second": {name: quartiles([count / value for value in seconds[name]]) for name in seconds},
        "speedup": ratios(seconds["loop"], seconds["lock-step"]),
    }


def loading(bench: Bench, rounds: int) -> Row:
    """Epochs of one arm of ``compare``: images decoded once and augmented in batches, and PIL in loading processes."""
    data, options = small_data()
    arms = [arm for arm in read_arms(small_recipe(LOADED_EPOCHS), ("ckd",))[0] if arm.name == "ckd"]
    teacher, workers = small_teacher(), default_workers()
    made: dict[str, Batches] = {
        "PIL": Loaded(data, BATCH, workers),
        "memory": InMemory(data, options, BATCH),
    }
    calls = {name: lambda of=of: train_arms(arms, data, of, teacher) for name, of in made.items()}
    seconds = interleaved(calls, rounds, bench.device, warmup=1)
    return small_row(bench, rounds, seconds, "PIL") | {"epochs": LOADED_EPOCHS, "workers": workers}


def small_row(bench: Bench, rounds: int, seconds: dict[str, list[float]], base: str) -> Row:
    """The row of a measurement on the small network."""
    of_it = {"title": f"one block a stage, T=1, {SIZE} px", "time_steps": 1, "batch": BATCH, "size": SIZE}
    return (
        about_small(bench)
        | of_it
        | {
            "rounds": rounds,
            "seconds": {name: quartiles(values) for name, values in seconds.items()},
            "ratio": {name: ratios(values, seconds[base]) for name, values in seconds.items()},
            "raw": {name: [round(value, 6) for value in values] for name, values in seconds.items()},
        }
    )


def about_small(bench: Bench) -> Row:
    """As for a pair, without the neurons of the pair's student, which is another network."""
    return {name: value for name, value in about(bench).items() if name != "neurons"}


def train_arms(arms: Sequence[Arm], data: Data, batches: Batches, teacher: nn.Module) -> Seed:
    """All epochs of these arms as ``compare`` trains them, evaluation and checkpoints included."""
    run = Run(data_path=Path(), device="cpu", no_progress=True)
    known = Teacher(teacher, "in memory", None, data.mean, data.std, None)
    seed = Seed(arms, run, data, batches, known, channels_last=True)
    with tempfile.TemporaryDirectory() as folder:
        seed.train(Path(folder) / "latest.ckpt", {}, lambda epoch, step: None)
    failed = {name: state.failed for name, state in seed.states.items() if state.failed is not None}
    if failed or seed.unfit:
        raise RuntimeError(f"not every arm was trained: {failed | seed.unfit}")
    return seed


def loop_epoch(arm: Arm, teacher: nn.Module, images: Tensor, labels: Tensor, held_out: Tensor) -> None:
    """One arm by itself."""
    torch.manual_seed(0)
    method = read_method(arm.recipe.method)
    student = small_student(CLASSES, **method.student.builder_options())
    distiller = Distiller.from_method(method, teacher, student, time_steps=1, example=(images[:8], labels[:8]))
    optimizer = torch.optim.SGD(distiller.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    order = torch.randperm(len(labels)).view(-1, BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(order))
    generator = torch.Generator().manual_seed(0)
    distiller.train()
    for number, rows in enumerate(order):
        distiller.progress(number / len(order))
        optimizer.zero_grad()
        out = distiller(crop_and_flip(images[rows], generator), labels[rows])
        (arm.factor * out.loss).backward()
        optimizer.step()
        schedule.step()
    distiller.eval()
    with torch.no_grad():
        distiller.predict(held_out)


def crop_and_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random crop and flip, image by image."""
    padded = pad(images, [PADDING] * 4)
    offsets = torch.randint(0, 2 * PADDING + 1, (len(images), 2), generator=generator).tolist()
    flips = torch.rand(len(images), generator=generator) < 0.5
    crops = torch.stack([image[:, y : y + SIZE, x : x + SIZE] for image, (y, x) in zip(padded, offsets, strict=True)])
    return torch.where(flips[:, None, None, None], crops.flip(-1), crops)


def accuracy(bench: Bench, rounds: int) -> Row:
    """Test accuracy of short CKD trainings on the event digits with each switch on, one seed a round."""
    data = digits("", DataOptions(size=16, time_steps=4))
    (frames, labels), (test_frames, test_labels) = (stacked(part) for part in (data.train, data.test))
    teacher = taught(frames, labels)
    found: dict[str, list[float]] = {name: [] for name in SWITCHES}
    for seed in range(rounds):
        for name, switches in SWITCHES.items():
            torch.manual_seed(seed)
            student = spiking_resnet8(10, in_channels=2)
            distiller = CKDDistiller(teacher, student, batch_first=True, example=(frames[:8], labels[:8]))
            if switches:
                accelerate(distiller, frames[:64], labels[:64], switches=switches, rounds=0, tolerance=1e9)
            train(distiller, frames, labels, seed)
            with torch.no_grad():
                logits = distiller.eval().predict(test_frames)
            found[name].append(100 * (logits.argmax(1) == test_labels).float().mean().item())
    settings = {"title": "ResNet-8, event digits, T=4", "time_steps": 4, "batch": ACCURACY_BATCH, "size": 16}
    return about_small(bench) | settings | {"rounds": rounds, "epochs": ACCURACY_EPOCHS, "accuracy": found}


def stacked(part: Any) -> tuple[Tensor, Tensor]:
    """Frames ``[N, T, C, H, W]`` and labels of a part."""
    frames, labels = zip(*(part[row] for row in range(len(part))), strict=True)
    return torch.stack(frames), torch.tensor(labels)


def taught(frames: Tensor, labels: Tensor) -> nn.Module:
    """A teacher after a short training on the mean frames."""
    torch.manual_seed(0)
    teacher = resnet8(10, in_channels=2).train()
    optimizer = torch.optim.SGD(teacher.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    for _ in range(TEACHER_EPOCHS):
        for rows in torch.randperm(len(labels)).split(ACCURACY_BATCH):
            optimizer.zero_grad()
            cross_entropy(teacher(frames[rows].mean(1)), labels[rows]).backward()
            optimizer.step()
    return teacher.eval()


def train(distiller: Distiller, frames: Tensor, labels: Tensor, seed: int) -> None:
    """SGD with a cosine schedule."""
    optimizer = torch.optim.SGD(distiller.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    steps = ACCURACY_EPOCHS * (len(labels) // ACCURACY_BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    torch.manual_seed(seed)
    distiller.train()
    for _ in range(ACCURACY_EPOCHS):
        for rows in torch.randperm(len(labels))[: steps // ACCURACY_EPOCHS * ACCURACY_BATCH].split(ACCURACY_BATCH):
            optimizer.zero_grad()
            distiller(frames[rows], labels[rows]).loss.backward()
            optimizer.step()
            schedule.step()
