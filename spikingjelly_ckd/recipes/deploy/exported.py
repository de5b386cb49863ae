"""An exported network that is fed as its file says."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ...distiller import Distiller
from ...errors.arguments import ArgumentNotFoundError, ArgumentValueError
from ...errors.installed import needs_packages
from ...networks.compat import has_neurons
from ...networks.guards import preserve_state
from ...networks.outputs import Logits, read_logits
from ..data.augment import event_transform, image_transform
from ..data.base import TransformedSubset
from ..data.listing import EVENT_SUFFIX, FolderSamples, class_folders, is_litter, list_samples
from ..data.options import DataOptions
from ..data.roots import first_names
from ..data.samples import FrameLoader, load_image
from ..export import load_network
from ..hub import local_file

with needs_packages("spikingjelly_ckd.recipes.deploy"):
    from torchvision import datasets, transforms

__all__ = ["ExportedNetwork", "Samples", "read_exported", "remark_on_samples"]

ALIKE = 1e-3
"""Logits that differ by a smaller share of the largest one, from sample to sample, are nearly the same."""
NO_LABEL = -1
KEEPS_STATE = (
    "The network keeps a state that functional.reset_net does not reset, so what it says of a sample depends on those "
    "before it: these figures hold for this order and batch size alone."
)
"""What is said where :meth:`ExportedNetwork.keeps_state` holds, and by ``evaluate_steps`` of the same."""
PARTS = ("test", "val")
"""Folders of a tree that are looked into, in this order."""


class Samples(NamedTuple):
    """Samples on disk as a network takes them.

    Attributes:
        dataset: of ``(input, label)``; without labels the label is -1.
        paths: of their files.
        has_labels: whether the folders say the classes.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> dataset = TensorDataset(torch.rand(1, 3, 32, 32), torch.tensor([NO_LABEL]))
        >>> samples = Samples(dataset, ["a.png"], has_labels=False)
        >>> [tuple(inputs.shape) for inputs, label in samples.dataset], samples.has_labels
        ([(3, 32, 32)], False)
    """

    dataset: Dataset[tuple[Tensor, int]]
    paths: list[str]
    has_labels: bool


@dataclass(frozen=True)
class ExportedNetwork:
    """A network out of a file, in ``eval``, and how it is fed.

    Attributes:
        path: of the file, as it was given.
        file: where it lies on this machine.
        network: spiking, or an ANN.
        about: what the JSON beside it says.
        runner: runs a spiking network for its time steps; None for an ANN.

    Example:
        >>> import tempfile
        >>> from spikingjelly_ckd.recipes.export import save_network
        >>> from spikingjelly_ckd.recipes.models import spiking_resnet8
        >>> about = {"time_steps": 4, "size": 16, "classes": ["cat", "dog"]}
        >>> path = Path(tempfile.mkdtemp(), "net.safetensors")
        >>> _ = save_network(path, spiking_resnet8(2), spiking_resnet8, {"num_classes": 2}, **about)
        >>> exported = read_exported(path)
        >>> exported.classes, tuple(exported.noise(3).shape), tuple(exported.logits(exported.noise(3)).steps.shape)
        (('cat', 'dog'), (3, 3, 16, 16), (4, 3, 2))
    """

    path: str
    file: Path
    network: nn.Module
    about: dict[str, Any]
    runner: Distiller | None = field(repr=False)

    @property
    def is_event(self) -> bool:
        """Whether it takes event frames ``[N, T, 2, H, W]`` in place of images ``[N, C, H, W]``."""
        return bool(self.about.get("event", False))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of its classes.

        Raises:
            ValueError: the file does not say them.
        """
        return tuple(self.said("classes"))

    def said(self, name: str) -> Any:
        """What the JSON says.

        Raises:
            ValueError: nothing, and it is needed.
        """
        value = self.about.get(name)
        if value is None:
            raise ArgumentValueError(
                "path", f"{self.path}: the JSON beside it says no {name}; write both again, save_network(..., {name}=)"
            )
        return value

    @torch.no_grad()
    def logits(self, images: Tensor) -> Logits:
        """Logits of a batch, averaged over time and of every step; states are reset before and after.

        Args:
            images: ``[N, C, H, W]`` as the network was trained to see them, or event frames ``[N, T, 2, H, W]``.

        Raises:
            ValueError: wrong shapes.
        """
        if self.runner is not None:
            return self.runner.logits(images)
        output = self.network(images.mean(1) if images.ndim == 5 else images)
        return read_logits(output, role="teacher", size=len(images))

    def keeps_state(self, images: Tensor) -> bool:
        """Whether equal images have other logits once others were run between them; the network is left as it was.

        The random numbers are the same in both runs, so that an encoder which draws spikes is not taken for a state.

        Args:
            images: as for :meth:`logits`.
        """
        with preserve_state(self.network):
            torch.manual_seed(0)
            first = self.logits(images).mean
            self.logits(-images)
            torch.manual_seed(0)
            second = self.logits(images).mean
        return not torch.allclose(first, second, rtol=1e-3, atol=1e-5, equal_nan=True)

    def noise(self, count: int) -> Tensor:
        """Samples of the shape that the network takes, the same in every call: Gaussian, of event frames its size.

        Args:
            count: how many.

        Raises:
            ValueError: the file does not say the size.
        """
        channels = self.about["arguments"].get("in_channels", 2 if self.is_event else 3)
        shape = [count, channels, self.said("size"), self.said("size")]
        if self.is_event:
            shape.insert(1, self.said("time_steps"))
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        return noise.abs() if self.is_event else noise

    def samples(self, images: str | Path) -> Samples:
        """The samples of a file or a folder.

        Args:
            images: an image (of an event network: an ``.npz`` with the key ``frames``); a folder of them; or a folder
                of class folders, whose names are classes of the network, also inside ``test`` or ``val``.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it holds no sample, a folder is no class of the network, or the file of the network does not
                say how samples are prepared.
        """
        suffixes = (EVENT_SUFFIX,) if self.is_event else datasets.folder.IMG_EXTENSIONS
        found = _find_samples(Path(images).expanduser(), self.about.get("classes") or (), suffixes)
        options = DataOptions(size=self.said("size"))
        if self.is_event:
            source = FolderSamples(found, FrameLoader(self.said("time_steps")))
            transform: Callable[[Any], Tensor] = event_transform(options, train=False)
        else:
            source = FolderSamples(found, load_image)
            mean, std = tuple(self.said("mean")), tuple(self.said("std"))
            if len(mean) not in (1, 3) or len(std) != len(mean):
                raise ArgumentValueError(
                    "path",
                    f"{self.path}: mean and std in the JSON beside it must have one number for each channel, 3 or 1, "
                    f"got {len(mean)} and {len(std)}",
                )
            crop = bool(self.about.get("centre_crop", False))
            transform = image_transform(options, train=False, mean=mean, std=std, centre_crop=crop)
            if len(mean) == 1:
                transform = transforms.Compose([transforms.Grayscale(), transform])
        dataset = TransformedSubset(source, torch.arange(len(found)), transform)
        return Samples(dataset, [path for path, _ in found], found[0][1] != NO_LABEL)


