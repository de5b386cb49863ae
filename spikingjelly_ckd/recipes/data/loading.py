"""Seeded loaders: the same batches with any number of workers or processes, and after any interruption.

No random state is carried from sample to sample. The order of an epoch follows from ``(seed, epoch)``, the augmentation
of an image from ``(seed, epoch, its index)``, and everything drawn in a training step from ``(seed, epoch, batch,
rank)`` (:class:`~spikingjelly_ckd.recipes.training.StepSeeds`). So a run that resumes at an epoch goes on as if it had
never stopped, two methods see the same batches, and two processes with half the batch each see the images of one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Subset

from ...errors.checks import check_count
from ...errors.installed import needs_packages
from ..files import say
from .base import Data

with needs_packages("spikingjelly_ckd.recipes.data.loading"):
    from lightning.pytorch import LightningDataModule

__all__ = ["EpochSampler", "ReproducibleDataModule", "SeededSamples", "say_left_out", "seed_all", "seeded"]

FEW = 0.05
"""Share of the training images up to which nothing is said of those that no whole batch holds."""


def seed_all(*numbers: int) -> None:
    """Seed PyTorch (every device), NumPy and ``random`` from some integers of at least 0.

    Example:
        >>> import torch
        >>> seed_all(0, 3, 5)
        >>> first = torch.rand(2)
        >>> seed_all(0, 3, 5)
        >>> torch.equal(first, torch.rand(2))
        True
    """
    words = np.random.SeedSequence(numbers).generate_state(4)
    torch.manual_seed(int(words[0]) << 32 | int(words[1]))
    np.random.seed(words[2])  # the global source, from which timm draws
    random.seed(int(words[3]))


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Seed the CPU's random generators from ``numbers`` inside the block, and restore their states after it.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> with seeded(1, 2):
        ...     inside = torch.rand(1)
        >>> before = torch.initial_seed()
        >>> before
        0
    """
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        words = np.random.SeedSequence(numbers).generate_state(4)
        torch.default_generator.manual_seed(int(words[0]) << 32 | int(words[1]))
        np.random.seed(words[2])
        random.seed(int(words[3]))
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


class EpochSampler(DistributedSampler[Any]):
    """``DistributedSampler`` that yields pairs ``(epoch, index)``.

    The samples of batch ``i`` over all ranks are those that one process draws with the whole batch. PyTorch orders by
    ``seed + epoch``: epoch ``e`` of a seed has the order of epoch ``e + 1`` of the seed before, with other weights.

    Example:
        >>> sampler = EpochSampler(range(6), num_replicas=2, rank=1, shuffle=False)
        >>> sampler.set_epoch(3)
        >>> list(sampler)
        [(3, 1), (3, 3), (3, 5)]
    """

    def __iter__(self) -> Iterator[Any]:
        """Pairs ``(epoch, index)`` of this rank, for :class:`SeededSamples`."""
        return iter([(self.epoch, index) for index in super().__iter__()])


