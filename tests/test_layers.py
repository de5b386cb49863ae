"""Which layer is chosen, how its tensors are read, and what a search leaves behind."""

import copy
import json

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from coverage_cases import LIF, TokensLast
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.model import sew_resnet
from torch import nn

from spikingjelly_ckd import ATLoss, Distiller, FitNetsLoss, Layer, find_layer, find_stages, record
from spikingjelly_ckd.networks.compat import is_neuron
from spikingjelly_ckd.networks.layer import LAYOUTS, as_layer, path_of
from spikingjelly_ckd.networks.presets import preset_student_steps
from spikingjelly_ckd.networks.reading import arrange, resolve
from spikingjelly_ckd.recipes.models import ResNet, SpikingResNet

NET = nn.Sequential(nn.Identity())


def read(tensors, layer="0", *, net=NET, role="teacher", steps=None, batch=2, size=(32, 32)):
    """Resolve and arrange; what the distiller does with one layer."""
    calls = tensors if isinstance(tensors, list) else [tensors]
    found = resolve(layer, net, calls, role=role, steps=steps, batch=batch, image_size=size)
    return found, arrange(calls, found, role=role, steps=steps, batch=batch)


def numbered(*shape):
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(shape)


# --- teachers: every layout ------------------------------------------------------------------------------------------


def test_teacher_channels_first():
    found, out = read(x := numbered(2, 16, 4, 4))
    assert (found.layout, found.grid, found.prefix) == ("NCHW", None, 0)
    assert out is x


def test_teacher_channels_last():
    found, out = read(x := numbered(2, 4, 4, 16))
    assert found.layout == "NHWC"
    assert torch.equal(out, x.permute(0, 3, 1, 2))


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
def test_teacher_tokens_before_channels(prefix):
    found, out = read(x := numbered(2, prefix + 16, 24))
    assert (found.layout, found.grid, found.prefix) == ("NLC", (4, 4), prefix)
    assert torch.equal(out, x[:, prefix:].permute(0, 2, 1).reshape(2, 24, 4, 4))


def test_teacher_channels_before_tokens():
    found, out = read(x := numbered(2, 24, 16))
    assert (found.layout, found.grid) == ("NCL", (4, 4))
    assert torch.equal(out, x.reshape(2, 24, 4, 4))


def test_number_of_prefix_tokens_is_taken_from_the_network():
    net = nn.Sequential(nn.Identity())
    net.num_prefix_tokens = 7
    found, out = read(numbered(2, 7 + 16, 24), net=net)
    assert (found.prefix, found.grid) == (7, (4, 4))
    with pytest.raises(ValueError, match="no axes that form a map"):
        read(numbered(2, 7 + 16, 24))


def test_grid_follows_the_aspect_ratio():
    found, out = read(numbered(2, 32, 24), size=(32, 64))
    assert (found.layout, found.grid) == ("NLC", (4, 8))
    found, out = read(numbered(2, 24, 4, 8), size=(32, 64))
    assert found.layout == "NCHW"
    found, out = read(numbered(2, 4, 8, 24), size=(32, 64))
    assert found.layout == "NHWC"


def test_grid_of_an_image_that_the_stride_does_not_divide():
    found, _ = read(numbered(2, 5 * 9, 24), net=nn.Sequential(nn.LayerNorm(24)), size=(75, 140))
    assert found.grid == (5, 9)


def test_gradients_are_arranged_like_the_features():
    found, out = read(x := torch.randn(2, 17, 24, requires_grad=True))
    out.square().sum().backward()
    gradient = arrange([x.grad], found, role="teacher", steps=None, batch=2)
    torch.testing.assert_close(gradient, 2 * out)
    assert not x.grad[:, 0].any()


# --- students: every layout ------------------------------------------------------------------------------------------


def test_student_multi_step():
    found, out = read(x := numbered(3, 2, 16, 4, 4), role="student", steps=3)
    assert found.layout == "TNCHW"
    assert out is x


def test_student_channels_last_only_where_the_shape_says_so():
    found, out = read(x := numbered(3, 2, 4, 4, 16), role="student", steps=3)
    assert found.layout == "TNHWC"
    assert torch.equal(out, x.permute(0, 1, 4, 2, 3))
    assert read(numbered(3, 2, 4, 4, 4), role="student", steps=3)[0].layout == "TNCHW"
    explicit, out = read(x := numbered(3, 2, 4, 4, 4), Layer("0", layout="TNHWC"), role="student", steps=3)
    assert torch.equal(out, x.permute(0, 1, 4, 2, 3))


def test_student_tokens_in_either_order():
    found, out = read(x := numbered(3, 2, 24, 16), role="student", steps=3)
    assert (found.layout, found.grid) == ("TNCL", (4, 4))
    assert torch.equal(out, x.reshape(3, 2, 24, 4, 4))
    found, out = read(x := numbered(3, 2, 16, 24), role="student", steps=3)
    assert (found.layout, found.grid) == ("TNLC", (4, 4))
    assert torch.equal(out, x.transpose(-1, -2).reshape(3, 2, 24, 4, 4))


@pytest.mark.parametrize("steps", [3, None])
def test_student_with_time_folded_into_the_batch(steps):
    found, out = read(x := numbered(6, 16, 4, 4), role="student", steps=steps)
    assert found.layout == "NCHW"
    assert torch.equal(out, x.reshape(3, 2, 16, 4, 4))
    assert out.data_ptr() == x.data_ptr()
    found, out = read(x := numbered(6, 24, 16), role="student", steps=steps)
    assert found.layout == "NCL"
    assert torch.equal(out, x.reshape(3, 2, 24, 4, 4))


