"""Which flags a comparison has, which of those of the rows it refuses, and what was asked for."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ...errors.arguments import ArgumentValueError
from ...errors.near import hint
from .. import data as data_sets
from ..command_line import CHANGEABLE, command_line
from ..comparison.controls import CONTROL
from ..data.digits import digits
from ..methods import resolve_here
from ..models import resnet8, resnet20, spiking_resnet8, spiking_resnet20
from ..options import Run
from ..parser import read_count, read_seed, read_whole
from ..recipe import Recipe
from ..sources import ours

__all__ = ["HOME", "PROGRAM", "RECIPE", "ComparisonOptions", "parser_of_comparisons", "read_flags", "settings_of_data"]

PROGRAM = "python -m spikingjelly_ckd compare"
NAMES = ("cifar10", "cifar100", "cifar10dvs", "dvsgesture", "ncaltech101", "imagenet", "image_folder")
READERS = {name: getattr(data_sets, name) for name in NAMES} | {"digits": digits}
"""Name for ``--data`` -> the function that reads the data."""
RECIPE = Recipe(
    name="compare",
    paper_accuracy=None,
    data=ours(data_sets.image_folder),
    student=ours(spiking_resnet20),
    teacher=ours(resnet20),
    time_steps=ours(4),
    size=ours(32),
    epochs=ours(30),
    batch_size=ours(64),
    lr=ours(0.1),
    momentum=ours(0.9),
    weight_decay=ours(1e-4),
    warmup_epochs=ours(0),
    amp=ours("32-true"),
    method=CONTROL,
    map_temperature=ours(2.0),
    temperature=ours(2.0),
    noise_weight=ours(0.1),
    beta=ours(1.0),
    gamma=ours(1.0),
    teacher_epochs=ours(60),
    teacher_lr=ours(0.1),
)
ELSEWHERE = {
    "method": "--methods",
    "seed": "--seeds",
    "resume": "the same command again, which goes on where it was",
    "overwrite": "another --output-dir",
    "print_config": "--list",
}
"""Flag of a row -> what a comparison has in its place."""
NOT_SERVED = (
    *("teacher_cache", "teacher_cache_dir", "devices", "num_nodes", "strategy", "mixup", "cutmix", "mixup_off_epoch"),
    *("ema", "accelerate", "sync_bn", "eval_time_steps", "logger", "energy_images", "best_on_test", "early_stop"),
)
UNSERVED = {*ELSEWHERE, *NOT_SERVED, "accumulate"}
"""Flags of rows that are refused."""
TEXTS = {
    "data_path": "Folder of the data set, or an ImageFolder tree with train and test or val. Required, except with "
    "--data digits.",
    "val_images": "Hold out so many training images, or this share of them; without it a tenth. The digits have a "
    "validation part of their own.",
    "num_classes": "Number of classes of your data, where it differs from the official one of --data.",
    "amp": "Precision; 16-mixed is not served, since no gradient is scaled here. (default: 32-true, ours)",
    "no_preflight": "Leave out the check of each arm before the training.",
    "no_progress": "Print no lines about progress.",
}
"""Help of flags that mean something else than in a row."""
TRAIN = "train"
"""What ``--teacher`` says for one that is trained first, which is the default."""
HOME = Path("runs") / "compare"
"""Where nothing is said."""
VALIDATION = 0.1
"""Share of the training part that is held out."""


@dataclass(frozen=True)
class ComparisonOptions:
    """The flags that a row does not have, or has otherwise.

    Attributes:
        methods: as they were typed.
        seeds: each once.
        data: name of a reader, or ``module:function``.
        budget: seconds for the whole comparison, or None.
        jobs: seeds side by side; None for one a core, or a GPU.
        crop: side of the squares that are cut out of images of ``size``, in pixels, or None.
        channels_last: memory format of the networks.
        tune: trials of the search for each arm; None for no search.
        tune_epochs: epochs of a trial; None where nothing is searched.
        tune_methods: those of the methods that are searched; empty for all.
        untuned: keep arms with their given values beside the tuned ones.
        keep_students: write every trained student.
        list: print the methods and do nothing else.
    """

    methods: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    data: str = "image_folder"
    budget: float | None = None
    jobs: int | None = None
    crop: int | None = None
    channels_last: bool = False
    tune: int | None = None
    tune_epochs: int | None = None
    tune_methods: tuple[str, ...] = ()
    untuned: bool = False
    keep_students: bool = False
    list: bool = False

    def __post_init__(self) -> None:
        for seed in self.seeds:
            times = self.seeds.count(seed)
            if times > 1:
                raise ArgumentValueError("seeds", f"must name each seed once, got {seed} {times} times")
        for name in ("tune_epochs", "tune_methods", "untuned"):
            if self.tune is None and getattr(self, name):
                raise ArgumentValueError(name, "does nothing without --tune TRIALS")
        if self.keep_students and self.crop is not None:
            raise ArgumentValueError(
                "keep_students", "does not go with --crop: a student's file has no crop, only a size"
            )


OWN = tuple(item.name for item in fields(ComparisonOptions))


def read_flags(argv: Sequence[str]) -> tuple[Recipe, Run, ComparisonOptions]:
    """Read the command line.

    Args:
        argv: its arguments.

    Returns:
        The recipe that all arms share, the flags of the run, and those of the comparison.

    Raises:
        SystemExit: a flag that there is not, that is not served, or that cannot be read.
        ValueError: values that do not go together.
    """
    parser = parser_of_comparisons()
    given = vars(parser.parse_args(argv))
    _refuse(parser, given)
    own = {name: given.pop(name) for name in OWN if name in given}
    own |= {name: tuple(value) for name, value in own.items() if isinstance(value, list)}
    options = ComparisonOptions(**own)
    recipe = replace(RECIPE, **settings_of_data(options.data))
    changed = {name: given.pop(name) for name in CHANGEABLE if name in given}
    recipe = replace(recipe, **changed, sources=recipe.sources | dict.fromkeys(changed, "command line"))
    # most images are in memory, and every seed would have loading processes of its own
    run = Run(**({"workers": 0} | given))
    run = replace(run, teacher=None if run.teacher == TRAIN else run.teacher)
    if recipe.data is digits:
        if run.data_path is not None:
            raise ArgumentValueError("data_path", "does nothing with --data digits, which come with scikit-learn")
        run = replace(run, data_path=Path())
    elif run.val_images is None:
        run = replace(run, val_images=VALIDATION)
    if recipe.amp == "16-mixed":
        raise ArgumentValueError("amp", "must be 32-true or bf16-mixed here: no gradient is scaled")
    recipe = run.shorten(recipe)
    if options.tune is not None and (run.smoke or options.tune_epochs is None):
        options = replace(options, tune_epochs=recipe.epochs)
    return recipe, run, options


def settings_of_data(name: str) -> dict[str, Any]:
    """What follows from ``--data`` for the recipe: the reader, and for the digits networks and schedule.

    Args:
        name: of the data, or ``module:function``.

    Returns:
        Field of the :class:`~spikingjelly_ckd.recipes.recipe.Recipe` -> its value.

    Raises:
        ValueError: no data have this name.
    """
    if name not in READERS and ":" not in name:
        known = ", ".join(READERS)
        raise ArgumentValueError("data", f"must be {known} or module:function, got {name!r}{hint(name, READERS)}")
    if name not in READERS:
        return {"data": resolve_here(name)}
    if name == "digits":
        nets = {"student": spiking_resnet8, "teacher": resnet8, "size": 16, "roll": 1}
        return {"data": digits, **nets, "epochs": 20, "batch_size": 32, "teacher_epochs": 40}
    return {"data": READERS[name]}


def parser_of_comparisons() -> argparse.ArgumentParser:
    """A parser of every flag; one that is not given leaves no trace."""
    about = "Which method helps, on this network and these data: see docs/compare.md."
    parser = command_line(RECIPE, about, unserved=UNSERVED, texts=TEXTS)
    parser.prog = PROGRAM
    parser.usage = "%(prog)s --methods METHOD ... --data-path DIR [flags] (see --help)"
    # some flags of rows mean something else here
    group = parser.add_argument_group("the comparison", conflict_handler="resolve")
    for flag, (text, options) in _of_comparisons().items():
        group.add_argument(*(("-j",) if flag == "--workers" else ()), flag, help=text, **options)
    return parser


def _of_comparisons() -> Mapping[str, tuple[str, dict[str, Any]]]:
    """Flag -> its sentence, and how it is read."""
    switch: dict[str, Any] = {"action": "store_true"}
    several: dict[str, Any] = {"nargs": "+", "metavar": "METHOD"}
    readers = "|".join([*READERS, "MODULE:FUNCTION"])
    return {
        "--methods": (
            "NAME, NAME:key=value,..., module:function, or all; behind it @init=...,lr=...,warmup_epochs=...",
            several,
        ),
        "--seeds": (
            "Seeds, with spaces between them. (default: 0 1 2)",
            {"nargs": "+", "type": read_seed, "metavar": "N"},
        ),
        "--budget": (
            "Time limit for the whole comparison, such as 90s, 30m or 2h.",
            {"type": _seconds, "metavar": "TIME"},
        ),
        "--jobs": (
            "Seeds that run side by side, one thread each. (default: one for each core, or for each GPU)",
            {"type": read_count, "metavar": "N"},
        ),
        "--workers": ("Loading processes of each seed. (default: 0)", {"type": read_whole, "metavar": "N"}),
        "--output-dir": (f"Folder of the comparison. (default: {HOME})", {"type": Path, "metavar": "DIR"}),
        "--teacher": (
            "Its weights, or a network of timm. (default: train, in --output-dir, before the arms)",
            {"metavar": f"PATH|timm:NAME|{TRAIN}"},
        ),
        "--data": (
            "The data set. The digits bring networks, size, shift, batch size, epochs and the teacher's epochs; "
            "the defaults above are those of every other one. (default: image_folder, which is an ImageFolder tree)",
            {"metavar": readers},
        ),
        "--crop": (
            "Side of the square that is cut out of images of --size, at a random place for training.",
            {"type": read_count, "metavar": "PIXELS"},
        ),
        "--channels-last": ("Memory format of the networks.", switch),
        "--tune": (
            "Before the comparison, try this many learning rates, weights and temperatures for each arm, on the "
            "validation part.",
            {"type": read_count, "metavar": "TRIALS"},
        ),
        "--tune-epochs": ("Epochs of each trial. (default: --epochs)", {"type": read_count, "metavar": "N"}),
        "--tune-methods": ("Tune only these of the --methods. (default: all)", several),
        "--untuned": ("Keep the arms that are tuned with their given values too.", switch),
        "--keep-students": ("Write every trained student to students/, for evaluate and export.", switch),
        "--list": ("Print the methods with their sources, and exit.", switch),
    }


def _refuse(parser: argparse.ArgumentParser, given: Mapping[str, Any]) -> None:
    """End where a flag of the rows is given that a comparison does not have; a switch may say that it is off."""
    for name, instead in ELSEWHERE.items():
        if name in given:
            parser.error(f"--{name.replace('_', '-')} is not for a comparison; pass {instead}")
    for name in NOT_SERVED:
        if given.get(name, False) is not False:
            parser.error(f"--{name.replace('_', '-')} is not served by a comparison, whose arms train side by side")
    if given.get("accumulate", 1) != 1:
        parser.error("--accumulate is not served by a comparison; pass a larger -b")


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)", text.strip())
    if found is None or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"a time is a number with s, m or h, such as 90s, 30m or 2h, got {text!r}")
    return float(found[1]) * {"s": 1, "m": 60, "min": 60, "h": 3600}[found[2]]
