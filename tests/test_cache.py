"""The teacher cache keeps what the teacher says of the images that the student sees, and reads nothing else."""

import os
import pickle
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_nets
import torch
from conftest import tiny_student, tiny_teacher
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from processes import on_processes
from timm.data import Mixup
from tiny_data import write_cifar, write_event_folder, write_image_folder
from torch import distributed, nn

from spikingjelly_ckd import ATLoss, CKDDistiller, Distiller, E2KDLoss, KDLoss, SAMDLoss
from spikingjelly_ckd.methods.signals import TeacherOutput
from spikingjelly_ckd.recipes import files
from spikingjelly_ckd.recipes.cache import CachedData, TeacherCache, is_stale, key
from spikingjelly_ckd.recipes.data import DataOptions, image_folder
from spikingjelly_ckd.recipes.data.loading import ReproducibleDataModule, seed_all, seeded
from spikingjelly_ckd.recipes.export import save_network
from spikingjelly_ckd.recipes.files import locked
from spikingjelly_ckd.recipes.records import read_record
from spikingjelly_ckd.recipes.row import run_row
from spikingjelly_ckd.recipes.training import DistillationModule, StepSeeds

pytestmark = pytest.mark.tools

EXAMPLES = Path(__file__).parents[1] / "examples"
OPTIONS = DataOptions(size=16, crop_padding=2, flip=True, erase=0.5)
BATCH = 8


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_image_folder(tmp_path_factory.mktemp("tree"), classes=5, per_class_train=8, per_class_test=2, size=16)


@pytest.fixture
def data(tree):
    return image_folder(tree, OPTIONS)


def make_distiller(seed=0, **options) -> CKDDistiller:
    torch.manual_seed(seed)
    teacher, student = tiny_teacher(), tiny_student()
    teacher[-1].weight.data.abs_()  # an untrained teacher may see no positive evidence anywhere
    layers = {"teacher_layer": "4", "student_layer": "5"}
    return CKDDistiller(teacher, student, **{"time_steps": 2, **layers, **options})


def filled(root, data, views=2, distiller=None, **options) -> TeacherCache:
    cache = TeacherCache(root, distiller or make_distiller(), data, views=views, **options)
    cache.fill(batch_size=BATCH)
    return cache


def batches_of(loaders, epoch=0):
    loader = loaders.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_losses_from_the_cache_are_those_of_the_live_teacher(tmp_path, data):
    distiller = make_distiller(variant="released")  # maps normalised over the batch
    loaders = CachedData(filled(tmp_path, data, distiller=distiller), batch_size=BATCH)
    optimizer = torch.optim.SGD(distiller.parameters(), 0.1)
    for epoch in (0, 1):
        for step, (images, labels, known) in enumerate(batches_of(loaders, epoch)):
            outputs = []
            for given in (None, TeacherOutput(known["logits"], known["maps"])):
                seed_all(epoch, step)  # the noise of NLD
                outputs.append(distiller(images, labels, given))
            live, cached = outputs
            for name, value in live.terms.items():
                torch.testing.assert_close(cached.terms[name], value, rtol=2e-3, atol=1e-5)
            torch.testing.assert_close(cached.maps["teacher"], live.maps["teacher"], rtol=0, atol=2e-3)
            optimizer.zero_grad()
            live.loss.backward()
            optimizer.step()


def test_maps_far_below_what_fp16_holds_are_kept(tmp_path, data):
    distiller = make_distiller()
    with torch.no_grad():
        distiller.teacher[-1].weight.mul_(1e-8)  # and Grad-CAM with it
    known = filled(tmp_path, data, views=1, distiller=distiller).read()[0, 3][2]
    image, label = data.train[3]
    with seeded(0, 0, 3):
        image, label = data.train[3]
    live = distiller.run_teacher(image[None], torch.tensor([label])).class_maps["samd"][0]
    assert 0 < live.max() < 6e-8
    torch.testing.assert_close(known["maps"]["samd"], live, rtol=0, atol=1e-3 * live.max().item())