@pytest.mark.parametrize("steps", [3, None])
def test_student_called_once_a_step(steps):
    calls = [numbered(2, 16, 4, 4) + step for step in range(3)]
    found, out = read(calls, role="student", steps=steps)
    assert found.layout == "NCHW"
    assert torch.equal(out, torch.stack(calls))


def test_student_that_repeats_images_itself():
    found, out = read(numbered(5, 2, 16, 4, 4), role="student", steps=None)
    assert (found.layout, out.shape) == ("TNCHW", (5, 2, 16, 4, 4))


@pytest.mark.parametrize("batch", [1, 3])
def test_batches_of_another_size_read_alike(batch):
    found, _ = read(numbered(3, 2, 16, 24), role="student", steps=3)
    out = arrange([numbered(3, batch, 16, 24)], found, role="student", steps=3, batch=batch)
    assert out.shape == (3, batch, 24, 4, 4)
    assert read(numbered(3, batch, 24, 16), role="student", steps=3, batch=batch)[0].layout == "TNCL"


def test_half_precision_and_gradients_pass_through():
    x = torch.randn(4, 2, 24, 16, dtype=torch.bfloat16, requires_grad=True)
    _, out = read(x, role="student", steps=4)
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert bool((x.grad == 1).all())


# --- telling channels from positions ---------------------------------------------------------------------------------


def test_channels_that_modules_declare_tell_channels_from_tokens():
    norm, linear, conv = nn.LayerNorm(64), nn.Linear(8, 64), nn.Conv1d(8, 64, 1)
    assert read(numbered(2, 16, 64), net=nn.Sequential(norm))[0].layout == "NLC"
    assert read(numbered(2, 64, 16), net=nn.Sequential(conv))[0].layout == "NCL"
    assert read(numbered(2, 64, 64), net=nn.Sequential(linear))[0].layout == "NLC"
    assert read(numbered(2, 64, 64), net=nn.Sequential(conv))[0].layout == "NCL"


def test_a_layer_that_declares_nothing_is_judged_by_its_neighbours():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    assert read(numbered(2, 8, 8, 8), "1", net=net)[0].layout == "NCHW"
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU())
    assert read(numbered(2, 8, 8, 8), "1", net=net)[0].layout == "NHWC"


def test_a_grid_that_the_network_states_decides():
    net = nn.Sequential(nn.Identity())
    net.grid_size = (8, 8)
    assert read(numbered(2, 64, 16), net=net)[0].layout == "NLC"


@pytest.mark.parametrize("shape", [(2, 64, 64), (2, 16, 64), (2, 8, 8, 8)])
def test_ambiguous_shapes_raise_and_say_what_to_pass(shape):
    with pytest.raises(
        ValueError, match=r"can be read as .* or as .*teacher_layer=Layer\('0', layout=<one of NCHW"
    ) as info:
        read(numbered(*shape))
    assert "grid=(h, w)" in str(info.value)
    layout = "NLC" if len(shape) == 3 else "NHWC"
    assert read(numbered(*shape), Layer("0", layout=layout))[0].layout == layout


def test_a_student_s_ambiguous_tokens_raise():
    with pytest.raises(ValueError, match="student_layer=Layer"):
        read(numbered(3, 2, 64, 16), role="student", steps=3)


# --- what the user sets ----------------------------------------------------------------------------------------------


def test_explicit_fields_win_and_are_checked():
    found, out = read(x := numbered(2, 3 + 8, 30), Layer("0", layout="NLC", grid=(2, 4), prefix=3))
    assert torch.equal(out, x[:, 3:].transpose(1, 2).reshape(2, 30, 2, 4))
    assert read(numbered(2, 3 + 8, 30), Layer("0", grid=(2, 4)))[0].prefix == 3
    assert read(numbered(2, 4 + 16, 24), Layer("0", prefix=4))[0].grid == (4, 4)
    assert read(numbered(2, 6, 9, 24), Layer("0", layout="NHWC"))[1].shape == (2, 24, 6, 9)
    for wrong in (
        Layer("0", layout="NCHW"),
        Layer("0", layout="TNCL"),
        Layer("0", grid=(6, 6)),
        Layer("0", grid=(2, 4), prefix=2),
        Layer("0", layout="NCL", grid=(2, 2)),
    ):
        with pytest.raises(ValueError, match="does not fit"):
            read(numbered(2, 3 + 8, 30), wrong)


def test_a_resolved_layer_resolves_to_itself():
    found, _ = read(numbered(2, 17, 24))
    assert read(numbered(2, 17, 24), found)[0] == found


@pytest.mark.parametrize(
    "saved",
    [
        Layer("0"),
        Layer(""),
        Layer("blocks.11.norm1", layout="NLC", grid=(14, 7), prefix=1, reason="latest layer with a varying map"),
        Layer("layer4", layout="TNCHW", passed_over=("bn [2, 8]: it has no positions left",)),
    ],
    ids=lambda layer: repr(layer.path),
)
def test_a_layer_is_saved_and_read_back(saved, tmp_path):
    assert Layer.from_json(json.loads(json.dumps(saved.to_json()))) == saved
    torch.save(saved.to_json(), tmp_path / "layer.pt")
    read_back = Layer.from_json(torch.load(tmp_path / "layer.pt", weights_only=True))
    assert read_back == saved
    assert hash(read_back) == hash(saved)
    assert read_back.reason == saved.reason


