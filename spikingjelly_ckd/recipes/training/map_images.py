"""Where teacher and student look, in TensorBoard after every epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from ..data import Data
from ..data.loading import seeded
from ..report.plots.looking import MapReader
from ..report.plots.maps import plot_seen_maps
from ..report.plots.style import rasterize

__all__ = ["MAP_IMAGES", "MapImages", "fixed_images"]

MAP_IMAGES = 8
"""How many images are shown."""


class MapImages(Callback):
    """Draws the maps of a few fixed images after every validation, under the tag ``maps``, with the epoch from 1.

    It costs one forward of the student on these images and the drawing; the teacher runs in the first epoch alone.
    Random numbers, modes, buffers and gradients are left as they were, so the training has the same bits without it. It
    draws on the first process, where that one holds the whole network (not sharded), and stops with a warning where a
    picture cannot be made: no training ends for that.

    Args:
        load: gives a few images, as one batch of the loader, and their class indices ``[N]``; called once.
        classes: their names; None shows indices.
        mean: of each channel that images were normalised with; None for event frames.
        std: likewise.

    Example:
        >>> import tempfile
        >>> from functools import partial
        >>> from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        >>> from torch.utils.data import DataLoader
        >>> from spikingjelly_ckd import CKDDistiller
        >>> from spikingjelly_ckd.recipes.data import DataOptions
        >>> from spikingjelly_ckd.recipes.data.digits import digits
        >>> from spikingjelly_ckd.recipes.models import resnet8, spiking_resnet8
        >>> from spikingjelly_ckd.recipes.training import DistillationModule
        >>> data = digits("", DataOptions(size=16, time_steps=2))
        >>> distiller = CKDDistiller(resnet8(10, 2), spiking_resnet8(10, 2), batch_first=True)
        >>> board = TensorBoardLogger(tempfile.mkdtemp())
        >>> maps = MapImages(partial(fixed_images, data, 2), classes=data.classes)
        >>> few = {"limit_val_batches": 1, "enable_progress_bar": False}
        >>> trainer = Trainer(accelerator="cpu", logger=board, callbacks=[maps], **few)
        >>> _ = trainer.validate(DistillationModule(distiller), DataLoader(data.validation, 4), verbose=False)
        >>> EventAccumulator(board.log_dir).Reload().Tags()["images"]
        ['maps']
    """

    def __init__(
        self,
        load: Callable[[], tuple[Tensor, Tensor]],
        *,
        classes: Sequence[str] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        self.load = load
        self.classes = classes
        self.mean = mean
        self.std = std
        self._reader: MapReader | None = None
        self._images: tuple[Tensor, Tensor] | None = None
        self._stopped = False

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Draw, where a TensorBoard logger takes it; with the weights that were validated."""
        boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        whole = isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)
        if self._stopped or trainer.sanity_checking or not boards or not trainer.is_global_zero or not whole:
            return
        try:
            picture = self._draw(trainer, pl_module)
        except Exception as error:  # whatever it is, the training is worth more than the picture
            self._stopped = True
            rank_zero_warn(f"no maps are drawn for TensorBoard: {error}")
            return
        for board in boards:
            board.experiment.add_image("maps", picture, trainer.current_epoch + 1)

    def _draw(self, trainer: Trainer, pl_module: Any) -> Tensor:
        if self._reader is None or self._images is None:
            with torch.inference_mode(False):  # in which no class map can be taken
                self._reader = MapReader(pl_module.distiller)
                images, labels = self.load()
                self._images = images.to(pl_module.device), labels.to(pl_module.device)
        with trainer.precision_plugin.forward_context():
            seen = self._reader.read(*self._images)
        figure = plot_seen_maps({"student": seen}, classes=self.classes, mean=self.mean, std=self.std)
        return rasterize(figure)


def fixed_images(data: Data, count: int = MAP_IMAGES) -> tuple[Tensor, Tensor]:
    """The same few images in every run: evenly spaced over the part that is measured, without augmentation.

    Args:
        data: whose validation part (the test set where there is none) is taken.
        count: how many, or all of a smaller part.

    Returns:
        Images ``[N, C, H, W]`` or recordings ``[N, T, C, H, W]``, and labels ``[N]``. No random number of the caller is
        used.

    Example:
        >>> from spikingjelly_ckd.recipes.data import DataOptions
        >>> from spikingjelly_ckd.recipes.data.digits import digits
        >>> images, labels = fixed_images(digits("", DataOptions(size=16, time_steps=2)), count=3)
        >>> tuple(images.shape), len(labels)  # recordings [N, T, 2, H, W]
        ((3, 2, 2, 16, 16), 3)
    """
    total = len(cast(Any, data.measured))
    rows = [index * total // count for index in range(count)] if total > count else list(range(total))
    with seeded(0):
        images, labels = zip(*(data.measured[row] for row in rows), strict=True)
    return torch.stack(images), torch.tensor([int(label) for label in labels])
