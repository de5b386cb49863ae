"""Files of pictures and events that would count wrongly without a word: read rightly, or refused by name."""

import io
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin
from tiny_data import CLASSES, write_dvs, write_event_folder, write_image_folder

from spikingjelly_ckd.recipes.data import DataOptions, cifar10dvs, image_folder
from spikingjelly_ckd.recipes.data.samples import FrameLoader, check_events, load_image

pytestmark = pytest.mark.tools

RAMP = np.linspace(0, 1, 64).reshape(8, 8)
T = 2


class Canary:
    """Makes a file where it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("unpickled"),))


@pytest.fixture(autouse=True)
def no_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path("unpickled").exists(), "a file ran code"


def save(picture, name, **options) -> str:
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(name, **options)
    return name


# --- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "deep.pgm"])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_grey_pictures_of_16_bit_are_scaled_to_8(name, order):
    deep = (65535 * RAMP).astype(np.uint16)
    picture = Image.fromarray(deep)
    if order == ">u2":
        picture = picture.convert("I").convert("I;16B") if name.endswith("tif") else picture
    found = np.asarray(load_image(save(picture, name)))
    assert found.shape == (8, 8, 3)
    assert np.abs(found[..., 0] - 255 * RAMP).max() <= 1
    assert (found.min(), found.max()) == (0, 255)


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (RAMP.astype(np.float32), "floating-point numbers of 32 bit"),
        ((1000 * RAMP).astype(np.int32), "integers of 32 bit"),
    ],
)
def test_pictures_whose_white_is_not_known_are_refused_by_name(picture, words):
    with pytest.raises(ValueError, match=rf"odd.tif cannot be read as an image \(its pixels are {words}"):
        load_image(save(picture, "odd.tif"))


def test_a_picture_of_16_bit_in_which_white_is_zero_is_refused():
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[262] = 0
    path = save((65535 * RAMP).astype(np.uint16), "inverse.tif", tiffinfo=info)
    with Image.open(path) as image:
        if image.tag_v2[262] != 0:
            pytest.skip("this Pillow writes its own tag")
    with pytest.raises(ValueError, match="inverse.tif .* black as zero"):
        load_image(path)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK"])
def test_what_pillow_converts_is_left_to_it(mode):
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    name = "picture.tif" if mode == "CMYK" else "picture.png"
    path = save(Image.fromarray(colours).convert(mode), name)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(np.asarray(load_image(path)), expected)


def test_a_palette_with_transparency_and_a_noted_orientation_are_read_as_they_are():
    palette = Image.fromarray((255 * RAMP).astype(np.uint8)).convert("P")
    path = save(palette, "palette.png", transparency=3)
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(load_image(path)), np.asarray(image.convert("RGB")))
    turned = Image.new("RGB", (8, 4))
    exif = turned.getexif()
    exif[0x0112] = 6
    assert load_image(save(turned, "turned.jpg", exif=exif)).size == (8, 4)


def broken_pictures() -> dict[str, bytes]:
    buffer = io.BytesIO()
    Image.fromarray((255 * RAMP).astype(np.uint8)).save(buffer, "png")
    whole = buffer.getvalue()
    bomb = bytearray(whole)
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    return {
        "empty.png": b"",
        "cut.png": whole[: len(whole) // 2],
        "bomb.png": bytes(bomb),
        "pickle.png": pickle.dumps(Canary()),
        "page.jpg": b"<html>404</html>",
        "offset.tif": b"II*\x00\xff\xff\xff\xff",
        "header.webp": b"RIFF\x00\x00\x00\x00WEBPVP8 ",
        "script.ppm": b"P6\n-1 -1\n255\n",
    }


@pytest.mark.parametrize("name", broken_pictures())
def test_broken_pictures_are_refused_by_name(name):
    Path(name).write_bytes(broken_pictures()[name])
    with pytest.raises(ValueError, match=rf"{name} cannot be read as an image \("):
        load_image(name)


# --- trees -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    return write_image_folder(tmp_path / "tree", classes=("cat", "dog"), per_class_train=4, per_class_test=2)


def test_hidden_files_and_folders_in_a_class_folder_are_no_samples(tree):
    whole = image_folder(tree, DataOptions())
    shutil.copytree(tree / "train/cat", tree / "train/cat/.ipynb_checkpoints")
    shutil.copy(tree / "train/cat/0.png", tree / "train/cat/._0.png")
    (tree / "train/dog/.DS_Store").touch()
    (tree / "train/._loose.png").touch()
    found = image_folder(tree, DataOptions())
    assert (len(found.train), found.split_hash) == (8, whole.split_hash)


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "__MACOSX"])
def test_litter_beside_the_class_folders_is_named(tree, name):
    for part in ("train", "test"):
        shutil.copytree(tree / part / "cat", tree / part / name)
    with pytest.raises(ValueError, match=rf"train holds {name}, which would count as a class; delete it"):
        image_folder(tree, DataOptions())


def nest_a_copy(cat: Path) -> None:
    shutil.copytree(cat, cat / "copy")


def nest_the_other_class(cat: Path) -> None:
    shutil.rmtree(cat)
    shutil.copytree(cat.with_name("dog"), cat / "dog")


def nest_two(cat: Path) -> None:
    shutil.copytree(cat, cat.with_name("kept"))
    shutil.rmtree(cat)
    shutil.copytree(cat.with_name("kept"), cat / "first")
    (cat.with_name("kept")).rename(cat / "second")


def link_to_the_parent(cat: Path) -> None:
    (cat / "round").symlink_to("..")


@pytest.mark.parametrize("nest", [nest_a_copy, nest_the_other_class, nest_two, link_to_the_parent])
def test_folders_in_a_class_folder_are_refused(tree, nest):
    nest(tree / "train/cat")
    with pytest.raises(ValueError, match=r"train/cat holds folders \(\w+.*\) whose images would count for class cat"):
        image_folder(tree, DataOptions())


def test_the_only_folder_in_a_class_folder_may_hold_its_images(tree):
    """The training part of Tiny ImageNet is like this."""
    for title in ("cat", "dog"):
        (tree / "train" / title).rename(tree / "kept")
        (tree / "train" / title).mkdir()
        (tree / "kept").rename(tree / "train" / title / "images")
    data = image_folder(tree, DataOptions())
    assert [label for _, label in data.train.source.samples] == [0] * 4 + [1] * 4


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("train/dog/9.png", "train/cat/0.png"),
        ("train/cat/9.png", "train/cat/0.png"),
        ("test/cat/9.png", "train/cat/0.png"),
    ],
)
@pytest.mark.parametrize("kind", ["symlink_to", "hardlink_to"])
def test_a_link_to_a_file_that_counts_already_is_refused(tree, kind, link, target):
    getattr(tree / link, kind)(tree / target)
    with pytest.raises(ValueError, match=r"9.png and .*0.png lead to one file|0.png and .*9.png lead to one file"):
        image_folder(tree, DataOptions())


def test_a_tree_of_hard_links_to_elsewhere_is_read(tree):
    shutil.copytree(tree, tree.with_name("copy"), copy_function=os.link)
    assert len(image_folder(tree.with_name("copy"), DataOptions()).train) == 8
    (tree / "train/cat/same.png").symlink_to(tree / "train/dog/0.png")
    (tree / "test/cat/8.png").hardlink_to(tree / "test/cat/0.png")
    with pytest.raises(ValueError, match="lead to one file"):
        image_folder(tree, DataOptions())


def test_one_folder_for_two_classes_is_refused_and_links_to_elsewhere_are_read(tree):
    shutil.rmtree(tree / "train/dog")
    (tree / "train/dog").symlink_to(tree / "train/cat")
    with pytest.raises(ValueError, match="lead to one file"):
        image_folder(tree, DataOptions())
    (tree / "train/dog").unlink()
    shutil.copytree(tree / "train/cat", tree / "store")
    (tree / "train/dog").mkdir()
    for path in sorted((tree / "store").iterdir()):
        (tree / "train/dog" / path.name).symlink_to(path)
    assert len(image_folder(tree, DataOptions()).train) == 8


# --- event frames ----------------------------------------------------------------------------------------------------


def frames(**changes) -> np.ndarray:
    made = np.ones((T, 2, 4, 4), changes.pop("dtype", np.float32))
    for where, value in changes.items():
        made.flat[int(where[1:])] = value
    return made


def archive(content: bytes, member: str = "frames.npy") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(member, content)
    return buffer.getvalue()


def npz(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def claim(shape: tuple[int, ...]) -> bytes:
    """An archive whose header claims this shape, with nothing after it."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return archive(buffer.getvalue())