@pytest.mark.parametrize(
    ("saved", "error", "message"),
    [
        ("layer4", TypeError, "must be a mapping as Layer.to_json.* got str"),
        ({"layout": "NCHW"}, ValueError, "must hold 'path'"),
        ({"path": "0", "channels": 3}, ValueError, "may hold .*got .*'channels'"),
        ({"path": "0", "layout": "CHW"}, ValueError, "layout of layer '0' must be one of"),
        ({"path": "0", "grid": [4]}, ValueError, "grid of layer '0' must be two positive"),
    ],
)
def test_a_saved_layer_is_checked(saved, error, message):
    with pytest.raises(error, match=message):
        Layer.from_json(saved)


def test_a_layer_given_as_a_module_is_found_by_its_path(teacher):
    nested = nn.Sequential(nn.Identity(), teacher)
    assert path_of(nested, teacher[5]) == "1.5"
    assert path_of(nested, nested) == ""
    assert as_layer(nested, teacher[5]) == as_layer(nested, "1.5") == as_layer(nested, Layer("1.5"))
    found, _ = read(numbered(2, 16, 4, 4), NET[0])
    assert found.path == "0"


def test_a_module_that_is_no_single_part_of_the_network_is_refused(teacher):
    with pytest.raises(ValueError, match="ReLU that was given as a layer is not a module of this Sequential"):
        path_of(teacher, copy.deepcopy(teacher)[5])
    shared = nn.Sequential(act := nn.ReLU(), nn.Sequential(act))
    with pytest.raises(ValueError, match=r"several paths in this .*, \['0', '1.0'\]: pass one of them"):
        path_of(shared, act)
    with pytest.raises(TypeError, match="must be a torch.nn.Module, got str"):
        path_of(teacher, "5")


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"path": 3}, TypeError, "path must be a string"),
        ({"path": "0", "layout": "CHW"}, ValueError, "layout of layer '0' must be one of"),
        ({"path": "0", "grid": (4,)}, ValueError, "grid of layer '0' must be two positive"),
        ({"path": "0", "grid": (0, 4)}, ValueError, "grid of layer '0' must be two positive"),
        ({"path": "0", "prefix": -1}, ValueError, "prefix of layer '0' must be"),
    ],
)
def test_layer_fields_are_checked(fields, error, message):
    with pytest.raises(error, match=message):
        Layer(**fields)


def test_a_search_checks_its_arguments():
    with pytest.raises(TypeError, match="module must be a torch.nn.Module, got str"):
        find_layer("resnet18", IMAGES)
    with pytest.raises(TypeError, match="example must be a tensor"):
        find_layer(tiny_teacher(), (IMAGES, None))
    with pytest.raises(ValueError, match=r"example is empty: \(0, 3, 8, 8\)"):
        find_stages(tiny_teacher(), torch.empty(0, 3, 8, 8))


def test_resolve_checks_its_arguments():
    x = numbered(2, 16, 4, 4)
    with pytest.raises(TypeError, match="teacher_layer must be a path, a Layer or a module of the network, got int 3"):
        read(x, 3)
    with pytest.raises(ValueError, match="role must be"):
        read(x, role="ann")
    with pytest.raises(ValueError, match=r"no layer 'layre1'; the nearest names are \['layer1'"):
        read(x, "layre1", net=nn.Sequential().append(nn.Identity()) and nn.ModuleDict({"layer1": nn.ReLU()}))
    with pytest.raises(ValueError, match="got none"):
        read([])


# --- what cannot be read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tensor", [numbered(2, 16, 1, 1), numbered(2, 1, 1, 16), numbered(2, 16, 1)])
def test_one_position_is_refused(tensor):
    net = nn.Sequential(nn.Identity(), nn.Identity())
    with pytest.raises(ValueError, match="one position only.*teacher_layer='0', or use images of at least twice"):
        read(tensor, "1", net=net)


def test_one_position_of_a_student_is_refused():
    with pytest.raises(ValueError, match="one position only.*student_layer='0'"):
        read(
            numbered(3, 2, 16, 1, 1), "1", net=nn.Sequential(neuron.IFNode(), neuron.IFNode()), role="student", steps=3
        )


@pytest.mark.parametrize(
    ("tensors", "options", "message"),
    [
        (numbered(2, 10), {}, "no positions left"),
        (numbered(8, 16, 4, 4), {}, "first axis is not the batch"),
        ([numbered(2, 16, 4, 4)] * 2, {}, "ran 2 times .*teacher_layer: one that runs once"),
        (numbered(2, 3, 5, 7, 9), {}, "no axes that form a map"),
        (numbered(3, 2, 16), {"role": "student", "steps": 3}, "no positions left"),
        (numbered(3, 2, 16), {"role": "student"}, "no positions left"),
        ([numbered(2, 16, 4, 4)] * 2, {"role": "student", "steps": 3}, "ran 2 times in one forward of 3 time steps"),
        ([numbered(2, 16, 4, 4), numbered(2, 8, 4, 4)], {"role": "student", "steps": 2}, "unlike shapes"),
        (numbered(2, 16, 4, 4), {"role": "student", "steps": 3}, "ran once for all 3 time steps"),
        (numbered(2, 2, 16), {"role": "student", "steps": 2}, "no positions left"),  # as many time steps as images
        (numbered(5, 16, 4, 4), {"role": "student", "steps": 3}, "leading axes are not time and batch"),
        (numbered(3, 2, 8, 1, 24), {"role": "student", "steps": 3}, "can be read as"),
    ],
)
def test_what_cannot_be_read_says_why(tensors, options, message):
    with pytest.raises(ValueError, match=message):
        read(tensors, **options)