class Watched(nn.Module):
    """Lets the teacher's input through, keeps it, and fails at the call ``fails_at``."""

    def __init__(self, fails_at=None):
        super().__init__()
        self.seen = []
        self.fails_at = fails_at

    def forward(self, images):
        if len(self.seen) == self.fails_at:
            raise KeyboardInterrupt
        self.seen.append(images.clone())
        return images


def test_the_student_sees_the_images_that_the_teacher_saw(tmp_path, data):
    watched = Watched()
    cache = TeacherCache(tmp_path, make_distiller(teacher_input=watched), data, views=2, seed=3)
    watched.seen.clear()
    cache.fill(batch_size=BATCH)
    seen = torch.cat(watched.seen).view(2, len(data.train), 3, 16, 16)
    assert not torch.equal(seen[0], seen[1])
    for epoch in (0, 1, 2):
        for images, _, _ in batches_of(CachedData(cache, batch_size=BATCH), epoch):
            for image in images:
                assert (seen[epoch % 2] == image).flatten(1).all(1).any()
    samples = cache.read()
    for epoch, view in ((0, 0), (1, 1), (2, 0), (5, 1)):
        assert torch.equal(samples[epoch, 7][0], seen[view, 7])


def test_views_alternate_by_epoch_each_with_what_the_teacher_says_of_it(tmp_path, data):
    cache = filled(tmp_path, data, views=2)
    samples = cache.read()
    for epoch in range(4):
        image, _, known = samples[epoch, 11]
        assert torch.equal(image, samples[epoch + 2, 11][0])
        assert torch.equal(known["logits"], samples[epoch + 2, 11][2]["logits"])
        assert not torch.equal(image, samples[epoch + 1, 11][0])
        torch.testing.assert_close(known["logits"], cache.distiller.teacher(image[None])[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_without_a_cache_as_long_as_there_are_views(tmp_path, data, workers):
    """Order and augmentation, bit for bit; so with workers they are those of none."""
    cache = filled(tmp_path, data, views=2, seed=4)
    plain, cached = (
        ReproducibleDataModule(data, batch_size=BATCH, seed=4),
        CachedData(cache, batch_size=BATCH, workers=workers),
    )
    for epoch in (0, 1):
        pairs = zip(batches_of(plain, epoch), batches_of(cached, epoch), strict=True)
        for (images, labels), (others, their_labels, known) in pairs:
            assert torch.equal(images, others)
            assert torch.equal(labels, their_labels)
            assert set(known) == {"logits", "maps"}
    third = [batch[1].tolist() for batch in batches_of(cached, 2)]
    assert third == [batch[1].tolist() for batch in batches_of(plain, 2)], "the order goes on"
    assert third != [batch[1].tolist() for batch in batches_of(cached, 0)]


def test_a_loss_on_logits_alone_keeps_no_map(tmp_path, data):
    distiller = Distiller(tiny_teacher(), tiny_student(), {"kd": (KDLoss(), 1.0)}, time_steps=2)
    cache = filled(tmp_path, data, views=1, distiller=distiller)
    assert cache.row_format.dtype.itemsize == 2 * 5
    assert cache.path(0).stat().st_size - cache.bytes_per_view < 512
    images, labels, known = batches_of(CachedData(cache, batch_size=BATCH))[0]
    assert known["maps"] == {}
    assert distiller(images, labels, TeacherOutput(known["logits"], known["maps"])).loss.isfinite()


def test_maps_of_two_losses_do_not_mix(tmp_path, data):
    teacher, student = make_distiller().teacher, tiny_student()
    losses = {"samd": (SAMDLoss(target_class="label"), 1.0), "e2kd": (E2KDLoss(), 1.0)}
    layers = {"samd": ("5", "4"), "e2kd": ("5", "1")}
    folders = set()
    for names in (list(losses), list(losses)[::-1]):
        given = {name: losses[name] for name in names}
        distiller = Distiller(teacher, student, given, layers=layers, time_steps=2)
        cache = filled(tmp_path, data, views=1, distiller=distiller)
        folders.add(cache.folder)
        image, label, known = cache.read()[0, 0]
        live = distiller.run_teacher(image[None], torch.tensor([label]))
        for name, values in live.class_maps.items():
            torch.testing.assert_close(known["maps"][name], values[0], rtol=0, atol=1e-3 * values.max().item())
    assert len(folders) == 1


def test_event_frames(tmp_path):
    write_event_folder(tmp_path / "events", time_steps=3, classes=5, per_class_train=2, per_class_test=1, size=16)
    data = image_folder(tmp_path / "events", DataOptions(size=16, time_steps=3, nda=True))
    torch.manual_seed(0)
    teacher = tiny_teacher(channels=2)
    teacher[-1].weight.data.abs_()
    options = {"time_steps": 3, "batch_first": True, "teacher_layer": "4", "student_layer": "5"}
    distiller = CKDDistiller(teacher, tiny_student(channels=2), **options)
    cache = filled(tmp_path / "cache", data, distiller=distiller)
    frames, label, known = cache.read()[0, 0]
    live = distiller.run_teacher(frames[None], torch.tensor([label]))
    torch.testing.assert_close(known["logits"], live.logits[0], rtol=1e-3, atol=1e-3)
    fit(tmp_path, cache, epochs=1, batch_size=5)


# --- what the files belong to ----------------------------------------------------------------------------------------


def other_teacher():
    distiller = make_distiller()
    distiller.teacher[0].weight.data[0, 0, 0, 0] += 1e-3
    return distiller


OTHERS = {
    "teacher": (other_teacher, {}, {}),
    "teacher input": (lambda: make_distiller(teacher_input=nn.Upsample(20)), {}, {}),
    "layer": (lambda: make_distiller(teacher_layer="1"), {}, {}),
    "class of the map": (lambda: make_distiller(target_class="label"), {}, {}),
    "pooling of the map": (lambda: make_distiller(variant="released"), {}, {}),
    "images": (make_distiller, {"train_images": 20}, {}),
    "crop": (make_distiller, {"crop_padding": 3}, {}),
    "flip": (make_distiller, {"flip": False}, {}),
    "size": (make_distiller, {"size": 20}, {}),
    "seed": (make_distiller, {}, {"seed": 1}),
}


@pytest.mark.parametrize("what", OTHERS)
def test_whatever_the_answers_depend_on_makes_another_folder(tmp_path, tree, data, what):
    make, changes, options = OTHERS[what]
    first = TeacherCache(tmp_path, make_distiller(), data)
    assert first.folder == TeacherCache(tmp_path, make_distiller(), image_folder(tree, OPTIONS)).folder
    other = TeacherCache(tmp_path, make(), image_folder(tree, replace(OPTIONS, **changes)), **options)
    assert other.folder != first.folder


def test_what_the_answers_do_not_depend_on_shares_a_folder(tmp_path, data):
    first = filled(tmp_path, data)
    options = {"temperature": 4.0, "map_temperature": 1.0, "beta": "auto", "gamma": 0.1, "time_steps": 3}
    distiller = make_distiller(**options)
    nn.init.normal_(distiller.student[0].weight)
    other = TeacherCache(tmp_path, distiller, data, views=5)
    assert other.folder == first.folder
    assert other.fill(batch_size=BATCH) == [2, 3, 4]
    assert '"transform": "Compose(' in (first.folder / "meta.json").read_text()


def test_a_different_cam_method_makes_another_folder(tmp_path, data):
    teacher, student = make_distiller().teacher, tiny_student()
    layers = {"samd": ("5", "4")}
    folders = {
        TeacherCache(
            tmp_path,
            Distiller(teacher, student, {"samd": (SAMDLoss(evidence=how), 1.0)}, layers=layers, time_steps=2),
            data,
        ).folder
        for how in ("grad_cam", "grad_cam", "hires_cam")
    }
    assert len(folders) == 2


def test_a_cache_in_another_format_is_left_alone_and_filled_again(tmp_path, data, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr(key, "FORMAT", 0)
        old = filled(tmp_path, data)
    np.save(old.path(1), np.zeros(3))  # rows of another form
    before = {path.name: path.read_bytes() for path in old.folder.iterdir()}
    assert set(before) == {"meta.json", "view0000.npy", "view0001.npy"}
    cache = TeacherCache(tmp_path, make_distiller(), data, views=2)
    assert cache.folder != old.folder
    _, loaders = fit(tmp_path, cache, epochs=2)
    assert loaders.filled == [0, 1]
    assert {path.name: path.read_bytes() for path in old.folder.iterdir()} == before


def test_a_folder_of_another_cache_is_refused(tmp_path, data):
    cache = filled(tmp_path, data)
    meta = cache.folder / "meta.json"
    meta.write_text(meta.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(ValueError, match=r"meta\.json is not that of the cache it lies in; delete the folder"):
        TeacherCache(tmp_path, make_distiller(), data)


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_fill_that_is_cut_off_leaves_whole_views_and_goes_on(tmp_path, data):
    whole = filled(tmp_path / "whole", data, views=3, distiller=make_distiller(teacher_input=Watched()))
    watched = Watched()
    cache = TeacherCache(tmp_path / "cut", make_distiller(teacher_input=watched), data, views=3)
    watched.fails_at = len(watched.seen) + 7  # five batches a view
    with pytest.raises(KeyboardInterrupt):
        cache.fill(batch_size=BATCH)
    assert sorted(path.name for path in cache.folder.iterdir()) == ["meta.json", "view0000.npy"]
    with pytest.raises(RuntimeError, match=r"view0001\.npy is not there: TeacherCache\.fill makes it"):
        cache.read()
    written = cache.path(0).stat().st_mtime_ns
    killed = cache.folder / "view0001.npy.a.part"
    killed.write_bytes(b"half")
    watched.fails_at = None
    assert cache.fill(batch_size=5) == [1, 2]
    assert cache.fill(batch_size=BATCH) == []
    assert cache.path(0).stat().st_mtime_ns == written
    assert not killed.exists(), "the folder is locked while it is filled, so nobody is writing it"
    for view in range(3):
        mine, theirs = (np.load(each.path(view)) for each in (cache, whole))
        for name in mine.dtype.names:
            np.testing.assert_allclose(mine[name], theirs[name], rtol=2e-3, atol=1e-3)


def test_no_view_is_filled_for_an_epoch_that_the_run_does_not_have(tmp_path, data):
    cache = TeacherCache(tmp_path, make_distiller(), data, views=5)
    _, loaders = fit(tmp_path, cache, epochs=2)
    assert loaders.filled == [0, 1]
    assert len(list(cache.folder.glob("view*"))) == 2
    assert fit(tmp_path, cache, epochs=1)[1].filled == []


def test_damaged_files_are_refused(tmp_path, data):
    cache = filled(tmp_path, data)
    content = cache.path(1).read_bytes()
    cache.path(1).write_bytes(content[:-10])
    with pytest.raises(ValueError, match=r"view0001\.npy is damaged .*; delete it, and it will be filled again"):
        cache.read()
    np.save(cache.path(1), np.zeros(3))
    with pytest.raises(ValueError, match="its rows are not those of this cache; delete it, and it will be"):
        cache.read()


def test_a_view_that_is_cut_off_is_set_aside_and_filled_again(tmp_path, data, capsys):
    cache = filled(tmp_path, data)
    content = cache.path(1).read_bytes()
    cache.path(1).write_bytes(content[:-10])
    assert cache.fill(batch_size=BATCH) == [1]
    assert cache.path(1).read_bytes() == content
    assert "view0001.npy is damaged: it has not the size that it should have; it was set" in capsys.readouterr().err
    assert (cache.folder / "view0001.npy.damaged").read_bytes() == content[:-10]


def test_two_that_fill_one_folder_take_turns(tmp_path, data, monkeypatch):
    first, second = (TeacherCache(tmp_path, make_distiller(), data, views=2) for _ in range(2))
    first.folder.mkdir()
    with locked(first.folder):
        monkeypatch.setattr(files.time, "sleep", lambda _: (_ for _ in ()).throw(TimeoutError))
        with pytest.raises(TimeoutError):
            second.fill(batch_size=BATCH)
    assert first.fill(batch_size=BATCH) == [0, 1]
    assert second.fill(batch_size=BATCH) == []


def test_a_full_disk_is_known_before_anything_is_written(tmp_path, data):
    class Huge(TeacherCache):
        bytes_per_view = 10**18

    with pytest.raises(OSError, match=r"needs 2000000000\.00 GB for 2 views and .* has \d+\.\d\d GB left; pass fewer"):
        Huge(tmp_path, make_distiller(), data, views=2).fill(batch_size=BATCH)
    assert not list(tmp_path.glob("*/*"))


@pytest.mark.parametrize(
    ("scale", "words"),
    [(1e6, r"hold NaN, inf or numbers beyond fp16 \(65504\)"), (float("nan"), "the teacher's logits hold NaN or inf")],
)
def test_answers_that_fp16_cannot_hold_are_refused(tmp_path, data, scale, words):
    distiller = make_distiller()
    cache = TeacherCache(tmp_path, distiller, data)
    distiller.teacher[-1].weight.data.mul_(scale)
    with pytest.raises(ValueError, match=words):
        cache.fill(batch_size=BATCH)
    assert [path.name for path in cache.folder.iterdir()] == ["meta.json"]


def test_a_worker_is_sent_no_answers(tmp_path, data):
    samples = filled(tmp_path, data).read()
    before = len(pickle.dumps(samples))
    first = samples[1, 5]
    sent = pickle.dumps(samples)
    assert len(sent) == before
    assert torch.equal(pickle.loads(sent)[1, 5][2]["logits"], first[2]["logits"])


# --- training --------------------------------------------------------------------------------------------------------


def contents(module: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in module.state_dict().items()}


def fit(folder, cache, epochs, *, workers=0, batch_size=BATCH, callbacks=(), resume=None, mixup=None, **options):
    trainer = Trainer(
        **{"accelerator": "cpu", "devices": 1, **options},
        **{"max_epochs": epochs, "logger": False, "default_root_dir": folder, "use_distributed_sampler": False},
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(item, ModelCheckpoint) for item in callbacks),
        callbacks=[StepSeeds(cache.seed), *callbacks],
    )
    module = DistillationModule(cache.distiller, lr=0.05, preflight=epochs > 2, mixup=mixup)
    loaders = CachedData(cache, batch_size=batch_size, workers=workers)
    trainer.fit(module, datamodule=loaders, ckpt_path=resume, weights_only=True)
    return trainer, loaders


class Stops(Callback):
    """In the middle of the second epoch."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (1, 2):
            raise ArithmeticError("stop")


@pytest.mark.slow
def test_a_run_that_was_cut_off_and_resumed_is_as_if_never_cut_off(tmp_path, data):
    whole = TeacherCache(tmp_path / "cache", make_distiller(), data, views=2)
    trainer, loaders = fit(tmp_path, whole, 3)
    assert loaders.filled == [0, 1]
    assert {"train_samd", "train_nld", "test_acc1"} <= set(trainer.callback_metrics)
    cut = TeacherCache(tmp_path / "cache", make_distiller(), data, views=2)
    before = contents(cut.distiller.student)
    keeps = {"callbacks": [ModelCheckpoint(tmp_path, filename="last"), Stops()]}
    with pytest.raises(ArithmeticError):
        fit(tmp_path, cut, 3, **keeps)
    rest = TeacherCache(tmp_path / "cache", make_distiller(), data, views=2)
    fit(tmp_path, rest, 3, workers=1, resume=tmp_path / "last.ckpt")
    assert contents(rest.distiller.student) == contents(whole.distiller.student) != before
    assert contents(rest.distiller.teacher) == contents(make_distiller().teacher)


@pytest.mark.parametrize("field", ["logits", "map0"])
def test_a_value_that_was_tampered_with_stops_the_training(tmp_path, data, field):
    cache = filled(tmp_path, data, views=1)
    rows = np.load(cache.path(0))
    rows[field] = rows[field][::-1].copy() + 0.1
    np.save(cache.path(0), rows)
    before = contents(cache.distiller.student)
    with pytest.raises(RuntimeError, match="the teacher's output for an image differs from the teacher cache"):
        fit(tmp_path, cache, 1)
    trained = contents(cache.distiller.student)
    assert {name for name in before if before[name] != trained[name]} <= set(
        dict(cache.distiller.student.named_buffers())
    )


def test_a_view_of_zeros_is_the_caches_fault_and_not_the_teachers(tmp_path, data):
    cache = filled(tmp_path, data, views=1)
    np.save(cache.path(0), np.zeros_like(np.load(cache.path(0))))
    with pytest.raises(RuntimeError, match="a file of the cache was damaged") as raised:
        fit(tmp_path, cache, 1)
    assert str(cache.folder) in str(raised.value)


def test_the_description_of_a_whole_cache_is_written_again(tmp_path, data):
    cache = filled(tmp_path, data, views=1)
    before = (cache.folder / "meta.json").read_bytes()
    view = cache.path(0).stat()
    (cache.folder / "meta.json").unlink()
    assert cache.fill(batch_size=BATCH) == []
    assert (cache.folder / "meta.json").read_bytes() == before
    assert cache.path(0).stat().st_mtime_ns == view.st_mtime_ns, "no view was written anew"


def test_a_teacher_that_changed_stops_the_training(tmp_path, data):
    cache = filled(tmp_path, data, views=1)
    cache.distiller.teacher[-1].bias.data += 0.2
    with pytest.raises(RuntimeError, match="the teacher was changed after the cache was opened") as raised:
        fit(tmp_path, cache, 1)
    assert str(cache.folder) in str(raised.value), "what is to be deleted is named"


def test_a_teacher_that_says_nan_stops_the_training(tmp_path, data):
    cache = filled(tmp_path / "cache", data)
    with torch.no_grad():
        cache.distiller.teacher[-1].weight.fill_(torch.nan)
    distiller = cache.distiller
    images, labels, known = batches_of(CachedData(cache, batch_size=BATCH))[0]
    distiller.check = False  # the distiller itself would say so first
    assert is_stale(distiller, images, labels, TeacherOutput(known["logits"], known["maps"]), 0)


def test_half_precision_in_training_does_not_look_like_a_change(tmp_path, data):
    cache = TeacherCache(tmp_path, make_distiller(), data)
    trainer, _ = fit(tmp_path, cache, 1, precision="bf16-mixed")
    assert trainer.global_step == 5


def test_a_tie_of_two_classes_is_no_change(data):
    distiller = make_distiller()
    images, labels = torch.stack([data.test[0][0]]), torch.tensor([0])
    known = distiller.run_teacher(images, labels)
    assert not is_stale(distiller, images, labels, known, 0)
    other = {"samd": known.class_maps["samd"].flip(-1) + 1}
    assert is_stale(distiller, images, labels, TeacherOutput(known.logits, other), 0)
    tied = known.logits.clone()
    first, second = tied[0].topk(2).indices
    with torch.no_grad():  # the teacher is all but undecided, and rounding decides otherwise
        distiller.teacher[-1].bias[second] += tied[0, first] - tied[0, second] - 1e-4
    tied[0, second] = tied[0, first] + 1e-3
    assert not is_stale(distiller, images, labels, TeacherOutput(tied, other), 0)


def one_of_two(rank, port, folder, tree, found):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    torch.set_num_threads(1)
    cache = TeacherCache(folder / "cache", make_distiller(), image_folder(tree, OPTIONS), views=2)
    _, loaders = fit(folder, cache, 2, batch_size=BATCH // 2, devices=2, strategy="ddp")
    found[rank] = loaders.filled, contents(cache.distiller.student)
    distributed.destroy_process_group()


@pytest.mark.slow
def test_one_of_two_processes_fills_and_both_read(tmp_path, tree):
    (found,) = on_processes(one_of_two, 2, tmp_path, tree)
    (filled_first, first), (filled_other, other) = found[0], found[1]
    assert (filled_first, filled_other) == ([0, 1], [])
    weights = [name for name in first if "running" not in name and "num_batches" not in name]
    assert all(first[name] == other[name] for name in weights)


# --- what is refused -------------------------------------------------------------------------------------------------


class NoParameters(nn.Module):
    def forward(self, images):
        return images.mean((2, 3))[:, [0, 1, 2, 0, 1]]


class SoftLabels:
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.zeros(3, 16, 16), torch.full((5,), 0.2)


def with_losses(losses, teacher=None):
    return Distiller(teacher or tiny_teacher(), tiny_student(), losses, time_steps=2)


REFUSED = {
    "seed": (make_distiller, {"seed": -1}, "seed must be an integer of at least 0, got -1"),
    "a text as seed": (make_distiller, {"seed": "0"}, "seed must be an integer of at least 0, got '0'"),
    "no question": (lambda: with_losses({}), {}, "no loss of the distiller uses the teacher"),
    "features": (
        lambda: Distiller(
            tiny_teacher(),
            tiny_student(),
            {"hint": (ATLoss(), 1.0)},
            layers={"hint": ("5", "4")},
            time_steps=2,
        ),
        {},
        "'hint' .ATLoss. compares the teacher's features, which a TeacherOutput does not hold",
    ),
    "no parameters": (
        lambda: with_losses({"kd": (KDLoss(), 1.0)}, NoParameters()),
        {},
        "the teacher has no parameters, so it cannot be told from another",
    ),
    "no text": (
        lambda: make_distiller(teacher_input=lambda images: images),
        {},
        "teacher_input must say in its repr what it does.*give its class a __repr__",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_kept_is_refused(tmp_path, data, what):
    make, options, words = REFUSED[what]
    with pytest.raises(ValueError, match=words):
        TeacherCache(tmp_path, make(), data, **options)
    assert not list(tmp_path.iterdir())


class Scale(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, images):
        return images * self.factor


def test_modules_that_look_alike_are_told_apart_by_what_they_hold(tmp_path, data):
    folders = {TeacherCache(tmp_path, make_distiller(teacher_input=Scale(f)), data).folder for f in (1.0, 1.0, 2.0)}
    assert len(folders) == 2


def test_a_student_with_other_classes_shows_before_the_views_are_filled(tmp_path, data):
    layers = {"teacher_layer": "4", "student_layer": "5"}
    with pytest.raises(ValueError, match="the teacher has 5 classes and the student 4"):
        TeacherCache(tmp_path, CKDDistiller(tiny_teacher(), tiny_student(4), time_steps=2, **layers), data)


@pytest.mark.parametrize(("views", "error"), [(0, ValueError), (2.5, TypeError), (True, TypeError)])
def test_views_are_counted(tmp_path, data, views, error):
    with pytest.raises(error, match="views must be"):
        TeacherCache(tmp_path, make_distiller(), data, views=views)


def test_soft_labels_and_other_objects_are_refused(tmp_path, data):
    with pytest.raises(ValueError, match="labels must be class indices, got soft labels"):
        TeacherCache(tmp_path, make_distiller(), replace(data, train=SoftLabels()))
    with pytest.raises(TypeError, match="data must be a Data .* got list"):
        TeacherCache(tmp_path, make_distiller(), [])
    with pytest.raises(TypeError, match="cache must be a TeacherCache, got NoneType"):
        CachedData(None, batch_size=BATCH)
    with pytest.raises(TypeError, match="distiller must be a Distiller, got Sequential"):
        TeacherCache(tmp_path, tiny_student(), data)


def test_mixed_images_are_refused_before_anything_is_asked(tmp_path, data):
    cache = TeacherCache(tmp_path, make_distiller(), data)
    with pytest.raises(ValueError, match="mixup and cutmix make images that no teacher cache holds"):
        fit(tmp_path, cache, 1, mixup=Mixup(0.2, num_classes=5))
    assert not cache.folder.exists()


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """A tiny CIFAR-10 and a teacher for it."""
    folder = tmp_path_factory.mktemp("ground")
    write_cifar(folder / "data", "10", per_class_train=2, per_class_test=1)
    torch.manual_seed(0)
    network = tiny_nets.teacher(10)
    network.fc.weight.data.abs_()
    save_network(folder / "teacher.safetensors", network, tiny_nets.teacher, {"num_classes": 10})
    return folder


def row(ground, *flags):
    recipe = runpy.run_path(str(EXAMPLES / "cifar10_r20.py"))["RECIPE"]
    own = ("--data-path", ground / "data", "--allow-partial", "--student", "tiny_nets:student", "--amp", "32-true")
    run = ("--device", "cpu", "-j", 0, "--no-progress", "--energy-images", 0, "-b", 10, "--warmup-epochs", 0)
    teacher = ("--teacher", ground / "teacher.safetensors", "--any-teacher", "--no-preflight")
    teacher += ("--teacher-build", "tiny_nets:teacher")
    return run_row(recipe, [str(part) for part in (*own, *run, *teacher, "--epochs", 2, *flags)])


def test_a_row_from_the_cache(ground, tmp_path):
    record = row(ground, "--teacher-cache", 3, "--output-dir", tmp_path / "first")
    cache = record["teacher_cache"]
    assert (cache["views"], cache["filled"]) == (2, [0, 1])
    assert cache["folder"].parent == tmp_path / "teacher_cache"
    assert record["options"]["teacher_cache"] == 3
    assert read_record(tmp_path / "first" / "record.json")["teacher_cache"]["bytes"] == cache["bytes"]
    other = ("--teacher-cache", 2, "--teacher-cache-dir", tmp_path / "teacher_cache", "--beta", 0.5)
    again = row(ground, *other, "--output-dir", tmp_path / "elsewhere" / "second")["teacher_cache"]
    assert (again["filled"], again["folder"]) == ([], cache["folder"])
    for flags, words in (((), "teacher_cache 3 -> None"), (("--teacher-cache", 1), "teacher_cache 3 -> 1")):
        with pytest.raises(ValueError, match=f"had other settings, so it cannot be resumed: {words}"):
            row(ground, *flags, "--resume", "latest", "--output-dir", tmp_path / "first")
    assert row(ground, "--output-dir", tmp_path / "third")["teacher_cache"] is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--teacher-cache", 1, "--method", "plain"), "--teacher-cache does nothing where no teacher is asked"),
        (("--teacher-cache", 1, "--mixup", 0.2), "--teacher-cache holds no mixed images: pass --mixup 0 --cutmix 0"),
        (("--teacher-cache", 1, "--cutmix", 1), "--teacher-cache holds no mixed images"),
        (("--teacher-cache", 1, "--smoke"), "--smoke takes two steps of every stage, and --teacher-cache asks for"),
        (("--teacher-cache-dir", "x"), "--teacher-cache-dir does nothing without --teacher-cache VIEWS"),
    ],
)
def test_flags_that_do_not_go_together(ground, tmp_path, flags, words):
    with pytest.raises(ValueError, match=words):
        row(ground, *flags, "--output-dir", tmp_path / "out")
