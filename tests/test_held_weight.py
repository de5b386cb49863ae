"""Weights that hold their share: through the run, within bounds, and in a run that was resumed."""

import copy

import pytest
import torch
from conftest import tiny_student, tiny_teacher

from spikingjelly_ckd import CKDDistiller, Distiller, Hold, KDLoss, SAMDLoss, published
from spikingjelly_ckd.recipes.flag_readers import _weight
from spikingjelly_ckd.step.auto_weight import AUTO_SHARE, gradient_norm
from spikingjelly_ckd.step.held_weight import BOUND, HOLD_LOGIT_SHARE, KEPT, HeldWeight

STEPS = 60


def data(images=32):
    labels = torch.arange(images) % 5
    pictures = torch.randn(images, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return pictures + 0.3 * labels.view(-1, 1, 1, 1), labels


def make(seed=0, **weights):
    torch.manual_seed(seed)
    weights = {"beta": 0.0, "gamma": 0.0} | weights
    return CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2, example=data(), **weights)


def train(distiller, steps, *, seed=0, lr=0.1):
    """Share of the map's weighted gradient, and its weight, at each of ``steps`` steps."""
    images, labels = data()
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(distiller.parameters(), lr, momentum=0.9)
    shares, weights = [], []
    for _ in range(steps):
        chosen = torch.randperm(len(labels), generator=order)[:16]
        step = distiller.observe(images[chosen], labels[chosen])
        norms = [gradient_norm(step.terms[name].value, step.points("samd")) for name in ("samd", "task")]
        out = distiller(images[chosen], labels[chosen])
        weights.append(float(out.weights["samd"]))
        shares.append(weights[-1] * float(norms[0] / norms[1]))
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
    return shares, weights


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_the_share_is_held_where_the_first_batches_alone_lose_it(seed):
    held, _ = train(make(seed, beta="hold"), STEPS)
    assert AUTO_SHARE / 2 < min(held) <= max(held) < AUTO_SHARE * 2
    drifted, _ = train(make(seed, beta="auto"), STEPS)
    assert min(drifted) < AUTO_SHARE / 2


def scalar():
    return torch.tensor([1.0], requires_grad=True)


def test_each_of_the_first_steps_is_measured_and_then_every_so_many():
    held, x = HeldWeight(every=5), scalar()
    seen = []
    for _ in range(17):
        held.take(x.sum(), x.sum(), [x])
        seen.append(int(held.seen))
    assert seen == [1, 2, 3, 4, 5, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 8, 8]


def test_the_average_begins_as_a_mean_and_forgets_later():
    held, x = HeldWeight(share=0.5, every=1), scalar()
    expected = 0.0
    for seen, power in enumerate([1.0, 3.0, -1.0, 2.0, 5.0], 1):
        held.take(x.sum(), 2**power * x.sum(), [x])
        expected += (power - expected) * max(1 / seen, 1 - KEPT)
        assert held.weight.item() == pytest.approx(0.5 / 2**expected, rel=1e-5)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_weight_stays_within_its_bound(scale):
    held, x = HeldWeight(share=0.5, every=1), scalar()
    held.take(x.sum(), x.sum(), [x])
    for _ in range(20):
        held.take(x.sum(), scale * x.sum(), [x])
    assert held.weight.item() == pytest.approx(0.5 * (BOUND if scale < 1 else 1 / BOUND))
    for _ in range(40):
        held.take(x.sum(), x.sum(), [x])
    assert held.weight.item() == pytest.approx(0.5, rel=1e-3)


def test_a_step_without_gradient_is_counted_and_left_out():
    held, x = HeldWeight(every=2), scalar()
    held.take(x.sum(), 0 * x.sum(), [x])
    assert (int(held.steps), int(held.seen), held.weight.item()) == (1, 0, 0.0)
    held.take(x.sum(), x.sum(), [x])
    assert held.weight.item() == held.first.item() == pytest.approx(AUTO_SHARE)


def test_evaluation_counts_and_measures_nothing():
    distiller = make(beta="hold", check=False)
    with torch.no_grad():
        distiller(*data())
    distiller.eval()(*data())
    assert not any(buffer.any() for buffer in distiller.auto.buffers())


@pytest.mark.parametrize("steps", [3, 12])
def test_a_resumed_run_has_the_same_weights_to_the_bit(steps):
    """Every fifth step is measured, in the middle of which the run is cut."""
    whole, cut = make(beta=Hold(every=5)), make(beta=Hold(every=5))
    _, expected = train(whole, steps)
    assert train(cut, steps)[1] == expected
    resumed = make(seed=7, beta=Hold(every=5))
    resumed.load_state_dict(copy.deepcopy(cut.state_dict()))
    twin = copy.deepcopy(whole)
    twin._frozen_teacher, resumed._frozen_teacher = whole._frozen_teacher, whole._frozen_teacher
    _, expected = train(twin, 20, seed=1)
    _, again = train(resumed, 20, seed=1)
    assert again == expected
    assert len(set(again)) > 2
    assert all(map(torch.equal, resumed.auto.buffers(), twin.auto.buffers()))


def test_chosen_has_the_weight():
    distiller = make(beta="hold", gamma="hold")
    train(distiller, 2)
    assert distiller.chosen()["auto_weights"] == {name: float(distiller.auto[name].weight) for name in ("samd", "nld")}
    assert distiller.auto["samd"].weight > 0


def test_the_share_follows_the_kind_of_loss_where_none_is_given():
    assert Hold().share_of(SAMDLoss()) == AUTO_SHARE
    assert Hold().share_of(KDLoss()) == HOLD_LOGIT_SHARE
    assert Hold(share=0.2).share_of(KDLoss()) == 0.2
    losses = {"a": (KDLoss(), "hold"), "b": (KDLoss(), Hold(0.2, every=7))}
    auto = Distiller(tiny_teacher(), tiny_student(), losses, time_steps=2).auto
    assert [(held.share, held.every) for held in auto.values()] == [(HOLD_LOGIT_SHARE, Hold().every), (0.2, 7)]


def test_the_word_is_taken_wherever_a_weight_is():
    assert published.ckd(beta="hold").losses["samd"][1] == "hold"
    assert published.kd(weight=Hold(0.5)).losses["kd"][1] == Hold(0.5)
    assert _weight("hold") == "hold"


@pytest.mark.parametrize("weight", ["hold", Hold()])
def test_a_task_of_weight_0_has_no_share(weight):
    with pytest.raises(ValueError, match="a share of the task's gradient, and task_weight is 0"):
        Distiller(tiny_teacher(), tiny_student(), {"kd": (KDLoss(), weight)}, task_weight=0)


@pytest.mark.parametrize("make", [Hold, HeldWeight])
@pytest.mark.parametrize(("argument", "value"), [("share", 0.0), ("share", -1), ("every", 0)])
def test_wrong_settings(make, argument, value):
    with pytest.raises(ValueError, match=argument):
        make(**{argument: value})
    with pytest.raises(TypeError, match="every"):
        make(every=2.5)


@pytest.mark.slow
def test_a_compiled_distiller_does_not_compile_each_step_anew():
    distiller = make(beta=Hold(every=2))
    torch._dynamo.reset()
    compiled = torch.compile(distiller, backend="eager", dynamic=False)
    graphs = []
    for _ in range(6):
        compiled(*data()).loss.backward()
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs[2:] == graphs[2:3] * 4
    assert int(distiller.auto["samd"].steps) == 6