def test_arrange_refuses_another_size_than_was_resolved():
    found, _ = read(numbered(2, 17, 24))
    for calls in ([numbered(2, 26, 24)], [numbered(3, 17, 24)], [numbered(2, 17)], [numbered(2, 17, 24)] * 2):
        with pytest.raises(ValueError, match="was read as NLC on 4x4 but gave .* changed"):
            arrange(calls, found, role="teacher", steps=None, batch=2)
    for layout in LAYOUTS:
        some = Layer("0", layout=layout, grid=(4, 4))
        with pytest.raises(ValueError, match="was read as"):
            arrange([numbered(2, 3)], some, role="student", steps=3, batch=2)


def test_arrange_needs_a_resolved_layer():
    for unresolved in (Layer("0"), Layer("0", layout="NLC")):
        with pytest.raises(RuntimeError, match="resolve"):
            arrange([numbered(2, 16, 24)], unresolved, role="teacher", steps=None, batch=2)


# --- choosing a student's layer --------------------------------------------------------------------------------------


def spiking(*parts, step_mode="m"):
    net = nn.Sequential(*parts)
    functional.set_step_mode(net, step_mode)
    return net


SEEDED = torch.Generator().manual_seed(0)
FRAMES, IMAGES = torch.rand(3, 2, 3, 16, 16, generator=SEEDED), torch.rand(2, 3, 16, 16, generator=SEEDED)


def test_the_last_neuron_with_positions():
    found = find_layer(tiny_student(), FRAMES)
    assert (found.path, found.layout, found.reason) == ("5", "TNCHW", "last spiking neuron with positions")


def test_neurons_behind_the_flattening_are_passed_over():
    net = spiking(
        *(layer.Conv2d(3, 4, 3), neuron.LIFNode(), layer.MaxPool2d(2), layer.Flatten()),
        *(layer.Linear(196, 9), neuron.LIFNode(), layer.Linear(9, 5)),
    )
    assert find_layer(net, FRAMES).path == "1"


def test_a_single_step_net_is_run_as_told():
    net = tiny_student(step_mode="s")
    found = find_layer(net, FRAMES, run=lambda net, frames: [net(frame) for frame in frames])
    assert (found.path, found.layout) == ("5", "NCHW")


class Block(nn.Module):
    """Adds its input to its own spikes."""

    def __init__(self, inplace=False, threshold=0.01):
        super().__init__()
        self.conv, self.lif = layer.Conv2d(4, 4, 1), neuron.LIFNode(v_threshold=threshold, v_reset=None)
        nn.init.ones_(self.conv.weight)
        self.inplace = inplace

    def forward(self, x):
        out = self.lif(self.conv(x))
        if self.inplace:
            out += x
            return out
        return x + out


@pytest.mark.parametrize("inplace", [False, True])
def test_a_block_that_adds_spikes_up_comes_before_its_neuron(inplace):
    stem = layer.Conv2d(3, 4, 3)
    nn.init.ones_(stem.weight)
    net = spiking(stem, neuron.LIFNode(v_threshold=0.01), Block(inplace), layer.Flatten(), layer.Linear(784, 5))
    found = find_layer(net, FRAMES)
    assert (found.path, found.reason) == ("2", "last block of spikes with positions")


def test_a_silent_block_is_judged_by_what_it_returns_where_it_fires_and_a_real_valued_one_is_no_spikes():
    head = (layer.Flatten(), layer.Linear(784, 5))
    silent = spiking(layer.Conv2d(3, 4, 3), neuron.LIFNode(), Block(threshold=1e6), *head)
    nn.init.zeros_(silent[0].weight)
    nn.init.zeros_(silent[0].bias)
    assert find_layer(silent, FRAMES).path == "2"
    membranes = spiking(layer.Conv2d(3, 4, 3), Block(), *head)
    assert find_layer(membranes, FRAMES).path == "1.lif"


def test_a_neuron_changed_in_place_is_passed_over():
    class Scaled(Block):
        def forward(self, x):
            return self.lif(self.conv(x)).mul_(0.5)

    net = spiking(layer.Conv2d(3, 4, 3), neuron.LIFNode(), Scaled(), layer.Flatten(), layer.Linear(784, 5))
    found = find_layer(net, FRAMES)
    assert found.path == "1"
    assert found.passed_over == ("2.lif: changed in place behind the layer",)


def test_attention_is_no_map_of_the_image():
    class SpikingSelfAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.lif = neuron.LIFNode(step_mode="m")

        def forward(self, x):
            return self.lif(x)

    net = spiking(
        layer.Conv2d(3, 4, 3), neuron.LIFNode(), SpikingSelfAttention(), layer.Flatten(), layer.Linear(784, 5)
    )
    assert find_layer(net, FRAMES).path == "1"
    found = find_layer(TokensLast(), torch.rand(2, 2, 3, 32, 32))
    assert (found.path, found.layout) == ("lif2", "TNLC")


def test_a_block_called_once_a_step_inside_a_multi_step_net():
    body = nn.Sequential(nn.Conv2d(3, 4, 3), neuron.LIFNode())
    net = nn.Sequential(layer.MultiStepContainer(body), layer.Flatten(step_mode="m"), nn.Linear(784, 5))
    found = find_layer(net, FRAMES)
    assert (found.path, found.layout) == ("0.0.1", "NCHW")


def test_a_neuron_shared_between_places_is_passed_over():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.lif = layer.Conv2d(3, 4, 3), neuron.LIFNode()
            self.more, self.twice = layer.Conv2d(4, 4, 1), neuron.LIFNode()
            self.head = layer.Linear(784, 5)

        def forward(self, x):
            x = self.lif(self.conv(x))
            return self.head(self.twice(self.more(self.twice(self.more(x)))).flatten(2))

    net = Shared()
    functional.set_step_mode(net, "m")
    assert find_layer(net, FRAMES).path == "lif"


