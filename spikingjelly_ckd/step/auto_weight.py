"""Automatic weights: a loss's weight from the norm of its gradient relative to the task's."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

from ..errors.checks import check_count, check_positive
from ..functional.maps import at_least_float32
from ..networks import compat

__all__ = [
    "AUTO_BATCHES",
    "AUTO_SHARE",
    "FAINT",
    "AutoWeight",
    "MeasuredWeight",
    "gradient_norm",
    "log_gradient_ratio",
]

AUTO_SHARE = 0.3
"""Size of the weighted term's gradient at the recorded feature, as a share of the task's. Of 0.1, 0.3 and 1 it was the
best or tied on two of three unlike students and harmed none, while 1 harmed one (docs/results.md)."""
AUTO_BATCHES = 20
"""Training batches over which it is measured before it is held."""
PATIENCE = 20
"""Measurements without both gradients after which a weight that is still 0 is warned of."""
FAINT = 1e-5
"""Share of the task's gradient below which one may be rounding alone, which a measured weight would make large."""
SCALES = (2.0**16, 2.0**8, 1.0)
"""What a value is multiplied by before its gradient is taken in fp16, in which the gradient of a mean over images and
positions is 0 below 3e-8. The norm by the first of them that gives a finite one counts; that is the scale of a new
``GradScaler``."""


def gradient_norm(value: Tensor, points: Sequence[Tensor], student: nn.Module | None = None) -> Tensor:
    """Euclidean norm of the gradient of ``value`` at ``points``; the graph and every ``.grad`` stay as they are.

    Gradients in fp16 are taken of a scaled value, so that small ones are not rounded to zero.

    Args:
        value: scalar with a graph.
        points: tensors of that graph; one that ``value`` does not depend on, or that has no graph (behind frozen
            layers), counts as zero.
        student: whose states are reset first, since a checkpointed part of it runs again for the gradient.

    Returns:
        Scalar, fp32 or wider, detached. Zero where ``value`` has no graph.

    Example:
        >>> import torch
        >>> x = torch.tensor([3.0, 4.0], requires_grad=True)
        >>> gradient_norm(x.square().sum() / 2, [x])
        tensor(5.)
    """
    zero, trained = at_least_float32(value.new_zeros(())), [point for point in points if point.requires_grad]
    if not value.requires_grad or not trained:
        return zero
    found = zero
    # as many gradients in every process, since those of SyncBatchNorm wait for each other
    for scale in reversed(SCALES) if any(point.dtype == torch.float16 for point in trained) else (1.0,):
        if student is not None:
            compat.reset(student)
        scaled = value if scale == 1 else scale * value
        gradients = torch.autograd.grad(scaled, trained, retain_graph=True, allow_unused=True)
        norms = [at_least_float32(gradient).norm() for gradient in gradients if gradient is not None]
        norm = torch.stack(norms).norm() / scale if norms else zero
        found = norm if scale == 1 else torch.where(norm.isfinite(), norm, found)
    return found


def log_gradient_ratio(
    task: Tensor, term: Tensor, points: Sequence[Tensor], student: nn.Module | None = None
) -> float | None:
    """Logarithm of the norm of the term's gradient over that of the task's, averaged over ``torch.distributed``.

    Args:
        task: scalar with its graph.
        term: likewise.
        points: tensors of both graphs, at which the gradients are compared.
        student: as for :func:`gradient_norm`.

    Returns:
        The mean over the processes that have both gradients; None where none has.

    Example:
        >>> import torch
        >>> x = torch.tensor([1.0], requires_grad=True)
        >>> log_gradient_ratio(task=x.sum(), term=x.sum(), points=[x])
        0.0
    """
    ratio = gradient_norm(term, points, student) / gradient_norm(task, points, student)
    usable = torch.isfinite(ratio) & (ratio > 0)
    sums = torch.stack([torch.where(usable, ratio, 1.0).log(), usable.to(ratio.dtype)])
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(sums)
    total, count = sums.tolist()
    return total / count if count else None


