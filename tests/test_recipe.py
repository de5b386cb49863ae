"""Recipes: values with their sources, the command line, and the scripts of the rows."""

import functools
import importlib.util
import json
import os
import runpy
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import pytest
import tiny_nets
import torch
from tiny_data import write_image_folder
from torch import nn
from torch.utils.data import Dataset

from spikingjelly_ckd.errors.arguments import ArgumentValueError
from spikingjelly_ckd.recipes import models
from spikingjelly_ckd.recipes.build import Built
from spikingjelly_ckd.recipes.command_line import command_line, parse
from spikingjelly_ckd.recipes.counting import count_energy
from spikingjelly_ckd.recipes.data import Data, cifar10, cifar10dvs, cifar100, dvsgesture, imagenet, ncaltech101
from spikingjelly_ckd.recipes.flag_texts import GROUPS
from spikingjelly_ckd.recipes.options import Run, default_workers
from spikingjelly_ckd.recipes.recipe import CHOICES, OF_CKD, Recipe, ours, paper, released
from spikingjelly_ckd.recipes.row import run_row
from spikingjelly_ckd.recipes.training.resume import what_to_resume

pytestmark = pytest.mark.tools

EXAMPLES = Path(__file__).parents[1] / "examples"
DATA = ("--data-path", "somewhere")
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def make_recipe(**changes) -> Recipe:
    values = {
        "name": "mine",
        "paper_accuracy": None,
        "data": cifar10,
        "student": tiny_nets.student,
        "teacher": tiny_nets.teacher,
        "time_steps": paper(4),
        "size": 32,
        "flip": released(True),
        "nda": ours(True),
        "epochs": 3,
        "batch_size": released(16),
        "lr": ours(0.1),
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "warmup_epochs": 0,
        "amp": "32-true",
        "map_temperature": 2.0,
        "temperature": paper(2.0),
        "noise_weight": 0.1,
        "beta": paper(1.0),
        "gamma": 1.0,
        "teacher_epochs": 3,
        "teacher_lr": 0.1,
    }
    return Recipe(**{**values, **changes})


# --- values and their sources ----------------------------------------------------------------------------------------


def test_a_marked_value_is_the_value_and_its_source_is_kept():
    recipe = make_recipe()
    assert (recipe.time_steps, recipe.flip, recipe.lr, recipe.size) == (4, True, 0.1, 32)
    assert recipe.sources == {
        "time_steps": "paper",
        "flip": "released code",
        "nda": "ours",
        "batch_size": "released code",
        "lr": "ours",
        "temperature": "paper",
        "beta": "paper",
    }


def test_functions_can_be_marked_too():
    recipe = make_recipe(student=paper(tiny_nets.slow_student), data=ours(cifar100))
    assert recipe.student is tiny_nets.slow_student
    assert recipe.data is cifar100
    assert recipe.sources["student"] == "paper"


def test_a_changed_copy_keeps_the_sources():
    recipe = replace(make_recipe(), epochs=7)
    assert recipe.sources == make_recipe().sources
    assert replace(recipe, lr=paper(0.2)).sources["lr"] == "paper"


def test_every_value_is_printed_with_its_source_beside_it():
    lines = {line.split()[0]: line.split() for line in str(make_recipe()).splitlines()}
    assert set(lines) == {item.name for item in fields(Recipe)} - {"sources"}
    assert lines["time_steps"] == ["time_steps", "4", "paper"]
    assert lines["flip"] == ["flip", "True", "released", "code"]
    assert lines["lr"] == ["lr", "0.1", "ours"]
    assert lines["size"] == ["size", "32"], "an unmarked value has no source"
    assert lines["student"] == ["student", "tiny_nets:student"]
    starts = [line.index("paper") for line in str(make_recipe()).splitlines() if line.split()[2:] == ["paper"]]
    assert len(starts) == 3
    assert len(set(starts)) == 1, "in one column"


