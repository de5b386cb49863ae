"""Normalisations of a spiking network by name, and BatchNorm over the images of all processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast, get_args

from spikingjelly.activation_based import base, functional, layer
from spikingjelly.activation_based import neuron as neurons
from torch import Tensor, nn

from ...errors.arguments import ArgumentTypeError, ArgumentValueError
from ...errors.checks import check_choice, check_count

__all__ = ["NormName", "make_norm", "synchronise_norms", "with_membrane_norm"]

NormName = Literal["bn", "tebn", "tdbn", "mpbn"]
"""BatchNorm; with a learned scale for each time step (TEBN); scaled to the threshold (tdBN); on the membrane potential
beside it (MPBN)."""
NEEDS_2 = "the installed SpikingJelly has no {}; it needs generation 2: pip install 'spikingjelly>=2,<3'"


def make_norm(norm: NormName = "bn", time_steps: int | None = None) -> Callable[[int], nn.Module]:
    """A function that makes one normalisation of SpikingJelly for so many channels, for ``[T, N, C, H, W]``.

    tdBN has ``alpha=1`` everywhere, which is ours, and the threshold 1. MPBN is of the neurons, see
    :func:`with_membrane_norm`; the layers are BatchNorm.

    Args:
        norm: name.
        time_steps: ``T``, which TEBN needs.

    Raises:
        RuntimeError: the installed SpikingJelly has no such layer.
        ValueError: an unknown name, or TEBN without ``time_steps``.

    Example:
        >>> type(make_norm("bn")(8)).__name__
        'BatchNorm2d'
    """
    check_choice("norm", norm, get_args(NormName))
    if norm == "tdbn":
        if "_check_input_dim" not in vars(layer.ThresholdDependentBatchNorm2d):  # where it is missing no input passes
            raise RuntimeError(NEEDS_2.format("tdBN that runs"))
        return lambda channels: cast(nn.Module, layer.ThresholdDependentBatchNorm2d(1.0, 1.0, channels))
    if norm == "tebn":
        if time_steps is None:
            raise ArgumentValueError("norm", "'tebn' has a scale for each time step: pass how many there are")
        steps = check_count("time_steps", time_steps)
        kind = getattr(layer, "TemporalEffectiveBatchNorm2d", None)
        if kind is None:
            raise RuntimeError(NEEDS_2.format("TEBN"))
        return lambda channels: cast(nn.Module, kind(steps, channels))
    return lambda channels: cast(nn.Module, layer.BatchNorm2d(channels, step_mode="m"))


def with_membrane_norm(node: nn.Module, channels: int) -> nn.Module:
    """The LIF neuron of MPBN with the values of ``node``: the membrane potential is normalised before it fires.

    Raises:
        RuntimeError: the installed SpikingJelly has none.
        TypeError: ``node`` is another neuron than ``LIFNode``.

    Example:
        >>> node = neurons.LIFNode(tau=4.0, step_mode="m")
        >>> if hasattr(neurons, "MPBNLIFNode"):  # SpikingJelly 2.x
        ...     node = with_membrane_norm(node, channels=8)
        >>> node.tau, node.step_mode
        (4.0, 'm')
    """
    if type(node) is not neurons.LIFNode:
        raise ArgumentTypeError("norm", f"'mpbn' is for the neuron 'lif', got {type(node).__name__}")
    kind = getattr(neurons, "MPBNLIFNode", None)
    if kind is None:
        raise RuntimeError(NEEDS_2.format("MPBN"))
    names = ("tau", "decay_input", "v_threshold", "v_reset", "surrogate_function", "detach_reset", "step_mode")
    made: nn.Module = kind(out_channels=channels, **{name: getattr(node, name) for name in names})
    return made


class _SyncBatchNorm(nn.SyncBatchNorm, base.StepModule):  # type: ignore[misc]  # SpikingJelly has no types
    """PyTorch's ``SyncBatchNorm`` for one step or for several, as SpikingJelly's layers."""

    def __init__(self, step_mode: str, *shape: Any) -> None:
        super().__init__(*shape)
        self.step_mode = step_mode

    def forward(self, x: Tensor) -> Tensor:
        run = super().forward
        return cast(Tensor, functional.seq_to_ann_forward(x, run) if self.step_mode == "m" else run(x))


def synchronise_norms(network: nn.Module) -> nn.Module:
    """Put layers that normalise over the images of all processes in place of SpikingJelly's BatchNorm, in place.

    PyTorch's own conversion takes the images of ``[T, N, C, H, W]`` for channels. Parameters, buffers and their names
    stay; on one process the results do too. On several it runs on CUDA only.

    Args:
        network: with at least one ``BatchNorm1d``, ``2d`` or ``3d`` of SpikingJelly.

    Returns:
        ``network``.

    Raises:
        ValueError: it has none.

    Example:
        >>> import torch
        >>> network = synchronise_norms(nn.Sequential(layer.BatchNorm2d(4, step_mode="m")))
        >>> tuple(network(torch.rand(2, 3, 4, 5, 5)).shape)
        (2, 3, 4, 5, 5)
    """
    found = [
        (path, child)
        for path, child in network.named_modules()
        if isinstance(child, layer.BatchNorm1d | layer.BatchNorm2d | layer.BatchNorm3d)
    ]
    if not found:
        raise ArgumentValueError("sync_bn", f"does nothing: {type(network).__name__} has no BatchNorm of SpikingJelly")
    for path, child in found:
        shape = (child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats)
        made = _SyncBatchNorm(child.step_mode, *shape)
        for name, parameter in child.named_parameters(recurse=False):
            made.register_parameter(name, parameter)
        for name, buffer in child.named_buffers(recurse=False):
            made.register_buffer(name, buffer)
        made.train(child.training)
        parent, _, name = path.rpartition(".")
        setattr(network.get_submodule(parent), name, made)
    return network
