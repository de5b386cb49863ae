"""What the teacher says of every training image, kept on disk, for runs in which the teacher takes most of the time.

``TeacherCache`` asks the teacher once for each image and augmentation view and writes one file a view: logits and class
maps. ``CachedData`` is a :class:`~spikingjelly_ckd.recipes.data.loading.ReproducibleDataModule` that returns them with
the images:
the augmentation of view ``v`` of image ``i`` follows from ``(seed, v, i)``, epoch ``e`` uses view ``e % views``, so the
student sees the images that the teacher saw. The teacher answers in fp32, whatever the precision of the run.

A folder belongs to one teacher, data set, augmentation, seed and set of class maps; where any of them differs, it is
another folder, and nothing of before is read.
"""

from .loaders import CachedData
from .teacher_cache import CHANGED, TeacherCache, is_stale

__all__ = ["CHANGED", "CachedData", "TeacherCache", "is_stale"]