def test_plain_data_name_the_functions():
    found = make_recipe(student=functools.partial(tiny_nets.student, in_channels=2)).to_json()
    assert json.loads(json.dumps(found)) == found
    assert found["teacher"] == "tiny_nets:teacher"
    assert found["data"] == "spikingjelly_ckd.recipes.data:cifar10"
    assert "partial" in found["student"]
    assert "sources" not in found


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method 'bkdsn': no method is called 'bkdsn'; did you mean 'bkdsnn'"):
        make_recipe(method="bkdsn")
    with pytest.raises(TypeError, match="lr"):
        Recipe(name="x", paper_accuracy=None, data=cifar10, student=nn.Linear, teacher=nn.Linear)


def test_the_method_of_a_row_is_one_of_the_catalogue_or_ones_own():
    recipe = make_recipe(method="kd:temperature=2.0", student_layer="layer2")
    loss, weight = recipe.read_method().losses["kd"]
    assert (loss.temperature, weight) == (2.0, 0.9)
    own = make_recipe(beta=0.5, noise_weight=0.3).read_method()
    assert {name: weight for name, (_, weight) in own.losses.items()} == {"samd": 0.5, "nld": 1.0}
    assert own.losses["nld"][0].noise_weight == 0.3


def test_what_a_method_needs_of_the_student_is_set_and_its_source_is_said():
    recipe = make_recipe(method="enof")
    assert (recipe.last_activation, recipe.sources["last_activation"]) == ("relu", "needed by enof")
    assert recipe.build_options() == {"last_activation": "relu"}
    assert make_recipe().build_options() == {}
    assert make_recipe(method="enof", last_activation=ours("relu")).sources["last_activation"] == "ours"


def test_a_method_is_printed_with_its_source_and_without_the_values_of_ckd():
    lines = {line.split()[0]: line for line in str(make_recipe(method="dkd")).splitlines()}
    assert not set(OF_CKD) & set(lines)
    assert "DKDLoss(temperature=4.0, alpha=1.0, beta=8.0), weight 1.0, times 0 to 1, linear" in lines["method.dkd"]
    assert lines["method.dkd"].endswith("  mdistiller's DKD, CIFAR-100")
    assert "cross-entropy of the mean logits, weight 1.0" in lines["method.task"]
    assert json.loads(json.dumps(make_recipe(method="tdkd").to_json()))["parts"]["needs"] == "logits of every time step"
    assert "parts" not in make_recipe(method="plain").to_json()


def test_an_error_of_a_recipe_names_its_value_as_data():
    for name, value in {"lr": 0.0, "epochs": 0, "momentum": 1.0, "warmup_epochs": 3, "optimizer": "adam"}.items():
        with pytest.raises(ArgumentValueError, match=f"^{name} ") as caught:
            make_recipe(**{name: value})
        assert caught.value.argument == name


def test_mixing_that_ends_behind_the_last_epoch_is_refused_where_it_was_asked_for():
    row, line = load_row("cifar100_spikformer_t4"), ["--data-path", "x", "--epochs", "50"]
    assert parse(row, line)[0].mixup_off_epoch == 200  # the row's own, which a shorter training does not reach
    with pytest.raises(SystemExit):
        parse(row, [*line, "--mixup-off-epoch", "50"])
    given = {"mixup": 0.5, "mixup_off_epoch": 3, "epochs": 3, "sources": {"mixup_off_epoch": "command line"}}
    with pytest.raises(ArgumentValueError, match=r"^mixup_off_epoch \(3\) must be below epochs \(3\)"):
        make_recipe(**given)


def test_the_choices_are_those_of_the_types():
    assert CHOICES == {
        "task_loss": ("ce", "tet"),
        "last_activation": ("spike", "relu"),
        "neuron": ("lif", "plif", "if"),
        "surrogate": ("triangle", "atan", "sigmoid"),
        "norm": ("bn", "tebn", "tdbn", "mpbn"),
        "memopt": ("speed", "balanced", "memory"),
        "variant": ("paper", "released"),
        "target_class": ("teacher", "label"),
        "optimizer": ("sgd", "adamw"),
        "student_steps": ("multi", "loop", "internal"),
        "amp": ("32-true", "bf16-mixed", "16-mixed"),
    }


