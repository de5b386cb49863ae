"""Every method has its file, test, card and row, and does what a loss has to do.

A new method needs a row in ``SETTINGS``; each failure says which entry is missing.
"""

import importlib
import inspect
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_student, tiny_teacher
from processes import on_processes
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

import spikingjelly_ckd
from spikingjelly_ckd import DistillationLoss, Distiller, methods

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {
    methods.KDLoss: {},
    methods.NLDLoss: {},
    methods.SAMDLoss: {},
    methods.TETLoss: {},
    methods.DKDLoss: {},
    methods.DISTLoss: {},
    methods.LSKDLoss: {},
    methods.BranchKDLoss: {},
    methods.SDDLoss: {},
    methods.PrefixKDLoss: {},
    methods.HardLabelLoss: {},
    methods.AKLLoss: {},
    methods.NKDLoss: {"gamma": 0.5},  # at 1.5 most of its value is a floor: ten steps are too few
    methods.RLDLoss: {},
    methods.WTTMLoss: {},
    methods.TDKDLoss: {},
    methods.SeAlKDLoss: {},
    methods.TSERLoss: {},
    methods.TKSLoss: {"temperature": 1.0},  # at 3, nine times a cross-entropy: ten steps are too few
    methods.StrongWeakLoss: {},
    methods.EnOFLoss: {},
    methods.E2KDLoss: {},
    methods.CATKDLoss: {},
    methods.ATLoss: {},
    methods.FitNetsLoss: {},
    methods.MGDLoss: {},
    methods.KDSNNLoss: {},
    methods.BKDSNNLoss: {},
    methods.WeightedSoftLabelLoss: {},
    methods.ReviewKDLoss: {},
    methods.VkDLoss: {},
    methods.WKDFLoss: {},
    methods.OFALoss: {"power": 2.0},  # at 1, a cross-entropy with the nearly uniform teacher, which cannot fall far
    methods.SASTCLoss: {},
    methods.RKDLoss: {},
    methods.SPLoss: {},
    methods.CKALoss: {},
}
"""Class -> arguments with which it runs on the tiny pair of conftest.py."""
SECTIONS = [
    "Idea",
    "Formula",
    "Use",
    "Arguments and defaults",
    "Cost",
    "Pitfalls and interactions",
    "Differences from the authors' code",
    "Reference",
]

each = pytest.mark.parametrize("name", methods.__all__)


def make(name, **options):
    """A distiller of the tiny pair with this loss alone beside the task."""
    loss = getattr(methods, name)
    assert loss in SETTINGS, f"{name} has no row in SETTINGS of tests/test_catalogue.py"
    torch.manual_seed(0)
    batch = torch.randn(8, 3, 8, 8), torch.arange(8) % 5
    losses = {"loss": (loss(**SETTINGS[loss]), 1.0)}
    return Distiller(tiny_teacher(), tiny_student(), losses, time_steps=2, example=batch, **options), batch


def module_of(name):
    return getattr(methods, name).__module__.rsplit(".", 1)[-1]


def card_of(name):
    path = ROOT / f"docs/methods/{module_of(name)}.md"
    assert path.exists(), f"{name} has no card docs/methods/{path.name}"
    return path


# --- entries ---------------------------------------------------------------------------------------------------------


def test_every_file_of_methods_is_listed():
    listed = {module_of(name) for name in methods.__all__} | {
        "base",
        "projected",
        "projectors",
        "signals",
        "stochastic",
    }
    for path in (ROOT / "spikingjelly_ckd/methods").glob("[!_]*.py"):
        assert path.stem in listed, (
            f"{path.stem} is not imported and in __all__ of spikingjelly_ckd/methods/__init__.py"
        )


@each
def test_it_is_a_loss_and_exported_at_top_level(name):
    assert issubclass(getattr(methods, name), DistillationLoss)
    assert name in spikingjelly_ckd.__all__, f"{name} is not in __all__ of spikingjelly_ckd/__init__.py"
    assert getattr(spikingjelly_ckd, name) is getattr(methods, name)


@each
def test_it_has_a_test_file(name):
    path = ROOT / f"tests/methods/test_{module_of(name)}.py"
    assert path.exists(), f"{name} has no tests/methods/test_{module_of(name)}.py"
    assert name in path.read_text("utf8"), f"{path.name} does not use {name}"


@each
def test_it_has_a_card_with_the_fixed_sections(name):
    path = card_of(name)
    assert re.findall(r"^## (.+)$", path.read_text("utf8"), re.M) == SECTIONS, f"sections of docs/methods/{path.name}"


