"""What a step of distillation costs beside its floor: a plain student step and one teacher forward without a graph.

    python benchmarks/speed.py steps                # the goals: CKD beside the floor, for each pair of networks
    python benchmarks/speed.py methods              # every method
    python benchmarks/speed.py neurons -b 16        # SpikingJelly's neurons and the fast ones
    python benchmarks/speed.py goals                # below the floor: a step with everything on
    python benchmarks/speed.py beside               # CKDSNN, BKDSNN and SeAl-KD as their code takes a step
    python benchmarks/speed.py lockstep             # compare beside one loop after the other
    python benchmarks/speed.py loading --threads 2  # images from memory beside PIL
    python benchmarks/speed.py accuracy             # short trainings with each switch on; rounds are seeds
    python benchmarks/speed.py prepared             # teachers made cheaper by prepare_teacher
    python benchmarks/speed.py compiled             # the whole distiller under torch.compile
    python benchmarks/speed.py memory growth evaluation preflight imports epoch
    python benchmarks/speed.py steps compiled --device cuda --autocast bfloat16 --pairs r19_t1 r19_t4 -b 128

Each writes ``speed_<what>.json`` into ``--output`` (default benchmarks/results), a row for each pair, device and
autocast; rows that are not run again stay in the file. Arms are interleaved in one process, but for memory and imports,
where each has a fresh process. Works on the CPU and with ``--device cuda``. ``python benchmarks/render.py`` makes the
tables of docs/speed.md.

On Linux the process starts itself anew with an allocator that keeps its memory: with glibc's own limits, pages that
one arm gives back to the system fault in another, which falls on arms by chance.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from speed_around import ALLOCATOR, epoch, evaluation, imports, memory, of_preflight
from speed_bench import PAIRS, Bench, Row
from speed_beside import beside
from speed_goals import goals
from speed_small import accuracy, loading, lockstep
from speed_steps import compiled, growth, methods, neurons, prepared, steps

from spikingjelly_ckd.acceleration import USUAL
from spikingjelly_ckd.recipes.records import environment, read_record, write_record

RESULTS = Path(__file__).parent / "results"

WHATS: dict[str, tuple[Callable[[Bench, int], Row], tuple[str, ...], int]] = {
    "steps": (steps, ("r20_t1", "r20_t4", "r19_t1", "sew18", "spikformer", "vit"), 15),
    "methods": (methods, ("r20_t2",), 15),
    "goals": (goals, ("r20_t1", "r20_t4", "spikformer"), 15),
    "beside": (beside, ("r20_t4",), 15),
    "lockstep": (lockstep, ("r20_t1",), 15),
    "loading": (loading, ("r20_t1",), 15),
    "accuracy": (accuracy, ("r20_t1",), 3),
    "neurons": (neurons, ("r20_t1", "r20_t4"), 15),
    "prepared": (prepared, ("r20_t1", "vit"), 15),
    "compiled": (compiled, ("r20_t1", "r20_t4"), 15),
    "memory": (memory, ("r20_t1", "r20_t4", "sew18", "vit"), 3),
    "growth": (growth, ("r20_t1",), 15),
    "evaluation": (evaluation, ("r20_t1", "r20_t4"), 31),
    "preflight": (of_preflight, ("r20_t1", "r20_t4"), 7),
    "imports": (imports, ("r20_t1",), 15),
    "epoch": (epoch, ("r20_t1",), 7),
}
"""What is measured -> how, of which pairs, over how many rounds."""


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def device(text: str) -> torch.device:
    """One that is here, or it says why it is not."""
    try:
        return torch.zeros(1, device=text).device
    except (RuntimeError, AssertionError, ImportError) as error:
        raise argparse.ArgumentTypeError(str(error).splitlines()[0]) from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=WHATS, nargs="+")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, help="default: those of each measurement")
    parser.add_argument("-b", "--batch", type=count, help="in place of the pair's")
    parser.add_argument("-T", type=count, help="in place of the pair's")
    parser.add_argument("--rounds", type=count, help="default: those of each measurement")
    parser.add_argument("--threads", type=count, default=torch.get_num_threads())
    parser.add_argument("--device", type=device, default="cpu")
    parser.add_argument("--autocast", choices=("bfloat16", "float16"), help="run every arm under it")
    parser.add_argument("--compile", action="store_true", help="goals: try torch.compile too, minutes for each arm")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    if sys.platform == "linux" and args.what != ["memory"] and not ALLOCATOR.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})
    without = {"memory", "epoch", "imports", "goals", "beside", "lockstep", "loading", "accuracy"} & set(args.what)
    if args.autocast and without:
        parser.error(f"--autocast: not for {', '.join(sorted(without))}")
    if args.compile and args.what != ["goals"]:
        parser.error("--compile: for goals alone")
    for what in {"methods", "beside"} & set(args.what):
        if all((args.T or PAIRS[name].time_steps) >= 2 for name in args.pairs or WHATS[what][1]):
            continue
        parser.error(f"{what}: some of them compare time steps; pass -T 2, or pairs with T of at least 2")
    if args.output.exists() and not args.output.is_dir():
        parser.error(f"--output: {args.output} is no folder")
    torch.set_num_threads(args.threads)
    for what in args.what:
        call, names, rounds = WHATS[what]
        path = args.output / f"speed_{what}.json"
        rows = read_record(path)["pairs"] if path.exists() else {}
        for name in args.pairs or names:
            pair = PAIRS[name]
            pair = replace(pair, batch=args.batch or pair.batch, time_steps=args.T or pair.time_steps)
            autocast = None if args.autocast is None else getattr(torch, args.autocast)
            switches = (*USUAL, "compile") if args.compile else USUAL
            bench = Bench(name, pair, args.device, autocast, switches)
            start = time.perf_counter()
            row = call(bench, args.rounds or rounds) | {"environment": environment()}
            marks = ("" if bench.device.type == "cpu" else bench.device.type, args.autocast, "compile" * args.compile)
            rows["_".join([name, *filter(None, marks)])] = row
            write_record(path, {"what": what, "pairs": rows})
            found = {arm: round(ratio[1], 3) for arm, ratio in row.get("ratio", {}).items()}
            print(f"{what} {name}: {time.perf_counter() - start:.0f} s {found or ''}", flush=True)


if __name__ == "__main__":
    main()