def test_the_data_get_their_part():
    options = make_recipe(crop_padding=4, split="tebn").data_options(num_classes=7, download=True)
    assert (options.size, options.time_steps, options.split, options.crop_padding) == (32, 4, "tebn", 4)
    assert (options.flip, options.nda, options.num_classes, options.download) == (True, True, 7, True)


# --- the command line ------------------------------------------------------------------------------------------------

FLAGS = {
    "time_steps": ("-T", "2", 2),
    "size": ("--size", "48", 48),
    "split": ("--split", "tebn", "tebn"),
    "crop_padding": ("--crop-padding", "4", 4),
    "resized_crop": ("--resized-crop", None, True),
    "flip": ("--no-flip", None, False),
    "auto_augment": ("--auto-augment", "cifar10", "cifar10"),
    "erase": ("--erase", "0.5", 0.5),
    "roll": ("--roll", "5", 5),
    "nda": ("--no-nda", None, False),
    "mixup": ("--mixup", "0.2", 0.2),
    "cutmix": ("--cutmix", "1", 1.0),
    "epochs": ("--epochs", "9", 9),
    "batch_size": ("-b", "8", 8),
    "lr": ("--lr", "5e-4", 5e-4),
    "optimizer": ("--optimizer", "adamw", "adamw"),
    "momentum": ("--momentum", "0.8", 0.8),
    "weight_decay": ("--wd", "0.06", 0.06),
    "warmup_epochs": ("--warmup-epochs", "1", 1),
    "amp": ("--amp", "bf16-mixed", "bf16-mixed"),
    "clip": ("--clip", "1", 1.0),
    "accumulate": ("--accumulate", "2", 2),
    "ema": ("--ema", "0.99", 0.99),
    "method": ("--method", "plain", "plain"),
    "variant": ("--variant", "released", "released"),
    "map_temperature": ("--map-temperature", "4", 4.0),
    "temperature": ("--temperature", "3", 3.0),
    "noise_weight": ("--noise-weight", "0", 0.0),
    "beta": ("--beta", "auto", "auto"),
    "gamma": ("--gamma", "0.25", 0.25),
    "target_class": ("--target-class", "label", "label"),
    "cutout": ("--cutout", "16", 16),
    "mixup_off_epoch": ("--mixup-off-epoch", "0", 0),
    "norm_decay": ("--no-norm-decay", None, False),
    "accelerate": ("--accelerate", None, True),
    "sync_bn": ("--sync-bn", None, True),
    "early_stop": ("--early-stop", "3", 3),
    "memopt": ("--memopt", "balanced", "balanced"),
    "eval_time_steps": ("--eval-time-steps", "6", 6),
    "init": ("--init", "teacher", "teacher"),
    "task_loss": ("--task-loss", "tet", "tet"),
    "label_smoothing": ("--label-smoothing", "0.1", 0.1),
    "neuron": ("--neuron", "plif", "plif"),
    "tau": ("--tau", "4", 4.0),
    "surrogate": ("--surrogate", "atan", "atan"),
    "detach_reset": ("--detach-reset", None, True),
    "norm": ("--norm", "tebn", "tebn"),
    "last_activation": ("--last-activation", "relu", "relu"),
    "student": ("--student", "tiny_nets:slow_student", tiny_nets.slow_student),
    "student_steps": ("--student-steps", "internal", "internal"),
    "data": ("--data", "spikingjelly_ckd.recipes.data:cifar100", cifar100),
    "student_layer": ("--student-layer", "layer2", "layer2"),
    "teacher_layer": ("--teacher-layer", "layer2", "layer2"),
    "teacher_epochs": ("--teacher-epochs", "1", 1),
    "teacher_lr": ("--teacher-lr", "0.05", 0.05),
}


