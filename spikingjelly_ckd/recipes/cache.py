"""What the teacher says of every training image, kept on disk, for runs in which the teacher takes most of the time.

``TeacherCache`` asks the teacher once for each image and augmentation view and writes one file a view: logits and class
maps. ``CachedData`` is a :class:`~spikingjelly_ckd.recipes.data.loading.ReproducibleDataModule` that returns them with
the images:
the augmentation of view ``v`` of image ``i`` follows from ``(seed, v, i)``, epoch ``e`` uses view ``e % views``, so the
student sees the images that the teacher saw. The teacher answers in fp32, whatever the precision of the run.

A folder belongs to one teacher, data set, augmentation, seed and set of class maps; where any of them differs, it is
another folder, and nothing of before is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import PIL
import timm
import torch
import torchvision
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate

from .._renamed import old_names
from ..distiller import Distiller
from ..functional.checks import check_count
from ..methods.signals import TeacherOutput
from ..networks.guards import preserve_state
from .data.loading import ReproducibleDataModule, SeededSamples
from .data.sets import Data

__all__ = ["CHANGED", "CachedData", "TeacherCache", "is_stale"]
__getattr__ = old_names(__name__)  # has_changed

FORMAT = 1
META = "meta.json"
MAP_SETTINGS = ("cam_method", "cam_pool", "target_class")
"""Settings of the package's losses on which the teacher's class map depends."""
TOLERANCE = 0.02
"""What fp16, TF32 and another batch size may change, as a share of the largest logit or map value of the batch."""
PROBED = 8
LEFTOVER = 3600
"""Seconds after which the unfinished file of a killed run is deleted."""
CHANGED = (
    "the live teacher says something else of an image than the teacher cache holds: the teacher was changed after the "
    "cache was opened, an image was replaced, a transform draws from a source of its own, or a file of the cache was "
    "damaged; delete the folder {} to fill it anew, or train without one"
)


class TeacherCache:
    """The teacher's logits and class maps of a training set, one file for each augmentation view.

    Args:
        root: folder of all caches; this one gets a folder of its own in it, named by its key.
        distiller: whose teacher is asked. Layers that were not given are found here, on a few training images.
        data: whose training set is used; its transform has to say in its ``repr`` what it does.
        seed: of the augmentation, as for :class:`~spikingjelly_ckd.recipes.data.loading.ReproducibleDataModule`.
        views: how many augmentations of each image there are.

    Attributes:
        key: what the files belong to; ``meta.json`` holds it.
        folder: where they are.

    Raises:
        TypeError: no distiller, or no ``Data``.
        ValueError: what cannot be kept or told from another: ``views`` or ``seed`` out of range, no loss that looks at
            the teacher, a loss that compares features, soft labels, a teacher without parameters, a transform or
            ``teacher_input`` that does not describe itself; or the folder belongs to another key.

    Example:
        ``cache = TeacherCache("teacher_cache", distiller, data, seed=0, views=4)``, then
        ``Trainer(max_epochs=100).fit(DistillationModule(distiller), datamodule=CachedData(cache, batch_size=64))``
    """

    def __init__(self, root: Path | str, distiller: Distiller, data: Data, *, seed: int = 0, views: int = 1) -> None:
        if not isinstance(distiller, Distiller):
            raise TypeError(f"distiller must be a Distiller, got {type(distiller).__name__}")
        if not isinstance(data, Data):
            raise TypeError(f"data must be a Data of spikingjelly_ckd.recipes.data, got {type(data).__name__}")
        check_count("views", views)
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed must be an integer of at least 0, got {seed!r}")
        if not distiller.uses_teacher:
            raise ValueError("a teacher cache does nothing: no loss of the distiller looks at the teacher")
        self.distiller = distiller
        self.data = data
        self.seed = seed
        self.views = views
        self.samples = SeededSamples(data.train, seed)
        tensors = _tensors(distiller.teacher)
        if not tensors:
            raise ValueError("the teacher has no parameters, so it cannot be told from another; train without a cache")
        count = len(self.samples)
        if not count:
            raise ValueError("the training set is empty")
        images, labels = default_collate([self.samples[0, i] for i in range(0, count, -(-count // PROBED))])
        if labels.ndim != 1:
            raise ValueError(f"labels must be class indices, got soft labels {tuple(labels.shape[1:])} of an image")
        device = next(iter(tensors.values())).device
        images, labels = images.to(device), labels.to(device)
        probe = _ask(distiller, images, labels)
        with preserve_state(distiller.student), torch.no_grad():
            classes = distiller.predict(images).shape[1]
        if probe.logits.shape[1] != classes:
            raise ValueError(f"the teacher has {probe.logits.shape[1]} classes and the student {classes}")
        self.maps = sorted(probe.class_maps)
        shapes = [tuple(probe.class_maps[name].shape[1:]) for name in self.maps]
        fields: list[Any] = [("logits", "<f2", tuple(probe.logits.shape[1:]))]
        fields += [(f"map{number}", "<f2", shape) for number, shape in enumerate(shapes)]
        fields += [(f"range{number}", "<f4", (2,)) for number in range(len(shapes))]
        self.dtype = np.dtype(fields)
        self.key = {
            "format": FORMAT,
            "teacher": _hash(re.sub(" at 0x[0-9a-f]+", "", repr(distiller.teacher)), tensors),
            "teacher_input": _describe("teacher_input", distiller.teacher_input),
            "data": [data.name, data.split_hash],
            "images": count,
            "shape": list(images.shape[1:]),
            "transform": _describe("the transform", getattr(data.train, "transform", data.train)),
            "seed": seed,
            "class_maps": {name: self._about(name) for name in self.maps},
            "versions": {package.__name__: package.__version__ for package in (torch, torchvision, timm, PIL)},
        }
        self._text = json.dumps(self.key, indent=1, sort_keys=True)
        self.folder = Path(root) / hashlib.sha256(self._text.encode()).hexdigest()[:16]
        meta = self.folder / META
        if meta.is_file() and meta.read_text("utf8") != self._text:
            raise ValueError(f"{meta} is not that of the cache it lies in; delete the folder")

    def _about(self, name: str) -> dict[str, Any]:
        """The class of a loss, the teacher's layers, and the settings on which its class map depends.

        Of a class that is not the package's these are all that are plain.
        """
        loss = self.distiller.losses[name]
        kind = f"{type(loss).__module__}.{type(loss).__qualname__}"
        ours = kind.startswith(f"{Distiller.__module__.partition('.')[0]}.")
        plain = _plain(loss)
        layers = [[x.path, x.layout, x.grid, x.prefix] for x in self.distiller.layers[name][1]]
        return {"loss": kind, "layers": layers} | {k: plain[k] for k in plain if k in MAP_SETTINGS or not ours}

    def _first(self, views: int | None) -> int:
        return self.views if views is None else min(check_count("views", views), self.views)

    def path(self, view: int) -> Path:
        """The file of a view."""
        return self.folder / f"view{view:04}.npy"

    @property
    def bytes_per_view(self) -> int:
        """Size of a file, without its header."""
        return len(self.samples) * self.dtype.itemsize

    def fill(self, views: int | None = None, *, batch_size: int, workers: int = 0) -> list[int]:
        """Ask the teacher for the views that are not there, on the device where it is.

        A view is written beside its place and moved there when it is whole and on the disk.

        Args:
            views: the first so many of the cache's views; None for all.
            batch_size: images at a time.
            workers: loading processes.

        Returns:
            The views that were written.

        Raises:
            OSError: too little room on the disk.
            ValueError: logits or maps that are not finite in fp16.
        """
        check_count("batch_size", batch_size)
        views = self._first(views)
        missing = [view for view in range(views) if not self.path(view).is_file()]
        if not missing and (self.folder / META).is_file():
            return []
        self.folder.mkdir(parents=True, exist_ok=True)
        for part in self.folder.glob("*.part"):
            if time.time() - part.stat().st_mtime > LEFTOVER:
                part.unlink(missing_ok=True)
        needed, free = len(missing) * self.bytes_per_view, shutil.disk_usage(self.folder).free
        if needed > free:
            raise OSError(
                f"the teacher cache needs {needed / 1e9:.2f} GB for {len(missing)} views and {self.folder} has "
                f"{free / 1e9:.2f} GB left; pass fewer views, or a folder on another disk (--teacher-cache-dir)"
            )
        with _whole(self.folder / META) as file:
            file.write(self._text.encode())
        if missing:
            rank_zero_info(f"Teacher cache: {len(missing)} of {views} views are to be filled, in {self.folder}")
        for view in missing:
            start = time.perf_counter()
            with _whole(self.path(view)) as file:
                self._write(view, file, batch_size, workers)
            seconds, size = time.perf_counter() - start, self.bytes_per_view / 1e6
            rank_zero_info(f"Teacher cache: view {view} of {len(self.samples)} images, {seconds:.1f} s, {size:.1f} MB")
        return missing

    def _write(self, view: int, file: Any, batch_size: int, workers: int) -> None:
        header = {"descr": self.dtype.descr, "fortran_order": False, "shape": (len(self.samples),)}
        np.lib.format.write_array_header_2_0(file, header)
        device = next(iter(_tensors(self.distiller.teacher).values())).device
        keys = [(view, index) for index in range(len(self.samples))]
        pinned = device.type == "cuda"
        loader = DataLoader(self.samples, batch_size, sampler=keys, num_workers=workers, pin_memory=pinned)
        told, done = time.monotonic(), 0
        for images, labels in loader:
            known = _ask(self.distiller, images.to(device, non_blocking=True), labels.to(device, non_blocking=True))
            file.write(self._encode(known).tobytes())
            done += len(images)
            if time.monotonic() - told > 60:
                told = time.monotonic()
                rank_zero_info(f"Teacher cache: view {view}, {done} of {len(self.samples)} images")

    def _encode(self, known: TeacherOutput) -> Any:
        """One row an image. Maps are stored from 0 to 1, since Grad-CAM's values may be below what fp16 can hold."""
        rows = np.zeros(len(known.logits), self.dtype)
        with np.errstate(over="ignore"):
            rows["logits"] = known.logits.cpu().numpy()
        for number, name in enumerate(self.maps):
            values = known.class_maps[name].float()
            low, high = values.amin((1, 2)), values.amax((1, 2))
            span = high - low
            unit = (values - low[:, None, None]) / torch.where(span > 0, span, 1.0)[:, None, None]
            rows[f"map{number}"] = unit.cpu().numpy()
            rows[f"range{number}"] = torch.stack([low, span], 1).cpu().numpy()
        if not all(np.isfinite(rows[name]).all() for name in cast(Sequence[str], self.dtype.names)):
            raise ValueError(
                "the teacher's logits or class maps hold NaN, inf or numbers beyond fp16 (65504), which cannot be "
                "kept; check its weights and its input, or train without a cache"
            )
        return rows

    def read(self, views: int | None = None) -> SeededSamples:
        """The training set from the files of the first ``views`` views (None: all).

        Returns:
            A dataset of ``(image, label, known)`` by ``(epoch, index)``, from view ``epoch % views``; ``known`` holds
            ``"logits"`` ``[K]`` and ``"maps"``, name -> ``[h, w]``, in fp32.

        Raises:
            RuntimeError: a file is not there.
            ValueError: a file is damaged.
        """
        views = self._first(views)
        paths = [self.path(view) for view in range(views)]
        return _CachedSamples(self.samples, paths, self.maps, self.dtype)


