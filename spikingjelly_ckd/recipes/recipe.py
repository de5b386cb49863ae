"""A row of a results table as values that can be read, each with its source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_type_hints

from torch import nn

from .. import published
from .._renamed import old_names
from ..errors.arguments import ArgumentValueError
from ..errors.checks import check_choice
from ..methods.base import TargetClass
from ..step.method import Method
from ..step.time_steps import StudentSteps
from .data import Data, DataOptions
from .method_parts import TaskLoss, describe, needs_teacher, with_task_loss
from .methods import read_method
from .models.memory import MemoryBudget
from .models.neurons import NeuronName, SurrogateName
from .models.norms import NormName
from .models.resnet import LastActivation
from .names import shown
from .sources import Sourced, cited, ours, paper, released
from .type_hints import without_none, words_of
from .value_checks import check_values

__all__ = [
    "CHOICES",
    "DEFAULTS",
    "OF_BUILDER",
    "OF_CKD",
    "Optimizer",
    "Precision",
    "Recipe",
    "Variant",
    "cited",
    "ours",
    "paper",
    "released",
]

__getattr__ = old_names(__name__, f"{__package__}.command_line")  # parse, command_line, default_workers

Variant = Literal["paper", "released"]
Optimizer = Literal["sgd", "adamw"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Weight = float | Literal["auto", "hold"]
OF_CKD = ("variant", "map_temperature", "temperature", "noise_weight", "beta", "gamma", "target_class")
"""Values of a recipe that no other method uses."""
OF_BUILDER = ("last_activation", "neuron", "tau", "surrogate", "detach_reset", "norm")
"""Values of a recipe that the student's function gets."""
FROM_TEACHER = ("teacher", SCALED := "scaled")
"""Values of :attr:`Recipe.init` that take the teacher's weights; any other is a path."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides about the outcome of a row, apart from the seed.

    A value written as ``paper(x)``, ``released(x)``, ``ours(x)`` or ``cited(x, source)`` is stored as ``x``, and
    ``sources`` keeps where it came from. Most have no default on purpose: a recipe is read, not looked up.

    Attributes:
        name: of the row, and of the folder of its runs.
        paper_accuracy: percent, as reported; None for a set of one's own.
        data: loads it, ``(root, DataOptions) -> Data``.
        student: makes the spiking network from those of ``num_classes``, ``in_channels``, ``size`` and ``time_steps``
            that it takes, such as :func:`~spikingjelly_ckd.recipes.models.spiking_resnet19`.
        teacher: makes the ANN likewise, without ``time_steps``.
        time_steps: ``T``.
        student_steps: how the student takes its time steps: ``"multi"``, frames ``[T, N, C, H, W]`` in one call;
            ``"loop"``, a single-step network, called once a time step; ``"internal"``, images ``[N, C, H, W]``, which
            it repeats by itself.
        size: height and width of the input, pixels.
        split: of event data, by name.
        crop_padding: of a random crop, pixels; 0 for none.
        resized_crop: a random part of the image, as on ImageNet.
        flip: random horizontal flip.
        auto_augment: ``"cifar10"`` for AutoAugment's policy, or a policy string of timm.
        erase: probability of random erasing.
        roll: largest random shift of event frames, pixels.
        nda: neuromorphic data augmentation.
        cutout: side of a square that is blanked out, pixels; 0 for none.
        mixup: alpha of timm's mixup; 0 for none.
        cutmix: alpha of timm's cutmix; 0 for none.
        mixup_off_epoch: from which epoch on, counted from 0, no images are mixed; 0 for to the end.
        epochs: of the student.
        batch_size: on each device.
        lr: of SGD or AdamW, for that batch.
        optimizer: ``"sgd"`` or ``"adamw"``.
        momentum: of SGD.
        weight_decay: on all parameters.
        norm_decay: whether ``weight_decay`` is on parameters with at most one axis too: of normalisations, and biases.
        warmup_epochs: linear; then cosine to 0.
        amp: Lightning's precision: ``"32-true"``, ``"bf16-mixed"``, ``"16-mixed"``.
        clip: largest gradient norm; 0 for no limit.
        accumulate: batches for each optimiser step.
        ema: decay of the weights' moving average; 0 for none.
        early_stop: end where the validation part was no better for so many epochs; 0 for all epochs. The learning rate
            follows the schedule of ``epochs``.
        memopt: gradient checkpointing of the student's neurons, ``"speed"``, ``"balanced"`` or ``"memory"``, see
            :func:`~spikingjelly_ckd.recipes.models.memory.checkpoint_neurons`; None for none.
        accelerate: make steps cheaper by what pays on this machine and agrees, see
            :func:`~spikingjelly_ckd.accelerate`; the record says what.
        sync_bn: BatchNorm of the student over the images of all processes.
        eval_time_steps: ``T`` for evaluation, of images; None for ``time_steps``.
        init: ``"teacher"``, or path of a file, whose weights the student begins with where they fit by name and shape;
            ``"scaled"`` for those of the teacher with thresholds to them, see
            :func:`~spikingjelly_ckd.recipes.thresholds.balance_thresholds`; None for its first weights.
        method: a text for :func:`~spikingjelly_ckd.recipes.methods.read_method`, such as ``"kd"``, ``"kd:weight=0.5"``
            or ``"mymethods:build"``. ``"ckd"`` takes the seven values from ``variant`` to ``target_class``, which are
            of no other method.
        task_loss: ``"ce"``, cross-entropy of the mean logits, or ``"tet"``, that of every time step; None for the
            method's own.
        label_smoothing: of the student's task loss, 0 to below 1.
        last_activation: of the student's last block, ``"spike"`` or ``"relu"``; None for what its function has by
            itself, or what the method needs.
        neuron: of the student, by name, see :func:`~spikingjelly_ckd.recipes.models.make_neuron`; None likewise, as for
            the four values that follow.
        tau: its time constant.
        surrogate: its surrogate gradient, by name.
        detach_reset: whether the gradient does not flow through its reset.
        norm: normalisation of the student, by name, see :func:`~spikingjelly_ckd.recipes.models.make_norm`.
        variant: of CKD: ``"paper"`` or ``"released"``.
        map_temperature: of SAMD.
        temperature: of NLD.
        noise_weight: of NLD.
        beta: weight of SAMD; a number, ``"auto"`` or ``"hold"``.
        gamma: weight of NLD; a number, ``"auto"`` or ``"hold"``.
        target_class: of the teacher's map: ``"teacher"`` or ``"label"``.
        student_layer: path; None finds the last stage.
        teacher_layer: path; None finds the last stage.
        teacher_epochs: if the teacher has to be trained first.
        teacher_lr: likewise.
        sources: name of each marked value -> where it is from.

    Raises:
        ValueError: an unknown choice, or a number out of range.

    Example:
        >>> from spikingjelly_ckd.recipes.compare.flags import RECIPE
        >>> Recipe(**vars(RECIPE) | {"lr": paper(0.1)}).sources["lr"]
        'paper'
    """

    name: str
    paper_accuracy: float | None
    data: Callable[[Path | str, DataOptions], Data]
    student: Callable[..., nn.Module]
    teacher: Callable[..., nn.Module]
    time_steps: int
    student_steps: StudentSteps = "multi"
    size: int
    split: str | None = None
    crop_padding: int = 0
    resized_crop: bool = False
    flip: bool = False
    auto_augment: str = ""
    erase: float = 0.0
    roll: int = 0
    nda: bool = False
    cutout: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0
    mixup_off_epoch: int = 0
    epochs: int
    batch_size: int
    lr: float
    optimizer: Optimizer = "sgd"
    momentum: float
    weight_decay: float
    norm_decay: bool = True
    warmup_epochs: int
    amp: Precision
    clip: float = 0.0
    accumulate: int = 1
    ema: float = 0.0
    early_stop: int = 0
    memopt: MemoryBudget | None = None
    accelerate: bool = False
    sync_bn: bool = False
    eval_time_steps: int | None = None
    init: str | None = None
    method: str = "ckd"
    task_loss: TaskLoss | None = None
    label_smoothing: float = 0.0
    last_activation: LastActivation | None = None
    neuron: NeuronName | None = None
    tau: float | None = None
    surrogate: SurrogateName | None = None
    detach_reset: bool | None = None
    norm: NormName | None = None
    variant: Variant = "paper"
    map_temperature: float
    temperature: float
    noise_weight: float
    beta: Weight
    gamma: Weight
    target_class: TargetClass = "teacher"
    student_layer: str | None = None
    teacher_layer: str | None = None
    teacher_epochs: int
    teacher_lr: float
    sources: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sources = dict(self.sources)
        for name, value in list(vars(self).items()):
            if isinstance(value, Sourced):
                object.__setattr__(self, name, value.value)
                sources[name] = value.source
        object.__setattr__(self, "sources", sources)
        for name, known in CHOICES.items():
            if getattr(self, name) is not None or name not in OPTIONAL:
                check_choice(name, getattr(self, name), known)
        check_values(vars(self))
        self._fit_method()

    def _fit_method(self) -> None:
        """Take the last activation that the method needs; raise where the method cannot be read, or be used here."""
        needs = self.read_method().student
        if self.time_steps < needs.time_steps:
            raise ArgumentValueError(
                "time_steps", f"must be at least {needs.time_steps} for the method {self.method}, got {self.time_steps}"
            )
        for name, value in needs.builder_options().items():
            given = getattr(self, name)
            if given is None:
                object.__setattr__(self, name, value)
                self.sources[name] = f"needed by {self.method}"
            elif given != value:
                raise ArgumentValueError(name, f"must be {value!r} for the method {self.method}, got {given!r}")

    def read_method(self) -> Method:
        """The method as a value, with this recipe's task loss; ``"ckd"`` with its weights and temperatures."""
        method = self._ckd() if self.method == "ckd" else read_method(self.method)
        return with_task_loss(method, self.task_loss, self.label_smoothing)

    @property
    def uses_teacher(self) -> bool:
        """Whether a loss of the method compares with a teacher, or the student begins with its weights."""
        return self.init in FROM_TEACHER or needs_teacher(self.read_method())

    @property
    def evaluated_steps(self) -> int:
        """``T`` of the student that a run measures and writes."""
        return self.eval_time_steps or self.time_steps

    def _ckd(self) -> Method:
        return published.ckd(
            self.variant,
            beta=self.beta,
            gamma=self.gamma,
            samd={"temperature": self.map_temperature, "target_class": self.target_class},
            nld={"temperature": self.temperature, "noise_weight": self.noise_weight},
        )

    def build_options(self) -> dict[str, Any]:
        """Keywords for the student's function beside those that follow from the data."""
        options = {name: getattr(self, name) for name in OF_BUILDER if getattr(self, name) is not None}
        return options | ({"norm_steps": self.time_steps} if self.norm == "tebn" else {})

    def step_options(self) -> dict[str, Any]:
        """How a distiller hands batches of the loaders to the student."""
        return {"time_steps": self.time_steps, "student_steps": self.student_steps, "batch_first": True}

    def data_options(self, **more: Any) -> DataOptions:
        """The part that the data need, with what else the command line says."""
        names = {item.name for item in fields(DataOptions)} & {item.name for item in fields(self)}
        return DataOptions(**{name: getattr(self, name) for name in names}, **more)

    def to_json(self) -> dict[str, Any]:
        """The values as plain data, functions by name; with the parts of a method other than CKD and plain training."""
        own = self.method in ("ckd", "plain")
        left_out = ("sources", *(() if own else OF_CKD))
        values = {item.name: shown(getattr(self, item.name)) for item in fields(self) if item.name not in left_out}
        return values if own else {**values, "parts": describe(self.read_method())}

    def __str__(self) -> str:
        """One line for each value, with its source beside it."""
        values, source = self.to_json(), self.read_method().source
        parts = {f"method.{name}": text for name, text in values.pop("parts", {}).items()}
        sources = self.sources | dict.fromkeys(parts, source)
        rows = [(name, str(value), sources.get(name, "")) for name, value in {**values, **parts}.items()]
        wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
        return "\n".join(f"{a:{wide[0]}}  {b:{wide[1]}}  {c}".rstrip() for a, b, c in rows)


_HINTS = get_type_hints(Recipe)
OPTIONAL = {name for name, hint in _HINTS.items() if without_none(hint) is not hint}
CHOICES = {name: words for name, hint in _HINTS.items() if (words := words_of(hint))}
"""Value of a recipe that is one of several words -> these words."""
DEFAULTS: dict[str, Any] = {
    item.name: item.default for item in fields(Recipe) if item.default is not MISSING and item.name not in OF_CKD
}
"""What a setting of every method is in a record of a version that did not know it yet."""
