"""Loading and training: batches that repeat, the schedule, and Lightning modules on a real Trainer."""

import copy
import csv
import io
import os
import random
import re
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pytest
import tiny_nets
import torch
from conftest import tiny_student, tiny_teacher
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BaseFinetuning, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from processes import on_processes
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from timm.data import Mixup
from torch import distributed, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, Dataset, TensorDataset

from spikingjelly_ckd import CKDDistiller, Distiller, warm_up
from spikingjelly_ckd.errors.arguments import InvalidStepError
from spikingjelly_ckd.recipes.data import Data
from spikingjelly_ckd.recipes.data.loading import EpochSampler, ReproducibleDataModule, SeededSamples, seed_all, seeded
from spikingjelly_ckd.recipes.training import (
    ClassifierModule,
    DistillationCallback,
    DistillationModule,
    History,
    StepSeeds,
    TrainingModule,
    cosine_with_warmup,
    topk_accuracy,
    unpack_batch,
)
from spikingjelly_ckd.recipes.training.callbacks import FailureNotes, MovingAverage

TAGS = {f"{part}_{what}" for part in ("train", "test") for what in ("loss", "acc1", "acc5")}
TERMS = {"train_task", "train_samd", "train_nld"}


class Noisy(Dataset):
    """A coloured square on noise from all three sources, as augmentations draw it."""

    def __init__(self, count: int, classes: int = 5, size: int = 8) -> None:
        self.count, self.classes, self.size = count, classes, size

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        label = index % self.classes
        image = 0.2 * torch.rand(3, self.size, self.size) + 0.1 * random.random() + 0.1 * np.random.rand()
        image[label % 3, label : label + 3, label : label + 3] += 2 if label < 3 else -2
        return image, label


def make_data(train=40, test=15) -> Data:
    classes = tuple("abcde")
    return Data("folder", Noisy(train), Noisy(test), classes, 3, 8, None, None, False, "folders", "0" * 64, True)


def batches_of(loader):
    return [(images.clone(), labels.tolist()) for images, labels in loader]


def same(first, other):
    return len(first) == len(other) and all(
        torch.equal(a, b) and p == q for (a, p), (b, q) in zip(first, other, strict=True)
    )


# --- loading ---------------------------------------------------------------------------------------------------------


def epochs_of(workers: int, seed: int = 0) -> list:
    loader = ReproducibleDataModule(make_data(), batch_size=8, workers=workers, seed=seed).train_dataloader()
    epochs = []
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        epochs.append(batches_of(loader))
    return epochs


def test_workers_change_nothing_and_epochs_and_seeds_do():
    alone, helped, reseeded = epochs_of(0), epochs_of(2), epochs_of(0, seed=1)
    assert same(alone[0], helped[0])
    assert same(alone[1], helped[1])
    assert not same(alone[0], alone[1])
    assert [labels for _, labels in alone[0]] != [labels for _, labels in alone[1]]
    assert not same(alone[0], reseeded[0])
    assert same(epochs_of(0)[1], alone[1]), "an epoch does not depend on those before it"


def test_the_augmentation_of_an_image_differs_between_epochs_and_images():
    samples = SeededSamples(Noisy(20), seed=0)
    assert len(samples) == 20
    assert torch.equal(samples[0, 3][0], samples[0, 3][0])
    assert not torch.equal(samples[0, 3][0], samples[1, 3][0])
    assert not torch.equal(samples[0, 3][0][0, 6:], samples[0, 8][0][0, 6:])
    assert not torch.equal(samples[0, 3][0], SeededSamples(Noisy(20), seed=1)[0, 3][0])


def states():
    return torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()


def assert_same_states(before):
    after = states()
    assert torch.equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])
    assert before[2] == after[2]


def test_a_seeded_block_leaves_the_global_sources_alone():
    before = states()
    with seeded(1, 2):
        first = torch.rand(3), np.random.rand(), random.random()
    assert_same_states(before)
    with seeded(1, 2):
        assert torch.equal(first[0], torch.rand(3))
        assert (np.random.rand(), random.random()) == first[1:]
    with seeded(2, 1):
        assert not torch.equal(first[0], torch.rand(3))
    with pytest.raises(ZeroDivisionError), seeded(3):
        torch.rand(5), np.random.rand(), 1 / 0
    assert_same_states(before)


def test_seed_all_seeds_all_three():
    def draw(*numbers):
        seed_all(*numbers)
        return torch.rand(1).item(), np.random.rand(), random.random()

    first = draw(0, 1, 2)
    assert draw(0, 1, 2) == first
    assert all(a != b for a, b in zip(first, draw(0, 2, 1), strict=True))


@pytest.mark.parametrize("count", [40, 43])
def test_two_ranks_with_half_the_batch_draw_what_one_process_draws(count):
    samples = SeededSamples(Noisy(count), seed=3)

    def keys(world, rank, size):
        sampler = EpochSampler(samples, world, rank, shuffle=True, seed=3, drop_last=True)
        sampler.set_epoch(5)
        drawn = list(sampler)
        return [drawn[start : start + size] for start in range(0, len(drawn) - size + 1, size)]

    one, left, right = keys(1, 0, 8), keys(2, 0, 4), keys(2, 1, 4)
    assert len(one) == len(left) == len(right) == 5
    for whole, a, b in zip(one, left, right, strict=True):
        assert set(whole) == {*a, *b}
        assert not set(a) & set(b)
        assert {epoch for epoch, _ in whole} == {5}


class Placed(ReproducibleDataModule):
    """Loaders as process ``rank`` of ``world`` makes them."""

    place = (0, 1)

    def _place(self):
        return self.place


@pytest.mark.parametrize(("world", "count"), [(1, 15), (2, 15), (4, 15), (3, 2)])
def test_each_test_image_is_on_one_rank_only_in_order(world, count):
    class Numbered(Dataset):
        def __len__(self):
            return count

        def __getitem__(self, index):
            return torch.zeros(1), index

    data = Data("folder", Numbered(), Numbered(), ("a",), 3, 8, None, None, False, "folders", "0" * 64, True)
    seen = []
    for rank in range(world):
        loaders = Placed(data, batch_size=2)
        loaders.place = (rank, world)
        mine = [label for _, labels in loaders.val_dataloader() for label in labels.tolist()]
        assert mine == sorted(mine)
        seen += mine
    assert sorted(seen) == list(range(count))


