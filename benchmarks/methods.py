"""Every distillation method under one protocol: same student, teacher, data, schedule and seeds.

    python benchmarks/methods.py --set digits --seeds 0 1 2 3 4 -j 2 --output benchmarks/results/methods_digits
    python benchmarks/methods.py --set cifar10 --data-path DIR --seeds 0 1 2 --output benchmarks/results/methods_cifar10

Weights are those of each method's source; ``--list`` prints them. Runs whose record is there are not run again.
``python benchmarks/render.py`` makes the tables.
"""

from __future__ import annotations

import argparse
from typing import Any

from protocol import Arm, add_flags, run_all

from spikingjelly_ckd import (
    ATLoss,
    BKDSNNLoss,
    CATKDLoss,
    DISTLoss,
    DKDLoss,
    E2KDLoss,
    EnOFLoss,
    FitNetsLoss,
    KDLoss,
    KDSNNLoss,
    LSKDLoss,
    MGDLoss,
    NLDLoss,
    ReviewKDLoss,
    SAMDLoss,
    SeAlKDLoss,
    StrongWeakLoss,
    TDKDLoss,
    TETLoss,
    TKSLoss,
    TSERLoss,
    WeightedSoftLabelLoss,
)

RELEASED_MAP = {
    "normalization": "batch",
    "squared_temperature": False,
    "cam_pool": "sum",
    "student_eps": 1e-3,
    "teacher_eps": 1e-3,
}
RELEASED_NOISE = {"mode": "probabilities", "spread": "variance", "detach_statistics": False}
MDISTILLER_WARM_UP = 20 / 240
"""mdistiller raises DKD's and ReviewKD's weights over 20 of its 240 epochs."""


def ckd(beta: Any, gamma: Any) -> Arm:
    return Arm(lambda: {"samd": (SAMDLoss(), beta), "nld": (NLDLoss(), gamma)}, source="weights 1 and 1: the paper")


ARMS = {
    "plain": Arm(source="cross-entropy of the mean logits"),
    "CKDSNN (paper)": ckd(1.0, 1.0),
    "CKDSNN (released)": Arm(
        lambda: {"samd": (SAMDLoss(**RELEASED_MAP), 1.0), "nld": (NLDLoss(**RELEASED_NOISE), 1.0)},
        source="the authors' formulas and weights",
    ),
    "CKDSNN (auto)": Arm(
        lambda: {"samd": (SAMDLoss(), "auto"), "nld": (NLDLoss(), "auto")}, source="ours: measured weights"
    ),
    "SAMD alone": Arm(lambda: {"samd": (SAMDLoss(), 1.0)}, source="the paper's ablation"),
    "NLD alone": Arm(lambda: {"nld": (NLDLoss(), 1.0)}, source="the paper's ablation"),
    "KD": Arm(lambda: {"kd": (KDLoss(4.0), 0.9)}, task_weight=0.1, source="mdistiller, CIFAR"),
    "KDSNN (feature)": Arm(lambda: {"kdsnn": (KDSNNLoss(), 7e-5)}, source="BKDSNN's re-implementation"),
    "BKDSNN": Arm(
        lambda: {"feature": (BKDSNNLoss(), 2e-3), "logits": (WeightedSoftLabelLoss(), 1.0)},
        source="the authors' code, CIFAR10-DVS and transformers",
    ),
    "ReLU readout": Arm(student={"last_activation": "relu"}, source="control for EnOF: plain, its network"),
    "EnOF": Arm(
        lambda: {"enof": (EnOFLoss(), 1.0)},
        student={"last_activation": "relu"},
        source="weight and temperature: ours, unknown",
    ),
    "e2KD": Arm(
        lambda: {"kd": (KDLoss(1.0), 1.0), "maps": (E2KDLoss(), 5.0)},
        task_weight=0.0,
        source="the authors' sweep: KD 1 at temperature 1, maps 5",
    ),
    "CAT-KD": Arm(lambda: {"cat": (CATKDLoss(), 15.0)}, source="the authors' code, res32x4 to res8x4"),
    "AT": Arm(lambda: {"at": (ATLoss(), 1000.0)}, source="mdistiller"),
    "FitNets": Arm(lambda: {"hint": (FitNetsLoss(), 100.0)}, source="mdistiller"),
    "MGD": Arm(lambda: {"mgd": (MGDLoss(), 7e-5)}, source="the authors' code"),
    "ReviewKD": Arm(lambda: {"review": (ReviewKDLoss(), 1.0)}, warm_up=MDISTILLER_WARM_UP, source="mdistiller"),
    "DKD": Arm(lambda: {"dkd": (DKDLoss(4.0, 1.0, 8.0), 1.0)}, warm_up=MDISTILLER_WARM_UP, source="mdistiller"),
    "DIST": Arm(lambda: {"dist": (DISTLoss(), 1.0)}, source="the authors' classification code"),
    "LS-KD": Arm(lambda: {"lskd": (LSKDLoss(2.0), 9.0)}, task_weight=0.1, source="the authors' code"),
    "TET (no teacher)": Arm(task_loss=TETLoss, source="control for the per-step methods"),
    "TDKD": Arm(lambda: {"tdkd": (TDKDLoss(), 1.0)}, task_loss=TETLoss, source="the authors' code"),
    "SeAl-KD": Arm(lambda: {"seal": (SeAlKDLoss(), 1.0)}, task_loss=TETLoss, source="the authors' README"),
    "TSER": Arm(lambda: {"tser": (TSERLoss(), 1.0)}, task_loss=TETLoss, task_weight=0.5, source="ours, unknown"),
    "TKS (no teacher)": Arm(
        lambda: {"tks": (TKSLoss(), 0.7)}, task_weight=0.3, source="the authors' README, fixed weights (--staticalpha)"
    ),
    "strong-to-weak (no teacher)": Arm(lambda: {"s2w": (StrongWeakLoss("strong_to_weak"), 1.0)}, source="the paper"),
    "weak-to-strong (no teacher)": Arm(lambda: {"w2s": (StrongWeakLoss("weak_to_strong"), 1.0)}, source="the paper"),
}


CIFAR_ARMS = (
    *("plain", "CKDSNN (paper)", "CKDSNN (released)", "KD", "KDSNN (feature)", "BKDSNN", "ReLU readout", "EnOF"),
    *("TDKD", "NLD alone"),
)
"""Arms of CIFAR-10 at T=1: those of the paper's comparison, and of the rest the one with the best published figures."""


def find(name: str) -> Arm:
    return ARMS[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(parser, ARMS)
    run_all(parser.parse_args(), ARMS, find)


if __name__ == "__main__":
    main()
