"""A prepared teacher says the same as the eager one, or is the eager one."""

import copy
import functools
import io
import weakref
from dataclasses import replace

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from torch import nn

from spikingjelly_ckd import CKDDistiller, Distiller, FitNetsLoss, KDLoss, find_stages, prepare_teacher
from spikingjelly_ckd.networks.variants import fold_norms
from spikingjelly_ckd.recipes.models import resnet20

BF16 = torch.bfloat16


@pytest.fixture
def images():
    return torch.randn(8, 3, 16, 16)


def bytes_of(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def counting(seen):
    """A backend of torch.compile that runs eagerly and counts the convolutions that it was given, with gradients on."""

    def compiled(graph, inputs):
        if torch.is_grad_enabled():
            calls = [node for node in graph.graph.nodes if node.op == "call_function"]
            seen.append(sum("conv2d" in str(node.target) for node in calls))
        return graph.forward

    return compiled


def blocks_teacher(classes=5):
    """Two residual-free blocks, the second of which is recorded, and a pooled head."""

    def block(before, after):
        return nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU())

    return nn.Sequential(block(3, 8), block(8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))


def test_another_memory_format_changes_nothing_but_rounding(images):
    teacher = tiny_teacher()
    before = bytes_of(teacher)
    prepared = prepare_teacher(teacher, images)
    assert prepared.done == ("channels_last",)
    assert prepared.left_out == ()
    torch.testing.assert_close(prepared.network(images), teacher(images))
    assert prepared.network[3].weight.is_contiguous(memory_format=torch.channels_last)
    after = bytes_of(teacher)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert teacher[3].weight.is_contiguous()


def test_folded_norms_say_the_same_and_leave_what_is_recorded():
    teacher = resnet20(10).eval()
    for module in teacher.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2.0)
    folded, images = copy.deepcopy(teacher), torch.randn(4, 3, 32, 32)
    assert fold_norms(folded, ["bn1"]) == 20
    assert [name for name, m in folded.named_modules() if isinstance(m, nn.BatchNorm2d)] == ["bn1"]
    torch.testing.assert_close(folded(images), teacher(images), rtol=1e-4, atol=1e-4)
    assert fold_norms(nn.Linear(2, 2)) == 0
    prepared = prepare_teacher(teacher, images, fold_norms=True)
    assert prepared.done == ("21 BatchNorm folded", "channels_last")
    torch.testing.assert_close(prepared.network(images), teacher(images), rtol=1e-4, atol=1e-4)


