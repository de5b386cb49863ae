"""Pictures of what runs left: differences with intervals, training curves, energy, firing rates, confusions.

Every function returns a matplotlib ``Figure``, which :func:`~spikingjelly_ckd.recipes.report.plots.style.save_figure`
writes. Nothing is said by colour alone. Names are shown as they are: dollar signs in them make no formula.
"""

from .confusion import plot_confusion
from .curves import plot_training
from .forest import differences, plot_forest
from .rates import plot_layer_rates
from .trade_off import plot_accuracy_and_energy

__all__ = [
    "differences",
    "plot_accuracy_and_energy",
    "plot_confusion",
    "plot_forest",
    "plot_layer_rates",
    "plot_training",
]