def test_every_value_but_the_rows_identity_has_a_flag():
    fixed = {"name", "paper_accuracy", "teacher", "sources"}
    assert set(FLAGS) == {item.name for item in fields(Recipe)} - fixed


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_changes_its_value_and_is_marked(name):
    flag, text, value = FLAGS[name]
    recipe, _ = parse(make_recipe(), [*DATA, flag, *([] if text is None else [text])])
    assert getattr(recipe, name) == value
    assert type(getattr(recipe, name)) is type(value)
    assert recipe.sources[name] == "command line"
    assert recipe == replace(make_recipe(), **{name: value}, sources=recipe.sources), "nothing else changed"
    assert {k: v for k, v in recipe.sources.items() if k != name} == {
        k: v for k, v in make_recipe().sources.items() if k != name
    }


@pytest.mark.parametrize(
    ("flag", "name"),
    [("--time-steps", "time_steps"), ("--batch-size", "batch_size"), ("--weight-decay", "weight_decay")],
)
def test_long_forms(flag, name):
    assert getattr(parse(make_recipe(), [*DATA, flag, "1"])[0], name) == 1


def test_a_number_written_without_a_point_in_the_script_still_takes_a_fraction():
    recipe, _ = parse(make_recipe(lr=ours(1), noise_weight=0), [*DATA, "--lr", "0.5", "--noise-weight", "0.1"])
    assert (recipe.lr, recipe.noise_weight) == (0.5, 0.1)


def test_without_flags_the_recipe_stays_as_it_is():
    recipe, options = parse(make_recipe(), DATA)
    assert recipe == make_recipe()
    assert str(options.data_path) == "somewhere"
    found = (options.seed, options.workers, options.devices, options.resume, options.teacher)
    assert found == (0, default_workers(), 1, None, None)
    assert not set(vars(options)) & set(FLAGS), "what belongs to the recipe is not there twice"


def test_every_flag_is_a_value_of_the_recipe_or_of_the_run():
    flags = {action.dest for action in command_line(make_recipe())._actions} - {"help"}
    assert flags == {*FLAGS, *(item.name for item in fields(Run))} - {"pretrained"}, "which is of train_teacher.py"


def test_a_run_is_not_changed_by_accident():
    _, run = parse(make_recipe(), DATA)
    assert run == Run(data_path=Path("somewhere"))
    with pytest.raises(FrozenInstanceError):
        run.seed = 1


def test_where_a_run_is_written():
    recipe = make_recipe()
    assert Run(seed=2).folder(recipe) == Path("runs/mine/ckd-seed2")
    assert Run().folder(make_recipe(method="kd:weight=0.5")) == Path("runs/mine/kd-weight=0.5-seed0")
    assert Run().teacher_folder(recipe) == Path("runs/mine/teacher")
    assert Run(smoke=True).folder(recipe) == Path("runs/mine/smoke/ckd-seed0")
    assert Run(output_dir=Path("out")).folder(recipe) == Path("out")
    assert Run(output_dir=Path("out"), smoke=True).teacher_folder(recipe) == Path("out/teacher")


def test_a_smoke_run_is_short():
    run = Run(smoke=True)
    short = run.shorten(make_recipe(warmup_epochs=1))
    assert (short.epochs, short.warmup_epochs, short.batch_size) == (1, 0, 4)
    assert (run.most_steps, run.counted_images) == (2, 4)
    assert Run().shorten(make_recipe()) == make_recipe()
    assert (Run().most_steps, Run().counted_images) == (None, 256)


class NoiseOfClasses(Dataset):
    """Twelve images of each of four classes, which stand class by class; it notes which were asked for."""

    def __init__(self):
        self.asked = []

    def __len__(self):
        return 48

    def __getitem__(self, row):
        self.asked.append(row)
        return torch.rand(3, 8, 8), row // 12


