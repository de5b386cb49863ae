"""The distillation losses, one file each."""

from .kd import KDLoss
from .nld import NLDLoss
from .samd import SAMDLoss

__all__ = ["KDLoss", "NLDLoss", "SAMDLoss"]
