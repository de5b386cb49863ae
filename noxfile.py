"""The checks of this project, one session each: ``nox -l`` lists them, ``nox -s tests`` runs one.

Each session has an environment of its own, which is kept for the next time; with torch it takes about 5 GB and minutes
to install. ``nox --no-venv -s NAME`` installs nothing and runs in the active environment. ``nox -P 3.13 -s NAME`` takes
another Python. What stands behind ``--`` goes to pytest.
"""

import re
import tempfile
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_venv = "yes"

PYTEST = ("python", "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal")
"""Each process begins with a half of the files, so that what a file prepares is prepared once, and helps the other."""
WHOLE = (*PYTEST, "-m", "not families")
"""Also what takes longer, which pytest leaves out by itself."""
PAIRS = "tests/test_pairs.py"
"""Every row with every method takes hours; a sample of it is among the tests."""
LEGACY = "0.0.0.0.14"
OF_TORCH = ("tests/test_ddp_verdict.py", "tests/test_properties.py", "tests/test_schedule.py")
"""Formulas and processes: torch may change them, so the oldest one runs these files, and no SpikingJelly does."""
OLDEST = {"torch": "2.6", "torchvision": "0.21", "torchaudio": "2.6"}
"""The oldest torch that setup.py admits, and the torchvision and torchaudio that were built for it: SpikingJelly
requires both, in any version."""
NEWEST = "3.13"
"""The newest Python that setup.py names."""
CORE = (
    *("acceleration.py", "ckd.py", "distiller.py", "prepare.py"),
    *("errors", "functional", "methods", "networks", "preflight", "published", "step"),
)
"""The parts of the package that need no extra."""
NEEDS_EXTRAS = (
    "spikingjelly_ckd/networks/class_token.py",  # its example takes a network of timm
    *("tests/durable_row.py", "tests/method_runs.py", "tests/soak.py"),
    *("tests/test_compare.py", "tests/test_compare_table.py", "tests/test_compare_tune.py"),
    *("tests/test_early_stop.py", PAIRS),
    *("tests/test_held_weight.py", "tests/test_levers.py", "tests/test_method_rows.py", "tests/test_own_data.py"),
    *("tests/test_recordings.py", "tests/test_rerun.py", "tests/test_start.py", "tests/test_strangers_rows.py"),
    "tests/test_spikingjelly_zoo.py",
    *("tests/test_installed.py", "tests/test_validation.py"),
    *("tests/test_benchmarks.py", "tests/test_cache.py", "tests/test_data.py", "tests/test_docs.py"),
    *("tests/test_durable.py", "tests/test_events.py", "tests/test_examples.py", "tests/test_export.py"),
    *("tests/test_hostile_records.py", "tests/test_main.py", "tests/test_report.py"),
    *("tests/report_cases.py", "tests/test_report_page.py", "tests/test_result_plots.py"),
    *("tests/test_evaluate.py", "tests/test_evaluate_steps.py", "tests/test_hub.py"),
    *("tests/test_int8.py", "tests/test_nir.py"),
    *("tests/test_recipe.py", "tests/test_recipes.py", "tests/test_renamed.py", "tests/test_results.py"),
    *("tests/test_rows.py", "tests/test_samples.py", "tests/test_soak.py", "tests/test_strangers.py"),
    *("tests/test_table.py", "tests/test_teachers.py", "tests/test_tooling.py", "tests/test_training.py"),
    *("tests/test_unpickling.py", "tests/test_plots.py", "tests/test_map_images.py"),
    *("tests/test_cuda.py", "tests/test_gpu_pack.py", "tests/test_row_output.py", "tests/test_seeds.py"),
    "tests/test_ten_minutes.py",  # its scripts load scikit-learn's digits
)
"""Files that cannot be imported, or whose tests cannot pass, without an extra."""


def install(session: nox.Session, *requirements: str) -> None:
    """Into the session's own environment; the environment of ``--no-venv`` is left as it is."""
    session.env["OMP_NUM_THREADS"] = "1"
    if session.virtualenv.is_sandboxed:
        session.install(*requirements)


