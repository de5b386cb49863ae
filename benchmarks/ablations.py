"""The paper's ablations as arms of one protocol, with its numbers beside ours.

    python benchmarks/ablations.py --set digits --seeds 0 1 2 -j 2 --output benchmarks/results/ablations_digits
    python benchmarks/ablations.py --set digits --arms "SAMD, scaling l2" --seeds 0 --output runs/ablations

The paper's figures are of CIFAR-100, ResNet-19, T=1, as a public summary lists them; only their order can be compared.
``python benchmarks/render.py`` makes the table.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from protocol import add_flags, run_all

from spikingjelly_ckd import KDLoss, Method
from spikingjelly_ckd.published import ckd, nld, plain, samd

STAGES = ("layer1", "layer2", "layer3")


def at_stage(layer: str) -> Method:
    """SAMD at one stage, named on both sides; our ResNets call them alike."""
    return replace(ckd(), layers={"samd": (layer, layer)})


ARMS: dict[str, Method] = {
    "plain": plain(),
    "CKD as in the paper": ckd(),
    **{f"SAMD, scaling {scaling}": ckd(samd={"scaling": scaling}) for scaling in ("none", "zscore", "l2")},
    **{f"SAMD at stage {number}": at_stage(layer) for number, layer in enumerate(STAGES[:2], 1)},
    "SAMD alone": samd(),
    "NLD alone": nld(),
    "SAMD and KD (no noise)": Method({**samd().losses, "kd": (KDLoss(2.0), 1.0)}, source="ours: KD in place of NLD"),
    **{f"NLD, fixed sd {sd:g}": ckd(nld={"noise": sd}) for sd in (0.1, 0.5, 1.0, 5.0)},
    "NLD, noise in probabilities": ckd(nld={"mode": "probabilities"}),
    **{f"NLD, noise weight {weight:g}": ckd(nld={"noise_weight": weight}) for weight in (0.5, 1.0)},
    "map to map (student's Grad-CAM)": ckd(samd={"student_map": "grad_cam"}),
    **{f"maps normalised by {name}": ckd(samd={"normalization": name}) for name in ("batch", "none")},
    **{f"evidence {name}": ckd(samd={"cam_method": name}) for name in ("grad_cam++", "hires_cam")},
    **{f"map temperature {value:g}": ckd(samd={"temperature": value}) for value in (1.0, 4.0)},
    **{f"logit temperature {value:g}": ckd(nld={"temperature": value}) for value in (1.0, 4.0)},
    **{f"beta {beta:g}": ckd(beta=beta) for beta in (0.01, 0.1, 10.0)},
    **{f"gamma {gamma:g}": ckd(gamma=gamma) for gamma in (0.1, 10.0)},
}
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


def find(name: str) -> Method:
    return ARMS[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(parser, ARMS)
    run_all(parser.parse_args(), ARMS, find)


if __name__ == "__main__":
    main()
