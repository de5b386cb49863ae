"""A row with tiny networks as a script of its own: ``python durable_row.py --data-path DIR [flags]``."""

import runpy
from dataclasses import replace
from pathlib import Path

from spikingjelly_ckd.recipes.row import run_row

# isort: split
import tiny_nets  # after the package: SpikingJelly 0.0.0.0.14, imported alone, gives the root logger a handler

if __name__ == "__main__":
    script = Path(__file__).parents[1] / "examples" / "cifar10_r20.py"
    run_row(replace(runpy.run_path(str(script))["RECIPE"], teacher=tiny_nets.teacher, student=tiny_nets.student))