def test_a_norm_that_does_not_follow_its_convolution_is_not_folded(images):
    """Defined behind it, but run in front of it: folded, it would say something else."""

    class Swapped(nn.Sequential):
        def forward(self, x):
            conv, norm, *rest = self
            x = conv(norm(x))
            for module in rest:
                x = module(x)
            return x

    norm = nn.BatchNorm2d(3)
    norm.running_mean.fill_(1.0)
    teacher = Swapped(
        nn.Conv2d(3, 3, 3), norm, nn.ReLU(), nn.Conv2d(3, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip
    prepared = prepare_teacher(teacher, images, fold_norms=True)
    assert prepared.done == ("channels_last",)
    assert prepared.left_out[0].startswith("1 BatchNorm folded + channels_last: logits off by")
    torch.testing.assert_close(prepared.network(images), teacher(images))


def test_half_precision_keeps_batch_norm_in_fp32_and_takes_fp32_images(images):
    teacher = resnet20(10)
    prepared = prepare_teacher(teacher, images, dtype=BF16)
    assert prepared.done == ("channels_last", "bfloat16")
    for name, module in prepared.network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.weight.dtype is torch.float32, name
        elif isinstance(module, nn.Conv2d | nn.Linear):
            assert module.weight.dtype is BF16, name
    assert 0 < prepared.logit_error < 0.05
    assert prepared.map_error < 0.05
    error = (prepared.network(images).float() - teacher(images)).norm() / teacher(images).norm()
    assert error < 0.05


@pytest.mark.parametrize("dtype", [torch.float32, BF16])
def test_a_distiller_takes_it_as_any_teacher(dtype, images):
    teacher, student = tiny_teacher(), tiny_student()
    labels = torch.arange(8) % 5
    prepared = prepare_teacher(teacher, images, dtype=dtype)
    outs = [
        CKDDistiller(net, student, time_steps=2, gamma=0.0, teacher_layer=prepared.layer)(images, labels)
        for net in (teacher, prepared.network)
    ]
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype is torch.float32 else {"rtol": 0.05, "atol": 0.01}
    torch.testing.assert_close(outs[1].maps["teacher"], outs[0].maps["teacher"], **tolerance)
    torch.testing.assert_close(outs[1].terms["samd"], outs[0].terms["samd"], **tolerance)
    assert outs[1].loss.dtype is torch.float32
    outs[1].loss.backward()


@pytest.mark.slow
def test_blocks_around_the_recorded_layer_are_compiled(images):
    teacher = blocks_teacher()
    graphs = torch._dynamo.utils.counters["stats"]
    before = graphs["unique_graphs"]
    prepared = prepare_teacher(teacher, images, layers="1", compile=True)
    assert prepared.done == ("channels_last", "1 blocks compiled"), prepared.left_out
    assert graphs["unique_graphs"] > before, "nothing was compiled"
    torch.testing.assert_close(prepared.network(images), teacher(images), rtol=1e-4, atol=1e-5)
    labels = torch.arange(8) % 5
    student = tiny_student()
    losses = [
        CKDDistiller(net, student, time_steps=2, gamma=0.0, teacher_layer="1")(images, labels).loss
        for net in (teacher, prepared.network)
    ]
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-5)
    file = io.BytesIO()
    torch.save(copy.deepcopy(prepared.network), file)  # without what was compiled
    file.seek(0)
    again = torch.load(file, weights_only=False)
    torch.testing.assert_close(again(images), teacher(images), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_every_block_is_compiled_however_many_of_one_class_there_are(monkeypatch, images):
    seen = []
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=counting(seen)))
    teacher = resnet20(10)
    prepared = prepare_teacher(teacher, images, compile=True)
    inside = [m for name, m in teacher.named_modules() if isinstance(m, nn.Conv2d) and name.startswith("layer")]
    assert sum(seen) == len(inside), (prepared.done, prepared.layer.path)


@pytest.mark.slow
def test_layers_are_not_searched_in_a_compiled_network(images):
    prepared = prepare_teacher(blocks_teacher(), images, layers="1", compile=True)
    with pytest.raises(ValueError, match="cannot be searched in a network with compiled parts"):
        find_stages(prepared.network, images)


def test_layers_are_not_searched_where_the_class_token_is_alone(images):
    prepared = prepare_teacher(timm_vit(), images)
    losses = {"hint": (FitNetsLoss(), 1.0)}
    with pytest.raises(ValueError, match=r"a last block for the class token alone.*Pass teacher_layer= or layers="):
        Distiller(prepared.network, tiny_student(), losses, time_steps=2, example=images)
    whole = prepare_teacher(timm_vit(), images, class_token=False)
    Distiller(whole.network, tiny_student(), losses, time_steps=2, example=images)


def test_a_kept_layer_may_be_changed_in_place_behind_or_not_run(images):
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.aux = nn.Sequential(*tiny_teacher()[:1], nn.ReLU(inplace=True)), nn.Linear(2, 2)
            self.head = nn.Linear(6, 5)

        def forward(self, x):
            return self.head(self.body(x).mean((2, 3)))

    prepared = prepare_teacher(Aside(), images, layers=["body.0", "aux"])
    assert prepared.done == ("channels_last",), prepared.left_out


def test_under_inference_mode_it_prepares_the_same(images):
    teacher = tiny_teacher()
    with torch.inference_mode():
        prepared = prepare_teacher(teacher, images.clone())
    assert prepared.done == ("channels_last",)
    assert not any(parameter.is_inference() for parameter in prepared.network.parameters())
    CKDDistiller(prepared.network, tiny_student(), time_steps=2, teacher_layer=prepared.layer)(
        images, torch.arange(8) % 5
    ).loss.backward()


