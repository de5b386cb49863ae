"""The protocol behind the tables of methods: records, resuming, pairing, and every arm of every benchmark."""

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
import methods  # noqa: E402
import protocol  # noqa: E402
import speed  # noqa: E402
import timing  # noqa: E402

from spikingjelly_ckd import warm_up  # noqa: E402


@pytest.fixture(scope="module")
def digits():
    *parts, _, _ = protocol.digits(None)
    return parts[0], parts[1]


def script(*flags, name="methods"):
    return subprocess.run(
        [sys.executable, str(ROOT / f"benchmarks/{name}.py"), *map(str, flags)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.slow
def test_runs_leave_records_and_are_not_run_twice(tmp_path):
    line = ("--set", "digits", "--epochs", 1, "--arms", "plain", "BKDSNN", "TDKD", "--seeds", 0, "--output", tmp_path)
    first = script(*line)
    records = {path.name: json.loads(path.read_text()) for path in tmp_path.glob("*_seed0.json")}
    assert records.keys() == {"plain_seed0.json", "BKDSNN_seed0.json", "TDKD_seed0.json"}
    for record in records.values():
        assert record["accuracy"]["epochs"] == 1
        assert record["teacher"]["sha256"] == records["plain_seed0.json"]["teacher"]["sha256"]
        assert record["split_hash"] == records["plain_seed0.json"]["split_hash"]
        assert str(ROOT) not in json.dumps(record), "a record names a path of the machine"
    assert records["BKDSNN_seed0.json"]["losses"]["feature"][1] == 2e-3
    assert "TETLoss" in records["TDKD_seed0.json"]["task"]["loss"]
    again = script(*line)
    assert sorted(again.stdout.splitlines()) == sorted(first.stdout.splitlines())  # the old records, seconds and all


@pytest.mark.slow
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
def test_settings_that_measure_nothing_are_refused(tmp_path, flags, said):
    with pytest.raises(subprocess.CalledProcessError) as raised:
        script("methods", "--pairs", "r20_t1", "--output", tmp_path, *flags, name="speed")
    assert said in raised.value.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"methods: {n}" for n in methods.ARMS] + [f"ablations: {n}" for n in ablations.ARMS])
def test_every_arm_takes_a_step(name, digits):
    module, _, arm = name.partition(": ")
    arm = {"methods": methods, "ablations": ablations}[module].ARMS[arm]
    setup = protocol.SETUPS["digits"]
    torch.manual_seed(0)
    teacher = setup.teacher(num_classes=10, in_channels=2)
    distiller = protocol.make(setup, arm, 0, digits, teacher)
    frames, labels = digits[0]
    before = distiller.student.conv1.weight.detach().clone()
    optimizer = setup.optimizer(distiller.parameters())
    distiller(frames[:, :16], labels[:16]).loss.backward()
    optimizer.step()
    assert not torch.equal(distiller.student.conv1.weight, before)


RECORDS = sorted((ROOT / "benchmarks/results").glob("*_digits/*_seed0.json"))
SHOWN_AS = {"sd": "noise"}
"""What the records call a setting -> the attribute that holds it, where the two differ."""
MODULES = {"methods_digits": methods, "ablations_digits": ablations}


def described(text):
    """Class, settings and types of modules that a loss's ``repr`` shows."""
    own, *_ = text.partition("\n  (")
    modules = re.findall(r"^ +\(.+?\): (.+)$", text, re.M)
    return own.partition("(")[0], dict(re.findall(r"\b(\w+)=([^,()\s]+)", own)), modules


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_arm_is_what_its_records_say(path, digits):
    record = json.loads(path.read_text("utf8"))
    method = MODULES[path.parent.name].ARMS[record["method"]]
    setup = protocol.SETUPS["digits"]
    teacher = setup.teacher(num_classes=10, in_channels=2)
    distiller = protocol.make(setup, method, 0, digits, teacher)
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
    for name, module in MODULES.items():
        measured = {json.loads(path.read_text("utf8"))["method"] for path in RECORDS if path.parent.name == name}
        assert measured
        assert measured <= module.ARMS.keys()


def test_arms_of_a_seed_start_alike_and_see_the_same(digits):
    setup = protocol.SETUPS["digits"]
    teacher = setup.teacher(num_classes=10, in_channels=2)
    plain, adapted = (protocol.make(setup, methods.ARMS[n], 3, digits, teacher) for n in ("plain", "ReviewKD"))
    for (name, one), other in zip(plain.student.named_parameters(), adapted.student.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(3)))
    images = torch.randn(6, 3, 32, 32)
    crops = [protocol.crop_and_flip(images, torch.Generator().manual_seed(1)) for _ in range(2)]
    assert torch.equal(*crops)
    assert crops[0].shape == images.shape


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


def test_arms_are_interleaved_in_an_order_of_their_own_in_each_round():
    calls = []
    seconds = timing.interleaved({n: lambda n=n: calls.append(n) for n in "abc"}, 3, torch.device("cpu"), warmup=1)
    rounds = ["".join(calls[first : first + 3]) for first in range(0, 12, 3)]
    assert all(sorted(order) == list("abc") for order in rounds)
    assert len(set(rounds[1:])) > 1
    assert [len(values) for values in seconds.values()] == [3, 3, 3]
    assert timing.ratios([2.0, 6.0, 3.0], [1.0, 2.0, 3.0]) == (1.5, 2.0, 2.5)


def test_a_teacher_with_folded_norms_says_the_same():
    teacher = speed.resnet20(10).eval()
    for module in teacher.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2.0)
    folded = speed.with_folded_norms(teacher)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    images = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(folded(images), teacher(images), rtol=1e-4, atol=1e-4)
    assert speed.with_folded_norms(torch.nn.Linear(2, 2)) is None


@pytest.mark.slow
def test_the_cache_benchmark_leaves_a_record(tmp_path):
    path = tmp_path / "cache.json"
    script("--rounds", 1, "--images", 32, "-b", 16, "--output", path, name="cache")
    record = json.loads(path.read_text())
    assert record["epoch_s"].keys() == {"plain", "live", "cached"}
    assert record["costs_s"]["teacher_answer"] > 0
    assert record["view_bytes"] > 32 * 2 * 100  # a hundred logits in fp16 of each image
    assert str(ROOT) not in json.dumps(record), "a record names a path of the machine"
