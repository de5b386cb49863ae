"""CKDSNN: the distiller with the two losses of the paper."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from .distiller import Distiller
from .networks.layer import LayerSpec
from .published.ckdsnn import BETA, GAMMA, ckd
from .step.arguments import Weight

__all__ = ["CKDDistiller"]


class CKDDistiller(Distiller):
    """CKDSNN (AAAI 2026, arXiv 2511.06902): cross-entropy + beta SAMD + gamma NLD.

    Args:
        teacher: any classifier; frozen here.
        student: any SpikingJelly network.
        time_steps: as for :class:`Distiller`.
        teacher_layer: where the class map is taken: a path, a module or a :class:`~spikingjelly_ckd.Layer`; None finds
            it.
        student_layer: where the spikes are taken; likewise.
        beta: weight of SAMD; a number of at least 0, ``"auto"``, ``"hold"`` or a :class:`~spikingjelly_ckd.Hold`.
        gamma: weight of NLD; a number of at least 0, ``"auto"``, ``"hold"`` or a :class:`~spikingjelly_ckd.Hold`.
        map_temperature: of SAMD's softmax over the positions.
        temperature: of NLD.
        noise_weight: of NLD.
        variant: ``"paper"``, or ``"released"`` for the formulas of the authors' code, see
            :func:`~spikingjelly_ckd.published.ckd`.
        target_class: class that the teacher's map is of: ``"teacher"``, its own first choice, or ``"label"``.
        negative: what negative values in the student's layer mean, see :class:`~spikingjelly_ckd.methods.SAMDLoss`.
        generator: random source of the noise, on the networks' device.
        **options: as for :class:`Distiller`.

    Raises:
        TypeError: as for :class:`Distiller`.
        ValueError: as for :class:`Distiller`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from spikingjelly.activation_based import layer, neuron
        >>> teacher = nn.Sequential(
        ...     nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
        >>> student = nn.Sequential(
        ...     layer.Conv2d(3, 4, 3, step_mode="m"), layer.BatchNorm2d(4, step_mode="m"),
        ...     neuron.LIFNode(step_mode="m"),
        ...     layer.AdaptiveAvgPool2d(1, step_mode="m"), layer.Flatten(step_mode="m"),
        ...     layer.Linear(4, 10, step_mode="m"))
        >>> out = CKDDistiller(teacher, student, time_steps=4)(torch.randn(2, 3, 8, 8), torch.tensor([3, 7]))
        >>> out.loss.backward()
        >>> sorted(out.terms), tuple(out.maps["student"].shape)
        (['nld', 'samd', 'task'], (2, 6, 6))
    """

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        *,
        time_steps: int | None = None,
        teacher_layer: LayerSpec | None = None,
        student_layer: LayerSpec | None = None,
        beta: Weight = BETA,
        gamma: Weight = GAMMA,
        map_temperature: float = 2.0,
        temperature: float = 2.0,
        noise_weight: float = 0.1,
        variant: Literal["paper", "released"] = "paper",
        target_class: Literal["teacher", "label"] = "teacher",
        negative: Literal["refuse", "abs", "sum"] = "refuse",
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> None:
        taken = {"losses", "layers"} & options.keys()
        if taken:
            raise TypeError(
                f"CKDDistiller has its own losses and layers, got {', '.join(sorted(taken))}: pass student_layer= and "
                "teacher_layer=, or use a Distiller"
            )
        method = ckd(
            variant,
            beta=beta,
            gamma=gamma,
            samd={"temperature": map_temperature, "target_class": target_class, "negative": negative},
            nld={"temperature": temperature, "noise_weight": noise_weight, "generator": generator},
        )
        self.variant = variant
        super().__init__(
            teacher,
            student,
            method.losses,
            layers={"samd": (student_layer, teacher_layer)},
            time_steps=time_steps,
            **options,
        )
