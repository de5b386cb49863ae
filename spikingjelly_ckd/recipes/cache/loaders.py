"""The loaders of a run with a teacher cache."""

from __future__ import annotations

import time
from typing import Any

from ..data.loading import ReproducibleDataModule, SeededSamples
from .teacher_cache import TeacherCache

__all__ = ["CachedData"]


class CachedData(ReproducibleDataModule):
    """The loaders of a run with a teacher cache; batches are ``(images, labels, cached)``.

    ``cached`` holds ``"logits"`` ``[N, K]`` and ``"maps"``, name -> ``[N, h, w]``. Views that the run needs and that
    are not there are filled before training, by one process, while the others wait.

    Args:
        cache: whose data and seed are used.
        batch_size: images of a step on each process.
        workers: loading processes.

    Raises:
        TypeError: ``cache`` is no :class:`TeacherCache`.
        ValueError: as for :class:`~spikingjelly_ckd.recipes.data.loading.ReproducibleDataModule`.

    Example:
        >>> import tempfile
        >>> from spikingjelly_ckd import Distiller, published
        >>> from spikingjelly_ckd.recipes.data import DataOptions
        >>> from spikingjelly_ckd.recipes.data.digits import digits
        >>> from spikingjelly_ckd.recipes.models import resnet8, spiking_resnet8
        >>> teacher, student = resnet8(10, 2), spiking_resnet8(10, 2)
        >>> distiller = Distiller.from_method(published.kd(), teacher, student, batch_first=True)
        >>> cache = TeacherCache(tempfile.mkdtemp(), distiller, digits("", DataOptions(size=8, time_steps=2)))
        >>> loaders = CachedData(cache, batch_size=64)  # for Trainer.fit(module, datamodule=loaders)
        >>> loaders.prepare_data()
        >>> frames, labels, cached = next(iter(loaders.train_dataloader()))
        >>> tuple(frames.shape), tuple(cached["logits"].shape), loaders.filled
        ((64, 2, 2, 8, 8), (64, 10), [0])
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
        """How many views the run needs: at most as many as it has epochs."""
        epochs = self.trainer.max_epochs if self.trainer else None
        return min(self.cache.views, epochs) if epochs and epochs > 0 else self.cache.views

    def prepare_data(self) -> None:
        """Fill what is missing; Lightning calls it on one process.

        Raises:
            OSError: too little room on the disk.
            ValueError: the module uses mixup or cutmix.
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
