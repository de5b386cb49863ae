"""Folders of runs for the tests of the report: an honest comparison, rows, and records that somebody hostile wrote."""

import json
from pathlib import Path

from spikingjelly_ckd.recipes.comparison.records import ArmRecord
from spikingjelly_ckd.recipes.records import FORMAT

SCRIPT = "<script>window.hit = true</script>"
HOSTILE = (
    SCRIPT,
    "\"><img src=x onerror='window.hit = true'>",
    "'; window.hit = true; '",
    "javascript:window.hit=true",
    "</style></title><svg onload=window.hit=true>",
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac{1}{$ _x & ]]> -->",
    "_hidden",
    "\u202egnp.exe\u0000\u001b[2J",
    "数据集 🐙",
    "x" * 9000,
    "long words " * 600,
    "",
)
DATA = {"name": "digits", "split": "40-20-40", "split_hash": "ab" * 32, "complete": True}
ASKED = {"student": "nets:spiking_resnet8", "time_steps": 4, "epochs": 3, "batch_size": 32, "lr": 0.1, "smoke": False}
TEACHER = {"source": "teacher.safetensors", "sha256": "c" * 64, "accuracy": 91.5, "part": "val"}
ENVIRONMENT = {"versions": {"torch": "2.11.0"}, "python": "3.11.7", "device": "x86_64 CPU", "threads": 1}
COMMAND = "python -m spikingjelly_ckd compare --data digits --methods kd --seeds 0 1 2"


def arm(name: str, seed: int, accuracy: float | None, **changes) -> ArmRecord:
    """The record of an arm; ``accuracy`` None is one that failed."""
    reached = [] if accuracy is None else [accuracy - 20, accuracy - 5, accuracy]
    made = {
        "arm": name,
        "control": "plain",
        "seed": seed,
        "method": {"text": name},
        "asked": ASKED,
        "data": DATA,
        "teacher": None if name == "plain" else TEACHER,
        "history": [{"epoch": epoch, "val_accuracy": value} for epoch, value in enumerate(reached, 1)],
        "val_accuracy": accuracy,
        "test_accuracy": accuracy,
        "step_ms": 10.0,
        "firing_rate": 0.1,
        "energy_mj": 0.004 + 0.0001 * seed,
        "failed": "epoch 2: NaN" if accuracy is None else None,
        "environment": ENVIRONMENT,
        "command": COMMAND,
    }
    return ArmRecord(**made | changes)


def comparison(folder: Path, gains: dict[str, float] | None = None, seeds: int = 3) -> Path:
    """The folder of a comparison in which each method is so many points above plain training."""
    for seed, plain in enumerate((60.0, 62.0, 61.0, 64.0)[:seeds]):
        arm("plain", seed, plain).write(folder / f"records/plain_seed{seed}.json")
        for number, (name, gain) in enumerate((gains or {"kd": 8.0, "ckd": 0.1}).items()):
            value = plain + gain + 0.3 * ((seed + number) % 3)
            arm(name, seed, value).write(folder / f"records/{number}_seed{seed}.json")
    return folder


def row(**changes) -> dict:
    """The record of a row; ``data__split`` changes an entry of a part."""
    checks = [
        {"name": "spikes", "status": "ok", "message": "0/1"},
        {"name": "gradient share", "status": "warn", "message": "can dominate"},
    ]
    spent = {"macs": 3.6e6, "acs": 3.5e7, "compute_mj": 0.05, "firing_rate": 0.2}
    made = {
        "format": FORMAT,
        "row": "cifar10_r20",
        "paper_accuracy": 94.0,
        "method": "ckd",
        "seed": 0,
        "data": {"name": "cifar10", "split": "official", "split_hash": "a" * 64, "complete": True, "classes": 10},
        "recipe": {
            "name": "cifar10_r20",
            "student": "nets:build",
            "time_steps": 4,
            "lr": 0.1,
            "epochs": 2,
            "beta": 1.0,
        },
        "environment": ENVIRONMENT | {"command": "cifar10_r20.py --seed 0"},
        "teacher": {"source": "file", "sha256": "c" * 64, "accuracy": 91.0},
        "preflight": {"ok": True, "checks": checks},
        "finished": True,
        "accuracy": {"last": 70.0, "mean_last_5": 65.0, "best": 70.0, "best_epoch": 2, "epochs": 2},
        "history": [{"epoch": 1, "test_acc1": 60.0, "seconds": 1.0}, {"epoch": 2, "test_acc1": 70.0, "seconds": 1.0}],
        "energy": {"student": spent | {"rates": {"act1": 0.2, "layer1": 0.1}}, "teacher": spent | {"compute_mj": 0.2}},
    }
    for name, value in changes.items():
        *parts, last = name.split("__")
        inner = made
        for part in parts:
            inner = inner[part]
        inner[last] = value
    return made


def written(path: Path, content: object) -> Path:
    """A file of JSON, also of texts that are none in UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf8")
    return path


def hostile_folder(folder: Path) -> Path:
    """A comparison and the runs of a row in which every text is of :data:`HOSTILE`."""
    every = " ".join(HOSTILE)[:5000]
    asked = ASKED | {"student": every, "epochs": [every], "optimizer": {every: every}, every: every}
    data = DATA | {"name": every, "split": every}
    for number, text in enumerate(HOSTILE):
        changes = {
            "method": {"text": text, text: [text]},
            "asked": asked,
            "data": data,
            "teacher": {"source": text, "accuracy": text, "part": text},
            "environment": {"versions": {text: text}, "device": [text, {text: None}], text: text},
            "command": text,
        }
        for seed in (0, 1):
            failed = text if number == 2 else None
            arm(text or "empty", seed, 70.0 + seed + number / 3, **changes | {"failed": failed}).write(
                folder / f"compared/records/{number}_seed{seed}.json"
            )
            arm("plain", seed, 60.0 + seed, **changes).write(folder / f"compared/records/plain_seed{seed}.json")
        checks = [{"name": text, "status": text, "message": text}, text, {"name": [text]}]
        hostile = row(
            row=every[:100], method=text or "empty", data__name=every, data__split=every, teacher__source=text,
            preflight={"checks": checks}, energy__student__rates={text: 0.1, "b": text, "c": None},
            environment={"command": text, "versions": text}, recipe__student=every, recipe__lr=every,
        )  # fmt: skip
        written(folder / f"row{number}/record.json", hostile)
    written(
        folder / "compared/rehearsal.json", {"arms": {text: text for text in HOSTILE} | {"b": None}, "seconds": every}
    )
    (folder / "broken").mkdir()
    (folder / "broken/record.json").write_text('{"format": 2, "row": NaN', "utf8")
    return folder
