"""Teachers: what they see, where they come from, and whether they know anything."""

import dataclasses
import json
import types

import pytest
import timm
import tiny_nets
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset, TensorDataset

from spikingjelly_ckd.recipes import teachers
from spikingjelly_ckd.recipes.data import Data
from spikingjelly_ckd.recipes.export import file_hash, save_network
from spikingjelly_ckd.recipes.models import resnet20
from spikingjelly_ckd.recipes.options import Run
from spikingjelly_ckd.recipes.teacher_check import check_teacher
from spikingjelly_ckd.recipes.teachers import Teacher, TeacherInput, load_teacher
from spikingjelly_ckd.recipes.timm_teachers import timm_network

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
CLASSES = ("cat", "dog", "eel")


class Labelled(Dataset):
    """Pairs ``(image, int)``, as the recipes' data gives them."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


def make_data(images=None, labels=(0, 1, 2), *, classes=CLASSES, event=False) -> Data:
    images = torch.rand(len(labels), *((4, 2) if event else (3,)), 8, 8) if images is None else images
    samples = Labelled(images, labels)
    mean, std = (None, None) if event else (MEAN, STD)
    channels = images.shape[-3]
    return Data("folder", samples, samples, classes, channels, 8, mean, std, event, "folders", "0" * 64, True)


def make_teacher(network: nn.Module, data: Data) -> Teacher:
    return Teacher(network.eval(), "here", None, data.mean, data.std, None)


# --- what it sees ----------------------------------------------------------------------------------------------------


def test_one_normalisation_is_undone_and_the_other_applied():
    theirs = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    enter = TeacherInput((MEAN, STD), theirs).double()
    images = torch.rand(2, 3, 5, 7, dtype=torch.float64)

    def normalised(mean, std):
        return torch.stack([(images[:, c] - mean[c]) / std[c] for c in range(3)], dim=1)

    torch.testing.assert_close(enter(normalised(MEAN, STD)), normalised(*theirs), rtol=0, atol=2e-7)
    assert enter(normalised(MEAN, STD).float()).dtype == torch.float32


def test_the_same_normalisation_changes_nothing():
    images = torch.randn(2, 3, 5, 5)
    assert torch.equal(TeacherInput((MEAN, STD), (MEAN, STD))(images), images)
    assert torch.equal(TeacherInput(None, (MEAN, STD))(images), images)
    assert torch.equal(TeacherInput((MEAN, STD), None)(images), images)


def test_images_are_resized_after_the_normalisation():
    zero_one = (0.0,) * 3, (1.0,) * 3
    enter = TeacherInput((MEAN, STD), zero_one, size=12)
    images = torch.randn(2, 3, 8, 8)
    means, deviations = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    expected = F.interpolate(images * deviations + means, (12, 12), mode="bicubic", antialias=True)
    torch.testing.assert_close(enter(images), expected)
    same = torch.rand(2, 3, 12, 12)
    assert torch.equal(TeacherInput(None, None, size=12)(same), same)


def test_smaller_pictures_stay_bright_where_they_were():
    images = torch.zeros(1, 3, 32, 32)
    images[:, :, :16] = 1
    small = TeacherInput(None, None, size=8)(images)
    assert small.shape == (1, 3, 8, 8)
    torch.testing.assert_close(small[0, :, :3], torch.ones(3, 3, 8), atol=0.1, rtol=0)
    torch.testing.assert_close(small[0, :, 5:], torch.zeros(3, 3, 8), atol=0.1, rtol=0)


def test_event_frames_enter_as_their_mean():
    frames = torch.randint(0, 9, (4, 3, 2, 8, 8)).float()
    assert torch.equal(TeacherInput(None, None)(frames), (frames[0] + frames[1] + frames[2] + frames[3]) / 4)
    assert TeacherInput(None, None, size=16)(frames).shape == (3, 2, 16, 16)


@pytest.mark.parametrize("theirs", [((0.5,), (0.5,)), ((0.5,) * 3, (0.5,)), ((0.5,) * 4, (0.5,) * 4)])
def test_unlike_channels_are_refused(theirs):
    with pytest.raises(ValueError, match="means and deviations must have one number a channel"):
        TeacherInput((MEAN, STD), theirs)


def test_a_teacher_of_another_normalisation_predicts_as_it_did_in_its_training():
    network = tiny_nets.teacher(3).eval()
    theirs = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    teacher = Teacher(network, "here", None, *theirs, None)
    pictures = torch.rand(4, 3, 8, 8)
    ours, own = [
        (pictures - torch.tensor(m).view(3, 1, 1)) / torch.tensor(s).view(3, 1, 1) for m, s in ((MEAN, STD), theirs)
    ]
    torch.testing.assert_close(network(teacher.input_for(make_data())(ours)), network(own), rtol=1e-4, atol=1e-5)


def test_an_event_teacher_sees_the_mean_frame_as_it_is():
    teacher = make_teacher(tiny_nets.teacher(3, 2), make_data(event=True))
    frames = torch.rand(4, 3, 2, 8, 8)
    torch.testing.assert_close(teacher.input_for(make_data(event=True))(frames), frames.mean(0))


# --- where it comes from ---------------------------------------------------------------------------------------------


def written(folder, network, **about):
    return save_network(folder / "teacher.safetensors", network, tiny_nets.teacher, {"num_classes": 3}, **about)


def load(path, data=None):
    return load_teacher(str(path), data or make_data(), tiny_nets.teacher, {"num_classes": 3})


def test_a_file_of_ours_says_how_it_wants_its_input(tmp_path):
    network = tiny_nets.teacher(3)
    about = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "size": 16, "classes": CLASSES, "event": False}
    path = written(tmp_path, network, accuracy=91.5, **about)
    teacher = load_teacher(str(path), make_data(), tiny_nets.teacher, {"num_classes": 99})  # the file has its own
    assert (teacher.mean, teacher.std, teacher.size) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 16)
    assert teacher.accuracy == 91.5
    assert teacher.source == str(path)
    assert teacher.sha256 == file_hash(path)
    assert not teacher.network.training
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(teacher.network(images), network.eval()(images))


@pytest.mark.parametrize("names", [("dog", "cat", "eel"), ("cat", "dog"), ("cat", "dog", "fox")])
def test_other_classes_or_another_order_are_refused(tmp_path, names):
    path = written(tmp_path, tiny_nets.teacher(3), classes=names)
    words = rf"was trained on {len(names)} classes \({names[0]}, .*the data has 3 \(cat, dog, eel"
    with pytest.raises(ValueError, match=words):
        load(path)


def test_a_teacher_of_pictures_is_refused_for_event_frames_and_the_other_way_round(tmp_path):
    path = written(tmp_path, tiny_nets.teacher(3), classes=CLASSES, event=False)
    with pytest.raises(ValueError, match="was trained on pictures, the data are event frames"):
        load(path, make_data(event=True))
    path = written(tmp_path, tiny_nets.teacher(3), classes=CLASSES, event=True)
    with pytest.raises(ValueError, match="was trained on event frames, the data are pictures"):
        load(path)


@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"net": w, "acc": 90}, lambda w: {"state_dict": w}])
def test_a_state_dict_is_for_the_rows_own_network_and_normalisation(tmp_path, wrap):
    network = tiny_nets.teacher(3)
    torch.save(wrap(network.state_dict()), tmp_path / "teacher.pth")
    teacher = load(tmp_path / "teacher.pth")
    assert (teacher.mean, teacher.std, teacher.size, teacher.accuracy) == (MEAN, STD, None, None)
    assert teacher.sha256 == file_hash(tmp_path / "teacher.pth")
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(teacher.network(images), network.eval()(images))


def test_safetensors_without_json_are_a_state_dict(tmp_path):
    save_file(tiny_nets.teacher(3).state_dict(), tmp_path / "teacher.safetensors")
    assert load(tmp_path / "teacher.safetensors").mean == MEAN


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(tiny_nets.wide_teacher(3).state_dict(), tmp_path / "teacher.pth")
    cure = r"; it was read as tiny_nets:teacher: .* with --teacher-build MODULE:FUNCTION$"
    words = (
        r"teacher.pth does not fit ResNet: \d+ tensors are of another shape \(such as conv1.weight \[16, 3.*, not .*\)"
    )
    with pytest.raises(ValueError, match=words + cure):
        load(tmp_path / "teacher.pth")
    torch.save({"fc.weight": torch.zeros(3, 16), "extra": torch.zeros(1)}, tmp_path / "teacher.pth")
    words = r": \d+ tensors are missing \(such as conv1.weight\), 1 tensors are unknown \(such as extra\)"
    with pytest.raises(ValueError, match=words + cure):
        load(tmp_path / "teacher.pth")


def test_a_file_of_a_network_of_this_package_needs_no_builder_and_any_other_the_users(tmp_path):
    about = {"mean": MEAN, "std": STD, "size": 8, "classes": CLASSES, "event": False}
    path = save_network(tmp_path / "ours.safetensors", resnet20(3), resnet20, {"num_classes": 3}, **about)
    assert type(load_teacher(str(path), make_data(), nn.Linear, {}).network).__name__ == "ResNet"
    path = written(tmp_path, tiny_nets.teacher(3), **about)
    with pytest.raises(ValueError, match=r"build must be given: .*teacher.json names tiny_nets:teacher, which is no"):
        load_teacher(str(path), make_data(), nn.Linear, {})


@pytest.mark.parametrize("pair", [{"mean": MEAN}, {"std": STD}, {"mean": MEAN[:2], "std": STD}])
def test_mean_and_deviation_in_a_file_belong_together(tmp_path, pair):
    with pytest.raises(ValueError, match=r"teacher.safetensors: mean and std must have one number a channel each"):
        load(written(tmp_path, tiny_nets.teacher(3), **pair))


@pytest.mark.parametrize("mean", [(0.5, float("nan"), 0.5), (0.5, float("inf"), 0.5), (0.5,)])
@pytest.mark.parametrize("std", [(0.0, 0.2, 0.2), (-0.2, 0.2, 0.2), (1e-30, 0.2, 0.2), (float("nan"), 0.2, 0.2)])
def test_a_normalisation_without_meaning_is_refused(mean, std):
    good = ((0.5,) * 3, (0.2,) * 3)
    for pair in ((mean, good[1]), (good[0], std)):
        with pytest.raises(ValueError, match="means and deviations must|deviations must be at least"):
            TeacherInput(good, pair)
        with pytest.raises(ValueError, match="means and deviations must|deviations must be at least"):
            TeacherInput(pair, good)


@pytest.mark.parametrize(
    ("size", "error"), [(0, ValueError), (-32, ValueError), (10**9, ValueError), (2.5, TypeError), ("8", TypeError)]
)
def test_a_size_without_meaning_is_refused(size, error):
    with pytest.raises(error, match="size must be"):
        TeacherInput(None, None, size)


def test_wrong_files_say_what_they_are(tmp_path):
    student = written(tmp_path, tiny_nets.teacher(3), time_steps=4)
    with pytest.raises(ValueError, match=r"--teacher: .*teacher.safetensors is a student \(spiking, T=4\)"):
        load(student)
    student.with_suffix(".json").write_text("{")
    with pytest.raises(ValueError, match=r"teacher.json is cut off"):
        load(student)
    student.with_suffix(".json").write_text("{}")
    with pytest.raises(ValueError, match=r"teacher.json does not say how to build the network"):
        load(student)
    path = tmp_path / "teacher.pth"
    torch.save(tiny_nets.teacher(10).state_dict(), path)
    with pytest.raises(ValueError, match=r"teacher.pth has 10 classes, the data 3: pass a teacher of these classes"):
        load(path)
    torch.save(tiny_nets.teacher(3), path)
    with pytest.raises(ValueError, match=r"it holds Python objects.; save network.state_dict"):
        load(path)
    torch.save(tiny_nets.teacher(3).state_dict(), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"teacher.pth cannot be read as tensors \(cut off\?\).*$"):
        load(path)
    path.write_text("hi\n")  # stumbles inside the unpickler, with a bare KeyError
    with pytest.raises(ValueError, match=r"\(cut off\?\).*; it must be a file of torch.save\(network.state_dict"):
        load(path)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(student.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"cut.safetensors cannot be read as tensors \(cut off\?\).*$"):
        load(cut)


def test_timms_weights_that_cannot_be_fetched(monkeypatch):
    whole = timm.create_model

    def offline(name, pretrained=False, **options):
        if pretrained:
            raise ConnectionError("no route\nto host")
        return whole(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    words = r"timm:test_resnet: its weights cannot be fetched \(ConnectionError: no route\); .* --teacher PATH$"
    with pytest.raises(ValueError, match=words):
        load("timm:test_resnet")
    with pytest.raises(ValueError, match=words):
        timm_network("test_resnet", 3, pretrained=True)


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="--teacher: there is no file .*absent.pth; pass a path or timm:NAME"):
        load(tmp_path / "absent.pth")
    (tmp_path / "teacher.safetensors").touch()
    with pytest.raises(
        FileNotFoundError, match="--teacher: .* is a folder: name one in it, such as .*/teacher.safetens"
    ):
        load(tmp_path)


def test_networks_of_timm():
    network = timm_network("test_resnet", 5, 2)
    assert network(torch.rand(2, 2, 32, 32)).shape == (2, 5)
    with pytest.raises(ValueError, match=r"timm has no network 'resnet1234'; did you mean .*resnet34"):
        timm_network("resnet1234", 5)
    with pytest.raises(ValueError, match=r"timm has no network 'qqqqqq'$"):
        timm_network("qqqqqq", 5)


def test_timms_weights_are_asked_for_by_a_known_name_on_pictures_only():
    with pytest.raises(ValueError, match="timm has no network 'no_such_net'"):
        load("timm:no_such_net")
    with pytest.raises(ValueError, match="these are event frames with two: train a teacher on them first"):
        load("timm:test_resnet", make_data(event=True))


def timm_folder(folder, classes: int) -> nn.Module:
    """A pretrained network of timm on disk."""
    network = timm_network("test_resnet", classes).eval()
    config = {"input_size": [3, 64, 64], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "num_classes": classes}
    about = {"architecture": "test_resnet", "num_classes": classes, "pretrained_cfg": config}
    (folder / "config.json").write_text(json.dumps(about))
    save_file(network.state_dict(), folder / "model.safetensors")
    return network


def test_timms_weights_come_with_their_own_normalisation(tmp_path):
    network = timm_folder(tmp_path, 3)
    teacher = load(f"timm:local-dir:{tmp_path}")
    assert (teacher.mean, teacher.std, teacher.size) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 64)
    assert teacher.source == f"timm:local-dir:{tmp_path}"
    assert teacher.sha256 is None
    assert not teacher.network.training
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(teacher.network(images), network(images))


def test_timms_weights_of_other_classes_are_refused(tmp_path):
    timm_folder(tmp_path, 7)
    with pytest.raises(ValueError, match="has 7 classes and the data 3: fine-tune it first"):
        load(f"timm:local-dir:{tmp_path}")


# --- whether it knows anything ---------------------------------------------------------------------------------------


class Brightest(nn.Module):
    """Says which channel of the picture is brightest, and keeps what it was shown."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.seen = []

    def forward(self, images):
        self.seen.append(images)
        return self.scale * images.mean((2, 3))


