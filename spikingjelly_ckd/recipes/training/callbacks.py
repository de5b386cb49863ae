"""What a Trainer does beside the steps: seeds, history, checkpoints, and words for what went wrong."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info

from ...errors.arguments import InvalidStepError
from ...networks.compat import use_fast_neurons
from ...step.auto_weight import MeasuredWeight
from ..data.loading import seed_all
from ..files import whole_file
from .resume import BEST, GO_ON, LATEST, SETTINGS

__all__ = ["FailureNotes", "FastNeurons", "History", "MovingAverage", "StepSeeds", "StopEarly", "checkpoints"]


class StepSeeds(Callback):
    """Seeds everything before each step from ``(seed, epoch, batch, rank)``, so that no step depends on the past.

    With :class:`~spikingjelly_ckd.recipes.data.loading.ReproducibleDataModule` a run that resumes from the checkpoint
    of any epoch's end gives, on the CPU, bit for bit the weights of one that was never interrupted: noise of NLD,
    dropout and mixup included.

    Args:
        seed: at least 0.

    Example:
        >>> trainer, seeds = Trainer(accelerator="cpu", logger=False), StepSeeds(3)
        >>> seeds.on_train_batch_start(trainer, LightningModule(), batch=None, batch_idx=7)
        >>> noise = torch.rand(4)
        >>> seeds.on_train_batch_start(trainer, LightningModule(), batch=None, batch_idx=7)
        >>> torch.equal(torch.rand(4), noise)
        True
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed the step."""
        seed_all(self.seed, trainer.current_epoch, batch_idx, trainer.global_rank)


class History(Callback):
    """One row of metrics for each epoch: in the checkpoint, in a CSV file, and handed to ``on_row``.

    Lightning's ``CSVLogger`` deletes the rows of before when a run resumes; this file is written anew from the
    checkpoint's rows, so no epoch is missing or there twice.

    Args:
        path: of the CSV file.
        on_row: called after each epoch with all rows.

    Attributes:
        rows: so far; ``epoch`` (from 1), ``lr``, ``seconds`` (training and evaluation of the epoch) and the metrics.

    Example:
        >>> import tempfile
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from spikingjelly_ckd.recipes.training import ClassifierModule
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
        >>> loader = DataLoader(TensorDataset(torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 0])), batch_size=4)
        >>> history = History(Path(tempfile.mkdtemp()) / "history.csv")
        >>> quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        >>> trainer = Trainer(accelerator="cpu", max_epochs=2, callbacks=[history], **quiet)
        >>> trainer.fit(ClassifierModule(network, lr=0.1), loader, loader)
        >>> [(row["epoch"], round(row["lr"], 3)) for row in history.rows]
        [(1, 0.1), (2, 0.05)]
        >>> history.path.read_text().splitlines()[0].split(",")[:3]
        ['epoch', 'lr', 'seconds']
    """

    def __init__(self, path: Path, on_row: Callable[[list[dict[str, float]]], None] | None = None) -> None:
        self.path = path
        self.on_row = on_row
        self.rows: list[dict[str, float]] = []
        self._start = 0.0
        self._lr = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the folder; one that goes away later is not made again, since its checkpoints went with it."""
        if trainer.is_global_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; note the learning rate, which the last step of the epoch already moves on."""
        self._start = time.perf_counter()
        self._lr = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch and write the file."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = {
            "epoch": trainer.current_epoch + 1,
            "lr": self._lr,
            "seconds": round(time.perf_counter() - self._start, 3),
            **metrics,
        }
        self.rows.append(row)
        if not trainer.is_global_zero:
            return
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows(self.rows)
        with whole_file(self.path) as file:
            file.write(text.getvalue().encode())
        if self.on_row is not None:
            self.on_row(self.rows)

    def state_dict(self) -> dict[str, Any]:
        """The rows, for the checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The rows of the checkpoint."""
        self.rows = list(state_dict["rows"])


class StopEarly(EarlyStopping):
    """End the training where the validation part was no better for some epochs; one that ended so is not gone on with.

    Args:
        patience: how many epochs.
    """

    def __init__(self, patience: int) -> None:
        super().__init__("val_acc1", patience=patience, mode="max", verbose=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train no more after a checkpoint of the last epoch."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class MovingAverage(EMAWeightAveraging):
    """Lightning's moving average of parameters and buffers, without the weights of losses that are measured.

    What was measured, and how often, is a state of the training: its average would be a weight that no step had.

    Args:
        decay: of the average, below 1.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(decay=decay)

    @property
    def state_key(self) -> str:
        """That of Lightning's, under which checkpoints have its state."""
        return EMAWeightAveraging.__qualname__

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Average, and give the average the measured weights as they are."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        average = cast(Any, self._average_model).module
        for path, module in pl_module.named_modules():
            if isinstance(module, MeasuredWeight):
                for name, buffer in module.named_buffers():
                    average.get_submodule(path).get_buffer(name).copy_(buffer)


class FailureNotes(Callback):
    """Say in which step values were refused, what to do where the training diverged, and how to go on after Ctrl-C."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop where the loss of the epoch is not finite.

        Raises:
            InvalidStepError: the loss is NaN or infinite.
        """
        if not torch.isfinite(trainer.callback_metrics["train_loss"]):
            raise InvalidStepError("the training loss is not finite (NaN or inf)", diverged=True)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Add the note."""
        if isinstance(exception, KeyboardInterrupt):
            rank_zero_info(f"Stopped. {GO_ON}")
        elif isinstance(exception, InvalidStepError):
            diverged = exception.diverged and trainer.global_step
            advice = ": begin anew (--overwrite) with a lower learning rate (--lr)" if diverged else ""
            exception.add_note(f"in epoch {trainer.current_epoch + 1}, step {trainer.fit_loop.batch_idx + 1}{advice}")


class FastNeurons(Callback):
    """Take the fastest neurons of the installed SpikingJelly once the student is where it will run, and say which."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Switch, and say so."""
        dtype = torch.bfloat16 if "bf16" in str(trainer.precision) else torch.float32
        rank_zero_info(f"Neurons: {use_fast_neurons(pl_module, dtype=dtype)}")


class _FirstCheckpoint(Callback):
    """Write ``latest.ckpt`` before the first step too, so that a run stopped in its first epoch can be resumed.

    Each checkpoint gets the settings of its run.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.settings = settings

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint[SETTINGS] = self.settings

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.global_step == 0:
            trainer.save_checkpoint(self.path)


def checkpoints(folder: Path, settings: dict[str, Any], measured: str = "test") -> list[Callback]:
    """``best.ckpt`` and ``latest.ckpt``, in this order, so that the latest knows which epoch was the best.

    Args:
        folder: where they are written.
        settings: of the run, which go into each.
        measured: the part on which the best is chosen, ``"val"`` or ``"test"``.
    """
    common: dict[str, Any] = {
        "dirpath": folder,
        "enable_version_counter": False,
        "save_on_train_epoch_end": True,
    }
    return [
        _FirstCheckpoint(folder / LATEST, settings),
        ModelCheckpoint(filename=BEST.removesuffix(".ckpt"), monitor=f"{measured}_acc1", mode="max", **common),
        ModelCheckpoint(filename=LATEST.removesuffix(".ckpt"), **common),
    ]
