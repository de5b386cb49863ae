"""SAMD of CKDSNN: the student's spike activation map matched to the teacher's class activation map."""

from __future__ import annotations

import warnings
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors.checks import check_choice, check_flag, check_positive
from ..errors.renamed import renamed_argument
from ..functional.bounds import LEAST_LENGTH
from ..functional.divergences import SCALINGS, Scaling, map_divergence
from ..functional.logits import class_indices
from ..functional.maps import (
    NORMALIZATIONS,
    SPIKE_EPS,
    Normalization,
    Pooling,
    class_activation_map,
    fold_time,
    grad_cam,
    grad_cam_plus_plus,
    hires_cam,
    is_constant,
    match_maps,
    normalize_map,
    spike_activation_map,
)
from .base import HEAD_MISFIT, TARGET_CLASSES, DistillationLoss, TargetClass, Term
from .signals import SILENT_STUDENT, LinearHead, Signals

__all__ = ["SAMDLoss"]

CamMethod = Literal["grad_cam", "grad_cam++", "hires_cam", "weight"]
StudentMap = Literal["spikes", "grad_cam"]
Negative = Literal["refuse", "abs", "sum"]
LEAST_SPIKES = 1e-3
"""Length of a normalised map of a layer up to which it says nothing; one spike leaves more behind any usual pooling."""


