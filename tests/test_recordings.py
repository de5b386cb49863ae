"""DVS128 Gesture and N-Caltech101 in the formats that SpikingJelly converts them to."""

import threading

import numpy as np
import pytest
import torch
from tiny_data import write_dvsgesture, write_event_folder, write_ncaltech101

from spikingjelly_ckd.recipes.data import DataOptions, dvsgesture, ncaltech101, recordings
from spikingjelly_ckd.recipes.data.ncaltech101 import hash10

pytestmark = pytest.mark.tools

EVENTS = DataOptions(size=16, time_steps=3, allow_partial=True)
THREE = ("BACKGROUND_Google", "Faces_easy", "airplanes")


def test_dvsgesture_has_its_official_split(tmp_path):
    data = dvsgesture(write_dvsgesture(tmp_path), EVENTS)
    assert (data.name, data.split, data.complete, data.is_event) == ("dvsgesture", "official", False, True)
    assert (len(data.train), len(data.test), data.num_classes) == (22, 11, 11)
    assert data.classes == ("0", "1", "10", "2", "3", "4", "5", "6", "7", "8", "9"), "in the order of the folders"
    frames, label = data.test[2]
    assert (tuple(frames.shape), frames.dtype, label) == ((3, 2, 16, 16), torch.float32, 2)
    raw = np.load(tmp_path / "events_np/test/10/user24_led_0.npz")
    full, _ = dvsgesture(tmp_path, DataOptions(size=128, time_steps=3, allow_partial=True)).test[2]
    assert full.sum() == len(raw["t"]), "all events, of the gesture in folder 10"
    assert set(full.sum((0, 1, 3)).nonzero().flatten().tolist()) <= set(range(110, 122))


def test_dvsgesture_that_is_not_whole(tmp_path):
    write_dvsgesture(tmp_path)
    with pytest.raises(
        ValueError, match=r"has \(1176, 288\) recordings, this has \(22, 11\); .*pass allow_partial=True"
    ):
        dvsgesture(tmp_path, DataOptions(time_steps=3))
    with pytest.raises(FileNotFoundError, match=r"must be the folder with events_np, not it: pass "):
        dvsgesture(tmp_path / "events_np", EVENTS)
    with pytest.raises(ValueError, match="split must be None for DVS128 Gesture, which has an official one"):
        dvsgesture(tmp_path, DataOptions(time_steps=3, split="tebn"))
    next((tmp_path / "events_np/test/7").iterdir()).unlink()
    with pytest.raises(ValueError, match="test/7 has no recordings; unpack it again"):
        dvsgesture(tmp_path, EVENTS)


def test_dvsgesture_checks_both_parts_before_frames_are_made(tmp_path):
    write_dvsgesture(tmp_path)
    path = tmp_path / "events_np/test/3/user24_led_0.npz"
    stray = dict(np.load(path))
    stray["x"][0] = 128
    np.savez(path, **stray)
    with pytest.raises(
        ValueError, match="user24_led_0.npz holds events with x from .* to 128, and the sensor has 0 to"
    ):
        dvsgesture(tmp_path, EVENTS)
    assert not list(tmp_path.glob("frames_*"))


@pytest.mark.parametrize("read", [dvsgesture, ncaltech101])
def test_what_is_not_there_is_said(tmp_path, read):
    with pytest.raises(FileNotFoundError, match=r"holds no events_np .*Put these into .*download: .* from http"):
        read(tmp_path, EVENTS)
    with pytest.raises(FileNotFoundError, match="Put these into "):
        read(tmp_path, DataOptions(time_steps=3, download=True))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="time_steps must be given for events"):
        read(tmp_path, DataOptions())


@pytest.mark.parametrize("read", [dvsgesture, ncaltech101])
def test_a_tree_of_ones_own_is_read_too(tmp_path, read):
    write_event_folder(tmp_path, time_steps=3, classes=4)
    data = read(tmp_path, DataOptions(size=16, time_steps=3, num_classes=4))
    assert (data.name, data.split, data.num_classes) == ("event-folder", "folders", 4)


def test_ncaltech101_is_split_by_the_hash_of_names(tmp_path):
    write_ncaltech101(tmp_path, classes=THREE, per_class=10)
    data = ncaltech101(tmp_path, DataOptions(size=20, time_steps=3, num_classes=3))
    assert (data.name, data.split, data.complete) == ("ncaltech101", "ncaltech101-hash10", False)
    assert (len(data.train), len(data.test), data.classes) == (27, 3, THREE)
    assert data.split_hash == "28fe5837260878d1bb802b07104ac9eed162bb939ab52e7d110014b948ea8c3f"
    assert data.train[0][0].shape == (3, 2, 20, 20)
    with pytest.raises(ValueError, match="has 3 classes, but this data set has 101; .*pass num_classes=3"):
        ncaltech101(tmp_path, EVENTS)


def test_the_sensor_of_ncaltech101_is_not_square(tmp_path):
    write_ncaltech101(tmp_path, classes=THREE)
    options = DataOptions(size=20, time_steps=3, num_classes=3)
    path = tmp_path / "events_np/airplanes/image_0002.npz"
    events = dict(np.load(path))
    np.savez(path, **{**events, "y": np.where(np.arange(400) == 5, 180, events["y"])})
    with pytest.raises(
        ValueError, match="image_0002.npz holds events with y from .* to 180, and the sensor has 0 to 179"
    ):
        ncaltech101(tmp_path, options)
    np.savez(path, **{**events, "x": np.full(400, 239)})
    ncaltech101(tmp_path, options)


def test_the_split_depends_on_nothing_but_names():
    samples = [(f"image_{number:04}.npz", label) for label in range(3) for number in range(31)]
    train, test = hash10(samples, THREE)
    assert [sum(samples[row][1] == label for row in test) for label in range(3)] == [3, 3, 3]
    assert sorted(train + test) == list(range(93))
    turned = samples[::-1]
    assert {turned[row] for row in hash10(turned, THREE)[1]} == {samples[row] for row in test}
    with pytest.raises(ValueError, match="class Faces_easy has 1 recordings, of which one would be tested"):
        hash10([("a", 0), ("b", 0), ("a", 1)], THREE[:2])


@pytest.mark.parametrize(("first", "at_a_time"), [((99, 0), 1), ((3, 0), 4)])
def test_old_pythons_read_recordings_in_one_thread(tmp_path, monkeypatch, first, at_a_time):
    from spikingjelly import configure

    monkeypatch.setattr(configure, "max_threads_number_for_datasets_preprocess", 4)
    monkeypatch.setattr(recordings, "_PARSES_IN_THREADS", first)
    load, readers = np.load, set()

    def watched(*arguments, **options):
        readers.add(threading.get_ident())
        if at_a_time > 1 and threading.current_thread() is not threading.main_thread():
            together.wait(timeout=30)  # broken where recordings are not read four at a time
        return load(*arguments, **options)

    together = threading.Barrier(at_a_time)
    write_ncaltech101(tmp_path, classes=THREE, per_class=4)
    monkeypatch.setattr(np, "load", watched)
    ncaltech101(tmp_path, DataOptions(size=20, time_steps=3, num_classes=3))
    assert len(readers - {threading.get_ident()}) == at_a_time
    assert configure.max_threads_number_for_datasets_preprocess == 4, "as the user left it"