@pytest.mark.parametrize("move", [lambda net: net.float(), lambda net: net.to(BF16), lambda net: net.double()])
@pytest.mark.parametrize(
    ("build", "options"),
    [(tiny_teacher, {"dtype": BF16}), (lambda: timm_vit(), {"channels_last": False})],
    ids=["half precision", "class token alone"],
)
def test_a_distiller_that_changes_type_leaves_a_prepared_teacher_its_own(build, options, move, images):
    prepared = prepare_teacher(build(), images, **options)
    assert prepared.done
    wrapped = nn.Sequential(nn.Conv2d(3, 3, 1), prepared.network)  # as behind an projector of the user's
    layer = replace(prepared.layer, path=f"1.{prepared.layer.path}")
    distiller = CKDDistiller(wrapped, tiny_student(), time_steps=2, teacher_layer=layer, student_layer="5", gamma=0.0)
    before = {name: tensor.clone() for name, tensor in prepared.network.state_dict().items()}
    move(distiller)
    for name, tensor in prepared.network.state_dict().items():
        assert tensor.dtype == before[name].dtype, name
        assert torch.equal(tensor, before[name]), name
    dtype = distiller.student[0].weight.dtype
    assert wrapped[0].weight.dtype == dtype, "what was not prepared is converted as ever"
    distiller(images.to(dtype), torch.arange(8) % 5).loss.backward()


def test_what_is_compiled_or_prepared_is_not_prepared_again(images):
    half = prepare_teacher(timm_vit(), images, dtype=BF16).network
    alone = prepare_teacher(timm_vit(), images, channels_last=False).network
    inside = tiny_teacher()
    inside[3].compile()
    for teacher, message in (
        (half, "was prepared before, as a whole"),
        (nn.Sequential(nn.Identity(), half), "was prepared before, at '1'"),
        (alone, "was prepared before, as a whole"),
        (alone.blocks, "was prepared before, at '2'"),
        (nn.Sequential(nn.DataParallel(tiny_teacher())), "is in nn.DataParallel"),
        (torch.compile(tiny_teacher()), "is compiled, as a whole"),
        (inside, "is compiled, at '3'"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            prepare_teacher(teacher, images)


def test_nothing_to_compile_is_said(images):
    prepared = prepare_teacher(tiny_teacher(), images, compile=True)
    assert prepared.done == ("channels_last",)
    assert "compile: no block in front of or behind '5'" in prepared.left_out[0]
    assert prepared.left_out[0] in str(prepared)


def test_held_out_batches_are_not_kept(images):
    class Loader:
        """Batches that are made when they are asked for."""

        def __iter__(self):
            alive = []
            for _ in range(3):
                assert sum(batch() is not None for batch in alive) <= 1, "one batch at a time"
                batch = images.clone()
                alive.append(weakref.ref(batch))
                yield batch, torch.arange(8) % 5
                del batch

    prepared = prepare_teacher(tiny_teacher(), images, held_out=Loader())
    before, after = prepared.accuracy
    assert before == after


def test_accuracies_are_of_the_same_images_though_each_pass_gives_others(images):
    class Augmented:
        def __iter__(self):
            for _ in range(4):
                yield torch.randn(8, 3, 16, 16), torch.randint(0, 5, (8,))

    prepared = prepare_teacher(tiny_teacher(), images, held_out=Augmented(), max_drop=0.0)
    before, after = prepared.accuracy
    assert 0 < before == after < 100


def test_held_out_data_that_can_be_read_once_is_refused_where_it_is_read_again(images):
    class Once:
        def __init__(self):
            self.batches = [(images, torch.ones(8, dtype=torch.int64))]

        def __iter__(self):
            while self.batches:
                yield self.batches.pop()

    teacher = timm_vit()
    with torch.no_grad():  # two classes that bf16 cannot tell apart
        teacher.head.weight[1] = teacher.head.weight[0]
        teacher.head.bias.copy_(torch.tensor([1.0, 1.001, -9.0, -9.0, -9.0]))
    with pytest.raises(ValueError, match="held_out gave no batch"):
        prepare_teacher(teacher, images, dtype=BF16, tolerance=10.0, held_out=Once())


def test_a_prepared_teacher_that_raises_on_held_out_images_is_not_taken(images):
    class OneSize(nn.Module):
        def forward(self, x):
            assert x.dtype is torch.float32 or len(x) == 8
            return x

    teacher = nn.Sequential(*tiny_teacher()[:6], OneSize(), *tiny_teacher()[6:])
    held_out = [(images, torch.arange(8) % 5), (images[:4], torch.arange(4))]
    prepared = prepare_teacher(teacher, images, dtype=BF16, held_out=held_out)
    assert prepared.network is teacher
    assert "on held-out images AssertionError" in prepared.left_out[0]
    with pytest.raises(RuntimeError) as raised:
        prepare_teacher(tiny_teacher(), images, held_out=[(images[:, :2], torch.arange(8) % 5)])
    assert "raised on held-out images (8, 2, 16, 16)" in raised.value.__notes__[0]


def test_nothing_asked_for_is_the_teacher(images):
    teacher = tiny_teacher()
    prepared = prepare_teacher(teacher, images, channels_last=False)
    assert prepared.network is teacher
    assert (prepared.done, prepared.left_out, prepared.seconds, prepared.logit_error) == ((), (), None, None)


class Faint(nn.Module):
    """Adds what half precision cannot hold, and whose slope it makes NaN."""

    def forward(self, x):
        return x + (x.square() * 1e-9).sqrt()


class Fp32Only(nn.Module):
    def forward(self, x):
        assert x.dtype is torch.float32
        return x


@pytest.mark.parametrize(("module", "reason"), [(Faint(), "class maps off by nan"), (Fp32Only(), "AssertionError")])
def test_what_half_precision_breaks_hands_back_the_teacher(module, reason, images):
    teacher = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), module, nn.Flatten(), nn.Linear(8, 5)
    )
    prepared = prepare_teacher(teacher, images, dtype=torch.float16, tolerance=10.0)
    assert prepared.network is teacher
    assert reason in prepared.left_out[0]