def require(session: nox.Session, **versions: str) -> None:
    """Stop unless the environment holds these versions, as one that was prepared by hand may not."""
    for name, expected in versions.items():
        code = f"from importlib.metadata import version; print(version({name!r}))"
        if name == "python":
            code = "import platform; print(platform.python_version())"
        said = session.run("python", "-c", code, silent=True)
        if said is None:  # --install-only
            return
        found = str(said).strip()
        if not f"{found}.".startswith(f"{expected}."):
            session.error(f"{session.name} needs {name} {expected}, and {found} is installed")


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff's rules and its format."""
    install(session, "ruff>=0.14")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy: the package, the benchmarks and the examples."""
    install(session, "-e", ".[test]")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """The tests on SpikingJelly 2.x."""
    install(session, "-e", ".[test]")
    require(session, spikingjelly="2")
    session.run(*WHOLE, *session.posargs)


@nox.session
def tests_legacy(session: nox.Session) -> None:
    """The tests on SpikingJelly 0.0.0.0.14 of what it can change, and its families of students."""
    install(session, "-e", ".[test]", f"spikingjelly=={LEGACY}")
    require(session, spikingjelly=LEGACY)
    other = [f"--ignore={path}" for path in OF_TORCH]
    session.run(*PYTEST, "-m", "not families and not tools", *other, *session.posargs)
    session.run(*PYTEST, "-m", "families", "-k", "student")


@nox.session
def tests_oldest(session: nox.Session) -> None:
    """The tests of the core on the oldest torch that setup.py admits, without an extra."""
    pins = [f"{name}=={version}.*" for name, version in OLDEST.items()]
    install(session, "-e", ".", "hypothesis>=6.100", "pytest>=8", "pytest-xdist>=3.5", *pins)
    require(session, **OLDEST)
    parts = ["tests", *(f"spikingjelly_ckd/{part}" for part in CORE)]
    without = [f"--ignore={path}" for path in NEEDS_EXTRAS]
    session.run(*PYTEST, "-m", "not families and not tools", *parts, *without, *session.posargs)


@nox.session(python=NEWEST)
def tests_newest(session: nox.Session) -> None:
    """README's tests on the newest Python that setup.py names; behind ``--``, ``-m "not families"`` for all of them."""
    install(session, "-e", ".[test]")
    require(session, python=NEWEST, spikingjelly="2")
    session.run(*PYTEST, *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """The tests on SpikingJelly 2.x, with the share of lines that they run; it may not fall."""
    install(session, "-e", ".[test]")
    require(session, spikingjelly="2")
    session.run(*WHOLE, "--cov", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Whole runs killed 60 times and resumed; behind ``--`` another number and seed: ``-- --kills 200 --seed 3``."""
    install(session, "-e", ".[test]")
    session.run("python", "tests/soak.py", *session.posargs)


@nox.session
def families(session: nox.Session) -> None:
    """Every family of networks that is served, on SpikingJelly 2.x."""
    install(session, "-e", ".[test]")
    require(session, spikingjelly="2")
    session.run(*PYTEST, "-m", "families", f"--ignore={PAIRS}", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation builds without a warning; its code blocks, links and figures hold."""
    install(session, "-e", ".[test,docs]")
    with tempfile.TemporaryDirectory() as folder:
        session.run("python", "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", folder)
    built = "--deselect=tests/test_docs.py::test_sphinx_builds_without_a_warning"  # just now
    session.run("python", "-m", "pytest", "-q", "tests/test_docs.py", built, *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """The wheel, installed into an empty environment, runs README's example."""
    install(session, "build")
    readme = Path("README.md").read_text("utf8")
    snippet = re.search(r"<!-- snippet -->\n```python\n(.*?)```\n<!-- end -->", readme, re.S)
    if snippet is None:
        session.error("README.md has no <!-- snippet -->")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        session.run("python", "-m", "build", "--wheel", "--outdir", name, ".")
        session.run("python", "-m", "venv", f"{name}/empty")
        python = folder / "empty" / "bin" / "python"
        session.run(python, "-m", "pip", "install", "-q", *map(str, folder.glob("*.whl")), external=True)
        (folder / "snippet.py").write_text(snippet[1], "utf8")
        with session.chdir(folder):
            session.run(python, "snippet.py", external=True)