def named(name, **children):
    """A network of the given class name, whose children run one after the other."""

    def forward(self, x):
        for child in self.children():
            x = child(x)
        return x

    net = type(name, (nn.Module,), {"forward": forward})()
    for key, child in children.items():
        net.add_module(key, child)
    functional.set_step_mode(net, "m")
    return net


def preset_net(stride=1):
    return named(
        "SpikingVGG",
        features=nn.Sequential(layer.Conv2d(3, 4, 3), neuron.LIFNode(), layer.MaxPool2d(2, stride=stride)),
        flatten=layer.Flatten(),
        classifier=nn.LazyLinear(5),
    )


def test_a_known_class_answers_by_its_name():
    found = find_layer(preset_net(), FRAMES)
    assert (found.path, found.reason) == ("features", "preset of SpikingVGG")


def test_a_subclass_and_a_wrapped_network_are_known_too():
    sub = preset_net()
    sub.__class__ = type("Mine", (type(sub),), {})
    assert find_layer(sub, FRAMES).path == "features"
    assert find_layer(nn.Sequential(preset_net(), nn.Linear(5, 5)), FRAMES).path == "0.features"


def test_a_preset_without_positions_gives_way():
    found = find_layer(preset_net(stride=20), FRAMES)
    assert found.path == "features.1"
    assert "features does not serve at 16x16" in found.reason
    (passed_over,) = found.passed_over
    assert passed_over.startswith("features [3, 2, 4, 1, 1]: its map is 1x1 (one position only)")


def test_a_name_alone_is_no_preset():
    net = named("MSResNet", conv=layer.Conv2d(3, 4, 3), lif=neuron.LIFNode(), flat=layer.Flatten(), fc=nn.LazyLinear(5))
    assert find_layer(net, FRAMES).path == "lif"


def test_steps_presets():
    assert preset_student_steps(named("SNASNet", a=nn.Identity())) == "internal"
    assert preset_student_steps(named("OTTTSpikingVGG", a=nn.Identity())) == "loop"
    assert preset_student_steps(tiny_student()) is None


def test_a_student_without_a_map_names_the_candidates_and_the_argument():
    net = spiking(layer.Flatten(), layer.Linear(768, 9), neuron.LIFNode(), layer.Linear(9, 5))
    with pytest.raises(ValueError, match=r"no layer with spikes.*Pass student_layer='path'"):
        find_layer(net, FRAMES)
    net = spiking(layer.Conv2d(3, 4, 16), neuron.LIFNode(), layer.Flatten(), layer.Linear(4, 5))
    with pytest.raises(ValueError, match=r"1 \[3, 2, 4, 1, 1\]: its map is 1x1 \(one position only\)"):
        find_layer(net, FRAMES)


# --- choosing a teacher's layer --------------------------------------------------------------------------------------


class Attention(nn.Module):
    def forward(self, x):
        return (x @ x.transpose(1, 2) / 4).softmax(-1) @ x


class TransformerBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), Attention()
        self.norm2, self.mlp = nn.LayerNorm(width), nn.Sequential(nn.Linear(width, width), nn.GELU())

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TinyViT(nn.Module):
    """Classifies from its class token, or from the mean of the others."""

    def __init__(self, pool="token", width=24):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.blocks = nn.Sequential(*[TransformerBlock(width) for _ in range(3)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5, bias=False)
        self.pool = pool

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        x = self.norm(self.blocks(torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)))
        return self.head(x[:, 0] if self.pool == "token" else x[:, 1:].mean(1))


def test_a_cnn_gives_its_last_layer_before_the_pooling(teacher):
    found = find_layer(teacher, IMAGES)
    assert (found.path, found.layout, found.reason) == ("5", "NCHW", "last layer with a map")


def test_a_vit_with_a_class_token_gives_a_point_before_its_last_attention():
    found = find_layer(TinyViT(), torch.randn(2, 3, 16, 16))
    assert (found.path, found.layout, found.prefix) == ("blocks.2.norm1", "NLC", 1)


def test_a_vit_that_pools_gives_its_last_norm():
    found = find_layer(TinyViT("mean"), torch.randn(2, 3, 16, 16))
    assert (found.path, found.layout, found.prefix) == ("norm", "NLC", 1)


def test_channels_last_stages():
    class Permute(nn.Module):
        def forward(self, x):
            return x.permute(0, 2, 3, 1)

    class Mean(nn.Module):
        def forward(self, x):
            return x.mean((1, 2))

    net = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), Permute(), nn.LayerNorm(8), nn.GELU(), Mean(), nn.Linear(8, 5))
    found = find_layer(net, IMAGES)
    assert (found.path, found.layout) == ("3", "NHWC")


class Shuffled(nn.Module):
    """Puts the tokens into another order than row by row."""

    def __init__(self, shuffle):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 24, 4, stride=4), nn.LayerNorm(24)
        self.head = nn.Linear(24, 5, bias=False)
        self.order = torch.randperm(16) if shuffle else torch.arange(16)

    def forward(self, x):
        tokens = self.conv(x).flatten(2).transpose(1, 2)[:, self.order]
        return self.head(self.norm(tokens).relu().mean(1))


def test_tokens_that_are_not_row_by_row_are_passed_over():
    assert find_layer(Shuffled(False), torch.randn(2, 3, 16, 16)).path == "norm"
    assert find_layer(Shuffled(True), torch.randn(2, 3, 16, 16)).path == "conv"


