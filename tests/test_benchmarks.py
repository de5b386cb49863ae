"""What the benchmarks of methods ask of a comparison, every arm of every benchmark, and what the records say."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import ablations  # noqa: E402
import held  # noqa: E402
import interrupted  # noqa: E402
import landscape  # noqa: E402
import methods  # noqa: E402
import protocol  # noqa: E402
import render  # noqa: E402
import speed  # noqa: E402
import speed_beside  # noqa: E402
import speed_small  # noqa: E402
import speed_tables  # noqa: E402
import timing  # noqa: E402
import weights  # noqa: E402
from speed_bench import PAIRS  # noqa: E402

from spikingjelly_ckd import Distiller, warm_up  # noqa: E402
from spikingjelly_ckd.recipes.build import build_student  # noqa: E402
from spikingjelly_ckd.recipes.compare.arms import Arm, read_arms  # noqa: E402
from spikingjelly_ckd.recipes.compare.flags import (  # noqa: E402
    RECIPE,
    parser_of_comparisons,
    read_flags,
    settings_of_data,
)
from spikingjelly_ckd.recipes.compare.plan import Plan  # noqa: E402
from spikingjelly_ckd.recipes.comparison.records import ArmRecord, read_records  # noqa: E402
from spikingjelly_ckd.recipes.comparison.table import render as render_comparison  # noqa: E402
from spikingjelly_ckd.recipes.data import DataOptions  # noqa: E402
from spikingjelly_ckd.recipes.data.digits import digits as digit_data  # noqa: E402
from spikingjelly_ckd.recipes.export import save_network  # noqa: E402
from spikingjelly_ckd.recipes.methods import read_method, resolve_here  # noqa: E402
from spikingjelly_ckd.recipes.models import resnet8, spiking_resnet8  # noqa: E402
from spikingjelly_ckd.recipes.options import Run  # noqa: E402
from spikingjelly_ckd.recipes.records import environment  # noqa: E402

pytestmark = pytest.mark.tools


@pytest.fixture(scope="module")
def digits():
    """Frames ``[N, T, C, H, W]`` and labels of the first digits to train on."""
    data = digit_data("", DataOptions(size=16, time_steps=4))
    frames, labels = zip(*(data.train[row] for row in range(16)), strict=True)
    return torch.stack(frames), torch.tensor(labels)


def distilled(method, frames, labels):
    """The method on the digits' networks."""
    torch.manual_seed(0)
    teacher = resnet8(10, in_channels=2)
    student = spiking_resnet8(10, in_channels=2, **method.student.builder_options())
    return Distiller.from_method(method, teacher, student, example=(frames.transpose(0, 1), labels))


def script(*flags, name="methods"):
    return subprocess.run(
        [sys.executable, str(ROOT / f"benchmarks/{name}.py"), *map(str, flags)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )


SPIKFORMER = "spikingjelly.activation_based.model.spikformer"
"""Which 0.0.0.0.14 does not have."""
QUICK = ("--seeds", 0, "--epochs", 1, "--teacher-epochs", 1, "--smoke", "--any-teacher", "--device", "cpu")


@pytest.mark.slow
def test_runs_leave_records_and_are_not_run_twice(tmp_path):
    line = ("--set", "digits", "--arms", "plain", "BKDSNN", "TDKD", *QUICK, "--output-dir", tmp_path)
    script(*line)
    records = {record.arm: record for record in read_records(tmp_path)}
    assert records.keys() == {"plain", "plain x3", "bkdsnn", "tdkd"}
    for record in records.values():
        assert len(record.history) == 1
        assert record.data == records["plain"].data
        assert str(ROOT) not in json.dumps(record.to_json()), "a record names a path of the machine"
    assert records["bkdsnn"].teacher["sha256"] == records["tdkd"].teacher["sha256"]
    assert "weight 0.002" in records["bkdsnn"].method["feature"]
    assert "TETLoss" in records["tdkd"].method["task"]
    written = {path: path.read_bytes() for path in tmp_path.glob("records/*.json")}
    script(*line)
    assert {path: path.read_bytes() for path in tmp_path.glob("records/*.json")} == written  # seconds and all


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "flags", "arm"),
    [
        ("ablations", ("--arms", "SAMD at stage 1", "SAMD, scaling l2"), "ablations:at_stage:layer=layer1"),
        ("weights", ("--arms", "share 0.1", "--students", "transformer"), "weights:share:value=0.1"),
    ],
)
def test_arms_and_networks_of_a_benchmark_are_found_in_every_process(name, flags, arm, tmp_path):
    if name == "weights":
        pytest.importorskip(SPIKFORMER)
    script(*flags, *QUICK, "--output-dir", tmp_path, name=name)
    folder = tmp_path / "transformer" if name == "weights" else tmp_path
    found = {record.arm: record for record in read_records(folder)}
    assert found[arm].failed is None
    assert found[arm].history[0]["share"] > 0


