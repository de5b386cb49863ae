"""The examples run as a user starts them, on little."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from spikingjelly_ckd.recipes.models import spiking_resnet20

pytestmark = [pytest.mark.slow, pytest.mark.tools]

EXAMPLES = Path(__file__).parents[1] / "examples"


def environment() -> dict[str, str]:
    """This package, and one thread."""
    paths = [str(EXAMPLES.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}


def run(script: str, *flags: str, cwd: Path) -> str:
    """Standard output of the script, started from an empty folder with one thread."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *flags],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory) -> tuple[str, dict, Path]:
    folder = tmp_path_factory.mktemp("quickstart")
    flags = ("--smoke", "--cupy", "--device", "cpu", "--seed", "1", "-T", "3", "-b", "16", "--output-dir", "here")
    printed = run("quickstart.py", *flags, cwd=folder)
    return printed, json.loads((folder / "here" / "quickstart.json").read_text("utf8")), folder / "here"


def test_quickstart_prints_one_table(quickstart):
    printed, record, _ = quickstart
    networks = ("teacher", "plain", "ckd")
    rows = [line for line in printed.splitlines() if line.split(" ")[0] in networks and ":" not in line]
    assert [row.split()[0] for row in rows] == list(networks)
    for row in rows:
        assert float(row.split()[1]) == pytest.approx(record["results"][row.split()[0]]["accuracy"]["last"], abs=0.05)
    # --cupy says what each student will run on
    assert len([line for line in printed.splitlines() if line.startswith("SpikingJelly ")]) == 2
    assert "firing rate" in printed.lower()


def test_quickstart_says_what_it_does_and_does_not_warn_of_its_own_weights(quickstart):
    printed, _, _ = quickstart
    assert printed.startswith("An event camera is simulated over 1797 handwritten digits\n")
    assert "[warn]" not in printed
    for name in ("teacher", "plain", "ckd"):
        words = (
            rf"^{name} +epoch   1/1: cross-entropy \d\.\d+, test accuracy \d+\.\d % \(smoke run, which says nothing\)$"
        )
        assert re.search(words, printed, re.M), "of one kind for all three"
    assert "Smoke run: no figure says anything." in printed


def test_quickstart_draws_a_figure(quickstart):
    _, _, folder = quickstart
    width, height = Image.open(folder / "quickstart.png").size
    assert width > 400
    assert height > 400


def test_quickstart_leaves_a_record(quickstart):
    _, record, folder = quickstart
    assert record["args"]["seed"] == 1
    assert record["args"]["smoke"] is True
    assert set(record["versions"]) == {"spikingjelly_ckd", "spikingjelly", "torch", "scikit-learn", "python"}
    assert len(record["split"]["sha256"]) == len(record["teacher_sha256"]) == 64
    for name in ("teacher", "plain", "ckd"):
        assert set(record["results"][name]["accuracy"]) == {"last", "best", "mean_last5"}
        assert record["results"][name]["seconds"] > 0
    for name in ("plain", "ckd"):
        assert 0 <= record["results"][name]["firing_rate"] <= 1
    text = (folder / "quickstart.json").read_text("utf8")
    assert str(folder) not in text, "a record holds no path of the machine it was made on"
    assert len(text) < 4000


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory) -> Path:
    """Two classes of ten tiny images: train/ and test/."""
    root = tmp_path_factory.mktemp("images")
    generator = torch.Generator().manual_seed(0)
    for part in ("train", "test"):
        for label, kind in enumerate(("dark", "light")):
            (root / part / kind).mkdir(parents=True)
            for i in range(5):
                pixels = torch.randint(100 * label, 100 * label + 100, (32, 32, 3), generator=generator).byte()
                Image.fromarray(pixels.numpy()).save(root / part / kind / f"{i}.png")
    return root


