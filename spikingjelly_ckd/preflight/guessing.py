"""The accuracy of a network that returns the same class for every image."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

__all__ = ["STANDARD_ERRORS", "Guessing", "guessing"]

STANDARD_ERRORS = 2.0
"""An accuracy must exceed that of guessing by this many standard errors; guessing gets there once in 40 times."""


class Guessing(NamedTuple):
    """The accuracy of always choosing the most frequent class, all as shares from 0 to 1.

    Attributes:
        share: of the most frequent class.
        error: standard error of an accuracy of this size on as many images.
    """

    share: float
    error: float

    @property
    def most(self) -> float:
        """The greatest accuracy (a share) that guessing reaches by chance."""
        return min(1.0, self.share + STANDARD_ERRORS * self.error)

    def explains(self, accuracy: float) -> bool:
        """Whether guessing can reach an accuracy (a share) by chance.

        It cannot where all images are right, however few they are, unless all are of one class.
        """
        return self.share == 1 or (accuracy < 1 and accuracy <= self.most)

    def __str__(self) -> str:
        return f"the most frequent class is {100 * self.share:.2f} % of them, standard error {100 * self.error:.2f} %"


def guessing(labels: Tensor) -> Guessing:
    """What guessing gets on images with these labels.

    Args:
        labels: class indices ``[N]``, at least one.

    Returns:
        :class:`Guessing`.

    Raises:
        ValueError: no label.

    Example:
        >>> import torch
        >>> of_two = guessing(torch.arange(100) % 2)
        >>> of_two, of_two.explains(0.6), of_two.explains(0.7)
        (Guessing(share=0.5, error=0.05), True, False)
    """
    if not len(labels):
        raise ValueError("labels must hold at least one class index, got none")
    share = int(labels.bincount().max()) / len(labels)
    return Guessing(share, math.sqrt(share * (1 - share) / len(labels)))