BAD_FRAMES = {
    "nan": (npz(frames=frames(_3=np.nan)), "holds NaN, inf or numbers beyond float32"),
    "inf": (npz(frames=frames(_3=np.inf)), "holds NaN, inf"),
    "1e308": (npz(frames=frames(dtype=np.float64, _3=1e308)), "beyond float32"),
    "negative": (npz(frames=frames(_3=-2)), r"holds negative counts of events \(-2\)"),
    "nothing": (npz(frames=0 * frames()), "holds frames without a single event"),
    "complex": (npz(frames=frames(dtype=np.complex64)), "must hold frames of real numbers, got complex64"),
    "text": (npz(frames=np.full((T, 2, 4, 4), "a")), "must hold frames of real numbers"),
    "objects": (npz(frames=np.array([[Canary()]], object)), "must hold frames of real numbers, got object"),
    "records": (npz(frames=np.zeros((T, 2, 4, 4), [("a", "f4")])), "must hold frames of real numbers"),
    "shape": (npz(frames=frames()[:1]), r"T = time_steps = 2, got \(1, 2, 4, 4\)"),
    "no pixels": (npz(frames=frames()[..., :0]), "must hold frames of 1 to"),
    "claims much": (claim((T, 2, 10**6, 10**6)), "must hold frames of 1 to"),
    "claims all": (claim((T, 2, 10**18, 10**18)), "must hold frames of 1 to"),
    "cut": (claim((T, 2, 4, 4)), "is no archive of event frames"),
    "other key": (npz(other=frames()), "is no archive of event frames under the key 'frames'"),
    "pickle": (pickle.dumps(Canary()), "is no archive of event frames"),
    "pickle inside": (archive(pickle.dumps(Canary())), "is no archive of event frames"),
    "array": (b"\x93NUMPY" + bytes(100), "is no archive of event frames"),
    "empty": (b"", "is no archive of event frames"),
    "no member": (archive(b"", "frames.txt"), "is no archive of event frames"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_event_frames_that_count_for_nothing_are_refused_by_name(name):
    content, words = BAD_FRAMES[name]
    Path("one.npz").write_bytes(content)
    with pytest.raises(ValueError, match=rf"^one.npz .*{words}"):
        FrameLoader(T)("one.npz")


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_, np.float16, np.float32, np.float64])
def test_event_frames_of_any_real_type_are_read(dtype):
    Path("one.npz").write_bytes(npz(frames=frames(dtype=dtype)))
    found = FrameLoader(T)("one.npz")
    assert found.dtype == np.float32
    assert (found == 1).all()


