"""Data sets in their formats on disk, splits, augmentation, and every way in which a folder can be wrong."""

import hashlib
import io
import pickle
import random
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_data import CLASSES, write_cifar, write_dvs, write_event_folder, write_image_folder
from torch.nn import functional as F
from torch.utils.data import DataLoader, random_split

from spikingjelly_ckd.recipes.data import DataOptions, cifar10, cifar10dvs, cifar100, image_folder, imagenet
from spikingjelly_ckd.recipes.data.augment import EventNDA, EventResize, EventRoll, event_transform, image_transform
from spikingjelly_ckd.recipes.data.splits import (
    SPLIT_HASHES,
    dvs_samples,
    hold_out,
    split,
    split_hash,
    stratified_subset,
)

pytestmark = pytest.mark.tools

AUTHORS = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
PARTIAL = DataOptions(allow_partial=True)
T = 2


def dvs(name="first90", **changes):
    return DataOptions(**{"size": 32, "time_steps": T, "split": name, "allow_partial": True, **changes})


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_cifar(root / "c10")
    write_cifar(root / "c100", "100", per_class_train=2, per_class_test=1)
    write_image_folder(root / "folder", classes=10, size=40)
    write_dvs(root / "dvs")
    write_event_folder(root / "events", time_steps=T)
    return root


LOADERS = {
    "cifar10": lambda roots, **kw: cifar10(roots / "c10", DataOptions(allow_partial=True, **kw)),
    "cifar100": lambda roots, **kw: cifar100(roots / "c100", DataOptions(allow_partial=True, **kw)),
    "folder": lambda roots, **kw: image_folder(roots / "folder", DataOptions(**kw)),
    "cifar10dvs": lambda roots, **kw: cifar10dvs(roots / "dvs", dvs(**kw)),
    "event-folder": lambda roots, **kw: cifar10dvs(roots / "events", DataOptions(time_steps=T, **kw)),
}


@pytest.mark.parametrize("name", LOADERS)
def test_samples_are_normalised_tensors_with_integer_labels(roots, name):
    data = LOADERS[name](roots)
    classes = 100 if name == "cifar100" else 10
    assert data.name == name
    assert data.num_classes == len(data.classes) == classes
    assert data.is_event == (data.in_channels == 2) == (data.mean is None) == (data.std is None)
    shape = (T, 2, 32, 32) if data.is_event else (3, 32, 32)
    for part in (data.train, data.test):
        batch, labels = next(iter(DataLoader(part, batch_size=len(part))))
        assert batch.shape == (len(part), *shape)
        assert batch.dtype == torch.float32
        assert sorted(set(labels.tolist())) == list(range(classes))
        assert isinstance(part[0][1], int)
        if data.is_event:
            assert batch.min() == 0
        else:
            pixels = batch * torch.tensor(data.std).view(3, 1, 1) + torch.tensor(data.mean).view(3, 1, 1)
            assert -1e-5 < pixels.min() < 0.1
            assert 0.9 < pixels.max() < 1 + 1e-5
    with pytest.raises(IndexError):
        data.test[len(data.test)]


@pytest.mark.parametrize("name", LOADERS)
def test_data_can_be_pickled_and_the_test_set_is_the_same_each_time(roots, name):
    augmented = {"roll": 3, "nda": True} if name in ("cifar10dvs", "event-folder") else {"erase": 1.0}
    if name in ("cifar10", "folder"):
        augmented |= {"crop_padding": 4, "auto_augment": "cifar10" if name == "cifar10" else "rand-m9-mstd0.5-inc1"}
    data = LOADERS[name](roots, flip=True, **augmented)
    plain = LOADERS[name](roots)
    copy = pickle.loads(pickle.dumps(data))
    for index in (0, len(data.test) - 1):
        first = data.test[index][0]
        assert torch.equal(first, data.test[index][0])
        assert torch.equal(first, copy.test[index][0])
        assert torch.equal(first, plain.test[index][0])
    assert any(not torch.equal(data.train[0][0], plain.train[0][0]) for _ in range(8))
    assert data.split_hash == plain.split_hash


@pytest.mark.parametrize("name", LOADERS)
def test_the_tiny_classes_can_be_learnt(roots, name):
    """What other tests train on: a linear network on the tiny data is far above chance."""
    data = LOADERS[name](roots)
    train, test = (next(iter(DataLoader(part, batch_size=len(part)))) for part in (data.train, data.test))
    network = torch.nn.Linear(train[0][0].numel(), data.num_classes)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(60):
        loss = F.cross_entropy(network(train[0].flatten(1)), train[1])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    accuracy = (network(test[0].flatten(1)).argmax(1) == test[1]).float().mean().item()
    assert accuracy > 5 / data.num_classes


