"""The cache of one teacher and training set: what it belongs to, filling it, and reading it."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from ...distiller import Distiller
from ...errors.checks import check_count
from ...methods.base import TeacherOutput
from ...networks.guards import preserve_state
from ..data import Data
from ..data.loading import SeededSamples
from ..files import locked, set_aside, whole_file
from ..progress import tracked
from .files import CachedSamples, RowFormat
from .key import make_key, tensors_of
from .live import run_teacher

__all__ = ["TeacherCache"]

META = "meta.json"
PROBED = 8
"""Training images on which layers and shapes are found."""


class TeacherCache:
    """The teacher's logits and class maps of a training set, one file for each augmentation view.

    Args:
        root: folder of all caches, in which this one has a folder of its own, named by the hash of its key.
        distiller: whose teacher is run. Layers that were not given are found here, on a few training images.
        data: whose training set is used; the ``repr`` of its transform has to say what it does.
        seed: of the augmentation, as for :class:`~spikingjelly_ckd.recipes.data.loading.ReproducibleDataModule`.
        views: how many augmentations of each image there are.

    Attributes:
        key: what the files belong to; ``meta.json`` holds it.
        folder: where the files are.
        row_format: how an output is stored.

    Raises:
        TypeError: ``distiller`` is no :class:`~spikingjelly_ckd.Distiller`, or ``data`` no ``Data``.
        ValueError: ``views`` or ``seed`` is out of range; no loss uses the teacher; a loss compares features; labels
            are soft; the teacher has no parameters; the transform or ``teacher_input`` does not describe itself; or the
            folder holds the ``meta.json`` of another key.

    Example:
        >>> import tempfile
        >>> from spikingjelly_ckd import CKDDistiller
        >>> from spikingjelly_ckd.recipes.data.digits import digits
        >>> from spikingjelly_ckd.recipes.data.options import DataOptions
        >>> from spikingjelly_ckd.recipes.models import resnet8, spiking_resnet8
        >>> data = digits("", DataOptions(size=16, time_steps=2, roll=1))
        >>> teacher, student = resnet8(10, 2), spiking_resnet8(10, 2)
        >>> distiller = CKDDistiller(teacher, student, teacher_layer="layer3", batch_first=True)
        >>> cache = TeacherCache(tempfile.mkdtemp(), distiller, data, views=4)
        >>> cache.row_format.maps, cache.bytes_per_view  # 719 images, ten logits and a map of 4x4
        (('samd',), 43140)
        >>> cache.fill(views=1, batch_size=64)  # then Trainer.fit(module, datamodule=CachedData(cache, batch_size=64))
        [0]
        >>> frames, label, cached = cache.read(views=1)[0, 5]  # epoch 0, image 5
        >>> tuple(cached["maps"]["samd"].shape)
        (4, 4)
    """

    def __init__(self, root: Path | str, distiller: Distiller, data: Data, *, seed: int = 0, views: int = 1) -> None:
        if not isinstance(distiller, Distiller):
            raise TypeError(f"distiller must be a Distiller, got {type(distiller).__name__}")
        if not isinstance(data, Data):
            raise TypeError(f"data must be a Data of spikingjelly_ckd.recipes.data, got {type(data).__name__}")
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed must be an integer of at least 0, got {seed!r}")
        self.views = check_count("views", views)
        if not distiller.uses_teacher:
            raise ValueError("a teacher cache does nothing: no loss of the distiller uses the teacher")
        if not tensors_of(distiller.teacher):
            raise ValueError("the teacher has no parameters, so it cannot be told from another; train without a cache")
        self.distiller = distiller
        self.data = data
        self.seed = seed
        self.samples = SeededSamples(data.train, seed)
        images, output = self._probe()
        self.row_format = RowFormat.of(output)
        self.key = make_key(distiller, data, seed, images.shape[1:], self.row_format.maps)
        self._text = json.dumps(self.key, indent=1, sort_keys=True)
        self.folder = Path(root) / hashlib.sha256(self._text.encode()).hexdigest()[:16]
        meta = self.folder / META
        if meta.is_file() and meta.read_bytes() != self._text.encode():
            raise ValueError(f"{meta} is not that of the cache it lies in; delete the folder")

    def _device(self) -> torch.device:
        return next(iter(tensors_of(self.distiller.teacher).values())).device

    def _probe(self) -> tuple[Tensor, TeacherOutput]:
        """A few training images and the teacher's output for them, after a look at labels and classes."""
        count = len(self.samples)
        if not count:
            raise ValueError("the training set is empty")
        images, labels = default_collate([self.samples[0, i] for i in range(0, count, -(-count // PROBED))])
        if labels.ndim != 1:
            raise ValueError(f"labels must be class indices, got soft labels {tuple(labels.shape[1:])} of an image")
        images, labels = images.to(self._device()), labels.to(self._device())
        output = run_teacher(self.distiller, images, labels)
        with preserve_state(self.distiller.student), torch.no_grad():
            classes = self.distiller.predict(images).shape[1]
        if output.logits.shape[1] != classes:
            raise ValueError(f"the teacher has {output.logits.shape[1]} classes and the student {classes}")
        return images, output

    def path(self, view: int) -> Path:
        """The file of a view."""
        return self.folder / f"view{view:04}.npy"

    @property
    def bytes_per_view(self) -> int:
        """Size of a file, without its header."""
        return len(self.samples) * self.row_format.dtype.itemsize

    def fill(self, views: int | None = None, *, batch_size: int, workers: int = 0) -> list[int]:
        """Run the teacher on the views that are not there, on the device where it is.

        A view is written beside its place and moved there when it is whole and on the disk. Where another process fills
        the same folder, this one waits for it and takes its views. A view that is cut off is set aside and made again.

        Args:
            views: fill only the first so many views; None for all.
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
        if (self.folder / META).is_file() and not self._missing(views):
            return []
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder, wait="the teacher cache that is filled there"):
            return self._fill(views, batch_size, workers)

    def _missing(self, views: int) -> list[int]:
        """The views that are not there whole."""
        return [view for view in range(views) if not self._is_whole(self.path(view))]

    def _is_whole(self, path: Path) -> bool:
        """Whether a file has its full size; one that has not was cut off by something else than this class."""
        header = io.BytesIO()
        self.row_format.write_header(header, len(self.samples))
        return path.is_file() and path.stat().st_size == len(header.getvalue()) + self.bytes_per_view

    def _fill(self, views: int, batch_size: int, workers: int) -> list[int]:
        """Write the views that are not there, in a folder that is this process's."""
        missing = self._missing(views)
        for path in map(self.path, missing):
            if path.is_file():
                set_aside(path, f"{path} is damaged: it has not the size that it should have")
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

    def _first(self, views: int | None) -> int:
        return self.views if views is None else min(check_count("views", views), self.views)

    def _write(self, view: int, file: Any, batch_size: int, workers: int) -> None:
        self.row_format.write_header(file, len(self.samples))
        device = self._device()
        keys = [(view, index) for index in range(len(self.samples))]
        pinned = device.type == "cuda"
        loader = DataLoader(self.samples, batch_size, sampler=keys, num_workers=workers, pin_memory=pinned)
        for batch in tracked(loader, f"Teacher cache: view {view}", len(loader)):
            images, labels = (values.to(device, non_blocking=True) for values in batch)
            file.write(self.row_format.encode(run_teacher(self.distiller, images, labels)).tobytes())

    def read(self, views: int | None = None) -> SeededSamples:
        """The training set with the cached outputs.

        Args:
            views: use only the first so many views; None for all.

        Returns:
            A dataset of ``(image, label, cached)`` by ``(epoch, index)``, from view ``epoch % views``; ``cached`` holds
            ``"logits"`` ``[K]`` and ``"maps"``, name -> ``[h, w]``, in fp32.

        Raises:
            RuntimeError: a file is not there.
            ValueError: a file is damaged.
        """
        paths = [self.path(view) for view in range(self._first(views))]
        return CachedSamples(self.samples, paths, self.row_format)
