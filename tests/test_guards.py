"""preserve_state() and reset_states(): what a network's forward changes, and what is left of it."""

import threading

import pytest
import torch
from conftest import tiny_student
from torch import nn

from spikingjelly_ckd.networks.guards import preserve_state, reset_states


class Tracking(nn.Module):
    """Keeps account of its forwards in every way that a module can."""

    def __init__(self):
        super().__init__()
        self.register_buffer("rate", torch.zeros(3))
        self.register_buffer("scale", None)
        self.register_buffer("in_place", torch.zeros(3))
        self.calls, self.mean, self.seen, self.phase, self.last = 0, 0.0, False, "warm-up", None
        self.trace, self.total = torch.zeros(3), torch.zeros(3)

    def forward(self, x):
        self.rate = 0.9 * self.rate + x.mean(0)
        self.scale = x.amax(0)
        self.in_place += 1
        self.calls, self.mean, self.seen, self.phase, self.last = self.calls + 1, 0.5, True, "late", x
        self.trace = self.trace + x[0]
        self.total += 1
        self.newest = 3
        self.register_buffer("late_buffer", x)
        return x * self.calls


def state_of(net):
    """Every attribute, and the objects that hold tensors."""
    everything = {**vars(net), **net._buffers}
    plain = {name: value for name, value in everything.items() if isinstance(value, int | float | str | None)}
    tensors = {name: (id(value), value.tolist()) for name, value in everything.items() if torch.is_tensor(value)}
    return plain, tensors, sorted(net.state_dict())


@pytest.mark.parametrize("fails", [False, True])
def test_buffers_and_plain_attributes_are_the_same_objects_as_before(fails):
    net = nn.Sequential(Tracking(), nn.Linear(3, 2))
    before = state_of(net[0])
    try:
        with preserve_state(net):
            net(torch.rand(4, 3))
            net(torch.rand(4, 3))
            assert state_of(net[0]) != before
            if fails:
                raise OverflowError
    except OverflowError:
        assert fails
    assert state_of(net[0]) == before
    assert not hasattr(net[0], "newest")
    assert not net[0]._non_persistent_buffers_set


def test_what_a_module_keeps_beside_plain_values_is_left_alone():
    net = Tracking()
    net.lock, net.log, net.source, net.rule = threading.Lock(), [], torch.Generator(), lambda x: x
    with torch.inference_mode():
        net.frozen = torch.ones(2)
    odd = {name: vars(net)[name] for name in ("lock", "log", "source", "rule", "frozen")}
    with preserve_state(net):
        net.log.append(1)
        net(torch.rand(4, 3))
    assert all(vars(net)[name] is value for name, value in odd.items())
    assert net.log == [1]


def test_a_graph_of_before_can_still_be_differentiated():
    net = Tracking()
    net.table = torch.ones(3)
    x = torch.ones(3, requires_grad=True)
    y = (x * net.table).sum()
    with preserve_state(net):
        net(torch.rand(4, 3))
    y.backward()
    assert torch.equal(x.grad, torch.ones(3))


class BuildsItself(nn.Module):
    """Makes its layer at the first forward, and knows by a flag."""

    def __init__(self):
        super().__init__()
        self.layers, self.is_built = nn.ModuleList(), False

    def forward(self, x):
        if not self.is_built:
            self.layers.append(nn.Linear(x.shape[1], 2))
            self.is_built = True
        return self.layers[0](x)


def test_a_network_that_builds_itself_in_the_block_stays_built():
    net = BuildsItself()
    with preserve_state(net):
        net(torch.rand(4, 3))
    weights = list(net.parameters())
    net(torch.rand(4, 3))
    assert len(net.layers) == 1
    assert all(new is old for new, old in zip(net.parameters(), weights, strict=True))


def test_lazy_modules_can_be_run():
    net = nn.Sequential(nn.LazyConv2d(4, 1), nn.LazyBatchNorm2d())
    with preserve_state(net):
        net.eval()(torch.rand(2, 3, 4, 4))
    assert (net[0].in_channels, net[1].num_features) == (3, 4)
    assert torch.equal(net[1].running_mean, torch.zeros(4))


def test_states_of_neurons_are_reset_and_not_restored(student):
    student(torch.rand(2, 4, 3, 8, 8))
    with preserve_state(student):
        assert student[2].v == 0.0
        student(torch.rand(2, 4, 3, 8, 8))
    assert student[2].v == 0.0


class Rates(nn.Module):
    """A running firing rate that every forward assigns anew."""

    def __init__(self):
        super().__init__()
        self.register_buffer("rate", torch.zeros(()))
        self.register_buffer("limit", None)
        self.forwards = 0

    def forward(self, spikes):
        self.rate = 0.5 * self.rate + spikes.detach().mean()
        self.limit, self.forwards = spikes.detach().amax(), self.forwards + 1
        return spikes


class Breaks(nn.Module):
    def forward(self, x):
        raise FloatingPointError


def test_a_step_that_raises_leaves_the_buffers_as_they_were():
    net = tiny_student().extend([Rates(), Breaks()])
    rates, statistics = net[-2], net[1].running_mean.clone()
    rate = rates.rate
    with pytest.raises(FloatingPointError), reset_states(net):
        net(torch.rand(2, 4, 3, 8, 8))
    assert rates.rate is rate
    assert rate == 0
    assert torch.equal(net[1].running_mean, statistics)
    assert net[2].v == 0.0
    assert rates.forwards == 1
    assert rates.limit is not None, "what was made beside a counter that says so stays with it"


def test_a_step_that_ends_keeps_its_buffers():
    net = tiny_student().append(Rates())
    with reset_states(net):
        net(torch.rand(2, 4, 3, 8, 8))
    assert net[-1].rate != 0
    assert net[1].num_batches_tracked == 1
    assert net[2].v == 0.0
