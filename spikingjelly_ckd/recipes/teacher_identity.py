"""How a teacher was made, and the folder for the teacher that a recipe asks for: one teacher for each recipe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from .build import Built
from .data import Data
from .data.splits import data_set
from .export import check_pair, read_about
from .files import set_aside, whole_file
from .options import Run
from .recipe import OF_BUILDER, Recipe
from .records.schema import Record

__all__ = [
    "TEACHER_FILE",
    "begin",
    "claims",
    "described",
    "differences",
    "epochs_note",
    "folders",
    "made",
    "settings",
    "whole",
]

TEACHER_FILE = "teacher.safetensors"
BEGUN = "making.json"
SEED, CONTENT = "seed", "content"
NOT_OF_TEACHER = (
    *("name", "paper_accuracy", "data", "student", "teacher", "teacher_epochs", "teacher_lr", "sources", "method"),
    *("variant", "map_temperature", "temperature", "noise_weight", "beta", "gamma", "target_class"),
    *("student_layer", "teacher_layer", "split", "task_loss", "label_smoothing", "sync_bn", "eval_time_steps"),
    *("student_steps", "init", "accelerate", "early_stop", "memopt", *OF_BUILDER),
)
"""Values of a recipe on which its teacher does not depend, or that are said in another place."""
NEW = {"cutout": 0, "norm_decay": True, "mixup_off_epoch": 0}
"""Values that earlier teachers do not say, and what they were."""
OF_TEACHER = tuple(item.name for item in fields(Recipe) if item.name not in NOT_OF_TEACHER)


def made(recipe: Recipe, run: Run, data: Data, built: Built) -> dict[str, Any]:
    """How a teacher is made, as plain data: everything that decides about it.

    The seed is said too and is not compared: runs with several seeds share a teacher.

    Args:
        recipe: with the teacher's epochs and learning rate.
        run: its flags.
        data: to train on.
        built: the network.
    """
    return {
        "network": {"build": built.name, **built.arguments},
        "pretrained": run.pretrained,
        "data": {"name": data.name, "split": data.split, "split_hash": data.split_hash, CONTENT: data.content},
        "recipe": _of_teacher(recipe.to_json(), event=data.is_event),
        "smoke": run.smoke,
        SEED: run.seed,
    }


def _of_teacher(values: Mapping[str, Any], *, event: bool) -> dict[str, Any]:
    """Those values of a recipe that its teacher depends on; on the time steps only where frames are made of events."""
    names = [name for name in OF_TEACHER if name in values and (event or name != "time_steps")]
    return {name: values[name] for name in names if name not in NEW or values[name] != NEW[name]}


def differences(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """What two teachers do not have in common: ``"epochs 1, not 20"``; empty where they are of one recipe.

    The content of the data is compared where the earlier teacher says it.
    """
    one, other = _flat(there), _flat(wanted)
    one.setdefault(CONTENT, other.get(CONTENT))
    names = [name for name in dict.fromkeys([*other, *one]) if name != SEED and one.get(name) != other.get(name)]
    return ", ".join(f"{name} {one.get(name, 'unknown')}, not {other.get(name)}" for name in names)


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= dict(value) if name in ("data", "recipe") and isinstance(value, Mapping) else {name: value}
    return flat | ({"split_hash": str(flat["split_hash"])[:8]} if "split_hash" in flat else {})


def settings(made_so: Mapping[str, Any]) -> dict[str, Any]:
    """What a training of this teacher that is resumed must have in common with the one before."""
    settings: dict[str, Any] = {name: value for name, value in made_so.items() if name not in ("data", "recipe")}
    data = made_so["data"]  # a row has a name and a split of its own
    settings |= made_so["recipe"]
    settings["data set"] = data_set(data["name"], data["split"], data["split_hash"])
    return settings | ({"content of the data set": data[CONTENT]} if CONTENT in data else {})


def described(made_so: Mapping[str, Any]) -> str:
    """In a few words, for one line of output."""
    flat = _flat(made_so)
    network = flat.get("network")
    parts = network if isinstance(network, Mapping) else {}
    name = parts.get("name") or str(parts.get("build", "unknown")).rpartition(":")[2]
    epochs, lr, split, seed = (flat.get(key) for key in ("epochs", "lr", "split", SEED))
    smoke = ", a smoke run" if flat.get("smoke") else ""
    return f"{name}, {epochs} epochs, lr {lr}, split {split}, seed {seed}{smoke}"


def epochs_note(recipe: Recipe) -> str:
    """What to add where a user gave the student's epochs and not the teacher's, which are the recipe's then."""
    said = {name for name, source in recipe.sources.items() if source == "command line"}
    if "epochs" not in said or "teacher_epochs" in said:
        return ""
    return f" (--epochs {recipe.epochs} is the student's alone: pass --teacher-epochs for another number here)"


