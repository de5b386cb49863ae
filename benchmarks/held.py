"""Does a weight that holds its share serve SAMD better than a fixed one, a measured one, or one that falls to 0?

    python benchmarks/held.py --set digits --seeds 0 1 2 3 4 --output-dir benchmarks/results/compared_held
    python benchmarks/held.py --set cifar10 --data-path DIR --seeds 0 1 2 --output-dir runs/held

This is ``python -m spikingjelly_ckd compare`` with the flags of ``protocol.py``; its other flags may follow. What a
text cannot say is a function here, ``held:NAME``, which that command finds with ``PYTHONPATH=benchmarks``. Every arm is
CKD with its NLD as in the paper, or SAMD alone; the weight of SAMD is all that differs. Records have the share of the
gradient in each epoch.
"""

from __future__ import annotations

from dataclasses import replace

from protocol import SETS, run

from spikingjelly_ckd import Method, decay
from spikingjelly_ckd.published import ckd, samd


def falling(weight: float = 1.0, nld: bool = True) -> Method:
    """SAMD whose weight falls to 0 along a straight line over the run.

    Args:
        weight: at the start.
        nld: with NLD beside it, as in CKD.
    """
    method = ckd(beta=weight) if nld else samd(weight)
    return replace(method, schedule={"samd": decay()}, source="ours: the weight of SAMD falls to 0")


ARMS: dict[str, str] = {
    "plain": "plain",
    **{f"CKD, fixed {beta:g}": f"ckd:beta={beta}" for beta in (1.0, 10.0)},
    "CKD, first batches": "ckd:beta=auto",
    "CKD, held": "ckd:beta=hold",
    **{f"CKD, falling from {beta:g}": f"held:falling:weight={beta}" for beta in (1.0, 10.0)},
    **{f"SAMD, fixed {beta:g}": f"samd:weight={beta}" for beta in (1.0, 10.0)},
    "SAMD, first batches": "samd:weight=auto",
    "SAMD, held": "samd:weight=hold",
    **{f"SAMD, falling from {beta:g}": f"held:falling:weight={beta},nld=False" for beta in (1.0, 10.0)},
}
"""Name for ``--arms`` -> method."""
DEFAULT = dict.fromkeys(SETS, tuple(ARMS.values()))
"""Data set -> what is run where no arm is named."""


if __name__ == "__main__":
    run(__doc__, ARMS, DEFAULT)
