"""A distiller is accelerated by what pays and agrees, and by nothing else."""

import copy
import io

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from spikingjelly.activation_based import functional, layer, neuron
from torch import nn

from spikingjelly_ckd import CKDDistiller, Distiller, FitNetsLoss, KDLoss, accelerate, acceleration, use_fast_neurons
from spikingjelly_ckd.networks.recording import listen
from spikingjelly_ckd.networks.static_stem import run_static_stem_once
from spikingjelly_ckd.recipes.models import SpikingResNet

IMAGES, LABELS = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 5


def distilled(time_steps=2, **options):
    torch.manual_seed(0)
    return CKDDistiller(tiny_teacher(), tiny_student(), time_steps=time_steps, **options)


def gradients(distiller, images=IMAGES):
    torch.manual_seed(1)
    distiller.train()
    distiller.zero_grad()
    out = distiller(images, LABELS)
    out.loss.backward()
    return out, [parameter.grad.clone() for parameter in distiller.parameters()]


def test_everything_that_agrees_is_on_and_said():
    distiller, optimised = distilled(), distilled()
    found = accelerate(distiller, IMAGES, LABELS, rounds=0)
    assert found.on == acceleration.USUAL
    assert [trial.logit_error for trial in found.trials if trial.switch in ("fast neurons", "static stem")] == [0, 0]
    assert all(trial.map_error is not None for trial in found.trials)
    assert found.seconds is None
    assert "autocast" in distiller.chosen()
    assert next(distiller.teacher.parameters()).dtype is torch.bfloat16
    assert distiller.teacher is found.prepared.network
    convolutions = [m for m in distiller.student.modules() if isinstance(m, nn.Conv2d)]
    assert all(m.weight.is_contiguous(memory_format=torch.channels_last) for m in convolutions)
    assert not use_fast_neurons(distiller.student).changed
    out, _ = gradients(distiller)
    before, _ = gradients(optimised)
    torch.testing.assert_close(out.loss, before.loss, rtol=0.05, atol=0.05)
    text = str(found)
    assert text.startswith("on: fast neurons, static stem, channels-last, bfloat16, teacher\n")
    assert "noise of 0.4 % on the images moves logits by" in text
    assert [trial["switch"] for trial in found.to_dict()["trials"]] == list(acceleration.USUAL)


def test_a_look_leaves_everything_else_as_it_was():
    distiller = distilled(example=IMAGES[:2]).eval()
    before = {name: value.clone() for name, value in distiller.state_dict().items()}
    random = torch.random.get_rng_state()
    accelerate(distiller, IMAGES, LABELS, switches=["fast neurons"], rounds=1)
    assert torch.equal(torch.random.get_rng_state(), random)
    after = distiller.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not distiller.student.training
    assert all(parameter.grad is None for parameter in distiller.parameters())


def test_what_moves_logits_is_off(monkeypatch):
    def ruin(distiller):
        with torch.no_grad():
            for parameter in distiller.student.parameters():
                parameter.neg_()

    distiller = distilled()
    weights = [parameter.clone() for parameter in distiller.student.parameters()]
    monkeypatch.setitem(acceleration._APPLY, "channels-last", ruin)
    found = accelerate(distiller, IMAGES, LABELS, switches=["channels-last", "fast neurons"], rounds=0)
    assert found.on == ("fast neurons",)
    assert "moved by more than" in found.trials[1].note
    assert found.trials[1].logit_error > 0.25
    assert all(torch.equal(*pair) for pair in zip(distiller.student.parameters(), weights, strict=True))


