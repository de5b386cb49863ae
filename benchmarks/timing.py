"""Timing for the benchmarks: arms interleaved in one process, medians and quartiles."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

Quartiles = tuple[float, float, float]


def quartiles(values: Sequence[float]) -> Quartiles:
    """First quartile, median and third quartile."""
    if len(values) < 2:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call; on CUDA the device has finished before and after."""
    wait(device)
    start = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - start


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(
    arms: Mapping[str, Callable[[], object]], rounds: int, device: torch.device, warmup: int = 2
) -> dict[str, list[float]]:
    """Seconds of every arm in every round; each round runs all arms once, in an order of its own.

    What drifts (clock, temperature, neighbours) then falls on all arms alike, and arms are compared within a round.
    """
    names = list(arms)
    for _ in range(warmup):
        for name in names:
            arms[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in random.Random(number).sample(names, len(names)):
            seconds[name].append(timed(arms[name], device))
    return seconds


def ratios(arm: Sequence[float], base: Sequence[float]) -> Quartiles:
    """Quartiles of the ratio within each round."""
    return quartiles([one / other for one, other in zip(arm, base, strict=True)])
