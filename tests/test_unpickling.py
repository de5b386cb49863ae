"""Pickles of others: numbers, texts and arrays come back, and nothing that they name is called."""

import argparse
import io
import os
import pickle
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_data import write_cifar

from spikingjelly_ckd.recipes.data import DataOptions, cifar10, cifar100
from spikingjelly_ckd.recipes.unpickling import NumpyArray, PlainUnpickler, load_plain
from spikingjelly_ckd.recipes.weights import read_weights

pytestmark = pytest.mark.tools


class Call:
    """Pickled as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture(autouse=True)
def no_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path("unpickled").exists(), "a file ran code"


def pickles() -> dict[str, bytes]:
    """Pickles that run code, or end the reader, where they are read with ``pickle.load``."""
    touch = "touch unpickled"
    calls = {
        "os.system": Call(os.system, touch),
        "subprocess": Call(subprocess.run, ["touch", "unpickled"]),
        "eval": Call(eval, "open('unpickled', 'w')"),
        "exec": Call(exec, "open('unpickled', 'w')"),
        "open": Call(open, "unpickled", "w"),
        "getattr": Call(getattr, "text", "upper"),
        "import": Call(__import__, "antigravity"),
        "touch": Call(Path.touch, Path("unpickled")),
        "torch.load": Call(torch.load, "other.pth"),
        "numpy.load": Call(np.load, "other.npy"),
        "in a list": [1, {"deep": (Call(os.system, touch),)}],
        "object array": np.array([Call(os.system, touch)], object),
        "structured": np.zeros(2, [("a", "O"), ("b", "i4")]),
        "text array": np.array(["a"]),
    }
    found = {name: pickle.dumps(value, protocol=2) for name, value in calls.items()}
    found |= {
        "old global": b"cos\nsystem\n(S'touch unpickled'\ntR.",
        "instance": b"(S'touch unpickled'\nios\nsystem\n.",
        "numpy's exec": b'cnumpy.testing._private.utils\nrunstring\n(S\'open("unpickled","w")\'\nN}tR.',
        "other encoding": b"c_codecs\nencode\n(Va\nVrot13\ntR.",
        "dtype object": b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.",
        "dtype of nothing": b"cnumpy\ndtype\n)R.",
        "dtype's attribute": b"cnumpy\ndtype.__subclasses__\n)R.",
        "persistent": b"Psomething\n.",
        "extension": b"\x80\x02\x82\x01.",
        "empty": b"",
        "no stop": b"\x80\x02}",
        "no pickle": b"<html>404</html>",
        "no memo": b"g7\n.",
        "deep": b"(" * 100_000 + b"t" * 100_000 + b".",
    }
    return found


@pytest.mark.parametrize("name", pickles())
def test_what_is_not_plain_is_refused_by_name(name):
    Path("batch").write_bytes(pickles()[name])
    if name == "deep":
        load_plain(Path("batch"))  # nothing but tuples
        return
    with pytest.raises(ValueError, match=r"^batch is no readable file of plain values: "):
        load_plain(Path("batch"))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["u1", "<i8", ">i4", "f4", "f8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_and_numbers_come_back(protocol, dtype, order):
    made = np.asarray([[1, 2, 0], [4, 5, 6]], dtype=dtype, order=order)
    written = pickle.dumps({"data": made, "one": made[0, 0], "name": "é", "raw": b"\xff"}, protocol=protocol)
    found = PlainUnpickler(io.BytesIO(written), encoding="latin1").load()
    array = found["data"].read()
    assert (array.dtype, array.tolist()) == (made.dtype, made.tolist())
    assert (found["one"], found["name"], found["raw"]) == (made[0, 0].item(), "é", b"\xff")


def test_pickles_of_python_2_come_back():
    """As those of CIFAR are, whose bytes are texts."""
    written = (
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b"
        b"\x87Rq\x05(K\x01K\x01K\x03\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x03\x01\x02\xfftbU\x06labelsq\x08]q\t(K\x01K\x00eu."
    )
    found = PlainUnpickler(io.BytesIO(written), encoding="latin1").load()
    assert found["data"].read().tolist() == [[1, 2, 255]]
    assert found["labels"] == [1, 0]


@pytest.mark.parametrize("state", [None, (1, (4,), None, False, b"1234"), (1, (5,), "u1", False, b""), (1, 2)])
def test_an_array_that_was_not_filled_rightly_is_refused(state):
    array = NumpyArray()
    array.__setstate__(state)
    with pytest.raises(pickle.UnpicklingError, match="an array that cannot be read"):
        array.read()


# --- CIFAR -----------------------------------------------------------------------------------------------------------

BATCH = np.zeros((2, 3072), np.uint8)
BAD_BATCHES = {
    "code": ({"data": BATCH, "labels": Call(os.system, "touch unpickled")}, "it names posix.system"),
    "list": ([1], "must hold images and labels under 'data' and 'labels'"),
    "no data": ({"labels": [0, 1]}, "must hold images and labels under 'data' and 'labels'"),
    "no labels": ({"data": BATCH}, "must hold images and labels"),
    "floats": ({"data": BATCH.astype(np.float32), "labels": [0, 1]}, "of type uint8"),
    "narrow": ({"data": BATCH[:, :9], "labels": [0, 1]}, r"must hold images \[N, 3072\]"),
    "empty": ({"data": BATCH[:0], "labels": []}, "must hold images"),
    "fewer labels": ({"data": BATCH, "labels": [0]}, "must hold 2 whole numbers as labels"),
    "real labels": ({"data": BATCH, "labels": [0.5, 1.0]}, "must hold 2 whole numbers as labels"),
    "texts": ({"data": "pixels", "labels": [0, 1]}, "of type uint8"),
    "ragged": ({"data": [[1], [1, 2]], "labels": [0, 1]}, "must hold images"),
    "negative": ({"data": BATCH, "labels": [0, -1]}, "labels from -1 to 9"),
}


@pytest.mark.parametrize("name", BAD_BATCHES)
def test_a_tampered_batch_of_cifar_runs_nothing_and_is_named(name, tmp_path):
    content, words = BAD_BATCHES[name]
    base = write_cifar(tmp_path / "data") / "cifar-10-batches-py"
    (base / "data_batch_3").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ValueError, match=words):
        cifar10(base.parent, DataOptions(allow_partial=True))


@pytest.mark.parametrize("names", [[], [1, 2], "abc", None, Call(os.system, "touch unpickled")])
def test_tampered_names_of_classes_are_refused(names, tmp_path):
    base = write_cifar(tmp_path / "data", "100", per_class_train=1, per_class_test=1) / "cifar-100-python"
    (base / "meta").write_bytes(pickle.dumps({"fine_label_names": names}, protocol=2))
    with pytest.raises(ValueError, match=r"meta (must hold the names|is no readable file)"):
        cifar100(base.parent, DataOptions(allow_partial=True))


def test_labels_may_be_numbers_or_an_array_of_numpy(tmp_path):
    base = write_cifar(tmp_path / "data") / "cifar-10-batches-py"
    for number, labels in ((1, np.array([3, 4])), (2, [np.int64(3), np.int64(4)])):
        (base / f"data_batch_{number}").write_bytes(pickle.dumps({"data": BATCH, "labels": labels}))
    data = cifar10(base.parent, DataOptions(allow_partial=True))
    assert [data.train[row][1] for row in range(4)] == [3, 4, 3, 4]


# --- checkpoints -----------------------------------------------------------------------------------------------------

WEIGHTS = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}


@pytest.mark.parametrize(
    "beside",
    [
        argparse.Namespace(lr=0.1, data=Path("data"), depth=[1, 2]),
        np.float64(0.5),
        np.float32(0.5),
        np.int64(3),
        np.bool_(True),
        {"best": np.float64(91.5), "path": Path("x")},
        np.arange(3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_settings_and_numbers_beside_the_weights_are_no_hindrance(beside):
    torch.save({"state_dict": WEIGHTS, "beside": beside}, "file.pth")
    assert read_weights("file.pth").keys() == WEIGHTS.keys()


@pytest.mark.parametrize("name", [name for name, content in pickles().items() if content[:1] == b"\x80"])
def test_no_checkpoint_runs_code(name):
    try:
        torch.save({"state_dict": WEIGHTS, "beside": pickle.loads(b"N.")}, "file.pth")
        torch.save(Call(os.system, "touch unpickled"), "code.pth")
        Path("raw.pth").write_bytes(pickles()[name])
        for path in ("code.pth", "raw.pth"):
            with pytest.raises(ValueError, match=f"{path} cannot be read as tensors"):
                read_weights(path)
    finally:
        assert read_weights("file.pth").keys() == WEIGHTS.keys()
