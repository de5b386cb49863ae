"""The schema of a row's ``record.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .checks import check_record
from .files import FORMAT, read_record, write_record
from .history import is_over, summary
from .parts import Accuracy, RecordedData, RecordedStudent, RecordedTeacher, TestFigures, part_from
from .ran_on import environment

if TYPE_CHECKING:  # a table needs neither data sets nor Lightning
    from ..build import Built
    from ..data import Data
    from ..options import Run
    from ..recipe import Recipe
    from ..teacher_input import Teacher

__all__ = ["Record"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """The schema of ``record.json``, written anew after each epoch.

    Attributes:
        format: of the schema; a record of before is brought to this one when it is read.
        row: name of the recipe.
        paper_accuracy: percent, as reported; None where nothing was.
        method: the recipe's text, or ``"teacher"`` for the training of an ANN.
        seed: of the run.
        data: what it was trained and tested on.
        recipe: every value that decides about the outcome.
        sources: name of a value -> where it is from.
        options: the other flags.
        smoke: whether it only showed that everything runs.
        environment: versions, git commit, device, threads, command.
        student: of a row; None in the training of a teacher.
        teacher: of a row that has one.
        network: in the training of a teacher: its function and keywords.
        init: what the student began with, where it was not its own first weights: source, how many tensors fitted and
            which did not, and its accuracy before the first step.
        acceleration: what was tried to make steps cheaper and is on, where it was asked for, see
            :class:`~spikingjelly_ckd.acceleration.Acceleration`.
        chosen: what the distiller decided at run time: layers, layouts, read-outs, automatic weights.
        preflight: its report; None where there was none.
        resumed_after_epochs: at which epochs it was interrupted and resumed.
        teacher_cache: folder, views, size and time of filling, if one was used.
        neurons: what the student's neurons ran on.
        processes: how many trained.
        finished: whether all epochs are done, or early stopping ended them.
        accuracy: None before the first epoch.
        test: of a run with a validation part, once it is done; None where the test set was looked at after each epoch.
        accuracy_by_step: percent in the last evaluation, of the test set once the run is done, by the mean of the
            logits up to each time step; None where the student does not return them.
        seconds: of training and evaluation, without filling a cache.
        history: one row for each epoch.
        energy: operations and energy of one image for each network, if they were counted.
        path: of the file that it was read from; not written.

    Example:
        >>> import tempfile
        >>> record = Record(
        ...     row="digits", method="kd", seed=0, recipe={"epochs": 2},
        ...     data=RecordedData(name="digits", split="40-20-40", split_hash="0" * 64))
        >>> record = record.after([{"epoch": epoch, "test_acc1": 60.0 + epoch, "seconds": 1.5} for epoch in (1, 2)])
        >>> path = record.write(Path(tempfile.mkdtemp(), "record.json"))
        >>> Record.read(path).test_accuracy, record.finished, record.seconds
        (62.0, True, 3.0)
    """

    format: int = FORMAT
    row: str
    paper_accuracy: float | None = None
    method: str
    seed: int
    data: RecordedData
    recipe: dict[str, Any]
    sources: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    smoke: bool = False
    environment: dict[str, Any] = field(default_factory=dict)
    student: RecordedStudent | None = None
    teacher: RecordedTeacher | None = None
    network: dict[str, Any] | None = None
    init: dict[str, Any] | None = None
    acceleration: dict[str, Any] | None = None
    chosen: dict[str, Any] | None = None
    preflight: dict[str, Any] | None = None
    resumed_after_epochs: list[int] = field(default_factory=list)
    teacher_cache: dict[str, Any] | None = None
    neurons: str | None = None
    processes: int | None = None
    finished: bool = False
    accuracy: Accuracy | None = None
    test: TestFigures | None = None
    accuracy_by_step: list[float] | None = None
    seconds: float | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    energy: dict[str, Any] | None = None
    path: Path | None = field(default=None, compare=False)

    @classmethod
    def start(
        cls,
        recipe: Recipe,
        run: Run,
        data: Data,
        *,
        method: str | None = None,
        student: Built | None = None,
        teacher: Teacher | None = None,
        network: dict[str, Any] | None = None,
    ) -> Record:
        """What is known before the first step.

        Args:
            recipe: of the row.
            run: its flags.
            data: as loaded.
            method: None for the recipe's.
            student: of a row.
            teacher: of a row that has one.
            network: function and keywords of an ANN that is trained.
        """
        return cls(
            row=recipe.name,
            paper_accuracy=recipe.paper_accuracy,
            method=method or recipe.method,
            seed=run.seed,
            data=RecordedData(
                name=data.name,
                split=data.split,
                split_hash=data.split_hash,
                complete=data.complete,
                classes=data.num_classes,
                val_images=None if data.validation is None else len(data.validation),  # type: ignore[arg-type]
                content=data.content,
            ),
            recipe=recipe.to_json(),
            sources=recipe.sources,
            options=run.to_json(),
            smoke=run.smoke,
            environment=environment(),
            student=None if student is None else RecordedStudent.of(student),
            teacher=None if teacher is None else RecordedTeacher.of(teacher),
            network=network,
        )

    def after(self, rows: Sequence[dict[str, float]]) -> Record:
        """The record after the epochs of these rows of the history."""
        part: Literal["val", "test"] = "test" if self.data.val_images is None else "val"
        reached = [row[f"{part}_acc1"] for row in rows]
        return replace(
            self,
            finished=is_over(reached, self.recipe["epochs"], self.recipe.get("early_stop", 0)),
            accuracy=Accuracy(**summary(reached), part=part),
            seconds=round(sum(row["seconds"] for row in rows), 1),
            history=list(rows),
        )

    @property
    def test_accuracy(self) -> float | None:
        """Percent on the test set after the last epoch; None where it was not looked at yet."""
        if self.result.part == "test":
            return self.result.last
        return None if self.test is None else self.test.last

    @property
    def result(self) -> Accuracy:
        """The accuracies.

        Raises:
            ValueError: no epoch was finished.
        """
        if self.accuracy is None:
            raise ValueError(f"the record of row {self.row}, seed {self.seed} has no finished epoch")
        return self.accuracy

    def to_json(self) -> dict[str, Any]:
        """Plain data but for paths; networks that this kind of run has not are left out."""
        content = asdict(self)
        del content["path"]
        optional_parts = ("student", "teacher", "network", "init", "acceleration", "test", "accuracy_by_step")
        absent = [name for name in optional_parts if content[name] is None]
        if self.data.val_images is None:  # as in records from before there was a validation part
            del content["data"]["val_images"]
            (content["accuracy"] or {}).pop("part", None)
        if self.data.content is None:  # likewise
            del content["data"]["content"]
        return {name: value for name, value in content.items() if name not in absent}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Record:
        """The record of a row that :meth:`to_json` wrote, now or in an earlier format.

        Raises:
            ValueError: it lacks something that every record of a row has, an entry is of another kind, or its parts
                contradict each other.
        """
        check_record(content)
        parts = {"data": RecordedData, "student": RecordedStudent, "teacher": RecordedTeacher}
        parts |= {"accuracy": Accuracy, "test": TestFigures}
        made: dict[str, Any] = {
            name: part_from(part, content[name]) for name, part in parts.items() if content.get(name) is not None
        }
        return part_from(cls, {**content, **made, "format": FORMAT})

    @classmethod
    def read(cls, path: str | Path) -> Record:
        """Read a file.

        Raises:
            ValueError: it is no record of a row.
        """
        content = read_record(path)
        try:
            return replace(cls.from_json(content), path=Path(path))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def write(self, path: str | Path) -> Path:
        """Write a file, whole or not at all; paths become strings."""
        return write_record(path, self.to_json())