def minimal(image_folder: Path, folder: Path, method: str) -> dict:
    flags = ["--data-path", str(image_folder), "--device", "cpu", "-j", "0", "-b", "4", "-T", "2", "--epochs", "1"]
    flags += ["--teacher-epochs", "1", "--train-per-class", "4", "--method", method, "--output", f"{method}.json"]
    printed = run("minimal.py", *flags, cwd=folder)
    assert f"{method} epoch 1/1: test accuracy" in printed
    return json.loads((folder / f"{method}.json").read_text("utf8"))


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (
            ("--device", "cdua"),
            2,
            "argument --device: 'cdua' is no device that torch can use here (Expected one of cpu",
        ),
        (("--output-dir", "taken"), 1, "--output-dir: nothing can be written to taken (File exists); pass another"),
        (("--output-dir", "taken/in"), 1, "--output-dir: nothing can be written to taken/in (Not a directory)"),
    ],
)
def test_quickstart_says_what_it_needs_before_it_trains(tmp_path, flags, code, words):
    (tmp_path / "taken").write_text("a file")
    line = [sys.executable, str(EXAMPLES / "quickstart.py"), "--smoke", *flags]
    done = subprocess.run(line, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_minimal_trains_both_arms_and_loads_the_teacher_it_trained(image_folder, tmp_path):
    plain = minimal(image_folder, tmp_path, "plain")
    teacher = (tmp_path / "teacher.pt").read_bytes()
    ckd = minimal(image_folder, tmp_path, "ckd")
    assert (tmp_path / "teacher.pt").read_bytes() == teacher
    for found in (plain, ckd):
        assert len(found["accuracy"]) == 1
        assert found["seconds"] > 0
        assert found["args"]["T"] == 2


def test_minimal_leaves_one_record_and_one_student_a_method(image_folder, tmp_path):
    for method in ("plain", "ckd"):
        printed = run(
            *("minimal.py", "--data-path", str(image_folder), "-j", "0", "--smoke", "--method", method), cwd=tmp_path
        )
        assert f"{method} epoch 1/1" in printed
        assert "smoke run, which says nothing" in printed
        assert json.loads((tmp_path / f"minimal_{method}.json").read_text("utf8"))["args"]["smoke"]
        student = spiking_resnet20(2)
        student.load_state_dict(torch.load(tmp_path / f"minimal_{method}.pt", weights_only=True))
    assert not (tmp_path / "teacher.pt").exists(), "a later run would take it for a trained one"


def test_minimal_says_in_one_line_that_it_was_stopped(image_folder, tmp_path):
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a test run in the background ignores it
    process = subprocess.Popen(
        [sys.executable, "-u", str(EXAMPLES / "minimal.py"), "--data-path", str(image_folder), "-j", "0"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heard,
    )
    assert "epoch 1/" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert (
        process.communicate(timeout=60)[1].splitlines()[-1].startswith("Stopped. A teacher that was finished is kept")
    )
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "required: --data-path"),
        (("--data-path", "nowhere"), "--data-path nowhere must hold train/ and test/"),
        (("--data-path", "."), "--data-path . must have the folders of at least two classes in train/"),
        (("--data-path", "other"), "--data-path other has classes in one of train/ and test/ only: cat, dog"),
        (("--data-path", ".", "-T", "-1"), "-T: it must be a whole number of at least 1, got '-1'"),
        (("--data-path", ".", "--lr", "nan"), "--lr: it must be a number of at least 0, got 'nan'"),
        (("--data-path", ".", "--method", "cdk"), "did you mean 'ckd'?"),
    ],
)
def test_minimal_says_what_it_needs(tmp_path, flags, words):
    for folder in ("train/only", "test/only", "other/train/cat", "other/train/elk", "other/test/dog", "other/test/elk"):
        (tmp_path / folder).mkdir(parents=True)
    line = [sys.executable, str(EXAMPLES / "minimal.py"), *flags]
    done = subprocess.run(line, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 2
    usage, error = done.stderr.splitlines()
    assert usage == "usage: minimal.py --data-path DIR [flags] (see --help)"
    assert words in error


@pytest.mark.parametrize("content", [b"no weights", b"", b"PK\x03\x04"])
def test_minimal_says_that_a_file_is_no_teacher(image_folder, tmp_path, content):
    (tmp_path / "teacher.pt").write_bytes(content)
    line = [sys.executable, str(EXAMPLES / "minimal.py"), "--data-path", str(image_folder), "-j", "0", "--smoke"]
    done = subprocess.run(
        [*line, "--teacher", "teacher.pt"], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "--teacher teacher.pt is no ResNet-20 of 2 classes; name a new file, to train one first"
    )
    assert "Traceback" not in done.stderr


def test_the_help_of_minimal_has_its_defaults(tmp_path):
    said = " ".join(run("minimal.py", "--help", cwd=tmp_path).split())
    assert "at most so many training images of each class (all)" in said
    assert "first learning rate, which falls to 0 as a cosine (0.1)" in said


def test_minimal_stays_short():
    text = (EXAMPLES / "minimal.py").read_text("utf8")
    start, end = text.index("def arguments()"), text.index('if __name__ == "__main__"')
    assert len((text[:start] + text[end:]).splitlines()) < 70
