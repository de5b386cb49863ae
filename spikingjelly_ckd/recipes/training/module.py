"""Training on Lightning: modules and callbacks, for the recipes and for a Trainer of your own.

``DistillationModule(distiller)`` is a complete LightningModule. A LightningModule of your own that calls a distiller in
its ``training_step`` needs :class:`DistillationCallback` only. TensorBoard tags are SpikingJelly's: ``train_loss``,
``train_acc1``, ``train_acc5``, ``test_loss``, ``test_acc1``, ``test_acc5``, and ``train_<term>`` for each loss.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from timm.data import Mixup
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from ...distiller import Distiller, StepOutput
from ...functional.checks import check_choice
from ...methods.signals import TeacherOutput
from ...networks import compat
from ...networks.recording import listen
from ...preflight import PreflightReport, preflight
from ..cache import CHANGED, is_stale
from ..data.loading import seed_all

__all__ = [
    "ClassifierModule",
    "DistillationCallback",
    "DistillationModule",
    "History",
    "StepSeeds",
    "TrainingModule",
    "cosine_with_warmup",
    "topk_accuracy",
]

OPTIMIZERS = ("sgd", "adamw")


def cosine_with_warmup(epochs: int, steps_per_epoch: int, warmup_epochs: int = 0) -> Callable[[int], float]:
    """Factor of the learning rate at each optimiser step.

    Cosine from 1 to 0, constant within an epoch as ``CosineAnnealingLR(T_max=epochs)`` stepped once an epoch (the
    authors' schedule); before it a linear warm-up in every step.

    Args:
        epochs: of the whole run.
        steps_per_epoch: optimiser steps.
        warmup_epochs: of linear warm-up, below ``epochs``.

    Returns:
        Step (from 0) -> factor in [0, 1].

    Raises:
        ValueError: no epoch is left after the warm-up.

    Example:
        >>> factor = cosine_with_warmup(epochs=3, steps_per_epoch=2, warmup_epochs=1)
        >>> [round(factor(step), 2) for step in range(6)]
        [0.5, 1.0, 1.0, 1.0, 0.5, 0.5]
    """
    if not 0 <= warmup_epochs < epochs:
        raise ValueError(f"warmup_epochs must lie in 0..{epochs - 1} for {epochs} epochs, got {warmup_epochs}")

    def factor(step: int) -> float:
        epoch = step // steps_per_epoch
        if epoch < warmup_epochs:
            return (step + 1) / (warmup_epochs * steps_per_epoch)
        return 0.5 * (1 + math.cos(math.pi * (epoch - warmup_epochs) / (epochs - warmup_epochs)))

    return factor


def topk_accuracy(logits: Tensor, labels: Tensor, top: int = 1) -> Tensor:
    """Share of images whose label is among the ``top`` largest logits (all classes, where there are fewer).

    Args:
        logits: ``[N, K]``.
        labels: class indices ``[N]``, or soft labels ``[N, K]``, of which the largest counts.
        top: how many.

    Returns:
        Scalar in [0, 1].

    Example:
        >>> import torch
        >>> topk_accuracy(torch.eye(3), torch.tensor([0, 1, 1]))
        tensor(0.6667)
    """
    return _right(logits, labels, top).float().mean()


def _right(logits: Tensor, labels: Tensor, top: int) -> Tensor:
    """Whether each image's label is among the ``top`` largest logits, booleans ``[N]``."""
    hard = labels.argmax(1) if labels.ndim == 2 else labels
    best = logits.topk(min(top, logits.shape[1]), dim=1).indices
    return (best == hard.unsqueeze(1)).any(1)


class TrainingModule(LightningModule):
    """Optimiser, schedule, mixup, evaluation and SpikingJelly's tags; a subclass says how to predict and to train.

    Args:
        lr: of the first epoch after the warm-up.
        optimizer: ``"sgd"`` (with ``momentum``) or ``"adamw"``.
        momentum: of SGD.
        weight_decay: on all parameters, as in the authors' code.
        warmup_epochs: of linear warm-up before the cosine.
        mixup: timm's ``Mixup`` for batches of images, or None.

    Raises:
        ValueError: an unknown optimiser.
    """

    def __init__(
        self,
        *,
        lr: float = 0.1,
        optimizer: str = "sgd",
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        warmup_epochs: int = 0,
        mixup: Mixup | None = None,
    ) -> None:
        super().__init__()
        self.lr = lr
        self.optimizer_name = check_choice("optimizer", optimizer, OPTIMIZERS)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
        self.mixup = mixup
        self._test_sums: Tensor | None = None

    def predict(self, images: Tensor) -> Tensor:
        """Logits ``[N, K]`` of a batch as the loader gives it."""
        raise NotImplementedError(f"{type(self).__name__} must define predict(images)")

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Training loss (scalar) and logits ``[N, K]`` of a batch."""
        raise NotImplementedError(f"{type(self).__name__} must define loss(images, labels)")

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """One batch ``(images, labels)``; ``train_loss``, ``train_acc1`` and ``train_acc5`` are logged.

        What else the batch holds is handed on to :meth:`loss`.
        """
        images, labels, *known = batch
        if self.mixup is not None:
            shape = images.shape  # timm cuts [N, C, H, W], so the frames of a recording go as channels
            images, labels = self.mixup(images.flatten(1, -3), labels)
            images = images.view(shape)
        loss, logits = self.loss(images, labels, *known)
        accuracy = [100 * topk_accuracy(logits.detach(), labels, top) for top in (1, 5)]
        self._log("train", [loss.detach(), *accuracy], batch_size=len(logits))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Nothing was counted yet."""
        self._test_sums = None

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """One batch of the test set: its loss, right answers and images are added up."""
        images, labels = batch
        logits = self.predict(images)
        right = [_right(logits, labels, top).sum() for top in (1, 5)]
        loss = F.cross_entropy(logits, labels, reduction="sum")
        sums = torch.stack([value.float() for value in (loss, *right, torch.full_like(loss, len(logits)))])
        self._test_sums = sums if self._test_sums is None else self._test_sums + sums

    def on_validation_epoch_end(self) -> None:
        """``test_loss``, ``test_acc1`` and ``test_acc5`` over the images of all processes are logged.

        Lightning's own mean divides by the mean batch size of the processes as an integer, so it is too large where
        the test set does not divide evenly among them.
        """
        if self._test_sums is None:
            return
        sums = cast(Tensor, self.trainer.strategy.reduce(self._test_sums, reduce_op="sum"))
        loss, right1, right5, images = sums
        self._log("test", [loss / images, 100 * right1 / images, 100 * right5 / images], batch_size=1)

    def _log(self, part: str, figures: Sequence[Tensor], batch_size: int) -> None:
        loss, acc1, acc5 = figures
        how: dict[str, Any] = {"on_step": False, "on_epoch": True, "sync_dist": True, "batch_size": batch_size}
        self.log_dict({f"{part}_loss": loss, f"{part}_acc1": acc1}, prog_bar=True, **how)
        self.log(f"{part}_acc5", acc5, **how)

    def configure_optimizers(self) -> Any:
        """The optimiser and, for every step, the schedule.

        Raises:
            ValueError: the Trainer counts steps instead of epochs, or no epoch is left after the warm-up.
        """
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer: torch.optim.Optimizer
        if self.optimizer_name == "sgd":
            optimizer = torch.optim.SGD(parameters, self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        else:
            optimizer = torch.optim.AdamW(parameters, self.lr, weight_decay=self.weight_decay)
        epochs = cast(int, self.trainer.max_epochs)
        if epochs < 1:
            raise ValueError(f"the schedule needs the number of epochs, Trainer(max_epochs=...), got {epochs}")
        steps = max(1, int(self.trainer.estimated_stepping_batches) // epochs)
        schedule = LambdaLR(optimizer, cosine_with_warmup(epochs, steps, self.warmup_epochs))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class ClassifierModule(TrainingModule):
    """An ANN on images; a recording of event frames ``[N, T, C, H, W]`` enters as its mean frame.

    Args:
        network: ``[N, C, H, W]`` to logits ``[N, K]``.
        **options: as for :class:`TrainingModule`.
    """

    def __init__(self, network: nn.Module, **options: Any) -> None:
        super().__init__(**options)
        self.network = network

    def predict(self, images: Tensor) -> Tensor:
        """Logits ``[N, K]``."""
        return cast(Tensor, self.network(images.mean(1) if images.ndim == 5 else images))

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy and logits."""
        logits = self.predict(images)
        return F.cross_entropy(logits, labels), logits


class DistillationModule(TrainingModule):
    """A distiller on Lightning's Trainer. The teacher is no part of the checkpoint.

    Args:
        distiller: a :class:`~spikingjelly_ckd.Distiller`; with event frames from a loader, made with
            ``batch_first=True``.
        preflight: look at the first batch before training, and refuse to start where it fails.
        **options: as for :class:`TrainingModule`.

    Raises:
        TypeError: no distiller.
        ValueError: an unknown optimiser.

    Example:
        ``Trainer(max_epochs=100).fit(DistillationModule(distiller, lr=0.1), train_loader, test_loader)``
    """

    def __init__(self, distiller: Distiller, *, preflight: bool = True, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(distiller, Distiller):
            raise TypeError(f"distiller must be a Distiller, got {type(distiller).__name__}")
        self.distiller = distiller
        self.preflight = preflight

    def configure_callbacks(self) -> Sequence[Callback]:
        """The :class:`DistillationCallback` that logs the terms and runs the preflight."""
        return [DistillationCallback(preflight=self.preflight)]

    def predict(self, images: Tensor) -> Tensor:
        """The student's logits ``[N, K]``, averaged over time."""
        return self.distiller.predict(images)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """One batch ``(images, labels)``, or of a :class:`~spikingjelly_ckd.recipes.cache.CachedData`.

        Of a batch from a teacher cache one image is shown to the live teacher too; which one, the step's number says.

        Raises:
            RuntimeError: the live teacher says something else of it than the cache holds.
        """
        if len(batch) == 2:
            return super().training_step(batch, batch_idx)
        images, labels, known = batch
        output = TeacherOutput(known["logits"], known["maps"])
        changed = is_stale(self.distiller, images, labels, output, batch_idx % len(labels))
        try:
            loss = super().training_step((images, labels, output), batch_idx)
        except ValueError as error:  # such as a constant map, which a damaged file explains
            if changed:
                raise self._cache_changed() from error
            raise
        if changed:  # read here, where the device has been waited for
            raise self._cache_changed()
        return loss

    def _cache_changed(self) -> RuntimeError:
        cache = getattr(getattr(self.trainer, "datamodule", None), "cache", None)
        return RuntimeError(CHANGED.format("of the cache" if cache is None else cache.folder))

    def loss(
        self, images: Tensor, labels: Tensor, teacher_output: TeacherOutput | None = None
    ) -> tuple[Tensor, Tensor]:
        """The distiller's weighted sum, and the student's logits."""
        out = self.distiller(images, labels, teacher_output)
        return out.loss, out.logits


class DistillationCallback(Callback):
    """For any LightningModule that holds a distiller: preflight, every term in the logs, and a clean student.

    Before the first step it runs :func:`~spikingjelly_ckd.preflight` on the first batch ``(images, labels)``, prints
    the report and raises if a check failed. In every step it logs ``train_<term>`` (unweighted) and ``train_skipped``
    for what the distiller returned. After every evaluation batch the student's membranes are cleared, for modules that
    call the student themselves.

    Args:
        preflight: whether to look at the first batch.

    Attributes:
        report: the preflight's, once it ran.
    """

    def __init__(self, *, preflight: bool = True) -> None:
        self.preflight = preflight
        self.report: PreflightReport | None = None
        self._hook: Any = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the distiller and listen to it.

        Raises:
            ValueError: the module holds none, or several.
        """
        distiller = _find_distiller(pl_module)
        if self._hook is None:
            self._hook = listen(distiller, lambda out: self._log(pl_module, out))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop listening."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop listening; Lightning calls no ``teardown`` then."""
        self.teardown(trainer, pl_module, "fit")

    def _log(self, pl_module: LightningModule, out: StepOutput) -> None:
        if pl_module.trainer.training:
            terms = {f"train_{name}": value for name, value in out.terms.items()}
            terms["train_skipped"] = torch.as_tensor(out.skipped, dtype=torch.float32, device=out.loss.device)
            how: dict[str, Any] = {"on_step": False, "on_epoch": True, "sync_dist": True}
            pl_module.log_dict(terms, batch_size=len(out.logits), **how)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Preflight on the first batch of the run.

        Raises:
            RuntimeError: a check failed.
        """
        distiller = _find_distiller(pl_module)
        if not self.preflight or self.report is not None or trainer.global_step > 0 or not distiller.uses_teacher:
            return
        hook, self._hook = self._hook, None
        hook.remove()  # what the preflight runs is no part of the training
        with trainer.precision_plugin.forward_context():
            self.report = preflight(distiller, (batch[0], batch[1]), accumulate=trainer.accumulate_grad_batches)
        self.setup(trainer, pl_module, "fit")
        rank_zero_info("Preflight\n" + str(self.report))
        if not self.report.ok:
            failed = "\n".join(str(check) for check in self.report.checks if check.status == "fail")
            raise RuntimeError(f"the preflight failed, nothing was trained:\n{failed}")

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Clear the student's membranes."""
        compat.reset(_find_distiller(pl_module).student)


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
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("w", newline="", encoding="utf8") as file:
            names = list(dict.fromkeys(name for row in self.rows for name in row))
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)
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
