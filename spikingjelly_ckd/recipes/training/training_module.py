"""What every training of the recipes shares: steps, evaluation, figures, optimiser."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, cast

import torch
from lightning.pytorch import LightningModule
from timm.data import Mixup
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric

from ...errors.checks import check_choice
from ...networks.outputs import Logits
from ..recipe import CHOICES, Optimizer
from .batches import Unpack, images_of, unpack_batch
from .figures import StepAccuracy, among_largest, cosine_with_warmup, topk_accuracy

__all__ = ["TrainingModule", "make_optimizer"]


class TrainingModule(LightningModule):
    """Optimiser, schedule, mixup, evaluation and SpikingJelly's tags; a subclass says how to predict and to train.

    Args:
        lr: of the first epoch after the warm-up.
        optimizer: ``"sgd"`` (with ``momentum``) or ``"adamw"``.
        momentum: of SGD.
        weight_decay: on all parameters, as in the authors' code.
        norm_decay: False leaves out parameters with at most one axis: of normalisations, and biases.
        warmup_epochs: of linear warm-up before the cosine.
        mixup: timm's ``Mixup`` for batches of images, or None.
        mixup_off_epoch: from which epoch on, counted from 0, no images are mixed; 0 for to the end.
        measured: what the metrics of a validation are called: ``"test"``, as in SpikingJelly, where the test set is
            looked at after each epoch, or ``"val"``.
        unpack: function of a batch that returns ``(images, labels)``; None takes ``(images, labels, ...)``, and finds
            them by name in a dict, see :func:`~spikingjelly_ckd.recipes.training.unpack_batch`.

    Attributes:
        accuracy_by_step: of the last evaluation (its first loader): percent of the images that are right by the mean of
            the logits up to each time step; None where the network does not return the logits of every step.

    Raises:
        ValueError: an unknown optimiser.

    Example:
        >>> class Flat(TrainingModule):
        ...     def __init__(self, **options):
        ...         super().__init__(**options)
        ...         self.layer = nn.Linear(4, 3)
        ...     def predict(self, images):
        ...         return self.layer(images.flatten(1))
        ...     def loss(self, images, labels):
        ...         logits = self.predict(images)
        ...         return F.cross_entropy(logits, labels), logits
        >>> module = Flat(lr=0.1, warmup_epochs=5)
        >>> tuple(module.predict_step([torch.rand(2, 1, 2, 2)], batch_idx=0).shape)
        (2, 3)
    """

    def __init__(
        self,
        *,
        lr: float = 0.1,
        optimizer: Optimizer = "sgd",
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        norm_decay: bool = True,
        warmup_epochs: int = 0,
        mixup: Mixup | None = None,
        mixup_off_epoch: int = 0,
        measured: Literal["val", "test"] = "test",
        unpack: Unpack | None = None,
    ) -> None:
        super().__init__()
        self.lr = lr
        self.optimizer_name = check_choice("optimizer", optimizer, CHOICES["optimizer"])
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.norm_decay = norm_decay
        self.warmup_epochs = warmup_epochs
        self.mixup = mixup
        self.mixup_off_epoch = mixup_off_epoch
        self.measured = check_choice("measured", measured, ("val", "test"))
        self.unpack = unpack
        self.accuracy_by_step: list[float] | None = None
        self._by_step = StepAccuracy()
        self._test_means: list[list[MeanMetric]] = []

    def predict(self, images: Tensor) -> Tensor:
        """Logits ``[N, K]`` of a batch as the loader gives it."""
        raise NotImplementedError(f"{type(self).__name__} must define predict(images)")

    def logits(self, images: Tensor) -> Logits:
        """As :meth:`predict`, with the logits of every time step where there are some."""
        return Logits(self.predict(images), None)

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Training loss (scalar) and logits ``[N, K]`` of a batch."""
        raise NotImplementedError(f"{type(self).__name__} must define loss(images, labels)")

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """One batch; ``train_loss``, ``train_acc1`` and ``train_acc5`` are logged.

        Raises:
            TypeError: no images and labels were found in the batch.
        """
        return self._train_on(*unpack_batch(batch, self.unpack))

    def _train_on(self, images: Tensor, labels: Tensor, *known: Any) -> Tensor:
        if self.mixup is not None and not 0 < self.mixup_off_epoch <= self.current_epoch:
            shape = images.shape  # timm cuts [N, C, H, W], so the frames of a recording go as channels
            images, labels = self.mixup(images.flatten(1, -3), labels)
            images = images.view(shape)
        loss, logits = self.loss(images, labels, *known)
        accuracy = [100 * topk_accuracy(logits.detach(), labels, top) for top in (1, 5)]
        self._log("train", [loss.detach(), *accuracy], batch_size=len(logits))
        return loss

    def on_validation_epoch_start(self) -> None:
        """No image was seen yet, whatever an interrupted evaluation left."""
        self._begin(len(self.trainer.num_val_batches))

    def on_test_epoch_start(self) -> None:
        """As before a validation."""
        self._begin(len(self.trainer.num_test_batches))

    def _begin(self, loaders: int) -> None:
        """For each loader its loss and accuracies, each a mean over images."""
        means = [[MeanMetric(nan_strategy="disable") for _ in ("loss", "acc1", "acc5")] for _ in range(loaders)]
        self._by_step = StepAccuracy()
        self._test_means = [[mean.to(self.device) for mean in of_loader] for of_loader in means]

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """One batch of a test set: the loss of each image, and whether it is right.

        Raises:
            TypeError: no images and labels were found in the batch.
            ValueError: NaN or inf in the images.
        """
        self._measure(batch, dataloader_idx, "validation" if self.measured == "val" else "test")

    def _measure(self, batch: Any, dataloader_idx: int, part: str) -> None:
        images, labels = unpack_batch(batch, self.unpack)
        if not images.isfinite().all():
            raise ValueError(f"the {part} set holds NaN or inf, which would count as wrong answers; remove such images")
        found = self.logits(images)
        logits = found.mean
        if dataloader_idx == 0 and found.steps is not None:
            self._by_step.add(found.steps, labels)
        percent = [100.0 * among_largest(logits, labels, top) for top in (1, 5)]
        losses = F.cross_entropy(logits, labels, reduction="none")
        for metric, values in zip(self._test_means[dataloader_idx], (losses, *percent), strict=True):
            metric.update(values)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """As :meth:`validation_step`, for ``Trainer.test``."""
        self._measure(batch, dataloader_idx, "test")

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Logits ``[N, K]`` of a batch, for ``Trainer.predict``; it may be images alone.

        Raises:
            TypeError: no images were found in the batch.
        """
        return self.predict(images_of(batch, self.unpack))

    def on_validation_epoch_end(self) -> None:
        """``test_loss``, ``test_acc1`` and ``test_acc5`` (or ``val_...``) over the images of all processes are logged.

        Of several loaders the first has these names, so that it decides which checkpoint is the best; the others have a
        suffix, ``test_acc1/loader_1`` and so on.

        Lightning's own mean divides by the mean batch size of the processes as an integer, so it is too large where
        the test set does not divide evenly among them.
        """
        self._end(self.measured)

    def on_test_epoch_end(self) -> None:
        """As after a validation, with the names of the test set."""
        self._end("test")

    def _end(self, part: str) -> None:
        for index, means in enumerate(self._test_means):
            suffix = f"/loader_{index}" if index else ""
            self._log(part, [metric.compute() for metric in means], batch_size=1, suffix=suffix)
        self.accuracy_by_step = self._by_step.percent(self.trainer.strategy)
        self._test_means = []

    def _log(self, part: str, figures: Sequence[Tensor], batch_size: int, suffix: str = "") -> None:
        loss, acc1, acc5 = figures
        how: dict[str, Any] = {"on_step": False, "on_epoch": True, "sync_dist": True, "batch_size": batch_size}
        self.log_dict({f"{part}_loss{suffix}": loss, f"{part}_acc1{suffix}": acc1}, prog_bar=True, **how)
        self.log(f"{part}_acc5{suffix}", acc5, **how)

    def configure_optimizers(self) -> Any:
        """The optimiser and, for every step, the schedule.

        Raises:
            ValueError: every parameter is frozen, the Trainer counts steps instead of epochs, or no epoch is left
                after the warm-up.
        """
        parameters = list(self.parameters())  # frozen ones too: they have no gradient until a callback thaws them
        if not any(parameter.requires_grad for parameter in parameters):
            raise ValueError(
                f"{type(self).__name__} has nothing to train: every parameter is frozen; call requires_grad_(True) on "
                "what shall learn, before the Trainer starts"
            )
        optimizer = make_optimizer(
            parameters,
            self.optimizer_name,
            self.lr,
            self.momentum,
            self.weight_decay,
            norm_decay=self.norm_decay,
        )
        epochs = cast(int, self.trainer.max_epochs)
        if epochs < 1:
            raise ValueError(f"the schedule needs the number of epochs, Trainer(max_epochs=...), got {epochs}")
        steps = max(1, int(self.trainer.estimated_stepping_batches) // epochs)
        schedule = LambdaLR(optimizer, cosine_with_warmup(epochs, steps, self.warmup_epochs))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def make_optimizer(
    parameters: Iterable[nn.Parameter],
    name: Optimizer,
    lr: float,
    momentum: float,
    weight_decay: float,
    *,
    norm_decay: bool = True,
) -> torch.optim.Optimizer:
    """The optimiser of a recipe.

    Args:
        parameters: those without a gradient are left as they are.
        name: ``"sgd"``, with ``momentum``, or ``"adamw"``.
        lr: of the first epoch after the warm-up.
        momentum: of SGD.
        weight_decay: on all parameters.
        norm_decay: also on those of normalisations and on biases: on whatever has one axis.
    """
    groups: Any = list(parameters)
    if not norm_decay:
        groups = [
            {"params": [parameter for parameter in groups if parameter.ndim > 1]},
            {"params": [parameter for parameter in groups if parameter.ndim <= 1], "weight_decay": 0.0},
        ]
    if name == "sgd":
        return torch.optim.SGD(groups, lr, momentum=momentum, weight_decay=weight_decay)
    return torch.optim.AdamW(groups, lr, weight_decay=weight_decay)
