"""A teacher in a file: what the file says of itself, or weights alone, and whether it fits the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .data import Data
from .export import file_hash, load_network, read_about
from .names import name_of
from .teacher_input import Teacher
from .untrusted import shown_text
from .weights import fill, named_as, read_weights

__all__ = ["described_teacher", "is_described", "weights_teacher"]


def is_described(path: Path) -> bool:
    """Whether a file says of itself what it is: ``.safetensors`` with its ``.json`` beside it."""
    return path.suffix == ".safetensors" and path.with_suffix(".json").is_file()


def described_teacher(path: Path, spec: str, data: Data, build: Callable[..., nn.Module], of_any_file: bool) -> Teacher:
    """The teacher of a file with a description; arguments as of ``teachers.load_teacher``.

    Raises:
        ValueError: it is a student's, or of other classes or another kind of data.
    """
    steps = read_about(path).get("time_steps")
    if steps is not None:
        raise ValueError(
            f"--teacher: {path} is a student (spiking, T={steps}) that a run wrote; pass an ANN, such as the "
            "teacher.safetensors of examples/train_teacher.py"
        )
    network, about = load_network(path, build if of_any_file else _builder_of(path, build))
    classes = tuple(about.get("classes", ()))
    if classes and classes != data.classes:
        raise ValueError(
            f"{path} was trained on {len(classes)} classes ({shown_text(', '.join(classes[:3]))}, ...), the data "
            f"has {data.num_classes} ({', '.join(data.classes[:3])}, ...): names and order must be the same"
        )
    kinds = {True: "event frames", False: "pictures"}
    if about.get("event", data.is_event) != data.is_event:
        raise ValueError(
            f"{path} was trained on {kinds[about['event']]}, the data are {kinds[data.is_event]}: train one on "
            "them first (examples/train_teacher.py)"
        )
    mean, std = (None if about.get(key) is None else tuple(about[key]) for key in ("mean", "std"))
    if len(mean or ()) != len(std or ()):
        raise ValueError(f"{path}: mean and std must have one number a channel each, got {mean} and {std}")
    accuracy = about.get("accuracy")
    made = about["made"] if isinstance(about.get("made"), dict) else None
    return Teacher(network, str(spec), file_hash(path), mean, std, about.get("size"), accuracy, made=made)


def weights_teacher(
    path: Path, spec: str, data: Data, build: Callable[..., nn.Module], arguments: Mapping[str, Any] | None
) -> Teacher:
    """The teacher of a ``state_dict`` for ``build``'s network; arguments as of ``teachers.load_teacher``.

    Raises:
        ValueError: it is of other classes, or of another network.
    """
    network = build(**(arguments or {}))
    weights = named_as(network, read_weights(path))
    classes_of_file = _classes(weights, network, data.num_classes)
    if classes_of_file is not None:
        raise ValueError(
            f"--teacher: {path} has {classes_of_file} classes, the data {data.num_classes}: pass a teacher of these "
            "classes, or fine-tune this one on them first"
        )
    try:
        fill(network, weights, path)
    except ValueError as error:
        other = "where the file is of another network, name its function with --teacher-build MODULE:FUNCTION"
        raise ValueError(f"{error}; it was read as {name_of(build)}: {other}") from error
    return Teacher(network.eval(), str(spec), file_hash(path), data.mean, data.std, None)


def _builder_of(path: Path, build: Callable[..., nn.Module]) -> Callable[..., nn.Module] | None:
    """``build``, the user's own, where the file names it; None for a network of this package."""
    try:
        return build if name_of(build) == read_about(path)["build"] else None
    except ValueError:  # a function without a name, or a file that load_network refuses
        return None


def _classes(weights: Mapping[str, Tensor], network: nn.Module, classes: int) -> int | None:
    """How many classes the file has, if nothing but their number differs from the network's; else None."""
    own = network.state_dict()
    if set(own) != set(weights):
        return None
    differing = {(weights[name].shape, own[name].shape) for name in own if weights[name].shape != own[name].shape}
    if any(theirs[1:] != ours[1:] or ours[:1] != (classes,) for theirs, ours in differing):
        return None
    found = {theirs[0] for theirs, _ in differing if theirs}
    return int(found.pop()) if len(found) == 1 else None