def test_cifar_is_read_as_torchvision_reads_it(roots):
    data = cifar10(roots / "c10", PARTIAL)
    images, labels = [], []
    for number in range(1, 6):
        batch = pickle.loads((roots / f"c10/cifar-10-batches-py/data_batch_{number}").read_bytes())
        images.append(batch["data"])
        labels += batch["labels"]
    images = torch.from_numpy(np.concatenate(images)).view(-1, 3, 32, 32) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in AUTHORS)
    assert (data.mean, data.std) == AUTHORS
    for index in (0, 57, 99):
        image, label = data.train[index]
        assert torch.allclose(image, (images[index] - mean) / std, atol=1e-6)
        assert label == labels[index]
    assert data.classes == CLASSES
    assert data.split == "official"
    assert not data.complete


def test_photographs_keep_their_proportions_in_testing(tmp_path):
    names = tuple(f"n{number:08d}" for number in range(1000))
    write_image_folder(tmp_path, classes=names, per_class_train=1, per_class_test=1, size=2, test="val")
    (tmp_path / "test").mkdir()  # that of ImageNet has no labels and no class folders
    wide = Image.new("RGB", (160, 80), "black")
    wide.paste("white", (40, 0, 120, 80))
    wide.save(tmp_path / "val" / names[0] / "0.png")
    with pytest.raises(ValueError, match=r"half-unpacked: ImageNet has \(1281167, 50000\) images, this has \(1000"):
        imagenet(tmp_path, DataOptions(size=35))
    data = imagenet(tmp_path, DataOptions(size=35, allow_partial=True))
    assert (data.name, data.split, data.complete, data.num_classes) == ("imagenet", "official", False, 1000)
    image, label = data.test[0]
    assert image.shape == (3, 35, 35)
    assert label == 0
    assert image.min() > 2, "only the white middle is left"
    shutil.rmtree(tmp_path / "train" / names[5])
    shutil.rmtree(tmp_path / "val" / names[5])
    with pytest.raises(ValueError, match="has 999 classes, but this data set has 1000; if .* pass num_classes=999"):
        imagenet(tmp_path, DataOptions())
    data = imagenet(tmp_path, DataOptions(num_classes=999))
    assert (data.name, data.split, data.complete) == ("folder", "folders", True)


def test_every_row_takes_an_own_tree(tmp_path):
    write_image_folder(tmp_path / "images", classes=3, size=20, test="val")
    write_event_folder(tmp_path / "events", time_steps=5, classes=3)
    for row in (cifar10, cifar100, imagenet, cifar10dvs):
        data = row(tmp_path / "images", DataOptions(num_classes=3, size=16))
        assert (data.name, data.split, data.in_channels, data.complete) == ("folder", "folders", 3, True)
        assert data.train[0][0].shape == (3, 16, 16)
        assert data.mean == (AUTHORS[0] if row in (cifar10, cifar100) else (0.485, 0.456, 0.406))
        with pytest.raises(ValueError, match=r"has 3 classes, but this data set has \d+; .* num_classes=3"):
            row(tmp_path / "images", DataOptions())
        events = row(tmp_path / "events", DataOptions(num_classes=3, time_steps=5, size=16))
        assert (events.name, events.split, events.in_channels) == ("event-folder", "folders", 2)
        assert events.train[0][0].shape == (5, 2, 16, 16)
    with pytest.raises(ValueError, match="has 3 classes, but 4 were asked for"):
        image_folder(tmp_path / "images", DataOptions(num_classes=4))
    with pytest.raises(ValueError, match="has 3 classes, but this data set has 5"):
        image_folder(tmp_path / "images", DataOptions(), classes=5)
    own = image_folder(tmp_path / "images", DataOptions(), normalisation=((0.0,) * 3, (1.0,) * 3))
    assert own.test[0][0].max() == 1


def test_a_relative_root_is_resolved(roots, tmp_path, monkeypatch):
    monkeypatch.chdir(roots)
    data = [cifar10("c10", PARTIAL), image_folder("folder", DataOptions()), cifar10dvs("dvs", dvs())]
    monkeypatch.chdir(tmp_path)
    assert [int(part.test[0][1]) for part in data] == [cifar10(roots / "c10", PARTIAL).test[0][1], 0, 0]


def test_only_names_are_read_at_construction(tmp_path):
    write_event_folder(tmp_path, time_steps=T, classes=2)
    broken = tmp_path / "train/class001/0.npz"
    broken.write_bytes(broken.read_bytes()[:100])
    data = image_folder(tmp_path, DataOptions(time_steps=T))
    row = [path for path, _ in data.train.source.samples].index(str(broken))
    with pytest.raises(ValueError, match=r"class001/0.npz is no archive of event frames"):
        data.train[row]


