"""Fast neurons on the CPU: spikes, states and gradients beside SpikingJelly's own, over the whole grid of settings."""

import copy
import io
import itertools
import pickle

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn
from torch.nn.functional import cross_entropy

from spikingjelly_ckd import CKDDistiller, find_layer, record, use_fast_neurons
from spikingjelly_ckd.networks import compat
from spikingjelly_ckd.networks.compat import fused_methods, fused_neurons
from spikingjelly_ckd.recipes.models import spiking_resnet20
from spikingjelly_ckd.recipes.report.energy import measure_energy

KINDS = ("IFNode", "LIFNode", "ParametricLIFNode")
DTYPES = (torch.float32, torch.float64, torch.bfloat16)
FIRST_GENERATION = hasattr(functional, "set_backend")


@pytest.fixture
def calls(monkeypatch):
    """One entry for each call that the fused function took."""
    taken = []
    real = fused_methods.fused_steps
    monkeypatch.setattr(fused_methods, "fused_steps", lambda *args: taken.append(args) or real(*args))
    return taken


def make(kind, *, surrogate_function=None, tau=2.0, decay_input=True, step_mode="m", **options):
    leaky = {"IFNode": {}, "LIFNode": {"tau": tau}, "ParametricLIFNode": {"init_tau": tau}}[kind]
    leaky |= {} if kind == "IFNode" else {"decay_input": decay_input}
    return getattr(neuron, kind)(
        surrogate_function=surrogate_function or surrogate.ATan(), step_mode=step_mode, **leaky, **options
    )


def twins(node):
    """The neuron as SpikingJelly has it, and a copy that is switched."""
    fast = copy.deepcopy(node)
    assert use_fast_neurons(fast).changed == 1
    return node, fast


def outcome(node, x, of_spikes, of_potential=None):
    """Spikes, potential, and the gradients to the input and to a trained decay."""
    x = x.clone().requires_grad_()
    spikes = node(x)
    outputs, gradients = [spikes], [of_spikes]
    if of_potential is not None and node.v.requires_grad:
        outputs, gradients = [spikes, node.v], [of_spikes, of_potential]
    if spikes.requires_grad:
        torch.autograd.backward(outputs, gradients)
    decay = getattr(node, "w", None)
    return spikes, node.v, x.grad, None if decay is None else decay.grad


def assert_same(own, fast, tolerance):
    for mine, theirs in zip(fast[:2], own[:2], strict=True):
        assert mine.dtype == theirs.dtype
        assert torch.equal(mine, theirs)
    if own[2] is not None:
        assert fast[2].dtype == own[2].dtype
        assert (fast[2] - own[2]).abs().max() <= tolerance * own[2].abs().max()
    if own[3] is not None:  # a sum over all elements, which cancel: beside the sum of their magnitudes
        assert fast[3].dtype == own[3].dtype
        assert (fast[3] - own[3]).abs() <= tolerance * own[2].abs().sum()


def assert_same_bits(own, fast):
    """On 2.x. The TorchScript of 0.0.0.0.14 rounds otherwise once it is warm, beside itself too."""
    assert (fast - own).abs().max() <= (1e-6 * own.abs().max() if FIRST_GENERATION else 0)


