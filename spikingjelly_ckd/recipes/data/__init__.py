"""Data sets for training: images, event recordings, trees of class folders, and data sets of your own.

Each function takes a folder and :class:`DataOptions` and returns :class:`Data`: a training and a test set with their
classes, normalisation, split and its hash. Where one of the named data sets is expected, a tree of class folders
is taken as well. Everything can be pickled, for worker processes that are spawned.

==================  ====================================================================================
``cifar``           CIFAR-10 and CIFAR-100
``imagenet``        ImageNet
``cifar10dvs``      CIFAR10-DVS
``dvsgesture``      DVS128 Gesture
``ncaltech101``     N-Caltech101
``datasets``        two datasets of PyTorch
``folders``         trees of class folders, with images or event frames
``recordings``      what the readers of event recordings share
``samples``         one picture or one recording on disk
``digits``          handwritten digits seen by a simulated event camera (``event_camera``)
``options``         what can be chosen about a data set
``base``            what the functions return, and how it is made from files, options and transforms
``roots``           checks of the folder that a user passes
``splits``          which sample is in which part
``augment``         transforms of images and of event frames
``checked``         a look at what a function of your own returned, before training
``loading``         seeded loaders; needs Lightning, so it and ``checked`` are not imported here
==================  ====================================================================================
"""

from ...errors.installed import needs_packages

with needs_packages("spikingjelly_ckd.recipes.data"):
    from .base import Data
    from .cifar import cifar10, cifar100
    from .cifar10dvs import cifar10dvs
    from .datasets import data_from
    from .dvsgesture import dvsgesture
    from .folders import image_folder
    from .imagenet import imagenet
    from .ncaltech101 import ncaltech101
    from .options import DataOptions

__all__ = [
    "Data",
    "DataOptions",
    "cifar10",
    "cifar10dvs",
    "cifar100",
    "data_from",
    "dvsgesture",
    "image_folder",
    "imagenet",
    "ncaltech101",
]