def test_what_does_not_pay_is_off_and_what_does_is_on(monkeypatch):
    clock = [0.0]

    class Slow(nn.Module):
        seconds = 0.03

        def forward(self, x):
            clock[0] += self.seconds
            return x

    def hasten(distiller):
        distiller.student[0].seconds = 0.01

    def slow_down(distiller):
        distiller.student[0].seconds = 0.06

    torch.manual_seed(0)
    student = nn.Sequential(Slow(), *tiny_student())
    distiller = CKDDistiller(tiny_teacher(), student, time_steps=2)
    monkeypatch.setattr(acceleration.time, "perf_counter", lambda: clock[0])
    monkeypatch.setitem(acceleration._APPLY, "fast neurons", hasten)
    monkeypatch.setitem(acceleration._APPLY, "channels-last", slow_down)
    found = accelerate(distiller, IMAGES, LABELS, switches=["fast neurons", "channels-last"], rounds=3)
    assert found.on == ("fast neurons",)
    assert found.trials[1].note == "does not pay"
    assert [trial.ratio for trial in found.trials] == pytest.approx([1 / 3, 6.0])
    assert student[0].seconds == 0.01
    assert found.seconds == pytest.approx((0.03, 0.01))


def test_what_raises_is_off(monkeypatch):
    def fail(distiller):
        raise RuntimeError("no kernel\nand more")

    monkeypatch.setitem(acceleration._APPLY, "compile", fail)
    found = accelerate(distilled(), IMAGES, LABELS, switches=["compile"], rounds=0)
    assert found.on == ()
    assert found.trials[0].note == "RuntimeError: no kernel"


def test_what_is_not_there_is_not_switched():
    torch.manual_seed(0)
    student = nn.Sequential(layer.Flatten(step_mode="m"), layer.Linear(768, 5), neuron.QIFNode(step_mode="m"))
    found = accelerate(Distiller(None, student, {}, time_steps=1), IMAGES, LABELS, rounds=0)
    assert found.on == ("bfloat16",)
    assert [trial.note for trial in found.trials if not trial.on] == [
        "no neuron that is not fast already",
        "no image is repeated over time in one call",
        "no convolution of two dimensions",
        "no teacher runs in a step",
    ]
    assert found.trials[3].map_error is None
    distiller = distilled()
    cached = distiller.run_teacher(IMAGES, LABELS)
    found = accelerate(distiller, IMAGES, LABELS, rounds=0, teacher_output=cached)
    assert found.trials[-1].note == "no teacher runs in a step"
    assert distiller(IMAGES, LABELS, cached).loss.isfinite()


def test_a_teacher_keeps_the_layers_that_losses_compare():
    torch.manual_seed(0)
    losses = {"fitnets": (FitNetsLoss(), 1.0), "kd": (KDLoss(), 0.5)}
    distiller = Distiller(tiny_teacher(), tiny_student(), losses, time_steps=2, example=IMAGES)
    layers = distiller.layers
    found = accelerate(distiller, IMAGES, LABELS, rounds=0)
    assert "teacher" in found.on
    assert distiller.layers == layers
    gradients(distiller)


def test_bfloat16_is_autocast_around_the_step_and_saved_with_the_state():
    distiller, plain = distilled(example=IMAGES), distilled(example=IMAGES)
    distiller.observers.autocast = True
    out, own = gradients(distiller)
    plain.train().zero_grad()
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        outside = plain(IMAGES, LABELS)
    outside.loss.backward()
    assert torch.equal(out.loss, outside.loss)
    assert all(torch.equal(g, p.grad) for g, p in zip(own, plain.parameters(), strict=True))
    fresh, file = distilled(), io.BytesIO()
    torch.save(distiller.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file))
    assert torch.equal(fresh.eval().predict(IMAGES), distiller.eval().predict(IMAGES))
    assert not torch.equal(fresh.predict(IMAGES), plain.eval().predict(IMAGES))
    assert copy.deepcopy(distiller).observers.autocast
    with pytest.warns(UserWarning, match="saved without bfloat16"):
        distiller.load_state_dict(plain.state_dict())
    assert not distiller.observers.autocast


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"distiller": nn.Identity()}, TypeError, "distiller must be a Distiller"),
        ({"switches": ["faster"]}, ValueError, "switches must be one of"),
        ({"switches": "teacher"}, TypeError, r"pass \['teacher'\]"),
        ({"images": IMAGES.numpy()}, TypeError, "images must be a tensor, got ndarray"),
        ({"labels": None}, TypeError, "labels must be a tensor, got NoneType"),
        ({"rounds": -1}, ValueError, "rounds must be at least 0"),
        ({"tolerance": -1.0}, ValueError, "tolerance must be"),
        ({"images": IMAGES * torch.nan}, ValueError, "NaN or inf"),
    ],
)
def test_wrong_arguments_are_named(change, error, text):
    arguments = {"distiller": distilled(), "images": IMAGES, "labels": LABELS} | change
    with pytest.raises(error, match=text):
        accelerate(arguments.pop("distiller"), arguments.pop("images"), arguments.pop("labels"), **arguments)


