"""SAMD of CKDSNN: the student's spike activation map drawn to the teacher's class activation map."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import Tensor

from ..functional.checks import check_choice, check_positive
from ..functional.divergences import SCALINGS, class_indices, map_divergence
from ..functional.maps import (
    NORMALIZATIONS,
    SPIKE_EPS,
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
from .base import HEAD_MISFIT, DistillationLoss, LinearHead, Signals, Term, one_layer

__all__ = ["SAMDLoss"]

EVIDENCE = ("grad_cam", "grad_cam++", "hires_cam", "weight")


class SAMDLoss(DistillationLoss):
    r"""Saliency-scaled activation map distillation, CKDSNN (AAAI 2026, arXiv 2511.06902).

    :math:`\mathcal{T}^2 \, \mathrm{KL}(P_{te} \,\|\, P_{st})`, where :math:`P_{st}` is the softmax over the positions
    of the student's spikes summed over time and channels, and :math:`P_{te}` the same of the teacher's Grad-CAM.

    Order of work: spike map, sizes matched by average pooling of the larger map, normalisation, scaling, divergence,
    mean over the images. The paper names no normalisation, but sums of hundreds of spikes make its softmax one-hot,
    and the authors' code normalises: so each map is first brought to [0, 1] by its own range. An image whose teacher
    map is constant gets weight 0.

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
        evidence: how the teacher's map is made: ``"grad_cam"``, ``"grad_cam++"``, ``"hires_cam"``, or ``"weight"``,
            the rows of the teacher's last linear layer instead of gradients (needs a pooled linear head, and walks
            nothing back).
        student_map: ``"spikes"``, or ``"grad_cam"`` of the student for the same class: the map-to-map baseline that
            the paper argues against, with a second backward pass through the student's head.
        student_eps: added to the range of the student's map, in spikes; it bounds the gradient of a map that is nearly
            silent. A real-valued layer whose sums stay far below 1 wants a smaller one.
        teacher_eps: added to the range of the teacher's map; None is no more than avoids a division by zero.
        negative: what a negative value in the student's layer means: ``"refuse"`` raises, ``"abs"`` adds magnitudes
            (ternary spikes, signed membranes), ``"sum"`` adds values as they are.

    Raises:
        TypeError: a number was expected.
        ValueError: a value is out of range or unknown.

    Example:
        >>> import torch
        >>> spikes = torch.tensor([0.0, 1.0]).view(1, 1, 1, 1, 2).expand(1, 1, 512, 1, 2)
        >>> SAMDLoss()(spikes, torch.tensor([[[0.0, 5.0]]])) < 1e-5
        tensor(True)
    """

    needs: ClassVar[tuple[str, ...]] = ("features", "gradients")

    def __init__(
        self,
        temperature: float = 2.0,
        normalization: str = "sample",
        scaling: str = "softmax",
        *,
        squared_temperature: bool = True,
        target_class: str = "teacher",
        cam_pool: str = "mean",
        student_eps: float = SPIKE_EPS,
        teacher_eps: float | None = None,
        evidence: str = "grad_cam",
        student_map: str = "spikes",
        negative: str = "refuse",
    ) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.normalization = check_choice("normalization", normalization, NORMALIZATIONS)
        self.scaling = check_choice("scaling", scaling, SCALINGS)
        self.squared_temperature = squared_temperature
        self.target_class = check_choice("target_class", target_class, ("teacher", "label"))
        self.cam_pool = check_choice("cam_pool", cam_pool, ("mean", "sum"))
        self.student_eps = check_positive("student_eps", student_eps)
        self.teacher_eps = None if teacher_eps is None else check_positive("teacher_eps", teacher_eps)
        self.evidence = check_choice("evidence", evidence, EVIDENCE)
        self.student_map = check_choice("student_map", student_map, ("spikes", "grad_cam"))
        self.negative = check_choice("negative", negative, ("refuse", "abs", "sum"))
        needs = ("features", "logits", "teacher_head") if evidence == "weight" else ("features", "gradients")
        more = () if student_map == "spikes" else ("student_gradients",)
        self.needs = (*needs, *more)  # type: ignore[misc]  # of this object: what is not asked for is not computed

    def select(self, signals: Signals) -> tuple[Tensor, ...]:
        """The student's layer (or its own Grad-CAM), the teacher's class map, and whether the head fits the layer.

        Raises:
            ValueError: not exactly one layer of a network was recorded.
        """
        student = one_layer(signals.student_features, self, "student")
        if self.student_map == "grad_cam":
            student = grad_cam(fold_time(student), fold_time(signals.student_gradients[0]))
        if self.evidence != "weight" or signals.class_map is not None:
            return student, self.class_map(signals)
        features = one_layer(signals.teacher_features, self, "teacher")
        fits = self._head_fits(features, signals)
        return student, self._weight_map(features, signals), fits

    def class_map(self, signals: Signals) -> Tensor:
        """The teacher's class map ``[N, h, w]``, by the evidence chosen, or as computed before.

        Raises:
            ValueError: evidence ``"weight"``, and the teacher's logits are not its head applied to the layer.
        """
        if signals.class_map is not None:
            return signals.class_map
        features = one_layer(signals.teacher_features, self, "teacher")
        if self.evidence == "weight":
            if not self._head_fits(features, signals):
                raise ValueError(HEAD_MISFIT.format(role="teacher"))
            return self._weight_map(features, signals)
        gradients = signals.teacher_gradients[0]
        if self.evidence == "grad_cam":
            return grad_cam(features, gradients, pool=self.cam_pool)
        return (grad_cam_plus_plus if self.evidence == "grad_cam++" else hires_cam)(features, gradients)

    def _weight_map(self, features: Tensor, signals: Signals) -> Tensor:
        logits = signals.teacher_logits
        classes = logits.argmax(1) if self.target_class == "teacher" else class_indices(signals.labels, logits)
        return class_activation_map(features, cast(LinearHead, signals.teacher_head).weight, classes)

    def _head_fits(self, features: Tensor, signals: Signals) -> Tensor:
        return cast(LinearHead, signals.teacher_head).explains(features, signals.teacher_logits)

    def forward(self, spikes: Tensor, teacher_map: Tensor) -> Tensor:
        """The loss.

        Args:
            spikes: the student's layer, ``[T, N, C, h, w]``, or a map of it that is ready, ``[N, h, w]``.
            teacher_map: class activation map, ``[N, h', w']``, used as it is given: pass it detached.

        Returns:
            Scalar.

        Raises:
            ValueError: shapes that do not fit, or maps of a single position.
        """
        return self.compute(spikes, teacher_map).value

    def compute(self, spikes: Tensor, teacher_map: Tensor, head_fits: Tensor | None = None) -> Term:
        """The loss with the compared maps, the count of images left out, and what must not be trained on."""
        if spikes.ndim == 3:
            student, teacher = match_maps(spikes, teacher_map)
        else:
            raw = spike_activation_map(spikes, negative="abs" if self.negative == "abs" else "sum")
            student, teacher = match_maps(raw, teacher_map)
        blind = is_constant(teacher)
        violations = {
            "every teacher map of the batch is constant, so SAMD has nothing to teach; pass teacher_layer= (for a ViT "
            "with a class token, a point before its last attention)": blind.all(),
            "the student's recorded layer gives a constant map for every image (it does not fire, or fires "
            "everywhere alike); check its threshold and input scale, or pass student_layer=": is_constant(
                student.detach()
            ).all(),
        }
        if self.negative == "refuse":
            violations[
                "the student's recorded layer holds negative values, which a sum of spikes cannot mean; record a layer "
                "of spikes (student_layer=), or pass negative='abs' for ternary spikes and membranes"
            ] = (spikes.detach() < 0).any()
        if head_fits is not None:
            violations[HEAD_MISFIT.format(role="teacher")] = ~head_fits
        tiny = torch.finfo(teacher.dtype).tiny
        student = normalize_map(student, self.normalization, eps=self.student_eps)
        teacher = normalize_map(teacher, self.normalization, eps=self.teacher_eps or tiny)
        distance = map_divergence(
            student, teacher, temperature=self.temperature, scaling=self.scaling, squared=self.squared_temperature
        )
        value = torch.where(blind, 0.0, distance).mean()
        return Term(value, {"student": student.detach(), "teacher": teacher.detach()}, blind.sum(), violations)

    def extra_repr(self) -> str:
        """The settings, for ``print``."""
        return (
            f"temperature={self.temperature}, normalization={self.normalization}, scaling={self.scaling}, "
            f"target_class={self.target_class}, evidence={self.evidence}, student_map={self.student_map}, "
            f"negative={self.negative}"
        )
