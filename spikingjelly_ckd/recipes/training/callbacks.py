"""What a Trainer does beside the steps: preflight, seeds, history, checkpoints, and words for what went wrong."""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from ...distiller import Distiller, StepOutput
from ...networks import compat
from ...networks.compat import use_fast_neurons
from ...networks.recording import listen
from ...preflight import PreflightReport, preflight
from ..data.loading import seed_all
from ..files import whole_file
from .batches import Unpack, unpack_batch
from .resume import LATEST, SETTINGS

__all__ = [
    "DistillationCallback",
    "FailureNotes",
    "FastNeurons",
    "History",
    "StepSeeds",
    "checkpoints",
    "training_progress",
]


class DistillationCallback(Callback):
    """For any LightningModule that holds a distiller: schedules, preflight, every term in the logs, a clean student.

    Before every step it tells the distiller how far the training is (:func:`training_progress`), so that schedules of
    weights act. Before the first one it runs :func:`~spikingjelly_ckd.preflight` on the batch, prints the report and
    raises if a check failed. In every step it logs ``train_<term>`` (unweighted) and ``train_skipped`` for what the
    distiller returned. After every batch, of training or evaluation, the student's states are reset, for modules that
    call the student themselves.

    Args:
        preflight: whether to look at the first batch.
        unpack: function of a batch that returns ``(images, labels)``, for the preflight; None finds them as
            :func:`~spikingjelly_ckd.recipes.training.unpack_batch` does.

    Attributes:
        report: the preflight's, once it ran.
    """

    def __init__(self, *, preflight: bool = True, unpack: Unpack | None = None) -> None:
        self.preflight = preflight
        self.unpack = unpack
        self.report: PreflightReport | None = None
        self._hook: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the distiller.

        Raises:
            ValueError: the module holds none, or several.
        """
        _find_distiller(pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop listening, where a step was left halfway."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop listening; Lightning calls no ``teardown`` then."""
        self.teardown(trainer, pl_module, "fit")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Progress, preflight on the first batch of the run, and listening to the distiller in this step.

        Raises:
            RuntimeError: a check failed, on this or another process.
            TypeError: no images and labels were found in the batch.
            ValueError: weights have a schedule, and the Trainer's settings do not say how long it trains.
        """
        self.teardown(trainer, pl_module, "fit")  # Lightning ends no batch whose epoch was left out
        distiller = _find_distiller(pl_module)
        progress = training_progress(trainer, batch_idx)
        if progress is not None:
            distiller.progress(progress)
        elif distiller.schedule:
            raise ValueError(
                f"the schedule of the weights of {sorted(distiller.schedule)} needs to know how long the training is: "
                "pass Trainer(max_epochs=...) or Trainer(max_steps=...)"
            )
        if self.preflight and self.report is None and trainer.global_step == 0 and distiller.uses_teacher:
            self._look(trainer, distiller, batch)
        self._hook = listen(distiller, partial(self._log, pl_module))

    def _look(self, trainer: Trainer, distiller: Distiller, batch: Any) -> None:
        try:
            images, labels = unpack_batch(batch, self.unpack)
        except TypeError as error:
            raise TypeError(f"{error}; preflight=False leaves out the look at the first batch") from None
        refusal: Exception | None = None
        try:
            with trainer.precision_plugin.forward_context():
                self.report = preflight(distiller, (images, labels), accumulate=trainer.accumulate_grad_batches)
        except Exception as error:  # raised when the other processes know
            refusal = error
        else:
            rank_zero_info("Preflight\n" + str(self.report))
            if not self.report.ok:
                failed = "\n".join(str(check) for check in self.report.checks if check.status == "fail")
                refusal = RuntimeError(f"the preflight failed, nothing was trained:\n{failed}")
        everywhere = trainer.strategy.reduce_boolean_decision(refusal is None)
        if refusal is not None:
            raise refusal
        if not everywhere:
            raise RuntimeError("the preflight failed on another process, which says why; nothing was trained")

    def _log(self, pl_module: LightningModule, out: StepOutput) -> None:
        terms = {f"train_{name}": value for name, value in out.terms.items()}
        terms["train_skipped"] = torch.as_tensor(out.skipped, dtype=torch.float32, device=out.loss.device)
        how: dict[str, Any] = {"on_step": False, "on_epoch": True, "sync_dist": True}
        pl_module.log_dict(terms, batch_size=len(out.logits), **how)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stop listening, so that what happens between the steps is not logged; reset the student's states."""
        self.teardown(trainer, pl_module, "fit")
        self._reset(pl_module)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Reset the student's states."""
        self._reset(pl_module)

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Reset the student's states."""
        self._reset(pl_module)

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Reset the student's states."""
        self._reset(pl_module)

    def _reset(self, pl_module: LightningModule) -> None:
        compat.reset(_find_distiller(pl_module).student)


