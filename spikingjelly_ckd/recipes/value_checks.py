"""What the numbers of a recipe may be, each alone and beside the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors.arguments import ArgumentValueError
from ..errors.checks import check_non_negative, check_positive, check_share

__all__ = ["check_values"]

LEAST = dict.fromkeys(("time_steps", "size", "epochs", "batch_size", "accumulate", "teacher_epochs"), 1)
LEAST |= dict.fromkeys(("weight_decay", "warmup_epochs", "clip", "mixup", "cutmix", "mixup_off_epoch", "cutout"), 0)
LEAST |= {"eval_time_steps": 1, "early_stop": 0}
"""Value of a recipe -> the least that it may be."""


def check_values(values: Mapping[str, Any]) -> None:
    """Raise for a number of a recipe that is out of range, or that does not go with another value.

    Args:
        values: name of each value of a :class:`~spikingjelly_ckd.recipes.recipe.Recipe` -> itself.

    Raises:
        ValueError: the message names the value.
    """
    for name, least in LEAST.items():
        value = values[name]
        if value is not None and value < least:
            raise ArgumentValueError(name, f"must be at least {least}, got {values[name]}")
    for name in ("lr", "teacher_lr", "map_temperature", "temperature"):
        check_positive(name, values[name])
    weights = [name for name in ("beta", "gamma") if values[name] not in ("auto", "hold")]
    for name in ("noise_weight", *weights):
        check_non_negative(name, values[name])
    for name in ("momentum", "ema", "label_smoothing"):
        check_share(name, values[name])
    if values["warmup_epochs"] >= values["epochs"]:
        raise ArgumentValueError(
            "warmup_epochs", f"({values['warmup_epochs']}) must be below epochs ({values['epochs']})"
        )
    if values["eval_time_steps"] is not None and values["norm"] == "tebn":
        raise ArgumentValueError("eval_time_steps", "does not go with norm 'tebn', which has a scale for each step")
    if values["memopt"] is not None and values["ema"]:
        raise ArgumentValueError("memopt", "does not go with ema, which copies the network")
    if values["mixup_off_epoch"] and not (values["mixup"] or values["cutmix"]):
        raise ArgumentValueError("mixup_off_epoch", "does nothing: no images are mixed (mixup and cutmix are 0)")
    asked = values["sources"].get("mixup_off_epoch") == "command line"  # a row's own may be behind a shorter training
    if asked and values["mixup_off_epoch"] >= values["epochs"]:
        value, epochs = values["mixup_off_epoch"], values["epochs"]
        raise ArgumentValueError("mixup_off_epoch", f"({value}) must be below epochs ({epochs}), or 0 for to the end")
