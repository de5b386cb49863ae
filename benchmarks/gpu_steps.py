"""Steps of ResNet-19 on a GPU, each way of running them beside the plain eager step in float32.

    python benchmarks/gpu_steps.py --output FOLDER                      # T=1 and T=4, batch 128
    python benchmarks/gpu_steps.py -T 1 -b 4 --device cpu --rounds 1 --ways eager bf16 --output FOLDER

Each way is written as it ends, and one that is in the file is not run again; what cannot run says why. Whatever is
compared is interleaved with the plain step of the same T.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from speed import count, device
from speed_bench import PAIRS, Bench
from timing import interleaved, quartiles, ratios, timed
from torchvision.transforms import v2

from spikingjelly_ckd import CKDDistiller
from spikingjelly_ckd.recipes.records import environment, read_record, write_record

Step = Callable[[], object]
FILE = "gpu_steps.json"
BASE = "plain, float32"


def eager(bench: Bench) -> dict[str, Step]:
    return {"plain": bench.plain(), "floor": bench.floor(), "CKD": bench.ckd()}


def bf16(bench: Bench) -> dict[str, Step]:
    bench.autocast = torch.bfloat16
    return eager(bench)


def channels_last(bench: Bench) -> dict[str, Step]:
    for network in (bench.teacher, bench.student):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    bench.images = bench.images.contiguous(memory_format=torch.channels_last)
    return bf16(bench)


def teacher_stream(bench: Bench) -> dict[str, Step]:
    channels_last(bench)
    return {"CKD": bench.ckd(teacher_stream=True)}


def unchecked(bench: Bench) -> dict[str, Step]:
    channels_last(bench)
    return {"CKD": bench.ckd(check=False)}


def graph(bench: Bench) -> dict[str, Step]:
    """Forward, backward and optimiser replayed as one CUDA graph; checks would wait for the device, so they are off."""
    channels_last(bench)
    return {"plain": captured(bench.plain()), "CKD": captured(bench.ckd(check=False))}


def compiled(bench: Bench) -> dict[str, Step]:
    channels_last(bench)
    return {"plain": bench.plain(compiled=True), "CKD": bench.ckd(compiled=True)}


def compiled_default_layout(bench: Bench) -> dict[str, Step]:
    """As :func:`compiled`, where Inductor does not choose the layout of convolutions."""
    with_options: dict[str, Any] = {"dynamic": False, "options": {"layout_optimization": False}}
    channels_last(bench)
    student, _ = bench.own_student()
    distiller = CKDDistiller(bench.teacher, student, time_steps=bench.pair.time_steps, example=bench.images[:4]).train()
    optimizer = torch.optim.SGD(distiller.parameters(), 1e-4, momentum=0.9)
    call = torch.compile(distiller, **with_options)

    def step() -> None:
        optimizer.zero_grad()
        with bench.forward():
            loss = call(bench.images, bench.labels).loss
        loss.backward()
        optimizer.step()

    return {"CKD": step}


def augmentation(bench: Bench) -> dict[str, Step]:
    """The row's augmentation on the device, one draw for the batch: crop, flip, AutoAugment, erasing, normalisation."""
    size = bench.pair.size
    images = torch.randint(0, 256, bench.images.shape, dtype=torch.uint8, device=bench.device)
    transform = v2.Compose(
        [
            v2.RandomCrop(size, 4),
            v2.RandomHorizontalFlip(),
            v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.25] * 3),
            v2.RandomErasing(0.5),
        ]
    )
    return {"augmentation": lambda: transform(images)}


WAYS: dict[str, Callable[[Bench], dict[str, Step]]] = {
    "eager": eager,
    "bf16": bf16,
    "channels_last": channels_last,
    "teacher_stream": teacher_stream,
    "unchecked": unchecked,
    "augmentation": augmentation,
    "graph": graph,
    "compiled": compiled,
    "compiled_default_layout": compiled_default_layout,
}
"""Name -> the steps that are run so; each but the first two is bf16 and channels-last too."""


def captured(step: Step) -> Step:
    """``step`` as a CUDA graph, after three steps on a stream of its own."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        step()

    def replay(networks: Step = step) -> None:  # the graph writes into their memory, and does not keep it
        recorded.replay()

    return replay


def measured(way: str, bench: Bench, rounds: int) -> dict[str, Any]:
    """Quartiles of the seconds and of the ratios to the plain step; first the seconds that the first call takes."""
    arms = {BASE: bench.plain()}
    start = time.perf_counter()
    try:
        steps = WAYS[way](bench)
        first = {name: timed(step, bench.device) for name, step in steps.items()}
        arms |= steps
        seconds = interleaved(arms, rounds, bench.device)
    except Exception as error:  # of a way that this torch or SpikingJelly does not offer
        return {"failed": f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"}
    return {
        "rounds": rounds,
        "made_in": round(time.perf_counter() - start, 2),
        "first": first,
        "seconds": {name: quartiles(values) for name, values in seconds.items()},
        "ratio": {name: ratios(values, seconds[BASE]) for name, values in seconds.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-T", type=count, nargs="+", default=[1, 4])
    parser.add_argument("-b", "--batch", type=count, default=128)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--rounds", type=count, default=15)
    parser.add_argument("--device", type=device, default="cuda")
    parser.add_argument("--minutes", type=float, default=60.0, help="nothing is begun after so many")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    path, end = args.output / FILE, time.monotonic() + 60 * args.minutes
    found = read_record(path)["steps"] if path.exists() else {}
    for way in args.ways:
        for steps in args.T:
            key = f"{way}_T{steps}_b{args.batch}"
            if key in found or time.monotonic() > end:
                continue
            torch.compiler.reset()
            pair = replace(PAIRS["r19_t1"], time_steps=steps, batch=args.batch)
            found[key] = measured(way, Bench("r19", pair, args.device), args.rounds)
            write_record(path, {"what": "gpu_steps", "steps": found, "environment": environment()})
            said = {name: round(1000 * times[1], 2) for name, times in found[key].get("seconds", {}).items()}
            print(key, said or found[key]["failed"], flush=True)


if __name__ == "__main__":
    main()
