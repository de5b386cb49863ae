"""Train the ANN teacher of any row: python examples/train_teacher.py ROW --data-path DIR [any flag of the row].

ROW is the name of a script beside this one, such as cifar10_r19_t1. --epochs and --lr are the teacher's here.
--model timm:NAME trains that network instead, with --pretrained from timm's weights.
"""

import argparse
import importlib
import sys
from pathlib import Path

from spikingjelly_ckd.errors.near import hint
from spikingjelly_ckd.recipes.parser import Parser
from spikingjelly_ckd.recipes.row import run_teacher

HERE = Path(__file__).parent
ROWS = sorted(path.stem for path in HERE.glob("*.py") if "\nRECIPE = Recipe(" in path.read_text("utf8"))

if __name__ == "__main__":
    own = Parser(
        usage="%(prog)s ROW --data-path DIR [flags] (see ROW --help)",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    group = own.add_argument_group("network of the teacher")
    group.add_argument("--model", metavar="timm:NAME", help="Train this network of timm in place of the row's own ANN.")
    group.add_argument("--pretrained", action="store_true", help="Begin with timm's weights; only with --model.")
    flags = sys.argv[1:]
    row = next((word for word in flags if word in ROWS), None)
    if row is None and {"-h", "--help"} & {*flags}:
        print(f"{own.format_usage()}\n{__doc__}\nROW is one of {', '.join(ROWS)}.\nIts flags: ROW --help")
        sys.exit()
    if row is None:
        word = next((word for word in flags if not word.startswith("-")), "")
        own.error(f"name a row first, one of {', '.join(ROWS)}{hint(word, ROWS)}")
    flags.remove(row)
    args, flags = own.parse_known_args(flags)
    model = getattr(args, "model", "").removeprefix("timm:") or None
    recipe = importlib.import_module(row).RECIPE
    run_teacher(recipe, flags, model, hasattr(args, "pretrained"), parent=own, description=__doc__)