def colours(channels, labels) -> Data:
    images = torch.zeros(len(labels), 3, 8, 8)
    images[torch.arange(len(labels)), list(channels)] = 1
    return make_data(images, labels)


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (4, 0), (7, 0), (64, 0), (3, 1)])
def test_the_accuracy_is_counted_exactly(batch_size, workers):
    data = colours((0, 1, 2, 0, 1, 2, 0), (0, 1, 2, 0, 1, 0, 1))
    found = check_teacher(make_teacher(Brightest(), data), data, batch_size=batch_size, workers=workers, refuse=False)
    assert found == pytest.approx(100 * 5 / 7)


def test_only_so_many_batches_are_looked_at():
    data = colours((0, 1, 2, 0), (0, 1, 0, 1))
    teacher = make_teacher(Brightest(), data)
    assert check_teacher(teacher, data, batch_size=2, limit=1) == 100
    assert len(teacher.network.seen) == 1


@pytest.mark.parametrize(
    ("error", "said"), [(AssertionError("Input height (8)\nis no 224"), "Input height"), (KeyError(), "KeyError")]
)
def test_a_teacher_that_refuses_a_size_is_told_of_the_flag(error, said):
    class Refuses(nn.Module):
        def forward(self, images):
            raise error

    data = colours((0, 1, 2, 0), (0, 1, 0, 1))
    words = rf"^the teacher here cannot take inputs .*: {said}.* in its own forward, .*, or say with --teacher-size"
    with pytest.raises(ValueError, match=words) as caught:
        check_teacher(make_teacher(Refuses(), data), data, batch_size=2)
    assert "\n" not in str(caught.value)