def folders(first: Path, wanted: Mapping[str, Any]) -> Iterator[Path]:
    """Where the teacher of a recipe may be: the usual folder, or one beside it that only it can have."""
    yield first
    everything = {name: value for name, value in wanted.items() if name != SEED}
    by_names = everything | {"data": {name: value for name, value in wanted["data"].items() if name != CONTENT}}
    for told in (by_names, everything):  # the second where the samples alone differ
        text = json.dumps(told, sort_keys=True)
        yield first.with_name(f"{first.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}")


def begin(folder: Path, made_so: Mapping[str, Any]) -> None:
    """Say whose a folder is, before the training."""
    with whole_file(folder / BEGUN) as file:
        file.write((json.dumps(made_so, indent=1) + "\n").encode())


def claims(folder: Path) -> list[dict[str, Any]]:
    """How the teachers of a folder are made: the one whose training was begun last, and the one that is written.

    Of a teacher that was written by an earlier version the record beside it says it.
    """
    found, path = [], folder / BEGUN
    try:
        found.append(dict(json.loads(path.read_text("utf8"))))
    except FileNotFoundError:
        pass
    except (ValueError, TypeError, RecursionError) as error:
        set_aside(path, f"{path} cannot be read ({error})")
    about = _about(folder)
    if about is not None and "made" in about:
        found.append(about["made"])
    if not found and any((folder / name).is_file() for name in (TEACHER_FILE, "record.json", "latest.ckpt")):
        found.append(_of_record(folder, event=bool(about and about.get("event"))))
    return found


def _of_record(folder: Path, *, event: bool) -> dict[str, Any]:
    try:
        record = Record.read(folder / "record.json")
    except (OSError, ValueError, TypeError):
        return {"network": None}
    data = {"name": record.data.name, "split": record.data.split, "split_hash": record.data.split_hash}
    data |= {} if record.data.content is None else {CONTENT: record.data.content}
    return {
        "network": record.network,
        "pretrained": bool(record.options.get("pretrained")),
        "data": data,
        "recipe": _of_teacher(record.recipe, event=event),
        "smoke": record.smoke,
        SEED: record.seed,
    }


def _about(folder: Path) -> dict[str, Any] | None:
    """The JSON of a teacher; None where there is none that can be read."""
    try:
        about = read_about(folder / TEACHER_FILE)
    except (OSError, ValueError):
        return None
    return about if isinstance(about.get("made", {}), dict) else None


def whole(folder: Path) -> dict[str, Any] | None:
    """The JSON of the teacher of a folder, with ``made``, if it is there whole; what is damaged is set aside.

    Weights without their JSON were cut off before they were done and count as not there.
    """
    path = folder / TEACHER_FILE
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return None
    try:
        about = read_about(path)
        if not path.is_file():
            raise ValueError(f"{beside} is there without its weights")  # noqa: TRY301
        check_pair(path, about)
    except ValueError as error:
        set_aside(beside, error)
        return None
    if isinstance(about.get("made"), dict):
        return about
    return about | {"made": _of_record(folder, event=bool(about.get("event")))}
