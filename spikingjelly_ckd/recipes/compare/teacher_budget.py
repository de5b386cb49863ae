"""The training of a teacher ends as soon as the budget of a comparison cannot hold it."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ...errors.arguments import ArgumentValueError
from ..progress import time_words

__all__ = ["TeacherInBudget"]

SPAN = 1.0
"""Seconds over which steps of a teacher are timed."""
FASTER = 0.5
"""Share of the time of its fastest steps that the steps to come may take, as where others use the machine at first."""


class TeacherInBudget(Callback):
    """Ends the training of a teacher as soon as it is sure that it does not end within the budget.

    Sure means: even if every step that is left takes half as long as the fastest so far, without any evaluation. It is
    looked at after every second of the first epoch, in which little is lost, and then before the first step of an
    epoch, when all of the epochs before are in a checkpoint.

    Args:
        budget: seconds.
        start: of the budget, as ``time.monotonic`` says it.
    """

    def __init__(self, budget: float, start: float) -> None:
        self.budget, self.end = budget, start + budget
        self._since: tuple[float, int] | None = None
        self._first = 0
        self._spans: list[float] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note which epoch is the first one of this process."""
        self._first = trainer.current_epoch

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Take the time, and look.

        Raises:
            ValueError: the budget does not hold the training.
        """
        now, steps, epochs = time.monotonic(), int(trainer.num_training_batches), trainer.max_epochs or 0
        done = trainer.current_epoch * steps + batch_idx
        if self._since is None:
            self._since = (now, done)
        elif now - self._since[0] >= SPAN:
            self._spans.append((now - self._since[0]) / (done - self._since[1]))
            self._since = (now, done)
        if batch_idx and trainer.current_epoch > self._first:
            return
        rest = min(self._spans[1:], default=0.0) * (epochs * steps - done)  # the first span warms up
        if now + FASTER * rest > self.end:
            self._refuse(trainer.current_epoch, epochs, rest, self.end - now)

    def _refuse(self, done: int, epochs: int, rest: float, left: float) -> None:
        pace = f", the rest takes about {time_words(rest)}" if rest else ""
        kept = "; what is trained is kept, and the same command goes on with it" if done else ""
        raise ArgumentValueError(
            "budget",
            f"of {time_words(self.budget)} does not hold the training of the teacher: {done} of {epochs} epochs are "
            f"done{pace}, and {time_words(max(0.0, left))} are left; pass fewer --teacher-epochs, a teacher that is "
            f"trained (--teacher), or a larger budget{kept}",
        )
