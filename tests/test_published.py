"""Published methods: every loss has its source's weights, a distiller takes them, and nothing else states them."""

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from torch import nn

from spikingjelly_ckd import CKDDistiller, DistillationLoss, Distiller, KDLoss, Method, methods, published, warm_up
from spikingjelly_ckd.step.method import StudentNeeds

each = pytest.mark.parametrize("name", published.METHODS)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(8, 3, 8, 8), torch.arange(8) % 5


def distil(method, batch, **options):
    torch.manual_seed(0)
    teacher, student = tiny_teacher(), tiny_student()
    torch.manual_seed(0)
    return Distiller.from_method(method, teacher, student, time_steps=2, example=batch, **options)


def step(distiller, batch):
    torch.manual_seed(1)
    return distiller(*batch)


# --- the catalogue ---------------------------------------------------------------------------------------------------


def test_every_loss_of_the_catalogue_is_in_a_method():
    used = set()
    for function in published.METHODS.values():
        method = function()
        used |= {type(loss).__name__ for loss, _ in method.losses.values()} | {type(method.task_loss).__name__}
    assert set(methods.__all__) <= used


def test_every_function_is_listed():
    functions = {
        name
        for name in published.__all__
        if inspect.isfunction(getattr(published, name)) and name != published.by_name.__name__
    }
    assert functions == set(published.METHODS)
    assert published.__all__ == sorted(published.__all__)


@each
def test_it_is_a_method_with_a_source(name):
    function = published.METHODS[name]
    assert function is getattr(published, name)
    assert "Example:" in function.__doc__
    method = function()
    assert isinstance(method, Method)
    assert method.source
    assert all(isinstance(loss, DistillationLoss) for loss, _ in method.losses.values())


@each
def test_what_the_student_needs_is_what_the_losses_need(name):
    method = published.METHODS[name]()
    losses = [loss for loss, _ in method.losses.values()]
    needs = {need for loss in (*losses, method.task_loss) for need in getattr(loss, "needs", ())}
    assert method.student.per_step_logits == ("per_step_logits" in needs)
    assert method.student.linear_head == ("student_head" in needs)
    assert (method.student.last_activation == "relu") == (name == "enof")


@each
def test_no_fewer_steps_are_needed_than_it_says(name, batch):
    needed = published.METHODS[name]().student.time_steps
    torch.manual_seed(0)
    options = {"time_steps": needed, "example": batch}
    Distiller.from_method(published.METHODS[name](), tiny_teacher(), tiny_student(), **options)(*batch)
    if needed > 1:
        options["time_steps"] -= 1
        distiller = Distiller.from_method(published.METHODS[name](), tiny_teacher(), tiny_student(), **options)
        with pytest.raises(ValueError, match="time step"):
            distiller(*batch)


# --- in a distiller --------------------------------------------------------------------------------------------------


@each
def test_a_distiller_weighs_as_the_method_says(name, batch):
    method = published.METHODS[name]()
    distiller = distil(method, batch)
    full = {"task": method.task_weight, **{loss: weight for loss, (_, weight) in method.losses.items()}}
    for progress in (0.0, 0.04, 0.5, 1.0):
        distiller.progress(progress)
        out = step(distiller, batch)
        expected = {
            term: weight * method.schedule.get(term, lambda progress: 1.0)(progress) for term, weight in full.items()
        }
        assert {term: float(weight) for term, weight in out.weights.items()} == pytest.approx(expected, rel=1e-6)
        total = sum(out.weights[term] * value for term, value in out.terms.items())
        torch.testing.assert_close(out.loss.detach(), total)


@each
def test_a_method_serves_several_distillers(name, batch):
    method = published.METHODS[name]()
    first, second = distil(method, batch), distil(method, batch)
    for loss, _ in method.losses.values():
        assert not list(loss.parameters()), "the method's own loss was built"
    own = {id(loss) for loss, _ in method.losses.values()}
    assert not own & {id(loss) for distiller in (first, second) for loss in distiller.losses.values()}
    shared = {id(tensor) for tensor in first.parameters()} & {id(tensor) for tensor in second.parameters()}
    assert not shared
    assert torch.equal(step(first, batch).loss, step(second, batch).loss)


@each
def test_it_pickles_and_copies(name, batch):
    method = published.METHODS[name]()
    expected = step(distil(method, batch), batch).loss
    for twin in (pickle.loads(pickle.dumps(method)), copy.deepcopy(method)):
        assert (twin.source, twin.schedule, twin.student) == (method.source, method.schedule, method.student)
        assert torch.equal(step(distil(twin, batch), batch).loss, expected)


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_a_ckd_distiller_is_the_published_method(variant, batch):
    settings = {"samd": {"temperature": 3.0, "target_class": "label"}, "nld": {"temperature": 1.5, "noise_weight": 0.2}}
    method = published.ckd(variant, beta=0.5, gamma=2.0, **settings)
    torch.manual_seed(0)
    direct = CKDDistiller(
        tiny_teacher(),
        tiny_student(),
        time_steps=2,
        variant=variant,
        beta=0.5,
        gamma=2.0,
        map_temperature=3.0,
        target_class="label",
        temperature=1.5,
        noise_weight=0.2,
    )
    made = distil(method, batch)
    made.load_state_dict(direct.state_dict())
    made.teacher.load_state_dict(direct.teacher.state_dict())
    assert repr(direct.losses) == repr(made.losses)
    one, other = step(direct, batch), step(made, batch)
    assert torch.equal(one.loss, other.loss)
    assert one.weights == other.weights