class MeasuredWeight(nn.Module):
    """Base of the weights that are measured from gradients, :class:`AutoWeight` and ``HeldWeight``.

    Args:
        share: size of the weighted term's gradient, as a share of the task's.

    Attributes:
        weight: scalar; 0 before the first measurement.

    Raises:
        TypeError: ``share`` is no number.
        ValueError: ``share`` is not positive.

    Example:
        >>> class EveryStep(MeasuredWeight):
        ...     def take(self, task, term, points, student=None):
        ...         self.weight.copy_(self.share * gradient_norm(task, points) / gradient_norm(term, points))
        >>> x = torch.tensor([1.0], requires_grad=True)
        >>> measured = EveryStep(share=0.5)
        >>> measured.take(task=4 * x.sum(), term=x.sum(), points=[x])
        >>> measured.weight
        tensor(2.)
    """

    weight: Tensor

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = check_positive("share", share)
        self.register_buffer("weight", torch.zeros(()))
        self._unusable = 0
        self._doubted = False

    def take(self, task: Tensor, term: Tensor, points: Sequence[Tensor], student: nn.Module | None = None) -> None:
        """Measure one training step, if a measurement is due.

        Args:
            task: the task loss, scalar with its graph.
            term: the unweighted term, scalar with its graph.
            points: where to compare their gradients.
            student: as for :func:`gradient_norm`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define take(task, term, points, student)")

    def _doubt(self, log_ratio: float) -> None:
        """Warn once of a gradient that is so small that it may be rounding."""
        if self._doubted or log_ratio >= math.log(FAINT):
            return
        self._doubted = True
        warnings.warn(
            f"the gradient of a loss with an automatic weight is {math.exp(log_ratio):.1g} of the task's, so that its "
            "weight becomes large: if that is rounding (LS-KD has no other gradient with two classes, whose "
            "standardised logits are always the same), noise is trained; take another loss, or pass a number",
            stacklevel=2,
        )

    def _leave_out(self) -> None:
        """Count a measurement that could not be used, and warn once where none could be."""
        self._unusable += 1
        if self._unusable == PATIENCE and not self.weight.any():
            warnings.warn(
                f"in {PATIENCE} training steps a loss with an automatic weight, or the task, had no finite gradient at "
                "the recorded layer (or the logits) that is not zero, so its weight is still 0 and it trains nothing: "
                "let the loss depend on the student, or pass a number",
                stacklevel=2,
            )


class AutoWeight(MeasuredWeight):
    r"""A weight that makes a term's gradient at the recorded feature a stated share of the task's.

    Over the first ``batches`` training batches the ratio of the two gradient norms is measured and its geometric mean
    :math:`r` (over batches, and over processes under ``torch.distributed``) gives the weight ``share / r``; then it is
    held. Weight and count are buffers: a resumed run goes on with the weight it had. A batch in which either gradient
    is zero is left out.

    Args:
        share: of the task's gradient.
        batches: how many batches to measure.

    Raises:
        TypeError: ``batches`` is no integer.
        ValueError: ``share`` or ``batches`` is not positive.

    Example:
        >>> import torch
        >>> x = torch.tensor([1.0], requires_grad=True)
        >>> auto = AutoWeight(share=0.5, batches=1)
        >>> auto.observe(task=4 * x.sum(), term=x.sum(), points=[x])
        >>> auto.weight
        tensor(2.)
    """

    log_ratio: Tensor
    seen: Tensor

    def __init__(self, share: float = AUTO_SHARE, batches: int = AUTO_BATCHES) -> None:
        super().__init__(share)
        self.batches = check_count("batches", batches)
        self.register_buffer("log_ratio", torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self._left = self.batches

    @property
    def measuring(self) -> bool:
        """Whether the weight is still being measured."""
        return self._left > 0

    def take(self, task: Tensor, term: Tensor, points: Sequence[Tensor], student: nn.Module | None = None) -> None:
        """Measure one training step, while :attr:`measuring`.

        Args:
            task: as for :meth:`observe`.
            term: as for :meth:`observe`.
            points: as for :meth:`observe`.
            student: as for :meth:`observe`.
        """
        if self.measuring:
            self.observe(task, term, points, student)

    def observe(self, task: Tensor, term: Tensor, points: Sequence[Tensor], student: nn.Module | None = None) -> None:
        """Measure one batch, and set the weight by all that were measured.

        Args:
            task: the task loss, scalar with its graph.
            term: the unweighted term, scalar with its graph.
            points: where to compare their gradients.
            student: as for :func:`gradient_norm`.
        """
        ratio = log_gradient_ratio(task, term, points, student)
        if ratio is None:
            self._leave_out()
            return
        self._doubt(ratio)
        self.seen += 1
        self._left -= 1
        self.log_ratio += (ratio - self.log_ratio) / self.seen
        self.weight.copy_(self.share / self.log_ratio.exp())

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._left = self.batches - int(self.seen)

    def extra_repr(self) -> str:
        """The settings, for ``print``."""
        return f"share={self.share}, batches={self.batches}"
