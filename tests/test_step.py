"""The whole step: its numbers against the formulas written out, its order, and what observing alone does not do."""

import ast
import copy
import inspect
import types
import weakref
from pathlib import Path

import pytest
import reference_step
import torch
from conftest import tiny_student, tiny_teacher
from spikingjelly.activation_based import neuron

import spikingjelly_ckd
from spikingjelly_ckd import CKDDistiller, Distiller
from spikingjelly_ckd.methods import ATLoss, CATKDLoss, E2KDLoss, KDLoss, MGDLoss, NLDLoss, SAMDLoss, TDKDLoss
from spikingjelly_ckd.step.auto_weight import AutoWeight

PACKAGE = Path(spikingjelly_ckd.__file__).parent
STEP_FUNCTIONS = ("forward", "observe", "_observe")
RATE = 0.05

# --- three steps against the formulas --------------------------------------------------------------------------------


def ckd_case(teacher, student, batch, *, ends=None, **weights):
    """CKD at layers that are found, or at the ones given: (student's, teacher's)."""
    where = {} if ends is None else {"student_layer": str(ends[0]), "teacher_layer": str(ends[1])}
    distiller = CKDDistiller(
        teacher, student, time_steps=2, generator=torch.Generator().manual_seed(3), **where, **weights
    )
    settings = dict(zip(("student_end", "teacher_end"), ends or (5, 5), strict=True))
    settings |= {"beta": 1.0, "gamma": 1.0, "task_weight": 1.0} | weights
    generator = torch.Generator().manual_seed(3)
    return distiller, [], lambda *step: reference_step.ckd(*step, generator, **settings)


def given_layers_case(teacher, student, batch):
    """Maps of two sizes, and a teacher's layer that the in-place activation behind it would overwrite."""
    return ckd_case(teacher, student, batch, ends=(2, 4), beta=0.5, gamma=2.0, task_weight=0.7)


def many_case(teacher, student, batch):
    losses = {
        "samd": (SAMDLoss(target_class="label"), 1.0),
        "e2": (E2KDLoss(), 0.5),
        "at": (ATLoss(), 2.0),
        "cat": (CATKDLoss(), 1.0),
        "td": (TDKDLoss(), 1.0),
        "auto": (KDLoss(), "auto"),
    }
    log_ratios = []
    distiller = Distiller(teacher, student, losses, time_steps=2, example=batch)
    return distiller, [], lambda *step: reference_step.many(*step, log_ratios)


def mgd_case(teacher, student, batch):
    distiller = Distiller(teacher, student, {"mgd": (MGDLoss(), 1.0)}, time_steps=2, example=batch)
    own = [parameter.detach().double().requires_grad_() for parameter in distiller.losses.parameters()]
    return distiller, own, lambda *step: reference_step.mgd(*step, own)


CASES = {"ckd": ckd_case, "ckd at given layers": given_layers_case, "many": many_case, "mgd": mgd_case}
LEFT_OUT = {("ckd", 1): 7, ("many", 1): 8}
"""How many images have a constant teacher map; in the other cases none has."""


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_three_steps_are_the_formulas_written_out(case, seed):
    torch.manual_seed(seed)
    teacher, student = tiny_teacher().double(), tiny_student().double()
    batch = torch.randn(8, 3, 8, 8).double(), torch.arange(8) % 5
    twins = copy.deepcopy(teacher).requires_grad_(False).eval(), copy.deepcopy(student)
    distiller, own, reference = CASES[case](teacher, student, batch)
    distiller.double()
    ours = [*student.parameters(), *distiller.losses.parameters()]
    theirs = [*twins[1].parameters(), *own]
    assert len(ours) == len(theirs) == len(list(distiller.parameters()))

    for step in range(3):
        torch.manual_seed(step)
        out = distiller(*batch)
        torch.manual_seed(step)
        expected = reference(*twins, *batch)
        gradients = torch.autograd.grad(expected.loss, theirs)
        distiller.zero_grad()
        out.loss.backward()

        assert_same(out.loss, expected.loss)
        assert_same(out.logits, expected.logits)
        assert list(out.terms) == list(expected.terms)
        assert_same(out.terms, {name: value.detach() for name, value in expected.terms.items()})
        assert_same(
            {name: float(weight) for name, weight in out.weights.items()},
            {name: float(weight) for name, weight in expected.weights.items()},
        )
        assert_same(out.maps, expected.maps)
        assert out.skipped == expected.skipped == LEFT_OUT.get((case, seed), 0)
        moving = [bool(gradient.abs().max() > 1e-9) for gradient in gradients]
        assert moving.count(False) == 2  # the biases in front of BatchNorm
        assert_same([parameter.grad for parameter in ours], list(gradients))
        assert_same(list(student.buffers()), list(twins[1].buffers()))

        with torch.no_grad():
            for parameter in ours:
                parameter -= RATE * parameter.grad
            for parameter, gradient in zip(theirs, gradients, strict=True):
                parameter -= RATE * gradient
        assert_same([parameter.detach() for parameter in ours], [parameter.detach() for parameter in theirs])


