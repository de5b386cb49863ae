"""Two networks beside each other on one GPU."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["SideStream"]


class SideStream:
    """A stream of its own for one piece of work, beside what the current stream has still to do.

    The work may use all that was queued on the current stream when this object was made. What is queued on the current
    stream after the ``with`` block waits for the work. One stream serves a device. On the CPU, on devices without
    streams, and while ``torch.compile`` traces, everything runs in the order in which it is written.

    Args:
        device: where the work runs; None is no stream of its own.

    Example:
        >>> import torch
        >>> images = torch.ones(2)
        >>> side = SideStream(images.device)  # from here on both streams may run
        >>> student = images + 1
        >>> with side:
        ...     teacher = images + 2
        >>> side.hand_over([teacher])
        >>> (student + teacher).tolist()
        [5.0, 5.0]
    """

    def __init__(self, device: torch.device | None) -> None:
        own = device is not None and not torch.compiler.is_compiling()
        module: Any = torch.get_device_module(device) if own else None
        self._streams = module if hasattr(module, "Stream") else None
        if device is not None and self._streams is not None:
            self._main = self._streams.current_stream(device)
            self._side = _stream(device)
            self._side.wait_stream(self._main)

    def __enter__(self) -> None:
        if self._streams is not None:
            self._inside = self._streams.stream(self._side)
            self._inside.__enter__()

    def __exit__(self, *raised: object) -> None:
        if self._streams is not None:
            self._inside.__exit__(*raised)
            self._main.wait_stream(self._side)

    def hand_over(self, tensors: Iterable[Tensor]) -> None:
        """Keep the memory of tensors that were made in the block until the current stream is done with them.

        Without this, the allocator may give it to the next work on the side as soon as Python has dropped them.

        Args:
            tensors: that the current stream will read.
        """
        for tensor in tensors:
            if self._streams is not None and tensor.device.type != "cpu":
                tensor.record_stream(self._main)


@functools.cache
def _stream(device: torch.device) -> Any:
    module: Any = torch.get_device_module(device)
    return module.Stream() if device.type == "cpu" else module.Stream(device)