def test_a_block_that_ends_in_one_position_is_not_entered():
    class Down(nn.Module):
        def __init__(self):
            super().__init__()
            self.branch, self.pool = nn.Conv2d(8, 8, 3, padding=1), nn.MaxPool2d(4)

        def forward(self, x):
            return self.pool(self.branch(x))

    net = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), Down(), nn.Flatten(), nn.Linear(8, 5, bias=False))
    assert find_layer(net, IMAGES).path == "1"


def test_modules_that_return_no_tensor_are_passed_over():
    class Wrapped(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return {"features": self.inner(x)}

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = Wrapped(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()))
            self.head = nn.Linear(8, 5, bias=False)

        def forward(self, x):
            return (self.head(self.body(x)["features"].mean((2, 3))), None)

    assert find_layer(Net(), IMAGES).path == "body.inner"


def test_an_in_place_layer_behind_does_no_harm():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.head = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), nn.Linear(8, 5, bias=False)

        def forward(self, x):
            return self.head(nn.functional.relu(self.features(x), inplace=True).mean((2, 3)))

    assert find_layer(Net(), IMAGES).path == "features"


def test_a_teacher_that_says_nothing_names_the_candidates_and_the_argument():
    net = tiny_teacher()
    nn.init.zeros_(net[8].weight)
    nn.init.zeros_(net[8].bias)
    with pytest.raises(
        ValueError, match=r"no layer whose Grad-CAM.*5 \[2, 8, 8, 8\]: the class score sends no"
    ) as info:
        find_layer(net, IMAGES)
    assert "The class scores are all 0" in str(info.value)
    assert "Pass teacher_layer='path'" in str(info.value)


class Tokens(nn.Module):
    def forward(self, x):
        return x.flatten(2).transpose(1, 2)


class TokenMean(nn.Module):
    def forward(self, x):
        return x.mean(1)


def test_tokens_as_many_as_channels_that_are_passed_over_are_named():
    """Conv2d declares 16 channels first and LayerNorm 16 last, so behind the norm 16 tokens can be either."""
    net = nn.Sequential(
        *(nn.Conv2d(3, 16, 4, stride=4), Tokens(), nn.LayerNorm(16), nn.GELU(), TokenMean()),
        nn.Linear(16, 5, bias=False),
    )
    found = find_layer(net, torch.randn(2, 3, 16, 16))
    assert (found.path, found.layout, found.reason) == ("2", "NLC", "last layer with a map")
    (passed_over,) = found.passed_over
    assert passed_over.startswith("3 [2, 16, 16]: its shape can be read as NCL with 16 channels on 4x4 or as NLC")


def test_each_reason_why_later_layers_were_passed_over_is_named_once():
    found = find_layer(TinyViT(), torch.randn(2, 3, 16, 16))
    assert found.path == "blocks.2.norm1"
    assert found.passed_over == ("norm [2, 17, 24] and 6 more: the class score sends no gradient to its positions",)
    assert find_layer(tiny_teacher(), IMAGES).passed_over == ()


def test_layers_inside_a_block_that_ends_in_one_position_are_named_as_passed_over():
    class Down(nn.Module):
        def __init__(self):
            super().__init__()
            self.branch, self.pool = nn.Conv2d(8, 8, 3, padding=1), nn.MaxPool2d(4)

        def forward(self, x):
            return self.pool(self.branch(x))

    net = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), Down(), nn.Flatten(), nn.Linear(8, 5, bias=False))
    one_position, inside = find_layer(net, IMAGES).passed_over
    assert one_position.startswith("2 [2, 8, 1, 1] and 1 more: its map is 1x1 (one position only)")
    assert inside == "2.branch [2, 8, 4, 4]: it is inside '2', which ends in one position"


def test_blank_images_are_no_example():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    with pytest.raises(ValueError, match="same at every position|no positive evidence|sends no gradient"):
        find_layer(net, torch.zeros(2, 3, 16, 16))


def test_the_message_stays_short():
    net = nn.Sequential(*[nn.Conv2d(3, 3, 1) for _ in range(30)], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.append(nn.Linear(3, 5))
    nn.init.zeros_(net[-1].weight)
    with pytest.raises(ValueError, match="and 22 more") as info:
        find_layer(net, IMAGES)
    assert len(str(info.value)) < 1500


@pytest.mark.parametrize(
    ("example", "options", "error", "message"),
    [
        ([1.0], {}, TypeError, "example must be a tensor"),
        (torch.zeros(3, 8, 8), {}, ValueError, "example must be images"),
        (FRAMES, {"role": "teacher"}, ValueError, "a teacher takes images"),
        (IMAGES, {"role": "ann"}, ValueError, "role must be"),
    ],
)
def test_find_layer_checks_its_arguments(teacher, example, options, error, message):
    with pytest.raises(error, match=message):
        find_layer(teacher, example, **options)


def test_a_teacher_must_return_scores():
    with pytest.raises(ValueError, match=r"the teacher returned shape .*expected logits \[N, K\] with N=2"):
        find_layer(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), IMAGES)


def test_a_teacher_whose_scores_have_no_graph_names_the_candidates():
    class Detached(nn.Sequential):
        def forward(self, x):
            return super().forward(x).detach()

    with pytest.raises(ValueError, match=r"5 \[2, 8, 8, 8\]: the class score does not depend on it"):
        find_layer(Detached(*tiny_teacher()), IMAGES)


# --- what a search leaves behind -------------------------------------------------------------------------------------


class Restless(nn.Module):
    """Counts its calls in a buffer and draws random numbers."""

    def __init__(self, fails_at=None):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.fails_at = fails_at

    def forward(self, x):
        self.calls += 1
        if self.calls == self.fails_at:
            raise OverflowError("as told")
        return x + 0.0 * torch.rand_like(x)


