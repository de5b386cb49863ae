"""Packages that are missing or broken, as stand-ins on the path of another process: what is said, and where."""

import json
import os
import subprocess
import sys
from importlib.metadata import Distribution, version
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from spikingjelly_ckd.errors import installed
from spikingjelly_ckd.errors.installed import InstallationError, cure, needs_packages
from spikingjelly_ckd.networks import compat
from spikingjelly_ckd.networks.compat import fast_neurons

pytestmark = pytest.mark.tools

HERE = Path(__file__).parent
SYMBOL = "libtorchaudio.so: undefined symbol: _ZN3c1017RegisterOperatorsD1Ev"
BROKEN = {
    "torchaudio": f"raise OSError({SYMBOL!r})",
    "torchvision": "raise RuntimeError('operator torchvision::nms does not exist')",
    "cupy": "raise ImportError('libnvrtc.so.13: cannot open shared object file')",
    "spikingjelly": "",
}
SET = "pip install 'torch==2.11.*' 'torchvision==0.26.*' 'torchaudio==2.11.0'"
READ = (
    "from spikingjelly_ckd.recipes.data import cifar10dvs, DataOptions; "
    "cifar10dvs({folder!r}, DataOptions(time_steps=2, size=16, split='tebn', allow_partial=True))"
)


def run(code, *, broken=None, missing=(), folder=None):
    """The last line on the standard error, and the exit status."""
    before = os.environ.get("PYTHONPATH", "")
    path = before
    if broken is not None:
        (folder / broken).mkdir(parents=True)
        (folder / broken / "__init__.py").write_text(BROKEN[broken])
        path = f"{folder}{os.pathsep}{before}"
    hidden = f"import sys; sys.modules.update(dict.fromkeys({list(missing)}))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{hidden}\n{code}"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    return (done.stderr.strip().splitlines() or [""])[-1], done.returncode


@pytest.mark.slow
@pytest.mark.parametrize("module", ["recipes.data", "recipes.row"])
def test_a_torchvision_of_another_torch_is_named_with_its_cure(tmp_path, module):
    said, status = run(f"import spikingjelly_ckd.{module}", broken="torchvision", folder=tmp_path)
    assert status != 0
    assert "InstallationError: spikingjelly_ckd.recipes.data needs torchvision, and" in said
    assert f"{version('torchvision')}, which is installed, does not work beside torch {torch.__version__}" in said
    assert "(RuntimeError: operator torchvision::nms does not exist): " in said
    assert said.endswith(SET)


@pytest.mark.slow
def test_a_torchaudio_of_another_torch_is_named_where_spikingjelly_needs_it(tmp_path):
    from tiny_data import write_dvs

    if not compat.spikingjelly_version().startswith("2"):
        pytest.skip("only generation 2 imports torchaudio with any data set")
    data = write_dvs(tmp_path / "data", per_class=10)
    code = READ.format(folder=str(data))
    said, status = run(code, broken="torchaudio", folder=tmp_path / "broken")
    assert status != 0
    assert "InstallationError: reading CIFAR10DVS with spikingjelly.datasets needs torchaudio, and " in said
    assert f"does not work beside torch {torch.__version__} (OSError: {SYMBOL})" in said
    assert said.endswith(SET)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "missing", "words"),
    [
        ("import spikingjelly_ckd.recipes.data", "torchvision", ("recipes.data needs torchvision, which is not", SET)),
        (
            "import spikingjelly_ckd.recipes.row",
            "lightning",
            ("needs lightning, which is not installed", "'lightning<3,>=", "[train]'"),
        ),
        (
            "import spikingjelly_ckd.recipes.training",
            "lightning",
            ("recipes.training needs lightning", "'lightning<3,>="),
        ),
        (
            "import spikingjelly_ckd.recipes.export",
            "safetensors",
            ("needs safetensors, which is not", "'safetensors>="),
        ),
        (
            "import spikingjelly_ckd",
            "spikingjelly",
            ("spikingjelly_ckd needs spikingjelly, which", "'spikingjelly<3,>="),
        ),
        (READ, "spikingjelly.datasets", ("needs spikingjelly, and ", "pip install --force-reinstall 'spikingjelly<3")),
        (
            "from spikingjelly_ckd.__main__ import main; sys.exit(main(['table', 'x.json']))",
            "scipy.stats",
            ("table: error: the table of records needs scipy", "'scipy>="),
        ),
    ],
)
def test_what_is_missing_is_named_with_the_command_that_installs_it(tmp_path, code, missing, words):
    if missing == "spikingjelly.datasets":
        from tiny_data import write_dvs

        code = code.format(folder=str(write_dvs(tmp_path / "data", per_class=10)))
    said, status = run(code, missing=[missing])
    assert status != 0
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (None, "pip install 'spikingjelly-ckd[nir]'"),
        ({"url": "https://example.org/spikingjelly_ckd.whl"}, "pip install 'spikingjelly-ckd[nir]'"),
        ({"url": "{folder}/is%20gone"}, "pip install 'spikingjelly-ckd[nir]'"),
        ({"url": "{folder}/my%20folder"}, "pip install '{path}/my folder[nir]'"),
        ({"url": "{folder}/my%20folder", "dir_info": {"editable": True}}, "pip install -e '{path}/my folder[nir]'"),
    ],
)
def test_an_extra_is_installed_from_where_the_package_came(tmp_path, monkeypatch, origin, command):
    (tmp_path / "my folder").mkdir()
    text = None if origin is None else json.dumps(origin).replace("{folder}", tmp_path.as_uri())
    egg_info, installed_from = (SimpleNamespace(read_text={"direct_url.json": said}.get) for said in (None, text))
    monkeypatch.setattr(Distribution, "discover", lambda name: [egg_info, installed_from])
    assert installed._install_extra("nir") == command.replace("{path}", str(tmp_path))


