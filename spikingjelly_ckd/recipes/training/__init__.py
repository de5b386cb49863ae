"""The training loop around a distiller, on Lightning."""

from ..._renamed import old_names
from ...errors.installed import needs_packages

with needs_packages("spikingjelly_ckd.recipes.training"):
    from .batches import unpack_batch
    from .callbacks import History, StepSeeds
    from .distillation_callback import DistillationCallback, training_progress
    from .figures import cosine_with_warmup, topk_accuracy
    from .module import ClassifierModule, DistillationModule
    from .training_module import TrainingModule

__all__ = [
    "ClassifierModule",
    "DistillationCallback",
    "DistillationModule",
    "History",
    "StepSeeds",
    "TrainingModule",
    "cosine_with_warmup",
    "topk_accuracy",
    "training_progress",
    "unpack_batch",
]
__getattr__ = old_names(__name__)  # count_right