@pytest.mark.parametrize(("wanted", "counted"), [(10, 10), (99, 48)])
def test_energy_is_counted_on_as_many_images_as_it_says_of_the_whole_test_set(wanted, counted):
    part = NoiseOfClasses()
    data = Data("own", part, part, tuple("abcd"), 3, 8, None, None, False, "own", "", True)
    student = Built(tiny_nets.optional_student(4), tiny_nets.optional_student, {"num_classes": 4})
    recipe = make_recipe(batch_size=4, time_steps=2, size=8)
    found = count_energy(recipe, Run(energy_images=wanted), data, student, None)
    assert found["images"] == counted
    rows = part.asked[:counted]
    assert len(set(rows)) == counted
    assert part.asked == 2 * rows, "of the student and of its ANN twin"
    assert {row // 12 for row in rows} == {0, 1, 2, 3}


def test_flags_of_the_run():
    line = [
        *DATA,
        "-j",
        "0",
        "--seed",
        "3",
        "--device",
        "cpu",
        "--devices",
        "2",
        "--strategy",
        "ddp",
        "--resume",
        "latest",
    ]
    line += ["--teacher", "timm:resnet18", "--train-images", "100", "--smoke", "--output-dir", "out"]
    _, options = parse(make_recipe(), line)
    assert (options.workers, options.seed, options.device, options.devices) == (0, 3, "cpu", 2)
    assert (options.teacher, options.train_images, options.resume, options.smoke) == (
        "timm:resnet18",
        100,
        "latest",
        True,
    )
    assert options.output_dir == Path("out")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ([], "--data-path is needed: the folder of the data set, or an ImageFolder tree"),
        ([*DATA, "--method", "bkdsn"], "--method 'bkdsn': no method is called 'bkdsn'; did you mean 'bkdsnn'"),
        ([*DATA, "--method", "kd", "--beta", "1", "--gamma", "1"], "--beta and --gamma: not used by --method kd"),
        (
            [*DATA, "--teacher", __file__, "--teacher-lr", "1", "--teacher-epochs", "2"],
            f"--teacher-epochs and --teacher-lr: not used with --teacher {__file__}, which is not trained here",
        ),
        (
            [*DATA, "--teacher-build", "tiny_nets:teacher"],
            "--teacher-build does nothing without --teacher PATH: what is trained here is ",
        ),
        ([*DATA, "--method", "kd", "--student-layer", "x"], "--student-layer: not used by --method kd"),
        ([*DATA, "--method", "at", "--teacher-layer", "x"], "--teacher-layer: not used by --method at"),
        ([*DATA, "--method", "strong_weak", "-T", "1"], "--time-steps must be at least 2 for the method strong_weak"),
        (
            [*DATA, "--method", "enof", "--last-activation", "spike"],
            "--last-activation must be 'relu' for the method enof, got 'spike'",
        ),
        ([*DATA, "--beta", "much"], "--beta: it must be a number of at least 0, 'auto' or 'hold', got 'much'"),
        ([*DATA, "--gamma", "-1"], "--gamma: it must be a number of at least 0"),
        ([*DATA, "--devices", "0"], "--devices: it must be a whole number of at least 1 or 'auto', got '0'"),
        ([*DATA, "--devices", "abc"], "--devices: it must be a whole number of at least 1 or 'auto', got 'abc'"),
        ([*DATA, "--num-nodes", "0"], "--num-nodes: it must be a whole number of at least 1, got '0'"),
        *[
            ([*DATA, "--val-images", text], f"it must be a whole number, or between 0 and 1, got '{text}'")
            for text in ("some", "1.5", "0", "-3", "nan", "inf")
        ],
        ([*DATA, "-T", "two"], "invalid int value: 'two'"),
        ([*DATA, "--seeds", "0", "-1"], "--seeds: seeds are whole numbers of at least 0 with spaces between, got '-1'"),
        ([*DATA, "--foo", "3"], "unrecognized arguments: --foo 3"),
        ([*DATA, "--learning-rate", "3"], "for --learning-rate, did you mean '--lr'?"),
        ([*DATA, "--student", "tiny_nets"], "expected module:function"),
        ([*DATA, "--student", "tiny_nets:absent"], "tiny_nets has no function 'absent'"),
        ([*DATA, "--student", "absent_module:build"], "there is no module 'absent_module'"),
    ],
)
def test_a_wrong_command_line_is_a_usage_message(capsys, line, words):
    with pytest.raises(SystemExit) as left:
        parse(make_recipe(), line)
    assert left.value.code == 2
    usage, *said = capsys.readouterr().err.splitlines()
    assert usage.endswith("--data-path DIR [flags] (see --help)"), "one line, whatever the number of flags"
    assert words in "\n".join(said)
    assert "Traceback" not in said


