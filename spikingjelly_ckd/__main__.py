"""``python -m spikingjelly_ckd COMMAND``: each command lives where its work lives."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence

__all__ = ["COMMANDS", "main"]


def _table(argv: Sequence[str]) -> int:
    from .recipes.report.table import main as table

    return table(argv)


def _report(argv: Sequence[str]) -> int:
    from .recipes.report.page import main as report

    return report(argv)


def _rerun(argv: Sequence[str]) -> int:
    from .recipes.rerun import main as rerun

    return rerun(argv)


def _env(argv: Sequence[str]) -> int:
    about = "Versions, commit and device, as a record has them, in JSON."
    argparse.ArgumentParser("python -m spikingjelly_ckd env", description=about).parse_args(argv)
    from .recipes.files import until_reader_leaves
    from .recipes.records.ran_on import environment

    with until_reader_leaves():
        print(json.dumps(environment(), indent=1))
    return 0


def _compare(argv: Sequence[str]) -> int:
    from .recipes.compare.command import main as compare

    return compare(argv)


def _evaluate(argv: Sequence[str]) -> int:
    from .recipes.deploy.evaluate import main as evaluate

    return evaluate(argv)


COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "compare": (_compare, "which method helps, on this network and these data: compare --help"),
    "table": (_table, "records of runs, or of all runs under a folder, in one table: table runs"),
    "report": (_report, "what runs left as one page to look at: report RUN ..."),
    "rerun": (_rerun, "repeat a run from its record alone, and compare: rerun RECORD.json"),
    "evaluate": (_evaluate, "predictions or accuracy of an exported student: evaluate STUDENT FOLDER"),
    "env": (_env, "versions, commit and device, as a record has them"),
}
"""Name -> function of the arguments behind it, and what it does. What a command needs is imported when it is called."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: its name and its arguments; None for ``sys.argv``.

    Returns:
        The exit status.
    """
    name, *arguments = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in COMMANDS:
        try:
            return COMMANDS[name][0](arguments)
        except ImportError as error:  # in words already, see errors/installed.py
            print(f"{name}: error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:  # before the command began, while packages are imported
            print("Stopped before anything began", file=sys.stderr)
            return 130
    known = [f"  {command:8} {about}" for command, (_, about) in COMMANDS.items()]
    lines = ["usage: python -m spikingjelly_ckd COMMAND", "", *known]
    if name in ("-h", "--help"):
        from .recipes.files import until_reader_leaves

        with until_reader_leaves():
            print("\n".join(lines))
        return 0
    from .errors.near import hint

    print("\n".join([f"there is no command {name!r}{hint(name, COMMANDS)}", *lines]), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
