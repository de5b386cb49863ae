"""The ten-minute tutorial: few lines differ, the notebook holds the scripts of the page, and runs."""

import difflib
import re
import runpy
from pathlib import Path

import pytest

pytestmark = pytest.mark.tools

DOCS = Path(__file__).resolve().parents[1] / "docs"
FOLDER = DOCS / "ten_minutes"


def one_epoch(text):
    """The same program with one epoch in place of several."""
    short, found = re.subn(r"^EPOCHS = \d+$", "EPOCHS = 1", text, flags=re.M)
    assert found == 1
    return short


def test_at_most_fifteen_lines_change():
    before, after = ((FOLDER / name).read_text("utf8").splitlines() for name in ("before.py", "after.py"))
    changed = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    new = [line for line in changed if line.startswith("+") and line[1:].strip()]
    gone = [line for line in changed if line.startswith("-") and line[1:].strip()]
    assert len(gone) < len(new) <= 15
    said = re.search(r"(\w+) lines are new", (DOCS / "ten_minutes.md").read_text("utf8"))[1]
    assert said == {12: "twelve", 13: "thirteen", 14: "fourteen", 15: "fifteen"}[len(new)]


def test_both_scripts_are_for_one_student():
    """What the network is stands in both, unchanged."""
    networks = [
        re.search(r"^def sew_resnet.+?^    \)$", (FOLDER / name).read_text("utf8"), re.M | re.S)[0]
        for name in ("before.py", "after.py")
    ]
    assert networks[0] == networks[1]


def test_the_notebook_is_that_of_the_page():
    nbformat = pytest.importorskip("nbformat")
    writer = runpy.run_path(str(FOLDER / "notebook.py"))
    assert writer["page"]() == (DOCS / "ten_minutes.md").read_text("utf8"), "python docs/ten_minutes/notebook.py"
    made = writer["notebook"]()
    kept = nbformat.read(DOCS / "ten_minutes.ipynb", as_version=4)
    nbformat.validate(kept)
    assert made == kept, "out of date: python docs/ten_minutes/notebook.py"
    code = [cell.source for cell in kept.cells if cell.cell_type == "code"]
    scripts = [(FOLDER / f"{name}.py").read_text("utf8").strip() for name in ("before", "teacher", "after")]
    assert code == [scripts[0], f"%%writefile teacher.py\n{scripts[1]}", scripts[2]]


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(DOCS / "ten_minutes.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = one_epoch(cell.source)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "teacher: test accuracy" in said
    assert len(re.findall(r"^epoch 1/1: loss \d+\.\d+, test accuracy \d+\.\d %$", said, re.M)) == 2
    assert (tmp_path / "plain.pt").exists()
    assert (tmp_path / "student.pt").exists()
