"""The distillation losses, one file each."""

from .catkd import CATKDLoss
from .dist import DISTLoss
from .dkd import DKDLoss
from .e2kd import E2KDLoss
from .enof import EnOFLoss
from .kd import KDLoss
from .lskd import LSKDLoss
from .nld import NLDLoss
from .samd import SAMDLoss
from .seal import SeAlKDLoss
from .strong_weak import StrongWeakLoss
from .tdkd import TDKDLoss
from .tet import TETLoss
from .tks import TKSLoss
from .tser import TSERLoss

__all__ = [
    "CATKDLoss",
    "DISTLoss",
    "DKDLoss",
    "E2KDLoss",
    "EnOFLoss",
    "KDLoss",
    "LSKDLoss",
    "NLDLoss",
    "SAMDLoss",
    "SeAlKDLoss",
    "StrongWeakLoss",
    "TDKDLoss",
    "TETLoss",
    "TKSLoss",
    "TSERLoss",
]