def test_a_teacher_of_other_channels_names_its_layer():
    frames = make_data(torch.rand(3, 4, 2, 8, 8), torch.tensor([0, 1, 2]), event=True)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    words = (
        r"^the teacher here cannot take inputs \(3, 2, 8, 8\): .*3 channels.* in its module '0' \(Conv2d\), which got"
    )
    with pytest.raises(ValueError, match=words) as caught:
        check_teacher(Teacher(network, "here", None, None, None, None), frames, batch_size=3)
    assert str(caught.value).endswith(
        "; pass one that was trained on such data (Conv2d is built for in_channels=3 and got 2)"
    )


def test_a_spiking_network_as_the_teacher_of_a_row_is_named():
    network = tiny_nets.student(num_classes=3)
    with pytest.raises(
        ValueError, match="it has spiking neurons, and the teacher of a row is an ANN, which takes images"
    ):
        check_teacher(
            Teacher(network, "here", None, None, None, None), colours((0, 1, 2, 0), (0, 1, 0, 1)), batch_size=2
        )


def test_each_image_is_seen_as_the_teacher_was_trained():
    data = colours((0, 1, 2), (0, 1, 2))
    teacher = Teacher(Brightest(), "here", None, (0.0,) * 3, (1.0,) * 3, 16)
    check_teacher(teacher, data, batch_size=3, refuse=False)
    (seen,) = teacher.network.seen
    assert torch.equal(seen, teacher.input_for(data)(torch.stack([image for image, _ in data.test])))
    assert seen.shape == (3, 3, 16, 16)
    assert not seen.requires_grad


