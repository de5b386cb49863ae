"""Distil a trained ANN into a SpikingJelly network: CKDSNN (AAAI 2026, arXiv 2511.06902) and what it compares with."""

from . import _renamed, functional, published
from .acceleration import accelerate
from .ckd import CKDDistiller
from .distiller import Distiller, StepOutput
from .functional.maps import class_activation_map, grad_cam, spike_activation_map
from .methods import (
    AKLLoss,
    ATLoss,
    BKDSNNLoss,
    BranchKDLoss,
    CATKDLoss,
    CKALoss,
    DISTLoss,
    DKDLoss,
    E2KDLoss,
    EnOFLoss,
    FitNetsLoss,
    HardLabelLoss,
    KDLoss,
    KDSNNLoss,
    LSKDLoss,
    MGDLoss,
    NKDLoss,
    NLDLoss,
    OFALoss,
    PrefixKDLoss,
    ReviewKDLoss,
    RKDLoss,
    RLDLoss,
    SAMDLoss,
    SASTCLoss,
    SDDLoss,
    SeAlKDLoss,
    SPLoss,
    StrongWeakLoss,
    TDKDLoss,
    TETLoss,
    TKSLoss,
    TSERLoss,
    VkDLoss,
    WeightedSoftLabelLoss,
    WKDFLoss,
    WTTMLoss,
)
from .methods.base import DistillationLoss
from .methods.signals import Signals, TeacherOutput
from .networks.compat import use_fast_neurons
from .networks.layer import Layer
from .networks.recording import record
from .networks.search import find_layer, find_stages
from .preflight import preflight
from .prepare import prepare_teacher
from .step.held_weight import Hold
from .step.method import Method
from .step.schedule import decay, warm_up

__version__ = "0.1.0"

_renamed.install()

__all__ = [
    "AKLLoss",
    "ATLoss",
    "BKDSNNLoss",
    "BranchKDLoss",
    "CATKDLoss",
    "CKALoss",
    "CKDDistiller",
    "DISTLoss",
    "DKDLoss",
    "DistillationLoss",
    "Distiller",
    "E2KDLoss",
    "EnOFLoss",
    "FitNetsLoss",
    "HardLabelLoss",
    "Hold",
    "KDLoss",
    "KDSNNLoss",
    "LSKDLoss",
    "Layer",
    "MGDLoss",
    "Method",
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
    "Signals",
    "StepOutput",
    "StrongWeakLoss",
    "TDKDLoss",
    "TETLoss",
    "TKSLoss",
    "TSERLoss",
    "TeacherOutput",
    "VkDLoss",
    "WKDFLoss",
    "WTTMLoss",
    "WeightedSoftLabelLoss",
    "accelerate",
    "class_activation_map",
    "decay",
    "find_layer",
    "find_stages",
    "functional",
    "grad_cam",
    "preflight",
    "prepare_teacher",
    "published",
    "record",
    "spike_activation_map",
    "use_fast_neurons",
    "warm_up",
]
