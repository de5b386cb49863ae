"""Teachers: from a file or from timm, fed as they were trained, and checked before anybody learns from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from .data import Data
from .export import file_hash, fill, load_network, read_about, read_weights

__all__ = ["Teacher", "TeacherInput", "check_teacher", "load_teacher", "timm_network"]

CHANCE_FACTOR = 1.5


class TeacherInput(nn.Module):
    """What the student sees, as the teacher was trained to see it: renormalised and resized.

    Args:
        student: mean and standard deviation that the images were normalised with, one number a channel each.
        teacher: those of the teacher's training.
        size: height and width of the teacher's input; None keeps the images'.

    Shapes: ``[N, C, H, W]`` to ``[N, C, size, size]``; event frames ``[T, N, C, H, W]`` enter as their mean frame,
    which is not renormalised.

    Raises:
        ValueError: unlike numbers of channels.

    Example:
        >>> import torch
        >>> half = ((0.5,), (0.5,))
        >>> zero_one = ((0.0,), (1.0,))
        >>> TeacherInput(half, zero_one, size=4)(torch.ones(1, 1, 2, 2)).round(decimals=3).unique()  # white stays 1
        tensor([1.])
    """

    def __init__(
        self,
        student: tuple[Sequence[float], Sequence[float]] | None,
        teacher: tuple[Sequence[float], Sequence[float]] | None,
        size: int | None = None,
    ) -> None:
        super().__init__()
        self.size = size
        scale, shift = torch.ones(1), torch.zeros(1)
        if student is not None and teacher is not None:
            lengths = {len(values) for values in (*student, *teacher)}
            if len(lengths) != 1:
                raise ValueError(f"means and deviations must have one number a channel, got {student} and {teacher}")
            (mean_s, std_s), (mean_t, std_t) = (torch.tensor(pair) for pair in (student, teacher))
            scale, shift = std_s / std_t, (mean_s - mean_t) / std_t
        self.register_buffer("scale", scale.view(-1, 1, 1))
        self.register_buffer("shift", shift.view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """The teacher's input."""
        images = images.mean(0) if images.ndim == 5 else images
        images = images * self.scale.to(images) + self.shift.to(images)  # type: ignore[operator]
        if self.size is None or images.shape[-2:] == (self.size, self.size):
            return images
        return F.interpolate(images, (self.size, self.size), mode="bicubic", antialias=True, align_corners=False)

    def extra_repr(self) -> str:
        """The size; scale and shift are buffers."""
        return f"size={self.size}"


@dataclass(frozen=True)
class Teacher:
    """A trained ANN and what has to be known about it.

    Attributes:
        network: in ``eval``.
        source: where it came from, for the record.
        sha256: of its file; None for timm's own weights.
        mean: of the normalisation it was trained with, by channel; None for event frames.
        std: likewise.
        size: height and width it was trained on; None: that of the student.
        accuracy: in percent on the test set, as its own file says; None where nothing is said.
    """

    network: nn.Module
    source: str
    sha256: str | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    size: int | None
    accuracy: float | None = None

    def input_for(self, data: Data) -> TeacherInput:
        """Turns a batch of ``data`` into what this teacher was trained on."""
        ours = None if data.mean is None or data.std is None else (data.mean, data.std)
        theirs = None if self.mean is None or self.std is None else (self.mean, self.std)
        return TeacherInput(ours, theirs, self.size)


def timm_network(name: str, num_classes: int, in_channels: int = 3, *, pretrained: bool = False) -> nn.Module:
    """``timm.create_model`` with a message that helps.

    Raises:
        ValueError: timm has no such network, or cannot change its classes or channels.
    """
    known = timm.is_model(name.split(".")[0]) or name.startswith(("hf-hub:", "hf_hub:", "local-dir:"))
    if not known:
        near = timm.list_models(f"*{name[:6]}*")[:5]
        raise ValueError(f"timm has no network {name!r}{'; near it: ' + ', '.join(near) if near else ''}")
    options = {"num_classes": num_classes, "in_chans": in_channels}
    return _fetched(name, **options) if pretrained else cast(nn.Module, timm.create_model(name, **options))


def _fetched(name: str, **options: Any) -> nn.Module:
    """A network of timm with its weights."""
    try:
        return cast(nn.Module, timm.create_model(name, pretrained=True, **options))
    except Exception as error:
        raise ValueError(
            f"timm:{name}: its weights cannot be fetched ({type(error).__name__}: {str(error).partition(chr(10))[0]}); "
            "fetch them elsewhere and pass a file, --teacher PATH"
        ) from error


