"""The parts of a row's record: its data, its networks, its accuracies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:  # a table needs neither data sets nor Lightning
    from ..build import Built
    from ..teacher_input import Teacher

__all__ = ["Accuracy", "RecordedData", "RecordedStudent", "RecordedTeacher", "TestFigures", "part_from"]

_Part = TypeVar("_Part")


@dataclass(frozen=True, kw_only=True)
class RecordedData:
    """The data of a run, as :class:`~spikingjelly_ckd.recipes.data.Data` describes them.

    Attributes:
        name: of the data set.
        split: its name.
        split_hash: sha256 of what is in which part.
        complete: False where files are missing or others.
        classes: how many; None in a record that does not say it.
        val_images: how many were held out of the training part for validation; None for none.
        content: eight digits of a sha256 over some samples; None in a record that does not say it.

    Example:
        >>> data = RecordedData(name="digits", split="40-20-40", split_hash="0" * 64, val_images=359)
        >>> data.val_images, data.complete
        (359, True)
    """

    name: str
    split: str
    split_hash: str
    complete: bool = True
    classes: int | None = None
    val_images: int | None = None
    content: str | None = None


@dataclass(frozen=True, kw_only=True)
class RecordedStudent:
    """The network that a run trained.

    Attributes:
        build: function that made it, ``module:name``.
        arguments: its keywords.
        parameters: how many.
        sha256: of its file; None before it is written.

    Example:
        >>> from spikingjelly_ckd.recipes.build import Built
        >>> from spikingjelly_ckd.recipes.models import spiking_resnet8
        >>> student = RecordedStudent.of(Built(spiking_resnet8(10), spiking_resnet8, {"num_classes": 10}))
        >>> student.build, student.parameters
        ('spikingjelly_ckd.recipes.models:spiking_resnet8', 78042)
    """

    build: str
    arguments: dict[str, Any]
    parameters: int
    sha256: str | None = None

    @classmethod
    def of(cls, built: Built) -> RecordedStudent:
        """A student before its training."""
        return cls(build=built.name, arguments=built.arguments, parameters=built.parameters)


@dataclass(frozen=True, kw_only=True)
class RecordedTeacher:
    """The network that it learned from.

    Attributes:
        source: where it came from.
        sha256: of its file; None for timm's own weights.
        accuracy: percent, measured on the validation part, or on the test set where there is none.
        made: how it was made, as its own file says: network, data, recipe with its epochs, seed; None where it says
            nothing.

    Example:
        >>> from spikingjelly_ckd.recipes.models import resnet8
        >>> from spikingjelly_ckd.recipes.teachers import Teacher
        >>> teacher = Teacher(resnet8(10), "teacher.safetensors", None, None, None, None, measured_accuracy=91.5)
        >>> RecordedTeacher.of(teacher)
        RecordedTeacher(source='teacher.safetensors', sha256=None, accuracy=91.5, made=None)
    """

    source: str
    sha256: str | None = None
    accuracy: float | None = None
    made: dict[str, Any] | None = None

    @classmethod
    def of(cls, teacher: Teacher) -> RecordedTeacher:
        """A teacher that was checked."""
        return cls(source=teacher.source, sha256=teacher.sha256, accuracy=teacher.measured_accuracy, made=teacher.made)


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """What :func:`~spikingjelly_ckd.recipes.records.history.summary` finds, percent, after each epoch.

    Attributes:
        last: of the last epoch.
        mean_last_5: over the last five.
        best: of the best epoch, which is chosen on ``part``.
        best_epoch: from 1.
        epochs: how many.
        part: ``"val"``, the part that was held out for validation, or ``"test"``, the test set.

    Example:
        >>> from spikingjelly_ckd.recipes.records import summary
        >>> Accuracy(**summary([60.0, 64.0, 62.0]), part="val")
        Accuracy(last=62.0, mean_last_5=62.0, best=64.0, best_epoch=2, epochs=3, part='val')
    """

    last: float
    mean_last_5: float
    best: float
    best_epoch: int
    epochs: int
    part: Literal["val", "test"] = "test"


@dataclass(frozen=True, kw_only=True)
class TestFigures:
    """A look at the test set after the training, where choices are made on a validation part; percent.

    Attributes:
        last: with the weights of the last epoch.
        best: with those of the epoch that was best on the validation part; None where they are no longer there.

    Example:
        >>> figures = TestFigures(last=61.5, best=62.25)
        >>> figures.best - figures.last
        0.75
    """

    __test__ = False  # no test for pytest

    last: float
    best: float | None = None


def part_from(kind: type[_Part], content: Mapping[str, Any]) -> _Part:
    """A dataclass from those keys of a mapping that it has.

    Args:
        kind: the dataclass.
        content: of the file.

    Raises:
        ValueError: a value is missing.

    Example:
        >>> part_from(TestFigures, {"last": 61.5, "a later version's": 1})
        TestFigures(last=61.5, best=None)
    """
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    needed = [name for name, item in known.items() if item.default is MISSING and item.default_factory is MISSING]
    missing = [name for name in needed if name not in content]
    if missing:
        raise ValueError(f"a record of a row says {', '.join(missing)}, and this one does not")
    return kind(**{name: value for name, value in content.items() if name in known})
