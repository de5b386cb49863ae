"""Every distillation method under one protocol: same student, teacher, data, schedule and seeds.

    python benchmarks/methods.py --set digits --seeds 0 1 2 3 4 -j 2 --output benchmarks/results/methods_digits
    python benchmarks/methods.py --set cifar10 --data-path DIR --seeds 0 1 2 --output benchmarks/results/methods_cifar10

Weights are those of ``spikingjelly_ckd.published``; ``--list`` prints where they are from. Runs whose record is there
are not run again.
``python benchmarks/render.py`` makes the tables.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from protocol import add_flags, run_all

from spikingjelly_ckd import Method
from spikingjelly_ckd.published import (
    at,
    bkdsnn,
    catkd,
    ckd,
    dist,
    dkd,
    e2kd,
    enof,
    fitnets,
    kd,
    kdsnn,
    lskd,
    mgd,
    nld,
    plain,
    reviewkd,
    samd,
    seal,
    strong_weak,
    tdkd,
    tet,
    tks,
    tser,
)

ARMS: dict[str, Method] = {
    "plain": plain(),
    "CKDSNN (paper)": ckd(),
    "CKDSNN (released)": ckd("released"),
    "CKDSNN (auto)": replace(ckd(beta="auto", gamma="auto"), source="ours: measured weights"),
    "SAMD alone": samd(),
    "NLD alone": nld(),
    "KD": kd(),
    "KDSNN (feature)": kdsnn(),
    "BKDSNN": bkdsnn(),
    "ReLU readout": plain(enof().student),
    "EnOF": enof(),
    "e2KD": e2kd(),
    "CAT-KD": catkd(),
    "AT": at(),
    "FitNets": fitnets(),
    "MGD": mgd(),
    "ReviewKD": reviewkd(),
    "DKD": dkd(),
    "DIST": dist(),
    "LS-KD": lskd(),
    "TET (no teacher)": tet(),
    "TDKD": tdkd(),
    "SeAl-KD": seal(),
    "TSER": tser(),
    "TKS (no teacher)": tks(static=True),
    "strong-to-weak (no teacher)": strong_weak("strong_to_weak"),
    "weak-to-strong (no teacher)": strong_weak("weak_to_strong"),
}
"""Name in the tables -> method; "ReLU readout" is EnOF's control, plain training of its network."""
CIFAR_ARMS = (
    *("plain", "CKDSNN (paper)", "CKDSNN (released)", "KD", "KDSNN (feature)", "BKDSNN", "ReLU readout", "EnOF"),
    *("TDKD", "NLD alone"),
)
"""Arms of CIFAR-10 at T=1: those of the paper's comparison, and of the rest the one with the best published figures."""


def find(name: str) -> Method:
    return ARMS[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(parser, ARMS)
    run_all(parser.parse_args(), ARMS, find)


if __name__ == "__main__":
    main()
