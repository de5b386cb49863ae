"""Thresholds for a student that begins with the weights of an ANN: quantiles of what its neurons receive.

An ANN-to-SNN conversion sets the threshold of a neuron to a quantile of the activations that it stands for (Rueckauer
et al., 2017; ``mode="99.9%"`` of SpikingJelly's ``ann2snn``), which suits rates over hundreds of time steps. With few
steps a neuron has to fire more easily, so several quantiles are tried here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors.arguments import ArgumentValueError
from ..networks import compat
from ..networks.recording import watch_inputs
from .models.memory import own_path
from .progress import tracked

__all__ = ["QUANTILES", "Balance", "balance_thresholds", "set_thresholds", "some_batches"]

QUANTILES = (None, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99)
"""What is tried: None for the thresholds that the neurons have."""
IMAGES = 512
"""Images that are enough."""
MOST_VALUES = 2**20
"""Of one input of a neuron, evenly drawn, for the quantile."""

Batches = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Balance:
    """What :func:`balance_thresholds` chose.

    Attributes:
        quantile: of the positive inputs of each neuron; None where the thresholds stayed.
        thresholds: path of a neuron -> its threshold; none where they stayed.
        accuracy: percent, on the images that it was chosen on.
    """

    quantile: float | None
    thresholds: dict[str, float]
    accuracy: float


@torch.no_grad()
def balance_thresholds(network: nn.Module, predict: Callable[[Tensor], Tensor], batches: Batches) -> Balance:
    """Set each neuron's threshold to a quantile of its positive inputs, and estimate the statistics of BatchNorm anew.

    The thresholds are set in one forward, neuron by neuron as they run, so each one sees the spikes of those before it;
    then the running means and variances are those of the student's own spikes. Of :data:`QUANTILES` the one with the
    best accuracy on these images is taken, the first of equals. Thresholds are rounded to bfloat16, so that all
    precisions have the same.

    Args:
        network: the student, changed in place; every module keeps its mode.
        predict: images to logits ``[N, K]`` through ``network``, with its states reset before.
        batches: images and labels ``[N]`` of the training part, one batch at least, on the network's device.

    Returns:
        What was chosen; it is in the network by then.

    Raises:
        ValueError: no neuron has a number as its threshold.

    Example:
        >>> from spikingjelly_ckd import Distiller
        >>> from spikingjelly_ckd.recipes.models import resnet8, spiking_resnet8
        >>> student = spiking_resnet8(10)
        >>> distiller = Distiller(resnet8(10), student, {}, time_steps=2)
        >>> images, labels = torch.rand(4, 3, 16, 16), torch.arange(4)
        >>> found = balance_thresholds(student, distiller.predict, [(images, labels)])
        >>> found.quantile in QUANTILES, found.accuracy <= 100
        (True, True)
    """
    neurons = _neurons(network)
    if not neurons:
        raise ArgumentValueError(
            "init",
            f"'scaled' sets the thresholds of neurons, and {type(network).__name__} has no neuron whose v_threshold is "
            "a number; 'teacher' gives it the weights alone",
        )
    before = _thresholds(neurons)
    norms = [module for module in network.modules() if _has_statistics(module)]

    def set_to(quantile: float | None) -> float:
        set_thresholds(network, before)
        with _modes(network, norms):
            if quantile is not None:
                _set_by_quantile(network, neurons, quantile, lambda: predict(batches[0][0]))
            for norm in norms:
                cast(Any, norm).reset_running_stats()
            for images, _ in batches:
                predict(images)
            network.eval()
            return _accuracy(predict, batches)

    tried = {q: set_to(q) for q in tracked(QUANTILES, "Student: thresholds", len(QUANTILES))}
    best = max(tried, key=lambda quantile: tried[quantile])
    accuracy = set_to(best)
    return Balance(best, {} if best is None else _thresholds(neurons), accuracy)


def set_thresholds(network: nn.Module, thresholds: Mapping[str, float]) -> None:
    """Give neurons the thresholds that :func:`balance_thresholds` found, which no ``state_dict`` holds.

    Args:
        network: changed in place.
        thresholds: path of a neuron -> its threshold.

    Raises:
        ValueError: there is no neuron with a threshold at a path.

    Example:
        >>> from spikingjelly.activation_based import neuron
        >>> net = nn.Sequential(neuron.IFNode())
        >>> set_thresholds(net, {"0": 0.5})
        >>> net[0].v_threshold
        0.5
    """
    neurons = _neurons(network)
    for path, value in thresholds.items():
        if path not in neurons:
            raise ArgumentValueError("thresholds", f"must name neurons of {type(network).__name__}, got {path!r}")
        neurons[path].v_threshold = float(value)


def some_batches(batches: Iterable[tuple[Tensor, Tensor]], device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """The first batches, until there are :data:`IMAGES` images.

    Args:
        batches: images and labels.
        device: to put them on.
    """
    found: list[tuple[Tensor, Tensor]] = []
    for images, labels in batches:
        found.append((images.to(device), labels.to(device)))
        if sum(len(labels) for _, labels in found) >= IMAGES:
            break
    return found


def _neurons(network: nn.Module) -> dict[str, Any]:
    """Path -> neuron with a threshold; of a checkpointed one the path of its wrapper, whose input is the neuron's."""
    return {
        own_path(path): module
        for path, module in network.named_modules()
        if compat.is_neuron(module) and type(getattr(module, "v_threshold", None)) in (int, float)
    }


def _thresholds(neurons: Mapping[str, Any]) -> dict[str, float]:
    return {path: module.v_threshold for path, module in neurons.items()}


def _has_statistics(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None


def _set_by_quantile(
    network: nn.Module, neurons: Mapping[str, Any], quantile: float, forward: Callable[[], object]
) -> None:
    """One forward in which every neuron gets its threshold as its first input arrives."""
    waiting = dict(neurons)

    def see(path: str, received: Tensor) -> None:
        module = waiting.pop(path, None)
        positive = received[received > 0].float()
        if module is None or not len(positive):
            return
        drawn = positive[:: 1 + len(positive) // MOST_VALUES]
        module.v_threshold = float(drawn.quantile(quantile).bfloat16())

    with watch_inputs(network, neurons, see):
        forward()


@contextmanager
def _modes(network: nn.Module, norms: Sequence[nn.Module]) -> Iterator[None]:
    """Everything in eval mode but BatchNorm, which averages over what it sees; afterwards all is as before."""
    modes = {module: module.training for module in network.modules()}
    momenta = {norm: cast(Any, norm).momentum for norm in norms}
    network.eval()
    for norm in norms:
        norm.train()
        cast(Any, norm).momentum = None
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for norm, momentum in momenta.items():
            cast(Any, norm).momentum = momentum


def _accuracy(predict: Callable[[Tensor], Tensor], batches: Batches) -> float:
    right = sum(int((predict(images).argmax(dim=1) == labels).sum()) for images, labels in batches)
    return 100 * right / sum(len(labels) for _, labels in batches)
