"""What the documents say: code blocks run, links and test names exist, figures and versions are the code's."""

import ast
import importlib.util
import os
import re
import runpy
import subprocess
import sys
import types
from collections import defaultdict
from pathlib import Path

import pytest
import setuptools
import torch
from conftest import tiny_student, tiny_teacher

import spikingjelly_ckd
from spikingjelly_ckd import CKDDistiller, preflight
from spikingjelly_ckd.functional.maps import SPIKE_EPS
from spikingjelly_ckd.preflight import checks, shares
from spikingjelly_ckd.step import auto_weight as balance
from spikingjelly_ckd.step import held_weight

pytestmark = pytest.mark.tools

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(p for p in ROOT.glob("docs/**/*.md") if "_build" not in p.parts)])
FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```\s*$", re.M | re.S)
DISTRIBUTIONS = {
    "PIL": "torchvision",
    "huggingface_hub": "timm",
    "markupsafe": "jinja2",
    "pytorch_grad_cam": "grad-cam",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Module -> distribution that brings it, where the names differ; torchvision requires pillow, jinja2 markupsafe, and
timm the hub."""
CORE = {"torch", "spikingjelly", "numpy", "spikingjelly_ckd"}
"""What install_requires brings, with what that requires itself."""


def name_of(path):
    return str(path.relative_to(ROOT))


def prose(path):
    """The page with its code blocks blanked out, line numbers kept."""
    return FENCE.sub(lambda block: "\n" * block[0].count("\n"), path.read_text("utf8"))


def python_blocks(path):
    """Line of the first statement, and the code."""
    text = path.read_text("utf8")
    return [(text.count("\n", 0, b.start()) + 1, b[2]) for b in FENCE.finditer(text) if b[1] == "python"]


# --- code blocks -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in PAGES if python_blocks(p)], ids=name_of)
def test_python_blocks_run(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": path.stem}
    for line, code in python_blocks(path):
        exec(compile("\n" * line + code, str(path), "exec"), namespace)


def test_every_fence_is_closed_and_says_its_language():
    for path in PAGES:
        fences = re.findall(r"^```(.*)$", path.read_text("utf8"), re.M)
        assert len(fences) % 2 == 0, f"{name_of(path)} has a fence that is not closed"
        assert all(fences[::2]), f"{name_of(path)}: a code block without a language; a sketch is ```text"


# --- links and names -------------------------------------------------------------------------------------------------


