"""Training on Lightning: modules for the recipes and for a Trainer of your own.

``DistillationModule(distiller)`` is a complete LightningModule. A LightningModule of your own that calls a distiller in
its ``training_step`` needs :class:`~spikingjelly_ckd.recipes.training.DistillationCallback` only. TensorBoard tags are
SpikingJelly's: ``train_loss``, ``train_acc1``, ``train_acc5``, ``test_loss``, ``test_acc1``, ``test_acc5``, and
``train_<term>`` for each loss.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Self

from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.nn import functional as F

from ...distiller import Distiller
from ...errors.arguments import ArgumentTypeError, ArgumentValueError
from ...methods.base import TeacherOutput
from ...networks.outputs import Logits, read_logits
from ...step.network_arguments import read_time_steps
from ..cache import CHANGED, is_stale
from .distillation_callback import DistillationCallback
from .figures import evaluated_with
from .training_module import TrainingModule

__all__ = ["ClassifierModule", "DistillationModule"]


class ClassifierModule(TrainingModule):
    """An ANN on images; a recording of event frames ``[N, T, C, H, W]`` enters as its mean frame.

    Args:
        network: ``[N, C, H, W]`` to logits ``[N, K]``.
        **options: as for :class:`TrainingModule`.

    Example:
        >>> import torch
        >>> from spikingjelly_ckd.recipes.models import resnet8
        >>> module = ClassifierModule(resnet8(10, in_channels=2), optimizer="adamw", lr=1e-3)
        >>> loss, logits = module.loss(torch.rand(3, 4, 2, 16, 16), torch.tensor([3, 7, 1]))  # of four frames
        >>> loss.ndim, tuple(logits.shape)
        (0, (3, 10))
    """

    def __init__(self, network: nn.Module, **options: Any) -> None:
        super().__init__(**options)
        self.network = network

    def predict(self, images: Tensor) -> Tensor:
        """Logits ``[N, K]``."""
        output = self.network(images.mean(1) if images.ndim == 5 else images)
        return read_logits(output, role="teacher", size=len(images)).mean

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy and logits."""
        logits = self.predict(images)
        return F.cross_entropy(logits, labels), logits


class DistillationModule(TrainingModule):
    """A distiller on Lightning's Trainer, for ``fit``, ``validate``, ``test`` and ``predict``.

    The teacher is no part of the checkpoint, so ``load_from_checkpoint`` takes the distiller. Schedules of weights
    follow the Trainer.

    Args:
        distiller: a :class:`~spikingjelly_ckd.Distiller`; with event frames from a loader, made with
            ``batch_first=True``.
        preflight: look at the first batch before training, and refuse to start where it fails.
        eval_time_steps: ``T`` for evaluation and prediction, of images; None for the distiller's.
        **options: as for :class:`TrainingModule`.

    Raises:
        TypeError: no distiller.
        ValueError: an unknown optimiser.

    Example:
        >>> import torch
        >>> from lightning.pytorch import Trainer
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from spikingjelly_ckd import published
        >>> from spikingjelly_ckd.recipes.models import resnet8, spiking_resnet8
        >>> distiller = Distiller.from_method(published.kd(), resnet8(10), spiking_resnet8(10), time_steps=2)
        >>> loader = DataLoader(TensorDataset(torch.rand(8, 3, 16, 16), torch.arange(8)), batch_size=4)
        >>> quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        >>> trainer = Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **quiet)
        >>> trainer.fit(DistillationModule(distiller, lr=0.1, preflight=False), loader, loader)
        >>> [name for name in sorted(trainer.callback_metrics) if "acc" not in name]
        ['test_loss', 'train_kd', 'train_loss', 'train_skipped', 'train_task']
    """

    def __init__(
        self, distiller: Distiller, *, preflight: bool = True, eval_time_steps: int | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        if not isinstance(distiller, Distiller):
            raise TypeError(f"distiller must be a Distiller, got {type(distiller).__name__}")
        self.distiller = distiller
        self.preflight = preflight
        self.eval_time_steps = read_time_steps(eval_time_steps)
        if eval_time_steps is not None and distiller.student_steps == "internal":
            raise ArgumentValueError("eval_time_steps", "does nothing: the student keeps its time steps by itself")

    def configure_callbacks(self) -> Sequence[Callback]:
        """The :class:`DistillationCallback` that logs the terms and runs the preflight."""
        return [DistillationCallback(preflight=self.preflight, unpack=self.unpack)]

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **options: Any) -> Self:
        """The module of a checkpoint.

        Args:
            checkpoint_path: path, URL or file of the checkpoint.
            *args: as for Lightning's.
            **options: as for Lightning's, and what the module is made with: ``distiller=``, a distiller with the
                teacher and with a student and losses like those of the checkpoint, whose values it gets.

        Raises:
            TypeError: no ``distiller=``.
        """
        if "distiller" in inspect.signature(cls).parameters and "distiller" not in options:
            raise ArgumentTypeError(
                "distiller",
                f"is missing: the teacher is in no checkpoint, so make the distiller as for the training and pass "
                f"{cls.__name__}.load_from_checkpoint(path, distiller=distiller)",
            )
        return super().load_from_checkpoint(checkpoint_path, *args, **options)

    def predict(self, images: Tensor) -> Tensor:
        """The student's logits ``[N, K]``, averaged over time."""
        return self.logits(images).mean

    def logits(self, images: Tensor) -> Logits:
        """The student's logits, averaged over time and of every step."""
        with evaluated_with(self.distiller, self.eval_time_steps):
            return self.distiller.logits(images)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """One batch, or one of a :class:`~spikingjelly_ckd.recipes.cache.CachedData`.

        Of a batch from a teacher cache one image is shown to the live teacher too; which one, the step's number says.

        Raises:
            RuntimeError: the live teacher says something else of it than the cache holds.
            TypeError: no images and labels were found in the batch.
        """
        output = _cached_output(batch)
        if output is None:
            return super().training_step(batch, batch_idx)
        images, labels, _ = batch
        changed = is_stale(self.distiller, images, labels, output, batch_idx % len(labels))
        try:
            loss = self._train_on(images, labels, output)
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


def _cached_output(batch: Any) -> TeacherOutput | None:
    """What a teacher cache put into a batch ``(images, labels, cached)``."""
    known = batch[2] if isinstance(batch, tuple | list) and len(batch) == 3 else None
    if isinstance(known, dict) and known.keys() == {"logits", "maps"}:
        return TeacherOutput(known["logits"], known["maps"])
    return None
