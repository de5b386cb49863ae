"""The data of a row: loaded by the function that the recipe names, as the run says, and looked at."""

from __future__ import annotations

import inspect

from ..errors.arguments import ArgumentTypeError, ArgumentValueError
from .data import Data
from .data.checked import check_data
from .names import in_code_of_user, shown
from .options import Run
from .recipe import Recipe

__all__ = ["load_data"]


def load_data(recipe: Recipe, run: Run) -> Data:
    """The data of a row.

    Raises:
        FileNotFoundError: they are not there.
        RuntimeError: the code of a function of the user's raised.
        TypeError: that function takes other arguments, or returns something else.
        ValueError: no folder was given, or an option does not fit the data.

    Example:
        >>> from dataclasses import replace
        >>> from pathlib import Path
        >>> from spikingjelly_ckd.recipes.compare.flags import RECIPE  # any recipe, such as one of your own
        >>> from spikingjelly_ckd.recipes.data.digits import digits
        >>> data = load_data(replace(RECIPE, data=digits, size=16, time_steps=2), Run(data_path=Path(".")))
        >>> data.split, tuple(data.train[0][0].shape)
        ('digits-40-20-40-seed2026', (2, 2, 16, 16))
    """
    if run.data_path is None:
        raise ArgumentValueError("data_path", "must be given: the folder of the data set, or an ImageFolder tree")
    names = ("num_classes", "train_images", "test_images", "val_images", "download", "allow_partial")
    options = recipe.data_options(**{name: getattr(run, name) for name in names})
    try:
        inspect.signature(recipe.data).bind(run.data_path, options)
    except TypeError as error:
        text = f"{shown(recipe.data)} must take a folder and DataOptions, as data(folder, options): {error}"
        raise ArgumentTypeError("data", text) from error
    with in_code_of_user(recipe.data):
        data = recipe.data(run.data_path, options)
    check_data(data, shown(recipe.data), time_steps=recipe.time_steps)
    if recipe.sources.get("split") == "command line" and data.split.startswith("folders"):
        raise ValueError(f"--split {recipe.split} does nothing: {run.data_path} is a tree whose folders are its split")
    if recipe.eval_time_steps is not None and data.is_event:
        raise ArgumentValueError("eval_time_steps", f"is for images; the recordings have {recipe.time_steps} frames")
    return data