def test_the_last_smaller_batch_is_left_out_of_training_only():
    loaders = ReproducibleDataModule(make_data(43, 15), batch_size=8)
    assert [len(labels) for _, labels in loaders.train_dataloader()] == [8] * 5
    assert [len(labels) for _, labels in loaders.val_dataloader()] == [8, 7]


def test_sizes_out_of_range_and_sets_too_small():
    for name, least in {"batch_size": 1, "workers": 0, "seed": 0}.items():
        with pytest.raises(ValueError, match=f"{name} must be at least {least}, got {least - 1}"):
            ReproducibleDataModule(make_data(), **{"batch_size": 4, name: least - 1})
    with pytest.raises(ValueError, match=r"40 training images do not fill one batch of 41 on 1 processes.*\(-b\)"):
        ReproducibleDataModule(make_data(), batch_size=41).train_dataloader()
    loaders = Placed(make_data(), batch_size=21)
    loaders.place = (0, 2)
    with pytest.raises(ValueError, match="do not fill one batch of 21 on 2 processes"):
        loaders.train_dataloader()


# --- schedule and accuracy -------------------------------------------------------------------------------------------


def test_the_schedule_is_torchs_cosine_stepped_once_an_epoch():
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = CosineAnnealingLR(optimizer, T_max=7)
    ours = cosine_with_warmup(7, steps_per_epoch=3)
    for epoch in range(7):
        for step in range(3):
            assert ours(3 * epoch + step) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        theirs.step()
    assert ours(21) == pytest.approx(0)


def test_the_warm_up_is_linear_in_every_step_and_the_cosine_has_the_rest():
    factor = cosine_with_warmup(7, steps_per_epoch=3, warmup_epochs=2)
    assert [factor(step) for step in range(6)] == pytest.approx([step / 6 for step in range(1, 7)])
    rest = cosine_with_warmup(5, steps_per_epoch=3)
    assert [factor(6 + step) for step in range(15)] == [rest(step) for step in range(15)]


@pytest.mark.parametrize(("epochs", "warmup"), [(3, 3), (3, 4), (3, -1), (0, 0)])
def test_a_warm_up_that_leaves_nothing_is_refused(epochs, warmup):
    with pytest.raises(ValueError, match="warmup_epochs must lie in 0"):
        cosine_with_warmup(epochs, 1, warmup)


def test_top_k_accuracy_is_the_share_of_right_answers():
    logits = torch.tensor([[3.0, 2, 1, 0], [0, 1, 2, 3], [1, 3, 2, 0], [3, 0, 1, 2]])
    labels = torch.tensor([0, 2, 2, 1])
    assert [topk_accuracy(logits, labels, top).item() for top in (1, 2, 3, 5)] == [0.25, 0.75, 0.75, 1.0]
    soft = 0.9 * F.one_hot(labels, 4) + 0.1 / 4
    assert topk_accuracy(logits, soft).item() == 0.25


# --- modules on a Trainer --------------------------------------------------------------------------------------------


def loaders(train=40, test=13, batch_size=8):
    """Plain loaders of a user, with a smaller last batch."""
    with seeded(11):
        samples = [Noisy(count)[index] for count in (train, test) for index in range(count)]
    images, labels = torch.stack([image for image, _ in samples]), torch.tensor([label for _, label in samples])
    sets = [TensorDataset(images[part], labels[part]) for part in (slice(train), slice(train, None))]
    return DataLoader(sets[0], batch_size, drop_last=True), DataLoader(sets[1], batch_size)


def make_distiller(**options) -> CKDDistiller:
    layers = {"teacher_layer": "4", "student_layer": "5"}
    teacher = tiny_teacher()
    teacher[-1].weight.data.abs_()  # an untrained teacher may see no positive evidence anywhere
    return CKDDistiller(teacher, tiny_student(), **{"time_steps": 2, **layers, **options})


def make_trainer(tmp_path, epochs=1, **options) -> Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    return Trainer(
        **{
            **{"accelerator": "cpu", "devices": 1, "max_epochs": epochs, "logger": False, "default_root_dir": tmp_path},
            **quiet,
            **options,
        }
    )


def hooks_of(module: nn.Module) -> int:
    return sum(len(child._forward_hooks) + len(child._forward_pre_hooks) for child in module.modules())


def contents(module: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in module.state_dict().items()}


@pytest.mark.slow
def test_a_distiller_learns_in_a_users_own_trainer_and_logs_every_tag(tmp_path):
    distiller = make_distiller()
    teacher = distiller.teacher
    before = contents(teacher)
    history = History(tmp_path / "history.csv")
    logger = TensorBoardLogger(tmp_path, name="tb", version="")
    checkpoint = ModelCheckpoint(tmp_path, filename="last")
    options = {"logger": logger, "log_every_n_steps": 1, "enable_checkpointing": True}
    trainer = make_trainer(tmp_path, 8, callbacks=[history, checkpoint], **options)
    trainer.fit(DistillationModule(distiller, lr=0.3), *loaders())

    assert TAGS | TERMS | {"train_skipped"} <= set(trainer.callback_metrics)
    losses = [row["train_loss"] for row in history.rows]
    assert losses[-1] < 0.8 * losses[0]
    assert history.rows[-1]["test_acc1"] > 60
    last = history.rows[-1]
    weighted = last["train_task"] + last["train_samd"] + last["train_nld"]  # beta = gamma = 1
    assert last["train_loss"] == pytest.approx(weighted, rel=1e-3)

    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert set(events.Tags()["scalars"]) >= TAGS | TERMS
    assert [e.value for e in events.Scalars("train_loss")] == pytest.approx(losses)

    saved = torch.load(tmp_path / "last.ckpt", weights_only=False)["state_dict"]
    assert not [name for name in saved if "teacher" in name]
    own = {"distiller.observers._extra_state"}  # what was chosen
    assert {name.removeprefix("distiller.student.") for name in saved} == set(distiller.student.state_dict()) | own

    assert contents(teacher) == before
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in teacher.parameters())
    assert hooks_of(distiller) == 0


