"""What may import what, and what importing the package costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "spikingjelly_ckd"
CORE_OUTSIDE = {"torch", "spikingjelly.activation_based"}
ALLOWED = {
    "checks": set(),
    "maps": set(),
    "hooks": set(),
    "compat": set(),
    "losses": {"maps"},
    "signals": set(),
    "adaptors": {"losses"},
    "randomness": {"signals"},
    "adapted": {"checks", "randomness", "signals"},
    "batch": {"maps"},
    "balance": {"checks"},
    "probing": {"compat"},
    "layouts": {"class_token", "hooks"},
    "layers": {"class_token", "compat", "hooks", "layouts", "probing"},
    "steps": {"batch", "compat", "hooks", "layers", "probing", "signals"},
    "methods": {"adapted", "adaptors", "checks", "losses", "maps", "randomness", "signals"},
    "arguments": {"checks", "compat", "hooks", "layers", "layouts", "signals"},
    "distiller": {
        *("arguments", "balance", "batch", "checks", "compat", "hooks", "layers", "layouts", "maps"),
        *("probing", "signals", "steps", "streams"),
    },
    "ckd": {"arguments", "checks", "distiller", "methods"},
    "class_token": set(),
    "streams": set(),
    "prepare": {"arguments", "batch", "checks", "class_token", "hooks", "layers", "layouts", "maps", "probing"},
    "preflight": {
        *("arguments", "balance", "batch", "checks", "compat", "distiller", "hooks", "maps", "probing"),
    },
}
HEAVY = (
    *("torchvision", "torchaudio", "timm", "lightning", "matplotlib", "sklearn", "pytorch_grad_cam"),
    *("spikingjelly.datasets", "spikingjelly.activation_based.model"),
)


def imports(path: Path) -> tuple[set[str], set[str]]:
    """Names imported from inside the package, and modules imported from outside it."""
    inside, outside = set(), set()
    for node in ast.walk(ast.parse(path.read_text("utf8"))):
        if isinstance(node, ast.Import):
            outside |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            inside |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            outside.add(node.module)
    return inside, outside


def core_files() -> list[Path]:
    return [p for p in PACKAGE.rglob("*.py") if "recipes" not in p.parts and p.name != "__init__.py"]


@pytest.mark.parametrize("path", core_files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_dependencies_point_one_way(path):
    inside, outside = imports(path)
    unit = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert inside <= ALLOWED[unit], f"{unit} may not import {inside - ALLOWED[unit]}"
    foreign = {name for name in outside if name.split(".")[0] not in sys.stdlib_module_names}
    for name in foreign:
        assert name.split(".")[0] == "torch" or name in CORE_OUTSIDE or unit == "compat", f"{unit} imports {name}"
    if unit not in ("compat",):
        assert not any(name.startswith("spikingjelly") for name in foreign), (
            f"only compat.py knows SpikingJelly: {unit}"
        )


def test_hooks_are_registered_in_one_file():
    for path in PACKAGE.rglob("*.py"):
        if path.name != "hooks.py":
            assert "register_forward" not in path.read_text("utf8"), path


def test_examples_and_benchmarks_use_public_names():
    root = PACKAGE.parent
    for path in (*root.glob("examples/*.py"), *root.glob("benchmarks/*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("spikingjelly_ckd"):
                private = [a.name for a in node.names if a.name.startswith("_") and a.name != "__version__"]
                assert not private, path


def test_importing_pulls_in_nothing_heavy():
    core = "from spikingjelly.activation_based import base, functional, layer, neuron"
    loaded = f"import sys; print([m for m in {HEAVY} if m in sys.modules])"
    ours, core_alone = (
        subprocess.run([sys.executable, "-c", f"{first}; {loaded}"], capture_output=True, text=True, check=True).stdout
        for first in ("import spikingjelly_ckd", core)
    )
    assert ours == core_alone


def test_star_imports_are_the_public_names():
    import spikingjelly_ckd

    assert spikingjelly_ckd.__all__ == sorted(spikingjelly_ckd.__all__)
    for name in spikingjelly_ckd.__all__:
        assert getattr(spikingjelly_ckd, name).__doc__, name