def test_a_teacher_that_begins_with_batch_norm_can_be_in_half_precision(images):
    teacher = nn.Sequential(nn.BatchNorm2d(3), *tiny_teacher())
    assert prepare_teacher(teacher, images, dtype=BF16).done == ("channels_last", "bfloat16")


def test_too_large_an_error_hands_back_the_teacher(images):
    teacher = tiny_teacher()
    prepared = prepare_teacher(teacher, images, dtype=BF16, tolerance=0.0)
    assert prepared.network is teacher
    assert prepared.done == ()
    assert "more than 0.0e+00 (tolerance=)" in prepared.left_out[0]
    assert "as it was" in str(prepared)


def test_a_layer_without_half_precision_hands_back_the_teacher(images):
    class Spectrum(nn.Module):
        def forward(self, x):
            return torch.fft.rfft2(x).abs()

    teacher = nn.Sequential(*tiny_teacher()[:6], Spectrum(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    prepared = prepare_teacher(teacher, images, dtype=BF16)
    assert prepared.network is teacher
    assert "RuntimeError" in prepared.left_out[0]


def test_what_raises_in_the_eager_teacher_raises(images):
    with pytest.raises(RuntimeError) as raised:
        prepare_teacher(tiny_teacher(channels=4), images, channels_last=False)
    assert "raised on the example (8, 3, 16, 16)" in raised.value.__notes__[0]


def test_accuracy_is_measured_before_and_after_and_a_drop_is_not_taken(images):
    teacher = tiny_teacher(2)
    with torch.no_grad():  # two classes that bf16 cannot tell apart
        teacher[8].weight[1] = teacher[8].weight[0] = 1.0
        teacher[8].bias.copy_(torch.tensor([1.0, 1.001]))
    held_out = [(images, torch.ones(8, dtype=torch.int64))]
    prepared = prepare_teacher(teacher, images, dtype=BF16, held_out=held_out, tolerance=10.0)
    assert prepared.network is teacher
    assert "held-out accuracy 100.00 % -> 0.00 %" in prepared.left_out[0]
    taken = prepare_teacher(teacher, images, dtype=BF16, held_out=held_out, tolerance=10.0, max_drop=100.0)
    assert taken.accuracy == (100.0, 0.0)
    assert "100.00 % -> 0.00 %" in str(taken)


HELD_OUT = torch.linspace(0, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"dtype": torch.int8}, ValueError, "dtype must be one of"),
        ({"dtype": "bfloat16"}, ValueError, "dtype must be one of"),
        ({"layers": ["9"]}, ValueError, "has no layer '9'"),
        ({"held_out": []}, ValueError, "held_out gave no batch"),
        ({"held_out": 5}, TypeError, "iterated more than once.*got int$"),
        (
            {"held_out": iter([(HELD_OUT, torch.tensor([0, 1]))])},
            TypeError,
            "iterated more than once.*got list_iter",
        ),
        ({"held_out": [1, 2]}, TypeError, "held_out must hold batches.*got int"),
        ({"held_out": (HELD_OUT, torch.tensor([0, 1]))}, TypeError, "held_out must hold batches.*got Tensor"),
        ({"held_out": [(HELD_OUT,)]}, TypeError, r"held_out must hold batches.*got \['Tensor'\]"),
        ({"held_out": [(HELD_OUT, [0, 1])]}, TypeError, r"held_out must hold batches.*got \['Tensor', 'list'\]"),
        ({"held_out": [(HELD_OUT, torch.ones(2, 5))]}, ValueError, r"class indices \[N\]\), got shapes.*\(2, 5\)"),
        ({"held_out": [(HELD_OUT[None], torch.tensor([0]))]}, ValueError, r"images \[N, C, H, W\].*got shapes"),
        ({"held_out": [(HELD_OUT, torch.tensor([True, False]))]}, TypeError, "integer class indices, got torch.bool"),
        ({"held_out": [(HELD_OUT, torch.tensor([0]))]}, ValueError, r"labels must be \[N\]"),
        ({"held_out": [(HELD_OUT, torch.tensor([0, 5]))]}, ValueError, r"held_out: labels must lie in 0\.\.4"),
        ({"held_out": [(HELD_OUT * torch.nan, torch.tensor([0, 1]))]}, ValueError, "held_out: images hold NaN"),
        ({"held_out": [(HELD_OUT[:0], torch.tensor([0])[:0])]}, ValueError, "images are empty"),
        ({"example": torch.zeros(4, 3, 8, 8)}, ValueError, "example has one value throughout"),
        ({"example": torch.full((4, 3, 8, 8), torch.nan)}, ValueError, "example holds NaN"),
        ({"example": torch.rand(4, 3, 8, 8).long()}, TypeError, "example must be a floating tensor.*int64"),
        ({"example": torch.rand(0, 3, 8, 8)}, ValueError, r"images \[N, C, H, W\], got shape \(0, 3"),
        ({"example": torch.rand(3, 8, 8)}, ValueError, r"images \[N, C, H, W\], got shape \(3, 8"),
        ({"compile": "yes"}, TypeError, "compile must be True or False, got str 'yes'"),
        ({"channels_last": 1}, TypeError, "channels_last must be True or False, got int 1"),
        ({"class_token": None}, TypeError, "class_token must be True or False, got NoneType None"),
        ({"tolerance": -1.0}, ValueError, "tolerance must be at least 0"),
        ({"max_drop": "1"}, TypeError, "max_drop must be a number"),
    ],
)
def test_bad_arguments(change, error, message, images):
    with pytest.raises(error, match=message):
        prepare_teacher(**{"teacher": tiny_teacher(), "example": images} | change)


