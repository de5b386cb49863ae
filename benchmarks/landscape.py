"""Loss around the plain and the CKD network on the event digits, along the same random directions.

    python benchmarks/landscape.py --output benchmarks/results/landscape.json --figure docs/images/landscape.png

The networks start from the same weights and see the same batches (``protocol.py``). Filter-normalised directions, Li
et al., NeurIPS 2018; cross-entropy of the mean logits on the test part.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path

import torch
from methods import ARMS
from protocol import SETUPS, make, obtain_teacher, train
from torch.nn import functional as F

from spikingjelly_ckd import Distiller
from spikingjelly_ckd.recipes.export import load_network
from spikingjelly_ckd.recipes.report.landscape import loss_surface, random_direction
from spikingjelly_ckd.recipes.report.records import environment, write_record

SHOWN = ("plain", "CKDSNN (paper)", "NLD alone")


def step_loss(distiller: Distiller, frames: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return distiller(frames, labels).loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--points", type=int, default=15, help="along each side of the grid; the line has twice as many"
    )
    parser.add_argument("--reach", type=float, default=1.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    setup = SETUPS["digits"]
    *parts, split, split_hash = setup.load(None)
    pair = parts[0], parts[1]
    frames, labels = pair[1]
    line = torch.linspace(-args.reach, args.reach, 2 * args.points - 1).tolist()
    grid = torch.linspace(-args.reach, args.reach, args.points).tolist()
    surfaces = {}
    with tempfile.TemporaryDirectory() as folder:
        obtain_teacher(setup, pair, Path(folder) / "teacher.safetensors")
        teacher, _ = load_network(Path(folder) / "teacher.safetensors", setup.teacher)
    for name in SHOWN:
        distiller = make(setup, ARMS[name], args.seed, pair, teacher)
        step = partial(step_loss, distiller)
        train(distiller, step, distiller.predict, pair, setup, args.seed, setup.epochs, distiller.progress)
        distiller.eval()

        def loss(distiller: Distiller = distiller) -> float:
            with torch.no_grad():
                return F.cross_entropy(distiller.predict(frames), labels).item()

        directions = [
            random_direction(distiller.student, torch.Generator().manual_seed(seed))
            for seed in (args.seed, args.seed + 1)
        ]
        surfaces[name] = {
            "line": loss_surface(distiller.student, loss, directions[:1], line).tolist(),
            "grid": loss_surface(distiller.student, loss, directions, grid).tolist(),
        }
        print(name, "loss at the network", surfaces[name]["line"][args.points - 1], flush=True)
    record = {"split": split, "split_hash": split_hash, "seed": args.seed, "line": line, "grid": grid}
    write_record(args.output, record | {"surfaces": surfaces, "environment": environment()})
    if args.figure:
        draw(args.output, args.figure)


def draw(record: Path, figure: Path) -> None:
    """The line of all networks in one panel, and the plane of each."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    found = json.loads(record.read_text("utf8"))
    names = list(found["surfaces"])
    canvas, axes = plt.subplots(1, 1 + len(names), figsize=(4 * (1 + len(names)), 3.6), layout="constrained")
    for name in names:
        axes[0].plot(found["line"], found["surfaces"][name]["line"], label=name)
    axes[0].set(xlabel="step along one direction", ylabel="cross-entropy on the test part", yscale="log")
    axes[0].legend()
    highest = max(max(max(row) for row in found["surfaces"][name]["grid"]) for name in names)
    levels = torch.logspace(-1, torch.tensor(highest).log10().item(), 16).tolist()
    for axis, name in zip(axes[1:], names, strict=True):
        shown = axis.contour(found["grid"], found["grid"], found["surfaces"][name]["grid"], levels=levels)
        axis.clabel(shown, fontsize=6)
        axis.set(title=name, xlabel="second direction", ylabel="first direction")
    canvas.savefig(figure, dpi=110)


if __name__ == "__main__":
    main()