def state_of(net):
    membranes = [m.v for m in net.modules() if is_neuron(m)]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in net.modules()]
    return membranes, [m.training for m in net.modules()], hooks, torch.get_rng_state().tolist()


@pytest.mark.parametrize("search", [find_layer, find_stages])
@pytest.mark.parametrize("fails_at", [None, 1, 2])
@pytest.mark.parametrize("role", ["student", "teacher"])
def test_everything_is_as_before(role, fails_at, search):
    net = tiny_student() if role == "student" else tiny_teacher()
    net.insert(0, Restless(fails_at))
    net[2].eval()
    net[1].weight.grad = torch.ones_like(net[1].weight)
    example = FRAMES if role == "student" else IMAGES
    parameters, buffers = copy.deepcopy(list(net.parameters())), copy.deepcopy(list(net.buffers()))
    before = state_of(net)
    if fails_at is None:
        search(net, example)
    else:
        with pytest.raises(OverflowError, match="as told"):
            search(net, example)
    assert state_of(net) == before
    assert all(torch.equal(new, old) for new, old in zip(net.parameters(), parameters, strict=True))
    assert all(torch.equal(new, old) for new, old in zip(net.buffers(), buffers, strict=True))
    assert [p.grad is not None for p in net.parameters()] == [True] + [False] * (len(parameters) - 1)
    assert bool((net[1].weight.grad == 1).all())
    assert all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_the_search_runs_under_no_grad_and_twice_alike(role):
    net, example = (tiny_student(), FRAMES) if role == "student" else (tiny_teacher(), IMAGES)
    with torch.no_grad():
        first = find_layer(net, example)
    assert find_layer(net, example) == first
    assert find_layer(net.requires_grad_(False), example) == first


def test_a_teacher_whose_modules_have_a_reset_of_their_own():
    """As timm's heads do, with an argument."""

    class Head(nn.Linear):
        def reset(self, num_classes):
            raise AssertionError("a teacher has no state to reset")

    net = tiny_teacher()
    net[8] = Head(8, 5)
    assert find_layer(net, IMAGES).path == "5"


def test_only_a_few_images_are_run():
    seen = []
    net = tiny_teacher()
    net.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    find_layer(net, torch.rand(64, 3, 16, 16))
    assert max(seen) <= 4


def test_what_is_found_can_be_recorded_and_read():
    net = TinyViT()
    images = torch.randn(3, 3, 32, 32)
    found = find_layer(net, images)
    for size in (images, torch.randn(3, 3, 16, 16)):
        with record(net, [found.path]) as seen:
            net(size)
        calls = seen.calls(found.path)
        read_as, out = read(list(calls), found, net=net, batch=3, size=tuple(size.shape[-2:]))
        assert out.shape == (3, 24, size.shape[-1] // 4, size.shape[-1] // 4)


def test_a_network_compiled_before_is_refused():
    class Compiled(nn.Module):
        """Runs another network than the one it shows, as a compiled graph does."""

        def __init__(self):
            super().__init__()
            self.shown = nn.Conv2d(3, 4, 3)
            self.__dict__["ran"] = tiny_teacher()

        def __call__(self, x):
            return self.ran(x)

    with pytest.raises(RuntimeError, match="compiled before"):
        find_layer(Compiled(), IMAGES)


# --- stages ----------------------------------------------------------------------------------------------------------


def paths(layers):
    return [layer.path for layer in layers]


def test_stages_are_the_last_layer_of_each_size():
    assert paths(find_stages(tiny_teacher(), torch.randn(2, 3, 8, 8))) == ["2", "5"]
    assert paths(find_stages(tiny_student(), torch.randn(3, 2, 3, 8, 8))) == ["2", "5"]


def test_a_stage_names_what_was_passed_over_between_it_and_the_next():
    net = nn.Sequential(
        *(nn.Conv2d(3, 4, 3, padding=1), shared := nn.ReLU(), nn.Conv2d(4, 4, 1), shared, nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(256, 5)),
    )
    first, second = find_stages(net, IMAGES)
    assert (first.path, second.path) == ("2", "5")
    assert first.passed_over == (
        "1 [2, 4, 16, 16] x2: it ran 2 times in one forward, so it is shared between places of the network",
    )
    assert second.passed_over == ()


@pytest.mark.parametrize("last_activation", ["spike", "relu"])
def test_stages_of_residual_networks_end_where_find_layer_does(last_activation):
    teacher = ResNet((4, 8, 16), (2, 1, 1), 5)
    student = SpikingResNet((4, 8, 16), (2, 1, 1), 5, last_activation=last_activation)
    for net, example in ((teacher, torch.randn(2, 3, 32, 32)), (student, torch.randn(2, 2, 3, 32, 32))):
        found = find_stages(net, example)
        assert paths(found) == ["layer1", "layer2", "layer3"]
        assert [layer.reason.rpartition(", ")[2] for layer in found] == ["32x32", "16x16", "8x8"]
        assert found[-1].path == find_layer(net, example).path


def test_stages_of_a_sew_resnet_are_its_sums_of_spikes_though_it_is_silent():
    net = sew_resnet.sew_resnet18(num_classes=5, cnf="ADD", **LIF)
    functional.set_step_mode(net, "m")
    found = find_stages(net, torch.rand(2, 2, 3, 64, 64))
    assert paths(found) == ["sn1", "layer1", "layer2", "layer3", "layer4"]


def test_a_network_without_positions_has_no_stage():
    net = nn.Sequential(nn.Flatten(), nn.Linear(768, 8), nn.ReLU(), nn.Linear(8, 5))
    words = (
        "no layer with more than one position.*none had positions.*in layers=.*teacher_layer= names one layer and does "
        "not serve here"
    )
    with pytest.raises(ValueError, match=words):
        find_stages(net, IMAGES)


def test_a_student_with_neurons_of_its_own_has_no_stage_and_is_told_why():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Hardtanh(0, 1), nn.Flatten(2), nn.Linear(196, 5))
    with pytest.raises(ValueError, match="no module with positions is a spiking neuron of SpikingJelly, or a block"):
        find_stages(net, torch.rand(2, 3, 16, 16), role="student")


