"""How strong should SAMD and NLD be? Weights, automatic shares and map normalisations on unlike networks.

    python benchmarks/weights.py --output benchmarks/results/weights.json
    python benchmarks/weights.py --output benchmarks/results/weights.json --render

Data: the event digits on a 16x16 sensor (validation part for the curves' last epochs, which is what is reported; the
test part is not touched). One student of each kind, the same initial weights, order and teacher for every arm of a
seed. Runs that the record already holds are not run again.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from protocol import SETUPS, train
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from spikingjelly_ckd import Distiller, Method
from spikingjelly_ckd.networks.compat import spikingjelly_version
from spikingjelly_ckd.published import nld, plain, samd
from spikingjelly_ckd.recipes.data.digits import EventCamera, digit_events
from spikingjelly_ckd.recipes.models import ResNet, SpikingResNet
from spikingjelly_ckd.step.auto_weight import AutoWeight

SHARES = {f"share {share:g}": share for share in (0.03, 0.1, 0.3, 1.0)}
"""Arm -> share of the task's gradient that its automatic weight aims at; of the others it is the package's own."""
ARMS: dict[str, Method] = {
    "plain": plain(),
    **{f"beta {beta:g}": samd(beta) for beta in (0.01, 0.1, 1.0, 10.0)},
    **{arm: samd("auto") for arm in SHARES},
    "beta 1, batch": samd(1.0, normalization="batch"),
    "beta 1, none": samd(1.0, normalization="none"),
    "beta 0.1, eps 0.001": samd(0.1, student_eps=1e-3),
    "beta 1, eps 0.001": samd(1.0, student_eps=1e-3),
    **{f"gamma {gamma:g}": nld(gamma) for gamma in (0.01, 0.1, 1.0, 10.0)},
    "gamma auto": nld("auto"),
}
ADAM = functools.partial(torch.optim.Adam, lr=3e-3)


def unchanged(frames: Tensor, generator: torch.Generator) -> Tensor:
    return frames


def plain_convs(classes: int) -> nn.Module:
    """Three convolutions, 12-24-32 channels, average pooling between them."""
    stages: list[nn.Module] = []
    for before, after in ((2, 12), (12, 24), (24, 32)):
        stages += [layer.Conv2d(before, after, 3, padding=1, bias=False), layer.BatchNorm2d(after)]
        stages += [neuron.LIFNode(surrogate_function=surrogate.ATan(), detach_reset=True), layer.AvgPool2d(2)]
    head = [layer.AdaptiveAvgPool2d(1), layer.Flatten(), layer.Linear(32, classes)]
    net = nn.Sequential(*stages[:-1], *head)
    functional.set_step_mode(net, "m")
    return net


def residual(classes: int) -> nn.Module:
    """ResNet with one block a stage, 16-32-64 channels."""
    return SpikingResNet((16, 32, 64), (1, 1, 1), classes, in_channels=2)


def transformer(classes: int) -> nn.Module:
    """Spikformer with one block, 64 channels, 4x4 tokens; its block output counts spikes."""
    from spikingjelly.activation_based.model.spikformer import Spikformer

    return Spikformer(
        T=4, img_size_h=16, img_size_w=16, patch_size=4, in_channels=2, num_classes=classes, embed_dims=64,
        num_heads=4, mlp_ratio=2.0, depths=1,
    )  # fmt: skip


STUDENTS: dict[str, Callable[[int], nn.Module]] = {
    "convolutions": plain_convs,
    "residual": residual,
    "transformer": transformer,
}


def run(kind: str, arm: str, seed: int, epochs: int, time_steps: int, teachers: dict[int, nn.Module]) -> dict[str, Any]:
    """One student under one arm."""
    events = digit_events(time_steps, camera=EventCamera(size=16), reach=2.5, margin=1, seed=0)
    parts = events.part("train"), events.part("val")
    setup = replace(SETUPS["digits"], augment=unchanged, optimizer=ADAM, batch=64)
    if seed not in teachers:
        torch.manual_seed(seed)
        teacher = ResNet((16, 32, 64), (1, 1, 1), 10, in_channels=2)
        loss = nn.CrossEntropyLoss()
        train(
            teacher, lambda f, y: loss(teacher(f.mean(0)), y), lambda f: teacher(f.mean(0)), parts, setup, seed, epochs
        )
        teachers[seed] = teacher
    torch.manual_seed(seed)
    student = STUDENTS[kind](10)
    distiller = Distiller.from_method(ARMS[arm], teachers[seed], student)
    if arm in SHARES:
        cast(AutoWeight, distiller.auto["samd"]).share = SHARES[arm]
    final = 0.0  # the weight in the last step

    def step(frames: Tensor, labels: Tensor) -> Tensor:
        nonlocal final
        out = distiller(frames, labels)
        final = sum(float(weight) for name, weight in out.weights.items() if name != "task")  # of the only loss, or 0
        return out.loss

    start = time.perf_counter()
    accuracy = train(distiller, step, distiller.predict, parts, setup, seed, epochs)
    return {
        "student": kind, "arm": arm, "seed": seed, "accuracy": accuracy, "last5": statistics.fmean(accuracy[-5:]),
        "weight": final, "seconds": time.perf_counter() - start, "epochs": epochs, "T": time_steps,
        "split": events.split_name, "split_hash": events.split_hash, "torch": torch.__version__,
        "spikingjelly": spikingjelly_version(),
    }  # fmt: skip


def render(runs: list[dict[str, Any]]) -> str:
    """Mean over seeds of the mean validation accuracy of the last five epochs, as a Markdown table."""
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
            measured = any(weight == "auto" for _, weight in ARMS[arm].losses.values())
            cells.append(f"{mean:.1f}{spread}" + (f" (weight {weight:.2g})" if measured else ""))
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--students", nargs="+", choices=STUDENTS, default=list(STUDENTS))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("-T", type=int, default=4)
    parser.add_argument("--render", action="store_true")
    args = parser.parse_args()
    runs = json.loads(args.output.read_text("utf8")) if args.output.exists() else []
    if args.render:
        print(render(runs))
        return
    done = {(r["student"], r["arm"], r["seed"]) for r in runs}
    teachers: dict[int, nn.Module] = {}
    for seed in args.seeds:
        for kind in args.students:
            for arm in args.arms:
                if (kind, arm, seed) not in done:
                    runs.append(run(kind, arm, seed, args.epochs, args.T, teachers))
                    print(
                        {k: runs[-1][k] for k in ("student", "arm", "seed", "last5", "weight", "seconds")}, flush=True
                    )
                    args.output.write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    main()
