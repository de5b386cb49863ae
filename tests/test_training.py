"""Loading and training: batches that repeat, the schedule, and Lightning modules on a real Trainer."""

import csv
import os
import random
import socket
from dataclasses import replace

import numpy as np
import pytest
import tiny_nets
import torch
from conftest import tiny_student, tiny_teacher
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from timm.data import Mixup
from torch import distributed, nn
from torch import multiprocessing as mp
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, Dataset, TensorDataset

from spikingjelly_ckd import CKDDistiller, Distiller
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
)

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
    assert {name.removeprefix("distiller.student.") for name in saved} == set(distiller.student.state_dict())

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


def test_nan_in_the_test_set_is_no_wrong_answer(tmp_path):
    images, labels = torch.rand(8, 3, 8, 8), torch.arange(8) % 4
    images[5, 0, 0, 0] = torch.nan
    loader = DataLoader(TensorDataset(images, labels), batch_size=4)
    with pytest.raises(ValueError, match="the test set holds NaN or inf, which would count as wrong answers"):
        make_trainer(tmp_path).validate(ClassifierModule(tiny_teacher()), loader, verbose=False)


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
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    torch.set_num_threads(1)
    found[rank] = figures_of_the_test_set(folder, devices=2, strategy="ddp")
    distributed.destroy_process_group()


def test_two_processes_with_an_odd_test_set_find_the_figures_of_one(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    with mp.Manager() as manager:
        found = manager.dict()
        mp.spawn(one_of_two, args=(port, tmp_path, found), nprocs=2)
        found = dict(found)
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
