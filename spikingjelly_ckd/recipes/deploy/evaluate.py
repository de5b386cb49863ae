"""Predictions and accuracy of an exported network: ``python -m spikingjelly_ckd evaluate STUDENT FOLDER``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from ...distiller import Distiller
from ...errors.arguments import ArgumentError, ArgumentValueError
from ...errors.checks import check_count
from ...errors.installed import needs_packages
from ..data.base import drawn_rows
from ..files import until_reader_leaves
from ..names import resolve_name
from ..parser import Parser
from ..report.energy import ENERGY_IMAGES
from ..untrusted import shown_text
from .exported import KEEPS_STATE, ExportedNetwork, read_exported

with needs_packages("spikingjelly_ckd.recipes.deploy"):
    from tqdm import tqdm

__all__ = ["Evaluation", "Prediction", "batches_of", "evaluate", "evaluate_exported", "main"]

PROGRAM = "evaluate"
FLAGS = ("build", "batch_size", "steps", "device")
ARGUMENTS = {"path": "student", **{name: f"--{name.replace('_', '-')}" for name in FLAGS}}
"""Argument of a function -> what sets it on the command line."""
PATIENCE = 5
"""Seconds after which progress is shown, on a terminal."""
FEW = 8
"""Samples that are run again to see whether the network keeps a state."""
MESSAGE = 2000
"""Characters of an error that are shown."""


@dataclass(frozen=True)
class Prediction:
    """What a network says of one sample.

    Attributes:
        path: of its file.
        label: name of the class with the largest logit.
        confidence: its softmax, from 0 to 1.
        expected: name of the class that its folder says; None without class folders.

    Example:
        >>> found = Prediction("cats/a.png", label="cat", confidence=0.83, expected="cat")
        >>> f"{found.label}, {found.confidence:.0%} sure", found.label == found.expected
        ('cat, 83% sure', True)
    """

    path: str
    label: str
    confidence: float
    expected: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """What a network says of some samples; ``print`` shows it.

    Attributes:
        network: path of its file.
        predictions: one for each sample, sorted by path.
        accuracy: percent; None without class folders.
        notes: what to know of these figures.

    Example:
        >>> predictions = Prediction("a.png", "cat", 0.83), Prediction("b.png", "dog", 0.6)
        >>> print(Evaluation("student.safetensors", predictions, accuracy=None))
        a.png: cat (83.0 %)
        b.png: dog (60.0 %)
    """

    network: str
    predictions: tuple[Prediction, ...]
    accuracy: float | None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.accuracy is not None:
            text = f"accuracy {self.accuracy:.2f} % on {len(self.predictions)} samples, {shown_text(self.network)}"
            return "\n".join([text, *self.notes])
        lines = (
            f"{shown_text(found.path)}: {shown_text(found.label)} ({100 * found.confidence:.1f} %)"
            for found in self.predictions
        )
        return "\n".join([*lines, *self.notes])


def evaluate(
    path: str | Path,
    images: str | Path,
    *,
    build: Callable[..., nn.Module] | None = None,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
) -> Evaluation:
    """Run an exported network on an image or on a folder of images, prepared as those that it was tested on.

    Args:
        path: of the ``.safetensors`` file of a run, with its JSON beside it, or ``hf://owner/name``; a teacher's file
            serves too.
        images: an image; a folder of images; or a folder of class folders named like the network's classes (or of
            ``test`` or ``val`` with such), which gives accuracy. Of an event network ``.npz`` files with the key
            ``frames``, which are resized as in training where they have another size.
        build: makes the network; needed for a function that is not of this package.
        batch_size: samples run at once.
        device: where it runs: ``cpu``, ``cuda`` or ``cuda:N``.

    Returns:
        :class:`Evaluation`.

    Raises:
        FileNotFoundError: a file or folder is not there.
        ValueError: a file that cannot be read or does not say what is needed, folders that are no classes, or a device
            that is not there.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from spikingjelly_ckd.recipes.export import save_network
        >>> from spikingjelly_ckd.recipes.models import spiking_resnet8
        >>> folder = Path(tempfile.mkdtemp())
        >>> about = {"time_steps": 2, "size": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "classes": ["cat", "dog"]}
        >>> network = spiking_resnet8(2)
        >>> path = save_network(folder / "net.safetensors", network, spiking_resnet8, {"num_classes": 2}, **about)
        >>> Image.new("RGB", (40, 40)).save(folder / "a.png")
        >>> evaluate(path, folder / "a.png").predictions[0].label in ("cat", "dog")
        True
    """
    return evaluate_exported(read_exported(path, build, device=device), images, batch_size=batch_size)


def evaluate_exported(network: ExportedNetwork, images: str | Path, *, batch_size: int = 64) -> Evaluation:
    """As :func:`evaluate`, of a network that was read.

    Args:
        network: see :func:`.exported.read_exported`.
        images: as for :func:`evaluate`.
        batch_size: samples run at once.

    Raises:
        FileNotFoundError: ``images`` is not there.
        TypeError: ``batch_size`` is no integer, or the network returns no tensor.
        ValueError: ``images`` or ``batch_size`` cannot be used, the JSON of the network does not say how samples are
            prepared or names another number of classes, or the logits have a wrong shape or are not finite.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from spikingjelly_ckd.recipes.export import save_network
        >>> from spikingjelly_ckd.recipes.models import spiking_resnet8
        >>> folder = Path(tempfile.mkdtemp())
        >>> about = {"time_steps": 2, "size": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "classes": ["cat", "dog"]}
        >>> path = folder / "net.safetensors"
        >>> _ = save_network(path, spiking_resnet8(2), spiking_resnet8, {"num_classes": 2}, **about)
        >>> for name in ("a", "b"):
        ...     Image.new("RGB", (40, 40)).save(folder / f"{name}.png")
        >>> found = evaluate_exported(read_exported(path), folder)
        >>> [Path(prediction.path).name for prediction in found.predictions], found.accuracy
        (['a.png', 'b.png'], None)
    """
    samples, classes = network.samples(images), network.classes
    chosen, confidences, expected = list[int](), list[float](), list[int]()
    notes: tuple[str, ...] = ()
    for inputs, labels in batches_of(samples.dataset, batch_size, network):
        if not chosen and network.runner is not None and network.keeps_state(inputs[:FEW]):
            notes = (KEEPS_STATE,)
        logits = network.logits(inputs).mean
        if logits.shape[1] != len(classes):
            raise ArgumentValueError(
                "path",
                f"{network.path}: the JSON beside it names {len(classes)} classes, and the network has "
                f"{logits.shape[1]}; write both again, save_network(..., classes=)",
            )
        if not logits.isfinite().all():
            broken = samples.paths[len(chosen) + int((~logits.isfinite()).any(1).int().argmax())]
            raise ArgumentValueError("path", f"{network.path}: its logits of {broken} are not finite numbers")
        best = logits.softmax(1).topk(1)
        chosen += best.indices[:, 0].tolist()
        confidences += best.values[:, 0].tolist()
        expected += labels.tolist()
    found = zip(samples.paths, chosen, confidences, expected, strict=True)
    predictions = tuple(
        Prediction(file, classes[label], confidence, classes[right] if samples.has_labels else None)
        for file, label, confidence, right in found
    )
    right = sum(one == other for one, other in zip(chosen, expected, strict=True))
    accuracy = 100 * right / len(chosen) if samples.has_labels else None
    return Evaluation(network.path, predictions, accuracy, notes)


def batches_of(
    dataset: Dataset[tuple[Tensor, int]], batch_size: int, network: ExportedNetwork
) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and labels on the network's device, with progress on a terminal where it takes long.

    Example:
        >>> import tempfile
        >>> from torch.utils.data import TensorDataset
        >>> from spikingjelly_ckd.recipes.export import save_network
        >>> from spikingjelly_ckd.recipes.models import spiking_resnet8
        >>> path = Path(tempfile.mkdtemp(), "net.safetensors")
        >>> _ = save_network(path, spiking_resnet8(10), spiking_resnet8, {"num_classes": 10}, time_steps=2)
        >>> network, samples = read_exported(path), TensorDataset(torch.rand(5, 3, 32, 32), torch.arange(5))
        >>> [tuple(network.logits(inputs).mean.shape) for inputs, _ in batches_of(samples, 4, network)]
        [(4, 10), (1, 10)]
    """
    loader = DataLoader(dataset, check_count("batch_size", batch_size))
    device = next(network.network.parameters()).device
    for inputs, labels in tqdm(loader, unit="batch", delay=PATIENCE, disable=None):
        yield inputs.to(device), labels.to(device)