def test_the_test_figures_are_those_of_the_whole_set(tmp_path):
    module = DistillationModule(make_distiller(), preflight=False)
    train, test = loaders()
    trainer = make_trainer(tmp_path)
    trainer.fit(module, train, test)
    images, labels = test.dataset.tensors
    with torch.no_grad():
        logits = module.eval().predict(images)
    metrics = trainer.callback_metrics
    assert metrics["test_acc1"].item() == pytest.approx(100 * (logits.argmax(1) == labels).float().mean().item())
    assert metrics["test_acc5"].item() == pytest.approx(100)
    assert metrics["test_loss"].item() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-4)


def test_a_loss_that_is_not_finite_is_shown_as_it_is(tmp_path):
    module = ClassifierModule(tiny_teacher())
    module.network[-1].bias.data.fill_(float("nan"))
    trainer = make_trainer(tmp_path)
    trainer.validate(module, loaders()[1], verbose=False)
    assert trainer.callback_metrics["test_loss"].isnan()
    module.network[-1].bias.data.zero_()
    trainer.validate(module, loaders()[1], verbose=False)
    assert trainer.callback_metrics["test_loss"].isfinite(), "nothing is left of the evaluation before"


class Spoils(Callback):
    """From the second step on, something is wrong."""

    def __init__(self, what):
        self.what = what

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx != 1:
            return
        distiller = pl_module.distiller
        if self.what == "images":
            batch[0][0, 0, 0, 0] = torch.nan
        elif self.what == "labels":
            batch[1][0] = 9
        elif self.what == "weights":
            distiller.student[-1].weight.data.fill_(torch.nan)
        elif self.what == "silence":
            distiller.student[0].weight.data.zero_()
            distiller.student[0].bias.data.fill_(-1.0)
        else:
            raise ValueError("of another library: NaN or inf")


@pytest.mark.parametrize(
    ("what", "diverged"),
    [("images", False), ("labels", False), ("weights", True), ("silence", True), ("another", None)],
)
def test_a_refused_step_is_placed_and_a_lower_learning_rate_advised_where_the_training_diverged(
    tmp_path, what, diverged
):
    module = DistillationModule(make_distiller(), preflight=False)
    trainer = make_trainer(tmp_path, callbacks=[FailureNotes(), Spoils(what)])
    with pytest.raises(ValueError, match=r".") as raised:
        trainer.fit(module, loaders()[0])
    notes = getattr(raised.value, "__notes__", [])
    if diverged is None:
        assert notes == []
        return
    assert isinstance(raised.value, InvalidStepError)
    assert raised.value.diverged == diverged
    advice = ": begin anew (--overwrite) with a lower learning rate (--lr)" if diverged else ""
    assert notes == [f"in epoch 1, step 2{advice}"]


def test_nan_in_the_test_set_is_no_wrong_answer(tmp_path):
    images, labels = torch.rand(8, 3, 8, 8), torch.arange(8) % 4
    images[5, 0, 0, 0] = torch.nan
    loader = DataLoader(TensorDataset(images, labels), batch_size=4)
    with pytest.raises(ValueError, match="the test set holds NaN or inf, which would count as wrong answers"):
        make_trainer(tmp_path).validate(ClassifierModule(tiny_teacher()), loader, verbose=False)
    of_validation = ClassifierModule(tiny_teacher(), measured="val")
    with pytest.raises(ValueError, match="the validation set holds NaN or inf"):
        make_trainer(tmp_path).validate(of_validation, loader, verbose=False)
    with pytest.raises(ValueError, match="the test set holds NaN or inf"):
        make_trainer(tmp_path).test(of_validation, loader, verbose=False)


def test_a_classifier_may_return_more_than_its_logits():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = tiny_teacher().eval()

        def forward(self, images):
            return self.network(images), images

    network, images = Two(), torch.rand(4, 3, 8, 8)
    module = ClassifierModule(network)
    assert torch.equal(module.predict(images), network.network(images))
    assert module.loss(images, torch.arange(4))[1].shape == module.predict(images).shape


def figures_of_the_test_set(folder, **processes) -> dict[str, float]:
    seed_all(0)
    data = replace(make_data(train=16), test=[Noisy(15, classes=4)[index] for index in range(15)])
    trainer = make_trainer(folder, use_distributed_sampler=False, **processes)
    trainer.validate(
        ClassifierModule(tiny_teacher(4)), datamodule=ReproducibleDataModule(data, batch_size=4), verbose=False
    )
    return {name: value.item() for name, value in trainer.callback_metrics.items()}


def one_of_two(rank, port, folder, found):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    torch.set_num_threads(1)
    found[rank] = figures_of_the_test_set(folder, devices=2, strategy="ddp")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_with_an_odd_test_set_find_the_figures_of_one(tmp_path):
    (found,) = on_processes(one_of_two, 2, tmp_path)
    assert found[0] == found[1] == pytest.approx(figures_of_the_test_set(tmp_path), rel=1e-5)
    assert found[0]["test_acc5"] == 100


