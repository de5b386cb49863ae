"""Networks on the hub, against a stand-in on this machine: read, published, and no code run."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hub_stand_in import serving
from huggingface_hub import ModelCard, constants
from huggingface_hub.errors import LocalEntryNotFoundError

from spikingjelly_ckd.recipes.deploy.exported import read_exported
from spikingjelly_ckd.recipes.deploy.publish import model_card, publish
from spikingjelly_ckd.recipes.export import file_hash, load_network, read_about, save_network
from spikingjelly_ckd.recipes.hub import local_file
from spikingjelly_ckd.recipes.models import spiking_resnet8
from spikingjelly_ckd.recipes.records.parts import Accuracy, RecordedData, RecordedStudent, RecordedTeacher
from spikingjelly_ckd.recipes.records.schema import Record

ABOUT = {"time_steps": 2, "size": 16, "mean": (0.5,) * 3, "std": (0.5,) * 3, "classes": ("cat", "dog")}
BUILD = "spikingjelly_ckd.recipes.models:spiking_resnet8"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with serving() as stand_in:
        monkeypatch.setattr(constants, "ENDPOINT", stand_in.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", stand_in.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", "hf_stand_in")
        yield stand_in


@pytest.fixture
def run(tmp_path):
    """The folder of a finished run."""
    folder = tmp_path / "run"
    network = spiking_resnet8(2)
    path = save_network(folder / "student.safetensors", network, spiking_resnet8, {"num_classes": 2}, **ABOUT)
    record_of(path).write(folder / "record.json")
    return folder


def record_of(path, **more):
    record = Record(
        row="cifar10_r20",
        method="ckd",
        seed=3,
        data=RecordedData(name="cifar10", split="official", split_hash="0123456789abcdef"),
        recipe={"epochs": 1, "lr": 0.1, "init": "/home/me/secret/net.pt", "time_steps": 2},
        sources={"lr": "paper"},
        environment={"versions": {"torch": "2.11.0"}, "command": "row.py --data-path /home/me/data"},
        student=RecordedStudent(build=BUILD, arguments={"num_classes": 2}, parameters=77, sha256=file_hash(path)),
        teacher=RecordedTeacher(source="/home/me/teacher.safetensors", accuracy=91.25),
        finished=True,
        accuracy=Accuracy(last=61.5, mean_last_5=61.5, best=61.5, best_epoch=1, epochs=1),
        history=[{"epoch": 1, "test_acc1": 61.5, "seconds": 1.0}],
        energy={"student": {"compute_mj": 0.0123, "firing_rate": 0.2}},
    )
    return replace(record, **more)


def files_of(folder):
    return {name: (folder / name).read_bytes() for name in ("student.safetensors", "student.json")}


def test_what_is_published_is_read_back(hub, run):
    address = publish(run, "me/net", license="apache-2.0")
    assert address == f"{hub.url}/me/net/commit/{next(iter(hub.repos['me/net']))}"
    assert hub.tokens == {"Bearer hf_stand_in"}
    network, about = load_network("hf://me/net")
    own, own_about = load_network(run / "student.safetensors")
    assert about == own_about
    assert all(torch.equal(value, own.state_dict()[name]) for name, value in network.state_dict().items())
    images = torch.rand(2, 3, 16, 16)
    exported = read_exported("hf://me/net")
    assert torch.equal(exported.logits(images).mean, read_exported(run / "student.safetensors").logits(images).mean)
    assert torch.equal(exported.logits(images).mean, exported.logits(images).mean)
    published = list(hub.repos["me/net"].values())[-1]
    assert sorted(published) == ["README.md", "student.json", "student.safetensors"]
    publish(run, "hf://me/net", with_record=True, private=True)
    assert "record.json" in list(hub.repos["me/net"].values())[-1]
    created = hub.created["me/net"]
    assert created.get("private") is True or created.get("visibility") == "private"


def test_the_card_says_what_the_record_says_and_no_path(run):
    record, about = Record.read(run / "record.json"), read_about(run / "student.safetensors")
    text = model_card(record, about, "me/net", license="mit")
    card = ModelCard(text)
    assert (card.data.license, card.data.library_name, card.data.pipeline_tag) == (
        "mit",
        "spikingjelly-ckd",
        "image-classification",
    )
    for line in (
        "# cifar10_r20: ckd",
        'network, about = load_network("hf://me/net")',
        "| data | cifar10, split official (01234567) |",
        "| test accuracy | 61.50 % |",
        "| accuracy of the teacher | 91.25 % |",
        "| energy | 0.0123 mJ |",
        "| firing rate | 20.0 % |",
        "| lr | 0.1 | paper |",
        "| init | net.pt |  |",
        "| torch | 2.11.0 | version |",
    ):
        assert line in text, line
    assert "/home/me" not in text


def test_text_of_a_record_is_neither_markdown_nor_yaml(run):
    record = record_of(
        run / "student.safetensors", row="a\n---\nlicense: x\n# b <script>|`", method="[x](javascript:y)"
    )
    text = model_card(record, read_about(run / "student.safetensors"), "me/net")
    assert "<script>" not in text
    assert "](javascript" not in text
    assert ModelCard(text).data.license is None
    assert text.count("\n# ") == 1


def test_a_network_of_ones_own_needs_its_function(run):
    about = read_about(run / "student.safetensors") | {"build": "mynets:build"}
    text = model_card(Record.read(run / "record.json"), about, "me/net")
    assert 'load_network("hf://me/net", build=YOUR_FUNCTION)' in text
    assert "mynets:build" in text


def test_both_files_are_of_one_commit_and_revisions_are_kept(hub, run, tmp_path):
    first = hub.commit("me/net", files_of(run))
    other = spiking_resnet8(2)
    path = save_network(tmp_path / "o" / "student.safetensors", other, spiking_resnet8, {"num_classes": 2}, **ABOUT)
    second = hub.commit("me/net", files_of(path.parent))
    newest, _ = load_network("hf://me/net")
    assert torch.equal(newest.fc.weight, other.fc.weight)
    old, _ = load_network(f"hf://me/net@{first}")
    assert torch.equal(old.fc.weight, load_network(run / "student.safetensors")[0].fc.weight)
    weights = [path for method, path in hub.asked if method == "GET" and path.endswith(".safetensors")]
    assert weights == [f"/me/net/resolve/{commit}/student.safetensors" for commit in (second, first)]


def test_another_file_and_what_is_there_is_not_fetched_again(hub, run):
    files = {f"nets/small{Path(name).suffix}": content for name, content in files_of(run).items()}
    hub.commit("me/net", files)
    load_network("hf://me/net/nets/small.safetensors")
    fetched = [item for item in hub.asked if item[0] == "GET"]
    load_network("hf://me/net/nets/small.safetensors")
    assert [item for item in hub.asked if item[0] == "GET"] == fetched


@pytest.mark.parametrize("address", ["hf://nobody/net", "hf://me/net@absent", "hf://me/net/absent.safetensors"])
def test_what_is_not_there_is_said_in_one_line(hub, run, address):
    hub.commit("me/net", files_of(run))
    with pytest.raises(FileNotFoundError, match=rf"path {address} is not to be had .*needs a login"):
        load_network(address)


def test_a_hub_that_cannot_be_reached_is_no_wrong_name(monkeypatch, tmp_path):
    def offline(*_, **__):
        raise LocalEntryNotFoundError("cannot find the file on disk")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    with pytest.raises(OSError, match="is not on this machine, and the hub cannot be reached") as caught:
        local_file("hf://owner/name")
    assert not isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize(
    "address", ["hf://net", "hf://me/net/student.pt", "hf://me/net/../../x.safetensors", "hf://me/net@a b", "hf://"]
)
def test_what_is_no_address_is_refused_before_anything_is_asked(hub, address):
    with pytest.raises(ValueError, match=r"path must be hf://owner/name\[@revision\]"):
        load_network(address)
    assert not hub.asked


def test_a_file_of_the_hub_runs_nothing(hub, run, tmp_path):
    canary = tmp_path / "canary"
    about = json.loads((run / "student.json").read_text())
    for changed, words in (
        (about | {"build": "os:system", "arguments": {"command": f"touch {canary}"}}, "build must be given"),
        (about | {"sha256": "0" * 64}, "is not the file that student.json was written for"),
        (about | {"arguments": {"num_classes": 10**9}}, "num_classes must be an integer from 1"),
    ):
        hub.commit("me/net", files_of(run) | {"student.json": json.dumps(changed).encode()})
        with pytest.raises(ValueError, match=words):
            load_network("hf://me/net")
    hub.commit("me/net", files_of(run) | {"student.safetensors": b"\x80\x04cos\nsystem\n"})
    with pytest.raises(ValueError, match="is not the file that"):
        load_network("hf://me/net")
    assert not canary.exists()


def test_what_must_not_be_published(hub, run):
    path = run / "student.safetensors"
    for repo in ("net", "me/net/more", "me/n et"):
        with pytest.raises(ValueError, match="repo must be owner/name"):
            publish(run, repo)
    for changes, words in (
        ({"smoke": True}, "a smoke run, which says nothing"),
        ({"finished": False, "history": [], "accuracy": None}, "unfinished"),
        ({"student": RecordedStudent(build=BUILD, arguments={}, parameters=1, sha256="0" * 64)}, "is not the file"),
    ):
        record_of(path, **changes).write(run / "record.json")
        with pytest.raises(ValueError, match=words):
            publish(run, "me/net")
    (run / "students").mkdir()
    (run / "comparison" / "records").mkdir(parents=True)
    for place in ("comparison", "students/kd_seed0.safetensors"):
        with pytest.raises(ValueError, match="folder is of a comparison, .*; publish a run of a row"):
            publish(run / place, "me/net")
    (run / "record.json").unlink()
    with pytest.raises(FileNotFoundError, match="must be that of a finished run"):
        publish(run, "me/net")
    assert not hub.asked


@pytest.mark.slow
@pytest.mark.tools
def test_the_endpoint_of_the_environment_is_asked(run, tmp_path):
    with serving() as hub:
        hub.commit("me/net", files_of(run))
        code = "from spikingjelly_ckd.recipes.export import load_network; print(load_network('hf://me/net')[1]['size'])"
        environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1"}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert done.stdout.strip() == "16", done.stderr