class _CachedSamples(SeededSamples):
    """What :meth:`TeacherCache.read` gives; each process maps the files itself."""

    def __init__(
        self, samples: SeededSamples, paths: Sequence[Path], maps: Sequence[str], dtype: np.dtype[Any]
    ) -> None:
        super().__init__(samples.dataset, samples.seed)
        self.paths = paths
        self.maps = maps
        self.dtype = dtype
        self._files: list[Any] | None = None
        self._open()

    def _open(self) -> list[Any]:
        if self._files is not None:
            return self._files
        self._files = []
        for path in self.paths:
            try:
                file = np.load(path, mmap_mode="r")
            except FileNotFoundError as error:
                raise RuntimeError(
                    f"{path} is not there: TeacherCache.fill makes it; processes on several nodes need one folder"
                ) from error
            except (OSError, EOFError, ValueError) as error:
                raise ValueError(f"{path} is damaged ({error}); delete it, it will be filled anew") from error
            if file.dtype != self.dtype or file.shape != (len(self),):
                raise ValueError(f"{path} is damaged: it has other rows than its key says; delete it")
            self._files.append(file)
        return self._files

    def __getitem__(self, key: tuple[int, int]) -> Any:
        epoch, index = key
        view = epoch % len(self.paths)
        image, label = super().__getitem__((view, index))
        row = self._open()[view][index]
        maps = {}
        for number, name in enumerate(self.maps):
            low, span = row[f"range{number}"]
            maps[name] = torch.from_numpy(row[f"map{number}"].astype(np.float32) * span + low)
        return image, label, {"logits": torch.from_numpy(row["logits"].astype(np.float32)), "maps": maps}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": None}  # a mapped file would travel to a worker with all it holds


