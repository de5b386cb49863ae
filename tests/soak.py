"""Kill whole runs again and again, resume them, and compare them bit by bit with runs that were never stopped.

``python tests/soak.py --kills 60 --seed 0`` prints a line for each kill. Runs train a teacher, fill a teacher cache,
distil and export; they are killed (KILL, TERM, INT; the process, or it and its loading processes) at a random moment or
at a random file operation, up to four times before they may end.
"""

import argparse
import itertools
import json
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import tiny_nets
import torch
from tiny_data import write_cifar

from spikingjelly_ckd.recipes.row import run_row

SCRIPT = Path(__file__).parents[1] / "examples" / "cifar10_r20.py"
COMMON = (
    *("--allow-partial", "--any-teacher", "--device", "cpu", "--amp", "32-true", "--no-progress", "--no-preflight"),
    *("-b", "10", "--epochs", "3", "--teacher-epochs", "2", "--warmup-epochs", "0", "--energy-images", "2", "-T", "2"),
)
KINDS = {
    "mixup, no workers": ("-j", "0", "--mixup", "0.2", "--ema", "0.9"),
    "cache, automatic weights, 2 workers": ("-j", "2", "--teacher-cache", "2", "--beta", "auto", "--gamma", "auto"),
}
OPERATIONS = ("replace", "link", "unlink", "fsync", "open", "chmod", "mkdir")
MOST_KILLS = 4
LIMIT = 300


@dataclass(frozen=True)
class Kill:
    """One kill: which signal, to whom, and when: after so many seconds, or at the n-th file operation."""

    signal: signal.Signals
    group: bool
    seconds: float | None = None
    operation: int | None = None

    def __str__(self) -> str:
        to = "group" if self.group else "process"
        when = f"after {self.seconds:.2f} s" if self.operation is None else f"at file operation {self.operation}"
        return f"{self.signal.name} to the {to} {when}"


def send(kill: Kill) -> None:
    """To the calling process."""
    (os.killpg if kill.group else os.kill)(os.getpid(), kill.signal)


class Operations:
    """Counts calls of ``os`` that change files, in the process that watches; kills it before the n-th."""

    def __init__(self, kill: Kill | None) -> None:
        self.count, self.kill, self.process = 0, kill, os.getpid()
        for name in OPERATIONS:
            setattr(os, name, self.watched(getattr(os, name)))

    def watched(self, function):
        def call(*args, **options):
            if os.getpid() == self.process:
                self.count += 1
                if self.kill is not None and self.count == self.kill.operation:
                    send(self.kill)
            return function(*args, **options)

        return call


def run(flags: list[str], said: Path, kill: Kill | None = None) -> tuple[int, int]:
    """A row in a process of its own, which has imported everything already.

    Returns:
        Its status, negative where a signal ended it, and how many file operations there were, 0 if unknown.
    """
    counted = said.with_suffix(".count")
    counted.unlink(missing_ok=True)
    child = os.fork()
    if child:
        end = time.monotonic() + LIMIT
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > end:
                os.killpg(child, signal.SIGKILL)
            time.sleep(0.02)
        return os.waitstatus_to_exitcode(ended[1]), int(counted.read_text() or 0) if counted.exists() else 0
    status = 1
    try:
        os.setsid()
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for number in (1, 2):
            os.dup2(output, number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["row", *flags]
        operations = Operations(kill)
        if kill is not None and kill.seconds is not None:
            threading.Thread(target=lambda: (time.sleep(kill.seconds), send(kill)), daemon=True).start()
        networks = {"teacher": tiny_nets.teacher, "student": tiny_nets.student}
        run_row(replace(runpy.run_path(str(SCRIPT))["RECIPE"], **networks))
        counted.write_text(str(operations.count))
        status = 0
    except SystemExit as stopped:
        status = stopped.code if isinstance(stopped.code, int) else 1
        print(stopped.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def content(folder: Path) -> dict[str, object]:
    """What a run leaves that must not depend on whether it was stopped."""
    found: dict[str, object] = {}
    for path in (*folder.rglob("*.safetensors"), *folder.rglob("view*.npy")):
        found[str(path.relative_to(folder))] = path.read_bytes()
    for path in folder.rglob("record.json"):
        record = json.loads(path.read_text())
        rows = [{name: value for name, value in row.items() if name != "seconds"} for row in record["history"]]
        found[str(path.relative_to(folder))] = [record["finished"], rows, record.get("chosen")]
    return found


def stage(folder: Path) -> str:
    """How far a run was when it was killed."""
    out = folder / "out"
    if (out / "latest.ckpt").exists():
        record = out / "record.json"
        done = len(json.loads(record.read_text())["history"]) if record.exists() else 0
        return "exporting" if done == 3 else f"distilling, {done} epochs done"
    if (out / "teacher" / "teacher.json").exists():
        return "filling the cache" if (folder / "teacher_cache").exists() else "teacher done"
    return "training the teacher" if (out / "teacher").exists() else "beginning"


def soak(kills: int, seed: int, folder: Path, show=print) -> list[str]:
    """Kill so many times.

    Returns:
        What went wrong, in words; empty if nothing did.
    """
    rng, done, wrong = random.Random(seed), 0, []
    write_cifar(folder / "data", "10", per_class_train=4, per_class_test=1)
    whole, said = {}, folder / "said.txt"

    def flags(name: str, where: Path) -> list[str]:
        own = ("--data-path", folder / "data", "--output-dir", where / "out")
        return [*map(str, own), *COMMON, *KINDS[name]]

    for name in KINDS:
        where = folder / f"whole{len(whole)}"
        start = time.monotonic()
        status, operations = run(flags(name, where), said)
        if status:
            return [f"{name}: the run that nobody stopped ended with {status}: {said.read_text()[-2000:]}"]
        whole[name] = (content(where), time.monotonic() - start, operations)
    for number in itertools.count():
        if done >= kills:
            return wrong
        name = list(KINDS)[number % len(KINDS)]
        expected, seconds, operations = whole[name]
        where = folder / f"run{number}"
        for _ in range(min(rng.randint(1, MOST_KILLS), kills - done)):
            at_operation = rng.random() < 0.5
            kill = Kill(
                rng.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT)),
                rng.random() < 0.5,
                None if at_operation else rng.uniform(0, seconds),
                rng.randint(1, operations) if at_operation else None,
            )
            status, _ = run([*flags(name, where), *resumed(where)], said, kill)
            done += 1
            show(f"{done:3} run {number} ({name}): {kill}: status {status}, {stage(where)}", flush=True)
            if status == 1 and "Stopped. Go on" not in said.read_text()[-400:]:
                wrong.append(f"kill {done}: {said.read_text()[-1500:]}")
            if status == 0:
                break
        status, _ = run([*flags(name, where), *resumed(where)], said)
        found = content(where)
        differing = [path for path in {*expected, *found} if expected.get(path) != found.get(path)]
        left = [str(path.relative_to(where)) for path in where.rglob("*") if path.name.endswith((".part", ".damaged"))]
        if status or differing or left:
            wrong.append(
                f"run {number}: status {status}, differing {differing}, left {left}: {said.read_text()[-1500:]}"
            )
        show(f"    run {number}: {'the same bits' if not (status or differing or left) else wrong[-1]}", flush=True)
        shutil.rmtree(where)


def resumed(where: Path) -> list[str]:
    """The flag that goes on, once there is something to go on with."""
    return ["--resume", "latest"] if (where / "out" / "settings.json").exists() else []


def main() -> int:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        wrong = soak(args.kills, args.seed, Path(folder))
    print(f"{args.kills} kills, {len(wrong)} that went wrong", *wrong, sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
