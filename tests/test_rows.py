"""Every row's script from end to end, on tiny sets in the formats of the real ones: teacher, student, resume, table."""

import json
import runpy
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from spikingjelly.activation_based import functional
from tiny_data import write_cifar, write_dvs, write_dvsgesture, write_image_folder, write_ncaltech101

from spikingjelly_ckd.recipes.data.loading import seed_all
from spikingjelly_ckd.recipes.export import file_hash, load_network
from spikingjelly_ckd.recipes.progress import is_bfloat16_fast
from spikingjelly_ckd.recipes.records import read_record
from spikingjelly_ckd.recipes.report import table
from spikingjelly_ckd.recipes.training import StepSeeds

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[1] / "examples"
RUN = ("--device", "cpu", "-j", "0", "--no-progress", "--any-teacher", "--energy-images", "2")
if not is_bfloat16_fast():  # a row's own precision would take minutes
    RUN += ("--amp", "32-true")
TINY = ("-b", "4", "--teacher-epochs", "1", "--warmup-epochs", "0")
SMALL = (*TINY, "--size", "16", "--crop-padding", "2", "--allow-partial")


def cifar10(root):
    write_cifar(root, "10", per_class_train=1, per_class_test=1)


def cifar100(root):
    write_cifar(root, "100", classes=10, per_class_train=1, per_class_test=1)


def folder(root):
    write_image_folder(root, classes=4, per_class_train=2, per_class_test=1, size=80, test="val")


def dvs(root):
    write_dvs(root, per_class=10)


def gestures(root):
    write_dvsgesture(root, per_class_train=3)


def caltech(root):
    write_ncaltech101(root, classes=("Faces_easy", "airplanes", "ant"), per_class=8)


NEEDS_2 = ("cifar100_spikformer_t1", "cifar100_spikformer_t4", "cifar100_maxresnet18_t4")
"""Rows whose student is not in SpikingJelly 0.0.0.0.14."""
TWINS = ("cifar10_r19_t1", "cifar100_r19_t1", "cifar100_r19_t4", "imagenet_sewr18_t4", "ncaltech101_r20_t10")
"""Rows whose student another row has too, with other data, steps or depth: they need not run on both generations."""
ROWS = {
    "cifar10_r19_t1": (cifar10, SMALL, (1, 3)),
    "cifar10_r19_t4": (cifar10, SMALL, (4, 3)),
    "cifar10_r20": (cifar10, SMALL, (1, 3)),
    "cifar100_r19_t1": (cifar100, (*SMALL, "--num-classes", "10"), (1, 3)),
    "cifar100_r19_t4": (cifar100, (*SMALL, "--num-classes", "10"), (4, 3)),
    "cifar100_spikformer_t1": (cifar100, (*SMALL, "--num-classes", "10"), (1, 3)),
    "imagenet_sewr34_t4": (folder, (*TINY, "--size", "64", "--num-classes", "4"), (4, 3)),
    "imagenet_r34_t2": (folder, (*TINY, "--size", "64", "--num-classes", "4"), (2, 3)),
    "cifar10dvs_r20": (dvs, (*TINY, "-b", "30", "--size", "16", "--allow-partial"), (10, 2)),
    "cifar100_maxresnet18_t4": (cifar100, (*SMALL, "--num-classes", "10", "--cutout", "8"), (4, 3)),
    "cifar100_spikformer_t4": (cifar100, (*SMALL, "--num-classes", "10"), (4, 3)),
    "cifar100_vgg16_t4": (cifar100, (*SMALL, "--size", "32", "--num-classes", "10"), (4, 3)),
    "imagenet_sewr18_t4": (folder, (*TINY, "--size", "64", "--num-classes", "4"), (4, 3)),
    "dvsgesture_r20_t16": (gestures, (*TINY, "-b", "11", "--size", "16", "--allow-partial"), (16, 2)),
    "ncaltech101_r20_t10": (caltech, (*TINY, "-b", "10", "--size", "16", "--num-classes", "3"), (10, 2)),
}


def script(name, monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, flags)])
    monkeypatch.syspath_prepend(str(EXAMPLES))
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


def test_every_script_is_tried():
    scripts = {path.stem for path in EXAMPLES.glob("*.py") if "\nRECIPE = Recipe(" in path.read_text("utf8")}
    assert scripts == set(ROWS)


def stops_after_an_epoch(seeds, trainer, module, batch, batch_idx):
    if trainer.current_epoch == 1:
        raise ArithmeticError("stop")
    seed_all(seeds.seed, trainer.current_epoch, batch_idx, trainer.global_rank)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.tools] * (name in TWINS)) for name in ROWS])
