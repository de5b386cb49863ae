"""What may import what, and what importing the package costs."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "spikingjelly_ckd"
BELOW = {
    "_renamed": set(),
    "errors": set(),
    "functional": {"errors"},
    "networks": {"functional", "errors"},
    "methods": {"functional", "errors"},
    "step": {"methods.base", "methods.signals", "networks", "functional", "errors"},
    "distiller": {"step", "methods.base", "methods.signals", "networks", "functional", "errors"},
    "prepare": {"step", "methods.base", "methods.signals", "networks", "functional", "errors"},
    "acceleration": {"distiller", "prepare", "step", "networks", "functional", "errors"},
    "published": {"methods", "step", "functional", "errors"},
    "ckd": {"distiller", "published", "step", "networks", "functional", "errors"},
    "preflight": {"distiller", "methods", "step", "networks", "functional", "errors"},
    "__main__": {"errors", "recipes"},
}
"""Part of the package -> the parts that it may import. A part may always import itself, and ``recipes`` may import
the public names of every part."""
HEAVY = (
    *("torchvision", "torchaudio", "timm", "lightning", "matplotlib", "sklearn", "pytorch_grad_cam"),
    *("spikingjelly.datasets", "spikingjelly.activation_based.model"),
)


def name_of(path: Path) -> str:
    """Dotted name of a module inside the package; empty for the package itself."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def imports(path: Path) -> tuple[dict[str, set[str]], set[str]]:
    """Modules of the package -> names taken from them, and modules imported from outside the package."""
    inside: dict[str, set[str]] = {}
    outside = set()
    here = path.relative_to(PACKAGE).parent.parts
    for node in ast.walk(ast.parse(path.read_text("utf8"))):
        if isinstance(node, ast.Import):
            outside |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            outside.add(node.module)
        elif isinstance(node, ast.ImportFrom):
            package = here[: len(here) - node.level + 1]
            base = ".".join([*package, *([node.module] if node.module else [])])
            for alias in node.names:
                submodule = f"{base}.{alias.name}".lstrip(".")
                folder = PACKAGE / submodule.replace(".", "/")
                if folder.with_suffix(".py").exists() or (folder / "__init__.py").exists():
                    inside.setdefault(submodule, set())
                else:
                    inside.setdefault(base, set()).add(alias.name)
    return inside, outside


def files(*, recipes: bool) -> list[Path]:
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if ("recipes" in path.relative_to(PACKAGE).parts) == recipes and name_of(path)
    ]


@pytest.mark.parametrize("path", files(recipes=False), ids=name_of)
def test_dependencies_point_one_way(path):
    inside, outside = imports(path)
    part = name_of(path).split(".")[0]
    allowed = (part, *BELOW[part])
    for name in inside:
        assert any(name == one or name.startswith(f"{one}.") for one in allowed), f"{part} may not import {name}"
    foreign = {name for name in outside if name.split(".")[0] not in sys.stdlib_module_names}
    for name in foreign:
        knows_generations = name_of(path).startswith("networks.compat.")
        assert name.split(".")[0] == "torch" or knows_generations, f"{path.name} imports {name}"
        assert name.split(".")[0] != "spikingjelly" or path.name == "installed.py", f"{path.name} imports {name}"


@pytest.mark.parametrize("path", files(recipes=True), ids=name_of)
def test_recipes_use_public_names(path):
    inside, _ = imports(path)
    private = {f"{module}.{name}" for module, names in inside.items() for name in names if re.match("_(?!_)", name)}
    assert not private


def test_no_two_modules_import_each_other():
    """Imports for types alone count too, and so do those of a package's ``__init__``."""
    graph = {name_of(path): set(imports(path)[0]) for path in PACKAGE.rglob("*.py") if name_of(path)}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def room_of(module: str) -> str:
    """The folder of a module; those right inside the package or inside ``recipes/`` stand for themselves."""
    folder = module if (PACKAGE / module.replace(".", "/")).is_dir() else module.rpartition(".")[0]
    return module if folder in ("", "recipes") else folder


def test_no_two_folders_import_each_other():
    """A folder inside another is one by itself; imports inside functions and for types alone count too."""
    graph: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        if name := name_of(path):
            room = room_of(name)
            graph.setdefault(room, set()).update({room_of(other) for other in imports(path)[0] if other} - {room})
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_the_package_imports_itself_by_relative_paths():
    """So that the graphs above miss nothing."""
    for path in PACKAGE.rglob("*.py"):
        assert not {name for name in imports(path)[1] if name.split(".")[0] == PACKAGE.name}, path


def test_hooks_are_registered_in_one_file():
    for path in PACKAGE.rglob("*.py"):
        if path.name != "recording.py":
            assert "register_forward" not in path.read_text("utf8"), path


def test_examples_and_benchmarks_use_public_names():
    root = PACKAGE.parent
    for path in (*root.glob("examples/*.py"), *root.glob("benchmarks/*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("spikingjelly_ckd"):
                private = [a.name for a in node.names if a.name.startswith("_") and a.name != "__version__"]
                assert not private, path


@pytest.mark.slow
def test_importing_pulls_in_nothing_heavy():
    core = "from spikingjelly.activation_based import base, functional, layer, neuron"
    loaded = f"import sys; print([m for m in {HEAVY} if m in sys.modules])"
    ours, core_alone = (
        subprocess.run([sys.executable, "-c", f"{first}; {loaded}"], capture_output=True, text=True, check=True).stdout
        for first in ("import spikingjelly_ckd", core)
    )
    assert ours == core_alone


def test_importing_gives_the_root_logger_no_handler():
    code = "import logging, spikingjelly_ckd; print(logging.getLogger().handlers)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_star_imports_are_the_public_names():
    import spikingjelly_ckd

    assert spikingjelly_ckd.__all__ == sorted(spikingjelly_ckd.__all__)
    for name in spikingjelly_ckd.__all__:
        assert getattr(spikingjelly_ckd, name).__doc__, name
