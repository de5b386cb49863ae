"""Train the ANN teacher of any row: python examples/train_teacher.py ROW --data-path DIR [any flag of the row].

ROW is the name of a script beside this one, such as cifar10_r19_t1. --epochs and --lr are the teacher's here.
--model timm:NAME trains that network instead, with --pretrained from timm's weights.
"""

import argparse
import importlib
import sys
from pathlib import Path

from spikingjelly_ckd.recipes.row import run_teacher

HERE = Path(__file__).parent
ROWS = sorted(path.stem for path in HERE.glob("*.py") if "\nRECIPE = Recipe(" in path.read_text("utf8"))

if __name__ == "__main__":
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter, allow_abbrev=False)
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("--model", metavar="timm:NAME")
    parser.add_argument("--pretrained", action="store_true")
    if not {*ROWS, "-h", "--help"} & {*sys.argv[1:]}:
        parser.error(f"name a row first, one of {', '.join(ROWS)}")
    args, flags = parser.parse_known_args()
    model = args.model.removeprefix("timm:") if args.model else None
    run_teacher(importlib.import_module(args.row).RECIPE, flags, model, args.pretrained)
