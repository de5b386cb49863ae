"""CKDSNN: SAMD and NLD together, and each alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ..errors.checks import check_choice
from ..methods import NLDLoss, SAMDLoss
from ..step.arguments import Weight
from ..step.method import Method

__all__ = ["BETA", "GAMMA", "ckd", "nld", "samd"]

BETA = 1.0
"""Weight of SAMD, in the paper and in the released code."""
GAMMA = 1.0
"""Weight of NLD, in the paper and in the released code."""
_SOURCES = {
    "paper": "CKDSNN, AAAI 2026, arXiv 2511.06902, from a public summary",
    "released": "SinoLeu/CKDSNN at 13c9f7b: the authors' formulas and weights",
}
_RELEASED_SAMD: dict[str, Any] = {
    "normalization": "batch",
    "squared_temperature": False,
    "cam_pool": "sum",
    "student_eps": 1e-3,
    "teacher_eps": 1e-3,
}
_RELEASED_NLD: dict[str, Any] = {"mode": "probabilities", "spread": "variance", "detach_statistics": False}


def ckd(
    variant: Literal["paper", "released"] = "paper",
    *,
    beta: Weight = BETA,
    gamma: Weight = GAMMA,
    samd: Mapping[str, Any] | None = None,
    nld: Mapping[str, Any] | None = None,
) -> Method:
    """CKDSNN: cross-entropy + beta SAMD + gamma NLD, with 1, 1 and 1 in the paper and in the code of its authors.

    The normalisation of the maps in ``"paper"`` is ours, in scope and epsilon: the paper names none. The authors'
    network has ReLU in place of its last neuron, which the paper does not mention and is not asked for here.
    docs/upstream_notes.md has the 19 places where paper and code differ.

    Args:
        variant: ``"paper"``, or ``"released"`` for the formulas of the authors' code: maps normalised over the whole
            batch, no squared temperature in SAMD, the logits' variance as the noise's scale, noise mixed into the
            probabilities.
        beta: weight of SAMD.
        gamma: weight of NLD.
        samd: further arguments of :class:`~spikingjelly_ckd.SAMDLoss`; they win over the variant's.
        nld: further arguments of :class:`~spikingjelly_ckd.NLDLoss`; they win over the variant's.

    Raises:
        TypeError: an argument that a loss does not have.
        ValueError: an unknown variant, or a value that a loss refuses.

    Example:
        >>> method = ckd(beta=0.1, samd={"temperature": 4.0})
        >>> {name: weight for name, (_, weight) in method.losses.items()}, method.losses["samd"][0].temperature
        ({'samd': 0.1, 'nld': 1.0}, 4.0)
        >>> ckd("released").losses["nld"][0].mode
        'probabilities'
    """
    released = check_choice("variant", variant, _SOURCES) == "released"
    maps = {**(_RELEASED_SAMD if released else {}), **(samd or {})}
    noise = {**(_RELEASED_NLD if released else {}), **(nld or {})}
    return Method({"samd": (SAMDLoss(**maps), beta), "nld": (NLDLoss(**noise), gamma)}, source=_SOURCES[variant])


def samd(weight: Weight = BETA, **settings: Any) -> Method:
    """SAMD without NLD: a row of the paper's ablation, of which only "a large drop" is known.

    Args:
        weight: of SAMD; that the ablation leaves it at 1 is ours.
        **settings: of :class:`~spikingjelly_ckd.SAMDLoss`.

    Example:
        >>> samd("auto").losses["samd"][1]
        'auto'
    """
    return Method({"samd": (SAMDLoss(**settings), weight)}, source="CKDSNN's ablation")


def nld(weight: Weight = GAMMA, **settings: Any) -> Method:
    """NLD without SAMD: a row of the paper's ablation, of which only "a large drop" is known.

    Args:
        weight: of NLD; that the ablation leaves it at 1 is ours.
        **settings: of :class:`~spikingjelly_ckd.NLDLoss`.

    Example:
        >>> nld(noise=0.5).losses["nld"][0].noise
        0.5
    """
    return Method({"nld": (NLDLoss(**settings), weight)}, source="CKDSNN's ablation")