def test_a_tree_of_event_frames_names_the_file(tmp_path):
    write_event_folder(tmp_path / "tree", time_steps=T, classes=2, per_class_train=2, per_class_test=2)
    data = image_folder(tmp_path / "tree", DataOptions(time_steps=T))
    (tmp_path / "tree/test/class001/1.npz").write_bytes(BAD_FRAMES["nan"][0])
    with pytest.raises(ValueError, match="test/class001/1.npz holds NaN"):
        data.test[3]


# --- CIFAR10-DVS -----------------------------------------------------------------------------------------------------


def events(**changes) -> dict[str, np.ndarray]:
    made = {name: np.arange(8) % 2 for name in "txyp"}
    return made | {name: np.asarray(value) for name, value in changes.items()}


BAD_EVENTS = {
    "x": (events(x=[128] * 8), "holds events with x from 128 to 128, and the sensor has 0 to 127"),
    "y": (events(y=[-1] * 8), "holds events with y from -1 to -1"),
    "p": (events(p=[2] * 8), "holds events with p from 2 to 2, and the sensor has 0 to 1"),
    "floats": (events(x=[0.5] * 8), "must hold 1 to .* integers under 'x', got float64"),
    "objects": (events(x=np.array([Canary()] * 8, object)), "must hold 1 to .* integers under 'x', got object"),
    "none": (events(**{name: np.zeros(0, int) for name in "txyp"}), "must hold 1 to .* integers under 't'"),
    "lengths": (events(t=[0] * 7), "must hold as many t, x, y and p"),
    "key": ({"x": np.zeros(8)}, "is no archive of events under the keys t, x, y and p"),
}


@pytest.mark.parametrize("name", BAD_EVENTS)
def test_events_outside_the_sensor_are_refused_before_frames_are_made_of_them(name, tmp_path):
    arrays, words = BAD_EVENTS[name]
    write_dvs(tmp_path / "dvs", per_class=2)
    victim = next((tmp_path / "dvs/events_np/bird").iterdir())
    np.savez(victim, **arrays)
    with pytest.raises(ValueError, match=rf"{victim.name} {words}"):
        cifar10dvs(tmp_path / "dvs", DataOptions(size=32, time_steps=T, split="tebn", allow_partial=True))
    assert sorted(os.listdir(tmp_path / "dvs")) == ["events_np"]


def test_good_events_pass(tmp_path):
    np.savez(tmp_path / "one.npz", **events())
    check_events(str(tmp_path / "one.npz"), 128)


def test_frames_of_cifar10dvs_are_checked_whatever_the_version_of_spikingjelly(tmp_path):
    write_dvs(tmp_path / "dvs", per_class=2)
    options = DataOptions(size=32, time_steps=T, split="tebn", allow_partial=True)
    data = cifar10dvs(tmp_path / "dvs", options)
    assert torch.isfinite(data.test[0][0]).all()
    for path, _ in cifar10dvs(tmp_path / "dvs", options).test.source.samples:
        Path(path).write_bytes(BAD_FRAMES["objects"][0])
    assert {Path(path).parent.name for path, _ in data.test.source.samples} == set(CLASSES)
    with pytest.raises(ValueError, match=r"cifar10_airplane_\d+.npz must hold frames of real numbers, got object"):
        data.test[0]
