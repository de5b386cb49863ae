"""Every distillation method under one protocol: same student, teacher, data, schedule and seeds.

    python benchmarks/methods.py --set digits --seeds 0 1 2 3 4 --output-dir benchmarks/results/compared_digits
    python benchmarks/methods.py --set cifar10 --data-path DIR --seeds 0 1 2 --output-dir runs/compared_cifar10

This is ``python -m spikingjelly_ckd compare`` with the flags of ``protocol.py``; every other flag of it may follow.
Weights are those of ``spikingjelly_ckd.published``; ``--list`` prints where they are from. Runs whose record is there
are not run again.
``python benchmarks/render.py`` makes the tables.
"""

from __future__ import annotations

from protocol import run

ARMS: dict[str, str] = {
    "plain": "plain",
    "CKDSNN (paper)": "ckd",
    "CKDSNN (released)": "ckd:variant=released",
    "CKDSNN (auto)": "ckd:beta=auto,gamma=auto",
    "SAMD alone": "samd",
    "NLD alone": "nld",
    "KD": "kd",
    "KDSNN (feature)": "kdsnn",
    "BKDSNN": "bkdsnn",
    "ReLU readout": "spikingjelly_ckd.recipes.compare.arms:plain_relu",
    "EnOF": "enof",
    "e2KD": "e2kd",
    "CAT-KD": "catkd",
    "AT": "at",
    "FitNets": "fitnets",
    "MGD": "mgd",
    "ReviewKD": "reviewkd",
    "DKD": "dkd",
    "DIST": "dist",
    "LS-KD": "lskd",
    "TET (no teacher)": "tet",
    "TDKD": "tdkd",
    "SeAl-KD": "seal",
    "TSER": "tser",
    "TKS (no teacher)": "tks:static=True",
    "strong-to-weak (no teacher)": "strong_weak",
    "weak-to-strong (no teacher)": "strong_weak:direction=weak_to_strong",
}
"""Name in the tables of the first records -> method; "ReLU readout" is EnOF's control, plain training of its network,
which a comparison adds by itself."""
ASKED = {name: text for name, text in ARMS.items() if name != "ReLU readout"}
CIFAR_ARMS = (
    *("plain", "CKDSNN (paper)", "CKDSNN (released)", "KD", "KDSNN (feature)", "BKDSNN", "ReLU readout", "EnOF"),
    *("TDKD", "NLD alone"),
)
"""Arms of CIFAR-10 at T=1: those of the paper's comparison, and of the rest the one with the best published figures."""
DEFAULT = {
    "digits": ("all", *(text for text in ASKED.values() if ":" in text)),
    "cifar10": tuple(ASKED[name] for name in CIFAR_ARMS if name in ASKED),
}
"""Data set -> what is run where no arm is named; on the digits the whole catalogue, and its variants."""


if __name__ == "__main__":
    run(__doc__, ASKED, DEFAULT)