# --- the order of a step ---------------------------------------------------------------------------------------------


def test_the_teacher_runs_before_the_student(teacher, student, batch):
    distiller = CKDDistiller(teacher, student, time_steps=2, example=batch)
    order = []
    teacher.register_forward_pre_hook(lambda *_: order.append("teacher"))
    student.register_forward_pre_hook(lambda *_: order.append("student"))
    distiller(*batch)
    distiller.observe(*batch)
    assert order == ["teacher", "student"] * 2


@pytest.mark.parametrize(
    ("losses", "layer", "kept"),
    [
        ({"kd": (KDLoss(), 1.0)}, None, {"8"}),
        ({"samd": (SAMDLoss(), 1.0), "nld": (NLDLoss(), 1.0)}, None, {"5", "8"}),
        ({"samd": (SAMDLoss(), 1.0), "nld": (NLDLoss(), 1.0)}, "2", {"2", "8"}),
        ({"at": (ATLoss(), 1.0)}, None, {"2", "5"}),
    ],
    ids=["logits", "logits and a class map", "the map of an early layer", "features"],
)
def test_only_what_the_losses_take_of_the_teacher_is_held_while_the_student_runs(losses, layer, kept, student, batch):
    teacher = tiny_teacher(inplace=False)
    layers = {} if layer is None else {"samd": (None, layer)}
    distiller = Distiller(teacher, student, losses, layers=layers, time_steps=2, example=batch)
    storages, held = {}, []

    def note(name):
        def hook(module, args, output):
            storages[name] = weakref.ref(output.untyped_storage())

        return hook

    def look(*_):
        held.append({name for name, storage in storages.items() if storage() is not None})

    for name, module in teacher.named_children():
        module.register_forward_hook(note(name))
    student.register_forward_pre_hook(look)
    for _ in range(2):  # from the second step on, a teacher may end early
        storages.clear()
        distiller(*batch)
    assert held == [kept, kept]


# --- observing, without judging or weighing --------------------------------------------------------------------------


def neuron_states(student):
    return [module.v for module in student.modules() if isinstance(module, neuron.BaseNode)]


def test_observing_gives_the_terms_of_a_step(teacher, student, batch):
    losses = {"samd": (SAMDLoss(), 0.3), "kd": (KDLoss(), 0.9)}
    distiller = Distiller(teacher, student, losses, task_weight=0.1, time_steps=2, example=batch)
    step, out = distiller.observe(*batch), distiller(*batch)
    assert list(step.terms) == list(out.terms)
    assert all(torch.equal(step.terms[name].value, out.terms[name]) for name in out.terms)
    assert torch.equal(step.logits, out.logits)
    assert all(parameter.grad is None for parameter in distiller.parameters())


BAD = {
    "NaN in the images": (lambda images, labels: (images.index_fill(0, torch.tensor(1), torch.nan), labels), "NaN"),
    "label too large": (lambda images, labels: (images, labels.index_fill(0, torch.tensor(1), 99)), "labels must lie"),
    "negative label": (lambda images, labels: (images, labels.index_fill(0, torch.tensor(1), -1)), "labels must lie"),
}


@pytest.mark.parametrize("target_class", ["teacher", "label"])
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("check", [True, False])
def test_observing_the_whole_step_judges_nothing(check, bad, target_class, teacher, student, batch):
    change, message = BAD[bad]
    distiller = CKDDistiller(teacher, student, time_steps=2, example=batch, target_class=target_class, check=check)
    images, labels = change(*batch)
    step = distiller.observe(images, labels, whole=True)
    assert set(step.terms) == {"task", "samd", "nld"}
    assert ((step.labels >= 0) & (step.labels < 5)).all()
    assert any(message in text and bool(violated) for text, violated in step.violations().items())
    assert neuron_states(student) == [0.0, 0.0]
    if check:
        with pytest.raises(ValueError, match=message):
            distiller(images, labels)