# --- CIFAR10-DVS and its splits --------------------------------------------------------------------------------------


def test_dvs_frames_are_spikingjellys(roots, capsys):
    data = cifar10dvs(roots / "dvs", dvs(size=128))
    assert "Start to integrate" not in capsys.readouterr().out
    assert (len(data.train), len(data.test), data.complete) == (90, 10, False)
    assert data.classes == CLASSES
    frames, label = data.test[0]
    path = next((roots / "dvs" / f"frames_number_{T}_split_by_number/airplane").glob("*_900.npz"))
    assert torch.equal(frames, torch.from_numpy(np.load(path)["frames"]).float())
    assert frames.sum() == 400
    assert label == 0
    small = cifar10dvs(roots / "dvs", dvs(size=64)).test[0][0]
    assert torch.allclose(small, F.avg_pool2d(frames, 2)), "bilinear to the half is the mean of four"


def test_split_names_and_hashes_differ_between_splits(roots):
    data = {name: cifar10dvs(roots / "dvs", dvs(name)) for name in SPLIT_HASHES}
    assert [part.split for part in data.values()] == [f"cifar10dvs-{name}" for name in SPLIT_HASHES]
    assert len({part.split_hash for part in data.values()}) == 3
    for label in range(10):
        assert data["tebn"].test[label][1] == label
    # recording 0 of each class tests in tebn, recording 900 in first90
    assert not torch.equal(data["tebn"].test[0][0], data["first90"].test[0][0])


@pytest.mark.parametrize("name", SPLIT_HASHES)
def test_the_splits_of_the_whole_set_are_frozen(name):
    samples = dvs_samples()
    train, test = split(name, samples)
    assert (len(train), len(test)) == (9000, 1000)
    assert sorted(train + test) == list(range(10_000))
    parts = {"train": [samples[row] for row in train], "test": [samples[row] for row in test]}
    lines = [f"{part}\0{title}\0{label}\0" for part in ("test", "train") for title, label in sorted(parts[part])]
    assert split_hash(parts) == SPLIT_HASHES[name] == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_the_frozen_hashes_are_these():
    # a record quotes them: a change must be a decision
    assert {name: digest[:12] for name, digest in SPLIT_HASHES.items()} == {
        "first90": "36a38a863bc1",
        "tebn": "91b0152af64c",
        "random42": "dd1b0d38366f",
    }


def test_first90_is_spikingjellys_split(roots):
    from spikingjelly.datasets import cifar10_dvs, split_to_train_test_set

    for samples in (dvs_samples(), dvs_samples()[::7]):
        train, test = split_to_train_test_set(0.9, samples, 10, random_split=False)
        assert split("first90", samples) == (train.indices, test.indices)
    cifar10dvs(roots / "dvs", dvs())  # makes the frames
    dataset = cifar10_dvs.CIFAR10DVS(str(roots / "dvs"), data_type="frame", frames_number=T, split_by="number")
    train, test = split_to_train_test_set(0.9, dataset, 10, random_split=False)
    assert split("first90", [(Path(path).name, label) for path, label in dataset.samples]) == (
        train.indices,
        test.indices,
    )


def test_tebn_is_spikingjellys_split_where_it_has_one(tmp_path):
    from spikingjelly.datasets import cifar10_dvs

    if not hasattr(cifar10_dvs, "CIFAR10DVSTEBNSplit"):
        pytest.skip("SpikingJelly 0.0.0.0.14 has no CIFAR10DVSTEBNSplit")
    write_dvs(tmp_path, per_class=1)
    options = {"data_type": "frame", "frames_number": 1, "split_by": "number"}
    samples = dvs_samples()
    for train, rows in zip((True, False), split("tebn", samples), strict=True):
        theirs = cifar10_dvs.CIFAR10DVSTEBNSplit(str(tmp_path), train=train, **options)
        assert [(Path(path).name, label) for path, label in theirs.samples] == [samples[row] for row in rows]
    with pytest.raises(ValueError, match=r"frames_number_1_split_by_number holds other recordings .*TEBN"):
        cifar10dvs(tmp_path, dvs(time_steps=1))


def test_random42_is_torchs_split():
    train, test = random_split(range(10_000), [9000, 1000], generator=torch.Generator().manual_seed(42))
    assert split("random42", dvs_samples()) == (train.indices, test.indices)


def test_a_split_needs_a_name_numbers_and_enough_recordings():
    with pytest.raises(ValueError, match=r"one of \['first90', 'random42', 'tebn'\], got 'tet'"):
        split("tet", dvs_samples())
    with pytest.raises(ValueError, match="'airplane.npz' is not cifar10_<class>_<i>.npz"):
        split("tebn", [("airplane.npz", 0)])
    for name in SPLIT_HASHES:
        with pytest.raises(ValueError, match="of these 1 recordings leaves .* more recordings"):
            split(name, dvs_samples()[:1])