def test_the_history_has_a_row_for_each_epoch_with_its_learning_rate(tmp_path):
    shown = []
    history = History(tmp_path / "deep" / "history.csv", lambda rows: shown.append(len(rows)))
    trainer = make_trainer(tmp_path, 3, callbacks=[history])
    trainer.fit(DistillationModule(make_distiller(), lr=0.2, warmup_epochs=1, preflight=False), *loaders())
    with (tmp_path / "deep" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [float(row["lr"]) for row in rows] == pytest.approx([0.2 / 5, 0.2, 0.1])
    assert all(float(row["seconds"]) > 0 for row in rows)
    assert set(rows[0]) >= {"epoch", "lr", "seconds"} | TAGS | TERMS
    assert [float(row["test_loss"]) for row in rows] == [row["test_loss"] for row in history.rows]
    assert shown == [1, 2, 3]
    again = History(tmp_path / "again.csv")
    again.load_state_dict(history.state_dict())
    assert again.rows == history.rows


class Own(LightningModule):
    """A module of a user's own, that logs nothing itself."""

    def __init__(self, *distillers: nn.Module) -> None:
        super().__init__()
        self.distillers = nn.ModuleList(distillers)

    def training_step(self, batch, batch_idx):
        return self.distillers[0](*batch).loss

    def validation_step(self, batch, batch_idx):
        images, _ = batch
        self.distillers[0].student(images.expand(2, *images.shape))  # leaves states behind

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_module_of_ones_own_gets_its_terms_logged_and_a_clean_student(tmp_path):
    distiller = make_distiller(beta=0.0)
    callback = DistillationCallback()
    trainer = make_trainer(tmp_path, 2, callbacks=[callback])
    trainer.fit(Own(distiller), *loaders())
    assert TERMS | {"train_skipped"} == set(trainer.callback_metrics)
    assert trainer.callback_metrics["train_samd"] > 0, "terms are logged without their weights"
    assert hooks_of(distiller) == 0
    assert callback.report.ok
    assert not any(isinstance(getattr(m, "v", 0.0), torch.Tensor) for m in distiller.student.modules())


def test_the_logged_terms_are_means_over_the_steps_of_the_epoch(tmp_path):
    distiller = make_distiller()
    seen = []
    distiller.register_forward_hook(lambda _, __, out: seen.append({k: float(v) for k, v in out.terms.items()}))
    trainer = make_trainer(tmp_path, callbacks=[DistillationCallback(preflight=False)])
    trainer.fit(Own(distiller), *loaders())
    assert len(seen) == 5
    for name in ("task", "samd", "nld"):
        mean = sum(step[name] for step in seen) / 5
        assert trainer.callback_metrics[f"train_{name}"].item() == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("count", [0, 2])
def test_a_module_without_or_with_two_distillers_is_refused(tmp_path, count):
    module = Own(*(make_distiller() for _ in range(count)))
    with pytest.raises(ValueError, match=rf"Own holds {count} distillers; DistillationCallback needs one"):
        make_trainer(tmp_path, callbacks=[DistillationCallback()]).fit(module, *loaders())


def test_the_preflight_refuses_a_teacher_that_shows_nothing(tmp_path):
    distiller = make_distiller(teacher_layer="5")
    distiller.teacher[-1].weight.data.abs_().neg_()  # no positive evidence for any class, anywhere
    before = contents(distiller.student)
    trainer = make_trainer(tmp_path)
    with pytest.raises(RuntimeError, match=r"the preflight failed, nothing was trained:\n\[fail\]"):
        trainer.fit(DistillationModule(distiller), *loaders())
    assert trainer.global_step == 0
    assert contents(distiller.student) == before
    assert hooks_of(distiller) == 0


def test_after_a_failure_the_next_fit_logs_once(tmp_path):
    class Stops(Own):
        def training_step(self, batch, batch_idx):
            raise ArithmeticError("stop")

    distiller = make_distiller()
    with pytest.raises(ArithmeticError):
        make_trainer(tmp_path, callbacks=[DistillationCallback(preflight=False)]).fit(Stops(distiller), *loaders())
    assert hooks_of(distiller) == 0
    trainer = make_trainer(tmp_path, callbacks=[DistillationCallback(preflight=False)])
    trainer.fit(Own(distiller), *loaders())
    assert set(trainer.callback_metrics) >= TERMS


@pytest.mark.slow
def test_the_preflight_changes_nothing_about_the_training(tmp_path):
    ends = []
    for preflight in (True, False):
        torch.manual_seed(0)
        distiller = make_distiller()
        trainer = make_trainer(tmp_path, callbacks=[StepSeeds(0)])
        trainer.fit(DistillationModule(distiller, preflight=preflight), *loaders())
        ends.append(
            contents(distiller.student) | {k: bytes(str(v), "utf8") for k, v in trainer.callback_metrics.items()}
        )
    assert ends[0] == ends[1]


def test_a_distiller_without_a_teacher_needs_no_preflight(tmp_path):
    distiller = Distiller(None, tiny_student(), {}, time_steps=2)
    trainer = make_trainer(tmp_path)
    trainer.fit(DistillationModule(distiller), *loaders())
    assert TAGS | {"train_task"} <= set(trainer.callback_metrics)
    assert not TERMS - {"train_task"} & set(trainer.callback_metrics)
    assert trainer.callback_metrics["train_loss"] == trainer.callback_metrics["train_task"]


def repeated(tmp_path, *, seed=0, workers=0) -> dict[str, bytes]:
    torch.manual_seed(5)
    teacher = tiny_nets.teacher(5)
    teacher.fc.weight.data.abs_()
    student = tiny_nets.student(5)  # draws dropout
    torch.rand(seed + workers + 1)  # what was drawn before must not matter
    distiller = CKDDistiller(teacher, student, time_steps=2, teacher_layer="layer2", student_layer="layer2")
    trainer = make_trainer(tmp_path, 2, callbacks=[StepSeeds(seed)], use_distributed_sampler=False)
    module = DistillationModule(distiller, mixup=Mixup(0.5, num_classes=5), preflight=False)
    trainer.fit(module, datamodule=ReproducibleDataModule(make_data(), batch_size=8, workers=workers, seed=seed))
    return contents(student)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_with_and_without_workers(tmp_path):
    first = repeated(tmp_path)
    assert repeated(tmp_path) == first
    assert repeated(tmp_path, workers=1) == first
    assert repeated(tmp_path, seed=1) != first


def event_loaders():
    with seeded(12):
        frames, labels = torch.rand(16, 3, 2, 8, 8), torch.arange(16) % 5
    return [DataLoader(TensorDataset(frames, labels), 8) for _ in range(2)]


def test_event_frames(tmp_path):
    network = tiny_teacher(channels=2)
    module = ClassifierModule(network, lr=0.05)
    make_trainer(tmp_path).fit(module, *event_loaders())
    frames = torch.rand(4, 3, 2, 8, 8)
    module.eval()
    assert torch.equal(module.predict(frames), network(frames.mean(1)))
    network[-1].weight.data.abs_()
    distiller = CKDDistiller(
        network,
        tiny_student(channels=2),
        time_steps=3,
        batch_first=True,
        teacher_input=lambda x: x.mean(0),
        teacher_layer="4",
        student_layer="5",
    )
    trainer = make_trainer(tmp_path)
    trainer.fit(DistillationModule(distiller, preflight=False), *event_loaders())
    assert set(trainer.callback_metrics) >= TAGS | TERMS


def test_a_classifier_learns(tmp_path):
    trainer = make_trainer(tmp_path, 6)
    trainer.fit(ClassifierModule(tiny_teacher(), lr=0.1), *loaders())
    assert set(trainer.callback_metrics) == TAGS
    assert trainer.callback_metrics["test_acc1"] > 80


class Seen(ClassifierModule):
    """Keeps what the loss was given."""

    def loss(self, images, labels):
        self.given = images.detach().clone(), labels.detach().clone()
        return super().loss(images, labels)


@pytest.mark.parametrize(
    "mix", [{"mixup_alpha": 1.0}, {"mixup_alpha": 0.0, "cutmix_alpha": 1.0}], ids=["mixup", "cutmix"]
)
@pytest.mark.parametrize("shape", [(6, 6), (3, 2, 6, 6)], ids=["images", "events"])
def test_labels_are_mixed_as_the_pictures_are(tmp_path, mix, shape):
    """Two classes, dark and bright: the share of bright pixels is the weight of the bright class."""
    seed_all(2)
    bright = torch.tensor([0.0, 1, 0, 1])
    channels = 1 if len(shape) == 2 else 2
    frames = shape if len(shape) > 2 else (1, *shape)
    images = bright.view(-1, *[1] * len(frames)).expand(4, *frames).contiguous()
    network = nn.Sequential(nn.Flatten(), nn.Linear(channels * 36, 2))
    module = Seen(network, mixup=Mixup(**mix, label_smoothing=0.0, num_classes=2))
    data = DataLoader(TensorDataset(images, bright.long()), 4)
    trainer = make_trainer(tmp_path)
    trainer.fit(module, data)
    given, labels = module.given
    assert given.shape == images.shape
    torch.testing.assert_close(given.flatten(1).mean(1), labels[:, 1])
    assert ((labels > 0) & (labels < 1)).all()
    if len(shape) > 2:
        assert torch.equal(given, given[:, :1, :1].expand_as(given)), "all frames of a recording alike"


def test_mixup_trains_a_distiller(tmp_path):
    trainer = make_trainer(tmp_path)
    module = DistillationModule(make_distiller(), mixup=Mixup(0.2, 0.2, num_classes=5), preflight=False)
    trainer.fit(module, *loaders())
    assert set(trainer.callback_metrics) >= TAGS | TERMS
    assert trainer.callback_metrics["train_loss"].isfinite()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"precision": "bf16-mixed"}, {"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.5}], ids=str
)
def test_the_trainers_own_options(tmp_path, options):
    distiller = make_distiller()
    before = contents(distiller.student)
    trainer = make_trainer(tmp_path, 2, **options)
    trainer.fit(DistillationModule(distiller, lr=0.2, preflight="precision" in options), *loaders())
    assert trainer.callback_metrics["train_loss"].isfinite()
    assert contents(distiller.student) != before
    assert trainer.global_step == 2 * (3 if "accumulate_grad_batches" in options else 5)
    assert all(parameter.dtype == torch.float32 for parameter in distiller.parameters())