class CachedData(ReproducibleDataModule):
    """The loaders of a run with a teacher cache; batches are ``(images, labels, known)``.

    The views that the run needs and that are not there are filled before training, by one process, while the others
    wait.

    Args:
        cache: a :class:`TeacherCache`; its data and its seed are those of the loaders.
        batch_size: images of a step on each process.
        workers: loading processes.

    Raises:
        TypeError: no :class:`TeacherCache`.
        ValueError: as for :class:`~spikingjelly_ckd.recipes.data.loading.ReproducibleDataModule`.
    """

    def __init__(self, cache: TeacherCache, *, batch_size: int, workers: int = 0) -> None:
        if not isinstance(cache, TeacherCache):
            raise TypeError(f"cache must be a TeacherCache, got {type(cache).__name__}")
        super().__init__(cache.data, batch_size=batch_size, workers=workers, seed=cache.seed)
        self.prepare_data_per_node = False
        self.cache = cache
        self.filled: list[int] = []
        self.filling_seconds = 0.0

    @property
    def views(self) -> int:
        """How many views the run needs: no more than it has epochs."""
        epochs = self.trainer.max_epochs if self.trainer else None
        return min(self.cache.views, epochs) if epochs and epochs > 0 else self.cache.views

    def prepare_data(self) -> None:
        """Fill what is missing; Lightning calls it on one process.

        Raises:
            OSError: too little room on the disk.
            ValueError: the module mixes images.
        """
        module: Any = self.trainer.lightning_module if self.trainer else None
        if getattr(module, "mixup", None) is not None:
            raise ValueError("mixup and cutmix make images that no teacher cache holds; leave them out, or the cache")
        if self.trainer:
            self.cache.distiller.to(self.trainer.strategy.root_device)
        start = time.perf_counter()
        self.filled = self.cache.fill(self.views, batch_size=self.batch_size, workers=self.workers)
        self.filling_seconds = time.perf_counter() - start

    def _train_samples(self) -> SeededSamples:
        return self.cache.read(self.views)