def test_the_hash_sees_what_is_in_which_part():
    parts = {"train": [("a", 0), ("b", 1)], "test": [("c", 0)]}
    same = {"test": [("c", 0)], "train": [("b", 1), ("a", 0)]}
    assert split_hash(parts) == split_hash(same)
    others = (
        {"train": [("a", 0)], "test": [("c", 0), ("b", 1)]},
        {"train": [("a", 0), ("b", 0)], "test": [("c", 0)]},
        {"train": [("a", 0), ("b", 1)], "test": [("d", 0)]},
        {"train": [("a", 0), ("b", 1)], "test": []},
        {"train": [("ab", 1)], "test": [("c", 0)]},
    )
    assert len({split_hash(other) for other in (parts, *others)}) == 6


# --- subsets ---------------------------------------------------------------------------------------------------------


def test_a_subset_is_stratified_fixed_nested_and_named(roots):
    whole = cifar10(roots / "c10", PARTIAL)
    torch.manual_seed(1)
    data = cifar10(roots / "c10", DataOptions(allow_partial=True, train_images=40, test_images=20))
    torch.manual_seed(2)
    again = cifar10(roots / "c10", DataOptions(allow_partial=True, train_images=40, test_images=20))
    assert data.split == "official[40+20]"
    assert (len(data.train), len(data.test)) == (40, 20)
    assert torch.tensor([label for _, label in data.train]).bincount().tolist() == [4] * 10
    assert data.split_hash == again.split_hash != whole.split_hash
    assert torch.equal(data.train.rows, again.train.rows)
    fewer = cifar10(roots / "c10", DataOptions(allow_partial=True, train_images=20))
    assert fewer.split == "official[20+50]"
    assert set(fewer.train.rows.tolist()) < set(data.train.rows.tolist())
    events = cifar10dvs(roots / "dvs", dvs("random42", train_images=10))
    assert events.split == "cifar10dvs-random42[10+10]"
    parts = [set(part.rows.tolist()) for part in (events.train, events.test)]
    assert not parts[0] & parts[1]


def test_the_subset_is_frozen():
    # a record quotes its hash: a change must be a decision
    rows = stratified_subset(torch.arange(5000) % 10, 20, 10)
    assert torch.equal(rows, rows.sort().values)
    assert split_hash({"train": [(str(row), row % 10) for row in rows.tolist()]}).startswith("854bec59634c")


def test_a_validation_part_is_of_every_class_and_follows_from_names_alone():
    labels, names = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2, 2, 2]), [f"{row}.png" for row in range(10)]
    train, held = hold_out(labels, names, 3)
    assert sorted([*train.tolist(), *held.tolist()]) == list(range(10))
    assert torch.equal(held, held.sort().values)
    assert labels[held].bincount().tolist() == [1, 1, 1]
    order = torch.arange(9, -1, -1)  # the same files, listed the other way round
    _, other = hold_out(labels[order], [names[row] for row in order.tolist()], 3)
    assert {names[int(order[row])] for row in other} == {names[row] for row in held.tolist()}
    assert set(held.tolist()) < set(hold_out(labels, names, 5)[1].tolist())
    assert torch.equal(hold_out(labels, names, 0.3)[1], held)


