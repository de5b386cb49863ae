"""Small real networks, seeded, shared by the tests."""

import gc
from collections.abc import Callable

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="module")
def _what_stays_is_no_garbage() -> None:
    """Spare modules and tests, a million objects, each collection of garbage: a look of preflight has four."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _loaders_as_they_were():
    """Take back what Lightning put into ``DataLoader``, which it leaves there where a loader's making raises."""
    yield
    for kind in (DataLoader, *all_subclasses(DataLoader), BatchSampler, *all_subclasses(BatchSampler)):
        for name in ("__setattr__", "__delattr__", "__init__"):
            if f"__old{name}" in vars(kind):
                setattr(kind, name, vars(kind)[f"__old{name}"])
                delattr(kind, f"__old{name}")


def all_subclasses(kind: type) -> set[type]:
    """Every class below one."""
    return set(kind.__subclasses__()).union(*map(all_subclasses, kind.__subclasses__()))


def tiny_teacher(classes: int = 5, *, inplace: bool = True, channels: int = 3) -> nn.Sequential:
    """Two stages, BatchNorm, an in-place ReLU behind the recorded layer, a pooled linear head."""
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=inplace),
        nn.Conv2d(6, 8, 3, padding=1, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=inplace),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, classes),
    )


def tiny_student(classes: int = 5, *, step_mode: str = "m", channels: int = 3, norm: bool = True) -> nn.Sequential:
    """Two spiking stages and a pooled linear head, per-step logits."""
    net = nn.Sequential(
        layer.Conv2d(channels, 6, 3, padding=1),
        layer.BatchNorm2d(6) if norm else nn.Identity(),
        neuron.LIFNode(detach_reset=True),
        layer.Conv2d(6, 8, 3, padding=1, stride=2),
        layer.BatchNorm2d(8) if norm else nn.Identity(),
        neuron.LIFNode(detach_reset=True),
        layer.AdaptiveAvgPool2d(1),
        layer.Flatten(),
        layer.Linear(8, classes),
    )
    functional.set_step_mode(net, step_mode)
    return net


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def teacher() -> nn.Sequential:
    return tiny_teacher()


@pytest.fixture
def student() -> nn.Sequential:
    return tiny_student()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 4])


@pytest.fixture
def events() -> tuple[Tensor, Tensor]:
    return torch.randn(3, 4, 3, 8, 8), torch.tensor([0, 1, 2, 4])


@pytest.fixture
def frozen_noise() -> Callable[[], torch.Generator]:
    """Generators that all start at the same noise."""
    return lambda: torch.Generator().manual_seed(7)
