"""Students and modules as others write them, on a Trainer and in a loop of their own."""

import copy

import pytest
import torch
from conftest import tiny_student, tiny_teacher
from lightning.pytorch import Callback, Trainer
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from spikingjelly_ckd import CKDDistiller
from spikingjelly_ckd.recipes.training import DistillationModule


def make_distiller(student=None, **options) -> CKDDistiller:
    teacher = tiny_teacher()
    teacher[-1].weight.data.abs_()
    layers = {"teacher_layer": "4", "student_layer": "5"}
    return CKDDistiller(teacher, student or tiny_student(), time_steps=2, **{**layers, **options})


def loader() -> DataLoader:
    generator = torch.Generator().manual_seed(2)
    images, labels = torch.randn(16, 3, 8, 8, generator=generator), torch.arange(16) % 5
    images[:, 0] += labels.view(-1, 1, 1)
    return DataLoader(TensorDataset(images, labels), 8)


def fit(module, *callbacks, epochs=1) -> Trainer:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(max_epochs=epochs, accelerator="cpu", devices=1, callbacks=[*callbacks], **quiet)
    trainer.fit(module, loader(), loader())
    return trainer


def keeps_states(student: nn.Module) -> bool:
    return any(isinstance(getattr(module, "v", 0.0), torch.Tensor) for module in student.modules())


@pytest.mark.parametrize("beta", [1.0, "auto"])
def test_a_student_whose_front_is_frozen_passes_the_preflight_and_trains(beta):
    student = tiny_student()
    student[:2].requires_grad_(False)
    before = student[-1].weight.detach().clone()
    frozen = student[0].weight.detach().clone()
    trainer = fit(DistillationModule(make_distiller(student, beta=beta), lr=0.1))
    assert trainer.callback_metrics["train_loss"].isfinite()
    assert not torch.equal(student[-1].weight, before)
    assert torch.equal(student[0].weight, frozen)


class Checkpointed(nn.Module):
    """Its neurons run again in ``backward``, after their states were reset."""

    def __init__(self) -> None:
        super().__init__()
        self.net = tiny_student()

    def forward(self, frames):
        return self.net[4:](checkpoint(self.net[:4], frames, use_reentrant=False))


class Copies(Callback):
    """Copies the whole module wherever Lightning lets it."""

    copied = 0

    def _copy(self, trainer, pl_module, *_):
        assert copy.deepcopy(pl_module.distiller).teacher is pl_module.distiller.teacher
        self.copied += 1

    on_train_batch_start = on_before_optimizer_step = on_train_batch_end = on_validation_end = on_train_end = _copy


def test_a_checkpointed_student_can_be_copied_at_every_moment():
    copies = Copies()
    fit(DistillationModule(make_distiller(Checkpointed(), student_layer="net.5"), preflight=False), copies)
    assert copies.copied > 5


def test_in_a_loop_of_ones_own_a_checkpointed_student_can_be_averaged():
    distiller = make_distiller(Checkpointed(), student_layer="net.5")
    for images, labels in loader():
        distiller(images, labels).loss.backward()
        average = AveragedModel(distiller)
    assert not keeps_states(average.module.student)


def test_a_student_evaluated_outside_of_the_distiller_changes_no_step_and_can_be_copied():
    ends = []
    for alone in (False, True):
        torch.manual_seed(0)
        distiller = make_distiller(gamma=0.0)
        optimizer = torch.optim.SGD(distiller.parameters(), 0.1)
        for images, labels in loader():
            optimizer.zero_grad()
            distiller(images, labels).loss.backward()
            optimizer.step()
            if alone:
                distiller.student.eval()(images.expand(2, *images.shape))  # with a graph, and states that stay
                distiller.student.train()
                copy.deepcopy(distiller)
        ends.append(distiller.student[-1].weight.detach().clone())
    assert torch.equal(*ends)


def synchronised(size: int) -> str:
    """What a step with ``SyncBatchNorm`` in the student is refused with, notes included."""
    images, labels = torch.randn(size, 3, 8, 8), torch.arange(size) % 5
    with pytest.raises((ValueError, RuntimeError)) as caught:
        nn.SyncBatchNorm.convert_sync_batchnorm(make_distiller())(images, labels)
    return "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])


@pytest.mark.parametrize("size", [4, 6], ids=["other than the channels", "as many images as channels"])
def test_a_normalisation_that_takes_images_for_channels_is_named(size):
    message = synchronised(size)
    assert "SyncBatchNorm" in message
    assert "sync_batchnorm=True of Lightning" in message