def test_a_validation_part_that_cannot_be_taken():
    labels, names = torch.tensor([0, 0, 0, 0, 0, 1, 2, 3]), list("abcdefgh")
    for count, words in (
        (5, "asks for 5 of 8; pass another number, 4 at most"),
        (0, "must be at least 1"),
        (1.5, "a share between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=words):
            hold_out(labels, names, count)
    with pytest.raises(ValueError, match=r"val_images must be at most 2, so that one sample of each class stays"):
        hold_out(labels[2:], names[2:], 3)
    with pytest.raises(TypeError, match="val_images must be a number"):
        hold_out(labels, names, "3")


def test_a_subset_that_cannot_be_drawn(roots):
    for count, words in ((45, "train_images must be a multiple of the 10 classes, got 45"), (110, "11 of each class")):
        with pytest.raises(ValueError, match=words):
            cifar10(roots / "c10", DataOptions(allow_partial=True, train_images=count))
    with pytest.raises(ValueError, match="test_images must be .* 60 asks for 6 of each class, and class 0 has only 5"):
        cifar10(roots / "c10", DataOptions(allow_partial=True, test_images=60))


# --- augmentation ----------------------------------------------------------------------------------------------------


def seeded(transform, sample, seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return transform(sample)


def probe():
    """Four frames with one bright pixel at the same place, off the centre."""
    frames = torch.zeros(4, 2, 48, 48)
    frames[:, :, 16, 30] = 1
    return frames


def test_every_frame_of_a_recording_is_changed_alike():
    for options in ({"flip": True}, {"roll": 5}, {"nda": True}):
        transform = event_transform(DataOptions(size=48, **options), train=True)
        results = [seeded(transform, probe(), seed) for seed in range(12)]
        assert all((frames == frames[:1, :1]).all() for frames in results)
        assert len({tuple(frames[0, 0].flatten().nonzero().flatten().tolist()) for frames in results}) > 1
        plain = event_transform(DataOptions(size=48, **options), train=False)
        assert torch.equal(plain(probe()), probe())


def test_flip_is_left_to_right_half_of_the_time():
    transform = event_transform(DataOptions(size=48, flip=True), train=True)
    flipped = 0
    for _ in range(200):
        frames = transform(probe())
        assert torch.equal(frames, probe()) or torch.equal(frames, probe().flip(-1))
        flipped += torch.equal(frames, probe().flip(-1))
    assert 70 < flipped < 130  # sd 7


def test_roll_reaches_its_range_in_both_axes_and_no_further():
    places = torch.stack([EventRoll(3)(probe())[0, 0].nonzero()[0] for _ in range(300)]) - torch.tensor([16, 30])
    assert places.min(0).values.tolist() == [-3, -3]
    assert places.max(0).values.tolist() == [3, 3]


def test_nda_is_one_of_a_roll_a_rotation_and_a_shear():
    """Two bright pixels tell the three apart: a roll keeps their distance vector, a shear their rows."""
    frames = torch.zeros(1, 2, 96, 96)
    centre = torch.tensor([48, 48])
    for place in (centre, centre - torch.tensor([30, 0])):
        frames[:, :, place[0] - 1 : place[0] + 2, place[1] - 1 : place[1] + 2] = 1
    kinds = {"roll": 0, "rotate": 0, "shear": 0}
    for seed in range(150):
        result = seeded(EventNDA(), frames, seed)[0, 0]
        places = result.nonzero().float()
        near = (places - centre).norm(dim=1) < 18  # the centre moves by at most 10 pixels in both axes
        middle, outer = places[near].mean(0), places[~near].mean(0)
        across = outer - middle
        if (across - torch.tensor([-30.0, 0.0])).norm() < 0.3 and (middle - centre).norm() > 1:
            kinds["roll"] += 1
            assert (middle - centre).abs().max() <= 10.1
        elif abs(across[0] + 30) < 0.7 and (middle - centre).norm() < 1:
            kinds["shear"] += 1
            assert across[1].abs() <= 30 * np.tan(np.pi / 6) + 1
        else:
            kinds["rotate"] += 1
            assert abs(across.norm() - 30) < 1.5
            assert across[1].abs() <= 30 * np.sin(np.pi / 6) + 1
    assert min(kinds.values()) > 25, kinds  # a third of 150 each; small rotations look like shears


def test_event_transforms_draw_from_torch_alone():
    transform = event_transform(DataOptions(size=48, flip=True, roll=5, nda=True), train=True)
    frames = torch.rand(2, 2, 48, 48)
    random.seed(0)
    np.random.seed(0)
    before = random.getstate(), np.random.get_state()[1].tolist()
    torch.manual_seed(3)
    first = transform(frames)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    torch.manual_seed(3)
    assert torch.equal(first, transform(frames))


@pytest.mark.parametrize("policy", ["cifar10", "rand-m9-mstd0.5-inc1", "original-mstd0.5", "augmix-m5-w4-d2"])
def test_image_augmentation_follows_its_seeds_and_pickles(policy):
    options = DataOptions(size=24, crop_padding=3, flip=True, auto_augment=policy, erase=0.5)
    transform = image_transform(options, train=True, mean=AUTHORS[0], std=AUTHORS[1])
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    results = [seeded(transform, image, seed) for seed in range(5)]
    assert all(result.shape == (3, 24, 24) for result in results)
    assert len({tuple(result.flatten().tolist()) for result in results}) > 1
    assert torch.equal(results[3], seeded(pickle.loads(pickle.dumps(transform)), image, 3))


def test_crops_and_erasing_do_what_they_say():
    white = Image.new("RGB", (32, 32), "white")
    options = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    crop = image_transform(DataOptions(crop_padding=4), train=True, **options)
    shares = torch.tensor([crop(white).mean().item() for _ in range(60)])
    assert shares.min() >= (28 / 32) ** 2
    assert shares.min() < shares.max() <= 1
    erase = image_transform(DataOptions(erase=1.0), train=True, **options)
    erased = torch.tensor([1 - erase(white).mean().item() for _ in range(60)])
    assert 0.015 < erased.min() < 0.1 < erased.max() < 0.22
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, 32).astype(np.uint8)[:, None, None], (1, 32, 3)))
    resized = image_transform(DataOptions(resized_crop=True), train=True, **options)
    spans = torch.tensor([(image.max() - image.min()).item() for image in (resized(ramp) for _ in range(60))])
    assert spans.min() < 0.6 < spans.max()


