"""Loss around the plain and the CKD network on the event digits, along the same random directions.

    python benchmarks/landscape.py --output benchmarks/results/landscape.json --figure docs/images/landscape.png

The networks are the arms of one seed of ``python -m spikingjelly_ckd compare --data digits``: they start from the same
weights and see the same batches. Filter-normalised directions, Li
et al., NeurIPS 2018; cross-entropy of the mean logits on the test part.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from methods import ARMS
from torch import Tensor
from torch.nn import functional as F

from spikingjelly_ckd import Distiller
from spikingjelly_ckd.recipes.compare.arms import Arm
from spikingjelly_ckd.recipes.compare.flags import RECIPE, settings_of_data
from spikingjelly_ckd.recipes.compare.plan import Plan
from spikingjelly_ckd.recipes.data import Data
from spikingjelly_ckd.recipes.options import Run
from spikingjelly_ckd.recipes.records import environment, write_record
from spikingjelly_ckd.recipes.report.landscape import loss_surface, random_direction
from spikingjelly_ckd.recipes.report.plots.landscape import plot_landscape
from spikingjelly_ckd.recipes.report.plots.style import save_figure
from spikingjelly_ckd.recipes.teachers import obtain_teacher

SHOWN = ("plain", "CKDSNN (paper)", "NLD alone")


def trained(folder: Path, seed: int, *, smoke: bool = False) -> tuple[dict[str, Distiller], Tensor, Tensor, Data]:
    """The arms of one seed after their training on the digits.

    Args:
        folder: for the teacher and the checkpoints.
        seed: of weights, order and augmentation.
        smoke: two steps of everything.

    Returns:
        Name in :data:`SHOWN` -> distiller; frames ``[N, T, C, H, W]`` of the test part; its labels; the data.
    """
    torch.set_num_threads(1)
    run = Run(data_path=Path(), workers=0, device="cpu", no_progress=True, output_dir=folder, smoke=smoke)
    recipe = run.shorten(replace(RECIPE, **settings_of_data("digits")))
    arms = tuple(Arm(ARMS[name], replace(recipe, method=ARMS[name])) for name in SHOWN)
    plan = Plan(recipe, run, arms, folder, None)
    data = plan.load_data()
    teacher = obtain_teacher(replace(recipe, method="ckd"), run, data)
    assert teacher is not None
    plan = replace(plan, teacher=teacher.source)
    found = plan.begin(seed, data)
    found.train(plan.checkpoints(seed) / "latest.ckpt", plan.settings(seed), lambda epoch, step: None)
    failed = {name: state.failed for name, state in found.states.items() if state.failed is not None}
    if failed or found.unfit:
        raise RuntimeError(f"not every network was trained: {failed | found.unfit}")
    frames, labels = (torch.cat(chunks) for chunks in zip(*found.batches.part("test"), strict=True))
    return {name: found.states[ARMS[name]].distiller for name in SHOWN}, frames, labels, data


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
    line = torch.linspace(-args.reach, args.reach, 2 * args.points - 1).tolist()
    grid = torch.linspace(-args.reach, args.reach, args.points).tolist()
    with tempfile.TemporaryDirectory() as folder:
        distillers, frames, labels, data = trained(Path(folder), args.seed)
    surfaces = {}
    for name, trained_one in distillers.items():
        trained_one.eval()

        def loss(distiller: Distiller = trained_one) -> float:
            with torch.no_grad():
                return F.cross_entropy(distiller.predict(frames), labels).item()

        directions = [
            random_direction(trained_one.student, torch.Generator().manual_seed(seed))
            for seed in (args.seed, args.seed + 1)
        ]
        surfaces[name] = {
            "line": loss_surface(trained_one.student, loss, directions[:1], line).tolist(),
            "grid": loss_surface(trained_one.student, loss, directions, grid).tolist(),
        }
        print(name, "loss at the network", surfaces[name]["line"][args.points - 1], flush=True)
    record = {"split": data.split, "split_hash": data.split_hash, "seed": args.seed, "line": line, "grid": grid}
    write_record(args.output, record | {"surfaces": surfaces, "environment": environment()})
    if args.figure:
        draw(args.output, args.figure)


def draw(record: Path, figure: Path) -> None:
    """The plane around each network, and the line of all of them."""
    found = json.loads(record.read_text("utf8"))
    planes, lines = (
        {name: torch.tensor(surface[kind]) for name, surface in found["surfaces"].items()} for kind in ("grid", "line")
    )
    what = "cross-entropy on the test part"
    drawn = plot_landscape(planes, found["grid"], lines=lines, line_positions=found["line"], measure=what)
    save_figure(drawn, figure)


if __name__ == "__main__":
    main()