def settings(kind):
    decays = (True,) if kind == "IFNode" else (True, False)
    taus = ((2.0, 1.0),) if kind == "IFNode" else ((2.0, 1.0), (3.0, 0.75))
    return itertools.product(
        sorted(fused_neurons.SURROGATES), (1, 2, 4), decays, (0.0, None, -0.25), (True, False), taus
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_spikes_are_equal_and_gradients_agree(kind, dtype, calls):
    tolerance = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 2**-5}[dtype]
    for number, (name, T, decay_input, v_reset, detach_reset, (tau, threshold)) in enumerate(settings(kind)):
        node = make(
            kind,
            surrogate_function=getattr(surrogate, name)(alpha=1.0 if name == "PiecewiseQuadratic" else 2.0),
            tau=tau,
            decay_input=decay_input,
            v_threshold=threshold,
            v_reset=v_reset,
            detach_reset=detach_reset,
        ).to(torch.float64 if dtype == torch.float64 else torch.float32)
        node, fast = twins(node)
        x, of_spikes, of_potential = (torch.randn(T, 50).to(dtype) * scale for scale in (3, 1, 1))
        of_potential = of_potential[0] if number % 2 else None
        calls.clear()
        own, ours = (outcome(each, x, of_spikes, of_potential) for each in (node, fast))
        assert len(calls) == 1
        assert own[0].any()
        assert_same(own, ours, tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_gives_the_same_spikes(kind, calls):
    for name, T, decay_input, v_reset, detach_reset, (tau, threshold) in settings(kind):
        if name == "ATan" and detach_reset:
            options = {"tau": tau, "decay_input": decay_input, "v_threshold": threshold, "v_reset": v_reset}
            node, fast = twins(make(kind, **options).eval())
            x = torch.randn(T, 50) * 1.5
            calls.clear()
            with torch.no_grad():
                assert torch.equal(node(x), fast(x))
            assert torch.equal(node.v, fast.v)
            assert len(calls) == 1
            functional.reset_net(node), functional.reset_net(fast)
            assert_same(*(outcome(each, x, torch.ones_like(x)) for each in (node, fast)), 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_networks_of_this_package_keep_their_bits(kind):
    """The triangle of width 1 and ATan with its default, in float32: nothing moves, not even in the last bit."""
    for surrogate_function in (surrogate.PiecewiseQuadratic(alpha=1.0), surrogate.ATan()):
        for T, decay_input, v_reset, detach_reset in itertools.product(
            (1, 4), (True, False), (0.0, None), (True, False)
        ):
            options = {"decay_input": decay_input, "v_reset": v_reset, "detach_reset": detach_reset}
            node, fast = twins(make(kind, surrogate_function=surrogate_function, **options))
            x, gradient = torch.randn(T, 200) * 1.5, torch.randn(T, 200)
            assert_same_bits(*(outcome(each, x, gradient)[2] for each in (node, fast)))


def test_many_blocks_and_layouts_are_the_same(monkeypatch):
    monkeypatch.setattr(fused_neurons, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(fused_neurons, "_SMALLEST_BLOCK", 16)
    node, fast = twins(make("ParametricLIFNode", decay_input=False))
    x = torch.randn(3, 2, 4, 5, 7) * 1.5
    last = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).view_as(x)
    for given in (x, last, x.transpose(0, 1).contiguous().transpose(0, 1), x[:1].expand(3, -1, -1, -1, -1)):
        for each in (node, fast):
            functional.reset_net(each)
            each.zero_grad()
        gradient = torch.randn_like(x).transpose(3, 4).contiguous().transpose(3, 4)
        assert_same(*(outcome(each, given, gradient) for each in (node, fast)), 1e-6)
    functional.reset_net(fast)
    assert fast(last).stride() == last.stride()


def test_a_step_at_a_time_carries_the_state(calls):
    node, fast = twins(make("LIFNode", step_mode="s"))
    x, gradient = torch.randn(4, 50) * 1.5, torch.randn(4, 50)
    results = []
    for each in (node, fast):
        given = x.clone().requires_grad_()
        spikes = torch.stack([each(step) for step in given])
        spikes.backward(gradient)
        results.append((spikes, each.v, given.grad, None))
    assert_same(*results, 1e-6)
    assert len(calls) == 1  # the other steps do not begin at rest


@pytest.mark.parametrize("detach", [False, True])
def test_a_state_that_is_carried_on_is_the_same(detach, calls):
    node, fast = twins(make("ParametricLIFNode"))
    x, gradient = torch.randn(4, 50) * 1.5, torch.randn(2, 50)
    results = []
    for each in (node, fast):
        given = x.clone().requires_grad_()
        first = each(given[:2])
        if detach:
            functional.detach_net(each)
        second = each(given[2:])
        (second * gradient).sum().backward()
        results.append((torch.cat([first, second]), each.v, given.grad, each.w.grad))
    assert len(calls) == 1
    assert_same(*results, 1e-6)
    functional.reset_net(fast)
    fast(x)
    assert len(calls) == 2


class Slower(neuron.LIFNode):
    pass


UNCOVERED = {
    "surrogate": lambda: make("LIFNode", surrogate_function=surrogate.PiecewiseLeakyReLU()),
    "primitive": lambda: make("LIFNode", surrogate_function=surrogate.Sigmoid(spiking=False)),
    "store_v_seq": lambda: make("LIFNode", store_v_seq=True),
    "reset value": lambda: set_v(make("IFNode"), 0.25),
}


def set_v(node, value):
    node.v = value
    return node


@pytest.mark.parametrize("case", UNCOVERED)
def test_what_is_not_covered_runs_spikingjellys_own(case, calls):
    node, fast = twins(UNCOVERED[case]())
    x = torch.randn(3, 50) * 1.5
    assert_same(*(outcome(each, x, torch.ones_like(x)) for each in (node, fast)), 0 if not FIRST_GENERATION else 1e-6)
    assert not calls


def test_dtypes_that_are_not_covered_run_spikingjellys_own(calls):
    node, fast = twins(make("LIFNode", v_threshold=0.7))
    for dtype in (torch.float16, torch.bfloat16):  # bfloat16 rounds the threshold
        functional.reset_net(node), functional.reset_net(fast)
        x = (torch.randn(3, 50) * 1.5).to(dtype)
        assert_same(*(outcome(each, x, torch.ones_like(x)) for each in (node, fast)), 0)
    assert not calls


def test_a_subclass_keeps_its_own():
    assert use_fast_neurons(nn.Sequential(Slower(), neuron.QIFNode())).changed == 0


def test_a_twice_differentiable_gradient():
    for kind, detach_reset, v_reset in itertools.product(KINDS, (True, False), (0.0, None)):
        for decay_input in (True, False):
            node, fast = twins(make(kind, detach_reset=detach_reset, v_reset=v_reset, decay_input=decay_input).double())
            x, weight = torch.randn(3, 20, dtype=torch.float64) * 1.5, torch.randn(3, 20, dtype=torch.float64)
            found = []
            for each in (node, fast):
                given, scale = x.clone().requires_grad_(), torch.ones((), dtype=torch.float64, requires_grad=True)
                inputs = [given, *each.parameters()]
                first = torch.autograd.grad((each(given) * weight * scale).sum(), inputs, create_graph=True)
                squares = sum(gradient.square().sum() for gradient in first)
                found.append([*first, *torch.autograd.grad(squares, [*inputs, scale])])
            for own, ours in zip(*found, strict=True):
                torch.testing.assert_close(ours, own)


def test_switching_leaves_class_copies_pickles_and_checkpoints():
    net = tiny_student()
    keys, text, kinds = list(net.state_dict()), repr(net), [type(m) for m in net.modules()]
    assert use_fast_neurons(net).changed == 2
    assert use_fast_neurons(net).changed == 0
    assert (list(net.state_dict()), repr(net), [type(m) for m in net.modules()]) == (keys, text, kinds)
    twin = copy.deepcopy(net)
    assert use_fast_neurons(twin).changed == 0
    assert twin[2].multi_step_forward.__self__ is twin[2]
    with io.BytesIO() as file:
        torch.save(net, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)
    for read in (pickle.loads(pickle.dumps(net)), loaded):
        assert compat.neuron_path(read).implementation != "fused torch"
        assert b"spikingjelly_ckd" not in pickle.dumps(net)
        assert use_fast_neurons(read).changed == 2
    assert use_fast_neurons(net, enable=False).changed == 2
    assert use_fast_neurons(net, enable=False).changed == 0
    assert vars(net[2]).keys() == vars(tiny_student()[2]).keys()


def test_copies_do_not_share_their_state():
    net = nn.Sequential(make("LIFNode"))
    use_fast_neurons(net)
    twin = copy.deepcopy(net)
    twin(torch.ones(2, 3))
    assert net[0].v == 0.0
    assert isinstance(twin[0].v, torch.Tensor)


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("autocast", [False, True])
def test_a_whole_network_keeps_its_bits(steps, autocast, calls):
    student = spiking_resnet20(10)
    fast = copy.deepcopy(student)
    assert use_fast_neurons(fast).changed == 19
    images, labels = torch.randn(steps, 2, 3, 8, 8), torch.tensor([1, 2])
    found = []
    for net in (student, fast):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = net(images).mean(0)
            loss = cross_entropy(logits, labels)
        functional.reset_net(net)
        loss.backward()
        found.append([logits, loss, *(parameter.grad for parameter in net.parameters())])
    assert len(calls) == (7 if autocast and FIRST_GENERATION else 19)  # those that get a sum, which is float32 there
    for own, ours in zip(*found, strict=True):
        assert_same_bits(own, ours)


def test_a_distillation_step_records_the_same(calls):
    found = []
    student = tiny_student()
    for net in (copy.deepcopy(student), student):
        if net is student:
            use_fast_neurons(net)
        torch.manual_seed(1)
        distiller = CKDDistiller(tiny_teacher(), net, time_steps=2)
        out = distiller(torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 3]))
        out.loss.backward()
        assert isinstance(net[2].v, float)
        found.append([out.loss, out.logits, *(parameter.grad for parameter in net.parameters())])
        with record(net, ["5"]) as seen:
            net(torch.rand(2, 1, 3, 8, 8))
        assert seen["5"].shape == (2, 1, 8, 4, 4)
        functional.reset_net(net)
        found[-1].append(torch.tensor(len(find_layer(net, torch.rand(2, 1, 3, 8, 8)).path)))
    assert calls
    for own, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, own, rtol=1e-6, atol=1e-7)


def test_energy_and_step_modes_are_as_before():
    student = tiny_student()
    fast = copy.deepcopy(student)
    use_fast_neurons(fast)
    batch = torch.rand(2, 3, 3, 8, 8)
    assert measure_energy(fast, [batch], batch_axis=1) == measure_energy(student, [batch], batch_axis=1)
    for net in (student, fast):
        functional.set_step_mode(net, "s")
    assert torch.equal(fast(batch[0]), student(batch[0]))


def test_neurons_inside_a_container(calls):
    student = layer.MultiStepContainer(nn.Linear(4, 3), make("LIFNode", step_mode="s"))
    fast = copy.deepcopy(student)
    use_fast_neurons(fast)
    x = torch.randn(4, 2, 4) * 3
    assert torch.equal(student(x), fast(x))
    assert calls


@pytest.mark.slow
def test_a_compiled_network_runs_spikingjellys_own(calls):
    student = nn.Sequential(layer.Linear(4, 8), make("LIFNode"))
    functional.set_step_mode(student, "m")
    fast = copy.deepcopy(student)
    use_fast_neurons(fast)
    x = torch.randn(3, 2, 4) * 3
    assert torch.equal(torch.compile(fast, backend="aot_eager")(x), student(x))
    assert not calls
