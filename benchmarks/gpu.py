"""Everything that wants a GPU, for a machine that has one and no network.

    python benchmarks/gpu.py pack --images DIR --pack FOLDER     # where there is a network: wheels, and the images
    python benchmarks/gpu.py unpack --pack FOLDER --to PLACE     # there: packages in PLACE/site, images in PLACE/images
    PYTHONPATH=PLACE/site:. python benchmarks/gpu.py run --images PLACE/images --legacy PLACE/legacy --output OUT

DIR is a tree of class folders, ``train`` and ``test``. Repository and pack stay below 64 MiB together where the images
do. The machine has PyTorch, torchvision, torchaudio, Lightning, timm, pytest and pytest-xdist, and CuPy where it is to
be measured.

``run`` takes the parts in order, or those that are named: ``tests`` (the tests that need a GPU) and ``neurons``, both
on either generation of SpikingJelly, ``steps`` (benchmarks/gpu_steps.py), ``rows`` (teacher, plain and CKD of
cifar10_r19_t1). Each writes into OUT. The same command goes on where it was stopped: parts that ended are not run
again, and rows go on from the end of an epoch with the same bits. ``--minutes`` is the time of one such piece.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

HERE = Path(__file__).parent
ROOT = HERE.parent
WHEELS = {"wheels": ("spikingjelly==2.0.0", "loguru", "SciencePlots"), "legacy": ("spikingjelly==0.0.0.0.14",)}
"""Folder -> what such a machine lacks; the second generation of SpikingJelly has a folder of its own."""
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
IMAGES = "images.npz"
LIMIT = 64 << 20
ROW = "cifar10_r19_t1"
PROCESSES = 8
"""That run tests at once."""
MARGIN = 20.0
"""Seconds of a piece that are left for a row to stop in at the end of an epoch."""


# --- the pack --------------------------------------------------------------------------------------------------------


def pack(images: Path, folder: Path, python: str) -> int:
    """Wheels and images in a folder; the bytes of it and of the files of the repository."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, packages in WHEELS.items():
        where = ["--python-version", python, "--implementation", "cp", "--only-binary=:all:"]
        where += [f"--platform={platform}" for platform in PLATFORMS]
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *where, "-d", str(folder / name)]
        subprocess.run([*command, *packages], check=True)
    pack_images(images, folder / IMAGES)
    tracked = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    files = [*(path for path in folder.rglob("*") if path.is_file()), *(ROOT / name for name in tracked if name)]
    return sum(path.stat().st_size for path in files if path.is_file())


def pack_images(tree: Path, file: Path) -> None:
    """A tree of class folders as the bytes of its files one behind the other: no block of a disk is wasted."""
    paths = sorted(path for path in tree.rglob("*") if path.is_file())
    if not paths:
        raise SystemExit(f"gpu.py pack: no file in {tree}")
    contents = [path.read_bytes() for path in paths]
    names = "\n".join(str(path.relative_to(tree)) for path in paths)
    ends = np.cumsum([len(content) for content in contents])
    data, text = (np.frombuffer(content, np.uint8) for content in (b"".join(contents), names.encode()))
    np.savez(file, data=data, names=text, ends=ends)


def unpack_images(file: Path, tree: Path) -> None:
    """The tree of :func:`pack_images`."""
    with np.load(file) as packed:
        names, data, ends = packed["names"].tobytes().decode().splitlines(), packed["data"], packed["ends"]
    for folder in {str(Path(name).parent) for name in names}:
        (tree / folder).mkdir(parents=True, exist_ok=True)
    begin = 0
    for name, end in zip(names, ends.tolist(), strict=True):
        target = (tree / name).resolve()
        if not target.is_relative_to(tree.resolve()):
            raise SystemExit(f"gpu.py unpack: {name} leads out of the folder")
        target.write_bytes(data[begin:end].tobytes())
        begin = end