ASKED = {
    "methods, digits": lambda: [protocol.command([], "", methods.ASKED, methods.DEFAULT)],
    "methods, cifar10": lambda: [protocol.command(["--set", "cifar10"], "", methods.ASKED, methods.DEFAULT)],
    "ablations": lambda: [
        protocol.command([], "", ablations.ARMS, dict.fromkeys(protocol.SETS, ablations.ARMS.values()))
    ],
    "held": lambda: [protocol.command([], "", held.ARMS, held.DEFAULT)],
    "weights": lambda: weights.commands([]),
}


@pytest.mark.parametrize("typed", [["--teacher", "t.pth"], ["--teacher=t.pth"], []])
def test_a_benchmark_trains_no_teacher_where_one_is_given(typed):
    of_cifar = ["--set", "cifar10", *typed]
    for flags in (protocol.command(of_cifar, "", methods.ASKED, methods.DEFAULT), *weights.commands(typed)):
        recipe, run, _ = read_flags(flags)
        asked = {name for name, source in recipe.sources.items() if source == "command line"}
        assert bool(asked & {"teacher_epochs", "teacher_lr"}) is (run.teacher is None)
        assert {"epochs"} < asked


@pytest.mark.parametrize("name", ASKED)
def test_a_benchmark_asks_for_what_a_comparison_takes(name):
    """All of it: a flag that is none, or a text that names no method, would end this."""
    for flags in ASKED[name]():
        recipe, _, options = read_flags(flags)
        arms, _ = read_arms(recipe, options.methods)
        asked = [text for text in options.methods if text not in ("all", "plain")]
        assert set(asked) < {arm.name for arm in arms}
        assert {"plain", "plain x3"} < {arm.name for arm in arms}
        assert (recipe.epochs, recipe.batch_size, recipe.lr) == {
            "methods, digits": (20, 32, 0.1),
            "methods, cifar10": (12, 64, 0.1),
            "ablations": (20, 32, 0.1),
            "held": (20, 32, 0.1),
            "weights": (15, 64, 0.003),
        }[name]


def test_what_was_typed_comes_last_and_decides():
    flags = protocol.command(["--arms", "KD", "--seeds", "3", "-T", "2"], "", methods.ASKED, methods.DEFAULT)
    given = parser_of_comparisons().parse_args(flags)
    assert (given.methods, given.seeds, given.time_steps) == (["kd"], [3], 2)
    one, two = weights.commands(["--students", "residual", "transformer", "--arms", "plain", "--output-dir", "out"])
    folders = [Path(parser_of_comparisons().parse_args(flags).output_dir) for flags in (one, two)]
    assert folders == [Path("out/residual"), Path("out/transformer")]


@pytest.mark.parametrize("name", ["methods", "ablations", "held", "weights"])
def test_a_benchmark_lists_its_arms_and_refuses_others(name, monkeypatch, capsys):
    module = {"methods": methods, "ablations": ablations, "held": held, "weights": weights}[name]
    arms = methods.ASKED if name == "methods" else module.ARMS

    def read(*argv):
        return weights.commands(argv) if name == "weights" else protocol.command(argv, "", arms, {"digits": ()})

    with pytest.raises(SystemExit, match="0"):
        read("--list")
    assert [line.split(": ")[0] for line in capsys.readouterr().out.splitlines()] == list(arms)
    with pytest.raises(SystemExit, match="2"):
        read("--arms", "nothing of the kind")


def test_shares_are_multiples_of_the_automatic_weight(digits):
    found = [distilled(read_method(f"weights:share:value={share}"), *digits) for share in (0.3, 0.1)]
    automatic = distilled(read_method("samd:weight=auto"), *digits)
    frames, labels = digits
    sizes = [float(one(frames.transpose(0, 1), labels).weights["samd"]) for one in (automatic, *found)]
    assert sizes[0] > 0
    assert sizes == pytest.approx([sizes[0], sizes[0], sizes[0] / 3])