def test_a_vit_has_one_stage():
    timm = pytest.importorskip("timm")
    net = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=5)
    assert len(find_stages(net, torch.randn(2, 3, 64, 64))) == 1


@pytest.mark.parametrize(("loss", "expected"), [(ATLoss, ["layer2", "layer3"]), (FitNetsLoss, ["layer2"])])
def test_a_loss_gets_as_many_stages_on_both_sides(batch, loss, expected):
    teacher = ResNet((4, 8, 16), (1, 1, 1), 5)
    distiller = Distiller(teacher, tiny_student(), {"loss": (loss(), 1.0)}, time_steps=2, example=batch)
    student_layers, teacher_layers = distiller.layers["loss"]
    assert paths(teacher_layers) == expected  # the student has two sizes: the teacher's two deepest
    assert paths(student_layers) == ["2", "5"][: len(expected)]


def test_layers_that_were_given_stay(batch):
    layers = {"at": (("2",), ("5",))}
    distiller = Distiller(tiny_teacher(), tiny_student(), {"at": (ATLoss(), 1.0)}, layers=layers, time_steps=2)
    distiller(*batch)
    assert tuple(map(paths, distiller.layers["at"])) == (["2"], ["5"])
    half = Distiller(tiny_teacher(), tiny_student(), {"at": (ATLoss(), 1.0)}, layers={"at": ("5", None)}, time_steps=2)
    half(*batch)
    assert tuple(map(paths, half.layers["at"])) == (["5"], ["5"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((["2"], None), (["2"], ["2"])),
        ((None, ["2"]), (["2"], ["2"])),
        ((None, ["5"]), (["5"], ["5"])),
        ((["5", "2"], None), (["5", "2"], ["5", "2"])),
    ],
)
def test_a_side_that_is_not_given_follows_the_sizes_of_the_other(batch, given, expected):
    losses = {"at": (ATLoss(), 1.0)}
    layers = {"at": given}
    if len(expected[0]) == 1:
        losses["hint"], layers["hint"] = (FitNetsLoss(), 1.0), given
    distiller = Distiller(tiny_teacher(), tiny_student(), losses, layers=layers, time_steps=2, example=batch)
    for name in losses:
        assert tuple(map(paths, distiller.layers[name])) == expected, name
    distiller(*batch).loss.backward()


@pytest.mark.parametrize(("given", "expected"), [("2", ["2"]), ("5", ["6"]), ("8", ["6"]), ("11", ["9"])])
def test_the_stage_that_is_nearest_in_size_is_taken(given, expected):
    teacher = nn.Sequential(  # 32, 17, 8, 3 wide
        *(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 2, 2, 1), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 4, 2, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 4, 2), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)),
    )
    kit = {"step_mode": "m"}
    student = nn.Sequential(  # 30, 12, 5 wide
        *(layer.Conv2d(3, 4, 3, **kit), layer.BatchNorm2d(4, **kit), neuron.LIFNode(**kit)),
        *(layer.Conv2d(4, 4, 8, 2, **kit), layer.BatchNorm2d(4, **kit), nn.Identity(), neuron.LIFNode(**kit)),
        *(layer.Conv2d(4, 4, 4, 2, **kit), layer.BatchNorm2d(4, **kit), neuron.LIFNode(**kit)),
        *(layer.AdaptiveAvgPool2d(1, **kit), layer.Flatten(**kit), layer.Linear(4, 5, **kit)),
    )
    images = torch.rand(2, 3, 32, 32)
    options = {"layers": {"at": (None, given)}, "time_steps": 2, "example": images}
    distiller = Distiller(teacher, student, {"at": (ATLoss(), 1.0)}, **options)
    assert [paths(side) for side in distiller.layers["at"]] == [expected, [given]]


def test_two_layers_that_would_share_a_stage_are_refused(batch):
    options = {"layers": {"at": (None, ["0", "2"])}, "time_steps": 2}
    with pytest.raises(ValueError, match=r"layers\['at'\].*stages are \['2', '5'\]: name the layers of both sides"):
        Distiller(tiny_teacher(), tiny_student(), {"at": (ATLoss(), 1.0)}, example=batch, **options)


def test_two_layers_for_a_loss_of_one_pair_are_refused_at_construction(batch):
    options = {"layers": {"hint": (["2", "5"], None)}, "time_steps": 2, "example": batch}
    with pytest.raises(ValueError, match=r"FitNetsLoss compares one student layer.*got 2 of the student"):
        Distiller(tiny_teacher(), tiny_student(), {"hint": (FitNetsLoss(), 1.0)}, **options)


def test_an_unknown_choice_of_layers_is_refused(teacher, student):
    class Wrong(ATLoss):
        layer_choice = "first"

    with pytest.raises(ValueError, match=r"Wrong.layer_choice must be one of"):
        Distiller(teacher, student, {"loss": (Wrong(), 1.0)}, time_steps=2)
