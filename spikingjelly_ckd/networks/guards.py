"""Running a network to look at it, and leaving it as it was found."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from . import compat

__all__ = ["Containers", "firing", "outside_inference", "preserve_state", "reset_states"]

_PLAIN = frozenset({int, float, bool, str, type(None)})
_TORCHS_OWN = frozenset(vars(nn.Module()))
"""What nn.Module keeps of itself: modes, hooks, and the dicts of its parameters, buffers and children."""


def outside_inference() -> AbstractContextManager[Any]:
    """Leave ``torch.inference_mode``, in which no graph can be made, and change nothing outside it.

    Where it was on, gradients are enabled inside.

    Example:
        >>> import torch
        >>> with torch.inference_mode(), outside_inference():
        ...     torch.is_inference_mode_enabled()
        False
    """
    return torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext()


@contextmanager
def reset_states(student: nn.Module) -> Iterator[None]:
    """Reset a student's states before and after the block; if the block raises, its buffers are as before.

    States reset before ``backward`` change no gradient, and a student that kept them could not be copied. The buffers
    are BatchNorm's statistics, which a batch of NaN would ruin for good. They are saved in train mode only.

    Args:
        student: the network that runs inside the block.

    Example:
        >>> import torch
        >>> from spikingjelly.activation_based import neuron
        >>> net = neuron.IFNode()
        >>> with reset_states(net):
        ...     _ = net(torch.tensor([0.6]))
        >>> net.v
        0.0
    """
    buffers = _saved_buffers(student.modules()) if student.training else []
    try:
        compat.reset(student)
        yield
    except BaseException:
        _restore_buffers(buffers)
        raise
    finally:
        compat.reset(student)


@contextmanager
def preserve_state(*networks: nn.Module) -> Iterator[None]:
    """Restore what running a network changes: modes, buffers, plain attributes, gradients and random numbers.

    Buffers and attributes come back as the very objects that they were, with what was in them; attributes are those of
    the types int, float, bool, str, None and tensor. What is inside lists, dicts and other objects is not restored, and
    a network that created modules or parameters in the block (as lazy modules do) keeps its attributes, which may say
    so. The block runs outside of ``torch.inference_mode``, in which no gradient could be asked for.

    Args:
        *networks: those that will run inside the block. States of spiking neurons are reset before and after.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> norm = nn.BatchNorm2d(2)
        >>> with preserve_state(norm):
        ...     _ = norm.train()(torch.rand(4, 2, 3, 3))
        >>> norm.running_mean
        tensor([0., 0.])
    """
    # only those with neurons: other networks may mean something else by reset
    spiking = [network for network in networks if compat.has_neurons(network)]
    modules = [module for network in networks for module in network.modules()]
    parts = _parts(networks)
    modes = [module.training for module in modules]
    buffers = _saved_buffers(modules)
    attributes = [_Attributes(module) for module in modules]
    gradients = [(parameter, parameter.grad) for network in networks for parameter in network.parameters()]
    tensors = [*(buffer for network in networks for buffer in network.buffers()), *(weight for weight, _ in gradients)]
    devices = sorted({tensor.device.index for tensor in tensors if tensor.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        try:
            for network in spiking:
                compat.reset(network)
            for parameter, _ in gradients:
                parameter.grad = None
            with outside_inference():
                yield
        finally:
            for network in spiking:
                compat.reset(network)
            for module, mode in zip(modules, modes, strict=True):
                module.training = mode
            _restore_buffers(buffers)
            if _parts(networks) == parts:
                for saved in attributes:
                    saved.restore()
            for parameter, gradient in gradients:
                parameter.grad = gradient


@contextmanager
def firing(network: nn.Module) -> Iterator[None]:
    """Let neurons fire at any potential that is not negative, so that an untrained network is not silent.

    Neurons whose threshold is no number stay as they are.

    Args:
        network: runs inside the block.

    Example:
        >>> import torch
        >>> from spikingjelly.activation_based import neuron
        >>> net = neuron.IFNode()
        >>> with firing(net):
        ...     net(torch.tensor([0.1, -0.1]))
        tensor([1., 0.])
        >>> net.v_threshold
        1.0
    """
    neurons: list[Any] = [module for module in network.modules() if compat.is_neuron(module)]
    saved = [
        (module, module.v_threshold) for module in neurons if type(vars(module).get("v_threshold")) in (int, float)
    ]
    try:
        for module, _ in saved:
            module.v_threshold = 0.0
        yield
    finally:
        for module, threshold in saved:
            module.v_threshold = threshold


class Containers:
    """The lists and dicts that the modules of a network keep as attributes, with what is in them now.

    Args:
        network: whose.

    Example:
        >>> from torch import nn
        >>> net = nn.Identity()
        >>> net.skips = [1]
        >>> saved = Containers(net)
        >>> net.skips.append(2)
        >>> saved.put_back(), net.skips, saved.put_back()
        (True, [1], False)
    """

    def __init__(self, network: nn.Module) -> None:
        self._saved: list[tuple[Any, Any]] = [
            (value, value.copy())
            for module in network.modules()
            for name, value in vars(module).items()
            if name not in _TORCHS_OWN and type(value) in (list, dict, deque)
        ]

    def put_back(self) -> bool:
        """Restore those that have more or fewer entries now; whether there was one."""
        changed = [(value, content) for value, content in self._saved if len(value) != len(content)]
        for value, content in changed:
            value.clear()
            value.update(content) if isinstance(value, dict) else value.extend(content)
        return bool(changed)


_TIMES_ONE = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32)
"""Types in which a number times 1 is the same number."""
_SavedBuffers = list[tuple[dict[str, Tensor | None], str, Tensor, Tensor]]


def _saved_buffers(modules: Iterable[nn.Module]) -> _SavedBuffers:
    """Every buffer as (where it is kept, name, itself, copy of its content)."""
    found = [
        (module._buffers, name, buffer)
        for module in modules
        if module._buffers
        for name, buffer in module._buffers.items()
        if buffer is not None and not is_lazy(buffer)
    ]
    copies = _copies([buffer.detach() for _, _, buffer in found])
    return [(*place, content) for place, content in zip(found, copies, strict=True)]


def _copies(tensors: list[Tensor]) -> list[Tensor]:
    """Copies of tensors. Tensors of one dtype are copied in one call, and so by few kernels on a GPU."""
    copies: dict[int, Tensor] = {}
    for dtype in {tensor.dtype for tensor in tensors}:
        alike = [index for index, tensor in enumerate(tensors) if tensor.dtype == dtype]
        those = [tensors[index] for index in alike]
        found = torch._foreach_mul(those, 1) if dtype in _TIMES_ONE else tuple(tensor.clone() for tensor in those)
        copies |= dict(zip(alike, found, strict=True))
    return [copies[index] for index in range(len(tensors))]


def _restore_buffers(saved: _SavedBuffers) -> None:
    """Put the same buffers back, also where others were assigned in their place, with what was in them.

    A graph that holds one of them stays usable, as BatchNorm leaves it: their versions do not change.
    """
    for kept, name, buffer, content in saved:
        kept[name] = buffer
        _unexpanded(buffer.data, buffer).copy_(_unexpanded(content, buffer))


def _unexpanded(tensor: Tensor, like: Tensor) -> Tensor:
    """``tensor`` without the repetitions of ``like``, in which numbers of an expanded tensor share one place."""
    if like.layout is torch.strided:
        for axis, step in enumerate(like.stride()):
            if step == 0 and like.shape[axis] > 1:
                tensor = tensor.narrow(axis, 0, 1)
    return tensor


def _parts(networks: Iterable[nn.Module]) -> list[tuple[int, type]]:
    """Which modules and parameters there are."""
    parts = [part for network in networks for part in (*network.modules(), *network.parameters())]
    return [(id(part), type(part)) for part in parts]


class _Attributes:
    """The attributes of one module that are numbers, texts, None or tensors; and which of its buffers are None."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.buffers = {name: buffer is None for name, buffer in module._buffers.items()}
        self.names = vars(module).keys() | _TORCHS_OWN
        self.plain: dict[str, Any] = {}
        self.tensors: list[tuple[str, Tensor, Tensor, int]] = []
        for name in vars(module).keys() - _TORCHS_OWN:
            value = vars(module)[name]
            if type(value) in _PLAIN:
                self.plain[name] = value
            elif type(value) is Tensor and not value.is_inference():
                self.tensors.append((name, value, value.detach().clone(), value._version))

    def restore(self) -> None:
        """Put them back as they were, and remove those and the buffers that were not there."""
        attributes, buffers = vars(self.module), self.module._buffers
        for name in attributes.keys() - self.names:
            if type(attributes[name]) in _PLAIN or type(attributes[name]) is Tensor:
                del attributes[name]
        for name in buffers.keys() - self.buffers.keys():
            del buffers[name]
            self.module._non_persistent_buffers_set.discard(name)
        for name, was_none in self.buffers.items():
            if was_none:
                buffers[name] = None
        attributes.update(self.plain)
        for name, tensor, content, version in self.tensors:
            attributes[name] = tensor
            if tensor._version != version:
                with torch.no_grad():
                    tensor.copy_(content)