@pytest.mark.parametrize("name", list(held.ARMS)[1:])
def test_the_weight_of_samd_is_all_that_differs(name, digits):
    distiller = distilled(read_method(held.ARMS[name]), *digits)
    assert set(distiller.losses) == ({"samd", "nld"} if name.startswith("CKD") else {"samd"})
    (frames, labels), found = digits, []
    for progress in (0.0, 0.5, 1.0):
        distiller.progress(progress)
        weight = distiller(frames.transpose(0, 1), labels).weights
        assert weight.get("nld", 1.0) == weight["task"] == 1.0
        found.append(float(weight["samd"]))
    start = next((float(word) for word in name.split() if word.isdigit()), None)
    if start is None:
        assert min(found) > 0
    else:
        assert found == pytest.approx([start, start / 2, 0.0] if "falling" in name else [start] * 3)


@pytest.mark.parametrize("kind", weights.STUDENTS)
def test_the_students_of_the_weights_are_trained_on_the_digits(kind, digits):
    if kind == "transformer":
        pytest.importorskip(SPIKFORMER)
    own = settings_of_data("digits")
    build = resolve_here(weights.STUDENTS[kind])
    recipe = dataclasses.replace(RECIPE, **(own | {"student": build}))
    data = digit_data("", DataOptions(size=16, time_steps=4))
    student = build_student(recipe, Run(data_path=Path()), data).network
    frames, labels = digits
    distiller = Distiller.from_method(
        read_method("samd"), resnet8(10, 2), student, example=(frames.transpose(0, 1), labels)
    )
    distiller(frames.transpose(0, 1), labels).loss.backward()
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_a_folder_of_a_comparison_is_a_table_of_a_page(tmp_path, monkeypatch):
    monkeypatch.setattr(render, "RESULTS", tmp_path)
    for arm, offset in (("plain", 0.0), ("kd", 3.0)):
        for seed in (0, 1):
            record = ArmRecord(arm=arm, control="plain", seed=seed, test_accuracy=50.0 + seed + offset)
            record.write(tmp_path / "compared" / "mine" / "records" / f"{arm}_seed{seed}.json")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: compared/mine -->\nold\n<!-- end -->\nafter\n")
    shown = render.rendered(page)
    table = render_comparison(read_records(tmp_path / "compared" / "mine"))
    assert shown == f"before\n<!-- table: compared/mine -->\n{table}\n<!-- end -->\nafter\n"
    assert "| kd | 2 |" in shown
    assert "+3.00" in shown


def test_pages_are_what_the_records_say():
    stale = [page.name for page in render.PAGES if render.rendered(page) != page.read_text("utf8")]
    assert not stale, "run python benchmarks/render.py"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--rounds", 0), "argument --rounds: must be a whole number of at least 1, got '0'"),
        (("-b", -1), "argument -b/--batch: must be a whole number"),
        (("--device", "nowhere"), "argument --device: Expected one of cpu, cuda"),
        ((), "methods: some of them compare time steps"),
        (("-T", 2, "--output", __file__), "is no folder"),
    ],
)
def test_settings_that_measure_nothing_are_refused(tmp_path, flags, said, monkeypatch, capsys):
    line = ("speed.py", "methods", "--pairs", "r20_t1", "--output", tmp_path, *flags)
    monkeypatch.setattr(sys, "argv", [str(word) for word in line])
    for name, value in speed.ALLOCATOR.items():
        monkeypatch.setenv(name, value)  # so that it does not start itself anew
    with pytest.raises(SystemExit, match="2"):
        speed.main()
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


