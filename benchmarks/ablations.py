"""The paper's ablations as arms of one protocol, with its numbers beside ours.

    python benchmarks/ablations.py --set digits --seeds 0 1 2 --output-dir benchmarks/results/compared_ablations
    python benchmarks/ablations.py --arms "SAMD, scaling l2" --seeds 0 --output-dir runs/ablations

This is ``python -m spikingjelly_ckd compare`` with the flags of ``protocol.py``; its other flags may follow. What
a text cannot say is a function here, ``ablations:NAME``, which that command finds with ``PYTHONPATH=benchmarks``.
The paper's figures are of CIFAR-100, ResNet-19, T=1, as a public summary lists them; only their order can be compared.
``python benchmarks/render.py`` makes the table.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from protocol import SETS, run

from spikingjelly_ckd import KDLoss, Method
from spikingjelly_ckd.published import ckd, samd


def at_stage(layer: Literal["layer1", "layer2"]) -> Method:
    """CKD with SAMD at one stage, named on both sides; our ResNets call them alike."""
    return replace(ckd(), layers={"samd": (layer, layer)})


def samd_and_kd() -> Method:
    """SAMD with KD in place of NLD, so without noise."""
    return Method({**samd().losses, "kd": (KDLoss(2.0), 1.0)}, source="ours: KD in place of NLD")


def ckd_with(loss: Literal["samd", "nld"], **settings: object) -> str:
    """CKD with other settings of one of its losses, as a text."""
    return f"ckd:{loss}={settings}"


ARMS: dict[str, str] = {
    "plain": "plain",
    "CKD as in the paper": "ckd",
    **{f"SAMD, scaling {scaling}": ckd_with("samd", scaling=scaling) for scaling in ("none", "zscore", "l2")},
    **{f"SAMD at stage {number}": f"ablations:at_stage:layer=layer{number}" for number in (1, 2)},
    "SAMD alone": "samd",
    "NLD alone": "nld",
    "SAMD and KD (no noise)": "ablations:samd_and_kd",
    **{f"NLD, fixed sd {sd:g}": ckd_with("nld", noise=sd) for sd in (0.1, 0.5, 1.0, 5.0)},
    "NLD, noise in probabilities": ckd_with("nld", mode="probabilities"),
    **{f"NLD, noise weight {weight:g}": ckd_with("nld", noise_weight=weight) for weight in (0.5, 1.0)},
    "map to map (student's Grad-CAM)": ckd_with("samd", student_map="grad_cam"),
    **{f"maps normalised by {name}": ckd_with("samd", normalization=name) for name in ("batch", "none")},
    **{f"evidence {name}": ckd_with("samd", cam_method=name) for name in ("grad_cam++", "hires_cam")},
    **{f"map temperature {value:g}": ckd_with("samd", temperature=value) for value in (1.0, 4.0)},
    **{f"logit temperature {value:g}": ckd_with("nld", temperature=value) for value in (1.0, 4.0)},
    **{f"beta {beta:g}": f"ckd:beta={beta}" for beta in (0.01, 0.1, 10.0)},
    **{f"gamma {gamma:g}": f"ckd:gamma={gamma}" for gamma in (0.1, 10.0)},
}
"""Name in the table of the first records -> method."""
PAPER: dict[str, float | str] = {
    "CKD as in the paper": 79.11,
    "SAMD, scaling none": 75.56,
    "SAMD, scaling zscore": 76.48,
    "SAMD, scaling l2": 74.78,
    "SAMD at stage 1": 77.01,
    "SAMD alone": "large drop",
    "NLD alone": "large drop",
    "map to map (student's Grad-CAM)": "worse",
    "NLD, fixed sd 1": "worse",
}
"""Of the paper, where known; words where the number is not."""
DEFAULT = dict.fromkeys(SETS, tuple(ARMS.values()))
"""Data set -> what is run where no arm is named."""


if __name__ == "__main__":
    run(__doc__, ARMS, DEFAULT)
