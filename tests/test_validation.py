"""A validation part: cut from the training part by hash, and what is chosen on it."""

import json
import re

import method_runs
import pytest
import tiny_nets
import torch
from method_runs import row

from spikingjelly_ckd.recipes.data import DataOptions, cifar10
from spikingjelly_ckd.recipes.records.schema import Record
from spikingjelly_ckd.recipes.report.table import tabulate
from spikingjelly_ckd.recipes.training.training_module import TrainingModule

pytestmark = pytest.mark.tools

OWN = "distiller.student."


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return method_runs.make_ground(tmp_path_factory.mktemp("ground"), per_class_train=6)


def load(ground, **options):
    return cifar10(ground / "data", DataOptions(size=16, allow_partial=True, **options))


def test_the_parts_of_the_data(ground):
    whole, held = load(ground), load(ground, val_images=20, flip=True, crop_padding=2)
    assert (len(whole.train), len(held.train), len(held.validation), len(held.test)) == (60, 40, 20, 10)
    assert (whole.split, held.split) == ("official", "official[40+20+10]")
    assert whole.split_hash != held.split_hash
    assert held.measured is held.validation
    assert (whole.measured, whole.measured_part) == (whole.test, "test")
    assert load(ground, val_images=1 / 3).split_hash == held.split_hash
    rows = [*held.train.rows.tolist(), *held.validation.rows.tolist()]
    assert sorted(rows) == list(range(60))
    assert torch.equal(held.validation[0][0], held.validation[0][0]), "not augmented"
    assert load(ground, train_images=40, val_images=0.25).split == "official[30+10+10]"


def test_the_held_out_images_are_the_same_beside_any_number_of_others(ground):
    whole, part = load(ground, val_images=14), load(ground, val_images=14, train_images=30)
    assert part.validation.rows.tolist() == whole.validation.rows.tolist()
    assert set(part.train.rows.tolist()) < set(whole.train.rows.tolist())
    together = [*part.train.rows.tolist(), *part.validation.rows.tolist()]
    assert sorted(whole.train.source[row][1] for row in together) == sorted([*range(10)] * 3)
    with pytest.raises(ValueError, match="train_images must be at most 60, which there are, got 1000"):
        load(ground, val_images=0.1, train_images=1000)
    with pytest.raises(ValueError, match="at least 1 and leave at least half of the 20 images of train_images"):
        load(ground, val_images=14, train_images=20)
    with pytest.raises(
        ValueError, match="at least half of the 10 images of train_images to train on, got 0, 0.04 of them"
    ):
        load(ground, val_images=0.04, train_images=10)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (0.0, ValueError, "between 0 and 1, got 0.0"),
        (1.5, ValueError, "between 0 and 1, got 1.5"),
        (0, ValueError, "at least 1"),
        (True, TypeError, "must be an integer"),
        (31, ValueError, "asks for 31 of 60"),
        (9, ValueError, "an image of each class to the validation part, and these 9 have none of truck; pass .*=10$"),
    ],
)
def test_a_validation_part_that_cannot_be_cut_is_one_error(ground, value, error, words):
    with pytest.raises(error, match=words):
        load(ground, val_images=value)


def test_the_test_set_is_looked_at_once_and_the_validation_part_after_each_epoch(ground, tmp_path, monkeypatch, capsys):
    seen = []
    evaluate = TrainingModule._measure

    def note(module, batch, *rest):
        seen.append((module.trainer.state.fn.value, len(batch[1])))
        evaluate(module, batch, *rest)

    monkeypatch.setattr(TrainingModule, "_measure", note)
    line = ("--method", "plain", "--val-images", "20", "--epochs", "3", "-b", "20")
    record = row(ground, tmp_path, *line)
    assert [size for stage, size in seen if stage == "fit"] == [20, 20, 20]
    looks = 1 if record["accuracy"]["best_epoch"] == 3 else 2
    assert [size for stage, size in seen if stage == "test"] == [10] * looks
    assert record["data"]["split"] == "official[40+20+10]"
    assert record["data"]["val_images"] == 20
    assert record["accuracy"]["part"] == "val"
    assert {"val_loss", "val_acc1", "val_acc5"} <= set(record["history"][0])
    assert not any(name.startswith("test") for name in record["history"][0])
    assert set(record["test"]) == {"last", "best"}
    assert record == json.loads((tmp_path / "record.json").read_text()) | {"options": record["options"]}
    said = capsys.readouterr().out
    assert re.search(
        r"test accuracy last [\d.]+ %, of epoch \d, chosen on the validation part, [\d.]+ %; validation", said
    )
    assert "best on validation" in tabulate([Record.read(tmp_path / "record.json")])


def test_the_best_epoch_is_tested_with_its_weights_and_the_student_is_of_the_last(ground, tmp_path, monkeypatch):
    line = ("--method", "plain", "--val-images", "20", "--epochs", "3", "-b", "20", "--ema", "0.5")
    accuracies = iter([30.0, 20.0, 10.0])  # so that the first epoch is the best
    log = TrainingModule._log

    def as_told(module, part, figures, **more):
        if part == "val":
            figures = [figures[0], torch.tensor(next(accuracies)), figures[2]]
        log(module, part, figures, **more)

    monkeypatch.setattr(TrainingModule, "_log", as_told)
    record = row(ground, tmp_path / "val", *line)
    assert (record["accuracy"]["best"], record["accuracy"]["best_epoch"]) == (30.0, 1)
    best = torch.load(tmp_path / "val" / "best.ckpt", weights_only=True)
    network = tiny_nets.optional_student(10)
    network.load_state_dict({k.removeprefix(OWN): v for k, v in best["state_dict"].items() if k.startswith(OWN)})
    images, labels = zip(*load(ground).test, strict=True)
    with torch.no_grad():
        right = network.eval()(torch.stack(images).expand(2, -1, -1, -1, -1)).mean(0).argmax(1) == torch.tensor(labels)
    assert record["test"]["best"] == pytest.approx(100 * right.float().mean().item())


def test_without_a_validation_part_the_best_is_said_only_where_it_is_asked_for(ground, tmp_path, capsys):
    record = row(ground, tmp_path / "a", "--method", "plain", "--epochs", "1")
    assert "best" not in capsys.readouterr().out
    assert "test" not in record
    assert "part" not in record["accuracy"], "records of such runs are as they were"
    row(ground, tmp_path / "b", "--method", "plain", "--epochs", "1", "--best-on-test")
    assert re.search(r"best [\d.]+ % \(epoch 1, chosen on the test set\)", capsys.readouterr().out)


def test_a_resumed_run_with_a_validation_part_ends_as_if_it_had_not_been_stopped(ground, tmp_path):
    line = ("--method", "plain", "--val-images", "0.25", "--epochs", "2", "-b", "20")
    whole = row(ground, tmp_path / "whole", *line)
    with pytest.raises(ArithmeticError), method_runs.stopping_after(1):
        row(ground, tmp_path / "part", *line)
    assert "test" not in json.loads((tmp_path / "part" / "record.json").read_text())
    part = row(ground, tmp_path / "part", *line, "--resume", "latest")
    assert part["test"] == whole["test"]
    with pytest.raises(ValueError, match="data set cifar10 official"):
        row(ground, tmp_path / "part", *line[:2], "--val-images", "20", *line[4:], "--resume", "latest")
