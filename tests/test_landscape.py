"""Loss surfaces: the normalisation by hand, a surface that is known, and a network left as it was."""

import copy

import pytest
import torch
from conftest import tiny_student
from torch import nn

from spikingjelly_ckd.recipes.report.landscape import filter_normalized, loss_surface, random_direction


def test_every_filter_of_a_direction_has_the_length_of_the_networks():
    weight, direction = torch.randn(5, 3, 3, 3, dtype=torch.float64), torch.randn(5, 3, 3, 3, dtype=torch.float64)
    normalized = filter_normalized(direction, weight)
    for d, n, w in zip(direction, normalized, weight, strict=True):
        length = sum(v * v for v in d.flatten().tolist()) ** 0.5
        target = sum(v * v for v in w.flatten().tolist()) ** 0.5
        torch.testing.assert_close(n, d / length * target)


def test_biases_and_normalisation_stay():
    net = tiny_student()
    direction = random_direction(net, torch.Generator().manual_seed(0))
    for name, p in net.named_parameters():
        assert bool(direction[name].any()) == (p.ndim > 1), name


def test_the_surface_of_a_quadratic_is_known():
    net = nn.Linear(3, 1, bias=False).double()
    first, second = (random_direction(net, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    positions = [-1.0, -0.5, 0.0, 2.0]
    surface = loss_surface(net, lambda: net.weight.square().sum().item(), [first, second], positions)
    for i, a in enumerate(positions):
        for j, b in enumerate(positions):
            expected = (net.weight + a * first["weight"] + b * second["weight"]).square().sum().item()
            assert surface[i, j].item() == pytest.approx(expected, rel=1e-6)
    line = loss_surface(net, lambda: net.weight.square().sum().item(), [first], positions)
    torch.testing.assert_close(line, surface[:, 2])


def test_the_network_is_as_before_even_if_the_loss_raises():
    net = tiny_student()
    before = copy.deepcopy(net.state_dict())
    direction = random_direction(net, torch.Generator().manual_seed(0))
    with pytest.raises(RuntimeError, match="broken"):
        loss_surface(net, lambda: (_ for _ in ()).throw(RuntimeError("broken")), [direction], [0.5])
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_networks_of_one_shape_share_a_direction():
    torch.manual_seed(1)
    one, other = tiny_student(), tiny_student()
    directions = [random_direction(net, torch.Generator().manual_seed(0)) for net in (one, other)]
    for name, p in one.named_parameters():
        if p.ndim > 1:
            a, b = (d[name].flatten(1) for d in directions)
            torch.testing.assert_close(nn.functional.cosine_similarity(a, b, dim=1), torch.ones(len(a)))


def test_wrong_input():
    with pytest.raises(ValueError, match="one or two"):
        loss_surface(nn.Linear(1, 1), lambda: 0.0, [], [0.0])
    with pytest.raises(ValueError, match="one shape"):
        filter_normalized(torch.zeros(2, 2), torch.zeros(2, 3))
