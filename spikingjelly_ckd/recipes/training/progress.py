"""How far a training is: a bar on a terminal, and plain lines elsewhere, both with the time that it will take."""

from __future__ import annotations

import sys
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar

from ..files import say
from ..progress import Pace

__all__ = ["ProgressBar", "ProgressLines", "progress_callback"]


def progress_callback(what: str, *, is_smoke: bool = False) -> Callback:
    """The callback that fits where the standard error goes.

    Args:
        what: is trained, as a line begins.
        is_smoke: whether the accuracies say nothing, which a line then says.
    """
    return ProgressBar() if sys.stderr.isatty() else ProgressLines(what, is_smoke=is_smoke)


def _share(trainer: Trainer, batches: int) -> float:
    """Of the whole training that is done, before its first evaluation without the time of evaluating."""
    epochs = cast(int, trainer.max_epochs)
    return min(1.0, (trainer.current_epoch + batches / max(1.0, float(trainer.num_training_batches))) / epochs)


class ProgressLines(Callback):
    """A line every ten seconds, in the midst of an epoch or evaluation or at its end, and one at the end of the last.

    Args:
        what: is trained.
        is_smoke: whether the accuracies say nothing.
    """

    def __init__(self, what: str, *, is_smoke: bool = False) -> None:
        self.what = what
        self.smoked = " (smoke run, which says nothing)" if is_smoke else ""
        self._pace = Pace()
        self._share = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._share = _share(trainer, 0)
        self._pace = Pace(self._share)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Say how far the epoch is, where ten seconds have gone by."""
        done = cast(int, args[-1]) + 1
        self._share = _share(trainer, done)
        if self._pace.is_due():
            self._say(trainer, f"step {done} of {trainer.num_training_batches}")

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Likewise, of an evaluation."""
        if self._pace.is_due():
            self._say(trainer, f"evaluation, batch {args[2] + 1} of {sum(trainer.num_val_batches)}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how the epoch ended."""
        if self._pace.is_due() or trainer.current_epoch + 1 == trainer.max_epochs:
            figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
            words = [f"train loss {figures['train_loss']:.3f}"]
            for part, name in (("val", "validation"), ("test", "test")):
                if f"{part}_acc1" in figures:
                    words.append(f"{name} accuracy {figures[f'{part}_acc1']:.2f} %{self.smoked}")
            self._say(trainer, ", ".join(words))

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Say how far the look at the test set is, where ten seconds have gone by."""
        if self._pace.is_due():
            say(f"{self.what}: test set, batch {args[2] + 1} of {sum(trainer.num_test_batches)}")

    def _say(self, trainer: Trainer, text: str) -> None:
        left = self._pace.left(self._share) if self._share < 1 else ""
        epoch = f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
        say(f"{self.what}: {epoch}, {text}{'; ' if left else ''}{left}")


class ProgressBar(TQDMProgressBar):
    """Lightning's bar of an epoch, with the time to the end of the whole training in it."""

    def __init__(self) -> None:
        super().__init__()
        self._pace = Pace()

    def on_train_start(self, *args: Any) -> None:
        """Start the clock."""
        super().on_train_start(*args)
        self._pace = Pace(_share(args[0], 0))

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """What stands behind the bar."""
        items = cast(dict[str, Any], super().get_metrics(trainer, pl_module))
        items.pop("v_num", None)
        left = self._pace.left(_share(trainer, trainer.fit_loop.batch_idx + 1)) if trainer.training else ""
        return items | ({"all epochs": left} if left else {})