def unpack(folder: Path, place: Path) -> None:
    """Install the wheels beside each other and write the images."""
    for name, site in {"wheels": "site", "legacy": "legacy"}.items():
        wheels = sorted(map(str, (folder / name).glob("*.whl")))
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile"]
        subprocess.run([*command, "--upgrade", "--target", str(place / site), *wheels], check=True)
    unpack_images(folder / IMAGES, place / "images")


# --- the parts -------------------------------------------------------------------------------------------------------


@dataclass
class Piece:
    """One piece of time on the machine.

    Attributes:
        images: tree of class folders.
        legacy: folder with SpikingJelly 0.0.0.0.14; None leaves it out.
        output: folder of the records.
        device: ``cuda``, or ``cpu`` to try this script.
        epochs: of each network of the rows.
        end: as ``time.monotonic`` says it.
        quick: as little as shows that all of it runs.
    """

    images: Path
    legacy: Path | None
    output: Path
    device: str
    epochs: int
    end: float
    quick: bool

    def left(self) -> float:
        """Seconds that are left of it."""
        return self.end - time.monotonic()

    def call(self, *command: Any, log: str, path: Path | None = None, margin: float = 0.0) -> int:
        """Run a command of Python, what it says into a log, and end it with SIGTERM when the piece is over.

        Paths are given from the root of the repository, since records keep the command.
        """
        words = [os.path.relpath(word, ROOT) if isinstance(word, Path) else str(word) for word in command]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        if path is not None:
            env["PYTHONPATH"] = os.pathsep.join([str(path), env.get("PYTHONPATH", "")])
        with (self.output / log).open("ab") as said:
            process = subprocess.Popen(
                [sys.executable, *words], cwd=ROOT, env=env, stdout=said, stderr=subprocess.STDOUT
            )
            try:
                return process.wait(max(1.0, self.left() - margin))
            except subprocess.TimeoutExpired:
                process.terminate()
                try:
                    process.wait(max(1.0, margin))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                return 124


