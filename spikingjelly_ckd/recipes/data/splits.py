"""Which sample is in which part: splits of CIFAR10-DVS, fixed subsets, a validation part, and a hash of these.

CIFAR10-DVS (Li et al., Frontiers in Neuroscience 2017) has 10 classes of 1000 recordings and no official split. Papers
use at least three, with different accuracies, so a number without the name of its split compares with nothing. Each is
computed here from names and labels alone, without opening a recording.

A sample is a pair ``(name, label)``; samples stand in the order of the data set's files: class by class, and within a
class by name as text, so 10 comes before 2.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from ...errors.arguments import ArgumentTypeError, ArgumentValueError
from ...errors.near import hint

__all__ = [
    "SPLIT_HASHES",
    "SUBSET_SEED",
    "SplitName",
    "data_set",
    "dvs_samples",
    "hold_out",
    "split",
    "split_hash",
    "stratified_subset",
]

SUBSET_SEED = 2026
"""Seed of :func:`stratified_subset`; the same for every method and every seed of training."""

SplitName = Literal["first90", "tebn", "random42"]

SPLIT_HASHES: dict[SplitName, str] = {
    "first90": "36a38a863bc19339ac51e531a8f12e29dd50b14e409e090f2bf1c9921c6ddb49",
    "tebn": "91b0152af64ca046dc0ab4efae16c27237875765260d4091e513c9f1a29bbc0c",
    "random42": "dd1b0d38366fd1832ad6fca56d8c023b79efa10abe257598c812bbea83cd2178",
}
"""Name -> :func:`split_hash` of its parts ``train`` and ``test`` on the whole set, :func:`dvs_samples`."""

DVS_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
RECORDINGS_PER_CLASS = 1000
TEBN_TEST_NUMBERS = 100
RANDOM_SEED = 42

Sample = tuple[str, int]
"""Name and label."""


def dvs_samples() -> list[Sample]:
    """Names and labels of the whole of CIFAR10-DVS, in the order in which SpikingJelly lists its files.

    Returns:
        10,000 pairs ``(cifar10_<class>_<number>.npz, label)``.

    Example:
        >>> [name for name, _ in dvs_samples()[:4]]
        ['cifar10_airplane_0.npz', 'cifar10_airplane_1.npz', 'cifar10_airplane_10.npz', 'cifar10_airplane_100.npz']
    """
    return [
        (name, label)
        for label, title in enumerate(DVS_CLASSES)
        for name in sorted(f"cifar10_{title}_{number}.npz" for number in range(RECORDINGS_PER_CLASS))
    ]


def split(name: SplitName, samples: Sequence[Sample]) -> tuple[list[int], list[int]]:
    """Divide CIFAR10-DVS into a training and a test part.

    - ``"first90"``: of each class the first nine tenths in file order train. SpikingJelly's
      ``split_to_train_test_set(0.9, dataset, 10, random_split=False)``, which SEW-ResNet, Spikformer and QKFormer use.
    - ``"tebn"``: recordings 0 to 99 of each class test, the others train (TEBN: Duan et al., NeurIPS 2022; SpikingJelly
      2.x ``CIFAR10DVSTEBNSplit``, which warns that accuracies on it are much higher than on a random split).
    - ``"random42"``: torch's ``random_split`` into nine tenths and one, over all files, with a generator of seed 42
      (the code of SeAl-KD, arXiv 2605.14252). Not stratified.

    Args:
        name: one of the three.
        samples: ``(name, label)`` in file order: :func:`dvs_samples`, or those of them that are there.

    Returns:
        Indices into ``samples``: train, test. Disjoint, together all.

    Raises:
        ValueError: an unknown name, a recording without a number in its name, or a part that would be empty.

    Example:
        >>> train, test = split("tebn", dvs_samples())
        >>> len(train), len(test), dvs_samples()[test[-1]]
        (9000, 1000, ('cifar10_truck_99.npz', 9))
    """
    if name not in SPLIT_HASHES:
        raise ArgumentValueError(
            "split",
            f"must be one of {sorted(SPLIT_HASHES)}, got {name!r}{hint(str(name), SPLIT_HASHES)}; CIFAR10-DVS has no "
            "official one, and accuracies on different splits do not compare",
        )
    train, test = {"first90": _first90, "tebn": _tebn, "random42": _random42}[name](samples)
    if not train or not test:
        raise ValueError(
            f"split {name!r} of these {len(samples)} recordings leaves {len(train)} to train and {len(test)} to test; "
            "more recordings are needed"
        )
    return train, test


def split_hash(parts: Mapping[str, Iterable[Sample]]) -> str:
    """A hash of which sample is in which part.

    Args:
        parts: part -> ``(name, label)`` of its samples, in any order.

    Returns:
        sha256, 64 hexadecimal digits; equal exactly if the same samples with the same labels are in the same parts.

    Example:
        >>> a = split_hash({"train": [("x", 0), ("y", 1)], "test": [("z", 0)]})
        >>> a == split_hash({"test": [("z", 0)], "train": [("y", 1), ("x", 0)]})
        True
        >>> a == split_hash({"train": [("x", 0), ("z", 0)], "test": [("y", 1)]})
        False
    """
    digest = hashlib.sha256()
    for part in sorted(parts):
        # no file name contains a zero byte, so the lines cannot run into each other
        lines = sorted(f"{part}\0{name}\0{label}\0" for name, label in parts[part])
        digest.update("".join(lines).encode())
    return digest.hexdigest()


def data_set(name: str, split: str, split_hash: str) -> str:
    """Data and their split as one setting.

    Example:
        >>> data_set("cifar10", "official", "9f2c51e07d")
        'cifar10 official (9f2c51e0)'
    """
    return f"{name} {split} ({split_hash[:8]})"


def stratified_subset(
    labels: Tensor, count: int, num_classes: int, *, taken: Tensor | None = None, name: str = "count"
) -> Tensor:
    """Choose equally many samples of every class, at random with the seed :data:`SUBSET_SEED`.

    A smaller subset is contained in a larger one.

    Args:
        labels: class indices ``[N]``.
        count: how many samples in all, a multiple of ``num_classes``.
        num_classes: ``K``; labels are 0 to ``K - 1``.
        taken: class indices of samples that are no longer in ``labels`` and count as chosen; None for none.
        name: what messages call ``count``.

    Returns:
        Indices into ``labels``, ascending, as many as ``count`` without those that are taken.

    Raises:
        ValueError: ``count`` is no multiple of ``num_classes``, or a class has too few samples.

    Example:
        >>> import torch
        >>> labels = torch.tensor([0, 1, 0, 1, 0, 1])
        >>> rows = stratified_subset(labels, 4, num_classes=2)
        >>> sorted(labels[rows].tolist())
        [0, 0, 1, 1]
    """
    if count % num_classes:
        raise ArgumentValueError(name, f"must be a multiple of the {num_classes} classes, got {count}")
    each = count // num_classes
    available = labels.bincount(minlength=num_classes)
    gone = torch.zeros_like(available) if taken is None else taken.bincount(minlength=num_classes)
    whole = available + gone
    if each > whole.min():
        raise ArgumentValueError(
            name,
            f"must be at most {num_classes} times the smallest class, but {count} asks for {each} of each class, and "
            f"class {int(whole.argmin())} has only {int(whole.min())}",
        )
    generator = torch.Generator().manual_seed(SUBSET_SEED)
    order = torch.randperm(len(labels), generator=generator)
    by_class = order[labels[order].argsort(stable=True)]
    starts = (available.cumsum(0) - available).tolist()
    wanted = zip(starts, gone.tolist(), strict=True)
    return torch.cat([by_class[start : start + each - less] for start, less in wanted]).sort().values


def hold_out(labels: Tensor, names: Sequence[str], count: float, *, name: str = "val_images") -> tuple[Tensor, Tensor]:
    """Take a validation part out of the training part, equally many samples of every class as far as it goes.

    Which samples these are follows from the hashes of their names, so it depends on no seed and no order of files, and
    a smaller validation part is contained in a larger one. At least one sample of each class stays to train on.

    Args:
        labels: class indices ``[N]`` of the training part.
        names: of the samples, ``N`` of them, no two of a class alike.
        count: how many samples, an integer of at least 1; or, as a float between 0 and 1, their share.
        name: what messages call ``count``.

    Returns:
        Indices into ``labels``, ascending: those that stay to train on, and those for validation.

    Raises:
        TypeError: ``count`` is no number.
        ValueError: ``count`` is out of its range, or asks for more samples than would stay to train on; or the
            classes are too small for it.

    Example:
        >>> import torch
        >>> labels = torch.tensor([0, 0, 0, 1, 1, 1])
        >>> train, validation = hold_out(labels, [f"{row}.png" for row in range(6)], 2)
        >>> len(train), labels[validation].tolist()
        (4, [0, 1])
    """
    if isinstance(count, bool) or not isinstance(count, int | float):
        raise ArgumentTypeError(name, f"must be a number of samples or a share, got {count!r}")
    total = len(labels)
    if isinstance(count, float) and not 0 < count < 1:
        raise ArgumentValueError(name, f"must be an integer, or a share between 0 and 1, got {count}")
    wanted = count if isinstance(count, int) else round(count * total)
    if not 1 <= wanted <= total - wanted:
        raise ArgumentValueError(
            name,
            f"must be at least 1 and leave no fewer samples to train on, but it asks for {wanted} of {total}; pass "
            f"another number, {total // 2} at most",
        )
    ranked: list[tuple[int, int, int]] = []  # place in its class, class, row
    for label in sorted(set(labels.tolist())):
        rows = (labels == label).nonzero().flatten().tolist()
        rows.sort(key=lambda row: hashlib.sha256(names[row].encode()).digest())
        ranked += [(place, label, row) for place, row in enumerate(rows[:-1])]
    if len(ranked) < wanted:
        raise ArgumentValueError(
            name, f"must be at most {len(ranked)}, so that one sample of each class stays to train on, got {wanted}"
        )
    held = torch.zeros(total, dtype=torch.bool)
    held[[row for *_, row in sorted(ranked)[:wanted]]] = True
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def _first90(samples: Sequence[Sample]) -> tuple[list[int], list[int]]:
    train: list[int] = []
    test: list[int] = []
    for label in sorted({label for _, label in samples}):
        rows = [row for row, sample in enumerate(samples) if sample[1] == label]
        kept = math.ceil(0.9 * len(rows))
        train += rows[:kept]
        test += rows[kept:]
    return train, test


def _tebn(samples: Sequence[Sample]) -> tuple[list[int], list[int]]:
    numbers = [_number(name) for name, _ in samples]
    train = [row for row, number in enumerate(numbers) if number >= TEBN_TEST_NUMBERS]
    return train, [row for row, number in enumerate(numbers) if number < TEBN_TEST_NUMBERS]


def _random42(samples: Sequence[Sample]) -> tuple[list[int], list[int]]:
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(RANDOM_SEED)).tolist()
    kept = len(order) - len(order) // 10
    return order[:kept], order[kept:]


def _number(name: str) -> int:
    found = re.search(r"_(\d+)\.\w+$", name)
    if not found:
        raise ValueError(f"split 'tebn' goes by the number of a recording, and {name!r} is not cifar10_<class>_<i>.npz")
    return int(found[1])