def is_stale(distiller: Distiller, images: Tensor, labels: Tensor, known: TeacherOutput, place: int) -> Tensor:
    """Whether the live teacher says something else of one image of a batch than ``known`` does.

    What differs by at most 0.02 of the batch's largest logit or map value is rounding. A map is of a class, so it is
    compared only where both name the same first class.

    Args:
        distiller: whose teacher is asked, in fp32.
        images: as for the distiller; event frames with the batch first.
        labels: class indices ``[N]``.
        known: of the batch.
        place: of the image in the batch.

    Returns:
        Boolean scalar on the device.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from spikingjelly_ckd.methods import KDLoss
        >>> teacher, student = (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)) for _ in range(2))
        >>> distiller = Distiller(teacher, student, {"kd": (KDLoss(), 1.0)}, student_steps="internal")
        >>> images, labels = torch.rand(3, 1, 2, 2), torch.zeros(3, dtype=torch.long)
        >>> known = TeacherOutput(teacher(images).detach())
        >>> is_stale(distiller, images, labels, known, 1)
        tensor(False)
        >>> is_stale(distiller, images.flip(0), labels, known, 0)
        tensor(True)
    """
    one = slice(place, place + 1)
    live = _ask(distiller, images[one], labels[one])
    logits = known.logits[one]
    changed = ~((live.logits - logits).abs().max() <= TOLERANCE * known.logits.abs().max())  # also of NaN
    same_class = (live.logits.argmax(1) == logits.argmax(1)).all()
    for name, maps in known.class_maps.items():
        apart = ~((live.class_maps[name] - maps[one]).abs().max() <= TOLERANCE * maps.abs().max())
        changed = changed | (apart & same_class)
    return changed


def _describe(name: str, value: Any) -> str:
    """A text that tells ``value`` from another in every run: its ``repr``, and what modules in it hold."""
    text = repr(value)
    if " at 0x" in text or "Lambda(" in text:  # torchvision's Lambda does not show its function
        raise ValueError(
            f"{name} must say in its repr what it does, so that a teacher cache can tell it from another, got {text}; "
            "give its class a __repr__, or pass a dataclass or a torch.nn.Module"
        )
    if not isinstance(value, nn.Module):
        return text
    plain = {path: _plain(child, tuple) for path, child in value.named_modules()}
    return f"{text} {_hash(repr(plain), value.state_dict())}"


def _plain(value: object, *more: type) -> dict[str, Any]:
    """Attributes that are numbers, texts or None."""
    kinds: tuple[type, ...] = (str, int, float, type(None), *more)
    return {name: item for name, item in vars(value).items() if isinstance(item, kinds) and name != "training"}


def _ask(distiller: Distiller, images: Tensor, labels: Tensor) -> TeacherOutput:
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        return distiller.run_teacher(images, labels)


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return dict(chain(network.named_parameters(), network.named_buffers()))


def _hash(text: str, tensors: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256(text.encode())
    for name, tensor in tensors.items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


@contextmanager
def _whole(path: Path) -> Iterator[Any]:
    """A file that is there whole or not at all, also after a loss of power."""
    number, name = tempfile.mkstemp(".part", f"{path.name}.", path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
