"""What goes to a machine with a GPU and no network, and that all of it runs there: here without the GPU."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_data import write_image_folder

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import gpu  # noqa: E402
import study  # noqa: E402

from spikingjelly_ckd.recipes.methods import read_method  # noqa: E402

pytestmark = pytest.mark.tools


def test_images_come_back_as_they_were(tmp_path):
    write_image_folder(tmp_path / "tree", classes=3, per_class_train=2, per_class_test=1)
    gpu.pack_images(tmp_path / "tree", tmp_path / "images.npz")
    gpu.unpack_images(tmp_path / "images.npz", tmp_path / "again")
    paths = sorted(path.relative_to(tmp_path / "tree") for path in (tmp_path / "tree").rglob("*") if path.is_file())
    assert paths
    assert paths == sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file())
    assert all((tmp_path / "again" / path).read_bytes() == (tmp_path / "tree" / path).read_bytes() for path in paths)


def test_no_image_leads_out_of_the_folder(tmp_path):
    name, ends = np.frombuffer(b"../outside.jpg", np.uint8), np.array([1])
    np.savez(tmp_path / "images.npz", data=np.zeros(1, np.uint8), names=name, ends=ends)
    with pytest.raises(SystemExit, match="leads out of the folder"):
        gpu.unpack_images(tmp_path / "images.npz", tmp_path / "place")
    assert not (tmp_path / "outside.jpg").exists()


def test_an_empty_tree_is_no_pack(tmp_path):
    with pytest.raises(SystemExit, match="no file in"):
        gpu.pack_images(tmp_path, tmp_path / "images.npz")


@pytest.mark.slow
def test_every_part_runs_and_what_ended_is_not_run_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu, "PROCESSES", 1)  # each takes as long to begin as all of its tests do
    images = write_image_folder(tmp_path / "tree", classes=10, per_class_train=12, per_class_test=2)
    end = float("inf")
    piece = gpu.Piece(Path(images), None, tmp_path / "out", "cpu", 1, end, True)
    assert gpu.run(piece, ["tests", "steps", "rows"]) == 0, {
        path.name: path.read_text("utf8")[-2000:] for path in (tmp_path / "out").glob("*.log")
    }
    counts = json.loads((tmp_path / "out" / "gpu_tests.json").read_text())
    assert counts["tests"] > 40
    assert counts["failures"] == counts["errors"] == 0
    steps = json.loads((tmp_path / "out" / "gpu_steps.json").read_text())["steps"]
    assert set(steps["eager_T1_b2"]["ratio"]) >= {"plain", "floor", "CKD"}
    assert "failed" in steps["graph_T1_b2"], "there is no CUDA graph on a CPU"
    assert gpu.run(piece, ["tests", "rows"]) == 0
    assert capsys.readouterr().out.count("was done") == 2


@pytest.mark.parametrize("name", study.ARMS)
def test_an_arm_of_the_study_is_a_method(name):
    assert read_method(study.ARMS[name]).source
