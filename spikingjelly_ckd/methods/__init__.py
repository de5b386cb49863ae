"""The distillation losses, one file each."""

from .at import ATLoss
from .bkdsnn import BKDSNNLoss
from .catkd import CATKDLoss
from .cka import CKALoss
from .dist import DISTLoss
from .dkd import DKDLoss
from .e2kd import E2KDLoss
from .enof import EnOFLoss
from .fitnets import FitNetsLoss
from .kd import KDLoss
from .kdsnn import KDSNNLoss
from .lskd import LSKDLoss
from .mgd import MGDLoss
from .nld import NLDLoss
from .ofa import OFALoss
from .reviewkd import ReviewKDLoss
from .rkd import RKDLoss
from .samd import SAMDLoss
from .sastc import SASTCLoss
from .seal import SeAlKDLoss
from .sp import SPLoss
from .strong_weak import StrongWeakLoss
from .tdkd import TDKDLoss
from .tet import TETLoss
from .tks import TKSLoss
from .tser import TSERLoss
from .vkd import VkDLoss
from .weighted_soft_label import WeightedSoftLabelLoss
from .wkdf import WKDFLoss

__all__ = [
    "ATLoss",
    "BKDSNNLoss",
    "CATKDLoss",
    "CKALoss",
    "DISTLoss",
    "DKDLoss",
    "E2KDLoss",
    "EnOFLoss",
    "FitNetsLoss",
    "KDLoss",
    "KDSNNLoss",
    "LSKDLoss",
    "MGDLoss",
    "NLDLoss",
    "OFALoss",
    "RKDLoss",
    "ReviewKDLoss",
    "SAMDLoss",
    "SASTCLoss",
    "SPLoss",
    "SeAlKDLoss",
    "StrongWeakLoss",
    "TDKDLoss",
    "TETLoss",
    "TKSLoss",
    "TSERLoss",
    "VkDLoss",
    "WKDFLoss",
    "WeightedSoftLabelLoss",
]
