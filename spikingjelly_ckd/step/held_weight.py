"""Weights that hold their share: a loss's gradient stays at a stated size beside the task's through the whole run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors.checks import check_count, check_positive
from ..methods.base import DistillationLoss
from ..networks.compat import untraced
from .auto_weight import AUTO_SHARE, MeasuredWeight, log_gradient_ratio

__all__ = ["HOLD_EVERY", "HOLD_LOGIT_SHARE", "HeldWeight", "Hold"]

HOLD_EVERY = 50
"""Training steps from one measurement to the next. Ours."""
HOLD_LOGIT_SHARE = 1.0
"""Share held for a loss that records no layer. Ours; for one that does it is AUTO_SHARE."""
KEPT = 0.7
"""What the average of the measurements keeps of its past at each new one. Ours."""
BOUND = 100.0
"""How far the weight may go from the first one that was measured, up or down, as a factor. Ours."""


@dataclass(frozen=True)
class Hold:
    """A weight that is measured through the whole run; ``"hold"`` stands for ``Hold()``.

    Args:
        share: of the task's gradient, above 0; None is 0.3 for a loss that records layers of the student and 1 for one
            that compares logits. Both are ours.
        every: training steps from one measurement to the next, after the first ``every`` steps, which are all measured.

    Raises:
        TypeError: a value of the wrong kind.
        ValueError: a value that is out of its range.

    Example:
        >>> Hold(share=0.2)
        Hold(share=0.2, every=50)
    """

    share: float | None = None
    every: int = HOLD_EVERY

    def __post_init__(self) -> None:
        if self.share is not None:
            check_positive("share", self.share)
        check_count("every", self.every)

    def share_of(self, loss: DistillationLoss) -> float:
        """The share that is held for ``loss``.

        Args:
            loss: whose weight is held.
        """
        if self.share is not None:
            return self.share
        return AUTO_SHARE if {"features", "student_features"} & set(loss.needs) else HOLD_LOGIT_SHARE


class HeldWeight(MeasuredWeight):
    r"""A weight that keeps a term's gradient at the recorded feature at a stated share of the task's.

    The two gradient norms are measured at each of the first ``every`` training steps, when they move most, and then at
    every ``every``-th. With :math:`r` the exponential average of their ratio (of its logarithm, over measurements and
    over processes under ``torch.distributed``) the weight is ``share / r``, at most 100 times above or below the first
    one. A step in which either gradient is zero or not finite is left out. Everything that is measured is in buffers,
    so that a resumed run goes on as if it had not stopped.

    Args:
        share: of the task's gradient.
        every: training steps from one measurement to the next.

    Raises:
        TypeError: ``every`` is no integer.
        ValueError: ``share`` or ``every`` is not positive.

    Example:
        >>> import torch
        >>> x = torch.tensor([1.0], requires_grad=True)
        >>> held = HeldWeight(share=0.5, every=1)
        >>> held.take(task=4 * x.sum(), term=x.sum(), points=[x])
        >>> held.weight
        tensor(2.)
    """

    first: Tensor
    log_ratio: Tensor
    seen: Tensor
    steps: Tensor

    def __init__(self, share: float = AUTO_SHARE, every: int = HOLD_EVERY) -> None:
        super().__init__(share)
        self.every = check_count("every", every)
        for name in ("first", "log_ratio"):
            self.register_buffer(name, torch.zeros(()))
        for name in ("seen", "steps"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))
        self._steps = 0  # the same number as the buffer, without a copy from the GPU

    @untraced
    def take(self, task: Tensor, term: Tensor, points: Sequence[Tensor], student: nn.Module | None = None) -> None:
        """Count one training step, and measure it if a measurement is due.

        Args:
            task: the task loss, scalar with its graph.
            term: the unweighted term, scalar with its graph.
            points: where to compare their gradients.
            student: whose states are reset before each gradient.
        """
        due = self._steps < self.every or self._steps % self.every == 0
        self._steps += 1
        self.steps += 1
        if not due:
            return
        ratio = log_gradient_ratio(task, term, points, student)
        if ratio is None:
            self._leave_out()
            return
        self._doubt(ratio)
        self.seen += 1
        self.log_ratio += (ratio - self.log_ratio) * (1 / self.seen).clamp_min(1 - KEPT)
        wanted = self.share / self.log_ratio.exp()
        self.first.copy_(torch.where(self.seen == 1, wanted, self.first))
        self.weight.copy_(wanted.clamp(self.first / BOUND, self.first * BOUND))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._steps = int(self.steps)

    def extra_repr(self) -> str:
        """The settings, for ``print``."""
        return f"share={self.share}, every={self.every}"