def test_event_frames_are_seen_as_their_mean():
    frames = torch.zeros(2, 4, 2, 8, 8)
    frames[0, 3, 0], frames[1, 1, 1] = 4, 4
    data = make_data(frames, (0, 1), classes=("left", "right"), event=True)
    teacher = make_teacher(Brightest(), data)
    assert check_teacher(teacher, data, batch_size=2) == 100
    assert torch.equal(teacher.network.seen[0], frames.mean(1))


@pytest.mark.parametrize(("labels", "percent"), [((1, 2, 0, 0), "25.00"), ((0, 1, 0, 0), "50.00")])
def test_guessing_is_refused_unless_it_is_wanted(labels, percent):
    data = colours((0, 1, 2, 0), labels) if percent == "25.00" else colours((0, 1, 1, 2), labels)
    teacher = make_teacher(Brightest(), data)
    share, error = ("50.00", "25.00") if percent == "25.00" else ("75.00", "21.65")
    words = (
        rf"the teacher here gets {percent} % of 4 test images, hardly more than guessing \(the most frequent class is "
        rf"{share} % of them, standard error {error} %\)"
    )
    with pytest.raises(ValueError, match=words):
        check_teacher(teacher, data, batch_size=4)
    assert check_teacher(teacher, data, batch_size=4, refuse=False) == float(percent)