def test_resize_leaves_frames_of_the_size_alone():
    frames = probe()
    assert EventResize(48)(frames) is frames


# --- what can be wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"size": 0}, ValueError, "size must be at least 1"),
        ({"size": 32.0}, TypeError, "size must be an integer"),
        ({"time_steps": 0}, ValueError, "time_steps must be at least 1"),
        ({"roll": -1}, ValueError, "roll must be at least 0"),
        ({"train_images": True}, TypeError, "train_images must be an integer"),
        ({"flip": 1}, TypeError, "flip must be True or False"),
        ({"auto_augment": None}, TypeError, "auto_augment must be a string"),
        ({"erase": 1.5}, ValueError, "erase must be a probability"),
        ({"erase": "1"}, TypeError, "erase must be a number"),
        ({"crop_padding": 4, "resized_crop": True}, ValueError, "two kinds of random crop"),
    ],
)
def test_bad_options(values, error, words):
    with pytest.raises(error, match=words):
        DataOptions(**values)


@pytest.mark.parametrize("policy", ["magic", "rand-x3", "augmix-z4", "none"])
def test_an_unknown_policy(policy):
    words = f"auto_augment must be 'cifar10', a policy of timm, .*, or '' for none, got '{policy}'"
    with pytest.raises(ValueError, match=words):
        image_transform(DataOptions(auto_augment=policy), train=True, mean=AUTHORS[0], std=AUTHORS[1])


def test_options_of_the_other_kind_are_refused(roots):
    for option in ({"roll": 3}, {"nda": True}):
        with pytest.raises(ValueError, match="does nothing to images"):
            cifar10(roots / "c10", DataOptions(allow_partial=True, **option))
    for option in ({"crop_padding": 4}, {"resized_crop": True}, {"auto_augment": "cifar10"}, {"erase": 0.1}):
        with pytest.raises(ValueError, match="does nothing to event frames"):
            cifar10dvs(roots / "dvs", dvs(**option))


@pytest.mark.parametrize("row", [cifar10, cifar100, imagenet, cifar10dvs, image_folder])
def test_a_root_that_is_not_there(row, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"root must be a folder that is there, got /.*nowhere"):
        row(tmp_path / "nowhere", DataOptions())
    with pytest.raises(TypeError, match="root must be a path, got NoneType"):
        row(None, DataOptions())


@pytest.mark.parametrize("row", [cifar10, cifar100, imagenet])
def test_a_split_where_there_is_an_official_one(row, tmp_path):
    with pytest.raises(ValueError, match="split must be None for .*, which has an official one, got 'tebn'"):
        row(tmp_path, DataOptions(split="tebn"))


def test_cifar_that_is_not_there_or_elsewhere(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no cifar-10-batches-py .* download=True, or unpack https?://"):
        cifar10(tmp_path, DataOptions())
    write_cifar(tmp_path / "data")
    with pytest.raises(FileNotFoundError, match=r"is inside: pass .*data$"):
        cifar10(tmp_path / "data/cifar-10-batches-py", DataOptions())
    with pytest.raises(FileNotFoundError, match=r"is above: pass .*data$"):
        cifar10(tmp_path, DataOptions(download=True))
    with pytest.raises(FileNotFoundError, match="holds no cifar-100-python"):
        cifar100(tmp_path / "data", DataOptions())


def test_cifar_that_is_not_or_half_unpacked(tmp_path):
    base = write_cifar(tmp_path / "data") / "cifar-10-batches-py"
    packed = tmp_path / "packed"
    packed.mkdir()
    with tarfile.open(packed / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(base, base.name)
    with pytest.raises(FileNotFoundError, match="cifar-10-python.tar.gz was not unpacked; run tar -xzf"):
        cifar10(packed, DataOptions())
    with pytest.raises(ValueError, match=r"data_batch_1 differs from the official file .* allow_partial=True"):
        cifar10(base.parent, DataOptions())
    batch = base / "data_batch_1"
    batch.write_bytes(batch.read_bytes()[:5000])
    with pytest.raises(ValueError, match="data_batch_1 is cut off, a half-unpacked file; delete .* and unpack"):
        cifar10(base.parent, DataOptions())
    with pytest.raises(ValueError, match="data_batch_1 is no readable file of plain values"):
        cifar10(base.parent, PARTIAL)
    batch.unlink()
    (base / "test_batch").unlink()
    with pytest.raises(FileNotFoundError, match="half-unpacked, it has no data_batch_1, test_batch; unpack"):
        cifar10(base.parent, PARTIAL)


def test_cifar_with_another_number_of_classes(tmp_path):
    write_cifar(tmp_path, classes=4)
    with pytest.raises(ValueError, match="has 4 classes, but this data set has 10; .* pass num_classes=4"):
        cifar10(tmp_path, PARTIAL)
    assert cifar10(tmp_path, DataOptions(allow_partial=True, num_classes=4)).num_classes == 4
    meta = tmp_path / "cifar-10-batches-py/batches.meta"
    meta.write_bytes(pickle.dumps({"label_names": ["a", "b"]}))
    with pytest.raises(ValueError, match="names for 2 classes, but labels from 0 to 3"):
        cifar10(tmp_path, DataOptions(allow_partial=True, num_classes=2))


def loose(root):
    for number, image in enumerate(sorted((root / "val").rglob("*.png"))):
        image.rename(root / "val" / f"{number}.png")
    for folder in [entry for entry in (root / "val").iterdir() if entry.is_dir()]:
        folder.rmdir()


def packed(root):
    with tarfile.open(root / "train/class000.tar", "w") as archive:
        archive.add(root / "train/class000", "class000")


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda root: shutil.rmtree(root / "val"), FileNotFoundError, "root must hold train and .*val.* has train$"),
        (lambda root: shutil.rmtree(root / "train"), FileNotFoundError, "root must hold train and .*val.* has val$"),
        (loose, ValueError, r"val must hold one folder for each class, but 15 samples lie loose .* 0.png; sort them"),
        (packed, ValueError, r"train holds class000.tar; unpack each"),
        (lambda root: shutil.rmtree(root / "val/class001"), ValueError, "same class folders; only one .* class001"),
        (lambda root: (root / "train/class003").mkdir(), ValueError, "same class folders; only one .* class003"),
        (
            lambda root: [(root / part / "extra").mkdir() for part in ("train", "val")],
            ValueError,
            "train has class folders without samples: extra; unpack them again",
        ),
        (
            lambda root: [shutil.rmtree(folder) for folder in (root / "train").iterdir()],
            ValueError,
            "train must hold one folder for each class, and it has nothing in it",
        ),
    ],
    ids=["no val", "no train", "loose", "tar", "fewer in val", "more in train", "empty class", "empty train"],
)
@pytest.mark.parametrize("row", [image_folder, imagenet])
def test_trees_that_are_wrong(row, spoil, error, words, tmp_path):
    write_image_folder(tmp_path, classes=3, test="val")
    spoil(tmp_path)
    with pytest.raises(error, match=words):
        row(tmp_path, DataOptions(num_classes=3))


def test_a_tree_that_is_elsewhere(tmp_path):
    write_image_folder(tmp_path / "data")
    with pytest.raises(FileNotFoundError, match=r"is inside: pass .*data$"):
        image_folder(tmp_path / "data/train", DataOptions())
    with pytest.raises(FileNotFoundError, match=r"is above: pass .*data$"):
        imagenet(tmp_path, DataOptions())


@pytest.mark.parametrize("row", [cifar10, cifar100, imagenet, image_folder, cifar10dvs])
def test_every_row_says_where_a_tree_is_or_what_it_lacks(row, tmp_path):
    write_image_folder(tmp_path / "up/data")
    options = DataOptions(time_steps=4, split="tebn") if row is cifar10dvs else DataOptions()
    for inside in ("train", "test", "train/class000"):
        with pytest.raises(FileNotFoundError, match=r"be the folder with train; .* is inside: pass .*data$"):
            row(tmp_path / "up/data" / inside, options)
    with pytest.raises(FileNotFoundError, match=r"be the folder with train; .* is above: pass .*data$"):
        row(tmp_path / "up", options)
    shutil.rmtree(tmp_path / "up/data/test")
    with pytest.raises(FileNotFoundError, match=r"root must hold train and (test or val|val or test); .* has train$"):
        row(tmp_path / "up/data", options)


@pytest.mark.parametrize("row", [cifar10, cifar100, imagenet, image_folder])
def test_a_tree_has_its_own_split(row, tmp_path):
    write_image_folder(tmp_path, classes=3)
    with pytest.raises(ValueError, match="split must be None for .*, got 'foo'"):
        row(tmp_path, DataOptions(num_classes=3, split="foo"))


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    write_image_folder(tmp_path, classes=3)
    for name, content in (("0.png", b"no picture"), ("1.png", (tmp_path / "test/class000/1.png").read_bytes()[:300])):
        (tmp_path / "test/class000" / name).write_bytes(content)
    data = image_folder(tmp_path, DataOptions())
    for index in (0, 1):
        with pytest.raises(
            ValueError, match=rf"test/class000/{index}.png cannot be read as an image \(.*\); replace or"
        ):
            data.test[index]