def _check_steps(network: ExportedNetwork, images: Path) -> None:
    if network.runner is None:
        raise ArgumentValueError("steps", f"needs a spiking network, and {network.path} is an ANN's")
    if not network.samples(images).has_labels:
        raise ArgumentValueError("steps", f"measures accuracy, so {images} must have folders of the classes")


def _at_every_step(network: ExportedNetwork, images: Path, batch_size: int) -> str:
    from .steps import evaluate_steps  # which needs Lightning

    samples, runner = network.samples(images), cast(Distiller, network.runner)
    # energy is measured on the first images, and files stand class by class
    drawn = drawn_rows(len(samples.paths), ENERGY_IMAGES)
    order = [*drawn, *sorted(set(range(len(samples.paths))) - set(drawn))]
    how: dict[str, Any] = {"time_steps": runner.time_steps, "student_steps": runner.student_steps}
    batches = batches_of(Subset(samples.dataset, order), batch_size, network)
    return str(evaluate_steps(network.network, batches, **how, batch_first=True, energy_images=ENERGY_IMAGES))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line.

    Args:
        argv: None for ``sys.argv``.

    Returns:
        0, or 1 where something does not fit.
    """
    parser = Parser(
        f"python -m spikingjelly_ckd {PROGRAM}",
        description="Predictions of an exported network for images; accuracy where folders say the classes.",
    )
    parser.add_argument("student", help="student.safetensors of a run, with its .json beside it; or hf://OWNER/NAME")
    parser.add_argument("images", type=Path, help="an image, a folder of images, or a folder of class folders")
    parser.add_argument("--build", metavar="MODULE:FUNCTION", help="makes the network, where it is a function of yours")
    parser.add_argument("--steps", action="store_true", help="accuracy, firing rate and energy at every time step too")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="samples run at once (default: 64)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda or cuda:N")
    given = parser.parse_args(argv)
    try:
        build = None if given.build is None else resolve_name(given.build)
        with warnings.catch_warnings(record=True) as said:
            network = read_exported(given.student, build, device=given.device)
        for warning in said:
            print(f"{PROGRAM}: {shown_text(warning.message, MESSAGE)}", file=sys.stderr)
        if given.steps:
            _check_steps(network, given.images)
        found = evaluate_exported(network, given.images, batch_size=given.batch_size)
        with until_reader_leaves():
            print(found)
        if given.steps:
            print(f"\n{_at_every_step(network, given.images, given.batch_size)}")
    except (OSError, RuntimeError, ValueError) as error:
        text = error.render(ARGUMENTS) if isinstance(error, ArgumentError) else str(error)
        text = "; ".join([text, *getattr(error, "__notes__", ())])
        print(f"{PROGRAM}: error: {shown_text(text, MESSAGE)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