@each
def test_its_card_has_its_arguments_and_defaults(name):
    text = card_of(name).read_text("utf8").partition("## Arguments and defaults")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `(.+?)` \| .+ \|$", text, re.M))
    parameters = inspect.signature(getattr(methods, name)).parameters.values()
    assert rows == {p.name: repr(p.default) for p in parameters}, f"arguments in docs/methods/{card_of(name).name}"


@each
def test_it_has_a_row_in_the_index(name):
    index = (ROOT / "docs/methods/index.md").read_text("utf8")
    module = module_of(name)
    assert f"| [`{name}`]({module}.md) |" in index, f"{name} has no row in docs/methods/index.md"
    assert re.search(rf"^{module}$", index, re.M), f"{module} is not in the toctree of docs/methods/index.md"


# --- behaviour -------------------------------------------------------------------------------------------------------


@each
def test_it_pickles(name):
    distiller, batch = make(name)
    again = pickle.loads(pickle.dumps(distiller))
    assert repr(again.losses) == repr(distiller.losses)
    values = []
    for copy in (distiller, again):
        torch.manual_seed(1)
        values.append(copy(*batch).terms["loss"])
    assert torch.equal(*values)


@each
def test_its_state_dict_makes_a_round_trip(name):
    distiller, batch = make(name)
    state = {key: value + 0.5 if value.is_floating_point() else value for key, value in distiller.state_dict().items()}
    distiller.load_state_dict(state)
    fresh, _ = make(name)
    fresh.load_state_dict(distiller.state_dict())
    values = []
    for copy in (distiller, fresh):
        torch.manual_seed(1)
        values.append(copy.eval()(*batch).terms["loss"])
    assert torch.equal(*values)


@each
def test_bf16_autocast_gives_fp32(name):
    distiller, batch = make(name)
    with torch.autocast("cpu", torch.bfloat16):
        out = distiller(*batch)
    assert out.terms["loss"].dtype == out.loss.dtype == torch.float32
    out.loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in distiller.parameters())


@each
def test_it_works_without_gradients(name):
    distiller, batch = make(name)
    torch.manual_seed(1)
    expected = distiller(*batch).terms["loss"]
    torch.manual_seed(1)
    with torch.no_grad():
        out = distiller(*batch)
    assert not out.loss.requires_grad
    torch.testing.assert_close(out.terms["loss"], expected)


@each
def test_ten_steps_bring_the_total_down(name):
    distiller, batch = make(name)
    before = {key: value.clone() for key, value in distiller.losses.state_dict().items() if value.is_floating_point()}
    optimizer = torch.optim.Adam(distiller.parameters(), 0.02)
    totals = []
    for _ in range(10):
        out = distiller(*batch)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        totals.append(out.loss.item())
    assert sum(totals[-3:]) < 0.95 * sum(totals[:3]), totals
    for key, value in distiller.losses.named_parameters():
        assert not torch.equal(value, before[key]), f"{name}: its parameter {key} was not trained"


@each
def test_the_exported_student_has_no_parameter_of_it(name):
    distiller, _ = make(name)
    assert distiller.student.state_dict().keys() == tiny_student().state_dict().keys()
    trained = {id(p) for p in distiller.parameters()}
    assert all(id(p) in trained for p in distiller.losses.parameters())


def all_under_ddp(rank, port, results):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        found = {}
        for name in methods.__all__:
            distiller, (images, labels) = make(name)
            torch.manual_seed(rank)
            images = torch.randn_like(images)  # of its own, and as many as the example has
            wrapped = DistributedDataParallel(distiller)  # it has to live until backward is done
            wrapped(images, labels).loss.backward()
            found[name] = {key: None if p.grad is None else p.grad.numpy() for key, p in distiller.named_parameters()}
        results[rank] = found
    finally:
        distributed.destroy_process_group()


@pytest.mark.slow
def test_every_method_under_ddp():
    (results,) = on_processes(all_under_ddp, 2)
    first, second = results[0], results[1]
    for name in methods.__all__:
        for key, gradient in first[name].items():
            assert gradient is not None, f"{name}: {key} got no gradient"
            assert np.isfinite(gradient).all(), f"{name}: {key}"
            assert np.array_equal(gradient, second[name][key]), f"{name}: {key} differs between the processes"


def test_importing_one_method_needs_no_other():
    for name in methods.__all__:
        source = inspect.getsource(importlib.import_module(getattr(methods, name).__module__))
        others = {module_of(other) for other in methods.__all__} - {module_of(name)}
        assert not re.search(rf"from \.({'|'.join(others)}) import", source), f"{name} imports another method"