MODULES = {"methods": methods, "ablations": ablations, "weights": weights}


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"{name}: {arm}" for name, module in MODULES.items() for arm in module.ARMS])
def test_every_arm_takes_a_step(name, digits):
    module, _, arm = name.partition(": ")
    frames, labels = digits
    distiller = distilled(read_method(MODULES[module].ARMS[arm]), frames, labels)
    before = distiller.student.conv1.weight.detach().clone()
    optimizer = torch.optim.SGD(distiller.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    distiller(frames.transpose(0, 1), labels).loss.backward()
    optimizer.step()
    assert not torch.equal(distiller.student.conv1.weight, before)


RECORDS = sorted((ROOT / "benchmarks/results").glob("*_digits/*_seed0.json"))
SHOWN_AS = {"sd": "noise"}
"""What the records call a setting -> the attribute that holds it, where the two differ."""
OF_RECORDS = {"methods_digits": methods, "ablations_digits": ablations}


def described(text):
    """Class, settings and types of modules that a loss's ``repr`` shows."""
    own, *_ = text.partition("\n  (")
    modules = re.findall(r"^ +\(.+?\): (.+)$", text, re.M)
    return own.partition("(")[0], dict(re.findall(r"\b(\w+)=([^,()\s]+)", own)), modules


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_arm_is_what_its_records_say(path, digits):
    record = json.loads(path.read_text("utf8"))
    method = read_method(OF_RECORDS[path.parent.name].ARMS[record["method"]])
    distiller = distilled(method, *digits)
    assert list(record["losses"]) == list(distiller.losses) == list(method.losses)
    for name, (text, weight) in record["losses"].items():
        loss, (kind, settings, modules) = distiller.losses[name], described(text)
        assert type(loss).__name__ == kind
        assert {key: str(getattr(loss, SHOWN_AS.get(key, key))) for key in settings} == settings
        assert described(repr(loss))[2] == modules
        assert method.losses[name][1] == weight
        assert distiller.weights.get(name, "auto") == weight
    assert repr(distiller.task_loss) == record["task"]["loss"]
    assert distiller.task_weight == method.task_weight == record["task"]["weight"]
    assert method.student.builder_options() == record["student"]
    if "schedule" in record:
        assert {name: repr(schedule) for name, schedule in method.schedule.items()} == record["schedule"]
    else:
        share = record["warm_up"]
        assert dict(method.schedule) == (dict.fromkeys(record["losses"], warm_up(share)) if share else {})


def test_every_arm_that_was_measured_is_there():
    for name, module in OF_RECORDS.items():
        measured = {json.loads(path.read_text("utf8"))["method"] for path in RECORDS if path.parent.name == name}
        assert measured
        assert measured <= module.ARMS.keys()


def test_arms_of_a_seed_start_alike_and_see_the_same(tmp_path):
    recipe = dataclasses.replace(RECIPE, **settings_of_data("digits"))
    arms = [Arm(name, dataclasses.replace(recipe, method=name)) for name in ("plain", "reviewkd")]
    save_network(tmp_path / "teacher.safetensors", resnet8(10, 2), resnet8, {"num_classes": 10, "in_channels": 2})
    run = Run(data_path=Path(), device="cpu", workers=0)
    plan = Plan(recipe, run, tuple(arms), tmp_path, str(tmp_path / "teacher.safetensors"))
    data = plan.load_data()
    both, alone = plan.begin(3, data), dataclasses.replace(plan, arms=plan.arms[1:]).begin(3, data)
    plain, adapted, other = both.states["plain"], both.states["reviewkd"], alone.states["reviewkd"]
    assert len(list(adapted.distiller.parameters())) > len(list(adapted.distiller.student.parameters()))
    for (name, one), *others in zip(
        plain.distiller.student.named_parameters(),
        adapted.distiller.student.parameters(),
        other.distiller.student.parameters(),
        strict=True,
    ):
        assert all(torch.equal(one, parameter) for parameter in others), name
    frames = [next(found.batches.train(3, 1))[0] for found in (both, alone)]
    assert torch.equal(*frames)
    assert frames[0].shape == (32, 4, 2, 16, 16)


@pytest.mark.slow
def test_the_networks_of_the_landscape_are_trained(tmp_path):
    distillers, frames, labels, data = landscape.trained(tmp_path, 3, smoke=True)
    assert list(distillers) == list(landscape.SHOWN)
    assert (len(frames), len(labels)) == (719, 719)
    assert data.split_hash == json.loads((ROOT / "benchmarks/results/landscape.json").read_text())["split_hash"]
    logits = {name: distiller.predict(frames[:32]) for name, distiller in distillers.items()}
    assert not torch.equal(logits["plain"], logits["CKDSNN (paper)"])


@pytest.mark.slow
def test_the_gallery_draws_what_its_page_shows(tmp_path):
    pytest.importorskip(SPIKFORMER)
    script("--output", tmp_path, "--smoke", "--cost", tmp_path / "cost.json", "--rounds", 1, name="gallery")
    script("--output", tmp_path, "--records", ROOT / "benchmarks/results/study", name="gallery")
    page = (ROOT / "docs/gallery.md").read_text("utf8")
    shown = set(re.findall(r"images/gallery/([\w.]+)\)", page))
    assert {path.name for path in tmp_path.glob("*.png")} == shown
    assert {path.name for path in (ROOT / "docs/images/gallery").iterdir()} == shown
    seconds = json.loads((tmp_path / "cost.json").read_text())["seconds"]
    for name, row in json.loads((ROOT / "benchmarks/results/map_images.json").read_text())["seconds"].items():
        assert row.keys() == seconds[name].keys() == {"forward", "look", "drawing"}
        assert f"| {name} | {row['forward']:.3f} | {row['look']:.3f} | {row['drawing']:.3f} |" in page


@pytest.mark.slow
def test_speed_leaves_a_record_of_every_arm_and_keeps_other_pairs(tmp_path):
    flags = ("evaluation", "steps", "--rounds", 2, "-b", 4, "--threads", 1, "--output", tmp_path)
    script(*flags, "--pairs", "r20_t1", name="speed")
    script("evaluation", *flags[2:], "--pairs", "r20_t4", "--autocast", "bfloat16", name="speed")
    steps = json.loads((tmp_path / "speed_steps.json").read_text())["pairs"]["r20_t1"]
    assert steps["ratio"].keys() == {"plain", "teacher", "floor", "CKD", "CKD, weight-CAM", "as released"}
    assert steps["ratio"]["floor"] == [1.0, 1.0, 1.0]
    assert all(len(raw) == 2 and min(raw) > 0 for raw in steps["raw"].values())
    assert str(ROOT) not in json.dumps(steps), "a record names a path of the machine"
    evaluation = json.loads((tmp_path / "speed_evaluation.json").read_text())["pairs"]
    autocast = {name: row["autocast"] for name, row in evaluation.items()}
    assert autocast == {"r20_t1": None, "r20_t4_bfloat16": "bfloat16"}
    assert "19 LIFNode on" in evaluation["r20_t1"]["neurons"]


@pytest.mark.slow
def test_speed_below_the_floor_leaves_records_that_are_rendered(tmp_path, monkeypatch):
    flags = ("goals", "--pairs", "r20_t1", "--rounds", 1, "-b", 2, "--threads", 1, "--output", tmp_path)
    script(*flags, name="speed")
    row = json.loads((tmp_path / "speed_goals.json").read_text())["pairs"]["r20_t1"]
    assert row["ratio"].keys() == {"plain", "CKD", "everything on", "everything on, teacher cache"}
    live, cached = (row["reports"][name]["trials"] for name in ("everything on", "everything on, teacher cache"))
    assert [trial["switch"] for trial in live] == [trial["switch"] for trial in cached]
    assert cached[-1]["note"] == "no teacher runs in a step"
    monkeypatch.setattr(speed_tables, "RESULTS", tmp_path)
    figures = {arm: {"step_mib": [value] * 3} for arm, value in (("floor", 200.0), ("everything on", 190.0))}
    memory = {"pairs": {"r20_t1": {"title": "ResNet-20, T=1", "memory": figures}}}
    (tmp_path / "speed_memory.json").write_text(json.dumps(memory))
    below = speed_tables.below()
    assert "| CKD step, everything on / plain eager fp32 step, ResNet-20, T=4 | at most 0.60 | not run |  |" in below
    assert re.search(r"everything on / plain .*T=1 \| at most 0.55 \| \d", below)
    assert "everything on / floor, ResNet-20, T=1 | at most 0.90 | 0.95 | **missed** |" in below
    assert below.count("not run") == 4
    assert "| ResNet-20, T=1 | fast neurons | " in speed_tables.switches()
    assert speed_tables.accuracy() == "not run"


@pytest.mark.slow
@pytest.mark.parametrize("name", speed_beside.THEIRS)
def test_a_step_in_their_way_has_the_loss_of_ours(name):
    """But for the statistics of the batch that CKDSNN's teacher takes, and the noise of NLD and the mask of BKDSNN."""
    bench = speed_small.Bench("r20_t2", dataclasses.replace(PAIRS["r20_t2"], batch=4), torch.device("cpu"))
    theirs = dataclasses.replace(speed_beside.THEIRS[name], in_train_mode=False)
    student = bench.own_student()[0]
    torch.manual_seed(0)
    distiller = Distiller.from_method(theirs.method, bench.teacher, student, time_steps=2, example=bench.example)
    torch.manual_seed(1)
    ours = distiller.train()(bench.images, bench.labels).loss
    torch.manual_seed(0)
    step = speed_beside.their_step(bench, theirs)
    torch.manual_seed(1)
    torch.testing.assert_close(step(), ours.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_small_network_is_trained_in_every_way(tmp_path, monkeypatch):
    for name, value in {"TRAINED": 128, "LOADED_EPOCHS": 1, "ACCURACY_EPOCHS": 1, "TEACHER_EPOCHS": 1}.items():
        monkeypatch.setattr(speed_small, name, value)
    monkeypatch.setattr(speed_small, "METHODS", ("ckd",))
    monkeypatch.setattr(speed_small, "SWITCHES", {"as it was": (), "everything on": ("bfloat16", "teacher")})
    monkeypatch.setattr(speed_tables, "RESULTS", tmp_path)
    bench = speed_small.Bench("r20_t1", PAIRS["r20_t1"], torch.device("cpu"))
    for what in ("lockstep", "loading", "accuracy"):
        row = getattr(speed_small, what)(bench, 1) | {"environment": environment()}
        (tmp_path / f"speed_{what}.json").write_text(json.dumps({"what": what, "pairs": {"r20_t1": row}}))
        if what == "lockstep":
            assert row["arms"] == ["plain", "plain x3", "ckd"]
            assert row["speedup"][1] == pytest.approx(1 / row["ratio"]["lock-step"][1])
    below = speed_tables.below()
    assert re.search(r"lock-step, images a second .*\| at least 3.00 \| \d", below)
    assert re.search(r"images from memory .*\| at most 0.60 \| \d", below)
    assert re.search(r"\| everything on \| \d+\.\d \| [+-]\d+\.\d \| [+-]\d+\.\d \|", speed_tables.accuracy())


def test_arms_are_interleaved_in_an_order_of_their_own_in_each_round():
    calls = []
    seconds = timing.interleaved({n: lambda n=n: calls.append(n) for n in "abc"}, 3, torch.device("cpu"), warmup=1)
    rounds = ["".join(calls[first : first + 3]) for first in range(0, 12, 3)]
    assert all(sorted(order) == list("abc") for order in rounds)
    assert len(set(rounds[1:])) > 1
    assert [len(values) for values in seconds.values()] == [3, 3, 3]
    assert timing.ratios([2.0, 6.0, 3.0], [1.0, 2.0, 3.0]) == (1.5, 2.0, 2.5)


@pytest.mark.slow
def test_the_cache_benchmark_leaves_a_record(tmp_path):
    path = tmp_path / "cache.json"
    script("--rounds", 1, "--images", 32, "-b", 16, "--output", path, name="cache")
    record = json.loads(path.read_text())
    assert record["epoch_s"].keys() == {"plain", "live", "cached"}
    assert record["costs_s"]["teacher_answer"] > 0
    assert record["view_bytes"] > 32 * 2 * 100  # a hundred logits in fp16 of each image
    assert str(ROOT) not in json.dumps(record), "a record names a path of the machine"


def test_an_interrupted_comparison_is_compared_but_for_times_and_paths(tmp_path):
    for seed, name in enumerate(("one", "two")):
        history = [{"loss": 1.0, "val_accuracy": 50.0, "seconds": float(seed)}]
        teacher = {"source": f"{name}/teacher.safetensors", "sha256": "0", "accuracy": 80.0, "part": "val"}
        about = {"teacher": teacher, "history": history, "step_ms": float(seed), "test_accuracy": 50.0}
        for arm in ("plain", "kd"):
            record = ArmRecord(arm=arm, control="plain", seed=0, command=name, **about)
            record.write(tmp_path / name / "records" / f"{arm}_seed0.json")
    assert interrupted.differing(tmp_path / "one", tmp_path / "two") == (2, [])
    record = dataclasses.replace(record, test_accuracy=50.0 + 1e-12)
    record.write(tmp_path / "two" / "records" / "kd_seed0.json")
    dataclasses.replace(record, seed=1).write(tmp_path / "two" / "records" / "kd_seed1.json")
    assert interrupted.differing(tmp_path / "one", tmp_path / "two") == (3, ["kd, seed 0", "kd, seed 1"])


@pytest.mark.parametrize(("looks", "differ"), [((None, {"ok": True}), False), (({"ok": False}, {"ok": True}), True)])
def test_what_a_preflight_found_is_compared_where_both_took_one(tmp_path, looks, differ):
    for name, look in zip(("one", "two"), looks, strict=True):
        record = ArmRecord(arm="kd", control="plain", seed=0, test_accuracy=50.0, preflight=look)
        record.write(tmp_path / name / "records" / "kd_seed0.json")
    assert interrupted.differing(tmp_path / "one", tmp_path / "two") == (1, ["kd, seed 0"] if differ else [])