def test_observing_leaves_the_states_reset(teacher, student, batch):
    distiller = CKDDistiller(teacher, student, time_steps=2, example=batch)
    seen = []
    student[2].register_forward_hook(lambda module, *_: seen.append(module.v))
    distiller.observe(*batch)
    assert seen[0].any()
    assert neuron_states(student) == [0.0, 0.0]


def test_observing_weighs_nothing(teacher, student, batch):
    distiller = Distiller(teacher, student, {"kd": (KDLoss(), "auto")}, time_steps=2, example=batch)
    before = [buffer.clone() for buffer in distiller.auto.buffers()]
    for whole in (False, True):
        distiller.observe(*batch, whole=whole)
        assert all(map(torch.equal, distiller.auto.buffers(), before))
    distiller(*batch)
    assert not any(map(torch.equal, distiller.auto.buffers(), before))


def test_observing_the_whole_step_gives_logits_that_no_loss_takes(teacher, student, batch):
    distiller = Distiller(teacher, student, {"mgd": (MGDLoss(), 1.0)}, time_steps=2, example=batch)
    for _ in range(2):  # from the second step on, the teacher may end early
        assert distiller.observe(*batch).teacher.logits is None
        logits = distiller.observe(*batch, whole=True).teacher.logits
        assert torch.equal(logits, teacher(batch[0]))
        assert not logits.requires_grad


# --- the step stays on one screen ------------------------------------------------------------------------------------


def lines_without_docstring(function):
    first = function.body[0]
    docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(function) is not None else 0
    return function.end_lineno - function.lineno + 1 - docstring


def test_a_step_is_one_screen():
    source = inspect.getsource(spikingjelly_ckd.distiller)
    functions = {node.name: node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)}
    assert sum(lines_without_docstring(functions[name]) for name in STEP_FUNCTIONS) <= 45
    assert len(source.splitlines()) <= 320


