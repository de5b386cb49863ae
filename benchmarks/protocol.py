"""What the benchmarks of methods ask of ``python -m spikingjelly_ckd compare``: data, networks and schedule.

Nothing is trained here. The flags of a data set come first, then the arms, then whatever else was typed, so that every
flag of that command may follow, also one that says otherwise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from spikingjelly_ckd.recipes.compare.command import main as compare
from spikingjelly_ckd.recipes.methods import read_method

SETS: dict[str, tuple[str, ...]] = {
    "digits": ("--data", "digits"),
    "cifar10": (
        *("--data", "cifar10", "--train-images", "5000", "--test-images", "2000", "--crop-padding", "4", "--flip"),
        *("-T", "1", "--epochs", "12", "--teacher-epochs", "30"),
    ),
}
"""Data set -> its flags; the digits bring their networks and schedule with them."""


def run(doc: str | None, arms: Mapping[str, str], default: Mapping[str, Sequence[str]]) -> None:
    """Read the command line, compare, and end with the status of that; see :func:`command`."""
    sys.exit(compare(command(sys.argv[1:], doc, arms, default)))


def command(
    argv: Sequence[str], doc: str | None, arms: Mapping[str, str], default: Mapping[str, Sequence[str]]
) -> list[str]:
    """The flags of the comparison.

    Args:
        argv: as typed.
        doc: of the script.
        arms: name -> text of a method, as ``--methods`` takes it.
        default: data set -> texts of the methods that are run where no arm is named.
    """
    parser = parser_of(doc)
    parser.add_argument("--set", choices=SETS, default="digits")
    args, more = read(parser, argv, arms)
    methods = default[args.set] if args.arms is None else [arms[name] for name in args.arms]
    return [*beside(more, SETS[args.set]), "--methods", *methods, *more]


def beside(typed: Sequence[str], flags: Sequence[str]) -> list[str]:
    """The flags of a benchmark, without those of the training of a teacher where one is given, which refuses them.

    Args:
        typed: flags that follow.
        flags: of the benchmark.
    """
    if not any(word == "--teacher" or word.startswith("--teacher=") for word in typed):
        return list(flags)
    left_out = [at for at, word in enumerate(flags) if word in ("--teacher-epochs", "--teacher-lr")]
    return [word for at, word in enumerate(flags) if at not in left_out and at - 1 not in left_out]


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """A command line that leaves the flags of the comparison to that."""
    return argparse.ArgumentParser(
        description=doc,
        epilog="Every flag of python -m spikingjelly_ckd compare may follow, such as --seeds, --jobs and --epochs.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def read(
    parser: argparse.ArgumentParser, argv: Sequence[str], arms: Mapping[str, str]
) -> tuple[argparse.Namespace, list[str]]:
    """The flags of the script, ``--arms`` among them, and those that are left; ends after ``--list``."""
    parser.add_argument("--arms", nargs="+", choices=list(arms), metavar="ARM", help="names that --list prints")
    parser.add_argument("--list", action="store_true", help="print the arms with their sources, and go")
    args, more = parser.parse_known_args(argv)
    if args.list:
        for name, text in arms.items():
            print(f"{name}: {text}: {read_method(text).source}")
        parser.exit()
    return args, more