def test_the_schedule_counts_optimiser_steps(tmp_path):
    rates = []

    class Watched(ClassifierModule):
        def optimizer_step(self, epoch, batch_idx, optimizer, closure=None):
            rates.append(optimizer.param_groups[0]["lr"])
            super().optimizer_step(epoch, batch_idx, optimizer, closure)

    make_trainer(tmp_path, 3, accumulate_grad_batches=2).fit(Watched(tiny_teacher(), lr=0.4), *loaders())
    assert rates == pytest.approx([0.4] * 3 + [0.3] * 3 + [0.1] * 3)


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_the_optimiser_is_as_asked_and_has_the_student_alone(tmp_path, name, kind):
    distiller = make_distiller()
    trainer = make_trainer(tmp_path)
    options = {"lr": 0.05, "optimizer": name, "momentum": 0.8, "weight_decay": 0.01}
    module = DistillationModule(distiller, preflight=False, **options)
    trainer.fit(module, *loaders())
    (optimizer,) = trainer.optimizers
    (group,) = optimizer.param_groups
    assert type(optimizer) is kind
    assert group["weight_decay"] == 0.01
    assert group["initial_lr"] == 0.05
    assert name == "adamw" or group["momentum"] == 0.8
    assert [id(p) for p in group["params"]] == [id(p) for p in distiller.student.parameters()]


def test_a_trainer_that_counts_steps_alone_is_told_what_the_schedule_needs(tmp_path):
    with pytest.raises(ValueError, match=r"Trainer\(max_epochs=\.\.\.\)"):
        make_trainer(tmp_path, None, max_steps=4).fit(ClassifierModule(tiny_teacher()), *loaders())


def test_wrong_modules():
    with pytest.raises(TypeError, match="distiller must be a Distiller, got Sequential"):
        DistillationModule(tiny_student())
    with pytest.raises(ValueError, match="optimizer must be"):
        ClassifierModule(tiny_teacher(), optimizer="adam")
    with pytest.raises(NotImplementedError, match="TrainingModule must define predict"):
        TrainingModule().predict(torch.rand(1, 3, 8, 8))
    with pytest.raises(NotImplementedError, match="TrainingModule must define loss"):
        TrainingModule().loss(torch.rand(1, 3, 8, 8), torch.tensor([0]))


# --- schedules of weights follow the Trainer -------------------------------------------------------------------------


class Weights(Own):
    """Keeps the weight of SAMD of every step."""

    def __init__(self, distiller: nn.Module) -> None:
        super().__init__(distiller)
        self.used: list[float] = []

    def training_step(self, batch, batch_idx):
        out = self.distillers[0](*batch)
        self.used.append(float(out.weights["samd"]))
        return out.loss


def scheduled(**schedule) -> CKDDistiller:
    torch.manual_seed(0)
    return make_distiller(beta=2.0, schedule=schedule or {"samd": warm_up(0.5)})


def weights_of(tmp_path, epochs, fit=None, module=None, **options) -> list[float]:
    module = module or Weights(scheduled())
    callbacks = [DistillationCallback(preflight=False), *options.pop("callbacks", ())]
    make_trainer(tmp_path, epochs, callbacks=callbacks, **options).fit(module, *loaders(), **(fit or {}))
    return module.used


RISE = [0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 2.0, 2.0, 2.0, 2.0]
"""Weight 2 after a warm-up over half of two epochs of five steps."""


