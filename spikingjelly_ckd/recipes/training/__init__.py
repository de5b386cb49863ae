"""The training loop around a distiller, on Lightning."""

from .module import (
    ClassifierModule,
    DistillationCallback,
    DistillationModule,
    History,
    StepSeeds,
    TrainingModule,
    cosine_with_warmup,
    topk_accuracy,
)

__all__ = [
    "ClassifierModule",
    "DistillationCallback",
    "DistillationModule",
    "History",
    "StepSeeds",
    "TrainingModule",
    "cosine_with_warmup",
    "topk_accuracy",
]
