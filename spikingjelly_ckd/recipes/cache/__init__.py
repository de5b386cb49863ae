"""The teacher's output for every training image, kept on disk: for runs in which the teacher takes most of the time.

:class:`TeacherCache` runs the teacher once on each image and augmentation view and writes one file for each view, with
logits and class maps. :class:`CachedData` is a
:class:`~spikingjelly_ckd.recipes.data.loading.ReproducibleDataModule` whose batches hold them beside the images. The
augmentation of view ``v`` of image ``i`` follows from ``(seed, v, i)``, and epoch ``e`` uses view ``e % views``, so the
student sees exactly the images that the teacher saw. The teacher runs in fp32, whatever the precision of the run.

A folder belongs to one teacher, data set, augmentation, seed, choice of class maps and format of the files. Where any
of these differs, as it may in a cache of an earlier version, another folder is filled, and the old one is not read.
"""

from ..._renamed import old_names
from .live import CHANGED, is_stale
from .loaders import CachedData
from .teacher_cache import TeacherCache

__all__ = ["CHANGED", "CachedData", "TeacherCache", "is_stale"]
__getattr__ = old_names(__name__)  # has_changed