@pytest.mark.parametrize(
    ("given", "event", "names", "leaves_out"),
    [
        ({}, False, ["--teacher-epochs", "--teacher-lr"], ["--teacher-mean", "--val-images"]),
        ({"teacher": "t.pth"}, False, ["is it trained", "--teacher-mean", "--teacher-size"], ["--teacher-epochs"]),
        ({"teacher": "t.pth"}, True, ["is it trained", "--teacher-size"], ["--teacher-mean", "--teacher-epochs"]),
        ({"teacher": "timm:a"}, False, ["--model timm:a --pretrained"], ["--teacher-epochs", "--teacher-mean"]),
        ({"val_images": 0.1}, False, ["a larger --val-images"], ["--test-images"]),
        ({"test_images": 9}, False, ["a larger --test-images"], ["--val-images"]),
    ],
)
def test_a_teacher_that_guesses_is_met_with_flags_that_do_something_for_it(given, event, names, leaves_out):
    data = make_data(event=event)
    data = dataclasses.replace(data, validation=data.test if "val_images" in given else None)
    said = teachers.advice_on(Run(**given), data)
    assert all(words in said for words in [*names, "--any-teacher goes on"]), said
    assert not any(words in said for words in leaves_out), said


def test_a_head_of_other_classes_is_refused():
    data = make_data()
    with pytest.raises(ValueError, match=r"the teacher here returned \(3, 5\) for 3 images of 3 classes"):
        check_teacher(make_teacher(tiny_nets.teacher(5), data), data, batch_size=8)


