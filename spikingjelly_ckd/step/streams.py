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
    stream after :meth:`join` waits for the work; what is queued between the block and :meth:`join` runs beside it. One
    stream serves a device. On the CPU, on devices without streams, and while ``torch.compile`` traces, everything runs
    in the order in which it is written.

    Args:
        device: where the work runs; None is no stream of its own.

    Example:
        >>> import torch
        >>> images = torch.ones(2)
        >>> with SideStream(images.device) as side:
        ...     teacher = images + 2
        >>> student = images + 1  # beside it
        >>> side.join([teacher])
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

    def __enter__(self) -> SideStream:
        if self._streams is not None:
            self._inside = self._streams.stream(self._side)
            self._inside.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._streams is not None:
            self._inside.__exit__(*raised)

    def join(self, tensors: Iterable[Tensor]) -> None:
        """Let the current stream wait for the work of the block, whose results it will read.

        The memory of the results is kept until the current stream is done with them; otherwise the allocator may give
        it to the next work on the side as soon as Python has dropped them.

        Args:
            tensors: made in the block.
        """
        if self._streams is None:
            return
        self._main.wait_stream(self._side)
        for tensor in tensors:
            if tensor.device.type != "cpu":
                tensor.record_stream(self._main)


@functools.cache
def _stream(device: torch.device) -> Any:
    module: Any = torch.get_device_module(device)
    return module.Stream() if device.type == "cpu" else module.Stream(device)