def test_a_warm_up_rises_with_the_steps_of_the_trainer(tmp_path):
    assert weights_of(tmp_path, 2) == pytest.approx(RISE)
    assert weights_of(tmp_path, None, max_steps=10) == pytest.approx(RISE)
    assert weights_of(tmp_path, 50, max_steps=10) == pytest.approx(RISE), "what ends first decides"
    assert weights_of(tmp_path, 2, max_steps=1000) == pytest.approx(RISE)
    assert weights_of(tmp_path, 5, limit_train_batches=2) == pytest.approx(RISE)


def test_batches_that_are_accumulated_have_the_weight_of_one_step(tmp_path):
    expected = [RISE[step] for epoch in (0, 5) for step in (epoch, epoch, epoch + 2, epoch + 2, epoch + 4)]
    assert weights_of(tmp_path, 2, accumulate_grad_batches=2) == pytest.approx(expected)


def test_the_module_of_the_package_advances_the_schedule_too(tmp_path):
    distiller, used = scheduled(), []
    distiller.register_forward_hook(lambda _, __, out: used.append(float(out.weights["samd"])))
    make_trainer(tmp_path, 2).fit(DistillationModule(distiller, preflight=False), *loaders())
    assert used == pytest.approx(RISE)


@pytest.mark.parametrize("every", [5, 3], ids=["after an epoch", "within an epoch"])
def test_a_resumed_run_goes_on_with_the_schedule(tmp_path, every):
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=every, save_top_k=-1)
    weights_of(tmp_path, 2, callbacks=[keep], enable_checkpointing=True)
    rest = weights_of(tmp_path, 2, {"ckpt_path": tmp_path / f"step={every}.ckpt", "weights_only": True})
    assert rest == pytest.approx(RISE[every:])


