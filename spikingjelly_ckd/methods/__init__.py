"""The distillation losses, one file each."""

from .akl import AKLLoss
from .at import ATLoss
from .bkdsnn import BKDSNNLoss
from .branch import BranchKDLoss
from .catkd import CATKDLoss
from .cka import CKALoss
from .dist import DISTLoss
from .dkd import DKDLoss
from .e2kd import E2KDLoss
from .enof import EnOFLoss
from .fitnets import FitNetsLoss
from .hard_label import HardLabelLoss
from .kd import KDLoss
from .kdsnn import KDSNNLoss
from .lskd import LSKDLoss
from .mgd import MGDLoss
from .nkd import NKDLoss
from .nld import NLDLoss
from .ofa import OFALoss
from .prefix import PrefixKDLoss
from .reviewkd import ReviewKDLoss
from .rkd import RKDLoss
from .rld import RLDLoss
from .samd import SAMDLoss
from .sastc import SASTCLoss
from .sdd import SDDLoss
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
from .wttm import WTTMLoss

__all__ = [
    "AKLLoss",
    "ATLoss",
    "BKDSNNLoss",
    "BranchKDLoss",
    "CATKDLoss",
    "CKALoss",
    "DISTLoss",
    "DKDLoss",
    "E2KDLoss",
    "EnOFLoss",
    "FitNetsLoss",
    "HardLabelLoss",
    "KDLoss",
    "KDSNNLoss",
    "LSKDLoss",
    "MGDLoss",
    "NKDLoss",
    "NLDLoss",
    "OFALoss",
    "PrefixKDLoss",
    "RKDLoss",
    "RLDLoss",
    "ReviewKDLoss",
    "SAMDLoss",
    "SASTCLoss",
    "SDDLoss",
    "SPLoss",
    "SeAlKDLoss",
    "StrongWeakLoss",
    "TDKDLoss",
    "TETLoss",
    "TKSLoss",
    "TSERLoss",
    "VkDLoss",
    "WKDFLoss",
    "WTTMLoss",
    "WeightedSoftLabelLoss",
]