def training_progress(trainer: Trainer, batch_idx: int) -> float | None:
    """How far a training is before one of its batches.

    It is counted in batches where the Trainer has ``max_epochs``, in optimiser steps where it has ``max_steps``, and is
    what comes to its end first where it has both. Batches whose gradients are accumulated have the progress of the
    first of them, so that accumulating changes no weight. In an epoch of unknown length the progress is that of the
    epoch's start.

    Args:
        trainer: Lightning's, which counts on where a run is resumed.
        batch_idx: of the batch in the epoch.

    Returns:
        From 0 to below 1; None where neither ``max_epochs`` nor ``max_steps`` is set.

    Example:
        >>> from types import SimpleNamespace
        >>> trainer = SimpleNamespace(current_epoch=1, max_epochs=4, num_training_batches=10, max_steps=-1)
        >>> trainer.accumulate_grad_batches = 2
        >>> [training_progress(trainer, batch) for batch in (0, 4, 5)]
        [0.25, 0.35, 0.35]
    """
    shares = []
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        begun = batch_idx - batch_idx % trainer.accumulate_grad_batches
        shares.append((trainer.current_epoch + begun / trainer.num_training_batches) / trainer.max_epochs)
    if trainer.max_steps > 0:
        shares.append(trainer.global_step / trainer.max_steps)
    return max(shares, default=None)


class StepSeeds(Callback):
    """Seeds everything before each step from ``(seed, epoch, batch, rank)``, so that no step depends on the past.

    With :class:`~spikingjelly_ckd.recipes.data.loading.ReproducibleDataModule` a run that resumes from the checkpoint
    of any epoch's end gives, on the CPU, bit for bit the weights of one that was never interrupted: noise of NLD,
    dropout and mixup included.

    Args:
        seed: at least 0.
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


def _find_distiller(module: nn.Module) -> Distiller:
    found = [child for child in module.modules() if isinstance(child, Distiller)]
    if len(found) != 1:
        raise ValueError(
            f"{type(module).__name__} holds {len(found)} distillers; DistillationCallback needs one, kept as an "
            "attribute of the LightningModule"
        )
    return found[0]


class FailureNotes(Callback):
    """Say in which step something failed, what to do about a loss that is not finite, and how to go on after Ctrl-C."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop where the loss of the epoch is not finite."""
        if not torch.isfinite(trainer.callback_metrics["train_loss"]):
            raise ValueError("the training loss is not finite (NaN or inf)")

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Add the note."""
        if isinstance(exception, KeyboardInterrupt):
            rank_zero_info("Stopped. Go on from the end of the last epoch with --resume latest")
        elif isinstance(exception, ValueError) and re.search("NaN or inf|everywhere alike", str(exception)):
            advice = ": begin anew (--overwrite) with a lower learning rate (--lr)" if trainer.global_step else ""
            exception.add_note(f"in epoch {trainer.current_epoch + 1}, step {trainer.fit_loop.batch_idx + 1}{advice}")


class FastNeurons(Callback):
    """Take the fastest neurons of the installed SpikingJelly once the student is where it will run, and say which."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Switch, and say so."""
        rank_zero_info(f"Neurons: {use_fast_neurons(pl_module)}")


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


def checkpoints(folder: Path, settings: dict[str, Any]) -> list[Callback]:
    """``best.ckpt`` and ``latest.ckpt``, in this order, so that the latest knows which epoch was the best."""
    common: dict[str, Any] = {
        "dirpath": folder,
        "enable_version_counter": False,
        "save_on_train_epoch_end": True,
    }
    return [
        _FirstCheckpoint(folder / LATEST, settings),
        ModelCheckpoint(filename="best", monitor="test_acc1", mode="max", **common),
        ModelCheckpoint(filename=LATEST.removesuffix(".ckpt"), **common),
    ]