def private_names(tree):
    """Private attributes of the distiller that a file reads or sets, also by their names as text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner, name = node.value, node.attr
        elif isinstance(node, ast.Call) and len(node.args) >= 2 and isinstance(node.args[1], ast.Constant):
            owner, name = node.args[0], str(node.args[1].value)
            if not isinstance(node.func, ast.Name) or node.func.id not in ("getattr", "setattr", "hasattr"):
                continue
        else:
            continue
        if isinstance(owner, ast.Name) and owner.id in ("distiller", "inner") and name.startswith("_"):
            yield name


def test_private_names_are_found():
    tree = ast.parse("distiller._read(x); setattr(inner, '_auto', 1); inner.layers; other._hidden; print(inner, '_x')")
    assert sorted(private_names(tree)) == ["_auto", "_read"]


def test_preflight_keeps_to_the_public_face_of_the_distiller():
    files = sorted((PACKAGE / "preflight").glob("*.py"))
    names = {name for file in files for name in private_names(ast.parse(file.read_text()))} - {"_orig_mod"}
    assert files
    assert len(names) <= 2, names


# --- published methods as values -------------------------------------------------------------------------------------


def method_of(losses, **changed):
    settings = {"task_loss": None, "task_weight": 1.0, "schedule": {}, "layers": {}}
    return types.SimpleNamespace(losses=losses, **(settings | changed))


def test_a_distiller_from_a_method_weighs_as_the_method_says(teacher, student, batch):
    method = method_of(
        {"kd": (KDLoss(2.0), 0.9), "samd": (SAMDLoss(), 0.3)},
        task_loss=lambda logits, labels: logits.square().mean(),
        task_weight=0.1,
        schedule={"kd": lambda share: 1 - share},
        layers={"samd": ("2", "4")},
    )
    distiller = Distiller.from_method(method, teacher, student, time_steps=2, example=batch)
    distiller.progress(0.5)
    out = distiller(*batch)
    assert out.weights == {"task": 0.1, "kd": 0.45, "samd": 0.3}
    assert torch.equal(out.terms["task"], out.logits.detach().square().mean())
    assert [layer.path for side in distiller.layers["samd"] for layer in side] == ["2", "4"]


@pytest.mark.parametrize("channels", [None, 8], ids=["built from the example", "built before"])
def test_distillers_from_one_method_share_no_parameters(channels, teacher, student, batch):
    method = method_of({"mgd": (MGDLoss(student_channels=channels, teacher_channels=channels), 1.0)})
    original = method.losses["mgd"][0]
    waits, before = original.needs_build, [parameter.clone() for parameter in original.parameters()]
    one, other = (
        Distiller.from_method(method, teacher, copy.deepcopy(student), time_steps=2, example=batch) for _ in range(2)
    )
    owned = [{id(parameter) for parameter in module.parameters()} for module in (one.losses, other.losses, original)]
    assert len(owned[0]) == len(owned[1]) == 4
    assert len(set.union(*owned)) == sum(map(len, owned))
    untouched = [parameter.clone() for parameter in other.losses.parameters()]
    one(*batch).loss.backward()
    with torch.no_grad():
        for parameter in one.losses.parameters():
            parameter -= RATE * parameter.grad
    assert all(map(torch.equal, other.losses.parameters(), untouched))
    assert original.needs_build is waits
    assert all(map(torch.equal, original.parameters(), before))


def test_distillers_from_one_method_draw_their_own_noise(teacher, student, batch, frozen_noise):
    method = method_of({"nld": (NLDLoss(generator=frozen_noise()), 1.0)})
    first, second = (
        Distiller.from_method(method, teacher, copy.deepcopy(student), time_steps=2)(*batch) for _ in range(2)
    )
    assert torch.equal(first.loss, second.loss)


# --- weights over the run --------------------------------------------------------------------------------------------


def test_a_schedule_multiplies_the_weights(teacher, student, batch):
    schedule = {"kd": lambda share: 2 * share, "task": lambda share: 1 - share / 2}
    losses = {"kd": (KDLoss(), 0.9), "samd": (SAMDLoss(), 0.3)}
    distiller = Distiller(teacher, student, losses, task_weight=0.1, time_steps=2, example=batch, schedule=schedule)
    assert distiller(*batch).weights == {"task": 0.1, "kd": 0.0, "samd": 0.3}  # it starts at 0
    for share in (0.25, 1, 0):
        distiller.progress(share)
        out = distiller(*batch)
        expected = {"task": 0.1 * (1 - share / 2), "kd": 0.9 * 2 * share, "samd": 0.3}
        assert out.weights == pytest.approx(expected, rel=1e-12)
        torch.testing.assert_close(out.loss.detach(), sum(expected[name] * term for name, term in out.terms.items()))
    assert distiller.weights == {"kd": 0.9, "samd": 0.3}
    assert distiller.task_weight == 0.1


def test_a_schedule_names_terms(teacher, student):
    with pytest.raises(ValueError, match=r"schedule names \['ghost'\]; the terms are \['kd', 'task'\]"):
        Distiller(teacher, student, {"kd": (KDLoss(), 1.0)}, schedule={"ghost": lambda share: share})
    with pytest.raises(TypeError, match=r"schedule\['kd'\] must be a function of the progress, got float"):
        Distiller(teacher, student, {"kd": (KDLoss(), 1.0)}, schedule={"kd": 0.5})


@pytest.mark.parametrize("share", [-0.1, 1.1, torch.nan, torch.inf])
def test_progress_lies_between_start_and_end(share, teacher, student, batch):
    distiller = Distiller(teacher, student, {"kd": (KDLoss(), 1.0)}, time_steps=2, schedule={"kd": lambda share: share})
    distiller.progress(0.5)
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\], got"):
        distiller.progress(share)
    assert distiller(*batch).weights["kd"] == 0.5


def test_a_schedule_multiplies_an_automatic_weight_and_does_not_enter_its_measurement(teacher, student, batch):
    schedule = {"kd": lambda share: 1 - share, "task": lambda share: 0.5}
    plain, scheduled = (
        Distiller(
            teacher, copy.deepcopy(student), {"kd": (KDLoss(), "auto")}, task_weight=0.4, time_steps=2, schedule=how
        )
        for how in (None, schedule)
    )
    for distiller in (plain, scheduled):
        distiller.auto["kd"] = AutoWeight(batches=2)
    used = []
    for share in (0.0, 0.25, 0.5, 1.0):  # measured twice, then held
        scheduled.progress(share)
        images = torch.randn_like(batch[0])
        expected, out = plain(images, batch[1]), scheduled(images, batch[1])
        assert expected.weights["kd"] > 0
        assert out.weights["kd"] == expected.weights["kd"] * (1 - share)
        assert out.weights["task"] == 0.4 * 0.5
        assert out.loss == out.weights["task"] * out.values["task"] + out.weights["kd"] * out.values["kd"]
        assert all(map(torch.equal, scheduled.auto.buffers(), plain.auto.buffers()))
        used.append((expected.weights["kd"], float(expected.weights["kd"])))
    assert all(float(weight) == before for weight, before in used)  # what a step used does not change afterwards
    assert used[0][1] != used[1][1] == used[2][1]
    assert int(scheduled.auto["kd"].seen) == 2
