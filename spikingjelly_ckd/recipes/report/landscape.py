"""The loss around a trained network: filter-normalised random directions, along a line and over a plane.

Li et al., NeurIPS 2018, arXiv 1712.09913. A flat neighbourhood does not prove that a network generalises; the picture
compares two networks of one shape, along the same directions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

__all__ = ["filter_normalized", "loss_surface", "random_direction"]


def filter_normalized(direction: Tensor, weight: Tensor) -> Tensor:
    """A direction whose filters are as long as the network's.

    Args:
        direction: of a parameter's shape.
        weight: the parameter; its first axis counts filters. One with a single axis (biases, normalisation) is left
            where it is: its direction is zero.

    Returns:
        Same shape.

    Raises:
        ValueError: unlike shapes.

    Example:
        >>> filter_normalized(torch.ones(1, 4), torch.full((1, 4), 3.0))
        tensor([[3., 3., 3., 3.]])
    """
    if direction.shape != weight.shape:
        shapes = f"{tuple(direction.shape)} and {tuple(weight.shape)}"
        raise ValueError(f"direction and weight must have one shape, got {shapes}")
    if weight.ndim < 2:
        return torch.zeros_like(weight)
    lengths, targets = direction.flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1)
    scale: Tensor = targets / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)
    return direction * scale.view(-1, *[1] * (weight.ndim - 1))


def random_direction(network: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """A random direction in the space of a network's parameters, filter-normalised.

    Args:
        network: where the direction starts.
        generator: random source on the CPU; two networks of one shape get the same Gaussian numbers from the same seed.

    Returns:
        Parameter name -> tensor on the parameter's device.

    Example:
        >>> net = nn.Linear(4, 2)
        >>> direction = random_direction(net, torch.Generator().manual_seed(0))
        >>> bool(torch.allclose(direction["weight"].norm(dim=1), net.weight.norm(dim=1)))
        True
    """
    return {
        name: filter_normalized(torch.randn(p.shape, generator=generator).to(p), p.detach())
        for name, p in network.named_parameters()
    }


def loss_surface(
    network: nn.Module,
    loss: Callable[[], float],
    directions: Sequence[Mapping[str, Tensor]],
    positions: Sequence[float],
) -> Tensor:
    """The loss at every point of a line or of a square grid around a network.

    Args:
        network: its parameters are moved, and are as before when this returns or raises.
        loss: of the network as it stands; put it into ``eval`` and use ``torch.no_grad()`` there.
        directions: one or two, of :func:`random_direction`.
        positions: steps along each direction, 0 being the network itself.

    Returns:
        Shape ``[P]`` for one direction, ``[P, P]`` for two (first direction first).

    Raises:
        ValueError: neither one nor two directions.

    Example:
        >>> net = nn.Linear(1, 1, bias=False)
        >>> direction = random_direction(net, torch.Generator().manual_seed(0))
        >>> loss_surface(net, lambda: float(net.weight.square().sum()), [direction], [-1.0, 0.0]).shape
        torch.Size([2])
    """
    if len(directions) not in (1, 2):
        raise ValueError(f"one or two directions are needed, got {len(directions)}")
    parameters = dict(network.named_parameters())
    before = {name: p.detach().clone() for name, p in parameters.items()}
    second = positions if len(directions) == 2 else [0.0]
    rows = []
    try:
        for first_step in positions:
            row = []
            for second_step in second:
                with torch.no_grad():
                    for name, p in parameters.items():
                        p.copy_(before[name])
                        for step, direction in zip((first_step, second_step), directions, strict=False):
                            p.add_(direction[name], alpha=step)
                row.append(loss())
            rows.append(row)
    finally:
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(before[name])
    surface = torch.tensor(rows)
    return surface if len(directions) == 2 else surface[:, 0]
