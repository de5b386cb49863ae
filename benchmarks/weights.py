"""How strong should SAMD and NLD be? Weights, automatic shares and map normalisations on unlike networks.

    python benchmarks/weights.py --seeds 0 1 --output-dir benchmarks/results/compared_weights
    python benchmarks/weights.py --students convolutions --arms "beta 1" --seeds 0 --output-dir runs/weights

This is ``python -m spikingjelly_ckd compare`` once for each student, in a folder of its own; every other flag of it may
follow. By itself that command finds the networks and methods of this file with ``PYTHONPATH=benchmarks``. Data: the
event digits on a 16x16 sensor, as they are; weights are judged by the validation part.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from protocol import beside, parser_of, read
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn

from spikingjelly_ckd import Method
from spikingjelly_ckd.published import samd
from spikingjelly_ckd.recipes.compare.command import main as compare
from spikingjelly_ckd.step.auto_weight import AUTO_SHARE
from spikingjelly_ckd.step.schedule import Ramp


def share(value: float) -> Method:
    """SAMD whose automatic weight aims at another share of the task's gradient than the package's own."""
    factor = value / AUTO_SHARE
    return replace(samd("auto"), schedule={"samd": Ramp(factor, factor)}, source="ours: measured weight")


ARMS: dict[str, str] = {
    "plain": "plain",
    **{f"beta {beta:g}": f"samd:weight={beta}" for beta in (0.01, 0.1, 1.0, 10.0)},
    **{f"share {value:g}": f"weights:share:value={value}" for value in (0.03, 0.1, 0.3, 1.0)},
    "beta 1, batch": "samd:normalization=batch",
    "beta 1, none": "samd:normalization=none",
    "beta 0.1, eps 0.001": "samd:weight=0.1,student_eps=0.001",
    "beta 1, eps 0.001": "samd:student_eps=0.001",
    **{f"gamma {gamma:g}": f"nld:weight={gamma}" for gamma in (0.01, 0.1, 1.0, 10.0)},
    "gamma auto": "nld:weight=auto",
}
"""Name in the table of the first records -> method."""
FLAGS = (
    *("--data", "digits", "--roll", "0", "-b", "64", "--epochs", "15", "--teacher-epochs", "15"),
    *("--optimizer", "adamw", "--wd", "0", "--lr", "0.003", "--teacher-lr", "0.003"),  # that is Adam
)


def plain_convs(num_classes: int, in_channels: int) -> nn.Module:
    """Three convolutions, 12-24-32 channels, average pooling between them."""
    stages: list[nn.Module] = []
    for before, after in ((in_channels, 12), (12, 24), (24, 32)):
        stages += [layer.Conv2d(before, after, 3, padding=1, bias=False), layer.BatchNorm2d(after)]
        stages += [neuron.LIFNode(surrogate_function=surrogate.ATan(), detach_reset=True), layer.AvgPool2d(2)]
    head = [layer.AdaptiveAvgPool2d(1), layer.Flatten(), layer.Linear(32, num_classes)]
    net = nn.Sequential(*stages[:-1], *head)
    functional.set_step_mode(net, "m")
    return net


def transformer(num_classes: int, in_channels: int, time_steps: int) -> nn.Module:
    """Spikformer with one block, 64 channels, 4x4 tokens; its block output counts spikes."""
    from spikingjelly.activation_based.model.spikformer import Spikformer

    return Spikformer(
        T=time_steps, img_size_h=16, img_size_w=16, patch_size=4, in_channels=in_channels, num_classes=num_classes,
        embed_dims=64, num_heads=4, mlp_ratio=2.0, depths=1,
    )  # fmt: skip


STUDENTS: dict[str, str] = {
    "convolutions": "weights:plain_convs",
    "residual": "spikingjelly_ckd.recipes.models:spiking_resnet8",
    "transformer": "weights:transformer",
}
"""Name in the table of the first records -> function."""


def render(runs: list[dict[str, Any]]) -> str:
    """The first records as a table: validation accuracy of the last five epochs, mean over epochs and seeds."""
    kinds = [kind for kind in STUDENTS if any(r["student"] == kind for r in runs)]
    lines = ["| arm | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 1) + "|"]
    for arm in ARMS:
        cells = []
        for kind in kinds:
            found = [r for r in runs if r["student"] == kind and r["arm"] == arm]
            if not found:
                cells.append("not run")
                continue
            mean = statistics.fmean(float(r["last5"]) for r in found)
            weight = statistics.fmean(float(r["weight"]) for r in found)
            spread = f" ± {statistics.stdev(float(r['last5']) for r in found):.1f}" if len(found) > 1 else ""
            measured = arm == "gamma auto" or arm.startswith("share")
            cells.append(f"{mean:.1f}{spread}" + (f" (weight {weight:.2g})" if measured else ""))
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def commands(argv: Sequence[str]) -> list[list[str]]:
    """The flags of the comparison of each student."""
    parser = parser_of(__doc__)
    parser.add_argument("--students", nargs="+", choices=STUDENTS, default=list(STUDENTS))
    parser.add_argument("--output-dir", type=Path, default=Path("runs/weights"), help="gets a folder for each student")
    args, more = read(parser, argv, ARMS)
    methods = [ARMS[name] for name in args.arms or ARMS]
    flags = [*beside(more, FLAGS), "--methods", *methods]
    return [
        [*flags, "--student", STUDENTS[name], "--output-dir", str(args.output_dir / name), *more]
        for name in args.students
    ]


if __name__ == "__main__":
    sys.exit(max([compare(flags) for flags in commands(sys.argv[1:])]))