def load_teacher(
    spec: str, data: Data, build: Callable[..., nn.Module], arguments: Mapping[str, Any] | None = None
) -> Teacher:
    """The teacher that ``--teacher`` names.

    Args:
        spec: ``timm:NAME``, with timm's own weights; or a path: ``.safetensors`` with its ``.json`` (what
            ``examples/train_teacher.py`` writes), or a ``state_dict`` in any usual file, for ``build``'s network.
        data: what it is to teach.
        build: network of a file that does not say its own.
        arguments: keywords of ``build``.

    Returns:
        A :class:`Teacher`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it does not fit: other classes, other channels, weights of another network.
    """
    if spec.startswith("timm:"):
        return _from_timm(spec.removeprefix("timm:"), data)
    path = Path(spec).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"--teacher: there is no file {path.resolve()}; pass a path or timm:NAME")
    if path.with_suffix(".json").is_file() and path.suffix == ".safetensors":
        steps = read_about(path).get("time_steps")
        if steps is not None:
            raise ValueError(
                f"--teacher: {path} is a student (spiking, T={steps}) that a run wrote; pass an ANN, such as the "
                "teacher.safetensors of examples/train_teacher.py"
            )
        network, about = load_network(path)
        classes = tuple(about.get("classes", ()))
        if classes and classes != data.classes:
            raise ValueError(
                f"{path} was trained on {len(classes)} classes ({', '.join(classes[:3])}, ...), the data has "
                f"{data.num_classes} ({', '.join(data.classes[:3])}, ...): names and order must be the same"
            )
        kinds = {True: "event frames", False: "pictures"}
        if about.get("event", data.is_event) != data.is_event:
            raise ValueError(
                f"{path} was trained on {kinds[about['event']]}, the data are {kinds[data.is_event]}: train one on "
                "them first (examples/train_teacher.py)"
            )
        mean, std = (None if about.get(key) is None else tuple(about[key]) for key in ("mean", "std"))
        accuracy = about.get("accuracy")
        return Teacher(network, str(spec), file_hash(path), mean, std, about.get("size"), accuracy)
    network, weights = build(**(arguments or {})), read_weights(path)
    classes_of_file = _classes(weights, network, data.num_classes)
    if classes_of_file is not None:
        raise ValueError(f"--teacher: {path} has {classes_of_file} classes, the data {data.num_classes}")
    fill(network, weights, path)
    return Teacher(network.eval(), str(spec), file_hash(path), data.mean, data.std, None)


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


def _from_timm(name: str, data: Data) -> Teacher:
    if data.is_event:
        raise ValueError(
            "timm's weights are for pictures with three channels, and these are event frames with two: train a "
            f"teacher on them first (examples/train_teacher.py --model timm:{name})"
        )
    timm_network(name, data.num_classes)  # a message for an unknown name, before anything is fetched
    network: Any = _fetched(name)
    config = network.pretrained_cfg
    if network.num_classes != data.num_classes:
        raise ValueError(
            f"timm:{name} has {network.num_classes} classes and the data {data.num_classes}: fine-tune it first "
            f"(examples/train_teacher.py --model timm:{name})"
        )
    size = config["input_size"][-1]
    return Teacher(network.eval(), f"timm:{name}", None, tuple(config["mean"]), tuple(config["std"]), size)


@torch.no_grad()
def check_teacher(
    teacher: Teacher, data: Data, *, batch_size: int, workers: int = 0, limit: int | None = None, refuse: bool = True
) -> float:
    """Accuracy in percent on the test set, each image as the teacher will see it.

    Args:
        teacher: in ``eval``, on any device.
        data: whose test set is used.
        batch_size: images at a time.
        workers: loading processes.
        limit: of batches; None for all.
        refuse: raise where it is no better than guessing.

    Returns:
        Percent.

    Raises:
        ValueError: wrong logits, or no better than guessing (1.5 times chance), which no student can learn from.
    """
    parameter = next(teacher.network.parameters())
    enter = teacher.input_for(data).to(parameter.device)
    right = total = 0
    for index, (images, labels) in enumerate(DataLoader(data.test, batch_size, num_workers=workers)):
        if index == limit:
            break
        images = images.transpose(0, 1) if images.ndim == 5 else images
        logits = teacher.network(enter(images.to(parameter.device)))
        if logits.shape != (len(labels), data.num_classes):
            raise ValueError(
                f"the teacher {teacher.source} returned {tuple(logits.shape)} for {len(labels)} images of "
                f"{data.num_classes} classes"
            )
        right += int((logits.argmax(1).cpu() == labels).sum())
        total += len(labels)
    accuracy = 100 * right / total
    if refuse and accuracy <= CHANCE_FACTOR * 100 / data.num_classes:
        raise ValueError(
            f"the teacher {teacher.source} gets {accuracy:.2f} % of {total} test images, hardly more than chance "
            f"({100 / data.num_classes:.2f} %): is it trained, and on these classes in this order? "
            "--any-teacher goes on all the same"
        )
    return accuracy