def read_exported(
    path: str | Path, build: Callable[..., nn.Module] | None = None, *, device: str | torch.device = "cpu"
) -> ExportedNetwork:
    """Read a network with :func:`.export.load_network`, ready to be run.

    Args:
        path: as for ``load_network``.
        build: as for ``load_network``.
        device: where it will run: ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        FileNotFoundError: as ``load_network``.
        ValueError: as ``load_network``; or its time steps do not fit the step mode of its neurons; or ``device`` is
            none, or not there.

    Example:
        >>> import tempfile
        >>> from spikingjelly_ckd.recipes.export import save_network
        >>> from spikingjelly_ckd.recipes.models import spiking_resnet8
        >>> path = Path(tempfile.mkdtemp(), "net.safetensors")
        >>> _ = save_network(path, spiking_resnet8(10), spiking_resnet8, {"num_classes": 10}, time_steps=4)
        >>> read_exported(path).logits(torch.rand(2, 3, 32, 32)).steps.shape
        torch.Size([4, 2, 10])
    """
    device = _device(device)
    file = local_file(path)
    network, about = load_network(file, build)
    network.to(device)
    runner = None
    # neurons that are none of SpikingJelly's show in no network; of an ANN for images nobody says time steps
    spiking = about.get("student_steps") is not None or (about.get("time_steps") is not None and not about.get("event"))
    if spiking or has_neurons(network):
        way = about.get("student_steps") or "multi"
        how: dict[str, Any] = {"time_steps": about.get("time_steps"), "student_steps": way}
        if how["time_steps"] is None and way != "internal":
            raise ArgumentValueError("path", f"{path}: its JSON says no time_steps; write it again with them")
        runner = Distiller(None, network, {}, batch_first=True, **how).eval()
    return ExportedNetwork(str(path), file, network, about, runner)


def _device(given: str | torch.device) -> torch.device:
    try:
        device = torch.device(given)
    except RuntimeError:  # whose message lists every kind that PyTorch knows
        raise ArgumentValueError("device", f"must be 'cpu', 'cuda' or 'cuda:N', got {given!r}") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ArgumentValueError("device", f"is not there, got {str(device)!r}; PyTorch sees {count} CUDA devices")
    return device


def _find_samples(source: Path, classes: Sequence[str], suffixes: tuple[str, ...]) -> list[tuple[str, int]]:
    """Path and label of each sample; -1 where no folder says a class."""
    if source.is_file():
        if not source.name.lower().endswith(suffixes):
            raise ArgumentValueError("images", f"must end in {', '.join(suffixes)} for this network, got {source}")
        return [(str(source), NO_LABEL)]
    if not source.is_dir():
        raise ArgumentNotFoundError("images", f"must be a file or a folder that is there, got {source}")
    part = next((source / name for name in PARTS if name not in classes and (source / name).is_dir()), source)
    entries = sorted((entry for entry in os.scandir(part) if not is_litter(entry.name)), key=lambda entry: entry.name)
    if not any(entry.is_dir() for entry in entries):
        paths = [entry.path for entry in entries if entry.name.lower().endswith(suffixes)]
        if not paths:
            raise ArgumentValueError("images", f"{part} holds no file that ends in {', '.join(suffixes)}")
        return [(path, NO_LABEL) for path in paths]
    names = class_folders(part)
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise ArgumentValueError(
            "images",
            f"{part} has folders that are no class of the network: {first_names(unknown)}; its classes are "
            f"{first_names(classes)}. Name the folders so, or pass a folder of images alone for predictions",
        )
    return [(path, classes.index(names[label])) for path, label in list_samples(part, names, suffixes)]


def remark_on_samples(spread: float, largest: float, samples: int) -> str:
    """What a comparison of two networks has to add where the samples tell nothing.

    Args:
        spread: largest difference of a logit between two samples.
        largest: largest absolute logit.
        samples: how many there are; one cannot differ.

    Example:
        >>> remark_on_samples(0.5, 1.0, 4)
        ''
        >>> "says little" in remark_on_samples(0.0, 1.0, 4)
        True
    """
    if samples < 2 or spread > ALIKE * largest:
        return ""
    return " (which says little: the logits are nearly the same for all samples, as where no neuron fires)"
