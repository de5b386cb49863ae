"""Distil a trained ANN into a SpikingJelly network: CKDSNN (AAAI 2026, arXiv 2511.06902) and what it compares with."""

from .compat import use_fast_neurons
from .distiller import CKDDistiller, Distiller, StepOutput
from .hooks import record
from .layers import find_layer
from .layouts import Layer
from .maps import class_activation_map, grad_cam, spike_activation_map
from .methods import (
    CATKDLoss,
    DISTLoss,
    DKDLoss,
    E2KDLoss,
    EnOFLoss,
    KDLoss,
    LSKDLoss,
    NLDLoss,
    SAMDLoss,
    SeAlKDLoss,
    StrongWeakLoss,
    TDKDLoss,
    TETLoss,
    TKSLoss,
    TSERLoss,
)
from .preflight import preflight
from .signals import DistillationLoss, Signals

__version__ = "0.1.0"

__all__ = [
    "CATKDLoss",
    "CKDDistiller",
    "DISTLoss",
    "DKDLoss",
    "DistillationLoss",
    "Distiller",
    "E2KDLoss",
    "EnOFLoss",
    "KDLoss",
    "LSKDLoss",
    "Layer",
    "NLDLoss",
    "SAMDLoss",
    "SeAlKDLoss",
    "Signals",
    "StepOutput",
    "StrongWeakLoss",
    "TDKDLoss",
    "TETLoss",
    "TKSLoss",
    "TSERLoss",
    "class_activation_map",
    "find_layer",
    "grad_cam",
    "preflight",
    "record",
    "spike_activation_map",
    "use_fast_neurons",
]