def test_a_value_of_the_row_is_not_blamed_on_a_flag(capsys):
    with pytest.raises(SystemExit):
        parse(make_recipe(warmup_epochs=2), [*DATA, "--epochs", "2"])
    said = capsys.readouterr().err
    assert "error: the row's warmup_epochs (2) must be below epochs (2); set it with --warmup-epochs" in said
    assert "--warmup-epochs (2)" not in said


def test_an_augmentation_of_the_row_is_not_blamed_on_a_flag(tmp_path, script):
    write_image_folder(tmp_path / "tree", classes=10, per_class_train=1, per_class_test=1)
    line = ("--data-path", tmp_path / "tree", "--output-dir", tmp_path / "out")
    with pytest.raises(SystemExit, match="error: the row's nda does nothing to images, which this data .* --no-nda$"):
        script("cifar10dvs_r20", *line)


@pytest.mark.parametrize(("text", "value"), [("500", 500), ("0.1", 0.1)])
def test_a_validation_part_is_a_number_or_a_share(text, value):
    _, run = parse(make_recipe(), [*DATA, "--val-images", text])
    assert run.val_images == value
    assert type(run.val_images) is type(value)


def test_printing_needs_no_data():
    _, options = parse(make_recipe(), ["--print-config"])
    assert options.print_config
    assert options.data_path is None