def test_a_training_of_unknown_length_is_refused_with_a_schedule_only(tmp_path):
    class Stop(Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = True

    with pytest.raises(ValueError, match=r"the schedule of the weights of \['samd'\] needs to know how long"):
        weights_of(tmp_path, -1, callbacks=[Stop()])
    module = Weights(make_distiller())
    assert weights_of(tmp_path, -1, callbacks=[Stop()], module=module) == [1.0]


# --- copies and files of the distiller while it trains ---------------------------------------------------------------


class AtEveryMoment(Callback):
    """Does something to the module wherever Lightning lets it."""

    def __init__(self, act) -> None:
        self.act = act
        self.times = 0

    def _act(self, trainer, pl_module, *_):
        self.act(pl_module)
        self.times += 1

    on_train_start = on_train_batch_start = on_before_backward = on_before_optimizer_step = _act
    on_train_batch_end = on_validation_batch_end = on_train_epoch_end = on_train_end = _act


def test_the_distiller_can_be_saved_at_every_moment_of_the_training(tmp_path):
    found = []

    def save(module):
        file = io.BytesIO()
        torch.save(module.distiller, file)
        file.seek(0)
        found.append(torch.load(file, weights_only=False))

    act = AtEveryMoment(save)
    make_trainer(tmp_path, callbacks=[act]).fit(DistillationModule(make_distiller(), preflight=False), *loaders())
    assert act.times == len(found) > 20
    images, labels = next(iter(loaders()[0]))
    assert found[-1](images, labels).loss.isfinite()


def test_a_copy_of_the_distiller_writes_into_no_log(tmp_path):
    class Copies(Own):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            images, labels = batch
            copy.deepcopy(self.distillers[0])(images.flip(0), labels)
            return loss

    logged = []
    for kind in (Own, Copies):
        torch.manual_seed(0)
        callbacks = [StepSeeds(0), DistillationCallback(preflight=False)]
        trainer = make_trainer(tmp_path, callbacks=callbacks)
        trainer.fit(kind(make_distiller()), *loaders())
        logged.append({name: value.item() for name, value in trainer.callback_metrics.items()})
    assert logged[0] == logged[1]


def test_a_moving_average_of_the_module_listens_to_nothing(tmp_path):
    average = EMAWeightAveraging(decay=0.5)
    module = DistillationModule(make_distiller(), preflight=False)
    trainer = make_trainer(tmp_path, 2, callbacks=[average])
    trainer.fit(module, *loaders())
    assert hooks_of(average._average_model) == 0
    assert average._average_model.module.distiller.teacher is module.distiller.teacher
    assert trainer.callback_metrics["test_loss"].isfinite()


@pytest.mark.parametrize("weight", ["auto", "hold"])
def test_a_moving_average_keeps_measured_weights_as_the_last_step_had_them(tmp_path, weight):
    class Noted(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            self.last = {name: value.clone() for name, value in module.distiller.auto.state_dict().items()}

    distiller, noted = make_distiller(beta=weight), Noted()
    trainer = make_trainer(tmp_path, 3, callbacks=[noted, MovingAverage(0.9)])
    trainer.fit(DistillationModule(distiller, preflight=False), *loaders())
    assert {name: value.item() for name, value in distiller.auto.state_dict().items()} == {
        name: value.item() for name, value in noted.last.items()
    }
    assert noted.last["samd.seen"] > 1


# --- batches as strangers' loaders make them -------------------------------------------------------------------------


class Picture(NamedTuple):
    index: torch.Tensor
    target: torch.Tensor
    image: torch.Tensor


class Rows(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor
    index: torch.Tensor


@dataclass
class Sample:
    pixel_values: torch.Tensor
    label: torch.Tensor
    path: str = "a.png"


def made(kind: str, images, labels):
    """A batch of another form."""
    index = torch.arange(len(labels))
    return {
        "dict": {"image": images, "label": labels, "name": ["a"] * len(labels)},
        "dict of transformers": {"pixel_values": images, "labels": labels},
        "with an index": (images, labels, index),
        "with metadata": [images, labels, index, {"camera": ["left"] * len(labels)}],
        "namedtuple": Picture(index, labels, images),
        "namedtuple without known names": Rows(images, labels, index),
        "dataclass": Sample(images, labels),
        "nested": {"index": index, "sample": (images, labels)},
    }[kind]


KINDS = ("dict", "dict of transformers", "with an index", "with metadata", "namedtuple", "dataclass")


class Wrapped:
    """Batches of a loader in another form."""

    def __init__(self, loader, kind: str) -> None:
        self.loader, self.kind = loader, kind

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        return (made(self.kind, images, labels) for images, labels in self.loader)


@pytest.mark.parametrize("kind", [*KINDS, "namedtuple without known names"])
def test_images_and_labels_are_found_in_batches_of_many_forms(kind):
    images, labels = torch.rand(2, 3, 8, 8), torch.tensor([1, 0])
    found = unpack_batch(made(kind, images, labels))
    assert found[0] is images
    assert found[1] is labels


def nested(batch):
    return batch["sample"]


@pytest.mark.parametrize("kind", [*KINDS, "nested"])
def test_the_module_trains_on_batches_of_many_forms_as_on_pairs(tmp_path, kind):
    ends = []
    for form in (None, kind):
        torch.manual_seed(0)
        module = DistillationModule(make_distiller(), unpack=nested if form == "nested" else None)
        given = loaders() if form is None else [Wrapped(loader, form) for loader in loaders()]
        trainer = make_trainer(tmp_path, callbacks=[StepSeeds(0)])
        trainer.fit(module, *given)
        predicted = trainer.predict(module, given[1])
        ends.append({name: value.item() for name, value in trainer.callback_metrics.items()})
        ends[-1]["predicted"] = torch.cat(predicted).sum().item()
    assert ends[0] == ends[1]


class TakesDicts(Own):
    """A module of a user's own with batches of its own form."""

    def training_step(self, batch, batch_idx):
        images, labels = batch["sample"] if "sample" in batch else (batch["image"], batch["label"])
        return self.distillers[0](images, labels).loss

    validation_step = None


def test_the_preflight_of_ones_own_module_finds_the_batch_or_says_how(tmp_path):
    for kind, options in {"dict": {}, "nested": {"unpack": nested}}.items():
        callback = DistillationCallback(**options)
        make_trainer(tmp_path, callbacks=[callback]).fit(TakesDicts(make_distiller()), Wrapped(loaders()[0], kind))
        assert callback.report.ok
    trainer = make_trainer(tmp_path, callbacks=[DistillationCallback()])
    says = r"a dict with \['index', 'sample'\].*pass unpack=.*; preflight=False leaves out"
    with pytest.raises(TypeError, match=says):
        trainer.fit(TakesDicts(make_distiller()), Wrapped(loaders()[0], "nested"))
    trainer = make_trainer(tmp_path, callbacks=[DistillationCallback(preflight=False)])
    trainer.fit(TakesDicts(make_distiller()), Wrapped(loaders()[0], "nested"))
    assert trainer.global_step == 5


def test_batches_in_which_nothing_is_found_are_named():
    images, labels = torch.rand(2, 3, 8, 8), torch.tensor([1, 0])
    for batch, described in {
        "a dict with ['image', 'label', 'target']": {"image": images, "label": labels, "target": labels},
        "a dict with ['image', 'class']": {"image": images, "class": labels},
        "a tuple of (Tensor, str)": (images, "cat"),
        "a list of (Tensor)": [images],
        "a Tensor": images,
        "a Picture with ['index', 'target', 'image']": Picture(labels, labels, "a.png"),
    }.items():
        with pytest.raises(TypeError, match=re.escape(f"in a batch that is {batch}; expected (images, labels, ...)")):
            unpack_batch(described)
    with pytest.raises(TypeError, match=r"unpack must return \(images, labels\), two tensors, got a dict with"):
        unpack_batch((images, labels), lambda batch: {"image": images})
    with pytest.raises(TypeError, match=r"no images are found in a batch that is a tuple of \(str\)"):
        DistillationModule(make_distiller()).predict_step(("a.png",), 0)


def test_batches_of_images_alone_can_be_predicted(tmp_path):
    module = DistillationModule(make_distiller(), preflight=False)
    images = torch.rand(6, 3, 8, 8)
    expected = module.eval().predict(images)
    trainer = make_trainer(tmp_path)
    for data in (TensorDataset(images), [image for image in images], [{"image": image} for image in images]):
        predicted = torch.cat(trainer.predict(module, DataLoader(data, 4)))
        torch.testing.assert_close(predicted, expected)
    assert predicted.shape == (6, 5)


# --- what a Trainer does besides fit ---------------------------------------------------------------------------------


def test_test_and_validate_give_the_same_figures_and_training_goes_on(tmp_path):
    module = DistillationModule(make_distiller(), preflight=False)
    trainer = make_trainer(tmp_path, 2)
    (tested,) = trainer.test(module, loaders()[1], verbose=False)
    (validated,) = trainer.validate(module, loaders()[1], verbose=False)
    assert tested == validated
    assert set(tested) == {"test_loss", "test_acc1", "test_acc5"}
    trainer.predict(module, loaders()[1])
    assert not any(isinstance(getattr(m, "v", 0.0), torch.Tensor) for m in module.distiller.student.modules())
    trainer.fit(module, *loaders())
    assert trainer.global_step == 10
    assert trainer.test(module, loaders()[1], verbose=False) != [tested]


@pytest.mark.parametrize("method", ["validate", "test"])
def test_several_loaders_have_figures_each_and_the_first_decides(tmp_path, method):
    module = DistillationModule(make_distiller(), preflight=False)
    evaluate = getattr(make_trainer(tmp_path), method)
    sets = [loaders(test=count)[1] for count in (13, 7)]
    alone = [evaluate(module, loader, verbose=False)[0] for loader in sets]
    assert alone[0] != alone[1]
    found = alone[0] | {f"{name}/loader_1": value for name, value in alone[1].items()}
    assert evaluate(module, sets, verbose=False) == [found, found]
    assert evaluate(module, sets[0], verbose=False) == alone[:1], "nothing is left of the second"


def test_the_best_checkpoint_is_that_of_the_first_loader(tmp_path):
    best = ModelCheckpoint(tmp_path, filename="best", monitor="test_acc1", mode="max")
    history = History(tmp_path / "history.csv")
    trainer = make_trainer(tmp_path, 3, callbacks=[best, history], enable_checkpointing=True)
    module = DistillationModule(make_distiller(), lr=0.3, preflight=False)
    train, test = loaders()
    wrong = DataLoader(TensorDataset(test.dataset.tensors[0], (test.dataset.tensors[1] + 1) % 5), 8)
    trainer.fit(module, train, [test, wrong])
    assert best.best_model_score.item() == max(row["test_acc1"] for row in history.rows)
    assert {f"{tag}/loader_1" for tag in ("test_loss", "test_acc1", "test_acc5")} <= set(history.rows[0])
    assert history.rows[-1]["test_acc1"] + history.rows[-1]["test_acc1/loader_1"] <= 100.001


def test_a_checkpoint_is_loaded_into_a_distiller(tmp_path):
    trained = DistillationModule(make_distiller(), preflight=False)
    trainer = make_trainer(tmp_path)
    trainer.fit(trained, *loaders())
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    with pytest.raises(TypeError, match=r"distiller is missing: the teacher is in no checkpoint.*distiller=distiller"):
        DistillationModule.load_from_checkpoint(tmp_path / "end.ckpt")
    again = DistillationModule.load_from_checkpoint(tmp_path / "end.ckpt", distiller=make_distiller(), lr=0.01)
    assert contents(again.distiller.student) == contents(trained.distiller.student)
    assert again.lr == 0.01
    assert trainer.test(again, loaders()[1], verbose=False) == trainer.test(trained, loaders()[1], verbose=False)


def test_a_module_that_makes_its_own_distiller_is_loaded_without_one(tmp_path):
    class Mine(DistillationModule):
        def __init__(self, lr: float = 0.1) -> None:
            super().__init__(make_distiller(), lr=lr, preflight=False)
            self.save_hyperparameters()

    trainer = make_trainer(tmp_path)
    trainer.fit(Mine(lr=0.02), *loaders())
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    assert Mine.load_from_checkpoint(tmp_path / "end.ckpt").lr == 0.02


# --- frozen parameters, states, and normalisation over processes -----------------------------------------------------


def frozen_front(**options) -> CKDDistiller:
    distiller = make_distiller(**options)
    distiller.student[:2].requires_grad_(False)
    return distiller


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_student_whose_front_is_frozen_trains(tmp_path, optimizer):
    distiller = frozen_front()
    before = contents(distiller.student)
    trainer = make_trainer(tmp_path, 2, callbacks=[EMAWeightAveraging(decay=0.5)])
    trainer.fit(DistillationModule(distiller, optimizer=optimizer, preflight=False), *loaders())
    after = contents(distiller.student)
    names = {name for name, parameter in distiller.student.named_parameters() if before[name] != after[name]}
    assert names == {name for name, parameter in distiller.student.named_parameters() if parameter.requires_grad}


class Thaw(BaseFinetuning):
    """Lightning's way to train a front from the second epoch on."""

    def freeze_before_training(self, pl_module):
        self.freeze(pl_module.distiller.student[:2])

    def finetune_function(self, pl_module, epoch, optimizer):
        self.before = pl_module.distiller.student[0].weight.detach().clone() if epoch == 1 else None
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.distiller.student[:2], optimizer)


@pytest.mark.filterwarnings("ignore:The provided params to be frozen already exist")
def test_a_front_that_is_unfrozen_while_training_trains_from_then_on(tmp_path):
    distiller, thaw = make_distiller(), Thaw()
    first = distiller.student[0].weight.detach().clone()
    make_trainer(tmp_path, 2, callbacks=[thaw]).fit(DistillationModule(distiller, preflight=False), *loaders())
    assert torch.equal(thaw.before, first)
    assert not torch.equal(distiller.student[0].weight, first)


def test_a_student_that_is_frozen_to_its_end_is_refused(tmp_path):
    distiller = make_distiller()
    distiller.student.requires_grad_(False)
    with pytest.raises(ValueError, match="DistillationModule has nothing to train: every parameter is frozen"):
        make_trainer(tmp_path).fit(DistillationModule(distiller, preflight=False), *loaders())


def frozen_on_one_of_two(rank, port, folder, found):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    torch.set_num_threads(1)
    seed_all(0)
    module = DistillationModule(frozen_front(), preflight=False)
    make_trainer(folder, devices=2, strategy="ddp").fit(module, *loaders())
    weights = module.distiller.student[-1].weight.detach().numpy()
    found[rank] = (weights, {k: v.item() for k, v in module.trainer.callback_metrics.items() if k in TAGS})
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_train_a_student_whose_front_is_frozen(tmp_path):
    (found,) = on_processes(frozen_on_one_of_two, 2, tmp_path)
    assert np.array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    torch.manual_seed(0)
    assert not np.array_equal(found[0][0], frozen_front().student[-1].weight.detach().numpy())


def refused_on_one_of_two(rank, port, folder, found):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    torch.set_num_threads(1)
    seed_all(0)
    images, labels = loaders()[0].dataset.tensors
    if rank == 1:
        images = images * float("nan")
    trainer = make_trainer(folder, devices=2, strategy="ddp", use_distributed_sampler=False)
    try:
        trainer.fit(DistillationModule(make_distiller()), DataLoader(TensorDataset(images, labels), 8))
    except Exception as error:
        found[rank] = f"{type(error).__name__}: {error}"


@pytest.mark.slow
def test_a_preflight_that_fails_on_one_process_stops_the_other(tmp_path):
    (found,) = on_processes(refused_on_one_of_two, 2, tmp_path)
    assert found[0].startswith("RuntimeError: the preflight failed on another process")
    assert "NaN" in found[1]


@pytest.mark.parametrize("moment", ["training_step", "validation_step", "test_step", "predict_step"])
def test_a_student_called_by_itself_leaves_no_states_behind(tmp_path, moment):
    """So that a callback can copy the module after each batch."""

    def run_alone(self, batch, batch_idx):
        images = batch[0]
        loss = self.distillers[0](*batch).loss if moment == "training_step" else None
        self.distillers[0].student(images.expand(2, *images.shape))
        return loss

    kind = type("Kind", (Own,), {moment: run_alone})
    module = kind(make_distiller())
    trainer = make_trainer(tmp_path, callbacks=[DistillationCallback(preflight=False)])
    train, test = loaders()
    if moment in ("training_step", "validation_step"):
        trainer.fit(module, train, test if moment == "validation_step" else None)
    else:
        getattr(trainer, moment.removesuffix("_step"))(module, test)
    assert not any(isinstance(getattr(m, "v", 0.0), torch.Tensor) for m in module.distillers[0].student.modules())
    copy.deepcopy(module.distillers[0])
