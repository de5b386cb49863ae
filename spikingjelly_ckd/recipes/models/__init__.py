"""The networks of the results table: residual ones for 32x32 images, and those of torchvision and SpikingJelly.

ResNet-19 (blocks 3-3-2, widths 128-256-512; Zheng et al., AAAI 2021, arXiv 2011.05280) and ResNet-20 (blocks 3-3-3,
widths 16-32-64; He et al., CVPR 2016) are the students and teachers of CKDSNN (AAAI 2026, arXiv 2511.06902).

A spiking network and its ANN twin have the same topology and the same parameter names, so with one seed they start
from the same weights, and one's ``state_dict`` fits the other.

Shapes: ``T`` time steps, ``N`` images, ``C`` channels, ``H W`` pixels, ``K`` classes.
"""

from .libraries import (
    max_resnet18,
    resnet18,
    resnet34,
    sew_resnet18,
    sew_resnet34,
    spikformer_4_384,
    spiking_resnet34,
)
from .memory import checkpoint_neurons, without_checkpoints
from .neurons import lif, make_neuron
from .norms import make_norm, synchronise_norms, with_membrane_norm
from .resnet import ResNet, SpikingResNet
from .resnet8 import resnet8, spiking_resnet8
from .resnet19_20 import resnet19, resnet20, spiking_resnet19, spiking_resnet20
from .spikingjelly_zoo import name_in_zoo, spikingjelly_network
from .vgg import spiking_vgg16, vgg16

__all__ = [
    "ResNet",
    "SpikingResNet",
    "checkpoint_neurons",
    "lif",
    "make_neuron",
    "make_norm",
    "max_resnet18",
    "name_in_zoo",
    "resnet8",
    "resnet18",
    "resnet19",
    "resnet20",
    "resnet34",
    "sew_resnet18",
    "sew_resnet34",
    "spikformer_4_384",
    "spiking_resnet8",
    "spiking_resnet19",
    "spiking_resnet20",
    "spiking_resnet34",
    "spiking_vgg16",
    "spikingjelly_network",
    "synchronise_norms",
    "vgg16",
    "with_membrane_norm",
    "without_checkpoints",
]