def test_a_student_of_ones_own_is_found_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "networks_of_mine.py").write_text("def build(num_classes):\n    return num_classes\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    recipe, _ = parse(make_recipe(), [*DATA, "--student", "networks_of_mine:build"])
    assert recipe.student(7) == 7
    assert recipe.to_json()["student"] == "networks_of_mine:build"


def test_a_smoke_run_takes_the_place_of_smoke_runs_alone(tmp_path):
    recipe, run = parse(make_recipe(), [*DATA, "--smoke", "--output-dir", str(tmp_path)])
    record = tmp_path / "record.json"
    record.write_text('{"format": 2, "smoke": true}')
    assert what_to_resume(tmp_path, recipe, run) is None
    for text in ('{"format": 2, "smoke": false}', "torn"):
        record.write_text(text)
        with pytest.raises(ValueError, match="holds a run already"):
            what_to_resume(tmp_path, recipe, run)
        assert what_to_resume(tmp_path, recipe, replace(run, overwrite=True)) is None


def test_help_shows_every_flag_with_the_rows_value():
    text = command_line(make_recipe(), "What it does.").format_help()
    assert text.count("What it does.") == 1
    for flag, _, _ in FLAGS.values():
        assert flag in text
    for words in ("(default: 16, released code)", "(default: on, released code)", "(default: 0.0001)", "(default: 0)"):
        assert words in " ".join(text.split())


def test_help_has_a_sentence_for_each_flag():
    actions = [action for action in command_line(make_recipe())._actions if action.dest != "help"]
    assert sorted(action.dest for action in actions) == sorted(name for flags in GROUPS.values() for name in flags)
    for action in actions:
        sentence = action.help.partition(" (default")[0]
        assert sentence[0].isupper() or sentence[0] == "'", action.dest
        assert sentence.endswith("."), action.dest
    assert len(GROUPS) == 9, "as many as a person reads"


def test_the_teachers_script_lists_the_flags_of_the_row(script, capsys):
    with pytest.raises(SystemExit) as left:
        script("train_teacher", "cifar10_r20", "--help")
    assert not left.value.code
    said = " ".join(capsys.readouterr().out.split())
    for words in ("--model timm:NAME Train", "--data-path DIR Folder", "--lr NUMBER Learning rate", "0.05, released"):
        assert words in said
    assert "--map-temperature" not in said
    for flag in ("--seeds", "--early-stop", "--energy-images", "METHOD-seedN"):
        assert flag not in said
    assert "--output-dir DIR Folder of the teacher" in said
    with pytest.raises(SystemExit) as left:
        script("train_teacher", "--help")
    assert not left.value.code
    assert "ROW is one of" in capsys.readouterr().out


@pytest.mark.slow
def test_a_reader_that_leaves_ends_the_printing_without_a_traceback(tmp_path):
    line = f"{sys.executable} {EXAMPLES / 'cifar10_r20.py'} --print-config | head -1"
    done = subprocess.run(line, shell=True, cwd=tmp_path, env=ONE_THREAD, capture_output=True, text=True)
    assert done.stdout.startswith("name")
    assert done.stderr == ""


# --- the scripts of the rows -----------------------------------------------------------------------------------------

ROWS = {
    "cifar10_r19_t1": (96.11, 1, cifar10, models.spiking_resnet19, 32),
    "cifar10_r19_t4": (97.81, 4, cifar10, models.spiking_resnet19, 32),
    "cifar100_r19_t1": (79.11, 1, cifar100, models.spiking_resnet19, 32),
    "cifar100_r19_t4": (83.88, 4, cifar100, models.spiking_resnet19, 32),
    "cifar100_spikformer_t1": (83.07, 1, cifar100, models.spikformer_4_384, 32),
    "imagenet_sewr34_t4": (73.05, 4, imagenet, models.sew_resnet34, 224),
    "imagenet_r34_t2": (71.33, 2, imagenet, models.spiking_resnet34, 224),
    "cifar10dvs_r20": (81.55, 10, cifar10dvs, models.spiking_resnet20, 48),
}
UNREPORTED = {"cifar10_r20"}
OF_OTHERS = {
    "cifar100_maxresnet18_t4": (None, 4, cifar100, models.max_resnet18, 32),
    "cifar100_spikformer_t4": (None, 4, cifar100, models.spikformer_4_384, 32),
    "cifar100_vgg16_t4": (None, 4, cifar100, models.spiking_vgg16, 32),
    "imagenet_sewr18_t4": (66.92, 4, imagenet, models.sew_resnet18, 224),
    "dvsgesture_r20_t16": (None, 16, dvsgesture, models.spiking_resnet20, 64),
    "ncaltech101_r20_t10": (None, 10, ncaltech101, models.spiking_resnet20, 64),
}
"""Rows that the paper does not have, or not with this network and number of time steps."""


def load_row(name: str) -> Recipe:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.RECIPE


def test_every_script_with_a_recipe_is_looked_at():
    found = {path.stem for path in EXAMPLES.glob("*.py") if "\nRECIPE = Recipe(" in path.read_text("utf8")}
    assert found == {*ROWS, *UNREPORTED, *OF_OTHERS}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_the_papers(name):
    accuracy, steps, data, student, size = ROWS[name]
    recipe = load_row(name)
    assert recipe.name == name
    assert recipe.paper_accuracy == accuracy
    assert (recipe.time_steps, recipe.sources["time_steps"]) == (steps, "paper")
    assert recipe.data is data
    assert recipe.student is student
    assert recipe.size == size
    assert f"T={steps}" in (EXAMPLES / f"{name}.py").read_text("utf8").splitlines()[0]
    assert f"{accuracy} %" in (EXAMPLES / f"{name}.py").read_text("utf8").splitlines()[0]


@pytest.mark.parametrize("name", [*ROWS, *UNREPORTED])
def test_the_settings_that_the_paper_states_are_used(name):
    recipe = load_row(name)
    stated = {
        "beta": 1.0,
        "gamma": 1.0,
        "noise_weight": 0.1,
        "temperature": 2.0,
        "map_temperature": 2.0,
        "optimizer": "sgd",
        "momentum": 0.9,
        "weight_decay": 1e-4,
    }
    assert {key: getattr(recipe, key) for key in stated} == stated
    assert {recipe.sources[key] for key in stated} == {"paper"}
    assert (recipe.method, recipe.variant) == ("ckd", "paper")


@pytest.mark.parametrize("name", OF_OTHERS)
def test_a_row_of_others_says_whose_numbers_it_knows(name):
    accuracy, steps, data, student, size = OF_OTHERS[name]
    recipe = load_row(name)
    found = (recipe.paper_accuracy, recipe.time_steps, recipe.data, recipe.student, recipe.size)
    assert found == (accuracy, steps, data, student, size)
    assert f"T={steps}" in (EXAMPLES / f"{name}.py").read_text("utf8").splitlines()[0]
    assert recipe.sources["student"] != "paper"
    assert recipe.sources["time_steps"] != "paper"
    of_ckd = ("beta", "gamma", "noise_weight", "temperature", "map_temperature")
    assert {recipe.sources[value] for value in of_ckd} == {"paper"}


def test_a_network_that_is_inferred_is_marked_so():
    assert load_row("imagenet_sewr18_t4").sources["student"] == "inferred"


def test_the_schedule_of_a_networks_own_authors_is_cited():
    recipe = load_row("cifar100_spikformer_t4")
    assert (recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.epochs) == ("adamw", 5e-4, 0.06, 300)
    assert {recipe.sources[name] for name in ("optimizer", "lr", "weight_decay")} == {"Spikformer's cifar10.yml"}


@pytest.mark.parametrize("name", [*ROWS, *UNREPORTED, *OF_OTHERS])
def test_every_value_that_decides_has_a_source(name):
    recipe = load_row(name)
    if name not in OF_OTHERS:
        assert set(recipe.sources.values()) <= {"paper", "released code", "ours"}
    defaults = {item.name: item.default for item in fields(Recipe)}
    for key in set(defaults) - {"name", "paper_accuracy", "sources"}:
        unsaid = key not in recipe.sources
        assert not unsaid or getattr(recipe, key) == defaults[key], f"{key} is given without a source"
    needed = {"data", "student", "teacher", "time_steps", "size", "epochs", "batch_size", "lr", "warmup_epochs", "amp"}
    assert needed | {"teacher_epochs", "teacher_lr", "target_class"} <= set(recipe.sources)
    assert "split" in recipe.sources or recipe.data is not cifar10dvs


@pytest.fixture
def script(monkeypatch):
    """Run a script of a row in this process, which spares seconds of imports."""

    def run(name, *flags):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, flags)])
        monkeypatch.syspath_prepend(str(EXAMPLES))
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")

    return run


def test_a_script_prints_its_values_without_data(tmp_path, script, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    script("cifar10dvs_r20", "--print-config", "--lr", "0.3")
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert set(lines) == {item.name for item in fields(Recipe)} - {"sources"}
    assert lines["lr"] == ["lr", "0.3", "command", "line"]
    assert lines["beta"] == ["beta", "1.0", "paper"]
    assert lines["paper_accuracy"] == ["paper_accuracy", "81.55"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [*ROWS, *UNREPORTED, *OF_OTHERS])
def test_every_row_can_print_its_values(capsys, name):
    assert run_row(load_row(name), ["--print-config"]) is None
    printed = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert printed["name"] == [name]
    assert printed["gamma"] == ["1.0", "paper"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux knows which cores a process may use")
def test_loading_processes_follow_the_cores_that_the_process_may_use():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert default_workers() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert default_workers() == min(8, len(allowed) // max(1, torch.cuda.device_count()))
