"""Import paths and names of earlier versions: they work, and warn with the new ones.

To remove an old path or name for good, delete its line in one of the two tables.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["OLD_MODULES", "OLD_NAMES", "install", "old_names"]

_PACKAGE = __name__.rpartition(".")[0]
OLD_MODULES: dict[str, tuple[str, ...]] = {
    "adapted": ("methods.projected",),
    "adaptors": ("methods.projectors",),
    "arguments": ("step.arguments", "step.network_arguments", "step.validate", "networks.layer"),
    "balance": ("step.auto_weight",),
    "batch": ("step.batch", "networks.outputs"),
    "checks": ("errors.checks",),
    "class_token": ("networks.class_token",),
    "compat": ("networks.compat",),
    "hooks": ("networks.recording",),
    "layers": ("networks.search", "networks.presets", "networks.heads"),
    "layouts": ("networks.layer", "networks.reading"),
    "losses": ("functional", "functional.divergences"),
    "maps": ("functional.maps",),
    "networks.fused_neurons": ("networks.compat.fused_neurons",),
    "probing": ("networks.guards",),
    "randomness": ("methods.stochastic",),
    "recipes.augment": ("recipes.data.augment",),
    "recipes.compare.records": ("recipes.comparison.records",),
    "recipes.compare.statistics": ("recipes.comparison.statistics",),
    "recipes.compare.table": (
        "recipes.comparison.table",
        "recipes.comparison.comparable",
        "recipes.comparison.controls",
    ),
    "recipes.energy": ("recipes.report.energy", "recipes.report.operations"),
    "recipes.events": ("recipes.data.digits", "recipes.data.event_camera"),
    "recipes.landscape": ("recipes.report.landscape",),
    "recipes.loading": ("recipes.data.loading",),
    "recipes.report.environment": ("recipes.records.ran_on",),
    "recipes.report.record_checks": ("recipes.records.checks",),
    "recipes.report.records": ("recipes.records",),
    "recipes.report.schema": ("recipes.records.schema", "recipes.records.parts"),
    "recipes.run": ("recipes.row",),
    "recipes.splits": ("recipes.data.splits",),
    "recipes.table": ("recipes.report.table",),
    "signals": ("methods.base", "methods.signals"),
    "steps": ("step.time_steps", "step.time_axis", "step.per_step_readout"),
    "streams": ("step.streams",),
}
"""Old path inside the package -> where its names are now: each is looked for in these modules, in order."""
OLD_NAMES = {
    "AdaptedLoss": "ProjectedLoss",
    "EpochData": "ReproducibleDataModule",
    "Fitted": "FitResult",
    "RandomLoss": "StochasticLoss",
    "StepPoint": "PerStepReadout",
    "count_right": "topk_accuracy",
    "explained": "add_note_on_error",
    "find_step_logits": "find_per_step_logits",
    "fresh": "reset_states",
    "has_changed": "is_stale",
    "input_faults": "input_violations",
    "logit_faults": "logit_violations",
    "untouched": "preserve_state",
}
"""Old name -> new name, in the modules above and in those that call :func:`old_names`."""


class _Finder(MetaPathFinder, Loader):
    """Makes a module for each old path, which has the names of the new modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        old = fullname.removeprefix(f"{_PACKAGE}.")
        return ModuleSpec(fullname, self) if old != fullname and old in OLD_MODULES else None

    def exec_module(self, module: ModuleType) -> None:
        paths = [f"{_PACKAGE}.{new}" for new in OLD_MODULES[module.__name__.removeprefix(f"{_PACKAGE}.")]]
        text = " and ".join(paths)
        message = f"{module.__name__} is called {text} now; the old name will be removed"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        module.__doc__ = f"Old name of {text}."
        module.__dict__["__getattr__"] = old_names(module.__name__, *paths)


def old_names(module: str, *homes: str) -> Callable[[str], Any]:
    """A ``__getattr__`` for ``module`` that finds old names under their new ones, with a warning.

    Args:
        module: its own name.
        *homes: modules in which any name is looked for. None: old names alone, in ``module`` itself.

    Raises:
        AttributeError: when the returned function is asked for a name that is in none of the modules.

    Example:
        >>> find = old_names("spikingjelly_ckd.probing", "spikingjelly_ckd.networks.guards")
        >>> with warnings.catch_warnings(record=True, action="always") as seen:
        ...     find("fresh").__name__, str(seen[0].message)
        ('reset_states', 'fresh is called reset_states now; the old name will be removed')
    """

    def find(name: str) -> Any:
        new = OLD_NAMES.get(name, name)
        if (homes or new != name) and (name == "__all__" or not name.startswith("__")):
            for home in homes or (module,):
                found = vars(import_module(home))
                if new in found:
                    if new != name:
                        text = f"{name} is called {new} now; the old name will be removed"
                        warnings.warn(text, DeprecationWarning, stacklevel=2)
                    return found[new]
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return find


def install() -> None:
    """Let the old paths be imported, by a finder that Python asks after all others."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
