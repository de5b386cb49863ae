"""The maps in TensorBoard: what they show, that a training has the same bits with them, and that none ends for them."""

import random
import warnings

import numpy as np
import pytest
import torch
from conftest import tiny_student, tiny_teacher
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from spikingjelly_ckd import CKDDistiller, Distiller
from spikingjelly_ckd.methods import KDLoss
from spikingjelly_ckd.recipes.data import Data
from spikingjelly_ckd.recipes.training import DistillationModule
from spikingjelly_ckd.recipes.training.map_images import MAP_IMAGES, MapImages, fixed_images

IMAGES, LABELS = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(16) % 5


class Dropped(nn.Sequential):
    """A student that draws random numbers in every step."""

    def __init__(self):
        super().__init__(*tiny_student())
        self.insert(6, nn.Dropout(0.2))


def distiller(kind="ckd"):
    torch.manual_seed(0)
    teacher, student = tiny_teacher(), Dropped()
    if kind == "ckd":
        return CKDDistiller(teacher, student, time_steps=2)
    if kind == "kd":
        return Distiller(teacher, student, {"kd": (KDLoss(), 1.0)}, time_steps=2)
    return Distiller(None, student, {}, time_steps=2)


def trained(folder, kind="ckd", *, load=None, logger=TensorBoardLogger, epochs=2):
    module = DistillationModule(distiller(kind), preflight=False)
    loaders = [DataLoader(TensorDataset(IMAGES, LABELS), 4) for _ in range(2)]
    callback = MapImages(load) if load else None
    torch.manual_seed(3)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=logger(folder, name="", version=""),
        callbacks=[callback] if callback else [],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
        log_every_n_steps=1,
    )
    trainer.fit(module, *loaders)
    return module


def shown(folder):
    events = EventAccumulator(str(folder), {"images": 0})
    events.Reload()
    return {tag: [event.step for event in events.Images(tag)] for tag in events.Tags()["images"]}


@pytest.mark.parametrize("kind", ["ckd", "kd", "plain"])
def test_a_training_has_the_same_bits_with_the_maps(kind, tmp_path):
    looked = trained(tmp_path / "with", kind, load=lambda: (IMAGES[:3], LABELS[:3]))
    alone = trained(tmp_path / "without", kind)
    assert shown(tmp_path / "with") == {"maps": [1, 2]}
    assert shown(tmp_path / "without") == {}
    for name, value in alone.state_dict().items():
        assert torch.equal(value, looked.state_dict()[name]), name


def test_nothing_is_left_behind(tmp_path):
    module = DistillationModule(distiller(), preflight=False)
    module.distiller(IMAGES[:4], LABELS[:4]).loss.backward()
    module.train()
    modes = [child.training for child in module.modules()]
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    gradients = [parameter.grad for parameter in module.parameters()]
    calls = []
    module.distiller.teacher.register_forward_pre_hook(lambda *_: calls.append(1))
    callback = MapImages(lambda: (IMAGES[:3], LABELS[:3]))
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    pictures = [callback._draw(trainer, module) for _ in range(3)]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]
    assert all(torch.equal(pictures[0], picture) for picture in pictures)
    assert pictures[0].dtype == torch.uint8
    assert len(calls) == 1, "a frozen teacher says the same of the same images"
    assert [child.training for child in module.modules()] == modes
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in module.named_buffers())
    assert all(a is b for a, b in zip(gradients, (p.grad for p in module.parameters()), strict=True))
    assert not any(child._forward_hooks for child in module.modules())


def test_no_other_logger_gets_maps_and_none_are_computed(tmp_path):
    asked = []

    def load():
        asked.append(1)
        return IMAGES[:3], LABELS[:3]

    trained(tmp_path, load=load, logger=CSVLogger, epochs=1)
    assert not asked


def test_a_picture_that_cannot_be_made_ends_no_training(tmp_path):
    asked = []

    def load():
        asked.append(1)
        raise ValueError("a broken file")

    with pytest.warns(UserWarning, match=r"no maps are drawn for TensorBoard: a broken file"):
        looked = trained(tmp_path / "broken", load=load)
    assert len(asked) == 1
    assert shown(tmp_path / "broken") == {}
    alone = trained(tmp_path / "alone")
    assert all(torch.equal(value, looked.state_dict()[name]) for name, value in alone.state_dict().items())


def test_a_silent_student_is_drawn_as_such(tmp_path):
    module = DistillationModule(distiller(), preflight=False)
    for child in module.distiller.student.modules():
        if hasattr(child, "v_threshold"):
            child.v_threshold = 1e9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        callback = MapImages(lambda: (IMAGES[:2], LABELS[:2]))
        callback._draw(Trainer(accelerator="cpu", logger=False, enable_checkpointing=False), module)


class Counted(torch.utils.data.Dataset):
    """Draws from every source, as a careless transform does."""

    def __init__(self, count):
        self.count, self.asked = count, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.asked.append(index)
        return torch.rand(3, 8, 8) + np.random.rand() + random.random(), index % 5


@pytest.mark.parametrize(("count", "rows"), [(80, [0, 10, 20, 30, 40, 50, 60, 70]), (3, [0, 1, 2])])
def test_the_images_are_the_same_in_every_run(count, rows):
    names = tuple("abcde")
    part = Counted(count)
    data = Data("own", part, Counted(9), names, 3, 8, None, None, False, "own", "", True, validation=part)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    first, labels = fixed_images(data)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]
    assert part.asked == rows
    assert len(first) == len(rows) <= MAP_IMAGES
    assert labels.tolist() == [row % 5 for row in rows]
    torch.rand(7)
    assert torch.equal(fixed_images(data)[0], first)
