"""The study: which method helps a small spiking ResNet on CIFAR-10, with eight paired seeds.

    python benchmarks/study.py --data-path DIR --teacher FILE --output-dir benchmarks/results/study

This is ``python -m spikingjelly_ckd compare`` with the flags of the protocol; its other flags may follow, and override
them: ``--seeds``, ``--jobs``, ``-T 4``. ``--arms`` takes some of the arms, ``--list`` prints them. DIR is CIFAR-10 as
torchvision has it, or a tree of class folders; the runs in the repository used a copy whose images are JPEG.
``python benchmarks/study.py --teacher-command`` prints how its teacher was trained, and this measures it:

    python benchmarks/study.py --measure-teacher FILE --data-path DIR

The second teacher is fine-tuned by ``fine_tuned.py`` and measured with ``--teacher-build fine_tuned:lite0 --record
study_lite0_teacher``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from protocol import parser_of, read
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchmetrics.functional.classification import multiclass_calibration_error

from spikingjelly_ckd.recipes.compare.command import main as compare
from spikingjelly_ckd.recipes.data import Data, DataOptions, cifar10
from spikingjelly_ckd.recipes.flag_readers import function_named
from spikingjelly_ckd.recipes.models import resnet20
from spikingjelly_ckd.recipes.names import shown
from spikingjelly_ckd.recipes.records import environment, write_record
from spikingjelly_ckd.recipes.teachers import Teacher, load_teacher

RESULTS = Path(__file__).parent / "results"

SIZE = ("--size", "24", "--crop-padding", "3", "--flip")
PROTOCOL = (
    *("--data", "cifar10", "--train-images", "25000", "--val-images", "5000", *SIZE),
    *("--student", "spikingjelly_ckd.recipes.models:spiking_resnet8"),
    *("-T", "1", "--epochs", "15", "-b", "128", "--lr", "0.1", "--wd", "0.0001", "--seeds", *"01234567"),
    *("--amp", "bf16-mixed", "--channels-last"),
)
"""Flags of the main table: 20,000 images to train on and 5,000 held out, which choose; the test images are looked at
once, at the end."""
TEACHER = (
    *("examples/train_teacher.py", "cifar10_r20", "--val-images", "5000", *SIZE, "--auto-augment", "", "--erase", "0"),
    *("--epochs", "60", "-b", "256", "--lr", "0.4", "--wd", "0.0005", "--warmup-epochs", "3", "--amp", "32-true"),
)
"""How its teacher was trained, on all images that are neither held out nor tested."""
ARMS: dict[str, str] = {
    "CKD (paper)": "ckd",
    "CKD, beta 10": "ckd:beta=10.0",
    "CKD, share held": "ckd:beta=hold",
    "CKD (released)": "ckd:variant=released",
    "SAMD 1": "samd",
    "SAMD 10": "samd:weight=10.0",
    "NLD": "nld",
    "KD 0.1 / 0.9": "kd",
    "KD 1 / 1, tau 2": "kd:weight=1.0,task_weight=1.0,temperature=2.0",
    "KDSNN": "kdsnn",
    "BKDSNN, features": "bkdsnn:logits_weight=0.0",
    "BKDSNN": "bkdsnn",
    "EnOF": "enof",
    "TET": "tet",
    "TDKD": "tdkd",
    "AT": "at",
    "LS-KD": "lskd",
    "RLD": "rld",
    "WTTM": "wttm",
    "VkD": "vkd",
}
"""Name -> method, with the weights of its source; the controls are added by the comparison."""


def measure_teacher(file: str, folder: str, build: Callable[..., nn.Module], what: str) -> dict[str, Any]:
    """Accuracy, cross-entropy and calibration error of a teacher on the held-out and the test images."""
    data = cifar10(folder, DataOptions(size=24, val_images=5000))
    teacher = load_teacher(file, data, build, {"num_classes": data.num_classes})
    assert data.validation is not None
    parts = {"held out": data.validation, "test": data.test}
    found = {name: _quality(teacher, data, part) for name, part in parts.items()}
    about = {"sha256": teacher.sha256, "made": teacher.made, "split": data.split, "split_hash": data.split_hash}
    return {"what": what, "quality": found, **about, "environment": environment()}


@torch.no_grad()
def _quality(teacher: Teacher, data: Data, part: Dataset[Any]) -> dict[str, float]:
    prepared = teacher.input_for(data)
    seen: list[tuple[Tensor, Tensor]] = [
        (teacher.network(images if prepared is None else prepared(images)), labels)
        for images, labels in DataLoader(part, 256)
    ]
    logits, labels = (torch.cat(parts) for parts in zip(*seen, strict=True))
    error = multiclass_calibration_error(logits.softmax(1), labels, logits.shape[1], n_bins=15)
    right = (logits.argmax(1) == labels).float().mean()
    return {
        "images": len(labels),
        "accuracy": 100 * float(right),
        "cross_entropy": float(cross_entropy(logits, labels)),
        "calibration_error": float(error),
    }


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--teacher-command", action="store_true", help="print how the teacher is trained, and go")
    parser.add_argument("--measure-teacher", metavar="FILE", help="write a record of its quality, and go")
    parser.add_argument("--record", default="study_teacher", metavar="NAME", help="of that record, in results")
    parser.add_argument("--teacher-build", type=function_named, metavar="MODULE:FUNCTION")
    parser.add_argument("--data-path", metavar="DIR")
    args, more = read(parser, sys.argv[1:], ARMS)
    more += [] if args.data_path is None else ["--data-path", args.data_path]
    build = args.teacher_build
    more += [] if build is None else ["--teacher-build", shown(build)]
    if args.measure_teacher:
        if args.data_path is None:
            parser.error("--measure-teacher needs --data-path DIR")
        record = measure_teacher(args.measure_teacher, args.data_path, build or resnet20, args.record)
        print(record["quality"])
        write_record(RESULTS / f"{args.record}.json", record)
        return
    if args.teacher_command:
        print("python", *(part or '""' for part in TEACHER), "--data-path DIR --output-dir runs/study_teacher")
        return
    arms = ARMS.values() if args.arms is None else [ARMS[name] for name in args.arms]
    sys.exit(compare([*PROTOCOL, "--methods", *arms, *more]))


if __name__ == "__main__":
    main()