class SeededSamples(Dataset[Any]):
    """A dataset indexed by ``(epoch, index)``, whose random transforms depend on these and the seed alone.

    Args:
        dataset: any map-style dataset.
        seed: at least 0.

    Example:
        >>> import torch
        >>> class Noise(Dataset):
        ...     def __getitem__(self, index):
        ...         return torch.rand(())
        >>> samples = SeededSamples(Noise(), seed=0)
        >>> bool(samples[0, 7] == samples[0, 7]), bool(samples[0, 7] == samples[1, 7])
        (True, False)
    """

    def __init__(self, dataset: Dataset[Any], seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return len(cast(Any, self.dataset))

    def __getitem__(self, key: tuple[int, int]) -> Any:
        epoch, index = key
        with seeded(self.seed, epoch, index):
            return self.dataset[index]


def say_left_out(data: Data, batch_size: int) -> None:
    """Say how many training images an epoch leaves out, since no whole batch holds them, unless they are few.

    Example:
        >>> import sys
        >>> from contextlib import redirect_stderr
        >>> from spikingjelly_ckd.recipes.data import DataOptions
        >>> from spikingjelly_ckd.recipes.data.digits import digits
        >>> with redirect_stderr(sys.stdout):
        ...     say_left_out(digits("", DataOptions(size=16, time_steps=2)), batch_size=256)
        Each epoch leaves out 207 of the 719 training images, others each time: a batch holds 256 (-b)
    """
    images = len(cast(Any, data.train))
    count = images % batch_size
    if batch_size <= images and count > FEW * images:
        left_out = f"{count} of the {images} training images, others each time"
        say(f"Each epoch leaves out {left_out}: a batch holds {batch_size} (-b)")


class ReproducibleDataModule(LightningDataModule):
    """The loaders of a run, for ``Trainer.fit(module, datamodule=ReproducibleDataModule(...))``.

    Use it with ``Trainer(use_distributed_sampler=False)``: it has a sampler for several processes of its own.

    Args:
        data: whose training and test set to load.
        batch_size: images of a step on each process.
        workers: loading processes.
        seed: of the order and the augmentation, at least 0.

    Raises:
        TypeError: a number is no integer.
        ValueError: a number is out of range.

    Example:
        >>> from spikingjelly_ckd.recipes.data import DataOptions
        >>> from spikingjelly_ckd.recipes.data.digits import digits
        >>> loaders = ReproducibleDataModule(digits("", DataOptions(size=16, time_steps=2)), batch_size=64, seed=0)
        >>> (frames, labels), (again, _) = (next(iter(loaders.train_dataloader())) for _ in range(2))
        >>> tuple(frames.shape), torch.equal(frames, again), len(loaders.train_dataloader())
        ((64, 2, 2, 16, 16), True, 11)
    """

    def __init__(self, data: Data, *, batch_size: int, workers: int = 0, seed: int = 0) -> None:
        super().__init__()
        self.data = data
        self.batch_size = check_count("batch_size", batch_size)
        self.workers = check_count("workers", workers, least=0)
        self.seed = check_count("seed", seed, least=0)
        self._first_epoch = 0

    def state_dict(self) -> dict[str, Any]:
        """The epoch at which a run that resumes from this checkpoint begins."""
        progress = cast(Any, self.trainer).fit_loop.epoch_progress.current
        return {"epoch": progress.processed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Begin at the epoch of the checkpoint.

        Lightning makes the first iterator, from which workers already draw, before it sets the epoch of the sampler.
        """
        self._first_epoch = state_dict["epoch"]

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _train_samples(self) -> SeededSamples:
        return SeededSamples(self.data.train, self.seed)

    def train_dataloader(self) -> DataLoader[Any]:
        """Augmented batches; the last one is dropped if it is smaller.

        Raises:
            ValueError: the training set does not fill one batch on every process.
        """
        rank, world = self._place()
        samples = self._train_samples()
        if len(samples) < self.batch_size * world:
            raise ValueError(
                f"{len(samples)} training images do not fill one batch of {self.batch_size} on {world} processes; "
                "pass a smaller batch size (-b)"
            )
        sampler = EpochSampler(samples, world, rank, shuffle=True, seed=self.seed, drop_last=True)
        sampler.set_epoch(self._first_epoch)
        return self._loader(samples, sampler=sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation part in order (the test set where there is none), each image on one process, none twice."""
        return self._in_order(self.data.measured)

    def test_dataloader(self) -> DataLoader[Any]:
        """The test set in order, each image on one process only, none twice."""
        return self._in_order(self.data.test)

    def _in_order(self, dataset: Dataset[Any]) -> DataLoader[Any]:
        rank, world = self._place()
        return self._loader(Subset(dataset, range(rank, len(cast(Any, dataset)), world)))

    def _loader(self, dataset: Dataset[Any], **options: Any) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            self.batch_size,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )
