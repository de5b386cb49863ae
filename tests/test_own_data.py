"""A data set of one's own: two datasets of PyTorch as Data, and what is looked at before training."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_data import write_image_folder
from torch.utils.data import Dataset, Subset, TensorDataset
from torchvision.datasets import FakeData, ImageFolder

from spikingjelly_ckd.recipes.data import DataOptions, data_from, image_folder
from spikingjelly_ckd.recipes.data.checked import check_data
from spikingjelly_ckd.recipes.data.folders import IMAGENET
from spikingjelly_ckd.recipes.data.loading import say_left_out
from spikingjelly_ckd.recipes.data.splits import split_hash

pytestmark = pytest.mark.tools

CLASSES = ("cat", "dog")


class Own(Dataset):
    """Samples from a list; counts how often one is read."""

    def __init__(self, images, labels):
        self.images, self.classes, self.reads = images, CLASSES, 0
        self.answers = labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.reads += 1
        return self.images[index], self.answers[index]


def own(images, labels=(0, 1, 1)) -> Own:
    return Own(list(images), list(labels))


PIXELS = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)
PICTURES = {
    "PIL": [Image.fromarray(x) for x in PIXELS],
    "array": list(PIXELS),
    "tensor": [torch.from_numpy(x).permute(2, 0, 1) for x in PIXELS],
}


def test_the_content_tells_data_of_equal_names_apart():
    options = DataOptions(size=16)
    whole = data_from(own(PICTURES["PIL"]), own(PICTURES["PIL"]), options)
    same = data_from(own(PICTURES["array"]), own(PICTURES["array"]), options)
    changed = [PICTURES["PIL"][0], PICTURES["PIL"][1].rotate(180), PICTURES["PIL"][2]]
    other = data_from(own(PICTURES["PIL"]), own(changed), options)
    assert whole.split_hash == same.split_hash == other.split_hash
    assert whole.content == same.content != other.content
    assert replace(whole, test=other.test).content == other.content


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_of_any_kind_are_those_of_a_folder(tmp_path, kind):
    for part in ("train", "test"):
        for name, rows in (("cat", (0,)), ("dog", (1, 2))):
            (tmp_path / part / name).mkdir(parents=True)
            for row in rows:
                Image.fromarray(PIXELS[row]).save(tmp_path / part / name / f"{row}.png")
    options = DataOptions(size=16)
    expected = image_folder(tmp_path, options)
    data = data_from(own(PICTURES[kind]), own(PICTURES[kind]), options)
    assert [label for _, label in data.train] == [label for _, label in expected.train]
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(data.test, expected.test, strict=True))
    assert (data.classes, data.mean, data.std) == (CLASSES, *IMAGENET)
    assert (data.name, data.split, data.is_event, data.complete) == ("own", "own", False, True)
    check_data(data, "here", time_steps=4)


def test_grey_pictures_have_three_channels():
    images = [torch.randint(0, 256, (1, 8, 8), dtype=torch.uint8), np.zeros((8, 8), np.uint8), Image.new("L", (8, 8))]
    data = data_from(own(images), own(images), DataOptions(size=8))
    assert [tuple(image.shape) for image, _ in data.train] == [(3, 8, 8)] * 3


def test_augmentation_and_subsets_are_the_options(tmp_path):
    images = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8)
    train = TensorDataset(images, torch.arange(40) % 2)
    options = DataOptions(size=8, flip=True, train_images=10)
    data = data_from(train, Subset(train, range(4)), options, classes=CLASSES, split="odd")
    assert (len(data.train), len(data.test), data.split) == (10, 4, "odd[10+4]")
    torch.manual_seed(0)
    views = [data.train[3][0] for _ in range(8)]
    assert any(torch.equal(views[0], view.flip(-1)) for view in views)
    assert all(torch.equal(data.test[1][0], data.test[1][0]) for _ in range(8))


def test_event_frames_have_the_rows_time_steps():
    frames = [np.ones((4, 2, 12, 12), np.int64) * number for number in range(3)]
    data = data_from(own(frames), own(frames), DataOptions(size=6, time_steps=4))
    assert data.is_event
    assert (data.in_channels, data.mean) == (2, None)
    assert torch.equal(data.train[2][0], torch.full((4, 2, 6, 6), 2.0))
    check_data(data, "here", time_steps=4)
    with pytest.raises(ValueError, match="time_steps is 8, and the event frames have T=4"):
        data_from(own(frames), own(frames), DataOptions(time_steps=8))


def test_finished_tensors_are_taken_as_they_are():
    images = torch.randn(3, 1, 8, 8)
    data = data_from(own(images), own(images), DataOptions(size=8), normalisation=((0.5,), (0.2,)))
    assert torch.equal(data.train[1][0], images[1])
    assert (data.in_channels, data.mean, data.std) == (1, (0.5,), (0.2,))
    assert data_from(own(images), own(images), DataOptions(size=8)).mean is None
    with pytest.raises(ValueError, match="flip does nothing to tensors of real numbers, .*; switch it off, or"):
        data_from(own(images), own(images), DataOptions(size=8, flip=True))
    with pytest.raises(ValueError, match="cutout does nothing to tensors of real numbers"):
        data_from(own(images), own(images), DataOptions(size=8, cutout=4))
    with pytest.raises(ValueError, match=r"size must be that of the images, \(1, 8, 8\), got 16"):
        data_from(own(images), own(images), DataOptions(size=16))
    with pytest.raises(ValueError, match=r"the images are \(1, 8, 6\), and networks get squares: let the dataset"):
        data_from(own(images[..., :6]), own(images[..., :6]), DataOptions(size=8))


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_a_validation_part_is_as_the_test_part(kind):
    images = torch.randint(0, 256, (12, 3, 8, 8)).to(getattr(torch, kind))
    train = TensorDataset(images, torch.arange(12) % 2)
    data = data_from(train, train, DataOptions(size=8, val_images=4), classes=CLASSES)
    assert (len(data.train), len(data.validation), len(data.test)) == (8, 4, 12)
    assert data.split == "own[8+4+12]"
    row = int(data.validation.rows[0])
    assert torch.equal(data.validation[0][0], data.test[row][0])
    check_data(data, "here", time_steps=1)


def test_labels_are_not_read_from_the_images_where_the_dataset_knows_them(tmp_path):
    write_image_folder(tmp_path, classes=CLASSES, per_class_train=2, per_class_test=1)
    train, test = ImageFolder(tmp_path / "train"), ImageFolder(tmp_path / "test")
    data = data_from(train, test, DataOptions())
    assert data.classes == CLASSES
    names = {"train": [("/cat/0.png", 0), ("/cat/1.png", 0), ("/dog/0.png", 1), ("/dog/1.png", 1)]}
    assert data.split_hash == split_hash({**names, "test": [("/cat/0.png", 0), ("/dog/0.png", 1)]})
    dataset = own(PICTURES["PIL"])
    dataset.targets = [0, 1, 1]
    data_from(dataset, dataset, DataOptions())
    assert dataset.reads == 1, "the first of the training set shows what the images are"


def test_without_names_the_hash_is_of_numbers_and_labels():
    found = data_from(own(PICTURES["PIL"]), own(PICTURES["PIL"], (0, 0, 1)), DataOptions()).split_hash
    assert found == split_hash({"train": [("0", 0), ("1", 1), ("2", 1)], "test": [("0", 0), ("1", 0), ("2", 1)]})


@pytest.mark.parametrize(
    ("images", "labels", "error", "words"),
    [
        (PICTURES["PIL"], (0, 1, 2), ValueError, "classes are 2, so that labels are 0 to 1; training sample 2 has 2"),
        (PICTURES["PIL"], (0, -1, 1), ValueError, "training sample 1 has -1"),
        (PICTURES["PIL"], (0, 0, 0), ValueError, "classes has 'dog', of which there is no training sample"),
        (PICTURES["PIL"], (0.0, 1.0, 1.0), TypeError, "the label of training sample 0 must be a whole number, got 0.0"),
        (PICTURES["PIL"], ("cat", "dog", "dog"), TypeError, "must be a whole number, got 'cat'"),
        ([], (), ValueError, "the training set is empty"),
        (
            ["a.png"] * 3,
            (0, 1, 1),
            TypeError,
            "sample 0 must be a picture, tensor or array, got str",
        ),
        (
            torch.zeros(3, 8),
            (0, 1, 1),
            ValueError,
            r"must be a picture of 8 bit, .*got torch.float32 \(8,\)",
        ),
    ],
)
def test_what_no_row_can_train_on_is_refused(images, labels, error, words):
    with pytest.raises(error, match=words):
        data_from(own(images, labels), own(PICTURES["PIL"]), DataOptions())


def test_another_number_of_classes_than_was_asked_for():
    with pytest.raises(ValueError, match="num_classes is 3, and the data set has 2 classes"):
        data_from(own(PICTURES["PIL"]), own(PICTURES["PIL"]), DataOptions(num_classes=3))
    with pytest.raises(ValueError, match="classes must be given: the training set has no attribute of this name"):
        data_from(FakeData(2), FakeData(2), DataOptions())


def test_a_sample_that_is_no_pair():
    triples = [(x, 0, "id") for x in PICTURES["PIL"]]
    with pytest.raises(TypeError, match=r"training sample 0 must be a pair \(image, label\), got tuple"):
        data_from(triples, triples, DataOptions(), classes=CLASSES)


@pytest.mark.parametrize("broken", [float("nan"), 1e300], ids=["nan", "inf in float32"])
def test_each_sample_is_checked_when_it_is_used(broken):
    images = list(torch.randn(3, 3, 8, 8))
    images[1] = torch.full((3, 8, 8), broken, dtype=torch.float64)
    images[2] = torch.randn(3, 8, 9)
    with pytest.raises(ValueError, match="test sample 1 holds NaN or inf; remove it"):
        data_from(own([images[0]] * 3), own(images), DataOptions(size=8))  # each is read for its label
    known = own(images)
    known.targets = [0, 1, 1]
    data = data_from(known, known, DataOptions(size=8))
    with pytest.raises(ValueError, match="training sample 1 holds NaN or inf; remove it"):
        data.train[1]
    with pytest.raises(ValueError, match=r"test sample 2 is \(3, 8, 9\), and the first is \(3, 8, 8\)"):
        data.test[2]


# --- before training -------------------------------------------------------------------------------------------------


def finished(images, labels=(0, 1)):
    samples = list(zip(images, labels, strict=True))
    plain = data_from(own(torch.zeros(3, 3, 8, 8)), own(torch.zeros(3, 3, 8, 8)), DataOptions(size=8))
    return replace(plain, test=samples)


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        ({"train": []}, TypeError, "data mine:f must return a spikingjelly_ckd.recipes.data.Data, got dict; data_from"),
        (
            replace(finished(torch.zeros(2, 3, 8, 8), (0, 0)), classes=("only",)),
            ValueError,
            "data mine:f found 1 class, and a network learns to tell at least 2 apart",
        ),
        (finished([], ()), ValueError, "data mine:f returned an empty test set"),
        (
            finished(torch.zeros(2, 3, 8, 9)),
            ValueError,
            r"0 must be torch.float32 \(3, 8, 8\), got .*8, 9\)",
        ),
        (
            finished(torch.zeros(2, 3, 8, 8).double()),
            ValueError,
            "0 must be torch.float32 .*got torch.float64",
        ),
        (finished(torch.zeros(2, 3, 8, 8), (0, 2)), ValueError, "test sample 1 has label 2, and 2 classes have 0 to 1"),
        (
            finished(torch.zeros(2, 3, 8, 8), (0, 1.0)),
            TypeError,
            r"be \(tensor, whole number\), got \(Tensor, float\)",
        ),
        (finished(torch.full((2, 3, 8, 8), torch.inf)), ValueError, "test sample 0 holds NaN or inf"),
    ],
)
def test_what_a_function_returned_is_looked_at(data, error, words):
    state = torch.get_rng_state()
    with pytest.raises(error, match=words):
        check_data(data, "mine:f", time_steps=4)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_an_epoch_leaves_out_is_said(capsys):
    say_left_out(SimpleNamespace(train=range(216)), 64)
    assert capsys.readouterr().err == (
        "Each epoch leaves out 24 of the 216 training images, others each time: a batch holds 64 (-b)\n"
    )
    say_left_out(SimpleNamespace(train=range(216)), 24)
    assert capsys.readouterr().err == ""