def test_a_teacher_is_left_where_nothing_behind_is_looked_at(batch):
    teacher, student = tiny_teacher(), tiny_student()
    ran = []
    teacher[8].register_forward_pre_hook(lambda *_: ran.append("head"))
    options = {"time_steps": 2, "layers": {"hint": ("2", "2")}, "example": batch}
    distiller = Distiller(teacher, student, {"hint": (FitNetsLoss(), 1.0)}, **options)
    ran.clear()
    first, second = (distiller.eval()(*batch).loss for _ in range(2))
    assert ran == ["head"], "the first step runs the teacher whole, to see that its classes fit; later ones do not"
    assert torch.equal(first, second)
    both = Distiller(teacher, student, {"hint": (FitNetsLoss(), 1.0), "kd": (KDLoss(), 1.0)}, **options)
    ran.clear()
    both(*batch), both(*batch)
    assert ran == ["head", "head"]


def timm_vit(**options):
    timm = pytest.importorskip("timm")
    return timm.models.VisionTransformer(
        16, 4, num_classes=5, embed_dim=32, depth=3, num_heads=4, qkv_bias=True, **options
    )


def torchvision_vit():
    models = pytest.importorskip("torchvision.models")
    vit = models.VisionTransformer(16, 4, 3, 4, 32, 64, num_classes=5)
    nn.init.normal_(vit.heads.head.weight, std=0.1)  # it begins with zeros
    return vit


VITS = {
    "timm": timm_vit,
    "timm, all options": lambda: timm_vit(
        qk_norm=True, scale_attn_norm=True, scale_mlp_norm=True, init_values=0.1, reg_tokens=2, drop_path_rate=0.1
    ),
    "torchvision": torchvision_vit,
    "within another module": lambda: nn.Sequential(nn.BatchNorm2d(3), timm_vit()),
}


