"""All arms of one seed side by side: the same first weights, batches and teacher, in one process.

Everything random in a step follows from the seed, the epoch and the number of the batch. So an arm ends with the same
bits alone and beside others, and a seed that was stopped anywhere goes on from the end of its last whole epoch as if it
had never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, cast

import torch
from torch import Tensor

from ...errors.arguments import ArgumentError
from ...preflight import preflight
from ...preflight.guessing import guessing
from ...step.output import Observation
from ...step.shared_teacher import SharedTeacher
from ..command_line import FLAGS, in_flags
from ..data import Data
from ..data.loading import seed_all
from ..options import Run
from ..progress import tracked
from ..recipe import SCALED
from ..report.energy import ENERGY_IMAGES
from ..teacher_input import Teacher
from ..thresholds import some_batches
from ..training.resume import SETTINGS, WholeCheckpoints, check_same_run, find_checkpoint, read_checkpoint
from .arm_state import ArmState, autocast
from .arms import Arm
from .batches import Batches, Part
from .costs import firing_and_energy

__all__ = ["Seed", "StoppedError", "saved_arms"]

EXAMPLES = 8
"""Images on which layers are chosen."""
TIMED = 50
"""Steps of an epoch that are timed."""
LAYERS = {name: FLAGS[name] for name in ("student_layer", "teacher_layer")}


class StoppedError(Exception):
    """Whoever asked for progress wants no more; the last whole epoch is in the checkpoint."""


class Seed:
    """The arms of one seed.

    Args:
        arms: which.
        run: its seed and device.
        data: for the shapes of the networks.
        batches: of the data.
        teacher: None where no arm uses one.
        channels_last: memory format of images and networks.

    Attributes:
        states: name of each arm -> the arm in training.
        unfit: name of each arm that could not begin -> why.
        looks: name of each arm that learns from the teacher -> what a preflight found, as plain data; filled by
            :meth:`rehearse`.
        guessed: part -> the greatest accuracy there that the most frequent class explains, percent; filled by
            :meth:`accuracies`.
    """

    def __init__(
        self,
        arms: Sequence[Arm],
        run: Run,
        data: Data,
        batches: Batches,
        teacher: Teacher | None,
        *,
        channels_last: bool = False,
    ) -> None:
        self.run, self.batches, self.teacher = run, batches, teacher
        self.recipe = arms[0].recipe
        self.device = run.torch_device
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        if teacher is not None:
            teacher.network.to(self.device).to(memory_format=self.format)  # type: ignore[call-overload]
        images, _ = next(self.batches.part("val"))
        common: dict[str, Any] = {"example": self._placed(images[:EXAMPLES]), "memory_format": self.format}
        self.states: dict[str, ArmState] = {}
        self.unfit: dict[str, str] = {}
        self.looks: dict[str, dict[str, Any]] = {}
        self.guessed: dict[str, float] = {}
        for arm in arms:
            try:
                state = ArmState.begin(arm, run, data, teacher, steps=batches.steps, **common)
                if arm.recipe.init == SCALED:
                    placed = ((self._placed(images), labels) for images, labels in batches.train(run.seed, 0))
                    state.scale(some_batches(placed, self.device))
                self.states[arm.name] = state
            except (FileNotFoundError, RuntimeError, TypeError, ValueError) as error:
                self.unfit[arm.name] = _why(error)
        self._taught = {name: one.distiller for name, one in self.states.items() if one.distiller.uses_teacher}
        self._shared = SharedTeacher({name: distiller.observers for name, distiller in self._taught.items()})
        self._teacher_times: list[float] = []
        self.epoch = 0

    def _placed(self, images: Tensor) -> Tensor:
        images = images.to(self.device, non_blocking=True)
        return images.contiguous(memory_format=self.format) if images.ndim == 4 else images

    def running(self) -> list[ArmState]:
        """The arms that have not failed."""
        return [state for state in self.states.values() if state.failed is None]

    def rehearse(self) -> float:
        """Every arm takes two steps without learning anything, and is looked at by a preflight unless the run has none.

        Arms that cannot step, or whose preflight fails, are moved to :attr:`unfit`. Statistics of normalisation do
        change, so train another :class:`Seed`.

        Returns:
            Seconds that the training of this seed will take, roughly.
        """
        images, labels = next(self.batches.train(self.run.seed, 0))
        images, labels = self._placed(images), labels.to(self.device)
        step = 0.0
        for _ in range(2):  # the first one warms up
            start = time.perf_counter()
            seen = self._teach(images, labels)
            for state in tracked(running := self.running(), "First steps of the arms", len(running)):
                seed_all(self.run.seed, 2)  # what is drawn does not depend on the other arms
                try:
                    state.backward(images, labels, seen.get(state.arm.name))
                except (RuntimeError, TypeError, ValueError) as error:
                    state.failed = self.unfit[state.arm.name] = _why(error)
            step = time.perf_counter() - start
        if not self.run.no_preflight:
            self._preflight(images, labels)
        start = time.perf_counter()
        count = self._count_right(images, labels, {}, self.running())
        image, epochs = (time.perf_counter() - start) / count, self.recipe.epochs
        start = time.perf_counter()
        for state in self.running()[:1]:
            self.costs(state, "val")
        at_end = len(self.running()) * (time.perf_counter() - start)
        if self.run.most_steps is not None:
            return epochs * self.run.most_steps * (step + count * image) + at_end
        images_of_epoch, images_at_end = (self.batches.count(part) for part in ("val", "test"))
        return epochs * (self.batches.steps * step + images_of_epoch * image) + images_at_end * image + at_end

    def _preflight(self, images: Tensor, labels: Tensor) -> None:
        taught = [state for state in self.running() if state.arm.name in self._taught]
        for state in tracked(taught, "Preflight of the arms", len(taught)):
            name = state.arm.name
            seed_all(self.run.seed, 2)  # as above
            try:
                with autocast(self.recipe, self.device):
                    report = preflight(state.distiller, (images, labels))
            except (RuntimeError, TypeError, ValueError) as error:
                state.failed = self.unfit[name] = _why(error)
                continue
            checks = [
                {"name": one.name, "status": one.status, "message": in_flags(one.message)} for one in report.checks
            ]
            self.looks[name] = {"ok": report.ok, "checks": checks}  # figures such as bytes would differ from run to run
            if not report.ok:
                failed = [f"{one['name']}: {one['message']}" for one in checks if one["status"] == "fail"]
                state.failed = self.unfit[name] = (
                    f"its preflight failed: {'; '.join(failed)} (--no-preflight trains it all the same)"
                )

    def train(self, checkpoint: Path, settings: dict[str, Any], tell: Callable[[int, int], None]) -> None:
        """Train to the end, or on from a checkpoint.

        Args:
            checkpoint: written after each epoch.
            settings: which a checkpoint must have in common with this run.
            tell: called with the epoch and the step; may raise :class:`StoppedError`.

        Raises:
            ValueError: the checkpoint is of other settings.
        """
        self._restore(checkpoint, settings)
        if self.epoch == 0:
            self._look_before()
        while self.epoch < self.recipe.epochs and self.running():
            self._epoch(tell)
            self.epoch += 1
            states = {name: state.state() for name, state in self.states.items()}
            content = {"state_dict": states, "epoch": self.epoch, SETTINGS: settings, "teacher": self._teacher_times}
            WholeCheckpoints().save_checkpoint(content, checkpoint)
            tell(self.epoch, 0)

    def _restore(self, checkpoint: Path, settings: dict[str, Any]) -> None:
        path = _found(checkpoint.parent)
        if path is None:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            return
        saved = read_checkpoint(path)
        check_same_run(path, saved[SETTINGS], settings)
        for name, state in self.states.items():  # there may be arms that are no longer asked for
            state.restore(saved["state_dict"][name])
        self.epoch, self._teacher_times = saved["epoch"], list(saved["teacher"])

    def _look_before(self) -> None:
        """The accuracy, before the first step, of the arms that do not begin with first weights of their own."""
        states = [state for state in self.running() if state.init is not None]
        accuracies = self.accuracies("val", states) if states else {}
        for state in states:
            state.init = cast(dict[str, Any], state.init) | {"accuracy": accuracies[state.arm.name]}

    def _epoch(self, tell: Callable[[int, int], None]) -> None:
        seed, steps, start = self.run.seed, self.batches.steps, time.perf_counter()
        sums: dict[str, dict[str, Tensor]] = {state.arm.name: {} for state in self.running()}
        shares: dict[str, float | None] = {}
        most = min(steps, self.run.most_steps or steps)
        for number, (images, labels) in enumerate(islice(self.batches.train(seed, self.epoch), most)):
            tell(self.epoch, number)
            images, labels = self._placed(images), labels.to(self.device)
            progress = (self.epoch * steps + number) / (self.recipe.epochs * steps)
            began = time.perf_counter()
            seen = self._teach(images, labels)
            if self._taught and 0 < number < TIMED:
                self._teacher_times.append(time.perf_counter() - began)
            for state in self.running():
                name, began = state.arm.name, time.perf_counter()
                seed_all(seed, self.epoch, number)
                try:
                    terms, share = state.step(images, labels, seen.get(name), progress, measured=number == 0)
                except Exception as error:  # of one arm, which is taken out; the others go on
                    state.failed = f"epoch {self.epoch + 1}, step {number + 1}: {error}"
                    continue
                if number == 0:
                    shares[name] = share
                elif number < TIMED:
                    state.times.append(time.perf_counter() - began)
                sums[name] = {term: sums[name].get(term, 0.0) + value for term, value in terms.items()}
        accuracies = self.accuracies("val")
        for state in self.running():
            name = state.arm.name
            row = {"epoch": self.epoch + 1} | {term: float(value) / most for term, value in sums[name].items()}
            row["val_accuracy"] = accuracies[name]
            share = shares.get(name)
            state.history.append(
                row | ({} if share is None else {"share": share}) | {"seconds": round(time.perf_counter() - start, 2)}
            )

    def _teach(self, images: Tensor, labels: Tensor) -> dict[str, Observation]:
        """What the teacher shows to each arm that uses it, of one forward."""
        if self.teacher is None or not self._taught:
            return {}
        first = next(iter(self._taught.values()))
        with autocast(self.recipe, self.device):
            return self._shared.observe(self.teacher.network, first.read(images, labels))

    def accuracies(self, part: Part, states: Sequence[ArmState] | None = None) -> dict[str, float]:
        """Of these arms, by default of all that have not failed, on a part, percent."""
        states = self.running() if states is None else states
        right, count = dict.fromkeys((state.arm.name for state in states), 0), 0
        seen: list[Tensor] = []
        for images, labels in islice(self.batches.part(part), self.run.most_steps):
            most = self.recipe.batch_size if self.run.smoke else len(labels)
            count += self._count_right(self._placed(images[:most]), labels[:most].to(self.device), right, states)
            seen.append(labels[:most])
        self.guessed[part] = 100 * guessing(torch.cat(seen)).most
        return {name: 100 * number / count for name, number in right.items()}

    @torch.no_grad()
    def _count_right(self, images: Tensor, labels: Tensor, right: dict[str, int], states: Sequence[ArmState]) -> int:
        """Add how many images each of these arms gets right; how many images there are."""
        for state in states:
            state.distiller.eval()
            with autocast(self.recipe, self.device):
                logits = state.distiller.predict(images)
            right[state.arm.name] = right.get(state.arm.name, 0) + int((logits.argmax(1) == labels).sum())
        return len(labels)

    def costs(self, state: ArmState, part: Part = "test") -> dict[str, float | None]:
        """Time of a step, of the teacher, firing rate and energy of one image of a part."""
        images = self.batches.some(part, 1 if self.run.smoke else ENERGY_IMAGES)
        counted = firing_and_energy(state.distiller.student.cpu(), images, self.recipe)
        state.distiller.to(self.device)
        teacher = self._teacher_times if state.distiller.uses_teacher else []
        return counted | {
            "step_ms": 1000 * median(state.times) if state.times else None,
            "teacher_ms": 1000 * median(teacher) if teacher else None,
        }


def _why(error: Exception) -> str:
    """The message of an error, with flags for the layers; other arguments are those of a method, which an arm takes."""
    return error.render(LAYERS) if isinstance(error, ArgumentError) else in_flags(str(error))


def saved_arms(folder: Path) -> list[str]:
    """Names of the arms in the checkpoint of a folder; none where there is no checkpoint."""
    path = _found(folder)
    return [] if path is None else list(read_checkpoint(path)["state_dict"])


def _found(folder: Path) -> Path | None:
    return find_checkpoint("latest", folder) if any(folder.glob("*.ckpt")) else None