def tests(piece: Piece) -> None:
    """How many of the tests that need a GPU passed, on the other generation of SpikingJelly first."""
    from spikingjelly_ckd.recipes.records import environment, write_record

    if piece.legacy is not None:
        place = ("--images", piece.images, "--output", piece.output / "legacy", "--minutes", int(piece.left() / 60))
        piece.call(
            HERE / "gpu.py", "run", "tests", *place, "--device", piece.device, log="tests.log", path=piece.legacy
        )
    found = piece.output / "tests.xml"
    names = ["tests/test_cuda.py", "tests/test_streams.py"]
    options = ["-q", "-p", "no:cacheprovider", "-o", "addopts=", "--junitxml", found, "-n", PROCESSES]
    piece.call("-m", "pytest", *options, *names, log="tests.log")
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for suite in ElementTree.parse(found).getroot().iter("testsuite"):
        counts = {name: number + int(suite.get(name, 0)) for name, number in counts.items()}
    failed = [
        case.get("name", "")
        for case in ElementTree.parse(found).getroot().iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    about = {"what": "gpu_tests", "files": names, "failed": failed, "environment": environment()}
    write_record(piece.output / "gpu_tests.json", about | counts)


def neurons(piece: Piece) -> None:
    """The first neuron and whole steps on the neurons of either generation."""
    for generation, site in {"": None, "legacy": piece.legacy}.items():
        if generation and site is None:
            continue
        size = ("--rounds", 1, "-b", 2) if piece.quick else ("--rounds", 15, "-b", 128)
        common = ("--device", piece.device, "--pairs", "r20_t1", "r20_t4", *size)
        folder = piece.output / "neurons" / generation if generation else piece.output / "neurons"
        folder.mkdir(parents=True, exist_ok=True)
        piece.call(HERE / "speed.py", "neurons", *common, "--output", folder, log="neurons.log", path=site)


def steps(piece: Piece) -> None:
    """Ways of running a step of ResNet-19, each in a process of its own: one that fails can take the GPU along."""
    from gpu_steps import WAYS

    ways = ("eager", "graph") if piece.quick else tuple(WAYS)
    size = ("--rounds", 1, "-b", 2, "-T", 1) if piece.quick else ()
    for way in ways:
        options = ("--device", piece.device, "--output", piece.output, "--minutes", piece.left() / 60)
        piece.call(HERE / "gpu_steps.py", *options, *size, "--ways", way, log="steps.log")


def rows(piece: Piece) -> None:
    """Teacher, plain and CKD of the row, each on from where it was."""
    folder = piece.output / ROW
    common: tuple[Any, ...] = ("--data-path", piece.images, "--val-images", "0.1", "--device", piece.device)
    common += ("--no-progress", "--epochs", piece.epochs)
    common += ("--smoke", "--any-teacher") if piece.quick else ("--warmup-epochs", 1)
    common += ("--amp", "32-true") if piece.device == "cpu" else ()  # which may have no bfloat16
    script, teacher = ROOT / "examples" / f"{ROW}.py", folder / "teacher"
    taught = ("--teacher", teacher / "teacher.safetensors")
    runs = {
        "teacher": (ROOT / "examples" / "train_teacher.py", ROW),
        "plain": (script, "--method", "plain"),
        "ckd": (script, "--method", "ckd", *taught),
    }
    for name, command in runs.items():
        place = folder / name
        done = place / ("teacher.safetensors" if name == "teacher" else "student.safetensors")
        if done.is_file() or piece.left() < MARGIN:
            continue
        again = ("--resume", "latest") if any(place.glob("*.ckpt")) else ()
        piece.call(*command, *common, "--output-dir", place, *again, log=f"{name}.log", margin=MARGIN)


PARTS: dict[str, tuple[Callable[[Piece], None], str]] = {
    "tests": (tests, "gpu_tests.json"),
    "neurons": (neurons, "neurons/speed_neurons.json"),
    "steps": (steps, ""),
    "rows": (rows, f"{ROW}/ckd/student.safetensors"),
}
"""Name -> what is done, and the file that says that it ended; ``steps`` looks at its own."""


def run(piece: Piece, names: list[str]) -> int:
    """The parts that have not ended; the exit status, 1 where one left no file."""
    piece.output.mkdir(parents=True, exist_ok=True)
    status = 0
    for name in names:
        call, file = PARTS[name]
        done = piece.output / file
        if done.is_file():
            print(f"{name}: was done", flush=True)
            continue
        start = time.monotonic()
        if piece.left() > MARGIN:
            call(piece)
        ended = done.is_file() if file else True
        status |= not ended
        print(f"{name}: {time.monotonic() - start:.0f} s{'' if ended else ', not ended'}", flush=True)
    return status


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("--images", type=Path, required=True)
    packing.add_argument("--pack", type=Path, required=True)
    packing.add_argument("--python", default="3.12", help="version of Python there")
    unpacking = commands.add_parser("unpack")
    unpacking.add_argument("--pack", type=Path, required=True)
    unpacking.add_argument("--to", type=Path, required=True)
    running = commands.add_parser("run")
    running.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    running.add_argument("--images", type=Path, required=True)
    running.add_argument("--legacy", type=Path)
    running.add_argument("--output", type=Path, required=True)
    running.add_argument("--minutes", type=float, default=9.0)
    running.add_argument("--epochs", type=int, default=30, help="of each network of the rows")
    running.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    running.add_argument("--quick", action="store_true", help="as little as shows that it runs")
    args = parser.parse_args()
    if args.command == "pack":
        size = pack(args.images, args.pack, args.python)
        print(f"{size / 2**20:.1f} MiB with the repository")
        sys.exit(size > LIMIT)
    if args.command == "unpack":
        unpack(args.pack, args.to)
        return
    unknown = set(args.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    end = time.monotonic() + 60 * args.minutes
    legacy = None if args.legacy is None else args.legacy.resolve()
    piece = Piece(args.images.resolve(), legacy, args.output.resolve(), args.device, args.epochs, end, args.quick)
    sys.exit(run(piece, args.parts or list(PARTS)))


if __name__ == "__main__":
    main()
