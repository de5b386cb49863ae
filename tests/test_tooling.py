"""The tools around the package agree: sessions, workflow, docstrings, markers, README's commands, issue forms."""

import ast
import re
import runpy
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.tools

ROOT = Path(__file__).resolve().parents[1]
NOXFILE = ast.parse((ROOT / "noxfile.py").read_text("utf8"))
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf8"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))
README = (ROOT / "README.md").read_text("utf8")
PYTHONS = {"3.11", "3.12", "3.13"}


def sessions():
    """Name -> docstring of each function of noxfile.py that is decorated with ``nox.session``."""
    return {
        node.name: ast.get_docstring(node)
        for node in NOXFILE.body
        if isinstance(node, ast.FunctionDef) and any("nox.session" in ast.unparse(x) for x in node.decorator_list)
    }


def constants(monkeypatch):
    """What noxfile.py defines, without nox."""

    def session(function=None, **_):
        return function or session

    fake = types.SimpleNamespace(session=session, Session=object, options=types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "nox", fake)
    return runpy.run_path(str(ROOT / "noxfile.py"))


def jobs():
    """(session, Python) of every job that the workflow's matrix makes."""
    matrix = WORKFLOW["jobs"]["session"]["strategy"]["matrix"]
    product = {(session, python) for session in matrix["session"] for python in matrix["python"]}
    return product | {(job["session"], job["python"]) for job in matrix["include"]}


# --- sessions --------------------------------------------------------------------------------------------------------


def test_every_session_says_what_it_checks():
    assert all(sessions().values())
    guide = (ROOT / "CONTRIBUTING.md").read_text("utf8")
    assert [name for name in sessions() if f"`{name}`" not in guide] == []


def test_the_workflow_runs_every_session_and_no_other():
    assert {session for session, _ in jobs()} == set(sessions())


def test_the_workflow_runs_the_tests_on_every_python():
    assert {python for session, python in jobs() if session == "tests"} == PYTHONS
    assert {python for session, python in jobs() if session == "tests_legacy"} == PYTHONS


def test_the_workflow_pins_its_actions_and_may_only_read():
    used = re.findall(r"uses: (\S+)", (ROOT / ".github/workflows/ci.yml").read_text("utf8"))
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action)] == []
    assert WORKFLOW["permissions"] == {"contents": "read"}


def test_ci_runs_every_session():
    """The tests hold a dozen kills of ``soak``; the legacy run counts ``coverage``; the newest Python is asked for."""
    script = (ROOT / ".ci/run").read_text("utf8")
    named = set(re.findall(r"\w+", " ".join(re.findall(r"^nox .* -s (.*)$", script, re.M))))
    assert set(sessions()) - named == {"coverage", "soak", "tests_newest"}
    assert "command: tests" in script
    assert "tests_legacy -- --cov" in script


def test_the_oldest_torch_is_that_of_setup(monkeypatch):
    oldest = constants(monkeypatch)["OLDEST"]["torch"]
    assert f'"torch>={oldest}"' in (ROOT / "setup.py").read_text("utf8")


def test_the_newest_python_is_that_of_setup_and_of_the_workflow(monkeypatch):
    newest = constants(monkeypatch)["NEWEST"]
    named = re.findall(r'"Programming Language :: Python :: 3\.(\d+)"', (ROOT / "setup.py").read_text("utf8"))
    assert f"3.{max(map(int, named))}" == newest
    assert ("tests_newest", newest) in jobs()
    assert f'python_requires=">=3.{min(map(int, named))}"' in (ROOT / "setup.py").read_text("utf8")


def test_files_that_a_session_names_exist(monkeypatch):
    known = constants(monkeypatch)
    files = [*known["NEEDS_EXTRAS"], *known["OF_TORCH"], *(f"spikingjelly_ckd/{part}" for part in known["CORE"])]
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_the_core_is_all_but_what_trains(monkeypatch):
    parts = {path.name for path in (ROOT / "spikingjelly_ckd").iterdir() if (path / "__init__.py").exists()}
    parts |= {path.name for path in (ROOT / "spikingjelly_ckd").glob("[!_]*.py")}
    assert parts - set(constants(monkeypatch)["CORE"]) == {"recipes"}


IMPORT_WITHOUT_EXTRAS = """
import importlib, sys
from _pytest.outcomes import Skipped

for name in ("lightning", "timm", "sklearn", "optuna", "jinja2", "safetensors", "torchmetrics"):
    sys.modules[name] = None  # as where it is not installed
sys.path[:0] = ["tests", "benchmarks"]
for module in sys.argv[1:]:
    try:
        importlib.import_module(module)
    except Skipped:
        pass
    except ImportError as error:
        print(f"{module}: {error}")
"""