def test_labels_may_be_tensors():
    images = torch.zeros(3, 3, 8, 8)
    images[torch.arange(3), torch.arange(3)] = 1
    samples = TensorDataset(images, torch.arange(3))
    data = Data("folder", samples, samples, CLASSES, 3, 8, MEAN, STD, False, "folders", "0" * 64, True)
    assert check_teacher(make_teacher(Brightest(), data), data, batch_size=2) == 100


class Repeats(nn.Module):
    """Says the class that is written into the picture, also as a tuple or an object as other libraries return it."""

    def __init__(self, classes, wrap=lambda logits: logits):
        super().__init__()
        self.classes, self.wrap = classes, wrap

    def forward(self, images):
        return self.wrap(F.one_hot(images[:, 0, 0, 0].long(), self.classes).float())


def said(answers, labels, classes=2) -> Data:
    """Pictures into which the answers are written, with these labels."""
    images = torch.tensor(answers).float().view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    data = make_data(images, list(labels), classes=tuple(map(str, range(classes))))
    return dataclasses.replace(data, mean=None, std=None)


@pytest.mark.parametrize(
    ("labels", "right", "accepted"),
    [
        ([0, 1] * 50, 70, True),
        ([0, 1] * 50, 60, False),
        ([0] * 90 + [1] * 10, 90, False),
        ([0] * 90 + [1] * 10, 97, True),
        ([0, 1, 2, 3] * 100, 160, True),
        ([0, 1, 2, 3] * 100, 110, False),
        ([0, 1], 2, True),
        ([1] * 20, 20, False),
    ],
)
def test_a_teacher_has_to_beat_the_most_frequent_class_by_more_than_luck(labels, right, accepted):
    classes = 4 if 3 in labels else 2
    answers = [label if row < right else (label + 1) % classes for row, label in enumerate(labels)]
    data = said(answers, labels, classes)
    teacher = make_teacher(Repeats(classes), data)
    if accepted:
        assert check_teacher(teacher, data, batch_size=16) == pytest.approx(100 * right / len(labels))
    else:
        with pytest.raises(ValueError, match="hardly more than guessing"):
            check_teacher(teacher, data, batch_size=16)


@pytest.mark.parametrize(
    "wrap",
    [lambda logits: (logits, None), lambda logits: [logits], lambda logits: types.SimpleNamespace(logits=logits)],
    ids=["tuple", "list", "object"],
)
def test_a_teachers_output_is_read_as_the_distiller_reads_it(wrap):
    data = said([0, 1] * 5, [0, 1] * 5)
    assert check_teacher(make_teacher(Repeats(2, wrap), data), data, batch_size=4) == 100


def test_an_output_without_logits_is_refused_in_one_line():
    data = said([0, 1], [0, 1])
    with pytest.raises(TypeError, match="the teacher returned dict, expected logits"):
        check_teacher(make_teacher(Repeats(2, lambda logits: {"out": logits}), data), data, batch_size=2)


@pytest.mark.parametrize("refuse", [True, False])
def test_nan_is_no_wrong_answer(refuse):
    data = said([0, 1] * 5, [0, 1] * 5)
    network = Repeats(2, lambda logits: logits.masked_fill(logits == 0, torch.nan))
    with pytest.raises(ValueError, match="the teacher here returned logits that are NaN or inf"):
        check_teacher(make_teacher(network, data), data, batch_size=2, refuse=refuse)
    broken = make_data(torch.rand(3, 3, 8, 8).index_fill(0, torch.tensor([2]), torch.nan))
    with pytest.raises(ValueError, match="the test set holds NaN or inf, which would count as wrong answers"):
        check_teacher(make_teacher(Brightest(), broken), broken, batch_size=2, refuse=refuse)


def test_an_empty_test_set_is_said():
    data = make_data(torch.rand(0, 3, 8, 8), ())
    with pytest.raises(ValueError, match="the test set of folder is empty"):
        check_teacher(make_teacher(Brightest(), data), data, batch_size=2)
