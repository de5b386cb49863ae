"""The record of one arm and one seed: what ran, and what came out."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..files import set_aside
from ..records.files import read_record, write_record
from ..untrusted import MAPPING, TEXT, Kind, check_kinds, list_of, mapping_of, number, optional, whole

__all__ = [
    "KIND",
    "RECORDS",
    "STUDENTS",
    "ArmRecord",
    "in_a_new_folder",
    "read_records",
    "set_damaged_aside",
    "warnings_of",
]

KIND = "comparison"
"""What the file of such a record calls itself."""
RECORDS = "records"
"""Where they lie, below the output folder of a comparison."""
STUDENTS = "students"
"""Where the students lie that are kept."""
OUTPUT = "--output-dir"
PERCENT = optional(number(0, 100))
KINDS: dict[str, Kind] = {
    "arm": TEXT,
    "control": TEXT,
    "seed": whole(0, 2**64),
    "method": MAPPING,
    "asked": MAPPING,
    "data": MAPPING,
    "teacher": optional(MAPPING),
    "history": list_of(MAPPING),
    "skipped": whole(0, 2**64),
    "val_accuracy": PERCENT,
    "test_accuracy": PERCENT,
    "step_ms": optional(number(0)),
    "teacher_ms": optional(number(0)),
    "firing_rate": optional(number(0, 1)),
    "energy_mj": optional(number(0)),
    "failed": optional(TEXT),
    "chosen": MAPPING,
    "environment": MAPPING,
    "command": TEXT,
}
VALUES, TRIALS = mapping_of(number()), whole(1, 2**32)
TUNED = Kind(
    "an object with values and trials",
    lambda value: MAPPING.fits(value) and VALUES.fits(value.get("values")) and TRIALS.fits(value.get("trials")),
)
INIT = Kind(
    "an object with source, fitted, tensors and accuracy",
    lambda value: (
        MAPPING.fits(value)
        and TEXT.fits(value.get("source"))
        and all(whole(0, 2**32).fits(value.get(name)) for name in ("fitted", "tensors"))
        and PERCENT.fits(value.get("accuracy"))
    ),
)
LATER: dict[str, Kind] = {
    "init": optional(INIT),
    "preflight": optional(MAPPING),
    "mac_share": optional(number(0, 1)),
    "guessing": PERCENT,
}
"""What the first records of comparisons do not have."""
EPOCH: dict[str, Kind] = {"val_accuracy": PERCENT, "share": optional(number(0)), "loss": optional(number())}


def warnings_of(preflight: Mapping[str, Any] | None, left_out: Collection[str] = ()) -> list[str]:
    """What a preflight warns of.

    Args:
        preflight: as in :attr:`ArmRecord.preflight`.
        left_out: names of checks to pass over.

    Example:
        >>> warnings_of({"checks": [{"name": "map size", "status": "warn", "message": "2x2"}]})
        ['map size: 2x2']
    """
    checks = (preflight or {}).get("checks")
    entries = [check for check in checks if isinstance(check, Mapping)] if isinstance(checks, list) else []
    return [
        f"{check.get('name')}: {check.get('message')}"
        for check in entries
        if check.get("status") == "warn" and check.get("name") not in left_out
    ]


@dataclass(frozen=True, kw_only=True)
class ArmRecord:
    """One run of a comparison.

    Attributes:
        arm: as it was asked for, such as ``"ckd"`` or ``"kd:weight=0.5"``.
        control: the arm that it is compared with.
        seed: of weights, order, augmentation and noise; runs of one seed are a pair.
        method: what the arm is, in words: losses, weights, task loss, schedule, source; of a tuned arm also ``tuned``:
            the ``values`` that were taken, which stand in place of those in ``asked``, and every trial; and ``own``: of
            an arm such as ``"kd@lr=0.03"`` the values that stand in place of those in ``asked``.
        asked: everything else that decides about the outcome, common to all arms.
        data: name, split and hash of the data.
        teacher: its source, sha256, accuracy (percent) and the part it is of; None for an arm without one.
        history: of each epoch: ``loss``, ``task``, one entry for each loss, ``share`` (norm of the gradient of the
            weighted losses beside that of the task loss, over the student's parameters, on the first batch),
            ``val_accuracy`` (percent) and ``seconds``.
        skipped: images that losses left out since their teacher map is constant, over the whole run.
        val_accuracy: on the held-out part, after the last epoch, percent.
        test_accuracy: on the test part, looked at once, after the last epoch, percent.
        guessing: the greatest accuracy there that always giving the most frequent class explains, percent.
        step_ms: median time of a training step, without loading and, for all arms alike, without the teacher's forward.
        teacher_ms: median time of the teacher's forward, which all arms share.
        firing_rate: share of spikes, from 0 to 1, on images of the test part.
        energy_mj: of one image, see :func:`~spikingjelly_ckd.recipes.report.energy.measure_energy`.
        mac_share: of that energy, the share of multiply-accumulates, from 0 to 1.
        failed: why it ended before the last epoch; None for a whole run.
        init: of a student that began with the weights of its teacher or of a file: ``source``, what fitted, and its
            ``accuracy`` on the held-out part before the first step, percent; None for first weights of its own.
        chosen: layers, read-outs and measured weights.
        preflight: what :func:`~spikingjelly_ckd.preflight` found before the training of the first seed; None for an arm
            without a teacher, and where there was none.
        environment: versions, commit, device.
        command: that made it.
        path: of the file that it was read from; not written.
    """

    arm: str
    control: str
    seed: int
    method: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    teacher: dict[str, Any] | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    skipped: int = 0
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    guessing: float | None = None
    step_ms: float | None = None
    teacher_ms: float | None = None
    firing_rate: float | None = None
    energy_mj: float | None = None
    mac_share: float | None = None
    failed: str | None = None
    init: dict[str, Any] | None = None
    chosen: dict[str, Any] = field(default_factory=dict)
    preflight: dict[str, Any] | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    path: Path | None = field(default=None, compare=False)

    @property
    def greatest_share(self) -> float | None:
        """The largest share of the distillation's gradient in an epoch; None without a distillation loss."""
        return max((row["share"] for row in self.history if row.get("share") is not None), default=None)

    @property
    def warnings(self) -> list[str]:
        """What the preflight warns of.

        Left out are shares of the gradient, of which :attr:`history` tells more, and a lack of spikes where the method
        needs a student that ends in ReLU.
        """
        left_out = {"gradient share"} | ({"spikes"} if "ReLU" in str(self.method.get("needs")) else set())
        return warnings_of(self.preflight, left_out)

    def to_json(self) -> dict[str, Any]:
        """Plain data, as the file has it."""
        content = asdict(self)
        del content["path"]
        return {"kind": KIND, **content}

    def write(self, path: Path) -> Path:
        """Write the record, whole or not at all."""
        return write_record(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> ArmRecord:
        """Read what :meth:`write` wrote.

        Raises:
            OSError: the file cannot be opened.
            ValueError: it is no such record, or a value is of the wrong kind.
        """
        content = read_record(path)
        if content.get("kind") != KIND:
            raise ValueError(f"{path} is no record of a comparison")
        _check(path, content)
        content["path"] = path
        return cls(**{item.name: content[item.name] for item in fields(cls) if item.name in content})


def read_records(folder: Path) -> list[ArmRecord]:
    """The records of a comparison, in the order of arm and seed.

    Args:
        folder: the output folder of the comparison, or its ``records``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: one cannot be read.
    """
    inside = folder / RECORDS
    records = [ArmRecord.read(path) for path in sorted((inside if inside.is_dir() else folder).glob("*.json"))]
    if not records:
        raise FileNotFoundError(f"{folder} holds no record of a comparison")
    return records


def in_a_new_folder(command: str) -> str:
    """The command of a comparison with another folder, where it trains: in its own one it finds what it left.

    Example:
        >>> in_a_new_folder("python -m spikingjelly_ckd compare --methods kd --output-dir 'my runs'")
        "python -m spikingjelly_ckd compare --methods kd --output-dir 'my runs-again'"
        >>> in_a_new_folder("python -m spikingjelly_ckd compare --methods kd")
        'python -m spikingjelly_ckd compare --methods kd --output-dir runs/compare-again'
    """
    try:
        words = shlex.split(command)
    except ValueError:  # not written by this package
        return command
    for place, word in enumerate(words):
        if word == OUTPUT and place + 1 < len(words):
            words[place + 1] = f"{words[place + 1].rstrip('/')}-again"
        elif word.startswith(f"{OUTPUT}="):
            words[place] = f"{word.rstrip('/')}-again"
    given = any(word.partition("=")[0] == OUTPUT for word in words)
    return shlex.join(words if given else [*words, OUTPUT, "runs/compare-again"])


def set_damaged_aside(folder: Path) -> None:
    """Rename the records that cannot be read, so that their runs are done again and the others are kept.

    Args:
        folder: with the records; none where it is not there.
    """
    for path in sorted(folder.glob("*.json")):
        try:
            ArmRecord.read(path)
        except ValueError as error:
            set_aside(path, error)


def _check(path: Path, content: Mapping[str, Any]) -> None:
    """Raise unless the values are of their kinds."""
    missing = [name for name in KINDS if name not in content]
    if missing:
        raise ValueError(f"{path}: a record of a comparison says {', '.join(missing)}, and this one does not")
    check_kinds(content, KINDS, str(path))
    check_kinds(content["method"], {"tuned": TUNED}, f"{path}, method")
    check_kinds(content, LATER, str(path))
    for row in content["history"]:
        check_kinds(row, EPOCH, f"{path}, history")
    if content["failed"] is None and content["test_accuracy"] is None:
        raise ValueError(f"{path}: a run that did not fail has a test_accuracy, and this one has none")