def test_row_from_end_to_end(name, tmp_path, monkeypatch, capsys):
    write, flags, (steps, channels) = ROWS[name]
    write(tmp_path / "data")
    out = tmp_path / "out"
    common = (*RUN, *flags, "--data-path", tmp_path / "data", "--output-dir", out)
    if name in NEEDS_2 and not has_spikformer():
        with pytest.raises(SystemExit, match="pip install 'spikingjelly>=2,<3'"):
            script(name, monkeypatch, *common, "--epochs", "1")
        return
    common = (*common, "--epochs", "2")
    step = StepSeeds.on_train_batch_start
    monkeypatch.setattr(StepSeeds, "on_train_batch_start", stops_after_an_epoch)
    with pytest.raises(ArithmeticError):
        script(name, monkeypatch, *common)
    monkeypatch.setattr(StepSeeds, "on_train_batch_start", step)
    teacher = json.loads((out / "teacher" / "teacher.json").read_text())
    assert teacher["accuracy"] == read_record(out / "teacher" / "record.json")["accuracy"]["last"]
    first = read_record(out / "record.json")
    assert first["accuracy"]["epochs"] == 1
    script(name, monkeypatch, *common, "--resume", "latest")
    record = read_record(out / "record.json")
    assert record["history"][0] == first["history"][0]
    assert [row["epoch"] for row in record["history"]] == [1, 2]
    assert {"train_samd", "train_nld", "test_acc5"} <= set(record["history"][1])
    assert first["preflight"]["ok"]
    assert record["preflight"] == first["preflight"]
    assert (first["resumed_after_epochs"], record["resumed_after_epochs"]) == ([], [1])

    network, about = load_network(out / "student.safetensors")
    assert about["time_steps"] == steps
    frames = torch.rand(steps, 2, channels, about["size"], about["size"])
    with torch.no_grad():
        logits = network(frames)
    assert logits.shape[-2:] == (2, len(about["classes"]))
    assert logits.ndim == 2 or len(logits) == steps
    functional.reset_net(network)
    assert record["energy"]["student"]["compute_mj"] > 0

    capsys.readouterr()
    assert table.main([str(out)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert f"`{name}`" in line
    number = record["paper_accuracy"]
    assert number is None or f"{number:.2f}" in line


def has_spikformer():
    try:
        from spikingjelly.activation_based.model import spikformer  # noqa: F401
    except ImportError:
        return False
    return True


@pytest.mark.parametrize("model", ["timm:resnet10t", None])
def test_the_teacher_of_a_row_by_one_command(model, tmp_path, monkeypatch):
    """Then a student learns from it; timm's network is fed at the size and with the normalisation of its training."""
    cifar10(tmp_path / "data")
    common = (*RUN, "--data-path", tmp_path / "data", "--allow-partial", "-b", "5", "--train-images", "10")
    choice = ("--model", model, "--size", "64") if model else ()
    script(
        "train_teacher", monkeypatch, "cifar10_r20", *common, *choice, "--epochs", "1", "--output-dir", tmp_path / "t"
    )
    about = json.loads((tmp_path / "t" / "teacher.json").read_text())
    assert about["size"] == (64 if model else 32)
    teacher = ("--teacher", tmp_path / "t" / "teacher.safetensors", "--epochs", "1", "--output-dir", tmp_path / "s")
    script("cifar10_r20", monkeypatch, *common, *teacher)
    found = read_record(tmp_path / "s" / "record.json")["teacher"]
    assert found["sha256"] == file_hash(tmp_path / "t" / "teacher.safetensors")
    assert model or found["accuracy"] == pytest.approx(about["accuracy"])  # at another size pictures differ a little


def test_the_teachers_script_asks_for_a_row(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        script("train_teacher", monkeypatch, "--print-config")
    assert "error: name a row first, one of cifar100_maxresnet18_t4, " in capsys.readouterr().err
    script("train_teacher", monkeypatch, "cifar10_r20", "--print-config")
    assert "teacher_lr" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--neuron", "lif", "--beta", "3"), "--neuron and --beta: not used where"),
        (("--teacher-epochs", "3"), "--teacher-epochs: not used where a teacher alone is trained (--epochs and"),
        (("-T", "2", "--any-teacher", "--energy-images", "2"), None),
    ],
)
def test_the_teachers_script_refuses_what_does_nothing_for_it(monkeypatch, capsys, more, said):
    with nullcontext() if said is None else pytest.raises(SystemExit):
        script("train_teacher", monkeypatch, "cifar10_r20", "--print-config", *more)
    told = capsys.readouterr().err
    assert ("error: " in told) == (said is not None)
    assert said is None or f"error: {said}" in told


def test_timms_weights_are_of_networks_of_timm(monkeypatch):
    with pytest.raises(
        SystemExit, match="error: --pretrained is for networks of timm: name one with --model timm:NAME"
    ):
        script("train_teacher", monkeypatch, "cifar10_r20", "--data-path", "x", "--pretrained")


def test_smoke_runs_every_stage_in_two_steps(tmp_path, monkeypatch):
    write_cifar(tmp_path / "data", "10", per_class_train=4, per_class_test=2)
    flags = ("--data-path", tmp_path / "data", "--allow-partial", "--output-dir", tmp_path / "out", "--smoke")
    script("cifar10_r20", monkeypatch, *RUN, *flags)
    assert read_record(tmp_path / "out" / "record.json")["smoke"]
    assert table.main([str(tmp_path / "out")]) == 1  # says nothing about accuracy


def test_print_config_shows_every_value_with_its_source(monkeypatch, capsys):
    script("cifar10_r19_t1", monkeypatch, "--print-config", "--lr", "0.05")
    shown = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert shown["lr"] == ["0.05", "command", "line"]
    assert shown["beta"] == ["1.0", "paper"]
    assert shown["epochs"] == ["400", "released", "code"]
    assert shown["paper_accuracy"] == ["96.11"]