def anchors(path):
    """The anchors that GitHub and MyST make of a page's headings."""
    headings = re.findall(r"^#+ +(.+)$", prose(path), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_relative_links_resolve(path):
    for target in re.findall(r"\]\(([^()\s]+)\)", prose(path)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{name_of(path)} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(found), f"{name_of(path)} links to {target}; there is no such heading"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_named_tests_exist(path):
    for file, test in re.findall(r"(tests/[\w/]+\.py)(?:::(\w+))?", path.read_text("utf8")):
        assert (ROOT / file).exists(), f"{name_of(path)} names {file}, which is not there"
        if test:
            tree = ast.parse((ROOT / file).read_text("utf8"))
            names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert test in names, f"{name_of(path)} names {file}::{test}, which is not there"


@pytest.mark.parametrize("path", [p for p in PAGES if p.name != "CHANGELOG.md"], ids=name_of)
def test_named_files_of_the_package_exist(path):
    for name in re.findall(r"`(spikingjelly_ckd/[\w/.]+)`", path.read_text("utf8")):
        assert (ROOT / name).exists(), f"{name_of(path)} names {name}, which is not there"


def test_the_architecture_names_every_part_and_no_other_file():
    page = (ROOT / "docs/architecture.md").read_text("utf8")
    package = ROOT / "spikingjelly_ckd"
    for path in (*package.iterdir(), *(package / "recipes").iterdir()):
        if path.is_dir() and (path / "__init__.py").exists():
            assert re.search(rf"^ +{path.name}/ ", page, re.M), f"the tree lacks {path.relative_to(ROOT)}"
        elif path.suffix == ".py" and path.parent == package:
            assert re.search(rf"^  {path.name} ", page, re.M), f"the tree lacks {name_of(path)}"
    inside = page.partition("\n## Inside recipes")[2].partition("\n## ")[0]
    for path in sorted((package / "recipes").glob("*.py")):
        said = path.stem == "__init__" or f"`{path.stem}`" in inside or f"`recipes/{path.name}`" in inside
        assert said, f"the table of recipes lacks {path.stem}"
    for name in re.findall(r"`([\w/]+\.(?:py|md))`", page):
        if "NAME" not in name:
            assert any((folder / name).exists() for folder in (ROOT, package)), f"{name} is not there"


def test_every_public_name_is_in_the_reference():
    reference = (ROOT / "docs/reference.md").read_text("utf8")
    for name in spikingjelly_ckd.__all__:
        assert re.search(rf"\b{name}\b", reference), f"docs/reference.md does not mention {name}"


def entries():
    """(name, the object's id) of each entry of the reference and the internals -> where they stand.

    An ``automodule`` shows what ``__all__`` names and a docstring explains; other directives show any name.
    """
    if not importlib.util.find_spec("sphinx"):
        pytest.skip("the extra [docs] is not installed")
    pycode = importlib.import_module("sphinx.pycode")
    found = defaultdict(list)

    def add(module, name):
        found[name, id(getattr(sys.modules[module], name))].append(f"{module}.{name}")

    for page in ("reference", "internals"):
        text = (ROOT / f"docs/{page}.md").read_text("utf8")
        for full in re.findall(r"^\.\. (?:autoclass|autofunction|autodata|py:data):: (\S+)$", text, re.M):
            module, _, name = full.rpartition(".")
            importlib.import_module(module)
            add(module, name)
        for module, options in re.findall(r"^\.\. automodule:: (\S+)\n((?:   :.*\n)*)", text, re.M):
            shown = importlib.import_module(module)
            explained = {name for _, name in pycode.ModuleAnalyzer.for_module(module).find_attr_docs()}
            lists = {key: set(value.replace(",", " ").split()) for key, value in re.findall(r":([\w-]+):(.*)", options)}
            for name in (lists["members"] or set(shown.__all__)) - lists.get("exclude-members", set()):
                kind = isinstance(getattr(shown, name), type | types.FunctionType)
                if kind or name in explained:
                    add(module, name)
    return found


def test_every_public_name_has_one_entry():
    known = entries()
    twice = [names for names in known.values() if len(names) > 1]
    assert not twice, f"entries for one thing: {twice}"
    missing = []
    for path in sorted((ROOT / spikingjelly_ckd.__name__).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if any(part.startswith("_") and part != "__init__" for part in parts):
            continue
        module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
        for name in getattr(module, "__all__", []):
            value = getattr(module, name)
            if not isinstance(value, types.ModuleType) and (name, id(value)) not in known:
                missing.append(f"{module.__name__}.{name}")
    assert not missing, (
        "no entry in docs/reference.md (what users call) or docs/internals.md, or a constant without a docstring: "
        f"{missing}"
    )


def test_the_19_differences_each_have_a_row():
    page = (ROOT / "docs/upstream_notes.md").read_text("utf8")
    rows = [row.split("|")[1:-1] for row in re.findall(r"^\| \d.*$", page, re.M)]
    assert [int(row[0]) for row in rows] == list(range(1, 20))
    assert all(len(row) == 6 and all(cell.strip() for cell in row) for row in rows)


@pytest.mark.slow
def test_sphinx_builds_without_a_warning(tmp_path):
    if not all(importlib.util.find_spec(name) for name in ("sphinx", "myst_parser", "furo")):
        pytest.skip("the extra [docs] is not installed")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(tmp_path / "trees")]
    about = os.environ | {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "some/where"}
    built = [*command, ROOT / "docs", tmp_path / "html"]
    done = subprocess.run(built, capture_output=True, text=True, check=False, env=about)
    assert done.returncode == 0, done.stderr
    pages = {path: path.read_text("utf8") for path in (tmp_path / "html").rglob("*.html")}
    fetched = re.compile(r"<(?:script|img|link rel=.(?:stylesheet|preload).)[^>]*(?:src|href)=.https?:")
    assert [name for name, page in pages.items() if fetched.search(page)] == []  # all of it is there without a network
    assert [name for name, page in pages.items() if str(ROOT) in page] == []  # nor where it was built
    links = re.findall('href="(https://github.com/some/where[^"]*)"', pages[tmp_path / "html/cache.html"])
    assert {"https://github.com/some/where", "https://github.com/some/where/blob/main/docs/cache.md?plain=true"} <= {
        *links
    }
    card = pages[tmp_path / "html/methods/kd.html"]
    assert "<math" in card
    assert "copybutton.js" in card
    for file in ("site.css", "STIXTwoMath-Regular.ttf"):
        assert (tmp_path / "html/_static" / file).stat().st_size > 0


def formulas():
    """(place, LaTeX) of every formula of the pages and of the docstrings."""
    for path in PAGES:
        for inline, block in re.findall(r"(?<![\\$])\$([^$\n]+)\$(?!\$)|\$\$(.+?)\$\$", prose(path), re.S):
            yield name_of(path), inline or block
    for path in (ROOT / "spikingjelly_ckd").rglob("*.py"):
        for latex in re.findall(r":math:`(.+?)`", path.read_text("utf8"), re.S):
            yield name_of(path), latex


def test_every_formula_becomes_mathml():
    """A command that the converter does not know stays in its output as it was."""
    if not importlib.util.find_spec("latex2mathml"):
        pytest.skip("the extra [docs] is not installed")
    convert = importlib.import_module("latex2mathml.converter").convert
    found = list(formulas())
    assert len(found) > 200
    for place, latex in found:
        assert "\\" not in convert(" ".join(latex.split())), f"{place}: {latex}"
        opened, closed = (len(re.findall(rf"\\{side}(?![a-z])", latex)) for side in ("left", "right"))
        assert opened == closed, f"{place}: {latex}"
        assert "\\big" not in latex.lower(), f"{place}: \\left and \\right in place of \\big: {latex}"


# --- figures and facts -----------------------------------------------------------------------------------------------


def test_figures_in_the_text_are_those_of_the_code():
    for page, phrase in (
        ("preflight.md", f"warns above {shares.LARGE_SHARE:g} or below {shares.SMALL_SHARE:g} of the task's"),
        ("preflight.md", f"plain SGD with momentum {shares.MOMENTUM:g}"),
        ("preflight.md", f"warns from {checks.SILENT_SHARE:.0%}".replace("%", " %")),
        ("preflight.md", f"shifted by more than {checks.STATISTICS_OFF:g} standard deviation"),
        ("preflight.md", f"flat over {checks.MEMORY_STEPS} training steps"),
        ("preflight.md", f"the share {balance.AUTO_SHARE:g}"),
        ("preflight.md", f"from the first {balance.AUTO_BATCHES} batches"),
        ("conventions.md", f"a share of {balance.AUTO_SHARE:g} of the task's"),
        ("conventions.md", f"over the first {balance.AUTO_BATCHES} training batches"),
        (
            "conventions.md",
            f"first {held_weight.HOLD_EVERY} training steps and at every {held_weight.HOLD_EVERY}th after",
        ),
        ("conventions.md", f"the past weighing {held_weight.KEPT:g}"),
        ("conventions.md", f"a factor of {held_weight.BOUND:g} of the first one"),
        ("conventions.md", f"and {held_weight.HOLD_LOGIT_SHARE:g} for a loss on logits"),
        ("methods/samd.md", f"| `student_eps` | `{SPIKE_EPS}` |"),
    ):
        text = " ".join((ROOT / "docs" / page).read_text("utf8").split())
        assert phrase in text, f"docs/{page} should say: {phrase}"


def test_the_checks_of_preflight_are_all_described():
    page = (ROOT / "docs/preflight.md").read_text("utf8")
    distiller = CKDDistiller(tiny_teacher(), tiny_student(), time_steps=2)
    for check in preflight(distiller, (torch.randn(4, 3, 8, 8), torch.arange(4))).checks:
        assert f"`{check.name}`" in page, f"docs/preflight.md does not describe {check.name!r}"


def test_a_step_reads_the_device_once(teacher, student, batch, monkeypatch):
    distiller = CKDDistiller(teacher, student, time_steps=2)
    distiller(*batch)  # the first step also looks for layers
    reads = []
    for method in ("tolist", "item", "__bool__", "__float__", "__int__", "numpy"):
        original = getattr(torch.Tensor, method)
        spy = lambda self, *a, _name=method, _original=original, **k: (reads.append(_name), _original(self, *a, **k))[1]  # noqa: E731
        monkeypatch.setattr(torch.Tensor, method, spy)
    distiller(*batch)
    assert reads == ["tolist"]
    distiller.check = False
    distiller(*batch)
    assert reads == ["tolist"]


# --- files -----------------------------------------------------------------------------------------------------------


def listed_files():
    """What git tracks or would track, else (outside of git) everything but hidden and built files."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        built = {"build", "dist", "_build", "output", "__pycache__"}
        return [
            p
            for p in ROOT.rglob("*")
            if p.is_file() and not any(s.startswith(".") or s in built for s in p.relative_to(ROOT).parts)
        ]
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_no_text_file_names_a_path_of_a_machine():
    machine = re.compile(r"(?<![\w.~$}])/(?:work|root|tmp)/")
    for path in listed_files():
        data = path.read_bytes()
        if b"\0" in data or path == Path(__file__).resolve():
            continue
        for number, line in enumerate(data.decode("utf8").splitlines(), 1):
            assert not machine.search(line), (
                f"{name_of(path)}:{number} names a path of one machine: {line.strip()[:100]}"
            )


def imported(path):
    """Top-level modules that a file imports, at any depth, ``pytest.importorskip`` included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module)
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", "") == "importorskip"
            and isinstance(node.args[0], ast.Constant)
        ):
            found.add(node.args[0].value)
    neighbours = {p.stem for folder in (path.parent, ROOT / "benchmarks") for p in folder.iterdir()} | {"conftest"}
    return {name.split(".")[0] for name in found} - set(sys.stdlib_module_names) - neighbours - CORE


@pytest.mark.parametrize(
    ("extras", "folders"),
    [(("train", "tune", "nir"), ("spikingjelly_ckd/recipes", "examples", "benchmarks")), (("test",), ("tests",))],
)
def test_extras_bring_what_is_imported(extras, folders, monkeypatch):
    given = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    items = [item for extra in extras for item in given["extras_require"][extra]]
    brought = {re.match(r"[\w.-]+", item)[0].lower() for item in items}
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            needed = {DISTRIBUTIONS.get(name, name.replace("_", "-")).lower() for name in imported(path)}
            assert needed <= brought, f"{name_of(path)} imports {needed - brought}, which {extras} do not bring"


def test_versions_agree():
    citation = (ROOT / "CITATION.cff").read_text("utf8")
    assert re.findall(r"^version: (.+)$", citation, re.M) == [spikingjelly_ckd.__version__]
