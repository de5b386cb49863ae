"""Losses that draw random numbers, from PyTorch's source or from a generator whose state is in checkpoints."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from .base import DistillationLoss

__all__ = ["StochasticLoss"]


class StochasticLoss(DistillationLoss):
    """A loss that draws random numbers; its generator's state is in ``state_dict()``, so that a resumed run draws on.

    Loading warns where the state has a generator and the loss has none.

    Args:
        generator: random source on the networks' device; None is PyTorch's own, whose state checkpoints hold anyway.

    Example:
        >>> StochasticLoss(torch.Generator().manual_seed(0)).state_dict()["generator"].dtype
        torch.uint8
        >>> StochasticLoss().state_dict()
        OrderedDict()
    """

    def __init__(self, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.generator = generator

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.generator is not None:
            destination[prefix + "generator"] = self.generator.get_state()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        state = state_dict.pop(prefix + "generator", None)
        if self.generator is not None and state is not None:
            self._set_state(self.generator, state)
        elif state is not None:
            warnings.warn(
                f"the loaded state of {type(self).__name__} has a generator and the loss has none, so it draws other "
                "numbers than a run that was not stopped: to resume one, pass generator= as it did",
                stacklevel=2,
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _set_state(self, generator: torch.Generator, state: Tensor) -> None:
        try:
            generator.set_state(state.cpu())
        except RuntimeError as error:
            error.add_note(
                f"raised by the saved generator of {type(self).__name__}: pass a generator= on a device of the same "
                f"type, got {generator.device}"
            )
            raise


def __getattr__(name: str) -> Any:
    if name == "RandomLoss":
        warnings.warn("RandomLoss is now called StochasticLoss", DeprecationWarning, stacklevel=2)
        return StochasticLoss
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
