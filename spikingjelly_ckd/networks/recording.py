"""Recording what a layer returns, for the length of one ``with`` block.

The only file of the package that registers hooks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..errors.near import nearest
from . import compat
from .layer import path_of
from .recorded import Recording

__all__ = [
    "MIXED",
    "Recording",
    "convert_input",
    "converts_input",
    "get_layer",
    "listen",
    "record",
    "watch",
    "watch_inputs",
]


MIXED = (nn.modules.batchnorm._BatchNorm,)
"""Layers that take half precision with parameters in fp32, and lose accuracy with parameters in half precision."""


@contextmanager
def record(
    module: nn.Module,
    layers: Iterable[str | nn.Module],
    *,
    as_leaf: bool | Collection[str] = False,
    stop: bool = False,
) -> Iterator[Recording]:
    """Record the outputs of ``layers`` while ``module`` runs inside the ``with`` block.

    The hooks are gone when the block ends, whatever raised in it. A layer that returns a tuple or a list (such
    as OTTT's ``[spike, trace]``) is represented by its first tensor.

    Args:
        module: the network.
        layers: paths as in ``module.named_modules()``, where the empty path is the module itself, or modules inside
            ``module``, which are recorded under their paths.
        as_leaf: for all layers, or those named: make the recorded output a point where gradients can be asked for,
            without a graph through what comes before it: the output is detached to a leaf (unless it already carries
            a graph from an earlier recorded layer) and the layer returns a copy of it, so that an in-place activation
            behind the layer does no harm. Needs gradients enabled.
        stop: leave the network, and with it the block, as soon as every layer has run once. What stands behind the
            call of the network in the block is then not reached.

    Yields:
        A :class:`Recording`, readable inside the block and after it.

    Raises:
        TypeError: ``layers`` is one string or module, or a recorded output holds no tensor.
        ValueError: a path does not exist (the message offers the nearest names), or :func:`path_of` finds no single
            path of a module.
        RuntimeError: another thread is recording this very network.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> with record(net, ["0"]) as seen:
        ...     _ = net(torch.zeros(2, 3, 8, 8))
        >>> tuple(seen["0"].shape)
        (2, 8, 6, 6)
        >>> len(net[0]._forward_hooks)
        0
    """
    if isinstance(layers, str):
        raise TypeError(f"layers must be a collection of paths, got the string {layers!r}; pass [{layers!r}]")
    if isinstance(layers, nn.Module):
        raise TypeError(f"layers must be a collection of paths or modules, got one {type(layers).__name__}; pass [it]")
    recording = Recording(layer if isinstance(layer, str) else path_of(module, layer) for layer in layers)
    handles = []
    _enter(module)
    try:
        for path in recording:
            leaf = as_leaf if isinstance(as_leaf, bool) else path in as_leaf
            handles.append(get_layer(module, path).register_forward_hook(_hook(recording, path, leaf, stop)))
        yield recording
    except _AllSeen as seen:
        # Its frames hold the network's tensors. From Python 3.12 on they refer back to the error itself.
        seen.__traceback__ = None
    finally:
        _leave(module)
        for handle in handles:
            handle.remove()


_RECORDED_BY: dict[int, list[int]] = {}
"""Network that is being recorded, by ``id`` -> threads that do so, one entry for each block."""


def _enter(module: nn.Module) -> None:
    """Refuse to record a network that another thread records: the hooks of one would see the tensors of the other."""
    if torch.compiler.is_compiling():
        return
    threads = _RECORDED_BY.setdefault(id(module), [])
    if any(thread != threading.get_ident() for thread in threads):
        raise RuntimeError(
            f"another thread is recording this very {type(module).__name__}: the hooks of one thread would see the "
            "tensors of the other; give each thread a copy of the network (copy.deepcopy), or let them take turns"
        )
    threads.append(threading.get_ident())


def _leave(module: nn.Module) -> None:
    threads = _RECORDED_BY.get(id(module))
    if threads is None:  # it was entered by a compiled step, which cannot ask for its thread
        return
    if threading.get_ident() in threads:
        threads.remove(threading.get_ident())
    if not threads:
        del _RECORDED_BY[id(module)]


@contextmanager
def watch(module: nn.Module, see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Show ``see`` the path and output of every module that runs inside the ``with`` block, in the order they finish.

    Args:
        module: the network.
        see: called with path and output; outputs that hold no tensor are passed over.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> order = []
        >>> net = nn.Sequential(nn.ReLU(), nn.Flatten())
        >>> with watch(net, lambda path, output: order.append(path)):
        ...     _ = net(torch.zeros(2, 3, 4))
        >>> order
        ['0', '1', '']
    """

    def hook(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(module: nn.Module, args: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple | list) and output else output
            if isinstance(first, Tensor):
                see(path, first)

        return note

    handles = [child.register_forward_hook(hook(path)) for path, child in module.named_modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def watch_inputs(module: nn.Module, paths: Iterable[str], see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Show ``see`` the first input of some modules before each of their calls inside the ``with`` block.

    Args:
        module: the network.
        paths: of the modules.
        see: called with path and input.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.ReLU(), nn.Flatten())
        >>> with watch_inputs(net, ["1"], lambda path, received: print(path, tuple(received.shape))):
        ...     _ = net(torch.zeros(2, 3, 4))
        1 (2, 3, 4)
    """

    def hook(path: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _, args: see(path, args[0])

    handles = [get_layer(module, path).register_forward_pre_hook(hook(path)) for path in paths]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def listen(module: nn.Module, see: Callable[[Any], None]) -> RemovableHandle:
    """Show ``see`` whatever ``module`` returns, until ``remove()`` of the handle is called.

    For a listener that outlives one forward, such as a logger; recording uses :func:`record`. ``module`` can be copied
    and pickled meanwhile: nobody listens to a copy.

    Args:
        module: any module.
        see: called with the output of each forward.

    Returns:
        The handle.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net, seen = nn.Flatten(), []
        >>> handle = listen(net, seen.append)
        >>> _ = net(torch.zeros(2, 3, 4))
        >>> handle.remove()
        >>> len(seen)
        1
    """
    return module.register_forward_hook(_Listener(see))


def get_layer(module: nn.Module, path: str) -> nn.Module:
    """The submodule at ``path``.

    Args:
        module: the network.
        path: as in ``named_modules()``.

    Raises:
        ValueError: there is none; the message offers the nearest names.

    Example:
        >>> from torch import nn
        >>> get_layer(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), "1")
        ReLU()
    """
    try:
        return module.get_submodule(path)
    except AttributeError:
        pass
    inside = [f"{name}." for name, child in module.named_modules() if name and compat.is_neuron(child)]
    names = [name for name, _ in module.named_modules() if name and not name.startswith(tuple(inside))]
    near = nearest(path, names, most=5, least=0.3)
    offered = f"the nearest names are {near}" if near else f"its last ones are {names[-5:]}"
    raise ValueError(
        f"{type(module).__name__} has no layer {path!r}; {offered}. Any path of named_modules() can be passed"
    )


class _AllSeen(BaseException):
    """Every recorded layer has run. No error: it carries control out of a network, past its ``except Exception``."""


class _Listener:
    """Hook that shows what a module returns; in a copy or a pickle of the module it shows nothing."""

    def __init__(self, see: Callable[[Any], None] | None = None) -> None:
        self.see = see

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if self.see is not None:
            self.see(output)

    def __reduce__(self) -> tuple[type[_Listener], tuple[()]]:
        return _Listener, ()


class _ConvertInput:
    """Hook that hands a network its images in the type of its weights; a class, so that it can be pickled."""

    def __init__(self, channels_last: bool) -> None:
        self.channels_last = channels_last  # and no torch.memory_format, which torch.save cannot write

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if not args:
            return args
        weights = (
            parameter
            for child in module.modules()
            if not isinstance(child, MIXED)
            for parameter in child.parameters(recurse=False)
        )
        weight = next(weights, args[0])
        memory_format = torch.channels_last if self.channels_last else torch.preserve_format
        return args[0].to(dtype=weight.dtype, memory_format=memory_format), *args[1:]


def convert_input(module: nn.Module, *, channels_last: bool) -> RemovableHandle:
    """Let ``module`` take images of any floating type and memory format, until ``remove()`` of the handle is called.

    They are converted to the type of its first weight that is not BatchNorm's.

    Args:
        module: takes images ``[N, C, H, W]`` first.
        channels_last: convert them to that memory format too.

    Returns:
        The handle.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Conv2d(3, 4, 1).bfloat16()
        >>> handle = convert_input(net, channels_last=True)
        >>> net(torch.zeros(1, 3, 2, 2)).dtype
        torch.bfloat16
        >>> handle.remove()
    """
    return module.register_forward_pre_hook(_ConvertInput(channels_last))


def converts_input(module: nn.Module) -> bool:
    """Whether :func:`convert_input` was called on ``module`` itself, and its handle not removed.

    Args:
        module: the network.

    Example:
        >>> from torch import nn
        >>> converts_input(nn.Conv2d(3, 4, 1))
        False
    """
    return any(isinstance(hook, _ConvertInput) for hook in module._forward_pre_hooks.values())


def _hook(recording: Recording, path: str, as_leaf: bool, stop: bool) -> Any:
    def add(tensor: Tensor) -> None:
        recording.add(path, tensor)
        if stop and recording.complete:
            raise _AllSeen

    def plain(module: nn.Module, args: Any, output: Any) -> None:
        add(_first_tensor(output, path))

    def leaf(module: nn.Module, args: Any, output: Any) -> Any:
        tensor = _first_tensor(output, path)
        point = tensor if tensor.requires_grad else tensor.detach().requires_grad_()
        recording.saw_gradients_off |= not torch.is_grad_enabled()
        add(point)
        if isinstance(output, Tensor):
            return point.clone()
        fields = getattr(output, "_fields", None)  # of a named tuple, which is not made from one sequence
        if fields is not None:
            return output._replace(**{fields[0]: point.clone()})
        return type(output)((point.clone(), *output[1:]))

    return leaf if as_leaf else plain


def _first_tensor(output: Any, path: str) -> Tensor:
    first = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(first, Tensor):
        raise TypeError(
            f"layer {path!r} returned {type(output).__name__}, expected a tensor or a tuple that begins with one; "
            "record another layer"
        )
    return first
