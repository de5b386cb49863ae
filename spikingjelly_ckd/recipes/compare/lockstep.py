"""All arms of one seed side by side: the same first weights, batches and teacher, in one process.

Everything random in a step follows from the seed, the epoch and the number of the batch. So an arm ends with the same
bits alone and beside others, and a seed that was stopped anywhere goes on from the end of its last whole epoch as if it
had never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from ...distiller import Distiller
from ...networks.compat import use_fast_neurons
from ...step.output import Observation
from ...step.shared_teacher import SharedTeacher
from ..build import build_student
from ..data import Data
from ..data.loading import seed_all
from ..options import Run
from ..report.energy import measure_energy
from ..row import make_distiller
from ..teacher_input import Teacher
from ..training.figures import cosine_with_warmup
from ..training.resume import SETTINGS, WholeCheckpoints, check_same_run, find_checkpoint, read_checkpoint
from .arms import Arm
from .batches import Batches, Part

__all__ = ["ArmState", "Seed", "Stopped"]

EXAMPLES = 8
"""Images on which layers are chosen."""
TIMED = 50
"""Steps of an epoch that are timed."""
IMAGES_OF_ENERGY = 64


class Stopped(Exception):
    """Whoever asked for progress wants no more; the last whole epoch is in the checkpoint."""


@dataclass
class ArmState:
    """One arm in training.

    Attributes:
        arm: what it is.
        distiller: its student and losses.
        optimizer: of the student and of parameters of the losses.
        schedule: of the learning rate, for every step.
        history: see :class:`~spikingjelly_ckd.recipes.compare.records.ArmRecord`.
        failed: why it was taken out; None while it trains.
        skipped: images that losses left out.
        times: seconds of timed steps.
    """

    arm: Arm
    distiller: Distiller
    optimizer: torch.optim.Optimizer
    schedule: LambdaLR
    history: list[dict[str, float]] = field(default_factory=list)
    failed: str | None = None
    skipped: int = 0
    times: list[float] = field(default_factory=list)

    def state(self) -> dict[str, Any]:
        """Everything that a checkpoint needs, as tensors and plain data."""
        parts = {name: getattr(self, name).state_dict() for name in ("distiller", "optimizer", "schedule")}
        return parts | {name: getattr(self, name) for name in ("history", "failed", "skipped", "times")}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        for name in ("distiller", "optimizer", "schedule"):
            getattr(self, name).load_state_dict(saved[name])
        self.history, self.failed = list(saved["history"]), saved["failed"]
        self.skipped, self.times = saved["skipped"], list(saved["times"])


class Seed:
    """The arms of one seed.

    Args:
        arms: which.
        run: its seed and device.
        data: for the shapes of the networks.
        batches: of the data.
        teacher: None where no arm uses one.
        channels_last: memory format of images and networks.
    """

    def __init__(
        self,
        arms: Sequence[Arm],
        run: Run,
        data: Data,
        batches: Batches,
        teacher: Teacher | None,
        *,
        channels_last: bool,
    ) -> None:
        self.run, self.data, self.batches, self.teacher = run, data, batches, teacher
        self.recipe = arms[0].recipe
        self.device = run.torch_device
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        if teacher is not None:
            teacher.network.to(self.device, memory_format=self.format)
        example = self._example()
        self.states = {arm.name: self._begin(arm, example) for arm in arms}
        taught = {name: state.distiller for name, state in self.states.items() if state.distiller.uses_teacher}
        self._shared = SharedTeacher({name: distiller.observers for name, distiller in taught.items()})
        self._taught = taught
        self._teacher_times: list[float] = []
        self.epoch = 0

    def _example(self) -> Tensor:
        images, _ = next(self.batches.part("val"))
        return self._placed(images[:EXAMPLES])

    def _placed(self, images: Tensor) -> Tensor:
        images = images.to(self.device, non_blocking=True)
        return images.contiguous(memory_format=self.format) if images.ndim == 4 else images

    def _begin(self, arm: Arm, example: Tensor) -> ArmState:
        recipe = arm.recipe
        student = build_student(recipe, self.run, self.data).network
        student.to(self.device, memory_format=self.format)
        use_fast_neurons(student)
        seed_all(self.run.seed, 1)  # first weights of losses that have some
        distiller = make_distiller(recipe, self.data, self.teacher, student, example=example)
        parameters = [parameter for parameter in distiller.parameters() if parameter.requires_grad]
        if recipe.optimizer == "sgd":
            rest = {"momentum": recipe.momentum, "weight_decay": recipe.weight_decay}
            optimizer: torch.optim.Optimizer = torch.optim.SGD(parameters, recipe.lr, **rest)
        else:
            optimizer = torch.optim.AdamW(parameters, recipe.lr, weight_decay=recipe.weight_decay)
        factor = cosine_with_warmup(recipe.epochs, self.batches.steps, recipe.warmup_epochs)
        return ArmState(arm, distiller, optimizer, LambdaLR(optimizer, factor))

    def train(self, checkpoint: Path, settings: dict[str, Any], tell: Callable[[int, int], None]) -> None:
        """Train to the end, or on from a checkpoint.

        Args:
            checkpoint: written after each epoch.
            settings: which a checkpoint must have in common with this run.
            tell: called with the epoch and the step; may raise :class:`Stopped`.

        Raises:
            ValueError: the checkpoint is of other settings.
        """
        self._restore(checkpoint, settings)
        while self.epoch < self.recipe.epochs and self.running():
            self._epoch(tell)
            self.epoch += 1
            states = {name: state.state() for name, state in self.states.items()}
            content = {"state_dict": states, "epoch": self.epoch, SETTINGS: settings, "teacher": self._teacher_times}
            WholeCheckpoints().save_checkpoint(content, checkpoint)
            tell(self.epoch, 0)

    def _restore(self, checkpoint: Path, settings: dict[str, Any]) -> None:
        if not checkpoint.parent.is_dir() or not any(checkpoint.parent.glob("*.ckpt")):
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            return
        path = find_checkpoint("latest", checkpoint.parent)
        assert path is not None
        saved = read_checkpoint(path)
        check_same_run(path, saved[SETTINGS], settings)
        for name, state in self.states.items():
            state.restore(saved["state_dict"][name])
        self.epoch, self._teacher_times = saved["epoch"], list(saved["teacher"])

    def running(self) -> list[ArmState]:
        """The arms that have not failed."""
        return [state for state in self.states.values() if state.failed is None]

    def _epoch(self, tell: Callable[[int, int], None]) -> None:
        seed, steps, start = self.run.seed, self.batches.steps, time.perf_counter()
        sums: dict[str, dict[str, Tensor]] = {state.arm.name: {} for state in self.running()}
        shares: dict[str, float | None] = {}
        most = self.run.most_steps or steps
        for number, (images, labels) in enumerate(islice(self.batches.train(seed, self.epoch), most)):
            tell(self.epoch, number)
            images, labels = self._placed(images), labels.to(self.device)
            progress = (self.epoch * steps + number) / (self.recipe.epochs * steps)
            seen = self._teach(images, labels, timed=number < TIMED)
            for state in self.running():
                began = time.perf_counter()
                seed_all(seed, self.epoch, number)
                try:
                    terms, share = self._step(state, images, labels, seen.get(state.arm.name), progress, number == 0)
                except (ValueError, RuntimeError, ArithmeticError) as error:
                    state.failed = f"epoch {self.epoch + 1}, step {number + 1}: {error}"
                    continue
                if number == 0:
                    shares[state.arm.name] = share
                elif number < TIMED:
                    state.times.append(time.perf_counter() - began)
                added = sums[state.arm.name]
                sums[state.arm.name] = {name: added.get(name, 0.0) + value for name, value in terms.items()}
        accuracies = self.accuracies("val")
        for state in self.running():
            means = {name: float(value) / most for name, value in sums[state.arm.name].items()}
            row = {"epoch": self.epoch + 1, **means, "val_accuracy": accuracies[state.arm.name]}
            if shares.get(state.arm.name) is not None:
                row["share"] = shares[state.arm.name]
            state.history.append(row | {"seconds": round(time.perf_counter() - start, 2)})

    def _teach(self, images: Tensor, labels: Tensor, *, timed: bool) -> dict[str, Observation]:
        """What the teacher shows to each arm that uses it, of one forward."""
        if not self._taught:
            return {}
        assert self.teacher is not None
        first = next(iter(self._taught.values()))
        began = time.perf_counter()
        with self._autocast():
            batch = first.observers.read(images, labels, first.time_steps, first.batch_first, first.teacher_input)
            seen = self._shared.observe(self.teacher.network, batch)
        if timed:
            self._teacher_times.append(time.perf_counter() - began)
        return seen

    def _step(
        self, state: ArmState, images: Tensor, labels: Tensor, seen: Observation | None, progress: float, measured: bool
    ) -> tuple[dict[str, Tensor], float | None]:
        """One step of one arm: its terms, and where it is measured the share of the distillation in the gradient."""
        distiller = state.distiller
        distiller.train()
        distiller.progress(progress)
        state.optimizer.zero_grad()
        with self._autocast():
            out = distiller(images, labels, seen)
        share = _share(out, distiller.student) if measured else None
        (state.arm.factor * out.loss).backward()
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(distiller.parameters(), self.recipe.clip)
        state.optimizer.step()
        state.schedule.step()
        state.skipped += int(out.skipped)
        return {"loss": out.loss.detach(), **out.terms}, share

    def _autocast(self) -> Any:
        if self.recipe.amp == "32-true":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    @torch.no_grad()
    def accuracies(self, part: Part) -> dict[str, float]:
        """Of all arms that have not failed, on a part, percent."""
        right, count = dict.fromkeys((state.arm.name for state in self.running()), 0), 0
        for state in self.running():
            state.distiller.eval()
        for images, labels in islice(self.batches.part(part), self.run.most_steps):
            images, labels = self._placed(images), labels.to(self.device)
            count += len(labels)
            for state in self.running():
                with self._autocast():
                    logits = state.distiller.predict(images)
                right[state.arm.name] += int((logits.argmax(1) == labels).sum())
        return {name: 100 * number / count for name, number in right.items()}

    def costs(self, state: ArmState) -> dict[str, float | None]:
        """Time of a step, of the teacher, firing rate and energy of one image."""
        energy = measure_energy(state.distiller.student.cpu(), self._over_time(), batch_axis=1)
        state.distiller.to(self.device)
        return {
            "step_ms": 1000 * median(state.times) if state.times else None,
            "teacher_ms": 1000 * median(self._teacher_times) if state.distiller.uses_teacher else None,
            "firing_rate": energy.firing_rate,
            "energy_mj": energy.compute_mj,
        }

    def _over_time(self) -> Iterator[Tensor]:
        images, _ = next(self.batches.part("test"))
        images = images[:IMAGES_OF_ENERGY]
        frames = images.transpose(0, 1) if images.ndim == 5 else images.expand(self.recipe.time_steps, *images.shape)
        yield frames.contiguous()


def _share(out: Any, student: nn.Module) -> float | None:
    """Norm of the gradient of the weighted losses beside that of the weighted task loss, over the student."""
    losses = [out.weights[name] * value for name, value in out.values.items() if name != "task"]
    if not losses:
        return None
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]

    def norm(value: Tensor) -> float:
        if not value.requires_grad:
            return 0.0
        gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        squares = [gradient.float().square().sum() for gradient in gradients if gradient is not None]
        return float(torch.stack(squares).sum().sqrt()) if squares else 0.0

    task = norm(out.weights["task"] * out.values["task"])
    return norm(torch.stack(losses).sum()) / task if task > 0 else None
