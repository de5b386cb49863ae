"""record(): what it sees, what it refuses, and that nothing stays behind."""

import pytest
import torch
from torch import nn

from spikingjelly_ckd.networks.recording import convert_input, get_layer, record


def hooks_left(net: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


def test_records_the_very_tensor_with_its_graph(student, batch):
    with record(student, ["2", "5"]) as seen:
        out = student(batch[0].expand(2, *batch[0].shape))
    assert seen["5"].shape == (2, 4, 8, 4, 4)
    (gradient,) = torch.autograd.grad(seen["5"].sum(), student[0].weight, retain_graph=True)
    assert gradient.abs().sum() > 0
    assert out.requires_grad


@pytest.mark.parametrize("fails", ["nothing", "the block", "the network", "a path"])
def test_no_hook_stays(teacher, batch, fails):
    class Breaks(nn.Module):
        def forward(self, x):
            raise RuntimeError("broken")

    net = nn.Sequential(*teacher[:3], Breaks()) if fails == "the network" else teacher
    paths = ["0", "nowhere"] if fails == "a path" else ["0", "2"]
    try:
        with record(net, paths):
            net(batch[0])
            if fails == "the block":
                raise RuntimeError("broken")
    except (RuntimeError, ValueError):
        assert fails != "nothing"
    assert hooks_left(net) == 0


def test_a_layer_that_did_not_run_raises_and_names_causes(teacher):
    with record(teacher, ["0"]) as seen:
        pass
    with pytest.raises(RuntimeError, match="did not run.*compiled before recording"):
        seen["0"]


def test_a_network_compiled_before_recording_raises(teacher, batch):
    compiled = torch.compile(teacher.eval(), backend="eager")
    compiled(batch[0])
    with record(compiled, ["_orig_mod.3"]) as seen:
        compiled(batch[0])
    with pytest.raises(RuntimeError, match="compiled before recording"):
        seen["_orig_mod.3"]


def test_change_in_place_is_noticed(teacher, batch):
    with record(teacher, ["4"]) as seen:
        teacher(batch[0])
    with pytest.raises(RuntimeError, match="changed in place"):
        seen["4"]


def test_as_leaf_survives_an_in_place_activation_and_leaves_the_rest_without_a_graph(teacher, batch):
    teacher.eval().requires_grad_(False)
    with record(teacher, ["1", "4"], as_leaf=["4"]) as seen:
        logits = teacher(batch[0])
    assert not seen.calls("4")[0].grad_fn
    (gradient,) = torch.autograd.grad(logits.sum(), seen["4"])
    assert gradient.abs().sum() > 0
    assert all(p.grad is None for p in teacher.parameters())
    assert torch.equal(logits, teacher(batch[0]))


def test_nested_leaves_both_get_gradients(teacher, batch):
    teacher.eval().requires_grad_(False)
    with record(teacher, ["1", "4"], as_leaf=True) as seen:
        logits = teacher(batch[0])
    first, second = torch.autograd.grad(logits.sum(), [seen["1"], seen["4"]])
    assert first.abs().sum() > 0
    assert second.abs().sum() > 0


def test_calls_over_time_are_stacked(batch):
    net = nn.Sequential(nn.Conv2d(3, 2, 1))
    with record(net, ["0"]) as seen:
        for _ in range(3):
            net(batch[0])
    assert seen["0"].shape == (3, 4, 2, 8, 8)
    assert len(seen.calls("0")) == 3


def test_calls_of_unlike_shapes_raise(batch):
    net = nn.Sequential(nn.ReLU())
    with record(net, ["0"]) as seen:
        net(batch[0])
        net(batch[0][:2])
    with pytest.raises(RuntimeError, match="shared between places"):
        seen["0"]


def test_first_tensor_of_a_tuple_stands_for_it():
    class Pair(nn.Module):
        def forward(self, x):
            return [2 * x, "trace"]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair = Pair()

        def forward(self, x):
            return self.pair(x)[0].sum()

    net, x = Net(), torch.ones(2)
    with record(net, ["pair"], as_leaf=True) as seen:
        total = net(x)
    (gradient,) = torch.autograd.grad(total, seen["pair"])
    assert torch.equal(gradient, torch.ones(2))


def test_wrong_arguments(teacher):
    with pytest.raises(TypeError, match=r"pass \['0'\]"), record(teacher, "0"):
        pass
    with pytest.raises(ValueError, match="nearest names are.*'layer4'"):
        get_layer(nn.ModuleDict({"layer3": nn.ReLU(), "layer4": nn.ReLU()}), "layr4")


def test_layers_may_be_given_as_modules(teacher, batch):
    with record(teacher, [teacher[2], "5"]) as seen:
        teacher(batch[0])
    assert list(seen) == ["2", "5"]
    assert seen["2"].shape == (4, 6, 8, 8)
    with pytest.raises(ValueError, match="not a module of this Sequential"), record(teacher, [nn.ReLU()]):
        pass
    with (
        pytest.raises(TypeError, match="a collection of paths or modules, got one Sequential"),
        record(teacher, teacher),
    ):
        pass
    assert hooks_left(teacher) == 0


def test_a_checkpointed_sequential_of_2x_is_said(batch):
    memopt = pytest.importorskip("spikingjelly.activation_based.memopt", reason="SpikingJelly 2.x only")
    from spikingjelly.activation_based import functional, layer, neuron

    inner = nn.Sequential(layer.Conv2d(3, 4, 3), neuron.IFNode())
    functional.set_step_mode(inner, "m")
    net = nn.Sequential(memopt.checkpoint_module(inner))
    x = batch[0].expand(2, *batch[0].shape).clone().requires_grad_()
    path = next(name for name, module in net.named_modules() if isinstance(module, neuron.IFNode))
    with record(net, [path]) as seen:
        net(x)
    with pytest.raises(RuntimeError, match="checkpointed nn.Sequential"):
        seen[path]


def test_stop_leaves_the_network_when_every_layer_has_run(teacher, batch):
    ran = []
    teacher[8].register_forward_pre_hook(lambda *_: ran.append("head"))
    with record(teacher, ["5", "2"], stop=True) as seen:
        teacher(batch[0])
        pytest.fail("the block goes on behind the network")
    assert ran == []
    assert (seen["2"].shape, seen["5"].shape) == ((4, 6, 8, 8), (4, 8, 4, 4))
    teacher[8]._forward_pre_hooks.clear()
    assert hooks_left(teacher) == 0


def test_stop_hides_no_error(teacher, batch):
    with pytest.raises(RuntimeError, match="broken"), record(teacher, ["2"], stop=True):
        raise RuntimeError("broken")


def test_converted_input_follows_the_network(teacher, batch):
    handle = convert_input(teacher.bfloat16(), channels_last=True)
    assert teacher(batch[0]).dtype is torch.bfloat16
    assert teacher.double()(batch[0]).dtype is torch.float64
    handle.remove()
    assert hooks_left(teacher) == 0
