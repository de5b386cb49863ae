"""One arm in training: its student and losses, optimiser, schedule and history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from ...distiller import Distiller, StepOutput
from ...networks.compat import use_fast_neurons
from ...step.output import Observation
from ..build import Built, build_student
from ..data import Data
from ..data.loading import seed_all
from ..distillers import make_distiller
from ..models import checkpoint_neurons
from ..options import Run
from ..recipe import Recipe
from ..start import initial_weights, scaled, start_from
from ..teacher_input import Teacher
from ..thresholds import set_thresholds
from ..training.figures import cosine_with_warmup
from ..training.training_module import make_optimizer
from .arms import Arm
from .costs import gradient_share

__all__ = ["ArmState", "autocast"]


@dataclass
class ArmState:
    """One arm in training.

    Attributes:
        arm: what it is.
        student: the network and how it was made.
        distiller: its student and losses.
        optimizer: of the student and of parameters of the losses.
        schedule: of the learning rate, for every step.
        history: see :class:`~spikingjelly_ckd.recipes.comparison.records.ArmRecord`.
        failed: why it was taken out; None while it trains.
        skipped: images that losses left out.
        times: seconds of timed steps.
        init: with whose weights it began, see :func:`~spikingjelly_ckd.recipes.start.start_student`; None for the first
            weights of its network. ``accuracy`` is there once the training has begun.
    """

    arm: Arm
    student: Built
    distiller: Distiller
    optimizer: torch.optim.Optimizer
    schedule: LambdaLR
    history: list[dict[str, float]] = field(default_factory=list)
    failed: str | None = None
    skipped: int = 0
    times: list[float] = field(default_factory=list)
    init: dict[str, Any] | None = None

    @classmethod
    def begin(
        cls,
        arm: Arm,
        run: Run,
        data: Data,
        teacher: Teacher | None,
        *,
        example: Tensor,
        steps: int,
        memory_format: torch.memory_format,
    ) -> ArmState:
        """An arm before its first step; its first weights follow from the seed of the run.

        Args:
            arm: which.
            run: its seed and device.
            data: for the shapes of the networks.
            teacher: None where no arm uses one, nor begins with its weights.
            example: images on which layers are chosen.
            steps: of an epoch.
            memory_format: of the student.

        Raises:
            FileNotFoundError: there is no such file of weights.
            TypeError: as :func:`~spikingjelly_ckd.recipes.build.build_student`.
            ValueError: the student, or the teacher, lacks what the method needs, or no weight fits.
        """
        recipe = arm.recipe
        built = build_student(recipe, run, data)
        student = built.network.to(run.torch_device).to(memory_format=memory_format)  # type: ignore[call-overload]
        use_fast_neurons(student, dtype=torch.float32 if recipe.amp == "32-true" else torch.bfloat16)
        init = None
        if recipe.init is not None:
            source, weights = initial_weights(recipe.init, teacher)
            init = {"source": source, **start_from(student, weights)}
        seed_all(run.seed, 1)  # first weights of losses that have some
        distiller = make_distiller(recipe, data, teacher, student, example=example)
        if recipe.memopt is not None:
            checkpoint_neurons(student, lambda: distiller.predict(example), recipe.memopt)
        optimizer = make_optimizer(
            distiller.parameters(),
            recipe.optimizer,
            recipe.lr,
            recipe.momentum,
            recipe.weight_decay,
            norm_decay=recipe.norm_decay,
        )
        factor = cosine_with_warmup(recipe.epochs, steps, recipe.warmup_epochs)
        return cls(arm, built, distiller, optimizer, LambdaLR(optimizer, factor), init=init)

    def scale(self, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Thresholds to the first weights, of an arm whose ``init`` is ``"scaled"``.

        Args:
            batches: of the training part, on the device.

        Raises:
            ValueError: no neuron has a number as its threshold.
        """
        self.init = (self.init or {}) | scaled(self.distiller.student, self.distiller, batches)

    def backward(self, images: Tensor, labels: Tensor, seen: Observation | None) -> StepOutput:
        """Forward and backward of one batch; gradients are there afterwards, nothing has learned.

        Args:
            images: on the device.
            labels: likewise.
            seen: of the teacher; None for an arm without one.
        """
        out = self._forward(images, labels, seen, 0.0)
        torch.autograd.backward(self.arm.factor * out.loss)
        return out

    def step(
        self, images: Tensor, labels: Tensor, seen: Observation | None, progress: float, *, measured: bool
    ) -> tuple[dict[str, Tensor], float | None]:
        """One step: its terms, and where it is ``measured`` the share of the distillation in the gradient.

        Args:
            images: as for :meth:`backward`.
            labels: likewise.
            seen: likewise.
            progress: of the training, from 0 to 1.
            measured: whether to measure the share, which takes two more backward passes.
        """
        out = self._forward(images, labels, seen, progress)
        share = gradient_share(out, self.distiller.student) if measured else None
        torch.autograd.backward(self.arm.factor * out.loss)
        if self.arm.recipe.clip:
            nn.utils.clip_grad_norm_(self.distiller.parameters(), self.arm.recipe.clip)
        self.optimizer.step()
        self.schedule.step()
        self.skipped += int(out.skipped)
        return {"loss": out.loss.detach(), **out.terms}, share

    def _forward(self, images: Tensor, labels: Tensor, seen: Observation | None, progress: float) -> StepOutput:
        self.distiller.train()
        self.distiller.progress(progress)
        self.optimizer.zero_grad()
        with autocast(self.arm.recipe, images.device):
            out: StepOutput = self.distiller(images, labels, seen)
        return out

    def state(self) -> dict[str, Any]:
        """Everything that a checkpoint needs, as tensors and plain data."""
        parts = {name: getattr(self, name).state_dict() for name in ("distiller", "optimizer", "schedule")}
        return parts | {name: getattr(self, name) for name in ("history", "failed", "skipped", "times", "init")}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        for name in ("distiller", "optimizer", "schedule"):
            getattr(self, name).load_state_dict(saved[name])
        self.history, self.failed = list(saved["history"]), saved["failed"]
        self.skipped, self.times, self.init = saved["skipped"], list(saved["times"]), saved.get("init")
        set_thresholds(self.distiller.student, (self.init or {}).get("thresholds") or {})


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    """The precision of a recipe."""
    if recipe.amp == "32-true":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