class SAMDLoss(DistillationLoss):
    r"""Saliency-scaled activation map distillation, CKDSNN (AAAI 2026, arXiv 2511.06902).

    :math:`\mathcal{T}^2 \, \mathrm{KL}(P_{te} \,\|\, P_{st})`, where :math:`P_{st}` is the softmax over the positions
    of the student's spikes summed over time and channels, and :math:`P_{te}` the same of the teacher's Grad-CAM.

    Order of work: spike map, sizes matched by average pooling of the larger map, normalisation, scaling, divergence,
    mean over the images. The paper names no normalisation, but sums of hundreds of spikes make its softmax one-hot,
    and the authors' code normalises: so each map is first brought to [0, 1] by its own range. An image whose teacher
    map is constant gets weight 0. An image for which the student's map is constant cannot outweigh the others:
    ``student_eps`` bounds its gradient, and with ``"l2"`` (where its map is zero) and ``"zscore"`` it counts 1 and has
    no gradient.

    Args:
        temperature: :math:`\mathcal{T} > 0`.
        normalization: ``"sample"``, ``"batch"`` (the authors' code: a map then depends on the batch it is in) or
            ``"none"`` (the paper's literal sums); see :func:`~spikingjelly_ckd.functional.maps.normalize_map`.
        scaling: ``"softmax"``, ``"none"``, ``"zscore"`` or ``"l2"``, after normalisation; the distances of the last
            three are ours, see :func:`~spikingjelly_ckd.functional.divergences.map_divergence`.
        squared_temperature: multiply by :math:`\mathcal{T}^2` as the paper does; the authors' code does not.
        target_class: class that the teacher's map is of: ``"teacher"``, its own first choice, or ``"label"``.
        cam_pool: ``"mean"`` over the positions (Grad-CAM), or ``"sum"``, which for a pooled linear head is the
            classifier-weight CAM of the authors' code.
        cam_method: how the teacher's map is made: ``"grad_cam"``, ``"grad_cam++"``, ``"hires_cam"``, or ``"weight"``,
            the rows of the teacher's last linear layer instead of gradients (needs a pooled linear head, and no
            backward pass).
        student_map: ``"spikes"``, or ``"grad_cam"`` of the student for the same class: the map-to-map baseline that
            the paper argues against, with a second backward pass through the student's head.
        student_eps: added to the range of the student's map, in spikes; it bounds the gradient of a map that is nearly
            silent. A real-valued layer whose sums stay far below 1 wants a smaller one.
        teacher_eps: added to the range of the teacher's map; None adds only what avoids a division by zero.
        negative: what a negative value in the student's layer means: ``"refuse"`` raises, ``"abs"`` adds magnitudes
            (ternary spikes, signed membrane potentials), ``"sum"`` adds values as they are.

    Raises:
        TypeError: a number or a bool was expected.
        ValueError: a value is out of range or unknown.

    Example:
        >>> import torch
        >>> spikes = torch.tensor([0.0, 1.0]).view(1, 1, 1, 1, 2).expand(1, 1, 512, 1, 2)
        >>> SAMDLoss()(spikes, torch.tensor([[[0.0, 5.0]]])) < 1e-5
        tensor(True)
    """

    needs: tuple[str, ...] = ("features", "gradients")

    @renamed_argument("evidence", "cam_method")
    def __init__(
        self,
        temperature: float = 2.0,
        normalization: Normalization = "sample",
        scaling: Scaling = "softmax",
        *,
        squared_temperature: bool = True,
        target_class: TargetClass = "teacher",
        cam_pool: Pooling = "mean",
        cam_method: CamMethod = "grad_cam",
        student_map: StudentMap = "spikes",
        student_eps: float = SPIKE_EPS,
        teacher_eps: float | None = None,
        negative: Negative = "refuse",
    ) -> None:
        super().__init__()
        check_choice("normalization", normalization, NORMALIZATIONS)
        check_choice("scaling", scaling, SCALINGS)
        check_choice("target_class", target_class, TARGET_CLASSES)
        check_choice("cam_pool", cam_pool, get_args(Pooling))
        check_choice("cam_method", cam_method, get_args(CamMethod))
        check_choice("student_map", student_map, get_args(StudentMap))
        check_choice("negative", negative, get_args(Negative))
        self.temperature = check_positive("temperature", temperature)
        self.normalization = normalization
        self.scaling = scaling
        self.squared_temperature = check_flag("squared_temperature", squared_temperature)
        self.target_class = target_class
        self.cam_pool = cam_pool
        self.student_eps = check_positive("student_eps", student_eps)
        self.teacher_eps = None if teacher_eps is None else check_positive("teacher_eps", teacher_eps)
        self.cam_method = cam_method
        self.student_map = student_map
        self.negative = negative
        # of this object: what it does not need is not computed
        needs = ("features", "logits", "teacher_head") if cam_method == "weight" else ("features", "gradients")
        self.needs = needs if student_map == "spikes" else (*needs, "student_gradients")

    @property
    def evidence(self) -> CamMethod:
        """The old name of ``cam_method``; it warns."""
        warnings.warn("SAMDLoss.evidence is now called cam_method", DeprecationWarning, stacklevel=2)
        return self.cam_method

    def select(self, signals: Signals) -> tuple[Tensor, ...]:
        """The student's layer (or its own Grad-CAM), the teacher's class map, and whether the head fits the layer.

        Raises:
            ValueError: not exactly one layer of a network was recorded.
        """
        student = self.take(signals, "student_features")
        if self.student_map == "grad_cam":
            student = grad_cam(fold_time(student), fold_time(self.take(signals, "student_gradients")))
        if self.cam_method != "weight" or signals.class_map is not None:
            return student, self.class_map(signals)
        return student, *self._weight_map(signals)

    def class_map(self, signals: Signals) -> Tensor:
        """The teacher's class map ``[N, h, w]``, by ``cam_method``, or the cached one.

        Raises:
            ValueError: ``cam_method="weight"``, and the teacher's logits are not its head applied to the layer.
        """
        if signals.class_map is not None:
            return signals.class_map
        if self.cam_method == "weight":
            found, fits = self._weight_map(signals)
            if not fits:
                raise ValueError(HEAD_MISFIT.format(role="teacher"))
            return found
        features, gradients = self.take(signals, "teacher_features"), self.take(signals, "teacher_gradients")
        if self.cam_method == "grad_cam":
            return grad_cam(features, gradients, pool=self.cam_pool)
        return (grad_cam_plus_plus if self.cam_method == "grad_cam++" else hires_cam)(features, gradients)

    def _weight_map(self, signals: Signals) -> tuple[Tensor, Tensor]:
        """The class map by the rows of the last linear layer, and whether the logits are made by that layer."""
        features: Tensor = self.take(signals, "teacher_features")
        head: LinearHead = self.take(signals, "teacher_head")
        logits: Tensor = self.take(signals, "teacher_logits")
        fits = head.explains(features, logits)
        classes = logits.argmax(1) if self.target_class == "teacher" else class_indices(signals.labels, logits)
        return class_activation_map(features, head.weight, classes), fits

    def forward(self, spikes: Tensor, teacher_map: Tensor) -> Tensor:
        """The loss.

        Args:
            spikes: the student's layer, ``[T, N, C, h, w]``, or a map of it that is ready, ``[N, h, w]``.
            teacher_map: class activation map, ``[N, h', w']``, not detached here: pass it detached.

        Returns:
            Scalar.

        Raises:
            ValueError: shapes that do not fit, or maps of a single position.
        """
        return self.compute(spikes, teacher_map).value

    def compute(self, spikes: Tensor, teacher_map: Tensor, head_fits: Tensor | None = None) -> Term:
        """The loss with the compared maps, the count of images left out, and what must not be trained on."""
        if spikes.ndim == 3:
            student, teacher, least = *match_maps(spikes, teacher_map), LEAST_LENGTH
        else:
            raw = spike_activation_map(spikes, negative="abs" if self.negative == "abs" else "sum")
            student, teacher, least = *match_maps(raw, teacher_map), LEAST_SPIKES
        blind = is_constant(teacher)
        violations = {
            "every teacher map of the batch is constant, so SAMD has nothing to teach; pass teacher_layer= (for a ViT "
            "with a class token, a point before its last attention)": blind.all(),
            SILENT_STUDENT: is_constant(student.detach()).all(),
        }
        if self.negative == "refuse":
            violations[
                "the student's recorded layer holds negative values, which a sum of spikes cannot mean; record a layer "
                "of spikes (student_layer=), or pass negative='abs' for ternary spikes and membrane potentials"
            ] = (spikes.detach() < 0).any()
        if head_fits is not None:
            violations[HEAD_MISFIT.format(role="teacher")] = ~head_fits
        tiny = torch.finfo(teacher.dtype).tiny
        student = normalize_map(student, self.normalization, eps=self.student_eps)
        teacher = normalize_map(teacher, self.normalization, eps=self.teacher_eps or tiny)
        distance = map_divergence(
            student,
            teacher,
            temperature=self.temperature,
            scaling=self.scaling,
            squared=self.squared_temperature,
            least=least,
        )
        maps = {"student": student.detach(), "teacher": teacher.detach()}
        return self.term(distance, skipped=blind, maps=maps, violations=violations)

    def extra_repr(self) -> str:
        """The settings, for ``print``."""
        return (
            f"temperature={self.temperature}, normalization={self.normalization}, scaling={self.scaling}, "
            f"target_class={self.target_class}, cam_method={self.cam_method}, student_map={self.student_map}, "
            f"negative={self.negative}"
        )
