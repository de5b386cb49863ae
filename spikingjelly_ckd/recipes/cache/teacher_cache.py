"""The teacher's logits and class maps of a training set."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import PIL
import timm
import torch
import torchvision
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from ...distiller import Distiller
from ...functional.checks import check_count
from ...methods.base import TeacherOutput
from ...networks.guards import preserve_state
from ..data import Data
from ..data.loading import SeededSamples
from .files import CachedSamples, whole_file
from .key import FORMAT, MAP_SETTINGS, content_hash, describe, plain_settings, tensors_of

__all__ = ["CHANGED", "TeacherCache", "is_stale"]

META = "meta.json"
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
        tensors = tensors_of(distiller.teacher)
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
        probe = _run_teacher(distiller, images, labels)
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
            "teacher": content_hash(re.sub(" at 0x[0-9a-f]+", "", repr(distiller.teacher)), tensors),
            "teacher_input": describe("teacher_input", distiller.teacher_input),
            "data": [data.name, data.split_hash],
            "images": count,
            "shape": list(images.shape[1:]),
            "transform": describe("the transform", getattr(data.train, "transform", data.train)),
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
        plain = plain_settings(loss)
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
        with whole_file(self.folder / META) as file:
            file.write(self._text.encode())
        if missing:
            rank_zero_info(f"Teacher cache: {len(missing)} of {views} views are to be filled, in {self.folder}")
        for view in missing:
            start = time.perf_counter()
            with whole_file(self.path(view)) as file:
                self._write(view, file, batch_size, workers)
            seconds, size = time.perf_counter() - start, self.bytes_per_view / 1e6
            rank_zero_info(f"Teacher cache: view {view} of {len(self.samples)} images, {seconds:.1f} s, {size:.1f} MB")
        return missing

    def _write(self, view: int, file: Any, batch_size: int, workers: int) -> None:
        header = {"descr": self.dtype.descr, "fortran_order": False, "shape": (len(self.samples),)}
        np.lib.format.write_array_header_2_0(file, header)
        device = next(iter(tensors_of(self.distiller.teacher).values())).device
        keys = [(view, index) for index in range(len(self.samples))]
        pinned = device.type == "cuda"
        loader = DataLoader(self.samples, batch_size, sampler=keys, num_workers=workers, pin_memory=pinned)
        told, done = time.monotonic(), 0
        for images, labels in loader:
            known = _run_teacher(
                self.distiller, images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            )
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
        return CachedSamples(self.samples, paths, self.maps, self.dtype)


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
    live = _run_teacher(distiller, images[one], labels[one])
    logits = known.logits[one]
    changed = ~((live.logits - logits).abs().max() <= TOLERANCE * known.logits.abs().max())  # also of NaN
    same_class = (live.logits.argmax(1) == logits.argmax(1)).all()
    for name, maps in known.class_maps.items():
        apart = ~((live.class_maps[name] - maps[one]).abs().max() <= TOLERANCE * maps.abs().max())
        changed = changed | (apart & same_class)
    return changed


def _run_teacher(distiller: Distiller, images: Tensor, labels: Tensor) -> TeacherOutput:
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        return distiller.run_teacher(images, labels)