def test_a_compiled_distiller_is_refused():
    distiller = distilled()
    distiller.compile(backend="eager")
    with pytest.raises(ValueError, match="is compiled"):
        accelerate(distiller, IMAGES, LABELS)


# --- the stem of a student on images that stand still -----------------------------------------------------------------


def stem_and_twin(channels_last=False):
    torch.manual_seed(0)
    net = SpikingResNet((4, 8, 8), (1, 1, 1), 5)
    if channels_last:
        net.to(memory_format=torch.channels_last)
    twin = copy.deepcopy(net)
    run_static_stem_once(net)
    return net, twin


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [False, True])
def test_a_stem_that_runs_once_says_the_same(training, dtype, fast, channels_last):
    nets = stem_and_twin(channels_last)
    frames = IMAGES.expand(4, *IMAGES.shape)
    found = []
    for net in nets:
        use_fast_neurons(net, enable=fast)
        net.train(training)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
            logits = net(frames)
        functional.reset_net(net)
        if training:
            nn.functional.cross_entropy(logits.float().mean(0), LABELS).backward()
        found.append(logits)
    assert torch.equal(*found)
    for one, other in zip(*(net.buffers() for net in nets), strict=True):
        assert torch.equal(one, other)
    if training:
        tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype is torch.float32 else {"rtol": 0.05, "atol": 0.01}
        for one, other in zip(*(net.parameters() for net in nets), strict=True):
            torch.testing.assert_close(one.grad, other.grad, **tolerance)


def test_a_stem_runs_once_up_to_what_has_a_state_or_counts():
    net, _ = stem_and_twin()
    seen = {}
    for path in ("conv1", "bn1", "act1", "layer1.0.conv1"):
        listen(net.get_submodule(path), lambda out, path=path: seen.update({path: out.stride(0)}))
    frames = IMAGES.expand(4, *IMAGES.shape)
    net.train()(frames)
    assert [stride == 0 for stride in seen.values()] == [True, False, False, False]
    functional.reset_net(net)
    net.eval()(frames)
    assert [stride == 0 for stride in seen.values()] == [True, True, False, False]
    functional.reset_net(net)
    net(torch.randn(4, *IMAGES.shape))
    assert not any(stride == 0 for stride in seen.values()), "frames that differ"


def test_a_stem_can_be_put_back_copied_and_pickled():
    net, twin = stem_and_twin()
    assert run_static_stem_once(net) == 0
    frames = IMAGES.expand(3, *IMAGES.shape)
    copied, file = copy.deepcopy(net), io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    with torch.no_grad():
        copied.conv1.weight.zero_()
        nets = [loaded, net, twin]
        logits = []
        for each in nets:
            functional.reset_net(each)
            logits.append(each.eval()(frames))
        assert all(torch.equal(one, logits[0]) for one in logits)
        assert not copied.conv1(frames).any(), "a copy runs its own weights"
        assert net.conv1(frames).any()
    assert run_static_stem_once(net, enable=False) > 0
    assert "forward" not in vars(net.conv1)


def test_only_spikingjellys_own_layers_run_once():
    class Noisy(layer.Conv2d):
        def forward(self, x):
            return super().forward(x) + torch.randn(len(x), 1, 1, 1, 1)

    net = nn.Sequential(Noisy(3, 4, 1, step_mode="m"), layer.Dropout(0.5, step_mode="m"), layer.Linear(4, 2))
    assert run_static_stem_once(net) == 0
