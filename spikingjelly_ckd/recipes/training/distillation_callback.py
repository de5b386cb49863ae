"""What a distiller in a LightningModule needs of a Trainer: progress, preflight, logs of its terms, clean states."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from ...distiller import Distiller, StepOutput
from ...networks import compat
from ...networks.recording import listen
from ...preflight import PreflightReport, preflight
from .batches import Unpack, unpack_batch

__all__ = ["DistillationCallback", "training_progress"]


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

    Example:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from spikingjelly_ckd.recipes.models import spiking_resnet8
        >>> class Mine(LightningModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.distiller = Distiller(None, spiking_resnet8(10), {}, time_steps=2)
        ...     def training_step(self, batch, batch_idx):
        ...         return self.distiller(*batch).loss
        ...     def configure_optimizers(self):
        ...         return torch.optim.SGD(self.parameters(), 0.1)
        >>> quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        >>> trainer = Trainer(accelerator="cpu", max_epochs=1, callbacks=[DistillationCallback()], **quiet)
        >>> trainer.fit(Mine(), DataLoader(TensorDataset(torch.rand(8, 3, 16, 16), torch.arange(8)), batch_size=4))
        >>> sorted(trainer.callback_metrics)
        ['train_skipped', 'train_task']
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


def _find_distiller(module: nn.Module) -> Distiller:
    found = [child for child in module.modules() if isinstance(child, Distiller)]
    if len(found) != 1:
        raise ValueError(
            f"{type(module).__name__} holds {len(found)} distillers; DistillationCallback needs one, kept as an "
            "attribute of the LightningModule"
        )
    return found[0]