def test_a_ckd_distiller_has_the_defaults_of_the_published_method():
    of = {name: p.default for name, p in inspect.signature(CKDDistiller).parameters.items()}
    (samd, beta), (nld, gamma) = published.ckd().losses.values()
    assert (of["beta"], of["gamma"]) == (beta, gamma)
    assert (of["map_temperature"], of["target_class"], of["negative"]) == (
        samd.temperature,
        samd.target_class,
        samd.negative,
    )
    assert (of["temperature"], of["noise_weight"]) == (nld.temperature, nld.noise_weight)
    assert inspect.signature(published.ckd).parameters["variant"].default == of["variant"]


def test_the_settings_of_a_variant_can_be_overruled():
    samd, _ = published.ckd("released", samd={"normalization": "none"}).losses["samd"]
    assert (samd.normalization, samd.cam_pool) == ("none", "sum")


def test_layers_of_a_method_are_compared(batch):
    distiller = distil(replace(published.samd(), layers={"samd": ("2", "2")}), batch)  # the first activations
    (student,), (teacher,) = distiller.layers["samd"]
    assert (student.path, teacher.path) == ("2", "2")
    assert step(distiller, batch).maps["teacher"].shape == (8, 8, 8)


# --- names and values ------------------------------------------------------------------------------------------------


def test_a_method_is_found_by_name_and_near_names_are_told():
    assert published.by_name("bkdsnn") is published.bkdsnn
    with pytest.raises(ValueError, match="no method is called 'BKD-SNN'; did you mean 'bkdsnn'"):
        published.by_name("BKD-SNN")
    with pytest.raises(ValueError, match="no method is called 'xyz'; there are plain, ckd, "):
        published.by_name("xyz")


def test_a_schedule_or_layer_of_no_loss_is_refused():
    losses = {"kd": (KDLoss(), 1.0)}
    with pytest.raises(ValueError, match=r"schedule names \['dkd'\]; this method has \['kd', 'task'\]"):
        Method(losses, schedule={"dkd": warm_up(0.1)})
    with pytest.raises(ValueError, match=r"layers names \['task'\]; this method has \['kd'\]"):
        Method(losses, layers={"task": ("layer3", "layer3")})


def test_losses_and_weights_of_a_method_are_checked_where_it_is_made():
    with pytest.raises(TypeError, match=r"losses\['kd'\] must be \(loss, weight\)"):
        Method({"kd": KDLoss()})
    with pytest.raises(ValueError, match="alpha must be at most 1, since the task has 1 - alpha, got 1.5"):
        published.tser(alpha=1.5)
    with pytest.raises(TypeError, match="task_loss must be .*got the class CrossEntropyLoss"):
        Method({}, nn.CrossEntropyLoss)


def test_a_method_is_not_changed():
    with pytest.raises(FrozenInstanceError):
        published.kd().task_weight = 1.0
    lighter = replace(published.kd(), task_weight=0.5)
    assert (lighter.task_weight, published.kd().task_weight) == (0.5, 0.1)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"last_activation": "gelu"}, ValueError, "last_activation must be one of ['relu', 'spike'], got 'gelu'"),
        ({"time_steps": 0}, ValueError, "time_steps must be at least 1, got 0"),
        ({"per_step_logits": "yes"}, TypeError, "per_step_logits must be True or False"),
        ({"linear_head": 1}, TypeError, "linear_head must be True or False"),
    ],
)
def test_needs_that_cannot_be_are_refused(options, error, said):
    with pytest.raises(error) as raised:
        StudentNeeds(**options)
    assert said in str(raised.value)


def test_tks_ends_where_its_static_form_stands():
    moving, static = published.tks(), published.tks(static=True)
    ends = {
        name: weight * moving.schedule[name](1.0)
        for name, weight in (("task", moving.task_weight), ("tks", moving.losses["tks"][1]))
    }
    assert ends == {"task": static.task_weight, "tks": static.losses["tks"][1]}
    assert (moving.schedule["task"](0.0), moving.schedule["tks"](0.0)) == (1.0, 0.0)
    for progress in (0.0, 0.25, 1.0):  # the authors' 1 - epoch / epochs * alpha
        assert moving.schedule["task"](progress) == pytest.approx(1 - progress * 0.7)
    theirs = published.tks(0.3, 0.7, static=True)  # their --staticalpha: alpha for the task, not 1 - alpha
    assert (theirs.task_weight, theirs.losses["tks"][1], theirs.schedule) == (0.7, 0.3, {})
