"""KDSNN: the student's pooled features as the teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Size, Tensor, nn

from ..adaptors import align
from ..checks import check_both, check_count
from ..losses import feature_error
from ..maps import at_least_float32, time_mean
from ..signals import DistillationLoss, Signals, one_pair

__all__ = ["KDSNNLoss"]


class KDSNNLoss(DistillationLoss):
    r"""Feature-based KDSNN (Xu et al., CVPR 2023), **as BKDSNN's authors re-implemented it** for their comparison.

    :math:`\|\mathrm{align}(f_S) - f_T\|^2 / N`, with :math:`f` the mean of the last layer over the positions, the
    student's also over time, and a 1x1 convolution where the channels differ, which trains with the student. KDSNN's
    own formula, weights and layers are not known from the sources at hand. Its response-based form is
    :class:`~spikingjelly_ckd.KDLoss`.

    Args:
        student_channels: None reads them off the example.
        teacher_channels: likewise.

    Raises:
        TypeError: a number of channels is no integer.
        ValueError: one is below 1, or comes without the other.

    Example:
        >>> import torch
        >>> KDSNNLoss(3, 3)(torch.zeros(2, 1, 3, 4, 4), torch.ones(1, 3, 8, 8))
        tensor(3.)
    """

    needs: ClassVar[tuple[str, ...]] = ("features",)

    def __init__(self, student_channels: int | None = None, teacher_channels: int | None = None) -> None:
        super().__init__()
        check_both("student_channels", student_channels, "teacher_channels", teacher_channels)
        self.align: nn.Module | None = None
        if student_channels is not None and teacher_channels is not None:
            self.align = align(
                check_count("student_channels", student_channels), check_count("teacher_channels", teacher_channels)
            )

    @property
    def needs_build(self) -> bool:
        """Whether the convolution waits for the layers' channels."""
        return self.align is None

    def build(self, student_shapes: Sequence[Size], teacher_shapes: Sequence[Size]) -> None:
        """Create the convolution, unless the channels were given."""
        if self.align is None:
            self.align = align(student_shapes[0][2], teacher_shapes[0][1])

    def pick(self, signals: Signals) -> tuple[Tensor, Tensor]:
        """The layers of both networks.

        Raises:
            ValueError: not exactly one pair of layers was recorded.
        """
        return one_pair(signals, self)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss.

        Args:
            student: layer ``[T, N, C, h, w]``.
            teacher: layer ``[N, C', h', w']``, used as it is given: pass it detached.

        Returns:
            Scalar.

        Raises:
            RuntimeError: the convolution was not built.
            ValueError: other axes.
        """
        if self.align is None:
            raise RuntimeError("the convolution was not built: pass the channels, or example= to the distiller")
        pooled = time_mean(student).mean(dim=(2, 3), keepdim=True)
        return feature_error(self.align(pooled), at_least_float32(teacher).mean(dim=(2, 3), keepdim=True))
