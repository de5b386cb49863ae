"""What a comparison was asked for, and what every process of it makes of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..comparison.records import RECORDS, STUDENTS, ArmRecord
from ..data import Data
from ..method_parts import describe
from ..names import shown
from ..options import Run
from ..recipe import Recipe
from ..records.ran_on import environment
from ..row_data import load_data
from ..teachers import named_teacher
from .arm_state import ArmState
from .arms import Arm
from .batches import Batches, batches_of, cropped
from .lockstep import Seed

__all__ = ["Plan"]

NOT_ASKED = ("name", "paper_accuracy", "method", "parts", "last_activation")


@dataclass(frozen=True)
class Plan:
    """Everything that a process needs to run one seed.

    Attributes:
        recipe: what all arms have in common.
        run: flags; its seed is replaced by that of each process.
        arms: with their controls.
        folder: of the comparison.
        teacher: path or ``timm:NAME``; None where no arm uses one.
        teacher_accuracy: on the validation part, percent.
        crop: height and width cut out of each image, or None.
        channels_last: memory format.
        keep_students: whether every trained student is written.
        command: as it was typed.
        preflights: name of an arm -> what its preflight found on a batch of the first seed, as plain data.
    """

    recipe: Recipe
    run: Run
    arms: tuple[Arm, ...]
    folder: Path
    teacher: str | None
    teacher_accuracy: float | None = None
    crop: int | None = None
    channels_last: bool = False
    keep_students: bool = field(default=False, compare=False)
    command: str = field(default="", compare=False)
    preflights: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def load_data(self) -> Data:
        """The data of all arms, before anything is cut out of the images."""
        return load_data(self.recipe, self.run)

    def batches(self, data: Data) -> Batches:
        """Its batches."""
        options = self.recipe.data_options()
        return batches_of(data, options, self.recipe.batch_size, self.crop, self.run.workers)

    def begin(self, seed: int, data: Data, batches: Batches | None = None) -> Seed:
        """The arms of one seed before their first step.

        Args:
            seed: which.
            data: as :meth:`load_data` returns them.
            batches: of these data, where they are at hand.
        """
        run, seen, teacher = replace(self.run, seed=seed), cropped(data, self.crop), None
        if self.teacher is not None:
            teacher = named_teacher(self.teacher, self.recipe, run, seen)
        batches = batches or self.batches(data)
        return Seed(self.arms, run, seen, batches, teacher, channels_last=self.channels_last)

    def asked(self) -> dict[str, Any]:
        """Everything that decides about the outcome of all arms, as plain data."""
        values = {name: value for name, value in self.recipe.to_json().items() if name not in NOT_ASKED}
        flags = ("train_images", "test_images", "val_images", "num_classes", "allow_partial", "smoke")
        values |= {name: getattr(self.run, name) for name in flags}
        return values | {"crop": self.crop, "channels_last": self.channels_last}

    def settings(self, seed: int) -> dict[str, Any]:
        """What a checkpoint must have in common with the run that goes on from it."""
        return self.asked() | {"seed": seed, "teacher": self.teacher}

    def without_record(self, seed: int) -> tuple[Arm, ...]:
        """The arms that have no record of a seed."""
        return tuple(arm for arm in self.arms if not self.record_path(arm, seed).is_file())

    def checkpoints(self, seed: int) -> Path:
        """Folder of the checkpoints of a seed."""
        return self.folder / "checkpoints" / f"seed{seed}"

    def record_path(self, arm: Arm, seed: int) -> Path:
        """Where the record of a run is written."""
        return self.folder / RECORDS / arm.file(seed)

    def student_path(self, arm: Arm, seed: int) -> Path:
        """Where the student of a run is written, if it is kept."""
        return (self.folder / STUDENTS / arm.file(seed)).with_suffix(".safetensors")

    def record(self, found: Seed, state: ArmState, data: Data, accuracies: dict[str, float]) -> ArmRecord:
        """The record of one arm that has ended."""
        arm, teacher = state.arm, found.teacher
        whole = state.failed is None
        costs: dict[str, Any] = dict(found.costs(state)) if whole else {}
        taught: dict[str, Any] | None = None
        if teacher is not None and arm.recipe.uses_teacher:
            taught = {"source": teacher.source, "sha256": teacher.sha256}
            taught |= {"accuracy": self.teacher_accuracy, "part": data.measured_part}
        more = {} if arm.tuned is None else {"tuned": dict(arm.tuned)}
        own = arm.own()
        more |= {"own": own} if own else {}
        return ArmRecord(
            arm=arm.name,
            control=arm.control,
            seed=found.run.seed,
            method={"text": arm.recipe.method, "factor": arm.factor, **describe(arm.recipe.read_method()), **more},
            asked=self.asked() | {"student": shown(arm.recipe.student), "build_options": arm.recipe.build_options()},
            data={"name": data.name, "split": data.split, "split_hash": data.split_hash, "complete": data.complete},
            teacher=taught,
            history=state.history,
            skipped=state.skipped,
            val_accuracy=state.history[-1]["val_accuracy"] if whole and state.history else None,
            test_accuracy=accuracies.get(arm.name),
            guessing=found.guessed.get("test"),
            failed=state.failed,
            init=state.init,
            chosen=state.distiller.chosen(),
            preflight=self.preflights.get(arm.name),
            environment=environment(),
            command=self.command,
            **costs,
        )