def test_event_frames_that_do_not_fit(tmp_path):
    write_event_folder(tmp_path, time_steps=3, classes=2)
    with pytest.raises(ValueError, match="time_steps must be given for events"):
        image_folder(tmp_path, DataOptions())
    with pytest.raises(ValueError, match=r"0.npz must hold frames .* time_steps = 4, got \(3, 2, 32, 32\)"):
        image_folder(tmp_path, DataOptions(time_steps=4))
    np.savez(tmp_path / "train/class000/0.npz", other=np.zeros(3))
    with pytest.raises(ValueError, match="under the key 'frames'"):
        image_folder(tmp_path, DataOptions(time_steps=3))


def test_dvs_that_is_not_there_or_elsewhere(tmp_path):
    with pytest.raises(ValueError, match=r"split must be one of \['first90', 'random42', 'tebn'\].* got None"):
        cifar10dvs(tmp_path, DataOptions(time_steps=T))
    with pytest.raises(ValueError, match=r"split must be one of .* got 'official'"):
        cifar10dvs(tmp_path, dvs("official"))
    with pytest.raises(ValueError, match="time_steps must be given for events"):
        cifar10dvs(tmp_path, DataOptions(split="tebn"))
    with pytest.raises(FileNotFoundError, match=r"no events_np .* Put these into .*download: airplane.zip from https"):
        cifar10dvs(tmp_path, dvs())
    (tmp_path / "extract/airplane").mkdir(parents=True)
    (tmp_path / "download").mkdir()
    (tmp_path / "download/airplane.zip").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"download: automobile.zip from .*Then pass download=True"):
        cifar10dvs(tmp_path, dvs())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["download", "extract"], "nothing was made or fetched"
    write_dvs(tmp_path / "data", per_class=1)
    for inside in ("data/events_np", "data/events_np/"):
        with pytest.raises(FileNotFoundError, match=r"is inside: pass .*data$"):
            cifar10dvs(tmp_path / inside, dvs())
    with pytest.raises(FileNotFoundError, match=r"is above: pass .*data$"):
        cifar10dvs(tmp_path, dvs())


def test_dvs_that_is_half_unpacked(tmp_path):
    write_dvs(tmp_path, per_class=2)
    with pytest.raises(
        ValueError, match=r"half-unpacked .* 1000 recordings .*airplane 2, automobile 2.* allow_partial"
    ):
        cifar10dvs(tmp_path, dvs(allow_partial=False))
    marker = tmp_path / "events_np.building"
    marker.touch()
    with pytest.raises(ValueError, match="events_np is half-unpacked: .* left events_np.building; delete both"):
        cifar10dvs(tmp_path, dvs())
    marker.rename(tmp_path / f"frames_number_{T}_split_by_number.building")
    with pytest.raises(ValueError, match=f"frames_number_{T}_split_by_number is half-unpacked"):
        cifar10dvs(tmp_path, dvs())
    (tmp_path / f"frames_number_{T}_split_by_number.building").unlink()
    frames = tmp_path / f"frames_number_{T}_split_by_number"
    for name in CLASSES:
        (frames / name).mkdir(parents=True)
        np.savez(frames / name / f"cifar10_{name}_0.npz", frames=np.zeros((T, 2, 128, 128)))
    with pytest.raises(ValueError, match="holds other recordings than events_np beside it"):
        cifar10dvs(tmp_path, dvs())
    shutil.rmtree(tmp_path / "events_np/truck")
    with pytest.raises(ValueError, match="has 9 classes, but this data set has 10; .* num_classes=9"):
        cifar10dvs(tmp_path, dvs())


def test_the_whole_of_dvs_is_complete(tmp_path):
    """All 10,000 names, without their contents: the frames stand there as SpikingJelly would have left them."""
    frames = io.BytesIO()
    np.savez(frames, frames=np.zeros((1, 2, 128, 128), np.uint8))
    (tmp_path / "one.npz").write_bytes(frames.getvalue())
    for folder in ("events_np", "frames_number_1_split_by_number"):
        for name in CLASSES:
            (tmp_path / folder / name).mkdir(parents=True)
        for name, label in dvs_samples():
            (tmp_path / folder / CLASSES[label] / name).hardlink_to(tmp_path / "one.npz")
    for name, digest in SPLIT_HASHES.items():
        data = cifar10dvs(tmp_path, dvs(name, time_steps=1, allow_partial=False))
        assert data.complete
        assert data.split_hash == digest