@pytest.mark.slow
def test_a_spikingjelly_without_its_core_is_named_at_import(tmp_path):
    said, status = run("import spikingjelly_ckd", broken="spikingjelly", folder=tmp_path)
    assert status != 0
    assert "InstallationError: spikingjelly_ckd needs spikingjelly, and " in said
    assert "(ModuleNotFoundError: No module named 'spikingjelly.activation_based'): pip install --force-rein" in said


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["missing", "broken"])
def test_cupy_that_cannot_be_used_is_reported_by_the_neurons(tmp_path, kind):
    """Only the sentence: nothing here is on CUDA."""
    code = (
        "import torch; from spikingjelly_ckd.networks.compat import fast_neurons; "
        "sys.exit(fast_neurons._backend_note(torch.device('cuda')))"
    )
    how = {"broken": "cupy", "folder": tmp_path} if kind == "broken" else {"missing": ["cupy"]}
    said, _ = run(code, **how)
    assert said.startswith("the CuPy backend needs cupy-cuda13x, ")
    assert said.endswith(": pip install 'cupy-cuda13x>=13.6'")
    assert ("which is not installed" if kind == "missing" else "(ImportError: libnvrtc.so.13: cannot open") in said


def test_neurons_stay_where_cupy_cannot_be_used(monkeypatch):
    monkeypatch.setattr(fast_neurons, "HAS_BACKENDS", True)
    monkeypatch.setitem(sys.modules, "cupy", None)
    found = compat.NeuronPath("0.0.0.0.14", "cuda:0", "torch", {}, 0, fast_neurons._backend_note(torch.device("cuda")))
    monkeypatch.setattr(fast_neurons, "neuron_path", lambda module: found)
    assert compat.use_fast_neurons(torch.nn.Identity()) == found
    assert "which is not installed: pip install" in str(found)


class Backends(torch.nn.Module):
    """Stands in for a neuron of 0.0.0.0.14 on a GPU."""

    supported_backends, backend = ("torch", "cupy"), "torch"


@pytest.mark.parametrize(
    ("numpy_has_int", "dtype", "backend"),
    [
        (True, torch.float32, "cupy"),
        (True, torch.float16, "cupy"),
        (True, torch.bfloat16, "torch"),
        (False, torch.float32, "torch"),
    ],
)
def test_neurons_are_put_on_cupy_where_its_kernels_run(monkeypatch, numpy_has_int, dtype, backend):
    monkeypatch.setattr(fast_neurons, "HAS_BACKENDS", True)
    monkeypatch.setitem(sys.modules, "cupy", ModuleType("cupy"))
    monkeypatch.setattr(
        fast_neurons, "numpy", SimpleNamespace(__version__="1.26", **({"int": int} if numpy_has_int else {}))
    )
    monkeypatch.setattr(fast_neurons, "is_neuron", lambda child: isinstance(child, Backends))
    monkeypatch.setattr(
        fast_neurons, "functional", SimpleNamespace(set_backend=lambda child, on: setattr(child, "backend", on))
    )
    on_cuda = compat.NeuronPath("0.0.0.0.14", "cuda:0", "torch", {}, 0, "")
    monkeypatch.setattr(fast_neurons, "neuron_path", lambda module: on_cuda)
    net = Backends()
    assert compat.use_fast_neurons(net, dtype=dtype).changed == (backend == "cupy")
    assert net.backend == backend
    said = fast_neurons._backend_note(torch.device("cuda"))
    assert said == "as set on the neurons" if numpy_has_int else "asks for numpy.int" in said and said.endswith("1.26")


def test_an_error_that_is_in_words_already_is_not_wrapped_again():
    first = InstallationError("one line")
    with pytest.raises(InstallationError) as raised, needs_packages("outer"):
        raise first
    assert raised.value is first


def test_a_mistake_of_the_part_itself_keeps_its_own_error():
    with pytest.raises(ZeroDivisionError), needs_packages("this"):
        _ = 1 / 0


def test_a_message_is_one_line_and_short():
    text = cure(OSError("first\nsecond" + "x" * 5000), "this")
    assert "\n" not in text
    assert len(cure(OSError("x" * 5000), "this")) < 500
