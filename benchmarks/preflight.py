"""What preflight costs, in plain training steps of the same student on the same batch.

python benchmarks/preflight.py --output benchmarks/results/preflight.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from spikingjelly_ckd import CKDDistiller, preflight
from spikingjelly_ckd.compat import spikingjelly_version
from spikingjelly_ckd.recipes.models import resnet20, spiking_resnet20


def median_seconds(call: Callable[[], object], rounds: int) -> float:
    """Median over the rounds, after one warm-up."""
    call()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("-b", type=int, default=64)
    args = parser.parse_args()
    rows = []
    for time_steps in (1, 4):
        torch.manual_seed(0)
        teacher, student = resnet20(10), spiking_resnet20(10)
        images, labels = torch.randn(args.b, 3, 32, 32), torch.randint(0, 10, (args.b,))
        distiller = CKDDistiller(teacher, student, time_steps=time_steps, example=images)
        optimizer = torch.optim.SGD(student.parameters(), 0.0)

        def plain(distiller=distiller, images=images, labels=labels, optimizer=optimizer) -> None:
            optimizer.zero_grad()
            cross_entropy(distiller.predict(images), labels).backward()
            optimizer.step()

        step = median_seconds(plain, args.rounds)
        whole = median_seconds(lambda d=distiller, x=images, y=labels: preflight(d, (x, y)), args.rounds)
        rows.append({"T": time_steps, "batch": args.b, "step_s": step, "preflight_s": whole, "steps": whole / step})
        print(rows[-1])
    versions = {"torch": torch.__version__, "spikingjelly": spikingjelly_version(), "threads": torch.get_num_threads()}
    args.output.write_text(json.dumps({"network": "spiking_resnet20", **versions, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
