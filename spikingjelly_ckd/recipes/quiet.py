"""Lines of Lightning and PyTorch that tell nobody anything, kept out of the output of a training."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["without_chatter"]

LOGGERS = ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.trainer.connectors.checkpoint_connector")
"""Where Lightning says them; a filter of a logger does not act on the loggers below it."""
LINES = re.compile(
    r"(GPU|TPU|HPU) available: "
    r"|💡 Tip: "
    r"|Using (16bit|bfloat16) Automatic Mixed Precision \(AMP\)$"
    r"|Loading `train_dataloader` to estimate number of stepping batches\.$"
    r"|`weights_only` was not set, defaulting to "
    r"|The following callbacks returned in `LightningModule\.configure_callbacks` will override existing callbacks "
    r"|Restor(ing|ed all) states from the checkpoint "
    r"|`Trainer\.fit` stopped: `max_epochs=\d+` reached\.$"
)
"""How these lines begin: the device is in the record, the rest is Lightning's own affair."""
WARNINGS = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # of PyTorch, for what Lightning does
    r".*exists and is not empty",  # the folder of the checkpoints is ours: resumed, or written to just now
)


class _Chatter(logging.Filter):
    """Lets everything through but the lines above; a warning always."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or LINES.match(record.getMessage()) is None


@contextmanager
def without_chatter() -> Iterator[None]:
    """Leave these lines out inside the block; whatever else is said there is said.

    Example:
        >>> logger = logging.getLogger(LOGGERS[0])
        >>> with without_chatter():
        ...     len(logger.filters)
        1
        >>> len(logger.filters)
        0
    """
    chatter = _Chatter()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    with warnings.catch_warnings():
        for text in WARNINGS:
            warnings.filterwarnings("ignore", text)
        for logger in loggers:
            logger.addFilter(chatter)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeFilter(chatter)
