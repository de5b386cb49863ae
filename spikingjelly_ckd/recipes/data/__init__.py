"""Data sets as the rows use them: images, event frames, splits, augmentation and seeded loaders."""

from .options import DataOptions
from .sets import Data, cifar10, cifar10dvs, cifar100, image_folder, imagenet

__all__ = ["Data", "DataOptions", "cifar10", "cifar10dvs", "cifar100", "image_folder", "imagenet"]
