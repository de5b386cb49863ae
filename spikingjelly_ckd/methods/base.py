"""The base class of every loss, and the term that a loss returns."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, TypeVar, cast, get_args

import torch
from torch import Size, Tensor, nn

from ..errors.renamed import renamed_method
from ..errors.shapes import check_shapes
from ..functional.maps import at_least_float32
from .signals import HEAD_MISFIT, NEEDS, NEEDS_OF, LinearHead, Signals, TeacherOutput

__all__ = [
    "HEAD_MISFIT",
    "LAYER_CHOICES",
    "NEEDS",
    "NEEDS_OF",
    "TARGET_CLASSES",
    "DistillationLoss",
    "LayerChoice",
    "LinearHead",
    "Signals",
    "TargetClass",
    "TeacherOutput",
    "Term",
    "one_layer",
]

_Item = TypeVar("_Item", Tensor, Size)

TargetClass = Literal["teacher", "label"]
"""Class that a class map is of: the teacher's own first choice, or the label's."""
TARGET_CLASSES: tuple[TargetClass, ...] = get_args(TargetClass)

LayerChoice = Literal["last", "middle", "stages"]
LAYER_CHOICES: tuple[LayerChoice, ...] = get_args(LayerChoice)
"""Layers that are found where none is given: the last that serves; one for each size of map, as many on both sides,
shallow to deep; or the middle one of these."""


def one_layer(layers: Sequence[_Item], loss: object, role: str) -> _Item:
    """The one layer, or its shape, of ``layers``, those of one network.

    Args:
        layers: recorded layers of one network, or their shapes.
        loss: that compares them, for the message.
        role: ``"student"`` or ``"teacher"``, for the message.

    Raises:
        ValueError: there are none, or several.

    Example:
        >>> one_layer([torch.ones(1)], None, "student")
        tensor([1.])
    """
    if len(layers) != 1:
        raise ValueError(
            f"{type(loss).__name__} compares one student layer with one teacher layer, got {len(layers)} of the "
            f"{role}; add one loss for each pair"
        )
    return layers[0]


@dataclass(frozen=True)
class Term:
    """One loss's part of a step.

    Attributes:
        value: the loss, scalar, unweighted, with its graph.
        maps: ``{"student", "teacher"}``, each ``[N, h, w]``, detached, as they were compared.
        skipped: how many images the loss had to leave out, integer scalar on the device.
        violations: message -> boolean scalar on the device, true where the step must not be trained on. They are read
            together, once a step.

    Example:
        >>> import torch
        >>> from spikingjelly_ckd.methods import SAMDLoss
        >>> spikes = torch.randint(0, 2, (4, 2, 3, 4, 4)).float()  # [T, N, C, h, w]
        >>> maps = torch.stack([torch.arange(16.0).view(4, 4), torch.ones(4, 4)])  # the second is constant
        >>> term = SAMDLoss().compute(spikes, maps)
        >>> term.value.ndim, sorted(term.maps), term.skipped
        (0, ['student', 'teacher'], tensor(1))
    """

    value: Tensor
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    skipped: Tensor | None = None
    violations: Mapping[str, Tensor] = field(default_factory=dict)


class DistillationLoss(nn.Module):
    """Base of every distillation loss: what it takes of a step, and a ``forward`` on plain tensors.

    A subclass names what it takes, fields of :class:`Signals` in the order of its ``forward``, and computes a scalar,
    or one value for each image ``[N]``, in ``forward(student tensor, teacher tensor, ...)``. It never sees a network or
    a layer path. Losses compute in fp32 or wider, so their parameters stay in fp32 where a distiller is converted to
    half precision; :meth:`double` converts them.

    Attributes:
        takes: fields of :class:`Signals` in the order of ``forward``, keys of :data:`NEEDS_OF`. A loss that compares
            one layer of each network (``layer_choice`` ``"last"`` or ``"middle"``) gets the layer in place of the
            tuple.
        needs: keys of :data:`NEEDS`, what the distiller has to compute. It follows from ``takes``; a class or an object
            may have its own, such as one whose ``select`` reads other fields.
        layer_choice: layers to find where the user gives none, one of :data:`LAYER_CHOICES`.
        target_class: class whose score the gradients are of: ``"teacher"``, its own first choice, or ``"label"``.
        num_classes: classes of the networks, for a loss with heads of its own; the distiller sets it before
            :meth:`build` where it is None. 0 where no head needs it.
        built_for_batch: whether :meth:`build` needs an example of as many images as every batch will have.

    Raises:
        TypeError: at the definition of a subclass: ``takes`` or ``needs`` is a text instead of a tuple.
        ValueError: at the definition of a subclass: ``takes`` names no such field, or one that ``needs`` leaves out.

    Example:
        >>> import torch
        >>> class LogitMSE(DistillationLoss):
        ...     takes = ("student_logits", "teacher_logits")
        ...     def forward(self, student, teacher):
        ...         return (student - teacher).square().mean(dim=1)
        >>> LogitMSE.needs
        ('logits',)
        >>> LogitMSE().compute(torch.zeros(4, 2), torch.ones(4, 2)).value
        tensor(1.)
    """

    takes: ClassVar[tuple[str, ...]] = ()
    needs: tuple[str, ...] = ()
    layer_choice: ClassVar[LayerChoice] = "last"
    target_class: TargetClass = "teacher"
    num_classes: int | None = 0
    built_for_batch: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _accept_old_names(cls)
        for name in ("takes", "needs"):
            if isinstance(getattr(cls, name), str):
                raise TypeError(f"{cls.__name__}.{name} must be a tuple of texts, got {getattr(cls, name)!r}")
        unknown = [name for name in cls.takes if name not in NEEDS_OF]
        if unknown:
            raise ValueError(
                f"{cls.__name__}.takes must name fields of {list(NEEDS_OF)}, got {unknown}; for anything else define "
                "select(signals) and needs"
            )
        following = {need for name in cls.takes for need in NEEDS_OF[name]}
        if "features" in following:  # it stands for both networks
            following.discard("student_features")
        if "takes" in vars(cls) and "needs" not in vars(cls):
            cls.needs = tuple(need for need in NEEDS if need in following)
        needs = set(cls.needs) if isinstance(cls.needs, Collection) else following  # a property is not read here
        forgotten = sorted(following - needs - ({"student_features"} if "features" in needs else set()))
        if forgotten and cls.select is DistillationLoss.select:
            raise ValueError(
                f"{cls.__name__}.takes is {cls.takes}, and its needs {tuple(cls.needs)} leave out {forgotten}; add "
                "them, or define takes alone, from which needs follow"
            )

    def select(self, signals: Signals) -> tuple[Any, ...]:
        """The arguments of ``forward``: what ``takes`` names.

        Args:
            signals: of the step.

        Raises:
            NotImplementedError: ``takes`` is empty.
            ValueError: as for :meth:`take`.
        """
        if not self.takes:
            raise NotImplementedError(
                f"{type(self).__name__} must say what it takes (takes = fields of Signals), or define select(signals)"
            )
        return tuple(self.take(signals, name) for name in self.takes)

    def take(self, signals: Signals, name: str) -> Any:
        """One field of ``signals``; of layers the one layer, where this loss compares one of each network.

        Args:
            signals: of the step.
            name: of the field, a key of :data:`NEEDS_OF`.

        Raises:
            ValueError: the field is not there, which names what ``needs`` left out; or not exactly one layer is.
        """
        value = getattr(signals, name)
        if value is None or (isinstance(value, tuple) and not value):
            needs = " and ".join(repr(need) for need in NEEDS_OF[name])
            raise ValueError(
                f"{type(self).__name__} takes {name}, which these signals do not hold: they hold it if needs names "
                f"{needs}, and needs is {tuple(self.needs)}"
            )
        if name.endswith(("features", "gradients")) and self.layer_choice != "stages":
            return one_layer(value, self, name.partition("_")[0])
        return value

    def class_map(self, signals: Signals) -> Tensor:
        """The teacher's class map, ``[N, h, w]``, for a loss that uses nothing else of the teacher's layers.

        ``select`` gets its map here too, so that a cached one, ``signals.class_map``, serves as well.

        Args:
            signals: of one step.
        """
        raise NotImplementedError(f"{type(self).__name__} compares no class map of the teacher")

    def compute(self, *selected: Any) -> Term:
        """``forward`` as a :class:`Term`; the distiller calls this.

        A loss with more to report overrides it and ends in :meth:`term`.

        Args:
            *selected: what :meth:`select` returned.

        Raises:
            ValueError: an argument is None, since ``needs`` does not name what ``select`` reads.
        """
        if any(value is None for value in selected):
            self._refuse_none(selected)
        return self.term(self(*selected))

    def term(
        self,
        values: Tensor,
        *,
        skipped: Tensor | None = None,
        maps: Mapping[str, Tensor] | None = None,
        violations: Mapping[str, Tensor] | None = None,
    ) -> Term:
        """The loss's part of the step: values of images become one number here and nowhere else.

        Args:
            values: a scalar, or one value for each image, ``[N]``, of which the mean is taken.
            skipped: boolean ``[N]``, true for images that the loss leaves out: their value counts zero and has no
                gradient. The mean stays over all ``N``, so that an image weighs the same in every batch.
            maps: see :class:`Term`.
            violations: see :class:`Term`.

        Raises:
            TypeError: ``values`` is no tensor.
            ValueError: ``values`` has more than one axis, or ``skipped`` comes without one value for each image.

        Example:
            >>> DistillationLoss().term(torch.tensor([1.0, torch.nan]), skipped=torch.tensor([False, True])).value
            tensor(0.5000)
        """
        if not isinstance(values, Tensor):
            raise TypeError(f"{type(self).__name__} must return a tensor, got {type(values).__name__}")
        if values.ndim > 1:
            raise ValueError(
                f"{type(self).__name__} must return a scalar or one value for each image, [N], got "
                f"{tuple(values.shape)}"
            )
        if skipped is not None:
            check_shapes(values=(values, "N"), skipped=(skipped, "N"))
            values = torch.where(skipped, 0.0, values)
        value = values.mean() if values.ndim else values
        return Term(value, maps or {}, None if skipped is None else skipped.sum(), violations or {})

    def build(self, student_shapes: Sequence[Size], teacher_shapes: Sequence[Size]) -> None:
        """Create parameters that depend on the recorded layers' shapes; called once, before the first step.

        Args:
            student_shapes: of each layer, ``[T, N, C, h, w]``.
            teacher_shapes: of each layer, ``[N, C, h, w]``; empty where the student's layers alone are compared.
        """

    @property
    def needs_build(self) -> bool:
        """Whether :meth:`build` still has parameters to create."""
        return False

    def extra_repr(self) -> str:
        """The settings, for ``print``: arguments of the constructor that are attributes of the same name."""
        settings = {name: vars(self).get(name) for name in inspect.signature(type(self)).parameters}
        return ", ".join(f"{name}={value}" for name, value in settings.items() if isinstance(value, str | int | float))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def convert(tensor: Tensor) -> Tensor:
            return _not_halved(tensor, fn(tensor))

        return cast(Self, super()._apply(convert, recurse))  # type: ignore[no-untyped-call]

    def _refuse_none(self, selected: Sequence[Any]) -> None:
        """Raise for the first None that ``forward`` has no such default for."""
        for parameter, value in zip(inspect.signature(self.forward).parameters.values(), selected, strict=False):
            if value is None and parameter.default is not None:
                name = type(self).__name__
                forgotten = [
                    f"{need!r} for {field}"
                    for field in ("teacher_logits", "student_per_step_logits", "student_head", "teacher_head")
                    for need in NEEDS_OF[field]
                    if need not in self.needs
                ]
                raise ValueError(
                    f"{name}.select gives None for {parameter.name!r} of forward: a signal is None where no loss needs "
                    f"it, and {name}.needs is {tuple(self.needs)}; add what select reads, of {', '.join(forgotten)}"
                )

    pick = renamed_method("pick", "select", select)
    measure = renamed_method("measure", "compute", compute)


def _not_halved(tensor: Tensor, converted: Tensor) -> Tensor:
    """``converted``, or ``tensor`` in fp32 on its device where it is in half precision."""
    halved = converted.dtype in (torch.float16, torch.bfloat16)
    return at_least_float32(tensor).to(converted.device) if halved else converted


def _accept_old_names(loss: type[DistillationLoss]) -> None:
    """Let a class that was written for ``pick``, ``measure`` and ``"step_logits"`` work, with a warning."""
    own = vars(loss)
    for old, new in (("pick", "select"), ("measure", "compute")):
        if old in own:
            warnings.warn(f"{loss.__name__}.{old} is now called {new}", DeprecationWarning, stacklevel=3)
            if new not in own:
                setattr(loss, new, own[old])
        elif new in own:  # for subclasses that call super().pick
            setattr(loss, old, renamed_method(old, new, own[new]))
    needs = own.get("needs")
    if isinstance(needs, Collection) and not isinstance(needs, str) and "step_logits" in needs:
        warnings.warn(
            f"{loss.__name__}.needs: 'step_logits' is now 'per_step_logits'", DeprecationWarning, stacklevel=3
        )
        loss.needs = tuple("per_step_logits" if need == "step_logits" else need for need in needs)
