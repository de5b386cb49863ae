"""Data sets as the rows use them: images, event frames, splits, augmentation and seeded loaders."""

from .base import Data
from .cifar import cifar10, cifar100
from .cifar10dvs import cifar10dvs
from .folders import image_folder
from .imagenet import imagenet
from .options import DataOptions

__all__ = ["Data", "DataOptions", "cifar10", "cifar10dvs", "cifar100", "image_folder", "imagenet"]