@pytest.mark.slow
def test_the_files_of_the_oldest_lane_are_imported_without_an_extra(monkeypatch):
    needs = {Path(path).stem for path in constants(monkeypatch)["NEEDS_EXTRAS"]}
    modules = sorted({path.stem for path in (ROOT / "tests").glob("test_*.py")} - needs)
    command = [sys.executable, "-c", IMPORT_WITHOUT_EXTRAS, *modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


# --- docstrings ------------------------------------------------------------------------------------------------------


def public_functions(parent):
    """Each function or method of a module or class whose name, and whose class's name, has no leading underscore."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if not node.name.startswith("_"):
                yield from public_functions(node) if isinstance(node, ast.ClassDef) else [node]
        elif not isinstance(node, ast.expr):  # such as an if around a definition
            yield from public_functions(node)


def raised(node, caught=frozenset()):
    """Names X of each ``raise X(...)`` that no ``except X`` around it takes; functions inside a function are apart."""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return {ast.unparse(node.exc.func)} - caught
    found = set()
    for field, value in ast.iter_fields(node):
        within = caught
        if isinstance(node, ast.Try) and field == "body":
            kinds = [handler.type for handler in node.handlers if handler.type]
            within = caught | {ast.unparse(one) for kind in kinds for one in getattr(kind, "elts", [kind])}
        for child in value if isinstance(value, list) else [value]:
            inner = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
            if isinstance(child, ast.AST) and not isinstance(child, inner):
                found |= raised(child, within)
    return found


def test_every_public_function_that_raises_says_so():
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in sorted((ROOT / "spikingjelly_ckd").rglob("*.py"))
        for node in public_functions(ast.parse(path.read_text("utf8")))
        if (text := ast.get_docstring(node)) and "Raises:" not in text and raised(node) - {"NotImplementedError"}
    ]
    assert silent == [], "no Raises: in the docstring of\n" + "\n".join(silent)


# --- commands and markers --------------------------------------------------------------------------------------------


def test_readme_has_its_commands_and_its_snippet():
    blocks = [
        ("snippet", "python"),
        ("command: compare", "bash"),
        ("command: quickstart", "bash"),
        ("command: tests", "bash"),
    ]
    places = []
    for name, start in blocks:
        block = re.search(rf"<!-- {name} -->\n```{start}\n(.+?)```\n<!-- end -->", README, re.S)
        assert block, f"README.md has no <!-- {name} -->"
        places.append(block.start())
    assert places == sorted(places)  # what a reader sees, in this order
    tests = re.search(r"<!-- command: tests -->\n```bash\n(.+?)```", README, re.S)[1]
    assert tests == 'pip install -q -e ".[test]" && python -m pytest -q -n 2\n'


def test_markers_are_declared_used_and_described():
    options = PYPROJECT["tool"]["pytest"]["ini_options"]
    declared = {marker.split(":")[0] for marker in options["markers"]}
    builtin = {"parametrize", "skip", "skipif", "usefixtures", "xfail", "filterwarnings"}
    sources = "".join(path.read_text("utf8") for path in (ROOT / "tests").rglob("*.py"))
    used = set(re.findall(r"pytest\.mark\.([a-z]+)", sources))
    assert used - builtin == declared
    assert "-m 'not families and not slow'" in options["addopts"]
    guide = (ROOT / "CONTRIBUTING.md").read_text("utf8")
    assert all(f"| `{marker}` |" in guide for marker in declared)


def test_what_is_left_out_by_default_is_slow_too():
    """An expression of one's own takes the place of the default one, so ``-m "not slow"`` has to leave both out."""
    source = (ROOT / "tests/test_coverage.py").read_text("utf8")
    assert "@pytest.mark.families\n@pytest.mark.slow\n" in source
    assert source.count("mark.families") == 1


def test_lines_are_counted_in_the_package_and_may_not_become_fewer():
    settings = PYPROJECT["tool"]["coverage"]
    assert settings["run"]["source"] == ["spikingjelly_ckd"]
    assert settings["report"]["fail_under"] >= 97


# --- issue forms and hooks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda path: path.stem
)
def test_forms_are_what_github_reads(form):
    content = yaml.safe_load(form.read_text("utf8"))
    assert set(content) == {"name", "description", "labels", "body"}
    fields = [item for item in content["body"] if item["type"] != "markdown"]
    assert all(item["attributes"]["label"] for item in fields)
    assert len({item["id"] for item in fields}) == len(fields)
    assert any(item.get("validations", {}).get("required") for item in fields)


def test_a_bug_report_asks_for_the_environment():
    assert "python -m spikingjelly_ckd env" in (ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text("utf8")


def test_hooks_that_are_fetched_have_a_version_and_the_others_need_no_network():
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf8"))["repos"]
    fetched = [repo for repo in repos if repo["repo"] != "local"]
    assert all(re.fullmatch(r"v\d+\.\d+\.\d+", repo["rev"]) for repo in fetched)
    local = [hook for repo in repos if repo["repo"] == "local" for hook in repo["hooks"]]
    assert {hook["entry"].split()[0] for hook in local} == {"ruff", "mypy"}
    assert {hook["language"] for hook in local} == {"system"}
