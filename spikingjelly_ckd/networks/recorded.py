"""What the layers of one forward returned, and whether it can still be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

__all__ = ["ChangedInPlaceError", "Recording"]


class ChangedInPlaceError(RuntimeError):
    """The output of a recorded layer was changed in place after it was recorded."""


class Recording(Mapping[str, Tensor]):
    """What the layers of one forward pass returned, by module path.

    Reading raises for a layer that did not run, and for a tensor that was changed in place after it was recorded, so
    that nothing is computed from a wrong value.

    Example:
        >>> import torch
        >>> from spikingjelly.activation_based import neuron
        >>> from spikingjelly_ckd import record
        >>> network = torch.nn.Sequential(neuron.IFNode(), torch.nn.Flatten())
        >>> with record(network, ["0"]) as seen:
        ...     outputs = [network(frame) for frame in torch.ones(4, 2, 3, 8, 8)]  # a call for each time step
        >>> len(seen.calls("0")), tuple(seen["0"].shape)
        (4, (4, 2, 3, 8, 8))
    """

    def __init__(self, layers: Iterable[str]) -> None:
        self._calls: dict[str, list[tuple[Tensor, int | None]]] = {path: [] for path in layers}
        self._closed = False
        self.saw_gradients_off = False  # a layer that was to be a leaf ran where gradients are switched off

    def __getitem__(self, path: str) -> Tensor:
        """The layer's output; the outputs of several calls are stacked along a new first (time) axis.

        Raises:
            KeyError: the path was not recorded.
            RuntimeError: as :meth:`calls`, or the calls differ in shape.
        """
        calls = self.calls(path)
        if len(calls) == 1:
            return calls[0]
        shapes = sorted({tuple(call.shape) for call in calls})
        if len(shapes) > 1:
            raise RuntimeError(
                f"layer {path!r} ran {len(calls)} times in one forward with unlike shapes {shapes}: "
                "it is shared between places of the network; record a layer that runs once"
            )
        return torch.stack(calls)

    def __iter__(self) -> Iterator[str]:
        return iter(self._calls)

    def __len__(self) -> int:
        return len(self._calls)

    def calls(self, path: str) -> tuple[Tensor, ...]:
        """Every output of the layer, in the order of its calls.

        Args:
            path: of the layer.

        Raises:
            KeyError: the path was not recorded.
            RuntimeError: the layer did not run, or an output was changed in place after it was recorded.
        """
        seen = self._calls[path]
        if not seen:
            raise RuntimeError(
                f"layer {path!r} did not run in this forward, so there is nothing to compare. Likely causes: the "
                "network was compiled before recording (compile the whole distiller instead; of a teacher from "
                "prepare_teacher(compile=True) name the layer in its layers=), the layer sits in a "
                "checkpointed nn.Sequential or is called through a functional forward (record its parent), or the "
                "forward does not use it (record another layer)"
            )
        for tensor, version in seen:
            if version is not None and tensor._version != version:
                raise ChangedInPlaceError(
                    f"the output of layer {path!r} was changed in place after it was recorded (as by `out += x` or "
                    "an in-place activation); record the layer behind it, such as the neuron or the whole block"
                )
        return tuple(tensor for tensor, _ in seen)

    @property
    def complete(self) -> bool:
        """Whether every layer has run."""
        return all(self._calls.values())

    def close(self) -> None:
        """Take in nothing more; layers that run again, such as checkpointed ones in a backward, are not noted."""
        self._closed = True

    def add(self, path: str, tensor: Tensor) -> None:
        """Take in the output of one call; after :meth:`close`, nothing.

        Args:
            path: of the layer.
            tensor: what it returned.
        """
        if self._closed:
            return
        version = None if tensor.is_inference() else tensor._version
        self._calls[path].append((tensor, version))