@pytest.mark.parametrize("layer", ["blocks.2", "norm"])
def test_a_layer_that_has_the_class_token_alone_says_how_to_keep_the_others(layer, images):
    prepared = prepare_teacher(timm_vit(), images)
    distiller = CKDDistiller(prepared.network, tiny_student(), time_steps=2, teacher_layer=layer)
    with pytest.raises(ValueError, match=r"class token alone: pass teacher_layer=prepared.layer.*class_token=False"):
        distiller(images, torch.arange(8) % 5)


@pytest.mark.parametrize("build", VITS.values(), ids=VITS)
def test_the_last_block_of_a_vit_computes_its_class_token_alone(build, images):
    teacher = build()
    before = bytes_of(teacher)
    prepared = prepare_teacher(teacher, images, channels_last=False, tolerance=1e-5)
    assert prepared.done == ("last block for the class token alone",), prepared.left_out
    assert list(prepared.network.state_dict()) == list(before)
    assert prepared.layer.path.endswith(("norm1", "ln_1"))
    tokens = []
    for net in (teacher, prepared.network):
        last = net.get_submodule(prepared.layer.path.rpartition(".")[0])
        last.mlp.register_forward_pre_hook(lambda _, args: tokens.append(args[0].shape[1]))
        net(images)
    assert tokens[0] > 16
    assert tokens[1] == 1
    labels = torch.arange(8) % 5
    student = tiny_student()
    outs = [
        CKDDistiller(net, student, time_steps=2, gamma=0.0, teacher_layer=prepared.layer)(images, labels)
        for net in (teacher, prepared.network)
    ]
    torch.testing.assert_close(outs[1].maps["teacher"], outs[0].maps["teacher"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(outs[1].loss, outs[0].loss)


def test_a_block_whose_other_tokens_are_asked_for_stays_whole(images):
    teacher = timm_vit()
    prepared = prepare_teacher(teacher, images, channels_last=False, layers="blocks.2")
    assert prepared.network is teacher
    assert "layer 'blocks.2' would return" in prepared.left_out[0]
    inside = prepare_teacher(teacher, images, dtype=BF16, layers="blocks.2.norm2")
    assert inside.done == ("channels_last", "bfloat16")


def distilled_vit():
    pytest.importorskip("timm")
    from timm.models.deit import VisionTransformerDistilled

    return VisionTransformerDistilled(16, 4, num_classes=5, embed_dim=32, depth=2, num_heads=4)


def hooked_vit(path):
    vit = timm_vit()
    vit.get_submodule(path).register_forward_hook(lambda *_: None)
    return vit


class Adapted(nn.Module):
    """A low-rank adapter around a linear layer, with the weights of that layer as its own."""

    def __init__(self, base):
        super().__init__()
        self.base, self.adapter = base, nn.Linear(base.in_features, base.out_features)
        nn.init.normal_(self.adapter.weight, std=0.003)

    weight = property(lambda self: self.base.weight)
    bias = property(lambda self: self.base.bias)

    def forward(self, x):
        return self.base(x) + self.adapter(x)


def adapted_vit():
    vit = timm_vit()
    vit.blocks[-1].attn.qkv = Adapted(vit.blocks[-1].attn.qkv)
    return vit


def biased_vit():
    vit = timm_vit()
    vit.blocks[-1].extra = nn.Parameter(torch.zeros(1))
    return vit


OTHER_VITS = {
    "pooled": lambda: timm_vit(global_pool="avg"),
    "two class tokens": distilled_vit,
    "a hook of the user's": lambda: hooked_vit("blocks.2"),
    "a hook on the queries": lambda: hooked_vit("blocks.2.attn.qkv"),
    "an adapter": adapted_vit,
    "a tensor of its own": biased_vit,
    "no ViT": tiny_teacher,
}


@pytest.mark.parametrize("build", OTHER_VITS.values(), ids=OTHER_VITS)
def test_other_networks_keep_all_tokens(build, images):
    teacher = build()
    prepared = prepare_teacher(teacher, images, channels_last=False)
    assert prepared.network is teacher
    assert prepared.left_out == ()


@pytest.mark.slow
def test_a_vit_in_half_precision_and_compiled_blocks(images):
    teacher = timm_vit()
    prepared = prepare_teacher(teacher, images, dtype=BF16, compile=True)
    assert prepared.done == (
        "channels_last",
        "bfloat16",
        "last block for the class token alone",
        "5 blocks compiled",  # the patches, two whole blocks, attention and MLP of the last
    ), prepared.left_out
